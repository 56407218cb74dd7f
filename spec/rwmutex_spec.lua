-- RWMutex: many readers or one writer; neither keeps the other out for ever.

local goro = require("goro")
local support = require("spec.support")

local raises, bad_argument, all_blocked = support.raises, support.bad_argument,
  support.all_blocked

describe("an RWMutex #rwmutex", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  -- Go's TestParallelReaders: all of them are in at one time.
  it("lets readers in together", function()
    local rw, here, go, wg = goro.RWMutex(), goro.chan(), goro.chan(), goro.WaitGroup()
    for _ = 1, 10 do
      wg:go(function()
        local _ <close> = rw:rlock()
        here:send(true)
        go:recv()
      end)
    end
    for _ = 1, 10 do here:recv() end
    assert.is_false((rw:try_lock()))
    assert.is_truthy(rw:try_rlock())
    rw:runlock()
    go:close()
    wg:wait()
    assert.is_truthy(rw:try_lock())
  end)

  -- Go's HammerRWMutex.
  it("keeps a writer alone", function()
    local rw, inside, wg = goro.RWMutex(), goro.Atomic(), goro.WaitGroup()
    local n = support.many(500)
    local function reader()
      for _ = 1, n do
        rw:rlock()
        local k = inside:add(1)
        assert(k >= 1 and k < 10000)
        inside:add(-1)
        rw:runlock()
      end
    end
    local function writer()
      for _ = 1, n do
        rw:lock()
        assert(inside:add(10000) == 10000)
        goro.yield()
        inside:add(-10000)
        rw:unlock()
      end
    end
    for i = 1, 10 do wg:go(i % 5 == 0 and writer or reader) end
    wg:wait()
    assert.equal(0, inside:load())
  end)

  it("a waiting writer holds back new readers, and gets in before them", function()
    local rw, c = goro.RWMutex(), goro.chan(10)
    rw:rlock()
    goro.go(function()
      local _ <close> = rw:lock()
      c:send("writer")
    end)
    all_blocked()
    assert.same({ false, "timeout" }, { rw:try_rlock() })
    for _ = 1, 3 do
      goro.go(function()
        local _ <close> = rw:rlock()
        c:send("reader")
      end)
    end
    all_blocked()
    assert.equal(0, #c)
    rw:runlock()
    assert.equal("writer", (c:recv()))
    for _ = 1, 3 do assert.equal("reader", (c:recv())) end
  end)

  it("readers that wait get in before the next writer", function()
    local rw, c = goro.RWMutex(), goro.chan(10)
    rw:lock()
    for i = 1, 2 do
      goro.go(function()
        local _ <close> = rw:lock()
        c:send("writer " .. i)
      end)
      all_blocked()
    end
    for _ = 1, 3 do
      goro.go(function()
        local _ <close> = rw:rlock()
        c:send("reader")
      end)
    end
    all_blocked()
    rw:unlock()
    for _ = 1, 3 do assert.equal("reader", (c:recv())) end
    assert.equal("writer 1", (c:recv()))
    assert.equal("writer 2", (c:recv()))
  end)

  it("starves neither readers nor writers", function()
    local rw, stop, wg = goro.RWMutex(), goro.Atomic(), goro.WaitGroup()
    for _ = 1, 3 do
      wg:go(function()
        while stop:load() == 0 do
          local _ <close> = rw:lock()
          goro.yield()
        end
      end)
      wg:go(function()
        while stop:load() == 0 do
          local _ <close> = rw:rlock()
          goro.yield()
        end
      end)
    end
    for _ = 1, 20 do
      assert.is_truthy(rw:lock(20))
      rw:unlock()
      assert.is_truthy(rw:rlock(20))
      rw:runlock()
    end
    stop:store(1)
    wg:wait()
  end)

  it("gives up after a time-out; a writer that does lets readers in", function()
    local rw, c, done = goro.RWMutex(), goro.chan(3), goro.chan()
    rw:rlock()
    goro.go(function()
      c:send(table.pack(rw:lock(0.2)))
      done:send(true)
    end)
    while rw:try_rlock() do          -- until the writer waits
      rw:runlock()
      goro.yield()
    end
    goro.go(function()
      rw:rlock()
      c:send("reader")
      rw:runlock()
      done:send(true)
    end)
    done:recv()
    done:recv()
    local first, second = c:recv(), c:recv()
    if first == "reader" then first, second = second, first end
    assert.same({ n = 2, false, "timeout" }, first)
    assert.equal("reader", second)
    rw:runlock()
    rw:lock()
    assert.same({ false, "timeout" }, { rw:rlock(0.005) })
    assert.same({ false, "timeout" }, { rw:lock(0.005) })
    assert.same({ false, "timeout" }, { rw:rlock(0) })
    rw:unlock()
    assert.is_truthy(rw:lock(0))
    rw:unlock()
    assert.is_truthy(rw:rlock(-1))
    rw:runlock()
  end)

  it("raises when it is unlocked in a way it is not locked", function()
    local rw = goro.RWMutex()
    raises("unlock of unlocked RWMutex", rw.unlock, rw)
    raises("runlock of unlocked RWMutex", rw.runlock, rw)
    rw:rlock()
    raises("unlock of unlocked RWMutex", rw.unlock, rw)
    rw:runlock()
    rw:lock()
    raises("runlock of unlocked RWMutex", rw.runlock, rw)
    rw:unlock()
    raises("unlock of unlocked RWMutex", rw.unlock, rw)
    raises("runlock of unlocked RWMutex", rw.runlock, rw)
  end)

  it("may be unlocked by any goroutine", function()
    local rw, wg = goro.RWMutex(), goro.WaitGroup()
    rw:lock()
    wg:go(function() rw:unlock() end)
    wg:wait()
    rw:rlock()
    wg:go(function() rw:runlock() end)
    wg:wait()
    assert.is_truthy(rw:try_lock())
  end)

  it("has guards that release once what they were given for", function()
    local rw = goro.RWMutex()
    do
      local a <close> = rw:rlock()
      do local _ <close> = rw:rlock() end
      assert.is_false((rw:try_lock()))
      assert.is_truthy(a)
    end
    do
      local _ <close> = rw:lock()
      assert.is_false((rw:try_rlock()))
    end
    do
      local _ <close> = rw:rlock()
      rw:runlock()
    end
    local g = rw:rlock()
    do local _ <close> = g end
    rw:rlock()
    do local _ <close> = g end
    assert.is_false((rw:try_lock()))
    rw:runlock()
    do
      local _ <close> = rw:lock()
      rw:unlock()
    end
    local ok <close> = rw:try_lock()
    assert.is_truthy(ok)
    do local no <close> = rw:try_rlock() assert.is_false(no) end
  end)

  it("says in a deadlock what is waited for", function()
    local rw = goro.RWMutex()
    rw:rlock()
    local err = raises("asleep - deadlock!", rw.lock, rw)
    assert.truthy(err:find("[RWMutex lock]", 1, true))
    rw:runlock()
    rw:lock()
    err = raises("asleep - deadlock!", rw.rlock, rw)
    assert.truthy(err:find("[RWMutex rlock]", 1, true))
    rw:unlock()
    assert.is_truthy(rw:try_lock())
  end)

  it("refuses what is no time-out, and is not locked then", function()
    local rw = goro.RWMutex()
    for _, t in ipairs { "1", {}, true, 0 / 0, print } do
      bad_argument(1, "lock", function() rw:lock(t) end)
      bad_argument(1, "rlock", function() rw:rlock(t) end)
    end
    for _, name in ipairs { "lock", "try_lock", "unlock", "rlock", "try_rlock", "runlock" } do
      for _, other in ipairs { 42, "x", {}, goro.Mutex() } do
        bad_argument(1, name, function() rw[name](other) end)
      end
    end
    assert.is_truthy(rw:try_lock())
  end)
end)
