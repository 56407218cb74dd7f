-- The goro half of the benchmarks: tools/lua bench/goro.lua workload [n]
--
-- Prints `workload value unit`.  Workloads and their defaults are listed without arguments.
-- Every workload but pingpong_main runs in goroutines, with the main script waiting for the
-- end.  BENCH_SCALE (a factor) shortens those that count operations.

local goro = require("goro")

-- A core without goro.now is timed by the system's clock of 10 ms.
local now = goro.now or function()
  local file <close> = assert(io.open("/proc/uptime"))
  return file:read("n")
end

-- The seconds f(...) takes in a goroutine of its own.
local function timed(f, ...)
  local done = goro.chan()
  local start = now()
  goro.go(function(...)
    f(...)
    done:send(true)
  end, ...)
  done:recv()
  return now() - start
end

local function resident()
  local file <close> = assert(io.open("/proc/self/status"))
  return tonumber(file:read("a"):match("VmRSS:%s*(%d+)")) * 1024
end

-- --- spawning -------------------------------------------------------------------------------

local BATCH = 100

local function spawn(n)
  local ch, wg = goro.chan(), goro.WaitGroup()
  for _ = 1, n // BATCH do
    wg:add(BATCH)
    for _ = 1, BATCH do
      goro.go(function()
        if ch:len() == 0 then
          wg:done()
        end
      end)
    end
    wg:wait()
  end
end

-- Bytes of resident memory for each of n goroutines that wait for a channel.
local function parked(n)
  timed(spawn, BATCH)
  local gate, started, ended = goro.chan(), goro.WaitGroup(), goro.WaitGroup()
  started:add(n)
  ended:add(n)
  collectgarbage()
  local before = resident()
  goro.go(function()
    for _ = 1, n do
      goro.go(function()
        started:done()
        gate:recv()
        ended:done()
      end)
    end
  end)
  started:wait()
  local bytes = (resident() - before) / n
  gate:close()
  ended:wait()
  return bytes
end

local function sleepers(n)
  local wg = goro.WaitGroup()
  wg:add(n)
  for _ = 1, n do
    goro.go(function()
      goro.sleep(0.1)
      wg:done()
    end)
  end
  wg:wait()
end

local function skynet(parent, number, size)
  if size == 1 then
    parent:send(number)
    return
  end
  local ch, sum = goro.chan(), 0
  local part = size // 10
  for i = 0, 9 do
    goro.go(skynet, ch, number + i * part, part)
  end
  for _ = 1, 10 do
    sum = sum + ch:recv()
  end
  parent:send(sum)
end

local function run_skynet(n)
  local ch = goro.chan()
  goro.go(skynet, ch, 0, n)
  assert(ch:recv() == n * (n - 1) // 2)
end

-- --- switching ------------------------------------------------------------------------------

local function pingpong(n)
  local ping, pong = goro.chan(), goro.chan()
  goro.go(function()
    for v in ping:range() do
      pong:send(v)
    end
  end)
  for i = 1, n do
    ping:send(i)
    pong:recv()
  end
  ping:close()
end

local RING = 503

local function ring(n)
  local first, done = goro.chan(), goro.chan()
  local from = first
  for i = 1, RING do
    local to = i < RING and goro.chan() or first
    local here = from
    goro.go(function()
      for v in here:range() do
        if v == 0 then
          done:send(true)
        else
          to:send(v - 1)
        end
      end
    end)
    from = to
  end
  first:send(n)
  done:recv()
end

local function sieve(n)
  local numbers = goro.chan()
  goro.go(function()
    local i = 2
    while true do
      numbers:send(i)
      i = i + 1
    end
  end)
  local prime
  for _ = 1, n do
    prime = numbers:recv()
    local p, from, to = prime, numbers, goro.chan()
    goro.go(function()
      while true do
        local v = from:recv()
        if v % p ~= 0 then
          to:send(v)
        end
      end
    end)
    numbers = to
  end
  assert(n ~= 1000 or prime == 7919)
end

local function select4(n)
  local a, b, c, d = goro.chan(), goro.chan(), goro.chan(), goro.chan()
  for _, ch in ipairs { a, b, c, d } do
    goro.go(function()
      for i = 1, n // 4 do
        ch:send(i)
      end
    end)
  end
  local select = goro.select
  for _ = 1, n // 4 * 4 do
    select { a, b, c, d }
  end
end

-- --- passing values -------------------------------------------------------------------------

local SLOTS = 128

local function prodcons(n)
  local ch, producers, consumers = goro.chan(SLOTS), goro.WaitGroup(), goro.WaitGroup()
  producers:add(4)
  consumers:add(4)
  for _ = 1, 4 do
    goro.go(function()
      for i = 1, n // 4 do
        ch:send(i)
      end
      producers:done()
    end)
    goro.go(function()
      local sum = 0
      for v in ch:range() do
        sum = sum + v
      end
      consumers:done()
    end)
  end
  producers:wait()
  ch:close()
  consumers:wait()
end

-- Sends n values, made by make(i), to this goroutine, which gives each to use.
local function pass(n, slots, make, use)
  local ch = goro.chan(slots)
  goro.go(function()
    for i = 1, n do
      ch:send(make(i))
    end
    ch:close()
  end)
  for v in ch:range() do
    use(v)
  end
end

local function ignore() end

local function stream(n)
  local ch, sum = goro.chan(SLOTS), 0
  goro.go(function()
    for i = 1, n do
      ch:send(i)
    end
    ch:close()
  end)
  for v in ch:range() do
    sum = sum + v
  end
  assert(sum == n * (n + 1) // 2)
end

local function a_record(i)
  return { id = i, name = "a name", tags = { "red", "green", "blue" } }
end

local function record(n)
  pass(n, SLOTS, a_record, ignore)
end

local function record_hand(n)
  pass(n, 0, a_record, ignore)
end

local function closure(n)
  pass(n, SLOTS, function(i)
    local a, b, c = i, 2.5, "three"
    return function()
      return a + b + #c
    end
  end, function(f) f() end)
end

local function string1m(n)
  local s = ("x"):rep(1 << 20)
  pass(n, 0, function() return s end, ignore)
end

local function table10k(n)
  local t = {}
  for i = 1, 5000 do
    t[i] = i
    t["key" .. i] = i
  end
  pass(n, 0, function() return t end, ignore)
end

-- --- locks and maps -------------------------------------------------------------------------

-- Four goroutines, each of which calls f(i, n / 4) for its number i.
local function four(n, f, ...)
  local wg = goro.WaitGroup()
  for i = 1, 4 do
    wg:go(f, i, n // 4, ...)
  end
  wg:wait()
end

local function mutex(n)
  local mu = goro.Mutex()
  for _ = 1, n do
    mu:lock()
    mu:unlock()
  end
end

local function mutex_close(n)
  local mu = goro.Mutex()
  for _ = 1, n do
    local _ <close> = mu:lock()
  end
end

local function mutex4(n)
  local mu = goro.Mutex()
  four(n, function(_, k)
    local counter = 0
    for _ = 1, k do
      mu:lock()
      counter = counter + 1
      mu:unlock()
    end
  end)
end

local KEYS = 1000

-- A load and a store; of one key, or of keys of one's own.
local function map_pass(map, k, keys)
  local n = #keys
  for j = 1, k do
    local key = keys[j % n + 1]
    map:load(key)
    map:store(key, j)
  end
end

local function map_one(n)
  local map = goro.Map()
  four(n, function(_, k)
    map_pass(map, k, { "key" })
  end)
end

local function map_many(n)
  local map = goro.Map()
  four(n, function(i, k)
    local keys = {}
    for j = 1, KEYS do
      keys[j] = "key " .. i .. " " .. j
    end
    map_pass(map, k, keys)
  end)
end

local function map_update(n)
  local map = goro.Map()
  four(n, function(_, k)
    for _ = 1, k do
      map:update("key", function(v) return (v or 0) + 1 end)
    end
  end)
  assert(map:load("key") == n // 4 * 4)
end

-- --- computing ------------------------------------------------------------------------------

-- The same function as in bench/floor.lua.
local function collatz(n)
  local steps = 0
  for i = 1, n do
    local x = i
    while x ~= 1 do
      if x % 2 == 0 then
        x = x // 2
      else
        x = 3 * x + 1
      end
      steps = steps + 1
    end
  end
  return steps
end

local function compute(n)
  local results = goro.chan(4)
  for _ = 1, 4 do
    goro.go(function()
      results:send(collatz(n))
    end)
  end
  local steps = results:recv()
  for _ = 2, 4 do
    assert(results:recv() == steps)
  end
end

-- --- time and contexts ----------------------------------------------------------------------

-- The 99th percentile of how far the gaps between n ticks of 1 ms are from it, in microseconds.
local function jitter(n)
  return goro.async(function()
    local ticker <close> = goro.ticker(0.001)
    local off = {}
    ticker.c:recv()
    local last = goro.now()
    for i = 1, n do
      ticker.c:recv()
      local t = goro.now()
      off[i] = math.abs(t - last - 0.001) * 1e6
      last = t
    end
    table.sort(off)
    return off[n * 99 // 100 + 1]
  end):result()
end

-- Milliseconds it takes to cancel a tree of n contexts, ten below each.
local function contexts(n)
  return goro.async(function()
    local tree = {}
    local cancel
    tree[0], cancel = goro.context.with_cancel()
    for i = 1, n - 1 do
      tree[i] = goro.context.with_cancel(tree[(i - 1) // 10])
    end
    local start = goro.now()
    cancel()
    local elapsed = goro.now() - start
    for i = 0, n - 1 do
      assert(tree[i]:err() == "context canceled")
    end
    return elapsed * 1e3
  end):result()
end

-- --- the list -------------------------------------------------------------------------------

-- name, default n, unit, function; then: "fixed" (n is a size, not to be scaled), "main" (the
-- main script runs it), "value" (it returns the figure itself).
local list = {
  { "spawn", 100000, "ns", spawn },
  { "parked", 100000, "bytes", parked, fixed = true, value = true },
  { "pingpong", 300000, "ns", pingpong },
  { "pingpong_main", 200000, "ns", pingpong, main = true },
  { "stream", 2000000, "ns", stream },
  { "prodcons", 1000000, "ns", prodcons },
  { "ring", 500000, "ns", ring },
  { "sieve", 1000, "ms", sieve, fixed = true },
  { "skynet", 100000, "ms", run_skynet, fixed = true },
  { "select4", 400000, "ns", select4 },
  { "record", 300000, "ns", record },
  { "record_hand", 300000, "ns", record_hand },
  { "sleepers", 100000, "s", sleepers, fixed = true },
  { "compute", 120000, "s", compute },
  { "closure", 200000, "ns", closure },
  { "string1m", 2000, "MB/s", string1m },
  { "table10k", 400, "us", table10k },
  { "mutex", 2000000, "ns", mutex },
  { "mutex_close", 2000000, "ns", mutex_close },
  { "mutex4", 1000000, "ns", mutex4 },
  { "map_one", 500000, "ns", map_one },
  { "map_many", 500000, "ns", map_many },
  { "map_update", 500000, "ns", map_update },
  { "jitter", 1000, "us", jitter, value = true },
  { "contexts", 10000, "ms", contexts, fixed = true, value = true },
}

local per_unit = {
  ns = function(seconds, n) return seconds * 1e9 / n end,
  us = function(seconds, n) return seconds * 1e6 / n end,
  ms = function(seconds) return seconds * 1e3 end,
  s = function(seconds) return seconds end,
  ["MB/s"] = function(seconds, n) return n * (1 << 20) / 1e6 / seconds end,
}

local function run(w, n)
  local name, default, unit, f = table.unpack(w)
  if not n then
    local scale = w.fixed and 1 or tonumber(os.getenv("BENCH_SCALE")) or 1
    n = math.max(math.floor(default * scale), 1)
  end
  if w.value then
    return ("%s %.6g %s"):format(name, f(n), unit)
  end
  local seconds
  if w.main then
    local start = now()
    f(n)
    seconds = now() - start
  else
    seconds = timed(f, n)
  end
  return ("%s %.6g %s"):format(name, per_unit[unit](seconds, n), unit)
end

if not arg[1] then
  for _, w in ipairs(list) do
    print(("%-14s %8d"):format(w[1], w[2]))
  end
  return
end
for _, w in ipairs(list) do
  if w[1] == arg[1] then
    print(run(w, math.tointeger(tonumber(arg[2]))))
    return
  end
end
io.stderr:write("no workload '", arg[1], "'\n")
os.exit(2)
