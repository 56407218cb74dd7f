-- What the stress programs share.  Each is tests/stress/NAME.lua [seconds [seed]]: rounds with
-- checked invariants until the time is over; the seed is printed, and makes the choices repeat
-- (the schedule it cannot).

local goro = require("goro")

local M = {}

--- Calls `round(n)` for n = 1, 2, ... for as long as asked, at least once.
function M.run(name, round)
  local seconds = tonumber(arg[1]) or 10
  local seed = tonumber(arg[2]) or os.time()
  print(("%s: %g s, seed %d, maxprocs %d"):format(name, seconds, seed, goro.maxprocs()))
  local stop, n = goro.now() + seconds, 0
  repeat
    n = n + 1
    round(seed * 1000003 + n)
  until goro.now() >= stop
  print(("%s: %d rounds, ok"):format(name, n))
end

--- Runs `f(i, seed, ...)` in `n` goroutines and waits for all; raises the first failure.
function M.crowd(n, seed, f, ...)
  local wg = goro.WaitGroup()
  for i = 1, n do
    wg:go(function(...)
      math.randomseed(seed, i)
      return f(i, ...)
    end, ...)
  end
  wg:wait()
end

--- Sometimes lets others run, sometimes sleeps a little.
function M.linger()
  local r = math.random(40)
  if r == 1 then
    goro.sleep(math.random() * 0.0005)
  elseif r <= 10 then
    goro.yield()
  end
end

return M
