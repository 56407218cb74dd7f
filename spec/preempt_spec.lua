-- A goroutine that computes without end holds up nobody: others run, timers fire, the main
-- script is served, also with one processor; and the script's own hooks notice nothing of it.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

-- How much slower all is allowed to be under a sanitizer.
local slow = 1000 // support.many(1000)

-- Each of these never ends.
local endless = {
  ["at top level"] = "while true do end",
  ["that counts"] = "local i = 0 while true do i = i + 1 end",
  ["of goto"] = "::again:: goto again",
  ["of tail calls"] = "local function f() return f() end f()",
  ["in a for"] = "for _ = 1, math.huge do end",
  ["in a repeat with an upvalue"] = [[
    local n = 0
    local function f() n = n + 1 end
    repeat f() until n < 0]],
  ["in an iterator"] = "for _ in function() return true end do end",
  ["under pcall"] = "pcall(function() while true do end end)",
  ["of pcalls"] = "while true do pcall(error, 'x') end",
  ["under xpcall, in pcall"] = [[
    pcall(xpcall, function() while true do end end, debug.traceback)]],
  ["in a message handler"] = "xpcall(error, function() while true do end end, 'x')",
  ["in a coroutine"] = "coroutine.wrap(function() while true do end end)()",
  ["in a coroutine in a coroutine"] = [[
    coroutine.wrap(function()
      local co = coroutine.create(function() while true do end end)
      coroutine.resume(co)
    end)()]],
  ["that resumes a coroutine"] = [[
    local f = coroutine.wrap(function() while true do coroutine.yield() end end)
    while true do f() end]],
  ["that makes coroutines"] = [[
    while true do coroutine.wrap(function() coroutine.yield() end)() end]],
  ["in __index"] = [[
    return setmetatable({}, { __index = function() while true do end end }).x]],
  ["of __index"] = [[
    local t = setmetatable({}, { __index = function(_, k) return k end })
    while t.x do end]],
  ["in __add"] = "return setmetatable({}, { __add = function() while true do end end }) + 1",
  ["in __eq"] = [[
    local mt = { __eq = function() while true do end end }
    return setmetatable({}, mt) == setmetatable({}, mt)]],
  ["in __concat"] = [[
    return setmetatable({}, { __concat = function() while true do end end }) .. "x"]],
  ["in __close"] = [[
    local _ <close> = setmetatable({}, { __close = function() while true do end end })]],
  ["in __gc"] = [[
    setmetatable({}, { __gc = function() while true do end end })
    collectgarbage()]],
  ["in a sort's comparator"] = "table.sort({ 1, 2, 3 }, function() while true do end end)",
  ["of sorts"] = [[
    local t = {}
    for i = 1, 100 do t[i] = i end
    while true do table.sort(t, function(a, b) return a > b end) end]],
  ["in gsub's function"] = "(('x'):gsub('x', function() while true do end end))",
  ["of table.concat"] = [[
    local t = {}
    for i = 1, 10000 do t[i] = "some text" end
    while true do table.concat(t) end]],
  ["of string.rep"] = "while true do ('x'):rep(1000000) end",
  ["in one call of a C function"] = "(('x'):rep(10000)):find(('x*'):rep(8) .. 'y')",
  ["of garbage"] = "while true do local _ = { {} } end",
  ["in a loaded chunk"] = "load('while true do end')()",
  ["in stripped code"] = "load(string.dump(load('while true do end'), true))()",
  ["under a count hook"] = "debug.sethook(function() end, '', 100) while true do end",
  ["under a line hook"] = "debug.sethook(function() end, 'l') while true do end",
  ["under a call hook"] = [[
    debug.sethook(function() end, 'cr')
    local function f() end
    while true do f() end]],
  ["under all hooks"] = [[
    debug.sethook(function() end, 'crl', 1000)
    local function f() end
    while true do f() end]],
  ["in a hook"] = "debug.sethook(function() while true do end end, 'l') local _ = 1",
}

-- While `loops` run, 10 wake-ups of each kind; prints the worst delay.
local function beside(loops)
  local source = [[
    local goro = require("goro")
    local worst, before = 0, goro.now()
    local function step()
      local now = goro.now()
      worst = math.max(worst, now - before)
      before = now
    end
  ]]
  for _, body in ipairs(loops) do
    source = source .. "goro.go(function() " .. (body:gsub("^%(", "local _ = (")) .. " end)\n"
  end
  return source .. [[
    local c, ticks = goro.chan(), goro.chan(1)
    goro.go(function() for i = 1, 10 do c:send(i) goro.yield() end c:close() end)
    goro.go(function() for _ = 1, 10 do goro.sleep(0.001) end ticks:send(true) end)
    goro.sleep(0.001)
    step()
    for v in c:range() do step() end
    ticks:recv()
    step()
    assert(select(2, goro.after(0.001):recv()))
    step()
    print(("%.3f"):format(worst))
    os.exit(0)
  ]]
end

describe("a goroutine that computes without end #preempt", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  local names = {}
  for name in pairs(endless) do names[#names + 1] = name end
  table.sort(names)

  for at = 1, #names, 6 do
    local some = { table.unpack(names, at, math.min(at + 5, #names)) }
    it("gives way: a loop " .. table.concat(some, ", "), function()
      local loops = {}
      for i, name in ipairs(some) do loops[i] = endless[name] end
      local out = script.ok(beside(loops), { env = { GOROMAXPROCS = 1 }, limit = 120 })
      assert.is_true(tonumber(out) < 10 * slow, out)
    end)
  end

  -- (ThreadSanitizer hands signals on late.)
  it("holds up nobody who sleeps: 100 of them, and one processor #notsan", function()
    -- How long the others have computed meanwhile, in processor time: who else uses the machine
    -- does not matter.
    local late = tonumber((script.ok("local n = " .. support.many(200) .. [[

      local goro = require("goro")
      for _ = 1, 100 do goro.go(function() while true do end end) end
      local out = goro.chan()
      goro.go(function()
        local late = {}
        for i = 1, n do
          local before = os.clock()
          goro.sleep(0.001)
          late[i] = os.clock() - before
        end
        table.sort(late)
        out:send(late[math.ceil(n * 0.99)])
      end)
      print((out:recv()))
      os.exit(0)
    ]], { env = { GOROMAXPROCS = 1 }, limit = 120 })))
    assert.is_true(late < 0.025 * slow, late)
  end)

  it("is held up by nobody: it has its turns beside others that never stop talking", function()
    script.ok([[
      local goro = require("goro")
      for _ = 1, 3 do
        local a, b = goro.chan(), goro.chan()
        goro.go(function() for v in a:range() do b:send(v) end end)
        goro.go(function() while true do a:send(1) b:recv() end end)
      end
      for _ = 1, 10 do goro.go(function() while true do goro.yield() end end) end
      local done = goro.WaitGroup()
      for _ = 1, 3 do                        -- some 20 ms of work each
        done:go(function() local x = 0 for i = 1, 2000000 do x = x + i end end)
      end
      done:wait()
      os.exit(0)
    ]], { env = { GOROMAXPROCS = 1 }, limit = 120 })
  end)

  it("is held up by no two that talk to each other, when it comes from their own queue",
    function()
      script.ok([[
        local goro = require("goro")
        local a, b, out = goro.chan(), goro.chan(), goro.chan(1)
        goro.go(function() for v in a:range() do b:send(v) end end)
        goro.go(function()
          goro.go(function() out:send("served") end)
          while true do a:send(1) b:recv() end
        end)
        assert(out:recv() == "served")
        os.exit(0)
      ]], { env = { GOROMAXPROCS = 1 } })
    end)

  it("and blocks now and then has its slices as before", function()
    support.with_procs(1, function()
      local wg, c = goro.WaitGroup(), goro.chan(4)
      for i = 1, 4 do
        wg:go(function()
          local x = 0
          for k = 1, support.many(3000000) do
            x = x + k
            if k % 500000 == 0 then goro.sleep(0.0001) end
          end
          c:send(i)
        end)
      end
      wg:wait()
      local sum = 0
      for _ = 1, 4 do sum = sum + c:recv() end
      assert.equal(10, sum)
    end)
  end)
end)

describe("the script's own hooks in goroutines #preempt", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  -- What a hook for these events sees of a computation, as text.
  local function watched(mask, count, inner)
    local seen = {}
    local function hook(event, line)
      local key = event .. (line and " " .. line or "")
      seen[key] = (seen[key] or 0) + 1
    end
    local function f(x) return x + 1 end
    local function body()
      local n = 0
      for i = 1, inner do
        local a = 1
        if i % 3 == 0 then
          a = f(a)
        else
          a = f(
            a)
        end
        n = n + a
      end
      return n
    end
    debug.sethook(hook, mask, count)
    local same = debug.gethook() == hook
    body()
    debug.sethook()
    assert(same and debug.gethook() == nil)
    local keys = {}
    for key, n in pairs(seen) do keys[#keys + 1] = key .. ": " .. n end
    table.sort(keys)
    return table.concat(keys, "\n"), seen
  end

  -- The same in three goroutines beside others that compute, on one processor.
  local function beside_others(f, ...)
    local out, stop = goro.chan(4), goro.Atomic()
    local results = {}
    local args = table.pack(...)
    support.with_procs(1, function()
      for _ = 1, 2 do
        goro.go(function()
          repeat local x = 0 for i = 1, 100000 do x = x + i end until stop:load() == 1
        end)
      end
      for _ = 1, 3 do
        goro.go(function() out:send(table.pack(f(table.unpack(args, 1, args.n)))) end)
      end
      for i = 1, 3 do results[i] = out:recv() end
      stop:store(1)
    end)
    return results
  end

  local n = support.many(15000)
  for mask, what in pairs { l = "line", cr = "call and return", crl = "all" } do
    it(what .. " events: each is seen once, none is lost", function()
      local expected = support.in_goroutine(watched, mask, nil, n)
      for _, r in ipairs(beside_others(watched, mask, nil, n)) do
        assert.equal(expected, r[1])
      end
    end)
  end

  for _, count in ipairs { 10, 1000, 100000 } do
    it("count events: one in " .. count, function()
      local _, seen = support.in_goroutine(watched, "", count, n)
      for _, r in ipairs(beside_others(watched, "", count, n)) do
        local got = r[2].count or 0
        assert.is_true(got <= (seen.count or 0) and got >= (seen.count or 0) * 0.98 - 1, got)
      end
    end)
  end

  it("in coroutines", function()
    local function in_coroutine(...)
      return coroutine.wrap(function(...)
        local text = watched(...)
        coroutine.yield(text)
      end)(...)
    end
    local expected = support.in_goroutine(in_coroutine, "crl", nil, n)
    for _, r in ipairs(beside_others(in_coroutine, "crl", nil, n)) do
      assert.equal(expected, r[1])
    end
  end)

  it("of one coroutine are not another's", function()
    local function two(rounds)
      local lines = { 0, 0 }
      local function body(i)
        return coroutine.wrap(function()
          if i == 1 then debug.sethook(function() lines[1] = lines[1] + 1 end, "l") end
          if i == 2 then debug.sethook(function() lines[2] = lines[2] + 1 end, "r") end
          while true do coroutine.yield() end
        end)
      end
      local a, b, c = body(1), body(2), body(3)
      for _ = 1, rounds do a() b() c() end
      return lines[1], lines[2], debug.gethook() == nil
    end
    local rounds = support.many(20000)
    for _, r in ipairs(beside_others(two, rounds)) do
      assert.same({ n = 3, rounds + 1, rounds, true }, r)
    end
  end)

  it("that end a computation by an error", function()
    local function limited()
      debug.sethook(function() error("enough") end, "", support.many(2000000))
      local ok, err = pcall(function() while true do end end)
      debug.sethook()
      return ok, (tostring(err):gsub("^.*: ", ""))
    end
    for _, r in ipairs(beside_others(limited)) do
      assert.same({ n = 2, false, "enough" }, r)
    end
  end)
end)
