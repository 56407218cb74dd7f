-- Semaphore: a number of units, first come, first served.

local goro = require("goro")
local support = require("spec.support")

local raises, bad_argument, all_blocked = support.raises, support.bad_argument,
  support.all_blocked

describe("a Semaphore #semaphore", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  local function asks(sem, k, out, name)
    goro.go(function()
      sem:acquire(k)
      out:send(name or k)
    end)
    all_blocked()
  end

  -- Go's TestWeighted
  it("never gives out more than it has", function()
    local sem, out, wg = goro.Semaphore(3), goro.Atomic(), goro.WaitGroup()
    local n = support.many(500)
    for i = 1, 8 do
      local k = i % 3 + 1
      wg:go(function()
        for _ = 1, n do
          sem:acquire(k)
          assert(out:add(k) <= 3)
          goro.yield()
          out:add(-k)
          sem:release(k)
        end
      end)
    end
    wg:wait()
    assert.is_truthy(sem:try_acquire(3))
  end)

  it("gives one unit if not told", function()
    local sem = goro.Semaphore(2)
    assert.equal("userdata", type(sem:acquire()))
    assert.equal("userdata", type(sem:try_acquire(nil)))
    assert.same({ false, "timeout" }, { sem:try_acquire() })
    sem:release()
    sem:release(nil)
    raises("released more than held", sem.release, sem)
  end)

  it("serves those who wait in the order they came", function()
    local sem, out = goro.Semaphore(1), goro.chan(10)
    sem:acquire()
    for i = 1, 5 do asks(sem, 1, out, i) end
    for i = 1, 5 do
      sem:release()
      assert.equal(i, (out:recv()))
    end
  end)

  -- Go's TestLargeAcquireDoesntStarve
  it("does not let small requests overtake a large one", function()
    local sem, out = goro.Semaphore(3), goro.chan(10)
    sem:acquire(2)
    asks(sem, 3, out)
    assert.same({ false, "timeout" }, { sem:try_acquire(1) })
    asks(sem, 1, out)
    assert.equal(0, #out)
    sem:release(2)
    assert.equal(3, (out:recv()))
    all_blocked()
    assert.equal(0, #out)
    sem:release(3)
    assert.equal(1, (out:recv()))
  end)

  it("serves as many as there are units for", function()
    local sem, out = goro.Semaphore(5), goro.chan(10)
    sem:acquire(5)
    for _, k in ipairs { 2, 2, 2, 1 } do asks(sem, k, out) end
    sem:release(5)
    assert.equal(4, out:recv() + out:recv())
    all_blocked()
    assert.equal(0, #out)
    sem:release(2)
    assert.equal(3, out:recv() + out:recv())
  end)

  -- Go's TestAllocCancelDoesntStarve
  it("lets the next ones through when a request gives up", function()
    local sem, out = goro.Semaphore(3), goro.chan(10)
    sem:acquire(1)
    goro.go(function() out:send((select(2, sem:acquire(3, 0.05)))) end)
    while sem:try_acquire(0) do goro.yield() end   -- until it waits
    goro.go(function()
      sem:acquire(2)
      out:send("small")
    end)
    local a, b = out:recv(), out:recv()
    assert.same({ small = true, timeout = true }, { [a] = true, [b] = true })
  end)

  it("gives up after a time-out, with nothing taken", function()
    local sem = goro.Semaphore(2)
    sem:acquire(1)
    for _, t in ipairs { 0, -1, 0.001, 0.01 } do
      assert.same({ false, "timeout" }, { sem:acquire(2, t) })
    end
    assert.is_truthy(sem:acquire(1, 0))
    sem:release(2)
    assert.is_truthy(sem:acquire(2, 5))
  end)

  it("raises when more is released than is held, and asked for than there is", function()
    local sem = goro.Semaphore(4)
    raises("released more than held", sem.release, sem)
    sem:acquire(2)
    raises("released more than held", sem.release, sem, 3)
    sem:release(2)
    bad_argument(1, "acquire", function() sem:acquire(5) end)
    bad_argument(1, "try_acquire", function() sem:try_acquire(5) end)
    assert.is_truthy(sem:try_acquire(4))
    bad_argument(1, "acquire", function() goro.Semaphore(0):acquire() end)
  end)

  it("counts to the largest integer", function()
    local sem = goro.Semaphore(math.maxinteger)
    sem:acquire(math.maxinteger)
    assert.is_false((sem:try_acquire(1)))
    sem:release(math.maxinteger)
    raises("released more than held", sem.release, sem, math.maxinteger)
    assert.is_truthy(sem:acquire(0))
  end)

  it("may be released by another goroutine", function()
    local sem, wg = goro.Semaphore(2), goro.WaitGroup()
    for _ = 1, 20 do
      sem:acquire()
      wg:go(function()
        goro.yield()
        sem:release()
      end)
    end
    wg:wait()
    assert.is_truthy(sem:try_acquire(2))
  end)

  it("has guards that release once what they were given for", function()
    local sem = goro.Semaphore(5)
    do
      local _ <close> = sem:acquire(2)
      local b <close> = sem:try_acquire(3)
      assert.is_truthy(b)
      local no <close> = sem:try_acquire(1)
      assert.is_false(no)
    end
    local g = sem:acquire(5)
    do local _ <close> = g end
    assert.is_truthy(sem:try_acquire(5))
    do local _ <close> = g end
    assert.is_false((sem:try_acquire(1)))
    sem:release(5)
    do
      local _ <close> = sem:acquire(5)
      sem:release(5)
    end
    assert.is_truthy(sem:try_acquire(5))
  end)

  it("says in a deadlock that it is waited for", function()
    local sem = goro.Semaphore(1)
    sem:acquire()
    local err = raises("asleep - deadlock!", sem.acquire, sem)
    assert.truthy(err:find("[Semaphore acquire]", 1, true))
    sem:release()
    assert.is_truthy(sem:try_acquire())
  end)

  it("refuses what is no number of units, and no time-out", function()
    for _, n in ipairs { -1, 1.5, "x", {}, true, 0 / 0 } do
      bad_argument(1, "Semaphore", function() goro.Semaphore(n) end)
    end
    bad_argument(1, "Semaphore", function() goro.Semaphore() end)
    local sem = goro.Semaphore(2)
    for _, k in ipairs { -1, 1.5, "x", {}, true, math.mininteger } do
      bad_argument(1, "acquire", function() sem:acquire(k) end)
      bad_argument(1, "try_acquire", function() sem:try_acquire(k) end)
      bad_argument(1, "release", function() sem:release(k) end)
    end
    for _, t in ipairs { "1", {}, true, 0 / 0 } do
      bad_argument(2, "acquire", function() sem:acquire(1, t) end)
    end
    for _, name in ipairs { "acquire", "try_acquire", "release" } do
      bad_argument(1, name, function() sem[name](goro.Mutex()) end)
    end
    assert.is_truthy(sem:try_acquire(2))
  end)
end)
