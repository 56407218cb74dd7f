-- require "goro.busted": tests fail on time-outs, panics, leaks and deadlocks of their
-- goroutines.

local script = require("spec.support.script")

local function has(text, part)
  assert(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local source = [[
local goro = require("goro")
require("goro.busted").setup { timeout = 0.5, grace = 0.3 }

describe("tests", function()
  it("passes one", function()
    local c = goro.chan()
    goro.go(function() c:send(1) end)
    assert.equal(1, (c:recv()))
  end)
  it("passes two, whose goroutine ends a moment later", function()
    local c = goro.chan()
    goro.go(function() c:recv() goro.sleep(0.05) end)
    c:send(1)
  end)
  it("fails by assertion", function() assert.equal(1, 2) end)
  it("fails by panic", function()
    goro.go(function() error("boom") end)
  end)
  it("fails by assertion in a goroutine", function()
    local done = goro.chan()
    goro.go(function() assert.are.equal("this", "that") done:send(1) end)
    done:recv()
  end)
  it("fails by leak", function()
    local c = goro.chan(0, nil, "forgotten")
    goro.go(function() goro.name("the leaked") c:recv() end)
  end)
  it("fails by deadlock", function() goro.chan():recv() end)
  it("fails by time-out in a call", function()
    goro.go(function() goro.sleep(2) end)
    goro.sleep(5)
  end)
  it("fails by time-out, computing", function()
    while true do end
  end)
  it("is pending", function() pending("later") end)
  it("passes one that means to leak", function()
    require("goro.busted").test { leaks = false }
    local c = goro.chan()
    goro.go(function() c:recv() end)
  end)
  it("passes one that means to panic", function()
    require("goro.busted").test { panics = false }
    goro.go(function() error("as it should") end)
  end)
  it("passes one that takes its time", function()
    require("goro.busted").test { timeout = 20 }
    goro.sleep(0.8)
  end)
  it("fails by leak again", function()
    local c = goro.chan()
    goro.go(function() goro.name("another") c:recv() end)
  end)
  it("passes the last one", function() assert.is_true(true) end)
end)
]]

describe('require "goro.busted" #sight #nochaos', function()
  local out

  setup(function()
    local name = os.tmpname()
    os.remove(name)
    local path = name .. "_spec.lua"
    local file = assert(io.open(path, "wb"))
    file:write(source)
    file:close()
    out = script.command(script.lua .. " tools/busted.lua --ignore-lua "
      .. "--helper=goro.busted -o plainTerminal --no-auto-insulate " .. path).out
    os.remove(path)
  end)

  -- What is said of the test of that name.
  local function about(name)
    local at = out:find(name .. "\n", 1, true)
    assert(at, ("nothing is said of %q:\n%s"):format(name, out))
    return out:sub(at, (out:find("\n\nFailure %->", at) or out:find("\n\nError %->", at)
      or out:find("\n\nPending %->", at) or #out + 1) - 1)
  end

  it("lets pass what is well, and nothing else", function()
    has(out, "6 successes / 1 failure / 7 errors / 1 pending")
  end)

  it("leaves a failure a failure", function()
    has(about("tests fails by assertion"), "Expected objects to be equal")
  end)

  it("fails on a panic", function()
    assert.matches("goroutine %d+ panicked: [^\n]*boom", about("tests fails by panic"))
  end)

  it("has luassert's assert in goroutines, which fails the test", function()
    has(about("tests fails by assertion in a goroutine"), "Expected objects to be equal")
  end)

  it("fails on a leak, with the goroutine's stack", function()
    local text = about("tests fails by leak")
    has(text, "1 goroutines leaked")
    has(text, '"the leaked" [chan receive "forgotten"]')
    assert.matches("_spec.lua:%d+: in function", text)
  end)

  it("knows a leak from those of the tests before", function()
    local text = about("tests fails by leak again")
    has(text, "1 goroutines leaked")
    has(text, '"another" [chan receive]')
  end)

  it("fails on a deadlock at once", function()
    has(about("tests fails by deadlock"), "all goroutines are asleep - deadlock!")
  end)

  it("fails on a time-out, with all stacks", function()
    local text = about("tests fails by time-out in a call")
    has(text, "timeout: no end after 0.5 s: fails by time-out in a call")
    assert.matches("goroutine %d+ %[sleep", text)
    text = about("tests fails by time-out, computing")
    has(text, "timeout: no end after 0.5 s")
    assert.matches("goroutine 1 %[running.-_spec.lua:%d+", text)
  end)
end)

describe("goro.busted.run #sight #nochaos", function()
  it("runs one function like a test, and raises for unknown options", function()
    assert.equal("ok\n", (script.ok([[
      local goro = require("goro")
      local busted = require("goro.busted")
      busted.run(function() goro.yield() end, "mine", { timeout = 5 })
      local c = goro.chan()
      local ok, err = pcall(busted.run, function()
        goro.go(function() c:recv() end)
      end, "mine", { strict = true, grace = 0.05 })
      assert(not ok and err:find("1 goroutines are left behind", 1, true), err)
      ok, err = pcall(busted.setup, { timeou = 1 })
      assert(not ok and err:find("unknown option 'timeou'", 1, true), err)
      ok, err = pcall(busted.test, { timeout = 1 })
      assert(not ok and err:find("no test runs", 1, true), err)
      busted.run(function()            -- one in another: each has its own limit
        busted.run(function() goro.yield() end, "inner", { timeout = 0.01 })
        goro.sleep(0.05)
        busted.test { strict = false }
        ok, err = pcall(busted.test, { timeou = 1 })
        assert(not ok and err:find("unknown option 'timeou'", 1, true), err)
      end, "outer", { timeout = 5 })
      c:close()
      print("ok")
    ]])))
  end)

  it("is over when it raises, and leaves the limit of the one around", function()
    assert.equal("ok\n", (script.ok([[
      local goro = require("goro")
      local busted = require("goro.busted")
      local ok, err = pcall(busted.run, print, "never begun", { timeout = {} })
      assert(not ok and err:find("arithmetic", 1, true), err)
      ok, err = pcall(busted.test, {})
      assert(not ok and err:find("no test runs", 1, true), err)
      ok, err = pcall(busted.run, function()     -- the limit has passed when the inner one ends
        busted.run(goro.sleep, "inner", { timeout = false }, 0.05)
        goro.sleep(20)
      end, "outer", { timeout = 0.01 })
      assert(not ok and err:find("no end after 0.01 s: outer", 1, true), err)
      print("ok")
    ]])))
  end)

  it("hears of a panic at the last moment", function()
    local result = script.run([[
      local goro = require("goro")
      local busted = require("goro.busted")
      local gate, count, looks = goro.chan(), goro.num_goroutine, 0
      goro.num_goroutine = function()            -- the third look is whether all have ended
        looks = looks + 1
        if looks == 3 then
          gate:close()
          while count() > 1 do end
        end
        return count()
      end
      local ok, err = pcall(busted.run, function()
        goro.go(function() gate:recv() error("late") end)
      end, "late", { grace = 0 })
      assert(not ok and err:find("panicked: .*late"), err)
      print("ok")
    ]])
    assert.equal("ok\n", result.out, script.account(result))
  end)
end)

-- goro's own specs run so: spec/support/helper.lua, which .busted names, sees to it.
describe("the specs of goro", function()
  it("run under goro.busted, whatever file they stand in", function()
    has(debug.traceback(), "lua/goro/busted.lua:")
    assert.equal("spec/support/helper.lua", dofile(".busted").default.helper)
  end)

  it("are started nowhere without the helper", function()
    local found = script.command("grep -nE -e '--helper|--config-file|busted.* (-f|--run)\\b' "
      .. "Makefile .ci/run tools/*.sh tools/busted.lua goro-scm-1.rockspec")
    assert.equal("", found.out .. found.err)
    assert.equal(1, found.code)        -- nothing found
  end)
end)
