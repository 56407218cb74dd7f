-- Never more units out than there are, and all come back: tests/stress/semaphore.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")

local CROWD, TIMES, SIZE = 8, 200, 5

local function section(used, k)
  assert(used:add(k) <= SIZE, "too many units are out")
  harness.linger()
  used:add(-k)
end

local ways = {
  function(sem, k, used)
    local _ <close> = sem:acquire(k)
    section(used, k)
  end,
  function(sem, k, used)
    sem:acquire(k)
    section(used, k)
    sem:release(k)
  end,
  function(sem, k, used)
    local ok <close> = sem:try_acquire(k)
    if ok then section(used, k) end
  end,
  function(sem, k, used)
    local ok <close> = sem:acquire(k, math.random() * 0.001)
    if ok then section(used, k) end
  end,
  function(sem, k, used)
    sem:acquire(k)
    section(used, k)
    goro.go(function() sem:release(k) end)
  end,
}

harness.run("semaphore", function(seed)
  local sem, used = goro.Semaphore(SIZE), goro.Atomic()
  harness.crowd(CROWD, seed, function()
    for _ = 1, TIMES do
      ways[math.random(#ways)](sem, math.random(0, SIZE), used)
    end
  end)
  sem:acquire(SIZE)
  sem:release(SIZE)
  assert(used:load() == 0 and not pcall(sem.release, sem))
end)
