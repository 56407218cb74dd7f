-- goro.open, goro.stdin, goro.stdout, goro.stderr.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local function sh(command)
  assert(os.execute(command))
end

describe("goro.open #open", function()
  local dir

  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    sh("mkdir " .. dir)
  end)
  teardown(function() sh("rm -rf " .. dir) end)
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("reads and writes files, with io.open's modes", function()
    local path = dir .. "/file"
    local f = assert(goro.open(path, "w"))
    assert.equal(8, f:write("one\ntwo\n"))
    assert.same({ nil, "Bad file descriptor", 9 }, { f:read() })
    f:close()
    f = assert(goro.open(path, "ab"))
    f:write({ "three", "\n" })
    f:close()
    f = assert(goro.open(path))
    assert.equal("one", f:read_line())
    assert.equal("two\nthr", f:read_full(7))
    assert.equal("ee\n", f:read_all())
    assert.same({ nil, "eof" }, { f:read() })
    f:close()
    assert.same({ nil, "closed" }, { f:read() })
    f = assert(goro.open(path, "r+"))
    f:write("ONE")
    assert.equal("\ntwo\nthree\n", f:read_all())
    f:close()
    f = assert(goro.open(path, "w+b"))
    assert.equal("", f:read_all())
    f:close()
  end)

  it("tells why not", function()
    local path = dir .. "/none/x"
    assert.same({ nil, path .. ": No such file or directory", 2 }, { goro.open(path) })
    support.bad_argument(1, "open", goro.open)
    support.bad_argument(2, "open", goro.open, path, "q")
    support.bad_argument(2, "open", goro.open, path, "rw")
  end)

  it("parks in named pipes", function()
    local path = dir .. "/fifo"
    sh("mkfifo " .. path)
    local reader = goro.async(function()
      local f <close> = assert(goro.open(path))    -- waits for the writer
      local lines = {}
      for line in function() return f:read_line() end do lines[#lines + 1] = line end
      return lines
    end)
    local w = assert(goro.open(path, "w"))
    for i = 1, 5 do
      w:write(i .. "\n")
      goro.sleep(0.001)
    end
    w:close()
    assert.same({ true, { "1", "2", "3", "4", "5" } }, { reader:wait() })
  end)

  it("never dies of SIGPIPE, also where it blocks it for the main script", function()
    local path = dir .. "/broken"
    sh("mkfifo " .. path)
    local opened = goro.async(function() return goro.open(path) end)
    local w = assert(goro.open(path, "w"))
    local _, r = opened:wait()
    r:close()
    assert.same({ nil, "Broken pipe", 32, 0 }, { w:write("x") })
    local again = goro.async(function() return w:write("x") end)
    assert.same({ true, nil, "Broken pipe", 32, 0 }, { again:wait() })
    w:close()
    os.remove(path)
  end)

  it("holds up nobody while a pipe is full or empty", function()
    local path = dir .. "/slow"
    sh("mkfifo " .. path)
    local n = math.max(support.many(1000000), 200000)  -- more than a pipe holds
    local opened = goro.async(function() return goro.open(path) end)
    local w = assert(goro.open(path, "w"))
    local _, r = opened:wait()
    local written = goro.async(function()
      local sum = w:write(("x"):rep(n))
      w:close()
      return sum
    end)
    assert.same({ nil, "timeout" }, { written:wait(0.01) })
    assert.equal(n, #r:read_all())
    assert.same({ true, n }, { written:wait() })
    r:close()
  end)

  it("gives the standard streams, one object each everywhere", function()
    local out = script.ok([[
      local goro = require("goro")
      assert(goro.stdin == goro.stdin and rawequal(goro.stdout, goro.stdout))
      local ticks, flag = goro.Atomic(), arg[1]
      goro.go(function()
        while true do
          goro.sleep(0.001)
          ticks:add(1)
        end
      end)
      io.write("buffered ")
      local wg = goro.WaitGroup()
      wg:go(function(here)
        assert(here == goro.stdin)
        goro.stdout:write({ "got ", here:read_line(), "\n" })
      end, goro.stdin)
      wg:wait()
      print(goro.stdin:read_line())
      print(goro.stdin:read(1, 0))
      goro.go(function()
        repeat goro.sleep(0.001) until ticks:load() > 10
        io.open(flag, "w"):close()     -- now the other side goes on
      end)
      print(goro.stdin:read_line(20), ticks:load() > 10)
      print(goro.stdin:read_line())
      goro.stderr:write("")
    ]], { args = dir .. "/flag", before = [[sh -c 'file=$2; { printf "a\nb\n"; ]]
      .. [[until [ -e "$file" ]; do sleep 0.02; done; printf c; } | "$0" "$@"']] })
    assert.equal("buffered got a\nb\nnil\ttimeout\nc\ttrue\nnil\teof\n", out)
  end)

  it("holds up nobody while nobody reads what goes to a standard stream", function()
    local n = math.max(support.many(1000000), 200000)
    local flag = dir .. "/read"
    local out = script.ok(([[
      local goro = require("goro")
      local ticks, flag = goro.Atomic(), %q
      goro.go(function()
        repeat
          goro.sleep(0.001)
          ticks:add(1)
        until ticks:load() > 10
        io.open(flag, "w"):close()     -- now the other side reads
      end)
      local written = goro.stdout:write({ ("x"):rep(%d), "\n" })
      goro.stdout:write({ tostring(ticks:load() > 10), " ", written, "\n" })
    ]]):format(flag, n), {
      pipe = "{ until [ -e " .. flag .. " ]; do sleep 0.02; done; cat; }",
    })
    assert.equal(("x"):rep(n) .. "\ntrue " .. n + 1 .. "\n", out)
  end)
end)
