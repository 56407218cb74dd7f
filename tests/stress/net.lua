-- Echo round trips over many connections, which are killed and made anew at random: no byte is
-- lost or mixed, nobody is left behind, no descriptor leaks: tests/stress/net.lua [s [seed]]
-- (a round: 20,000 round trips over 500 connections; GOROSTRESS=small: a tenth of both)
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")

local small = os.getenv("GOROSTRESS") == "small" and 10 or 1
local CONNECTIONS, TRIPS = 500 // small, 20000 // small

local function sockets()
  local n = 0
  local stat <close> = io.open("/proc/self/stat")
  local list <close> = io.popen("ls -l /proc/" .. stat:read("n") .. "/fd")
  for line in list:lines() do
    if line:find("socket:", 1, true) then n = n + 1 end
  end
  return n
end

local function echo(c)
  local _ <close> = c
  while true do
    local s = c:read_line(30)
    if not s then return end
    if not c:write({ s, "\n" }, 30) then return end
  end
end

-- One client: its connections die in many ways, its round trips are counted.
local function client(i, addr, left, done)
  local c, n = nil, 0
  while left:add(-1) >= 0 do
    if not c then c = assert(goro.net.dial(addr, 30)) end
    n = n + 1
    local s = ("%d:%d:"):format(i, n) .. ("x"):rep(math.random(0, 300))
    assert(c:write(s .. "\n", 30) == #s + 1)
    local back, why = c:read_line(30)
    assert(back == s, why or "other bytes came back")
    done:add(1)
    local die = math.random(60)
    if die == 1 then
      c:close()
      c = nil
    elseif die == 2 then               -- with an answer on its way
      c:write("lost\n")
      c:close()
      c = nil
    elseif die == 3 then               -- half of it first
      c:close_write()
      assert(c:read_all(30) == "")
      c = nil                          -- and left to the collector
    elseif die == 4 then               -- closed by another, while it reads
      local victim = c
      goro.go(function() victim:close() end)
      local line, reason = victim:read_line(30)
      assert(line == nil and reason == "closed", reason)
      c = nil
    elseif die <= 6 then harness.linger() end
  end
  if c then c:close() end
end

local before
harness.run("net", function(seed)
  local l = assert(goro.net.listen("127.0.0.1:0"))
  local left, done = goro.Atomic(TRIPS), goro.Atomic()
  local baseline = goro.num_goroutine()
  goro.go(function()
    for c in function() return (l:accept()) end do goro.go(echo, c) end
  end)
  harness.crowd(CONNECTIONS, seed, client, l:addr(), left, done)
  assert(done:load() == TRIPS, ("%d of %d round trips"):format(done:load(), TRIPS))
  l:close()
  while goro.num_goroutine() > baseline do goro.yield() end
  collectgarbage()
  before = before or sockets()
  assert(sockets() <= before, ("%d sockets, %d before"):format(sockets(), before))
end)
