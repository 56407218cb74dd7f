-- sleep, after and now.

local goro = require("goro")
local support = require("spec.support")

local in_goroutine = support.in_goroutine

describe("time #time", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("goro.now", function()
    it("is a number of seconds that never goes back", function()
      local last = goro.now()
      assert.equal("float", math.type(last))
      for _ = 1, 10000 do
        local t = goro.now()
        if t < last then error(("%.9f after %.9f"):format(t, last)) end
        last = t
      end
    end)

    it("runs as a clock does #nochaos", function()
      local t, wall = goro.now(), os.time()
      repeat until os.time() >= wall + 2
      local took = goro.now() - t
      assert.is_true(took > 0.99 and took < 30, took)
    end)

    it("is one clock for all goroutines", function()
      local c = goro.chan()
      local last = goro.now()
      goro.go(function()
        for _ = 1, 100 do
          c:send(goro.now())
          c:recv()
        end
      end)
      for _ = 1, 100 do
        local t = c:recv()
        if t < last then error(("%.9f after %.9f"):format(t, last)) end
        last = goro.now()
        c:send(true)
        assert.is_true(last >= t)
      end
    end)

    it("knows parts of a millisecond", function()
      local t, steps = goro.now(), 0
      local last = t
      while goro.now() - t < 0.01 do
        local now = goro.now()
        if now > last then steps, last = steps + 1, now end
      end
      assert.is_true(steps > 10)
    end)
  end)

  describe("goro.sleep", function()
    it("returns true after that time, and never before", function()
      for _, s in ipairs { 0.001, 0.02, 0.0005 } do
        local t = goro.now()
        assert.same({ n = 1, true }, table.pack(goro.sleep(s)))
        local took = goro.now() - t
        assert.is_true(took >= s and took < 5, took)
      end
    end)

    it("in a goroutine as in the main script", function()
      local ok, took = in_goroutine(function()
        local t = goro.now()
        return goro.sleep(0.02), goro.now() - t
      end)
      assert.is_true(ok)
      assert.is_true(took >= 0.02 and took < 5, took)
    end)

    it("of 0 or less returns at once", function()
      assert.is_true(goro.sleep(-1))
      assert.is_true(goro.sleep(-math.huge))
      assert.is_true(goro.sleep(0))
      assert.is_true(goro.sleep(0.0))
      assert.is_true((in_goroutine(function() return goro.sleep(0) end)))
    end)

    it("lets the others run, also with one processor", function()
      support.with_procs(1, function()
        local c = goro.chan(100)
        goro.go(function()
          for i = 1, 100 do
            c:send(i)
            goro.yield()
          end
        end)
        goro.sleep(0.001)
        for i = 1, 100 do assert.equal(i, (c:recv())) end
      end)
    end)

    it("holds nobody else: sleepers sleep at the same time", function()
      local wg, n = goro.WaitGroup(), support.many(500)
      local t = goro.now()
      for _ = 1, n do wg:go(goro.sleep, 0.2) end
      wg:wait()
      local took = goro.now() - t
      assert.is_true(took >= 0.2)
      assert.is_true(took < n * 0.2 / 2, took)
    end)

    -- (One processor: how soon who is awake goes on, on two, is the system's affair.)
    it("wakes sleepers in the order of their times", function()
      support.with_procs(1, function()
        local c, gate = goro.chan(5), goro.chan()
        local wg = goro.WaitGroup()
        for _, i in ipairs { 3, 1, 5, 2, 4 } do
          wg:go(function()
            gate:recv()
            goro.sleep(i * 0.15)
            c:send(i)
          end)
        end
        support.all_blocked()                -- all go to sleep at once
        gate:close()
        wg:wait()
        for i = 1, 5 do assert.equal(i, (c:recv())) end
      end)
    end)

    it("wakes 10,000 sleepers, none early", function()
      local n = support.many(10000)
      local wg, late = goro.WaitGroup(), goro.chan(n)
      local start = goro.now()
      for i = 1, n do
        wg:go(function()
          local s = 0.05 + (i * 37 % 100) / 500
          local t = goro.now()
          goro.sleep(s)
          late:send(goro.now() - t - s)
        end)
      end
      wg:wait()
      assert.equal(n, #late)
      for _ = 1, n do assert.is_true(late:recv() >= 0) end
      assert.is_true(goro.now() - start < 60)
    end)

    it("works wherever a goroutine may block", function()
      local function body()
        local t = goro.now()
        local ok = coroutine.wrap(function() return goro.sleep(0.002) end)()
        table.sort({ 2, 1 }, function(a, b)
          ok = goro.sleep(0.002) and ok
          return a < b
        end)
        ok = pcall(goro.sleep, 0.002) and ok
        return ok and goro.now() - t >= 0.006
      end
      assert.is_true(body())
      assert.is_true((in_goroutine(body)))
    end)

    it("many short ones in many goroutines come to an end", function()
      local wg = goro.WaitGroup()
      local n = support.many(100)
      for i = 1, n do
        wg:go(function()
          for k = 1, 20 do goro.sleep(((i * k) % 7) * 0.0001) end
        end)
      end
      assert.is_true(wg:wait(60))
    end)
  end)

  describe("goro.after", function()
    it("returns a channel that gets one value, the time", function()
      local t = goro.now()
      local c = goro.after(0.02)
      assert.same({ nil, nil, "timeout" }, { c:try_recv() })
      local v, ok = c:recv()
      assert.is_true(ok)
      assert.equal("float", math.type(v))
      assert.is_true(v >= t + 0.02 and v <= goro.now(), v - t)
      assert.same({ nil, nil, "timeout" }, { c:recv(0.01) })
    end)

    it("of 0 gets it at once", function()
      assert.is_true(select(2, goro.after(0):recv()))
    end)

    it("ends a select", function()
      local never = goro.chan()
      assert.equal(2, (goro.select { never, goro.after(0.005) }))
      assert.equal(1, (goro.select { { recv = goro.after(0.005) }, never }))
    end)

    it("brings its values in the order of the times", function()
      local cs, vs = {}, {}
      for i = 1, 5 do cs[i] = goro.after(0.06 * i) end
      for i = 5, 1, -1 do vs[i] = cs[i]:recv() end
      for i = 2, 5 do assert.is_true(vs[i] >= vs[i - 1]) end
    end)

    it("may be given to another goroutine", function()
      local c = goro.after(0.01)
      local v, ok = in_goroutine(function() return c:recv() end)
      assert.equal("number", type(v))
      assert.is_true(ok)
      local function second(d) return select(2, d:recv()) end
      assert.is_true((in_goroutine(second, goro.after(0.01))))
    end)

    it("may be forgotten", function()
      for _ = 1, support.many(1000) do goro.after(0.001) end
      collectgarbage()
      goro.after(0.005):recv()
    end)

    it("waits in a buffer until it is wanted", function()
      local c = goro.after(0.001)
      goro.after(0.02):recv()
      assert.equal(1, #c)
      assert.is_true(select(2, c:try_recv()))
    end)

    it("10,000 of them all come", function()
      local n = support.many(10000)
      local cs = {}
      for i = 1, n do cs[i] = goro.after((i * 31 % 100) / 1000) end
      for i = 1, n do
        local v, ok = cs[i]:recv()
        if not (ok and v) then error(i) end
      end
    end)
  end)
end)
