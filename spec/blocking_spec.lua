-- A goroutine inside a C function that blocks (os.execute, io.read, a library) holds up nobody
-- else; threads for those are reused, and there is a bound on them.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

-- How much slower all is allowed to be under a sanitizer.
local slow = 1000 // support.many(1000)

-- Runs `f(...)` in a goroutine, with one processor, and counts how often another one wakes from
-- a sleep of 1 ms until it has ended.
local function beside(f, ...)
  local n, results
  local args = table.pack(...)
  support.with_procs(1, function()
    local task = goro.async(function() return f(table.unpack(args, 1, args.n)) end)
    local done = goro.Atomic()
    local ticks = goro.async(function()
      local k = 0
      while done:load() == 0 do
        goro.sleep(0.001)
        k = k + 1
      end
      return k
    end)
    results = table.pack(task:wait())
    done:store(1)
    n = ticks:result()
  end)
  assert.is_true(results[1], results[2])
  return n, table.unpack(results, 2, results.n)
end

local function threads()
  local dir = io.popen("ls /proc/" .. assert(io.open("/proc/self/stat")):read("n") .. "/task")
  local _, n = dir:read("a"):gsub("\n", "")
  dir:close()
  return n
end

describe("a goroutine inside C #blocking", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("holds up nobody", function()
    it("in os.execute", function()
      local n, ok = beside(os.execute, "sleep 0.2")
      assert.is_true(ok)
      assert.is_true(n >= 5, n)
    end)

    it("in os.execute and io.popen, whose status is told whatever failed before", function()
      local task = goro.async(function()
        local p = io.popen("exit 3")
        io.open("/none/such")          -- sets errno
        local _, how, status = p:close()
        io.open("/none/such")
        return how, status, os.execute("exit 4")
      end)
      assert.same({ "exit", 3, nil, "exit", 4 }, { task:result() })
    end)

    it("in io.read", function()
      local n, line = beside(function()
        local p = io.popen("sleep 0.2; echo line")
        local line = p:read("l")
        p:close()
        return line
      end)
      assert.equal("line", line)
      assert.is_true(n >= 5, n)
    end)

    it("in a C library that sleeps, or waits for a socket", function()
      local n = beside(function()
        local socket = require("socket")
        socket.sleep(0.1)
        socket.select(nil, nil, 0.1)
      end)
      assert.is_true(n >= 5, n)
    end)

    it("in a database driver that waits for a lock", function()
      local path = os.tmpname()
      local held, free = goro.chan(), goro.chan()
      goro.go(function()
        local db = require("luasql.sqlite3").sqlite3():connect(path)
        assert(db:execute("CREATE TABLE t (n INTEGER)"))
        assert(db:execute("BEGIN EXCLUSIVE"))
        assert(db:execute("INSERT INTO t VALUES (1)"))
        held:send(true)
        goro.sleep(0.2)
        assert(db:execute("COMMIT"))
        db:close()
        free:send(true)
      end)
      held:recv()
      local n, sum = beside(function()
        local db = require("luasql.sqlite3").sqlite3():connect(path, 60000)
        assert(db:execute("INSERT INTO t VALUES (2)"))
        local cursor = assert(db:execute("SELECT SUM(n) FROM t"))
        local sum = cursor:fetch()
        cursor:close()
        db:close()
        return tonumber(sum)
      end)
      free:recv()
      os.remove(path)
      assert.equal(3, sum)
      assert.is_true(n >= 5, n)
    end)

    it("in a sort's comparator", function()
      local n, sorted = beside(function()
        local t = { 2, 1 }
        table.sort(t, function(a, b)
          os.execute("sleep 0.1")
          return a < b
        end)
        return table.concat(t, " ")
      end)
      assert.equal("1 2", sorted)
      assert.is_true(n >= 5, n)
    end)

    it("in the main script", function()
      local done = goro.Atomic()
      local ticks = goro.async(function()
        local k = 0
        while done:load() == 0 do
          goro.sleep(0.001)
          k = k + 1
        end
        return k
      end)
      os.execute("sleep 0.2")
      done:store(1)
      assert.is_true(ticks:result() >= 5)
    end)
  end)

  it("does not hold up 199 others there: two processors", function()
    local n = support.many(200)
    local took, start
    support.with_procs(2, function()
      local wg = goro.WaitGroup()
      local t = goro.now()
      for _ = 1, 20 do os.execute("true") end      -- what it takes to start a program just now
      start = (goro.now() - t) / 20
      t = goro.now()
      for _ = 1, n do wg:go(function() assert(os.execute("sleep 0.2")) end) end
      wg:wait()
      took = goro.now() - t
    end)
    assert.is_true(took >= 0.2 and took < 3 * slow + 2 * n * start, took)
  end)

  it("leaves its thread to the next", function()
    local n, before, rounds = support.many(30), threads(), {}
    for round = 1, 4 do
      local wg = goro.WaitGroup()
      for _ = 1, n do wg:go(function() os.execute("sleep 0.05") end) end
      wg:wait()
      rounds[round] = threads()
      assert.is_true(rounds[round] <= before + n + goro.maxprocs() + 4,
        ("%d before, %s after"):format(before, table.concat(rounds, " ")))
    end
  end)

  it("goes on with a processor when it comes back, and is preempted", function()
    support.with_procs(1, function()
      local wg, c = goro.WaitGroup(), goro.chan(8)
      for i = 1, 4 do
        wg:go(function()
          os.execute("sleep 0.03")
          local x = 0
          for k = 1, support.many(2000000) do x = x + k end
          c:send(i)
        end)
      end
      wg:wait()
      assert.equal(4, #c)
    end)
  end)
end)

describe("goro.max_threads #blocking", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("is 10,000, and takes a number of at least 1", function()
    assert.equal(10000, goro.max_threads())
    assert.equal(10000, goro.max_threads(5000))
    assert.equal(5000, goro.max_threads(10000))
    assert.equal(10000, (support.in_goroutine(goro.max_threads)))
    support.bad_argument(1, "max_threads", goro.max_threads, 0)
    support.bad_argument(1, "max_threads", goro.max_threads, 10001)
    support.bad_argument(1, "max_threads", goro.max_threads, "many")
    support.bad_argument(1, "max_threads", goro.max_threads, 1.5)
  end)

  it("bounds how many are in C at once: the rest waits, and none is lost", function()
    for _, procs in ipairs { 1, 2, 8 } do
      local out = script.ok([[
        local goro = require("goro")
        goro.max_threads(3)
        local wg, sum = goro.WaitGroup(), goro.Atomic()
        local t = goro.now()
        for i = 1, 9 do
          wg:go(function()
            os.execute("sleep 0.05")
            sum:add(i)
          end)
        end
        wg:wait()
        assert(goro.now() - t >= 0.15)           -- three at a time
        print(sum:load())
      ]], { env = { GOROMAXPROCS = procs } })
      assert.equal("45\n", out)
    end
  end)

  it("lets those run that can: blocked in comparators, woken by the main script", function()
    for _, procs in ipairs { 1, 2, 8 } do
      local out = script.ok([[
        local goro = require("goro")
        goro.max_threads(4)
        local c, wg, sum = goro.chan(), goro.WaitGroup(), goro.Atomic()
        for i = 1, 4 do
          wg:go(function()
            table.sort({ 2, 1 }, function(a, b) sum:add(c:recv()) return a < b end)
          end)
        end
        for i = 1, 4 do c:send(i) end
        while sum:load() < 10 do
          goro.select { default = true }
          c:try_send(0, 0.001)
        end
        c:close()
        print(pcall(wg.wait, wg, 10))
      ]], { env = { GOROMAXPROCS = procs } })
      assert.truthy(out:find("^true") or out:find("attempt to perform arithmetic"), out)
    end
  end)

  it("raises in the main script when all are blocked for good and somebody could run",
    function()
      local out = script.ok([[
        local goro = require("goro")
        goro.max_threads(3)
        local c, out = goro.chan(), goro.chan()
        for i = 1, 6 do
          goro.go(function()
            table.sort({ 3, 2, 1 }, function(a, b) c:recv() return a < b end)
            out:send(i)
          end)
        end
        local ok, err = pcall(out.recv, out)
        print(ok, err:match("^[^\n]*"))
        goro.max_threads(100)
        c:close()
        local sum = 0
        for _ = 1, 6 do sum = sum + out:recv() end
        print(sum)
      ]])
      assert.equal("false\tall threads are blocked, and no more can be had " ..
        "(goro.max_threads)\n21\n", out)
    end)

  it("waits for who is in C, though all threads are", function()
    local out = script.ok([[
      local goro = require("goro")
      goro.max_threads(1)
      local c = goro.chan()
      goro.go(function() os.execute("sleep 1.2") c:send("first") end)    -- and says nothing
      goro.go(function() c:send("second") end)
      print((c:recv()))
      print((c:recv()))
    ]], { env = { GOROMAXPROCS = 2 } })
    assert.truthy(out == "first\nsecond\n" or out == "second\nfirst\n", out)
  end)
end)
