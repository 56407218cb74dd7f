-- goro.command: child processes.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local function pid()
  local file <close> = assert(io.open("/proc/self/stat"))
  return file:read("n")
end

local function descriptors()
  local n = 0
  local list = io.popen("ls /proc/" .. pid() .. "/fd")
  for _ in list:lines() do n = n + 1 end
  list:close()
  return n
end

local function output(options)
  options.stdout = "pipe"
  local p = assert(goro.command(options))
  local text = assert(p.stdout:read_all())
  return text, p:wait()
end

describe("goro.command #command", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("runs a program and tells its exit status, as often as it is asked", function()
    local p = assert(goro.command { "sh", "-c", "exit 3" })
    assert.same({ "exit", 3 }, { p:wait() })
    assert.same({ "exit", 3 }, { p:wait(0) })
    assert.truthy(tostring(p):find("^process: %d+$"))
  end)

  it("tells the signal that ended it", function()
    local p = assert(goro.command { "sh", "-c", "kill -TERM $$" })
    assert.same({ "signal", 15 }, { p:wait() })
  end)

  it("gives arguments as they are", function()
    local text = output { "printf", "[%s]", "a b", "$HOME", "", "*", 7 }
    assert.equal("[a b][$HOME][][*][7]", text)
  end)

  it("has pipes: a conversation", function()
    local p = assert(goro.command { "cat", stdin = "pipe", stdout = "pipe" })
    for i = 1, 100 do
      assert.equal(5 + #tostring(i), (p.stdin:write("line" .. i .. "\n")))
      assert.equal("line" .. i, (p.stdout:read_line(20)))
    end
    p.stdin:close()
    assert.same({ nil, "eof" }, { p.stdout:read(nil, 20) })
    assert.same({ "exit", 0 }, { p:wait() })
  end)

  it("more than a pipe holds, one goroutine writing, one reading", function()
    local p = assert(goro.command { "cat", stdin = "pipe", stdout = "pipe" })
    local n = support.many(1000) * 1000
    goro.go(function(conn)
      conn:write(("x"):rep(n))
      conn:close()
    end, p.stdin)
    assert.equal(n, #p.stdout:read_all())
    assert.same({ "exit", 0 }, { p:wait() })
  end)

  it("has /dev/null where nothing is said", function()
    local text = output { "sh", "-c", "cat; readlink /proc/$$/fd/0 /proc/$$/fd/2" }
    assert.equal("/dev/null\n/dev/null\n", text)
  end)

  it("reads and writes files, open files and connections", function()
    local path = os.tmpname()
    local p = assert(goro.command { "echo", "to a path", stdout = path })
    assert.same({ "exit", 0 }, { p:wait() })
    assert.equal("to a path\n", (output { "cat", stdin = path }))
    local file = assert(io.open(path, "w"))
    file:write("before\n")
    p = assert(goro.command { "echo", "to a file", stdout = file })
    p:wait()
    file:close()
    assert.equal("before\nto a file\n", (output { "cat", stdin = path }))
    local conn = assert(goro.open(path, "w"))
    p = assert(goro.command { "sh", "-c", "echo 1; echo 2 >&2",
      stdout = conn, stderr = "stdout" })
    p:wait()
    conn:close()
    assert.equal("1\n2\n", (output { "cat", stdin = path }))
    os.remove(path)
  end)

  it("inherits ours where it is told to", function()
    local out = script.ok([[
      local goro = require("goro")
      for _, where in ipairs { "inherit", io.stdout, goro.stdout, 1 } do
        goro.command { "echo", "text", stdout = where }:wait()
      end
      print((goro.command { "cat", stdin = "inherit", stdout = "inherit" }:wait()))
    ]], { before = "echo input |" })
    assert.equal("text\ntext\ntext\ntext\ninput\nexit\n", out)
  end)

  it("runs in a directory, with an environment", function()
    assert.equal("/usr\n", (output { "pwd", dir = "/usr" }))
    assert.equal("A=1\nB=\n", (output { "env", env = { "A=1", "B=" } }))
    local text = output { "sh", "-c", "echo $A-$HOME-${PATH:+path}",
      env = { A = "x y", HOME = false } }
    assert.equal("x y--path\n", text)
  end)

  it("blocks no signal, has SIGPIPE as it is by default, and no descriptor of ours", function()
    local conn = assert(goro.open("/dev/null"))
    local text = support.in_goroutine(output, { "cat", "/proc/self/status" })
    assert.truthy(text:find("SigBlk:%s*0+\n"))
    local ignored = tonumber(text:match("SigIgn:%s*(%x+)"), 16)
    assert.equal(0, ignored & 1 << 12)
    text = output { "ls", "/proc/self/fd" }
    assert.falsy(("\n" .. text):find("\n" .. conn:fd() .. "\n", 1, true))
    conn:close()
    text = output { "sh", "-c", "yes | head -1" }
    assert.equal("y\n", text)
  end)

  it("gives up waiting, and is killed", function()
    local p = assert(goro.command { "sleep", "60" })
    assert.same({ nil, "timeout" }, { p:wait(0.01) })
    assert.same({ nil, "timeout" }, { p:wait(0) })
    assert.is_true(p:kill("TERM"))
    assert.same({ "signal", 15 }, { p:wait() })
    assert.same({ nil, "process already finished" }, { p:kill() })
    p = assert(goro.command { "sleep", "60" })
    assert.is_true(p:kill())
    assert.same({ "signal", 9 }, { p:wait() })
    p = assert(goro.command { "sleep", "60" })
    assert.is_true(p:kill(2))
    assert.same({ "signal", 2 }, { p:wait() })
    support.raises("unknown signal 'NONE'", p.kill, p, "NONE")
  end)

  it("is killed when its context is done", function()
    local ctx, cancel = goro.context.with_cancel()
    local p = assert(goro.command { "sleep", "60", ctx = ctx })
    assert.same({ nil, "timeout" }, { p:wait(0.01) })
    cancel()
    assert.same({ "signal", 9 }, { p:wait() })
    assert.same({ nil, "context canceled" }, { goro.command { "true", ctx = ctx } })
    ctx = goro.context.with_timeout(nil, 0.02)
    p = assert(goro.command { "sleep", "60", ctx = ctx })
    assert.same({ "signal", 9 }, { p:wait() })
    ctx = goro.context.with_timeout(nil, 60)
    assert.same({ "exit", 0 }, { assert(goro.command { "true", ctx = ctx }):wait() })
  end)

  it("crosses to other goroutines, each of which may wait for it", function()
    local p = assert(goro.command { "cat", stdin = "pipe" })
    local tasks = {}
    for i = 1, 5 do tasks[i] = goro.async(function() return p:wait() end) end
    goro.async(function() p.stdin:close() end):wait()
    for i = 1, 5 do assert.same({ "exit", 0 }, { tasks[i]:result() }) end
  end)

  -- (under valgrind posix_spawn forks, and cannot tell of a program that is not there)
  it("tells why it cannot start #novalgrind", function()
    assert.same({ nil, "nonesuch: No such file or directory", 2 },
      { goro.command { "nonesuch" } })
    assert.same({ nil, "/: Permission denied", 13 }, { goro.command { "/" } })
    assert.equal(2, (select(3, goro.command { "true", dir = "/nonesuch" })))
    assert.equal(2, (select(3, goro.command { "true", stdin = "/nonesuch" })))
    local closed = assert(goro.open("/dev/null"))
    closed:close()
    assert.same({ nil, "closed" }, { goro.command { "true", stdin = closed } })
    local file = assert(io.open("/dev/null"))
    file:close()
    assert.same({ nil, "closed" }, { goro.command { "true", stdin = file } })
  end)

  it("raises for wrong arguments", function()
    support.bad_argument(1, "command", goro.command)
    support.bad_argument(1, "command", goro.command, {})
    support.bad_argument(1, "command", goro.command, { "true", {} })
    support.bad_argument(1, "command", goro.command, { "true", "a\0b" })
    support.bad_argument(1, "command", goro.command, { "true", sdtin = "pipe" })
    support.bad_argument(1, "command", goro.command, { "true", stdin = {} })
  end)

  it("is waited for by a descriptor where the kernel has those", function()
    local p = goro.command { "cat", stdin = "pipe" }
    local list <close> = io.popen("ls -l /proc/" .. pid() .. "/fd")
    local there = list:read("a"):find("pidfd", 1, true) ~= nil
    assert.equal(os.getenv("GOROPIDFD") ~= "0", there)
    p.stdin:close()
    p:wait()
  end)

  it("does all this where it has not, too #again", function()
    local result = script.command("env GOROPIDFD=0 tools/lua tools/busted.lua --ignore-lua "
      .. "--exclude-tags=again spec/command_spec.lua")
    assert(result.code == 0, script.account(result))
  end)

  it("200 at once, none forgotten: no descriptor, no zombie is left #novalgrind", function()
    assert(goro.command { "true" }):wait()
    collectgarbage()
    local before = descriptors()
    local n = support.many(200)
    local wg, sum = goro.WaitGroup(), goro.Atomic()
    for i = 1, n do
      wg:go(function()
        local p = assert(goro.command { "sh", "-c", "cat; exit " .. i % 7,
          stdin = "pipe", stdout = "pipe" })
        if i % 2 == 0 then
          p.stdin:write("x")
          p.stdin:close()
          assert(p.stdout:read_all() == "x")
          local how, status = p:wait()
          assert(how == "exit" and status == i % 7)
        end
        sum:add(1)                     -- the others are dropped, and read an end
      end)
    end
    wg:wait()
    assert.equal(n, sum:load())
    support.settled()                  -- those that wait for them have ended as well
    collectgarbage()
    collectgarbage()
    assert.is_true(descriptors() <= before + 1, descriptors() - before)
    local list = io.popen("cat /proc/[0-9]*/stat 2>/dev/null")
    for line in list:lines() do        -- "123 (name) Z 122 ...": no zombie of ours
      assert.are_not.equal(tostring(pid()), line:match("^%d+ %(.*%) Z (%d+)"))
    end
    list:close()
    for _ = 1, 50 do goro.command { "nonesuch", stdin = "pipe", stdout = "pipe" } end
    assert.is_true(descriptors() <= before + 1)
  end)
end)
