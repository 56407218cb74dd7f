-- select: one of several sends and receives, chosen at random among those that are ready.

local goro = require("goro")
local support = require("spec.support")

local raises, all_blocked, in_goroutine = support.raises, support.all_blocked,
  support.in_goroutine

local function closed()
  local c = goro.chan()
  c:close()
  return c
end

local function full(v)
  local c = goro.chan(1)
  c:send(v)
  return c
end

describe("select #select", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("without handlers returns", function()
    it("the index, the value and true for a receive", function()
      assert.same({ n = 3, 1, "x", true }, table.pack(goro.select { full("x") }))
      assert.same({ n = 3, 2, "x", true }, table.pack(goro.select { goro.chan(), full("x") }))
      assert.same({ n = 3, 2, "x", true },
        table.pack(goro.select { { recv = goro.chan() }, { recv = full("x") } }))
    end)

    it("the index, nil and false for a receive from a closed channel", function()
      assert.same({ n = 3, 1, nil, false }, table.pack(goro.select { closed() }))
      assert.same({ n = 3, 2, nil, false },
        table.pack(goro.select { goro.chan(), { recv = closed() } }))
    end)

    it("the index for a send", function()
      local c = goro.chan(1)
      local i, v = goro.select { goro.chan(), { send = c, value = "sent" } }
      assert.equal(2, i)
      assert.is_nil(v)
      assert.equal("sent", (c:recv()))
    end)

    it("a nil that was received, with true", function()
      assert.same({ n = 3, 1, nil, true }, table.pack(goro.select { full(nil) }))
    end)

    it("what is left in a closed channel first", function()
      local c = full("left")
      c:close()
      assert.same({ n = 3, 1, "left", true }, table.pack(goro.select { c }))
      assert.same({ n = 3, 1, nil, false }, table.pack(goro.select { c }))
    end)

    it("the same after it had to wait", function()
      local a, b, out = goro.chan(), goro.chan(), goro.chan(1)
      local function one(f)
        goro.go(function() out:send(table.pack(f())) end)
        all_blocked()
      end
      one(function() return goro.select { a, b } end)
      b:send("x")
      assert.same({ n = 3, 2, "x", true }, (out:recv()))
      one(function() return goro.select { a, { send = b, value = "y" } } end)
      assert.equal("y", (b:recv()))
      assert.equal(2, out:recv()[1])
      one(function() return goro.select { { recv = a }, b } end)
      a:close()
      assert.same({ n = 3, 1, nil, false }, (out:recv()))
    end)
  end)

  describe("with a handler", function()
    it("returns what the handler returns", function()
      assert.same({ n = 3, "a", nil, "c" }, table.pack(goro.select {
        { recv = full("x"), function() return "a", nil, "c" end },
      }))
      assert.same({ n = 0 }, table.pack(goro.select { { recv = full(1), function() end } }))
      assert.same({ n = 1, "sent" }, table.pack(goro.select {
        { send = goro.chan(1), value = 1, function() return "sent" end },
      }))
    end)

    it("calls it with the value and true, or nil and false", function()
      local function all(...) return ... end
      assert.same({ n = 2, "x", true }, table.pack(goro.select { { recv = full("x"), all } }))
      assert.same({ n = 2, nil, false }, table.pack(goro.select { { recv = closed(), all } }))
    end)

    it("calls it without arguments after a send", function()
      local n = goro.select {
        { send = goro.chan(1), value = 1, function(...) return select("#", ...) end },
      }
      assert.equal(0, n)
    end)

    it("calls that of the chosen case only, and after the case is done", function()
      local c, d = goro.chan(1), goro.chan()
      local calls = 0
      local r = goro.select {
        { recv = d, function() calls = calls + 1 end },
        { send = c, value = "v", function() return #c, (c:recv()) end },
      }
      assert.equal(1, r)
      assert.equal(0, calls)
      assert.equal(0, #c)
    end)

    it("runs it in the caller, where it may block and raise", function()
      local c, d = goro.chan(), goro.chan()
      goro.go(function()
        c:send(1)
        d:send(2)
      end)
      local n = 0
      local sum = goro.select {
        { recv = c, function(v)
          n = n + 1
          return v + d:recv()
        end },
      }
      assert.equal(3, sum)
      assert.equal(1, n)
      raises("from the handler", function()
        goro.select { { recv = full(1), function() error("from the handler") end } }
      end)
      goro.go(function() c:send({ goro.select { { recv = d, function(v)
        d:send(v + 1)
        return v
      end } } }) end)
      d:send(5)
      assert.equal(6, (d:recv()))
      assert.same({ 5 }, (c:recv()))
    end)

    it("lets a handler select, and in a loop", function()
      local c = goro.chan(10)
      for i = 1, 10 do c:send(i) end
      c:close()
      local sum, running = 0, true
      while running do
        goro.select {
          { recv = c, function(v, ok)
            if not ok then
              running = false
              return
            end
            goro.select { { recv = full(v), function(x) sum = sum + x end } }
          end },
        }
      end
      assert.equal(55, sum)
    end)
  end)

  describe("with a default", function()
    it("gives nil and \"default\" when nothing is ready", function()
      local c = goro.chan()
      assert.same({ n = 2, nil, "default" }, table.pack(goro.select { c, default = true }))
      assert.same({ n = 2, nil, "default" },
        table.pack(goro.select { { send = c, value = 1 }, default = true }))
      assert.same({ n = 2, nil, "default" }, table.pack(goro.select { default = true }))
    end)

    it("returns what its handler returns", function()
      assert.same({ n = 2, "busy", 2 }, table.pack(goro.select {
        goro.chan(),
        default = function(...) return "busy", 2 + select("#", ...) end,
      }))
      assert.same({ n = 0 }, table.pack(goro.select { default = function() end }))
    end)

    it("may block in its handler", function()
      local c = goro.chan()
      goro.go(function() c:send("x") end)
      assert.equal("x", (goro.select {
        goro.chan(),
        default = function() return (c:recv()) end,
      }))
    end)

    it("takes a ready case before it", function()
      for _ = 1, 50 do
        assert.equal(2, (goro.select { goro.chan(), full(1), default = true }))
        assert.equal(1, (goro.select {
          { send = goro.chan(1), value = 1 }, default = function() error("default") end,
        }))
      end
    end)

    it("takes one that waits on the other side", function()
      local c, out = goro.chan(), goro.chan(1)
      goro.go(function() c:send(1) end)
      all_blocked()
      assert.equal(1, (goro.select { c, default = true }))
      goro.go(function() out:send((c:recv())) end)
      all_blocked()
      assert.equal(1, (goro.select { { send = c, value = "y" }, default = true }))
      assert.equal("y", (out:recv()))
    end)

    it("comes before a time-out", function()
      local t = goro.now()
      assert.same({ nil, "default" }, { goro.select { goro.chan(), default = true,
        timeout = 60 } })
      assert.is_true(goro.now() - t < 30)
    end)
  end)

  describe("with a time-out", function()
    it("gives nil and \"timeout\" after that time", function()
      local t = goro.now()
      assert.same({ n = 2, nil, "timeout" },
        table.pack(goro.select { goro.chan(), timeout = 0.02 }))
      assert.is_true(goro.now() - t >= 0.02)
      assert.same({ n = 2, nil, "timeout" },
        table.pack(goro.select { { send = goro.chan(), value = 1 }, timeout = 0.001 }))
      assert.same({ n = 2, nil, "timeout" }, table.pack(goro.select { timeout = 0.001 }))
    end)

    it("of 0 or less never blocks, but a ready case comes first", function()
      for _, t in ipairs { 0, -1, -0.5, -math.huge } do
        assert.same({ nil, "timeout" }, { goro.select { goro.chan(), timeout = t } })
        assert.same({ 1, "x", true }, { goro.select { full("x"), timeout = t } })
      end
    end)

    it("that is long enough is not felt", function()
      local c = goro.chan()
      goro.go(function() c:send(1) end)
      assert.same({ 1, 1, true }, { goro.select { c, timeout = 60 } })
      goro.go(function() c:send(2) end)
      assert.same({ 1, 2, true }, { goro.select { c, timeout = math.huge } })
    end)

    it("leaves nothing in the channels", function()
      local c, d, out = goro.chan(), goro.chan(), goro.chan(1)
      for i = 1, 20 do
        goro.select { c, { send = d, value = i }, timeout = 0.0005 }
      end
      assert.is_false((c:try_send(1)))
      assert.same({ nil, nil, "timeout" }, { d:try_recv() })
      goro.go(function() out:send({ d:recv() }) end)
      d:send("fresh")
      assert.same({ "fresh", true }, (out:recv()))
    end)

    it("in a goroutine as in the main script", function()
      assert.same({ true, "timeout", true, "default" }, (in_goroutine(function()
        local a, b = goro.select { goro.chan(), timeout = 0.005 }
        local c, d = goro.select { goro.chan(), default = true }
        return { a == nil, b, c == nil, d }
      end)))
    end)
  end)

  describe("takes no notice of", function()
    it("a case whose channel is false, but counts it", function()
      assert.same({ 2, "x", true }, { goro.select { false, full("x") } })
      assert.same({ 3, "x", true },
        { goro.select { { recv = false }, { send = false, value = 1 }, full("x") } })
      assert.same({ nil, "default" }, { goro.select { false, default = true } })
      assert.same({ nil, "timeout" },
        { goro.select { { recv = false, error }, false, timeout = 0.001 } })
    end)

    it("disabled cases while it waits", function()
      local c = goro.chan()
      goro.go(function() c:send(1) end)
      assert.same({ 3, 1, true }, { goro.select { false, { send = false, value = {} }, c } })
    end)

    it("channels that are turned off as they close, as Go's nil channels", function()
      local a, b = goro.chan(), goro.chan()
      goro.go(function() for i = 1, 10 do a:send(i) end a:close() end)
      goro.go(function() for i = 1, 20 do b:send(i) end b:close() end)
      local sum = 0
      while a or b do
        local i, v, ok = goro.select { a, b }
        if ok then
          sum = sum + v
        elseif i == 1 then
          a = false
        else
          b = false
        end
      end
      assert.equal(55 + 210, sum)
    end)
  end)

  describe("without a case that can be ready", function()
    it("blocks for ever", function()
      raises("all goroutines are asleep - deadlock!", goro.select, {})
      raises("all goroutines are asleep - deadlock!", goro.select, { false })
    end)

    it("lets the others go on", function()
      local script = require("spec.support.script")
      assert.equal("1\n2\n3\n", (script.ok([[
        local goro = require("goro")
        local c = goro.chan()
        goro.go(function() goro.select {} end)
        goro.go(function() for i = 1, 3 do c:send(i) end c:close() end)
        for v in c:range() do print(v) end
      ]])))
    end)
  end)

  describe("of a send to a closed channel", function()
    it("raises if it is chosen", function()
      raises("send on closed channel", function()
        goro.select { { send = closed(), value = 1 } }
      end)
      raises("send on closed channel", function()
        goro.select { { send = closed(), value = 1, function() end }, default = true }
      end)
    end)

    it("raises when it closes while waiting", function()
      local a, b, out = goro.chan(), goro.chan(), goro.chan(1)
      goro.go(function()
        out:send({ pcall(goro.select, { a, { send = b, value = 1 } }) })
      end)
      all_blocked()
      b:close()
      local r = out:recv()
      assert.is_false(r[1])
      assert.truthy(r[2]:find("send on closed channel", 1, true))
    end)

    it("counts as ready like any other", function()
      local sent, received = 0, 0
      for _ = 1, 200 do
        local ok, i = pcall(goro.select, { full(1), { send = closed(), value = 1 } })
        if ok then
          assert.equal(1, i)
          received = received + 1
        else
          assert.truthy(i:find("send on closed channel", 1, true))
          sent = sent + 1
        end
      end
      assert.is_true(sent > 40 and received > 40, sent .. " " .. received)
    end)
  end)

  describe("with one channel in several cases", function()
    it("receives once", function()
      local c = goro.chan(3)
      for i = 1, 3 do c:send(i) end
      local i, v = goro.select { c, c, c }
      assert.is_true(i >= 1 and i <= 3)
      assert.equal(1, v)
      assert.equal(2, #c)
    end)

    it("meets each of them alike when it need not wait", function()
      local counts = { 0, 0, 0 }
      for _ = 1, 900 do
        local c = full(1)
        local i = goro.select { c, c, { recv = c } }
        counts[i] = counts[i] + 1
      end
      for i = 1, 3 do assert.is_true(counts[i] > 180, i .. ": " .. counts[i]) end
    end)

    it("meets each of them alike when it waits", function()
      local c, out = goro.chan(), goro.chan()
      local n = 900
      goro.go(function()
        local counts = { 0, 0, 0 }
        for _ = 1, n do
          local i = goro.select { c, c, c }
          counts[i] = counts[i] + 1
        end
        out:send(counts)
      end)
      for i = 1, n do
        if i <= 300 then all_blocked() end
        c:send(i)
      end
      local counts = out:recv()
      for i = 1, 3 do assert.is_true(counts[i] > 180, i .. ": " .. counts[i]) end
    end)

    it("sends one of several values", function()
      local c = goro.chan(1)
      local counts = { a = 0, b = 0 }
      for _ = 1, 400 do
        local i = goro.select { { send = c, value = "a" }, { send = c, value = "b" } }
        local v = c:recv()
        assert.equal(i == 1 and "a" or "b", v)
        counts[v] = counts[v] + 1
      end
      assert.is_true(counts.a > 100 and counts.b > 100)
    end)

    it("never meets itself", function()
      local c = goro.chan()
      raises("all goroutines are asleep - deadlock!", goro.select,
        { c, { send = c, value = 1 } })
      assert.same({ nil, "default" },
        { goro.select { c, { send = c, value = 1 }, default = true } })
      assert.same({ nil, "timeout" },
        { goro.select { { send = c, value = 1 }, c, timeout = 0.005 } })
    end)

    it("meets another that does the same, one sending and one receiving", function()
      local c, out = goro.chan(), goro.chan()
      local n = support.many(200)
      for id = 1, 2 do
        goro.go(function()
          local sent, got = 0, 0
          for i = 1, n do
            local k, v = goro.select { c, { send = c, value = id * 1000 + i } }
            if k == 1 then
              if v // 1000 ~= 3 - id then error("met itself") end
              got = got + 1
            else
              sent = sent + 1
            end
          end
          out:send({ sent, got })
        end)
      end
      local a, b = out:recv(), out:recv()
      assert.equal(n, a[1] + a[2])
      assert.equal(a[1], b[2])
      assert.equal(a[2], b[1])
    end)

    it("sends to its own buffer or receives from it", function()
      local c = goro.chan(2)
      local sent, got = 0, 0
      for _ = 1, 500 do
        local i = goro.select { c, { send = c, value = sent + 1 } }
        if i == 1 then got = got + 1 else sent = sent + 1 end
        assert.equal(sent - got, #c)
      end
      assert.is_true(got > 0)
    end)
  end)

  describe("chooses at random, evenly,", function()
    local n = 4000

    local function even(counts, total, what)
      for i = 1, #counts do
        local expected = total / #counts
        assert.is_true(math.abs(counts[i] - expected) < expected * 0.4,
          ("%s: case %d was chosen %d times of %d"):format(what, i, counts[i], total))
      end
    end

    it("among receives that are ready", function()
      local list = { closed(), closed(), closed(), closed() }
      local counts = { 0, 0, 0, 0 }
      for _ = 1, n do
        local i = goro.select(list)
        counts[i] = counts[i] + 1
      end
      even(counts, n, "closed channels")
    end)

    it("among sends and receives", function()
      local a, b, c, d = goro.chan(n), goro.chan(n), goro.chan(n), goro.chan(n)
      for i = 1, n do
        a:send(i)
        b:send(i)
      end
      local counts = { 0, 0, 0, 0 }
      for _ = 1, n do
        local i = goro.select { a, { send = c, value = 1 }, b, { send = d, value = 2 } }
        counts[i] = counts[i] + 1
      end
      even(counts, n, "mixed")
      assert.equal(counts[1], n - #a)
      assert.equal(counts[2], #c)
      assert.equal(counts[3], n - #b)
      assert.equal(counts[4], #d)
    end)

    it("among the ready ones only", function()
      local counts = { 0, 0, 0 }
      local never = goro.chan()
      for _ = 1, n do
        local i = goro.select { never, closed(), false, closed(), never, closed() }
        counts[i // 2] = counts[i // 2] + 1
        assert.equal(0, i % 2)
      end
      even(counts, n, "with others that are not ready")
    end)

    it("in a goroutine too, and not in the same order in each", function()
      local runs = {}
      for k = 1, 4 do
        runs[k] = in_goroutine(function()
          local c = goro.chan()
          c:close()
          local s = {}
          for i = 1, 64 do s[i] = (goro.select { c, c }) end
          return table.concat(s)
        end)
      end
      local same = 0
      for k = 2, 4 do
        if runs[k] == runs[1] then same = same + 1 end
      end
      assert.is_true(same < 3)
    end)

    it("among two hundred", function()
      local list = {}
      for i = 1, 200 do list[i] = closed() end
      local seen, distinct = {}, 0
      for _ = 1, n do
        local i = goro.select(list)
        if not seen[i] then seen[i], distinct = true, distinct + 1 end
        if distinct == 200 then break end
      end
      assert.equal(200, distinct)
    end)
  end)

  describe("refuses", function()
    local c = goro.chan(1)

    it("unknown keys, and names them", function()
      raises("timeuot", function() goro.select { c, timeuot = 1 } end)
      raises("defualt", function() goro.select { c, defualt = true } end)
      raises("vlaue", function() goro.select { { send = c, vlaue = 1 } } end)
      raises("receive", function() goro.select { { receive = c } } end)
      raises("bad argument #1 to 'select'", function() goro.select { c, timeuot = 1 } end)
      for _, key in ipairs { 1.5, 0, -1, 3, math.maxinteger, true, c } do
        raises("unknown key '" .. tostring(key) .. "': the cases must be a list without holes",
          function() goro.select { c, [key] = c } end)
      end
    end)

    it("a value that is not sent", function()
      raises("case 2: 'value' without 'send'", function()
        goro.select { c, { recv = c, value = 1 } }
      end)
    end)

    it("a case without a channel, and says so", function()
      raises("case 2: channel or false expected, got nil", function()
        goro.select { c, nil, c }
      end)
      raises("case 2: channel or false expected, got nil", function()
        goro.select { c, nil, { send = c, value = {} } }
      end)
      raises("channel", function() goro.select { {} } end)
      raises("channel", function() goro.select { c, { value = 1 } } end)
      raises("channel", function() goro.select { { function() end } } end)
    end)

    it("a case that is something else", function()
      for _, v in ipairs { 42, "x", true, print, goro.WaitGroup(), io.stdout } do
        raises("bad argument #1 to 'select'", function() goro.select { v } end)
        raises("bad argument #1 to 'select'", function() goro.select { { recv = v } } end)
        raises("bad argument #1 to 'select'", function()
          goro.select { { send = v, value = 1 } }
        end)
      end
    end)

    it("a case that sends and receives", function()
      raises("bad argument #1 to 'select'", function()
        goro.select { { send = c, recv = c, value = 1 } }
      end)
    end)

    it("a handler that is none, and a default that is none", function()
      raises("bad argument #1 to 'select'", function() goro.select { { recv = c, 42 } } end)
      raises("bad argument #1 to 'select'", function() goro.select { c, default = 42 } end)
    end)

    it("a time-out that is none", function()
      for _, t in ipairs { "1", {}, true, 0 / 0 } do
        raises("timeout", function() goro.select { c, timeout = t } end)
      end
    end)

    it("anything but a table", function()
      for _, v in ipairs { 42, "x", true, c } do
        support.bad_argument(1, "select", function() goro.select(v) end)
      end
      support.bad_argument(1, "select", function() goro.select() end)
    end)

    it("a value that cannot be sent, and nothing is", function()
      raises("cannot send a value of type 'FILE*'", function()
        local file <close> = assert(io.tmpfile())
        goro.select { { send = c, value = { file } } }
      end)
      assert.equal(0, #c)
    end)

    it("all this without touching a channel", function()
      local d = full(1)
      pcall(goro.select, { d, { send = c, value = 1 }, {} })
      pcall(goro.select, { d, { send = c, value = 1 }, typo = 1 })
      pcall(goro.select, { { send = c, value = 1 }, d, timeout = "x" })
      assert.equal(1, #d)
      assert.equal(0, #c)
    end)
  end)

  it("leaves its table as it was, so that it can be used again", function()
    local c = goro.chan(2)
    local cases = { { recv = c, function(v) return v end }, timeout = 10 }
    c:send(1)
    c:send(2)
    assert.equal(1, (goro.select(cases)))
    assert.equal(2, (goro.select(cases)))
    assert.equal(c, cases[1].recv)
    assert.equal(10, cases.timeout)
  end)

  it("copies what it sends", function()
    local c, t = goro.chan(1), { 1 }
    goro.select { { send = c, value = t } }
    t[1] = 2
    assert.same({ 1 }, (c:recv()))
  end)

  it("sends nil when no value is given", function()
    local c = goro.chan(1)
    goro.select { { send = c } }
    assert.same({ n = 2, nil, true }, table.pack(c:recv()))
  end)

  it("takes views of one direction", function()
    local c = goro.chan(1)
    assert.equal(1, (goro.select { { send = c:send_only(), value = 5 } }))
    assert.same({ 1, 5, true }, { goro.select { c:recv_only() } })
  end)

  it("takes what goro.after brings", function()
    local i, v, ok = goro.select { goro.chan(), goro.after(0.01) }
    assert.equal(2, i)
    assert.equal("number", type(v))
    assert.is_true(ok)
  end)

  it("may have many cases", function()
    local list = {}
    for i = 1, 300 do list[i] = goro.chan() end
    local out = goro.chan(1)
    goro.go(function() out:send({ goro.select(list) }) end)
    all_blocked()
    list[217]:send("here")
    assert.same({ 217, "here", true }, (out:recv()))
    for i = 1, 300 do assert.is_false((list[i]:try_send(1))) end
  end)

  it("blocks anywhere: in coroutines, comparators and metamethods", function()
    local c, quit = goro.chan(), goro.chan()
    goro.go(function()
      local i = 0
      while true do
        i = i + 1
        if goro.select { { send = c, value = i }, quit } == 2 then return end
      end
    end)
    local function body()
      local gen = coroutine.wrap(function()
        for _ = 1, 3 do coroutine.yield(select(2, goro.select { c, quit })) end
      end)
      local ok = gen() < gen()
      table.sort({ 2, 1 }, function(a, b)
        ok = ok and goro.select { { recv = c, function() return true end } }
        return a < b
      end)
      return ok and setmetatable({}, { __index = function()
        return goro.select { c, quit }
      end }).x == 1
    end
    assert.is_true(body())
    assert.is_true((in_goroutine(body)))
    quit:close()
  end)

  describe("under contention", function()
    it("hundreds of goroutines over 4 channels lose and double nothing", function()
      for _, caps in ipairs { { 0, 0, 0, 0 }, { 0, 1, 3, 16 } } do
        local senders, receivers = support.many(200), support.many(200)
        local n = 25
        local c = {}
        for i = 1, 4 do c[i] = goro.chan(caps[i]) end
        local quit, out, wg = goro.chan(), goro.chan(), goro.WaitGroup()
        wg:add(senders)
        for id = 1, senders do
          goro.go(function()
            for i = 1, n do
              local v = id * 1000 + i
              local k = goro.select {
                { send = c[1], value = v }, { send = c[2], value = v },
                { send = c[3], value = v }, { send = c[4], value = v },
              }
              if not (k >= 1 and k <= 4) then error("no case") end
            end
            wg:done()
          end)
        end
        for _ = 1, receivers do
          goro.go(function()
            local list = {}
            while true do
              local k, v, ok = goro.select { c[1], c[2], quit, c[3], c[4] }
              if k == 3 then break end
              if not ok then error("closed?") end
              list[#list + 1] = v
            end
            out:send(list)
          end)
        end
        wg:wait()
        local seen, total = {}, 0
        local function note(v)
          if seen[v] then error(v .. " came twice") end
          seen[v], total = true, total + 1
        end
        while true do                    -- what receivers have not taken from the buffers yet
          local i, v = goro.select { c[1], c[2], c[3], c[4], default = true }
          if not i then break end
          note(v)
        end
        quit:close()
        for _ = 1, receivers do
          for _, v in ipairs((out:recv())) do note(v) end
        end
        assert.equal(senders * n, total)
        for id = 1, senders do
          for i = 1, n do
            if not seen[id * 1000 + i] then error(id * 1000 + i .. " is lost") end
          end
        end
      end
    end)

    it("goroutines that both send and receive lose and double nothing", function()
      local players, n = support.many(200), 20
      local c = { goro.chan(), goro.chan(), goro.chan(2), goro.chan() }
      local out = goro.chan()
      local quit = goro.chan()
      local all_sent = goro.WaitGroup()
      all_sent:add(players)
      for id = 1, players do
        goro.go(function()
          local sent, got = 0, {}
          while true do
            local v = id * 1000 + sent + 1
            local more = sent < n
            local k, r = goro.select {
              c[1], c[2], c[3], c[4], quit,
              { send = more and c[1 + id % 4], value = v },
              { send = more and c[1 + (id + 1) % 4], value = v },
            }
            if k == 5 then break end
            if k > 5 then
              sent = sent + 1
              if sent == n then all_sent:done() end
            else
              got[#got + 1] = r
            end
          end
          out:send(got)
        end)
      end
      all_sent:wait()
      local seen, total = {}, 0
      local function note(v)
        if seen[v] then error(v .. " came twice") end
        seen[v], total = true, total + 1
      end
      while true do
        local i, v = goro.select { c[3], default = true }
        if not i then break end
        note(v)
      end
      quit:close()
      for _ = 1, players do
        for _, v in ipairs((out:recv())) do note(v) end
      end
      assert.equal(players * n, total)
    end)

    it("thousands of goroutines wait in the same channels and are each served once", function()
      local n = support.many(3000)
      local c = { goro.chan(), goro.chan(), goro.chan(), goro.chan() }
      local out = goro.chan(64)
      for i = 1, n do
        goro.go(function()
          local _, v = goro.select { c[1], c[2], c[3], c[4] }
          out:send(v * 10000 + i)
        end)
      end
      goro.go(function()
        for i = 1, n do c[i % 4 + 1]:send(i) end
      end)
      local values, waiters = {}, {}
      for _ = 1, n do
        local r = out:recv()
        local v, i = r // 10000, r % 10000
        assert(not values[v] and not waiters[i])
        values[v], waiters[i] = true, true
      end
      for i = 1, 4 do
        assert.is_false((c[i]:try_send(0)))
        assert.is_nil((select(2, c[i]:try_recv())))
      end
    end)

    it("thousands of goroutines are woken by one close", function()
      local n = support.many(3000)
      local a, quit, out = goro.chan(), goro.chan(), goro.chan(64)
      for _ = 1, n do
        goro.go(function()
          local i, v, ok = goro.select { a, quit }
          out:send(i == 2 and v == nil and ok == false)
        end)
      end
      quit:close()
      for _ = 1, n do assert.is_true((out:recv())) end
    end)

    it("a select in the middle of others' time-outs loses nothing", function()
      local n = support.many(400)
      local c, out = { goro.chan(), goro.chan() }, goro.chan()
      for id = 1, 4 do
        goro.go(function()
          local sent = 0
          for i = 1, n do
            local k = goro.select {
              { send = c[1], value = id * 10000 + i }, { send = c[2], value = id * 10000 + i },
              timeout = 0.00005 * (i % 4),
            }
            if k then sent = sent + 1 end
          end
          out:send(sent)
        end)
      end
      local quit, sums = goro.chan(), goro.chan()
      for _ = 1, 4 do
        goro.go(function()
          local got = 0
          while true do
            local k, _, ok = goro.select { c[1], c[2], quit, timeout = 0.0001 }
            if k == 3 then break end
            if ok then got = got + 1 end
          end
          sums:send(got)
        end)
      end
      local sent, got = 0, 0
      for _ = 1, 4 do sent = sent + out:recv() end
      quit:close()
      for _ = 1, 4 do got = got + sums:recv() end
      assert.equal(sent, got)
    end)

    it("two goroutines that select the same channels in opposite orders never stick", function()
      local a, b, out = goro.chan(), goro.chan(), goro.chan()
      local n = support.many(5000)
      goro.go(function()
        for i = 1, n do goro.select { { send = a, value = i }, { send = b, value = i } } end
        out:send("sent")
      end)
      goro.go(function()
        local last = 0
        for _ = 1, n do
          local _, v = goro.select { b, a }
          if v ~= last + 1 then error(v .. " after " .. last) end
          last = v
        end
        out:send("got")
      end)
      local r = { (out:recv()), (out:recv()) }
      table.sort(r)
      assert.same({ "got", "sent" }, r)
    end)
  end)
end)
