-- goro.leaks() lists the goroutines that can never run again, while others go on: what they
-- wait on is held by nobody who could wake them.  It never lists one that could be woken.

local goro = require("goro")
local script = require("spec.support.script")
local support = require("spec.support")
local leaks = require("spec.support.leaks")

-- What every script below starts with, on one line.  parked(...): those of these names wait;
-- quiet(): all do, but for the caller, and none is about to end.
local head = 'local goro = require("goro") '
  .. 'local moving = { running = true, runnable = true, starting = true, ending = true, '
  .. '["in"] = true } '
  .. "local function leaked() local l = {} for i, k in ipairs(goro.leaks()) do "
  .. 'l[i] = (k.name or "?") .. ": " .. k.waiting end table.sort(l) '
  .. 'return table.concat(l, "\\n") end '
  .. "local function parked(...) for _, n in ipairs { ... } do "
  .. 'local s repeat goro.yield() s = goro.stacks():match(\'"\' .. n .. \'" %[(%a*)\') '
  .. 'until s and not moving[s] end end '
  .. "local function quiet() local n repeat goro.yield() n = 0 "
  .. "for s in goro.stacks():gmatch('%f[^\\n\\0]goroutine %d[^\\n%[]* %[(%a*)') do "
  .. "if moving[s] then n = n + 1 end end until n == 1 end "
  .. "local function go(name, f, ...) "
  .. "goro.go(function(...) goro.name(name) f(...) end, ...) end\n"

local function prints(expected, source)
  assert.equal(expected, (script.ok(head .. source)))
end

describe("goro.leaks #sight #nochaos", function()
  it("is an empty list where nothing leaks", function()
    prints("0\n", [[ print(#goro.leaks()) ]])
  end)

  it("finds the leaking function: nobody will ever send", function()
    local source = head .. [[
      local function fetch()
        local ch = goro.chan()
        go("lost", function()
          local v = ch:recv() --@recv
          print("never", v)
        end)
      end
      fetch()
      parked("lost")
      local l = goro.leaks()
      print(#l, l[1].name, l[1].waiting, math.type(l[1].id), l[1].id > 1)
      print(l[1].traceback)
    ]]
    local out = script.ok(source)
    assert.matches("^1\tlost\tchan receive\tinteger\ttrue\n", out)
    assert(out:find(script.at(source, "recv"), 1, true), out)
    assert.matches("created by main at script.lua:%d+\n$", out)
  end)

  it("finds one that sends where nobody receives, and names the channel", function()
    prints('a: chan send "results"\n', [[
      local function timed_out()
        local ch, begin = goro.chan(0, nil, "results"), goro.chan()
        go("a", function() begin:recv() ch:send("late") end)
        local _, _, reason = ch:recv(0.001)
        begin:send(true)
        return reason
      end
      assert(timed_out() == "timeout")
      parked("a")
      print(leaked())
    ]])
  end)

  for what, source in pairs {
    ["select"] = "goro.select { c, { send = d, value = 1 } }",
    ["select (no cases)"] = "goro.select {}",
    ["WaitGroup wait"] = "local w = goro.WaitGroup() w:add(1) w:wait()",
    ["Mutex lock"] = "local m = goro.Mutex() m:lock() m:lock()",
    ["RWMutex lock"] = "local m = goro.RWMutex() m:rlock() m:lock()",
    ["RWMutex rlock"] = "local m = goro.RWMutex() m:lock() m:rlock()",
    ["Cond wait"] = "local m = goro.Mutex() m:lock() goro.Cond(m):wait()",
    ["Semaphore acquire"] = "local s = goro.Semaphore(1) s:acquire() s:acquire()",
    ["task wait"] = "goro.async(function() goro.chan():recv() end):wait()",
  } do
    it("finds who waits in vain in: " .. what, function()
      local out = script.ok(head .. ([[
        go("it", function() local c, d = goro.chan(), goro.chan() %s return c, d end)
        quiet()
        print(leaked())
      ]]):format(source))
      assert(("\n" .. out):find("\nit: " .. what .. "\n", 1, true), out)
    end)
  end

  it("finds cycles of goroutines that wait for one another, while others run on", function()
    prints("a: chan receive\nb: chan receive\nc: chan receive\n", [[
      local stop = goro.chan()
      go("runner", function()
        local a, b = goro.chan(1), goro.chan(1)
        while goro.select { stop, default = true } ~= 1 do
          a:send(1) b:send((a:recv())) b:recv()
        end
      end)
      do
        local p, q, r = goro.chan(), goro.chan(), goro.chan()
        go("a", function() p:recv() q:send(1) end)
        go("b", function() q:recv() r:send(1) end)
        go("c", function() r:recv() p:send(1) end)
      end
      parked("a", "b", "c")
      print(leaked())
      stop:close()
    ]])
  end)

  it("finds those that wait for a goroutine that waits in vain", function()
    prints("a: chan receive\nb: task wait\nc: WaitGroup wait\nd: task wait\n", [[
      do
        local t = goro.async(function() goro.name("a") goro.chan():recv() end)
        local w = goro.WaitGroup()
        go("b", function() t:wait() end)
        w:go(function() goro.name("d") t:wait() end)
        go("c", function() w:wait() end)
      end
      parked("a", "b", "c", "d")
      print(leaked())
    ]])
  end)

  it("finds who waits for a channel in the buffer of one that nobody else reaches", function()
    prints("a: chan receive\n", [[
      do
        local c, d = goro.chan(2), goro.chan()
        c:send({ deep = { d } })
        go("a", function() d:recv() return c end)
      end
      parked("a")
      print(leaked())
    ]])
  end)

  it("counts what a sleeper has dropped as dropped, without running its finalisers", function()
    prints("a: chan receive\nnot finalised\n", [[
      local up = goro.chan()
      do
        local c = goro.chan()
        go("a", function() c:recv() end)
        local first = goro.chan(1)
        first:send(c)
        go("sleeper", function(f)
          collectgarbage("stop")
          local ran = goro.Atomic()
          do
            local it = f:recv()
            setmetatable({}, { __gc = function() ran:add(1) end })
            it = nil
          end
          goro.sleep(0.3)
          up:send(ran:load() == 0 and "not finalised" or "finalised")
        end, first)
      end
      parked("a", "sleeper")
      print(leaked())
      print((up:recv()))
    ]])
  end)

  it("finds all of 1,000, and leaves them as they are", function()
    prints("1000\n1000\n1001\n", [[
      for _ = 1, 1000 do
        local c = goro.chan()
        goro.go(function() c:recv() end)
      end
      quiet()
      print(#goro.leaks())
      print(#goro.leaks())
      print(goro.num_goroutine())
    ]])
  end)

  it("is found from a goroutine, too, while the main script waits", function()
    prints("a: chan receive\n", [[
      do
        local c = goro.chan()
        go("a", function() c:recv() end)
      end
      collectgarbage()
      local out = goro.chan()
      go("asker", function() parked("a") out:send(leaked()) end)
      print((out:recv()))
    ]])
  end)

  describe("does not list", function()
    local function none(source)
      prints("none\n", source .. [[
        local l = leaked()
        print(l == "" and "none" or l)
      ]])
    end

    it("sleepers and those with a time-out", function()
      none([[
        go("a", function() goro.sleep(100) end)
        go("b", function() goro.chan():recv(100) end)
        go("c", function() goro.select { goro.chan(), timeout = 100 } end)
        parked("a", "b", "c")
      ]])
    end)

    it("those whose channel the main script holds", function()
      none([[
        local c, m, w = goro.chan(), goro.Mutex(), goro.WaitGroup()
        w:add(1)
        m:lock()
        go("a", function() c:recv() end)
        go("b", function() m:lock() end)
        go("c", function() w:wait() end)
        go("d", function() goro.select { c, goro.chan() } end)
        parked("a", "b", "c", "d")
        KEEP = { c, m, w }
      ]])
    end)

    it("those whose channel a sleeper holds, in an upvalue, a table, an argument", function()
      none([[
        do
          local a, b, c = goro.chan(), goro.chan(), goro.chan()
          go("a", function() a:recv() end)
          go("b", function() b:recv() end)
          go("c", function() c:recv() end)
          local t = { list = { b } }
          go("s", function(x) goro.sleep(100) a:close() t.list[1]:close() x:close() end, c)
        end
        parked("a", "b", "c", "s")
      ]])
    end)

    it("those whose channel one that computes holds", function()
      none([[
        do
          local a = goro.chan()
          go("a", function() a:recv() end)
          go("r", function() while true do if a:len() > 0 then a:recv() end end end)
        end
        parked("a")
      ]])
    end)

    it("those whose channel lies in the buffer of one that is held", function()
      none([[
        local outer = goro.chan(1)
        do
          local inner, c = goro.chan(1), goro.chan()
          inner:send({ { c } })
          outer:send(inner)
          go("a", function() c:recv() end)
        end
        parked("a")
        KEEP = outer
      ]])
    end)

    it("those whose channel somebody is about to send", function()
      none([[
        local c = goro.chan()
        do
          local d = goro.chan()
          go("a", function() d:recv() end)
          go("b", function() c:send(d) end)
        end
        parked("a", "b")
        KEEP = c
      ]])
    end)

    it("those whose channel a Map holds, a task's result, a Once", function()
      none([[
        local map, once, t = goro.Map(), goro.Once()
        do
          local a, b, c = goro.chan(), goro.chan(), goro.chan()
          go("a", function() a:recv() end)
          go("b", function() b:recv() end)
          go("c", function() c:recv() end)
          map:store("k", { a })
          once:run(function() return b end)
          t = goro.async(function() return c end)
          t:wait()
        end
        parked("a", "b", "c")
        KEEP = { map, once, t }
      ]])
    end)

    it("those that a timer will wake", function()
      none([[
        do
          local c = goro.after(100)
          go("a", function() c:recv() end)
        end
        parked("a")
      ]])
    end)

    it("those that wait for a context with a deadline, or one that is held", function()
      none([[
        local ctx, cancel = goro.context.with_cancel()
        do
          local timed = goro.context.with_timeout(nil, 100)
          local below = goro.context.with_value(goro.context.with_cancel(ctx), "k", 1)
          go("a", function() timed:done():recv() end)
          go("b", function() goro.chan():recv(timed) end)
          go("c", function() below:done():recv() end)
          go("d", function() goro.chan():recv(below) end)
        end
        parked("a", "b", "c", "d")
        KEEP = { ctx, cancel }
      ]])
    end)

    it("those for which one inside C holds it", function()
      none([[
        do
          local c = goro.chan()
          go("a", function() c:recv() end)
          go("b", function() os.execute("sleep 1") c:send(1) end)
        end
        parked("a")
        repeat goro.yield() until goro.stacks():find('"b" [in C', 1, true)
      ]])
    end)

    it("any in 300 rounds of programs in which all is well", function()
      prints("0\n", [[
        local n = 0
        for i = 1, 300 do
          local jobs, results, done = goro.chan(i % 3), goro.chan(), goro.WaitGroup()
          for _ = 1, 4 do
            done:go(function()
              for c in jobs:range() do c:send(1) end
            end)
          end
          local main = goro.async(function()
            for k = 1, 8 do
              local reply = goro.chan(k % 2)
              jobs:send(reply)
              results:send((reply:recv()))
            end
            jobs:close()
            done:wait()
            results:close()
          end)
          repeat
            n = n + #goro.leaks()
            local _, ok = results:recv()
          until not ok
          main:wait()
        end
        print(n)
      ]])
    end)
  end)

  describe("does not list who waits for one that sleeps, and lists both when that one is lost,",
  function()
    for _, how in ipairs(leaks.holders) do
      it("where what wakes them is held by: " .. how, function()
        local source = ("require('spec.support.leaks').run(%q)"):format(how)
        assert.equal("ok\n", (script.ok(source)))
      end)
    end
  end)

  it("finds who waits for a lost goroutine's end, whoever holds its task, group, Once or Map",
  function()
    prints("go: errgroup go\nlater: select\nonce: Once run\nstore: Map update\n"
      .. "task: task wait\nwait: errgroup wait\nx1: chan receive\nx2: chan receive\n"
      .. "x3: chan receive\nx4: chan receive\n", [[
      local function lost(name)
        return function() goro.name(name) goro.chan():recv() return 1 end
      end
      local t, g, o, m = goro.async(lost("x1")), goro.errgroup(), goro.Once(), goro.Map()
      g:limit(2)
      g:go(lost("x2"))
      go("", function() o:run(lost("x3")) end)
      go("", function() m:update("k", lost("x4")) end)
      parked("x1", "x2", "x3", "x4")
      go("task", function() t:wait() end)
      go("later", function() goro.select { t:done(), goro.chan() } end)
      go("once", function() o:run(goro.now) end)
      go("store", function() m:store("k", 1) end)
      go("wait", function() g:wait() end)
      g:go(function() goro.name("sleeper") goro.sleep(0.3) end)
      go("go", function() g:go(goro.now) end)
      parked("task", "later", "once", "store", "wait", "sleeper", "go")
      local early = leaked()
      assert(early:find("wait: errgroup wait", 1, true))   -- not all of its can end ...
      assert(not early:find("go: ", 1, true), early)       -- ... but one, which makes room
      repeat goro.sleep(0.01) until not goro.stacks():find('"sleeper"')
      go("go", function() g:go(lost("x2")) g:go(goro.now) end)
      quiet()
      print((leaked():gsub("x2: chan receive\n", "", 1)))
      KEEP = { t, g, o, m }
    ]])
  end)

  it("does not list who waits for a goroutine's end that may come", function()
    prints("\n", [[
      local rest = goro.chan()
      do
        local function sleeper(name)
          return function() goro.name(name) goro.sleep(100) rest:close() return 1 end
        end
        local t, g, o, m = goro.async(sleeper("x1")), goro.errgroup(), goro.Once(), goro.Map()
        g:limit(1)
        g:go(sleeper("x2"))
        go("", function() o:run(sleeper("x3")) end)
        go("", function() m:update("k", sleeper("x4")) end)
        go("r", function() while not rest:try_recv() do end end)
        local computing = goro.async(function()
          goro.name("computes")
          while not rest:try_recv() do end
        end)
        parked("x1", "x2", "x3", "x4")
        go("task", function() t:wait() end)
        go("later", function() goro.select { t:done(), goro.chan() } end)
        go("once", function() o:run(goro.now) end)
        go("store", function() m:store("k", 1) end)
        go("wait", function() g:wait() end)
        go("go", function() g:go(goro.now) end)
        go("run", function() computing:wait() end)
        parked("task", "later", "once", "store", "wait", "go", "run")
      end
      collectgarbage()
      print(leaked())
    ]])
  end)

  it("does not list who waits for a signal, or for a descriptor", function()
    prints("\n", [[
      do
        local s, l = goro.signal("USR1"), goro.net.listen("127.0.0.1:0")
        local c = goro.net.dial(l:addr())
        go("s", function() s:recv() end)
        go("l", function() l:accept() l:accept() end)
        go("c", function() c:read() end)
        go("d", function() c:read() end)
        go("p", function() goro.poll(c:fd(), "r") end)
        parked("s", "l", "c", "d", "p")
      end
      collectgarbage()
      print(leaked())
    ]])
  end)

  it("finds a context that nobody can cancel", function()
    prints("a: chan receive\nb: chan receive\n", [[
      do
        local ctx = goro.context.with_cancel()
        go("a", function() ctx:done():recv() end)
        go("b", function() goro.chan():recv(ctx) end)
      end
      parked("a", "b")
      print(leaked())
    ]])
  end)

  it("goes with others that do the same", function()
    local stop = goro.chan()
    local wg = goro.WaitGroup()
    for _ = 1, 3 do
      wg:go(function()
        while goro.select { stop, default = true } ~= 1 do
          assert(#goro.leaks() == 0)
          goro.yield()
        end
      end)
    end
    local c = goro.chan()
    for i = 1, support.many(100) do
      goro.go(function() c:send(i) end)
      c:recv()
    end
    stop:close()
    wg:wait()
    support.settled()
  end)

  -- (In every other batch one took a second: those who waited for their turn were asked to
  -- yield, and found to be in C by their CPU time alone.)
  it("does not wait for others that wait to do the same #nosan #notsan", function()
    assert.equal("true\n", (script.ok(head .. ([[
      local function worst()
        local stop, wg, c, most = goro.chan(), goro.WaitGroup(), goro.chan(), 0
        for _ = 1, 3 do
          wg:go(function()
            while goro.select { stop, default = true } ~= 1 do
              goro.leaks()
              goro.yield()
            end
          end)
        end
        for i = 1, %d do
          local start = goro.now()
          goro.go(function() c:send(i) end)
          c:recv()
          most = math.max(most, goro.now() - start)
        end
        stop:close()
        wg:wait()
        return most
      end
      goro.maxprocs(8)
      local slow, start = 0, goro.now()            -- (others may use the CPUs)
      for _ = 1, 12 do
        if slow < 3 and goro.now() - start < 20 and worst() > 0.3 then slow = slow + 1 end
      end
      print(slow < 3)
    ]]):format(support.many(300)), { limit = 90 })))
  end)
end)
