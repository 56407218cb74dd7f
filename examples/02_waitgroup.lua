-- Waiting for goroutines: a WaitGroup counts those that are still at work.

local goro = require("goro")

local function work(id)
  print(("Worker %d starting"):format(id))
  goro.sleep(0.1)
  print(("Worker %d done"):format(id))
end

-- By hand: count up before a goroutine starts (not in it: wait might come first), and down
-- when it is done.
local wg = goro.WaitGroup()

local function worker(id, group)
  work(id)
  group:done()
end

for id = 1, 5 do
  wg:add(1)
  goro.go(worker, id, wg)
end
wg:wait()
print("All workers completed")

-- The usual way: wg:go does all three, and counts down even if the function fails.
for id = 6, 8 do
  wg:go(work, id)
end
wg:wait()
print("All workers completed again")
