-- A counter that many goroutines share, in three ways.  Goroutines copy what they capture, so a
-- plain variable would be each one's own: what is shared stands in one of goro's objects.

local goro = require("goro")

-- An Atomic: one integer, the usual way to count.
local atomic = goro.Atomic()

-- A Map: a table shared by all; update is atomic for its key.
local map = goro.Map()

-- A Mutex around a value that stands in a Map: for what takes more than one step.
local mutex, shared = goro.Mutex(), goro.Map()
shared:store("count", 0)

local function increment()
  atomic:add(1)
  map:update("count", function(n) return (n or 0) + 1 end)
  local _ <close> = mutex:lock() -- unlocks at the end of the block
  shared:store("count", shared:load("count") + 1)
end

local wg = goro.WaitGroup()
for _ = 1, 1000 do
  wg:go(increment)
end
wg:wait()

print("Atomic:", atomic:load())
print("Map:", (map:load("count")))
print("Mutex:", (shared:load("count")))
