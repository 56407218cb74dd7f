-- singleflight: of several that ask for the same at once one does the work.

local goro = require("goro")
local support = require("spec.support")

local in_goroutine = support.in_goroutine

-- `n` goroutines call g:run(key, f); returns what each returned, packed.  They come while the
-- function of the first one still runs.
local function crowd(g, n, key, f)
  local out = goro.chan(n)
  for _ = 1, n do
    goro.go(function() out:send(table.pack(pcall(g.run, g, key, f))) end)
  end
  local all = {}
  return function()
    for i = 1, n do all[i] = out:recv() end
    return all
  end
end

describe("singleflight #singleflight", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("is a field of goro, and a module", function()
    assert.equal(goro.singleflight, require("goro.singleflight"))
    assert.matches("^singleflight: 0x%x+$", tostring(goro.singleflight()))
  end)

  it("run returns what the function returned, and whether it was shared", function()
    local g = goro.singleflight()
    assert.same({ n = 3, 1, "two", false },
      table.pack(g:run("k", function(...) return ... end, 1, "two")))
    assert.same({ n = 1, false }, table.pack(g:run("k", function() end)))
    assert.same({ n = 3, nil, nil, false },
      table.pack(g:run(1, function() return nil, nil end)))
  end)

  it("runs the function in the caller's own goroutine", function()
    local g, n = goro.singleflight(), 0
    local t = {}
    local id = g:run("k", function()
      n = n + 1
      t.set = true
      return goro.id()
    end)
    assert.equal(goro.id(), id)
    assert.equal(1, n)
    assert.is_true(t.set)
  end)

  it("raises what it raised, and the next one runs again", function()
    local g = goro.singleflight()
    local err = support.raises("boom", g.run, g, "k", function() error("boom") end)
    assert.matches("singleflight_spec", err)
    assert.same({ 5, false }, { g:run("k", function() return 5 end) })
    local ok, e = pcall(g.run, g, "k", function() error { code = 1 } end)
    assert.is_false(ok)
    assert.same({ code = 1 }, e)
  end)

  it("of several at once one runs, all get its results", function()
    local g, runs = goro.singleflight(), goro.Atomic()
    local started, go_on = goro.chan(1), goro.chan()
    local wait = crowd(g, 10, "k", function()
      runs:add(1)
      started:send(true)
      go_on:recv()
      return "value", { 1 }
    end)
    started:recv()
    while g.map:load("k").n:load() < 10 do goro.yield() end
    go_on:close()
    for _, r in ipairs(wait()) do assert.same({ n = 4, true, "value", { 1 }, true }, r) end
    assert.equal(1, runs:load())
    assert.equal(0, #g.map)
  end)

  it("and its error", function()
    local g, runs = goro.singleflight(), goro.Atomic()
    local go_on = goro.chan()
    local wait = crowd(g, 10, "k", function()
      runs:add(1)
      go_on:recv()
      error("boom", 0)
    end)
    while not g.map:load("k") or g.map:load("k").n:load() < 10 do goro.yield() end
    go_on:close()
    for _, r in ipairs(wait()) do assert.same({ n = 2, false, "boom" }, r) end
    assert.equal(1, runs:load())
    assert.equal(0, #g.map)
  end)

  it("keys are apart, as a Map's are", function()
    local g = goro.singleflight()
    assert.equal("inner", (g:run("a", function()
      return (g:run("b", function() return "inner" end))
    end)))
    assert.equal(2, (g:run(1, function() return (g:run("1", function() return 2 end)) end)))
    support.raises("run of a Once inside its own function", g.run, g, "k", function()
      return g:run("k", function() end)
    end)
    for _, key in ipairs { {}, print, 0 / 0 } do
      support.bad_argument(1, "run", g.run, g, key, print)
      support.bad_argument(1, "forget", g.forget, g, key)
    end
    support.bad_argument(1, "run", g.run, g, nil, print)
    support.bad_argument(2, "run", g.run, g, "k", 1)
    assert.equal(0, #g.map)
  end)

  it("forget: who comes next starts another", function()
    local g = goro.singleflight()
    local started, go_on = goro.chan(1), goro.chan()
    local first = goro.async(function()
      return g:run("k", function()
        started:send(true)
        go_on:recv()
        return 1
      end)
    end)
    started:recv()
    g:forget("k")
    local second = goro.async(function()
      return g:run("k", function()
        started:send(true)
        go_on:recv()
        return 2
      end)
    end)
    started:recv()
    go_on:close()
    assert.same({ true, 1, false }, { first:wait() })
    assert.same({ true, 2, false }, { second:wait() })
    g:forget("none")
    assert.equal(0, #g.map)
  end)

  it("a call that is over does not take another's place away", function()
    local g = goro.singleflight()
    local go_on, started = goro.chan(), goro.chan(1)
    local old = goro.async(function() return g:run("k", function() go_on:recv() end) end)
    while not g.map:load("k") do goro.yield() end
    g:forget("k")
    local stop = goro.chan()
    local new = goro.async(function()
      return g:run("k", function()
        started:send(true)
        stop:recv()
      end)
    end)
    started:recv()
    go_on:close()
    old:wait()
    assert.equal(1, #g.map)
    stop:close()
    new:wait()
    assert.equal(0, #g.map)
  end)

  it("is the same one everywhere", function()
    local g = goro.singleflight()
    assert.is_true(rawequal(g, support.there_and_back(g)))
    local text = tostring(g)
    assert.is_true((in_goroutine(function(a, b)
      return rawequal(a, b) and rawequal(a, g) and tostring(a) == text
    end, g, g)))
    assert.equal(7, (in_goroutine(function() return (g:run("k", function() return 7 end)) end)))
  end)

  it("a caller that never ends leaves the key free", function()
    local g = goro.singleflight()
    local co = coroutine.create(function()
      g:run("k", function() coroutine.yield() end)
    end)
    coroutine.resume(co)
    assert.equal(1, #g.map)
    coroutine.close(co)
    assert.equal(0, #g.map)
    assert.equal(1, (g:run("k", function() return 1 end)))
  end)

  it("many keys, many goroutines: each run is given to those of its time", function()
    local g = goro.singleflight()
    local running = goro.Map()
    local wg = goro.WaitGroup()
    for i = 1, 8 do
      wg:go(function()
        math.randomseed(i)
        for _ = 1, support.many(60) do
          local key = math.random(3)
          local v, shared = g:run(key, function()
            local n = running:update(key, function(n) return (n or 0) + 1 end)
            assert(n == 1, "two run at once")
            goro.yield()
            running:update(key, function(k) return k - 1 end)
            return key
          end)
          assert(v == key and type(shared) == "boolean")
        end
      end)
    end
    wg:wait()
    assert.equal(0, #g.map)
  end)
end)
