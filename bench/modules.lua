-- What modules cost goroutines that capture them, beside requiring them anew in plain Lua;
-- exits with 1 if a bound is broken: tools/lua bench/modules.lua [--runs N] [--only a,b]
--
-- All times are CPU time of a process of its own, so that others on the machine matter little;
-- the two sides are measured in turn, and the median of the pairs' ratios counts.

local path = package.path
package.path = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/?.lua;" .. path
local support = require("support")
package.path = path
package.loaded.support = nil

local usage = [[
usage: tools/lua bench/modules.lua [options]
  --runs N      pairs measured for each bound (default 5); their median ratio counts
  --only a,b    these modules alone: dkjson, pl.List, socket.http, pl.class, socket,
                cjson, lpeg, re
  --procs N     goroutines run on N workers (default 1)
  --help        this text
Times: goroutines that capture and use a module, one after the other; the CPU time beyond what
plain goroutines take, against requiring it anew in plain Lua, with all that it requires; of
both what its use takes is taken off.
Memory: VmRSS of parked goroutines that captured it, beyond such as have opened the standard
libraries that it opens (plain Lua has them open), against what the module keeps in plain Lua by
its own count; and against VmRSS of states of plain Lua that loaded it, beyond such as did not.
]]

-- What each bound says; libs: the standard libraries that it opens, which plain Lua has open
-- and a goroutine has not; use: a small thing done with the module in every goroutine.
local modules = {
  { name = "dkjson", cheaper = 20, libs = { "package", "table", "string", "math", "debug" },
    use = function(m) return m.encode(1) end },
  { name = "pl.List", cheaper = 20, libs = { "package", "table", "string", "math", "io" },
    use = function(m) return #m { 1 } end },
  { name = "socket.http", cheaper = 20, libs = { "package", "table", "string", "math" },
    use = function(m) return m.TIMEOUT end },
  { name = "pl.class", cheaper = 20, libs = { "package", "io" },
    use = function(m) return type(m()) end },
  { name = "socket", libs = { "package", "string", "math" },
    use = function(m) return m._VERSION end },
  { name = "cjson", cheaper = 1, libs = { "package" },
    use = function(m) return m.encode(1) end },
  { name = "lpeg", cheaper = 1, libs = { "package" },      -- the part of re written in C
    use = function(m) return m.match("a", "a") end },
  { name = "re", libs = { "package" }, use = function(m) return m.match("a", "'a'") end },
}
for _, m in ipairs(modules) do modules[m.name] = m end

-- --- the measured programs -----------------------------------------------------------------

local standard = {}
for name in pairs(package.loaded) do standard[name] = true end

-- All that was required since, also what the modules required themselves.
local function unload()
  for name in pairs(package.loaded) do
    if not standard[name] then package.loaded[name] = nil end
  end
end

local function clocked(n, f)           -- microseconds each
  local start = os.clock()
  for _ = 1, n do f() end
  return (os.clock() - start) / n * 1e6
end

-- What the use alone takes, of a module that is there: none of the two sides is to pay for it.
local function used(name)
  local m, use = require(name), modules[name].use
  return clocked(20000, function() use(m) end)
end

local function kept(name)
  unload()
  for _ = 1, 4 do collectgarbage() end
  local before = collectgarbage("count")
  require(name)
  for _ = 1, 4 do collectgarbage() end
  return (collectgarbage("count") - before) * 1024
end

-- Those that are run in a process of their own: `name value` lines.
local programs = {}

-- Plain Lua: goro is not loaded.
function programs.plain(name, n)
  local use = modules[name].use
  local bytes = kept(name)
  local function anew()
    unload()
    use(require(name))
  end
  clocked(n // 10, anew)
  local time = clocked(n, anew)
  print("time", time - used(name))
  print("bytes", bytes)
end

-- f(ch) in n goroutines, one after the other; started by a goroutine.
local function one_by_one(goro, n, f)
  local done = goro.chan()
  local start = os.clock()
  goro.go(function()
    local ch = goro.chan()
    for _ = 1, n do
      goro.go(f, ch)
      ch:recv()
    end
    done:send(true)
  end)
  done:recv()
  return (os.clock() - start) / n * 1e6
end

function programs.goro(name, n)
  local goro = require("goro")
  local m, use = require(name), modules[name].use
  local function plain(ch) ch:send(1) end
  local function with(ch) ch:send(use(m)) end
  one_by_one(goro, n // 10, plain)
  one_by_one(goro, n // 10, with)
  local base = one_by_one(goro, n, plain)
  print("plain", base)
  print("time", one_by_one(goro, n, with) - base - used(name))
end

local function resident()
  local file <close> = assert(io.open("/proc/self/status"))
  return tonumber(file:read("a"):match("VmRSS:%s*(%d+)")) * 1024
end

-- Bytes of each of n goroutines that wait for a channel.
local function parked(goro, n, f, ...)
  local gate, started, ended = goro.chan(), goro.WaitGroup(), goro.WaitGroup()
  started:add(n)
  ended:add(n)
  collectgarbage()
  local before = resident()
  for _ = 1, n do goro.go(f, gate, started, ended, ...) end
  started:wait()
  local bytes = (resident() - before) / n
  gate:close()
  ended:wait()
  return bytes
end

-- Captures the module; or (`how` "libs") only opens the libraries that it opens; or ("bare")
-- nothing.
function programs.parked(name, n, how)
  local goro = require("goro")
  local m = how == nil and require(name)
  local f = m and function(gate, started, ended)
    local x = m
    started:done()
    gate:recv()
    ended:done()
    return x
  end or function(gate, started, ended, ...)
    for i = 1, select("#", ...) do local _ = _G[(select(i, ...))] end
    started:done()
    gate:recv()
    ended:done()
  end
  local libs = how == "libs" and modules[name].libs or {}
  parked(goro, 10, f, table.unpack(libs))
  print("bytes", parked(goro, n, f, table.unpack(libs)))
end

-- The parts of a module written in Lua: loading its chunk, and running it.
function programs.lua_part(name, n)
  local file = assert(package.searchpath(name, package.path))
  require(name)
  print("load", clocked(n, function() assert(loadfile(file)) end))
  local f = loadfile(file)
  print("body", clocked(n, function() f(name, file) end))
end

function programs.lua_part_goro(name, n)
  local goro = require("goro")
  local file = assert(package.searchpath(name, package.path))
  require(name)
  for _, line in ipairs(goro.async(function()
    require(name)
    local out = {}
    local function measure(what, f)
      local start = os.clock()
      for _ = 1, n do f() end
      out[#out + 1] = what .. " " .. (os.clock() - start) / n * 1e6
    end
    measure("load", function() assert(loadfile(file)) end)
    local f = loadfile(file)
    measure("body", function() f(name, file) end)
    return out
  end):result()) do
    print(line)
  end
end

if programs[arg[1]] then
  programs[arg[1]](arg[2], math.tointeger(tonumber(arg[3])), arg[4])
  os.exit(0, true)
end

-- --- the bounds ----------------------------------------------------------------------------

local options = support.options(usage, { runs = "number", only = "string", procs = "number" })
local runs, procs = options.runs or 5, options.procs or 1

local function run(program, name, n, how)
  local command = ("GOROMAXPROCS=%d '%s/tools/lua' '%s/bench/modules.lua' %s '%s' %d %s")
    :format(procs, support.root, support.root, program, name, n, how or "")
  local pipe = assert(io.popen(command))
  local values = {}
  for line in pipe:lines() do
    local key, value = line:match("^(%S+)%s+(%S+)$")
    if key then values[key] = tonumber(value) end
  end
  return pipe:close() and values or nil
end

local function installed(name)
  return package.searchpath(name, package.path) or package.searchpath(name, package.cpath)
end

local failed = false

-- Says how the median of the ratios, of `a` and `b` of each pair, keeps to its bound.
local function judge(name, text, limit, pairs_, show)
  local ratios, of = {}, {}
  for _, p in ipairs(pairs_) do
    local ratio = p[1] / p[2]
    ratios[#ratios + 1] = ratio
    of[ratio] = p
  end
  if #ratios == 0 then
    failed = true
    print(("FAIL  %-12s could not be measured"):format(name))
    return
  end
  local ratio = support.median(ratios)
  local ok = not limit or (limit.least and ratio >= limit.least) or
    (limit.most and ratio <= limit.most)
  failed = failed or not ok
  local bound = "no bound"
  if limit then
    bound = limit.least and ("at least %g"):format(limit.least)
      or ("at most %g"):format(limit.most)
  end
  print(("%-5s %-12s %s (%s); of %d: %.2f to %.2f%s"):format(
    not limit and "    " or ok and "ok" or "FAIL", name, text:format(ratio), bound, #ratios,
    math.min(table.unpack(ratios)), math.max(table.unpack(ratios)),
    of[ratio] and "; median " .. show:format(of[ratio][1], of[ratio][2]) or ""))
end

-- `runs` pairs of what a() and b() give.
local function measure(a, b)
  local list = {}
  for _ = 1, runs do
    local x, y = a(), b()
    if x and y then list[#list + 1] = { x, y } end
  end
  return list
end

local function value(key, ...)
  local values = run(...)
  return values and values[key]
end

local PARKED = 2000
local floor = support.prepare { support.floor_c }[support.floor_c]

-- What a state of plain Lua, which required the module if one is named, has resident.
local function floor_resident(name)
  if not floor then return nil end
  local pipe = assert(io.popen(("MALLOC_ARENA_MAX=1 BENCH_CODE='%s' %s resident %d"):format(
    name and ('require "%s"'):format(name) or "", support.floor_c.command(), PARKED)))
  local bytes = pipe:read("a"):match("^resident (%S+) bytes")
  return pipe:close() and tonumber(bytes)
end

local only
if options.only then
  only = {}
  for name in options.only:gmatch("[^,]+") do only[name] = true end
end

io.stdout:setvbuf("line")
local checked = 0
for _, m in ipairs(modules) do
  local name = m.name
  if only and not only[name] then goto continue end
  if not installed(name) then
    print(("skip  %-12s is not installed"):format(name))
    goto continue
  end
  checked = checked + 1
  local per = name == "re" and 1000 or 10000
  judge(name, "%.1f times cheaper than requiring anew", m.cheaper and { least = m.cheaper },
    measure(function() return value("time", "plain", name, m.cheaper == 1 and 5000 or 500) end,
      function() return value("time", "goro", name, per) end), "%.1f us / %.2f us")
  local function growth(how)
    return function()
      local bytes = value("bytes", "parked", name, PARKED)
      local base = value("bytes", "parked", name, PARKED, how)
      return bytes and base and bytes - base
    end
  end
  local function keeps() return value("bytes", "plain", name, 10) end
  local function states()                          -- after a collection
    local with, without = floor_resident(name), floor_resident()
    return with and without and with - without
  end
  judge(name, "parked it takes %.2f of what the module keeps",
    m.cheaper == 20 and { most = 1.1 }, measure(growth("libs"), keeps),
    "%.0f bytes / %.0f bytes")
  judge(name, "(%.2f, beyond a goroutine with no library open)", nil,
    measure(growth("bare"), keeps), "%.0f bytes / %.0f bytes")
  judge(name, "parked it takes %.2f of what a state of plain Lua grows by", { most = 1.1 },
    measure(growth("libs"), states), "%.0f bytes / %.0f bytes")
  if name == "re" then
    judge(name, "its chunk is loaded %.1f times quicker", { least = 5 },
      measure(function() return value("load", "lua_part", name, 500) end,
        function() return value("load", "lua_part_goro", name, 500) end), "%.1f us / %.2f us")
    judge(name, "its body (293 userdata, made in each state) %.2f times quicker", nil,
      measure(function() return value("body", "lua_part", name, 500) end,
        function() return value("body", "lua_part_goro", name, 500) end), "%.1f us / %.2f us")
  end
  ::continue::
end
os.exit(not failed and checked > 0, true)
