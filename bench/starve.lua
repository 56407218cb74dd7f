-- Can those that compute hold up one that sleeps?  100 goroutines compute without end, one
-- sleeps 1 ms a thousand times; prints how late it wakes.  Fails if more than 1% of its
-- wake-ups are later than 25 ms.  GOROMAXPROCS=1 tools/lua bench/starve.lua [spinners [sleeps]]

local goro = require("goro")

local spinners, sleeps = tonumber(arg[1]) or 100, tonumber(arg[2]) or 1000

for _ = 1, spinners do
  goro.go(function() while true do end end)
end
local out = goro.chan()
goro.go(function()
  local late = {}
  for i = 1, sleeps do
    local before = goro.now()
    goro.sleep(0.001)
    late[i] = (goro.now() - before - 0.001) * 1000
  end
  table.sort(late)
  out:send(late)
end)
local late = out:recv()
local function at(part) return late[math.max(1, math.ceil(part * sleeps))] end
print(("%d spinners, %d processors, %d sleeps"):format(spinners, goro.maxprocs(), sleeps))
print(("late by %.2f ms (median), %.2f (99%%), %.2f (worst)"):format(at(0.5), at(0.99), at(1)))
os.exit(at(0.99) <= 25)
