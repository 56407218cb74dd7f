-- goro.socket does what LuaSocket's `socket` does, but parks.

local goro = require("goro")
local support = require("spec.support")
local socket = require("goro.socket")

-- LuaSocket itself, to compare with: in a package.loaded of its own.
local function luasocket()
  local names = { "socket", "socket.core", "socket.http", "socket.url", "ltn12" }
  local saved, preload = {}, package.preload.socket
  for _, name in ipairs(names) do
    saved[name], package.loaded[name] = package.loaded[name], nil
  end
  package.preload.socket = nil
  local real = require("socket")
  for _, name in ipairs(names) do package.loaded[name] = saved[name] end
  package.preload.socket = preload
  return real
end
local real = luasocket()

-- A server that sends `pieces` one by one, a moment between them, and closes; what it got comes
-- from the channel that is returned behind the port.
local function serve(pieces)
  local listener = assert(goro.net.listen("127.0.0.1:0"))
  local got = goro.chan(1)
  goro.go(function()
    local conn = listener:accept()
    listener:close()
    if not conn then return got:close() end
    for _, piece in ipairs(pieces) do
      conn:write(piece)
      goro.sleep(0.005)
    end
    conn:close_write()
    got:send(conn:read_all() or "")
    conn:close()
  end)
  return tonumber(listener:addr():match("%d+$")), got
end

-- `f(socket, port)` with LuaSocket and with ours must do the same.
local function same(pieces, f)
  local port, got = serve(pieces)
  local expected = table.pack(f(real, port))
  local sent = got:recv()
  for _, where in ipairs { "main", "goroutine" } do
    port, got = serve(pieces)
    local r
    if where == "main" then r = table.pack(f(socket, port))
    else
      r = table.pack(support.in_goroutine(function()
        return f(require("goro.socket"), port)
      end))
    end
    assert.same(expected, r, where)
    assert.equal(sent, (got:recv()), where)
  end
end

describe("goro.socket #socket", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("receives as LuaSocket does:", function()
    local text = { "first\r\nse", "cond\nthird", " line\n\n", "rest\rof it" }
    local patterns = {
      ["lines"] = function(c)
        local t = {}
        for i = 1, 7 do t[i] = table.pack(c:receive()) end
        return t
      end,
      ["all"] = function(c)
        return { table.pack(c:receive("*a")), table.pack(c:receive("*a")) }
      end,
      ["numbers"] = function(c)
        local t = {}
        for i = 1, 6 do t[i] = table.pack(c:receive(i * 3)) end
        return t
      end,
      ["lines, numbers and all"] = function(c)
        return { c:receive("*l"), c:receive(4), c:receive("*l"), (c:receive(0)),
          c:receive("*a") }
      end,
      ["prefixes"] = function(c)
        return { c:receive("*l", "<"), c:receive(5, "abc"), c:receive("*a", ">") }
      end,
    }
    for name, f in pairs(patterns) do
      it(name, function()
        same(text, function(s, port)
          local c = assert(s.connect("127.0.0.1", port))
          local t = f(c)
          c:close()
          return t
        end)
      end)
    end

    it("time-outs, with what came until then", function()
      for _, mode in ipairs { "b", "t" } do
        local port, got = serve { "begin" }
        local c = assert(socket.connect("127.0.0.1", port))
        c:settimeout(20)
        assert.equal("beg", (c:receive(3)))
        c:close()
        got:recv()
        local listener = assert(socket.bind("127.0.0.1", 0))
        local _, p = listener:getsockname()
        c = assert(socket.connect("127.0.0.1", p))
        local s = assert(listener:accept())
        s:send("half a line")
        c:settimeout(0.02, mode)
        assert.same({ nil, "timeout", "half a line" }, { c:receive() })
        s:send(" and the rest\n")
        c:settimeout(20, mode)
        assert.equal(" and the rest", (c:receive()))
        c:settimeout(0)
        assert.same({ nil, "timeout", "" }, { c:receive(1) })
        s:send("xyz")
        c:settimeout(0.05, mode)
        assert.same({ nil, "timeout", "xyz" }, { c:receive(10) })
        s:send("uvw")
        assert.same({ nil, "timeout", "uvw" }, { c:receive("*a") })
        for _, x in ipairs { c, s, listener } do x:close() end
      end
    end)
  end)

  it("sends as LuaSocket does", function()
    same({}, function(s, port)
      local c = assert(s.connect("127.0.0.1", port))
      local t = { c:send("hello"), c:send("hello", 2), c:send("hello", 2, 3),
        c:send("hello", -2), c:send("hello", 1, -2), c:send(""), c:send(12),
        c:send(("x"):rep(200000)) }
      t[#t + 1] = c:shutdown("send")
      t[#t + 1] = c:receive("*a") or false
      c:close()
      t[#t + 1] = table.pack(c:send("x"))
      t[#t + 1] = table.pack(c:receive())
      return t
    end)
  end)

  it("tells names, options and states as LuaSocket does", function()
    same({}, function(s, port)
      local c = assert(s.tcp())
      local t = { tostring(c):match("^tcp{%a+}"), c:settimeout(20), c:settimeout(20, "t"),
        c:connect("127.0.0.1", port) }
      t[#t + 1] = tostring(c):match("^tcp{%a+}")
      c:setoption("tcp-nodelay", true)
      t[#t + 1] = table.pack(c:getpeername())[1]
      t[#t + 1] = (select(2, c:getpeername())) == port
      t[#t + 1] = (c:getsockname())
      t[#t + 1] = c:dirty()
      t[#t + 1] = c:getfd() > 2
      t[#t + 1] = pcall(c.setoption, c, "nonesuch", true)
      t[#t + 1] = pcall(c.receive, c, "*x")
      t[#t + 1] = c:close()
      t[#t + 1] = table.pack(s.connect("127.0.0.1", 1))
      t[#t + 1] = table.pack(s.skip(2, 1, 2, 3))
      local l = assert(s.bind("127.0.0.1", 0))
      t[#t + 1] = tostring(l):match("^tcp{%a+}")
      l:settimeout(0.01)
      t[#t + 1] = table.pack(l:accept())
      t[#t + 1] = table.pack(s.bind("127.0.0.1", (select(2, l:getsockname()))))
      l:close()
      return t
    end)
  end)

  it("try, newtry, protect", function()
    local closed = 0
    for _, s in ipairs { real, socket } do
      local try = s.newtry(function() closed = closed + 1 end)
      local f = s.protect(function(...) return "ok", try(...) end)
      assert.same({ "ok", 1, 2 }, { f(1, 2) })
      assert.same({ nil, "reason" }, { f(nil, "reason") })
      assert.same({ nil, "why" }, { s.protect(function() s.try(false, "why") end)() })
      assert.is_false((pcall(s.protect(error), "an error")))
    end
    assert.equal(2, closed)
  end)

  it("select: what is ready, or nothing in time", function()
    local l = assert(socket.bind("127.0.0.1", 0))
    local _, port = l:getsockname()
    local a = assert(socket.connect("127.0.0.1", port))
    local b = assert(l:accept())
    local r, w, reason = socket.select({ a, b, l }, nil, 0)
    assert.same({ 0, 0, "timeout" }, { #r, #w, reason })
    r, w, reason = socket.select({ a, b, l }, {}, 0.02)
    assert.same({ 0, 0, "timeout" }, { #r, #w, reason })
    r, w, reason = socket.select({ l }, { a }, 20)
    assert.same({ 0, a, 1, nil }, { #r, w[1], w[a], reason })
    goro.go(function() goro.sleep(0.02) b:send("two\nlines\n") end)
    r = socket.select({ l, a }, nil, 20)
    assert.equal(a, r[1])
    assert.equal(1, r[a])
    assert.equal("two", (a:receive()))
    assert.is_true(a:dirty())
    r = socket.select({ l, a }, nil, 20)
    assert.equal(a, r[1])
    goro.go(function() local c = socket.connect("127.0.0.1", port) c:close() end)
    a:receive()
    r = socket.select({ a, l }, nil, 20)
    assert.equal(l, r[1])
    l:accept():close()
    for _, s in ipairs { a, b, l } do s:close() end
  end)

  it("udp, connected and not", function()
    local a, b = socket.udp(), socket.udp()
    assert.equal(1, a:setsockname("127.0.0.1", 0))
    local _, port = a:getsockname()
    assert.equal(1, b:sendto("hello", "127.0.0.1", port))
    local data, ip, from = a:receivefrom()
    assert.same({ "hello", "127.0.0.1" }, { data, ip })
    assert.equal(1, b:setpeername("127.0.0.1", port))
    assert.same({ "127.0.0.1", port, "inet" }, { b:getpeername() })
    assert.equal(1, b:send("again"))
    assert.equal("again", (a:receive()))
    a:sendto("back", "127.0.0.1", from)
    assert.equal("back", (b:receive()))
    a:settimeout(0.01)
    assert.same({ nil, "timeout" }, { a:receive() })
    assert.same({ nil, "timeout" }, { a:receivefrom() })
    a:close()
    b:close()
    assert.same({ nil, "closed" }, { a:receive() })
  end)

  it("dns, gettime, sleep", function()
    assert.equal("127.0.0.1", (socket.dns.toip("127.0.0.1")))
    local ip, more = socket.dns.toip("localhost")
    assert.truthy(ip == "127.0.0.1" or ip == "::1", ip)
    assert.equal(ip, more.ip[1])
    assert.same({ nil, "host not found" }, { socket.dns.toip("nonesuch.invalid") })
    assert.equal("string", type(socket.dns.gethostname()))
    assert.is_true(math.abs(socket.gettime() - os.time()) < 2)
    local t = goro.now()
    socket.sleep(0.01)
    assert.is_true(goro.now() - t >= 0.01)
  end)

  it("a Unix socket", function()
    local path = os.tmpname()
    os.remove(path)
    local l = socket.unix()
    assert.equal(1, l:bind(path))
    assert.equal(1, l:listen())
    local c = socket.unix()
    assert.equal(1, c:connect(path))
    local s = assert(l:accept())
    c:send("hello\n")
    assert.equal("hello", (s:receive()))
    for _, x in ipairs { c, s, l } do x:close() end
  end)

  it("crosses to a goroutine that serves it", function()
    local l = assert(socket.bind("*", 0))
    local _, port = l:getsockname()
    goro.go(function()
      local c = l:accept()
      while c do
        goro.go(function(conn)
          local line = conn:receive()
          conn:send((line or "") .. "!\n")
          conn:close()
        end, c)
        c = l:accept()
      end
    end)
    local wg = goro.WaitGroup()
    for i = 1, support.many(50) do
      wg:go(function()
        local c = assert(socket.connect("127.0.0.1", port))
        c:send(i .. "\n")
        assert(c:receive() == i .. "!")
        c:close()
      end)
    end
    wg:wait()
    l:close()
  end)

  it("socket.http, ltn12 and url of LuaSocket run on it, in goroutines", function()
    local dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir -m 755 " .. dir)
    local s = assert(socket.bind("127.0.0.1", 0))
    local _, port = s:getsockname()
    s:close()
    local conf = assert(io.open(dir .. "/nginx.conf", "w"))
    conf:write(([[
      daemon off; master_process off; pid %s/pid; error_log %s/error;
      events {}
      http {
        access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s;
        uwsgi_temp_path %s; scgi_temp_path %s;
        server { listen 127.0.0.1:%d; root %s; location /old { return 302 /page; } }
      }
    ]]):format(dir, dir, dir, dir, dir, dir, dir, port, dir))
    conf:close()
    local page = assert(io.open(dir .. "/page", "w"))
    local text = ("a line of the page\n"):rep(5000)
    page:write(text)
    page:close()
    local nginx = assert(goro.command { "nginx", "-e", dir .. "/error",
      "-c", dir .. "/nginx.conf" })
    local limit = goro.now() + 20
    while true do
      local c = socket.connect("127.0.0.1", port)
      if c then c:close() break end
      assert(goro.now() < limit and not nginx:wait(0.01), "nginx does not start")
    end
    local wg = goro.WaitGroup()
    for _ = 1, support.many(20) do
      wg:go(function()
        require("goro.socket").install()
        local http, ltn12 = require("socket.http"), require("ltn12")
        local body, code = http.request(("http://127.0.0.1:%d/page"):format(port))
        assert(code == 200 and body == text, code)
        body, code = http.request(("http://localhost:%d/old"):format(port))
        assert(code == 200 and body == text, code)
        local parts = {}
        local ok, status, headers = http.request {
          url = ("http://127.0.0.1:%d/none"):format(port), sink = ltn12.sink.table(parts) }
        assert(ok == 1 and status == 404 and headers["content-type"]:find("text/html"))
        assert(table.concat(parts):find("404"))
      end)
    end
    wg:wait()
    nginx:kill("TERM")
    nginx:wait()
    os.execute("rm -r " .. dir)
  end)
end)
