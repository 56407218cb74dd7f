-- Small tables of plain data cross by a way of their own (src/plain.c).  What it cannot do must
-- cross as ever: the same values around each of its limits.

local goro = require("goro")

local ch = goro.chan(1)

local function there_and_back(v)
  ch:send(v)
  return (ch:recv())
end

local function nested(depth)
  local t = { "end" }
  for i = 1, depth do t = { t, depth = i } end
  return t
end

local function many(n)
  local t = {}
  for i = 1, n do t[i] = { i } end
  return t
end

describe("a record", function()
  it("crosses with all kinds of plain keys and values", function()
    local t = {
      id = 7, name = "a name", tags = { "red", "green", "blue" }, [-3] = 0.5, [2.5] = -0.0,
      [true] = false, [math.mininteger] = math.maxinteger, empty = {}, [""] = "",
      binary = "\0\255__", inf = math.huge, small = -128, less = -129, more = 128,
    }
    local u = there_and_back(t)
    assert.same(t, u)
    assert.are_not.equal(t, u)
    assert.equal("float", math.type(u[2.5]))
    assert.equal(-math.huge, 1 / u[2.5])
    assert.equal("integer", math.type(u.id))
  end)

  it("keeps its holes, and an array that is none", function()
    assert.same({ nil, 2 }, there_and_back({ nil, 2 }))
    assert.same({ [3] = 3, [2] = 2, [1] = 1 }, there_and_back({ [3] = 3, [2] = 2, [1] = 1 }))
    local t = { 1, 2, 3, 4, x = 1 }
    t[2] = nil
    assert.same({ 1, nil, 3, 4, x = 1 }, there_and_back(t))
  end)

  it("crosses at each depth, number of tables and size", function()
    for depth = 0, 12 do assert.same(nested(depth), there_and_back(nested(depth))) end
    for n = 0, 20 do assert.same(many(n), there_and_back(many(n))) end
    for n = 0, 700, 7 do
      local t = { s = ("x"):rep(n), 1 }
      assert.same(t, there_and_back(t))
      t = { ("y"):rep(n // 2), ("z"):rep(n // 2), [("k"):rep(n)] = n }
      assert.same(t, there_and_back(t))
    end
  end)

  it("keeps references that are shared, and cycles", function()
    local shared = { 1 }
    local u = there_and_back({ a = shared, b = shared, list = { shared } })
    assert.equal(u.a, u.b)
    assert.equal(u.a, u.list[1])
    local t = { name = "cycle", down = {} }
    t.down.up = t
    u = there_and_back(t)
    assert.equal(u, u.down.up)
  end)

  it("may hold what is not plain", function()
    local u = there_and_back({ id = 1, reply = ch, f = function() return 42 end })
    assert.equal(ch, u.reply)
    assert.equal(42, u.f())
    assert.equal(getmetatable(""), getmetatable(u.s or ""))
    assert.equal(string, there_and_back({ lib = string }).lib)
    assert.equal(_G, there_and_back({ g = _G }).g)
    assert.equal(package.loaded["goro"], there_and_back({ id = 1, m = goro }).m)
  end)

  it("may hold objects, and be a class", function()
    local Class = { answer = 42 }
    Class.__index = Class
    local u = there_and_back({ id = 1, object = setmetatable({}, Class), class = Class })
    assert.equal(Class, u.class)
    assert.equal(Class, getmetatable(u.object))
    local Other = { __tostring = function() return "other" end }
    assert.equal(Other, there_and_back({ Other })[1])
  end)

  it("raises where something cannot cross, with its path", function()
    local co = coroutine.create(print)
    local ok, err = pcall(ch.send, ch, { id = 1, list = { 1, co } })
    assert.is_false(ok)
    assert.truthy(err:find("cannot send a value of type 'thread' (at .list[2])", 1, true), err)
    assert.equal(0, #ch)
  end)

  it("may be received again and again from a Map", function()
    local map = goro.Map()
    local t = { id = 1, tags = { "a", "b" } }
    map:store("k", t)
    for _ = 1, 3 do assert.same(t, (map:load("k"))) end
  end)

  it("keeps its length in a message that waits", function()
    local c, done = goro.chan(64), goro.chan()
    goro.go(function()
      for i = 1, 1000 do c:send({ id = i, name = ("n"):rep(i % 600), tags = { i, { i } } }) end
      c:close()
    end)
    goro.go(function()
      local n = 0
      for v in c:range() do
        n = n + 1
        assert(v.id == n and #v.name == n % 600 and v.tags[2][1] == n)
      end
      done:send(n)
    end)
    assert.equal(1000, (done:recv()))
  end)
end)
