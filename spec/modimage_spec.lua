-- Modules in images: goroutines that ask for the same modules start with them loaded, and see
-- what they would see if each had required them itself.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

local images = os.getenv("GOROIMAGE") ~= "0"

local files = {
  ["mi_local.lua"] = [[
    local count = 0
    return { next = function() count = count + 1 return count end }
  ]],
  ["mi_table.lua"] = [[
    local M = { count = 0, list = { 1, 2, 3 } }
    function M.next() M.count = M.count + 1 return M.count end
    return M
  ]],
  ["mi_burst.lua"] = [[ return { name = ... } ]],
  ["mi_burst_refused.lua"] = [[ return { name = ..., file = io.tmpfile() } ]],
  ["mi_spawns.lua"] = [[
    local goro = require("goro")
    local M = { ch = nil }
    goro.go(function() local x = 1 return x end)
    return M
  ]],
  ["mi_fails.lua"] = [[ error("this one fails to load") ]],
  ["mi_syntax.lua"] = [[ return { = } ]],
  ["mi_cycle_a.lua"] = [[
    local M = { name = "a" }
    package.loaded.mi_cycle_a = M
    M.b = require("mi_cycle_b")
    return M
  ]],
  ["mi_cycle_b.lua"] = [[
    local M = { name = "b" }
    M.a = require("mi_cycle_a")
    return M
  ]],
  ["mi_keys.lua"] = [[
    local M = { by_table = {}, by_function = {}, weak = setmetatable({}, { __mode = "k" }) }
    M.keys = {}
    for i = 1, 20 do
      local key = { i }
      M.keys[i] = key
      M.by_table[key] = i
      M.weak[key] = -i
      M.by_function[function() return i end] = i
    end
    local class = setmetatable({}, { __index = { subclasses = M.weak } })
    M.weak[class] = true
    M.class = class
    return M
  ]],
  ["mi_random.lua"] = [[
    local random = math.random
    return { random = function() return random(1 << 60) end }
  ]],
  ["mi_io.lua"] = [[
    local out = io.stdout
    return { write = function(s) out:write(s) io.write(s) out:flush() end, out = out }
  ]],
  ["mi_file.lua"] = [[ return { file = assert(io.open("/dev/null")) } ]],
  ["mi_closed.lua"] = [[
    local f = assert(io.open("/dev/null"))
    f:close()
    f = nil
    return { ok = true }
  ]],
  ["mi_coroutine.lua"] = [[ return { co = coroutine.create(function() end) } ]],
  ["mi_wrapped.lua"] = [[
    local w = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
    return { sum = w() + w() + w() }
  ]],
  ["mi_gc.lua"] = [[
    return { guard = setmetatable({}, { __gc = function() end }) }
  ]],
  ["mi_chan.lua"] = [[ return { ch = require("goro").chan(1) } ]],
  ["mi_global.lua"] = [[
    mi_global_set = (mi_global_set or 0) + 1
    string.mi_added = function(s) return s .. "!" end
    return { get = function() return mi_global_set, ("x"):mi_added() end }
  ]],
  ["mi_outer.lua"] = [[ return { inner = require("mi_table"), own = require("mi_local") } ]],
  ["mi_waits.lua"] = [[
    local goro = require("goro")
    goro.sleep(0.001)
    goro.yield()
    return { after = true }
  ]],
  ["mi_deep.lua"] = [[
    local list = {}
    for i = 1, 5000 do list = { next = list, i = i } end
    return { list = list }
  ]],
  ["mi_large.lua"] = [[
    local t = {}
    for i = 1, 30000 do t[i] = { i } end
    return t
  ]],
  ["mi_numbers.lua"] = [[
    -- Upvalues that were open, and closed with values of every kind.
    local fs = {}
    for i = 1, 50 do
      local a, b, c, d, e = i, i / 2, "s" .. i, { i }, print
      local function f() return a, b, c, d[1], e end
      fs[i] = function() a = a + 1 return f() end
    end
    return fs
  ]],
  ["mi_nils.lua"] = [[
    -- Upvalues of a coroutine that is gone, closed with nothing, false, and the main thread:
    -- their types are small numbers, and 72.
    local fs, junk = {}, {}
    local function fill(i)
      local none, no, main, s
      local function f() return none, no, main, s end
      no, main, s = false, i.main, "s" .. i.n
      fs[i.n] = f
    end
    local main = coroutine.running()
    for n = 1, 50 do
      junk[n] = { n, { ("x"):rep(300 + n) } }
      coroutine.wrap(fill) { n = n, main = main }
    end
    return fs
  ]],
  ["mi_garbage.lua"] = [[
    -- What is left of it is little, and lies between much that is free.
    local M, junk = {}, {}
    for i = 1, 300 do
      junk[i] = { "junk " .. i, i }
      M[i] = load("local x = ... return function() return x, " .. i .. " end")(i)
      junk[i + 300] = ("x"):rep(i)
    end
    return M
  ]],
}

local dir

local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end

-- What goro.stats says of the image for one set of modules.
local function image(names)
  for _, i in ipairs(goro.stats().module_images) do
    if i.modules == names then return i end
  end
end

-- Starts `n` goroutines one after the other and returns what `f(m)` gave in each.
local function each(n, m, f)
  local results = {}
  for i = 1, n do
    results[i] = table.pack(goro.async(function() return f(m) end):result())
  end
  return results
end

local function ready(name, why)
  local i = image(name)
  if not images then
    assert.is_nil(i)
  elseif why then
    assert.equal("refused", i.state)
    assert.truthy(i.reason:find(why, 1, true), i.reason)
  else
    assert.equal("ready", i.state, i.reason)
    assert.is_true(i.bytes > 4000 and i.goroutines > 0)
  end
end

describe("modules in images:", function()
  local path
  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -p " .. dir))
    for name, text in pairs(files) do write(name, text) end
    assert(os.execute("find " .. dir .. " -exec touch -d '1 hour ago' {} +"))
    path = package.path
    package.path = dir .. "/?.lua;" .. path
  end)
  teardown(function()
    package.path = path
    for name in pairs(files) do package.loaded[name:match("^[^.]+")] = nil end
    os.execute("rm -rf " .. script.quote(dir))
  end)

describe("a goroutine that captures modules", function()
  before_each(support.begin)
  after_each(support.settled)

  it("has its own copy of a module that keeps a counter in a local", function()
    local m = require("mi_local")
    m.next()
    for _, r in ipairs(each(10, m, function(x) return x.next(), x.next() end)) do
      assert.same({ 1, 2, n = 2 }, r)
    end
    ready("mi_local")
  end)

  it("has its own copy of a module that keeps a counter in a table", function()
    local m = require("mi_table")
    m.count = 41                                   -- ours alone
    local results = each(10, m, function(x)
      x.list[#x.list + 1] = "more"
      return x.next(), x.next(), x.count, #x.list, x == require("mi_table")
    end)
    for _, r in ipairs(results) do assert.same({ 1, 2, 2, 4, true, n = 5 }, r) end
    assert.equal(41, m.count)
    assert.equal(3, #m.list)
    ready("mi_table")
  end)

  it("gets the modules that its modules require, the same ones", function()
    local m = require("mi_outer")
    local results = each(8, m, function(x)
      return x.inner == require("mi_table"), x.own == require("mi_local"), x.own.next(),
        x.inner.next()
    end)
    for _, r in ipairs(results) do assert.same({ true, true, 1, 1, n = 4 }, r) end
    ready("mi_outer")
  end)

  it("gets a circle of modules", function()
    local m = require("mi_cycle_a")
    local results = each(8, m, function(x)
      return x.b.a == x, x.b.name, require("mi_cycle_b") == x.b
    end)
    for _, r in ipairs(results) do assert.same({ true, "b", true, n = 3 }, r) end
    ready("mi_cycle_a")
  end)

  it("finds what is keyed by tables and functions, in strong and in weak tables", function()
    local m = require("mi_keys")
    local results = each(10, m, function(x)
      local found, functions, weak = 0, 0, 0
      for i, key in ipairs(x.keys) do
        if x.by_table[key] == i and x.weak[key] == -i then found = found + 1 end
      end
      for f, i in pairs(x.by_function) do
        if f() == i then functions = functions + 1 end
      end
      x.keys, x.by_table = nil, nil
      collectgarbage()
      for _ in pairs(x.weak) do weak = weak + 1 end
      for i = 1, 100 do x.by_function[{ i }] = i end
      return found, functions, weak, x.weak[x.class]
    end)
    for _, r in ipairs(results) do assert.same({ 20, 20, 1, true, n = 4 }, r) end
    ready("mi_keys")
  end)

  it("has upvalues with the values they were closed with", function()
    local m = require("mi_numbers")
    local results = each(10, m, function(fs)
      local good = 0
      for i, f in ipairs(fs) do
        f()
        local a, b, c, d, e = f()
        if a == i + 2 and b == i / 2 and c == "s" .. i and d == i and e == print then
          good = good + 1
        end
      end
      return good
    end)
    for _, r in ipairs(results) do assert.equal(50, r[1]) end
    ready("mi_numbers")
  end)

  it("has upvalues that were closed with nil, false and the main thread", function()
    local m = require("mi_nils")
    local results = each(10, m, function(fs)
      local main, good = coroutine.running(), 0
      for i, f in ipairs(fs) do
        local none, no, co, s = f()
        if none == nil and no == false and co == main and s == "s" .. i then good = good + 1 end
      end
      collectgarbage()
      collectgarbage()
      return good, collectgarbage("count") * 1024
    end)
    for _, r in ipairs(results) do assert.equal(50, r[1]) end
    ready("mi_nils")
    if images then                                 -- (else it could not be pushed together)
      assert.is_true(image("mi_nils").bytes < 1.1 * results[10][2], image("mi_nils").bytes)
    end
  end)

  it("starts with what its modules keep, not with what they left free", function()
    local m = require("mi_garbage")
    local results = each(8, m, function(x)
      local good = 0
      for i = 1, 300 do
        local a, b = x[i]()
        if a == i and b == i then good = good + 1 end
      end
      collectgarbage()
      collectgarbage()
      return good, collectgarbage("count") * 1024
    end)
    for _, r in ipairs(results) do assert.equal(300, r[1]) end
    ready("mi_garbage")
    if images then
      assert.is_true(image("mi_garbage").bytes < 1.1 * results[8][2], image("mi_garbage").bytes)
    end
  end)

  it("has 'package' open, as it was inherited, when no image has its modules", function()
    local m = require("mi_file")
    local old = package.path
    for i = 1, 12 do
      if i == 7 then package.path = old .. ";./never/?.lua" end
      local seen, loaded = goro.async(function()
        local was = package.path
        package.path = "changed"
        package.loaded.changed = true
        return was, m == require("mi_file") and package.loaded.changed
      end):result()
      assert.equal(package.path, seen)
      assert.is_true(loaded)
    end
    package.path = old
    if images then assert.equal("ready", image("package").state) end
  end)

  it("has them though it was started before there was an image", function()
    local others = 0
    for _, i in ipairs(goro.stats().module_images) do
      if i.modules == "package" then others = others + i.goroutines end
    end
    for _, name in ipairs { "mi_burst", "mi_burst_refused" } do
      local m, before = require(name), goro.maxprocs(1)
      local results = goro.async(function()          -- (all of them before any of them runs)
        local tasks = {}
        for i = 1, 100 do
          tasks[i] = goro.async(function() return m.name end)
        end
        for i = 1, 100 do tasks[i] = tasks[i]:result() end
        return tasks
      end):result()
      goro.maxprocs(before)
      for i = 1, 100 do assert.equal(name, results[i]) end
    end
    ready("mi_burst")
    ready("mi_burst_refused", "full userdata")
    if images then
      assert.is_true(image("mi_burst").goroutines > 50, image("mi_burst").goroutines)
      local n = 0                      -- (one for each heritage)
      for _, i in ipairs(goro.stats().module_images) do
        if i.modules == "package" then n = n + i.goroutines end
      end
      assert.is_true(n > 50 + others, n)
    end
  end)

  it("has random numbers of its own", function()
    local m = require("mi_random")
    local seen = {}
    for _, r in ipairs(each(20, m, function(x) return x.random() end)) do
      assert.is_nil(seen[r[1]])
      seen[r[1]] = true
    end
    ready("mi_random")
  end)

  it("shares the process's standard files", function()
    local m = require("mi_io")
    local results = each(8, m, function(x)
      x.write("")
      return io.type(x.out), x.out == io.stdout, tostring(x.out):find("^file %(0x") ~= nil
    end)
    for _, r in ipairs(results) do assert.same({ "file", true, true, n = 3 }, r) end
    ready("mi_io")
  end)

  it("sees globals and standard libraries as its modules left them", function()
    local m = require("mi_global")
    for _, r in ipairs(each(8, m, function(x) return x.get() end)) do
      assert.same({ 1, "x!", n = 2 }, r)
    end
    ready("mi_global")
    mi_global_set = nil                            -- luacheck: ignore 111
    string.mi_added = nil                          -- luacheck: ignore 142 143
  end)

  it("may have modules that wait while they load, or use what is gone afterwards", function()
    for _, name in ipairs { "mi_waits", "mi_closed", "mi_wrapped" } do
      local m = require(name)
      local results = each(8, m, function(x) return x.after or x.ok or x.sum end)
      for _, r in ipairs(results) do assert.truthy(r[1]) end
      ready(name)
    end
  end)

  it("requires anew what an image may not hold", function()
    local why = {
      mi_file = "full userdata", mi_coroutine = "coroutine", mi_gc = "finaliser",
      mi_chan = "goro's objects", mi_deep = "too deep", mi_large = "large",
    }
    for name, reason in pairs(why) do
      local m = require(name)
      for _, r in ipairs(each(5, m, function(x) return type(x) end)) do
        assert.equal("table", r[1])
      end
      local i = images and image(name)
      if i then
        assert.equal("refused", i.state, name)
        assert.truthy(i.reason:find(reason, 1, true) or name == "mi_large", i.reason)
      end
    end
  end)

  it("lets a module start goroutines, in each", function()
    local m = require("mi_spawns")
    local before = goro.stats().spawned
    each(6, m, function(x) return type(x) end)
    ready("mi_spawns", "starts goroutines")
    assert.equal(12, goro.stats().spawned - before)
  end)

  it("is told in the usual words of a module that does not load", function()
    for name, text in pairs { mi_fails = "this one fails to load", mi_syntax = "unexpected" } do
      package.loaded[name] = { f = function() end }
      local m = package.loaded[name]
      for _ = 1, 6 do
        local ok, err = goro.async(function() return m.f end):wait()
        assert.is_false(ok)
        assert.truthy(err:find(text, 1, true), err)
      end
      package.loaded[name] = nil
      if images then assert.equal("refused", image(name).state) end
    end
  end)

  it("sees a module that has changed on disk", function()
    write("mi_changing.lua", "return { version = 0, count = 0 }")
    assert(os.execute("touch -d '1 hour ago' " .. dir .. "/mi_changing.lua"))
    local m = require("mi_changing")
    for version = 1, 3 do
      for _, r in ipairs(each(6, m, function(x) return x.version end)) do
        assert.equal(version - 1, r[1])
      end
      ready("mi_changing")
      write("mi_changing.lua", ("return { version = %d, count = 0 }"):format(version))
      goro.sleep(0.02)                             -- files are looked at every 10 ms
    end
    package.loaded.mi_changing = nil
  end)

  it("sees a module's file that has appeared earlier on the path, or gone", function()
    local early = dir .. "/early"
    assert(os.execute("mkdir " .. early))
    local old = package.path
    package.path = early .. "/?.lua;" .. old
    write("mi_moved.lua", "return { version = 0 }")
    write("mi_moving.lua", "return { moved = require('mi_moved') }")
    local m = require("mi_moving")
    local function versions(version)
      for _, r in ipairs(each(6, m, function(x) return x.moved.version end)) do
        assert.equal(version, r[1])
      end
      ready("mi_moving")
    end
    versions(0)
    for version = 1, 2 do
      write("early/mi_moved.lua", ("return { version = %d }"):format(version))
      goro.sleep(0.02)                             -- files are looked for every 10 ms
      versions(version)
      write("early/mi_unrelated.lua", "")          -- this ends no image
      goro.sleep(0.02)
      local before = images and image("mi_moving").goroutines
      versions(version)
      if images then assert.equal(before + 6, image("mi_moving").goroutines) end
      os.remove(early .. "/mi_moved.lua")
      goro.sleep(0.02)
      versions(0)
    end
    package.path = old
    package.loaded.mi_moved, package.loaded.mi_moving = nil, nil
  end)

  it("by the thousand, in parallel, is right", function()
    local m, keys = require("mi_table"), require("mi_keys")
    local wg, sum = goro.WaitGroup(), goro.Atomic()
    for i = 1, support.many(1000) do
      wg:go(function(n)
        local key = keys.keys[n % 20 + 1]
        if keys.by_table[key] == n % 20 + 1 then sum:add(m.next()) end
        for k = 1, 20 do m.list[k] = { k } end
        if n % 50 == 0 then collectgarbage() end
      end, i)
    end
    wg:wait()
    assert.equal(support.many(1000), sum:load())
  end)

  it("keeps no more memory than its modules", function()
    if not images then return end
    local m = require("mi_table")
    each(5, m, function() end)
    assert.is_true(image("mi_table").bytes < 40000, image("mi_table").bytes)
  end)
end)

describe("goro.fresh", function()
  local source = [[
    local goro = require("goro")
    package.path = DIR .. "/?.lua;" .. package.path
    local outer, other = require("mi_outer"), require("mi_keys")
    local function state(names)
      for _, i in ipairs(goro.stats().module_images) do
        if i.modules == names then return i.state .. (i.reason and ": " .. i.reason or "") end
      end
      return "none"
    end
    local function start(m)
      for _ = 1, 6 do goro.async(function() return type(m) end):result() end
    end
    start(other) print(state("mi_keys"))
    goro.fresh("mi_local")
    start(outer) print(state("mi_outer"))
    start(require("mi_local")) print(state("mi_local"))
    start(other) print(state("mi_keys"))
    goro.fresh(true)
    start(other) start(require("mi_table")) print(state("mi_table"))
    print(pcall(goro.fresh))
    print(pcall(goro.fresh, "x", 5))
  ]]

  before_each(support.begin)
  after_each(support.settled)

  it("keeps modules out of images, also those that others require", function()
    local out = script.ok(("local DIR = %q\n"):format(dir) .. source)
    local state = images and "ready" or "none"
    local outer = images and "refused: it requires a module that goro.fresh names" or "none"
    assert.equal(table.concat({ state, outer, "none", state, "none",
      "false\tbad argument #1 to 'fresh' (value expected)",
      "false\tbad argument #2 to 'fresh' (a module's name, or true expected, got number)", "" },
      "\n"), out)
  end)
end)
end)
