-- A server that answers JSON with dkjson and a class library, a goroutine for each request: the
-- modules stand in the image that those goroutines start from, so that costs little.
-- Try: wrk -c 64 -d 5 'http://127.0.0.1:8080/order?items=5'
local goro = require("goro")
local json = require("dkjson")
local class = require("pl.class")

local usage = [[
usage: lua examples/json_server.lua [options]
  --addr HOST:PORT   where to listen (127.0.0.1:8080; port 0: a free one, which is printed)
  --long-lived       answer all requests in one goroutine, to compare
  --help             this text]]

local addr, long_lived = "127.0.0.1:8080", false
do
  local i = 1
  while arg[i] do
    if arg[i] == "--help" then
      print(usage)
      return
    elseif arg[i] == "--long-lived" then
      long_lived = true
    elseif arg[i] == "--addr" and arg[i + 1] then
      i = i + 1
      addr = arg[i]
    else
      io.stderr:write("json_server: bad option ", arg[i], "\n", usage, "\n")
      os.exit(2)
    end
    i = i + 1
  end
end

-- What one request asks for: /order?items=N -> status, JSON.
local function answer(target)
  local Order = class()
  function Order:_init(n)
    self.items = {}
    for i = 1, n do self.items[i] = { name = "item " .. i, price = i * 1.5, count = i } end
  end
  function Order:total()
    local sum = 0
    for _, item in ipairs(self.items) do sum = sum + item.price * item.count end
    return sum
  end

  local n = math.tointeger(tonumber(target:match("^/order%?items=(%d+)$")))
  if not n or n > 1000 then
    return "404 Not Found", json.encode({ error = "try /order?items=5" })
  end
  local order = Order(n)
  return "200 OK", json.encode({ items = order.items, total = order:total() })
end

-- To compare: one goroutine that has the modules, and answers all.
local questions = goro.chan()
if long_lived then
  goro.go(function()
    for q in questions:range() do q.reply:send(table.pack(answer(q.target))) end
  end)
end

-- In the connection's goroutine: only text, none of the modules.
local function ask(start, target)
  if not start then
    local reply = goro.chan(1)
    questions:send { target = target, reply = reply }
    return table.unpack((reply:recv()))
  end
  return goro.async(answer, target):result()
end

local function serve(c)
  local _ <close> = c
  while true do
    local line = c:read_line(60)
    local target = line and line:match("^GET (%S+) HTTP/1%.1$")
    if not target then return end
    repeat line = c:read_line(60) until not line or line == ""
    local status, body = ask(not long_lived, target)
    local head = "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    if not c:write { head:format(status, #body), body } then return end
  end
end

local listener, err = goro.net.listen(addr)
if not listener then
  io.stderr:write("json_server: ", err, "\n")
  os.exit(1)
end
print("http://" .. listener:addr() .. "/")
goro.on_panic("report")
while true do
  local c = assert(listener:accept())
  goro.go(serve, c)
end
