-- Cond: waiting for something that a mutex protects.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local raises, bad_argument, all_blocked = support.raises, support.bad_argument,
  support.all_blocked

describe("a Cond #cond", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  local function waiters(n, mu, cond, out)
    for i = 1, n do
      goro.go(function()
        local _ <close> = mu:lock()
        assert(cond:wait() == true)
        out:send(i)
      end)
      all_blocked()
    end
  end

  -- Go's TestCondSignal and TestCondSignalGenerations
  it("signal wakes one, the one that waits longest", function()
    local mu, out = goro.Mutex(), goro.chan(10)
    local cond = goro.Cond(mu)
    waiters(5, mu, cond, out)
    for i = 1, 5 do
      cond:signal()
      assert.equal(i, (out:recv()))
      all_blocked()
      assert.equal(0, #out)
    end
    cond:signal()
  end)

  it("broadcast wakes all", function()
    local mu, out = goro.Mutex(), goro.chan(10)
    local cond = goro.Cond(mu)
    cond:broadcast()
    waiters(7, mu, cond, out)
    do
      local _ <close> = mu:lock()
      cond:broadcast()
      all_blocked()
      assert.equal(0, #out)
    end
    local seen = 0
    for _ = 1, 7 do seen = seen + out:recv() end
    assert.equal(28, seen)
  end)

  it("a signal that nobody waits for is forgotten", function()
    local mu = goro.Mutex()
    local cond = goro.Cond(mu)
    cond:signal()
    cond:broadcast()
    local _ <close> = mu:lock()
    assert.same({ false, "timeout" }, { cond:wait(0.005) })
  end)

  it("wait unlocks the mutex, and has it again after", function()
    local mu = goro.Mutex()
    local cond, inside = goro.Cond(mu), goro.Atomic()
    mu:lock()                            -- (else its signal may come too early)
    goro.go(function()
      local _ <close> = mu:lock()
      inside:store(1)
      cond:signal()
      goro.yield()
      inside:store(2)
    end)
    assert.is_true((cond:wait(20)))
    assert.equal(2, inside:load())
    assert.is_false((mu:try_lock()))
    mu:unlock()
    raises("unlock of unlocked mutex", mu.unlock, mu)
  end)

  it("wait has the mutex again after a time-out too, however long that takes", function()
    local mu, out, held = goro.Mutex(), goro.chan(1), goro.chan()
    local cond = goro.Cond(mu)
    local ctx, cancel = goro.context.with_cancel()
    goro.go(function()
      local _ <close> = mu:lock()
      held:send(true)
      out:send(table.pack(cond:wait(ctx)))
      assert(mu:try_lock() == false)
    end)
    held:recv()
    mu:lock()                            -- it waits for the signal by now
    cancel()
    goro.sleep(0.02)
    assert.equal(0, #out)
    mu:unlock()
    assert.same({ n = 2, false, "context canceled" }, (out:recv()))
    mu:lock()
    mu:unlock()
  end)

  it("wait with no time left does not wait, nor unlock", function()
    local mu = goro.Mutex()
    local cond = goro.Cond(mu)
    local _ <close> = mu:lock()
    assert.same({ false, "timeout" }, { cond:wait(0) })
    assert.same({ false, "timeout" }, { cond:wait(-1) })
    assert.is_false((mu:try_lock()))
  end)

  -- Go's TestCondSignalStealing: a signal given before a later wait is not for that one.
  it("one that waits later does not take the signal of one that waits", function()
    local mu, out = goro.Mutex(), goro.chan(10)
    local cond = goro.Cond(mu)
    for _ = 1, support.many(50) do
      waiters(1, mu, cond, out)
      cond:signal()
      do
        local _ <close> = mu:lock()
        assert.same({ false, "timeout" }, { cond:wait(0.0001) })
      end
      assert.equal(1, (out:recv()))
    end
  end)

  it("one whose time is over leaves the queue", function()
    local mu, out = goro.Mutex(), goro.chan(10)
    local cond = goro.Cond(mu)
    do
      local _ <close> = mu:lock()
      cond:wait(0.001)
    end
    waiters(1, mu, cond, out)
    cond:signal()
    assert.equal(1, (out:recv()))
  end)

  it("wait raises if the mutex is not locked", function()
    local mu = goro.Mutex()
    local cond = goro.Cond(mu)
    raises("unlocked mutex", cond.wait, cond)
    raises("unlocked mutex", cond.wait, cond, 0)
    raises("unlocked mutex", cond.wait, cond, 1)
    assert.is_truthy(mu:try_lock())
  end)

  it("passes turns round a ring, and loses none", function()
    local mu, turn, wg = goro.Mutex(), goro.Atomic(), goro.WaitGroup()
    local cond, n = goro.Cond(mu), support.many(100)
    for i = 0, 3 do
      wg:go(function()
        for _ = 1, n do
          local _ <close> = mu:lock()
          while turn:load() % 4 ~= i do cond:wait() end
          turn:add(1)
          cond:broadcast()
        end
      end)
    end
    wg:wait()
    assert.equal(4 * n, turn:load())
  end)

  it("waits wherever in Lua", function()
    local mu, out = goro.Mutex(), goro.chan(1)
    local cond = goro.Cond(mu)
    goro.go(function()
      table.sort({ 2, 1 }, function(a, b)
        local _ <close> = mu:lock()
        cond:wait()
        out:send(true)
        return a < b
      end)
    end)
    all_blocked()
    cond:signal()
    assert.is_true((out:recv()))
    goro.go(function()
      coroutine.wrap(function()
        local _ <close> = mu:lock()
        out:send(cond:wait())
      end)()
    end)
    all_blocked()
    while #out == 0 do
      cond:broadcast()
      goro.yield()
    end
    assert.is_true((out:recv()))
  end)

  it("says in a deadlock that it is waited for, and has the mutex again", function()
    local mu = goro.Mutex()
    local cond = goro.Cond(mu)
    do
      local _ <close> = mu:lock()
      local err = raises("asleep - deadlock!", cond.wait, cond)
      assert.truthy(err:find("[Cond wait]", 1, true))
      assert.is_false((mu:try_lock()))
    end
    assert.is_truthy(mu:try_lock())
  end)

  it("leaves a guard nothing to do when an error ends the wait and another has it", function()
    local result = script.run([[
      local goro = require("goro")
      local mu, go = goro.Mutex(), goro.chan()
      local cond = goro.Cond(mu)
      goro.go(function()
        mu:lock()
        goro.go(error, "oh")
        go:recv()
        mu:unlock()
        go:send("unlocked")
      end)
      print(pcall(function()
        local _ <close> = mu:lock()
        cond:wait()
      end))
      print(mu:try_lock())
      go:send(true)
      print((go:recv()))
      print(mu:lock() ~= nil)
    ]])
    local expected = "false\tgoroutine 3 panicked: oh\nfalse\ttimeout\nunlocked\ntrue\n"
    assert.equal(expected, result.out,
      script.account(result))
  end)

  it("is the same one wherever it is sent, and keeps its mutex", function()
    local mu = goro.Mutex()
    local cond, out = goro.Cond(mu), goro.chan()
    goro.go(function()
      local _ <close> = mu:lock()
      out:send(true)
      cond:wait()
      out:send("woken")
    end)
    out:recv()
    mu:lock()
    support.there_and_back(cond):signal()
    mu:unlock()
    assert.equal("woken", (out:recv()))
  end)

  it("refuses what is no mutex, and no time-out", function()
    for _, v in ipairs { 42, "x", {}, goro.RWMutex(), goro.chan() } do
      bad_argument(1, "Cond", function() goro.Cond(v) end)
    end
    bad_argument(1, "Cond", function() goro.Cond() end)
    local mu = goro.Mutex()
    local cond = goro.Cond(mu)
    local _ <close> = mu:lock()
    for _, t in ipairs { "1", {}, true, 0 / 0 } do
      bad_argument(1, "wait", function() cond:wait(t) end)
    end
    for _, name in ipairs { "wait", "signal", "broadcast" } do
      bad_argument(1, name, function() cond[name](mu) end)
    end
  end)
end)
