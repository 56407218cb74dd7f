-- WaitGroup: a counter that goroutines bring down, and a way to wait until it is 0.

local goro = require("goro")
local support = require("spec.support")

local raises, all_blocked, in_goroutine = support.raises, support.all_blocked,
  support.in_goroutine

describe("a WaitGroup #waitgroup", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("waits until the counter is 0", function()
    local wg, c = goro.WaitGroup(), goro.chan(10)
    wg:add(10)
    for i = 1, 10 do
      goro.go(function()
        c:send(i)
        wg:done()
      end)
    end
    assert.same({ n = 1, true }, table.pack(wg:wait()))
    assert.equal(10, #c)
  end)

  it("does not wait when the counter is 0", function()
    local wg = goro.WaitGroup()
    assert.is_true(wg:wait())
    assert.is_true(wg:wait(0))
    wg:add()
    wg:done()
    assert.is_true(wg:wait())
  end)

  it("does not let a wait return before the last done", function()
    local wg, out = goro.WaitGroup(), goro.chan(1)
    wg:add(2)
    goro.go(function()
      wg:wait()
      out:send("over")
    end)
    all_blocked()
    wg:done()
    all_blocked()
    assert.equal(0, #out)
    wg:done()
    assert.equal("over", (out:recv()))
  end)

  it("counts by 1 when add is not told, and by any number, up or down", function()
    local wg = goro.WaitGroup()
    wg:add()
    wg:add(nil)
    wg:add(3)
    wg:add(0)
    wg:add(-2)
    assert.same({ false, "timeout" }, { wg:wait(0) })
    wg:done()
    wg:done()
    assert.same({ false, "timeout" }, { wg:wait(0) })
    wg:add(-1)
    assert.is_true(wg:wait(0))
  end)

  it("add, done and go return nothing", function()
    local wg = goro.WaitGroup()
    assert.equal(0, select("#", wg:add(1)))
    assert.equal(0, select("#", wg:done()))
    assert.equal(0, select("#", wg:go(function() end)))
    wg:wait()
  end)

  it("raises when the counter would be negative, and leaves it as it was", function()
    local wg = goro.WaitGroup()
    raises("negative WaitGroup counter", function() wg:done() end)
    raises("negative WaitGroup counter", function() wg:add(-1) end)
    wg:add(2)
    raises("negative WaitGroup counter", function() wg:add(-3) end)
    assert.is_false((wg:wait(0)))
    wg:done()
    wg:done()
    assert.is_true(wg:wait())
    raises("negative WaitGroup counter", wg.done, wg)
  end)

  it("wakes all who wait", function()
    local wg, out = goro.WaitGroup(), goro.chan()
    wg:add(1)
    for _ = 1, 100 do
      goro.go(function() out:send((wg:wait())) end)
    end
    all_blocked()
    wg:done()
    for _ = 1, 100 do assert.is_true((out:recv())) end
  end)

  it("is shared wherever it crosses to, and one value in a state", function()
    local wg = goro.WaitGroup()
    assert.is_true(rawequal(wg, support.there_and_back({ wg })[1]))
    assert.equal("found", ({ [wg] = "found" })[support.cross(wg)])
    assert.equal(tostring(wg), (in_goroutine(function() return tostring(wg) end)))
    assert.truthy(tostring(wg):find("^WaitGroup: 0x%x+"), tostring(wg))
    assert.is_false(wg == goro.WaitGroup())
  end)

  it("may be used again, round after round", function()
    local wg, c = goro.WaitGroup(), goro.chan(10)
    for round = 1, support.many(200) do
      wg:add(5)
      for _ = 1, 5 do
        goro.go(function()
          c:send(round)
          wg:done()
        end)
      end
      assert.is_true(wg:wait())
      assert.equal(5, #c)
      for _ = 1, 5 do assert.equal(round, (c:recv())) end
    end
  end)

  it("may grow while somebody waits", function()
    local wg, total = goro.WaitGroup(), goro.chan(1000)
    local function walk(depth)
      if depth > 0 then
        for _ = 1, 2 do
          wg:add()
          goro.go(walk, depth - 1)
        end
      end
      total:send(1)
      wg:done()
    end
    wg:add()
    goro.go(walk, 6)
    wg:wait()
    assert.equal(127, #total)
  end)

  it("takes done from any goroutine, thousands of them", function()
    local n = support.many(5000)
    local wg = goro.WaitGroup()
    wg:add(n)
    for _ = 1, n do goro.go(function() wg:done() end) end
    assert.is_true(wg:wait())
    assert.is_true(wg:wait(0))
  end)

  describe("with a time-out", function()
    it("gives false and the reason when it comes first", function()
      local wg = goro.WaitGroup()
      wg:add()
      local t = goro.now()
      assert.same({ n = 2, false, "timeout" }, table.pack(wg:wait(0.02)))
      local took = goro.now() - t
      assert.is_true(took >= 0.02 and took < 5, took)
      assert.same({ n = 2, false, "timeout" }, table.pack(in_goroutine(function()
        return wg:wait(0.005)
      end)))
    end)

    it("of 0 or less never blocks", function()
      local wg = goro.WaitGroup()
      for _, t in ipairs { 0, -1, -0.5, -math.huge } do
        assert.is_true(wg:wait(t))
        wg:add()
        assert.same({ false, "timeout" }, { wg:wait(t) })
        wg:done()
      end
    end)

    it("that is long enough is not felt", function()
      local wg = goro.WaitGroup()
      for _, t in ipairs { 60, math.huge } do
        wg:add()
        goro.go(function() wg:done() end)
        assert.same({ n = 1, true }, table.pack(wg:wait(t)))
      end
    end)

    it("may be waited for again", function()
      local wg, gate = goro.WaitGroup(), goro.chan()
      wg:add()
      goro.go(function()
        gate:recv()
        wg:done()
      end)
      for _ = 1, 5 do assert.is_false((wg:wait(0.001))) end
      gate:close()
      assert.is_true(wg:wait())
    end)
  end)

  describe("starts goroutines by go:", function()
    it("with their arguments, and waits for their end", function()
      local wg, c = goro.WaitGroup(), goro.chan(10)
      for i = 1, 10 do wg:go(function(a, b) c:send(a * b) end, i, 2) end
      assert.is_true(wg:wait())
      local sum = 0
      for _ = 1, 10 do sum = sum + c:recv() end
      assert.equal(110, sum)
    end)

    it("the counter is up before it returns", function()
      local wg, gate = goro.WaitGroup(), goro.chan()
      wg:go(function() gate:recv() end)
      assert.same({ false, "timeout" }, { wg:wait(0) })
      gate:close()
      assert.is_true(wg:wait())
    end)

    it("together with add and done", function()
      local wg, c = goro.WaitGroup(), goro.chan(3)
      wg:add()
      wg:go(function() c:send(1) end)
      goro.go(function()
        c:send(2)
        wg:done()
      end)
      wg:go(function() c:send(3) end)
      assert.is_true(wg:wait())
      assert.equal(3, #c)
    end)

    it("from goroutines that it started", function()
      local wg, c = goro.WaitGroup(), goro.chan(1000)
      local function walk(depth)
        for _ = 1, depth > 0 and 3 or 0 do wg:go(walk, depth - 1) end
        c:send(1)
      end
      wg:go(walk, 4)
      assert.is_true(wg:wait())
      assert.equal(121, #c)
    end)

    it("and raises in wait what one of them raised, when all are done", function()
      local wg, c, gate = goro.WaitGroup(), goro.chan(1), goro.chan()
      wg:go(function()
        gate:recv()
        c:send("did its work")
      end)
      wg:go(function() error("boom") end)
      all_blocked()
      assert.same({ false, "timeout" }, { wg:wait(0) })
      gate:close()
      raises("boom", function() wg:wait() end)
      assert.equal("did its work", (c:recv()))
    end)

    it("raises it in every wait of the round", function()
      local wg, out = goro.WaitGroup(), goro.chan()
      wg:add()
      wg:go(function() error("boom") end)
      for _ = 1, 5 do
        goro.go(function() out:send({ pcall(wg.wait, wg) }) end)
      end
      all_blocked()
      wg:done()
      for _ = 1, 5 do
        local r = out:recv()
        assert.is_false(r[1])
        assert.truthy(tostring(r[2]):find("boom", 1, true))
      end
      raises("boom", function() wg:wait() end)
      raises("boom", function() wg:wait(0) end)
    end)

    it("and not in the next round", function()
      local wg = goro.WaitGroup()
      wg:go(function() error("boom") end)
      raises("boom", function() wg:wait() end)
      wg:go(function() end)
      assert.is_true(wg:wait())
      wg:add()
      wg:done()
      assert.is_true(wg:wait())
    end)

    it("without a panic: the main script's other calls go on", function()
      local wg, c = goro.WaitGroup(), goro.chan()
      wg:go(function() error("boom") end)
      goro.go(function()
        pcall(wg.wait, wg)
        c:send("fine")
      end)
      assert.equal("fine", (c:recv()))
      goro.sleep(0)
      goro.yield()
    end)

    it("and no counter is left when the function cannot be sent", function()
      local wg = goro.WaitGroup()
      local file <close> = assert(io.tmpfile())
      raises("cannot send a value of type 'FILE*'", function()
        wg:go(function() return file end)
      end)
      raises("cannot send a value of type 'FILE*'", function() wg:go(print, file) end)
      assert.is_true(wg:wait(0))
    end)
  end)

  it("holds the main script and goroutines alike, anywhere they may block", function()
    local wg, out = goro.WaitGroup(), goro.chan(1)
    local function body()
      local ok = coroutine.wrap(function()
        wg:wait()
        return true
      end)()
      table.sort({ 2, 1 }, function(a, b)
        ok = ok and wg:wait()
        return a < b
      end)
      return ok
    end
    wg:add()
    goro.go(function() out:send(body()) end)
    goro.go(function() wg:done() end)
    assert.is_true(body())
    assert.is_true((out:recv()))
  end)

  it("in a channel's message keeps its place while its sender has ended", function()
    local c = goro.chan(1)
    local gate = goro.chan()
    goro.go(function()
      local wg = goro.WaitGroup()
      wg:go(function() gate:recv() end)
      c:send(wg)
    end)
    local wg = c:recv()
    collectgarbage()
    assert.is_false((wg:wait(0)))
    gate:close()
    assert.is_true(wg:wait())
  end)
end)
