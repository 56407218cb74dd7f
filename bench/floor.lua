-- What plain Lua, without goro, pays for the like: lua5.4 bench/floor.lua floor [n]
--
-- Prints `floor value unit`.  Time is the process's CPU time (plain Lua has no finer clock).
-- BENCH_SCALE (a factor) shortens those that count operations.

local clock = os.clock

-- One resume and one yield.
local function coroutine_trip(n)
  local resume, yield = coroutine.resume, coroutine.yield
  local co = coroutine.create(function(v)
    while true do
      v = yield(v)
    end
  end)
  for i = 1, n do
    resume(co, i)
  end
end

-- Two calls of C functions as methods, as one send and one receive are.
local function two_calls(n)
  local s = "x"
  for _ = 1, n do
    s:len()
    s:len()
  end
end

-- The prime sieve with a coroutine for each filter; a loop, not nested resumes, which end at a
-- depth of some 190, hands the numbers on.
local function sieve(n)
  local wrap, yield = coroutine.wrap, coroutine.yield
  local filters, count, candidate = {}, 0, 1
  while count < n do
    candidate = candidate + 1
    local v = candidate
    for i = 1, count do
      v = filters[i](v)
      if not v then
        break
      end
    end
    if v then
      local p = v
      local filter = wrap(function(x)
        while true do
          x = yield(x % p ~= 0 and x or nil)
        end
      end)
      count = count + 1
      filters[count] = filter
    end
  end
  assert(n ~= 1000 or candidate == 7919)
end

local function skynet(number, size)
  if size == 1 then
    return number
  end
  local part, sum = size // 10, 0
  for i = 0, 9 do
    sum = sum + coroutine.wrap(skynet)(number + i * part, part)
  end
  return sum
end

local function copy(v, seen)
  if type(v) ~= "table" then
    return v
  end
  local new = seen[v]
  if not new then
    new = {}
    seen[v] = new
    for k, x in next, v do
      new[copy(k, seen)] = copy(x, seen)
    end
  end
  return new
end

local function record(n)
  for i = 1, n do
    copy({ id = i, name = "a name", tags = { "red", "green", "blue" } }, {})
  end
end

local function table10k(n)
  local t = {}
  for i = 1, 5000 do
    t[i] = i
    t["key" .. i] = i
  end
  for _ = 1, n do
    copy(t, {})
  end
end

-- string.dump, load and three upvalues.
local function closure(n)
  local dump, getupvalue, setupvalue = string.dump, debug.getupvalue, debug.setupvalue
  for i = 1, n do
    local a, b, c = i, 2.5, "three"
    local function f()
      return a + b + #c
    end
    local g = load(dump(f, true), "f", "b")
    for up = 1, 3 do
      local _, v = getupvalue(f, up)
      setupvalue(g, up, v)
    end
    g()
  end
end

-- The same function as in bench/goro.lua.
local function collatz(n)
  local steps = 0
  for i = 1, n do
    local x = i
    while x ~= 1 do
      if x % 2 == 0 then
        x = x // 2
      else
        x = 3 * x + 1
      end
      steps = steps + 1
    end
  end
  return steps
end

local function compute(n)
  for _ = 1, 4 do
    collatz(n)
  end
end

-- name, default n, unit, function; fixed: n is a size, not to be scaled.
local list = {
  { "coroutine", 3000000, "ns", coroutine_trip },
  { "two_calls", 8000000, "ns", two_calls },
  { "sieve", 1000, "ms", sieve, fixed = true },
  { "skynet", 100000, "ms", function(n) skynet(0, n) end, fixed = true },
  { "record", 300000, "ns", record },
  { "table10k", 300, "us", table10k },
  { "closure", 200000, "ns", closure },
  { "compute", 120000, "s", compute },
}

local per_unit = {
  ns = function(seconds, n) return seconds * 1e9 / n end,
  us = function(seconds, n) return seconds * 1e6 / n end,
  ms = function(seconds) return seconds * 1e3 end,
  s = function(seconds) return seconds end,
}

local function run(w, n)
  local name, default, unit, f = table.unpack(w)
  if not n then
    local scale = w.fixed and 1 or tonumber(os.getenv("BENCH_SCALE")) or 1
    n = math.max(math.floor(default * scale), 1)
  end
  local start = clock()
  f(n)
  return ("%s %.6g %s"):format(name, per_unit[unit](clock() - start, n), unit)
end

if not arg[1] then
  for _, w in ipairs(list) do
    print(("%-14s %8d"):format(w[1], w[2]))
  end
  return
end
for _, w in ipairs(list) do
  if w[1] == arg[1] then
    print(run(w, math.tointeger(tonumber(arg[2]))))
    return
  end
end
io.stderr:write("no floor '", arg[1], "'\n")
os.exit(2)
