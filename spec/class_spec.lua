-- Classes cross by identity: what is one, what a copy is brought up to date with, what stays.

-- luacheck: no max line length, ignore 142 143 212
local goro = require("goro")
local support = require("spec.support")

local cross, there_and_back, in_goroutine = support.cross, support.there_and_back,
  support.in_goroutine

-- A goroutine that calls f(value) for each value sent to it, in one state; call it with values.
local function server(f)
  local to, from = goro.chan(), goro.chan()
  goro.go(function()
    for v in to:range() do from:send(table.pack(pcall(f, v))) end
  end)
  return setmetatable({ close = function() to:close() end }, {
    __call = function(_, v)
      to:send(v)
      local r = from:recv()
      if not r[1] then error(r[2], 2) end
      return table.unpack(r, 2, r.n)
    end,
    __close = function() to:close() end,
  })
end

local function Point()
  local class = {}
  class.__index = class
  function class.new(x, y) return setmetatable({ x = x, y = y }, class) end
  function class:sum() return self.x + self.y end
  return class
end

describe("a class #class", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("is the same one", function()
    it("after one crossing in its own state", function()
      local C = Point()
      assert.is_true(rawequal(C, getmetatable(cross(C.new(1, 2)))))
      assert.is_true(rawequal(C, cross(C)))
      assert.is_true(rawequal(C, cross({ { C } })[1][1]))
      assert.equal(3, cross(C.new(1, 2)):sum())
    end)

    it("when an object comes home", function()
      local C = Point()
      local r = there_and_back(C.new(1, 2))
      assert.is_true(rawequal(C, getmetatable(r)))
      assert.equal(3, r:sum())
      assert.is_true(rawequal(C, there_and_back(C)))
    end)

    it("when an object that was made elsewhere comes home", function()
      local C = Point()
      local p, same = in_goroutine(function()
        local o = C.new(3, 4)
        return o, getmetatable(o) == C
      end)
      assert.is_true(same)
      assert.is_true(rawequal(C, getmetatable(p)))
      assert.equal(7, p:sum())
    end)

    it("for all objects of all messages that come into one state", function()
      local C = Point()
      local first
      local ask <close> = server(function(o)
        first = first or getmetatable(o)
        return rawequal(first, getmetatable(o)), o:sum()
      end)
      for i = 1, 10 do
        local same, sum = ask(C.new(i, 1))
        assert.is_true(same)
        assert.equal(i + 1, sum)
      end
    end)

    it("captured by one function and met in a message", function()
      local C = Point()
      local to, from = goro.chan(), goro.chan()
      goro.go(function()
        local o = to:recv()
        from:send({ getmetatable(o) == C, C.new(1, 1):sum(), o:sum() })
      end)
      to:send(C.new(5, 5))
      assert.same({ true, 2, 10 }, (from:recv()))
    end)

    it("through states that never saw its home: A to B to C and home", function()
      local C = Point()
      local a, b, c, home = goro.chan(), goro.chan(), goro.chan(), goro.chan()
      goro.go(function() b:send((a:recv())) end)
      goro.go(function() c:send((b:recv())) end)
      goro.go(function()
        local o = c:recv()
        o.sum_there = o:sum()
        home:send(o)
      end)
      a:send(C.new(20, 22))
      local o = home:recv()
      assert.is_true(rawequal(C, getmetatable(o)))
      assert.equal(42, o.sum_there)
    end)

    it("when its home has ended", function()
      local out = goro.chan(4)
      goro.go(function()
        local C = {}
        C.__index = C
        function C.name() return "orphan" end
        for _ = 1, 4 do out:send(setmetatable({}, C)) end
      end)
      local a, b = out:recv(), out:recv()
      assert.is_true(rawequal(getmetatable(a), getmetatable(b)))
      assert.is_true(rawequal(getmetatable(a), getmetatable((there_and_back((out:recv()))))))
      local ask <close> = server(function(o) return o.name() end)
      assert.equal("orphan", ask((out:recv())))
    end)

    it("with two homes: classes of one text made in two states are two", function()
      local out = goro.chan(2)
      for _ = 1, 2 do
        goro.go(function()
          local C = {}
          C.__index = C
          out:send(setmetatable({}, C))
        end)
      end
      local a, b = out:recv(), out:recv()
      assert.is_false(rawequal(getmetatable(a), getmetatable(b)))
    end)

    it("many times at once", function()
      local C = Point()
      local wg, bad = goro.WaitGroup(), goro.chan(100)
      local from = goro.chan(10)
      for _ = 1, 8 do
        wg:go(function()
          for i = 1, 100 do
            local c = goro.chan(1)
            c:send(C.new(i, 1))
            local o = c:recv()
            if getmetatable(o) ~= C or o:sum() ~= i + 1 then bad:send(true) end
            from:send(o)
          end
        end)
      end
      goro.go(function()
        wg:wait()
        from:close()
      end)
      for o in from:range() do
        if not rawequal(getmetatable(o), C) then error("another class") end
      end
      assert.equal(0, #bad)
    end)
  end)

  describe("is", function()
    it("a metatable without __index", function()
      local mt = { __add = function(a, b) return a.n + b.n end }
      local r = there_and_back({ setmetatable({ n = 1 }, mt), setmetatable({ n = 2 }, mt) })
      assert.is_true(rawequal(mt, getmetatable(r[1])))
      assert.equal(3, r[1] + r[2])
    end)

    it("a metatable that was captured before an object of it was met", function()
      local mt = { __len = function() return 7 end }
      local function make() return setmetatable({}, mt) end
      local o, same = in_goroutine(function()
        local v = make()
        return v, getmetatable(v) == mt
      end)
      assert.is_true(same)
      assert.is_true(rawequal(mt, getmetatable(o)))
      -- also one that only its use gives away
      local weak = { __mode = "k" }
      local r = there_and_back({ weak, { setmetatable({}, weak) } })
      assert.is_true(rawequal(weak, getmetatable(r[2][1])))
      assert.is_true(rawequal(weak, r[1]))
    end)

    it("the table of methods that is its __index", function()
      local methods = { f = function() return "f" end }
      local mt = { __index = methods }
      local r = there_and_back({ methods, setmetatable({}, mt) })
      assert.is_true(rawequal(methods, r[1]))
      assert.is_true(rawequal(mt, getmetatable(r[2])))
      assert.equal("f", r[2].f())
      assert.is_true((in_goroutine(function(o)
        return rawequal(getmetatable(o).__index, methods)
      end, r[2])))
    end)

    it("not a table that is data, whatever its names", function()
      local t = { __typename = "User", __call = 1, __meta = { 1 }, __ = true, _ = 2 }
      local r = cross(t)
      assert.is_false(rawequal(t, r))
      assert.equal("User", r.__typename)
      assert.equal(1, r.__meta[1])
      local C = Point()
      local o = C.new(1, 2)            -- an object that knows its class
      o.__class = C
      assert.is_false(rawequal(o, cross(o)))
      assert.is_true(rawequal(C, cross(o).__class))
    end)

    it("its own __index, its own metatable, and both in a circle", function()
      local a, b = {}, {}
      setmetatable(a, b)
      setmetatable(b, a)
      a.__index, b.__index = b, a
      a.x, b.y = 1, 2
      local ask <close> = server(function(o)
        local m = getmetatable(o)
        return rawequal(getmetatable(getmetatable(m)), m), rawget(m, "x"), o.y
      end)
      local o = setmetatable({}, a)
      assert.same({ true, 1, 2 }, { ask(o) })
      local self = {}
      setmetatable(self, self)
      self.__index = function(_, k) return k .. "!" end
      assert.equal("k!", there_and_back(self).k)
      assert.is_true(rawequal(self, there_and_back(self)))
    end)
  end)

  describe("with those it is made from:", function()
    it("inheritance through metatables of classes", function()
      local Base = Point()
      function Base:kind() return "base" end
      local Derived = setmetatable({}, { __index = Base })
      Derived.__index = Derived
      function Derived:kind() return "derived of " .. Base.kind(self) end
      local o = setmetatable({ x = 1, y = 2 }, Derived)
      local ask <close> = server(function(v)
        local D = getmetatable(v)
        return v:kind(), v:sum(), getmetatable(D).__index == Base, D == Derived
      end)
      assert.same({ "derived of base", 3, true, true }, { ask(o) })
      -- a method that the base gets later
      function Base:late() return "late" end
      local later <close> = server(function(v) return v:late() end)
      assert.equal("late", later(o))
      local r = there_and_back(o)
      assert.is_true(rawequal(Derived, getmetatable(r)))
    end)

    it("a base that changes is brought over with an object of what is derived", function()
      local Base = Point()
      local mid = setmetatable({}, { __index = Base })
      mid.__index = mid
      local top = setmetatable({}, { __index = mid })
      top.__index = top
      local ask <close> = server(function(v) return v.late end)
      for i = 1, 300 do
        Base.late = i
        assert.equal(i, ask(setmetatable({}, top)))
      end
      assert.equal(300, ask(setmetatable({}, top)))
    end)

    it("a chain of 1,500 classes", function()
      local n = support.many(1500)
      local last = { bottom = "found", __index = false }
      last.__index = last
      for _ = 1, n do
        local C = {}
        C.__index = C
        last = setmetatable(C, last)
      end
      local ask <close> = server(function(v) return v.bottom end)
      assert.equal("found", ask(setmetatable({}, last)))
      local r = there_and_back(setmetatable({}, last))
      assert.is_true(rawequal(last, getmetatable(r)))
    end)

    it("methods that share variables", function()
      local C = {}
      C.__index = C
      local count = 0
      function C.bump() count = count + 1 end
      function C.count() return count end
      local ask <close> = server(function(o)
        o.bump()
        return o.count()
      end)
      local o = setmetatable({}, C)
      assert.equal(1, ask(o))
      assert.equal(2, ask(o))
      assert.equal(0, count)
    end)

    it("classes that know each other by their methods", function()
      local A, B = {}, {}
      A.__index, B.__index = A, B
      function A.other() return setmetatable({ n = "b" }, B) end
      function B.other() return setmetatable({ n = "a" }, A) end
      local ask <close> = server(function(o)
        local b = o.other()
        local a = b.other()
        return getmetatable(a) == getmetatable(o), a.n, b.n, b
      end)
      local same, x, y, b = ask(setmetatable({}, A))
      assert.same({ true, "a", "b" }, { same, x, y })
      assert.is_true(rawequal(B, getmetatable(b)))
    end)

    it("objects of its own as fields", function()
      local C = Point()
      C.origin = C.new(0, 0)
      C.list = { C.new(1, 1), C.origin }
      local ask <close> = server(function(o)
        local M = getmetatable(o)
        return getmetatable(M.origin) == M, M.list[1]:sum(), rawequal(M.list[2], M.origin)
      end)
      assert.same({ true, 2, true }, { ask(C.new(1, 2)) })
    end)

    it("goro's objects, globals and standard functions in it", function()
      local C = Point()
      C.chan, C.G, C.format, C.lib = goro.chan(1), _G, string.format, string
      local ask <close> = server(function(o)
        o.chan:send("through")
        return o.G == _G, o.format == string.format, o.lib == string
      end)
      assert.same({ true, true, true }, { ask(C.new(1, 2)) })
      assert.equal("through", (C.chan:recv()))
    end)
  end)

  describe("of a library", function()
    it("like Penlight's pl.class", function()
      local ok, class = pcall(require, "pl.class")
      if not ok then return pending("no Penlight here") end
      local Animal = class()
      function Animal:_init(name) self.name = name end
      function Animal:__tostring() return "animal " .. self.name end
      local Dog = class(Animal)
      function Dog.speak() return "woof" end
      local ask <close> = server(function(o)
        local other = Dog("there")
        return o:is_a(Dog), o:is_a(Animal), Dog:class_of(o), tostring(o), o.speak(), other
      end)
      local is_dog, is_animal, of, text, says, other = ask(Dog("rex"))
      assert.same({ true, true, true, "animal rex", "woof" }, { is_dog, is_animal, of, text, says })
      assert.is_true(other:is_a(Dog))
      assert.is_true(rawequal(Dog, getmetatable(other)))
      assert.equal("there", other.name)
    end)

    it("in middleclass's way: dictionaries, functions as __index, weak subclasses", function()
      local function lookup(f, dict)
        return function(self, name)
          local v = dict[name]
          if v ~= nil then return v end
          return type(f) == "function" and f(self, name) or nil
        end
      end
      local function create(name, super)
        local dict = {}
        dict.__index = dict
        local class = { name = name, super = super, static = {}, __instanceDict = dict,
          __declaredMethods = {}, subclasses = setmetatable({}, { __mode = "k" }) }
        if super then
          for k, v in pairs(super.__instanceDict) do
            if k ~= "__index" then dict[k] = v end
          end
          super.subclasses[class] = true
          setmetatable(class.static, { __index = lookup(nil, super.static) })
        end
        class.static.new = function(self, ...)
          local o = setmetatable({ class = self }, self.__instanceDict)
          if o.initialize then o:initialize(...) end
          return o
        end
        setmetatable(class, { __index = class.static, __tostring = function() return name end,
          __call = function(self, ...) return self:new(...) end,
          __newindex = function(self, k, f)
            self.__declaredMethods[k] = f
            self.__instanceDict[k] = f
          end })
        class.isInstanceOf = function(self, other)
          local c = self.class
          while c do
            if rawequal(c, other) then return true end
            c = c.super
          end
          return false
        end
        return class
      end
      local Shape = create("Shape")
      function Shape:initialize(n) self.n = n end
      function Shape:sides() return self.n end
      local Square = create("Square", Shape)
      function Square:double() return self.n * 2 end
      local ask <close> = server(function(o)
        local mine = Square(5)
        return o.class == Square, o:isInstanceOf(Shape), o:sides(), o:double(),
          getmetatable(mine) == getmetatable(o), tostring(o.class), mine
      end)
      local a, b, c, d, e, name, mine = ask(Square(4))
      assert.same({ true, true, 4, 8, true, "Square" }, { a, b, c, d, e, name })
      assert.is_true(rawequal(Square, mine.class))
      assert.is_true(mine:isInstanceOf(Shape))
      local r = there_and_back(Square(9))
      assert.is_true(rawequal(Square, r.class))
      assert.is_true(rawequal(Square.__instanceDict, getmetatable(r)))
    end)
  end)

  describe("when it changes at home", function()
    it("brings what was set over with the next crossing", function()
      local C = Point()
      local ask <close> = server(function(o) return o.added, o.sum and o:sum() end)
      assert.same({ nil, 3 }, { ask(C.new(1, 2)) })
      C.added = "now"
      assert.same({ "now", 3 }, { ask(C.new(1, 2)) })
      function C:sum() return self.x * self.y end
      assert.same({ "now", 12 }, { ask(C.new(3, 4)) })
      C.sum = nil
      local a, b = ask(C.new(1, 2))
      assert.equal("now", a)
      assert.is_nil(b)
      C.added = nil
      assert.is_nil((ask(C.new(1, 2))))
    end)

    it("in its __index table too, and in its metatable", function()
      local methods = {}
      local C = { __index = methods }
      local ask <close> = server(function(o)
        local mm = getmetatable(getmetatable(o))
        return o.f and o.f(), mm and mm.tag
      end)
      local o = setmetatable({}, C)
      assert.same({}, { ask(o) })
      function methods.f() return 1 end
      assert.same({ 1 }, { ask(o) })
      setmetatable(C, { tag = "tagged" })
      assert.same({ 1, "tagged" }, { ask(o) })
      setmetatable(C, { tag = "again" })
      assert.same({ 1, "again" }, { ask(o) })
      setmetatable(C, nil)
      assert.same({ 1 }, { ask(o) })
      C.__index = function() return function() return "by function" end end
      assert.equal("by function", (ask(o)))
    end)

    it("a function replaced by another is seen, also when nothing else was", function()
      local C = Point()
      local ask <close> = server(function(o) return o.f() end)
      for i = 1, 500 do
        C.f = load(("return %d"):format(i))
        if i % 10 == 0 then collectgarbage() end
        assert.equal(i, ask(C.new(0, 0)))
      end
    end)

    it("a value replaced by one that equals it, of another type", function()
      local C = Point()
      local ask <close> = server(function(o) return math.type(o.n), o[1] end)
      C.n = 1
      assert.equal("integer", (ask(C.new(0, 0))))
      C.n = 1.0
      assert.equal("float", (ask(C.new(0, 0))))
      C[1] = "list"
      assert.same({ "float", "list" }, { ask(C.new(0, 0)) })
      C[1], C[2] = nil, "other"
      assert.same({ "float" }, { ask(C.new(0, 0)) })
    end)

    it("a key exchanged for another with the same value", function()
      local C = Point()
      local f = function() return "f" end
      local ask <close> = server(function(o) return o.a and "a", o.b and "b" end)
      C.a = f
      assert.same({ "a" }, { ask(C.new(0, 0)) })
      C.a, C.b = nil, f
      local a, b = ask(C.new(0, 0))
      assert.is_nil(a)
      assert.equal("b", b)
    end)

    it("leaves what was changed in a copy", function()
      local C = Point()
      C.a, C.b = "a", "b"
      local ask <close> = server(function(o)
        local M = getmetatable(o)
        if not M.mine then
          M.mine, M.a = "mine", "a there"
        end
        return M.mine, M.a, M.b, M.c
      end)
      assert.same({ "mine", "a there", "b" }, { ask(C.new(0, 0)) })
      C.c = "c"
      assert.same({ "mine", "a there", "b", "c" }, { ask(C.new(0, 0)) })
      for i = 1, 200 do              -- many versions: the whole class is sent again in between
        C.b = i
        assert.same({ "mine", "a there", i, "c" }, { ask(C.new(0, 0)) })
      end
      C.c = nil
      for i = 201, 400 do C.b = i ask(C.new(0, 0)) end
      assert.same({ "mine", "a there", 400 }, { ask(C.new(0, 0)) })
      assert.is_nil(rawget(C, "mine"))
      assert.equal("a", C.a)
      -- what is set at home is brought over, also where the copy had its own
      C.a = "a again"
      assert.same({ "mine", "a again", 400 }, { ask(C.new(0, 0)) })
    end)

    it("brings a copy that has missed many versions up to date", function()
      local C = Point()
      local slow <close> = server(function(o) return o.n, o.gone end)
      local fast <close> = server(function(o) return o.n end)
      C.gone = "still there"
      assert.same({ nil, "still there" }, { slow(C.new(0, 0)) })
      C.gone = nil
      for i = 1, 150 do
        C.n = i
        C["k" .. i % 7] = i % 3 == 0 and i or nil
        assert.equal(i, fast(C.new(0, 0)))
      end
      local n, gone = slow(C.new(0, 0))
      assert.equal(150, n)
      assert.is_nil(gone)
    end)

    it("takes no copy back: an older object that comes late changes nothing", function()
      local C = Point()
      local c = goro.chan(2)
      C.n = 1
      c:send(C.new(0, 0))
      C.n = 2
      c:send(C.new(0, 0))
      local old, new = c:recv(), c:recv()
      local to, out = goro.chan(), goro.chan()
      goro.go(function()
        local a = to:recv().n
        local b = to:recv().n
        out:send({ a, b })
      end)
      to:send(new)
      to:send(old)
      assert.same({ 2, 2 }, (out:recv()))
      assert.equal(2, C.n)
    end)

    it("and objects that waited in a channel find the class as it is by then", function()
      local C = Point()
      local q, out = goro.chan(10), goro.chan()
      for i = 1, 10 do
        C.n = i
        q:send(C.new(0, 0))
      end
      goro.go(function()
        local n
        for i = 1, 10 do
          n = q:recv().n
          if n < i then error("an old version") end
        end
        out:send(n)
      end)
      assert.equal(10, (out:recv()))
    end)

    it("changes made in a state that has a copy go no further", function()
      local C = Point()
      C.n = "home"
      local p = in_goroutine(function(o)
        getmetatable(o).n = "there"
        return o
      end, C.new(1, 1))
      assert.equal("home", p.n)
      local a, b = goro.chan(), goro.chan()
      goro.go(function()
        local o = a:recv()
        getmetatable(o).n = "there"
        b:send(o)
      end)
      local out = goro.chan()
      goro.go(function() out:send(b:recv().n) end)
      a:send(C.new(1, 1))
      assert.equal("home", (out:recv()))
    end)
  end)

  describe("travels alone:", function()
    it("its methods are no part of a message", function()
      local C = Point()
      local big = {}
      for i = 1, 100 do
        C["m" .. i] = load(("local a = ... return a, %q"):format(("x"):rep(1000)))
      end
      local c = goro.chan(1)
      for _ = 1, 3 do
        c:send(C.new(1, 2))
        c:recv()
      end
      -- an object of it costs what one of a class without methods does, and a look at each method
      local Small = {}
      Small.__index = Small
      local function time(v)
        local best = math.huge
        for _ = 1, 7 do
          local t = os.clock()
          for _ = 1, 2000 do
            c:send(v)
            c:recv()
          end
          best = math.min(best, os.clock() - t)
        end
        return best
      end
      local small = time(setmetatable({ x = 1, y = 2, big }, Small))
      local object = time(setmetatable({ x = 1, y = 2, big }, C))
      assert.is_true(object < 12 * small, ("%g s, %g s"):format(object, small))
    end)
  end)

  describe("that cannot cross", function()
    it("raises with the way to what is wrong", function()
      local C = Point()
      C.worker = coroutine.create(print)
      support.raises("cannot send a value of type 'thread' (at .list[1] metatable.worker)", function()
        cross({ list = { C.new(1, 2) } })
      end)
      support.raises("cannot send a value of type 'thread' (at upvalue 'C'.worker)", function()
        cross(function() return C end)
      end)
      local D = Point()
      function D.f() return C end
      support.raises("metatable.f upvalue 'C'.worker)", function() cross(D.new(1, 1)) end)
      support.raises("(at .o metatable.__index.worker)", function()
        cross({ o = setmetatable({}, { __index = { worker = coroutine.create(print) } }) })
      end)
      C.worker = nil                   -- nothing is left of that
      assert.equal(3, there_and_back(C.new(1, 2)):sum())
      assert.is_true(rawequal(C, there_and_back(D.new(1, 2)).f()))
    end)

    it("with __gc and without __goro raises: it would run twice", function()
      local C = { __gc = function() end, __name = "Resource" }
      local o = setmetatable({}, C)
      for _, v in ipairs { o, C, { { o } } } do
        support.raises("cannot send a value of type 'Resource'", function() cross(v) end)
        support.raises("'__gc', but no '__goro'", function() cross(v) end)
      end
      support.raises("(at .x[1])", function() cross({ x = { o } }) end)
      local c = goro.chan(1)
      pcall(c.send, c, o)
      assert.equal(0, #c)
    end)

    it("a change to something that cannot cross raises, and the change back is seen", function()
      local C = Point()
      local ask <close> = server(function(o) return o.n, o.bad end)
      C.n = 1
      assert.same({ 1 }, { ask(C.new(0, 0)) })
      C.bad, C.n = coroutine.create(print), 2
      support.raises("cannot send", function() cross(C.new(0, 0)) end)
      C.bad = nil
      assert.same({ 2 }, { ask(C.new(0, 0)) })
    end)
  end)

  describe("leaves nothing behind:", function()
    it("classes that were dropped, in both states", function()
      local n = support.many(20000)
      local seen = setmetatable({}, { __mode = "k" })
      local ask <close> = server(function(o) return o.n end)
      collectgarbage()
      local before = collectgarbage("count")
      for i = 1, n do
        local C = { n = i }
        C.__index = C
        if i % 1000 == 0 then seen[C] = true end
        assert.equal(i, ask(setmetatable({}, C)))
      end
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(seen))
      assert.is_true(collectgarbage("count") < before + 2000)
    end)

    it("a class that its own methods hold", function()
      local weak = setmetatable({}, { __mode = "k" })
      do
        local C = Point()
        local D = {}
        D.__index = D
        C.d, D.c = function() return D end, function() return C end
        weak[C], weak[D] = true, true
        there_and_back(C.new(1, 1))
      end
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
    end)

    it("a metatable for each of 10,000 objects of one message", function()
      local n = support.many(10000)
      local list = {}
      for i = 1, n do
        list[i] = setmetatable({}, { __index = function() return i end })
      end
      local r = there_and_back(list)
      for i = 1, n do
        if r[i].x ~= i or getmetatable(r[i]) ~= getmetatable(list[i]) then error(i) end
      end
    end)
  end)

  describe("by all ways alike:", function()
    local C = Point()

    it("results, errors, select, arguments", function()
      local _, err = pcall(in_goroutine, function() return C.new(1, 2) end)
      assert.is_true(rawequal(C, getmetatable(err)))
      local c = goro.chan(1)
      goro.select { { send = c, value = C.new(1, 2) } }
      assert.is_true(rawequal(C, getmetatable((select(2, goro.select { c })))))
    end)
  end)
end)
