-- A system that is less kind than usual: threads and descriptors that cannot be had, signals
-- everywhere, children (tests/c/adverse.c is preloaded into the process).

local script = require("spec.support.script")

local clib = require("spec.support.clib")
local library

local function run(source, env, before, limit)
  before = (before or "") .. " env LD_PRELOAD=" .. library
  return script.run(source, { env = env, limit = limit or 20, before = before })
end

local function ok(source, env, before)
  local result = run(source, env, before)
  if result.code ~= 0 then error(script.account(result), 2) end
  return result
end

local crowd = [[
  local goro = require "goro"
  local wg, n, c, sum = goro.WaitGroup(), goro.Atomic(), goro.chan(), 0
  for _ = 1, 50 do wg:go(function() goro.sleep(0.001) n:add(1) end) end
  for i = 1, 20 do goro.go(function() c:send(i) end) end
  for _ = 1, 20 do sum = sum + c:recv() end
  wg:go(function()                       -- blocks its thread
    table.sort({ 3, 2, 1 }, function(a, b) goro.sleep(0.001) return a < b end)
    n:add(1)
  end)
  wg:wait()
  assert(n:load() == 51 and sum == 210)
]]

describe("an unkind system #adverse #nosan #nochaos", function()
  setup(function() library = assert(clib("adverse")) end)

  it("with no thread to be had makes go raise", function()
    for calls = 0, 1 do                    -- sysmon, the first worker
      ok([[
        local goro = require "goro"
        local wg = goro.WaitGroup()
        for _, f in ipairs { function() goro.go(print) end, function() goro.async(print) end,
                             function() wg:go(print) end } do
          local ok, err = pcall(f)
          assert(not ok and err:find("cannot start a thread: ", 1, true), err)
        end
        assert(goro.num_goroutine() == 1)
        assert(wg:wait(0))
        local c = goro.chan(1)
        c:send(1)
        assert(c:recv() == 1)
      ]], { ADVERSE = "pthread_create:" .. calls })
    end
  end)

  it("with no thread to be had makes a main script's wait raise, not hang", function()
    for calls = 0, 1 do
      for procs = 1, 2 do
        ok([[
          local goro = require "goro"
          local c, m, l = goro.chan(), goro.Mutex(), goro.net.listen("127.0.0.1:0")
          local cond, ctx = goro.Cond(m), goro.context.with_timeout(nil, 60)
          m:lock()
          for i, f in ipairs {
            function() c:recv(0.01) end, function() goro.sleep(0.01) end,
            function() l:accept() end,
            function() cond:wait(0.01) end, function() ctx:done():recv() end,
            function() goro.after(60):recv() end,
          } do
            local ok, err = pcall(f)
            assert(not ok and err:find("cannot start a thread: ", 1, true), i)
          end
          assert(not m:try_lock())
          local ok, err = pcall(c.recv, c)
          assert(not ok and err:find("deadlock", 1, true), err)
        ]], { ADVERSE = "pthread_create:" .. calls, GOROMAXPROCS = procs })
      end
    end
    ok([[
      local goro = require "goro"
      local c = goro.chan()
      assert(not pcall(c.recv, c, 0.01))
      assert(goro.sleep(0.01))
    ]], { ADVERSE = "pthread_create:0-1", GOROMAXPROCS = 1 })
  end)

  it("with no thread at first works when there is one", function()
    ok([[
      local goro = require "goro"
      assert(not pcall(goro.go, print))
    ]] .. crowd, { ADVERSE = "pthread_create:0-1" })
    ok("local goro = require 'goro' pcall(goro.go, print)" .. crowd,
      { ADVERSE = "pthread_create:1-2" })
  end)

  it("with no further thread for a while goes on with those it has, and tries again", function()
    for _, range in ipairs { "2-3", "2-6", "3-8", "4-20" } do
      for procs = 1, 3 do
        ok(crowd, { ADVERSE = "pthread_create:" .. range, GOROMAXPROCS = procs })
      end
    end
  end)

  it("with no further thread ever says so, and does not turn a wait into a hang", function()
    local result = run(crowd, { ADVERSE = "pthread_create:2" }, nil, 3)
    assert(result.code == 0 or result.err:find("no thread can be started", 1, true)
      or result.err:find("deadlock", 1, true), script.account(result))
  end)

  it("without descriptors makes require say so, and later works", function()
    local result = run("local goro = require 'goro' goro.sleep(0)", { ADVERSE = "eventfd:0" })
    assert.equal(1, result.code)
    assert(result.err:find("goro: ", 1, true), result.err)
    ok("local goro = require 'goro' assert(not pcall(goro.sleep, 0)) assert(goro.sleep(0.01))",
      { ADVERSE = "eventfd:0-1" })
  end)

  it("whose table of descriptors is full runs goroutines", function()
    ok([[
      local goro = require "goro"
      goro.sleep(0)
      local files = {}
      for i = 1, 100 do files[i] = io.open("/dev/null") end
      assert(#files < 64)
    ]] .. crowd .. [[
      local ok, err = io.open("/dev/null")
      assert(not ok and err:find("Too many open files", 1, true), err)
      local fine, pipe, why = goro.async(function() return io.popen("true") end):wait()
      assert(fine and pipe == nil and why:find("Too many open files", 1, true), why)
    ]], {}, "sh -c 'ulimit -n 64; exec \"$0\" \"$@\"'")
  end)

  it("without a descriptor for epoll makes waits say so, and later works", function()
    for _, adverse in ipairs { "epoll_create1:0-4", "eventfd:1-5", "epoll_ctl:0-4" } do
      ok([[
        local goro = require "goro"
        local a = assert(goro.net.listen("127.0.0.1:0"))
        local b = assert(goro.net.dial(a:addr()))        -- (it is connected at once)
        local failed = 0
        local function told(v, reason, n)
          assert(v == nil and type(reason) == "string", reason)
          assert(n == (os.getenv("ADVERSE"):find("ctl") and 28 or 24), n)
          failed = failed + 1
        end
        told(goro.poll(b:fd(), "r", 1))
        told(b:read(1, 1))
        told(goro.async(b.read, b, 1, 1):result())
        told(goro.async(goro.poll, b:fd(), "r"):result())
        assert(failed == 4)
        local c = assert(a:accept())
        local reader = goro.async(b.read, b, 10, 20)
        goro.sleep(0.01)
        assert(c:write("x"))
        assert(reader:result() == "x")
        local poller = goro.async(goro.poll, b:fd(), "r", 20)
        goro.sleep(0.01)
        assert(c:write("y"))
        assert(poller:result() == "r")
      ]], { ADVERSE = adverse })
    end
  end)

  it("without sockets, pipes or memory to map says so, and later works", function()
    for n, what in ipairs { "goro.net.listen('127.0.0.1:0')", "goro.net.udp('127.0.0.1:0')",
                            "goro.net.dial(l:addr())", "l:accept()" } do
      ok(([[
        local goro = require "goro"
        local l = os.getenv("ADVERSE"):find("socket:1") and goro.net.listen("127.0.0.1:0")
        local first = os.getenv("ADVERSE"):find("accept") and goro.net.dial(l:addr())
        local failed = 0
        repeat
          local v, reason, code = %s
          if not v then
            assert(reason:find("Too many open files", 1, true) and code == 24, reason)
            failed = failed + 1
          end
        until v or failed == 9
        assert(failed > 0 and failed < 9, failed)
        l = assert(goro.net.listen("127.0.0.1:0"))
        local c, s = assert(goro.net.dial(l:addr())), assert(l:accept())
        assert(s:write("x") and c:read() == "x")
      ]]):format(what), { ADVERSE = n < 3 and "socket:0-3" or n == 3 and "socket:1-4"
        or "socket:100,accept4:0-1" })
    end
    ok([[
      local goro = require "goro"
      local v, reason, code = goro.command { "true", stdout = "pipe" }
      assert(v == nil and reason:find("Too many open files", 1, true) and code == 24, reason)
      local p = assert(goro.command { "echo", "yes", stdout = "pipe" })
      assert(p.stdout:read_all() == "yes\n" and p:wait() == "exit")
    ]], { ADVERSE = "pipe2:0-1" })
    for n = 0, 2 do                      -- (there are few: slabs of 4 MB)
      local result = run([[
        local goro = require "goro"
        local failed = 0
        for round = 1, 500 do
          local t
          local fine, err = pcall(function() t = goro.async(function() return round end) end)
          if fine then
            fine, err = t:wait()
            if fine then assert(err == round) end
          end
          if not fine then
            failed = failed + 1
            assert(tostring(err):find("not enough memory", 1, true), err)
          end
        end
        io.write(failed)
      ]] .. crowd, { ADVERSE = ("mmap:%d-%d"):format(n, n + 1) })
      assert(result.code == 0 or n == 0 and result.err:find("memory", 1, true),
        n .. script.account(result))
    end
  end)

  it("whose time of day is another at each look runs by the monotonic clock", function()
    ok(crowd .. [[
      assert(os.time() ~= os.time())       -- it does jump
      local function took(s, f, ...)
        local t = goro.now()
        local r = table.pack(f(...))
        assert(goro.now() - t >= s and goro.now() - t < s + 5, goro.now() - t)
        return table.unpack(r, 1, r.n)
      end
      took(0.03, goro.sleep, 0.03)
      took(0.03, function() return (goro.after(0.03):recv()) end)
      local _, _, why = took(0.03, function() return goro.chan():recv(0.03) end)
      assert(why == "timeout")
      local ctx = goro.context.with_timeout(nil, 0.03)
      took(0.02, function() return ctx:done():recv() end)
      local ticker <close> = goro.ticker(0.005)
      took(0.02, function() for _ = 1, 5 do ticker.c:recv() end end)
      local l = goro.net.listen("127.0.0.1:0")
      assert(select(2, took(0.03, l.accept, l, 0.03)) == "timeout")
      local sock = require("goro.socket").bind("127.0.0.1", 0)
      sock:settimeout(0.03)
      assert(select(2, took(0.03, sock.accept, sock)) == "timeout")
      local mu = goro.Mutex()
      mu:lock()
      assert(select(2, took(0.03, mu.lock, mu, 0.03)) == "timeout")
      assert(package.loaded["pl.path"] == nil)
      goro.async(function()                -- what files are kept by their times
        for _ = 1, 3 do assert(dofile("spec/support/clib.lua")) end
      end):result()
      assert(io.popen("sleep 0.01; echo x"):read("l") == "x")
    ]], { ADVERSE_CLOCK = "1" })
  end)

  it("that stops the process for a while: what is overdue comes at once, and once", function()
    ok([[
      local goro = require "goro"
      local file = assert(io.open("/proc/self/stat"))
      local pid = file:read("n")
      file:close()
      local ticker <close> = goro.ticker(0.02)
      local ticks = goro.Atomic()
      goro.go(function() for _ in ticker.c:range() do ticks:add(1) end end)
      local sleeps = {}
      for i = 1, 100 do
        sleeps[i] = goro.async(function()
          local t = goro.now()
          goro.sleep(0.2 + i / 1000)
          return goro.now() - t
        end)
      end
      local stop = goro.command { "sh", "-c",
        ("sleep 0.1; kill -STOP %d; sleep 0.5; kill -CONT %d"):format(pid, pid) }
      local began = goro.now()
      goro.sleep(0.4)                      -- all are overdue when it goes on
      assert(goro.now() - began >= 0.6, "it was not stopped")
      for i = 1, 100 do
        local t = sleeps[i]:result()
        assert(t >= 0.2 + i / 1000 and t < 20, t)
      end
      assert(stop:wait() == "exit")
      local n = ticks:load()               -- 25 were missed
      assert(n < (goro.now() - began - 0.5) / 0.02 + 10, n)
      goro.sleep(0.1)
      assert(ticks:load() > n)
    ]], {})
  end)

  for _, restart in ipairs { 0, 1 } do
    it("with 1000 signals a second, system calls restarted: " .. restart, function()
      ok(crowd .. [[
        local t = goro.now()
        for _ = 1, 30 do
          local before = goro.now()
          goro.sleep(0.01)
          assert(goro.now() - before >= 0.01)
          local ch, out = goro.chan(), goro.chan(3)
          goro.go(function() for i = 1, 20 do ch:send(i) end ch:close() end)
          for v in ch:range() do out:try_send(v) end
          assert(select(3, goro.chan():recv(0.002)) == "timeout")
          local i = goro.select { goro.after(0.001), timeout = 10 }
          assert(i == 1)
        end
      ]], { ADVERSE_HZ = 1000, ADVERSE_RESTART = restart })
    end)
  end

  it("lets goroutines start programs, whose signals are not blocked", function()
    ok([[
      local goro = require "goro"
      local wg = goro.WaitGroup()
      for i = 1, 8 do
        wg:go(function()
          for k = 1, 5 do
            local p = assert(io.popen("grep SigBlk /proc/self/status; exit " .. k))
            local line = p:read("l")
            assert(line:match("^SigBlk:%s*0+$"), line)
            local ok, how, code = p:close()
            assert(not ok and how == "exit" and code == k, code)
            assert(select(3, os.execute("exit " .. i)) == i)
          end
        end)
      end
      wg:wait()
    ]], {})
  end)
end)
