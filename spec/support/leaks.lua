--- What spec/leaks_spec.lua runs in processes of their own: goroutines that wait, in every way
--- there is, for one who holds what wakes them in some way.  While that one sleeps none of them
--- is leaked; when it waits in vain itself, all are.
--
--     lua5.4 -e 'require("spec.support.leaks").run("a Map")'

-- luacheck: ignore 311 (a variable set to nil is not unused here: it holds nothing any more)

local goro = require("goro")

local M = {}

-- [name] = starts who waits, by goro.go, and returns what wakes them.
local kinds = {}

function kinds.recv()
  local c = goro.chan()
  goro.go(function() c:recv() end)
  return c
end
function kinds.send()
  local c = goro.chan(1)
  c:send(1)
  goro.go(function() c:send(2) end)
  return c
end
function kinds.range()
  local c = goro.chan()
  goro.go(function() for _ in c:range() do end end) -- luacheck: ignore 542
  return c
end
function kinds.select()
  local c, d = goro.chan(), goro.chan()
  goro.go(function() goro.select { c, { send = d, value = 1 }, false } end)
  return d
end
function kinds.waitgroup()
  local w = goro.WaitGroup()
  w:add(1)
  goro.go(function() w:wait() end)
  return w
end
function kinds.mutex()
  local m = goro.Mutex()
  m:lock()
  goro.go(function() m:lock() end)
  return m
end
function kinds.rlock()
  local m = goro.RWMutex()
  m:lock()
  goro.go(function() m:rlock() end)
  return m
end
function kinds.wlock()
  local m = goro.RWMutex()
  m:rlock()
  goro.go(function() m:lock() end)
  return m
end
function kinds.cond()
  local m = goro.Mutex()
  local c = goro.Cond(m)
  goro.go(function() m:lock() c:wait() end)
  return c
end
function kinds.semaphore()
  local s = goro.Semaphore(2)
  s:acquire(1)
  goro.go(function() s:acquire(2) end)
  return s
end
function kinds.once()
  local o, c = goro.Once(), goro.chan()
  local runs = goro.chan()
  goro.go(function() o:run(function() runs:close() c:recv() end) end)
  runs:recv()
  goro.go(function() o:run(function() end) end)
  return c
end
function kinds.task()
  local c = goro.chan()
  local t = goro.async(function() goro.name("its") c:recv() end)
  goro.go(function() t:wait() end)
  goro.go(function() t:done():recv() end)
  return c
end
function kinds.errgroup()
  local c, g = goro.chan(), goro.errgroup()
  g:limit(1)
  g:go(function() c:recv() end)
  goro.go(function() g:wait() end)
  goro.go(function() g:go(print) end)
  goro.go(function() g.ctx:done():recv() end)
  return c
end
function kinds.singleflight()
  local c, s = goro.chan(), goro.singleflight()
  for _ = 1, 2 do goro.go(function() s:run("k", function() c:recv() end) end) end
  return c
end
function kinds.map()
  local c, m = goro.chan(), goro.Map()
  local held = goro.chan()
  goro.go(function() m:update("k", function() held:close() c:recv() return 1 end) end)
  held:recv()
  goro.go(function() m:store("k", 1) end)
  goro.go(function() m:update("k", function() return 2 end) end)
  return c
end
function kinds.timer()
  local t = goro.timer(100)
  t:stop()
  goro.go(function() t.c:recv() end)
  return t
end
function kinds.ticker()
  local t = goro.ticker(100)
  t:stop()
  goro.go(function() t.c:recv() end)
  return t
end
function kinds.context()
  local ctx, cancel = goro.context.with_cancel()
  local below = goro.context.with_value(ctx, "k", 1)
  goro.go(function() below:done():recv() end)
  goro.go(function() goro.chan():recv(below) end)
  return cancel
end

-- name = how a goroutine holds `o` while `rest()` lasts
local holders = {}
holders["a local"] = function(o, rest)
  rest()
  return o
end
holders["an upvalue"] = function(o, rest)
  local function f() return o end
  rest()
  f()
end
holders["a table"] = function(o, rest)
  local t = { { x = o } }
  o = nil
  rest()
  return t
end
holders["a key of a weak table's value"] = function(o, rest)
  local keep = {}
  local t = setmetatable({ [keep] = { o } }, { __mode = "k" })
  o = nil
  rest()
  return t, keep
end
holders["a buffered message"] = function(o, rest)
  local c = goro.chan(2)
  c:send({ deep = { o } })
  o = nil
  collectgarbage()
  rest()
  return c
end
holders["a coroutine"] = function(o, rest)
  local co = coroutine.wrap(function(x) coroutine.yield() return x end)
  co(o)
  o = nil
  rest()
  return co
end
holders["a coroutine in which it waits"] = function(o, rest)
  coroutine.wrap(function() rest() return o end)()
end
holders["the registry"] = function(o, rest)
  debug.getregistry()["a C module's"] = o
  o = nil
  rest()
end
holders["a userdata's value"] = function(o, rest)
  local f = io.tmpfile()
  debug.setmetatable(f, { o })
  o = nil
  rest()
  return f
end
holders["a global"] = function(o, rest)
  _G.held = o
  o = nil
  rest()
end
holders["a Map"] = function(o, rest)
  local m = goro.Map()
  m:store("k", { o })
  o = nil
  collectgarbage()
  rest()
  return m
end
holders["a task's result"] = function(o, rest)
  local t = goro.async(function() return o end)
  t:wait()
  o = nil
  collectgarbage()
  rest()
  return t
end
holders["a context's value"] = function(o, rest)
  if type(o) == "function" then        -- (a context cannot hold its own cancel)
    rest()
    return o
  end
  local ctx = goro.context.with_value(nil, "k", o)
  o = nil
  collectgarbage()
  rest()
  return ctx
end
holders["one who sends it"] = function(o, rest)
  local c = goro.chan()
  goro.go(function() goro.name("sender") c:send(o) end)
  o = nil
  collectgarbage()
  rest()
  return c
end

-- [what goro.stacks() says of it] = it goes on, or has begun to end: it still holds things.
local moving = {
  running = true, runnable = true, starting = true, ending = true, ["in"] = true,  -- in C
}

local function all_parked()
  local n
  repeat
    goro.yield()
    n = 0
    for what in ("\n" .. goro.stacks()):gmatch("\ngoroutine %d[^\n%[]* %[(%a*)") do
      if moving[what] then n = n + 1 end
    end
  until n == 1                         -- the main script
end

local function leaked(before)
  collectgarbage()
  local list = {}
  for _, l in ipairs(goro.leaks()) do
    if not before[l.id] then list[#list + 1] = l end
  end
  return list
end

local nlost = 0                          -- goroutines that earlier tries have lost

-- One holder for all kinds, which sleeps, or is lost itself: what is found in each.
local function try(how, kind, lost)
  local before, n = {}, 0
  all_parked()
  for _, l in ipairs(goro.leaks()) do
    before[l.id] = true
    n = n + 1
  end
  if n < nlost then error(("%d of those lost before are missed"):format(nlost - n), 0) end
  local live = goro.num_goroutine()
  local stop = goro.chan()
  local function begin()
    local o = kinds[kind]()
    local rest
    if lost then rest = function() goro.chan():recv() end
    else rest = function() stop:recv(1000) end end
    goro.go(holders[how], o, rest)
  end
  begin()
  collectgarbage()
  all_parked()
  local started = goro.num_goroutine() - live
  local found = #leaked(before)
  local expected = lost and started or 0
  if found ~= expected then
    error(("%s, held by %s%s: %d of %d found\n%s"):format(kind, how, lost and ", lost" or "",
      found, started, goro.stacks()), 0)
  end
  if lost then nlost = nlost + started end
  stop:close()
  collectgarbage()
end

M.holders = {}
for how in pairs(holders) do M.holders[#M.holders + 1] = how end
table.sort(M.holders)

function M.run(how)
  for kind in pairs(kinds) do
    try(how, kind, true)
    try(how, kind, false)
  end
  print("ok")
end

return M
