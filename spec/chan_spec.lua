-- Channels: unbuffered ones are a meeting, buffered ones a queue; who waits is served in the
-- order of coming; what is closed stays closed.

local goro = require("goro")
local script = require("spec.support.script")
local support = require("spec.support")

local raises, bad_argument = support.raises, support.bad_argument
local all_blocked, in_goroutine = support.all_blocked, support.in_goroutine

describe("a channel #chan", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("without a buffer", function()
    it("hands a value from a sender to a receiver", function()
      local c = goro.chan()
      goro.go(function() c:send("hello") end)
      local v, ok = c:recv()
      assert.equal("hello", v)
      assert.is_true(ok)
    end)

    it("hands a value on when the receiver was there first", function()
      local c, out = goro.chan(), goro.chan()
      goro.go(function()
        local v, ok = c:recv()
        out:send({ v, ok })
      end)
      all_blocked()
      c:send("hello")
      assert.same({ "hello", true }, (out:recv()))
    end)

    it("holds the sender until the value is taken", function()
      local c, sent = goro.chan(), goro.chan(1)
      goro.go(function()
        c:send(1)
        sent:send(true)
      end)
      all_blocked()
      assert.equal(0, #sent)
      assert.equal(1, (c:recv()))
      assert.is_true((sent:recv()))
    end)

    it("returns true from send, and no more", function()
      local c = goro.chan()
      goro.go(function() c:recv() c:recv() end)
      assert.is_true(c:send(1))
      assert.equal(1, select("#", c:send(2)))
    end)

    it("returns two values from recv", function()
      local c = goro.chan()
      goro.go(function() c:send(1) end)
      assert.equal(2, select("#", c:recv()))
    end)

    it("has no length and no capacity, also while somebody waits to send", function()
      local c = goro.chan()
      assert.equal(0, #c)
      assert.equal(0, c:len())
      assert.equal(0, c:cap())
      goro.go(function() c:send(1) end)
      all_blocked()
      assert.equal(0, #c)
      c:recv()
    end)

    it("is what goro.chan(0) and goro.chan(nil) make too", function()
      assert.equal(0, goro.chan(0):cap())
      assert.equal(0, goro.chan(nil):cap())
      assert.equal(0, goro.chan(0.0):cap())
    end)
  end)

  describe("with a buffer", function()
    it("takes as many values as it has room for, without a receiver", function()
      local c = goro.chan(3)
      assert.is_true(c:send(1))
      assert.is_true(c:send(2))
      assert.is_true(c:send(3))
      assert.same({ false, "timeout" }, { c:try_send(4) })
    end)

    it("gives values in the order in which they were sent", function()
      local c = goro.chan(10)
      for round = 1, 5 do
        for i = 1, 7 do c:send(round * 10 + i) end
        for i = 1, 7 do assert.equal(round * 10 + i, (c:recv())) end
      end
    end)

    it("knows how many values it holds, and how many it can", function()
      local c = goro.chan(10)
      assert.equal(10, c:cap())
      for i = 1, 10 do
        c:send(i)
        assert.equal(i, #c)
        assert.equal(i, c:len())
        assert.equal("integer", math.type(#c))
      end
      for i = 9, 0, -1 do
        c:recv()
        assert.equal(i, #c)
      end
      assert.equal(10, c:cap())
    end)

    it("holds senders when it is full, and lets each in as room comes", function()
      local c, sent = goro.chan(1), goro.chan(3)
      c:send(0)
      for i = 1, 3 do
        goro.go(function()
          c:send(i)
          sent:send(i)
        end)
        all_blocked()
      end
      assert.equal(0, #sent)
      for i = 0, 2 do
        assert.equal(i, (c:recv()))
        assert.equal(i + 1, (sent:recv()))
        assert.equal(1, #c)
      end
      assert.equal(3, (c:recv()))
    end)

    it("may be large", function()
      local n = support.many(100000)
      local c = goro.chan(n)
      for i = 1, n do c:send(i) end
      assert.equal(n, #c)
      for i = 1, n do
        if c:recv() ~= i then error(i) end
      end
      assert.equal(0, #c)
    end)

    it("holds a copy: what the sender changes afterwards is not seen", function()
      local c, t = goro.chan(1), { 1 }
      c:send(t)
      t[1] = 2
      local r = c:recv()
      assert.equal(1, r[1])
      assert.is_false(rawequal(r, t))
    end)
  end)

  describe("serves those who wait in the order they came:", function()
    local n = 20

    it("receivers", function()
      local c, out = goro.chan(), goro.chan(n)
      for i = 1, n do
        goro.go(function() out:send({ i, (c:recv()) }) end)
        all_blocked()
      end
      for i = 1, n do c:send(i) end
      for _ = 1, n do
        local r = out:recv()
        assert.equal(r[1], r[2])
      end
    end)

    it("receivers of a buffered channel", function()
      local c, out = goro.chan(3), goro.chan(n)
      for i = 1, n do
        goro.go(function() out:send({ i, (c:recv()) }) end)
        all_blocked()
      end
      for i = 1, n do c:send(i) end
      for _ = 1, n do
        local r = out:recv()
        assert.equal(r[1], r[2])
      end
    end)

    it("senders", function()
      local c = goro.chan()
      for i = 1, n do
        goro.go(function() c:send(i) end)
        all_blocked()
      end
      for i = 1, n do assert.equal(i, (c:recv())) end
    end)

    it("senders of a buffered channel, after what is in it", function()
      local c = goro.chan(2)
      c:send(1)
      c:send(2)
      for i = 3, n do
        goro.go(function() c:send(i) end)
        all_blocked()
      end
      for i = 1, n do assert.equal(i, (c:recv())) end
    end)

    it("those in a select, too", function()
      local c, other, out = goro.chan(), goro.chan(), goro.chan(n)
      for i = 1, n do
        if i % 2 == 0 then
          goro.go(function() out:send({ i, (c:recv()) }) end)
        else
          goro.go(function()
            local _, v = goro.select { other, c }
            out:send({ i, v })
          end)
        end
        all_blocked()
      end
      for i = 1, n do c:send(i) end
      for _ = 1, n do
        local r = out:recv()
        assert.equal(r[1], r[2])
      end
    end)

    it("those who gave up are not in the way", function()
      local c, out = goro.chan(), goro.chan(1)
      assert.same({ nil, nil, "timeout" }, { c:recv(0.001) })
      assert.same({ false, "timeout" }, { c:try_send(0, 0.001) })
      assert.same({ nil, "timeout" }, { goro.select { c, timeout = 0.001 } })
      assert.same({ false, "timeout" }, { c:try_send(1) })
      assert.same({ nil, nil, "timeout" }, { c:try_recv() })
      goro.go(function() out:send((c:recv())) end)
      all_blocked()
      c:send(2)
      assert.equal(2, (out:recv()))
    end)
  end)

  describe("carries", function()
    it("nil, with true for its second value", function()
      local c = goro.chan(1)
      c:send(nil)
      assert.equal(1, #c)
      assert.same({ n = 2, nil, true }, table.pack(c:recv()))
    end)

    it("false", function()
      local c = goro.chan(1)
      c:send(false)
      assert.same({ false, true }, { c:recv() })
    end)

    it("the first value of send and leaves the rest", function()
      local c, b = goro.chan(2), goro.chan(2)
      local s = "banana"
      c:send(s:gsub("a", "b"))
      assert.equal("bbnbnb", (c:recv()))
      c:send(1, 2, io.stdout, coroutine.running())
      b:send(c:recv())
      assert.equal(0, #c)
      assert.same({ 1, true }, { b:recv() })
      assert.equal(0, #b)
    end)

    it("channels, which stay the same channels", function()
      local requests = goro.chan()
      goro.go(function()
        for r in requests:range() do r.reply:send(r.n * 2) end
      end)
      for i = 1, 10 do
        local reply = goro.chan()
        requests:send({ n = i, reply = reply })
        assert.equal(i * 2, (reply:recv()))
      end
      requests:close()
    end)

    it("itself", function()
      local c = goro.chan(1)
      c:send(c)
      local d = c:recv()
      assert.is_true(rawequal(c, d))
      d:send("through itself")
      assert.equal("through itself", (c:recv()))
    end)

    it("a channel that carries a channel that carries a channel", function()
      local a, b, c = goro.chan(), goro.chan(1), goro.chan(1)
      c:send("found")
      b:send(c)
      goro.go(function() a:send(b) end)
      assert.equal("found", (a:recv():recv():recv()))
    end)

    it("a channel whose sender has ended and let go of it", function()
      local c = goro.chan()
      goro.go(function()
        local inner = goro.chan(3)
        inner:send("a")
        inner:send({ "b" })
        c:send(inner)
      end)
      local inner = c:recv()
      collectgarbage()
      assert.equal("a", (inner:recv()))
      assert.same({ "b" }, (inner:recv()))
    end)
  end)

  describe("is one value in a state:", function()
    it("received again and again it is rawequal", function()
      local c, back = goro.chan(5), goro.chan(5)
      local mine = goro.chan()
      for _ = 1, 5 do c:send(mine) end
      for _ = 1, 5 do assert.is_true(rawequal(mine, (c:recv()))) end
      assert.is_true((in_goroutine(function()
        for _ = 1, 5 do back:send({ mine }) end
        local first = back:recv()[1]
        for _ = 1, 4 do
          if not rawequal(first, back:recv()[1]) then return false end
        end
        return rawequal(first, mine)
      end)))
    end)

    it("it is a table key that is found again", function()
      local a, b = goro.chan(), goro.chan()
      local names = { [a] = "a", [b] = "b" }
      assert.equal("a", names[support.there_and_back(a)])
      assert.equal("b", names[support.there_and_back({ b })[1]])
      local r = support.there_and_back(names)
      assert.equal("a", r[a])
      assert.equal("b", r[b])
    end)

    it("the same after the collector has run", function()
      local c = goro.chan(1)
      c:send(goro.chan(7))
      local text, address
      do
        local d = c:recv()
        text = tostring(d)
        c:send(d)
      end
      collectgarbage()
      collectgarbage()
      local again = c:recv()
      address = tostring(again)
      assert.equal(text, address)
      assert.equal(7, again:cap())
    end)

    it("two channels are never equal", function()
      local a, b = goro.chan(), goro.chan()
      assert.is_false(a == b)
      assert.is_true(a == a)
      assert.is_false(a == support.cross(b))
    end)

    it("its type is userdata", function()
      assert.equal("userdata", type(goro.chan()))
    end)

    it("a thousand channels in one message keep their places", function()
      local list = {}
      for i = 1, 1000 do list[i] = goro.chan(i) end
      local r = support.there_and_back(list)
      assert.equal(1000, #r)
      for i = 1, 1000 do
        if not rawequal(list[i], r[i]) then error(i) end
      end
    end)
  end)

  describe("shows itself", function()
    it("with its address, name and fill", function()
      local c = goro.chan(10, nil, "jobs")
      for i = 1, 3 do c:send(i) end
      assert.truthy(tostring(c):find('^channel: 0x%x+ "jobs" 3/10$'), tostring(c))
    end)

    it("without a name", function()
      local c = goro.chan(2)
      assert.truthy(tostring(c):find("^channel: 0x%x+ 0/2$"), tostring(c))
      c:send(1)
      assert.truthy(tostring(c):find("^channel: 0x%x+ 1/2$"), tostring(c))
    end)

    it("with the same address in every goroutine", function()
      local c = goro.chan(2, nil, "x")
      assert.equal(tostring(c), (in_goroutine(function() return tostring(c) end)))
      assert.are_not.equal(tostring(c), tostring(goro.chan(2, nil, "x")))
    end)

    it("with any name", function()
      local long = ("n"):rep(300)
      assert.truthy(tostring(goro.chan(0, nil, long)):find(long, 1, true))
      assert.truthy(tostring(goro.chan(0, "string", "typed")):find('"typed"', 1, true))
      assert.truthy(tostring(goro.chan(1, nil, "")):find("^channel: 0x%x+"))
    end)
  end)

  describe("can be tried:", function()
    it("try_recv never blocks", function()
      local c = goro.chan(1)
      assert.same({ n = 3, nil, nil, "timeout" }, table.pack(c:try_recv()))
      c:send(5)
      assert.same({ n = 2, 5, true }, table.pack(c:try_recv()))
      c:close()
      assert.same({ n = 2, nil, false }, table.pack(c:try_recv()))
    end)

    it("try_send never blocks", function()
      local c = goro.chan(1)
      assert.same({ n = 1, true }, table.pack(c:try_send(5)))
      assert.same({ n = 2, false, "timeout" }, table.pack(c:try_send(6)))
      assert.equal(1, #c)
      assert.equal(5, (c:recv()))
    end)

    it("try_send serves a receiver that waits", function()
      local c, out = goro.chan(), goro.chan(1)
      assert.is_false((c:try_send(1)))
      goro.go(function() out:send((c:recv())) end)
      all_blocked()
      assert.is_true((c:try_send(2)))
      assert.equal(2, (out:recv()))
    end)

    it("try_recv serves a sender that waits", function()
      local c = goro.chan()
      goro.go(function() c:send(3) end)
      all_blocked()
      assert.same({ 3, true }, { c:try_recv() })
    end)

    it("a time-out of 0 or less never blocks, but a ready value comes first", function()
      local c = goro.chan(1)
      for _, t in ipairs { 0, 0.0, -0.0, -1, -0.5, math.mininteger, -math.huge } do
        assert.same({ n = 3, nil, nil, "timeout" }, table.pack(c:recv(t)))
        assert.same({ n = 3, nil, nil, "timeout" }, table.pack(c:try_recv(t)))
        c:send("ready")
        assert.same({ n = 2, "ready", true }, table.pack(c:recv(t)))
        assert.is_true((c:try_send("room", t)))
        assert.same({ n = 2, false, "timeout" }, table.pack(c:try_send("full", t)))
        assert.equal("room", (c:try_recv(t)))
      end
    end)

    it("a small time-out is waited for, and not much longer", function()
      local c = goro.chan()
      local t = goro.now()
      assert.same({ n = 3, nil, nil, "timeout" }, table.pack(c:recv(0.02)))
      local took = goro.now() - t
      assert.is_true(took >= 0.02 and took < 5, took)
      t = goro.now()
      assert.same({ n = 3, nil, nil, "timeout" }, table.pack(c:try_recv(0.02)))
      took = goro.now() - t
      assert.is_true(took >= 0.02 and took < 5, took)
      t = goro.now()
      assert.same({ n = 2, false, "timeout" }, table.pack(c:try_send(1, 0.02)))
      took = goro.now() - t
      assert.is_true(took >= 0.02 and took < 5, took)
    end)

    it("in a goroutine as in the main script", function()
      local r = in_goroutine(function()
        local c, t = goro.chan(), goro.now()
        local v, ok, why = c:recv(0.02)
        local sent, why2 = c:try_send(1, 0.02)
        return { v == nil, ok == nil, why, sent, why2, goro.now() - t >= 0.04 }
      end)
      assert.same({ true, true, "timeout", false, "timeout", true }, r)
    end)

    it("a time-out that is long enough is not felt", function()
      local c = goro.chan()
      goro.go(function() for i = 1, 3 do c:send(i) end end)
      assert.same({ 1, true }, { c:recv(60) })
      assert.same({ 2, true }, { c:try_recv(60) })
      assert.same({ 3, true }, { c:recv(math.huge) })
      goro.go(function() c:recv() end)
      assert.same({ true }, { c:try_send(4, 60) })
    end)

    it("nil as a time-out of recv waits without limit", function()
      local c = goro.chan()
      goro.go(function() c:send(1) end)
      assert.equal(1, (c:recv(nil)))
    end)

    it("a value that was not sent in time is never received", function()
      local c = goro.chan()
      for i = 1, 20 do assert.is_false((c:try_send(i, 0.0005))) end
      goro.go(function() c:send("later") end)
      assert.equal("later", (c:recv()))
    end)

    it("time-outs and values that meet lose nothing", function()
      local n = support.many(500)
      local c, out = goro.chan(), goro.chan()
      goro.go(function()
        local sent = 0
        for i = 1, n do
          if c:try_send(i, 0.0001 * (i % 3)) then sent = sent + 1 end
        end
        c:close()
        out:send(sent)
      end)
      local got, last = 0, 0
      while true do
        local v, ok = c:recv(0.0001 * (got % 4))
        if ok then
          assert.is_true(v > last)
          got, last = got + 1, v
        elseif ok == false then
          break
        else
          goro.yield()
        end
      end
      assert.equal(got, (out:recv()))
    end)
  end)

  describe("that is closed", function()
    it("gives what is left in it, then nil and false, for ever", function()
      local c = goro.chan(3)
      c:send(1)
      c:send(nil)
      c:close()
      assert.equal(2, #c)
      assert.same({ n = 2, 1, true }, table.pack(c:recv()))
      assert.same({ n = 2, nil, true }, table.pack(c:recv()))
      for _ = 1, 3 do
        assert.same({ n = 2, nil, false }, table.pack(c:recv()))
        assert.same({ n = 2, nil, false }, table.pack(c:recv(0)))
        assert.same({ n = 2, nil, false }, table.pack(c:try_recv(1)))
      end
    end)

    it("wakes all who wait to receive, with nil and false", function()
      local c, out = goro.chan(), goro.chan(10)
      for _ = 1, 10 do
        goro.go(function()
          local r = table.pack(c:recv())
          out:send({ r.n, r[1] == nil, r[2] })
        end)
      end
      all_blocked()
      c:close()
      for _ = 1, 10 do assert.same({ 2, true, false }, (out:recv())) end
    end)

    it("raises in send and try_send", function()
      for cap = 0, 2 do
        local c = goro.chan(cap)
        c:close()
        raises("send on closed channel", function() c:send(1) end)
        raises("send on closed channel", function() c:try_send(1) end)
        raises("send on closed channel", function() c:try_send(1, 0.01) end)
        raises("send on closed channel", c.send, c, 1)
      end
    end)

    it("raises in all who wait to send, and their values are gone", function()
      local c, out = goro.chan(1), goro.chan(10)
      c:send("kept")
      for i = 1, 5 do
        goro.go(function()
          local ok, err = pcall(function() c:send(i) end)
          out:send({ ok, err })
        end)
        goro.go(function()
          local ok, err = pcall(goro.select, { { send = c, value = i } })
          out:send({ ok, err })
        end)
      end
      all_blocked()
      c:close()
      for _ = 1, 10 do
        local r = out:recv()
        assert.is_false(r[1])
        assert.truthy(r[2]:find("send on closed channel", 1, true))
      end
      assert.same({ "kept", true }, { c:recv() })
      assert.same({ nil, false }, { c:recv() })
    end)

    it("raises when it is closed again", function()
      local c = goro.chan()
      c:close()
      raises("close of closed channel", function() c:close() end)
      assert.truthy(in_goroutine(function()
        return select(2, pcall(c.close, c))
      end):find("close of closed channel", 1, true))
    end)

    it("says where it was misused", function()
      local c = goro.chan()
      c:close()
      local line = debug.getinfo(1, "l").currentline
      local _, err = pcall(function()
        c:send(1)
      end)
      assert.equal(("spec/chan_spec.lua:%d: send on closed channel"):format(line + 2),
        (err:gsub("^.*(spec/chan_spec)", "%1")))
    end)

    it("keeps its capacity", function()
      local c = goro.chan(4)
      c:send(1)
      c:close()
      assert.equal(4, c:cap())
      assert.equal(1, c:len())
    end)

    it("is closed for everybody", function()
      local c, out = goro.chan(), goro.chan()
      goro.go(function()
        c:close()
        out:send(true)
      end)
      out:recv()
      raises("send on closed channel", function() c:send(1) end)
    end)

    it("is closed once when many try", function()
      local n = 50
      for _ = 1, 20 do
        local c, gate, out = goro.chan(), goro.chan(), goro.chan()
        for _ = 1, n do
          goro.go(function()
            gate:recv()
            out:send((pcall(c.close, c)))
          end)
        end
        gate:close()
        local closed = 0
        for _ = 1, n do
          if out:recv() then closed = closed + 1 end
        end
        assert.equal(1, closed)
      end
    end)

    it("has neither lost nor invented a value, whenever the close came", function()
      for cap = 0, 3 do
        for _ = 1, support.many(100) do
          local c, sent = goro.chan(cap), goro.chan()
          goro.go(function()
            local n = 0
            while pcall(c.send, c, n + 1) do n = n + 1 end
            sent:send(n)
          end)
          local got = 0
          for _ = 1, 5 do
            assert.equal(got + 1, (c:recv()))
            got = got + 1
          end
          c:close()
          while true do
            local v, ok = c:recv()
            if not ok then break end
            got = got + 1
            assert.equal(got, v)
          end
          assert.equal(got, (sent:recv()))
        end
      end
    end)
  end)

  describe("closes by <close>", function()
    it("at the end of the block", function()
      local c
      do
        local d <close> = goro.chan(1)
        c = d
        d:send(1)
      end
      assert.same({ 1, true }, { c:recv() })
      assert.same({ nil, false }, { c:recv() })
    end)

    it("when an error leaves the block, which passes on", function()
      local c
      raises("my own", function()
        local d <close> = goro.chan()
        c = d
        error("my own")
      end)
      assert.same({ nil, false }, { c:recv() })
    end)

    it("and does not mind that it is closed already", function()
      local c
      do
        local d <close> = goro.chan()
        c = d
        d:close()
      end
      assert.same({ nil, false }, { c:recv() })
    end)

    it("in a goroutine that ends", function()
      local c = goro.chan()
      goro.go(function()
        local out <close> = c
        for i = 1, 3 do out:send(i) end
      end)
      local got = {}
      for v in c:range() do got[#got + 1] = v end
      assert.same({ 1, 2, 3 }, got)
    end)
  end)

  describe("is ranged over", function()
    it("until it is closed", function()
      local c = goro.chan(5)
      for i = 1, 5 do c:send(i) end
      c:close()
      local got = {}
      for v in c:range() do got[#got + 1] = v end
      assert.same({ 1, 2, 3, 4, 5 }, got)
      for _ in c:range() do error("nothing is left") end
    end)

    it("while others send", function()
      local c = goro.chan()
      goro.go(function()
        for i = 1, 100 do c:send(i) end
        c:close()
      end)
      local n = 0
      for v in c:range() do
        n = n + 1
        assert.equal(n, v)
      end
      assert.equal(100, n)
    end)

    it("past false", function()
      local c = goro.chan(3)
      c:send(false)
      c:send(1)
      c:send(false)
      c:close()
      local got = {}
      for v in c:range() do got[#got + 1] = v end
      assert.same({ false, 1, false }, got)
    end)

    it("and raises at a nil, which would end the loop silently", function()
      local c = goro.chan(3)
      c:send(1)
      c:send(nil)
      c:send(2)
      local got = {}
      raises("nil", function()
        for v in c:range() do got[#got + 1] = v end
      end)
      assert.same({ 1 }, got)
      assert.same({ 2, true }, { c:recv() })
    end)

    it("by many at once, each value once", function()
      local n = support.many(2000)
      local c, out = goro.chan(), goro.chan()
      for _ = 1, 8 do
        goro.go(function()
          local sum = 0
          for v in c:range() do sum = sum + v end
          out:send(sum)
        end)
      end
      for i = 1, n do c:send(i) end
      c:close()
      local sum = 0
      for _ = 1, 8 do sum = sum + out:recv() end
      assert.equal(n * (n + 1) // 2, sum)
    end)

    it("and left in the middle, with the rest still to come", function()
      local c = goro.chan(5)
      for i = 1, 5 do c:send(i) end
      for v in c:range() do
        if v == 2 then break end
      end
      assert.equal(3, (c:recv()))
    end)
  end)

  describe("with a type", function()
    local samples = {
      ["nil"] = {}, boolean = { true, false }, number = { 1, 1.5, 0 / 0 },
      string = { "", "1" }, table = { {} }, ["function"] = { print, function() end },
      integer = { 1, math.mininteger }, float = { 1.0, 0 / 0, math.huge },
    }
    local function fits(type_, v)
      return type(v) == type_ or math.type(v) == type_
    end

    for _, type_ in ipairs { "boolean", "number", "string", "table", "function", "integer",
      "float" } do
      it("takes a " .. type_ .. " and nothing else", function()
        for kind, list in pairs(samples) do
          for i = 1, math.max(#list, 1) do
            local c = goro.chan(1, type_)
            if fits(type_, list[i]) then
              assert.is_true(c:send(list[i]))
              assert.is_true(select(2, c:recv()))
              assert.is_true(c:try_send(list[i]))
            else
              local err = bad_argument(1, "send", function() c:send(list[i]) end)
              assert.truthy(err:find(type_, 1, true), kind .. ": " .. err)
              bad_argument(1, "try_send", function() c:try_send(list[i]) end)
              assert.equal(0, #c)
              raises(type_, function()
                goro.select { { send = c, value = list[i] }, default = true }
              end)
              assert.equal(0, #c)
            end
          end
        end
      end)
    end

    it("\"channel\" takes channels only", function()
      local c = goro.chan(1, "channel")
      local d = goro.chan()
      assert.is_true(c:send(d))
      assert.is_true(rawequal(d, (c:recv())))
      bad_argument(1, "send", function() c:send({}) end)
      bad_argument(1, "send", function() c:send(nil) end)
      bad_argument(1, "send", function() c:send(goro.WaitGroup()) end)
      bad_argument(1, "send", function() c:send("channel") end)
      assert.equal(0, #c)
    end)

    it("\"userdata\" takes goro's objects", function()
      local c = goro.chan(2, "userdata")
      assert.is_true(c:send(goro.chan()))
      assert.is_true(c:send(goro.WaitGroup()))
      bad_argument(1, "send", function() c:send(1) end)
    end)

    it("\"nil\" takes nil only", function()
      local c = goro.chan(2, "nil")
      assert.is_true(c:send(nil))
      bad_argument(1, "send", function() c:send(false) end)
      assert.equal(1, #c)
    end)

    it("has it in every goroutine", function()
      local c = goro.chan(1, "integer", "numbers")
      local err = in_goroutine(function()
        return (select(2, pcall(function() c:send("1") end)))
      end)
      assert.truthy(err:find("bad argument #1 to 'send'", 1, true), err)
      c:send(1)
      assert.equal(1, (c:recv()))
    end)

    it("does not change what it carries", function()
      local c = goro.chan(2, "number")
      c:send(1)
      c:send(1.0)
      assert.equal("integer", math.type((c:recv())))
      assert.equal("float", math.type((c:recv())))
    end)

    it("may have no capacity", function()
      local c = goro.chan(nil, "string")
      goro.go(function() c:send("x") end)
      assert.equal("x", (c:recv()))
      assert.equal(0, c:cap())
    end)
  end)

  describe("has views of one direction:", function()
    it("they are the same channel", function()
      local c = goro.chan(3)
      local s, r = c:send_only(), c:recv_only()
      s:send(1)
      c:send(2)
      assert.is_true(s:try_send(3))
      assert.equal(1, (r:recv()))
      assert.equal(2, (c:recv()))
      assert.equal(3, (r:try_recv()))
      s:send(4)
      assert.equal(1, #r)
      assert.equal(1, #s)
      assert.equal(3, r:cap())
      assert.equal(3, s:cap())
      assert.equal(1, r:len())
    end)

    it("equal to it and to each other, and to no other channel", function()
      local c, d = goro.chan(), goro.chan()
      assert.is_true(c == c:send_only())
      assert.is_true(c:recv_only() == c)
      assert.is_true(c:recv_only() == c:send_only())
      assert.is_false(c == d:send_only())
      assert.is_false(c:send_only() == d:send_only())
    end)

    it("each is one value of its own", function()
      local c = goro.chan()
      assert.is_true(rawequal(c:send_only(), c:send_only()))
      assert.is_true(rawequal(c:recv_only(), c:recv_only()))
      assert.is_false(rawequal(c, c:send_only()))
      assert.is_false(rawequal(c, c:recv_only()))
      assert.is_false(rawequal(c:recv_only(), c:send_only()))
    end)

    it("they stay what they are when they cross", function()
      local c = goro.chan()
      local s, r = c:send_only(), c:recv_only()
      assert.is_true(rawequal(s, support.there_and_back(s)))
      assert.is_true(rawequal(r, support.there_and_back({ r })[1]))
      local t = support.there_and_back({ c, s, r, [s] = "s", [r] = "r", [c] = "c" })
      assert.is_true(rawequal(c, t[1]) and rawequal(s, t[2]) and rawequal(r, t[3]))
      assert.same({ "s", "r", "c" }, { t[s], t[r], t[c] })
      local seen = in_goroutine(function()
        return { s == c, r == c, s == r, rawequal(s, c:send_only()),
          (pcall(s.recv, s)), (pcall(r.send, r, 1)) }
      end)
      assert.same({ true, true, true, true, false, false }, seen)
    end)

    it("a send-only one raises where it would receive", function()
      local s = goro.chan(1):send_only()
      s:send(1)
      raises("send-only", function() s:recv() end)
      raises("send-only", function() s:recv(0) end)
      raises("send-only", function() s:try_recv() end)
      raises("send-only", function() for _ in s:range() do error("received") end end)
      raises("send-only", function() goro.select { s, default = true } end)
      raises("send-only", function() goro.select { { recv = s }, default = true } end)
      assert.equal(1, #s)
    end)

    it("a receive-only one raises where it would send", function()
      local c = goro.chan(1)
      local r = c:recv_only()
      raises("receive-only", function() r:send(1) end)
      raises("receive-only", function() r:try_send(1) end)
      raises("receive-only", function()
        goro.select { { send = r, value = 1 }, default = true }
      end)
      assert.equal(0, #c)
    end)

    it("closing is seen through all of them", function()
      local c = goro.chan(1)
      local s, r = c:send_only(), c:recv_only()
      s:send(1)
      s:close()
      assert.same({ 1, true }, { r:recv() })
      for _ in r:range() do error("closed") end
      raises("send on closed channel", function() s:send(1) end)
      raises("close of closed channel", function() c:close() end)
    end)

    it("they show the same address", function()
      local c = goro.chan(2, nil, "x")
      local function address(x) return tostring(x):match("0x%x+") end
      assert.equal(address(c), address(c:send_only()))
      assert.equal(address(c), address(c:recv_only()))
    end)

    it("they keep the channel alive", function()
      local s, r = (function()
        local c = goro.chan(1)
        return c:send_only(), c:recv_only()
      end)()
      collectgarbage()
      s:send("alive")
      collectgarbage()
      assert.equal("alive", (r:recv()))
    end)

    it("a typed one checks what it sends", function()
      bad_argument(1, "send", function() goro.chan(1, "string"):send_only():send(1) end)
    end)
  end)

  describe("with many senders and receivers", function()
    for _, cap in ipairs { 0, 1, 7, 128 } do
      it(("(capacity %d) loses and doubles nothing, keeps each sender's order"):format(cap),
        function()
          local senders, receivers = 8, 8
          local n = support.many(2000)
          local c, out, wg = goro.chan(cap), goro.chan(), goro.WaitGroup()
          wg:add(senders)
          for id = 1, senders do
            goro.go(function()
              for i = 1, n do c:send(id * 1000000 + i) end
              wg:done()
            end)
          end
          for _ = 1, receivers do
            goro.go(function()
              local list = {}
              for v in c:range() do list[#list + 1] = v end
              out:send(list)
            end)
          end
          wg:wait()
          c:close()
          local seen, total = {}, 0
          for _ = 1, receivers do
            local last = {}
            for _, v in ipairs((out:recv())) do
              local id, i = v // 1000000, v % 1000000
              if seen[v] then error(("%d came twice"):format(v)) end
              if i <= (last[id] or 0) then error(("%d came after %d"):format(i, last[id])) end
              seen[v], last[id], total = true, i, total + 1
            end
          end
          assert.equal(senders * n, total)
        end)
    end

    it("hands tables over whole", function()
      local n = support.many(500)
      local c, out = goro.chan(4), goro.chan()
      for id = 1, 4 do
        goro.go(function()
          for i = 1, n do
            local text = ("%d.%d"):format(id, i):rep(i % 50)
            c:send({ id = id, i = i, text = text, list = { i, id } })
          end
        end)
        goro.go(function()
          local bad = 0
          for _ = 1, n do
            local t = c:recv()
            if t.text ~= ("%d.%d"):format(t.id, t.i):rep(t.i % 50) or t.list[1] ~= t.i
              or t.list[2] ~= t.id then
              bad = bad + 1
            end
          end
          out:send(bad)
        end)
      end
      for _ = 1, 4 do assert.equal(0, (out:recv())) end
    end)

    it("in a ring of 100 goroutines passes a token on", function()
      local n, rounds = 100, support.many(50)
      local first = goro.chan()
      local from = first
      for _ = 1, n do
        local to = goro.chan()
        local source = from
        goro.go(function()
          for v in source:range() do to:send(v + 1) end
          to:close()
        end)
        from = to
      end
      local v = 0
      for _ = 1, rounds do
        first:send(v)
        v = from:recv()
      end
      first:close()
      assert.same({ nil, false }, { from:recv() })
      assert.equal(n * rounds, v)
    end)

    it("sieves primes", function()
      local function filter(from, prime)
        local to = goro.chan()
        goro.go(function()
          for v in from:range() do
            if v % prime ~= 0 then to:send(v) end
          end
          to:close()
        end)
        return to
      end
      local numbers = goro.chan()
      goro.go(function()
        for i = 2, 230 do numbers:send(i) end
        numbers:close()
      end)
      local primes, c = {}, numbers
      while true do
        local p, ok = c:recv()
        if not ok then break end
        primes[#primes + 1] = p
        c = filter(c, p)
      end
      assert.equal(50, #primes)
      assert.equal(229, primes[50])
    end)

    it("between the main script and a goroutine goes to and fro", function()
      local n = support.many(20000)
      local ping, pong = goro.chan(), goro.chan()
      goro.go(function()
        for v in ping:range() do pong:send(v) end
      end)
      for i = 1, n do
        ping:send(i)
        if pong:recv() ~= i then error(i) end
      end
      ping:close()
    end)
  end)

  -- (In a process of its own: how soon Lua collects depends on all that its state holds.)
  it("that nobody holds any more is collected, with all it holds #nosan", function()
    local result = script.run(([[
      local goro = require "goro"
      local function resident()
        local file = io.open("/proc/self/statm")
        if not file then return 0 end
        local pages = file:read("l")
        file:close()
        return tonumber(pages:match("%%d+ (%%d+)")) * 4096
      end
      local before = resident()
      for i = 1, %d do
        local c = goro.chan(2)
        c:send({ i, goro.chan() })
        c:send(("x"):rep(2000))
      end
      collectgarbage()
      print(resident() - before)
    ]]):format(support.many(100000)))
    assert.equal("", result.err)
    assert.is_true(tonumber(result.out) < 5000000, result.out .. "bytes more")
  end)
end)
