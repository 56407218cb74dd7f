-- Producer and consumer over a buffered channel: sends wait only when the buffer is full.

local goro = require("goro")

local ch = goro.chan(3)
local wg = goro.WaitGroup()

wg:go(function()
  for i = 0, 2 do
    print(("Sending %d"):format(i))
    ch:send(i) -- there is room for all three
  end
  ch:close()
end)

-- The producer ends although nobody has received anything yet.
wg:wait()
print(("%d values buffered"):format(#ch))

-- What was sent before the close can still be received.
for n in ch:range() do
  print(("Received %d"):format(n))
end
