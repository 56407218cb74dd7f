-- Runs the benchmarks and prints their medians: tools/lua bench/run.lua [options]
--
-- Each run goes through all workloads, and in each through the languages in turn, so that a
-- slow spell of the machine meets all of them.  Absolute times are this machine's; the ratios
-- travel better.

local dir = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = dir .. "/?.lua;" .. package.path

local support = require("support")

local usage = [[
usage: tools/lua bench/run.lua [options]
  --runs N      how often each workload is run (default 5)
  --quick       one short run each: figures to look at, not to quote
  --only a,b    these workloads alone
  --json FILE   writes all figures to FILE
  --help        this text
Workloads run with 1 and 2 workers, in goro and, where installed, in Go and Erlang.
]]

-- name; the floor: language and name; what it says for the legend.  erlang = false: it has no
-- such thing.
local workloads = {
  { "spawn", "floor_c", "newstate", "luaL_newstate + luaL_openlibs + lua_close" },
  { "parked", "floor_c", "state_bytes", "what a plain state with its libraries allocates" },
  { "pingpong", "floor_lua", "coroutine", "one coroutine.resume and coroutine.yield" },
  { "pingpong_main", "floor_lua", "coroutine", "the same" },
  { "stream", "floor_lua", "two_calls", "two method calls of C functions" },
  { "prodcons", "floor_lua", "two_calls", "the same" },
  { "ring", "floor_lua", "coroutine", "one coroutine.resume and coroutine.yield" },
  { "sieve", "floor_lua", "sieve", "the sieve with coroutines" },
  { "skynet", "floor_lua", "skynet", "the tree with coroutines" },
  { "select4", "floor_lua", "two_calls", "two method calls of C functions" },
  { "record", "floor_lua", "record", "a deep copy in Lua" },
  { "sleepers" },
  { "compute", "floor_lua", "compute", "the same, one after the other, in plain Lua" },
  { "closure", "floor_lua", "closure", "string.dump, load, three upvalues" },
  { "string1m", "floor_c", "memcpy1m", "one memcpy" },
  { "table10k", "floor_lua", "table10k", "a deep copy in Lua" },
  { "mutex", "floor_lua", "two_calls", "two method calls of C functions", erlang = false },
  { "mutex_close", erlang = false },
  { "mutex4", "floor_lua", "two_calls", "the same", erlang = false },
  { "map_one", "floor_lua", "two_calls", "the same", erlang = false },
  { "map_many", "floor_lua", "two_calls", "the same", erlang = false },
  { "map_update", erlang = false },
  { "jitter", erlang = false },
  { "contexts", erlang = false },
}

-- Floors that stand below a table of all workloads: what a state without libraries costs.
local further = {
  { "bare", "lua_newstate + lua_close" },
  { "bare_bytes", "what a state without libraries allocates" },
}

local WORKERS = { 1, 2 }

-- --- running --------------------------------------------------------------------------------

-- results[workload][language name][workers] = { unit = , values = {} }
local function note_figure(results, workload, language, workers, value, unit)
  local by_language = results[workload] or {}
  results[workload] = by_language
  local by_workers = by_language[language] or {}
  by_language[language] = by_workers
  local entry = by_workers[workers] or { values = {} }
  by_workers[workers] = entry
  entry.unit = unit or entry.unit
  entry.values[#entry.values + 1] = value
end

local function run_workload(results, ready, w)
  local name, floor, floor_name = w[1], w[2] and support[w[2]], w[3]
  for _, workers in ipairs(WORKERS) do
    for _, language in ipairs(ready) do
      local floor_only = language == support.floor_lua or language == support.floor_c
      if not floor_only and (language ~= support.erlang or w.erlang ~= false) then
        note_figure(results, name, language.name, workers,
          support.run(language, workers, name))
      end
    end
  end
  if floor and ready[floor] then
    note_figure(results, name, "floor", 1, support.run(floor, 1, floor_name))
  end
end

-- --- printing -------------------------------------------------------------------------------

local function median_of(results, workload, language, workers)
  local entry = results[workload] and results[workload][language]
  entry = entry and entry[workers]
  if entry then
    return support.median(entry.values), entry.unit
  end
end

local function figure(value)
  if not value then
    return "-"
  elseif value >= 100 then
    return ("%.0f"):format(value)
  end
  return ("%.3g"):format(value)
end

-- How many times as much goro takes (of a rate: how many times less it gives).
local function ratio(value, other, unit)
  if not (value and other) then
    return "-"
  end
  return ("%.2f"):format(unit == "MB/s" and other / value or value / other)
end

local function row_of(results, w)
  local name = w[1]
  local goro1, unit = median_of(results, name, "goro", 1)
  local goro2 = median_of(results, name, "goro", 2)
  local go1, go_unit = median_of(results, name, "Go", 1)
  local erlang1, erlang_unit = median_of(results, name, "Erlang", 1)
  local floor, floor_unit = median_of(results, name, "floor", 1)
  unit = unit or go_unit or erlang_unit or floor_unit or ""
  return {
    name, unit, figure(goro1), figure(goro2),
    figure(go1), figure((median_of(results, name, "Go", 2))),
    figure(erlang1), figure((median_of(results, name, "Erlang", 2))),
    figure(floor),
    ratio(goro1, goro2, unit), ratio(goro1, go1, unit), ratio(goro1, erlang1, unit),
    ratio(goro1, floor, unit),
  }
end

local HEAD = {
  "workload", "unit", "goro 1", "goro 2", "Go 1", "Go 2", "Erlang 1", "Erlang 2", "floor",
  "1 / 2", "/ Go", "/ Erlang", "/ floor",
}

local function print_table(results, chosen)
  local rows, widths = { HEAD }, {}
  for _, w in ipairs(chosen) do
    rows[#rows + 1] = row_of(results, w)
  end
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, #cell)
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      cells[i] = (i <= 2 and "%-" or "%") .. widths[i] .. "s"
      cells[i] = cells[i]:format(cell)
    end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
  print("\n1 and 2 are workers.  Ratios are goro's figure with 1 worker by that with 2, and by")
  print("the others' with 1 (below 1: goro takes less; of MB/s, the other way round).  Floors:")
  for _, w in ipairs(chosen) do
    if w[4] then
      print(("  %-14s %s"):format(w[1], w[4]))
    end
  end
  for _, f in ipairs(further) do
    local value, unit = median_of(results, f[1], "floor", 1)
    if value then
      print(("  %-14s %s: %s %s"):format("-", f[2], figure(value), unit))
    end
  end
end

-- --- JSON -----------------------------------------------------------------------------------

local function numbers(values)
  local texts = {}
  for i, v in ipairs(values) do
    texts[i] = ("%.6g"):format(v)
  end
  return "[" .. table.concat(texts, ", ") .. "]"
end

local function write_json(path, results, chosen, runs, quick)
  local lines, all = {}, table.move(chosen, 1, #chosen, 1, {})
  table.move(further, 1, #further, #all + 1, all)
  for _, w in ipairs(all) do
    for _, language in ipairs { "goro", "Go", "Erlang", "floor" } do
      local by_workers = results[w[1]] and results[w[1]][language] or {}
      for _, workers in ipairs(WORKERS) do
        local entry = by_workers[workers]
        if entry and #entry.values > 0 then
          lines[#lines + 1] = ('    {"workload": "%s", "language": "%s", "workers": %d, '
            .. '"unit": "%s", "median": %.6g, "values": %s}'):format(w[1], language, workers,
            entry.unit, support.median(entry.values), numbers(entry.values))
        end
      end
    end
  end
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(('{\n  "date": "%s",\n  "lua": "%s",\n  "cpus": %d,\n  "runs": %d,\n'
    .. '  "quick": %s,\n  "results": [\n%s\n  ]\n}\n'):format(os.date("!%Y-%m-%dT%H:%M:%SZ"),
    _VERSION, support.cpus(), runs, quick, table.concat(lines, ",\n"))))
end

-- --- main -----------------------------------------------------------------------------------

local options = support.options(usage,
  { runs = "number", quick = "flag", only = "string", json = "string" })

local function choose(only)
  if not only then
    return workloads
  end
  local chosen, known = {}, {}
  for _, w in ipairs(workloads) do
    known[w[1]] = w
  end
  for name in only:gmatch("[^,]+") do
    if not known[name] then
      io.stderr:write("no workload '", name, "'\n")
      os.exit(2)
    end
    chosen[#chosen + 1] = known[name]
  end
  return chosen
end

local chosen = choose(options.only)
local runs = options.runs or options.quick and 1 or 5
if options.quick then
  support.scale = 0.1
end

local ready = support.prepare {
  support.goro, support.go, support.erlang, support.floor_lua, support.floor_c,
}
local results = {}
for i = 1, runs do
  for _, w in ipairs(chosen) do
    support.progress(("run %d of %d: %s"):format(i, runs, w[1]))
    run_workload(results, ready, w)
  end
  for _, f in ipairs(not options.only and ready[support.floor_c] and further or {}) do
    note_figure(results, f[1], "floor", 1, support.run(support.floor_c, 1, f[1]))
  end
end
support.progress("")

print_table(results, chosen)
if options.json then
  write_json(options.json, results, chosen, runs, options.quick or false)
end

-- What goro could not run is a failure; that others are not installed is none.
local failed = not ready[support.goro]
for _, w in ipairs(chosen) do
  for _, workers in ipairs(WORKERS) do
    local entry = ready[support.goro] and results[w[1]].goro[workers]
    failed = failed or (entry and #entry.values < runs)
  end
end
os.exit(not failed, true)
