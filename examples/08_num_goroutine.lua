-- How many goroutines are there?  A number that only grows is the sign of a leak.

local goro = require("goro")

local function show(when)
  print(("%-8s%5d"):format(when, goro.num_goroutine()))
end

show("before") -- the main script is a goroutine too

-- A channel on which nothing is ever sent serves as a gate: closing it lets everybody pass.
local gate = goro.chan()
local wg = goro.WaitGroup()
for _ = 1, 1000 do
  wg:go(function()
    gate:recv()
  end)
end
show("during")

gate:close()
wg:wait()
while goro.num_goroutine() > 1 do -- they are done, but not all gone yet
  goro.yield()
end
show("after")
