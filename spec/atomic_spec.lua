-- Atomic: an integer for all.

local goro = require("goro")
local support = require("spec.support")

local bad_argument = support.bad_argument

describe("an Atomic #atomic", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("holds an integer, 0 if not told", function()
    assert.equal(0, goro.Atomic():load())
    assert.equal(0, goro.Atomic(nil):load())
    for _, v in ipairs { 1, -1, math.maxinteger, math.mininteger } do
      local a = goro.Atomic(v)
      assert.equal(v, a:load())
      assert.equal("integer", math.type(a:load()))
    end
  end)

  it("store, add, swap and cas do what they say", function()
    local a = goro.Atomic(5)
    assert.equal(0, select("#", a:store(7)))
    assert.equal(10, a:add(3))
    assert.equal(8, a:add(-2))
    assert.equal(8, a:swap(1))
    assert.is_false(a:cas(2, 3))
    assert.equal(1, a:load())
    assert.is_true(a:cas(1, 3))
    assert.equal(3, a:load())
  end)

  it("wraps around", function()
    local a = goro.Atomic(math.maxinteger)
    assert.equal(math.mininteger, a:add(1))
    assert.equal(math.maxinteger, a:add(-1))
    assert.equal(-1, a:add(math.mininteger))
  end)

  it("loses no addition", function()
    local a, wg, n = goro.Atomic(), goro.WaitGroup(), support.many(20000)
    for i = 1, 4 do
      wg:go(function()
        for _ = 1, n do a:add(i) end
      end)
    end
    wg:wait()
    assert.equal(10 * n, a:load())
  end)

  it("lets one of several swap", function()
    local a, won, wg = goro.Atomic(), goro.Atomic(), goro.WaitGroup()
    for round = 1, 50 do
      for _ = 1, 4 do
        wg:go(function()
          if a:cas(round - 1, round) then won:add(1) end
        end)
      end
      wg:wait()
      assert.equal(round, won:load())
    end
  end)

  -- Dekker's test: with less than sequential consistency both may see 0.
  it("is sequentially consistent", function()
    local n = support.many(2000)
    local a, b, ra, rb = goro.Atomic(), goro.Atomic(), goro.Atomic(), goro.Atomic()
    local go, done = goro.chan(), goro.chan()
    for _, p in ipairs { { a, b, ra }, { b, a, rb } } do
      local mine, other, result = p[1], p[2], p[3]
      goro.go(function()
        for _ in go:range() do
          mine:store(1)
          result:store(other:load())
          done:send(true)
        end
      end)
    end
    for _ = 1, n do
      a:store(0)
      b:store(0)
      go:send(1)
      go:send(2)
      done:recv()
      done:recv()
      assert.is_true(ra:load() + rb:load() >= 1)
    end
    go:close()
  end)

  it("refuses what is no integer, and stays what it was", function()
    local a = goro.Atomic(1)
    local v = { 1.0, 1.5, 0 / 0, "1", "x", {}, true, print }
    for _, x in ipairs(v) do
      bad_argument(1, "Atomic", function() goro.Atomic(x) end)
      bad_argument(1, "store", function() a:store(x) end)
      bad_argument(1, "add", function() a:add(x) end)
      bad_argument(1, "swap", function() a:swap(x) end)
      bad_argument(1, "cas", function() a:cas(x, 1) end)
      bad_argument(2, "cas", function() a:cas(1, x) end)
    end
    bad_argument(1, "store", function() a:store() end)
    bad_argument(1, "add", function() a:add() end)
    bad_argument(2, "cas", function() a:cas(1) end)
    for _, name in ipairs { "load", "store", "add", "swap", "cas" } do
      bad_argument(1, name, function() a[name](goro.Map(), 1, 1) end)
    end
    assert.equal(1, a:load())
  end)
end)
