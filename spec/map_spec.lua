-- Map: a table shared by all; values are copied in and out.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local raises, bad_argument, all_blocked = support.raises, support.bad_argument,
  support.all_blocked

local function packed(...) return table.pack(...) end

local function contents(m)
  local t = {}
  for k, v in m:range() do t[k] = v end
  return t
end

describe("a Map #map", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("loads what was stored", function()
    local m = goro.Map()
    assert.same({ n = 2, [2] = false }, packed(m:load("k")))
    assert.equal(0, select("#", m:store("k", 1)))
    assert.same({ n = 2, 1, true }, packed(m:load("k")))
    m:store("k", false)
    assert.same({ n = 2, false, true }, packed(m:load("k")))
    m:store("k", nil)
    assert.same({ n = 2, [2] = false }, packed(m:load("k")))
  end)

  it("load_or_store, swap and delete tell what was there", function()
    local m = goro.Map()
    assert.same({ n = 2, "a", false }, packed(m:load_or_store("k", "a")))
    assert.same({ n = 2, "a", true }, packed(m:load_or_store("k", "b")))
    assert.same({ n = 2, "a", true }, packed(m:swap("k", "c")))
    assert.same({ n = 2, [2] = false }, packed(m:swap("new", 1)))
    assert.same({ n = 2, "c", true }, packed(m:delete("k")))
    assert.same({ n = 2, [2] = false }, packed(m:delete("k")))
    assert.same({ n = 2, 1, true }, packed(m:swap("new", nil)))
    assert.same({ n = 2, [2] = false }, packed(m:load_or_store("new", nil)))
    assert.equal(0, #m)
  end)

  it("cas compares as rawequal does, with nil for absent", function()
    local m, c = goro.Map(), goro.chan()
    assert.is_false(m:cas("k", 1, 2))
    assert.is_true(m:cas("k", nil, 1))
    assert.is_false(m:cas("k", nil, 2))
    assert.is_true(m:cas("k", 1.0, 2.0))
    assert.is_true(m:cas("k", 2, 2 ^ 53))
    assert.is_false(m:cas("k", (1 << 53) + 1, 0))
    assert.is_true(m:cas("k", 1 << 53, (1 << 53) + 1))
    assert.is_false(m:cas("k", 2.0 ^ 53, 0))
    assert.is_false(m:cas("k", 2.5, 0))
    m:store("k", 2.5)
    assert.is_false(m:cas("k", 2, 0))
    assert.is_false(m:cas("k", 2.25, 0))
    assert.is_true(m:cas("k", 2.5, "text"))
    assert.is_false(m:cas("k", 2.5, 0))
    assert.is_false(m:cas("k", "tex", 0))
    assert.is_true(m:cas("k", "te" .. "xt", false))
    assert.is_false(m:cas("k", nil, 0))
    assert.is_true(m:cas("k", false, 0 / 0))
    assert.is_false(m:cas("k", 0 / 0, 0))
    m:store("k", c)
    assert.is_false(m:cas("k", goro.chan(), 0))
    assert.is_false(m:cas("k", c:send_only(), 0))
    assert.is_true(m:cas("k", c, nil))
    assert.equal(0, #m)
  end)

  it("cas: copies are not equal, what crosses by reference is", function()
    local m, t = goro.Map(), { 1 }
    m:store("k", t)
    assert.is_false(m:cas("k", t, 0))
    assert.is_false(m:cas("k", m:load("k"), 0))
    assert.same({ 1 }, (m:load("k")))
    m:store("k", string)
    assert.is_false(m:cas("k", table, 0))
    assert.is_true(m:cas("k", string, print))
    assert.is_true(m:cas("k", print, { 2 }))
    assert.same({ 2 }, (m:load("k")))
    assert.is_false(m:cas("none", t, 0))
    assert.equal(1, #m)
    raises("cannot send", m.cas, m, "k", nil, coroutine.create(print))
  end)

  it("copies values in and out", function()
    local m, t = goro.Map(), { list = { 1, 2 } }
    m:store("t", t)
    t.list[1] = "changed"
    local a = m:load("t")
    assert.same({ list = { 1, 2 } }, a)
    a.list[1] = "changed"
    assert.same({ list = { 1, 2 } }, (m:load("t")))
    local function f() return t.list[2] end
    m:store("f", f)
    assert.equal(2, m:load("f")())
  end)

  it("holds whatever can cross", function()
    local m, c = goro.Map(), goro.chan()
    local self = {}
    self.self = self
    for _, v in ipairs { 1, 1.5, "", ("x"):rep(1000), "a\0b", true, false, c, print, io.stdout,
      string, m } do
      m:store("k", v)
      assert.equal(v, (m:load("k")))
    end
    assert.equal("float", (m:store("k", 3.0) or math.type((m:load("k")))))
    m:store("k", self)
    local copy = m:load("k")
    assert.equal(copy, copy.self)
    m:store("k", nil)
    raises("cannot send a value of type 'thread'", m.store, m, "k", coroutine.create(print))
    raises("(at .x)", m.swap, m, "k", { x = coroutine.create(print) })
    raises("cannot send", m.load_or_store, m, "k", coroutine.create(print))
    assert.equal(0, #m)
  end)

  it("has strings, numbers and booleans for keys; 1 and 1.0 are one", function()
    local m = goro.Map()
    local keys = { "", "a", "a\0b", ("k"):rep(1000), 0, 1, -1, 1.5, -1.5, math.huge, -math.huge,
      math.maxinteger, math.mininteger, 2.0 ^ 63, 2.0 ^ 100, 1e-300, true, false, "1", "true" }
    for i, k in ipairs(keys) do m:store(k, i) end
    assert.equal(#keys, #m)
    for i, k in ipairs(keys) do assert.equal(i, (m:load(k))) end
    local n = 0
    for k, v in m:range() do
      n = n + 1
      assert.equal(keys[v], k)
      assert.equal(math.type(keys[v]), math.type(k))
    end
    assert.equal(#keys, n)
    m:store(1.0, "one")
    assert.equal("one", (m:load(1)))
    m:store(-0.0, "zero")
    assert.equal("zero", (m:load(0)))
    m:store(2 ^ 53, "big")
    assert.equal("big", (m:load(1 << 53)))
    assert.equal(#keys + 1, #m)
    for k in m:range() do
      if k == 1 or k == 0 then assert.equal("integer", math.type(k)) end
    end
  end)

  it("is the same one wherever it is sent", function()
    local m = goro.Map()
    support.in_goroutine(function() m:store("k", { "from there" }) end)
    assert.same({ "from there" }, (m:load("k")))
    m:store("m", m)
    assert.equal(m, (m:load("m")))
    m:delete("m")
  end)

  -- Against a plain table, as Go's map_test does.
  it("does what a table does", function()
    local m, t, n = goro.Map(), {}, 0
    local seed = os.time()
    math.randomseed(seed)
    for _ = 1, support.many(20000) do
      local k, v = math.random(500), math.random(100)
      if k % 2 == 0 then k = "key " .. k end
      local what, old = math.random(6), t[k]
      if what == 1 then
        assert.equal(old, (m:load(k)))
      elseif what == 2 then
        m:store(k, v)
        t[k] = v
      elseif what == 3 then
        assert.equal(old, (m:delete(k)))
        t[k] = nil
      elseif what == 4 then
        assert.equal(old or v, (m:load_or_store(k, v)))
        t[k] = old or v
      elseif what == 5 then
        assert.equal(old, (m:swap(k, v)))
        t[k] = v
      else
        assert.equal(v, m:update(k, function(x)
          assert(x == old, seed)
          return v
        end))
        t[k] = v
      end
    end
    for _ in pairs(t) do n = n + 1 end
    assert.equal(n, #m)
    assert.same(t, contents(m))
    for k in pairs(t) do m:delete(k) end
    assert.equal(0, #m)
    assert.same({}, contents(m))
  end)

  describe("update", function()
    it("stores and returns what the function makes of the value", function()
      local m = goro.Map()
      assert.equal(1, m:update("n", function(v, a, b)
        assert(v == nil and a == 10 and b == nil)
        return 1
      end, 10, nil))
      assert.equal(1, select("#", m:update("n", function(v) return v + 1, "more" end)))
      assert.equal(2, (m:load("n")))
      local t = { 1 }
      assert.equal(t, m:update("n", function() return t end))
      assert.not_equal(t, (m:load("n")))
      assert.is_nil(m:update("n", function() return nil end))
      assert.equal(0, #m)
      assert.is_nil(m:update("n", function() return nil end))
      assert.equal(0, #m)
    end)

    it("is atomic", function()
      local m, wg, n = goro.Map(), goro.WaitGroup(), support.many(1000)
      for i = 1, 6 do
        wg:go(function()
          for _ = 1, n do
            m:update("k", function(v)
              if i == 1 then goro.yield() end
              return (v or 0) + 1
            end)
          end
        end)
      end
      wg:wait()
      assert.equal(6 * n, (m:load("k")))
    end)

    it("may block, and holds up nobody but writers of its key", function()
      local m, c, out = goro.Map(), goro.chan(), goro.chan(10)
      for i = 1, 100 do m:store(i, "old") end
      goro.go(function()
        m:update(1, function() return (c:recv()) end)
        out:send("updated")
      end)
      all_blocked()
      for i = 1, 100 do
        assert.equal("old", (m:load(i)))
        assert.equal("old", (m:load_or_store(i, "x")))
        if i > 1 then m:store(i, i) end
      end
      assert.equal(100, #m)
      assert.equal("old", contents(m)[1])
      goro.go(function()
        m:store(1, "stored")
        out:send("stored")
      end)
      all_blocked()
      assert.equal(0, #out)
      c:send("new")
      local a, b = out:recv(), out:recv()
      assert.same({ stored = true, updated = true }, { [a] = true, [b] = true })
      assert.equal("stored", (m:load(1)))
    end)

    it("makes all writers of its key wait, in the order they come", function()
      local m, c, out = goro.Map(), goro.chan(), goro.chan(10)
      local function try(name, f)
        goro.go(function() out:send({ name, f() }) end)
        all_blocked()
      end
      try("first", function() return m:update("k", function() return (c:recv()) end) end)
      try("swap", function() return m:swap("k", "a") end)
      try("cas", function() return m:cas("k", "a", "b") end)
      try("load_or_store", function() return m:load_or_store("k", "x") end)
      try("update", function() return m:update("k", function(v) return v .. "c" end) end)
      try("delete", function() return m:delete("k") end)
      try("store", function() return m:store("k", "d") end)
      try("table", function() return m:cas("k", {}, "no") end)
      assert.equal(0, #out)
      assert.same({ n = 2, [2] = false }, packed(m:load("k")))
      c:send("new")
      local got = {}
      for _ = 1, 8 do
        local r = out:recv()
        got[r[1]] = r[2]
      end
      assert.same({ first = "new", swap = "new", cas = true, load_or_store = "b", update = "bc",
        delete = "bc", table = false }, got)
      assert.equal("d", (m:load("k")))
    end)

    it("changes nothing if the function raises", function()
      local m = goro.Map()
      m:store("k", 1)
      raises("oh", m.update, m, "k", function() error("oh") end)
      raises("oh", m.update, m, "new", function() error("oh") end)
      raises("returned no value", m.update, m, "k", function() end)
      raises("cannot send", m.update, m, "k", function() return coroutine.create(print) end)
      local ok, err = pcall(m.update, m, "k", error, 1)
      assert.same({ false, 1 }, { ok, err })
      assert.same({ k = 1 }, contents(m))
      assert.equal(1, #m)
      m:store("k", 2)
      m:store("new", 3)
    end)

    it("changes nothing if the function raises in a coroutine that dies of it", function()
      local m, keep = goro.Map(), {}
      for i, f in ipairs { error, function() end, function() return coroutine.running() end } do
        keep[i] = coroutine.create(function() m:update("k", f) end)
        assert.is_false((coroutine.resume(keep[i])))
      end
      m:store("k", 1)
      assert.equal(1, #m)
    end)

    it("frees its key when its coroutine is closed, or dropped", function()
      local m = goro.Map()
      local co = coroutine.create(function() m:update("k", coroutine.yield) end)
      coroutine.resume(co)
      coroutine.close(co)
      m:store("k", 1)
      co = coroutine.create(function() m:update("k", coroutine.yield) end)
      coroutine.resume(co)
      co = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      m:store("k", 2)
      assert.same({ k = 2 }, contents(m))
    end)

    it("of the same key inside its own function raises, of others works", function()
      local m = goro.Map()
      m:store("k", "old")
      assert.equal("new", m:update("k", function()
        for _, f in ipairs {
          function() m:update("k", print) end, function() m:store("k", 1) end,
          function() m:swap("k", 1) end, function() m:delete("k") end,
          function() m:cas("k", "old", 1) end, function() m:cas("k", {}, 1) end,
        } do
          raises("inside its own update", f)
        end
        assert.equal("old", (m:load("k")))
        assert.equal("inner", m:update("other", function() return "inner" end))
        m:store("third", 3)
        return "new"
      end))
      assert.same({ k = "new", other = "inner", third = 3 }, contents(m))
    end)

    it("crossed by another in the other order is a deadlock, and says so", function()
      local m, c = goro.Map(), goro.chan()
      goro.go(function()
        pcall(m.update, m, "a", function()
          c:send(1)
          c:recv()
          m:update("b", print)
        end)
      end)
      c:recv()
      local err = raises("asleep - deadlock!", m.update, m, "b", function()
        c:send(1)
        m:store("a", 1)
      end)
      assert.truthy(err:find("[Map update]", 1, true))
      all_blocked()
    end)

    it("works where Lua cannot yield", function()
      local m, wg = goro.Map(), goro.WaitGroup()
      for _ = 1, 4 do
        wg:go(function()
          table.sort({ 2, 1 }, function(a, b)
            m:update("k", function(v)
              goro.yield()
              return (v or 0) + 1
            end)
            return a < b
          end)
        end)
      end
      wg:wait()
      assert.is_true(m:load("k") >= 4)
    end)
  end)

  describe("range", function()
    it("goes through all keys, whatever is changed meanwhile", function()
      local m, seen = goro.Map(), 0
      for i = 1, 1000 do m:store(i, i) end
      for k, v in m:range() do
        assert.equal(k, v)
        seen = seen + 1
        m:delete(k)
        m:store("new" .. k, { k })
      end
      assert.equal(1000, seen)
      assert.equal(1000, #m)
    end)

    it("is also pairs, a method and the function", function()
      local m = goro.Map()
      m:store("a", 1)
      m:store("b", { 2 })
      for _, iterate in ipairs { m.range, m.pairs, pairs } do
        local t = {}
        for k, v in iterate(m) do t[k] = v end
        assert.same({ a = 1, b = { 2 } }, t)
      end
      local it = m:range()
      it()
      it()
      assert.is_nil((it()))
      assert.is_nil((it()))
      for _ in m:range() do break end -- luacheck: ignore 512
      for _ in goro.Map():range() do error("empty") end
    end)

    -- Pairs of keys in different shards are written one after the other.
    it("is a snapshot of one moment", function()
      local m, stop, wg = goro.Map(), goro.Atomic(), goro.WaitGroup()
      for i = 1, 50 do m:store(i, 0) end
      wg:go(function()
        local n = 0
        while stop:load() == 0 do
          n = n + 1
          for i = 1, 50 do m:store(i, n) end
        end
      end)
      for _ = 1, support.many(300) do
        local t = contents(m)
        local last
        for i = 1, 50 do               -- first some n, then n - 1: never up again
          assert.is_true(last == nil or t[i] == last or t[i] == last - 1)
          assert.is_true(t[1] - t[i] <= 1 and t[i] <= t[1])
          last = t[i]
        end
      end
      stop:store(1)
      wg:wait()
    end)
  end)

  it("counts its keys", function()
    local m, wg = goro.Map(), goro.WaitGroup()
    assert.equal(0, m:len())
    for i = 1, 4 do
      wg:go(function()
        for j = 1, 500 do m:store(i * 1000 + j, j) end
        for j = 1, 250 do m:delete(i * 1000 + j) end
      end)
    end
    wg:wait()
    assert.equal(1000, #m)
    assert.equal(1000, m:len())
  end)

  it("gives readers whole values while they are overwritten", function()
    local m, stop, wg = goro.Map(), goro.Atomic(), goro.WaitGroup()
    m:store("k", { 0, 0, ("0"):rep(300) })
    m:store("s", ("0"):rep(300))
    for _ = 1, 3 do
      wg:go(function()
        while stop:load() == 0 do
          local t, s = m:load("k"), m:load("s")
          assert(t[1] == t[2] and t[3] == tostring(t[1] % 10):rep(300))
          assert(s == s:sub(1, 1):rep(300))
        end
      end)
    end
    for i = 1, support.many(1000) do
      m:store("k", { i, i, tostring(i % 10):rep(300) })
      m:store("s", tostring(i % 10):rep(300))
    end
    stop:store(1)
    wg:wait()
  end)

  it("refuses other keys", function()
    local m = goro.Map()
    local calls = {
      load = { m.load }, store = { m.store, 1 }, load_or_store = { m.load_or_store, 1 },
      swap = { m.swap, 1 }, delete = { m.delete }, cas = { m.cas, nil, 1 },
      update = { m.update, print },
    }
    for name, call in pairs(calls) do
      for _, k in ipairs { 0 / 0, {}, print, goro.chan(), coroutine.create(print) } do
        bad_argument(2, name, function() call[1](m, k, table.unpack(call, 2, 3)) end)
      end
      bad_argument(2, name, function() call[1](m, nil, table.unpack(call, 2, 3)) end)
      bad_argument(2, name, function() call[1](m) end)
      bad_argument(1, name, function() call[1](goro.Mutex(), 1, 1) end)
    end
    raises("bad argument #1 to 'store' (key is nil)", function() m:store(nil, 1) end)
    raises("bad argument #1 to 'load' (key is NaN)", function() m:load(0 / 0) end)
    for _, f in ipairs { 42, "print", {}, true } do
      bad_argument(2, "update", function() m:update("k", f) end)
    end
    bad_argument(2, "update", function() m:update("k") end)
    for _, name in ipairs { "len", "range", "pairs" } do
      bad_argument(1, name, function() m[name](42) end)
    end
    assert.equal(0, #m)
  end)

  it("ends with its script, whoever is inside update or waits for a key", function()
    assert.equal("over\n", (script.ok([[
      local goro = require("goro")
      local m, c = goro.Map(), goro.chan()
      goro.go(function() m:update("k", function() c:send(1) c:send(2) end) end)
      c:recv()
      for _ = 1, 10 do
        goro.go(function() m:update("k", function() end) end)
        goro.go(function() m:store("k", ("x"):rep(1000)) end)
        goro.go(function() m:cas("k", {}, {}) end)
        goro.go(function() table.sort({ 2, 1 }, function() m:swap("k", {}) end) end)
      end
      local it = m:range()
      goro.sleep(0.01)
      print("over")
    ]])))
  end)
end)
