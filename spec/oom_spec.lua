-- Every allocation of a crossing may fail, in the sender, the receiver, and goro itself: the
-- 1st, 2nd, 3rd ..., alone and with all that follow.  The error says so, nothing leaks, hangs,
-- is corrupted, and the next crossing works.  Test builds only: see spec/support/oom.lua.

local support = require("spec.support")
local script = require("spec.support.script")
local oom = require("spec.support.oom")
local api = require("spec.support.oom_api")

local function run(source, options)
  local result = script.run(source, options)
  if result.code ~= 0 then error(script.account(result), 0) end
  return result.out, result.err
end

describe("what allocations are made to fail in", function()
  it("is every public function", function()
    local out = run([[
      print(table.concat(require("spec.support.oom_api").unused(), "\n"))
    ]])
    assert.equal("\n", out)
  end)
end)

if not oom.fault then return end

-- What the failures of goroutines report.
local function known(line)
  return line:find("panicked: ", 1, true) or line:find("failed: ", 1, true)
    or line:find("^created by ") or line:find("^stack traceback:") or line:find("^\t")
    or line:find("no memory for how", 1, true)
end

describe("no allocation that fails does harm #oom", function()
  for _, name in ipairs(oom.names) do
    it("when these cross or fail: " .. name, function()
      local source = ("require('spec.support.oom').run(%q)"):format(name)
      local out, err = run(source, { limit = 100 })
      assert.is_true(tonumber(out) > 0, out)
      for line in err:gmatch("[^\n]+") do assert.is_truthy(known(line), line) end
    end)
  end

  for _, name in ipairs(api.names) do
    for _, where in ipairs { "main", "goroutine" } do
      if where == "main" or not api.main[name] then
        it(("in functions for %s, called in %s"):format(name, where), function()
          local source = ("require('spec.support.oom').run_api(%q, %q)"):format(name, where)
          local out = run(source, { limit = 100 })
          assert.is_true(tonumber(out) >= 0, out)
        end)
      end
    end
  end

  -- The first wait with a time-out on a processor makes room for timers: in a fresh process.
  for _, what in ipairs {
    "c:recv(0.05)", "goro.sleep(0.05)", "wg:wait(0.05)", "held:lock(0.05)",
    "goro.select { c, timeout = 0.05 }", "goro.poll(l:fd(), 'r', 0.05)", "l:accept(0.05)",
    "cond:wait(0.05)",
  } do
    it("when a wait has no timer, which is no time-out: " .. what, function()
      local out, err = run(([[
        local fault = require("spec.support.oom").fault
        local goro = require("goro")
        local c, wg, held, m = goro.chan(), goro.WaitGroup(), goro.Mutex(), goro.Mutex()
        local cond, l = goro.Cond(m), goro.net.listen("127.0.0.1:0")
        wg:add(1)
        held:lock()
        m:lock()
        local refused, n = 0, 0
        local function wait()
          local _, second, third = %s
          local reason = type(second) == "string" and second or third
          if reason and reason ~= "timeout" then error(reason, 0) end
        end
        repeat
          n = n + 1
          local start = goro.now()
          local failed, ok, r = fault.try(n, "once", wait)
          local took = goro.now() - start
          if not ok then
            r = tostring(r)
            assert(failed > 0 and (r:find("memory", 1, true) or r:find("a thread", 1, true)), r)
            refused = refused + 1
          else
            assert(took >= 0.05, ("allocation %%d: %%g s"):format(n, took))
          end
          assert(not m:try_lock(), "the Cond's mutex is not held")
        until failed == 0
        print(refused)
      ]]):format(what))
      assert.is_true(tonumber(out) > 0, out .. err)
    end)
  end

  it("when goro is loaded", function()
    local n = 1
    repeat
      local out = run(([[
        local fault = require("spec.support.oom").fault
        local failed, ok, err = fault.try(%d, %q, require, "goro")
        assert(ok or failed > 0, err)
        assert(ok or tostring(err):find("memory", 1, true), err)
        local goro = require("goro")
        local c = goro.chan()
        goro.go(function() c:send({ 1 }) end)
        assert(c:recv()[1] == 1)
        print(failed)
      ]]):format(n, n % 2 == 0 and "once" or "all"))
      local failed = tonumber(out)
      n = n + 1 + n // support.many(8)     -- (some thousands in all)
    until failed == 0
    assert.is_true(n > 10)
  end)
end)
