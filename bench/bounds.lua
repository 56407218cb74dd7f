-- Checks goro's bounds, all as ratios of figures taken side by side in one run, and exits with
-- 1 if one is broken: tools/lua bench/bounds.lua [--runs N] [--only a,b]

local dir = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = dir .. "/?.lua;" .. package.path

local support = require("support")

local usage = [[
usage: tools/lua bench/bounds.lua [options]
  --runs N      pairs measured for each bound (default 5); their median ratio counts
  --only a,b    these bounds alone: pingpong, main, spawn, parked, record, string1m, compute
  --help        this text
]]

local goro, floor_lua, floor_c = support.goro, support.floor_lua, support.floor_c

-- Measures two workloads, { language, workers, name [, n] } each: the ratio of their figures.
local function beside(a, b, form)
  return function()
    local x, y = support.run(table.unpack(a)), support.run(table.unpack(b))
    if x and y then
      return x / y, form:format(x, y)
    end
  end
end
local NS = "%.0f ns / %.0f ns"

-- Each measure() returns a ratio and the two figures as text, or nil.  limit: the ratio is to
-- be `at` "most" or "least" this.
local bounds = {
  {
    name = "pingpong", at = "most", limit = 6,
    what = "a round trip takes %.2f coroutine round trips",
    measure = beside({ goro, 1, "pingpong" }, { floor_lua, 1, "coroutine" }, NS),
  },
  {
    name = "main", at = "most", limit = 1.5,
    what = "a round trip with the main script takes %.2f of one between goroutines",
    measure = beside({ goro, 2, "pingpong_main" }, { goro, 2, "pingpong" }, NS),
  },
  {
    name = "spawn", at = "least", limit = 2,
    what = "a goroutine is made %.2f times faster than a plain state",
    measure = beside({ floor_c, 1, "newstate" }, { goro, 1, "spawn" }, NS),
  },
  {
    name = "parked", at = "most", limit = 8.192,
    what = "each of 100,000 parked goroutines takes %.2f kB",
    measure = function()
      local bytes = support.run(goro, 1, "parked", 100000)
      if bytes then
        return bytes / 1000, ("%.0f bytes"):format(bytes)
      end
    end,
  },
  {
    name = "record", at = "most", limit = 4,
    what = "a record { id, name, tags } costs %.2f deep copies in plain Lua",
    measure = beside({ goro, 1, "record" }, { floor_lua, 1, "record" }, NS),
  },
  {
    name = "string1m", at = "most", limit = 2.5,
    what = "a string of 1 MB costs %.2f memcpys",
    measure = beside({ floor_c, 1, "memcpy1m" }, { goro, 1, "string1m" },
      "%.0f MB/s / %.0f MB/s"),
  },
  {
    name = "compute", at = "least", limit = 1.9, cpus = 2,
    what = "4 computing goroutines are %.2f times faster with 2 workers",
    measure = beside({ goro, 1, "compute" }, { goro, 2, "compute" }, "%.3f s / %.3f s"),
    -- What the machine itself gives: two processes of plain Lua, one after the other and at
    -- once.
    compare = function()
      local command = floor_lua.command(1) .. " compute"
      local alone = support.wall(("%s; %s"):format(command, command))
      local at_once = support.wall(("{ %s & %s & wait; }"):format(command, command))
      if alone and at_once then
        return ("two plain Lua processes: %.2f times faster at once"):format(alone / at_once),
          alone / at_once
      end
    end,
  },
}

local function check(bound, runs)
  local ratios, figures = {}, {}
  for _ = 1, runs do
    local ratio, text = bound.measure()
    if not ratio then
      return false, "could not be measured"
    end
    ratios[#ratios + 1] = ratio
    figures[ratio] = text
  end
  local ratio = support.median(ratios)
  local ok = bound.at == "most" and ratio <= bound.limit
    or bound.at == "least" and ratio >= bound.limit
  local text = (bound.what .. " (at %s %g); of %d: %.2f to %.2f"):format(ratio, bound.at,
    bound.limit, runs, math.min(table.unpack(ratios)), math.max(table.unpack(ratios)))
  if figures[ratio] then
    text = text .. "; median " .. figures[ratio]
  end
  return ok, text
end

local options = support.options(usage, { runs = "number", only = "string" })
local only
if options.only then
  only = {}
  for name in options.only:gmatch("[^,]+") do
    only[name] = true
  end
end

io.stdout:setvbuf("line")
local ready = support.prepare { goro, floor_lua, floor_c }
if not (ready[goro] and ready[floor_lua] and ready[floor_c]) then
  os.exit(1)
end
local failed, checked = false, 0
for _, bound in ipairs(bounds) do
  if only and not only[bound.name] then
    goto continue
  end
  checked = checked + 1
  if bound.cpus and support.cpus() < bound.cpus then
    print(("skip  %-9s needs %d CPUs"):format(bound.name, bound.cpus))
  else
    local ok, text = check(bound, options.runs or 5)
    local compared, best
    if not ok and bound.compare then
      compared, best = bound.compare()
      -- where the machine does not give that much to anybody, what it gives is the measure
      ok = best and best < 1.95 and bound.measure() >= 0.97 * best
    end
    failed = failed or not ok
    print(("%-5s %-9s %s"):format(ok and "ok" or "FAIL", bound.name, text))
    if compared then
      print(("      %-9s (%s)"):format("", compared))
    end
  end
  ::continue::
end
os.exit(not failed and checked > 0, true)
