-- When no goroutine can ever run again, the call in which the main script waits raises
-- "all goroutines are asleep - deadlock!" and says where everybody waits.  It is an error like
-- any other: it can be caught, and the program can go on.

local script = require("spec.support.script")

local message = "all goroutines are asleep - deadlock!"

local function has(text, part)
  assert(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local function hasnt(text, part)
  assert(not text:find(part, 1, true), ("%q is in:\n%s"):format(part, text))
end

-- What every script below starts with, on one line.
local head = 'local goro = require("goro") '
  .. 'local dead = "all goroutines are asleep - deadlock!" '
  .. "local function isdead(...) local ok, err = pcall(...) "
  .. "return not ok and tostring(err):find(dead, 1, true) ~= nil, err end "

-- Runs a script that must end well; compares what it prints with `expected`.
local function prints(expected, source, options)
  assert.equal(expected, (script.ok(head .. source, options)))
end

describe("a deadlock #deadlock", function()
  describe("is raised in the main script", function()
    it("when it receives and nobody is left to send", function()
      prints("true\n", [[
        local c = goro.chan()
        print((isdead(c.recv, c)))
      ]])
    end)

    it("when it sends and nobody is left to receive", function()
      prints("true true\n", [[
        local c, full = goro.chan(), goro.chan(1)
        full:send(1)
        print(tostring((isdead(c.send, c, 1))) .. " " .. tostring((isdead(full.send, full, 2))))
      ]])
    end)

    it("when it waits in select {}", function()
      prints("true\n", [[ print((isdead(goro.select, {}))) ]])
    end)

    it("when it waits in a select whose cases are never ready", function()
      prints("true\n", [[
        local a, b = goro.chan(), goro.chan()
        print((isdead(goro.select, { a, { send = b, value = 1 }, false })))
      ]])
    end)

    it("when it waits for a WaitGroup that nobody brings down", function()
      prints("true\n", [[
        local wg = goro.WaitGroup()
        wg:add(2)
        goro.go(function() wg:done() end)
        print((isdead(wg.wait, wg)))
      ]])
    end)

    it("when it waits with a nil time-out", function()
      prints("true\n", [[
        local c = goro.chan()
        print((isdead(c.recv, c, nil)))
      ]])
    end)

    it("when the last goroutine that could help ends", function()
      prints("true\n", [[
        local c = goro.chan()
        goro.go(function() goro.sleep(0.05) return c end)
        print((isdead(c.recv, c)))
      ]])
    end)

    it("when the last goroutine that could help blocks too", function()
      prints("true\n", [[
        local a, b = goro.chan(), goro.chan()
        goro.go(function() goro.sleep(0.05) a:recv() b:send(1) end)
        print((isdead(b.recv, b)))
      ]])
    end)

    it("when goroutines wait for each other, and it for them", function()
      prints("true\n", [[
        local a, b, c = goro.chan(), goro.chan(), goro.chan()
        local wg = goro.WaitGroup()
        wg:add(3)
        goro.go(function() a:recv() b:send(1) wg:done() end)
        goro.go(function() b:recv() c:send(1) wg:done() end)
        goro.go(function() c:recv() a:send(1) wg:done() end)
        print((isdead(wg.wait, wg)))
      ]])
    end)

    it("when 1,000 goroutines wait", function()
      prints("true\n", [[
        local c, up = goro.chan(), goro.chan()
        for i = 1, 1000 do goro.go(function() up:send(i) c:recv() end) end
        for _ = 1, 1000 do up:recv() end
        print((isdead(c.recv, c)))
      ]])
    end)

    it("wherever in Lua it waits", function()
      prints(("true\n"):rep(6), [[
        local c = goro.chan()
        local function wait() return c:recv() end
        print((isdead(wait)))
        print((isdead(coroutine.wrap(wait))))
        print((isdead(table.sort, { 3, 1, 2 }, function(a, b) wait() return a < b end)))
        print((isdead(string.gsub, "abc", "b", wait)))
        print((isdead(function() return setmetatable({}, { __index = wait }).x end)))
        print((isdead(function()
          local guard <close> = setmetatable({}, { __close = wait })
          return guard
        end)))
      ]])
    end)

    it("when goroutines wait where Lua cannot yield", function()
      prints("true\n", [[
        local c, up = goro.chan(), goro.chan()
        for i = 1, 10 do
          goro.go(function()
            table.sort({ 2, 1 }, function(a, b) up:send(i) c:recv() return a < b end)
          end)
        end
        for _ = 1, 10 do up:recv() end
        print((isdead(c.recv, c)))
      ]])
    end)

    it("at once: it takes no time-out to find it", function()
      prints("true\n", [[
        local c = goro.chan()
        local t = goro.now()
        for _ = 1, 20 do pcall(c.recv, c) end
        print(goro.now() - t < 2)
      ]])
    end)

    it("with a message handler's traceback that shows the call", function()
      local source = head .. [[

        local c = goro.chan()
        print(select(2, xpcall(function()
          return (c:recv()) --@here
        end, debug.traceback)))
      ]]
      local out = script.ok(source)
      has(out, message)
      has(out, script.at(source, "here"))
    end)
  end)

  describe("tells", function()
    local source = head .. [[

      local a, b, wg = goro.chan(), goro.chan(), goro.WaitGroup()
      local ids = goro.chan(10)
      wg:add(1)
      local function deep()
        a:recv() --@deep
      end
      goro.go(function() ids:send(goro.id()) deep() end)
      goro.go(function()
        ids:send(goro.id())
        b:send(1) --@send
      end)
      goro.go(function()
        ids:send(goro.id())
        goro.select { a, { send = b, value = 1 } } --@select
      end)
      goro.go(function()
        ids:send(goro.id())
        wg:wait() --@wait
      end)
      goro.go(function()
        ids:send(goro.id())
        coroutine.wrap(function()
          a:recv() --@coroutine
        end)()
      end)
      goro.go(function()
        ids:send(goro.id())
        table.sort({ 1, 2 }, function()
          a:recv() --@sort
        end)
      end)
      goro.go(function()
        goro.name("the watcher")
        ids:send(goro.id())
        a:recv() --@named
      end)
      local list = {}
      for i = 1, 7 do list[i] = ids:recv() end
      table.sort(list)
      print(table.concat(list, " "))
      local ok, err = pcall(goro.select, {})
      print(err)
      wg:wait() --@main
    ]]
    local result

    setup(function() result = script.run(source) end)

    it("who waits, by number", function()
      local count = 0
      for id in result.out:match("^[%d ]+"):gmatch("%d+") do
        assert(result.out:find("goroutine " .. id .. "%f[%D]"), script.account(result))
        count = count + 1
      end
      assert.equal(7, count)
    end)

    it("who waits, by name", function()
      has(result.out, "the watcher")
    end)

    for _, where in ipairs { "deep", "send", "select", "wait", "coroutine", "sort", "named" } do
      it("where each waits: " .. where, function()
        has(result.out, script.at(source, where))
      end)
    end

    it("where the main script waits", function()
      has(result.err, script.at(source, "main"))
    end)

    it("all that when nobody catches it, and the script fails with status 1", function()
      assert.equal(1, result.code, script.account(result))
      assert(result.err:find("^[^\n:]*lua[%d.]*: [^\n]*" .. message:gsub("%p", "%%%0")),
        script.account(result))
      has(result.err, script.at(source, "deep"))
    end)
  end)

  describe("is no reason to give up: after it was caught", function()
    it("a waiting goroutine can be served", function()
      prints("true\ngot it\n", [[
        local a, b = goro.chan(), goro.chan()
        goro.go(function() b:send("got " .. a:recv()) end)
        print((isdead(b.recv, b)))
        a:send("it")
        print((b:recv()))
      ]])
    end)

    it("the call that raised left nothing behind in the channel", function()
      prints("true\n42\ttrue\ntrue\n1\ttrue\n", [[
        local c = goro.chan()
        print((isdead(c.recv, c)))
        goro.go(function() c:send(42) end)
        print(c:recv())
        print((isdead(c.send, c, "lost")))
        goro.go(function() c:send(1) end)
        print(c:recv())
      ]])
    end)

    it("a select that raised left nothing behind in its channels", function()
      prints("true\n1\tx\ttrue\n2\ty\ttrue\n", [[
        local a, b = goro.chan(), goro.chan()
        print((isdead(goro.select, { a, b })))
        goro.go(function() a:send("x") end)
        print(goro.select { a, b })
        goro.go(function() b:send("y") end)
        print(goro.select { a, b })
      ]])
    end)

    it("the next one is raised too", function()
      prints("200\n", [[
        local c, n = goro.chan(), 0
        for i = 1, 200 do
          goro.go(function() if i % 2 == 0 then c:recv() end end)
          local w = goro.WaitGroup()
          w:add(1)
          if isdead(w.wait, w) then n = n + 1 end
        end
        print(n)
      ]])
    end)

    it("a goroutine that waits under pcall has not noticed", function()
      prints("true\ntrue\thello\n", [[
        local a, b = goro.chan(), goro.chan()
        goro.go(function()
          local ok, v = pcall(a.recv, a)
          b:send({ ok, v })
        end)
        print((isdead(b.recv, b)))
        a:send("hello")
        local r = b:recv()
        print(r[1], r[2])
      ]])
    end)

    it("the script may end as ever", function()
      prints("true\n", [[
        local c = goro.chan()
        goro.go(function() c:recv() end)
        print((isdead(c.recv, goro.chan())))
      ]])
    end)
  end)

  describe("is not seen", function()
    it("while a goroutine sleeps that will wake somebody", function()
      prints("1\n", [[
        local c = goro.chan()
        goro.go(function() goro.sleep(0.1) c:send(1) end)
        print((c:recv()))
      ]])
    end)

    it("while the main script itself sleeps", function()
      prints("true\n", [[
        local c = goro.chan()
        goro.go(function() c:recv() end)
        print(goro.sleep(0.1))
      ]])
    end)

    it("while a timer runs", function()
      prints("number\n", [[
        local t = goro.after(0.1)
        print(math.type((t:recv())) and "number")
      ]])
    end)

    it("while somebody waits with a time-out", function()
      prints("nil\tnil\ttimeout\nfalse\ttimeout\nnil\ttimeout\nfrom another\n", [[
        local c, wg = goro.chan(), goro.WaitGroup()
        wg:add(1)
        print(c:recv(0.05))
        print(wg:wait(0.05))
        print(goro.select { c, timeout = 0.05 })
        goro.go(function()
          goro.chan():recv(0.1)
          c:send("from another")
        end)
        print((c:recv()))
      ]])
    end)

    it("while a goroutine is inside C", function()
      prints("0\nline\n", [[
        local c = goro.chan()
        goro.go(function()
          local ok, how, code = os.execute("sleep 0.2")
          c:send(code)
        end)
        print((c:recv()))
        goro.go(function()
          local p = io.popen("sleep 0.2; echo line")
          c:send(p:read("l"))
          p:close()
        end)
        print((c:recv()))
      ]])
    end)

    it("while a goroutine computes", function()
      prints("done\n", [[
        local c = goro.chan()
        goro.go(function()
          local stop = os.clock() + 0.3
          while os.clock() < stop do end
          c:send("done")
        end)
        print((c:recv()))
      ]])
    end)

    it("while only some are dead", function()
      prints("one\n", [[
        local a, b, c = goro.chan(), goro.chan(), goro.chan()
        goro.go(function() a:recv() b:send(1) end)
        goro.go(function() b:recv() a:send(1) end)
        goro.go(function() goro.sleep(0.1) c:send("one") end)
        print((c:recv()))
      ]])
    end)

    it("when the main script computes and all others wait", function()
      prints("end\n", [[
        local c = goro.chan()
        for _ = 1, 10 do goro.go(function() c:recv() end) end
        local stop = os.clock() + 0.2
        while os.clock() < stop do end
        print("end")
      ]])
    end)

    it("when the main script is inside C and all others wait", function()
      prints("end\n", [[
        local c = goro.chan()
        for _ = 1, 10 do goro.go(function() c:recv() end) end
        os.execute("sleep 0.2")
        print("end")
      ]])
    end)

    it("when a channel is closed under those who wait", function()
      prints("nil\tfalse\n", [[
        local c = goro.chan()
        goro.go(function() c:close() end)
        print(c:recv())
      ]])
    end)

    it("in 20,000 hand-overs with very short sleeps, however they fall", function()
      prints("20000\n", [[
        local a, b, n = goro.chan(), goro.chan(), 0
        goro.go(function()
          for i in a:range() do
            if i % 20 == 0 then goro.sleep(0.00002) end
            b:send(i)
          end
        end)
        for i = 1, 20000 do
          a:send(i)
          if i % 50 == 0 then goro.sleep(0.00001) end
          if b:recv() == i then n = n + 1 end
        end
        print(n)
      ]])
    end)

    it("when 2,000 short-lived goroutines each are the last that can help", function()
      prints("2000\n", [[
        local n = 0
        for i = 1, 2000 do
          local c = goro.chan()
          goro.go(function()
            goro.go(function()
              if i % 10 == 0 then goro.sleep(0.00005) end
              c:send(i)
            end)
          end)
          if c:recv() == i then n = n + 1 end
        end
        print(n)
      ]])
    end)
  end)

  it("never disturbs a script that does not wait", function()
    local out = script.ok(head .. [[ goro.go(function() goro.chan():recv() end) print("x") ]])
    hasnt(out, message)
  end)
end)
