-- Producer and consumer over an unbuffered channel: each send waits until it is received.

local goro = require("goro")

local ch = goro.chan()

goro.go(function()
  for i = 0, 2 do
    print(("Sending %d"):format(i))
    ch:send(i) -- waits for the main script
  end
  ch:close() -- the sender closes, never the receiver; this ends the loop below
end)

for n in ch:range() do
  print(("Received %d"):format(n))
  goro.sleep(0.1)
end
