-- goro.debug: stacks on a signal, the scheduler's figures at intervals, and goro-top, which
-- looks at a running program from outside.

local script = require("spec.support.script")

local function has(text, part)
  assert(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

-- What every script below starts with, on one line.
local head = 'local goro = require("goro") '
  .. 'local function pid() local f = assert(io.open("/proc/self/stat")) local n = f:read("n") '
  .. "f:close() return n end "
  .. "local function kill(s, more) " -- (os.execute has SIGQUIT ignored meanwhile)
  .. "io.popen(('kill -%s %d'):format(s, pid()) .. (more or '')):close() end\n"

-- For kill, after the signal: until the dump is there.  (stderr is a file.)
local dumped = "; n=0; until grep -q waiter /proc/self/fd/2 || [ $n -ge 1000 ]; do "
  .. "sleep 0.01; n=$((n+1)); done"

describe("goro.debug #sight #nochaos", function()
  describe("dump_on", function()
    local function dumps(source, options)
      local r = script.run(head .. source, options)
      assert.equal(0, r.code, script.account(r))
      has(r.err, "goroutine 1 [")
      has(r.err, '"waiter" [chan receive')
      return r
    end

    local spawn = [[
      local c, up = goro.chan(), goro.chan()
      goro.go(function() goro.name("waiter") up:send(1) c:recv() end)
      up:recv()
      while not goro.stacks():find('"waiter" %[chan receive') do goro.yield() end
    ]]

    -- (ThreadSanitizer keeps signals back until the C call that the thread is in returns.)
    it("prints all stacks on stderr, and the program goes on #notsan", function()
      local r = dumps(spawn .. [[
        assert(goro.debug.dump_on("USR1"))
        kill("USR1", "]] .. dumped .. [[")
        print("end")
      ]])
      assert.equal("end\n", r.out)
    end)

    it("shows a main script that is stuck in a loop #notsan", function()
      local source = spawn .. [[
        assert(require("goro.debug").dump_on("SIGQUIT"))
        goro.go(function() kill("QUIT") end)
        local stop = os.clock() + 0.5
        while os.clock() < stop do end --@loop
      ]]
      local r = dumps(source)
      assert.matches("goroutine 1 %[running", r.err)
      assert.matches("goroutine 1 %[[^\n]*\n[^\n]*script.lua:", r.err)
    end)

    it("comes by GOROTRACEBACK=1, also when the main script is inside C #notsan", function()
      local r = dumps(spawn .. [[ kill("QUIT", "]] .. dumped .. [[") ]],
        { env = { GOROTRACEBACK = "1" } })
      has(r.err, "goroutine 1 [in C")
    end)

    it("installs no handler unless asked to", function()
      local r = script.run(head .. [[
        goro.go(function() end)
        kill("QUIT")
        print(1)
      ]])
      assert(r.signal == 3 or r.code == 131, script.account(r))
    end)

    it("raises for what is no signal", function()
      local goro = require("goro")
      for _, s in ipairs { "NONE", "KILL", "SEGV", "" } do
        local ok, err = pcall(goro.debug.dump_on, s)
        assert(not ok)
        has(err, "bad argument #1 to 'dump_on' (")
      end
      assert.has_error(function() goro.debug.dump_on() end)
    end)
  end)

  it("GORODEBUG=schedtrace=50 prints a line of figures each 50 ms", function()
    local r = script.run(head .. [[
      goro.go(function() goro.sleep(0.3) end)
      goro.sleep(0.3)
    ]], { env = { GORODEBUG = "schedtrace=50", GOROMAXPROCS = "3" } })
    assert.equal(0, r.code, script.account(r))
    local n = 0
    for line in r.err:gmatch("[^\n]+") do
      assert.matches("^SCHED %d+ms: gomaxprocs=3 idleprocs=%d threads=%d+ spinningthreads=%d "
        .. "idlethreads=%d+ goroutines=%d+ runqueue=%d+ %[%d+ %d+ %d+%]$", line)
      n = n + 1
    end
    assert(n >= 2, r.err)
  end)

  describe("serve", function()
    -- Runs a program that serves, and `command` in it with the path for %s; returns its output.
    local function served(command, more)
      local path = os.tmpname()
      os.remove(path)
      local source = head .. ([[
        local path = %q
        local c, lost = goro.chan(0, nil, "jobs"), goro.chan()
        local function worker() c:recv() end
        for _ = 1, 20 do goro.go(worker) end
        goro.go(function() goro.name("lost one") lost:recv() end)
        lost = nil
        goro.go(function() goro.sleep(100) end)
        collectgarbage()
        while goro.stats().runnable > 0 do goro.yield() end
        goro.sleep(0.1)
        assert(goro.debug.serve(path))
        %s
        KEEP = c
      ]]):format(path, more or ([[
        local p = assert(io.popen(%q))
        print((p:read("a"):gsub("\n$", "")))
        assert(p:close())
      ]]):format(command:format(path)))
      local r = script.run(source)
      assert.equal(0, r.code, script.account(r))
      assert.is_nil(io.open(path), "the socket is left behind")
      return r.out, r
    end

    local top = script.lua .. " bin/goro-top "

    it("answers goro-top --json", function()
      local out = served(top .. "--json --once --leaks %s")
      local ok, json = pcall(require, "dkjson")
      if not ok then return has(out, '{"stats":{"spawned":22') end
      local t = assert(json.decode(out))
      assert.equal(22, t.stats.spawned)
      assert.equal(23, t.stats.live)
      local by_state = {}
      for _, g in ipairs(t.goroutines) do
        by_state[g.state] = (by_state[g.state] or 0) + g.count
        if g.count == 20 then assert.matches("script.lua:%d+", g.at) end
      end
      assert.equal(21, by_state["chan receive"])
      assert.equal(1, by_state.sleep)
      assert.equal(1, #t.leaks)
      assert.equal("lost one", t.leaks[1].name)
    end)

    it("answers goro-top's screen, with rates at the second look", function()
      local out = served("{ { timeout 20 " .. top .. "-n 0.2 %s; echo ended $? >&2; } | "
        .. "sed '/switches [0-9]/q'; } 2>&1")
      assert.matches("ended %d", out)              -- and when nobody reads any more it ends
      assert.is_nil(out:find("ended 124", 1, true), out)
      has(out, "goroutines 23")
      assert.matches("20 chan receive", out)
      assert.matches("switches %d", out)
    end)

    it("shows names of any bytes harmlessly, and numbers whatever the locale", function()
      local out = served(top .. "--json --once --leaks %s", [[
        local strange = "a\tb\27[7m\n\xff\"\\"
        goro.go(function() goro.name(strange) goro.chan():recv() end)
        load("local goro = ... goro.go(function() goro.chan():recv() end)", "=x\ty")(goro)
        for _, l in ipairs { "de_DE.UTF-8", "fr_FR.UTF-8" } do
          if os.setlocale(l) then break end
        end
        while goro.stats().runnable > 0 do goro.yield() end
        local p = assert(io.popen(("]] .. top .. [[--json --once --leaks %s"):format(path)))
        print((p:read("a"):gsub("\n$", "")))
        assert(p:close())
      ]])
      has(out, [["name":"a b [7m ?\"\\"]])
      has(out, '"at":"x y:1"')
      assert.matches('"time":%d+%.%d+,', out)
      assert(utf8.len(out) and not out:gsub("\n$", ""):find("%c"))
    end)

    it("shows on a terminal what it has room for", function()
      if not os.execute("command -v script >/dev/null") then return pending("no script(1)") end
      local out = served("script -qc 'stty rows 9 cols 44; " .. top
        .. "--once %s' /dev/null </dev/null")
      has(out, "\27[2J\27[H\27[1mgoro-top")
      for line in (out:gsub("\27%[%d*%a", "") .. "\r\n"):gmatch("(.-)\r?\n") do
        assert(utf8.len(line) <= 44, line)
      end
      local _, n = out:gsub("\n", "")
      assert(n <= 10, out)
      assert.matches("20 chan receive", out)
      assert.matches("%.%.%. and %d more", out)
    end)

    it("tells goro-top's user that the program has ended", function()
      local out = served("", [[
        local other = path .. ".other"
        local l = assert(goro.net.listen("unix:" .. other))
        goro.go(function()
          for _ = 1, 2 do
            local c = assert(l:accept())
            if c:read_line() == "top" then c:write("stat\tspawned\t1\n") end
            c:close()
          end
        end)
        for _, o in ipairs { "--stacks", "--once" } do
          local p = assert(io.popen(("]] .. top .. [[%s %s 2>&1"):format(o, other)))
          print((p:read("a"):gsub("/[^ ]*/", ""):gsub(": .*: ", ": ")), select(3, p:close()))
        end
        l:close()
      ]])
      assert.equal(("goro-top: the program has ended\n\t1\n"):rep(2), out)
    end)

    it("answers goro-top --stacks", function()
      has(served(top .. "--stacks %s"), '[chan receive "jobs"')
    end)

    it("can be taken back, moved, and answers again and again", function()
      local out = served("", [[
        local other = path .. "2"
        for _ = 1, 20 do assert(goro.debug.fetch(path, "top"):find("^stat\tspawned\t22\n")) end
        assert(goro.debug.serve(other))
        assert(goro.debug.fetch(other, "stacks"):find("^goroutine 1 "))
        assert(goro.debug.fetch(other, "nonsense"):find("^error\t"))
        assert(goro.debug.serve(nil))
        print(goro.debug.fetch(other, "top"))
        assert(goro.debug.serve(path))
        print(goro.debug.serve("/nowhere/at/all"))
      ]])
      assert.matches("^nil\t[^\n]+\t%d+\nnil\t[^\n]+\t%d+\n$", out)
    end)

    it("takes over a socket that a program that died left, not one that is served", function()
      served("", [[
        local old = path .. ".old"
        os.execute(("exec %s -e 'require(\"goro\").debug.serve(\"%s\") "
          .. "require(\"goro\").debug.dump_on(\"USR1\") "
          .. "os.execute(\"kill -KILL $PPID\")' >/dev/null 2>&1"):format("]] .. script.lua
        .. [[", old))
        assert(io.popen("ls " .. old):read("a"):find(old, 1, true))
        assert(goro.debug.serve(old))
        local ok, why = require("goro.debug").serve(old)
        assert(not ok and why)
        os.remove(old)
        assert(goro.debug.serve(path))
      ]])
    end)
  end)

  it("goro-top tells how it is used, and what is wrong", function()
    local r = script.command(script.lua .. " bin/goro-top --help")
    assert.equal(0, r.code)
    has(r.out, "usage: goro-top")
    r = script.command(script.lua .. " bin/goro-top")
    assert.equal(2, r.code)
    r = script.command(script.lua .. " bin/goro-top /nowhere/at/all")
    assert.equal(1, r.code)
    has(r.err, "/nowhere/at/all")
    r = script.command(script.lua .. " bin/goro-top --what x")
    assert.equal(1, r.code)
  end)
end)
