-- goro.context: cancellation, deadlines, values; contexts as time-outs.

local goro = require("goro")
local context = require("goro.context")
local support = require("spec.support")

local in_goroutine = support.in_goroutine
local CANCELED, EXCEEDED = context.Canceled, context.DeadlineExceeded

-- Is the channel closed?  Without waiting.
local function closed(ch)
  local _, ok, why = ch:try_recv()
  return ok == false and why == nil
end

local function is_done(ctx, err)
  assert.equal(err, ctx:err())
  assert.is_true(closed(ctx:done()))
end

local function is_open(ctx)
  assert.is_nil(ctx:err())
  assert.is_nil(ctx:cause())
  assert.is_false(closed(ctx:done()))
end

describe("context #context", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("the module", function()
    it("is a field of goro, and a module", function()
      assert.equal(goro.context, require("goro.context"))
      assert.is_true((in_goroutine(function()
        return goro.context == require("goro.context") and goro.context == context
      end)))
    end)

    it("has the reasons as constants", function()
      assert.equal("timeout", context.Timeout)
      assert.equal("context canceled", context.Canceled)
      assert.equal("context deadline exceeded", context.DeadlineExceeded)
    end)
  end)

  describe("background and todo", function()
    it("are never done", function()
      for _, ctx in ipairs { context.background(), context.todo() } do
        is_open(ctx)
        assert.is_nil(ctx:deadline())
        assert.is_nil(ctx:value("k"))
      end
    end)

    it("are one each, everywhere", function()
      assert.is_true(rawequal(context.background(), context.background()))
      assert.is_false(rawequal(context.background(), context.todo()))
      local text = tostring(context.background())
      assert.matches("^context: 0x%x+$", text)
      assert.is_true((in_goroutine(function(b)
        return rawequal(b, context.background()) and tostring(b) == text
      end, context.background())))
    end)

    it("are no limit as time-outs", function()
      local ch = goro.chan(1)
      ch:send(7)
      assert.same({ 7, true }, { ch:recv(context.background()) })
    end)

    it("closing them does nothing", function()
      do
        local _ <close> = context.background()
      end
      is_open(context.background())
    end)
  end)

  describe("with_cancel", function()
    it("returns a context that cancel ends", function()
      local ctx, cancel = context.with_cancel(context.background())
      is_open(ctx)
      assert.equal("function", type(cancel))
      local done = ctx:done()
      cancel()
      assert.is_true(closed(done))
      is_done(ctx, CANCELED)
      assert.equal(CANCELED, ctx:cause())
    end)

    it("takes the background for a parent that is nil", function()
      local ctx, cancel = context.with_cancel()
      cancel()
      is_done(ctx, CANCELED)
      ctx = context.with_cancel(nil)
      is_open(ctx)
    end)

    it("returns from cancel, nothing, as often as it is called", function()
      local ctx, cancel = context.with_cancel()
      for _ = 1, 3 do assert.equal(0, select("#", cancel())) end
      is_done(ctx, CANCELED)
    end)

    it("has one done channel, which only receives", function()
      local ctx, cancel = context.with_cancel()
      assert.is_true(rawequal(ctx:done(), ctx:done()))
      support.raises("close of a receive-only channel", ctx:done().close, ctx:done())
      support.raises("send on a receive-only channel", ctx:done().send, ctx:done(), 1)
      cancel()
      assert.same({ n = 2, nil, false }, table.pack(ctx:done():recv()))
    end)

    it("wakes who waits on done, by recv, select and range", function()
      local ctx, cancel = context.with_cancel()
      local wg, n = goro.WaitGroup(), goro.Atomic()
      for i = 1, 30 do
        wg:go(function()
          local done = ctx:done()
          if i % 3 == 0 then
            done:recv()
          elseif i % 3 == 1 then
            assert(goro.select { goro.chan(), done } == 2)
          else
            for _ in done:range() do error("a value") end
          end
          assert(ctx:err() == CANCELED)
          n:add(1)
        end)
      end
      goro.sleep(0.005)
      assert.equal(0, n:load())
      cancel()
      wg:wait()
      assert.equal(30, n:load())
    end)

    it("is ended by <close>, and by the end of its parent's block", function()
      local kept, child
      do
        local ctx <close> = context.with_cancel()
        kept, child = ctx, context.with_cancel(ctx)
        is_open(child)
      end
      is_done(kept, CANCELED)
      is_done(child, CANCELED)
    end)

    it("raises for a parent that is no context", function()
      support.bad_argument(1, "with_cancel", context.with_cancel, 1)
      support.bad_argument(1, "with_cancel", context.with_cancel, goro.chan())
      support.bad_argument(1, "with_timeout", context.with_timeout, {}, 1)
      support.bad_argument(2, "with_timeout", context.with_timeout, nil, "x")
      support.bad_argument(2, "with_timeout", context.with_timeout, nil, 0 / 0)
      support.bad_argument(2, "with_deadline", context.with_deadline, nil)
    end)
  end)

  describe("a tree", function()
    it("is cancelled downwards, not upwards or sideways", function()
      local root, cancel_root = context.with_cancel()
      local a, cancel_a = context.with_cancel(root)
      local b = context.with_cancel(root)
      local aa = context.with_cancel(context.with_value(a, "k", 1))
      local ab = context.with_timeout(a, 1000)
      cancel_a()
      for _, ctx in ipairs { a, aa, ab } do is_done(ctx, CANCELED) end
      is_open(root)
      is_open(b)
      cancel_root()
      is_done(root, CANCELED)
      is_done(b, CANCELED)
    end)

    it("a child of one that is done is done", function()
      local ctx, cancel = context.with_cancel()
      cancel("enough")
      local value = context.with_value(ctx, "k", 1)
      for _, child in ipairs { (context.with_cancel(ctx)), (context.with_timeout(ctx, 100)),
        (context.with_cancel(value)), value } do
        is_done(child, CANCELED)
        assert.equal("enough", child:cause())
      end
    end)

    it("10,000 children and 10,000 of theirs are done at once", function()
      local n = support.many(10000)
      local root, cancel = context.with_cancel()
      local all = {}
      for i = 1, n do
        all[#all + 1] = context.with_cancel(root)
        all[#all + 1] = i % 2 == 0 and context.with_timeout(all[#all], 100)
          or context.with_value(all[#all], "i", i)
      end
      cancel("why")
      for i = 1, #all do
        if all[i]:err() ~= CANCELED or all[i]:cause() ~= "why" then error(i) end
      end
    end)

    it("who sees one done sees all below it done", function()
      for _ = 1, support.many(20) do
        local root, cancel = context.with_cancel()
        local line = { root }
        for i = 2, 300 do line[i] = context.with_cancel(line[i - 1]) end
        local last = line[300]
        local task = goro.async(function()
          while not root:err() do goro.yield() end
          return last:err()
        end)
        cancel()
        assert.equal(CANCELED, (task:result()))
      end
    end)

    it("however deep is cancelled, collected, closed", function()
      local n = support.many(30000)
      local function line(cancelled)
        local root, cancel = context.with_cancel()
        local ctx = root
        for i = 1, n do
          ctx = i % 7 == 0 and context.with_value(ctx, i, i) or context.with_cancel(ctx)
        end
        assert.equal(n // 7 * 7, ctx:value(n // 7 * 7))
        is_open(ctx)
        if cancelled then
          cancel()
          is_done(ctx, CANCELED)
        end
      end
      for i = 1, 2 do
        line(i == 1)
        collectgarbage()
      end
      assert.same("ok", in_goroutine(function(deep)
        local c = goro.context.with_cancel()
        for _ = 1, deep do c = goro.context.with_cancel(c) end
        return "ok"
      end, n // 4))
    end)

    it("a million short-lived children of one parent leave nothing behind", function()
      local function memory()
        local file = io.open("/proc/self/statm")
        if not file then return 0 end
        local pages = tonumber(file:read("a"):match("^%d+ (%d+)"))
        file:close()
        return pages * 4096
      end
      local root, cancel_root = context.with_cancel()
      local function some(n)
        for i = 1, n do
          local ctx, cancel = context.with_cancel(root)
          if i % 3 == 0 then
            cancel()
          elseif i % 3 == 1 then
            ctx:done()
            context.with_timeout(ctx, 1000)
          end
          if i % 5000 == 0 then collectgarbage() end
        end
      end
      local n = support.many(50000)    -- (tests/stress/context.lua makes the million)
      some(n)
      local before = memory()
      for _ = 1, 3 do some(n) end
      local grown = memory() - before
      -- kept, they would take n * 3 * 400 bytes
      if not os.getenv("GOROBUILD") then assert.is_true(grown < n * 200, grown) end
      cancel_root()
    end)

    it("children come and go in many goroutines, while the parent is cancelled", function()
      for round = 1, support.many(20) do
        local root, cancel = context.with_cancel()
        local wg = goro.WaitGroup()
        for i = 1, 4 do
          wg:go(function()
            math.randomseed(round, i)
            local kept = {}
            while not root:err() do
              local ctx, stop = context.with_timeout(root, math.random() * 0.002)
              kept[math.random(10)] = ctx
              local r = math.random(5)
              if r == 1 then stop() elseif r == 2 then ctx:done():recv(0.0001) end
              if r == 3 then goro.yield() end
            end
            for _, ctx in pairs(kept) do
              ctx:done():recv()
              assert(ctx:err())
            end
          end)
        end
        goro.sleep(0.002)
        cancel()
        assert.is_true(wg:wait(60))
      end
    end)
  end)

  describe("causes", function()
    it("are what the first cancel was given", function()
      local ctx, cancel = context.with_cancel()
      cancel("first")
      cancel("second")
      assert.equal(CANCELED, ctx:err())
      assert.equal("first", ctx:cause())
    end)

    it("are any value that may cross, copied", function()
      local ctx, cancel = context.with_cancel()
      local cause = { code = 7, list = { 1, 2 } }
      cancel(cause)
      cause.code = 8
      assert.same({ code = 7, list = { 1, 2 } }, ctx:cause())
      assert.is_false(rawequal(ctx:cause(), ctx:cause()))
      ctx, cancel = context.with_cancel()
      cancel(false)
      assert.equal(false, ctx:cause())
    end)

    it("one that cannot cross raises, and nothing is cancelled", function()
      local ctx, cancel = context.with_cancel()
      support.raises("cannot send a value of type 'thread'", cancel, coroutine.create(print))
      is_open(ctx)
    end)

    it("go down to those below, but not to one that was done before", function()
      local root, cancel = context.with_cancel()
      local a, cancel_a = context.with_cancel(root)
      local b = context.with_value(context.with_cancel(root), "k", 1)
      cancel_a("mine")
      cancel("theirs")
      assert.equal("mine", a:cause())
      assert.equal("theirs", b:cause())
      assert.equal("theirs", root:cause())
    end)

    it("of a deadline is its reason", function()
      local ctx, cancel = context.with_timeout(nil, 0)
      is_done(ctx, EXCEEDED)
      cancel("late")
      assert.equal(EXCEEDED, ctx:cause())
      assert.equal(EXCEEDED, ctx:err())
    end)
  end)

  describe("deadlines", function()
    it("end it in time, and not before", function()
      local t = goro.now()
      local ctx = context.with_timeout(nil, 0.03)
      local early = ctx:err()
      assert.is_true(early == nil or goro.now() - t >= 0.03)
      ctx:done():recv()
      local took = goro.now() - t
      assert.is_true(took >= 0.03 and took < 5, took)
      is_done(ctx, EXCEEDED)
    end)

    it("are told, on now's clock", function()
      local t = goro.now()
      local ctx = context.with_timeout(nil, 50)
      local d = ctx:deadline()
      assert.is_true(d >= t + 49.999999 and d <= goro.now() + 50, d - t)
      ctx = context.with_deadline(nil, t + 70)
      assert.is_true(math.abs(ctx:deadline() - (t + 70)) < 1e-6)
      assert.equal(ctx:deadline(), context.with_value(ctx, "k", 1):deadline())
      assert.equal(ctx:deadline(), (context.with_cancel(ctx)):deadline())
    end)

    it("that are over end it at once", function()
      is_done((context.with_timeout(nil, 0)), EXCEEDED)
      is_done((context.with_timeout(nil, -1)), EXCEEDED)
      is_done((context.with_deadline(nil, goro.now() - 1)), EXCEEDED)
      is_done((context.with_deadline(nil, -5)), EXCEEDED)
    end)

    it("without end are none", function()
      local ctx = context.with_timeout(nil, math.huge)
      assert.is_nil(ctx:deadline())
      is_open(ctx)
    end)

    it("a parent's earlier one holds for its children", function()
      local parent = context.with_timeout(nil, 0.01)
      local child = context.with_timeout(parent, 100)
      local grandchild = context.with_cancel(child)
      assert.equal(parent:deadline(), child:deadline())
      grandchild:done():recv()
      for _, ctx in ipairs { parent, child, grandchild } do is_done(ctx, EXCEEDED) end
    end)

    it("a child's earlier one leaves the parent alone", function()
      local parent, cancel = context.with_timeout(nil, 100)
      local child = context.with_timeout(parent, 0.01)
      child:done():recv()
      is_done(child, EXCEEDED)
      is_open(parent)
      cancel()
    end)

    -- (Where all stand still for longer than the time between two, these come at once.)
    it("come in their order", function()
      for attempt = 1, 5 do
        local out, late = goro.chan(5), goro.chan(5)
        local wg = goro.WaitGroup()
        for _, i in ipairs { 4, 2, 5, 1, 3 } do
          local ctx = context.with_timeout(nil, i * 0.1)
          wg:go(function()
            ctx:done():recv()
            out:send(i)
            late:send(goro.now() - ctx:deadline())
          end)
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

    it("cancelled before, they say so", function()
      local ctx, cancel = context.with_timeout(nil, 0.01)
      cancel()
      goro.sleep(0.02)
      is_done(ctx, CANCELED)
    end)

    it("of contexts that nobody holds do no harm", function()
      local root = context.with_cancel()
      for i = 1, support.many(3000) do
        context.with_timeout(i % 2 == 0 and root or nil, math.random() * 0.01)
        if i % 500 == 0 then collectgarbage() end
      end
      collectgarbage()
      goro.sleep(0.015)
      is_open(root)
    end)

    it("a done channel closes, though its context was collected", function()
      local function only_done(make)
        local done = make():done()
        collectgarbage()
        collectgarbage()
        return done
      end
      local root, cancel = context.with_cancel()
      local by_time = only_done(function() return (context.with_timeout(nil, 0.02)) end)
      local above = only_done(function()
        return (context.with_cancel(context.with_timeout(nil, 0.02)))
      end)
      local by_parent = only_done(function() return (context.with_cancel(root)) end)
      assert.same({ nil, false }, { by_time:recv() })
      assert.same({ nil, false }, { above:recv() })
      assert.is_false(closed(by_parent))
      cancel()
      assert.is_true(closed(by_parent))
    end)

    it("a cancel that was kept alone still cancels", function()
      local done, stop
      do
        local ctx, cancel = context.with_cancel()
        done, stop = ctx:done(), cancel
      end
      collectgarbage()
      stop()
      assert.is_true(closed(done))
    end)
  end)

  describe("values", function()
    it("are found here and above, the nearest first", function()
      local a = context.with_value(nil, "k", "a")
      local b = context.with_cancel(context.with_value(a, "other", 2))
      local c = context.with_value(b, "k", "c")
      assert.equal("a", a:value("k"))
      assert.equal("a", b:value("k"))
      assert.equal("c", c:value("k"))
      assert.equal(2, c:value("other"))
      assert.is_nil(a:value("other"))
      assert.is_nil(c:value("none"))
    end)

    it("have keys as a Map's", function()
      local ctx = context.with_value(nil, 1, "one")
      ctx = context.with_value(ctx, "1", "text")
      ctx = context.with_value(ctx, true, "yes")
      ctx = context.with_value(ctx, 1.5, "half")
      ctx = context.with_value(ctx, "a\0b", "zero")
      assert.equal("one", ctx:value(1))
      assert.equal("one", ctx:value(1.0))
      assert.equal("text", ctx:value("1"))
      assert.equal("yes", ctx:value(true))
      assert.is_nil(ctx:value(false))
      assert.equal("half", ctx:value(1.5))
      assert.equal("zero", ctx:value("a\0b"))
      assert.is_nil(ctx:value("a"))
      for _, key in ipairs { {}, print, 0 / 0 } do
        support.bad_argument(2, "with_value", context.with_value, nil, key, 1)
        support.bad_argument(1, "value", function() ctx:value(key) end)
      end
      support.bad_argument(2, "with_value", context.with_value, nil, nil, 1)
      support.bad_argument(3, "with_value", context.with_value, nil, "k")
    end)

    it("are copies, made when they are put in and taken out", function()
      local t = { 1 }
      local ctx = context.with_value(nil, "k", t)
      t[1] = 2
      assert.same({ 1 }, ctx:value("k"))
      assert.is_false(rawequal(ctx:value("k"), ctx:value("k")))
      local ch = goro.chan()
      ctx = context.with_value(ctx, "ch", ch)
      assert.is_true(rawequal(ch, ctx:value("ch")))
      support.raises("cannot send", context.with_value, nil, "k", coroutine.create(print))
    end)

    it("nil hides what is above", function()
      local ctx = context.with_value(context.with_value(nil, "k", 1), "k", nil)
      assert.is_nil(ctx:value("k"))
    end)

    it("go with the context to other goroutines", function()
      local ctx = context.with_value((context.with_cancel()), "user", { name = "gopher" })
      assert.equal("gopher", (in_goroutine(function(c) return c:value("user").name end, ctx)))
    end)

    it("closing one that only has a value ends nothing", function()
      local parent = context.with_cancel()
      do
        local _ <close> = context.with_value(parent, "k", 1)
      end
      is_open(parent)
    end)
  end)

  describe("crossing", function()
    it("contexts and cancels are the same ones everywhere", function()
      local ctx, cancel = context.with_cancel()
      local both = support.there_and_back { ctx, cancel }
      assert.is_true(rawequal(ctx, both[1]))
      assert.is_true(rawequal(cancel, both[2]))
      assert.is_true(rawequal(cancel, support.cross(cancel)))
      local text = tostring(ctx)
      assert.is_true((in_goroutine(function(c, f, out)
        local seen = { [c] = 1, [f] = 2 }
        out:send { c, f }
        local again = out:recv()
        return tostring(c) == text and seen[again[1]] == 1 and seen[again[2]] == 2
          and rawequal(c, ctx) and rawequal(f, cancel)
      end, ctx, cancel, goro.chan(1))))
      cancel()
    end)

    it("a cancel may be captured, sent, started and kept in a Map", function()
      local function check(use)
        local ctx, cancel = context.with_cancel()
        use(cancel)
        ctx:done():recv()
        is_done(ctx, CANCELED)
      end
      check(function(cancel) goro.go(cancel) end)
      check(function(cancel) goro.go(cancel, "cause") end)
      check(function(cancel) goro.go(function() cancel() end) end)
      check(function(cancel) goro.async(cancel):wait() end)
      check(function(cancel) support.cross(cancel)() end)
      check(function(cancel)
        local map = goro.Map()
        map:store("stop", cancel)
        assert.is_true(rawequal(cancel, map:load("stop")))
        assert.is_true(map:cas("stop", cancel, cancel))
        in_goroutine(function() map:load("stop")() end)
      end)
      check(function(cancel)
        goro.go(function(t) t.stop("x") end, { stop = cancel })
      end)
    end)

    it("many cancel at once: one of them is the cause", function()
      for _ = 1, support.many(30) do
        local ctx, cancel = context.with_cancel()
        local wg = goro.WaitGroup()
        for i = 1, 8 do wg:go(cancel, i) end
        wg:wait()
        assert.is_true(ctx:cause() >= 1 and ctx:cause() <= 8)
      end
    end)
  end)

  -- Each call that takes a time-out: `ready` makes it succeed, `call(timeout)` returns what it
  -- returns; `gave_up` are its results when it gives up, before the reason.
  local calls = {
    ["ch:recv"] = function()
      local ch = goro.chan(1)
      return { call = function(t) return ch:recv(t) end, gave_up = { nil, nil, n = 2 },
        ready = function() ch:send(1) end, ok = { 1, true, n = 2 } }
    end,
    ["ch:try_recv"] = function()
      local ch = goro.chan(1)
      return { call = function(t) return ch:try_recv(t) end, gave_up = { nil, nil, n = 2 },
        ready = function() ch:send(1) end, ok = { 1, true, n = 2 } }
    end,
    ["ch:try_send"] = function()
      local ch = goro.chan()
      return { call = function(t) return ch:try_send(1, t) end, gave_up = { false, n = 1 },
        ready = function() ch:recv() end, ok = { true, n = 1 }, waits = true }
    end,
    ["select"] = function()
      local ch = goro.chan(1)
      return { call = function(t) return goro.select { ch, goro.chan(), timeout = t } end,
        gave_up = { nil, n = 1 }, ready = function() ch:send(1) end,
        ok = { 1, 1, true, n = 3 } }
    end,
    ["wg:wait"] = function()
      local wg = goro.WaitGroup()
      wg:add()
      return { call = function(t) return wg:wait(t) end, gave_up = { false, n = 1 },
        ready = function() wg:done() end, ok = { true, n = 1 } }
    end,
    ["task:wait"] = function()
      local ch = goro.chan()
      local task = goro.async(function() return ch:recv() end)
      return { call = function(t) return task:wait(t) end, gave_up = { nil, n = 1 },
        ready = function() ch:send(5) end, ok = { true, 5, true, n = 3 },
        finish = function() ch:close() end }
    end,
    ["task:result"] = function()
      local ch = goro.chan()
      local task = goro.async(function() return (ch:recv()) end)
      return { call = function(t) return task:result(t) end, gave_up = { nil, n = 1 },
        ready = function() ch:send(5) end, ok = { 5, n = 1 },
        finish = function() ch:close() end }
    end,
    ["mu:lock"] = function()
      local mu = goro.Mutex()
      mu:lock()
      return { call = function(t)
        local guard, why = mu:lock(t)
        if guard then return true end
        return guard, why
      end, gave_up = { false, n = 1 },
        ready = function() mu:unlock() end, ok = { true, n = 1 } }
    end,
    ["rw:lock"] = function()
      local rw = goro.RWMutex()
      rw:rlock()
      return { call = function(t)
        local guard, why = rw:lock(t)
        if guard then return true end
        return guard, why
      end, gave_up = { false, n = 1 },
        ready = function() rw:runlock() end, ok = { true, n = 1 } }
    end,
    ["rw:rlock"] = function()
      local rw = goro.RWMutex()
      rw:lock()
      return { call = function(t)
        local guard, why = rw:rlock(t)
        if guard then return true end
        return guard, why
      end, gave_up = { false, n = 1 },
        ready = function() rw:unlock() end, ok = { true, n = 1 } }
    end,
    ["sem:acquire"] = function()
      local sem = goro.Semaphore(1)
      sem:acquire()
      return { call = function(t)
        local guard, why = sem:acquire(1, t)
        if guard then return true end
        return guard, why
      end, gave_up = { false, n = 1 },
        ready = function() sem:release() end, ok = { true, n = 1 } }
    end,
    ["cond:wait"] = function()
      local mu = goro.Mutex()
      local cond = goro.Cond(mu)
      return { call = function(t)
        local _ <close> = mu:lock()
        local ok, why = cond:wait(t)
        assert(not mu:try_lock(), "the mutex is not held")
        if ok then return ok end
        return ok, why
      end, gave_up = { false, n = 1 },
        ready = function() cond:signal() end, ok = { true, n = 1 },
        waits = true }
    end,
  }

  local function gives_up(case, timeout, why)
    local want = table.pack(table.unpack(case.gave_up, 1, case.gave_up.n))
    want.n = want.n + 1
    want[want.n] = why
    assert.same(want, table.pack(case.call(timeout)))
  end

  for name, make in pairs(calls) do
    describe("as the time-out of " .. name, function()
      it("ends the wait when it is cancelled", function()
        local case = make()
        local ctx, cancel = context.with_cancel()
        goro.go(function()
          goro.sleep(0.005)
          cancel()
        end)
        gives_up(case, ctx, CANCELED)
        if case.finish then case.finish() end
      end)

      it("ends the wait at its deadline, its parent's, or when that is cancelled", function()
        local case = make()
        gives_up(case, (context.with_timeout(nil, 0.005)), EXCEEDED)
        gives_up(case, (context.with_cancel(context.with_timeout(nil, 0.005))), EXCEEDED)
        gives_up(case, context.with_value(context.with_timeout(nil, 0.005), "k", 1), EXCEEDED)
        local parent, cancel = context.with_cancel()
        goro.go(function()
          goro.sleep(0.002)
          cancel()
        end)
        gives_up(case, (context.with_timeout(parent, 100)), CANCELED)
        gives_up(case, 0.001, "timeout")
        if case.finish then case.finish() end
      end)

      it("that is not done lets it succeed", function()
        local case = make()
        local ctx, cancel = context.with_cancel()
        if case.waits then
          goro.go(function()
            goro.sleep(0.005)
            case.ready()
          end)
        else
          case.ready()
        end
        assert.same(case.ok, table.pack(case.call(ctx)))
        cancel()
      end)

      it("that is done beats what is ready", function()
        local case = make()
        local ctx, cancel = context.with_cancel()
        if not case.waits then case.ready() end
        cancel()
        gives_up(case, ctx, CANCELED)
        gives_up(case, (context.with_timeout(nil, 0)), EXCEEDED)
        if case.finish then case.finish() end
      end)

      it("in many goroutines, with one cancelled by another", function()
        local wg = goro.WaitGroup()
        for _ = 1, support.many(50) do
          local case = make()
          local ctx, cancel = context.with_cancel()
          wg:go(function()
            local r = table.pack(case.call(ctx))
            local why = r[case.gave_up.n + 1]
            assert(r.n == case.gave_up.n + 1 and why == CANCELED
              or r.n == case.ok.n, tostring(why))
          end)
          wg:go(function()
            goro.yield()
            cancel()
          end)
          if case.finish then wg:go(case.finish) end
        end
        assert.is_true(wg:wait(60))
      end)

      it("something else raises", function()
        local case = make()
        assert.has_error(function() case.call("1") end)
        assert.has_error(function() case.call(goro.chan()) end)
        assert.has_error(function() case.call {} end)
        if case.finish then case.finish() end
      end)
    end)
  end

  describe("goro.sleep with a context", function()
    it("sleeps its time", function()
      local t = goro.now()
      assert.same({ n = 1, true }, table.pack(goro.sleep(0.01, (context.with_cancel()))))
      assert.is_true(goro.now() - t >= 0.01)
      assert.same({ n = 1, true }, table.pack(goro.sleep(0.001, context.background())))
      assert.same({ n = 1, true }, table.pack(goro.sleep(0.001, nil)))
    end)

    it("ends as soon as the context is done", function()
      local ctx, cancel = context.with_cancel()
      goro.go(function()
        goro.sleep(0.005)
        cancel()
      end)
      local t = goro.now()
      assert.same({ n = 2, false, CANCELED }, table.pack(goro.sleep(100, ctx)))
      assert.is_true(goro.now() - t < 50)
      assert.same({ n = 2, false, CANCELED }, table.pack(goro.sleep(0, ctx)))
      assert.same({ n = 2, false, EXCEEDED },
        table.pack(goro.sleep(100, (context.with_timeout(nil, 0.002)))))
    end)

    it("takes nothing but a context", function()
      support.bad_argument(2, "sleep", goro.sleep, 0.1, 1)
      support.bad_argument(2, "sleep", goro.sleep, 0.1, goro.chan())
    end)
  end)

  describe("a wait under a context", function()
    it("leaves it when it ends: no later wait is hit", function()
      local ctx, cancel = context.with_cancel()
      local ch, ready = goro.chan(), goro.chan()
      local task = goro.async(function()
        for _ = 1, 100 do assert(ch:recv(ctx)) end
        ready:send(true)
        return ch:recv()
      end)
      for i = 1, 100 do ch:send(i) end
      ready:recv()
      cancel()
      goro.sleep(0.002)
      ch:send("last")
      assert.same({ true, "last", true }, { task:wait() })
    end)

    it("races with its value: it is got once, or not at all", function()
      local got, lost = 0, 0
      for _ = 1, support.many(500) do
        local ctx, cancel = context.with_cancel()
        local ch = goro.chan()
        local receiver = goro.async(function() return ch:recv(ctx) end)
        local sender = goro.async(function() return ch:try_send(7, ctx) end)
        local stop = goro.async(cancel)
        stop:wait()
        local _, v = receiver:wait()
        local _, sent = sender:wait()
        assert.equal(v == 7, sent)
        if sent then got = got + 1 else lost = lost + 1 end
      end
      assert.is_true(got + lost > 0)
    end)

    it("the context may be held by nobody else", function()
      local function wait()
        return goro.chan():recv((context.with_timeout(nil, 0.02)))
      end
      local task = goro.async(function()
        local r = table.pack(wait())
        return r[3]
      end)
      for _ = 1, 5 do collectgarbage() end
      assert.equal(EXCEEDED, (task:result()))
      assert.same({ nil, nil, EXCEEDED }, { wait() })
    end)

    it("works wherever a goroutine may block", function()
      local function body()
        local function wait()
          return select(3, goro.chan():recv((context.with_timeout(nil, 0.002))))
        end
        local seen = {}
        seen[1] = coroutine.wrap(wait)()
        table.sort({ 2, 1 }, function(a, b)
          seen[2] = wait()
          return a < b
        end)
        seen[3] = select(2, pcall(wait))
        return table.concat(seen, "|")
      end
      local want = EXCEEDED .. "|" .. EXCEEDED .. "|" .. EXCEEDED
      assert.equal(want, body())
      assert.equal(want, (in_goroutine(body)))
    end)

    it("the mutex's second try keeps the context", function()
      local mu = goro.Mutex()
      local ctx, cancel = context.with_cancel()
      local wg, gave_up = goro.WaitGroup(), goro.Atomic()
      mu:lock()
      for _ = 1, 6 do
        wg:go(function()
          for _ = 1, 50 do
            local guard, why = mu:lock(ctx)
            if not guard then
              assert(why == CANCELED)
              gave_up:add(1)
              return
            end
            goro.yield()
            mu:unlock()
          end
        end)
      end
      mu:unlock()
      goro.sleep(0.001)
      mu:lock()
      cancel()
      wg:wait()
      mu:unlock()
    end)
  end)

  describe("deadlocks", function()
    local function deadlock(f)
      support.raises("all goroutines are asleep - deadlock!", f)
    end

    it("are none while a deadline will end the wait", function()
      local ctx = context.with_cancel(context.with_timeout(nil, 0.02))
      assert.same({ nil, nil, EXCEEDED }, { goro.chan():recv(ctx) })
      ctx = context.with_timeout(nil, 0.02)
      assert.same({ nil, false }, { ctx:done():recv() })
      ctx = context.with_timeout(nil, 0.02)
      local never = goro.chan()
      assert.equal(2, (goro.select { never, ctx:done() }))
    end)

    it("are told of although deadlines are set that nobody waits for", function()
      local ctx, cancel = context.with_timeout(nil, 1000)
      ctx:done():try_recv()
      deadlock(function() goro.chan():recv() end)
      deadlock(function() goro.chan():recv((context.with_cancel())) end)
      deadlock(function() (context.with_cancel()):done():recv() end)
      deadlock(function() context.background():done():recv() end)
      cancel()
    end)
  end)

  it("ends with the main script, whatever is pending", function()
    local script = require("spec.support.script")
    local out = script.ok [[
      local goro = require("goro")
      local context = goro.context
      local root, cancel = context.with_cancel()
      for i = 1, 100 do
        local ctx = context.with_timeout(root, i % 10 * 0.001)
        goro.go(function() goro.chan():recv(ctx) end)
        goro.go(function() goro.chan():recv(context.with_timeout(root, 1000)) end)
        goro.go(function() ctx:done():recv() end)
      end
      kept = { context.with_timeout(nil, 1000), cancel }
      goro.sleep(0.005)
      print("done")
    ]]
    assert.equal("done\n", out)
  end)
end)
