--- goro.socket: LuaSocket's `socket` on top of goro.net.
--
-- What LuaSocket's calls block, these park: clients written for it run in goroutines unchanged.
-- `require("goro.socket").install()` lets `require "socket"` (and `socket.http`, `redis` ...)
-- find it, here and in the goroutines started after.  What differs: bind listens at once (so a
-- bound socket cannot connect), options that goro.net has no use for are accepted and do
-- nothing, and sockets may cross to other goroutines, where only one may use one at a time.

local goro = require("goro")
local os_part = require("goro.core")("goro.os")
local base = require("goro.socket.base")

local net, now = goro.net, goro.now

local M = base.functions

-- ------------------------------------------------------------------ errors, times, addresses

local reasons = {
  ["Connection refused"] = "connection refused", ["Connection reset by peer"] = "closed",
  ["Broken pipe"] = "closed", ["Software caused connection abort"] = "closed",
  ["Connection timed out"] = "timeout", ["Address already in use"] = "address already in use",
  ["Permission denied"] = "permission denied", ["eof"] = "closed",
  ["Transport endpoint is already connected"] = "already connected",
}

--- LuaSocket's word for goro's reason.
local function reason_of(reason)
  local plain = reason:match("^.*: (.-)$") or reason
  if plain:find("[Nn]ame or service not known") or plain:find("No address associated") then
    return "host not found"
  end
  return reasons[plain] or plain
end

--- How long the call that began at `start` may still wait; nil: without limit.
local function left(self, start)
  local block, total = self.block, self.total
  if not total then return block end
  local rest = total - (now() - start)
  if rest < 0 then rest = 0 end
  return block and block < rest and block or rest
end

local function settimeout(self, value, mode)
  if value and value < 0 then value = nil end
  mode = mode or "b"
  if mode == "b" then self.block = value
  elseif mode == "t" or mode == "r" then self.total = value
  else error("bad argument #2 to 'settimeout' (invalid timeout mode)", 2) end
  return 1
end

local function gettimeout(self) return self.block or -1, self.total or -1 end

local function address(host, port)
  host = tostring(host)
  if host == "*" then host = "" end
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  return host .. ":" .. tostring(port)
end

--- "127.0.0.1:80" -> "127.0.0.1", 80, "inet"
local function split(text)
  local host, port = text:match("^%[(.*)%]:(%d+)$")
  if host then return host, tonumber(port), "inet6" end
  host, port = text:match("^(.*):(%d+)$")
  if host then return host, tonumber(port), "inet" end
  return text
end

local function name(conn, which)
  if not conn then return nil, "closed" end
  local text, reason = conn[which](conn)
  if not text then return nil, reason_of(reason) end
  return split(text)
end

-- ------------------------------------------------------------------ tcp

local Tcp = {}
Tcp.__index = Tcp
Tcp.__name = "tcp"
M._tcp = Tcp                           -- (where other goroutines find the class)

local function tcp(family)
  return setmetatable({ state = "master", family = family, buffer = "", options = {},
    received = 0, sent = 0, born = now() }, Tcp)
end

local function client(conn, family)
  local self = tcp(family)
  self.state, self.conn = "client", conn
  return self
end

function Tcp:__tostring() return ("tcp{%s}: %p"):format(self.state, self) end

local option = {}
option["tcp-nodelay"] = function(conn, value) return conn:no_delay(value and true or false) end
option.keepalive = function(conn, value) return conn:keep_alive(value and 15 or 0) end
for _, word in ipairs { "reuseaddr", "reuseport", "linger", "ipv6-v6only", "dontroute",
    "broadcast", "recv-buffer-size", "send-buffer-size", "tcp-keepidle", "tcp-keepcnt",
    "tcp-keepintvl", "tcp-defer-accept", "tcp-fastopen", "tcp-fastopen-connect" } do
  option[word] = function() return true end
end

local function setoption(self, word, value)
  if not option[word] then
    error(("bad argument #1 to 'setoption' (unsupported option `%.35s')")
      :format(tostring(word)), 2)
  end
  self.options[word] = value == nil and true or value
  if self.conn and self.state == "client" then
    local ok, reason = option[word](self.conn, self.options[word])
    if not ok then return nil, reason_of(reason) end
  end
  return 1
end

local function getoption(self, word)
  if not option[word] then
    error(("bad argument #1 to 'getoption' (unsupported option `%.35s')")
      :format(tostring(word)), 2)
  end
  local value = self.options[word]
  if value == nil then return false end
  return value
end

Tcp.settimeout, Tcp.gettimeout = settimeout, gettimeout
Tcp.setoption, Tcp.getoption = setoption, getoption

local function connected(self, conn, reason)
  if not conn then return nil, reason_of(reason) end
  self.conn, self.state = conn, "client"
  for word, value in pairs(self.options) do option[word](conn, value) end
  return 1
end

function Tcp:connect(host, port)
  if self.closed then return nil, "closed" end
  if self.state == "client" then return nil, "already connected" end
  if self.conn then return nil, "a bound socket cannot connect" end
  return connected(self, net.dial(address(host, port), left(self, now())))
end

function Tcp:bind(host, port)
  if self.conn then return nil, "already bound" end
  if host == "*" then host = self.family == "inet6" and "::" or "0.0.0.0" end
  local listener, reason = net.listen(address(host, port))
  if not listener then return nil, reason_of(reason) end
  self.conn = listener
  return 1
end

function Tcp:listen()
  if not self.conn or self.state == "client" then return nil, "not bound" end
  self.state = "server"
  return 1
end

function Tcp:accept()
  if self.closed or self.state ~= "server" then return nil, "closed" end
  local conn, reason = self.conn:accept(left(self, now()))
  if not conn then return nil, reason_of(reason) end
  return client(conn, self.family)
end

--- Some more bytes into the buffer.  true, or nil and LuaSocket's reason.
local function fill(self, start)
  if self.closed or self.state ~= "client" or self.deaf then return nil, "closed" end
  local data, reason = self.conn:read(nil, left(self, start))
  if not data then return nil, reason_of(reason) end
  self.received = self.received + #data
  return data
end

local receive = {}

function receive.line(self, start, prefix)
  local parts, at = { self.buffer }, 1
  while true do
    local part = parts[at]
    local stop = part:find("\n", 1, true)
    if stop then
      self.buffer = part:sub(stop + 1)
      parts[at] = part:sub(1, stop - 1)
      return prefix .. (table.concat(parts):gsub("\r", "")), nil, nil
    end
    local data, reason = fill(self, start)
    if not data then
      self.buffer = ""
      return nil, reason, prefix .. (table.concat(parts):gsub("\r", ""))
    end
    at = at + 1
    parts[at] = data
  end
end

function receive.all(self, start, prefix)
  local parts = { prefix, self.buffer }
  self.buffer = ""
  while true do
    local data, reason = fill(self, start)
    if not data then
      local text = table.concat(parts)
      if reason == "closed" and #text > #prefix then return text, nil, nil end
      return nil, reason, text
    end
    parts[#parts + 1] = data
  end
end

function receive.count(self, start, prefix, n)
  local wanted = n - #prefix
  local parts, have = { self.buffer }, #self.buffer
  while have < wanted do
    local data, reason = fill(self, start)
    if not data then
      self.buffer = ""
      return nil, reason, prefix .. table.concat(parts)
    end
    parts[#parts + 1] = data
    have = have + #data
  end
  local text = table.concat(parts)
  if wanted < 0 then wanted = 0 end
  self.buffer = text:sub(wanted + 1)
  return prefix .. text:sub(1, wanted), nil, nil
end

function Tcp:receive(pattern, prefix)
  local start = now()
  pattern, prefix = pattern or "*l", prefix and tostring(prefix) or ""
  if tonumber(pattern) then
    local n = tonumber(pattern)
    if n < 0 then error("bad argument #1 to 'receive' (invalid receive pattern)", 2) end
    return receive.count(self, start, prefix, n // 1)
  end
  local word = tostring(pattern):gsub("^%*", "")
  if word == "l" then return receive.line(self, start, prefix) end
  if word == "a" then return receive.all(self, start, prefix) end
  error("bad argument #1 to 'receive' (invalid receive pattern)", 2)
end

local PIECE = 65536

function Tcp:send(data, i, j)
  local start = now()
  data, i, j = tostring(data), i or 1, j or -1
  if i < 0 then i = math.max(#data + i + 1, 1) elseif i == 0 then i = 1 end
  if j < 0 then j = #data + j + 1 elseif j > #data then j = #data end
  if self.closed or self.state ~= "client" then return nil, "closed", i - 1 end
  local at = i
  repeat
    local stop = math.min(at + PIECE - 1, j)
    local n, reason, _, done = self.conn:write(data:sub(at, stop), left(self, start))
    self.sent = self.sent + (n or done or 0)
    if not n then return nil, reason_of(reason), at - 1 + (done or 0) end
    at = stop + 1
  until at > j
  return math.max(j, i - 1), nil, nil
end

function Tcp:shutdown(mode)
  if self.closed or self.state ~= "client" then return nil, "closed" end
  mode = mode or "both"
  if mode ~= "receive" then self.conn:close_write() end
  if mode ~= "send" then self.deaf, self.buffer = true, "" end
  return 1
end

function Tcp:close()
  if self.conn then self.conn:close() end
  self.closed = true
  return 1
end
Tcp.__close = Tcp.close

function Tcp:getsockname() return name(not self.closed and self.conn, "addr") end

function Tcp:getpeername()
  if self.state ~= "client" then return nil, "Transport endpoint is not connected" end
  return name(not self.closed and self.conn, "peer")
end

function Tcp:getfamily() return self.family or "inet" end
function Tcp:dirty() return self.buffer ~= "" end
function Tcp:getstats() return self.received, self.sent, now() - self.born end

function Tcp:setstats(received, sent, age)
  self.received, self.sent = received or self.received, sent or self.sent
  if age then self.born = now() - age end
  return 1
end

function Tcp:getfd()
  if self.closed or not self.conn then return -1 end
  return self.conn:fd() or -1
end

function M.tcp() return tcp() end
function M.tcp4() return tcp("inet") end
function M.tcp6() return tcp("inet6") end

--- A stream over a Unix socket: connect(path), bind(path), and as tcp().
local Unix = setmetatable({}, { __index = Tcp })
Unix.__index = Unix
Unix.__name = "unix"
Unix.__tostring, Unix.__close = Tcp.__tostring, Tcp.close
M._unix = Unix

function Unix:connect(path)
  return connected(self, net.dial("unix:" .. path, left(self, now())))
end

function Unix:bind(path)
  local listener, reason = net.listen("unix:" .. path)
  if not listener then return nil, reason_of(reason) end
  self.conn = listener
  return 1
end

function M.unix() return setmetatable(tcp("unix"), Unix) end

function M.connect(host, port, laddress, _, family)
  if laddress then return nil, "a local address cannot be chosen" end
  local self = tcp(family)
  local ok, reason = self:connect(host, port)
  if not ok then return nil, reason end
  return self
end

function M.connect4(host, port, la, lp) return M.connect(host, port, la, lp, "inet") end
function M.connect6(host, port, la, lp) return M.connect(host, port, la, lp, "inet6") end

function M.bind(host, port, backlog)
  local self = tcp()
  local ok, reason = self:bind(host, port)
  if not ok then return nil, reason end
  ok, reason = self:listen(backlog)
  if not ok then return nil, reason end
  return self
end

-- ------------------------------------------------------------------ udp

local Udp = {}
Udp.__index = Udp
Udp.__name = "udp"
M._udp = Udp

local function udp(family)
  return setmetatable({ state = "unconnected", family = family, options = {} }, Udp)
end

function Udp:__tostring() return ("udp{%s}: %p"):format(self.state, self) end

Udp.settimeout, Udp.gettimeout = settimeout, gettimeout
Udp.setoption, Udp.getoption = setoption, getoption

--- The socket, made at first use.
local function opened(self)
  if self.closed then return nil, "closed" end
  if not self.conn then
    local conn, reason = net.udp(self.family == "inet6" and "[::]:0" or "0.0.0.0:0")
    if not conn then return nil, reason_of(reason) end
    self.conn = conn
  end
  return self.conn
end

function Udp:setsockname(host, port)
  if self.conn then return nil, "already bound" end
  if host == "*" then host = self.family == "inet6" and "::" or "0.0.0.0" end
  local conn, reason = net.udp(address(host, port))
  if not conn then return nil, reason_of(reason) end
  self.conn = conn
  return 1
end

function Udp:setpeername(host, port)
  if host == "*" then
    self.peer, self.state = nil, "unconnected"
    return 1
  end
  local ip, reason = M.dns.toip(host)
  if not ip then return nil, reason end
  self.peer, self.state = address(ip, port), "connected"
  return 1
end

function Udp:sendto(data, host, port)
  local conn, reason = opened(self)
  if not conn then return nil, reason end
  local n
  n, reason = conn:send(data, address(host, port), left(self, now()))
  if not n then return nil, reason_of(reason) end
  return 1
end

function Udp:send(data)
  if not self.peer then return nil, "Destination address required" end
  local host, port = split(self.peer)
  return self:sendto(data, host, port)
end

function Udp:receivefrom(size)
  local conn, reason = opened(self)
  if not conn then return nil, reason end
  local start = now()
  while true do
    local data, from = conn:recv(left(self, start))
    if not data then return nil, reason_of(from) end
    if not self.peer or from == self.peer then
      if size and #data > size then data = data:sub(1, size) end
      return data, split(from)
    end
  end
end

function Udp:receive(size)
  local data, reason = self:receivefrom(size)
  if not data then return nil, reason end
  return data
end

function Udp:getsockname() return name(opened(self), "addr") end

function Udp:getpeername()
  if not self.peer then return nil, "Transport endpoint is not connected" end
  return split(self.peer)
end

function Udp:close()
  if self.conn then self.conn:close() end
  self.closed = true
  return 1
end
Udp.__close = Udp.close

function Udp:getfd()
  local conn = opened(self)
  return conn and conn:fd() or -1
end

function Udp.dirty() return false end
function Udp:getfamily() return self.family or "inet" end
function M.udp() return udp("inet") end
function M.udp4() return udp("inet") end
function M.udp6() return udp("inet6") end

-- ------------------------------------------------------------------ select

--- Those of `sockets` that are ready, as a list and by socket.
local function ready(sockets, mode, result)
  for _, s in ipairs(sockets or {}) do
    local fd = s:getfd()
    if mode == "r" and s.dirty and s:dirty() or fd >= 0 and goro.poll(fd, mode, 0) then
      result[#result + 1] = s
      result[s] = #result
    end
  end
  return result
end

--- Waits until one of them is, or `timeout` has passed.
local function wait(recvt, sendt, timeout)
  local ctx, cancel = goro.context.with_cancel()
  local c = goro.chan(1)
  local function watch(sockets, mode)
    for _, s in ipairs(sockets or {}) do
      local fd = s:getfd()
      if fd >= 0 then
        goro.go(function()
          if goro.poll(fd, mode, ctx) then c:try_send(true) end
        end)
      end
    end
  end
  watch(recvt, "r")
  watch(sendt, "w")
  local some = c:recv(timeout)
  cancel()
  return some
end

function M.select(recvt, sendt, timeout)
  if timeout and timeout < 0 then timeout = nil end
  local start = now()
  while true do
    local r, w = ready(recvt, "r", {}), ready(sendt, "w", {})
    if #r > 0 or #w > 0 then return r, w end
    local rest = timeout and timeout - (now() - start)
    if rest and rest <= 0 or not wait(recvt, sendt, rest) then
      return ready(recvt, "r", {}), ready(sendt, "w", {}), "timeout"
    end
  end
end

-- ------------------------------------------------------------------ the rest

M.dns = {}

function M.dns.getaddrinfo(host)
  local list, reason = os_part.lookup(host == "*" and "0.0.0.0" or host)
  if not list then return nil, reason_of(reason) end
  local infos = {}
  for i, text in ipairs(list) do
    infos[i] = { addr = text, family = text:find(":", 1, true) and "inet6" or "inet" }
  end
  return infos
end

function M.dns.toip(host)
  local infos, reason = M.dns.getaddrinfo(host)
  if not infos then return nil, reason end
  local ips = {}
  for _, info in ipairs(infos) do
    if info.family == "inet" then ips[#ips + 1] = info.addr end
  end
  if #ips == 0 then
    for i, info in ipairs(infos) do ips[i] = info.addr end
  end
  return ips[1], { name = host, alias = {}, ip = ips }
end

function M.dns.gethostname() return os_part.hostname() end

function M.gettime() return os_part.time() end

function M.sleep(s)
  goro.sleep(math.max(s, 0))
end

--- Lets `require "socket"` find this, here and in goroutines started after.
function M.install()
  package.loaded.socket, package.loaded["socket.unix"] = M, M.unix
  package.preload.socket = function() return require("goro.socket") end
  package.preload["socket.unix"] = function() return require("goro.socket").unix end
  return M
end

return M
