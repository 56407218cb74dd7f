-- What the chaos runner explores, a seed at a time: random programs with checked histories, small
-- programs about what specs promise, and at the end a shutdown in the middle of something.
-- GOROCHAOS=seed GOROBUILD=chaos tools/lua tests/chaos/main.lua repeats one.
package.path = (arg[0]:match("^(.*/)chaos/[^/]*$") or "tests/") .. "history/?.lua;" .. package.path
local goro = require("goro")
local seed = tonumber(os.getenv("GOROCHAOS")) or 1
math.randomseed(seed)

local function check(ok, what)
  if not ok then error(what .. " (seed " .. seed .. ")", 2) end
end

local function some() return math.random(6) end

local parts = {}

function parts.histories()
  for _, kind in ipairs({ (require("channels")), (require("sync")) }) do
    for _ = 1, 2 do
      local program = kind.random(5, 6)
      local wrong = kind.try(program)
      if wrong then error(wrong .. "\n" .. kind.text(program)) end
    end
  end
end

-- A pipeline whose stages close one another; nothing is lost, sums agree.
function parts.pipeline()
  local n, stages, cap = some() * 5, some(), math.random(0, 3)
  local first = goro.chan(cap)
  local c = first
  for _ = 1, stages do
    local from, to = c, goro.chan(cap)
    goro.go(function()
      for v in from:range() do to:send(v + 1) end
      to:close()
    end)
    c = to
  end
  goro.go(function()
    for i = 1, n do first:send(i) end
    first:close()
  end)
  local sum = 0
  for v in c:range() do sum = sum + v end
  check(sum == n * (n + 1) // 2 + n * stages, "pipeline")
end

-- Many select on the same channels from both ends, with time-outs and quitting.
function parts.selects()
  local a, b, quit, n = goro.chan(math.random(0, 1)), goro.chan(), goro.chan(), some() + 2
  local got, wg = goro.Atomic(), goro.WaitGroup()
  for i = 1, n do
    wg:go(function()
      for k = 1, 5 do goro.select { { send = a, value = i }, { send = b, value = k } } end
    end)
    goro.go(function()
      while true do
        local which = goro.select { a, b, quit, timeout = 0.00001 * math.random(50) }
        if which == 3 then return end
        if which then got:add(1) end
      end
    end)
  end
  wg:wait()
  goro.sleep(0.01)
  check(got:load() == 5 * n, "selects: " .. got:load())
  quit:close()
end

function parts.timeouts()
  local c, n, wg, got = goro.chan(), some() * 2, goro.WaitGroup(), goro.Atomic()
  for i = 1, n do
    wg:go(function()
      if c:try_send(i, 0.0001) then got:add(1) end
    end)
    wg:go(function()
      local _, ok = c:recv(0.0001)
      if ok then got:add(-1) end
    end)
  end
  wg:wait()
  check(got:load() == 0, "timeouts: a value vanished")
end

function parts.sync()
  local mu, rw, sem, wg, once = goro.Mutex(), goro.RWMutex(), goro.Semaphore(2), goro.WaitGroup(),
    goro.Once()
  local inside, ran, cond = goro.Atomic(), goro.Atomic(), goro.Cond(mu)
  local go = goro.Atomic()
  local n = some() + 1
  for i = 1, n do
    wg:go(function()
      mu:lock()
      check(inside:add(1) == 1, "two in a mutex")
      goro.yield()
      inside:add(-1)
      while go:load() == 0 do cond:wait() end
      mu:unlock()
      local guard <close> = sem:acquire(1 + i % 2)
      once:run(function() ran:add(1) end)
      if i % 3 == 0 then
        rw:lock()
        goro.yield()
        rw:unlock()
      else
        rw:rlock()
        rw:runlock()
      end
    end)
  end
  goro.sleep(0.001)
  mu:lock()
  go:store(1)
  cond:broadcast()
  mu:unlock()
  wg:wait()
  check(ran:load() == 1, "once")
end

function parts.tasks()
  local tasks, n = {}, some()
  for i = 1, n do
    tasks[i] = goro.async(function()
      if i % 3 == 0 then error("no " .. i, 0) end
      goro.yield()
      return i
    end)
  end
  for i = n, 1, -1 do
    local ok, v = tasks[i]:wait()
    check(ok == (i % 3 ~= 0) and v == (ok and i or "no " .. i), "task " .. i)
  end
end

-- Blocking inside coroutines, comparators and callbacks.
function parts.inside()
  local c, wg = goro.chan(), goro.WaitGroup()
  for i = 1, 3 do
    wg:go(function()
      local co = coroutine.wrap(function()
        for _ = 1, 3 do
          c:send(i)
          coroutine.yield(i)
        end
      end)
      for _ = 1, 3 do check(co() == i, "coroutine") end
      local t = { 3, 1, 2 }
      table.sort(t, function(x, y)
        goro.yield()
        return x < y
      end)
      check(t[1] == 1 and t[3] == 3, "sort")
    end)
  end
  for _ = 1, 9 do c:recv() end
  wg:wait()
end

function parts.panic()
  local never = goro.chan()
  goro.on_panic("raise")
  goro.go(function() error("meant", 0) end)
  local ok, err = pcall(never.recv, never)
  check(not ok and err:find("panicked: meant", 1, true), "panic: " .. tostring(err))
end

function parts.deadlock()
  local c = goro.chan()
  for _ = 1, some() do
    goro.go(function()
      goro.yield()
      pcall(c.recv, c)
    end)
  end
  local ok, err = pcall(c.recv, c)
  check(not ok and err:find("deadlock", 1, true), "deadlock: " .. tostring(err))
  c:close()
end

function parts.procs()
  local old = goro.maxprocs(math.random(3))
  local wg = goro.WaitGroup()
  for i = 1, 4 do
    wg:go(function()
      for _ = 1, 3 do goro.yield() end
      goro.maxprocs(i)
    end)
  end
  wg:wait()
  goro.maxprocs(old)
end

local names = {}
for name in pairs(parts) do names[#names + 1] = name end
table.sort(names)
local stderr = io.stderr
for _ = 1, 5 do
  local name = names[math.random(#names)]
  if os.getenv("GOROCHAOSPART") then name = os.getenv("GOROCHAOSPART") end
  local ok, err = xpcall(parts[name], debug.traceback)
  if not ok then
    stderr:write("part ", name, ": ", err, "\n")
    os.exit(1)
  end
end

-- The end, while others run, sleep, wait, compute, start more.
local c, mu = goro.chan(1), goro.Mutex()
for i = 1, some() do
  goro.go(function()
    local guard <close> = setmetatable({}, { __close = function() goro.yield() end })
    if i % 5 == 0 then while true do goro.yield() end end
    if i % 5 == 1 then c:recv() end
    if i % 5 == 2 then goro.sleep(1) end
    if i % 5 == 3 then
      mu:lock()
      goro.select {}
    end
    for _ = 1, 100 do goro.go(goro.yield) end
    return guard
  end)
end
local way = math.random(4)
if way == 1 then os.exit(0, true) end
if way == 2 then
  goro.go(function() os.exit(0) end)
  goro.sleep(1000)
end
if way == 3 then goro.yield() end
