-- Pure-Lua clients written for LuaSocket, unchanged, in goroutines, against real servers.

local goro = require("goro")
local support = require("spec.support")
local socket = require("goro.socket")

-- (Debian's lua-redis is there for Lua 5.3, and runs with 5.4, but for its pipelines, which
-- fail with LuaSocket as well: it inserts behind the end of a table.)
local function find(path)
  local file = io.open(path)
  if file then file:close() end
  return file and path
end

local function free_port()
  local s = assert(socket.bind("127.0.0.1", 0))
  local _, port = s:getsockname()
  s:close()
  return port
end

-- Starts a server, and waits until it takes connections.
local function start(port, words)
  words.stdout, words.stderr = "null", "null"
  local server = assert(goro.command(words))
  local stop = goro.now() + 20
  while true do
    local c = socket.connect("127.0.0.1", port)
    if c then
      c:close()
      return server
    end
    assert(goro.now() < stop and server:wait(0.01) == nil, "the server does not start")
  end
end

local function stop(server)
  server:kill("KILL")
  server:wait()
end

describe("lua-redis over goro.socket #redis", function()
  local server, port
  local path = find("/usr/share/lua/5.3/redis.lua")

  setup(function()
    support.begin()
    package.loaded.socket, package.loaded["socket.unix"] = nil, nil
    socket.install()
    port = free_port()
    server = start(port, { "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
      "--appendonly", "no", "--daemonize", "no", dir = "/tmp" })
  end)
  teardown(function()
    stop(server)
    package.loaded.socket, package.loaded["socket.unix"] = nil, nil
    package.preload.socket, package.preload["socket.unix"] = nil, nil
  end)
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  local function connect()
    package.loaded.redis = package.loaded.redis or assert(loadfile(path))()
    return require("redis").connect("127.0.0.1", port)
  end

  it("sets and gets in the main script", function()
    local c = connect()
    assert.is_true(c:ping())
    assert.is_true(c:set("key", "a value\r\nof two lines"))
    assert.equal("a value\r\nof two lines", c:get("key"))
    assert.is_nil(c:get("none"))
    local big = ("x"):rep(300000)
    c:set("big", big)
    assert.equal(big, c:get("big"))
    c:quit()
  end)

  it("works in 50 goroutines at once: counters, transactions, hashes", function()
    local n = support.many(50)
    local wg = goro.WaitGroup()
    connect():set("sum", 0)
    for i = 1, n do
      wg:go(function()
        local c = connect()
        for _ = 1, 20 do c:incr("sum") end
        c:set("p" .. i, i)
        assert(c:get("p" .. i) == tostring(i))
        c:transaction(function(t) t:incrby("sum", 5) end)
        c:hmset("h" .. i, { a = 1, b = 2 })
        assert(c:hgetall("h" .. i).b == "2")
        c:quit()
      end)
    end
    wg:wait()
    assert.equal(n * 25, tonumber(connect():get("sum")))
  end)

  it("a subscriber waits, and others go on: one processor", function()
    support.with_procs(1, function()
      local got, ready = goro.chan(3), goro.chan()
      goro.go(function()
        local c = connect()
        for message, abort in c:pubsub { subscribe = "news" } do
          if message.kind == "subscribe" then ready:send(true)
          elseif message.payload == "end" then abort()
          else got:send(message.payload) end
        end
        c:quit()
        got:close()
      end)
      ready:recv()
      local c = connect()
      for _, word in ipairs { "one", "two", "end" } do c:publish("news", word) end
      assert.equal("one", (got:recv(20)))
      assert.equal("two", (got:recv(20)))
      assert.same({ nil, false }, { got:recv(20) })
      c:quit()
    end)
  end)

  it("BLPOP blocks its goroutine only, and a time-out ends it", function()
    local task = goro.async(function()
      local c = connect()
      local item = c:blpop("list", 20)
      c:quit()
      return item[2] or item
    end)
    local c = connect()
    c:rpush("list", "pushed")
    assert.equal("pushed", task:result(20))
    c.network.socket:settimeout(0.02)
    local ok, err = pcall(c.blpop, c, "list", 20)
    assert.is_false(ok)
    assert.truthy(tostring(err):find("timeout", 1, true), tostring(err))
    c.network.socket:close()
  end)
end)

-- Debian's other client in pure Lua is nginx's for memcached: its sockets are LuaSocket's but
-- for their time-outs, in milliseconds.
describe("lua-nginx-memcached over goro.socket #redis", function()
  local server, port
  local path = find("/usr/share/lua/5.1/nginx/memcached.lua")

  setup(function()
    support.begin()
    port = free_port()
    server = start(port, { "memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", port })
  end)
  teardown(function() stop(server) end)
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  local function connect()
    local sockets = require("goro.socket")
    local function escape(s)
      return (s:gsub("[^%w_.~-]", function(c) return ("%%%02X"):format(c:byte()) end))
    end
    _G.ngx = {
      escape_uri = escape,
      unescape_uri = function(s)
        return (s:gsub("%%(%x%x)", function(x) return string.char(tonumber(x, 16)) end))
      end,
      socket = { tcp = function()
        local s = sockets.tcp()
        local settimeout = s.settimeout
        s.settimeout = function(_, ms) return settimeout(s, ms / 1000) end
        return s
      end },
    }
    local client = assert(assert(loadfile(path))():new())
    client:set_timeout(20000)
    assert(client:connect("127.0.0.1", port))
    return client
  end

  it("works in 20 goroutines at once", function()
    local n = support.many(20)
    assert(connect():set("sum", 0))
    local wg = goro.WaitGroup()
    for i = 1, n do
      wg:go(function()
        local c = connect()
        for _ = 1, 10 do assert(c:incr("sum", 1)) end
        local text = ("value %d\r\n"):format(i):rep(1000)
        assert(c:set("a key " .. i, text))
        assert(c:get("a key " .. i) == text)
        assert(c:get("none") == nil)
        assert(c:delete("a key " .. i))
        c:quit()
        c:close()
      end)
    end
    wg:wait()
    local c = connect()
    assert.equal(tostring(n * 10), (c:get("sum")))
    c:close()
    rawset(_G, "ngx", nil)
  end)
end)
