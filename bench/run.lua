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
  --table FILE  writes the medians to FILE as the Markdown table of README and docs
  --data FILE   writes the medians to FILE, for bench/plot.lua: a workload a line
  --help        this text
Workloads run with 1 and 2 workers, in goro and, where installed, in Go and Erlang.  Below the
table stand the bounds that goro sets itself, each with the ratio measured.
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
  { "record_hand", "floor_lua", "record", "the same" },
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

-- What the workloads are called in the Markdown table, in its order.
local titles = {
  { "spawn", "start and end a goroutine" },
  { "parked", "a parked goroutine" },
  { "pingpong", "round trip between two goroutines" },
  { "pingpong_main", "round trip with the main script" },
  { "stream", "a value through a channel of 128" },
  { "prodcons", "4 senders, 4 receivers" },
  { "ring", "a hop in a ring of 503" },
  { "sieve", "prime sieve, 1,000 primes" },
  { "skynet", "skynet, 100,000 leaves" },
  { "select4", "select over 4 channels" },
  { "record", "a record {id, name, tags}" },
  { "sleepers", "100,000 sleepers of 0.1 s" },
  { "compute", "4 goroutines that compute" },
  { "closure", "a closure with 3 upvalues" },
  { "string1m", "a string of 1 MB" },
  { "table10k", "a table of 10,000 entries" },
  { "mutex4", "a Mutex, 4 goroutines" },
  { "map_many", "a Map: load and store, 4 goroutines" },
}

-- The bounds: what; the figure { workload, language, workers }; at most (or at least) how many
-- times which other.  Without another: the figure itself.
local G, GO, ERL, LUA = "goro", "Go", "Erlang", "floor"
local bounds = {
  { "spawn: 1.5 times Erlang's", { "spawn", G, 1 }, 1.5, { "spawn", ERL, 1 } },
  { "spawn: two workers are faster than one", { "spawn", G, 2 }, 1, { "spawn", G, 1 } },
  { "a parked goroutine: 8 KiB", { "parked", G, 1 }, 8192 },
  { "ping-pong: twice Go's", { "pingpong", G, 1 }, 2, { "pingpong", GO, 1 } },
  { "the same, two workers", { "pingpong", G, 2 }, 2, { "pingpong", GO, 2 } },
  { "two workers: 1.2 times one", { "pingpong", G, 2 }, 1.2, { "pingpong", G, 1 } },
  { "with main: 1.5 times without", { "pingpong_main", G, 1 }, 1.5, { "pingpong", G, 1 } },
  { "the same, two workers", { "pingpong_main", G, 2 }, 1.5, { "pingpong", G, 2 } },
  { "stream: Erlang's", { "stream", G, 1 }, 1, { "stream", ERL, 1 } },
  { "the same, two workers", { "stream", G, 2 }, 1, { "stream", ERL, 2 } },
  { "two workers: 1.5 times one", { "stream", G, 2 }, 1.5, { "stream", G, 1 } },
  { "4 and 4: Erlang's stream", { "prodcons", G, 1 }, 1, { "stream", ERL, 1 } },
  { "the same, two workers", { "prodcons", G, 2 }, 1, { "stream", ERL, 2 } },
  { "two workers: 1.5 times one", { "prodcons", G, 2 }, 1.5, { "prodcons", G, 1 } },
  { "ring: Erlang's", { "ring", G, 1 }, 1, { "ring", ERL, 1 } },
  { "the same, two workers", { "ring", G, 2 }, 1, { "ring", ERL, 2 } },
  { "sieve: 4 times Go's", { "sieve", G, 1 }, 4, { "sieve", GO, 1 } },
  { "the same, two workers", { "sieve", G, 2 }, 4, { "sieve", GO, 2 } },
  { "skynet: Erlang's", { "skynet", G, 1 }, 1, { "skynet", ERL, 1 } },
  { "the same, two workers", { "skynet", G, 2 }, 1, { "skynet", ERL, 2 } },
  { "select: 2.5 times Go's", { "select4", G, 1 }, 2.5, { "select4", GO, 1 } },
  { "the same, two workers", { "select4", G, 2 }, 2.5, { "select4", GO, 2 } },
  { "record: 1.5 times Erlang's", { "record", G, 1 }, 1.5, { "record", ERL, 1 } },
  { "the same, two workers", { "record", G, 2 }, 1.5, { "record", ERL, 2 } },
  { "sleepers: Go's", { "sleepers", G, 1 }, 1, { "sleepers", GO, 1 } },
  { "the same, two workers", { "sleepers", G, 2 }, 1, { "sleepers", GO, 2 } },
  { "computing: 1.03 times plain Lua", { "compute", G, 1 }, 1.03, { "compute", LUA, 1 } },
  { "one worker: 1.95 times two", { "compute", G, 1 }, 1.95, { "compute", G, 2 },
    least = true },
}

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

local function verdict(b, value, other)
  local by = other and value / other or value
  local held = b.least and by >= b[3] or not b.least and by <= b[3]
  return held and "holds" or "MISSED", by
end

local function print_bounds(results)
  local head = "\nBounds (at most, but the last: at least):"
  for _, b in ipairs(bounds) do
    local value = median_of(results, table.unpack(b[2]))
    local other = b[4] and median_of(results, table.unpack(b[4]))
    if value and (other or not b[4]) then
      local held, by = verdict(b, value, other)
      if head then
        print(head)
        head = nil
      end
      print(("  %-6s  %-40s %s"):format(held, b[1],
        (b[4] and "%.2f of %g" or "%.0f of %g"):format(by, b[3])))
    end
  end
end

-- --- Markdown, data -------------------------------------------------------------------------

local function pair_of(results, workload, language, mark)
  local one = median_of(results, workload, language, 1)
  local two = median_of(results, workload, language, 2)
  if not (one or two) then
    return "-"
  end
  return ("%s%s%s / %s%s%s"):format(mark, figure(one), mark, mark, figure(two), mark)
end

local function write_table(path, results, runs)
  local lines = {
    "| | unit | goro, 1 / 2 workers | Go 1 / 2 | Erlang 1 / 2 | plain Lua |",
    "| --- | --- | --- | --- | --- | --- |",
  }
  for _, t in ipairs(titles) do
    local _, unit = median_of(results, t[1], "goro", 1)
    if unit then
      lines[#lines + 1] = ("| %s | %s | %s | %s | %s | %s |"):format(t[2], unit,
        pair_of(results, t[1], "goro", "**"), pair_of(results, t[1], "Go", ""),
        pair_of(results, t[1], "Erlang", ""), figure((median_of(results, t[1], "floor", 1))))
    end
  end
  lines[#lines + 1] = "\n| bound | measured | |\n| --- | --- | --- |"
  for _, b in ipairs(bounds) do
    local value = median_of(results, table.unpack(b[2]))
    local other = b[4] and median_of(results, table.unpack(b[4]))
    if value and (other or not b[4]) then
      local held, by = verdict(b, value, other)
      lines[#lines + 1] = ("| %s | %s | %s |"):format(b[1],
        (b[4] and "%.2f" or "%.0f"):format(by), held)
    end
  end
  local prefix = os.getenv("BENCH_PREFIX")
  lines[#lines + 1] = ("\n(%s, %d CPUs, %s%s.)"):format(os.date("!%Y-%m-%d"), support.cpus(),
    runs == 1 and "a single run" or ("medians of %d runs"):format(runs),
    prefix and ("; run by `%s`"):format(prefix) or "")
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(table.concat(lines, "\n"), "\n"))
end

-- A workload a line: name, unit, then the medians of goro, Go, Erlang with 1 and 2 workers, and
-- the floor; - where there is none.
local function write_data(path, results, chosen)
  local file <close> = assert(io.open(path, "w"))
  for _, w in ipairs(chosen) do
    local _, unit = median_of(results, w[1], "goro", 1)
    local cells = { w[1], unit or "-" }
    for _, language in ipairs { "goro", "Go", "Erlang" } do
      for _, workers in ipairs(WORKERS) do
        local value = median_of(results, w[1], language, workers)
        cells[#cells + 1] = value and ("%.6g"):format(value) or "-"
      end
    end
    local floor = median_of(results, w[1], "floor", 1)
    cells[#cells + 1] = floor and ("%.6g"):format(floor) or "-"
    assert(file:write(table.concat(cells, "\t"), "\n"))
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
  { runs = "number", quick = "flag", only = "string", json = "string", table = "string",
    data = "string" })

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
print_bounds(results)
if options.table then
  write_table(options.table, results, runs)
end
if options.data then
  write_data(options.data, results, chosen)
end
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
