--- What spec/oom_spec.lua runs in processes of their own: operations whose 1st, 2nd, 3rd ...
--- allocation fails, until none does.
--
--     lua5.4 -e 'require("spec.support.oom").run("strings")'
--
-- Each operation is a function that raises when something is not as it should be.  `fault` is
-- nil in a release build.

local M = {}

local core = package.searchpath("goro.core", package.cpath)
local open = core and package.loadlib(core, "luaopen_goro_fault")
local fault = open and open()
M.fault = fault

local build = os.getenv("GOROBUILD")
local goro
local refusals = { "not enough memory", "no memory", "Cannot allocate memory" }

local function is_refusal(err)
  for _, text in ipairs(refusals) do
    if tostring(err):find(text, 1, true) then return true end
  end
  return false
end

--- Lets every allocation of `f()` fail in turn, once alone and once with all that follow.
--- After each failure `f()` must work again, and nothing may be left.
---@param f function the operation; raises if a result is wrong
---@param options? {slack: integer?, each: integer?, after: function?, refusal: function?}
--- `slack`: blocks that may be left in all (records that are swept now and then); `each`: and
--- by each call of `f`; `after`: puts things in order after a failure; `refusal`: is this error
--- one that may come?
---@return integer number of allocations that were made to fail
function M.every(f, options)
  options = options or {}
  local refusal = options.refusal or is_refusal
  local slack, each, files = options.slack or 0, options.each or 0, math.huge
  -- What ends on other threads may take a moment; sysmon opens files of /proc now and then.
  -- Returns the blocks and the descriptors that are left: one look, which was what ended it.
  local function settle(base)
    local stop = goro.now() + 5
    local blocks, fds
    repeat
      if options.after then options.after() end
      collectgarbage()
      collectgarbage()
      blocks, fds = fault.blocks(), fault.descriptors()
    until not base or blocks <= base + slack and fds <= files or goro.now() > stop
    return blocks, fds
  end
  local total, step = 0, options.step or 1
  if build == "tsan" then step = step * 7 end            -- (it is slow, and sees no more)
  -- (Each start opens all libraries: some 500 allocations more, in one protected call.)
  if os.getenv("GOROIMAGE") == "0" then step = step * 5 end
  fault.blocks()                       -- from here on no memory is kept for reuse
  for _ = 1, 3 do f() end
  local _
  _, files = settle()
  for _, mode in ipairs { "once", "all" } do
    local base, n = fault.blocks(), 1
    repeat
      base = base + 2 * each
      local failed, ok, err = fault.try(n, mode, f)
      if not ok and (failed == 0 or not refusal(err)) then
        error(("allocation %d (%s): %s"):format(n, mode, err), 0)
      end
      settle(base)
      local after, again = xpcall(f, debug.traceback)
      if not after then
        error(("after allocation %d (%s): %s"):format(n, mode, again), 0)
      end
      local blocks, fds = settle(base)
      if blocks > base + slack then
        error(("allocation %d (%s) leaves %d blocks"):format(n, mode, blocks - base), 0)
      end
      if fds > files then
        error(("allocation %d (%s) leaves %d descriptors"):format(n, mode, fds - files), 0)
      end
      total = total + (failed > 0 and 1 or 0)
      n = n + step
    until failed == 0
  end
  return total
end

-- --- the operations --------------------------------------------------------------------------

local function check(ok, what)
  if not ok then error(what or "wrong result", 2) end
end

local scenarios = {}

local function channel_trip(make, compare)
  local c = goro.chan(1)
  return function()
    local v = make()
    c:send(v)
    check(compare(v, (c:recv())))
  end, { after = function() while #c > 0 do pcall(c.recv, c) end end }
end

function scenarios.strings()
  local n = 0
  return channel_trip(function()
    n = n + 1
    return ("x"):rep(1000 + n % 10)
  end, rawequal)
end

function scenarios.shortstrings()
  return channel_trip(function() return "short" end, rawequal)
end

function scenarios.tables()
  return channel_trip(function()
    local shared, deep = { 1 }, {}
    for i = 1, 110 do deep = { deep, i } end
    local t = { 1, 2.5, "three", shared, shared, deep, [{ 1 }] = { 2 } }
    t.x = { y = { z = 1 << 40 } }
    t.self = t
    for i = 1, 9 do t["key " .. i] = { i } end
    return t
  end, function(_, t)
    local d, n = t[6], 0
    while d[1] do d, n = d[1], n + 1 end
    return t[4] == t[5] and t.self == t and n == 110 and t.x.y.z == 1 << 40
      and t["key 9"][1] == 9
  end)
end

function scenarios.functions()
  return channel_trip(function()
    local n, list = 0, {}
    local function add() n = n + 1 return n end
    local function get() return n end
    local function fact(k) return k < 2 and 1 or k * fact(k - 1) end
    local f = function() return 1 end
    for i = 1, 105 do
      local g = f
      f = function() return g() + i - i end
    end
    for i = 1, 5 do list[i] = function() return list, i, string.format("%d", i) end end
    return { add, get, fact, list, f, math.floor, print, [f] = add }
  end, function(_, t)
    t[1]()
    local l, i, s = t[4][3]()
    return t[2]() == 1 and t[3](5) == 120 and l == t[4] and i == 3 and s == "3" and t[5]() == 1
  end)
end

function scenarios.knownclasses()
  local Base = { name = "base" }
  Base.__index = Base
  local Class = setmetatable({ f = function(o) return o.v end }, Base)
  Class.__index = Class
  local n = 0
  local f, options = channel_trip(function()
    n = n + 1
    Class.n = n
    if n % 3 == 0 then Base.n = n end
    return { setmetatable({ v = n }, Class), setmetatable({}, Base), Class }
  end, function(sent, t)
    return t[1]:f() == sent[1].v and getmetatable(t[1]) == Class and t[3] == Class
  end)
  options.slack = 400                  -- versions: up to 64 of a class are kept
  return f, options
end

function scenarios.freshclasses()
  local f, options = channel_trip(function()
    local Base = { name = "base", made = {} }
    Base.__index = Base
    local Class = setmetatable({ f = function(o) return o.v, Base end }, Base)
    Class.__index = Class
    return setmetatable({ v = setmetatable({ 1, {} }, Base) }, Class)
  end, function(_, o)
    local v, Base = o:f()
    return v[1] == 1 and getmetatable(v) == Base and o.name == "base"
      and type(o.made) == "table"
  end)
  options.slack = 400                  -- dropped classes are swept when there are many
  return f, options
end

function scenarios.modules()
  package.preload["oom.shapes"] = function()
    local Circle = {}
    Circle.__index = Circle
    return { Circle = Circle, new = function(r) return setmetatable({ r = r }, Circle) end,
      deep = { f = function() return Circle end } }
  end
  local shapes = require("oom.shapes")
  local found, cjson = pcall(require, "cjson")
  return channel_trip(function()
    package.loaded["oom.extra"] = function() end         -- the map is made anew
    return { shapes, shapes.new, shapes.new(1), shapes.deep.f, found and cjson or string,
      found and cjson.encode or string.rep, io.stdout, function() return shapes end }
  end, function(_, t)
    return t[1] == shapes and t[2] == shapes.new and getmetatable(t[3]) == shapes.Circle
      and t[4] == shapes.deep.f and t[7] == io.stdout and t[8]() == shapes
  end)
end

function scenarios.makers()
  local Handle = {}
  Handle.__index = Handle
  function Handle.__goro(o)
    local inner, n = o.inner, o.n
    return function() return setmetatable({ inner = inner, n = n, made = true }, Handle) end
  end
  return channel_trip(function()
    local inner = setmetatable({ n = 1 }, Handle)
    local o = setmetatable({ inner = inner, n = 2 }, Handle)
    return { o, o, inner, { { o } } }
  end, function(_, t)
    return t[1] == t[2] and t[1].made and t[1].inner.n == 1 and t[4][1][1] == t[1]
  end)
end

function scenarios.objects()
  return channel_trip(function()
    local list = {}
    for i = 1, 20 do list[i] = goro.chan(i % 3) end
    list.wg, list.mu, list.view = goro.WaitGroup(), goro.Mutex(), list[1]:send_only()
    list.atomic, list.map = goro.Atomic(3), goro.Map()
    return list
  end, function(sent, t)
    return t[1] == sent[1] and t.wg == sent.wg and t.view == sent.view and t.atomic:load() == 3
  end)
end

function scenarios.object()
  return channel_trip(function() return goro.chan(2) end, rawequal)
end

-- A goroutine that sends back what it gets, and how to bring it in step after a failure.
local function echoing()
  local to, from = goro.chan(), goro.chan()
  goro.go(function()
    local function answer()
      local ok, v = pcall(to.recv, to)
      if ok and v == nil then return true end
      if type(v) == "table" then collectgarbage() end      -- (what a failure left stays)
      from:send({ ok, v })
    end
    while true do
      local ok, ended = pcall(answer)
      if ended == true then return end
      if not ok then from:send(false) end          -- (that needs no memory)
    end
  end)
  local function trip(v)
    to:send(v)
    local r = from:recv()
    if not r or not r[1] then error(r and r[2] or "not enough memory", 0) end
    return r[2]
  end
  return trip, function()
    while goro.select { { send = to, value = "sync" }, { recv = from } } ~= 1 do end
    repeat local r = from:recv() until r and r[2] == "sync"
  end, function() to:close() end
end

-- Both sides in goroutines of their own.
function scenarios.echo()
  local trip, after = echoing()
  local Class = { f = function() return 1 end }
  Class.__index = Class
  return function()
    local r = trip({ setmetatable({ 1 }, Class), print, function() return Class end,
      ("x"):rep(100) })
    check(r[1]:f() == 1 and r[3]() == Class and getmetatable(r[1]) == Class)
  end, { after = after, slack = 20 }
end

-- Classes that a fresh state has not seen, or seen in a trip that failed: home again they are
-- the originals.
function scenarios.strangers()
  local trip, in_step, stop, classes
  local function prepare()
    if trip then in_step() return end
    trip, in_step, stop = echoing()
    trip(true)                         -- it is there
    classes = {}
    for i = 1, 5 do
      classes[i] = { number = i }
      classes[i].__index = classes[i]
    end
  end
  return function()
    if not trip then prepare() end     -- (else `after` did)
    local list = {}
    for i, class in ipairs(classes) do list[i] = setmetatable({}, class) end
    list = trip(list)
    for i, class in ipairs(classes) do
      check(list[i].number == i and getmetatable(list[i]) == class, "another class came home")
    end
    stop()
    trip = nil
  end, { after = prepare, slack = 400 }
end

-- Started goroutines: what fails there is a panic, raised here.
function scenarios.go()
  local out = goro.chan(1)
  local Class = { f = function(o) return o.v end }
  Class.__index = Class
  local upvalue = { 1, { 2 }, f = function() return 4 end }
  return function()
    goro.go(function(o, s) out:send({ o:f(), s, upvalue[2][1], upvalue.f() }) end,
      setmetatable({ v = 3 }, Class), ("s"):rep(50))
    local r = out:recv()
    check(r[1] == 3 and #r[2] == 50 and r[3] == 2 and r[4] == 4)
  end, { after = function()
    while goro.num_goroutine() > 1 do pcall(goro.yield) end
    while pcall(goro.yield) == false or #out > 0 do pcall(out.recv, out, 0) end
  end }
end

function scenarios.async()
  local function f(a, b) return { a, b }, a + b, "text" end
  return function()
    local ok, t, sum, text = goro.async(f, 1, 2):wait()
    if not ok then error(t, 0) end
    check(t[2] == 2 and sum == 3 and text == "text")
  end
end

function scenarios.failures()
  return function()
    local ok, err, traceback = goro.async(function() error({ code = { 7 } }) end):wait()
    check(not ok)
    if is_refusal(err) then error(err, 0) end
    -- (no memory for a copy: its tostring)
    check(type(err) == "table" and err.code[1] == 7 or tostring(err):find("^table: "))
    check(traceback == nil or traceback:find("traceback") or traceback:find("^created by "))
    local done, raised = pcall(function()
      return goro.async(function()
        local function text() return "text" end
        error(setmetatable({}, { __tostring = text, __gc = text }))
      end):result()
    end)
    check(not done)
    if is_refusal(raised) then error(raised, 0) end
    check(raised == "text", tostring(raised))
  end, { slack = 100 }
end

function scenarios.waitgroup()
  return function()
    local wg, c = goro.WaitGroup(), goro.chan(10)
    wg:add()                           -- one round
    for i = 1, 3 do wg:go(function() c:send(i) end) end
    wg:done()
    wg:wait()
    check(#c == 3)
    wg = goro.WaitGroup()
    wg:go(function() error("mine", 0) end)
    local ok, err = pcall(wg.wait, wg)
    check(not ok)
    if is_refusal(err) then error(err, 0) end
    check(err == "mine")
  end
end

function scenarios.map()
  local m = goro.Map()
  for i = 1, 20 do m:store("fixed " .. i, { i }) end
  return function()
    m:store("key", { 1, { 2 } })
    check(m:load("key")[2][1] == 2)
    m:store(("k"):rep(100), ("v"):rep(100))
    check(#m:load(("k"):rep(100)) == 100)
    check(m:update("key", function(v) v[1] = v[1] + 1 return v end)[1] == 2)
    check(m:swap("key", 1)[1] == 2)
    check(m:cas("key", 1, "two") and m:load_or_store("key", 3) == "two")
    local n = 0
    for _ in m:pairs() do n = n + 1 end
    check(n == 22)
    m:delete("key")
    m:delete(("k"):rep(100))
  end, { after = function()
    m:delete("key")
    m:delete(("k"):rep(100))
  end }
end

function scenarios.select()
  local a, b = goro.chan(1), goro.chan(1)
  return function()
    local cases = { { recv = b, function(v) return v end }, { send = a, value = { 1, "x" } } }
    for i = 3, 20 do cases[i] = goro.chan() end
    check(goro.select(cases) == 2)
    local r = goro.select { { recv = a, function(v) return v end } }
    check(r[2] == "x")
  end, { after = function() while #a > 0 do pcall(a.recv, a) end end }
end

function scenarios.once()
  return function()
    local once = goro.Once()
    local t, n = once:run(function(x) return { x }, 2 end, "x")
    check(t[1] == "x" and n == 2)
    t, n = once:run(error)
    check(t[1] == "x" and n == 2)
  end
end

-- What a goroutine inherits, when it must be looked at anew each time.
function scenarios.heritage()
  local out = goro.chan(1)
  local n = 0
  return function()
    n = n + 1
    package.path = "./" .. n .. "/?.lua;" .. package.path:gsub("^%./%d+/%?%.lua;", "")
    package.preload["oom.inherited"] = function() return { n = 5 } end
    local path = package.path
    local ok, r, there = goro.async(function()
      return require("oom.inherited").n, package.path
    end):wait()
    if not ok then error(r, 0) end
    check(r == 5)
    check(there == path, there)
    check(#out == 0)
  end
end

-- Panics: each is raised, also when there is no memory for it.
function scenarios.panics()
  return function()
    goro.go(function() error("wanted", 0) end)
    local ok, err = pcall(goro.chan().recv, goro.chan())
    check(not ok)
    if is_refusal(err) then error(err, 0) end
    err = tostring(err)
    check(err:find("wanted", 1, true) or err:find("a goroutine panicked", 1, true), err)
  end, { after = function()
    while goro.num_goroutine() > 1 do pcall(goro.yield) end
    while not pcall(goro.yield) do end
  end }
end


-- Goroutines leave what the next ones need: memory of theirs, images, records of code.
local starts = { "async", "failures", "go", "heritage", "modules", "once", "panics",
  "waitgroup" }
for _, name in ipairs(starts) do
  local make = scenarios[name]
  scenarios[name] = function()
    local f, options = make()
    options = options or {}
    options.slack = math.max(options.slack or 0, 40)
    return f, options
  end
end

-- Programs of all public functions, in the main script and in a goroutine: what nobody waits
-- for ends soon, and a panic of theirs is raised in the main script.
local function run_program(name)
  local f, options = require("spec.support.oom_api").programs[name]()
  local after = options and options.after
  local base = goro.num_goroutine()
  return M.every(f, setmetatable({
    slack = math.max(options and options.slack or 0, 60),
    after = function()
      while goro.num_goroutine() > base or not pcall(goro.yield) do pcall(goro.yield) end
      if after then after() end
    end }, { __index = options }))
end

--- Runs the program of that name; prints how many allocations failed.
function M.run_api(name, where)
  goro = require("goro")
  require("spec.support.oom_api").begin()
  if where == "main" then return print(run_program(name)) end
  local t = goro.async(function()
    local oom = require("spec.support.oom")
    return oom.run_inside(name)
  end)
  local ok, n
  repeat                               -- (panics are raised here meanwhile)
    local fine, ended, results = pcall(t.wait, t)
    ok, n = ended, results
  until fine
  if not ok then error(n, 0) end
  print(n)
end

function M.run_inside(name)
  goro = require("goro")
  require("spec.support.oom_api").begin()
  return run_program(name)
end

M.names = {}
for name in pairs(scenarios) do M.names[#M.names + 1] = name end
table.sort(M.names)

--- Runs one of them; prints how many allocations failed.
function M.run(name)
  goro = require("goro")
  print(M.every(scenarios[name]()))
end

return M
