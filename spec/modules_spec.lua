-- What belongs to a loaded module crosses by reference: the module, its functions, its classes.

-- luacheck: no max line length, ignore 142 143 212
local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local cross, there_and_back, in_goroutine = support.cross, support.there_and_back,
  support.in_goroutine

-- The modules of this spec, as files in a directory of their own.
local files = {
  ["gs_shapes.lua"] = [[
    local M = { list = { 1, 2 }, version = "1" }
    local Circle = {}
    Circle.__index = Circle
    function Circle:area() return 3 * self.r * self.r end
    function Circle:is_a(class) return getmetatable(self) == class end
    M.Circle = Circle
    function M.circle(r) return setmetatable({ r = r }, Circle) end
    local hidden = { __index = { kind = function() return "hidden" end } }
    function M.hidden(v) return setmetatable({ v = v }, hidden) end
    function M.is_hidden(o) return getmetatable(o) == hidden end
    local weak = { __mode = "k" }
    M.deep = { er = { f = function() return "deeper" end, weak = weak } }
    M.list.g = function() return "in a list" end
    M[1] = function() return "one" end
    M.instance = setmetatable({ n = 1 }, Circle)
    return M
  ]],
  ["gs_middle.lua"] = [[
    local M = {}
    local function new(self, ...)
      local o = setmetatable({ class = self }, self.__instanceDict)
      if o.initialize then o:initialize(...) end
      return o
    end
    function M.class(name, super)
      local dict = {}
      dict.__index = dict
      local class = { name = name, super = super, static = { new = new }, __instanceDict = dict,
        subclasses = setmetatable({}, { __mode = "k" }) }
      if super then
        setmetatable(dict, super.__instanceDict)
        super.subclasses[class] = true
      else
        function dict:is_a(other)
          local c = self.class
          while c and c ~= other do c = c.super end
          return c == other
        end
      end
      return setmetatable(class, { __index = function(_, k) return class.static[k] or dict[k] end,
        __call = new, __newindex = dict, __tostring = function() return "class " .. name end })
    end
    return M
  ]],
  ["gs_zoo.lua"] = [[
    local class = require("gs_middle").class
    local M = { Animal = class("Animal") }
    M.Dog = class("Dog", M.Animal)
    function M.Animal:initialize(name) self.name = name end
    function M.Dog:speak() return self.name .. " barks" end
    return M
  ]],
  ["gs_pl.lua"] = [[
    local class = require("pl.class")
    local M = { Animal = class() }
    function M.Animal:_init(name) self.name = name end
    M.Dog = class(M.Animal)
    function M.Dog:speak() return self.name .. " barks" end
    return M
  ]],
  ["gs_function.lua"] = [[ return function(x) return x * 2 end ]],
  ["gs_broken.lua"] = [[
    if goro_spec_broken == nil then return { f = function() return 1 end, t = {} } end
    error("broken on purpose")
  ]],
  ["gs/sub.lua"] = [[ return { f = function() return "sub" end, K = { __index = {} } } ]],
}

local dir

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  assert(os.execute("mkdir -p " .. dir .. "/gs"))
  for name, text in pairs(files) do
    local f = assert(io.open(dir .. "/" .. name, "w"))
    f:write(text)
    f:close()
  end
  package.path = dir .. "/?.lua;" .. package.path
end)

teardown(function()
  package.path = package.path:sub(#dir + #"/?.lua;" + 1)
  for name in pairs(package.loaded) do
    if name:find("^gs[_.]") then package.loaded[name] = nil end
  end
  os.execute("rm -r " .. dir)
end)

describe("of a loaded module #modules", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("by reference:", function()
    it("its table, its functions, deeper ones too", function()
      local M = require("gs_shapes")
      local deep, one, g = M.deep.er.f, M[1], M.list.g
      assert.is_true(in_goroutine(function(m, a, b, c)
        local mine = require("gs_shapes")
        return rawequal(m, mine) and rawequal(a, mine.deep.er.f) and rawequal(b, mine[1])
          and rawequal(c, mine.list.g) and rawequal(M, mine) and rawequal(deep, a)
      end, M, deep, one, g))
      assert.is_true(rawequal(M, there_and_back(M)))
      assert.is_true(rawequal(deep, there_and_back({ deep })[1]))
    end)

    it("a function as module, and a submodule", function()
      local f, sub = require("gs_function"), require("gs.sub")
      assert.is_true(in_goroutine(function()
        return f(21) == 42 and f == require("gs_function") and sub == require("gs.sub")
          and sub.f() == "sub"
      end))
      assert.is_true(rawequal(f, there_and_back(f)))
      assert.is_true(rawequal(sub.f, there_and_back(sub.f)))
    end)

    it("its classes: plain metatables", function()
      local M = require("gs_shapes")
      local Circle = M.Circle
      local o = M.circle(2)
      local a, b, c, area, r = in_goroutine(function(v)
        return getmetatable(v) == require("gs_shapes").Circle, v:is_a(Circle),
          v:is_a(M.Circle), v:area(), v
      end, o)
      assert.same({ true, true, true, 12 }, { a, b, c, area })
      assert.is_true(rawequal(Circle, getmetatable(r)))
      assert.is_true(r:is_a(Circle))
      assert.is_true(rawequal(M.deep.er.weak, there_and_back(M.deep.er.weak)))
      assert.is_false(rawequal(M.instance, cross(M.instance)))
    end)

    it("its classes that only its functions know", function()
      local M = require("gs_shapes")
      local a, b, r = in_goroutine(function(v)
        return require("gs_shapes").is_hidden(v), v.kind(), require("gs_shapes").hidden(2)
      end, M.hidden(1))
      assert.same({ true, "hidden" }, { a, b })
      assert.is_true(M.is_hidden(r))
    end)

    it("classes of a library in middleclass's way", function()
      local zoo = require("gs_zoo")
      local Dog, Animal = zoo.Dog, zoo.Animal
      local a, b, says, same, text, r = in_goroutine(function(v)
        local z = require("gs_zoo")
        return v:is_a(Dog), v:is_a(z.Animal), v:speak(),
          getmetatable(v) == z.Dog.__instanceDict and v.class == z.Dog, tostring(Animal),
          z.Dog("there")
      end, Dog("rex"))
      assert.same({ true, true, "rex barks", true, "class Animal" }, { a, b, says, same, text })
      assert.is_true(r:is_a(Animal) and r.class == Dog)
    end)

    it("classes of Penlight", function()
      if not pcall(require, "pl.class") then return pending("no Penlight here") end
      local zoo = require("gs_pl")
      local a, b, says, r = in_goroutine(function(v)
        local z = require("gs_pl")
        return getmetatable(v) == z.Dog, v:is_a(z.Animal), v:speak(), z.Dog("there")
      end, zoo.Dog("rex"))
      assert.same({ true, true, "rex barks" }, { a, b, says })
      assert.is_true(r:is_a(zoo.Dog) and r:is_a(zoo.Animal))
      local List = require("pl.List")
      local l = there_and_back(List { 1, 2, 3 })
      assert.is_true(rawequal(List, getmetatable(l)))
      assert.equal(3, l:len())
    end)

    it("C modules, and what is in them", function()
      local ok, cjson = pcall(require, "cjson")
      if not ok then return pending("no cjson here") end
      local encode = cjson.encode
      assert.is_true(in_goroutine(function()
        return cjson == require("cjson") and cjson.encode({ 1 }) == "[1]" and encode({}) == "{}"
          and encode == require("cjson").encode
      end))
      assert.is_true(rawequal(cjson.null, there_and_back({ cjson.null })[1]))
      assert.is_true(rawequal(encode, there_and_back(encode)))
    end)

    it("the standard libraries, package.loaded, and goro", function()
      local lib, loaded, random, path = string, package.loaded, math.random, package
      assert.is_true(in_goroutine(function()
        return lib == string and loaded == package.loaded and random == math.random
          and path == package and goro == require("goro")
      end))
      assert.is_true(rawequal(package.loaded, there_and_back(loaded)))
    end)
  end)

  describe("but its data is copied:", function()
    it("tables in it that are no classes", function()
      local M = require("gs_shapes")
      local l = cross(M.list)
      assert.is_false(rawequal(M.list, l))
      assert.same({ 1, 2 }, { l[1], l[2] })
      assert.is_true(rawequal(M.list.g, l.g))
      assert.is_false(in_goroutine(function(v)
        return rawequal(v, require("gs_shapes").list)
      end, M.list))
    end)

    it("functions that a script has put into a standard library", function()
      string.goro_spec = function(s) return s .. "!" end
      local f = string.goro_spec
      local ok, r = pcall(in_goroutine, function() return f("copied"), string.goro_spec end)
      string.goro_spec = nil
      assert.is_true(ok)
      assert.equal("copied!", r)
    end)

    it("what is only a global", function()
      local name = "goro_spec_global"
      _G[name] = { f = function() return 1 end }
      local ok, same = pcall(function()
        local t = _G[name]
        return rawequal(t, cross(t)) or rawequal(t.f, cross(t.f))
      end)
      _G[name] = nil
      assert.is_true(ok)
      assert.is_false(same)
    end)
  end)

  describe("that came", function()
    it("after the first crossing", function()
      cross({})
      package.preload["gs_late"] = function()
        local C = {}
        C.__index = C
        return { C = C, f = function() return C end }
      end
      local M = require("gs_late")
      package.preload["gs_late"] = nil
      assert.is_true(rawequal(M.f, cross(M.f)))
      assert.is_true(rawequal(M.C, getmetatable(cross(setmetatable({}, M.C)))))
      package.loaded["gs_late"] = nil
    end)

    it("without require, into package.loaded", function()
      local C = { __index = {} }
      package.loaded["gs_by_hand"] = { C = C, f = function() return "f" end }
      local f = package.loaded["gs_by_hand"].f
      assert.is_true(rawequal(f, cross(f)))
      assert.is_true(rawequal(C, getmetatable(cross(setmetatable({}, C)))))
      package.loaded["gs_by_hand"] = nil
    end)
  end)

  describe("is required there with the sender's", function()
    it("paths, also by one that was started before they were set", function()
      local out = script.ok(([[
        local goro = require("goro")
        local to, from = goro.chan(), goro.chan()
        goro.go(function()
          for v in to:range() do
            local before = package.path
            from:send({ v.f and v.f() or v.sub and "module", package.path == before })
          end
        end)
        to:send({ sub = true })
        print(from:recv()[1])
        package.path = %q .. package.path
        local sub = require("gs.sub")
        to:send({ f = sub.f })
        local r = from:recv()
        print(r[1], r[2])
        to:close()
      ]]):format(dir .. "/?.lua;"))
      assert.equal("module\nsub\ttrue\n", out)
    end)

    it("preload functions, also by one that was started before", function()
      local out = script.ok([[
        local goro = require("goro")
        local to, from = goro.chan(), goro.chan()
        goro.go(function()
          for v in to:range() do from:send(v and v.f() or "nothing") end
        end)
        to:send(false)
        print((from:recv()))
        package.preload.gs_pre = function() return { f = function() return "preloaded" end } end
        local m = require("gs_pre")
        to:send(m)
        print((from:recv()))
        to:close()
      ]])
      assert.equal("nothing\npreloaded\n", out)
    end)

    it("module while that is still being loaded: goroutines started in a module's body", function()
      local out = script.ok([[
        local goro = require("goro")
        package.preload.gs_self = function()
          local M = {}
          M.C = { __index = {} }
          local c = goro.chan(1)
          c:send(setmetatable({}, M.C))
          M.first = getmetatable((c:recv())) == M.C
          return M
        end
        local M = require("gs_self")
        local c = goro.chan(1)
        c:send(setmetatable({}, M.C))
        print(M.first, getmetatable((c:recv())) == M.C)
      ]])
      assert.equal("true\ttrue\n", out)
    end)
  end)

  describe("that is not to be had there", function()
    it("raises in the receiver, with the module and the way to the value", function()
      package.loaded["gs_nowhere"] = { f = function() return 1 end, C = { __index = {} } }
      local M = package.loaded["gs_nowhere"]
      local c, out = goro.chan(), goro.chan(10)
      goro.go(function()
        for _ = 1, 4 do
          local ok, err = pcall(c.recv, c)
          out:send({ ok, tostring(err) })
        end
        out:send((c:recv()))
      end)
      c:send({ list = { true, M.f } })
      c:send({ x = setmetatable({ 1 }, M.C) })
      c:send(M)
      c:send(function() return M end)
      c:send("the channel lives on")
      local function told(...)
        local r = out:recv()
        assert.is_false(r[1])
        for _, text in ipairs { ... } do
          if not r[2]:find(text, 1, true) then error(r[2]) end
        end
      end
      told("cannot receive 'gs_nowhere.f' (at .list[2])", "module 'gs_nowhere' not found")
      told("cannot receive 'gs_nowhere.C' (at .x metatable)")
      told("cannot receive 'gs_nowhere': ")
      told("cannot receive 'gs_nowhere' (at upvalue 'M')")
      assert.equal("the channel lives on", (out:recv()))
      package.loaded["gs_nowhere"] = nil
    end)

    it("or has no such value", function()
      package.preload["gs_other"] = function() return { g = 1 } end
      package.loaded["gs_other"] = { f = function() return 1 end }
      local f = package.loaded["gs_other"].f
      local c, out = goro.chan(), goro.chan()
      goro.go(function() out:send({ pcall(c.recv, c) }) end)
      c:send(f)
      local r = out:recv()
      assert.is_false(r[1])
      assert.equal("cannot receive 'gs_other.f': module 'gs_other' has no such value here", r[2])
      package.preload["gs_other"], package.loaded["gs_other"] = nil, nil
    end)

    it("or whose body fails", function()
      local M = require("gs_broken")
      local c, out = goro.chan(), goro.chan()
      goro.go(function()
        goro_spec_broken = true -- luacheck: ignore
        out:send({ pcall(c.recv, c) })
        goro_spec_broken = nil -- luacheck: ignore
        out:send({ pcall(c.recv, c) })
      end)
      c:send(M.f)
      local r = out:recv()
      assert.is_false(r[1])
      assert.is_truthy(r[2]:find("broken on purpose", 1, true))
      c:send(M.f)
      r = out:recv()
      assert.is_true(r[1])
      assert.equal(1, r[2]())
    end)

    it("inside a class: the class is complete as soon as it can be", function()
      package.loaded["gs_part"] = { f = function() return "f" end }
      local C = { f = package.loaded["gs_part"].f, g = function() return "g" end }
      C.__index = C
      local c, out = goro.chan(), goro.chan()
      goro.go(function()
        out:send((pcall(c.recv, c)))
        package.preload["gs_part"] = function() return { f = function() return "f there" end } end
        local o = c:recv()
        out:send({ o.f(), o.g() })
      end)
      local o = setmetatable({}, C)
      c:send(o)
      assert.is_false((out:recv()))
      c:send(o)
      assert.same({ "f there", "g" }, (out:recv()))
      package.loaded["gs_part"] = nil
    end)
  end)

  it("C modules are opened one at a time, in however many goroutines", function()
    local clib = require("spec.support.clib")
    assert(clib("posix"))
    assert(clib("opening"))
    local cpath, n = package.cpath, support.many(60)
    package.cpath = "build/tests/?.so;" .. cpath
    support.with_procs(4, function()
      local wg, gate = goro.WaitGroup(), goro.chan()
      for _ = 1, n do
        wg:go(function()
          gate:recv()
          require("opening")
        end)
      end
      gate:close()
      wg:wait()
      assert.equal(n + 1, require("opening").opened())
      package.loaded.opening, package.loaded.posix = nil, nil
    end)
    package.cpath = cpath
  end)

  it("a C function outlives the state that loaded its library", function()
    local ok = pcall(require, "lfs")
    if not ok then return pending("no lfs here") end
    local out = script.ok([[
      local goro = require("goro")
      local c = goro.chan()
      goro.go(function() c:send(require("lfs").currentdir) end)
      local f = c:recv()
      while goro.num_goroutine() > 1 do goro.yield() end
      collectgarbage()
      print(type(f()))
    ]])
    assert.equal("string\n", out)
  end)

  it("that are opened late cross by reference, whatever was sent before", function()
    local out = goro.chan()
    local libraries = { string = string, table = table, utf8 = utf8, math = math,
      ["goro.socket"] = require("goro.socket") }
    goro.go(function()
      out:send({ {}, function() end })               -- what is known so far is noted
      out:send(string)
      out:send({ {}, print })
      out:send(table)
      out:send(utf8)
      out:send(math)
      out:send(require("goro.socket"))
    end)
    out:recv()
    assert.equal(libraries.string, (out:recv()))
    out:recv()
    assert.equal(libraries.table, (out:recv()))
    assert.equal(libraries.utf8, (out:recv()))
    assert.equal(libraries.math, (out:recv()))
    assert.equal(libraries["goro.socket"], (out:recv()))
  end)
end)
