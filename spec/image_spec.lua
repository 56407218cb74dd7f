-- Goroutines started by a function that was started often before are copies of an image that
-- holds it: they must not differ in anything from those before.  Each test starts its function
-- ROUNDS times, which is enough for an image to be made on the way.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local ROUNDS = 20

-- What f(...) returns in each of ROUNDS goroutines must be what `expected` says.
local function each(expected, f, ...)
  local out = goro.chan()
  for i = 1, ROUNDS do
    goro.go(function(...) out:send(table.pack(f(...))) end, ...)
    local r = out:recv()
    assert.same(expected, table.pack(table.unpack(r, 1, r.n)), "round " .. i)
  end
end

-- The same, but the function itself has the channel: `f(out, ...)` sends one value, and all are
-- equal to `expected`.
local function each_sends(expected, f, ...)
  local out = goro.chan(1)
  for i = 1, ROUNDS do
    goro.go(f, out, ...)
    local v = out:recv()
    assert.same(expected, v, "round " .. i)
    assert.equal(math.type(expected), math.type(v))
  end
end

describe("a goroutine's image", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("has upvalues and arguments as they were when it was started", function()
    local values = {
      true, false, 0, -1, math.mininteger, math.maxinteger, 1.5, -0.0, 1e308, "", "text",
      "\0\1\255", ("long"):rep(100), 2^53, ("x"):rep(70000),
    }
    local out = goro.chan(1)
    for round = 1, ROUNDS do
      for i = 1, #values do
        local v = values[i]
        goro.go(function(w)
          out:send(rawequal(v, w) and math.type(v) == math.type(w) and v)
        end, v)
        local r = out:recv()
        assert.is_true(rawequal(r, v), round .. " " .. i)
        assert.equal(1 / (v == 0 and v or 1), 1 / (r == 0 and r or 1))
      end
    end
  end)

  it("has the libraries that its function names, each goroutine its own", function()
    each({ "1,x,2", true, true, true, nil, 17, "xyz", n = 7 }, function()
      local before = rawget(string, "mine")
      rawset(string, "mine", true)
      local n = 0
      for name, f in pairs(string) do
        if name ~= "mine" and type(f) == "function" then n = n + 1 end
      end
      return table.concat({ 1, "x", 2 }, ","), rawequal(string, require("string")),
        rawequal(getmetatable("").__index, string), rawequal(package.loaded.table, table),
        before, n, ("X"):lower() .. utf8.char(121, 122)
    end)
  end)

  it("has them, too, where goroutines that start by messages opened them before", function()
    local out = goro.chan(1)
    local config = { word = "a b c" }                -- (a table: no image of the function)
    for i = 1, ROUNDS do
      goro.go(function()
        local first = config.word:match("%a")
        local ok = rawequal(string, require("string")) and rawget(string, "mine") == nil and
          rawequal(getmetatable("").__index, string) and table.concat({ first, "b" }) == "ab"
        rawset(string, "mine", true)
        out:send(ok)
      end)
      assert.is_true(out:recv(), "round " .. i)
    end
  end)

  it("takes nil, no argument, and more or fewer from one time to the next", function()
    local out = goro.chan(1)
    local function f(...)
      local n = select("#", ...)
      out:send(n * 10 + (n > 0 and select(n, ...) ~= nil and 1 or 0))
    end
    for _ = 1, ROUNDS do
      goro.go(f)
      assert.equal(0, out:recv())
      goro.go(f, nil)
      assert.equal(10, out:recv())
      goro.go(f, nil, 1)
      assert.equal(21, out:recv())
      goro.go(f, "a", 2, out, nil)
      assert.equal(40, out:recv())
    end
  end)

  it("knows a value that is an object once and a number the next time", function()
    local out = goro.chan(1)
    local f = function(v) out:send(type(v)) end
    for _ = 1, ROUNDS do
      for _, v in ipairs { out, 1, "s", goro.WaitGroup(), goro.Mutex(), true } do
        goro.go(f, v)
        assert.equal(type(v), out:recv())
      end
    end
  end)

  it("never takes one function for another of the same line and shape", function()
    local out = goro.chan(1)
    local f, g, h =
      function() out:send(1) end, function() out:send(2) end, function() out:send(nil) end
    for _ = 1, ROUNDS do
      for i, fn in ipairs { f, g, h } do
        goro.go(fn)
        assert.equal(i < 3 and i or nil, (out:recv()))
      end
    end
  end)

  it("never takes a function for one that was collected, at whose address it lies", function()
    local function reuse(n)
      local out = goro.chan(1)
      local source = "local out = ... return function() out:send(%d) end"
      for i = 1, n do
        local k = i % 7 == 0 and i or i % 7
        goro.go(load(source:format(k))(out))
        assert(out:recv() == k)
        if i % 3 == 0 then collectgarbage() end
      end
    end
    reuse(support.many(100))                       -- (busted's heap is large)
    local n = support.many(1000)
    assert.is_true(goro.async(function() reuse(n) return true end):result())
  end)

  it("gives way to others when there are many", function()
    local out = goro.chan(1)
    local fs = {}
    for i = 1, 700 do
      fs[i] = load(("local out = ... return function(x) out:send(%d + x) end"):format(i))(out)
    end
    for round = 1, 10 do
      for i = 1, support.many(700) do
        goro.go(fs[i], round)
        assert.equal(i + round, out:recv())
      end
    end
  end)

  it("is each goroutine's own: what one changes the next does not see", function()
    local count, name = 0, "x"
    each({ 1, "xx", nil, nil, nil, nil, n = 6 }, function()
      count = count + 1
      name = name .. "x"
      local seen = { rawget(_G, "left"), goro.left, string.left, -- luacheck: ignore
        package.loaded.left }
      left, goro.left, string.left, package.loaded.left = 1, 1, 1, 1 -- luacheck: ignore
      return count, name, seen[1], seen[2], seen[3], seen[4]
    end)
    each_sends(1, function(out)
      local first = count
      count = count + 1
      out:send(first == 0 and getmetatable("").left == nil and count)
      getmetatable("").left = true
    end)
  end)

  it("has captured objects as one value each", function()
    local a, b, out, again = goro.chan(1), goro.WaitGroup(), goro.chan(1), goro.chan(1)
    local send = a:send_only()
    for _ = 1, ROUNDS do
      goro.go(function(a2, b2, send2)
        local t = { [a] = 1, [b] = 2, [send] = 3 }
        out:send(rawequal(a, a2) and rawequal(b, b2) and rawequal(send, send2) and a == send
          and not rawequal(a, send) and t[a2] == 1 and t[b2] == 2 and t[send2] == 3)
        again:send(a)
        out:send(rawequal(again:recv(), a))
      end, a, b, send)
      assert.is_true(out:recv())
      assert.is_true(out:recv())
    end
  end)

  it("shares objects with everybody: the counter, the lock, the map", function()
    local n, mu, map, wg, sem = goro.Atomic(), goro.Mutex(), goro.Map(), goro.WaitGroup(),
      goro.Semaphore(2)
    for i = 1, ROUNDS do
      wg:add(1)
      goro.go(function()
        local _ <close> = mu:lock()
        local _ <close> = sem:acquire()
        map:store(i, n:add(1))
        wg:done()
      end)
    end
    wg:wait()
    assert.equal(ROUNDS, n:load())
    assert.equal(ROUNDS, #map)
  end)

  it("keeps two upvalues that are one variable together", function()
    local out = goro.chan(1)
    for _ = 1, ROUNDS do
      local a, b = 1, 2 -- luacheck: ignore
      local f = function()
        a = 5
        out:send(b)
      end
      debug.upvaluejoin(f, 3, f, 1)
      assert.equal(b, 2)
      goro.go(f)
      assert.equal(5, out:recv())
    end
  end)

  it("has the function itself as upvalue, and the module", function()
    local function tree(out, depth)
      if depth == 0 then return out:send(1) end
      local sum, up = 0, goro.chan()
      for _ = 1, 3 do goro.go(tree, up, depth - 1) end
      for _ = 1, 3 do sum = sum + up:recv() end
      out:send(sum)
    end
    local out = goro.chan()
    goro.go(tree, out, 5)
    assert.equal(243, out:recv())
    each({ true, true, n = 2 }, function()
      return require "goro" == goro, package.loaded.goro == goro
    end)
  end)

  it("has the functions of the standard libraries for what they are there", function()
    local p, floor, format, nxt = print, math.floor, string.format, next
    each({ true, true, true, true, n = 4 }, function()
      return p == print, floor == math.floor, format == string.format, nxt == next
    end)
  end)

  -- what can go wrong

  it("finds keys that hash by address", function()
    each_sends(40, function(out)
      local t, keys, found = {}, {}, 0
      for i = 1, 20 do
        keys[i] = i % 3 == 0 and {} or i % 3 == 1 and function() return i end or
          coroutine.create(print)
        t[keys[i]] = i
      end
      t[out], t[print], t[_G] = 1, 2, 3
      for i = 1, 20 do found = found + (t[keys[i]] == i and 1 or 0) end
      for _, v in pairs(t) do found = found + (v > 0 and 1 or 0) end
      out:send(found - (t[out] == 1 and t[print] == 2 and t[_G] == 3 and 3 or 0))
    end)
  end)

  it("collects a captured object that is not used any more, and meets it again", function()
    local c, again, out = goro.chan(1), goro.chan(1), goro.chan(1)
    for _ = 1, ROUNDS do
      again:send(c)
      goro.go(function()
        local weak = setmetatable({ c }, { __mode = "v" })
        c = nil
        collectgarbage()
        collectgarbage()
        local gone = weak[1] == nil
        local d = again:recv()
        d:send("through it")
        out:send(gone)
      end)
      assert.is_true(out:recv())
      assert.equal("through it", c:recv())
    end
  end)

  it("runs __gc of a goroutine's own objects, and of them only", function()
    local out = goro.chan(8)
    for _ = 1, ROUNDS do
      goro.go(function(x)
        setmetatable({}, { __gc = function() out:send(x) end })
        out:send("body")
      end, 7)
      assert.equal("body", out:recv())
      assert.equal(7, out:recv())
      assert.equal(0, #out)
    end
  end)

  it("has io's files open, each goroutine its own default", function()
    local name = os.tmpname()
    each({ "file", true, true, n = 3 }, function()
      local stdout = io.output() == io.stdout
      local f = assert(io.open(name, "w"))
      io.output(f)
      io.write("x")
      io.close()
      return io.type(io.stdout), stdout, io.stdout:write("") == io.stdout
    end)
    os.remove(name)
  end)

  it("has package.loaded and the libraries whole, whoever looks first", function()
    local n = 0
    for _ in pairs(string) do n = n + 1 end
    each({ n, true, "function", n = 3 }, function()
      local k = 0
      for _ in pairs(string) do k = k + 1 end
      return k, require "string" == string and package.loaded.string == string,
        type(next(table) and table.concat)
    end)
    each({ true, "ABC", 3, 11, 6, n = 5 }, function()
      return pcall(require, "table"), ("abc"):upper(), ("x").len("abc"), "10" + 1, "2" * 3
    end)
  end)

  it("has an allocator of its own: its limit, and its end", function()
    local out = goro.chan(1)
    local old = goro.memory_limit(200000)
    for _ = 1, ROUNDS do
      goro.go(function(big)
        out:send((pcall(string.rep, "x", big)))
      end, 1000000)
      assert.is_false(out:recv())
      goro.go(function(big) out:send((pcall(string.rep, "x", big))) end, 1000)
      assert.is_true(out:recv())
    end
    goro.memory_limit(old)
  end)

  it("bears C modules", function()
    for _, name in ipairs { "cjson", "lpeg", "socket.core", "lfs" } do
      if pcall(require, name) then
        each({ "table", n = 1 }, function()
          local m = require(name)
          collectgarbage()
          return type(m)
        end)
      end
    end
    if pcall(require, "cjson") then
      each_sends('[1,2,{"a":true}]', function(out)
        out:send(require("cjson").encode({ 1, 2, { a = true } }))
      end)
    end
  end)

  it("counts its memory rightly", function()
    local out = goro.chan(1)
    local first
    for _ = 1, ROUNDS do
      goro.go(function()
        local before = collectgarbage("count")
        local s = ("x"):rep(1 << 16) -- luacheck: ignore
        local with = collectgarbage("count")
        s = nil -- luacheck: ignore
        collectgarbage()
        local after = collectgarbage("count")
        out:send(before > 3 and before < 64 and with > before + 63 and after < with - 63 and
          collectgarbage("isrunning") and math.floor(before))
      end)
      local r = out:recv()
      first = first or r
      assert.is_truthy(r)
      assert.is_true(math.abs(r - first) <= 6)
    end
    each({ "incremental", "generational", true, n = 3 }, function()
      if os.getenv("GOROGC") then collectgarbage("incremental") end
      local a = collectgarbage("generational")
      local t = {}
      for i = 1, 2000 do t[i % 50] = { i } end
      collectgarbage()
      local b = collectgarbage("incremental")
      for i = 1, 2000 do t[i % 50] = { i } end
      return a, b, t[1][1] == 1951
    end)
  end)

  it("has random numbers of its own", function()
    local out, seen = goro.chan(1), {}
    for _ = 1, ROUNDS do
      goro.go(function() out:send(math.random(0)) end)
      local r = out:recv()
      assert.is_nil(seen[r])
      seen[r] = true
    end
  end)

  it("stands still while the goroutine blocks, is preempted, and uses coroutines", function()
    local out, hold = goro.chan(1), goro.chan()
    for i = 1, ROUNDS do
      goro.go(function()
        local gen = coroutine.wrap(function()
          for k = 1, 3 do coroutine.yield(k + hold:recv()) end
        end)
        local sum = gen() + gen() + gen()
        table.sort({ 3, 2, 1 }, function(a, b)
          goro.yield()
          return a < b
        end)
        out:send(sum + i)
      end)
      for _ = 1, 3 do hold:send(10) end
      assert.equal(36 + i, out:recv())
    end
  end)

  it("shows the same in tracebacks and debug.getinfo as before", function()
    local out = goro.chan(1)
    local first
    for _ = 1, ROUNDS do
      goro.go(function(a)
        local info = debug.getinfo(1, "Slnu")
        out:send(table.concat({ debug.traceback("x"), info.short_src, info.linedefined,
          info.currentline, info.nups, info.nparams, tostring(debug.getlocal(1, 1)),
          debug.getupvalue(debug.getinfo(1, "f").func, 1), tostring(a) }, " "))
      end, 1)
      local text = out:recv()
      first = first or text
      assert.equal(first, text)
    end
    first = nil
    for _ = 1, ROUNDS do
      local task = goro.async(function(x) error("no " .. x) end, "more")
      local ok, err, traceback = task:wait()
      assert.is_false(ok)
      first = first or traceback
      assert.matches("no more$", err)
      assert.equal(first, traceback)
    end
  end)

  -- Where the image will lie is guessed: where a large block was freed just before.
  it("may hold numbers that look like addresses of it", function()
    local out = goro.chan(1)
    for try = 1, 10 do
      local large = ("x"):rep(65000 + 250 * try)
      local here = tonumber(("%p"):format(large):match("0x(%x+)"), 16) // 16 * 16
      large = nil -- luacheck: ignore
      collectgarbage()
      local list, sum = {}, 0
      for i = -40, 80 do
        local v = here + i * 1024 + 8 * (i % 16)
        list[#list + 1] = ("sum = sum + (%d) "):format(v)
        sum = sum + v
      end
      local f = load("local out = ... return function() local sum = 0 " .. table.concat(list) ..
        " out:send(sum) end")(out)
      for _ = 1, ROUNDS do
        goro.go(f)
        assert.equal(sum, out:recv())
      end
    end
  end)

  it("comes after goro.init's functions", function()
    assert.equal("ok ok ok\n", script.ok([[
      local goro = require "goro"
      local out = goro.chan(1)
      local bad = 0
      local function f(x, y)
        out:send(x == 1 and y == "two" and mark == 3 and rawget(_G, "other") == nil)
      end
      for round = 1, 3 do
        if round == 3 then goro.init(function() mark = 3 other = nil goro.yield() end) end
        if round == 1 then goro.init(function() mark = 1 end) end
        if round == 2 then goro.init(function() mark = 3 goro.yield() end) end
        for _ = 1, 20 do
          goro.go(f, 1, "two")
          if out:recv() ~= (round > 1) then bad = bad + 1 end
        end
      end
      print(bad == 0 and "ok ok ok")
    ]]))
  end)

  it("is not missed: all works the same without, and with one for every start", function()
    local source = [[
      local goro = require "goro"
      local out, n = goro.chan(1), 0
      for i = 1, 30 do
        goro.go(function(s) out:send(s .. i .. #s) end, "s")
        n = n + #out:recv()
      end
      print(n)
    ]]
    for _, how in ipairs { "0", "1", "always" } do
      assert.equal("111\n", script.ok(source, { env = { GOROIMAGE = how } }))
    end
  end)

  it("has handles that hide their metatable, and are named and compared as anywhere", function()
    local ch, wg = goro.chan(1), goro.WaitGroup()
    each({ false, false, true, true, true, "WaitGroup", "channel", true, n = 8 }, function()
      local other = goro.WaitGroup()
      local _, said = pcall(string.rep, ch)
      return getmetatable(ch), getmetatable(wg), wg ~= other, ch == ch:send_only(),
        tostring(wg):find("^WaitGroup: ") ~= nil, debug.getmetatable(other).__name,
        said:match("got (%w+)"), not pcall(setmetatable, wg, {})
    end)
  end)

  -- (Only where memory comes from slabs: in no test build.  5.4.0 leaves larger stacks behind.)
  if not os.getenv("GOROBUILD") and os.getenv("GOROIMAGE") ~= "0" and not support.old_close then
    it("takes, with its goroutine, 8 KiB while that waits", function()
      -- (Its function has the name of its file, so that is a short one.)
      local out = script.ok("assert(load([[" .. [[
        local goro = require "goro"
        local function resident()
          for line in io.lines("/proc/self/status") do
            local kb = line:match("^VmRSS:%s*(%d+)")
            if kb then return kb * 1024 end
          end
        end
        local n = 20000
        local function spawn()
          local gate, started, ended = goro.chan(), goro.WaitGroup(), goro.WaitGroup()
          started:add(n)
          ended:add(n)
          collectgarbage()
          local before = resident()
          for _ = 1, n do
            goro.go(function()
              started:done()
              gate:recv()
              ended:done()
            end)
          end
          started:wait()
          print((resident() - before) // n)
          gate:close()
          ended:wait()
        end
        spawn()
      ]] .. "]], '=parked'))()", { env = { GOROMAXPROCS = 2 } })
      assert.is_true(tonumber(out) <= 8192, out)
    end)
  end

  it("may be all that is left of a goroutine that never started", function()
    assert.equal("end\n", script.ok([[
      local goro = require "goro"
      local c, wg = goro.chan(1), goro.WaitGroup()
      local function f(a, b, s) a:send(s) b:done() end
      wg:add(4000)
      for i = 1, 10 do goro.go(f, c, wg, "x") c:recv() end
      goro.maxprocs(1)
      for i = 1, 3000 do goro.go(f, c, wg, ("x"):rep(i)) end
      print "end"
    ]]))
  end)
end)
