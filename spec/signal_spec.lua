-- goro.signal: the process's signals as names on channels.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

-- Runs a script with `pid` (its own) and `kill(name)`.
local head = [[
  local goro = require("goro")
  local pid = io.open("/proc/self/stat"):read("n")
  local function kill(name) assert(os.execute("kill -" .. name .. " " .. pid)) end
]]

local function prints(expected, source, options)
  for _, procs in ipairs { 1, 2, 8 } do
    options = options or {}
    options.env = { GOROMAXPROCS = procs }
    assert.equal(expected, (script.ok(head .. source, options)))
  end
end

describe("goro.signal #signal", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("returns a channel that gets the names of the signals", function()
    prints("USR1\tUSR2\tUSR1\tTERM\n", [[
      local c = goro.signal("USR1", "USR2", "TERM")
      local got = {}
      for _, name in ipairs { "USR1", "USR2", "USR1", "TERM" } do
        kill(name)
        got[#got + 1] = c:recv()
      end
      print(table.unpack(got))
    ]])
  end)

  it("wakes a main script that waits, and goroutines", function()
    prints("HUP\nWINCH\nnil\tfalse\n", [[
      local c = goro.signal("SIGHUP", "WINCH")
      goro.go(function() goro.sleep(0.02) kill("HUP") end)
      print((c:recv()))
      local out = goro.chan()
      goro.go(function()
        for name in c:range() do out:send(name) end
        out:close()
      end)
      goro.go(function() goro.sleep(0.02) kill("WINCH") end)
      print((out:recv()))
      c:close()
      print(out:recv())
    ]])
  end)

  it("comes while all compute, and while the main script is in C", function()
    prints("USR1\nUSR2\n", [[
      local c = goro.signal("USR1", "USR2")
      for _ = 1, 3 do goro.go(function() while true do end end) end
      goro.go(function() kill("USR1") end)
      print((c:recv()))
      os.execute("kill -USR2 " .. pid .. "; sleep 0.05")
      print((c:recv()))
      os.exit(0)
    ]])
  end)

  it("gives each of several channels its own, in several goroutines", function()
    prints("USR1\tUSR1\nUSR2\tnil\n", [[
      local a, b = goro.signal("USR1", "USR2"), goro.signal("USR1")
      local out = goro.chan()
      goro.go(function() out:send((a:recv())) out:send((a:recv())) end)
      kill("USR1")
      print((out:recv()), (b:recv()))
      kill("USR2")
      print((out:recv()), (b:recv(0.01)))
    ]])
  end)

  it("a closed channel gets no more, and what the signal did before it does again", function()
    for _, procs in ipairs { 1, 2, 8 } do
      local r = script.run(head .. [[
        local a, b = goro.signal("TERM"), goro.signal("TERM")
        a:close()
        kill("TERM")
        print((b:recv()), a:recv())
        b:close()
        kill("TERM")
        goro.sleep(30)
      ]], { env = { GOROMAXPROCS = procs } })
      assert.equal("TERM\tnil\tfalse\n", r.out)
      assert.is_true(r.signal == 15 or r.code == 143, script.account(r))
    end
  end)

  -- (ThreadSanitizer hands signals on late.)
  it("INT no longer interrupts the main script, until the channel is closed #notsan", function()
    for _, wait in ipairs { "goro.sleep(30)", "while true do end" } do
      local r = script.run(head .. [[
        local c = goro.signal("INT")
        goro.async(kill, "INT"):wait()           -- (not here: libc's system() ignores it)
        print((c:recv()))
        goro.go(kill, "INT")
        goro.sleep(0.05)
        print((c:recv()))
        c:close()
        goro.go(kill, "INT")
        ]] .. wait)
      assert.equal("INT\nINT\n", r.out)
      assert.equal(1, r.code)
      assert.truthy(r.err:find("interrupted!", 1, true), r.err)
    end
  end)

  it("INT interrupts a main script as ever where nobody asked for it", function()
    local r = script.run(head .. [[
      local c = goro.signal("TERM")
      goro.go(kill, "INT")
      c:recv()
    ]])
    assert.equal(1, r.code)
    assert.truthy(r.err:find("interrupted!", 1, true), r.err)
  end)

  it("an ignored signal comes too", function()
    prints("HUP\n", [[
      local c = goro.signal("HUP")
      kill("HUP")
      print((c:recv()))
    ]], { before = "nohup" })
  end)

  it("keeps 16 for a slow receiver, and never blocks anybody", function()
    prints("16\n", [[
      local c = goro.signal("USR1", "USR2")
      for i = 1, 20 do
        kill(i % 2 == 0 and "USR1" or "USR2")
        goro.sleep(0.01)
      end
      print(#c)
    ]])
  end)

  it("is no deadlock to wait for; a deadlock elsewhere is one", function()
    prints("TERM\nfalse\nfalse\n", [[
      local c = goro.signal("TERM")
      local other = io.popen("sleep 0.1; kill -TERM " .. pid)
      print((c:recv()))
      other:close()
      print((pcall(goro.select, {})))
      c:close()
      print((pcall(goro.select, {})))
    ]])
  end)

  it("may be forgotten when the script ends", function()
    prints("end\n", [[
      local c = goro.signal("TERM", "INT")
      goro.go(function() c:recv() end)
      goro.signal("USR1")
      print("end")
    ]])
  end)

  it("ends with its host", function()
    -- (A state that ends gives back what it had taken: TERM kills again.)
    local r = script.run(head .. [[
      local c = goro.signal("TERM")
      setmetatable({}, { __gc = function() end })
      kill("TERM")
      print((c:recv()))
      os.exit(3, true)
    ]])
    assert.equal("TERM\n", r.out)
    assert.equal(3, r.code)
  end)

  it("raises for what cannot be caught, and for no name", function()
    for _, name in ipairs { "KILL", "STOP", "SEGV", "BUS", "FPE", "ILL", "ABRT", "URG" } do
      local err = support.bad_argument(1, "signal", goro.signal, name)
      assert.truthy(tostring(err):find("cannot be caught", 1, true))
    end
    support.bad_argument(1, "signal", goro.signal)
    support.bad_argument(1, "signal", goro.signal, "NONE")
    support.bad_argument(1, "signal", goro.signal, "int")
    support.bad_argument(2, "signal", goro.signal, "USR1", {})
  end)

  it("a storm of them, channels opened and closed meanwhile", function()
    prints("ok\n", [[
      local keep = goro.signal("USR1", "USR2")
      local done, wg = goro.Atomic(), goro.WaitGroup()
      for i = 1, 3 do
        wg:go(function()
          while done:load() == 0 do
            local c = goro.signal(i == 1 and "USR1" or "USR2")
            c:recv(0.001)
            c:close()
          end
        end)
      end
      os.execute(("for i in $(seq 200); do kill -USR1 %d; kill -USR2 %d; done")
        :format(pid, pid))
      done:store(1)
      wg:wait()
      assert(keep:recv())
      print("ok")
    ]])
  end)
end)
