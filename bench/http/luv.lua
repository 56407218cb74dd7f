-- The same answer from luv (libuv), one thread: luv.lua -> prints its address.
local uv = require("luv")
local body = "Hello, world!\n"
local answer = ("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
  .. "Content-Length: %d\r\n\r\n%s"):format(#body, body)
local server = uv.new_tcp()
server:bind("127.0.0.1", 0)
server:listen(4096, function()
  local c, rest = uv.new_tcp(), ""
  server:accept(c)
  c:nodelay(true)
  c:read_start(function(err, data)
    if err or not data then
      c:close()
      return
    end
    rest = rest .. data
    while true do                      -- parses the least that is enough for wrk
      local _, stop = rest:find("\r\n\r\n", 1, true)
      if not stop then return end
      local head = rest:sub(1, stop)
      rest = rest:sub(stop + 1)
      local keep = true
      for line in head:gmatch("(.-)\r\n") do
        local name, value = line:match("^([^%s:]+):%s*(.-)%s*$")
        if name and name:lower() == "connection" and value:lower() == "close" then
          keep = false
        end
      end
      c:write(answer)
      if not keep then
        c:close()
        return
      end
    end
  end)
end)
print("http://127.0.0.1:" .. server:getsockname().port .. "/")
io.stdout:flush()
uv.run()
