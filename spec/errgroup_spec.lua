-- errgroup: goroutines that work on one task, and the first failure.

local goro = require("goro")
local context = require("goro.context")
local support = require("spec.support")
local script = require("spec.support.script")

local in_goroutine = support.in_goroutine

describe("errgroup #errgroup", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  describe("wait", function()
    it("of a group without goroutines is true", function()
      assert.same({ n = 1, true }, table.pack(goro.errgroup():wait()))
    end)

    it("is true when all have ended well", function()
      local g, n = goro.errgroup(), goro.Atomic()
      for i = 1, 20 do g:go(function() n:add(i) return true end) end
      assert.same({ n = 1, true }, table.pack(g:wait()))
      assert.equal(210, n:load())
    end)

    it("returns the first failure, when all have ended", function()
      local g, n, first = goro.errgroup(), goro.Atomic(), goro.chan()
      g:go(function()
        first:recv()
        n:add(1)
      end)
      g:go(function()
        first:close()
        error("boom", 0)
      end)
      local ok, err, traceback = g:wait()
      assert.is_nil(ok)
      assert.equal("boom", err)
      assert.matches("stack traceback:", traceback, 1, true)
      assert.equal(1, n:load())
    end)

    it("returns it to all who wait, as often as they ask", function()
      local g = goro.errgroup()
      local hold = goro.chan()
      g:go(function()
        hold:recv()
        return nil, "no luck"
      end)
      local tasks = {}
      for i = 1, 3 do tasks[i] = goro.async(function() return g:wait() end) end
      hold:close()
      for _ = 1, 2 do
        local ok, err, where = g:wait()
        assert.same({ nil, "no luck" }, { ok, err })
        assert.matches("created by main at .*errgroup_spec", where)
      end
      for i = 1, 3 do
        local _, ok, err = tasks[i]:wait()
        assert.same({ nil, "no luck" }, { ok, err })
      end
    end)

    it("takes a number or a context, and gives up without ending anything", function()
      local g = goro.errgroup()
      local hold = goro.chan()
      g:go(function() hold:recv() end)
      assert.same({ n = 2, nil, "timeout" }, table.pack(g:wait(0)))
      assert.same({ n = 2, nil, "timeout" }, table.pack(g:wait(0.002)))
      assert.same({ n = 2, nil, context.DeadlineExceeded },
        table.pack(g:wait((context.with_timeout(nil, 0.002)))))
      local ctx, cancel = context.with_cancel()
      cancel()
      assert.same({ n = 2, nil, context.Canceled }, table.pack(g:wait(ctx)))
      assert.is_nil(g.ctx:err())
      hold:close()
      assert.is_true(g:wait(60))
      assert.same({ n = 2, nil, context.Canceled }, table.pack(g:wait(ctx)))
      support.bad_argument(1, "wait", function() g:wait("1") end)
    end)

    it("a group may be used again after it", function()
      local g, n = goro.errgroup(), goro.Atomic()
      for _ = 1, 3 do
        for _ = 1, 5 do g:go(function() n:add(1) end) end
        assert.is_true(g:wait())
      end
      assert.equal(15, n:load())
    end)
  end)

  describe("a function fails", function()
    local function outcome(f, ...)
      local g = goro.errgroup()
      g:go(f, ...)
      return g:wait()
    end

    it("if it raises, with any value", function()
      local ok, err = outcome(error, "boom")
      assert.same({ nil, "boom" }, { ok, err })
      err = select(2, outcome(function() error { code = 5 } end))
      assert.same({ code = 5 }, err)
      assert.same({ nil, nil }, { (outcome(error)), (select(2, outcome(error))) })
    end)

    it("if it returns nil or false and then a value, as Lua's functions do", function()
      for _, first in ipairs { "nil", "false" } do
        local ok, why, where = outcome(load("return " .. first .. ", 'why', 2"))
        assert.same({ nil, "why" }, { ok, why })
        assert.matches("created by main at .*errgroup_spec", where)
      end
      local err = select(2, outcome(function() return io.open("/no/such/file") end))
      assert.equal("/no/such/file: No such file or directory", err)
      assert.equal(false, (select(2, outcome(function() return nil, false end))))
    end)

    it("and not by anything else", function()
      assert.is_true(outcome(function() end))
      assert.is_true(outcome(function() return nil end))
      assert.is_true(outcome(function() return false end))
      assert.is_true(outcome(function() return nil, nil, "x" end))
      assert.is_true(outcome(function() return true, "x" end))
      assert.is_true(outcome(function() return 0, "x" end))
    end)

    it("whatever it returns otherwise need not cross", function()
      assert.is_true(outcome(function() return coroutine.create(print) end))
      assert.is_true(outcome(function() return io.tmpfile(), function() end end))
    end)

    it("arguments are passed", function()
      local out = goro.chan(1)
      assert.is_true(outcome(function(...) out:send { ... } end, 1, "two", { 3 }))
      assert.same({ 1, "two", { 3 } }, (out:recv()))
    end)

    it("what cannot be started raises, and counts for nothing", function()
      local g = goro.errgroup()
      support.bad_argument(1, "go", function() g:go() end)
      support.bad_argument(1, "go", function() g:go(1) end)
      support.raises("cannot send a value of type 'thread'", g.go, g, print,
        coroutine.create(print))
      g:limit(1)
      support.raises("cannot send", g.go, g, print, coroutine.create(print))
      g:go(function() end)
      assert.is_true(g:wait())
    end)
  end)

  describe("its context", function()
    it("is cancelled by the first failure, with that as cause", function()
      local g = goro.errgroup()
      local ctx = g.ctx
      assert.is_nil(ctx:err())
      for _ = 1, 10 do
        g:go(function()
          local ok, why = goro.sleep(100, ctx)
          assert(not ok and why == context.Canceled)
        end)
      end
      g:go(function() return nil, "first" end)
      assert.same({ nil, "first" }, { (g:wait()), (select(2, g:wait())) })
      assert.equal(context.Canceled, ctx:err())
      assert.equal("first", ctx:cause())
    end)

    it("is cancelled when wait returns", function()
      local g = goro.errgroup()
      g:go(function() end)
      g:wait()
      assert.equal(context.Canceled, g.ctx:err())
      assert.equal(context.Canceled, g.ctx:cause())
    end)

    it("is a child of the one given", function()
      local parent, cancel = context.with_cancel(context.with_value(nil, "k", 7))
      local g = goro.errgroup(parent)
      assert.equal(7, g.ctx:value("k"))
      g:go(function()
        g.ctx:done():recv()
        return nil, g.ctx:cause()
      end)
      cancel("above")
      assert.equal("above", (select(2, g:wait())))
      local other = goro.errgroup(parent)
      assert.equal("above", other.ctx:cause())
      assert.is_true(other:wait())
      parent = context.with_cancel()
      g = goro.errgroup(parent)
      g:go(error, "x")
      g:wait()
      assert.is_nil(parent:err())
      support.bad_argument(1, "errgroup", goro.errgroup, 1)
    end)

    it("is the same one always, and there is nothing else", function()
      local g = goro.errgroup()
      assert.is_true(rawequal(g.ctx, g.ctx))
      assert.is_nil(g.other)
    end)
  end)

  describe("limit", function()
    it("go waits while so many run", function()
      for limit = 1, 5, 2 do
        local g, now, most = goro.errgroup(), goro.Atomic(), goro.Atomic()
        g:limit(limit)
        for _ = 1, support.many(100) do
          g:go(function()
            local n = now:add(1)
            if n > most:load() then most:store(n) end
            if n > limit then error(n) end
            goro.yield()
            now:add(-1)
          end)
        end
        assert.is_true(g:wait())
        assert.is_true(most:load() <= limit)
      end
    end)

    it("serves starters in the order they came", function()
      local g = goro.errgroup()
      g:limit(1)
      local hold, order = goro.chan(), goro.chan(5)
      g:go(function() hold:recv() end)
      local wg = goro.WaitGroup()
      for i = 1, 5 do
        wg:go(function() g:go(function() order:send(i) end) end)
        support.all_blocked()
      end
      hold:close()
      wg:wait()
      g:wait()
      for i = 1, 5 do assert.equal(i, (order:recv())) end
    end)

    it("may be lifted, and set when none runs only", function()
      local g = goro.errgroup()
      g:limit(2)
      g:limit(-1)
      local hold = goro.chan()
      for _ = 1, 20 do g:go(function() hold:recv() end) end
      support.raises("limit of an errgroup whose goroutines run", g.limit, g, 3)
      hold:close()
      g:wait()
      g:limit(3)
      support.bad_argument(1, "limit", function() g:limit("x") end)
    end)

    it("of 0 lets none start, until it is raised", function()
      local g = goro.errgroup()
      g:limit(0)
      local task = goro.async(function()
        g:go(function() end)
        return g:wait()
      end)
      assert.same({ nil, "timeout" }, { task:wait(0.01) })
      g:limit(1)
      assert.is_true((task:result()))
    end)
  end)

  describe("<close>", function()
    it("cancels, and waits for all", function()
      local n = goro.Atomic()
      do
        local g <close> = goro.errgroup()
        local ctx = g.ctx
        for _ = 1, 5 do
          g:go(function()
            ctx:done():recv()
            goro.sleep(0.005)
            n:add(1)
          end)
        end
      end
      assert.equal(5, n:load())
    end)

    it("also when an error goes through", function()
      local n = goro.Atomic()
      assert.is_false(pcall(function()
        local g <close> = goro.errgroup()
        g:go(function(ctx)
          ctx:done():recv()
          n:add(1)
        end, g.ctx)
        error("x")
      end))
      assert.equal(1, n:load())
    end)

    it("in a goroutine that ends", function()
      local n = goro.Atomic()
      in_goroutine(function()
        local g <close> = goro.errgroup()
        g:go(function(ctx)
          ctx:done():recv()
          n:add(1)
        end, g.ctx)
      end)
      for _ = 1, 100 do
        if n:load() == 1 then break end
        goro.sleep(0.005)
      end
      assert.equal(1, n:load())
    end)
  end)

  it("is the same one everywhere", function()
    local g = goro.errgroup()
    assert.is_true(rawequal(g, support.there_and_back(g)))
    local text = tostring(g)
    assert.matches("^errgroup: 0x%x+$", text)
    local ctx = g.ctx
    assert.is_true((in_goroutine(function(h)
      h:go(function() return nil, "from there" end)
      return rawequal(g, h) and tostring(h) == text and rawequal(ctx, h.ctx)
    end, g)))
    assert.equal("from there", (select(2, g:wait())))
  end)

  it("groups in groups, starting each other", function()
    local n = goro.Atomic()
    local function tree(depth, again)
      local g = goro.errgroup()
      g:limit(2)
      for _ = 1, 3 do
        g:go(function()
          n:add(1)
          if depth > 1 then again(depth - 1, again) end
        end)
      end
      assert(g:wait())
    end
    tree(3, tree)
    assert.equal(3 + 9 + 27, n:load())
  end)

  describe("failures that nobody asks for", function()
    it("the second and later ones are reported on stderr", function()
      local r = script.run [[
        local goro = require("goro")
        local g = goro.errgroup()
        local first = goro.chan()
        g:go(function() error("one", 0) end)
        g.ctx:done():recv()
        g:go(function() error("two", 0) end)
        g:go(function() return nil, "three" end)
        print(g:wait())
      ]]
      assert.equal(0, r.code)
      assert.matches("^nil\tone\t", r.out)
      assert.is_nil(r.err:find("one", 1, true))
      assert.matches("goroutine 3 failed: two", r.err)
      assert.matches("goroutine 4 failed: three", r.err)
    end)

    it("the first of a group that is dropped, or closed, too", function()
      for _, how in ipairs { "g = nil collectgarbage() collectgarbage()",
        "do local _ <close> = g end" } do
        local r = script.run([[
          local goro = require("goro")
          local g = goro.errgroup()
          g:go(function() error("lost", 0) end)
          g.ctx:done():recv()
          goro.sleep(0.01)
        ]] .. how)
        assert.equal(0, r.code)
        assert.matches("goroutine 2 failed: lost", r.err)
      end
    end)
  end)

  it("a deadlock names it", function()
    local g = goro.errgroup()
    local hold = goro.chan()
    g:limit(1)
    g:go(function() hold:recv() end)
    local text = support.raises("deadlock!", g.wait, g)
    assert.matches("%[errgroup wait%]", text)
    text = support.raises("deadlock!", g.go, g, print)
    assert.matches("%[errgroup go%]", text)
    hold:close()
    g:wait()
  end)

  it("ends with the main script", function()
    local out = script.ok [[
      local goro = require("goro")
      local g = goro.errgroup()
      g:limit(3)
      for i = 1, 3 do g:go(function() goro.chan():recv() end) end
      goro.go(function() g:go(print) end)
      goro.go(function() local _ <close> = g goro.yield() end)
      goro.go(function() g:wait() end)
      goro.sleep(0.005)
      print("done")
    ]]
    assert.equal("done\n", out)
  end)
end)
