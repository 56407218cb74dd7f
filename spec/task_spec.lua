-- goro.async: tasks, whose results or error any goroutine may ask for.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

describe("goro.async #task", function()
  before_each(support.begin)
  after_each(support.settled)

  it("gives a task that waits for the results", function()
    local t = goro.async(function(a, b) return a + b, nil, "x", nil end, 1, 2)
    assert.same({ n = 5, true, 3, nil, "x", nil }, table.pack(t:wait()))
    assert.same({ n = 4, 3, nil, "x", nil }, table.pack(t:result()))
    assert.same({ n = 5, true, 3, nil, "x", nil }, table.pack(t:wait(0)))
  end)

  it("works with no results", function()
    local t = goro.async(function() end)
    assert.same({ n = 1, true }, table.pack(t:wait()))
    assert.equal(0, select("#", t:result()))
  end)

  it("gives each who asks a copy of its own", function()
    local t = goro.async(function() return { 1 } end)
    local a, b = t:result(), t:result()
    assert.same(a, b)
    assert.is_false(rawequal(a, b))
  end)

  it("gives an error with its traceback, as often as one asks", function()
    local t = goro.async(function() error("broken", 0) end)
    for _ = 1, 2 do
      local ok, err, traceback = t:wait()
      assert.is_false(ok)
      assert.equal("broken", err)
      assert.matches("stack traceback:.*task_spec", traceback)
    end
    local ok, err = pcall(t.result, t)
    assert.is_false(ok)
    assert.equal("broken", err)
  end)

  it("keeps error values as they are", function()
    local ok, err = goro.async(function() error({ code = 7 }) end):wait()
    assert.is_false(ok)
    assert.same({ code = 7 }, err)
    assert.same({ n = 3, false, nil, "s" }, (function(...)
      local r = table.pack(...)
      r[3] = type(r[3]) == "string" and "s" or r[3]
      return r
    end)(goro.async(function() error(nil) end):wait()))
    local t = goro.async(function() error({ code = 8 }) end)
    local done, e = pcall(t.result, t)
    assert.is_false(done)
    assert.same({ code = 8 }, e)
  end)

  it("fails when its results cannot cross", function()
    local ok, err = goro.async(function() return coroutine.create(print) end):wait()
    assert.is_false(ok)
    assert.matches("cannot send a value of type 'thread'", err)
  end)

  it("gives up after a time-out", function()
    local gate = goro.chan()
    local t = goro.async(function() return gate:recv() end)
    assert.same({ n = 2, nil, "timeout" }, table.pack(t:wait(0)))
    assert.same({ n = 2, nil, "timeout" }, table.pack(t:wait(0.01)))
    assert.same({ n = 2, nil, "timeout" }, table.pack(t:result(0.01)))
    gate:send("now")
    assert.equal("now", (t:result()))
  end)

  it("serves many who wait, and crosses to other goroutines", function()
    local gate, got = goro.chan(), goro.chan()
    local t = goro.async(function() return gate:recv() * 2 end)
    local n = support.many(200)
    for _ = 1, n do
      goro.go(function(task)
        local ok, v = task:wait()
        got:send(ok and v)
      end, t)
    end
    gate:send(21)
    for _ = 1, n do assert.equal(42, (got:recv())) end
  end)

  it("has a channel that is closed at the end", function()
    local gate = goro.chan()
    local t = goro.async(function() gate:recv() end)
    local done = t:done()
    assert.is_true(rawequal(done, t:done()))
    assert.same({ n = 3, nil, nil, "timeout" }, table.pack(done:try_recv()))
    gate:send(1)
    assert.same({ n = 2, nil, false }, table.pack(done:recv()))
    assert.same({ n = 2, nil, false }, table.pack(t:done():recv()))
    local later = goro.async(function() end)
    later:wait()
    local i, v, ok = goro.select { later:done(), timeout = 10 }
    assert.same({ 1, nil, false }, { i, v, ok })
    assert.is_false(pcall(done.close, done))
  end)

  it("runs many at once", function()
    local tasks, sum = {}, 0
    local n = support.many(2000)
    for i = 1, n do tasks[i] = goro.async(function(k) return k end, i) end
    for i = 1, n do sum = sum + tasks[i]:result() end
    assert.equal(n * (n + 1) // 2, sum)
  end)

  it("has a name", function()
    local t = goro.async(function() end)
    assert.matches("^task: 0x", tostring(t))
    t:wait()
  end)

  it("refuses what is not a function, and wrong time-outs", function()
    support.raises("bad argument #1 to 'async' (function expected, got no value)", goro.async)
    local t = goro.async(function() end)
    t:wait()
    support.raises("bad argument #2 to 'wait'", t.wait, t, "x")
    support.raises("bad argument #2 to 'result'", t.result, t, {})
    support.raises("bad argument", t.wait, goro.chan())
    support.raises("cannot send a value of type 'thread'", goro.async, function() end,
      coroutine.create(print))
  end)

  it("names the wait in a deadlock", function()
    local result = script.run [[
      local goro = require("goro")
      local c = goro.chan()
      goro.async(function() c:recv() end):wait()
    ]]
    assert.equal(1, result.code)
    assert.matches("deadlock!.*goroutine 1 %[task wait%]", result.err)
  end)

  it("reports a failure that nobody asked for", function()
    local result = script.run [[
      local goro = require("goro")
      do goro.async(function() error("lost") end):done():recv() end
      collectgarbage() collectgarbage()
      print("on")
      local kept = goro.async(function() error("kept") end)
      kept:done():recv()
      seen = goro.async(function() error("seen") end)
      seen:wait()
    ]]
    assert.equal(0, result.code)
    assert.equal("on\n", result.out)
    assert.matches("goroutine 2 failed: .*lost", result.err)
    assert.matches("goroutine 3 failed: .*kept", result.err)
    assert.is_nil(result.err:find("seen", 1, true))
  end)
end)
