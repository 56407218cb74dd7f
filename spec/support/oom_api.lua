--- Programs that call every public function, for spec/oom_spec.lua: with each of their
--- allocations failing in turn they must tell so, or do what they do, and leave nothing behind.
---
--- `programs[name]()` returns a function and options, as the scenarios of spec/support/oom.lua.
--- `unused()` looks at what types/goro.lua declares and names what no program has called itself
--- (what its goroutines call does not count).

local M = {}

local goro
local programs = {}
M.programs = programs

local function check(ok, what)
  if not ok then error(what or "wrong result", 2) end
end

-- What is nil, reason is an error here.
local function want(v, reason, ...)
  if v == nil or v == false then error(reason or "failed without a reason", 0) end
  return v, reason, ...
end

-- Tasks that are waited for also when something fails meanwhile: room for two.  What ends them
-- is to be closed before, and so declared after.
local joiner = { __close = function(list)
  for i = 1, 2 do
    if list[i] then pcall(list[i].wait, list[i]) end
  end
end }

local function tasks()
  return setmetatable({ false, false }, joiner)
end

local function result(task)
  return task:result()
end

-- --- goroutines ------------------------------------------------------------------------------

function programs.goroutines()
  local out = goro.chan(1)
  return function()
    local t = goro.async(function(x) return x + 1, goro.id(), goro.name("n") end, 1)
    local v, id, name = t:result()
    check(v == 2 and id > 1 and name == "n")
    check(t:wait() == true)
    local _, open = t:done():recv()
    check(open == false)
    goro.yield()
    check(goro.sleep(0) == true and math.type(goro.id()) == "integer")
    goro.name("the " .. goro.id() .. ". of them")
    check(goro.name() == "the " .. goro.id() .. ". of them")
    goro.go(out.send, out, 1)
    check(out:recv(10) == 1, "no memory")          -- (it panicked)
    check(goro.num_goroutine() >= 1)
  end, { after = function() while #out > 0 do pcall(out.recv, out) end end }
end

function programs.ways_to_wait()       -- in a goroutine by yielding, in its comparator not
  return function()
    local c = goro.chan()
    local j <close> = tasks()
    local ended <close> = c
    local t = goro.async(function()
      local list = { 2, 1 }
      table.sort(list, function(a, b) goro.sleep(0.0001) return a < b end)
      local co = coroutine.wrap(function() goro.sleep(0.0001) coroutine.yield(c:recv(5)) end)
      return co(), list[1]
    end)
    j[1] = t
    local i = goro.select { { send = ended, value = "v" }, t:done() }
    if i == 2 then result(t) end
    local v, first = result(t)
    check(v == "v" and first == 1)
  end
end

function programs.settings()
  local place = 0
  return function()
    local old = goro.memory_limit(1 << 20)
    local ok, err = pcall(function()
      local fine, why = goro.async(function() return #("x"):rep(1 << 22) end):wait()
      check(not fine and tostring(why):find("memory"), tostring(why))
    end)
    goro.memory_limit(old)
    if not ok then error(err, 0) end
    goro.max_threads(goro.max_threads())
    check(goro.num_cpu() >= 1)
    place = place + 1
    goro.check(true)
    ok, err = pcall(function()
      local n = 0
      return goro.async(want(load("local n = ... return function() n = n + 1 end",
        "=place " .. place))(n)):result()
    end)
    goro.check(false)
    if not ok then error(err, 0) end
    goro.on_panic("report")
    goro.on_panic("raise")
    goro.fresh("oom.no such module")
    if place <= 20 then goro.init(function() end) end
    goro.lock_thread()
    goro.unlock_thread()
  end, { slack = 80, each = 1 }        -- inits, and a place that was warned of
end

function programs.maxprocs()
  return function()
    local old = goro.maxprocs()
    for n = 1, 3 do goro.maxprocs(n) end
    goro.maxprocs(old)
    check(goro.maxprocs() == old)
  end, { after = function() goro.maxprocs(2) end, slack = 20 }
end

-- --- channels --------------------------------------------------------------------------------

function programs.channels()
  return function()
    local c = goro.chan(2, "number", "the numbers")
    check(tostring(c):find("the numbers", 1, true))
    local s, r = c:send_only(), c:recv_only()
    check(s:send(1) and c:try_send(2) and not c:try_send(3, 0.0005))
    check(c:len() == 2 and c:cap() == 2 and #c == 2 and s == r)
    check(r:recv() == 1 and c:try_recv(1) == 2)
    local _, _, reason = c:recv(0.0005)
    check(reason == "timeout")
    local j <close> = tasks()
    local closed <close> = c
    local t = goro.async(function()
      local sum = 0
      for v in r:range() do sum = sum + v end
      return sum
    end)
    j[1] = t
    for i = 1, 4 do
      if goro.select { { send = closed, value = i }, t:done() } == 2 then result(t) end
    end
    c:close()
    check(result(t) == 10)
    for v in c:range() do error(v) end
    check(not pcall(c.send, c, 1) and c:recv() == nil)
  end
end

function programs.selecting()
  return function()
    local a, b, never = goro.chan(), goro.chan(1), goro.chan()
    local i, v, ok = goro.select { a, { send = b, value = { 1 } }, false }
    check(i == 2 and v == nil and ok == nil)
    i, v = goro.select { a, b, default = true }
    check(i == 2 and v[1] == 1)
    i, v = goro.select { a, b, timeout = 0.0005 }
    check(i == nil and v == "timeout")
    check(goro.select { a, default = function() return "d" end } == "d")
    local j <close> = tasks()
    local over <close> = never
    local t = goro.async(function()
      return goro.select { over, { recv = a, function(x) return x end }, timeout = 5 }
    end)
    j[1] = t
    i = goro.select { { send = a, value = "x" }, t:done(), timeout = 5 }
    check(result(t) == "x" and i == 1)
  end
end

-- --- sync ------------------------------------------------------------------------------------

function programs.locks()
  local mu, rw, sem = goro.Mutex(), goro.RWMutex(), goro.Semaphore(2)
  return function()
    check(goro.RWMutex() and goro.Semaphore(1))
    do
      local t
      do
        local guard <close> = mu:lock()
        check(not mu:try_lock() and not mu:lock(0.0005))
        t = goro.async(function()
          local _ <close> = mu:lock()
          return 1
        end)
        check(guard)
      end
      check(result(t) == 1)
      mu:lock()
      mu:unlock()
    end
    do
      local t
      do
        local r1 <close> = rw:rlock()
        local r2 <close> = want(rw:try_rlock())
        check(not rw:try_lock() and not rw:lock(0.0005) and r1 and r2)
        t = goro.async(function()
          local _, _ = rw.unlock, rw.runlock       -- (each is found once; that takes memory)
          rw:lock()
          rw:unlock()
          rw:rlock()
          rw:runlock()
          return 1
        end)
      end
      check(result(t) == 1)
      rw:rlock()
      rw:runlock()
      rw:lock()
      rw:unlock()
    end
    do
      local t
      do
        local s <close> = sem:acquire(2)
        check(not sem:try_acquire() and not sem:acquire(1, 0.0005) and s)
        t = goro.async(function()
          local _ <close> = sem:acquire(2)
          return 1
        end)
      end
      check(result(t) == 1)
      sem:acquire(1)
      sem:release(1)
    end
  end
end

function programs.others_of_sync()
  local mu = goro.Mutex()
  local cond = goro.Cond(mu)
  return function()
    local wg = goro.WaitGroup()
    check(goro.Cond(mu))
    wg:add(2)
    wg:done()
    local ok, err = wg:wait(0.0005)
    wg:done()
    check(not ok and err == "timeout")
    wg:go(function() goro.sleep(0.0001) end)
    wg:wait()
    do
      local _ <close> = mu:lock()
      check(not cond:wait(0.0005))
      cond:signal()
      cond:broadcast()
    end
    local there = goro.chan()
    local j <close> = tasks()
    local t = goro.async(function()
      local _ <close> = mu:lock()
      there:close()
      return cond:wait(0.2)
    end)
    j[1] = t
    goro.select { there, t:done() }
    do
      local _ <close> = mu:lock()
      cond:signal()
    end
    check(result(t) == true)
    local once = goro.Once()
    local running = goro.chan()
    t = goro.async(function()
      return once:run(function() running:close() goro.sleep(0.0005) return { 1 } end)
    end)
    j[2] = t
    goro.select { running, t:done() }
    if once:run(function() return { 2 } end)[1] == 2 then result(t) end
    check(result(t)[1] == 1)
    local a = goro.Atomic(1)
    a:store(2)
    check(a:load() == 2 and a:add(2) == 4 and a:swap(5) == 4 and a:cas(5, 6))
  end
end

function programs.maps()
  local m = goro.Map()
  return function()
    m:store("a", { 1 })
    check(m:load("a")[1] == 1 and m:load_or_store("b", 2) == 2 and m:swap("b", 3) == 2)
    check(m:cas("b", 3, 4) and m:update("b", function(v) return v + 1 end) == 5)
    check(m:len() == 2 and #m == 2)
    local n = 0
    for _ in m:range() do n = n + 1 end
    for _ in m:pairs() do n = n + 1 end
    check(n == 4 and m:delete("a")[1] == 1 and m:delete("b") == 5)
    local inside = goro.chan()
    local j <close> = tasks()
    local t = goro.async(function()
      return m:update("c", function() inside:close() goro.sleep(0.0005) return { 1 } end)
    end)
    j[1] = t
    goro.select { inside, t:done() }
    m:store("c", { 2 })
    check(m:load("c")[1] == 2)
    m:update("c", function(v) return v end)
    result(t)
    m:delete("c")
  end, { after = function() for _, k in ipairs { "a", "b", "c" } do m:delete(k) end end }
end

function programs.groups()
  local flight = goro.singleflight()
  return function()
    check(goro.singleflight():run("k", function() return 1 end) == 1)
    local g <close> = goro.errgroup()
    g:limit(1)
    local c = goro.chan(3)
    for i = 1, 2 do g:go(function() goro.sleep(0.0001) c:send(i) end) end
    want(g:wait())
    check(#c == 2 and g.ctx:err() == "context canceled")
    local bad = goro.errgroup()
    bad:go(function() return nil, "mine" end)
    local ok, err = bad:wait()
    check(ok == nil)
    if err ~= "mine" then error(err, 0) end
    local j <close> = tasks()
    local t = goro.async(function()
      return flight:run("k", function() goro.sleep(0.0005) return { 1 } end)
    end)
    j[1] = t
    check(flight:run("k", function() return { 1 } end)[1] == 1)
    flight:forget("k")
    check(result(t)[1] == 1)
  end, { step = 4 }
end

-- --- time and contexts -----------------------------------------------------------------------

function programs.timers()
  return function()
    check(goro.now() > 0 and goro.after(0.0001):recv(5))
    local t <close> = goro.timer(100)
    check(t:stop() and not t:reset(0.0001) and t.c:recv(5))
    local k <close> = goro.ticker(0.0001)
    check(k.c:recv(5) and k.c:recv(5))
    k:reset(0.0002)
    k:stop()
    local c = goro.chan(1)
    local f <close> = goro.after_func(0, c.send, c, { 1 })
    local v = c:recv(0.3)
    if v == nil then error("no memory", 0) end     -- (it says so on stderr)
    check(v[1] == 1 and not f:stop())
    check(not f:reset(100) and f:stop())
  end, { step = 4 }
end

function programs.contexts()
  return function()
    local context = goro.context
    check(context.background() ~= context.todo())
    local ctx, cancel = context.with_cancel(nil)
    local timed, no = context.with_timeout(ctx, 0.0005)
    local late = context.with_deadline(ctx, goro.now() + 100)
    local valued = context.with_value(late, "key", { 1 })
    check(valued:value("key")[1] == 1 and timed:deadline() and ctx:deadline() == nil)
    local _, _, reason = goro.chan():recv(timed)
    check(reason == context.DeadlineExceeded and timed:err() == reason)
    local j <close> = tasks()
    local ends <close> = ctx
    local t = goro.async(function() return goro.sleep(100, valued) end)
    j[1] = t
    local u = goro.async(function() return valued:done():recv() end)
    j[2] = u
    cancel({ "cause" })
    check(result(t) == false)
    result(u)
    check(ends:cause()[1] == "cause" and valued:err() == context.Canceled and no)
    check(not goro.sleep(1, ctx) and ctx:done():recv() == nil)
  end
end

-- --- input and output ------------------------------------------------------------------------

function programs.sockets()
  local net = goro.net
  return function()
    local j <close> = tasks()
    local l <close> = want(net.listen("127.0.0.1:0"))
    l:deadline(5)
    check(l:fd() >= 0)
    local addr = want(l:addr())
    local c <close> = want(net.dial(addr, 5))
    want(c:no_delay(true))
    want(c:keep_alive(10))
    c:limit(100)
    c:deadline(10)
    local s <close> = want(l:accept())
    check(want(c:peer()) == addr and want(c:addr()) ~= addr and c:fd() >= 0)
    want(c:write("head\n"))
    want(c:write(("x"):rep(3000)))
    check(want(s:read_line(5)) == "head")
    check(#want(s:read_full(3000, 5)) == 3000)
    local t = goro.async(function()
      local line, rest = want(s:read_line(5)), want(s:read_all(5))
      return line .. rest, want(s:write({ "a", "b" }))
    end)
    j[1] = t
    local e <close> = c
    want(e:write("line\n"))
    goro.sleep(0.0002)
    want(e:write("rest"))
    want(e:close_write())
    check(result(t) == "linerest" and want(e:read_full(2)) == "ab" and e:close())
  end
end

function programs.unix_and_names()
  local n = 0
  return function()
    n = n + 1
    local path = ("unix:@goro oom %d %s"):format(n, tostring(programs))
    local l <close> = want(goro.net.listen(path))
    local c <close> = want(goro.net.dial(path, 5))
    local s <close> = want(l:accept(5))
    want(s:write("x"))
    check(want(goro.poll(c:fd(), "r", 5)) == "r" and goro.poll(c:fd(), "rw") == "rw")
    check(want(c:read(1, 5)) == "x")
    local j <close> = tasks()
    local ends <close> = s
    local t = goro.async(function()
      return want(goro.poll(c:fd(), "r", 5)), want(c:read(1, 5)), want(c:read(1, 5))
    end)
    j[1] = t
    want(ends:write("y"))
    goro.sleep(0.0005)
    want(ends:write("z"))
    result(t)
    local named <close> = want(goro.net.listen("localhost:0"))
    local over <close> = want(goro.net.dial("localhost:" .. named:addr():match("%d+$"), 5))
    check(over)
  end
end

function programs.datagrams()
  return function()
    local a <close> = want(goro.net.udp("127.0.0.1:0"))
    local b <close> = want(goro.net.udp())
    a:deadline(5)
    check(a:fd() >= 0 and want(b:addr()))
    want(b:send(("d"):rep(2000), want(a:addr())))
    local data, from = want(a:recv(5))
    check(#data == 2000 and from and a:close())
  end
end

function programs.files()
  return function()
    local f <close> = want(goro.open("/dev/zero", "r"))
    check(want(f:read(10)) == ("\0"):rep(10))
    local w <close> = want(goro.open("/dev/null", "w"))
    want(w:write("x"))
    check(goro.open("/no such file") == nil and goro.stdin and goro.stderr)
  end
end

function programs.commands()
  return function()
    local p = want(goro.command { "cat", stdin = "pipe", stdout = "pipe", env = { X = "1" } })
    local stdin <close> = p.stdin
    local stdout <close> = p.stdout
    want(stdin:write("through"))
    want(stdin:close())
    check(want(stdout:read_all()) == "through")
    local how, code = want(p:wait())
    check(how == "exit" and code == 0, tostring(code))
    check(p:kill() == nil and tostring(p))
  end, { after = function()            -- no child is left behind
    local list = io.open("/proc/self/task/" .. M.pid() .. "/children")
    if list then
      local children = list:read("a")
      list:close()
      check(children == "", "children are left: " .. children)
    end
  end }
end

function programs.signals()
  local os_part = require("goro.core")("goro.os")
  local pid = M.pid()
  local kept = goro.signal("USR1")     -- (one may come only when c is closed: it would kill)
  return function()
    check(kept ~= nil)
    local c <close> = goro.signal("USR1", "USR2")
    want(os_part.kill(pid, 10))
    check(c:recv(0.2) == "USR1", "a signal is lost")
  end
end

-- --- sight -----------------------------------------------------------------------------------

function programs.sight()
  return function()
    local c, out = goro.chan(0, nil, "kept"), goro.chan()
    local j <close> = tasks()
    local t, w
    do
      local _ <close> = c
      local _ <close> = out
      t = goro.async(function() goro.name("it") c:recv() end)
      j[1] = t
      w = goro.async(function() out:recv() end)
      j[2] = w
      goro.yield()
      check(goro.stats().live >= 1)
      check(goro.stacks():find("goroutine 1 ", 1, true) or true)
      check(#goro.leaks() == 0)
    end
    result(t)
    result(w)
  end
end

function programs.debugging()
  local path = os.tmpname()
  os.remove(path)
  return function()
    want(goro.debug.dump_on("USR2"))
    want(goro.debug.limit(100, "too long"))
    want(goro.debug.limit())
    want(goro.debug.serve(path))
    for _, what in ipairs { "top", "stacks", "leaks" } do
      local text, err = goro.debug.fetch(path, what)
      if not text then goro.debug.serve() error(err, 0) end
    end
    want(goro.debug.serve())
  end, { after = function() goro.debug.serve() goro.debug.limit() end, slack = 10 }
end

function programs.profiling()
  return function()
    want(goro.profile.start(100))
    want(goro.profile.stop("/dev/null"))
  end, { after = function() goro.profile.stop("/dev/null") end }
end

function programs.tracing()
  return function()
    want(goro.trace.start("/dev/null"))
    local t = goro.async(function() return goro.name("traced") end)
    check(t:result() == "traced")
    want(goro.trace.stop())
  end, { after = function() goro.trace.stop() end }
end

function programs.busted()
  local busted = require("goro.busted")
  local others = goro.num_goroutine()
  return function()
    while goro.num_goroutine() > others do goro.yield() end    -- (those left behind before end)
    busted.setup { timeout = 5 }
    busted.run(function()
      busted.test { timeout = 6 }
      goro.yield()
    end, "a test")
    local c <close> = goro.chan()
    local ok, err = pcall(busted.run, function()
      goro.go(function() c:recv() end)
    end, "a test", { grace = 0.005, strict = true })
    check(not ok)
    if not tostring(err):find("left behind", 1, true) then error(err, 0) end
  end
end

-- --- running them ----------------------------------------------------------------------------

--- This process's number.
function M.pid()
  local file = assert(io.open("/proc/self/stat"))
  local number = file:read("n")
  file:close()
  return math.tointeger(number)
end

--- Those for the main script alone.
M.main = { busted = true, debugging = true, goroutines = true }

M.names = {}
for name in pairs(programs) do M.names[#M.names + 1] = name end
table.sort(M.names)

--- Opens goro, where this runs.
function M.begin()
  goro = require("goro")
  return goro
end

-- "Channel:send" = the function in this state.
local function functions()
  local l = goro.net.listen("127.0.0.1:0")
  local c = goro.net.dial(l:addr())
  local objects = {
    Task = goro.async(function() end), Channel = goro.chan(), WaitGroup = goro.WaitGroup(),
    Mutex = goro.Mutex(), RWMutex = goro.RWMutex(), Once = goro.Once(),
    Cond = goro.Cond(goro.Mutex()), Semaphore = goro.Semaphore(1), Atomic = goro.Atomic(),
    Map = goro.Map(), Errgroup = goro.errgroup(), Singleflight = goro.singleflight(),
    Timer = goro.timer(1), Context = goro.context.background(), Connection = c, Listener = l,
    UDP = goro.net.udp("127.0.0.1:0"), Process = goro.command { "true" },
    goro = goro, context = goro.context, debug = goro.debug, net = goro.net,
    profile = goro.profile, trace = goro.trace,
    busted = require("goro.busted"),
  }
  objects.Process:wait()
  local list, class, above = {}, nil, false
  for line in io.lines("types/goro.lua") do
    local owner, name = line:match("^function ([%w_.]+)[.:]([%w_]+)%(")
    if not owner then name = line:match("^%-%-%-@field ([%w_]+) fun%(") owner = class end
    class = line:match("^%-%-%-@class goro%.([%w_]+)") or class
    -- goro.socket and goro.tls are plain Lua over connections, for LuaSocket's clients
    local full = line:match("^%-%-%-@class (goro[%w_.]*)")
    if full then above = full:find("^goro%.socket") or full:find("^goro%.tls") end
    if name and not above then
      owner = owner:match("[%w_]+$")
      local object = objects[owner]
      assert(object, "no object to call it on: " .. owner .. ":" .. name)
      local f = assert(object[name], owner .. " has no " .. name)
      list[owner .. ":" .. name] = type(f) == "table" and getmetatable(f).__call or f
    end
  end
  return list
end

--- The public functions that no program has called; each program runs once.
function M.unused()
  M.begin()
  local called = {}
  for _, name in ipairs(M.names) do
    local f = programs[name]()
    debug.sethook(function() called[debug.getinfo(2, "f").func] = true end, "c")
    local ok, err = xpcall(f, debug.traceback)
    debug.sethook()
    if not ok then error(name .. ": " .. err, 0) end
  end
  local list = {}
  for name, f in pairs(functions()) do
    if not called[f] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

return M
