-- A system that is less kind than usual: threads and descriptors that cannot be had, signals
-- everywhere, children (tests/c/adverse.c is preloaded into the process).

local script = require("spec.support.script")

local library = "build/tests/adverse.so"
local function built()
  local source, cc = "tests/c/adverse.c", os.getenv("CC") or "cc"
  return os.execute(("mkdir -p build/tests && { test %s -nt %s ||"
    .. " %s -O1 -Wall -Wextra -fPIC -shared -o %s %s -ldl -pthread; }"):format(
    library, source, cc, library, source))
end

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
  setup(function() assert(built()) end)

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
