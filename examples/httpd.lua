-- An HTTP/1.1 server: a goroutine for each connection, keep-alive, pipelining, HEAD, files of a
-- folder or one answer for all.  Try: wrk -c 64 -d 10 http://127.0.0.1:8080/
local goro = require("goro")

local usage = [[
usage: lua examples/httpd.lua [options]
  --addr HOST:PORT   where to listen (127.0.0.1:8080; port 0: a free one, which is printed)
  --root DIR         serve the files of this folder instead of a greeting
  --timeout S        close connections that are idle for so long (60 s)
  --help             this text]]

local options = { addr = "127.0.0.1:8080", timeout = "60" }
do
  local i = 1
  while arg[i] do
    local name = arg[i]:match("^%-%-(%l+)$")
    if name == "help" then
      print(usage)
      return
    elseif (name == "addr" or name == "root" or name == "timeout") and arg[i + 1] then
      options[name], i = arg[i + 1], i + 2
    else
      io.stderr:write("httpd: bad option ", arg[i], "\n", usage, "\n")
      os.exit(2)
    end
  end
end
local idle = tonumber(options.timeout) or 60

local reasons = {
  [200] = "200 OK", [400] = "400 Bad Request", [403] = "403 Forbidden", [404] = "404 Not Found",
  [405] = "405 Method Not Allowed", [413] = "413 Content Too Large",
  [431] = "431 Header Too Large", [501] = "501 Not Implemented",
  [505] = "505 HTTP Version Not Supported",
}
local types = {
  html = "text/html; charset=utf-8", txt = "text/plain; charset=utf-8", css = "text/css",
  js = "text/javascript", json = "application/json", png = "image/png", svg = "image/svg+xml",
}

local function response(status, body, kind, keep, head)
  return "HTTP/1.1 " .. reasons[status] .. "\r\nContent-Type: " .. kind
    .. "\r\nContent-Length: " .. #body .. (keep and "\r\n" or "\r\nConnection: close\r\n")
    .. "\r\n" .. (head and "" or body)
end

local function failure(status)
  return status, reasons[status] .. "\n", types.txt
end

--- The file a path names -> status, body, type.
local function file(root, path)
  path = path:gsub("%?.*", "")
  path = path:gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end)
  if path:find("%z") or ("/" .. path .. "/"):find("/..", 1, true) then return failure(403) end
  if path:sub(-1) == "/" then path = path .. "index.html" end
  local f <close> = goro.open(root .. path)
  local body = f and f:read_all()
  if not body then return failure(404) end
  return 200, body, types[path:match("%.(%w+)$")] or "application/octet-stream"
end

local wanted = { [67] = true, [99] = true, [84] = true, [116] = true }   -- C, c, T, t
local byte, find, lower, match = string.byte, string.find, string.lower, string.match

--- Reads a request's head and skips its body -> method, target, keep the connection?; or nil,
--- the status to answer with, or nil if there is none.
local function request(c, wait)
  local line, why = c:read_line(wait)
  if line == "" then line, why = c:read_line(wait) end       -- one empty line before is allowed
  if not line then return nil, why == "line too long" and 431 or nil end
  local method, target, version = match(line, "^(%u+) (%S+) HTTP/(%d%.%d)$")
  if not method then return nil, 400 end
  if version ~= "1.1" and version ~= "1.0" then return nil, 505 end
  local keep, length = version == "1.1", 0
  for _ = 1, 100 do
    line, why = c:read_line(wait)
    if not line then return nil, why == "line too long" and 431 or nil end
    if line == "" then                                       -- the end of the head
      if length > 1 << 20 then return nil, 413 end
      if length > 0 and not c:read_full(length, wait) then return nil end
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

local hello = response(200, "Hello, world!\n", types.txt, true)

local function serve(c, root, wait)
  local _ <close> = c
  while true do
    local method, target, keep = request(c, wait)
    if not method then
      local status = target
      if status then c:write(response(status, reasons[status] .. "\n", types.txt, false)) end
      return
    end
    local answer = hello
    if root or not keep or method ~= "GET" then
      local status, body, kind = 200, "Hello, world!\n", types.txt
      if method ~= "GET" and method ~= "HEAD" then status, body, kind = failure(405)
      elseif root then status, body, kind = file(root, target) end
      answer = response(status, body, kind, keep, method == "HEAD")
    end
    if not c:write(answer, wait) or not keep then return end
  end
end

local listener, err = goro.net.listen(options.addr)
if not listener then
  io.stderr:write("httpd: ", err, "\n")
  os.exit(1)
end
print("http://" .. listener:addr() .. "/")
goro.on_panic("report")
while true do
  local c, why = listener:accept()
  if c then goro.go(serve, c, options.root, idle)
  else
    io.stderr:write("httpd: ", why, "\n")            -- too many open files, most likely
    goro.sleep(0.1)
  end
end
