-- The same answer from copas (LuaSocket), one thread: copas.lua [least] -> prints its address.
-- It parses requests as examples/httpd.lua does; `least`: looks for "Connection: close" only.
local copas, socket = require("copas"), require("socket")
local byte, find, lower, match = string.byte, string.find, string.lower, string.match
local body = "Hello, world!\n"
local answer = ("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
  .. "Content-Length: %d\r\n\r\n%s"):format(#body, body)

local wanted = { [67] = true, [99] = true, [84] = true, [116] = true }   -- C, c, T, t

local function request(c)
  local line = c:receive("*l")
  if line == "" then line = c:receive("*l") end
  if not line then return nil end
  local method, target, version = match(line, "^(%u+) (%S+) HTTP/(%d%.%d)$")
  if not method then return nil, 400 end
  if version ~= "1.1" and version ~= "1.0" then return nil, 505 end
  local keep, length = version == "1.1", 0
  for _ = 1, 100 do
    line = c:receive("*l")
    if not line then return nil end
    if line == "" then
      if length > 1 << 20 then return nil, 413 end
      if length > 0 and not c:receive(length) then return nil end
      return method, target, keep
    end
    local _, at = find(line, "^[^%s:]+:")
    if not at then return nil, 400 end
    if wanted[byte(line)] then
      local name, value = lower(line):match("^(.-):%s*(.-)%s*$")
      if name == "connection" then
        if find(value, "close", 1, true) then keep = false
        elseif find(value, "keep-alive", 1, true) then keep = true end
      elseif name == "content-length" then
        length = match(value, "^%d+$") and math.tointeger(value)
        if not length then return nil, 400 end
      elseif name == "transfer-encoding" then
        return nil, 501
      end
    end
  end
  return nil, 431
end

local function least(c)
  local line = c:receive("*l")
  if not line then return end
  local keep = true
  repeat
    line = c:receive("*l")
    if not line then return end
    local name, value = match(line, "^([^%s:]+):%s*(.-)%s*$")
    if name and lower(name) == "connection" and lower(value) == "close" then keep = false end
  until line == ""
  return "GET", "/", keep
end

local parse = arg[1] == "least" and least or request
local server = assert(socket.bind("127.0.0.1", 0, 4096))
local _, port = server:getsockname()
copas.addserver(server, function(s)
  s:setoption("tcp-nodelay", true)
  s = copas.wrap(s)
  while true do
    local method, _, keep = parse(s)
    if method ~= "GET" then return end
    s:send(answer)
    if not keep then return end
  end
end)
print("http://127.0.0.1:" .. port .. "/")
io.stdout:flush()
copas.loop()
