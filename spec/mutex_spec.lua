-- Mutex: one at a time.  Fair, as Go's is; a guard unlocks at the end of its block, once.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local raises, bad_argument, all_blocked = support.raises, support.bad_argument,
  support.all_blocked

describe("a Mutex #mutex", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("lets one in at a time", function()
    local mu, inside, total, wg = goro.Mutex(), goro.Atomic(), goro.Atomic(), goro.WaitGroup()
    local n = support.many(2000)
    for _ = 1, 8 do
      wg:go(function()
        for _ = 1, n do
          mu:lock()
          assert(inside:add(1) == 1)
          total:store(total:load() + 1)
          inside:add(-1)
          mu:unlock()
        end
      end)
    end
    wg:wait()
    assert.equal(8 * n, total:load())
  end)

  it("parks who comes when it is locked, until it is unlocked", function()
    local mu, c = goro.Mutex(), goro.chan(1)
    mu:lock()
    goro.go(function()
      mu:lock()
      c:send("in")
      mu:unlock()
    end)
    all_blocked()
    assert.equal(0, #c)
    mu:unlock()
    assert.equal("in", (c:recv()))
    mu:lock()
    mu:unlock()
  end)

  it("serves those who wait in the order they came", function()
    local mu, c = goro.Mutex(), goro.chan(10)
    mu:lock()
    for i = 1, 10 do
      goro.go(function()
        mu:lock()
        c:send(i)
        mu:unlock()
      end)
      all_blocked()
    end
    mu:unlock()
    for i = 1, 10 do assert.equal(i, (c:recv())) end
  end)

  it("is the same one wherever it is sent", function()
    local mu, c, done = goro.Mutex(), goro.chan(), goro.chan()
    goro.go(function()
      local m = c:recv()
      done:send(m:try_lock() == false)
      m:unlock()
      done:send(true)
    end)
    mu:lock()
    c:send(mu)
    assert.is_true((done:recv()))
    done:recv()
    local g <close> = mu:try_lock()
    assert.is_truthy(g)
    assert.equal(mu, support.cross(mu))
  end)

  it("try_lock never waits", function()
    local mu = goro.Mutex()
    assert.equal("userdata", type(mu:try_lock()))
    assert.same({ false, "timeout" }, { mu:try_lock() })
    mu:unlock()
    assert.equal("userdata", type(mu:try_lock()))
    mu:unlock()
  end)

  it("gives up after a time-out, and leaves the queue", function()
    local mu, c = goro.Mutex(), goro.chan(1)
    mu:lock()
    for _, t in ipairs { 0, -1, 0.001, 0.02 } do
      assert.same({ false, "timeout" }, { mu:lock(t) })
    end
    goro.go(function() c:send(table.pack(mu:lock(0.01))) end)
    assert.same({ n = 2, false, "timeout" }, (c:recv()))
    mu:unlock()
    assert.is_truthy(mu:lock(0))
    mu:unlock()
    assert.is_truthy(mu:lock(1e300))
    mu:unlock()
    assert.is_truthy(mu:lock(nil))
    mu:unlock()
  end)

  it("raises when it is unlocked while it is not locked", function()
    local mu = goro.Mutex()
    raises("unlock of unlocked mutex", mu.unlock, mu)
    mu:lock()
    mu:unlock()
    raises("unlock of unlocked mutex", mu.unlock, mu)
    do local _ <close> = mu:lock() end
    raises("unlock of unlocked mutex", mu.unlock, mu)
    assert.is_truthy(mu:try_lock())
  end)

  it("may be unlocked by any goroutine", function()
    local mu = goro.Mutex()
    mu:lock()
    goro.go(function() mu:unlock() end)
    mu:lock()
    mu:unlock()
  end)

  it("stays locked when its goroutine ends", function()
    local mu, wg = goro.Mutex(), goro.WaitGroup()
    wg:go(function() mu:lock() end)
    wg:wait()
    assert.is_false((mu:try_lock()))
    local err = raises("asleep - deadlock!", mu.lock, mu)
    assert.truthy(err:find("[Mutex lock]", 1, true))
    mu:unlock()
  end)

  it("locked twice by one goroutine is a deadlock", function()
    local mu = goro.Mutex()
    mu:lock()
    raises("asleep - deadlock!", mu.lock, mu)
    mu:unlock()
    raises("unlock of unlocked mutex", mu.unlock, mu)
  end)

  it("parks the goroutine wherever in Lua it is", function()
    local mu, wg, n = goro.Mutex(), goro.WaitGroup(), goro.Atomic()
    local function section()
      local _ <close> = mu:lock()
      goro.yield()
      n:add(1)
    end
    mu:lock()
    wg:go(function() coroutine.wrap(section)() end)
    wg:go(function()
      table.sort({ 2, 1 }, function(a, b)
        section()
        return a < b
      end)
    end)
    wg:go(function() assert(pcall(section)) end)
    wg:go(function() string.gsub("a", "a", section) end)
    all_blocked()
    mu:unlock()
    wg:wait()
    assert.is_true(n:load() >= 4)
  end)

  describe("has guards, which", function()
    it("unlock at the end of the block, however it is left", function()
      local mu = goro.Mutex()
      do
        local _ <close> = mu:lock()
        assert.is_false((mu:try_lock()))
      end
      pcall(function()
        local _ <close> = mu:lock()
        error("out")
      end)
      local function f()
        local _ <close> = mu:lock()
        return "done"
      end
      assert.equal("done", f())
      for _ = 1, 3 do
        local _ <close> = mu:lock()
        goto continue
        ::continue::
      end
      assert.is_truthy(mu:try_lock())
    end)

    it("work where the lock was not got", function()
      local mu = goro.Mutex()
      mu:lock()
      do
        local ok <close> = mu:try_lock()
        assert.is_false(ok)
      end
      do
        local ok <close>, why = mu:lock(0.001)
        assert.is_false(ok)
        assert.equal("timeout", why)
      end
      assert.is_false((mu:try_lock()))
    end)

    it("release once", function()
      local mu = goro.Mutex()
      local g = mu:lock()
      do local _ <close> = g end
      assert.is_truthy(mu:try_lock())
      do local _ <close> = g end
      assert.is_false((mu:try_lock()))
    end)

    it("leave alone what was unlocked before, and locked by another", function()
      local mu, c = goro.Mutex(), goro.chan()
      do
        local _ <close> = mu:lock()
        mu:unlock()
      end
      assert.is_truthy(mu:try_lock())
      mu:unlock()
      do
        local _ <close> = mu:lock()
        mu:unlock()
        goro.go(function()
          mu:lock()
          c:send(true)
        end)
        c:recv()
      end
      assert.is_false((mu:try_lock()))
    end)

    it("unlock what was unlocked and locked again in the block", function()
      local mu = goro.Mutex()
      do
        local _ <close> = mu:lock()
        mu:unlock()
        mu:lock()
      end
      assert.is_truthy(mu:try_lock())
    end)

    it("keep their mutex alive", function()
      local g = goro.Mutex():lock()
      collectgarbage()
      collectgarbage()
      do local _ <close> = g end
    end)

    it("belong to their goroutine", function()
      local mu, c = goro.Mutex(), goro.chan(1)
      local g <close> = mu:lock()
      raises("cannot send a value of type 'guard'", c.send, c, g)
      assert.truthy(tostring(g):find("^guard: "))
    end)
  end)

  -- Go's TestMutexFairness: one that locks again at once does not keep others out.
  it("is had by one who waits, however often another takes it", function()
    for _, procs in ipairs { 1, 2 } do
      support.with_procs(procs, function()
        local mu, stop, done = goro.Mutex(), goro.Atomic(), goro.chan()
        goro.go(function()
          while stop:load() == 0 do
            local _ <close> = mu:lock()
            goro.sleep(0.0001)
          end
          done:send(true)
        end)
        goro.go(function()
          for _ = 1, 10 do
            goro.sleep(0.0001)
            local _ <close> = mu:lock()
          end
          done:send(true)
        end)
        assert.is_true(done:recv(20))
        stop:store(1)
        assert.is_true(done:recv(20))
      end)
    end
  end)

  it("is had by one who waits while others compute under it", function()
    local mu, stop, wg = goro.Mutex(), goro.Atomic(), goro.WaitGroup()
    for _ = 1, 4 do
      wg:go(function()
        while stop:load() == 0 do
          local _ <close> = mu:lock()
          local x = 0
          for i = 1, 1000 do x = x + i end
        end
      end)
    end
    for _ = 1, 5 do
      assert.is_truthy(mu:lock(20))
      mu:unlock()
    end
    stop:store(1)
    wg:wait()
  end)

  it("refuses what is no time-out, and is not locked then", function()
    local mu = goro.Mutex()
    for _, t in ipairs { "1", {}, true, 0 / 0, print, goro.chan() } do
      bad_argument(1, "lock", function() mu:lock(t) end)
    end
    for _, other in ipairs { 42, "x", {}, goro.chan(), goro.RWMutex(), io.stdout } do
      bad_argument(1, "lock", function() mu.lock(other) end)
      bad_argument(1, "try_lock", function() mu.try_lock(other) end)
      bad_argument(1, "unlock", function() mu.unlock(other) end)
    end
    bad_argument(1, "lock", function() mu.lock() end)
    raises("unlock of unlocked mutex", mu.unlock, mu)
  end)

  it("shows its kind and address", function()
    assert.truthy(tostring(goro.Mutex()):find("^Mutex: "))
  end)

  it("ends with its script, whoever waits for it", function()
    assert.equal("over\n", (script.ok([[
      local goro = require("goro")
      local mu = goro.Mutex()
      mu:lock()
      for i = 1, 20 do
        goro.go(function() local _ <close> = mu:lock() end)
        goro.go(function() table.sort({ 2, 1 }, function() mu:lock() end) end)
        goro.go(function() mu:lock(100) end)
        goro.go(function() while true do local _ <close> = mu:lock(0.0001) end end)
      end
      goro.sleep(0.01)
      print("over")
    ]])))
  end)

  it("raises a panic where the script waits for it, and the wait is over", function()
    local result = script.run([[
      local goro = require("goro")
      local mu = goro.Mutex()
      mu:lock()
      goro.go(function() goro.sleep(0.01) error("oh") end)
      local ok, err = pcall(mu.lock, mu)
      print(not ok and err:find("oh", 1, true) ~= nil)
      print(mu:try_lock())
      mu:unlock()
      print(mu:lock() ~= nil)
    ]])
    assert.equal("true\nfalse\ttimeout\ntrue\n", result.out, script.account(result))
  end)
end)
