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
-- A test that needs more time, or means to panic or leak, says so itself:
--
--     it("survives a lost worker", function()
--       require("goro.busted").test { leaks = false, timeout = 60 }
--
-- luassert's `assert` is the global `assert` of goroutines, too: an assertion that fails there
-- is a panic, and so the test's failure.

-- Busted loads this anew for each file of specs that requires it; there is one of it.
local registry = debug.getregistry()
if registry["goro.busted"] then return registry["goro.busted"] end

-- Busted forgets after each file what the file has loaded, but not what a helper has: each file
-- gets a goro of its own whether or not this is loaded by `--helper`.
local loaded = package.loaded["goro"]
local goro = require("goro")
package.loaded["goro"] = loaded

local M = {}
registry["goro.busted"] = M

local settings = {
  timeout = 10, grace = 1, strict = false, panics = true, leaks = true, asserts = true,
}
local current                            -- the options of the test that runs

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

-- The leaked goroutines that were not so before.
local function new_leaks(known)
  local list = {}
  for _, l in ipairs(goro.leaks()) do
    if not known[l.id] then list[#list + 1] = l end
  end
  return list
end

-- Goroutines of a test that only need a moment to end get it; what nobody can wake needs none.
local function settle(options, baseline, known, list)
  local stop, pause = now() + options.grace, 0.0002
  while goro.num_goroutine() > baseline and now() < stop do
    if options.panics and #panics(list) > 0 then return end
    if pause > 0.02 and #new_leaks(known) > 0 then return end
    local ok, err = pcall(goro.sleep, pause)
    if not ok then list[#list + 1] = tostring(err) end
    pause = math.min(pause * 2, 0.05)
  end
end

local function describe_leaks(leaks)
  local text = {}
  for i, l in ipairs(leaks) do
    text[i] = ("goroutine %d%s [%s]:\n%s"):format(l.id,
      l.name and (' "' .. l.name .. '"') or "", l.waiting, l.traceback)
  end
  return table.concat(text, "\n\n")
end

local installed = false

local function install_assert()
  if installed then return end
  installed = true
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

-- A main script that computes hears of it only in its next call: a hook looks at the clock.
local function watch(options)
  debug.sethook(function()
    if options.deadline and now() > options.deadline + 0.2 then
      debug.sethook()
      goro.yield()                     -- raises what the limit says, with the stacks
      error(("timeout: no end after %g s"):format(options.timeout), 2)
    end
  end, "", 1000000)
end

-- The test of these options must end by its deadline (which may be over); nil: none runs.
local function limit(options)
  if options and options.deadline then
    goro.debug.limit(math.max(options.deadline - now(), 0),
      ("timeout: no end after %g s: %s"):format(options.timeout, options.name))
    if not debug.gethook() then watch(options) end
  else
    goro.debug.limit()
  end
end

-- Its time begins.
local function begin(options)
  options.deadline = options.timeout and now() + options.timeout
  limit(options)
end

local function set(options, changes, level)
  for k, v in pairs(changes or {}) do
    if settings[k] == nil then error(("unknown option '%s'"):format(tostring(k)), level + 1) end
    options[k] = v
  end
  return options
end

-- f(...) as xpcall calls it, as the test of these options.  Whatever is raised here meanwhile
-- (there may be no memory): after, the test around it is the one that runs, in its own time.
local function timed(options, f, ...)
  local outer, hook = current, debug.gethook()
  local _ <close> = setmetatable({}, { __close = function()
    current = outer
    if not hook then debug.sethook() end
    limit(outer)
  end })
  current = options
  begin(options)
  return xpcall(f, function(e)
    if type(e) == "table" then return e end            -- luassert's, busted's pending
    local text = debug.traceback(tostring(e), 2)
    return (text:gsub("\n%s*%[C%]: in function 'xpcall'\n[^\n]*goro/busted%.lua:.*", ""))
  end, ...)
end

--- Runs `f` as a test is run; returns nothing, or raises what is wrong with it.
---@param f function
---@param name? string for messages
---@param options? table as for `setup`
function M.run(f, name, options, ...)
  options = setmetatable(set({ name = name or "test" }, options, 2), { __index = settings })
  if options.asserts and package.loaded["luassert"] then install_assert() end
  panics({})
  local baseline, known = goro.num_goroutine(), {}
  if options.leaks then
    if baseline > 1 then
      for _, l in ipairs(goro.leaks()) do known[l.id] = true end
    end
  end
  local ok, err = timed(options, f, ...)
  local wrong = panics({})
  settle(options, baseline, known, wrong)
  local behind = goro.num_goroutine() - baseline       -- before: the others' panics have come
  panics(wrong)
  if not ok then error(err, 0) end
  if options.panics and #wrong > 0 then error(table.concat(wrong, "\n\n"), 0) end
  if options.leaks and behind > 0 then
    local left = new_leaks(known)
    if #left > 0 then
      error(("%d goroutines leaked\n\n%s"):format(#left, describe_leaks(left)), 0)
    end
    if options.strict then
      error(("%d goroutines are left behind\n\n%s"):format(behind, goro.stacks()), 0)
    end
  end
end

--- Sets how tests are run from now on, and returns the module.
---@param options? {timeout: number?|false, grace: number?, strict: boolean?, panics: boolean?,
--- leaks: boolean?, asserts: boolean?}
function M.setup(options)
  set(settings, options, 2)
  return M
end

--- Sets options of the test that runs, for it alone; its time starts anew if `timeout` is one
--- of them.  Raises where no test runs.
---@param options table as for `setup`
function M.test(options)
  if not current then error("no test runs", 2) end
  set(current, options, 2)
  if options.timeout ~= nil then begin(current) end
end

local function install()
  local ok, busted = pcall(require, "busted")
  if not ok or type(busted.subscribe) ~= "function" then return end
  busted.subscribe({ "test", "start" }, function(element)
    local run = element.run
    if type(run) == "function" then
      element.run = function(...) M.run(run, tostring(element.name), nil, ...) end
    end
    return nil, true
  end)
end

install()

return M
