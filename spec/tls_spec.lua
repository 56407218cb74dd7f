-- TLS by LuaSec over goro's connections.

local goro = require("goro")
local support = require("spec.support")

local dir

describe("goro.tls #tls", function()
  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -m 700 " .. dir))
    assert(os.execute(("openssl req -x509 -newkey rsa:2048 -nodes -days 2 " ..
      "-subj /CN=localhost -keyout %s/key.pem -out %s/cert.pem 2>/dev/null"):format(dir, dir)))
  end)
  teardown(function() os.execute("rm -r " .. dir) end)
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  local function server_params()
    return { mode = "server", protocol = "any", key = dir .. "/key.pem",
      certificate = dir .. "/cert.pem", options = "all" }
  end
  local function client_params()
    return { mode = "client", protocol = "any", cafile = dir .. "/cert.pem", verify = "peer",
      options = "all" }
  end

  -- An echo server of lines; returns its address and a function that ends it.
  local function serve()
    local listener = assert(goro.net.listen("127.0.0.1:0"))
    local params = server_params()
    goro.go(function()
      local tls = require("goro.tls")
      while true do
        local conn = listener:accept()
        if not conn then return end
        goro.go(function()
          local c = assert(tls.wrap(conn, params))
          c:settimeout(20)
          if c:dohandshake() then
            local line = c:receive("*l")
            while line do
              c:send(line .. "\n")
              line = c:receive("*l")
            end
          end
          c:close()
        end)
      end
    end)
    return listener:addr(), function() listener:close() end
  end

  it("carries lines both ways, the certificate verified", function()
    local addr, stop = serve()
    local tls = require("goro.tls")
    local c = assert(tls.wrap(assert(goro.net.dial(addr)), client_params()))
    c:settimeout(20)
    assert.is_true(c:dohandshake())
    assert.is_true(c:getpeerverification())
    assert.equal("string", type(c:info("protocol")))
    for _, text in ipairs { "hello", "", ("x"):rep(100000) } do
      assert.equal(#text + 1, (c:send(text .. "\n")))
      assert.equal(text, (c:receive()))
    end
    c:close()
    stop()
  end)

  it("wraps a socket of goro.socket as well", function()
    local addr, stop = serve()
    local socket, tls = require("goro.socket"), require("goro.tls")
    local s = assert(socket.connect("127.0.0.1", tonumber(addr:match("%d+$"))))
    local c = assert(tls.wrap(s, client_params()))
    c:settimeout(20)
    assert.is_true(c:dohandshake())
    c:send("a line\nand more\n")
    assert.equal("a li", (c:receive(4)))
    assert.equal("ne", (c:receive("*l")))
    assert.equal("and more", (c:receive("*l")))
    assert.equal(-1, s:getfd())
    c:close()
    stop()
  end)

  it("parks: 20 clients at once, one processor", function()
    local addr, stop = serve()
    local n = support.many(20)
    support.with_procs(1, function()
      local params, wg = client_params(), goro.WaitGroup()
      for i = 1, n do
        wg:go(function()
          local c = assert(require("goro.tls").wrap(assert(goro.net.dial(addr)), params))
          c:settimeout(20)
          assert(c:dohandshake())
          for k = 1, 5 do
            assert(c:send(i .. " " .. k .. "\n"))
            assert(c:receive() == i .. " " .. k)
          end
          c:close()
        end)
      end
      wg:wait()
    end)
    stop()
  end)

  it("gives up when the time is over, with what came", function()
    local addr, stop = serve()
    local c = assert(require("goro.tls").wrap(assert(goro.net.dial(addr)), client_params()))
    c:settimeout(20)
    assert.is_true(c:dohandshake())
    c:settimeout(0.02)
    assert.same({ nil, "timeout", "" }, { c:receive() })
    c:send("a line\n")
    c:settimeout(20)
    assert.equal("a line", (c:receive()))
    c:close()
    stop()
  end)

  it("has all there was also where it waited before the other side closed", function()
    local listener = assert(goro.net.listen("127.0.0.1:0"))
    local params, close = server_params(), goro.chan()
    goro.go(function()
      local c = assert(require("goro.tls").wrap(listener:accept(), params))
      assert(c:dohandshake())
      c:send("hello")
      close:recv()
      c:close()
    end)
    local addr, params_c, got = listener:addr(), client_params(), goro.chan()
    goro.go(function()
      goro.name("client")
      local c = assert(require("goro.tls").wrap(goro.net.dial(addr), params_c))
      assert(c:dohandshake())
      got:send(c:receive(1))                       -- the rest is in LuaSec's hands now
      got:send(c:receive("*a"))
      got:send({ c:receive("*a", "before") })
      c:close()
    end)
    assert.equal("h", (got:recv()))
    repeat goro.yield() until goro.stacks():find('"client" %[poll')
    close:send(true)
    assert.equal("ello", (got:recv()))
    assert.same({ nil, "closed", "before" }, (got:recv()))
    listener:close()
  end)

  it("tells a failed handshake, and a closed connection", function()
    local addr, stop = serve()
    local tls = require("goro.tls")
    local params = client_params()
    params.cafile = nil
    local c = assert(tls.wrap(assert(goro.net.dial(addr)), params))
    c:settimeout(20)
    local ok, reason = c:dohandshake()
    assert.falsy(ok)
    assert.truthy(reason:find("certificate verify failed", 1, true), reason)
    c:close()
    local conn = assert(goro.net.dial(addr))
    conn:close()
    assert.same({ nil, "closed" }, { tls.wrap(conn, params) })
    stop()
  end)
end)
