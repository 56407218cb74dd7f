-- goro.busted: for specs of programs with goroutines.
--
--     require("goro.busted")                  -- at the top of a spec, or in busted's --helper
--     require("goro.busted").setup { timeout = 5 }
--
-- Each `it` fails
--   - that has not ended after `timeout` seconds (10), printing all stacks: a call in which it
--     waits, or its computing, ends with an error;
--   - in whose goroutines a panic has happened, also when nobody waited for them;
--   - that leaves goroutines behind that can never run again (goro.leaks()), with their stacks;
--     those that still run get `grace` seconds (1) to end, and are failures as well if
--     `strict` is set;
--   - that ends in a deadlock: that is an error anyway, with where everybody waits.
-- luassert's `assert` is the global `assert` of goroutines, too: an assertion that fails there
-- is a panic, and so the test's failure.

local goro = require("goro")

local M = {}

local settings = { timeout = 10, grace = 1, strict = false, leaks = true, asserts = true }

-- Where several files of specs require this, or busted loads it anew for each of them, there is
-- one of it: what must be once stands in the registry.
local registry = debug.getregistry()

local function now() return goro.now() end

-- The panics that the main script has not been told of yet, added to `list`: each is raised
-- once by a call that may block.
local function panics(list)
  for _ = 1, 1000 do
    local ok, err = pcall(goro.yield)
    if ok then break end
    list[#list + 1] = tostring(err)
  end
  return list
end

-- Goroutines of a test that only need a moment to end get it; what nobody can wake needs none.
local function settle(baseline, grace, list)
  local stop, pause = now() + grace, 0.0002
  while goro.num_goroutine() > baseline and now() < stop do
    if #panics(list) > 0 or pause > 0.02 and #goro.leaks() > 0 then return end
    local ok, err = pcall(goro.sleep, pause)
    if not ok then list[#list + 1] = tostring(err) end
    pause = math.min(pause * 2, 0.05)
  end
end

local function describe_leaks(leaks, known)
  local text = {}
  for _, l in ipairs(leaks) do
    if not known[l.id] then
      text[#text + 1] = ("goroutine %d%s [%s]:\n%s"):format(l.id,
        l.name and (' "' .. l.name .. '"') or "", l.waiting, l.traceback)
    end
  end
  return text
end

--- Runs `f` as a test is run; returns nothing, or raises what is wrong with it.
---@param f function
---@param name? string for messages
---@param options? table as for `setup`
function M.run(f, name, options, ...)
  options = setmetatable(options or {}, { __index = settings })
  panics({})
  local baseline, known = goro.num_goroutine(), {}
  if options.leaks then
    if baseline > 1 then
      for _, l in ipairs(goro.leaks()) do known[l.id] = true end
    end
  end
  local deadline = options.timeout and now() + options.timeout
  if deadline then
    goro.debug.limit(options.timeout,
      ("timeout: no end after %g s: %s"):format(options.timeout, name or "test"))
  end
  -- A main script that computes gets that only in its next call: a hook looks at the clock.
  local hook = debug.gethook()
  if deadline and not hook then
    debug.sethook(function()
      if now() > deadline + 0.2 then
        debug.sethook()
        goro.yield()                   -- raises what the limit says, with the stacks
        error(("timeout: no end after %g s"):format(options.timeout), 2)
      end
    end, "", 1000000)
  end
  local ok, err = xpcall(f, function(e)
    if type(e) == "table" then return e end            -- luassert's, busted's pending
    local text = debug.traceback(tostring(e), 2)
    return (text:gsub("\n%s*%[C%]: in function 'xpcall'\n[^\n]*goro/busted%.lua:.*", ""))
  end, ...)
  if deadline then
    if not hook then debug.sethook() end
    goro.debug.limit()
  end
  local wrong = panics({})
  settle(baseline, options.grace, wrong)
  panics(wrong)
  if not ok then error(err, 0) end
  if #wrong > 0 then error(table.concat(wrong, "\n\n"), 0) end
  if options.leaks and goro.num_goroutine() > baseline then
    local left = describe_leaks(goro.leaks(), known)
    if #left > 0 then
      error(("%d goroutines leaked\n\n%s"):format(#left, table.concat(left, "\n\n")), 0)
    end
    if options.strict then
      error(("%d goroutines are left behind\n\n%s"):format(goro.num_goroutine() - baseline,
        goro.stacks()), 0)
    end
  end
end

local function install_assert()
  if registry["goro.busted assert"] then return end
  registry["goro.busted assert"] = true
  -- loaded in those goroutines only that say more than assert(v, message)
  goro.init(function()
    local plain = assert
    _G.assert = setmetatable({}, {
      __call = function(_, ...) return plain(...) end,
      __index = function(_, k)
        _G.assert = require("luassert")
        return _G.assert[k]
      end,
    })
  end)
end

--- Sets how tests are run from now on, and returns the module.
---@param options? {timeout: number?|false, grace: number?, strict: boolean?, leaks: boolean?,
--- asserts: boolean?}
function M.setup(options)
  for k, v in pairs(options or {}) do
    if settings[k] == nil then error(("unknown option '%s'"):format(tostring(k)), 2) end
    settings[k] = v
  end
  if settings.asserts and package.loaded["luassert"] then install_assert() end
  return M
end

local function install()
  local ok, busted = pcall(require, "busted")
  if not ok or type(busted.subscribe) ~= "function" or registry["goro.busted"] then return end
  registry["goro.busted"] = true
  busted.subscribe({ "test", "start" }, function(element)
    local run = element.run
    if type(run) == "function" then
      element.run = function(...) M.run(run, tostring(element.name), nil, ...) end
    end
    return nil, true
  end)
end

install()
if package.loaded["luassert"] and settings.asserts then install_assert() end

return M
