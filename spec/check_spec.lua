-- goro.check: warnings of what copying hides; and the environment's GOROCHECK and GOROMEMLIMIT.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

describe("goro.check #check", function()
  it("says what it was, and refuses what is not a boolean", function()
    assert.is_false(goro.check())
    assert.is_false(goro.check(true))
    assert.is_true(goro.check(false))
    assert.is_false(goro.check())
    support.bad_argument(1, "check", goro.check, "on")
  end)

  it("tells of a captured variable that was assigned, once a place", function()
    local result = script.run([[
      local goro = require("goro")
      goro.check(true)
      local wg, count, other = goro.WaitGroup(), 0, 5
      for _ = 1, 10 do
        wg:go(function() count = count + other end)
      end
      wg:wait()
      wg:go(function() local x = other return x end)
      wg:wait()
      print(count)
    ]])
    assert.equal("0\n", result.out)
    assert.matches("^goro: script.lua:5: 'count': .-\n$", result.err)
    assert.equal(1, select(2, result.err:gsub("\n", "")))
  end)

  it("tells of crossings that copy much, with line and bytes", function()
    local result = script.run([[
      local goro = require("goro")
      local ch = goro.chan(10)
      local t, s = {}, ("x"):rep(70000)
      for i = 1, 20000 do t[i] = i end
      ch:send(t)
      ch:send(s)
      ch:send("small")
    ]], { env = { GOROCHECK = "1" } })
    assert.matches("goro: script.lua:5: a crossing copies %d%d%d%d%d+ bytes\n", result.err)
    assert.matches("goro: script.lua:6: a crossing copies 70000 bytes\n", result.err)
    assert.equal(2, select(2, result.err:gsub("\n", "")))
  end)

  it("is silent unless it is on", function()
    local result = script.run([[
      local goro = require("goro")
      local n, wg = 0, goro.WaitGroup()
      wg:go(function() n = n + 1 end)
      wg:wait()
      goro.chan(1):send(("x"):rep(100000))
    ]])
    assert.equal("", result.err)
  end)
end)

describe("GOROMEMLIMIT #check", function()
  for text, bytes in pairs { ["1000000"] = 1000000, ["64M"] = 64 << 20, ["100k"] = 100 << 10,
    ["1G"] = 1 << 30, [""] = 0, ["x"] = 0, ["-5"] = 0 } do
    it(("of %q is %d bytes"):format(text, bytes), function()
      local result = script.run([[
        print(require("goro").memory_limit())
      ]], { env = { GOROMEMLIMIT = text } })
      assert.equal(bytes .. "\n", result.out)
    end)
  end

  it("ends a goroutine that wants more, and nobody else", function()
    local result = script.run([[
      local goro = require("goro")
      local t = goro.async(function()
        local list = {}
        while true do list[#list + 1] = ("x"):rep(1000) .. #list end
      end)
      print(t:wait())
      print(goro.async(function() return "fine" end):result())
    ]], { env = { GOROMEMLIMIT = "2M" } })
    assert.matches("^false\tnot enough memory\t", result.out)
    assert.matches("fine\n$", result.out)
    assert.equal(0, result.code)
  end)
end)
