-- goro.memory_limit bounds the state of each goroutine started after.  One that reaches it gets
-- an ordinary error, wherever in Lua it is: nobody else is disturbed, nobody waits for ever.

local goro = require("goro")
local support = require("spec.support")

local text = "not enough memory"

-- Waits for a task that was started with `limit` bytes.
local function limited(limit, f, ...)
  local old = goro.memory_limit(limit)
  local task = goro.async(f, ...)
  goro.memory_limit(old)
  return task:wait()
end

local function exhaust()
  local all = {}
  for i = 1, math.huge do all[i] = { all[i - 1] } end
  return all
end

local function closing(f)
  return setmetatable({}, { __close = f })
end

local list = {}
for i = 1, 200000 do list[i] = i end

describe("a limit on memory #memory", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("holds for goroutines started after, not for those before or the main script", function()
    local gate = goro.chan()
    local before = goro.async(function() return #gate:recv() end)
    local old = goro.memory_limit(1 << 20)
    assert.equal(200000, #support.cross(list))
    local after = goro.async(function() return #gate:recv() end)
    goro.memory_limit(old)
    gate:send(list)
    gate:send(list)
    assert.same({ true, 200000 }, { before:wait() })
    local ok, err = after:wait()
    assert.is_false(ok)
    assert.equal(text, err)
  end)

  it("stops a goroutine that fills its own state", function()
    assert.same({ false, text }, { table.unpack({ limited(1 << 20, exhaust) }, 1, 2) })
    local ok, err = limited(1 << 20, function() return pcall(exhaust) end)
    assert.is_true(ok)
    assert.is_false(err)
  end)

  it("is a panic of one that nobody waits for", function()
    local script = require("spec.support.script")
    local result = script.run([[
      local goro = require("goro")
      goro.memory_limit(1 << 20)
      goro.go(function() local t = {} for i = 1, math.huge do t[i] = {} end end)
      local ok, err = pcall(goro.select, {})
      print(ok, err)
    ]])
    assert.equal(0, result.code)
    assert.equal("false\tgoroutine 2 panicked: not enough memory\n", result.out)
    assert.is_truthy(result.err:find("created by main at script.lua:3", 1, true), result.err)
  end)

  it("in __close, in __gc, in a message handler does no harm", function()
    local ok, err = limited(1 << 20, function()
      local guard <close> = closing(exhaust)
      return guard ~= nil
    end)
    assert.same({ false, text }, { ok, err })
    ok, err = limited(1 << 20, function()
      local guard <close> = closing(function() error("from close", 0) end)
      exhaust(guard)
    end)
    assert.is_false(ok)
    assert.is_true(err == "from close" or support.old_close and err == text, err)
    assert.same({ true, "on" }, { limited(1 << 20, function()
      setmetatable({}, { __gc = exhaust })
      collectgarbage()
      return "on"
    end) })
    ok, err = limited(1 << 20, function() return xpcall(error, exhaust) end)
    assert.same({ true, false }, { ok, err })
  end)

  it("is met by what comes from outside: arguments, captured variables, messages", function()
    assert.same({ false, text }, { table.unpack({ limited(1 << 20, function(t) return #t end,
      list) }, 1, 2) })
    assert.same({ false, text }, { table.unpack({ limited(1 << 20, function() return #list end)
      }, 1, 2) })
    local ch = goro.chan(2)
    ch:send(list)
    ch:send("next")
    local ok, first, err, second = limited(1 << 20, function()
      local received, why = pcall(ch.recv, ch)
      return received, why, (ch:recv())
    end)
    assert.same({ true, false, text, "next" }, { ok, first, err, second })
    ch:send(("x"):rep(2 << 20))
    ok, first, err = limited(1 << 20, function() return pcall(ch.recv, ch) end)
    assert.same({ true, false, text }, { ok, first, err })
    assert.equal(0, #ch)
  end)

  it("of one who asks a task for its results is not that of the task", function()
    local big = goro.async(function() return list end)
    local ok, err = limited(1 << 20, function() return #select(2, big:wait()) end)
    assert.same({ false, text }, { ok, err })
    assert.equal(200000, #big:result())
  end)

  it("brings a WaitGroup's counter down, whatever fails", function()
    local wg = goro.WaitGroup()
    local old = goro.memory_limit(1 << 20)
    wg:add()
    for _, f in ipairs { exhaust, function() return #list end,
      function() local guard <close> = closing(exhaust) return guard end,
      function() error(setmetatable({}, { __tostring = exhaust, __gc = exhaust })) end } do
      wg:go(f)
    end
    goro.memory_limit(old)
    wg:done()
    assert.is_false((pcall(wg.wait, wg)))
    wg:add()
    wg:done()
    assert.is_true(wg:wait())
  end)
end)
