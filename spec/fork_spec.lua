-- C libraries that fork in a goroutine (or in the main script): the child executes another
-- program, or ends; nothing in goro stands in its way, and the parent notices nothing.
-- tests/c/posix.c is the library; it sleeps, too, as luaposix does.

local clib = require("spec.support.clib")
local script = require("spec.support.script")

-- AddressSanitizer's allocator holds its locks over a fork since clang 18 only (gcc 12: no):
-- before, a child that allocates, as Lua does between fork and exec, may wait for a thread it
-- has not.  So where others allocate just then only spawn is tried, whose child does not.
local asan = os.getenv("ASAN_OPTIONS") ~= nil

local prelude = [[
  package.cpath = "build/tests/?.so;" .. package.cpath
  local goro = require "goro"
  local posix = require "posix"
]]

-- Runs a script; the status it must end with, and nothing on stderr but what `err` finds.
local function run(source, env, status, err)
  env = env or {}                        -- (what a child leaves behind is no leak)
  env.ASAN_OPTIONS = (os.getenv("ASAN_OPTIONS") or "") .. ":detect_leaks=0"
  env.VALGRIND_MORE = "--leak-check=no"
  local result = script.run(prelude .. source, { env = env, limit = 30 })
  local wrong = result.code ~= (status or 0) or (err == nil) ~= (result.err == "")
  if wrong or (err and not result.err:find(err, 1, true)) then
    error(script.account(result), 2)
  end
  return result.out
end

describe("a C library in a goroutine #fork #nochaos", function()
  setup(function() assert(clib("posix")) end)

  for procs = 1, 4, 3 do
    it("may fork and execute a program, while all others run: " .. procs, function()
      run("local both = " .. tostring(not asan) .. [[
        local wg, c, stop = goro.WaitGroup(), goro.chan(), goro.Atomic()
        for i = 1, 6 do                  -- what holds locks at any moment
          goro.go(function()
            while stop:load() == 0 do
              if i % 2 == 0 then c:try_send({ i, ("x"):rep(i * 100) }, 0.0001)
              else c:recv(0.0001) end
            end
          end)
        end
        for i = 1, 20 do
          wg:go(function()
            local pid
            if i % 2 == 0 or not both then
              pid = posix.spawn("sh", "-c", "exit " .. i)
            else
              pid = posix.fork()
              if pid == 0 then
                posix.exec("sh", "-c", "exit " .. i)
                os.exit(99)
              end
            end
            local how, code = posix.wait(pid)
            assert(how == "exit" and code == i, code)
          end)
        end
        wg:wait()
        stop:store(1)
      ]], { GOROMAXPROCS = procs })
    end)
  end

  it("gives the program no blocked signal", function()
    local out = run([[
      for _, way in ipairs { "fork", "spawn" } do
        goro.async(function()
          local pid
          if way == "spawn" then pid = posix.spawn("grep", "SigBlk", "/proc/self/status")
          else
            pid = posix.fork()
            if pid == 0 then posix.exec("grep", "SigBlk", "/proc/self/status") end
          end
          posix.wait(pid)
        end):result()
      end
      goro.async(function()
        local pid = posix.spawn("sleep", "100")
        posix.kill(pid, 15)
        local how, n = posix.wait(pid)
        assert(how == "signal" and n == 15)
      end):result()
    ]])
    assert.equal("SigBlk:\t0000000000000000\nSigBlk:\t0000000000000000\n", out)
  end)

  it("may end the child when there is no such program", function()
    run([[
      local ended = goro.chan(5)
      for i = 1, 5 do
        goro.go(function()
          local pid = posix.fork()
          if pid == 0 then
            local ok, err = posix.exec("/no such program")
            assert(not ok and err == "No such file or directory")
            if i == 1 then os.exit(41) end
            if i == 2 then os.exit(true, true) end
            if i == 3 then error("as it should be") end
            if i == 4 then pcall(error, "x") os.exit(44) end
            return
          end
          local how, code = posix.wait(pid)
          ended:send(i .. " " .. how .. " " .. code)
        end)
      end
      local list = {}
      for i = 1, 5 do list[i] = ended:recv() end
      table.sort(list)
      list = table.concat(list, "; ")
      assert(list == "1 exit 41; 2 exit 0; 3 exit 1; 4 exit 44; 5 exit 0", list)
    ]], nil, 0, "panicked in the child of a fork")
  end)

  it("may do so from the main script, whose child ends as well", function()
    local out = run([[
      local l = assert(goro.net.listen("127.0.0.1:0"))
      local other = assert(goro.net.dial(l:addr()))
      local conn = assert(l:accept())
      local reader = goro.async(function() return conn:read() end)
      goro.go(function() while true do end end)
      goro.sleep(0.01)
      for i = 1, 3 do
        io.stdout:flush()
        local pid = posix.fork()
        if pid == 0 then
          print("child " .. i)
          if i == 1 then os.exit(7) end
          if i == 2 then os.exit(8, true) end
          return                         -- its state is closed
        end
        local how, code = posix.wait(pid)
        assert(how == "exit" and code == (i == 3 and 0 or 6 + i), code)
      end
      assert(other:write("still there"))             -- the child took nothing of it away
      assert(reader:result() == "still there")
    ]])
    assert.equal("child 1\nchild 2\nchild 3\n", out)
  end)

  it("is told when a child wants more than that", function()
    run([[
      local c = goro.chan(1)
      c:send(1)
      goro.async(function() end):wait()
      for _, where in ipairs { "main", "goroutine" } do
        local function child()
          local pid = posix.fork()
          if pid > 0 then return posix.wait(pid) end
          local what = "goro: the child of a fork can only execute a program, or end"
          for _, f in ipairs { function() goro.sleep(1) end, function() goro.go(print) end,
                               function() goro.chan():recv() end, function() goro.yield() end,
                               function() goro.select { c, c } end } do
            local ok, err = pcall(f)
            if ok or not err:find(what, 1, true) then
              io.stderr:write(tostring(err), "\n")
              os.exit(1)
            end
          end
          os.exit(0)
        end
        local how, code
        if where == "main" then how, code = child()
        else how, code = goro.async(child):result() end
        assert(how == "exit" and code == 0, where .. " " .. tostring(code))
      end
    ]])
  end)

  it("may fork before anything is started: both go on", function()
    local out = run([[
      local pid = posix.fork()           -- a daemon
      local c, sum = goro.chan(), 0
      for i = 1, 100 do goro.go(c.send, c, i) end
      for _ = 1, 100 do sum = sum + c:recv() end
      goro.async(function() for i = 1, 3e6 do sum = sum + i % 2 end end):wait()
      if pid > 0 then
        local how, code = posix.wait(pid)
        assert(how == "exit" and code == 0)
      end
      print(sum)
    ]])
    assert.equal("5050\n5050\n", out)
  end)

  it("leaves the parent's socket of goro-top where it is", function()
    local path = os.tmpname()
    os.remove(path)
    run(([[
      assert(goro.debug.serve(%q))
      local pid = posix.fork()
      if pid == 0 then os.exit(0) end
      posix.wait(pid)
      assert(goro.debug.fetch(%q, "stacks"))
    ]]):format(path, path))
  end)

  it("may sleep: others run meanwhile, and no signal of goro's cuts it short", function()
    run([[
      goro.maxprocs(2)
      local wg, ticks, done = goro.WaitGroup(), 0, goro.Atomic()
      local t = goro.now()
      for _ = 1, 50 do
        wg:go(function()
          assert(posix.sleep(1) == 0)
          done:add(1)
        end)
      end
      for _ = 1, 2 do                      -- and those that compute are preempted
        goro.go(function() while done:load() < 50 do end end)
      end
      while done:load() < 50 do
        goro.sleep(0.001)
        ticks = ticks + 1
      end
      wg:wait()
      assert(goro.now() - t < 12, goro.now() - t)    -- (one after another: 25)
      assert(ticks >= 3, ticks)
    ]])
  end)
end)
