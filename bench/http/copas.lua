-- The same answer from copas (LuaSocket), one thread: copas.lua -> prints its address.
local copas, socket = require("copas"), require("socket")
local body = "Hello, world!\n"
local answer = ("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
  .. "Content-Length: %d\r\n\r\n%s"):format(#body, body)
local server = assert(socket.bind("127.0.0.1", 0, 4096))
local _, port = server:getsockname()
copas.addserver(server, function(s)
  s:setoption("tcp-nodelay", true)
  s = copas.wrap(s)
  while true do
    local line = s:receive("*l")
    if not line then return end
    local keep = true
    repeat
      line = s:receive("*l")
      if not line then return end
      local name, value = line:match("^([^%s:]+):%s*(.-)%s*$")
      if name and name:lower() == "connection" and value:lower() == "close" then
        keep = false
      end
    until line == ""
    s:send(answer)
    if not keep then return end
  end
end)
print("http://127.0.0.1:" .. port .. "/")
io.stdout:flush()
copas.loop()
