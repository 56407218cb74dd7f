-- examples/httpd.lua, as clients see it.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

describe("examples/httpd.lua #net", function()
  local pipe, pid, addr

  setup(function()
    pipe = assert(io.popen("exec sh -c 'echo $$; exec tools/lua examples/httpd.lua "
      .. "--addr 127.0.0.1:0 --root examples'"))
    pid = pipe:read("l")
    addr = assert(pipe:read("l")):match("^http://(.*)/$")
  end)
  teardown(function()
    os.execute("kill " .. pid)
    pipe:close()
  end)
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  --- Sends `text` and reads one response -> status line, body.
  local function answer(c, head)
    local status, length = c:read_line(20), 0
    repeat
      local line = assert(c:read_line(20))
      length = tonumber(line:match("^Content%-Length: (%d+)$")) or length
    until line == ""
    return status, head and "" or assert(c:read_full(length, 20))
  end

  local function ask(text, head)
    local c <close> = assert(goro.net.dial(addr, 20))
    c:write(text)
    return answer(c, head)
  end

  it("serves files, many on one connection, also asked for at once", function()
    local c <close> = assert(goro.net.dial(addr, 20))
    local get = "GET /01_hello.lua HTTP/1.1\r\nHost: x\r\n\r\n"
    local file <close> = io.open("examples/01_hello.lua")
    local text = file:read("a")
    c:write(get:rep(3))
    for _ = 1, 3 do
      local status, body = answer(c)
      assert.equal("HTTP/1.1 200 OK", status)
      assert.equal(text, body)
    end
    c:write("GET / HTTP/1.0\r\n\r\n")
    assert.equal("HTTP/1.1 404 Not Found", (answer(c)))
    assert.same({ nil, "eof" }, { c:read(1, 20) })
  end)

  it("refuses what it must", function()
    for text, status in pairs {
      ["GET /none HTTP/1.1\r\n\r\n"] = "404 Not Found",
      ["GET /../Makefile HTTP/1.1\r\n\r\n"] = "403 Forbidden",
      ["GET /%2e%2e/Makefile HTTP/1.1\r\n\r\n"] = "403 Forbidden",
      ["POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nxx"] = "405 Method Not Allowed",
      ["hello\r\n\r\n"] = "400 Bad Request",
      ["GET / HTTP/2.0\r\n\r\n"] = "505 HTTP Version Not Supported",
      ["GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"] = "501 Not Implemented",
      ["GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"] = "400 Bad Request",
      ["GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"] = "413 Content Too Large",
      [("GET /%s HTTP/1.1\r\n\r\n"):format(("x"):rep(70000))] = "431 Header Too Large",
    } do
      assert.equal("HTTP/1.1 " .. status, (ask(text)))
    end
    assert.equal("HTTP/1.1 200 OK", (ask("HEAD /01_hello.lua HTTP/1.1\r\n\r\n", true)))
  end)

  it("serves a crowd, and clients that go away", function()
    local wg = goro.WaitGroup()
    for i = 1, support.many(40) do
      wg:go(function(to)
        local c <close> = assert(goro.net.dial(to, 20))
        c:write("GET /01_hello.lua HTTP/1.1\r\n")
        if i % 4 == 0 then return end
        c:write("Connection: close\r\n\r\n")
        assert(c:read_all(20):find("^HTTP/1%.1 200 OK"))
      end, addr)
    end
    wg:wait()
    assert.equal("HTTP/1.1 200 OK", (ask("GET /01_hello.lua HTTP/1.1\r\n\r\n")))
  end)
end)

describe("tests/stress/net.lua #net", function()
  it("loses nothing in a short round", function()
    local result = script.command("env GOROSTRESS=small tools/lua tests/stress/net.lua 0 1",
      { limit = 60 })
    assert(result.code == 0, script.account(result))
  end)
end)
