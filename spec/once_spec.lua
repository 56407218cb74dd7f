-- Once: whoever comes first runs the function, all get what came of it.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local raises, bad_argument, all_blocked = support.raises, support.bad_argument,
  support.all_blocked

describe("a Once #once", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("runs one function, once", function()
    local once, n = goro.Once(), 0
    for _ = 1, 3 do once:run(function() n = n + 1 end) end
    once:run(function() n = n + 100 end)
    assert.equal(1, n)
  end)

  -- Go's TestOnce: nobody goes on before it is done.
  it("runs it once for many, who wait until it is done", function()
    local once, runs, done, wg = goro.Once(), goro.Atomic(), goro.Atomic(), goro.WaitGroup()
    for _ = 1, 20 do
      wg:go(function()
        once:run(function()
          runs:add(1)
          goro.sleep(0.005)
          done:store(1)
        end)
        assert(done:load() == 1)
      end)
    end
    wg:wait()
    assert.equal(1, runs:load())
  end)

  it("gives its arguments to the function, and a copy of its results to everybody", function()
    local once, mine = goro.Once(), { "mine" }
    local r = table.pack(once:run(function(a, b) return mine, a + b, nil end, 1, 2))
    assert.equal(3, r.n)
    assert.same({ "mine" }, r[1])
    assert.not_equal(mine, r[1])
    assert.equal(3, r[2])
    local again = table.pack(once:run(error))
    assert.equal(3, again.n)
    assert.same(r, again)
    assert.not_equal(r[1], again[1])
    r[1][1] = "changed"
    assert.same({ "mine" }, (once:run(error)))
    assert.same({ { "mine" }, 3, n = 3 }, support.in_goroutine(function()
      return table.pack(once:run(error))
    end))
  end)

  it("without results gives none", function()
    local once = goro.Once()
    assert.equal(0, select("#", once:run(function() end)))
    assert.equal(0, select("#", once:run(function() return 1 end)))
  end)

  -- Go's TestOnceValuesPanic
  it("raises the error in everybody, now and later", function()
    local once, wg, n = goro.Once(), goro.WaitGroup(), goro.Atomic()
    for _ = 1, 10 do
      wg:go(function()
        local ok, err = pcall(once.run, once, function()
          n:add(1)
          goro.sleep(0.002)
          error({ code = 42 })
        end)
        assert(not ok and err.code == 42)
      end)
    end
    wg:wait()
    assert.equal(1, n:load())
    local ok, err = pcall(once.run, once, print)
    assert.is_false(ok)
    assert.same({ code = 42 }, err)
    local other = goro.Once()
    raises("text", other.run, other, error, "some text", 0)
    raises("some text", other.run, other, print)
  end)

  it("raises in everybody what cannot cross", function()
    local once = goro.Once()
    raises("cannot send a value of type", once.run, once, function()
      return coroutine.create(print)
    end)
    raises("cannot send a value of type", once.run, once, print)
  end)

  it("may block in its function, anywhere", function()
    local once, c, out = goro.Once(), goro.chan(), goro.chan()
    goro.go(function()
      out:send(coroutine.wrap(function()
        return (once:run(function() return (c:recv()) end))
      end)())
    end)
    goro.go(function() out:send((once:run(print))) end)
    all_blocked()
    c:send("value")
    assert.equal("value", (out:recv()))
    assert.equal("value", (out:recv()))
  end)

  it("raises when it is run inside its own function", function()
    local once = goro.Once()
    raises("inside its own function", once.run, once, function() once:run(print) end)
    local other = goro.Once()
    local ok = other:run(function() return (pcall(other.run, other, print)) end)
    assert.is_false(ok)
  end)

  it("may run another one inside", function()
    local a, b = goro.Once(), goro.Once()
    assert.equal(2, (a:run(function() return b:run(function() return 1 end) + 1 end)))
  end)

  it("of which each runs the other is a deadlock, and says so", function()
    local a, b, c = goro.Once(), goro.Once(), goro.chan()
    goro.go(function()
      pcall(a.run, a, function()
        c:send(1)
        c:recv()
        b:run(print)
      end)
    end)
    c:recv()
    local err
    b:run(function()
      c:send(1)
      err = raises("asleep - deadlock!", a.run, a, print)
    end)
    assert.truthy(err:find("[Once run]", 1, true))
  end)

  it("tells those who wait when its function never ends", function()
    local once, out = goro.Once(), goro.chan(2)
    local co = coroutine.create(function() once:run(function() coroutine.yield("in") end) end)
    assert.equal("in", select(2, coroutine.resume(co)))
    goro.go(function() out:send((select(2, pcall(once.run, once, print)))) end)
    all_blocked()
    coroutine.close(co)
    assert.truthy(out:recv():find("never ended", 1, true))
    raises("never ended", once.run, once, print)
    local dropped = goro.Once()
    co = coroutine.create(function() dropped:run(coroutine.yield) end)
    coroutine.resume(co)
    co = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    raises("never ended", dropped.run, dropped, print)
  end)

  it("survives an error that ends its runner's coroutine", function()
    local once = goro.Once()
    local co = coroutine.create(function() once:run(error, "oh", 0) end)
    assert.same({ false, "oh" }, { coroutine.resume(co) })
    raises("oh", once.run, once, print)
  end)

  it("refuses what is no function, and has not run then", function()
    local once = goro.Once()
    for _, f in ipairs { 42, "print", {}, true, setmetatable({}, { __call = print }) } do
      bad_argument(1, "run", function() once:run(f) end)
    end
    bad_argument(1, "run", function() once:run() end)
    bad_argument(1, "run", function() once.run(goro.Mutex(), print) end)
    assert.equal(1, (once:run(function() return 1 end)))
    bad_argument(1, "run", function() once:run() end)
  end)

  it("ends with its script while it runs", function()
    assert.equal("over\n", (script.ok([[
      local goro = require("goro")
      local once, c = goro.Once(), goro.chan()
      for _ = 1, 10 do goro.go(function() once:run(function() c:send(1) c:send(2) end) end) end
      c:recv()
      print("over")
    ]])))
  end)
end)
