-- Random programs whose histories are checked, until the time is over; a failing one is made
-- small and printed:  tests/history/run.lua [seconds [seed [channels|sync]]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local shrink = require("shrink")

local seconds = tonumber(arg[1]) or 10
local seed = tonumber(arg[2]) or os.time()
print(("histories: %g s, seed %d, maxprocs %d"):format(seconds, seed, goro.maxprocs()))

local kinds = arg[3] and { (require(arg[3])) } or { (require("channels")), (require("sync")) }
local function size(program)
  local ops = 0
  for _, body in ipairs(program.bodies) do ops = ops + #body end
  return ("%d goroutines, %d operations"):format(#program.bodies, ops)
end

local stop, n = os.time() + seconds, 0
repeat
  n = n + 1
  math.randomseed(seed, n)
  local kind = kinds[n % #kinds + 1]
  local program = kind.random(n % 7 == 0 and 20 or 6, 8)
  local wrong = kind.try(program)
  if wrong then
    print(("program %d of seed %d: %s"):format(n, seed, wrong))
    local log
    local small = shrink(program, function(p)
      for _ = 1, 200 do
        local w, l = kind.try(p)
        if w then
          wrong, log = w, l or log
          return true
        end
      end
      return false
    end)
    print(("small (%s of %s): %s\n%s"):format(size(small), size(program), wrong, kind.text(small)))
    for _, r in ipairs(log or {}) do
      print(r.from, r.to, "g" .. r.g, r.kind, r.c, r.v)
    end
    os.exit(1)
  end
until os.time() >= stop
print(("histories: %d programs, ok"):format(n))
