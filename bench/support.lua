-- What bench/run.lua and bench/bounds.lua share: building the programs, running one workload
-- in one language, medians.

local M = {}

M.root = (arg[0]:match("^(.*)/bench/[^/]*$") or (arg[0]:match("^bench/") and ".") or "..")
M.lua = os.getenv("LUA") or "lua5.4"

local root = M.root
local build = root .. "/build/bench"

local function quote(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

local function succeeds(command)
  return (os.execute(command .. " >/dev/null 2>&1"))
end

local function installed(program)
  return succeeds("command -v " .. program)
end

local function note(...)
  io.stderr:write("bench: ", ...)
  io.stderr:write("\n")
end

-- Runs a shell command and returns its output, or nil if it failed.
local function capture(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  return pipe:close() and text or nil
end

-- Makes build/bench/<target> by a command, unless it is newer than its sources.
local function make(target, sources, command)
  for _, source in ipairs(sources) do
    if not succeeds(("[ %s -nt %s ]"):format(quote(build .. "/" .. target),
        quote(root .. "/bench/" .. source))) then
      return (os.execute(command)) or false
    end
  end
  return true
end

-- --- languages ------------------------------------------------------------------------------

-- Each has: name; prepare() -> true, or false and why not; command(workers) -> a shell
-- command, to be followed by the workload's name and arguments.
local goro = { name = "goro" }

function goro.prepare()
  local ok = succeeds(("%s -e 'require(\"goro\")'"):format(quote(root .. "/tools/lua")))
  return ok, "require 'goro' fails (run make first)"
end

function goro.command(workers)
  return ("GOROMAXPROCS=%d %s %s"):format(workers, quote(root .. "/tools/lua"),
    quote(root .. "/bench/goro.lua"))
end

local go = { name = "Go" }

function go.prepare()
  if not installed("go") then
    return false, "not installed"
  end
  return make("gobench", { "go/main.go", "go/go.mod" },
    ("cd %s && go build -o ../../build/bench/gobench ."):format(quote(root .. "/bench/go"))),
    "go build failed"
end

function go.command(workers)
  return ("GOMAXPROCS=%d %s"):format(workers, quote(build .. "/gobench"))
end

local erlang = { name = "Erlang" }

function erlang.prepare()
  if not (installed("erl") and installed("erlc")) then
    return false, "not installed"
  end
  return make("bench.beam", { "erl/bench.erl" },
    ("erlc -o %s %s"):format(quote(build), quote(root .. "/bench/erl/bench.erl"))),
    "erlc failed"
end

function erlang.command(workers)
  return ("erl +P 2000000 +S %d:%d -noshell -noinput -pa %s -run bench main"):format(
    workers, workers, quote(build))
end

-- The floors: plain Lua's and C's.
local floor_lua = { name = "lua" }

function floor_lua.prepare()
  return succeeds(quote(M.lua) .. " -v"), M.lua .. " not found"
end

function floor_lua.command()
  return ("%s %s"):format(quote(M.lua), quote(root .. "/bench/floor.lua"))
end

local floor_c = { name = "c" }

function floor_c.prepare()
  local dir = os.getenv("LUA_INCDIR")  -- (make may pass on an empty one)
  local cflags = dir and dir ~= "" and "-I" .. quote(dir)
    or "$(pkg-config --cflags lua5.4 2>/dev/null || echo -I/usr/include/lua5.4)"
  local libs = os.getenv("LUA_LIBS")
    or "$(pkg-config --libs lua5.4 2>/dev/null || echo -llua5.4)"
  return make("floor", { "floor.c" },
    ("%s -O2 -std=gnu11 %s -o %s %s %s"):format(os.getenv("CC") or "cc", cflags,
      quote(build .. "/floor"), quote(root .. "/bench/floor.c"), libs)),
    "no C compiler or no liblua"
end

function floor_c.command()
  return quote(build .. "/floor")
end

M.goro, M.go, M.erlang = goro, go, erlang
M.floor_lua, M.floor_c = floor_lua, floor_c

-- Builds what the given languages need; returns those that are there.
function M.prepare(languages)
  os.execute("mkdir -p " .. quote(build))
  local ready = {}
  for _, language in ipairs(languages) do
    local ok, why = language.prepare()
    if ok then
      ready[#ready + 1] = language
      ready[language] = true
    else
      note(language.name, " left out: ", why)
    end
  end
  return ready
end

-- --- running --------------------------------------------------------------------------------

M.limit = 120    -- seconds for one workload
M.scale = nil    -- BENCH_SCALE, if any

local guard

-- Runs one workload; returns its figure and unit, or nil.
function M.run(language, workers, workload, n)
  if guard == nil then
    guard = installed("timeout") and ("timeout -k 5 %d "):format(M.limit) or ""
  end
  local scale = M.scale and ("BENCH_SCALE=%g "):format(M.scale) or ""
  local prefix = os.getenv("BENCH_PREFIX") or ""   -- "chrt -f 10": others use this machine
  local command = ("%s%s env %s %s %s"):format(scale .. guard, prefix,
    language.command(workers),
    quote(workload), n and ("%d"):format(n) or "")
  local text = capture(command)
  local value, unit = (text or ""):match("^" .. workload .. " (%S+) (%S+)")
  if not value then
    note("failed: ", command)
    return nil
  end
  return tonumber(value), unit
end

-- Shows how far one is, on a terminal.
function M.progress(text)
  if M.terminal == nil then
    M.terminal = (os.execute("[ -t 2 ]")) or false
  end
  if M.terminal then
    io.stderr:write("\r\27[K", text)
  end
end

-- The wall-clock seconds of a shell command.
function M.wall(command)
  local text = capture(("date +%%s%%N; %s; date +%%s%%N"):format(command))
  local from, to = (text or ""):match("^(%d+).-(%d+)%s*$")
  return from and (to - from) * 1e-9
end

function M.median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local half = #sorted // 2
  if #sorted == 0 then
    return nil
  elseif #sorted % 2 == 1 then
    return sorted[half + 1]
  end
  return (sorted[half] + sorted[half + 1]) / 2
end

function M.cpus()
  return tonumber(capture("nproc 2>/dev/null") or "") or 1
end

-- --- options --------------------------------------------------------------------------------

-- Reads `--name value` and `--flag` from the arguments; names maps each to what the value is:
-- "flag", "number" or "string".  Ends the program at --help and at what it does not know.
function M.options(usage, names)
  local options, i = {}, 1
  while arg[i] do
    local name = arg[i]:match("^%-%-(%w+)$")
    local kind = name and names[name]
    if name == "help" then
      io.write(usage)
      os.exit(0)
    elseif kind == "flag" then
      options[name] = true
    elseif kind and arg[i + 1] then
      i = i + 1
      options[name] = kind == "number" and math.tointeger(tonumber(arg[i])) or arg[i]
      if kind == "number" and (math.type(options[name]) ~= "integer" or options[name] < 1) then
        io.stderr:write("--", name, " wants a positive number\n")
        os.exit(2)
      end
    else
      io.stderr:write("unknown option or missing value: ", arg[i], "\n", usage)
      os.exit(2)
    end
    i = i + 1
  end
  return options
end

return M
