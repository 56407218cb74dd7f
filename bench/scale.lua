-- Cost grows as the work: tools/lua bench/scale.lua [most]
--
-- For 10,000, 100,000 and 1,000,000 goroutines (no more than `most`): the time until all are
-- started and parked, the time to wake and to end them, and the resident memory of each.  Every
-- size runs in a process of its own, RUNS times, of which the quickest counts: what others do,
-- and a virtual machine's host that must find the memory first, only adds.  The last column
-- says by what the whole has grown for ten times as many.  With `one n` as arguments: one size,
-- as numbers.

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

local root = arg[0]:match("^(.*)/bench/[^/]*$") or (arg[0]:match("^bench/") and ".") or ".."
local most = math.tointeger(tonumber(arg[1])) or MOST
print("| goroutines | started and parked, s | woken and ended, s | bytes each " ..
  "| time, memory x |")
print("| --- | --- | --- | --- | --- |")
local n, before, memory = 10000, nil, nil
while n <= most do
  local command = ("'%s/tools/lua' '%s/bench/scale.lua' one %d"):format(root, root, n)
  local start, stop, bytes = math.huge, 0, 0
  for _ = 1, RUNS do
    local pipe = assert(io.popen(command))
    local up, down, size = pipe:read("n", "n", "n")
    assert(pipe:close() and size, "it failed: " .. command)
    if up + down < start + stop then start, stop, bytes = up, down, size end
  end
  local whole, grown = start + stop, "-"
  if before then
    grown = ("%.1f, %.1f"):format(whole / before, bytes * n / memory)
  end
  print(("| %d | %.3f | %.3f | %.0f | %s |"):format(n, start, stop, bytes, grown))
  before, memory = whole, bytes * n
  n = n * 10
end
