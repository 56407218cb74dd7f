-- What goro.trace costs: each workload without and with a trace, in turn, in one process; the
-- median of the ratios.

package.path = package.path .. ";" .. (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/?.lua"
local support = require("support")
local options = support.options([[
usage: tools/lua bench/trace.lua [options]
  --runs N      pairs measured for each workload (default 9)
  --procs N     workers (default: as many as CPUs)
  --only TEXT   the workloads with this in their names
  --help        this text
]], { runs = "number", procs = "number", only = "string" })

local goro = require("goro")

local work, order = {}, {}

-- f(n) does n operations; one with `n` operations takes some 50 ms.
local function workload(name, n, f)
  work[name] = { n = n, f = f }
  order[#order + 1] = name
end

local function compute(n)
  local x = 0
  for i = 1, n do x = x + i % 7 end
  return x
end

workload("ping-pong, unbuffered", 100000, function(n)
  local a, b, wg = goro.chan(), goro.chan(), goro.WaitGroup()
  wg:go(function() for i = 1, n do a:send(i) b:recv() end end)
  wg:go(function() for i = 1, n do a:recv() b:send(i) end end)
  wg:wait()
end)

workload("ring of 1000", 100000, function(n)
  local first, wg = goro.chan(), goro.WaitGroup()
  local from = first
  for _ = 2, 1000 do
    local to = goro.chan()
    wg:go(function(left, right)
      for v in left:range() do right:send(v) end
      right:close()
    end, from, to)
    from = to
  end
  wg:go(function()
    for i = 1, n // 1000 do first:send(i) from:recv() end
    first:close()
    from:recv()
  end)
  wg:wait()
end)

workload("spawn", 30000, function(n)
  local wg = goro.WaitGroup()
  local function nothing() end
  wg:go(function()
    local all = goro.WaitGroup()
    for _ = 1, n do all:go(nothing) end
    all:wait()
  end)
  wg:wait()
end)

workload("stream, buffer of 100", 200000, function(n)
  local c, wg = goro.chan(100), goro.WaitGroup()
  wg:go(function() for i = 1, n do c:send(i) end c:close() end)
  wg:go(function() for _ in c:range() do end end)
  wg:wait()
end)

for _, us in ipairs { 1, 2, 5 } do
  workload(("unbuffered, %d us of work a message"):format(us), 40000 // us, function(n)
    local c, wg, loops = goro.chan(), goro.WaitGroup(), us * 130
    wg:go(function() for i = 1, n do c:send(i) end c:close() end)
    wg:go(function() for _ in c:range() do compute(loops) end end)
    wg:wait()
  end)
end

workload("spawn, 10 us of work each", 4000, function(n)
  local wg = goro.WaitGroup()
  wg:go(function()
    local all = goro.WaitGroup()
    for _ = 1, n do all:go(compute, 1300) end
    all:wait()
  end)
  wg:wait()
end)

workload("Mutex, 4 goroutines", 100000, function(n)
  local mu, wg = goro.Mutex(), goro.WaitGroup()
  for _ = 1, 4 do
    wg:go(function() for _ = 1, n // 4 do mu:lock() mu:unlock() end end)
  end
  wg:wait()
end)

-- main --------------------------------------------------------------------------------------

local median = support.median
if options.procs then goro.maxprocs(options.procs) end

local function took(w, path)
  collectgarbage()
  if path then assert(goro.trace.start(path)) end
  local from = goro.now()
  w.f(w.n)
  local t = goro.now() - from
  if path then assert(goro.trace.stop()) end
  return t / w.n * 1e9
end

print(("| workload (maxprocs %d) | ns | traced | ratio |\n| --- | --- | --- | --- |")
  :format(goro.maxprocs()))
for _, name in ipairs(order) do
  if name:find(options.only or "", 1, true) then
    local w, off, on, ratio = work[name], {}, {}, {}
    took(w)
    took(w, "/dev/null")
    for k = 1, options.runs or 9 do
      off[k], on[k] = took(w), took(w, "/dev/null")
      ratio[k] = on[k] / off[k]
    end
    print(("| %s | %.0f | %.0f | %.2f |"):format(name, median(off), median(on), median(ratio)))
  end
end
