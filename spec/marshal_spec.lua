-- What crosses between goroutines, and how: each value is sent through a channel, within one
-- state and to another goroutine and back.

local goro = require("goro")
local support = require("spec.support")

local cross, there_and_back, in_goroutine = support.cross, support.there_and_back,
  support.in_goroutine

-- Calls f with each way of crossing.
local function both(f)
  f(cross, "through a channel")
  f(there_and_back, "to a goroutine and back")
end

local function bits(v)
  return math.type(v) .. " " .. string.pack(math.type(v) == "integer" and "j" or "n", v)
end

-- Are two plain values the same shape: equal scalars, and tables with equal sharing?
local function isomorphic(a, b)
  local there, back = {}, {}
  local function same(x, y)
    local t = type(x)
    if t ~= type(y) then return false end
    if t == "number" then return bits(x) == bits(y) end
    if t ~= "table" then return x == y end
    if there[x] or back[y] then return there[x] == y and back[y] == x end
    there[x], back[y] = y, x
    local n = 0
    for k, v in pairs(x) do
      n = n + 1
      if not same(v, y[k]) then return false end
    end
    for _ in pairs(y) do n = n - 1 end
    return n == 0
  end
  return same(a, b)
end

describe("what crosses #marshal", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("exactly:", function()
    it("nil and booleans", function()
      both(function(send)
        assert.is_nil(send(nil))
        assert.is_true(send(true))
        assert.is_false(send(false))
      end)
    end)

    it("integers", function()
      both(function(send)
        for _, i in ipairs { 0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, 65535,
          1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 32, 1 << 53, (1 << 53) + 1,
          math.maxinteger, math.mininteger, math.mininteger + 1 } do
          assert.equal(bits(i), bits(send(i)))
          assert.equal(bits(i), bits(send({ i })[1]))
        end
      end)
    end)

    it("floats, also those with an integer's value", function()
      both(function(send)
        for _, x in ipairs { 0.0, -0.0, 1.0, -1.0, 0.1, 1e300, 5e-324, 2.0 ^ 53, 2.0 ^ 63,
          math.pi, math.huge, -math.huge, 1e15, 123456789.0 } do
          assert.equal(bits(x), bits(send(x)))
          assert.equal(bits(x), bits(send({ x })[1]))
        end
        assert.equal(-math.huge, 1 / send(-0.0))
        assert.equal(-math.huge, 1 / send({ a = -0.0 }).a)
      end)
    end)

    it("NaN", function()
      both(function(send)
        local nan = send(0 / 0)
        assert.equal("float", math.type(nan))
        assert.is_true(nan ~= nan)
        nan = send({ 0 / 0 })[1]
        assert.is_true(nan ~= nan)
      end)
    end)

    it("strings with any bytes", function()
      local all = {}
      for i = 0, 255 do all[#all + 1] = string.char(i) end
      all = table.concat(all)
      both(function(send)
        for _, s in ipairs { "", "\0", "\0\0\0", "a\0b", all, all:rep(20), "\xff\xfe", "ünï",
          "\r\n", " ", "1", "nil" } do
          assert.equal(s, send(s))
          assert.equal(s, send({ s })[1])
          assert.is_true(send({ [s] = true })[s])
        end
      end)
    end)

    it("strings of all sizes", function()
      local s = {}
      for i = 1, 1000 do s[i] = string.char(i * 7 % 256) end
      s = table.concat(s):rep(71)
      local sizes = {}
      for n = 0, 300 do sizes[#sizes + 1] = n end
      for _, n in ipairs { 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193,
        16383, 16384, 16385, 32767, 32768, 40000, 65534, 65535, 65536, 65537, 70000 } do
        sizes[#sizes + 1] = n
      end
      both(function(send)
        for _, n in ipairs(sizes) do
          if send(s:sub(1, n)) ~= s:sub(1, n) then error(n) end
          if send({ s:sub(1, n) })[1] ~= s:sub(1, n) then error(n) end
        end
      end)
    end)

    it("a string of ten million bytes", function()
      local s = ("0123456789"):rep(1000000)
      both(function(send) assert.is_true(send(s) == s) end)
    end)

    it("light userdata", function()
      local x = 1
      local function f() return x end
      local p = debug.upvalueid(f, 1)
      assert.equal("userdata", type(p))
      both(function(send)
        assert.is_true(rawequal(p, send(p)))
        assert.is_true(rawequal(p, send({ p })[1]))
        assert.equal("found", send({ [p] = "found" })[p])
      end)
    end)
  end)

  describe("as a deep copy: tables", function()
    it("that are empty, lists, records and both", function()
      both(function(send)
        for _, t in ipairs { {}, { 1 }, { 1, 2, 3 }, { a = 1 }, { 1, 2, a = 3, b = { 4 } },
          { nil, nil, 3 }, { [0] = 0, [-1] = -1, [1e15] = 1 }, { { {}, {} }, {} },
          { true, false, { x = false } } } do
          local r = send(t)
          assert.is_false(rawequal(t, r))
          assert.is_true(isomorphic(t, r))
        end
      end)
    end)

    it("with keys of all kinds", function()
      local c, wg = goro.chan(), goro.WaitGroup()
      local function f() return "f" end
      both(function(send)
        local t = {
          [1] = "1", [1.5] = "1.5", [-7] = "-7", [2 ^ 53] = "2^53", [math.mininteger] = "min",
          [math.huge] = "inf", [-math.huge] = "-inf", [true] = "true", [false] = "false",
          [""] = "empty", ["a\0b"] = "nul", [c] = "chan", [wg] = "wg", [print] = "print",
          [string] = "string", [goro] = "goro",
        }
        local r = send(t)
        for k, v in pairs(t) do
          if r[k] ~= v then error(("key %s"):format(v)) end
        end
        local key = { "key" }
        r = send({ [key] = "by table", [f] = "by function" })
        local n = 0
        for k, v in pairs(r) do
          n = n + 1
          if v == "by table" then
            assert.same({ "key" }, k)
          else
            assert.equal("by function", v)
            assert.equal("f", k())
          end
        end
        assert.equal(2, n)
      end)
    end)

    it("that are their own keys and values", function()
      both(function(send)
        local t = {}
        t.self, t[1], t[t] = t, { t }, "me"
        local r = send(t)
        assert.is_true(rawequal(r, r.self))
        assert.is_true(rawequal(r, r[1][1]))
        assert.equal("me", r[r])
        assert.is_nil(r[t])
      end)
    end)

    it("with their sharing inside one message", function()
      both(function(send)
        local shared = { "shared" }
        local r = send({
          a = shared, b = { shared }, [shared] = shared, list = { shared, shared },
        })
        assert.is_true(rawequal(r.a, r.b[1]))
        assert.is_true(rawequal(r.a, r.list[1]))
        assert.is_true(rawequal(r.a, r.list[2]))
        assert.is_true(rawequal(r.a, r[r.a]))
      end)
    end)

    it("and nothing is shared between two messages", function()
      local c, t = goro.chan(2), { "t" }
      c:send(t)
      c:send(t)
      local a, b = c:recv(), c:recv()
      assert.is_false(rawequal(a, b))
      a[1] = "changed"
      assert.equal("t", b[1])
      assert.equal("t", t[1])
    end)

    it("and the arguments of one go are one message", function()
      local t = { "t" }
      assert.is_true((in_goroutine(function(a, b)
        return rawequal(a, b[1])
      end, t, { t })))
    end)

    it("the function's captured variables too", function()
      local t = { "t" }
      assert.is_true((in_goroutine(function(a) return rawequal(a, t) end, t)))
    end)

    it("with cycles of many tables", function()
      both(function(send)
        local first = { n = 1 }
        local last = first
        for i = 2, 1000 do
          last.next = { n = i, prev = last }
          last = last.next
        end
        last.next, first.prev = first, last
        local r = send(first)
        local node = r
        for i = 1, 1000 do
          assert.equal(i, node.n)
          if not rawequal(node.next.prev, node) then error(i) end
          node = node.next
        end
        assert.is_true(rawequal(node, r))
      end)
    end)

    it("100,000 levels deep", function()
      local depth = support.many(100000)
      both(function(send)
        local t = { "bottom" }
        for _ = 1, depth do t = { t } end
        local r = send(t)
        local n = 0
        while type(r[1]) == "table" do r, n = r[1], n + 1 end
        assert.equal(depth, n)
        assert.equal("bottom", r[1])
      end)
    end)

    it("100,000 levels deep by fields, keys and both at once", function()
      local depth = support.many(100000)
      both(function(send)
        local t = { "bottom" }
        for i = 1, depth do
          if i % 3 == 0 then
            t = { [t] = i }
          elseif i % 3 == 1 then
            t = { child = t, i }
          else
            t = { i, t, tail = i }
          end
        end
        local r = send(t)
        for i = depth, 1, -1 do
          if i % 3 == 0 then
            local k, v = next(r)
            if v ~= i then error(i) end
            r = k
          elseif i % 3 == 1 then
            if r[1] ~= i then error(i) end
            r = r.child
          else
            if r[1] ~= i or r.tail ~= i then error(i) end
            r = r[2]
          end
        end
        assert.equal("bottom", r[1])
      end)
    end)

    it("with 100,000 elements, and with 100,000 fields", function()
      local n = support.many(100000)
      both(function(send)
        local list, record = {}, {}
        for i = 1, n do
          list[i] = i * 3
          record["k" .. i] = i
        end
        local r, s = send(list), send(record)
        assert.equal(n, #r)
        for i = 1, n do
          if r[i] ~= i * 3 or s["k" .. i] ~= i then error(i) end
        end
      end)
    end)

    it("lists with holes, and with nothing but far elements", function()
      both(function(send)
        local t = { 1, nil, 3, nil, nil, 6, [100] = 100, [1 << 40] = "far" }
        assert.is_true(isomorphic(t, send(t)))
        local u = {}
        for i = 1000, 2000 do u[i] = i end
        assert.is_true(isomorphic(u, send(u)))
      end)
    end)

    it("of any shape: 300 made at random come out the same", function()
      -- a generator of its own, so that every run makes the same ones
      local seed = 20240607
      local function random(n)
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        return seed // 65536 % n + 1
      end
      local scalars = { true, false, 0, -1, 1.5, -0.0, math.mininteger, math.huge, "", "x",
        ("long"):rep(50), "\0", 300, 1 << 40 }
      local function build(pool, depth)
        local t = {}
        pool[#pool + 1] = t
        for _ = 1, random(6) - 1 do
          local v
          local what = random(10)
          if what <= 4 or depth == 0 then
            v = scalars[random(#scalars)]
          elseif what <= 6 then
            v = pool[random(#pool)]
          else
            v = build(pool, depth - 1)
          end
          if random(2) == 1 then
            t[#t + 1] = v
          else
            t[scalars[random(#scalars)]] = v
          end
        end
        return t
      end
      for i = 1, 300 do
        local t = build({}, 6)
        both(function(send, way)
          if not isomorphic(t, send(t)) then error(("number %d, %s"):format(i, way)) end
        end)
      end
    end)

    it("and what they are made of is not disturbed", function()
      local t = setmetatable({ 1, a = { 2 } }, nil)
      local before = { t[1], t.a, t.a[1] }
      cross(t)
      assert.is_true(rawequal(before[2], t.a))
      assert.same({ 1, { 2 }, 2 }, { t[1], t.a, t.a[1] })
    end)
  end)

  describe("with their code and captured variables: functions", function()
    it("that capture nothing", function()
      both(function(send)
        local f = send(function(a, b) return a * b, select("#", a, b) end)
        assert.same({ 6, 2 }, { f(2, 3) })
      end)
    end)

    it("that take any number of arguments", function()
      both(function(send)
        local f = send(function(...) return select("#", ...), ... end)
        assert.same({ n = 4, 3, nil, 2, nil }, table.pack(f(nil, 2, nil)))
      end)
    end)

    it("that capture values of all kinds", function()
      local a, b, c, d, e, f = nil, true, 3, 4.5, "five", { 6 }
      local ch = goro.chan(1)
      both(function(send)
        local r = { send(function() return a, b, c, d, e, f[1], ch end)() }
        assert.same({ nil, true, 3, 4.5, "five", 6 }, { table.unpack(r, 1, 6) })
        assert.is_true(rawequal(ch, r[7]))
      end)
    end)

    it("whose variables are copies", function()
      local n = 1
      local function count()
        n = n + 1
        return n
      end
      both(function(send)
        local other = send(count)
        assert.equal(n + 1, other())
        assert.equal(n + 2, other())
      end)
      assert.equal(1, n)
      count()
      assert.equal(2, n)
    end)

    it("with variables shared between those of one message", function()
      both(function(send)
        local n = 10
        local pair = send({
          get = function() return n end,
          set = function(v) n = v end,
          nested = { add = function() n = n + 1 end },
        })
        pair.set(5)
        assert.equal(5, pair.get())
        pair.nested.add()
        assert.equal(6, pair.get())
        assert.equal(10, n)
      end)
    end)

    it("with variables shared across functions that capture each other", function()
      both(function(send)
        local n = 0
        local function add() n = n + 1 end
        local function twice() add() add() end
        local function get() return n end
        local f = send(function()
          twice()
          add()
          return get(), n
        end)
        assert.same({ 3, 3 }, { f() })
        assert.same({ 6, 6 }, { f() })
        assert.equal(0, n)
      end)
    end)

    it("and between the function of a go and its arguments", function()
      local n = 1
      local function add() n = n + 1 end
      assert.equal(2, (in_goroutine(function(f)
        f()
        return n
      end, add)))
      assert.equal(1, n)
    end)

    it("that call themselves", function()
      local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
      both(function(send)
        local f = send(fib)
        assert.equal(55, f(10))
        assert.is_false(rawequal(f, fib))
      end)
      assert.equal(55, (in_goroutine(fib, 10)))
    end)

    it("that call each other", function()
      local even
      local function odd(n) return n ~= 0 and even(n - 1) end
      function even(n) return n == 0 or odd(n - 1) end
      both(function(send)
        local f = send(even)
        assert.is_true(f(10))
        assert.is_false(f(11))
        local t = send({ even, odd })
        assert.is_true(t[2](7))
      end)
    end)

    it("one function sent twice in a message is one function", function()
      local function f() return f end
      both(function(send)
        local r = send({ f, f, x = { f } })
        assert.is_true(rawequal(r[1], r[2]))
        assert.is_true(rawequal(r[1], r.x[1]))
        assert.is_true(rawequal(r[1], r[1]()))
      end)
    end)

    it("two closures of one prototype keep their own variables", function()
      local function counter(n)
        return function()
          n = n + 1
          return n
        end
      end
      both(function(send)
        local r = send({ counter(0), counter(100) })
        assert.same({ 1, 101, 2 }, { r[1](), r[2](), r[1]() })
      end)
    end)

    it("closures in tables in closures, in cycles", function()
      both(function(send)
        local object = { n = 1 }
        function object.get() return object.n end
        function object.bump()
          object.n = object.n + 1
          return object.get()
        end
        object.all = { object.get, object.bump, object }
        local r = send(object)
        assert.equal(2, r.bump())
        assert.equal(2, r.n)
        assert.equal(2, r.all[1]())
        assert.is_true(rawequal(r, r.all[3]))
        assert.equal(1, object.n)
      end)
    end)

    it("closures in closures, 20,000 deep", function()
      local depth = support.many(20000)
      both(function(send)
        local f = function() return "bottom" end
        for _ = 1, depth do
          local inner = f
          f = function() return inner end
        end
        local g = send(f)
        for _ = 1, depth do g = g() end
        assert.equal("bottom", g())
      end)
    end)

    it("with 200 captured variables", function()
      local source = {}
      for i = 1, 190 do source[i] = ("local v%d = %d"):format(i, i) end
      source[#source + 1] = "return function() return 0"
      for i = 1, 190 do source[#source + 1] = ("+ v%d"):format(i) end
      source[#source + 1] = "end"
      local f = assert(load(table.concat(source, " ")))()
      both(function(send) assert.equal(190 * 191 // 2, send(f)()) end)
    end)

    it("with large code", function()
      local source = { "local t = {} " }
      for i = 1, 20000 do source[#source + 1] = ("t[%d] = %q "):format(i, "v" .. i) end
      source[#source + 1] = "return t"
      local f = assert(load(table.concat(source)))
      both(function(send)
        local t = send(f)()
        assert.equal("v20000", t[20000])
        assert.equal("v1", t[1])
      end)
    end)

    it("stripped of their debug information", function()
      local f = assert(load(string.dump(function(a) return a + 1 end, true)))
      local g = assert(load(string.dump(function(s) return type(s), tostring(s) end, true)))
      local n = 5
      local h = assert(load(string.dump(function() return n end, true)))
      debug.setupvalue(h, 1, "its own")
      both(function(send)
        assert.equal(42, send(f)(41))
        assert.same({ "number", "1" }, { send(g)(1) })
        assert.equal("its own", send(h)())
      end)
      assert.equal(42, (in_goroutine(f, 41)))
    end)

    it("stripped, with their globals wherever they stand among the variables", function()
      local templates = {
        "local a, b = 1, 2; return function() return tostring(a + b) end",
        "local a, b = 1, 2; return function() local s = tostring; return s(a + b) end",
        "local a, b = 1, 2; return function() local c = a + b; return tostring(c) end",
      }
      for _, source in ipairs(templates) do
        local f = assert(load(source))()
        local stripped = assert(load(string.dump(f, true)))
        for i = 1, 3 do debug.upvaluejoin(stripped, i, f, i) end
        both(function(send)
          assert.equal("3", send(stripped)())
          assert.equal("3", send(f)())
        end)
        assert.equal("3", (in_goroutine(stripped)))
      end
    end)

    it("with the receiver's globals in place of the sender's", function()
      local name = "goro_spec_global"
      local sources = {
        "return %s",
        "local a = 1; return function() return a and %s end",
        "local a, b = 1, 2; return function() local x = %s; return a and b and x end",
        "local a, b = 1, 2; return function() return (function() return b and %s end)(a) end",
      }
      for i, source in ipairs(sources) do
        local f = assert(load(source:format(name)))
        if i > 1 then f = f() end
        _G[name] = "the sender's"
        local here = f()
        local there = in_goroutine(function()
          _G[name] = "the receiver's"
          return f()
        end)
        _G[name] = nil
        assert.equal("the sender's", here)
        assert.equal("the receiver's", there)
      end
    end)

    it("that set globals set the receiver's", function()
      local f = assert(load("goro_spec_set = 1 return _G.goro_spec_set, _ENV == _G"))
      local a, b = in_goroutine(f)
      assert.equal(1, a)
      assert.is_true(b)
      assert.is_nil(rawget(_G, "goro_spec_set"))
    end)

    it("with a table of their own for globals", function()
      local f = assert(load("n = n + 1 return n, x", "=own", "t", { n = 1, x = "own" }))
      both(function(send)
        local g = send(f)
        assert.same({ 2, "own" }, { g() })
        assert.same({ 3, "own" }, { g() })
      end)
      local h = (function()
        local _ENV = { n = 10 } -- luacheck: ignore
        return function()
          n = n + 1 -- luacheck: ignore
          return n -- luacheck: ignore
        end
      end)()
      both(function(send) assert.equal(11, send(h)()) end)
      assert.equal(11, h())
    end)

    it("that yield, and that are run by coroutines there", function()
      local function gen()
        for i = 1, 3 do coroutine.yield(i) end
        return "end"
      end
      both(function(send)
        local co = coroutine.wrap(send(gen))
        assert.same({ 1, 2, 3, "end" }, { co(), co(), co(), co() })
      end)
    end)

    it("whose errors tell their line", function()
      local line = debug.getinfo(1, "l").currentline + 2
      local function f()
        error("here")
      end
      local err = in_goroutine(function() return select(2, pcall(f)) end)
      assert.truthy(err:find(("marshal_spec.lua:%d: here"):format(line), 1, true), err)
    end)

    it("as keys of tables", function()
      local function f() return "called" end
      both(function(send)
        local r = send({ [f] = { f } })
        local k, v = next(r)
        assert.is_true(rawequal(k, v[1]))
        assert.equal("called", k())
      end)
    end)

    it("thousands of one kind, and of many kinds", function()
      local n = support.many(3000)
      local list = {}
      for i = 1, n do
        list[i] = i % 2 == 0 and function() return i end or
          assert(load(("return %d"):format(i)))
      end
      both(function(send)
        local r = send(list)
        for i = 1, n do
          if r[i]() ~= i then error(i) end
        end
      end)
    end)

    it("sent over and over, a new one each time", function()
      local c = goro.chan(1)
      for i = 1, support.many(2000) do
        c:send(function() return i end)
        assert.equal(i, c:recv()())
        if i % 500 == 0 then collectgarbage() end
      end
    end)
  end)

  describe("as they are: C functions", function()
    it("of the standard library", function()
      both(function(send)
        for _, f in ipairs { print, string.format, table.concat, math.floor, io.open, pcall,
          coroutine.yield, coroutine.wrap, require, setmetatable, os.exit, utf8.char, load } do
          assert.is_true(rawequal(f, send(f)))
          assert.is_true(rawequal(f, send({ x = f }).x))
        end
      end)
    end)

    it("and are the receiver's own there", function()
      local seen = in_goroutine(function(list)
        return { rawequal(list[1], print), rawequal(list[2], string.format),
          rawequal(list[3], coroutine.wrap), rawequal(list[4], require),
          rawequal(list[5], goro.go), list[2]("%d", 7) }
      end, { print, string.format, coroutine.wrap, require, goro.go })
      assert.same({ true, true, true, true, true, "7" }, seen)
    end)

    it("that are captured", function()
      local format, concat, wrap = string.format, table.concat, coroutine.wrap
      assert.equal("a,b 1", (in_goroutine(function()
        return wrap(function() return format("%s %d", concat({ "a", "b" }, ","), 1) end)()
      end)))
    end)

    it("methods of goro's objects", function()
      local c = goro.chan(1)
      local send, recv = c.send, c.recv
      assert.equal(5, (in_goroutine(function()
        send(c, 5)
        return (recv(c))
      end)))
    end)
  end)

  describe("by reference: modules", function()
    it("of the standard library", function()
      both(function(send)
        for _, m in ipairs { string, table, math, io, os, coroutine, debug, utf8, package } do
          assert.is_true(rawequal(m, send(m)))
          assert.is_true(rawequal(m, send({ m })[1]))
        end
      end)
    end)

    it("and are the receiver's own there", function()
      local str, tab = string, table
      local seen = in_goroutine(function(s, list)
        return { rawequal(s, string), rawequal(str, string), rawequal(tab, table),
          rawequal(list.goro, require("goro")), rawequal(goro, require("goro")),
          rawequal(list.env, _G), str.upper("x") }
      end, string, { goro = goro, env = _G })
      assert.same({ true, true, true, true, true, true, "X" }, seen)
    end)

    it("goro itself", function()
      both(function(send)
        assert.is_true(rawequal(goro, send(goro)))
        assert.is_true(rawequal(goro, send({ [1] = { goro } })[1][1]))
      end)
    end)

    it("and the table of globals", function()
      both(function(send)
        assert.is_true(rawequal(_G, send(_G)))
        assert.is_true(rawequal(_G, send({ _G })[1]))
      end)
    end)

    it("as metatables, too: the globals, a library, a module that a script requires", function()
      local module = {}
      package.loaded["goro spec class"] = module
      package.preload["goro spec class"] = function() return { made_there = true } end
      local ok, err = pcall(both, function(send)
        for _, mt in ipairs { _G, string, module } do
          local r = send {
            setmetatable({ 1 }, mt), setmetatable({ 2 }, mt), {}, setmetatable({ 3 }, mt),
          }
          for i, k in ipairs { 1, 2, 4 } do
            assert.equal(i, r[k][1])
            assert.is_true(rawequal(mt, getmetatable(r[k])))
          end
          assert.is_nil(getmetatable(r[3]))
        end
      end)
      local there = in_goroutine(function(list)
        return { rawequal(getmetatable(list[1]), _G), rawequal(getmetatable(list[2]), string),
          getmetatable(list[3]) == getmetatable(list[4]), getmetatable(list[4]).made_there }
      end, { setmetatable({}, _G), setmetatable({}, string), setmetatable({}, module),
        setmetatable({}, module) })
      package.loaded["goro spec class"], package.preload["goro spec class"] = nil, nil
      if not ok then error(err, 0) end
      assert.same({ true, true, true, true }, there)
    end)

    it("that a script requires: their table and functions", function()
      local module = {
        add = function(a, b) return a + b end,
        data = { 1, 2 },
      }
      local function loader()
        return { add = function(a, b) return a + b end, data = { 1, 2 }, made_there = true }
      end
      package.preload["goro spec module"] = loader
      package.loaded["goro spec module"] = module
      local ok, err = pcall(function()
        local m, add, data = module, module.add, module.data
        local seen = in_goroutine(function()
          local mine = require("goro spec module")
          return { rawequal(m, mine), mine.made_there, rawequal(add, mine.add), add(1, 2),
            rawequal(data, mine.data), data[2] }
        end)
        assert.same({ true, true, true, 3, false, 2 }, seen)
        assert.is_true(rawequal(m, cross(m)))
        assert.is_true(rawequal(add, cross({ add })[1]))
        assert.is_true(rawequal(m, there_and_back(m)))
        assert.is_false(rawequal(data, cross(data)))
      end)
      package.preload["goro spec module"] = nil
      package.loaded["goro spec module"] = nil
      if not ok then error(err, 0) end
    end)

    it("the standard files", function()
      both(function(send)
        assert.is_true(rawequal(io.stdout, send(io.stdout)))
        assert.is_true(rawequal(io.stderr, send({ io.stderr })[1]))
        assert.is_true(rawequal(io.stdin, send({ x = { io.stdin } }).x[1]))
      end)
      local out = io.stdout
      assert.is_true((in_goroutine(function() return rawequal(out, io.stdout) end)))
    end)
  end)

  describe("as the same one: goro's objects", function()
    it("channels and WaitGroups, anywhere in a message", function()
      local c, wg = goro.chan(3), goro.WaitGroup()
      both(function(send)
        local r = send({ c, wg, { c }, x = c, [c] = wg, f = function() return c, wg end })
        assert.is_true(rawequal(c, r[1]) and rawequal(wg, r[2]) and rawequal(c, r[3][1]))
        assert.is_true(rawequal(c, r.x) and rawequal(wg, r[c]))
        local a, b = r.f()
        assert.is_true(rawequal(c, a) and rawequal(wg, b))
        assert.is_true(rawequal(c, send(c)) and rawequal(wg, send(wg)))
      end)
    end)

    it("ten thousand channels in one message", function()
      local n = support.many(10000)
      local list = {}
      for i = 1, n do list[i] = goro.chan(i % 5) end
      local r = there_and_back(list)
      for i = 1, n do
        if not rawequal(r[i], list[i]) then error(i) end
      end
    end)
  end)

  describe("as what their __goro makes of them:", function()
    local Conn = {}
    Conn.__index = Conn
    Conn.made = 0
    function Conn.open(n)
      return setmetatable({ n = n, worker = coroutine.create(print) }, Conn)
    end
    function Conn:get() return self.n end
    function Conn.__goro(o)
      local n = o.n
      return function()
        Conn.made = Conn.made + 1
        return Conn.open(n)
      end
    end
    Conn.__gc = function() end

    it("tables that could not cross themselves", function()
      both(function(send)
        local r = send({ Conn.open(7) })[1]
        assert.equal(7, r:get())
        assert.equal("thread", type(r.worker))
        assert.is_true(rawequal(Conn, getmetatable(r)))
        assert.equal(8, send(Conn.open(8)):get())
      end)
      assert.equal(9, (in_goroutine(function(o) return o:get() end, Conn.open(9))))
    end)

    it("userdata", function()
      local meta = getmetatable(io.stdout)
      local path = os.tmpname()
      meta.__goro = function()
        return function() return assert(io.open(path)) end
      end
      local file = assert(io.open(path, "w+"))
      file:write("by its file")
      file:flush()
      local ok, text, std = pcall(function()
        local r = cross({ file })[1]
        local t = r:read("a")
        r:close()
        return t, rawequal(io.stdout, cross(io.stdout))
      end)
      meta.__goro = nil
      file:close()
      os.remove(path)
      assert.is_true(ok, text)
      assert.equal("by its file", text)
      assert.is_true(std)
    end)

    it("once a message, however often they stand in it", function()
      local calls = 0
      local Counted = { __goro = function(o)
        calls = calls + 1
        local name = o.name
        return function() return { name = name, made = true } end
      end }
      local o = setmetatable({ name = "o" }, Counted)
      local holder = setmetatable({}, { __goro = function()
        return function() return { holds = o } end
      end })
      local r = cross({ o, o, x = { o }, f = function() return o end, [o] = "key", h = holder })
      assert.is_true(r[1].made)
      assert.is_true(rawequal(r[1], r[2]) and rawequal(r[1], r.x[1]) and rawequal(r[1], r.f()))
      assert.equal("key", r[r[1]])
      assert.is_true(rawequal(r[1], r.h.holds))
      assert.equal(1, calls)
      local a, b = cross(o), cross(o)
      assert.is_false(rawequal(a, b))
    end)

    it("nested: objects in what makes objects, with what they share", function()
      local Node = {}
      function Node.__goro(o)
        local value, next_node = o.value, o.next
        return function() return setmetatable({ value = value, next = next_node }, Node) end
      end
      local shared = { "shared" }
      local function list(n)
        local l
        for i = n, 1, -1 do l = setmetatable({ value = { i, shared }, next = l }, Node) end
        return l
      end
      both(function(send)
        local r = send({ list(50), shared })
        local node = r[1]
        for i = 1, 50 do
          assert.equal(i, node.value[1])
          assert.is_true(rawequal(r[2], node.value[2]))
          node = node.next
        end
        assert.is_nil(node)
      end)
      support.raises("too many in each other's '__goro'", function() cross(list(1000)) end)
    end)

    it("with functions of any depth, complete when they are called", function()
      local f = function() return "bottom" end
      for _ = 1, 500 do
        local inner = f
        f = function() return inner() end
      end
      local deep = { "end" }
      for _ = 1, 500 do deep = { deep } end
      local o = setmetatable({}, { __goro = function()
        return function()
          local t = deep
          while type(t[1]) == "table" do t = t[1] end
          return { f(), t[1] }
        end
      end })
      both(function(send) assert.same({ "bottom", "end" }, send({ { o } })[1][1]) end)
    end)

    it("inside classes, which are complete then", function()
      local C = {}
      C.__index = C
      function C.name() return "C" end
      C.default = setmetatable({}, { __goro = function()
        return function() return { made_by = C.name() } end
      end })
      assert.equal("C", (in_goroutine(function(o) return o.default.made_by end,
        setmetatable({}, C))))
    end)

    it("refused in circles with themselves", function()
      local o
      local Circle = { __goro = function(v) return function() return v end end }
      o = setmetatable({}, Circle)
      support.raises("inside the function that its '__goro' returned", function() cross(o) end)
      local a, b
      local Mutual = { __goro = function(v)
        local other = v == a and b or a
        return function() return { other } end
      end }
      a, b = setmetatable({}, Mutual), setmetatable({}, Mutual)
      support.raises("inside the function that its '__goro' returned", function()
        cross({ x = a })
      end)
      -- a function that makes an object which it knows itself
      local f
      local Own = setmetatable({}, { __goro = function() return f end })
      f = function() return Own end
      support.raises("inside the function", function() cross(f) end)
      assert.equal("fine", cross("fine"))
    end)

    it("refused when it returns no function; errors of either side are raised there", function()
      local wrong = setmetatable({}, { __goro = function() return {} end })
      support.raises("(at .x): '__goro' must return a function (got table)", function()
        cross({ x = wrong })
      end)
      local fails = setmetatable({}, { __goro = function() error("in __goro") end })
      support.raises("in __goro", function() cross(fails) end)
      local there = setmetatable({}, { __goro = function()
        return function() error("in the constructor") end
      end })
      local c, out = goro.chan(2), goro.chan(2)
      c:send({ there })
      c:send("lives on")
      goro.go(function()
        out:send({ pcall(c.recv, c) })
        out:send((c:recv()))
      end)
      local r = out:recv()
      assert.is_false(r[1])
      assert.is_truthy(r[2]:find("in the constructor", 1, true))
      assert.equal("lives on", (out:recv()))
    end)

    it("may use channels meanwhile", function()
      local side = goro.chan(10)
      local C = {}
      C.__index = C
      local o = setmetatable({ x = 1 }, { __goro = function()
        side:send(setmetatable({ 1 }, C))
        return function()
          side:send(setmetatable({ 2 }, C))
          return setmetatable({ 3 }, C)
        end
      end })
      local r = cross({ setmetatable({ 0 }, C), o, setmetatable({ 4 }, C) })
      for i, v in ipairs { r[1], (side:recv()), (side:recv()), r[2], r[3] } do
        assert.equal(i - 1, v[1])
        assert.is_true(rawequal(C, getmetatable(v)))
      end
    end)
  end)

  describe("not at all:", function()
    it("coroutines, files and C functions with upvalues raise in the sender", function()
      local c = goro.chan(1)
      local file <close> = assert(io.tmpfile())
      for _, v in ipairs { coroutine.create(print), file, ("x"):gmatch(".") } do
        support.raises("cannot send a value of type", function() c:send(v) end)
        support.raises("cannot send a value of type", function() c:send({ v }) end)
        support.raises("cannot send a value of type", function()
          c:send(function() return v end)
        end)
      end
      support.raises("cannot send a value of type 'thread'", function()
        c:send((coroutine.running()))
      end)
      assert.equal(0, #c)
    end)
  end)

  describe("by all ways alike:", function()
    local shared = { "shared" }
    local t = { 1, 2.5, "three", { shared, shared }, f = function(x) return x + 1 end }

    local function check(r)
      return r[1] == 1 and r[2] == 2.5 and r[3] == "three" and rawequal(r[4][1], r[4][2])
        and r.f(1) == 2
    end

    it("arguments", function() assert.is_true((in_goroutine(check, t))) end)

    it("captured variables", function()
      assert.is_true((in_goroutine(function() return check(t) end)))
    end)

    it("values of a select", function()
      local c = goro.chan(1)
      goro.select { { send = c, value = t } }
      assert.is_true(check((select(2, goro.select { c }))))
    end)

    it("values handed to one who waits", function()
      local c, out = goro.chan(), goro.chan(1)
      goro.go(function() out:send(check((c:recv()))) end)
      support.all_blocked()
      c:send(t)
      assert.is_true((out:recv()))
    end)

    it("values taken from one who waits", function()
      local c = goro.chan()
      goro.go(function() c:send(t) end)
      support.all_blocked()
      assert.is_true(check((c:recv())))
    end)

    it("through ten goroutines in a row", function()
      local first = goro.chan()
      local from = first
      for _ = 1, 10 do
        local to, source = goro.chan(), from
        goro.go(function() to:send((source:recv())) end)
        from = to
      end
      first:send(t)
      assert.is_true(check((from:recv())))
    end)

    it("by many goroutines at once", function()
      local wg, bad = goro.WaitGroup(), goro.chan(100)
      for _ = 1, 8 do
        wg:go(function()
          for _ = 1, 200 do
            local c = goro.chan(1)
            c:send(t)
            if not check((c:recv())) then bad:send(true) end
          end
        end)
      end
      wg:wait()
      assert.equal(0, #bad)
    end)
  end)
end)
