-- Cost grows as the work: tools/lua bench/scale.lua [most]
--
-- For 10,000, 100,000 and 1,000,000 goroutines (no more than `most`): the time until all are
-- started and parked, the time to wake and to end them, and the resident memory of each.  Every
-- size runs in a process of its own, RUNS times, of which the quickest counts: what others do,
-- and a virtual machine's host that must find the memory first, only adds.  In turns with them
-- a C program touches as much new memory and does nothing else: what the system takes for that.
-- Columns x say by what the one before has grown for ten times as many.  With `one n` as
-- arguments: one size, as numbers.

local MOST, RUNS = 1000000, 5

local function one(n)
  local goro = require("goro")

  local function resident()
    local file <close> = assert(io.open("/proc/self/status"))
    return tonumber(file:read("a"):match("VmRSS:%s*(%d+)")) * 1024
  end

  local function park(count)
    local gate, started, ended = goro.chan(), goro.WaitGroup(), goro.WaitGroup()
    started:add(count)
    ended:add(count)
    collectgarbage()
    local before, t0 = resident(), goro.now()
    goro.go(function()
      for _ = 1, count do
        goro.go(function()
          started:done()
          gate:recv()
          ended:done()
        end)
      end
    end)
    started:wait()
    local t1 = goro.now()
    local bytes = (resident() - before) / count
    gate:close()
    ended:wait()
    return t1 - t0, goro.now() - t1, bytes
  end

  park(100)
  print(("%.6f %.6f %.1f"):format(park(n)))
end

if arg[1] == "one" then
  one(math.tointeger(tonumber(arg[2])))
  return
end

local dir = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = dir .. "/?.lua;" .. package.path
local support = require("support")

local most = math.tointeger(tonumber(arg[1])) or MOST
local floor = support.prepare { support.floor_c }[support.floor_c]

local function numbers(command, ...)
  local pipe = assert(io.popen(command))
  local found = table.pack(pipe:read(...))
  assert(pipe:close() and found[1], "it failed: " .. command)
  return table.unpack(found, 1, found.n)
end

-- Seconds until a C program has touched as many bytes of new memory.
local function touch(bytes)
  return (assert(support.run(support.floor_c, 1, "touch", bytes // 1024)))
end

local function times(now, before)
  return before and ("%.1f"):format(now / before) or "-"
end

print("| goroutines | started and parked, s | woken and ended, s | bytes each " ..
  "| time x | memory x | its memory alone, by C, s | x |")
print("| --- | --- | --- | --- | --- | --- | --- | --- |")
local n, before = 10000, {}
while n <= most do
  local command = ("'%s/tools/lua' '%s/bench/scale.lua' one %d"):format(support.root,
    support.root, n)
  local start, stop, bytes, alone = math.huge, 0, 0, math.huge
  for _ = 1, RUNS do
    local up, down, size = numbers(command, "n", "n", "n")
    if up + down < start + stop then start, stop, bytes = up, down, size end
    if floor then alone = math.min(alone, touch(math.tointeger(n * bytes // 1))) end
  end
  local now = { start + stop, bytes * n, alone }
  print(("| %d | %.3f | %.3f | %.0f | %s | %s | %s | %s |"):format(n, start, stop, bytes,
    times(now[1], before[1]), times(now[2], before[2]),
    floor and ("%.3f"):format(alone) or "-", floor and times(now[3], before[3]) or "-"))
  before = now
  n = n * 10
end
