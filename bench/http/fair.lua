-- How fairly a server serves: fair.lua URL [connections [seconds]] asks over many connections,
-- one request after the other on each, and counts the answers of each.
local goro = require("goro")
local addr = assert(arg[1] and arg[1]:match("^http://([^/]*)"), "usage: fair.lua URL [n [s]]")
local n, seconds = tonumber(arg[2]) or 1000, tonumber(arg[3]) or 3
local request = "GET / HTTP/1.1\r\nHost: " .. addr .. "\r\n\r\n"

local function client(c, text, stop)
  local count = 0
  while stop:load() == 0 do
    c:write(text)
    repeat
      local bytes = c:read(nil, 0.1)
      if bytes then count = count + 1 end
    until bytes or stop:load() ~= 0
  end
  c:close()
  return count
end

local stop, tasks, counts, sum = goro.Atomic(), {}, {}, 0
for i = 1, n do tasks[i] = goro.async(client, assert(goro.net.dial(addr)), request, stop) end
goro.sleep(seconds)
stop:store(1)
for i = 1, n do counts[i] = tasks[i]:result() end
table.sort(counts)
for i = 1, n do sum = sum + counts[i] end
local top = 0
for i = n - n // 10 + 1, n do top = top + counts[i] end
print(("%d connections, %d answers: %d to %d each, median %d; the busiest tenth had %.0f%%")
  :format(n, sum, counts[1], counts[n], counts[n // 2 + 1], 100 * top / sum))
