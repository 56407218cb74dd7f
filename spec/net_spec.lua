-- goro.net: connections, listeners, UDP sockets.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local net = goro.net

--- Two connections that are each other's peer.
local function pair(addr)
  local l = assert(net.listen(addr or "127.0.0.1:0"))
  local a = assert(net.dial(l:addr()))
  local b = assert(l:accept())
  l:close()
  return a, b
end

local function echo_server(addr)
  local l = assert(net.listen(addr or "127.0.0.1:0"))
  goro.go(function()
    while true do
      local c = l:accept()
      if not c then return end
      goro.go(function()
        local _ <close> = c
        while true do
          local s = c:read()
          if not s then return end
          c:write(s)
        end
      end)
    end
  end)
  return l
end

describe("goro.net #net", function()
  before_each(function() support.begin() end)
  after_each(function()
    collectgarbage()
    support.settled()
  end)

  describe("connections", function()
    it("carry bytes both ways, over TCP and Unix sockets", function()
      local path = os.tmpname()
      os.remove(path)
      local addrs = { "127.0.0.1:0", "[::1]:0", ":0", "unix:" .. path, "unix:@goro" .. path }
      for _, addr in ipairs(addrs) do
        local l, err = net.listen(addr)
        if not l and addr == "[::1]:0" then goto continue end
        assert(l, err)
        local a = assert(net.dial((l:addr():gsub("^%[::%]", "127.0.0.1"))))
        local b = assert(l:accept(5))
        assert.equal(5, a:write("hello"))
        assert.equal("hello", b:read())
        assert.equal(6, b:write({ "x", "yz\n", 1, 2 }))
        assert.equal("xyz", a:read_line())
        assert.equal("12", a:read_full(2))
        a:close()
        assert.same({ nil, "eof" }, { b:read() })
        b:close()
        l:close()
        ::continue::
      end
      assert.is_nil(io.open(path))
    end)

    it("cross to other goroutines, and are the same there", function()
      local a, b = pair()
      local other = goro.async(function()
        assert(b:write("from the other\n"))
        b:close()
      end)
      assert.equal("from the other", a:read_line())
      other:result()
      assert.same({ nil, "closed", nil, 0 }, { b:write("x") })
      assert.equal(a, support.there_and_back(a))
      assert.equal(tostring(a), support.in_goroutine(function() return tostring(a) end))
      a:close()
    end)

    it("can be served by a goroutine each, in crowds", function()
      local l = echo_server()
      local wg = goro.WaitGroup()
      local addr = l:addr()
      for i = 1, support.many(60) do
        wg:go(function()
          local c <close> = assert(goro.net.dial(addr))
          for k = 1, 20 do
            local s = ("%d %d "):format(i, k):rep(k)
            assert(c:write(s) == #s)
            assert(c:read_full(#s) == s)
          end
        end)
      end
      wg:wait()
      l:close()
    end)

    it("may be read while they are written", function()
      local a, b = pair()
      local n = support.many(400)
      local block = ("0123456789abcdef"):rep(1024)
      local wg = goro.WaitGroup()
      for _, c in ipairs { a, b } do
        wg:go(function()
          for _ = 1, n do assert(c:write(block) == #block) end
          c:close_write()
        end)
        wg:go(function()
          for _ = 1, n do assert(c:read_full(#block) == block) end
          assert(select(2, c:read()) == "eof")
        end)
      end
      wg:wait()
      a:close()
      b:close()
    end)

    it("keep what several write apart, and give each reader what it asked for", function()
      local a, b = pair()
      local wg = goro.WaitGroup()
      local writers, each, size = 8, support.many(50), 20000
      for i = 1, writers do
        wg:go(function()
          local s = string.char(64 + i):rep(size)
          for _ = 1, each do assert(a:write(s) == size) end
        end)
      end
      local seen = goro.Atomic()
      for _ = 1, 4 do
        wg:go(function()
          for _ = 1, writers * each // 4 do
            local s = assert(b:read_full(size))
            assert(s == s:sub(1, 1):rep(size), "mixed")
            seen:add(1)
          end
        end)
      end
      wg:wait()
      assert.equal(writers * each // 4 * 4, seen:load())
      a:close()
      b:close()
    end)

    it("close with <close>, and when they are collected", function()
      local a, b = pair()
      do
        local c <close> = a
        c:write("x")
      end
      assert.same({ nil, "closed" }, { a:read() })
      assert.equal("x", b:read_all())
      b:close()
      a, b = pair()
      a:write("y")
      a = nil
      collectgarbage()
      collectgarbage()
      assert.equal("y", b:read_all())
      assert.is_nil(a)
      b:close()
      a, b = pair()
      goro.go(function() b:write("z") end)       -- held there, then here alone
      assert.equal("z", a:read())
      support.settled()
      b = nil
      collectgarbage()
      collectgarbage()
      assert.same({ nil, "eof" }, { a:read() })
      assert.is_nil(b)
      a:close()
    end)

    it("know their addresses and options", function()
      local a, b = pair()
      assert.equal(a:addr(), b:peer())
      assert.equal(a:peer(), b:addr())
      assert.is_truthy(a:addr():find("^127%.0%.0%.1:%d+$"))
      assert.equal(true, a:no_delay(false))
      assert.equal(true, a:no_delay(true))
      assert.equal(true, a:keep_alive(30))
      assert.equal(true, a:keep_alive(0))
      assert.equal("integer", math.type(a:fd()))
      assert.equal("w", goro.poll(a:fd(), "rw"))
      a:close()
      b:close()
      assert.same({ nil, "closed" }, { a:addr() })
      assert.same({ nil, "closed" }, { a:peer() })
      assert.same({ nil, "closed" }, { a:fd() })
      assert.same({ nil, "closed" }, { a:no_delay(true) })
      assert.same({ nil, "closed" }, { a:close_write() })
      assert.same({ nil, "closed" }, { a:close() })
      assert.is_truthy(tostring(a):find("^connection: 0x%x+$"))
    end)

    it("can be polled by number beside their readers", function()
      local a, b = pair()
      local fd = a:fd()
      local polled = goro.async(function() return goro.poll(fd, "r") end)
      local reader = goro.async(function() return a:read() end)
      goro.sleep(0.005)
      b:write("x")
      assert.same({ true, "x" }, { reader:wait() })
      polled:wait(0.01)                   -- it may have come too late: the byte is gone
      b:write("y")
      assert.same({ true, "r" }, { polled:wait() })
      polled = goro.async(function() return goro.poll(fd, "r") end)
      a:read()
      goro.sleep(0.005)
      a:close()
      assert.equal(true, (polled:wait()))
      b:close()
    end)
  end)

  describe("reading", function()
    it("takes some bytes, at most so many", function()
      local a, b = pair()
      a:write("abcdef")
      assert.equal("ab", b:read(2))
      assert.equal("cdef", b:read(100))
      a:close()
      assert.same({ nil, "eof" }, { b:read(1) })
      assert.same({ nil, "eof" }, { b:read() })
      b:close()
    end)

    it("takes exact counts, however large", function()
      local a, b = pair()
      local n = support.many(3000000)
      goro.go(function()
        local s = ("x"):rep(n) .. "end"
        a:write(s)
        a:close()
      end)
      assert.equal("", b:read_full(0))
      assert.equal(("x"):rep(n), b:read_full(n))
      assert.same({ nil, "eof" }, { b:read_full(4) })
      assert.equal("end", b:read_full(3))           -- what there was is still there
      assert.same({ nil, "eof" }, { b:read_full(1) })
      b:close()
    end)

    it("takes lines without their ends", function()
      local a, b = pair()
      a:write("one\ntwo\r\n\n\r\nwith\rinside\r\r\nlast")
      a:close()
      local lines = {}
      for line in function() return b:read_line() end do lines[#lines + 1] = line end
      assert.same({ "one", "two", "", "", "with\rinside\r", "last" }, lines)
      assert.same({ nil, "eof" }, { b:read_line() })
      b:close()
      for _, cut in ipairs { 1, 2, 3, 5, 100 } do
        a, b = pair()
        local text = ("a line of text\r\n"):rep(20)
        goro.go(function()
          for i = 1, #text, cut do
            a:write(text:sub(i, i + cut - 1))
            if i % 7 == 0 then goro.yield() end
          end
          a:close()
        end)
        for _ = 1, 20 do assert.equal("a line of text", b:read_line()) end
        assert.same({ nil, "eof" }, { b:read_line() })
        b:close()
      end
    end)

    it("takes all until the end", function()
      local a, b = pair()
      local n = support.many(2000000)
      goro.go(function()
        for _ = 1, 10 do a:write(("y"):rep(n // 10)) end
        a:close()
      end)
      assert.equal(n // 10 * 10, #b:read_all())
      assert.equal("", b:read_all())
      b:close()
    end)

    it("ends where the other side has closed its half", function()
      local a, b = pair()
      a:write("question")
      assert.equal(true, a:close_write())
      assert.equal("question", b:read_all())
      b:write("answer")
      b:close()
      assert.equal("answer", a:read_all())
      local n, reason, code = a:write("x")
      assert.is_nil(n)
      assert.equal("Broken pipe", reason)
      assert.equal(32, code)
      a:close()
    end)
  end)

  describe("time-outs", function()
    it("end a read, which has lost nothing", function()
      local a, b = pair()
      local t = goro.now()
      assert.same({ nil, "timeout" }, { b:read(10, 0.02) })
      assert.is_true(goro.now() - t >= 0.02)
      a:write("half")
      assert.same({ nil, "timeout" }, { b:read_line(0.01) })
      assert.same({ nil, "timeout" }, { b:read_full(5, 0.01) })
      assert.same({ nil, "timeout" }, { b:read_all(0) })
      assert.equal("half", b:read(10, 0))
      assert.same({ nil, "timeout" }, { b:read(10, 0) })
      assert.same({ nil, "timeout" }, { b:read(10, -1) })
      a:close()
      b:close()
    end)

    it("end a write, which says how much went", function()
      local a, b = pair()
      local big = ("z"):rep(20000000)
      local n, reason, code, written = a:write(big, 0.02)
      assert.is_nil(n)
      assert.equal("timeout", reason)
      assert.is_nil(code)
      assert.is_true(written > 0 and written < #big, written)
      goro.go(function()
        a:write(big:sub(written + 1))
        a:close()
      end)
      assert.equal(big, b:read_all())
      b:close()
    end)

    it("end accept and dial", function()
      local l = net.listen("127.0.0.1:0")
      assert.same({ nil, "timeout" }, { l:accept(0.01) })
      assert.same({ nil, "timeout" }, { l:accept(0) })
      l:close()
      assert.same({ nil, "closed" }, { l:accept() })
      -- (TEST-NET-1 answers nobody; some networks refuse at once)
      local t = goro.now()
      local c, reason = net.dial("192.0.2.1:9", 0.05)
      if c then c:close()
      elseif reason == "timeout" then assert.is_true(goro.now() - t >= 0.05) end
      assert.is_true(goro.now() - t < 10)
    end)

    it("may be contexts", function()
      local a, b = pair()
      local ctx, cancel = goro.context.with_cancel()
      goro.go(function()
        goro.sleep(0.01)
        cancel()
      end)
      assert.same({ nil, "context canceled" }, { b:read(10, ctx) })
      a:write("x")
      assert.same({ nil, "context canceled" }, { b:read(10, ctx) })
      assert.equal("x", b:read(10))
      assert.same({ nil, "context canceled" }, { net.dial(a:addr(), ctx) })
      a:close()
      b:close()
    end)

    it("may be the connection's deadline", function()
      local a, b = pair()
      b:deadline(0.02)
      local t = goro.now()
      assert.same({ nil, "timeout" }, { b:read() })
      assert.is_true(goro.now() - t >= 0.015)
      assert.same({ nil, "timeout" }, { b:read() })
      assert.same({ nil, "timeout" }, { b:read(1, 0.01) })
      a:write("xy")
      assert.equal("x", b:read(1, 1))
      assert.equal("y", b:read())               -- what is ready beats a number
      b:deadline()
      local reader = goro.async(function() return b:read() end)
      goro.sleep(0.005)
      b:deadline(0.01)                          -- reaches one that waits already
      assert.same({ true, nil, "timeout" }, { reader:wait() })
      b:deadline(0)
      assert.same({ nil, "timeout" }, { b:read() })
      local ctx, cancel = goro.context.with_cancel()
      b:deadline(ctx)
      reader = goro.async(function() return b:read() end)
      local second = goro.async(function() return b:read() end)
      goro.sleep(0.005)
      cancel()
      assert.same({ true, nil, "context canceled" }, { reader:wait() })
      assert.same({ true, nil, "context canceled" }, { second:wait() })
      a:close()
      b:close()
    end)

    it("count for those that wait for their turn, too", function()
      local a, b = pair()
      local first = goro.async(function() return b:read() end)
      goro.sleep(0.005)
      assert.same({ nil, "timeout" }, { b:read(1, 0.01) })
      assert.same({ nil, "timeout" }, { b:read(1, 0) })
      a:write("x")
      assert.same({ true, "x" }, { first:wait() })
      a:close()
      b:close()
    end)
  end)

  describe("dial and listen", function()
    it("tell why not", function()
      local l = net.listen("127.0.0.1:0")
      local addr = l:addr()
      assert.same({ nil, addr .. ": Address already in use", 98 }, { net.listen(addr) })
      l:close()
      assert.same({ nil, addr .. ": Connection refused", 111 }, { net.dial(addr) })
      assert.same({ nil, "unix:/no/where: No such file or directory", 2 },
        { net.dial("unix:/no/where") })
      for text, why in pairs {
        ["host"] = "missing port", ["host:"] = "missing port", [""] = "missing port",
        ["1.2.3.4:65536"] = "invalid port",
        ["::1:80"] = "too many colons (an IPv6 address stands in [])",
        ["[::1:80"] = "']:' expected", ["unix:"] = "path expected after 'unix:'",
        ["a\0b:80"] = "zero byte", ["unix:" .. ("x"):rep(108)] = "path too long",
        [("x"):rep(300) .. ":80"] = "name too long",
      } do
        local c, reason, code = net.dial(text)
        assert.is_nil(c)
        assert.equal(text:match("^%Z*") .. ": " .. why, reason)
        assert.is_nil(code)
      end
    end)

    it("look names up without holding up others", function()
      local l = net.listen("localhost:0")
      assert.is_truthy(l:addr())
      local port = l:addr():match("%d+$")
      local wg = goro.WaitGroup()
      for _ = 1, 20 do
        wg:go(function() assert(goro.net.dial("localhost:" .. port)):close() end)
      end
      for _ = 1, 20 do l:accept(10):close() end
      wg:wait()
      l:close()
      local c, reason = net.dial("no.such.host.invalid:80", 20)
      assert.is_nil(c)
      assert.is_truthy(reason:find("^no.such.host.invalid:80: ") or reason == "timeout")
    end)

    it("try the next address when one fails", function()
      -- only one family listens; "localhost" has both where there is IPv6
      local l = net.listen("127.0.0.1:0")
      local c = assert(net.dial("localhost:" .. l:addr():match("%d+$"), 10))
      assert.equal(l:addr(), c:peer())
      c:close()
      l:close()
    end)

    it("let many accept from one listener", function()
      local l = net.listen("127.0.0.1:0")
      local got = goro.chan(100)
      for _ = 1, 8 do
        goro.go(function()
          for c in function() return (l:accept()) end do
            c:close()
            got:send(true)
          end
        end)
      end
      for _ = 1, 40 do assert(net.dial(l:addr())):close() end
      for _ = 1, 40 do got:recv() end
      l:close()
    end)
  end)

  describe("UDP", function()
    it("sends datagrams from address to address", function()
      local a, b = net.udp("127.0.0.1:0"), net.udp()
      assert.equal(4, b:send("ping", a:addr()))
      local data, from = a:recv()
      assert.equal("ping", data)
      assert.equal(3, a:send("yes", from))
      data, from = b:recv()
      assert.equal("yes", data)
      assert.equal(a:addr(), from)
      assert.equal(0, b:send("", a:addr()))
      assert.equal("", (a:recv()))
      local big = ("u"):rep(60000)
      assert.equal(60000, b:send(big, a:addr()))
      assert.equal(big, (a:recv()))
      local n, _, code = b:send(("u"):rep(70000), a:addr())
      assert.is_nil(n)
      assert.equal(90, code)
      assert.same({ nil, "timeout" }, { a:recv(0.01) })
      local waiting = goro.async(function() return a:recv() end)
      goro.sleep(0.005)
      a:close()
      assert.same({ true, nil, "closed" }, { waiting:wait() })
      b:close()
      assert.same({ nil, "closed" }, { b:recv() })
    end)
  end)

  it("is a module, and crosses as one", function()
    assert.equal(net, require("goro.net"))
    assert.is_true(support.in_goroutine(function()
      return net == require("goro.net") and net == require("goro").net
    end))
  end)

  it("leaves no descriptor behind, at the end neither", function()
    local out = script.ok([[
      local goro = require("goro")
      local function files()
        local n = 0
        local stat <close> = io.open("/proc/self/stat")
        -- (a file of /proc that sysmon reads may be gone when ls comes to it)
        local list <close> = io.popen("ls -l /proc/" .. stat:read("n") .. "/fd 2>/dev/null")
        for file in list:lines() do
          if file:find("socket:") then n = n + 1 end
        end
        return n
      end
      goro.net.udp():close()
      goro.poll(0, "r", 0)
      local before = files()
      local l = goro.net.listen("127.0.0.1:0")
      local addr = l:addr()
      goro.go(function()
        for c in function() return (l:accept()) end do
          goro.go(function() c:write(c:read_line() .. "\n") end)
        end
      end)
      local wg = goro.WaitGroup()
      for i = 1, 100 do
        wg:go(function()
          local c = goro.net.dial(addr)
          c:write(i .. "\n")
          assert(c:read_line() == tostring(i))
          if i % 2 == 0 then c:close() end
        end)
      end
      wg:wait()
      l:close()
      l = nil
      while goro.num_goroutine() > 1 do goro.yield() end
      collectgarbage()
      print(files() - before)
      local keep = goro.net.listen("127.0.0.1:0")
      for _ = 1, 20 do
        goro.go(function() keep:accept() end)
        goro.go(function()
          local c = goro.net.dial(keep:addr())
          c:read()
        end)
      end
      goro.sleep(0.02)
    ]])
    assert.equal("0\n", out)
  end)

  it("wakes no other thread for an event while all processors are in use #noalarm", function()
    local out = script.ok([[
      local goro = require("goro")
      goro.maxprocs(1)
      local l = goro.net.listen("127.0.0.1:0")

      --- How often threads of this process have given their processor away, or lost it.
      local function switches()
        local sum = 0
        local stat <close> = io.open("/proc/self/stat")
        local list <close> = io.popen("cat /proc/" .. stat:read("n") .. "/task/*/status")
        for line in list:lines() do
          sum = sum + (tonumber(line:match("^voluntary_ctxt_switches:%s*(%d+)")) or 0)
        end
        return sum
      end

      local wg = goro.WaitGroup()
      for _ = 1, 3 do                             -- workers without a processor
        wg:go(function() os.execute("sleep 0.02") end)
      end
      wg:wait()
      local pairs <const>, trips <const> = 32, 400
      local before = switches()
      for _ = 1, pairs do
        local a, b = goro.net.dial(l:addr()), l:accept()
        wg:go(function()
          for _ = 1, trips do
            b:write("x")
            b:read()
          end
          b:close()
        end)
        wg:go(function()
          for bytes in function() return (a:read()) end do a:write(bytes) end
        end)
      end
      for _ = 1, 60 do goro.sleep(0.001) end    -- each time a worker gives us its processor
      wg:wait()
      local n = switches() - before
      print(n)
    ]])
    if not os.getenv("GOROBUILD") then assert(tonumber(out) < 450, out) end
  end)

  it("raises for wrong arguments", function()
    local a, b = pair()
    support.bad_argument(1, "dial", net.dial)
    support.bad_argument(2, "dial", net.dial, "x:1", "soon")
    support.bad_argument(1, "listen", net.listen, {})
    support.bad_argument(1, "udp", net.udp, {})
    support.bad_argument(1, "read", a.read, {})
    support.bad_argument(2, "read", a.read, a, 0)
    support.bad_argument(2, "read", a.read, a, "many")
    support.bad_argument(3, "read", a.read, a, 1, {})
    support.bad_argument(2, "read_full", a.read_full, a)
    support.bad_argument(2, "read_full", a.read_full, a, -1)
    support.bad_argument(2, "write", a.write, a)
    support.bad_argument(2, "write", a.write, a, { "x", {} })
    support.bad_argument(2, "write", a.write, a, print)
    support.bad_argument(2, "limit", a.limit, a, 0)
    support.bad_argument(2, "no_delay", a.no_delay, a)
    support.bad_argument(2, "keep_alive", a.keep_alive, a, -1)
    support.bad_argument(2, "deadline", a.deadline, a, "soon")
    a:close()
    b:close()
  end)
end)
