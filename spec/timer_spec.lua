-- timer, ticker, after_func.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local in_goroutine = support.in_goroutine

local function nothing(ch)
  assert.same({ n = 3, nil, nil, "timeout" }, table.pack(ch:try_recv()))
end

describe("timers #timer", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("goro.timer", function()
    it("sends the time once, not before it is over", function()
      local start = goro.now()
      local t = goro.timer(0.02)
      nothing(t.c)
      local v, ok = t.c:recv()
      assert.is_true(ok)
      assert.equal("float", math.type(v))
      assert.is_true(v >= start + 0.02 and v <= goro.now(), v - start)
      assert.same({ nil, nil, "timeout" }, { t.c:recv(0.01) })
    end)

    it("of 0 or less fires at once", function()
      assert.is_true(select(2, goro.timer(0).c:recv()))
      assert.is_true(select(2, goro.timer(-5).c:recv()))
    end)

    it("has one channel, which only receives", function()
      local t <close> = goro.timer(100)
      assert.is_true(rawequal(t.c, t.c))
      assert.matches("^channel: 0x%x+ 0/1$", tostring(t.c))
      support.raises("send on a receive-only channel", t.c.send, t.c, 1)
      support.raises("close of a receive-only channel", t.c.close, t.c)
      assert.is_nil(t.other)
    end)

    it("raises for what is no time", function()
      support.bad_argument(1, "timer", goro.timer)
      support.bad_argument(1, "timer", goro.timer, "x")
      support.bad_argument(1, "timer", goro.timer, 0 / 0)
      local t <close> = goro.timer(100)
      support.bad_argument(1, "reset", function() t:reset() end)
      support.bad_argument(1, "reset", function() t:reset(0 / 0) end)
    end)

    it("may be as long as one likes", function()
      for _, s in ipairs { 1e9, 1e18, 1e300, math.huge, math.maxinteger } do
        local t = goro.timer(s)
        nothing(t.c)
        assert.is_true(t:stop())
      end
    end)

    it("waits in its channel until it is wanted", function()
      local t = goro.timer(0.001)
      goro.sleep(0.02)
      collectgarbage()
      assert.equal(1, #t.c)
      assert.is_true(select(2, t.c:try_recv()))
    end)

    it("ends a select", function()
      assert.equal(2, (goro.select { goro.chan(), goro.timer(0.005).c }))
    end)

    -- (Where all stand still for longer than the time between two, these come at once.)
    it("many come in their order", function()
      for attempt = 1, 5 do
        local out, late = goro.chan(5), goro.chan(5)
        local wg = goro.WaitGroup()
        for _, i in ipairs { 3, 1, 5, 2, 4 } do
          local due = goro.now() + i * 0.1
          wg:go(function(t)
            t.c:recv()
            out:send(i)
            late:send(goro.now() - due)
          end, goro.timer(i * 0.1))
        end
        wg:wait()
        local order, most = {}, 0
        for i = 1, 5 do
          local by = late:recv()
          assert.is_true(by >= 0)
          order[i], most = (out:recv()), math.max(most, by)
        end
        if most < 0.1 or attempt == 5 then
          assert.same({ 1, 2, 3, 4, 5 }, order)
          return
        end
      end
    end)
  end)

  describe("stop", function()
    it("is true if the timer was still to fire", function()
      local t = goro.timer(100)
      assert.same({ n = 1, true }, table.pack(t:stop()))
      assert.same({ n = 1, false }, table.pack(t:stop()))
      nothing(t.c)
    end)

    it("is false once its value was received", function()
      local t = goro.timer(0.001)
      t.c:recv()
      assert.is_false(t:stop())
    end)

    it("takes back a value that nobody has received", function()
      local t = goro.timer(0.001)
      repeat until #t.c == 1
      assert.is_true(t:stop())
      nothing(t.c)
      assert.is_false(t:stop())
    end)

    it("leaves nothing to be received, however close it comes", function()
      for i = 1, support.many(300) do
        local t = goro.timer((i % 20) * 0.00005)
        for _ = 1, i % 50 * 20 do end
        t:stop()
        nothing(t.c)
      end
    end)

    it("and a receiver: one of them has it", function()
      for i = 1, support.many(300) do
        local t = goro.timer((i % 10) * 0.00005)
        local done = goro.chan()
        local task = goro.async(function()
          return (goro.select { t.c, done })
        end)
        if i % 3 == 0 then goro.yield() end
        local stopped = t:stop()
        done:close()
        local which = task:result()
        if stopped and which == 1 then error("stopped, and received") end
      end
    end)

    it("is done by <close>", function()
      local t
      do
        local timer <close> = goro.timer(100)
        t = timer
      end
      assert.is_false(t:stop())
    end)
  end)

  describe("reset", function()
    it("is true if it was still to fire, and sets it anew", function()
      local t = goro.timer(100)
      local start = goro.now()
      assert.same({ n = 1, true }, table.pack(t:reset(0.02)))
      t.c:recv()
      assert.is_true(goro.now() - start >= 0.02)
      assert.same({ n = 1, false }, table.pack(t:reset(0.001)))
      assert.is_true(select(2, t.c:recv()))
      t:reset(100)
      t:stop()
      assert.is_false(t:reset(0))
      assert.is_true(select(2, t.c:recv()))
    end)

    it("lets nobody receive the value from before", function()
      for i = 1, support.many(100) do
        local t = goro.timer((i % 5) * 0.0001)
        for _ = 1, i * 10 do end
        local start = goro.now()
        t:reset(0.002)
        local v = t.c:recv()
        assert.is_true(v >= start + 0.002)
      end
    end)

    it("from many goroutines at once leaves one value", function()
      for round = 1, support.many(20) do
        local t = goro.timer(0.0005)
        local wg = goro.WaitGroup()
        for i = 1, 6 do
          wg:go(function()
            math.randomseed(round, i)
            for _ = 1, 30 do
              local r = math.random(4)
              if r == 1 then t:stop() elseif r == 2 then t.c:try_recv(math.random() * 0.0002)
              else t:reset(math.random() * 0.0004) end
            end
          end)
        end
        wg:wait()
        t:reset(0.001)
        assert.is_true(select(2, t.c:recv()))
        assert.same({ nil, nil, "timeout" }, { t.c:recv(0.003) })
      end
    end)
  end)

  describe("goro.ticker", function()
    it("sends the time again and again", function()
      local start = goro.now()
      local t <close> = goro.ticker(0.01)
      local last = start
      for i = 1, 5 do
        local v = t.c:recv()
        assert.is_true(v > last and v >= start + i * 0.01 - 1e-6, v - start)
        last = v
      end
      assert.is_true(goro.now() - start >= 0.05 - 1e-6)
    end)

    it("drops ticks for a slow receiver, and keeps its beat", function()
      local start = goro.now()
      local t <close> = goro.ticker(0.005)
      goro.sleep(0.1)
      assert.equal(1, #t.c)
      t.c:recv()
      local v = t.c:recv()
      assert.is_true(v >= start + 0.1)
      local late = (v - start) / 0.005
      assert.is_true(late >= 20)
    end)

    it("stop: true if it ran; no tick is received after it", function()
      for i = 1, support.many(100) do
        local t = goro.ticker(0.0002)
        if i % 2 == 0 then t.c:recv() end
        for _ = 1, i * 20 do end
        assert.is_true(t:stop())
        nothing(t.c)
        assert.is_false(t:stop())
      end
    end)

    it("reset: another interval, from now on", function()
      local t <close> = goro.ticker(100)
      local start = goro.now()
      assert.is_true(t:reset(0.005))
      t.c:recv()
      t.c:recv()
      assert.is_true(goro.now() - start >= 0.01 - 1e-6)
      t:stop()
      assert.is_false(t:reset(0.002))
      t.c:recv()
      t.c:recv()
    end)

    it("raises for an interval of 0 or less", function()
      for _, s in ipairs { 0, -1, 0.0, -0.5 } do
        support.bad_argument(1, "ticker", goro.ticker, s)
      end
      local t <close> = goro.ticker(100)
      support.bad_argument(1, "reset", function() t:reset(0) end)
      support.bad_argument(1, "reset", function() t:reset(-1) end)
      assert.is_true(t:stop())
    end)

    it("stops by <close>, and when nobody holds it", function()
      local c
      do
        local t <close> = goro.ticker(0.001)
        c = t.c
        c:recv()
      end
      assert.same({ nil, nil, "timeout" }, { c:recv(0.01) })
      for _ = 1, support.many(1000) do goro.ticker(0.0001) end
      collectgarbage()
      collectgarbage()
    end)

    it("goes on while only its channel is held", function()
      local c = (function() return goro.ticker(0.002).c end)()
      collectgarbage()
      collectgarbage()
      for _ = 1, 5 do assert.is_true(select(2, c:recv())) end
    end)

    it("as short as can be does not stop the others", function()
      local t <close> = goro.ticker(1e-9)
      local n = 0
      local stop = goro.after(0.02)
      while goro.select { stop, t.c } == 2 do n = n + 1 end
      assert.is_true(n > 1, n)
    end)
  end)

  describe("goro.after_func", function()
    it("runs the function in a goroutine, with its arguments", function()
      local out = goro.chan()
      local start = goro.now()
      local me = goro.id()
      goro.after_func(0.02, function(...) out:send { goro.id(), ... } end, 1, "two", { 3 })
      local r = out:recv()
      assert.is_true(goro.now() - start >= 0.02)
      assert.is_true(r[1] ~= me)
      assert.same({ 1, "two", { 3 } }, { table.unpack(r, 2) })
    end)

    it("copies function and arguments when it is called", function()
      local out, n, t = goro.chan(), 1, { 1 }
      local timer = goro.after_func(0.005, function(u) out:send { n, u[1] } end, t)
      n, t[1] = 2, 2
      assert.same({ 1, 1 }, (out:recv()))
      timer:reset(0)
      assert.same({ 1, 1 }, (out:recv()))
    end)

    it("chains: each starts the next", function()
      local done = goro.chan()
      local function count(i, k)
        if i == 0 then
          done:send("end")
        else
          goro.after_func(0.0005, k, i - 1, k)
        end
      end
      count(support.many(50), count)
      assert.equal("end", (done:recv()))
    end)

    it("returns a timer without a channel", function()
      local t = goro.after_func(100, print)
      assert.is_nil(t.c)
      assert.matches("^timer: 0x%x+$", tostring(t))
      assert.is_true(t:stop())
    end)

    it("stop: true if it had not started", function()
      local n = goro.Atomic()
      local t = goro.after_func(0.01, function() n:add(1) end)
      assert.is_true(t:stop())
      assert.is_false(t:stop())
      goro.sleep(0.02)
      assert.equal(0, n:load())
      local ran = goro.chan()
      t = goro.after_func(0, function() ran:send(1) end)
      ran:recv()
      assert.is_false(t:stop())
    end)

    it("reset: starts it again, later", function()
      local out = goro.chan(10)
      local t = goro.after_func(0.001, function() out:send(goro.now()) end)
      out:recv()
      for _ = 1, 3 do
        local start = goro.now()
        assert.is_false(t:reset(0.005))
        assert.is_true(out:recv() >= start + 0.005)
      end
      t:reset(0.002)
      assert.is_true(t:reset(0.01))
      out:recv()
      assert.same({ nil, nil, "timeout" }, { out:recv(0.01) })
    end)

    it("stop and fire: it runs as often as it was not stopped", function()
      local ran = goro.Atomic()
      local started, stopped = 0, 0
      local ts = {}
      for i = 1, support.many(500) do
        ts[i] = goro.after_func((i % 10) * 0.0001, function() ran:add(1) end)
        started = started + 1
        if ts[i - 5] and ts[i - 5]:stop() then stopped = stopped + 1 end
        if i % 7 == 0 then
          if not ts[i]:reset(0.0002) then started = started + 1 end
        end
      end
      for _, t in ipairs(ts) do
        if t:stop() then stopped = stopped + 1 end
      end
      local limit = goro.now() + 20
      while ran:load() ~= started - stopped and goro.now() < limit do goro.yield() end
      assert.equal(started - stopped, ran:load())
    end)

    it("reset from many goroutines: it runs as often as they set it", function()
      local ran, set = goro.Atomic(), goro.Atomic(1)
      local t = goro.after_func(0.0002, function() ran:add(1) end)
      local wg = goro.WaitGroup()
      for i = 1, 6 do
        wg:go(function()
          math.randomseed(i)
          for _ = 1, support.many(100) do
            if math.random(3) == 1 then
              if t:stop() then set:add(-1) end
            elseif not t:reset(math.random() * 0.0004) then
              set:add(1)
            end
            if math.random(10) == 1 then goro.yield() end
          end
        end)
      end
      wg:wait()
      local limit = goro.now() + 20
      while ran:load() ~= set:load() and goro.now() < limit do goro.sleep(0.001) end
      assert.equal(set:load(), ran:load())
    end)

    it("starts it although nobody holds the timer", function()
      local out = goro.chan()
      goro.after_func(0.01, function() out:send(1) end)
      collectgarbage()
      collectgarbage()
      assert.equal(1, (out:recv()))
    end)

    it("starts C functions, cancels, and functions of modules", function()
      local ctx, cancel = goro.context.with_cancel()
      goro.after_func(0.005, cancel, "late")
      ctx:done():recv()
      assert.equal("late", ctx:cause())
      local ch = goro.chan(1)
      goro.after_func(0, ch.send, ch, 5)
      assert.equal(5, (ch:recv()))
    end)

    it("raises for what cannot be started", function()
      support.bad_argument(2, "after_func", goro.after_func, 1)
      support.bad_argument(2, "after_func", goro.after_func, 1, "x")
      support.bad_argument(1, "after_func", goro.after_func, "x", print)
      support.raises("cannot send a value of type 'thread'", goro.after_func, 0, print,
        coroutine.create(print))
    end)

    it("is one goroutine only while it runs", function()
      local before = goro.num_goroutine()
      local ts = {}
      for i = 1, 100 do ts[i] = goro.after_func(100, print) end
      assert.equal(before, goro.num_goroutine())
      for i = 1, 100 do assert.is_true(ts[i]:stop()) end
    end)

    it("its panics are told as another goroutine's", function()
      local r = script.run([[
        local goro = require("goro")
        goro.after_func(0.001, function() error("boom") end) --@start
        print(pcall(goro.sleep, 5))
      ]])
      assert.matches("^false\tgoroutine 2 panicked: script.lua:2: boom", r.out)
      assert.matches("created by main at script.lua:2", r.err)
    end)
  end)

  describe("crossing", function()
    it("timers and tickers are the same ones everywhere", function()
      for _, t in ipairs { goro.timer(100), goro.ticker(100), goro.after_func(100, print) } do
        assert.is_true(rawequal(t, support.there_and_back(t)))
        assert.is_true(rawequal(t.c, support.there_and_back(t.c)))
        local text = tostring(t)
        assert.is_true((in_goroutine(function(u)
          return tostring(u) == text and rawequal(t, u) and t.c == u.c
        end, t)))
        assert.is_true((in_goroutine(function() return t:stop() end)))
        assert.is_false(t:stop())
      end
      assert.matches("^ticker: 0x%x+$", tostring(goro.ticker(100)))
    end)

    it("a timer is reset here and received there", function()
      local t = goro.timer(100)
      local task = goro.async(function() return (t.c:recv()) end)
      goro.yield()
      t:reset(0.002)
      assert.equal("number", type((task:result())))
    end)
  end)

  describe("deadlocks", function()
    local function deadlock(f)
      support.raises("all goroutines are asleep - deadlock!", f)
    end

    it("are none while a timer will wake somebody", function()
      local t = goro.timer(0.01)
      assert.is_true(select(2, t.c:recv()))
      t:reset(0.01)
      assert.equal(1, (goro.select { t.c, goro.chan() }))
      local tick <close> = goro.ticker(0.002)
      for _ = 1, 3 do tick.c:recv() end
      local ch = goro.chan()
      goro.after_func(0.01, function() ch:send(1) end)
      assert.equal(1, (ch:recv()))
      local wg = goro.WaitGroup()
      local u = goro.timer(0.01)
      wg:go(function() u.c:recv() end)
      wg:wait()
    end)

    it("are told of although timers run that nobody waits for", function()
      local t <close> = goro.timer(100)
      local tick <close> = goro.ticker(0.01)
      deadlock(function() goro.chan():recv() end)
      nothing(t.c)
      tick.c:recv()
      deadlock(function() goro.select { goro.chan() } end)
    end)

    it("are told of who waits for a timer that was stopped, or has fired", function()
      local t = goro.timer(100)
      t:stop()
      deadlock(function() t.c:recv() end)
      t = goro.timer(0)
      t.c:recv()
      deadlock(function() t.c:recv() end)
      t = goro.after_func(100, print)
      t:stop()
      deadlock(function() goro.chan():recv() end)
    end)
  end)

  it("end with the main script, whatever is set", function()
    for _ = 1, 3 do
      local out = script.ok [[
        local goro = require("goro")
        local ctx, cancel = goro.context.with_timeout(nil, 1000)
        kept = { goro.timer(1000), goro.ticker(0.0001), goro.after_func(1000, cancel),
          goro.ticker(1000).c, ctx }
        for i = 1, 200 do
          goro.after_func(i * 0.00005, function() goro.chan():recv() end)
          goro.after_func(1000, cancel)
          goro.ticker(0.0005)
        end
        goro.sleep(0.005)
        print("done")
      ]]
      assert.equal("done\n", out)
    end
  end)

  it("also where the main script ends by os.exit", function()
    local r = script.run [[
      local goro = require("goro")
      for i = 1, 100 do goro.after_func(i * 0.00005, function() goro.sleep(1) end) end
      goro.after_func(0.002, os.exit, 3)
      goro.sleep(10)
    ]]
    assert.equal(3, r.code)
  end)
end)
