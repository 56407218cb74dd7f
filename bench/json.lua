-- examples/json_server.lua, a goroutine for each request, beside the same server with the
-- modules in one long-lived goroutine; exits with 1 if it answers less than 0.7 times as many:
-- tools/lua bench/json.lua [--runs N]

package.path = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/?.lua;" .. package.path
local support = require("support")

local usage = [[
usage: tools/lua bench/json.lua [options]
  --runs N      pairs of servers, one after the other (default 5); their median ratio counts
  --seconds N   how long each is asked (default 2)
  --conns N     connections that ask (default 64)
  --procs N     workers of the server (default: as many as CPUs)
  --help        this text
Asked by wrk, if it is installed, else by a goro program of its own process.
]]

-- Asks for `seconds` over `conns` connections, and prints how many answers came.
if arg[1] == "client" then
  local path = package.path
  package.path = path:gsub("^[^;]*;", "")
  local goro = require("goro")
  local addr, conns, seconds = arg[2], tonumber(arg[3]), tonumber(arg[4])
  local count, wg = goro.Atomic(), goro.WaitGroup()
  local till = goro.now() + seconds
  for _ = 1, conns do
    wg:go(function()
      local c <close> = assert(goro.net.dial(addr))
      while goro.now() < till do
        assert(c:write("GET /order?items=5 HTTP/1.1\r\nHost: x\r\n\r\n"))
        local length
        while true do
          local line = assert(c:read_line(10))
          if line == "" then break end
          length = tonumber(line:match("^Content%-Length: (%d+)")) or length
        end
        assert(c:read(length, 10))
        count:add(1)
      end
    end)
  end
  wg:wait()
  print(count:load())
  return
end

local options = support.options(usage,
  { runs = "number", seconds = "number", conns = "number", procs = "number" })
local runs, seconds, conns = options.runs or 5, options.seconds or 2, options.conns or 64
local procs = options.procs or support.cpus()
local wrk = os.execute("command -v wrk >/dev/null 2>&1")

local function capture(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read("a")
end

-- CPU seconds that a process has used.
local function cpu(pid)
  local file <close> = assert(io.open("/proc/" .. pid .. "/stat"))
  local user, system = file:read("a"):match("^.*%)" .. (" %S+"):rep(11) .. " (%d+) (%d+)")
  return (user + system) / 100
end

-- How many answers came in `time` seconds.
local function ask(addr, time)
  if wrk then
    local out = capture(("wrk -t 1 -c %d -d %ds 'http://%s/order?items=5'"):format(conns, time,
      addr))
    return tonumber(out:match("(%d+) requests in")), out:match("Non%-2xx")
  end
  return tonumber(capture(("'%s/tools/lua' '%s/bench/json.lua' client %s %d %d"):format(
    support.root, support.root, addr, conns, time)))
end

-- One server: answers a second, and microseconds of CPU time for each.
local function measure(how)
  local command = "GOROMAXPROCS=%d '%s/tools/lua' '%s/examples/json_server.lua' " ..
    "--addr 127.0.0.1:0 %s & echo $!; wait"
  local pipe = assert(io.popen(command:format(procs, support.root, support.root, how)))
  local pid = pipe:read("l")
  local addr = (pipe:read("l") or ""):match("^http://([^/]+)/$")
  local rate, each
  if addr then
    ask(addr, 1)
    local before = cpu(pid)
    local n, bad = ask(addr, seconds)
    if n and n > 0 and not bad then
      rate, each = n / seconds, (cpu(pid) - before) / n * 1e6
    end
  end
  os.execute("kill " .. pid .. " 2>/dev/null")
  pipe:close()
  return rate, each
end

io.stdout:setvbuf("line")
local by_clock, by_cpu = {}, {}
for i = 1, runs do
  local rate1, each1 = measure("")
  local rate2, each2 = measure("--long-lived")
  if not (rate1 and rate2) then
    io.stderr:write("json: the server could not be measured\n")
    os.exit(1)
  end
  by_clock[i], by_cpu[i] = rate1 / rate2, each2 / each1
  print(("      %.0f / %.0f a second, %.1f / %.1f us of CPU time each"):format(rate1, rate2,
    each1, each2))
end
local function judge(name, ratios)
  local ratio = support.median(ratios)
  local ok = ratio >= 0.7
  print(("%-5s a goroutine a request answers %.2f times as many by %s as one for all " ..
    "(at least 0.7); of %d: %.2f to %.2f"):format(ok and "ok" or "FAIL", ratio, name, runs,
    math.min(table.unpack(ratios)), math.max(table.unpack(ratios))))
  return ok
end
local ok = judge("the clock", by_clock)
ok = judge("CPU time", by_cpu) and ok
os.exit(ok, true)
