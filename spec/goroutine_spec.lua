-- Goroutines: each has a Lua state of its own, gets copies of what it is given, and may block
-- wherever a Lua function may run.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local in_goroutine = support.in_goroutine

-- What a body below calls to block is `wait(v)`: it hands v to another goroutine, and returns
-- it when that has sent it back.  The same body run with a `wait` that does not block tells
-- what must come out.
local function plain_wait(v)
  if v == nil then return true end
  return v
end

local function waiting()
  local req, rep = goro.chan(), goro.chan()
  goro.go(function()
    for v in req:range() do rep:send(v) end
  end)
  local function wait(v)
    if v == nil then v = true end
    req:send(v)
    return (rep:recv())
  end
  return wait, req
end

local function start(body)
  local wait, req = waiting()
  local out = goro.chan(1)
  goro.go(function()
    local r = table.pack(body(wait))
    req:close()
    out:send(r)
  end)
  return out
end

local function wrapped(body)
  return function(wait)
    return coroutine.wrap(body)(wait)
  end
end

-- Runs the body in a goroutine, in the main script, in coroutines of both, and in 20
-- goroutines at the same time: always with the results it has when nothing blocks.
local function blocks(body)
  local expected = table.pack(body(plain_wait))
  local in_wrap = table.pack(wrapped(body)(plain_wait))

  assert.same(expected, (start(body):recv()), "in a goroutine")
  assert.same(in_wrap, (start(wrapped(body)):recv()), "in a coroutine of a goroutine")

  for _, f in ipairs { body, wrapped(body) } do
    local wait, req = waiting()
    local got = table.pack(f(wait))
    req:close()
    assert.same(f == body and expected or in_wrap, got, "in the main script")
  end

  local outs = {}
  for i = 1, 20 do outs[i] = start(i % 2 == 0 and body or wrapped(body)) end
  for i = 1, 20 do
    assert.same(i % 2 == 0 and expected or in_wrap, (outs[i]:recv()), "in 20 goroutines")
  end
end

describe("a goroutine #goroutine", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("starts", function()
    it("with go, which returns nothing", function()
      local c = goro.chan()
      assert.equal(0, select("#", goro.go(function() c:send(1) end)))
      assert.equal(1, (c:recv()))
    end)

    it("with the arguments it is given", function()
      local c = goro.chan()
      goro.go(function(...) c:send(table.pack(...)) end, 1, "two", 3.5, true, { 5 })
      assert.same({ n = 5, 1, "two", 3.5, true, { 5 } }, (c:recv()))
    end)

    it("with nil arguments in the middle and at the end", function()
      local c = goro.chan()
      goro.go(function(...)
        local a, b, d, e = ...
        c:send({ n = select("#", ...), a = a, b = b, d = d, e = e })
      end, nil, 2, nil, nil)
      assert.same({ n = 4, b = 2 }, (c:recv()))
    end)

    it("with no arguments", function()
      assert.equal(0, (in_goroutine(function(...) return select("#", ...) end)))
    end)

    it("with 200 arguments", function()
      local args = {}
      for i = 1, 200 do args[i] = i end
      local c = goro.chan()
      goro.go(function(...) c:send({ ... }) end, table.unpack(args))
      assert.same(args, (c:recv()))
    end)

    it("with a C function", function()
      local out = script.ok([[
        local goro = require("goro")
        goro.go(print, "from", "C", 1)
        while goro.num_goroutine() > 1 do goro.yield() end
      ]])
      assert.equal("from\tC\t1\n", out)
    end)

    it("from a goroutine, as deep as one likes", function()
      local c = goro.chan()
      local function child(n)
        if n == 0 then
          c:send("bottom")
        else
          goro.go(child, n - 1)
        end
      end
      goro.go(child, 200)
      assert.equal("bottom", (c:recv()))
    end)

    it("after the starter has ended", function()
      local c, ended = goro.chan(), goro.chan()
      goro.go(function()
        goro.go(function()
          ended:recv()
          c:send("still here")
        end)
      end)
      support.all_blocked()
      ended:send(true)
      assert.equal("still here", (c:recv()))
    end)

    it("10,000 times", function()
      local n = support.many(10000)
      local c = goro.chan(100)
      for i = 1, n do goro.go(function(k) c:send(k) end, i) end
      local sum = 0
      for _ = 1, n do sum = sum + c:recv() end
      assert.equal(n * (n + 1) // 2, sum)
    end)

    it("10,000 times and blocks, all at once", function()
      local n = support.many(10000)
      local gate, c = goro.chan(), goro.chan(100)
      for i = 1, n do
        goro.go(function()
          gate:recv()
          c:send(i)
        end)
      end
      assert.is_true(goro.num_goroutine() > n)
      gate:close()
      local sum = 0
      for _ = 1, n do sum = sum + c:recv() end
      assert.equal(n * (n + 1) // 2, sum)
    end)
  end)

  describe("is on its own:", function()
    it("its globals are not the starter's", function()
      _G.goro_spec_a = "main's"
      local seen = in_goroutine(function()
        local before = _G.goro_spec_a == nil
        _G.goro_spec_a = "its own"
        _G.goro_spec_b = 1
        return before
      end)
      local a, b = _G.goro_spec_a, _G.goro_spec_b
      _G.goro_spec_a = nil
      assert.is_true(seen)
      assert.equal("main's", a)
      assert.is_nil(b)
    end)

    it("two goroutines do not share globals", function()
      local c, go_on = goro.chan(), goro.chan()
      for i = 1, 2 do
        goro.go(function()
          goro_spec_x = i -- luacheck: ignore 111
          c:send(true)
          go_on:recv()
          c:send(goro_spec_x == i) -- luacheck: ignore 113
        end)
      end
      c:recv()
      c:recv()
      go_on:close()
      assert.is_true((c:recv()))
      assert.is_true((c:recv()))
    end)

    it("the libraries it changes are its own", function()
      local upper = string.upper
      in_goroutine(function() string.upper = nil end) -- luacheck: ignore 122
      assert.equal(upper, string.upper)
      assert.equal("A", ("a"):upper())
      assert.equal("A", (in_goroutine(function() return ("a"):upper() end)))
    end)

    it("assigning to a captured variable changes nothing outside", function()
      local n, t = 1, { 1 }
      local inside = in_goroutine(function()
        n = n + 1
        t[1] = t[1] + 1
        return { n, t[1] }
      end)
      assert.same({ 2, 2 }, inside)
      assert.equal(1, n)
      assert.equal(1, t[1])
    end)

    it("captured variables have the value they had when it was started", function()
      local n, t = 1, { 1 }
      local go_on, c = goro.chan(), goro.chan()
      goro.go(function()
        go_on:recv()
        c:send({ n, t[1] })
      end)
      n, t[1] = 2, 2
      go_on:send(n + t[1])
      assert.same({ 1, 1 }, (c:recv()))
    end)

    it("each goroutine of a loop has its own copy of the loop's variable", function()
      local c = goro.chan(10)
      for i = 1, 10 do goro.go(function() c:send(i) end) end
      local seen = {}
      for _ = 1, 10 do seen[c:recv()] = true end
      for i = 1, 10 do assert.is_true(seen[i]) end
    end)

    it("two functions started with one captured variable have a copy each", function()
      local n, c = 0, goro.chan(2)
      local function add() n = n + 1 c:send(n) end
      goro.go(add)
      goro.go(add)
      assert.equal(1, (c:recv()))
      assert.equal(1, (c:recv()))
      assert.equal(0, n)
    end)

    it("but has the whole standard library", function()
      local names = {
        "assert", "collectgarbage", "dofile", "error", "getmetatable", "ipairs", "load",
        "loadfile", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen",
        "rawset", "require", "select", "setmetatable", "tonumber", "tostring", "type", "warn",
        "xpcall", "coroutine.close", "coroutine.create", "coroutine.isyieldable",
        "coroutine.resume", "coroutine.running", "coroutine.status", "coroutine.wrap",
        "coroutine.yield", "debug.traceback", "debug.getinfo", "debug.sethook", "io.open",
        "io.write", "io.read", "io.lines", "io.popen", "io.tmpfile", "math.floor",
        "math.random", "math.tointeger", "os.clock", "os.date", "os.execute", "os.exit",
        "os.getenv", "os.time", "os.tmpname", "package.searchpath", "package.loadlib",
        "string.byte", "string.char", "string.dump", "string.find", "string.format",
        "string.gmatch", "string.gsub", "string.len", "string.lower", "string.match",
        "string.pack", "string.rep", "string.reverse", "string.sub", "string.unpack",
        "string.upper", "table.concat", "table.insert", "table.move", "table.pack",
        "table.remove", "table.sort", "table.unpack", "utf8.char", "utf8.codes", "utf8.len",
      }
      local missing = in_goroutine(function(list)
        local out = {}
        for _, name in ipairs(list) do
          local v = _G
          for part in name:gmatch("[^.]+") do v = v[part] end
          if type(v) ~= "function" then out[#out + 1] = name end
        end
        return out
      end, names)
      assert.same({}, missing)
    end)

    it("pairs and next see the whole of its globals and libraries", function()
      local missing = in_goroutine(function()
        local out, seen = {}, {}
        for k in pairs(_G) do seen[k] = true end
        for _, k in ipairs { "print", "string", "table", "io", "os", "math", "coroutine",
          "debug", "utf8", "package", "_G", "_VERSION", "require" } do
          if not seen[k] then out[#out + 1] = k end
        end
        seen = {}
        for k in next, string do seen[k] = true end
        if not seen.format then out[#out + 1] = "string.format" end
        return out
      end)
      assert.same({}, missing)
    end)

    it("and is its state's main thread", function()
      local ismain, yieldable, message = in_goroutine(function()
        local _, main = coroutine.running()
        local _, err = pcall(coroutine.yield)
        return main, coroutine.isyieldable(), err
      end)
      assert.is_true(ismain)
      assert.is_false(yieldable)
      assert.truthy(message:find("outside a coroutine", 1, true))
    end)
  end)

  describe("knows", function()
    it("its number, which no other has", function()
      local n, c, seen = 100, goro.chan(), {}
      for _ = 1, n do goro.go(function() c:send(goro.id()) end) end
      for _ = 1, n do
        local id = c:recv()
        assert.equal("integer", math.type(id))
        assert.is_true(id > 1)
        assert.is_nil(seen[id])
        seen[id] = true
      end
    end)

    it("that the main script is goroutine 1", function()
      assert.equal(1, goro.id())
      assert.equal(1, coroutine.wrap(goro.id)())
    end)

    it("one number everywhere in it", function()
      assert.is_true((in_goroutine(function()
        local id = goro.id()
        local inner = coroutine.wrap(function() return goro.id() end)()
        local compared
        table.sort({ 2, 1 }, function(a, b)
          compared = goro.id()
          return a < b
        end)
        return id == inner and id == compared
      end)))
    end)

    it("the name it was given", function()
      local c, go_on = goro.chan(), goro.chan()
      for _, name in ipairs { "ant", "bee" } do
        goro.go(function()
          c:send(goro.name(name))
          go_on:recv()
          c:send(goro.name())
        end)
      end
      local seen = {}
      for _ = 1, 2 do seen[c:recv()] = true end
      assert.same({ ant = true, bee = true }, seen)
      go_on:close()
      seen = {}
      for _ = 1, 2 do seen[c:recv()] = true end
      assert.same({ ant = true, bee = true }, seen)
    end)

    it("the last name it was given, and the main script too", function()
      assert.equal("first", goro.name("first"))
      assert.equal("second", goro.name("second"))
      assert.equal("second", goro.name())
    end)

    it("how many goroutines there are, the main script counted", function()
      local out = script.ok([[
        local goro = require("goro")
        print(goro.num_goroutine())
        local gate, up = goro.chan(), goro.chan()
        for i = 1, 10 do goro.go(function() up:send(i) gate:recv() end) end
        print(goro.num_goroutine())
        for _ = 1, 10 do up:recv() end
        print(goro.num_goroutine())
        gate:close()
        while goro.num_goroutine() > 1 do goro.yield() end
        print(goro.num_goroutine())
      ]])
      assert.equal("1\n11\n11\n1\n", out)
    end)
  end)

  describe("takes over", function()
    it("package.path and package.cpath of the state that started it", function()
      local path, cpath = package.path, package.cpath
      package.path = path .. ";./nowhere/?.lua"
      package.cpath = cpath .. ";./nowhere/?.so"
      local expected = { package.path, package.cpath, package.path, package.cpath }
      local c = goro.chan()
      goro.go(function()
        goro.go(function(p, cp)
          c:send({ p, cp, package.path, package.cpath })
        end, package.path, package.cpath)
      end)
      package.path, package.cpath = path, cpath
      assert.same(expected, (c:recv()))
    end)

    it("the path a goroutine set, for those it starts", function()
      local before = package.path
      local c = goro.chan()
      goro.go(function()
        package.path = "./elsewhere/?.lua"
        goro.go(function() c:send(package.path) end)
      end)
      assert.equal("./elsewhere/?.lua", (c:recv()))
      assert.equal(before, package.path)
    end)

    it("package.preload", function()
      package.preload["goro spec preloaded"] = function(name) return { name = name } end
      local ok, name = pcall(in_goroutine, function()
        return require("goro spec preloaded").name
      end)
      package.preload["goro spec preloaded"] = nil
      assert.is_true(ok, name)
      assert.equal("goro spec preloaded", name)
    end)

    it("searchers that were added to package.searchers", function()
      table.insert(package.searchers, function(name)
        local what = name:match("^goro spec searched (.*)")
        if what then return function() return { what = what } end end
        return "\n\tnot mine"
      end)
      local ok, what = pcall(in_goroutine, function()
        return require("goro spec searched for").what
      end)
      table.remove(package.searchers)
      assert.is_true(ok, what)
      assert.equal("for", what)
    end)

    it("searchers before the stock ones, which keep their order", function()
      package.preload["goro spec preloaded"] = function() return "preloaded" end
      for place = 1, 5 do
        table.insert(package.searchers, place, function(name)
          if name == "goro spec searched" then return function() return { place } end end
        end)
        local ok, n, at, preloaded, lua, c = pcall(in_goroutine, function()
          local where
          for i, searcher in ipairs(package.searchers) do
            local ok, found = pcall(searcher, "goro spec searched")
            if ok and type(found) == "function" then where = i end
          end
          return #package.searchers, where, require("goro spec preloaded"),
            (require("spec.support")), (pcall(require, "lfs"))
        end)
        table.remove(package.searchers, place)
        assert.is_true(ok, n)
        assert.same({ 5, place, "preloaded", "table", true },
          { n, at, preloaded, type(lua), c })
      end
      package.preload["goro spec preloaded"] = nil
    end)

    it("arg, as a copy", function()
      local out = script.ok([[
        local goro = require("goro")
        local c = goro.chan()
        goro.go(function()
          c:send(#arg .. arg[1] .. arg[2] .. type(arg[0]) .. type(arg[-1]))
          arg[1] = "changed"
          goro.go(function() c:send(arg[1]) end)
        end)
        print((c:recv()))
        print((c:recv()))
        print(arg[1])
      ]], { args = "one two" })
      assert.equal("2onetwostringstring\nchanged\none\n", out)
    end)

    it("no other global", function()
      local out = script.ok([[
        local goro = require("goro")
        x, y = 1, {}
        local c = goro.chan()
        goro.go(function() c:send({ x == nil, y == nil }) end)
        local r = c:recv()
        print(r[1], r[2])
      ]])
      assert.equal("true\ttrue\n", out)
    end)

    it("what goro.init prepares, in the order of its calls, before it runs", function()
      local out = script.ok([[
        local goro = require("goro")
        local c, go_on = goro.chan(), goro.chan()
        local word = "a"
        goro.go(function() go_on:recv() c:send(tostring(mode)) end)
        goro.init(function() mode = word end)
        word = "changed"
        goro.go(function() c:send(mode) end)
        print((c:recv()))
        goro.init(function() mode = mode .. "b" end)
        goro.go(function()
          c:send(mode)
          goro.go(function() c:send(mode) end)
        end)
        print((c:recv()))
        print((c:recv()))
        go_on:send(1)
        print((c:recv()), mode)
      ]])
      assert.equal("a\nab\nab\nnil\tnil\n", out)
    end)

    it("goro.init from a goroutine as well", function()
      local out = script.ok([[
        local goro = require("goro")
        local c = goro.chan()
        goro.go(function()
          goro.init(function() mode = "set by a goroutine" end)
          c:send(1)
        end)
        c:recv()
        goro.go(function() c:send(mode) end)
        print((c:recv()))
      ]])
      assert.equal("set by a goroutine\n", out)
    end)
  end)

  describe("lets others run", function()
    it("with goro.yield", function()
      support.with_procs(1, function()
        local c = goro.chan(1)
        goro.go(function() c:send("ran") end)
        local v, ok
        repeat
          goro.yield()
          v, ok = c:try_recv()
        until ok
        assert.equal("ran", v)
      end)
    end)

    it("with goro.yield in each of two goroutines that wait for each other", function()
      support.with_procs(1, function()
        local a, b = goro.chan(1), goro.chan(1)
        local done = goro.chan()
        local function side(mine, other)
          for i = 1, 500 do
            mine:send(i)
            while not select(2, other:try_recv()) do goro.yield() end
          end
          done:send(true)
        end
        goro.go(side, a, b)
        goro.go(side, b, a)
        assert.is_true((done:recv()))
        assert.is_true((done:recv()))
      end)
    end)

    it("with goro.yield anywhere", function()
      blocks(function(wait)
        local sum = 0
        for v in coroutine.wrap(function()
          for i = 1, 10 do
            goro.yield()
            coroutine.yield(i)
          end
        end) do
          goro.yield()
          sum = sum + v
        end
        table.sort({ 3, 2, 1 }, function(x, y)
          goro.yield()
          return x < y
        end)
        return sum, wait(1)
      end)
    end)

    it("with any call that blocks, also with one processor", function()
      support.with_procs(1, function()
        local ping, pong = goro.chan(), goro.chan()
        goro.go(function()
          for v in ping:range() do pong:send(v + 1) end
        end)
        local v = 0
        for _ = 1, 1000 do
          ping:send(v)
          v = pong:recv()
        end
        ping:close()
        assert.equal(1000, v)
      end)
    end)
  end)

  describe("may block", function()
    it("in its body", function()
      blocks(function(wait)
        local sum = 0
        for i = 1, 100 do sum = sum + wait(i) end
        return sum
      end)
    end)

    it("in a deep recursion, with all results kept", function()
      blocks(function(wait)
        local function f(n)
          if n == 0 then return wait(0) end
          return f(n - 1) + wait(1)
        end
        return f(150), select("#", (function(...) wait() return ... end)(1, nil, 3, nil))
      end)
    end)

    it("under pcall", function()
      blocks(function(wait)
        local ok, v = pcall(function() return wait(1) + wait(2) end)
        local ok2, e = pcall(function()
          local a = wait(3)
          error({ code = a + wait(4) })
        end)
        return ok, v, ok2, e.code, wait(5)
      end)
    end)

    it("when pcall is given the blocking function itself", function()
      blocks(function(wait) return pcall(wait, 5) end)
      local c = goro.chan(1)
      goro.go(function() c:send(7) end)
      assert.same({ true, 7, true }, { pcall(c.recv, c) })
      assert.same({ true, false, true, 8, true }, (in_goroutine(function()
        local d = goro.chan()
        goro.go(function() d:send(8) d:close() end)
        local r = { pcall(d.recv, d) }
        local s = { pcall(d.recv, d) }
        return { s[1], s[3], r[1], r[2], r[3] }
      end)))
    end)

    it("under pcall in pcall, with errors that pass between", function()
      blocks(function(wait)
        local log = {}
        local ok, e = pcall(function()
          log[#log + 1] = wait("a")
          local ok1, e1 = pcall(function()
            log[#log + 1] = wait("b")
            error("inner", 0)
          end)
          log[#log + 1] = tostring(ok1) .. e1
          log[#log + 1] = wait("c")
          error("outer", 0)
        end)
        log[#log + 1] = wait("d")
        return ok, e, table.concat(log, ",")
      end)
    end)

    it("under xpcall, with arguments and a traceback", function()
      blocks(function(wait)
        local function f(x, y) return wait(x), wait(y) end
        local ok, a, b = xpcall(f, debug.traceback, 1, 2)
        local ok2, tb = xpcall(function()
          wait()
          error("here")
        end, debug.traceback)
        return ok, a, b, ok2, tb:match("here\nstack traceback:") ~= nil
      end)
    end)

    it("in the message handler of xpcall", function()
      blocks(function(wait)
        local ok, m = xpcall(function() error("x", 0) end, function(e)
          return wait(e) .. wait("!")
        end)
        local ok2, m2 = xpcall(function()
          wait(1)
          local n = nil
          return n.field
        end, function() return wait("indexed nil") end)
        return ok, m, ok2, m2, wait(3)
      end)
    end)

    local metamethods = {
      __index = function(wait)
        local t = setmetatable({}, { __index = function(_, k) return wait(k) .. "!" end })
        return t.key, t[1], rawget(t, "key")
      end,
      __newindex = function(wait)
        local t = setmetatable({}, { __newindex = function(s, k, v) rawset(s, k, wait(v)) end })
        t.a, t[2] = 1, "two"
        return t.a, t[2]
      end,
      __call = function(wait)
        local t = setmetatable({}, { __call = function(_, a, b) return wait(a), wait(b) end })
        return t(1, 2)
      end,
      __concat = function(wait)
        local t = setmetatable({}, {
          __concat = function(a, b)
            return (type(a) == "table" and "T" or a) .. wait("-")
              .. (type(b) == "table" and "T" or b)
          end,
        })
        return t .. "a" .. "b", "a" .. "b" .. t .. "c" .. "d", 1 .. t
      end,
      __len = function(wait)
        return #setmetatable({}, { __len = function() return wait(42) end })
      end,
      __eq = function(wait)
        local mt = { __eq = function(a, b) return wait(a[1]) == b[1] end }
        local function new(n) return setmetatable({ n }, mt) end
        local a, b, c = new(1), new(1), new(2)
        return a == b, a ~= b, a == c, a ~= c
      end,
      __lt = function(wait)
        local mt = { __lt = function(a, b) return wait(a[1]) < b[1] end }
        local a, b = setmetatable({ 1 }, mt), setmetatable({ 2 }, mt)
        return a < b, b < a, a > b, b > a
      end,
      __le = function(wait)
        local mt = { __le = function(a, b) return wait(a[1]) <= b[1] end }
        local a, b = setmetatable({ 1 }, mt), setmetatable({ 2 }, mt)
        return a <= b, b <= a, a >= b, b >= a
      end,
      __unm = function(wait)
        return -setmetatable({}, { __unm = function() return wait("minus") end })
      end,
      __bnot = function(wait)
        return ~setmetatable({}, { __bnot = function() return wait("not") end })
      end,
      __tostring = function(wait)
        local t = setmetatable({}, { __tostring = function() return wait("text") end })
        return tostring(t), ("%s|%s"):format(t, t)
      end,
      __pairs = function(wait)
        local t = setmetatable({}, {
          __pairs = function()
            wait()
            return function(_, k)
              k = (k or 0) + 1
              if k <= 3 then return k, wait(k * 10) end
            end
          end,
        })
        local keys, sum = 0, 0
        for k, v in pairs(t) do keys, sum = keys + k, sum + v end
        return keys, sum
      end,
      __close = function(wait)
        local log = {}
        local function guard(name)
          return setmetatable({}, {
            __close = function(_, e) log[#log + 1] = wait(name) .. (e and wait("!") or "") end,
          })
        end
        local function f()
          local _ <close> = guard("a")
          local _ <close> = guard("b")
          return wait("result"), 2
        end
        log[#log + 1] = f()
        for i = 1, 3 do
          local _ <close> = guard("loop")
          if i == 2 then break end
        end
        local ok, e = pcall(function()
          local _ <close> = guard("c")
          local _ <close> = guard("d")
          wait()
          error("failed", 0)
        end)
        return table.concat(log, " "), ok, e
      end,
      __metatable_of_strings = function(wait)
        local mt = getmetatable("")
        local old = mt.__index
        mt.__index = function(s, k) return old[k] or wait(s .. k) end
        local r = { pcall(function() return ("x").y, ("x"):upper() end) }
        mt.__index = old
        return table.unpack(r)
      end,
    }
    for _, name in ipairs { "add", "sub", "mul", "div", "mod", "pow", "idiv", "band", "bor",
      "bxor", "shl", "shr" } do
      metamethods["__" .. name] = function(wait)
        local t = setmetatable({}, {
          ["__" .. name] = function(a, b)
            return wait((a == 5 or b == 5) and 55 or 0)
          end,
        })
        local f = load(("local t = ... return t %s 5, 5 %s t, t %s t"):gsub("%%s", ({
          add = "+", sub = "-", mul = "*", div = "/", mod = "%%", pow = "^", idiv = "//",
          band = "&", bor = "|", bxor = "~", shl = "<<", shr = ">>",
        })[name]))
        return f(t)
      end
    end
    local names = {}
    for name in pairs(metamethods) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
      it("in " .. name, function() blocks(metamethods[name]) end)
    end

    it("in the iterator of a for loop, and in its closing value", function()
      blocks(function(wait)
        local log = {}
        local closing = setmetatable({}, {
          __close = function() log[#log + 1] = wait("closed") end,
        })
        for i in function(_, i)
          i = wait((i or 0) + 1)
          if i <= 5 then return i end
        end, nil, nil, closing do
          log[#log + 1] = wait(i)
          if i == 3 then break end
        end
        return table.concat(log, " ")
      end)
    end)

    it("in ipairs, table.concat, table.unpack and others over proxies", function()
      blocks(function(wait)
        local proxy = setmetatable({}, {
          __index = function(_, k) if k <= 3 then return wait(k * 2) end end,
          __len = function() return wait(3) end,
          __newindex = function(t, k, v) rawset(t, k, wait(v)) end,
        })
        local sum = 0
        for i, v in ipairs(proxy) do sum = sum + i * v end
        local joined = table.concat(proxy, ",", 1, 3)
        local a, b, c = table.unpack(proxy, 1, 3)
        table.insert(proxy, "new")
        local moved = table.move(proxy, 1, 3, 1, {})
        return sum, joined, a, b, c, rawget(proxy, 4), #moved
      end)
    end)

    it("in a table.sort comparator", function()
      blocks(function(wait)
        local t = { 5, 3, 9, 1, 7, 2, 8 }
        table.sort(t, function(a, b) return wait(a) < b end)
        return table.concat(t, " ")
      end)
    end)

    it("in a table.sort comparator, 50 goroutines at once, with any number of processors",
      function()
        for _, procs in ipairs { 1, 2, 8 } do
          support.with_procs(procs, function()
            local n = 50
            local arrived, gate, out = goro.chan(), goro.chan(), goro.chan()
            for i = 1, n do
              goro.go(function()
                local t, first = { 4, i, 2, 3 }, true
                table.sort(t, function(a, b)
                  if first then
                    first = false
                    arrived:send(i)
                    gate:recv()
                  end
                  return a < b
                end)
                for k = 2, #t do
                  if t[k - 1] > t[k] then
                    out:send(0)
                    return
                  end
                end
                out:send(i)
              end)
            end
            for _ = 1, n do arrived:recv() end
            gate:close()
            local sum = 0
            for _ = 1, n do sum = sum + out:recv() end
            assert.equal(n * (n + 1) // 2, sum)
          end)
        end
      end)

    it("in comparators that wait for each other, with one processor", function()
      support.with_procs(1, function()
        local a, b, out = goro.chan(), goro.chan(), goro.chan()
        local function sorter(mine, other, leads)
          local t = { 3, 1, 2 }
          local n = 0
          table.sort(t, function(x, y)
            n = n + 1
            if n <= 2 then
              if leads then
                mine:send(n)
                other:recv()
              else
                other:recv()
                mine:send(n)
              end
            end
            return x < y
          end)
          out:send(table.concat(t))
        end
        goro.go(sorter, a, b, true)
        goro.go(sorter, b, a, false)
        assert.equal("123", (out:recv()))
        assert.equal("123", (out:recv()))
      end)
    end)

    it("in a sort comparator under __lt", function()
      blocks(function(wait)
        local mt = { __lt = function(a, b) return wait(a.n) < b.n end }
        local t = {}
        for i, n in ipairs { 4, 2, 5, 1, 3 } do t[i] = setmetatable({ n = n }, mt) end
        table.sort(t)
        local out = {}
        for i, v in ipairs(t) do out[i] = v.n end
        return table.concat(out)
      end)
    end)

    it("in a string.gsub callback, also nested", function()
      blocks(function(wait)
        local s = ("hello world"):gsub("%w+", function(w)
          return wait(w):upper() .. w:gsub("[eo]", function(c) return wait("<" .. c .. ">") end)
        end)
        local proxied = ("$a $b"):gsub("%$(%w)", setmetatable({}, {
          __index = function(_, k) return wait(k .. k) end,
        }))
        return s, proxied
      end)
    end)

    it("in a string.gmatch loop", function()
      blocks(function(wait)
        local out = {}
        for k, v in ("a=1, b=2, c=3"):gmatch("(%w+)=(%w+)") do out[#out + 1] = wait(k .. v) end
        return table.concat(out)
      end)
    end)

    it("in a load reader", function()
      blocks(function(wait)
        local parts = { "return ", "1 ", "+ ", "2" }
        local i = 0
        local f = load(function()
          i = i + 1
          return parts[i] and wait(parts[i])
        end, "=parts")
        return f(), i
      end)
    end)

    it("in the loader of a module that is required", function()
      blocks(function(wait)
        package.preload["goro spec blocking"] = function(name)
          return { name = wait(name) }
        end
        local m = require("goro spec blocking")
        local again = require("goro spec blocking")
        package.preload["goro spec blocking"] = nil
        package.loaded["goro spec blocking"] = nil
        return m.name, m == again
      end)
    end)

    it("in the loader of a module, 20 goroutines at once with one processor", function()
      support.with_procs(1, function()
        local arrived, gate, out = goro.chan(), goro.chan(), goro.chan()
        for i = 1, 20 do
          goro.go(function()
            package.preload["goro spec module"] = function()
              arrived:send(i)
              gate:recv()
              return i
            end
            out:send(require("goro spec module"))
          end)
        end
        for _ = 1, 20 do arrived:recv() end
        gate:close()
        local sum = 0
        for _ = 1, 20 do sum = sum + out:recv() end
        assert.equal(210, sum)
      end)
    end)

    it("in a searcher of require", function()
      blocks(function(wait)
        table.insert(package.searchers, 1, function(name)
          if name == "goro spec found" then
            return function(_, extra) return { extra = wait(extra) } end, wait("extra")
          end
        end)
        local m = require("goro spec found")
        table.remove(package.searchers, 1)
        package.loaded["goro spec found"] = nil
        return m.extra
      end)
    end)

    it("in the body of a file that dofile runs", function()
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write("local a = wait(20) return a + wait(22)")
      file:close()
      local ok, err = pcall(blocks, function(wait)
        local old = rawget(_G, "wait")
        rawset(_G, "wait", wait)
        local r = dofile(path)
        rawset(_G, "wait", old)
        return r
      end)
      os.remove(path)
      if not ok then error(err, 0) end
    end)

    it("in a finaliser", function()
      blocks(function(wait)
        local got = {}
        for i = 1, 3 do
          setmetatable({}, { __gc = function() got[#got + 1] = wait(i) end })
        end
        collectgarbage()
        collectgarbage()
        table.sort(got)
        return table.concat(got, " "), wait("after")
      end)
    end)

    it("in finalisers that come at any time", function()
      local n = support.many(300)
      local sink, out = goro.chan(), goro.chan()
      goro.go(function()
        local sum = 0
        for v in sink:range() do sum = sum + v end
        out:send(sum)
      end)
      local function churn()
        local ping = goro.chan(1)
        for i = 1, n do
          setmetatable({}, { __gc = function() sink:send(1) end })
          local keep = {}
          for k = 1, 20 do keep[k] = { tostring(k) .. i } end
          ping:send(keep)
          ping:recv()
        end
        collectgarbage()
        collectgarbage()
        return n
      end
      local total = churn()
      total = total + in_goroutine(churn)
      sink:close()
      assert.equal(total, (out:recv()))
    end)

    it("in a long tail of calls between C and Lua", function()
      blocks(function(wait)
        local out = {}
        table.sort({ 2, 1 }, function(a, b)
          local s = ("x"):gsub("x", function()
            local ok, v = pcall(function()
              return coroutine.wrap(function()
                local t = setmetatable({}, { __index = function(_, k) return wait(k) end })
                coroutine.yield(t.inner)
              end)()
            end)
            out[#out + 1] = tostring(ok) .. v
            return wait("y")
          end)
          out[#out + 1] = s
          return a < b
        end)
        return table.concat(out, " ")
      end)
    end)
  end)

  describe("has coroutines as ever:", function()
    it("values that they yield and get pass unharmed while it blocks in between", function()
      blocks(function(wait)
        local co = coroutine.create(function(a, b)
          local log = { a, wait(b) }
          for i = 1, 5 do
            wait(i)
            log[#log + 1] = coroutine.yield(i, wait(i * 2), nil)
            wait(i)
          end
          return "end", table.concat(log, ",")
        end)
        local out = {}
        local r = table.pack(coroutine.resume(co, "a", "b"))
        while coroutine.status(co) ~= "dead" do
          out[#out + 1] = ("%d:%s,%s,%s"):format(r.n, r[1], r[2], r[3])
          wait("outside")
          r = table.pack(coroutine.resume(co, "r" .. #out))
        end
        out[#out + 1] = ("%d:%s,%s,%s"):format(r.n, r[1], r[2], r[3])
        return table.concat(out, " ")
      end)
    end)

    it("many values at once, nils too", function()
      blocks(function(wait)
        local function count(...)
          wait()
          return select("#", ...), ...
        end
        local co = coroutine.wrap(function(...)
          wait()
          local n = select("#", coroutine.yield(count(...)))
          wait()
          return n, nil, nil
        end)
        local big = {}
        for i = 1, 150 do big[i] = i end
        local first = table.pack(co(nil, 1, nil))
        local second = table.pack(co(table.unpack(big)))
        return first.n, first[1], first[3], second.n, second[1]
      end)
    end)

    it("a generator in a for loop", function()
      blocks(function(wait)
        local sum = 0
        for i, double in coroutine.wrap(function()
          for i = 1, 50 do
            wait(i)
            coroutine.yield(i, wait(i * 2))
          end
        end) do
          sum = sum + i + double + wait(0)
        end
        return sum
      end)
    end)

    it("nests of them", function()
      blocks(function(wait)
        local function nest(n)
          if n == 0 then return wait("bottom") end
          local co = coroutine.wrap(function()
            wait(n)
            coroutine.yield(n)
            return nest(n - 1)
          end)
          local mark = co()
          return co() .. wait(mark)
        end
        return nest(20)
      end)
    end)

    it("generators over generators", function()
      blocks(function(wait)
        local function count(n)
          return coroutine.wrap(function() for i = 1, n do coroutine.yield(wait(i)) end end)
        end
        local function filter(f, source)
          return coroutine.wrap(function()
            for v in source do
              if wait(f(v)) then coroutine.yield(v) end
            end
          end)
        end
        local out = {}
        local odd = filter(function(v) return v % 2 == 1 end, count(30))
        for v in filter(function(v) return v % 3 == 0 end, odd) do out[#out + 1] = v end
        return table.concat(out, " ")
      end)
    end)

    it("several of them, resumed in turn, each blocking", function()
      blocks(function(wait)
        local cos, out = {}, {}
        for i = 1, 5 do
          cos[i] = coroutine.create(function()
            for k = 1, 3 do coroutine.yield(wait(i .. "." .. k)) end
          end)
        end
        for _ = 1, 3 do
          for i = 5, 1, -1 do
            local _, v = coroutine.resume(cos[i])
            out[#out + 1] = v
          end
        end
        return table.concat(out, " ")
      end)
    end)

    it("status, running and isyieldable say what they say elsewhere", function()
      blocks(function(wait)
        local out = {}
        local function note(...) out[#out + 1] = table.concat({ ... }, "/") end
        local outer, inner
        outer = coroutine.create(function()
          local me, main = coroutine.running()
          wait()
          note(tostring(me == outer), tostring(main), tostring(coroutine.isyieldable()))
          inner = coroutine.create(function()
            wait()
            note(coroutine.status(outer), coroutine.status(inner))
            wait()
            note(tostring(coroutine.running() == inner), tostring(coroutine.isyieldable()))
            coroutine.yield()
          end)
          coroutine.resume(inner)
          wait()
          note(coroutine.status(inner), coroutine.status(outer))
          note(tostring(coroutine.running() == outer))
          table.sort({ 2, 1 }, function(a, b)
            wait()
            note("sort", tostring(coroutine.isyieldable()), tostring(pcall(coroutine.yield)))
            coroutine.wrap(function()
              wait()
              note("in sort", tostring(coroutine.isyieldable()))
            end)()
            return a < b
          end)
          coroutine.yield()
        end)
        note(coroutine.status(outer))
        coroutine.resume(outer)
        note(coroutine.status(outer), coroutine.status(inner))
        wait()
        coroutine.resume(outer)
        coroutine.resume(inner)
        note(coroutine.status(outer), coroutine.status(inner))
        note(tostring(coroutine.resume(outer)))
        note(select(2, coroutine.resume(outer)))
        return table.concat(out, " ")
      end)
    end)

    it("the running thread is the same before and after it has blocked", function()
      blocks(function(wait)
        local before = coroutine.running()
        wait()
        return before == coroutine.running(), coroutine.wrap(function()
          local b = coroutine.running()
          wait()
          return b == coroutine.running()
        end)()
      end)
    end)

    it("nobody can resume or close one that runs or is normal", function()
      blocks(function(wait)
        local outer, inner
        local out = {}
        outer = coroutine.create(function()
          inner = coroutine.create(function()
            wait()
            out[#out + 1] = select(2, coroutine.resume(inner))
            out[#out + 1] = select(2, coroutine.resume(outer))
            out[#out + 1] = select(2, pcall(coroutine.close, inner))
            out[#out + 1] = select(2, pcall(coroutine.close, outer))
          end)
          coroutine.resume(inner)
        end)
        coroutine.resume(outer)
        return table.concat(out, "; ")
      end)
    end)

    it("an error comes out of wrap, and resume tells it", function()
      blocks(function(wait)
        local ok1, e1 = pcall(coroutine.wrap(function()
          wait()
          error("text", 0)
        end))
        local ok2, e2 = pcall(coroutine.wrap(function()
          wait()
          error({ code = wait(7) })
        end))
        local ok3, e3 = pcall(coroutine.wrap(function()
          wait()
          error(nil)
        end))
        local co = coroutine.create(function()
          wait()
          local n = nil
          return n.x
        end)
        local ok4, e4 = coroutine.resume(co)
        local ok5, e5 = coroutine.close(co)
        local trace = debug.traceback(co) ~= nil
        return ok1, e1, ok2, e2.code, ok3, type(e3), ok4, e4, coroutine.status(co), ok5,
          e5 == nil or type(e5), trace
      end)
    end)

    it("a wrap that failed runs its pending closes, which may block", function()
      blocks(function(wait)
        local log = {}
        local ok, e = pcall(coroutine.wrap(function()
          local _ <close> = setmetatable({}, {
            __close = function(_, err) log[#log + 1] = wait("closed ") .. tostring(err) end,
          })
          wait()
          error("failed", 0)
        end))
        return ok, e, table.concat(log)
      end)
    end)

    it("dead ones say so", function()
      blocks(function(wait)
        local co = coroutine.create(function() return wait(1) end)
        coroutine.resume(co)
        local ok, e = coroutine.resume(co)
        local w = coroutine.wrap(function() return wait(1) end)
        w()
        local ok2, e2 = pcall(w)
        return ok, e, ok2, (e2:gsub("^.-: ", ""))
      end)
    end)

    it("close ends a suspended one, and its <close> variables may block", function()
      blocks(function(wait)
        local log = {}
        local function guard(name, err)
          return setmetatable({}, {
            __close = function(_, e)
              log[#log + 1] = wait(name) .. tostring(e)
              if err then error(err, 0) end
            end,
          })
        end
        local co = coroutine.create(function()
          local _ <close> = guard("a")
          wait()
          local _ <close> = guard("b")
          coroutine.yield("up")
          log[#log + 1] = "never"
        end)
        local _, v = coroutine.resume(co)
        local ok, e = coroutine.close(co)
        local status = coroutine.status(co)
        local co2 = coroutine.create(function()
          local _ <close> = guard("c", "from close")
          coroutine.yield()
        end)
        coroutine.resume(co2)
        local ok2, e2 = coroutine.close(co2)
        local fresh = coroutine.close(coroutine.create(function() end))
        return v, ok, e, status, ok2, e2, fresh, table.concat(log, " ")
      end)
    end)

    it("yields pass through pcall, metamethods and iterators", function()
      if support.old_close then pending("__close cannot yield before Lua 5.4.3") end
      blocks(function(wait)
        local out = {}
        local co = coroutine.wrap(function()
          local ok, e = pcall(function()
            wait(1)
            coroutine.yield("in pcall")
            wait(2)
            error("after yield", 0)
          end)
          coroutine.yield(tostring(ok) .. e)
          local t = setmetatable({}, {
            __index = function(_, k) return wait(coroutine.yield(k)) end,
            __add = function() return coroutine.yield(wait("add")) end,
          })
          out[#out + 1] = t.field
          out[#out + 1] = t + 1
          for v in function(_, s)
            wait()
            return coroutine.yield(s or "start")
          end do
            out[#out + 1] = v
          end
          do
            local _ <close> = setmetatable({}, {
              __close = function()
                wait()
                out[#out + 1] = coroutine.yield("closing")
              end,
            })
            wait()
          end
          return "end"
        end)
        local seen = { co(), co(), co() }
        for _, v in ipairs { "field's", "sum", "it1", "it2", false, "closed" } do
          seen[#seen + 1] = co(v or nil)
        end
        return table.concat(seen, " "), table.concat(out, " ")
      end)
    end)

    it("a coroutine resumed by a C function's callback blocks the goroutine only", function()
      blocks(function(wait)
        local gen = coroutine.wrap(function()
          local i = 0
          while true do
            i = i + 1
            coroutine.yield(wait(i))
          end
        end)
        local n = 0
        local t = { 3, 1, 2, 5, 4 }
        table.sort(t, function(a, b)
          n = math.max(n, gen())
          return a < b
        end)
        local s = ("abc"):gsub(".", function(c) return c .. (gen() - n) end)
        return table.concat(t), s
      end)
    end)

    it("a coroutine that began to block in one goroutine's life is never seen by another",
      function()
        local n = support.many(200)
        local c, out = goro.chan(), goro.chan()
        for i = 1, n do
          goro.go(function()
            local gen = coroutine.wrap(function()
              for k = 1, 5 do
                c:send(i)
                coroutine.yield(i * 10 + k)
              end
            end)
            local ok = true
            for k = 1, 5 do ok = ok and gen() == i * 10 + k end
            out:send(ok)
          end)
        end
        goro.go(function()
          local sum = 0
          for _ = 1, 5 * n do sum = sum + c:recv() end
          out:send(sum)
        end)
        for _ = 1, n + 1 do
          local v = out:recv()
          assert.is_true(v == true or v == 5 * n * (n + 1) // 2, tostring(v))
        end
      end)

    it("thousands of them that are given up while they are suspended", function()
      blocks(function(wait)
        local sum = 0
        for i = 1, 300 do
          local gen = coroutine.wrap(function()
            while true do coroutine.yield(i % 30 == 0 and wait(i) or i) end
          end)
          sum = sum + gen() + gen()
        end
        collectgarbage()
        return sum
      end)
    end)

    it("one that waits for a channel in the main script lets the goroutines run", function()
      local c = goro.chan()
      goro.go(function() for i = 1, 3 do c:send(i) end c:close() end)
      local got = {}
      for v in coroutine.wrap(function()
        for v in c:range() do coroutine.yield(v) end
      end) do
        got[#got + 1] = v
      end
      assert.same({ 1, 2, 3 }, got)
    end)
  end)

  describe("leaves no trace", function()
    it("in a time-out that comes while it blocks in a coroutine", function()
      local r = in_goroutine(function()
        local c = goro.chan()
        local gen = coroutine.wrap(function()
          coroutine.yield(select(3, c:recv(0.01)))
          coroutine.yield(select(3, c:recv(0)))
          coroutine.yield("end")
        end)
        return { gen(), gen(), gen() }
      end)
      assert.same({ "timeout", "timeout", "end" }, r)
    end)

    it("of an error that a blocked send raises inside a coroutine", function()
      local c, out = goro.chan(), goro.chan()
      goro.go(function()
        local co = coroutine.create(function() c:send(1) end)
        local ok, err = coroutine.resume(co)
        out:send({ ok, tostring(err), coroutine.status(co) })
      end)
      support.all_blocked()
      c:close()
      local r = out:recv()
      assert.is_false(r[1])
      assert.truthy(r[2]:find("send on closed channel", 1, true))
      assert.equal("dead", r[3])
    end)
  end)
end)

describe("the runtime #goroutine", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("has a version", function()
    assert.truthy(goro.version:find("^%d+%.%d+%.%d+$"))
    assert.equal("goro " .. goro.version, goro._VERSION)
    assert.equal(goro.version, (in_goroutine(function() return goro.version end)))
  end)

  it("knows how many processors there are", function()
    assert.equal("integer", math.type(goro.num_cpu()))
    assert.is_true(goro.num_cpu() >= 1)
  end)

  it("tells and sets how many goroutines run at once", function()
    local old = goro.maxprocs()
    assert.equal("integer", math.type(old))
    assert.equal(old, goro.maxprocs(3))
    assert.equal(3, goro.maxprocs())
    assert.equal(3, goro.maxprocs(1))
    assert.equal(1, (in_goroutine(function() return goro.maxprocs(5) end)))
    assert.equal(5, goro.maxprocs(old))
    assert.equal(old, goro.maxprocs())
  end)

  it("takes GOROMAXPROCS from the environment", function()
    for _, n in ipairs { 1, 2, 8 } do
      local out = script.ok([[ print(require("goro").maxprocs()) ]],
        { env = { GOROMAXPROCS = n } })
      assert.equal(n .. "\n", out)
    end
  end)

  it("runs on while the number of processors changes", function()
    local old = goro.maxprocs()
    local c, done = goro.chan(), goro.chan()
    local n = support.many(2000)
    for _ = 1, 4 do
      goro.go(function()
        for i = 1, n do c:send(i) end
        done:send(true)
      end)
      goro.go(function()
        for _ = 1, n do c:recv() end
        done:send(true)
      end)
    end
    local ended = 0
    repeat
      goro.maxprocs(ended % 4 + 1)
      done:recv()
      ended = ended + 1
    until ended == 8
    goro.maxprocs(old)
    assert.equal(8, ended)
  end)
end)
