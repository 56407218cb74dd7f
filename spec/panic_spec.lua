-- A goroutine that ends with an uncaught error has panicked: it is reported on stderr, with its
-- traceback, and raised once in the main script, which may catch it.

local script = require("spec.support.script")
local support = require("spec.support")

local hint = "(goroutines have their own globals: pass '%s' as an argument, or make it local)"

local function has(text, part)
  assert(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local function hasnt(text, part)
  assert(not text:find(part, 1, true), ("%q is in:\n%s"):format(part, text))
end

local head = 'local goro = require("goro") '
  -- waits, without a call that blocks, until all other goroutines have ended
  .. "local function others_end() while goro.num_goroutine() > 1 do end end "

local function run(source, options)
  return script.run(head .. source, options)
end

local function at(source, mark)
  return script.at(head .. source, mark)
end

-- Runs a script that must end with status 0; compares what it prints with `expected`; returns
-- what it wrote to stderr.
local function prints(expected, source, options)
  local result = run(source, options)
  assert(result.code == 0, script.account(result))
  assert(result.out == expected, script.account(result))
  return result.err
end

-- How many panics a text reports.
local function reports(text)
  local _, n = ("\n" .. text):gsub("\ngoroutine %d+[^\n]- panicked: ", "")
  return n
end

describe("a panic #panic", function()
  describe("that nobody catches", function()
    local source = [[

      local up, go_on, never = goro.chan(1), goro.chan(1), goro.chan()
      local function deep(n)
        if n > 0 then return (deep(n - 1)) end
        error("boom") --@boom
      end
      goro.go(function() goro.sleep(1000) end)
      goro.go(function() --@start
        up:send(goro.id())
        go_on:recv()
        local r = deep(3) --@call
        return r
      end)
      io.write("id ", up:recv(), "\n")
      io.stdout:flush()
      go_on:send(true)
      never:recv() --@blocked
    ]]
    local result, line

    setup(function()
      result = run(source)
      line = ("goroutine %s panicked: %s: boom"):format(
        result.out:match("id (%d+)"), at(source, "boom"))
    end)

    it("fails the script with status 1", function()
      assert.equal(1, result.code, script.account(result))
    end)

    it("is told with the goroutine's number and message", function()
      assert.equal(line, result.err:match("^[^\n]*"))
    end)

    it("is told with the goroutine's traceback", function()
      local report = result.err:match("^(.-)\n[^\n:]*lua[%d.]*: ") or ""
      has(report, "stack traceback:")
      has(report, at(source, "boom"))
      has(report, at(source, "call"))
    end)

    it("is told with the place that started the goroutine", function()
      has(result.err, "created by main at " .. at(source, "start"))
    end)

    it("is the error of the main script, raised where it waited", function()
      local report = result.err:match("\n([^\n:]*lua[%d.]*: .*)$") or result.err
      has(report, line)
      has(report, at(source, "blocked"))
    end)

    it("is reported once", function()
      assert.equal(1, reports(result.err), result.err)
    end)
  end)

  describe("is raised in the main script", function()
    it("at once in each call in which it waits", function()
      prints(("true\n"):rep(8), [[
        local c, wg = goro.chan(), goro.WaitGroup()
        wg:add(1)
        goro.go(function() goro.sleep(1000) end)
        local function try(f, ...)
          local t = goro.now()
          goro.go(function() goro.sleep(0.03) error("boom", 0) end)
          local ok, err = pcall(f, ...)
          print(not ok and goro.now() - t < 10
            and err:find("^goroutine %d+ panicked: boom$") ~= nil)
        end
        try(goro.sleep, 1000)
        try(c.recv, c)
        try(c.send, c, 1)
        try(c.try_recv, c, 1000)
        try(wg.wait, wg)
        try(goro.select, {})
        try(goro.select, { c, timeout = 1000 })
        try(function() for v in c:range() do print(v) end end)
      ]])
    end)

    it("wherever in Lua it waits", function()
      prints(("true\n"):rep(4), [[
        local c = goro.chan()
        goro.go(function() goro.sleep(1000) end)
        local function wait() return c:recv() end
        local function try(f, ...)
          goro.go(function() goro.sleep(0.03) error("boom", 0) end)
          local ok, err = pcall(f, ...)
          print(not ok and err:find("panicked: boom", 1, true) ~= nil)
        end
        try(coroutine.wrap(wait))
        try(table.sort, { 2, 1 }, function(a, b) wait() return a < b end)
        try(string.gsub, "abc", "b", wait)
        try(function() return setmetatable({}, { __index = wait }).x end)
      ]])
    end)

    it("at the start of the next call that may block, which then does nothing", function()
      prints("false\n1\nfalse\n1\n7\ttrue\n", [[
        local c = goro.chan(2)
        c:send(7)
        goro.go(error, "one", 0)
        others_end()
        print((pcall(c.recv, c)))
        print(#c)
        goro.go(error, "two", 0)
        others_end()
        print((pcall(c.send, c, 8)))
        print(#c)
        print(c:recv())
      ]])
    end)

    it("but not in calls that never block", function()
      prints("true\nfalse\n", [[
        local c, done, wg = goro.chan(1), goro.chan(1), goro.WaitGroup()
        goro.go(error, "boom", 0)
        others_end()
        print((pcall(function()
          wg:add(1)
          wg:done()
          goro.go(function() done:send(true) end)
          local _ = #c, c:len(), c:cap(), tostring(c), goro.id(), goro.now(), goro.name()
          goro.chan(1):close()
          c:close()
          goro.maxprocs()
          goro.num_goroutine()
          goro.after(1)
        end)))
        print((pcall(done.recv, done)))
      ]])
    end)

    it("each once, however many there are", function()
      local err = prints("50\ntrue\n", [[
        local seen, n = {}, 0
        for i = 1, 50 do goro.go(function() error("number " .. i, 0) end) end
        others_end()
        for _ = 1, 50 do
          local ok, err = pcall(goro.sleep, 5)
          local i = not ok and err:match("panicked: number (%d+)$")
          if i and not seen[i] then
            seen[i] = true
            n = n + 1
          end
        end
        print(n)
        print((pcall(goro.sleep, 0.01)))
      ]])
      assert.equal(50, reports(err), err)
      for i = 1, 50 do has(err .. "\n", "panicked: number " .. i .. "\n") end
    end)

    it("and not in another goroutine that waits", function()
      prints("boom\ntrue\tv\n", [[
        local a, b = goro.chan(), goro.chan(1)
        goro.go(function()
          local ok, v = pcall(a.recv, a)
          b:send({ ok, v })
        end)
        goro.go(error, "boom", 0)
        local _, err = pcall(goro.sleep, 1000)
        print(err:match("boom"))
        a:send("v")
        local r = b:recv()
        print(r[1], r[2])
      ]])
    end)
  end)

  it("is only reported when the main script never waits again", function()
    local err = prints("end\n", [[
      goro.go(error, "boom", 0)
      others_end()
      print("end")
    ]])
    assert.equal(1, reports(err), err)
  end)

  it("that is caught leaves everything in order", function()
    prints("boom\n5050\n", [[
      local c = goro.chan()
      goro.go(error, "boom", 0)
      print(select(2, pcall(goro.sleep, 1000)):match("boom"))
      local sum = 0
      for i = 1, 100 do goro.go(function() c:send(i) end) end
      for _ = 1, 100 do sum = sum + c:recv() end
      print(sum)
    ]])
  end)

  it("is none when the goroutine catches its error", function()
    assert.equal("", prints("caught\n", [[
      local c = goro.chan()
      goro.go(function()
        local ok, err = pcall(error, "caught", 0)
        c:send(not ok and err)
      end)
      print((c:recv()))
    ]]))
  end)

  it("closes the goroutine's pending variables before it is reported", function()
    prints("closed\nboom\n", [[
      local c = goro.chan(1)
      goro.go(function()
        local guard <close> = setmetatable({}, { __close = function() c:send("closed") end })
        error("boom", 0)
        return guard
      end)
      local ok, err = pcall(goro.sleep, 1000)
      print((c:recv()))
      print(not ok and err:match("boom"))
    ]])
  end)

  it("reports of many at once do not mix", function()
    local err = prints("", [[
      goro.on_panic("report")
      local long = ("x"):rep(3000)
      for _ = 1, 100 do goro.go(function() error(long, 0) end) end
      others_end()
    ]])
    local n = 0
    for line in err:gmatch("[^\n]+") do
      if line:find("panicked") then
        assert(line:find("^goroutine %d+ panicked: " .. ("x"):rep(3000) .. "$"), line)
        n = n + 1
      end
    end
    assert.equal(100, n)
  end)

  describe("raises an error value", function()
    it("that is a table as it is: a copy", function()
      local err = prints("table\t5\ttrue\n", [[
        goro.go(function()
          local t = { code = 5 }
          t.self = t
          error(t)
        end)
        local _, e = pcall(goro.sleep, 1000)
        print(type(e), e.code, e.self == e)
      ]])
      assert(err:find("goroutine %d+ panicked: table: 0x"), err)
      has(err, "created by main at")
    end)

    it("that has __tostring as it is, and reports its text", function()
      local err = prints("true\tdisk full\n", [[
        local Fault = {}
        Fault.__index = Fault
        Fault.__tostring = function(t) return t.text end
        goro.go(function() error(setmetatable({ text = "disk full" }, Fault)) end)
        local _, e = pcall(goro.sleep, 1000)
        print(getmetatable(e) == Fault, tostring(e))
      ]])
      assert(err:find("goroutine %d+ panicked: disk full\n"), err)
    end)

    it("that is nil, a boolean or a number as it is", function()
      local err = prints("nil\nfalse\n42\n0.5\n", [[
        for _, v in ipairs { "nil", "false", "42", "0.5" } do
          goro.go(function() error(load("return " .. v)(), 0) end)
          local ok, e = pcall(goro.sleep, 1000)
          print(not ok and (e == nil and "nil" or math.type(e) and e or tostring(e)))
        end
      ]])
      assert(err:find("goroutine %d+ panicked: [^\n]*nil"), err)
      assert(err:find("goroutine %d+ panicked: false\n"), err)
      assert(err:find("goroutine %d+ panicked: 42\n"), err)
    end)

    it("that cannot cross as its text", function()
      local err = prints("true\ntrue\n", [[
        goro.go(function() error(coroutine.create(print)) end)
        local ok, e = pcall(goro.sleep, 1000)
        print(not ok and type(e) == "string" and e:find("thread: 0x", 1, true) ~= nil)
        goro.go(function() error({ inner = { io.stdout, coroutine.create(print) } }) end)
        ok, e = pcall(goro.sleep, 1000)
        print(not ok and type(e) == "string" and e:find("table: 0x", 1, true) ~= nil)
      ]])
      assert.equal(2, reports(err), err)
    end)

    it("whose __tostring raises without harm", function()
      local err = prints("true\n", [[
        goro.go(function()
          error(setmetatable({}, { __tostring = function() error("in tostring") end }))
        end)
        local ok = pcall(goro.sleep, 1000)
        print(not ok)
      ]])
      assert.equal(1, reports(err), err)
    end)
  end)

  describe("in the last things that a goroutine does:", function()
    it("an error in __close takes the place of the first", function()
      local err = prints(support.old_close and "first\n" or "second\n", [[
        goro.go(function()
          local fail = { __close = function() error("second", 0) end }
          local guard <close> = setmetatable({}, fail)
          error("first", 0)
          return guard
        end)
        local _, e = pcall(goro.sleep, 1000)
        print(e:match("%w+$"))
      ]])
      assert.equal(1, reports(err), err)
    end)

    it("an error in __close of a function that returned is a panic", function()
      prints("late\n", [[
        goro.go(function()
          local guard <close> = setmetatable({}, { __close = function() error("late", 0) end })
          return guard
        end)
        local _, e = pcall(goro.sleep, 1000)
        print(e:match("%w+$"))
      ]])
    end)

    it("an error in __gc is no panic, and harms nobody", function()
      local err = prints("went on\nwent on\n", [[
        local c = goro.chan()
        for _ = 1, 2 do
          goro.go(function()
            local bad = { __gc = function() error("in gc") end }
            for _ = 1, 100 do setmetatable({}, bad) end
            collectgarbage()
            c:send("went on")
            _G.kept = setmetatable({}, bad)     -- for the end of the state
          end)
          print((c:recv()))
        end
        others_end()
      ]])
      assert.equal(0, reports(err), err)
    end)

    it("an error in a message handler comes back from xpcall", function()
      prints("false\nfalse\n", [[
        local c = goro.chan()
        goro.go(function()
          local ok = xpcall(error, function() error("again") end, "first")
          c:send(ok)
          ok = xpcall(error, function() local x = nil return x.y end, "first")
          c:send(ok)
        end)
        print((c:recv()))
        print((c:recv()))
      ]])
    end)

    it("a stack overflow is a panic like any", function()
      local err = prints("true\ntrue\n", [[
        goro.go(function()
          local function f(n) return 1 + f(n + 1) end
          f(1)
        end)
        local _, e = pcall(goro.sleep, 1000)
        print(e:find("stack overflow", 1, true) ~= nil)
        goro.go(function()
          local function f() return (("x"):gsub("x", f)) end
          f()
        end)
        _, e = pcall(goro.sleep, 1000)
        print(e:find("overflow", 1, true) ~= nil)
      ]])
      assert.equal(2, reports(err), err)
      assert(#err < 20000, "the traceback is not shortened: " .. #err .. " bytes")
    end)

    it("want of memory is a panic like any #nosan", function()
      prints("true\n", [[
        goro.go(function() return io.open("/dev/zero"):read(1 << 46) end)
        local _, e = pcall(goro.sleep, 1000)
        print(e:find("not enough memory", 1, true) ~= nil)
      ]])
    end)
  end)

  describe("about a global that is nil in the goroutine", function()
    for _, case in ipairs {
      { "called", "helper()", "helper" },
      { "indexed", "return config.path", "config" },
      { "computed with", "return counter + 1", "counter" },
      { "called in a function of its own", "local function f() return helper(1) end f()",
        "helper" },
    } do
      it("adds what to do: " .. case[1], function()
        local err = prints("true\n", ([[
          helper, config, counter = print, { path = "x" }, 1
          goro.go(function() %s end)
          local _, e = pcall(goro.sleep, 1000)
          print(e:find(%q, 1, true) ~= nil)
        ]]):format(case[2], hint:format(case[3])))
        has(err, hint:format(case[3]))
      end)
    end

    it("adds nothing to a message about a local or a field", function()
      local err = prints("true\ntrue\n", [[
        for _, f in ipairs {
          function() local t = nil return t.x end,
          function() local t = {} return t.x.y end,
        } do
          goro.go(f)
          local ok, e = pcall(goro.sleep, 1000)
          print(not ok and e:find("their own globals", 1, true) == nil)
        end
      ]])
      hasnt(err, "their own globals")
    end)
  end)

  describe("has a traceback", function()
    it("that names the goroutine that started the one that failed", function()
      local source = [[

        local up = goro.chan(1)
        goro.go(function()
          up:send(goro.id())
          goro.go(function() --@inner
            error("boom")
          end)
          goro.sleep(1000)
        end)
        local _, e = pcall(goro.sleep, 1000)
        print(up:recv(), e:match("boom"))
      ]]
      local result = run(source)
      assert(result.code == 0, script.account(result))
      local id = result.out:match("^(%d+)\tboom")
      has(result.err, ("created by goroutine %s at %s"):format(id, at(source, "inner")))
    end)

    it("that names the place also when the function started is a C function", function()
      local source = [[

        goro.go(error, "in C", 0) --@start
        pcall(goro.sleep, 1000)
      ]]
      local result = run(source)
      assert(result.code == 0, script.account(result))
      assert(result.err:find("^goroutine %d+ panicked: in C\n"), result.err)
      has(result.err, "created by main at " .. at(source, "start"))
    end)

    it("that shows the place also when a helper function started it", function()
      local source = [[

        local function start(f)
          goro.go(f) --@start
        end
        start(function()
          error("boom")
        end)
        pcall(goro.sleep, 1000)
      ]]
      has(run(source).err, "created by main at " .. at(source, "start"))
    end)

    it("that reaches through functions called under pcall and coroutines", function()
      local source = [[

        local function inner()
          error("boom") --@inner
        end
        goro.go(function()
          local f = coroutine.wrap(function()
            inner()
            return true
          end)
          f() --@wrap
        end)
        pcall(goro.sleep, 1000)
      ]]
      local result = run(source)
      assert(result.code == 0, script.account(result))
      has(result.err, at(source, "inner"))
      has(result.err, at(source, "wrap"))
    end)

    it("and the name, if the goroutine has one", function()
      local err = prints("", [[
        goro.go(function()
          goro.name("the indexer")
          error("boom")
        end)
        pcall(goro.sleep, 1000)
      ]])
      assert(err:find("^goroutine %d+[^\n]*the indexer"), err)
    end)
  end)

  describe("under on_panic", function()
    it('"report" is only told', function()
      local err = prints("true\nend\n", [[
        goro.on_panic("report")
        goro.go(error, "boom", 0)
        print(goro.sleep(0.1))
        print("end")
      ]])
      assert.equal(1, reports(err), err)
      has(err, "created by main at")
    end)

    it('"exit" ends the process with status 2', function()
      local result = run([[
        goro.on_panic("exit")
        print("started")
        for _ = 1, 100 do goro.go(function() goro.sleep(1000) end) end
        goro.go(error, "boom", 0)
        pcall(goro.sleep, 1000)
        print("not reached")
      ]])
      assert(result.code == 2, script.account(result))
      assert.equal("started\n", result.out)
      assert(result.err:find("^goroutine %d+ panicked: boom\n"), result.err)
      assert.equal(1, reports(result.err), result.err)
    end)

    it('"exit" does so while the main script computes #nochaos', function()
      local result = run([[
        goro.on_panic("exit")
        goro.go(error, "boom", 0)
        while true do end
      ]])
      assert(result.code == 2, script.account(result))
    end)

    it('"raise" is as it was from the start', function()
      prints("true\nfalse\n", [[
        goro.on_panic("report")
        goro.go(error, "one", 0)
        print((pcall(goro.sleep, 0.1)))
        goro.on_panic("raise")
        goro.go(error, "two", 0)
        print((pcall(goro.sleep, 1000)))
      ]])
    end)

    it("anything else is refused", function()
      prints("true\ntrue\ntrue\n", [[
        for _, v in ipairs { "no", 1, {} } do
          local ok, err = pcall(goro.on_panic, v)
          print(not ok and err:find("bad argument #1 to 'on_panic'", 1, true) ~= nil)
        end
      ]])
    end)
  end)

  it("comes before a deadlock that it leaves behind", function()
    prints("boom\ndeadlock\n", [[
      local c = goro.chan()
      goro.go(function() goro.sleep(0.05) error("boom", 0) end)
      print(select(2, pcall(c.recv, c)):match("boom"))
      print(select(2, pcall(c.recv, c)):match("deadlock"))
    ]])
  end)
end)
