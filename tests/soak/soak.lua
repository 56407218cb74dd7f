-- Everything at once, for as long as asked: goroutines, channels, select, locks, maps, timers,
-- contexts, tasks, panics, coroutines, sockets, with invariants checked, and memory that does not
-- grow.  tests/soak/soak.lua [seconds = 600 [seed]]; panics (meant ones) are reported on stderr.
local goro = require("goro")

local seconds = tonumber(arg[1]) or 600
local seed = tonumber(arg[2]) or os.time()
print(("soak: %d s, seed %d, maxprocs %d"):format(seconds, seed, goro.maxprocs()))

local function has(name)
  local ok, part = pcall(function() return goro[name] end)
  return ok and part ~= nil
end
local have = { context = has("context"), net = has("net"), ticker = has("ticker") }

-- Scenarios: each leaves nothing behind and raises if something is wrong.
local scenarios = {}

local function check(ok, what)
  if not ok then error(what, 2) end
end

function scenarios.tree()
  local function grow(depth, out)
    if depth == 0 then return out:send(1) end
    local below = goro.chan(2)
    goro.go(grow, depth - 1, below)
    goro.go(grow, depth - 1, below)
    out:send(below:recv() + below:recv())
  end
  local out = goro.chan()
  goro.go(grow, 5, out)
  check(out:recv() == 32, "tree")
end

function scenarios.pipeline()
  local n = math.random(200)
  local a, b, c = goro.chan(math.random(0, 8)), goro.chan(), goro.chan(math.random(0, 100))
  goro.go(function()
    for i = 1, n do a:send({ i = i, s = ("x"):rep(i) }) end
    a:close()
  end)
  local wg = goro.WaitGroup()
  for _ = 1, 4 do
    wg:go(function()
      for v in a:range() do b:send({ i = v.i, n = #v.s, f = function() return v.i end }) end
    end)
  end
  goro.go(function()
    wg:wait()
    b:close()
  end)
  goro.go(function()
    for v in b:range() do c:send(v.n + v.f()) end
    c:close()
  end)
  local sum = 0
  for v in c:range() do sum = sum + v end
  check(sum == n * (n + 1), "pipeline: " .. sum)
end

function scenarios.selects()
  local a, b, quit, got = goro.chan(), goro.chan(1), goro.chan(), goro.Atomic()
  local readers, writers = goro.WaitGroup(), goro.WaitGroup()
  for _ = 1, 3 do
    readers:go(function()
      while true do
        local i = goro.select { a, b, quit, timeout = math.random() * 0.002 }
        if i == 3 then return end
        if i then got:add(1) end
      end
    end)
  end
  for i = 1, 4 do
    writers:go(function()
      for k = 1, 25 do goro.select { { send = a, value = i }, { send = b, value = k } } end
    end)
  end
  writers:wait()
  while #b > 0 do goro.yield() end
  quit:close()
  readers:wait()
  check(got:load() == 100, "selects: " .. got:load())
end

function scenarios.locks()
  local mu, rw, sem = goro.Mutex(), goro.RWMutex(), goro.Semaphore(3)
  local m, inside, wg = goro.Map(), goro.Atomic(), goro.WaitGroup()
  for i = 1, 8 do
    wg:go(function()
      for k = 1, 20 do
        local guard <close> = mu:lock()
        check(inside:add(1) == 1, "mutex")
        if k % 7 == 0 then goro.yield() end
        inside:add(-1)
        m:update("sum", function(v) return (v or 0) + 1 end)
      end
      for _ = 1, 5 do
        if i % 4 == 0 then
          local guard <close> = rw:lock(0.5)
          goro.yield()
        else
          local guard <close> = rw:rlock(0.5)
          goro.yield()
        end
        local guard <close> = sem:acquire(1 + i % 3)
        goro.sleep(0.0001)
      end
    end)
  end
  wg:wait()
  check(m:load("sum") == 160, "map")
end

function scenarios.timers()
  local wg = goro.WaitGroup()
  for _ = 1, 50 do
    wg:go(function()
      local s = math.random() * 0.02
      local t = goro.now()
      goro.sleep(s)
      check(goro.now() - t >= s, "woken too early")
    end)
  end
  local t = goro.now()
  check(goro.after(0.005):recv() - t >= 0.005, "after")
  local never = goro.chan()
  local _, _, why = never:recv(0.001)
  check(why == "timeout", "timeout")
  wg:wait()
end

function scenarios.tasks()
  local tasks = {}
  for i = 1, 20 do
    tasks[i] = goro.async(function()
      if i % 4 == 0 then error({ code = i }) end
      return i, ("%d"):format(i)
    end)
  end
  for i, t in ipairs(tasks) do
    local ok, a, b = t:wait()
    if i % 4 == 0 then check(not ok and a.code == i, "task error")
    else check(ok and a == i and b == tostring(i), "task") end
  end
end

function scenarios.coroutines()
  local c, wg = goro.chan(), goro.WaitGroup()
  for i = 1, 4 do
    wg:go(function()
      local gen = coroutine.wrap(function()
        for k = 1, 20 do
          c:send(i)
          coroutine.yield(k)
        end
      end)
      for k = 1, 20 do check(gen() == k, "coroutine") end
      local list = {}
      for k = 1, 20 do list[k] = math.random(100) end
      table.sort(list, function(x, y)
        if x == 50 then goro.yield() end
        return x < y
      end)
      for k = 2, 20 do check(list[k - 1] <= list[k], "sort") end
    end)
  end
  local n = 0
  for _ = 1, 80 do n = n + c:recv() end
  wg:wait()
  check(n == 200, "coroutines")
end

function scenarios.hogs()                          -- computing without end, but for preemption
  local wg = goro.WaitGroup()
  for _ = 1, 2 do
    wg:go(function()
      local x = 0
      for i = 1, 300000 do x = x + i % 7 end
      return x
    end)
  end
  wg:wait()
end

function scenarios.garbage()                       -- handles and finalisers
  local wg = goro.WaitGroup()
  for _ = 1, 5 do
    wg:go(function()
      local t = {}
      for i = 1, 100 do
        t[i % 10 + 1] = setmetatable({ goro.chan(3), goro.Mutex() }, {
          __gc = function(o) o[1]:len() end })
      end
      collectgarbage()
      t[1][1]:send(goro.chan(1))                   -- a channel held by a channel
    end)
  end
  wg:wait()
end

function scenarios.big()
  local c = goro.chan()
  goro.go(function() c:send({ s = ("y"):rep(200000), t = { 1, 2, { 3 } } }) end)
  local v = c:recv()
  check(#v.s == 200000 and v.t[3][1] == 3, "big")
end

function scenarios.panic()
  if math.random(20) == 1 then goro.go(error, "soak: meant", 0) end
end

if have.context then
  function scenarios.cancel()
    local ctx, cancel = goro.context.with_cancel()
    local deadline = goro.context.with_timeout(ctx, 0.01)
    local wg, never = goro.WaitGroup(), goro.chan()
    for i = 1, 10 do
      wg:go(function()
        if i % 2 == 0 then
          local _, _, why = never:recv(ctx)
          check(why == "context canceled", tostring(why))
        else
          goro.select { deadline:done(), never }
          check(deadline:err() ~= nil, "deadline")
        end
      end)
    end
    goro.sleep(math.random() * 0.004)
    cancel()
    wg:wait()
    check(ctx:err() == "context canceled", "err")
  end
end

if have.ticker then
  function scenarios.ticker()
    local t = goro.ticker(0.001)
    for _ = 1, 3 do t.c:recv() end
    t:stop()
    local timer = goro.timer(1000)
    check(timer:stop() == true, "timer stop")
    local done = goro.chan()
    goro.after_func(0.001, function() done:close() end)
    done:recv()
  end
end

if have.net then
  function scenarios.sockets()
    local l = assert(goro.net.listen("127.0.0.1:0"))
    local n, wg = 5, goro.WaitGroup()
    goro.go(function()
      while true do
        local c = l:accept()
        if not c then return end
        goro.go(function()
          local line = c:read_line(10)
          if line then c:write(line:upper() .. "\n") end
          c:close()
        end)
      end
    end)
    for i = 1, n do
      wg:go(function()
        local c = assert(goro.net.dial(l:addr(), 10))
        assert(c:write(("hello %d\n"):format(i)))
        check(c:read_line(10) == ("HELLO %d"):format(i), "echo")
        c:close()
      end)
    end
    wg:wait()
    l:close()
  end
end

local names = {}
for name in pairs(scenarios) do names[#names + 1] = name end
table.sort(names)

local function rss()                               -- KiB
  for line in io.lines("/proc/self/status") do
    local n = line:match("^VmRSS:%s*(%d+)")
    if n then return tonumber(n) end
  end
end

local function threads()
  for line in io.lines("/proc/self/status") do
    local n = line:match("^Threads:%s*(%d+)")
    if n then return tonumber(n) end
  end
end

-- What each actor does until the end.
local function act(i, stop, counts)
  math.randomseed(seed, i)
  while goro.now() < stop do
    local name = names[math.random(#names)]
    local ok, err = xpcall(scenarios[name], debug.traceback)
    if not ok then error(name .. ": " .. tostring(err), 0) end
    counts:update(name, function(v) return (v or 0) + 1 end)
  end
end

-- All the threads there will ever be, at once: a thread that was made is kept, and so is what its
-- first allocations took.
do
  local wg, gate = goro.WaitGroup(), goro.chan()
  for _ = 1, 40 do
    wg:go(function()
      table.sort({ 2, 1 }, function(a, b)
        gate:recv()
        return a < b
      end)
    end)
  end
  goro.sleep(0.5)
  gate:close()
  wg:wait()
end

local start = goro.now()
local stop = start + seconds
local counts, actors = goro.Map(), goro.WaitGroup()
local ended = goro.chan()
for i = 1, 12 do actors:go(act, i, stop, counts) end
goro.go(function()
  local ok, err = pcall(actors.wait, actors)
  ended:send(ok and "" or tostring(err))
end)

-- Warm after a minute in which as much was done as a machine of its own does; half the time at most.
local span = math.max(math.min(30, seconds / 6), 2)
local warm                                         -- since when
local function is_warm(t)
  local runs = 0
  for _, n in counts:range() do runs = runs + n end
  return t >= 2 * span and runs >= span * 3000 or t >= seconds / 2
end

local before, after = { n = 0, sum = 0 }, { n = 0, sum = 0 }
local panics, next_line = 0, 0
local function note(window, kb) window.n, window.sum = window.n + 1, window.sum + kb end
local verdict
repeat
  local ok, v = pcall(function() return ended:recv(1) end)
  if not ok then
    if not tostring(v):find("soak: meant", 1, true) then error(v, 0) end
    panics = panics + 1
  else
    verdict = v
  end
  local t, kb = goro.now() - start, rss()
  if not warm and is_warm(t) then warm = t end
  if warm and t <= warm + span then note(before, kb)
  elseif t > seconds - span and t <= seconds then note(after, kb) end
  if t >= next_line then
    print(("%5.0f s  %7d KiB  %3d threads  %5d goroutines  %d panics"):format(
      t, kb, threads(), goro.num_goroutine(), panics))
    io.stdout:flush()
    next_line = next_line + math.max(seconds / 20, 1)
  end
until verdict
if verdict ~= "" then error(verdict, 0) end

-- Panics still to come, stragglers on their way out.
local patience = goro.now() + 20
while goro.num_goroutine() > 1 and goro.now() < patience do pcall(goro.sleep, 0.01) end
local left = goro.num_goroutine() - 1
for name, n in counts:range() do print(("%12s %d"):format(name, n)) end
local was, is = before.sum / before.n, after.sum / after.n
print(("memory: %.0f KiB on average from second %.0f to %.0f, %.0f KiB at the end (%+.1f%%)"):format(
  was, warm, warm + span, is, (is / was - 1) * 100))
if left > 0 then error(left .. " goroutines are left") end
-- (A short run has not had its minute to get warm in.)
if is > was * (seconds >= 120 and 1.05 or 1.1) then error("memory grows") end
print("soak: ok")
