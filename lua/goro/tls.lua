--- goro.tls: TLS by LuaSec (`require "ssl"`, which is not goro's and must be installed).
--
-- `wrap` takes over a connection and returns what LuaSec's own object offers, with methods that
-- park the goroutine where LuaSec says wantread or wantwrite.  Such an object stays in the
-- goroutine that made it: what LuaSec holds cannot cross.

local goro = require("goro")
local os_part = require("goro.core")("goro.os")

local now = goro.now

local Tls = {}
Tls.__index = Tls
Tls.__name = "tls"

--- Waits as LuaSec asked.  true, or nil and why.
local function wait(self, reason, start)
  local timeout = self.block
  if self.total then
    local rest = math.max(self.total - (now() - start), 0)
    timeout = timeout and math.min(timeout, rest) or rest
  end
  local ok, why = goro.poll(self.fd, reason == "wantwrite" and "w" or "r", timeout)
  if not ok then return nil, why end
  return true
end

local function wants(reason)
  return reason == "wantread" or reason == "wantwrite" or reason == "timeout"
end

--- Wraps a connection of goro.net or a connected socket of goro.socket, which is used up.
---@param conn any
---@param params table|userdata LuaSec's parameters (mode, protocol, verify ...), or a context
---@return table? tls dohandshake is still to be called; nil, message
---@return string? message
local function wrap(conn, params)
  local ssl = require("ssl")
  if conn.dirty and conn:dirty() then return nil, "there are unread bytes" end
  local number, reason
  if conn.conn then number = conn:getfd() else number, reason = conn:fd() end
  if not number or number < 0 then return nil, reason or "closed" end
  local fd, message = os_part.copy(number)
  if not fd then return nil, message end
  local lent = fd
  local object
  object, message = ssl.wrap({
    getfd = function() return lent end,
    setfd = function() lent = -1 end,              -- it is LuaSec's now
  }, params)
  if not object then
    if lent >= 0 then os_part.close(lent) end
    return nil, message
  end
  conn:close()
  object:settimeout(0)
  return setmetatable({ ssl = object, fd = fd }, Tls)
end

function Tls:settimeout(value, mode)
  if value and value < 0 then value = nil end
  if mode == "t" or mode == "r" then self.total = value else self.block = value end
  return 1
end

--- The handshake; before the first send or receive.
function Tls:dohandshake()
  local start = now()
  while true do
    local ok, reason = self.ssl:dohandshake()
    if ok then return true end
    if not wants(reason) then return nil, reason end
    ok, reason = wait(self, reason, start)
    if not ok then return nil, reason end
  end
end

--- As LuaSocket's: a line, all, or so many bytes.
function Tls:receive(pattern, prefix)
  local start, had = now(), #(prefix or "")
  while true do
    local data, reason, partial = self.ssl:receive(pattern or "*l", prefix)
    if data then return data end
    if reason == "closed" and (pattern == "*a" or pattern == "a") and #partial > had then
      return partial               -- all there was; LuaSec knows only what came since the wait
    end
    if not wants(reason) then return nil, reason, partial end
    prefix = partial
    local ok, why = wait(self, reason, start)
    if not ok then return nil, why, partial end
  end
end

--- As LuaSocket's: the index of the last byte sent.
function Tls:send(data, i, j)
  local start = now()
  i, j = i or 1, j or -1
  while true do
    local last, reason, sent = self.ssl:send(data, i, j)
    if last then return last end
    if not wants(reason) then return nil, reason, sent end
    i = sent + 1
    local ok, why = wait(self, reason, start)
    if not ok then return nil, why, sent end
  end
end

function Tls:close()
  self.ssl:close()
  return 1
end
Tls.__close = Tls.close

function Tls:getfd() return self.fd end
function Tls:dirty() return self.ssl:dirty() end
function Tls:info(field) return self.ssl:info(field) end
function Tls:getpeercertificate(n) return self.ssl:getpeercertificate(n) end
function Tls:getpeerverification() return self.ssl:getpeerverification() end
function Tls:sni(...) return self.ssl:sni(...) end

return { wrap = wrap }
