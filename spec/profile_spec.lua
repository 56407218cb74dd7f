-- goro.profile: sampled stacks of all goroutines and the main script, by CPU time, as folded
-- text and as a flame graph.  Nobody who is sampled notices.

local goro = require("goro")
local script = require("spec.support.script")
local support = require("spec.support")

local profile = require("goro.profile")
local part = require("goro.core")("goro.profiler")

-- The folded stacks of `text`: { stack = count }; all must be of that form.
local function parse(text)
  local stacks = {}
  for line in text:gmatch("([^\n]*)\n") do
    local stack, count = line:match("^(.-) (%d+)$")
    assert(stack and stack ~= "" and not line:find("%c"), ("not folded: %q"):format(line))
    for frame in (stack .. ";"):gmatch("(.-);") do
      assert(frame ~= "", ("an empty frame: %q"):format(line))
    end
    assert(not stacks[stack], ("twice: %q"):format(line))
    stacks[stack] = math.tointeger(count)
  end
  return stacks
end

-- The sum of those whose stack matches.
local function sum(stacks, pattern)
  local n = 0
  for stack, count in pairs(stacks) do
    if stack:find(pattern) then n = n + count end
  end
  return n
end

local function show(stacks)
  local lines = {}
  for stack, count in pairs(stacks) do lines[#lines + 1] = ("%s %d"):format(stack, count) end
  table.sort(lines)
  return table.concat(lines, "\n")
end

-- What `stop` writes for this ending.
local function written(ending)
  local path = os.tmpname()
  local named = path .. (ending or "")
  assert(profile.stop(named))
  local text = script.slurp(named)
  os.remove(path)
  os.remove(named)
  return text
end

-- Runs `step()` again and again in `n` goroutines under a profile, until `enough(stacks)`,
-- which must come true: returns the stacks, or raises with them.
local function sampled(n, step, enough)
  assert(profile.start(1000))
  local stop = goro.Atomic(0)
  local wg = goro.WaitGroup()
  for _ = 1, n do
    wg:go(function() while stop:load() == 0 do step() end end)
  end
  local deadline, ok, stacks = goro.now() + 60
  repeat
    goro.sleep(0.02)
    local _, text = part.read()
    stacks = parse(text)
    ok = enough(stacks)
  until ok or goro.now() > deadline
  stop:store(1)
  wg:wait()
  local text = written()
  if not ok then error("not enough in:\n" .. show(stacks), 2) end
  return parse(text), text
end

-- A small parser: raises unless `text` is well-formed XML; returns the texts of its titles.
local function parse_xml(text)
  assert(utf8.len(text), "not UTF-8")
  local open, titles, at = {}, {}, 1
  text = text:gsub("^<%?xml [^?]*%?>%s*", "")
  while at <= #text do
    local from, to, slash, name, attributes, empty =
      text:find("<(/?)([%a][%w]*)([^<>]-)(/?)>", at)
    local between = text:sub(at, (from or #text + 1) - 1)
    assert(not between:find("[<>]"), "a bare < or >: " .. between)
    assert(not between:gsub("&%a+;", ""):find("&"), "a bare &: " .. between)
    assert(#open > 0 or not between:find("%S"), "text outside: " .. between)
    if open[#open] == "title" then titles[#titles + 1] = between end
    if not from then break end
    if slash == "/" then
      assert(table.remove(open) == name, "closes what is not open: " .. name)
    else
      assert(#open > 0 or from == 1, "two roots")
      local rest = attributes:gsub('%s+[%a][%w:-]*="[^"<&]*"', "")
      assert(not rest:find("%S"), "bad attributes: " .. attributes)
      if empty == "" then open[#open + 1] = name end
    end
    at = to + 1
  end
  assert(#open == 0, "not closed: " .. table.concat(open, " "))
  return titles
end

-- (ThreadSanitizer holds signals back until the next call into libc: there is no sampling loops
-- there, but all of the rest is looked at.)
describe("goro.profile #sight #nochaos", function()
  before_each(support.begin)
  after_each(support.settled)

  it("is a field and a module, and the same in goroutines", function()
    assert.equal(profile, goro.profile)
    assert.is_true(support.in_goroutine(function()
      return require("goro").profile == require("goro.profile")
    end))
  end)

  -- (Valgrind delivers signals where its threads take turns, after so many blocks of code:
  -- samples taken in step with a loop tell no ratio.)
  for _, procs in ipairs { 1, 2, 8 } do
    it(("tells a ratio of CPU time, maxprocs %d #notsan #novalgrind"):format(procs), function()
      local function long(n)
        local x = 0
        for i = 1, n do x = x + i % 7 end
        return x
      end
      local function short(n)
        local x = 0
        for i = 1, n do x = x + i % 7 end
        return x
      end
      support.with_procs(procs, function()
        sampled(4, function()
          for _ = 1, 20 do
            long(1500)
            short(500)
          end
        end, function(stacks)
          local a, b = sum(stacks, ";long %([^;]*%)$"), sum(stacks, ";short %([^;]*%)$")
          return a + b > 150 and math.abs(a / (a + b) - 0.75) < 0.1
        end)
      end)
    end)
  end

  it("shows coroutines above those that resumed them, and blocking calls #notsan", function()
    local function deepest()
      local x = 0
      for i = 1, 20000 do x = x + i end
      goro.yield()
      return x
    end
    local function in_wrap()
      local co = coroutine.create(function() return deepest() + 1 end)
      return select(2, coroutine.resume(co))
    end
    sampled(2, function()
      local f = coroutine.wrap(function() return in_wrap() + 1 end)
      f()
    end, function(stacks)
      return sum(stacks, "f %[C%];[^;]*;in_wrap %([^;]*%);resume %[C%];[^;]*;deepest ") > 20
    end)
  end)

  it("shows C functions, what they call, and what is called protected #notsan", function()
    local big = ("x"):rep(20000)
    sampled(2, function()
      local t = {}
      for i = 1, 500 do t[i] = (i * 7919) % 1009 end
      table.sort(t, function(a, b)
        local less = a < b
        for _ = 1, 3 do less = not less == false end
        return less
      end)
      for _ = 1, 200 do big:rep(20) end
      pcall(function()
        local function inner()
          local x = 0
          for i = 1, 1000000 do x = x + i end      -- (long enough to be met among the copies)
          error(x)
        end
        inner()
      end)
    end, function(stacks)
      return sum(stacks, ";rep %[C%]$") > 5 and sum(stacks, ";sort %[C%];function %(") > 5
        and sum(stacks, ";pcall %[C%];function %([^;]*%);inner ") > 5
    end)
  end)

  it("begins with the goroutine's name, harmless in both forms #notsan", function()
    local function works()
      local x = 0
      for i = 1, 50000 do x = x + i end
      return x
    end
    local function named()
      goro.name('a;b\n<c>&"\xff')
      return works() + 1
    end
    sampled(1, named, function(stacks)
      return sum(stacks, '^a,b <c>&"\xff;.*;works ') > 5
    end)
    assert(profile.start(1000))
    local done = goro.now() + 30
    repeat
      support.in_goroutine(named)
      local _, text = part.read()
    until text:find("works") or goro.now() > done
    local titles = parse_xml(written(".svg"))
    local found = {}
    for _, title in ipairs(titles) do
      if title:find("^a,b &lt;c&gt;&amp;&quot;%?: %d+ samples, [%d.]+%%$") then
        found[1] = true
      end
      if title:find("^works %(.*profile_spec.lua:%d+%): %d+ samples") then found[2] = true end
      if title:find("^all: %d+ samples, 100.0%%$") then found[3] = true end
    end
    assert.same({ true, true, true }, found)
  end)

  it("keeps the innermost frames of a deep stack #notsan", function()
    local function deep(n)
      if n > 0 then return 1 + deep(n - 1) end
      local x = 0
      for i = 1, 2000 do x = x + i end
      return x
    end
    local stacks = sampled(1, function() deep(1000) end, function(stacks)
      return sum(stacks, "^%.%.%.;deep ") > 3
    end)
    for stack in pairs(stacks) do
      assert.is_true(select(2, stack:gsub(";", "")) < 128)
    end
  end)

  it("takes no event from a goroutine's own hook", function()
    local function events(mask)
      local n = { call = 0, ["return"] = 0, line = 0, ["tail call"] = 0, count = 0 }
      local function leaf(x) return x + 1 end
      local function tail(x) return leaf(x) end
      local function work()
        local x = 0
        for i = 1, 3000 do
          x = tail(x)
          x = math.max(x, i)
          if i % 500 == 0 then goro.yield() end
        end
        return x
      end
      debug.sethook(function(event) n[event] = n[event] + 1 end, mask)
      work()
      debug.sethook()
      return n
    end
    for _, mask in ipairs { "c", "r", "l", "cr", "crl" } do
      local want = support.in_goroutine(events, mask)
      assert(profile.start(1000))
      for _ = 1, 3 do assert.same(want, support.in_goroutine(events, mask)) end
      local stacks = parse(written())
      assert.equal("table", type(stacks))
    end
  end)

  it("lets a goroutine's count hook count on", function()
    assert(profile.start(1000))
    local n = support.in_goroutine(function()
      local calls = 0
      debug.sethook(function() calls = calls + 1 end, "", 5000)
      for _ = 1, 1000000 do end
      debug.sethook()
      return calls
    end)
    written()
    assert.is_true(n > 100 and n <= 201, n)
  end)

  it("says what is wrong", function()
    support.bad_argument(1, "start", profile.start, "x")
    support.bad_argument(1, "start", profile.start, 0)
    support.bad_argument(1, "start", profile.start, 1001)
    support.bad_argument(1, "start", profile.start, 1.5)
    support.bad_argument(1, "start", profile.start, {})
    support.bad_argument(1, "stop", profile.stop)
    support.bad_argument(1, "stop", profile.stop, 1)
    assert.same({ nil, "not profiling" }, { profile.stop("x") })
    assert.is_true(profile.start())
    assert.same({ nil, "already profiling" }, { profile.start(10) })
    local ok, why = profile.stop("/no/such/directory/x.svg")
    assert.is_nil(ok)
    assert.matches("/no/such/directory/x.svg", why, 1, true)
    assert.same({ nil, "already profiling" }, { profile.start(10) })
    parse_xml(written(".SVG"))
    assert.same({ nil, "not profiling" }, { profile.stop("x") })
  end)

  it("starts and stops again and again, while goroutines come and go", function()
    for i = 1, support.many(40) do
      assert(profile.start(1000))
      local wg = goro.WaitGroup()
      for _ = 1, 20 do
        wg:go(function()
          local co = coroutine.wrap(function()
            for _ = 1, 2000 do end
            coroutine.yield()
          end)
          co()
          goro.go(function() for _ = 1, 1000 do end end)
        end)
      end
      if i % 2 == 0 then wg:wait() end
      parse(written(i % 3 == 0 and "" or nil))
      wg:wait()
    end
  end)

  it("may be stopped by another goroutine", function()
    assert(profile.start())
    local path = os.tmpname()
    assert.is_true(support.in_goroutine(function()
      return (require("goro.profile").stop(path))
    end))
    parse(script.slurp(path))
    os.remove(path)
  end)

  it("leaves a main script that waits alone", function()
    assert(profile.start(1000))
    local to, from = goro.chan(), goro.chan()
    goro.go(function()
      for v in to:range() do from:send(v) end
      from:close()
    end)
    for i = 1, support.many(5000) do
      assert(to:send(i))
      assert.equal(i, (from:recv()))
    end
    to:close()
    assert.is_nil((from:recv()))
    parse(written())
  end)
end)

describe("goro.profile in a script #sight #nochaos", function()
  local head = [[
    local goro = require("goro")
    local path = os.tmpname()
    local function busy(s)
      local stop = os.clock() + s
      while os.clock() < stop do for _ = 1, 2000 do end end
    end
    local function until_seen(what, f)  -- how soon it is depends on who else wants the CPU
      for _ = 1, 500 do
        f()
        local _, all = require("goro.core")("goro.profiler").read()
        if all:find(what, 1, true) then return end
      end
    end
    local function text()
      assert(goro.profile.stop(path))
      local file = assert(io.open(path))
      local all = file:read("a")
      file:close()
      os.remove(path)
      return all
    end
  ]]

  it("samples the main script #notsan", function()
    local out = script.ok(head .. [[
      assert(goro.profile.start(1000))
      until_seen("busy", function() busy(0.05) end)
      io.write(text())]])
    assert.is_true(sum(parse(out), "^main chunk %(.*%);busy %(") > 0)
  end)

  it("takes no event from its hooks, and leaves a count hook alone", function()
    local out = script.ok(head .. [[
      local n
      local function leaf(x) return x + 1 end
      local function events(mask)
        n = { call = 0, ["return"] = 0, line = 0, ["tail call"] = 0 }
        debug.sethook(function(event) n[event] = n[event] + 1 end, mask)
        for i = 1, 20000 do
          math.max(i, 1)
          leaf(i)
        end
        debug.sethook()
        return table.concat({ n.call, n["return"], n.line, n["tail call"] }, " ")
      end
      for _, mask in ipairs { "c", "r", "l", "crl" } do
        local want = events(mask)
        assert(goro.profile.start(1000))
        for i = 1, 3 do
          local got = events(mask)
          if got ~= want then print(mask, want, got) end
        end
        text()
      end
      assert(goro.profile.start(1000))
      local calls = 0
      debug.sethook(function() calls = calls + 1 end, "", 10000)
      for _ = 1, 1000000 do end
      print(calls)
      until_seen("with a count hook", function() for _ = 1, 200000 do end end)
      debug.sethook()
      print((text():match("%(main script with a count hook%)")))]])
    assert.equal("100\n(main script with a count hook)\n", out)
  end)

  it("needs no preemption #notsan", function()
    local out = script.ok(head .. [[
      assert(goro.profile.start(1000))
      until_seen("busy (", function() goro.async(function() busy(0.05) end):result() end)
      io.write(text())]], { env = { GOROPREEMPT = 0 } })
    assert.is_true(sum(parse(out), "busy %(") > 0, out)
  end)

  it("ends with the script, however that ends", function()
    local start = [[
      local goro = require("goro")
      assert(goro.profile.start(1000))
      for _ = 1, 4 do goro.go(function() while true do end end) end
      local stop = os.clock() + 0.05
      while os.clock() < stop do end
    ]]
    assert.equal("", (script.ok(start)))
    assert.equal(3, script.run(start .. "os.exit(3)").code)
    assert.equal(3, script.run(start .. "os.exit(3, true)").code)
    local exits = "goro.go(function() os.exit(4) end) goro.select {}"
    assert.equal(4, script.run(start .. exits).code)
    assert.equal(1, script.run(start .. "error('x')").code)
  end)
end)
