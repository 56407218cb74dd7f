--- What the specs share: a look at what a test leaves behind, and ways to wait for something
--- without sleeping.

local goro = require("goro")

local M = {}

local build = os.getenv("GOROBUILD") or "release"
local slow = { asan = 4, tsan = 10, valgrind = 25, debug = 2 }

--- `n`, or less where everything takes longer (sanitizers, valgrind).
function M.many(n)
  return math.max(n // (slow[build] or 1), math.min(n, 10))
end

--- Lua 5.4.0 to 5.4.2: __close cannot yield, and an error in it is lost behind an earlier one.
M.old_close = not pcall(function()
  local co = coroutine.wrap(function()
    local guard <close> = setmetatable({}, { __close = function() coroutine.yield() end })
    return guard
  end)
  co()
  co()
end)

local baseline = 1

-- GOROGC: a collector that hardly rests, in the main script as in goroutines (src/fault.h).
local function no_rest()
  local core = package.searchpath("goro.core", package.cpath)
  local fault = assert(package.loadlib(core, "luaopen_goro_fault"), "not a test build")()
  fault.collect()
  collectgarbage("generational", 1, 1)
end

--- For before_each.
function M.begin()
  if os.getenv("GOROGC") then no_rest() end
  baseline = goro.num_goroutine()
end

--- For after_each: the goroutines of the test have ended, or will at once.
function M.settled()
  local stop = goro.now() + 20
  while goro.num_goroutine() > baseline do
    if goro.now() > stop then
      error(("%d goroutines are left"):format(goro.num_goroutine() - baseline))
    end
    goro.yield()
  end
end

local dead = "all goroutines are asleep - deadlock!"

--- Waits until every goroutine is blocked for good: the deadlock the main script then sees is
--- the proof.  (Not while somebody sleeps or waits with a time-out.)
function M.all_blocked()
  local ok, err = pcall(goro.select, {})
  if ok or not tostring(err):find(dead, 1, true) then error(err, 2) end
end

--- Calls `f`, which must raise an error whose text holds `text`; returns the error.
function M.raises(text, f, ...)
  local ok, err = pcall(f, ...)
  if ok then error(("no error, but %q expected"):format(text), 2) end
  if not tostring(err):find(text, 1, true) then
    error(("%q is not in the error: %s"):format(text, tostring(err)), 2)
  end
  return err
end

--- Calls `f`, which must raise "bad argument #n to 'name' (...)".
function M.bad_argument(n, name, f, ...)
  local ok, err = pcall(f, ...)
  local text = ("bad argument #%d to '%s' ("):format(n, name)
  if ok then error(("no error, but %q expected"):format(text), 2) end
  if not tostring(err):find(text, 1, true) then
    error(("%q is not in the error: %s"):format(text, tostring(err)), 2)
  end
  return err
end

--- `v` after one crossing: into a channel and out of it, in this state.
function M.cross(v)
  local c = goro.chan(1)
  c:send(v)
  return (c:recv())
end

--- `v` after two crossings: to another goroutine and back.
function M.there_and_back(v)
  local to, from = goro.chan(), goro.chan()
  goro.go(function() from:send((to:recv())) end)
  to:send(v)
  return (from:recv())
end

--- Runs `f(...)` in a goroutine and returns its results, which must be able to cross.
function M.in_goroutine(f, ...)
  local out = goro.chan(1)
  goro.go(function(...) out:send(table.pack(f(...))) end, ...)
  local r = out:recv()
  return table.unpack(r, 1, r.n)
end

--- Calls `f` with goro.maxprocs(n), and puts the old number back, also when `f` raises.
function M.with_procs(n, f)
  local old = goro.maxprocs(n)
  local ok, err = xpcall(f, debug.traceback)
  goro.maxprocs(old)
  if not ok then error(err, 0) end
end

return M
