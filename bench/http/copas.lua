-- The same answer from copas (LuaSocket), one thread: copas.lua [least] -> prints its address.
-- It parses requests as examples/httpd.lua does; `least`: looks for "Connection: close" only.
local copas, socket = require("copas"), require("socket")
local body = "Hello, world!\n"
local answer = ("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
  .. "Content-Length: %d\r\n\r\n%s"):format(#body, body)

-- The example's own request(), with LuaSocket's names for its reads.
local function request()
  local dir = arg[0]:match("^(.*/)bench/http/[^/]*$") or ""
  local text = assert(io.open(dir .. "examples/httpd.lua")):read("a")
  local lines, whole
  text = text:match("\n(local wanted = .-\nlocal function request.-\nend\n)")
  text, lines = text:gsub("c:read_line%(wait%)", 'c:receive("*l")')
  text, whole = text:gsub("c:read_full%(length, wait%)", "c:receive(length)")
  assert(lines == 3 and whole == 1, "examples/httpd.lua reads in another way now")
  return assert(load(text .. "return request"))()
end

local function least(c)
  local line = c:receive("*l")
  if not line then return end
  local keep = true
  repeat
    line = c:receive("*l")
    if not line then return end
    local name, value = line:match("^([^%s:]+):%s*(.-)%s*$")
    if name and name:lower() == "connection" and value:lower() == "close" then keep = false end
  until line == ""
  return "GET", "/", keep
end

local parse = arg[1] == "least" and least or request()
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
