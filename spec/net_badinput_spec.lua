-- What peers and programs do wrong to connections: resets, half-open peers, floods, closes in
-- mid-wait, numbers used anew.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")
local uv = require("luv")
local socket = require("socket")

local net = goro.net

local function pair()
  local l = assert(net.listen("127.0.0.1:0"))
  local a = assert(net.dial(l:addr()))
  local b = assert(l:accept())
  l:close()
  return a, b
end

--- A peer that closes with a reset: LuaSocket's, for its SO_LINGER.
local function rude()
  local l = assert(net.listen("127.0.0.1:0"))
  local host, port = l:addr():match("^(.*):(%d+)$")
  local peer = assert(socket.connect(host, tonumber(port)))
  local c = assert(l:accept())
  l:close()
  return c, function()
    assert(peer:setoption("linger", { on = true, timeout = 0 }))
    peer:close()
  end, peer
end

describe("connections in bad company #net", function()
  before_each(function() support.begin() end)
  after_each(function()
    collectgarbage()
    support.settled()
  end)

  it("a reset ends a read that waits, and those after", function()
    local c, reset = rude()
    local reader = goro.async(function() return c:read() end)
    goro.sleep(0.005)
    reset()
    assert.same({ true, nil, "Connection reset by peer", 104 }, { reader:wait() })
    c:close()
  end)

  it("a reset ends a write that waits", function()
    local c, reset = rude()
    local writer = goro.async(function() return c:write(("x"):rep(12000000)) end)
    goro.sleep(0.005)
    reset()
    local ok, n, reason, code, written = writer:wait()
    assert.is_true(ok)
    assert.is_nil(n)
    assert.is_true(code == 104 or code == 32, reason)
    assert.is_true(written < 12000000)
    c:close()
  end)

  it("what came before the reset can be read, if the system kept it", function()
    local c, reset, peer = rude()
    peer:send("complete\nhalf")
    assert.equal("complete", c:read_line())
    reset()
    local line, reason = c:read_line(5)
    assert.is_nil(line)
    assert.equal("Connection reset by peer", reason)
    assert.equal("half", c:read())                 -- it was ours already
    c:close()
  end)

  it("a peer that says nothing is given up at a time-out, and is closed", function()
    local a, b = pair()
    for _, read in ipairs { "read", "read_line", "read_all" } do
      local args = read == "read" and { 10, 0.005 } or { 0.005 }
      assert.same({ nil, "timeout" }, { b[read](b, table.unpack(args)) })
    end
    assert.same({ nil, "timeout" }, { b:read_full(3, 0.005) })
    b:close()
    assert.same({ nil, "eof" }, { a:read() })
    a:close()
  end)

  it("a peer that sends byte by byte gets no more than its time", function()
    local a, b = pair()
    local stop = goro.Atomic()
    goro.go(function()
      while stop:load() == 0 and a:write("x") do goro.sleep(0.001) end
    end)
    b:deadline(0.05)
    local t = goro.now()
    assert.same({ nil, "timeout" }, { b:read_line() })
    assert.is_true(goro.now() - t < 5)
    stop:store(1)
    b:close()
    support.settled()
    a:close()
  end)

  it("a peer that reads nothing holds up its writer only", function()
    local a, b = pair()
    local c, d = pair()
    local writer = goro.async(function() return a:write(("x"):rep(12000000)) end)
    for i = 1, 50 do
      c:write(i .. "\n")
      assert.equal(tostring(i), d:read_line())
    end
    assert.same({ nil, "timeout" }, { writer:wait(0) })
    b:close()
    local ok, n = writer:wait()
    assert.is_true(ok)
    assert.is_nil(n)
    a:close()
    c:close()
    d:close()
  end)

  it("a line without end is refused at the limit, and is not lost", function()
    local a, b = pair()
    assert.equal(65536, b:limit())
    local text = ("x"):rep(70000)
    goro.go(function() a:write(text .. "\nnext\n") end)
    assert.same({ nil, "line too long" }, { b:read_line() })
    assert.same({ nil, "line too long" }, { b:read_line() })
    assert.equal(65536, b:limit(70000))
    assert.equal(text, b:read_line())
    assert.equal(70000, b:limit(3))
    assert.same({ nil, "line too long" }, { b:read_line() })
    assert.equal("next\n", b:read_full(5))
    local cases = { { "abc\n", "abc" }, { "abc\r\n", "abc" }, { "abcd\n" }, { "abcd\r\n" } }
    for _, case in ipairs(cases) do
      a:write(case[1])
      if case[2] then assert.equal(case[2], b:read_line())
      else
        assert.same({ nil, "line too long" }, { b:read_line() })
        assert.equal(case[1], b:read_full(#case[1]))
      end
    end
    a:close()
    b:close()
  end)

  it("a flood costs no more memory than the limit", function()
    local a, b = pair()
    b:limit(1000)
    local writer = goro.async(function() return a:write(("x"):rep(12000000), 1) end)
    assert.same({ nil, "line too long" }, { b:read_line() })
    b:close()
    assert.is_true((writer:wait()))
    a:close()
  end)

  it("any bytes pass", function()
    local a, b = pair()
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    local s = table.concat(all):rep(50)
    a:write(s)
    assert.equal(s, b:read_full(#s))
    a:write("\0\n\0\r\n")
    assert.equal("\0", b:read_line())
    assert.equal("\0", b:read_line())
    a:close()
    b:close()
  end)

  it("a close wakes all who wait, each with its reason", function()
    for round = 1, support.many(6) do
      local a, b = pair()
      local tasks = {}
      for i = 1, 3 do
        tasks[#tasks + 1] = goro.async(function() return a:read() end)
        tasks[#tasks + 1] = goro.async(function()
          return (a:write(("x"):rep(6000000))), "w" .. i
        end)
      end
      if round % 3 == 0 then goro.sleep(0.001) elseif round % 3 == 1 then goro.yield() end
      a:close()
      for _, task in ipairs(tasks) do
        local ok, v, reason = task:wait()
        assert.is_true(ok)
        assert.is_nil(v)
        assert.is_true(reason == "closed" or reason:sub(1, 1) == "w", reason)
      end
      b:close()
    end
  end)

  it("a closed listener wakes who accepts, and refuses who comes", function()
    local l = net.listen("127.0.0.1:0")
    local addr = l:addr()
    local tasks = {}
    for i = 1, 5 do tasks[i] = goro.async(function() return l:accept() end) end
    goro.sleep(0.002)
    l:close()
    for i = 1, 5 do assert.same({ true, nil, "closed" }, { tasks[i]:wait() }) end
    assert.equal(111, select(3, net.dial(addr)))
  end)

  it("a connection that was never accepted ends with its listener", function()
    local l = net.listen("127.0.0.1:0")
    local c = net.dial(l:addr())
    l:close()
    local s, _, code = c:read()
    assert.is_nil(s)
    assert.is_true(code == nil or code == 104)
    c:close()
  end)

  it("a number that is used anew belongs to the new one", function()
    for _ = 1, support.many(100) do
      local a, b = pair()
      local fd = a:fd()
      local reader = goro.async(function() return a:read() end)
      goro.yield()
      a:close()
      local c, d = pair()
      assert.is_true(c:fd() == fd or d:fd() == fd or c:fd() ~= nil)
      local reads = goro.async(function() return c:read() end)
      assert.same({ true, nil, "closed" }, { reader:wait() })
      b:close()
      d:write("new")
      assert.same({ true, "new" }, { reads:wait() })
      assert.same({ nil, "closed" }, { a:read() })
      c:close()
      d:close()
    end
  end)

  it("a descriptor closed behind its back is an error, no crash", function()
    local a, b = pair()
    uv.fs_close(a:fd())
    local s, reason, code = a:read()
    assert.is_nil(s)
    assert.equal("Bad file descriptor", reason)
    assert.equal(9, code)
    a:close()
    b:close()
  end)

  it("too many open files are an error of accept and dial", function()
    local out = script.ok([[
      local goro = require("goro")
      local l = assert(goro.net.listen("127.0.0.1:0"))
      local kept, reason, code = {}, nil, nil
      repeat
        local c
        c, reason, code = goro.net.dial(l:addr())
        kept[#kept + 1] = c
        if c then
          c, reason, code = l:accept()
          kept[#kept + 1] = c
        end
      until not c
      print(reason:match("Too many open files"), code)
      for _, c in ipairs(kept) do c:close() end
      if l:accept(0.01) == nil then print("none") end
      print(goro.net.dial(l:addr()) ~= nil)
    ]], { before = [[sh -c 'ulimit -n 64; exec "$0" "$@"']] })
    assert.is_truthy(out:find("^Too many open files\t24\n"))
    assert.is_truthy(out:find("true\n$"))
  end)

  it("goroutines that wait in connections end with the process", function()
    local out, result = script.ok([[
      local goro = require("goro")
      local l, idle = goro.net.listen("127.0.0.1:0"), goro.net.listen("127.0.0.1:0")
      for _ = 1, 10 do
        goro.go(function(addr)
          local c <close> = goro.net.dial(addr)
          local mark <close> = setmetatable({}, { __close = function() io.write(".") end })
          c:read()
        end, l:addr())
        goro.go(function(c) c:write(("x"):rep(4000000)) end, l:accept())
        goro.go(function() idle:accept() end)
      end
      goro.sleep(0.01)
      print("end")
    ]])
    assert.is_truthy(out:find("end", 1, true), script.account(result))
  end)
end)
