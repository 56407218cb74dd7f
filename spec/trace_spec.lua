-- goro.trace: what the scheduler did, in a file that chrome://tracing and Perfetto read.

local goro = require("goro")
local has_cjson, json = pcall(require, "cjson")
if not has_cjson then json = require("dkjson") end
local host = require("spec.support.host")
local script = require("spec.support.script")
local support = require("spec.support")

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function parse(text)
  return (assert(json.decode(text)))
end

-- Traces what f does; the trace, and how goro.stats() has changed meanwhile.
local function traced(f)
  local path = os.tmpname()
  local before = goro.stats()
  assert(goro.trace.start(path))
  f()
  assert.is_true(goro.trace.stop())
  local after = goro.stats()
  local trace = parse(read(path))
  os.remove(path)
  local diff = {}
  for k, v in pairs(after) do diff[k] = math.type(v) and v - before[k] end
  return trace, diff
end

local function by_time(a, b)
  if a.ts ~= b.ts then return a.ts < b.ts end
  return a.dur < b.dur
end

-- Raises if two of them overlap by more than `most` microseconds; sorts them.
local function follow_each_other(slices, most)
  table.sort(slices, by_time)
  for i = 2, #slices do
    local a, b = slices[i - 1], slices[i]
    assert(b.ts >= a.ts + a.dur - most,
      ("%s at %f, %s at %f is not over"):format(b.name, b.ts, a.name, a.ts))
  end
end

-- What must be true of any trace.  Returns its slices and instants, counted by name, and how
-- many slices and arrows there are.
local function check(trace)
  local tracks, goroutines, slices, instants, n = {}, {}, {}, {}, 0
  local starts, ends = {}, {}
  assert.equal("ns", trace.displayTimeUnit)
  for _, e in ipairs(trace.traceEvents) do
    assert(e.pid == 1)
    if e.ph == "X" then
      assert(math.type(e.ts) and e.dur >= 0 and #e.name > 0 and e.args.g >= 1)
      tracks[e.tid] = tracks[e.tid] or {}
      table.insert(tracks[e.tid], e)
      local who = e.args.host << 32 | e.args.g
      goroutines[who] = goroutines[who] or {}
      table.insert(goroutines[who], e)
      slices[e.name] = (slices[e.name] or 0) + 1
      n = n + 1
    elseif e.ph == "i" then
      assert(e.s == "t" or e.s == "g" and e.args.dropped)
      instants[e.name] = (instants[e.name] or 0) + 1
    elseif e.ph == "s" then
      assert(not starts[e.id])
      starts[e.id] = e
    elseif e.ph == "f" then
      assert(not ends[e.id] and e.bp == "e")
      ends[e.id] = e
    else
      assert(e.ph == "M" or e.ph == "C" and e.args.n >= 0, e.ph)
    end
  end
  local function enclosing(e)
    local list, low, high = tracks[e.tid] or {}, 0, #(tracks[e.tid] or {})
    while low < high do                 -- the last that begins before it
      local k = (low + high + 1) // 2
      if list[k].ts <= e.ts + 1e-6 then low = k else high = k - 1 end
    end
    local s = list[low]
    return s and e.ts <= s.ts + s.dur + 2e-3
  end
  -- a thread runs one at a time, and a goroutine is at one place at a time
  for _, list in pairs(tracks) do follow_each_other(list, 2e-3) end
  for _, list in pairs(goroutines) do follow_each_other(list, 1) end
  local arrows = 0
  for id, s in pairs(starts) do
    local f = assert(ends[id], "an arrow without a head")
    assert(f.ts >= s.ts - 1, "an arrow into the past")
    arrows = arrows + 1
    assert(enclosing(s), "an arrow out of no slice")
    assert(enclosing(f), "an arrow into no slice")
  end
  for id in pairs(ends) do assert(starts[id], "an arrow without a tail") end
  return slices, instants, n, arrows
end

-- The same figures in the file, by goro.stats(), and as events.
local function agree(trace, diff, instants, n)
  local said = trace.otherData
  assert.equal(0, said.dropped)
  assert.equal(said.switches, n)
  assert.equal(said.spawned, instants.go or 0)
  assert.equal(said.steals, instants.steal or 0)
  assert.equal(said.handoffs, instants["hand-off"] or 0)
  assert.equal(said.preemptions, instants.preempt or 0)
  for _, k in ipairs { "spawned", "switches", "steals", "handoffs", "preemptions" } do
    -- (those made by start and stop themselves, before and after)
    assert(said[k] <= diff[k] and diff[k] <= said[k] + 20,
      ("%s: %d, %d"):format(k, said[k], diff[k]))
  end
end

local function pingpong(n)
  local a, b, wg = goro.chan(), goro.chan(), goro.WaitGroup()
  local function ping() for i = 1, n do a:send(i) b:recv() end end
  local function pong() for i = 1, n do a:recv() b:send(i) end end
  wg:go(ping)
  wg:go(pong)
  wg:wait()
end

describe("goro.trace #sight #nochaos", function()
  it("writes a slice for each run, with arrows, and the counts of stats", function()
    local trace, diff = traced(function() pingpong(200) end)
    local slices, instants, n, arrows = check(trace)
    agree(trace, diff, instants, n)
    local runs = { 0, 0 }
    for name, k in pairs(slices) do
      if name:find("^ping .-trace_spec.lua:%d+$") then runs[1] = runs[1] + k end
      if name:find("^pong .-trace_spec.lua:%d+$") then runs[2] = runs[2] + k end
    end
    assert(runs[1] >= 100 and runs[2] >= 100, "runs " .. runs[1] .. ", " .. runs[2])
    local main = 0                      -- (it may have a name)
    for _, e in ipairs(trace.traceEvents) do
      if e.ph == "X" and e.args.g == 1 then main = main + 1 end
    end
    assert(main >= 1)
    assert(arrows >= 200)
    assert.equal(2, instants.go)
  end)

  it("names goroutines by goro.name, their function, or where that begins", function()
    local trace = traced(function()
      local done, wg = goro.chan(), goro.WaitGroup()
      local c = goro.chan()
      local function known() c:recv() end
      wg:go(function() goro.name('a "b"\n\\ \xff\u{20ac}') goro.yield() end)
      wg:go(known)
      wg:go(function() done:close() end)
      done:recv()
      c:close()
      wg:wait()
    end)
    local slices = check(trace)
    assert(slices['a "b"\n\\ ?\u{20ac}'])
    local fn, anonymous = false, false
    for name in pairs(slices) do
      fn = fn or name:find("^known .-trace_spec%.lua:%d+$")
      anonymous = anonymous or name:find("^%S-trace_spec%.lua:%d+$")
    end
    assert(fn and anonymous)
  end)

  it("says why a slice ended, and knows goroutines that were there before", function()
    local c, wg = goro.chan(), goro.WaitGroup()
    wg:go(function() goro.name("early") c:recv() goro.sleep(0.001) end)
    wg:go(function() c:recv() end)
    while select(2, goro.stacks():gsub("%[chan receive", "")) < 2 do goro.yield() end
    local trace, diff = traced(function()
      c:send(1)
      c:send(1)
      wg:wait()
    end)
    local _, instants, n = check(trace)
    agree(trace, diff, instants, n)
    local how, places = {}, 0
    for _, e in ipairs(trace.traceEvents) do
      if e.ph == "X" and e.name == "early" then how[e.args["end"]] = true end
      if e.ph == "X" and e.name:find("trace_spec%.lua:%d+$") then places = places + 1 end
    end
    assert(how.sleep and how["end"])
    assert(places >= 1)
    assert((instants.timer or 0) >= 1)
  end)

  it("shows preemption and goroutines that are inside C", function()
    local trace, diff = traced(function()
      local wg, stop, before = goro.WaitGroup(), goro.now() + 5, goro.stats().preemptions
      for _ = 1, goro.maxprocs() + 2 do
        wg:go(function()
          while goro.stats().preemptions == before and goro.now() < stop do
            for i = 1, 10000 do local _ = i end
          end
        end)
      end
      wg:go(function() local p = io.popen("sleep 0.03") p:read("a") p:close() end)
      wg:wait()
    end)
    local _, instants, n = check(trace)
    agree(trace, diff, instants, n)
    if os.getenv("GOROPREEMPT") ~= "0" then assert((instants.preempt or 0) > 0) end
  end)

  it("shows whose P went to another thread, since it was inside C for long", function()
    local trace, diff
    support.with_procs(1, function()
      trace, diff = traced(function()
        local done = goro.Atomic()
        local ticks = goro.async(function()
          while done:load() == 0 do goro.sleep(0.001) end
        end)
        goro.async(function() os.execute("sleep 0.1") end):wait()
        done:store(1)
        ticks:wait()
      end)
    end)
    local _, instants, n = check(trace)
    agree(trace, diff, instants, n)
    assert((instants["in C"] or 0) >= 1)
  end)

  it("shows what a goroutine's collector has freed", function()
    local trace = traced(function()
      goro.async(function()
        local waste = ("x"):rep(1 << 20)
        goro.yield()
        waste = #waste
        collectgarbage()
        goro.yield()
        return waste
      end):wait()
    end)
    local freed = 0
    for _, e in ipairs(trace.traceEvents) do
      if e.ph == "i" and e.name == "gc" then freed = math.max(freed, e.args.kib) end
    end
    assert(freed >= 1024, freed)
  end)

  it("is begun and ended while goroutines run, again and again", function()
    local stop, wg = goro.Atomic(0), goro.WaitGroup()
    for _ = 1, 4 do
      wg:go(function()
        local c = goro.chan(1)
        while stop:load() == 0 do
          local g = goro.WaitGroup()
          g:go(function(ch) ch:send(1) end, c)
          c:recv()
          g:wait()
          goro.sleep(0.0002)
        end
      end)
    end
    for _ = 1, 8 do
      local trace, diff = traced(function() goro.sleep(0.002) end)
      local _, instants, n = check(trace)
      assert.equal(trace.otherData.spawned, instants.go or 0)
      assert(trace.otherData.switches - n <= 8 and n <= trace.otherData.switches)
      assert(diff.switches >= n)
    end
    stop:store(1)
    wg:wait()
  end)

  it("works in a goroutine, also where it cannot yield", function()
    local path = os.tmpname()
    local wg = goro.WaitGroup()
    wg:go(function()
      assert(require("goro.trace").start(path))
      goro.yield()
      assert(goro.trace.stop())
      local trace = path
      table.sort({ 1, 2 }, function(a, b)
        assert(goro.trace.start(trace))
        goro.yield()
        assert(goro.trace.stop())
        return a < b
      end)
    end)
    wg:wait()
    local _, instants, n = check(parse(read(path)))
    assert(n >= 2)
    assert.is_nil(instants.go)
    os.remove(path)
  end)

  it("returns nil and a reason for what is expected", function()
    local path = os.tmpname()
    local ok, why = goro.trace.stop()
    assert.is_nil(ok)
    assert.equal("not tracing", why)
    ok, why = goro.trace.start("/nonexistent/directory/trace.json")
    assert.is_nil(ok)
    assert.equal("No such file or directory", why)
    assert.is_true(goro.trace.start(path))
    ok, why = goro.trace.start(path .. ".other")
    assert.is_nil(ok)
    assert.equal("already tracing", why)
    assert.is_nil(io.open(path .. ".other"))
    assert.is_true(goro.trace.stop())
    os.remove(path)
    ok, why = pcall(goro.trace.start)
    assert(not ok)
    assert.equal("bad argument #1 to 'start' (string expected, got no value)", why)
    if io.open("/dev/full", "w") then
      assert.is_true(goro.trace.start("/dev/full"))
      ok, why = goro.trace.stop()
      assert.is_nil(ok)
      assert.equal("No space left on device", why)
      assert.is_nil((goro.trace.stop()))
    end
  end)

  -- What a script of its own has traced; `out` and `err` as well.
  local function trace_of(source, options)
    local path = os.tmpname()
    local head = ('local goro, path = require("goro"), %q\n'):format(path)
    local r = script.run(head .. source, options)
    assert.equal(0, r.code, script.account(r))
    local trace = parse(read(path))
    os.remove(path)
    return trace, r
  end

  it("is whole up to the moment at which its memory is full, and says so", function()
    local trace = trace_of([[
      goro.maxprocs(2)
      local a, b, wg = goro.chan(), goro.chan(), goro.WaitGroup()
      assert(goro.trace.start(path))
      for _ = 1, 4 do
        wg:go(function()
          for _ = 1, 8000 do a:send(1) b:recv() end
        end)
        wg:go(function()
          for _ = 1, 8000 do a:recv() b:send(1) end
        end)
      end
      wg:wait()
      assert(goro.trace.stop())]], { env = { GOROTRACEMEM = 1 } })
    local _, instants, n = check(trace)
    local said = trace.otherData
    assert.is_true(said.full)
    assert(said.dropped > 0)
    assert(n > 1000 and n < said.switches, n .. ", " .. said.switches)
    assert.equal(8, instants.go)
    local ends, last = {}, 0
    for _, e in ipairs(trace.traceEvents) do
      local at = e.ts and e.ts + (e.dur or 0) or 0
      if e.s == "g" then
        assert.equal(said.dropped, e.args.dropped)
        ends[#ends + 1] = at
      else
        last = math.max(last, at)
      end
    end
    assert.equal(1, #ends)
    assert(last <= ends[1] + 2e-3, last .. ", " .. ends[1])
  end)

  it("shows the goroutines of several states, whoever is closed first #notsan", function()
    local path = os.tmpname()
    local r = script.command(assert(host.build("shared")) .. " trace " .. path, { limit = 60 })
    assert(r.code == 0, script.account(r))
    local trace = parse(read(path))
    os.remove(path)
    local _, instants = check(trace)
    local hosts, n = {}, 0
    for _, e in ipairs(trace.traceEvents) do
      if e.ph == "X" and not hosts[e.args.host] then
        hosts[e.args.host] = true
        n = n + 1
      end
    end
    assert.equal(2, n)
    assert.equal(trace.otherData.spawned, instants.go)
    assert(instants.go >= 120 + 75)
  end)

  it("complains of what cannot be written at the end of the program", function()
    if not io.open("/dev/full", "w") then return pending("no /dev/full") end
    local r = script.run([[
      local goro = require("goro")
      assert(goro.trace.start("/dev/full"))
      goro.async(goro.yield):result()]])
    assert.equal(0, r.code, script.account(r))
    assert.equal("goro: the trace could not be written: No space left on device\n", r.err)
  end)

  for how, last in pairs {
    ["returns"] = "",
    ["calls os.exit"] = "os.exit(0)",
    ["closes its state and exits"] = "os.exit(0, true)",
    ["exits in a goroutine"] = "goro.go(function() os.exit(0) end) goro.sleep(10)",
  } do
    it("is written when the program " .. how, function()
      local path = os.tmpname()
      local r = script.run(([[
        local goro = require("goro")
        assert(goro.trace.start(%q))
        local c = goro.chan()
        for i = 1, 3 do goro.go(function() c:send(i) end) end
        for i = 1, 3 do c:recv() end
        goro.go(function() local x = goro.chan() x:recv() end)
        goro.yield()
        %s]]):format(path, last))
      assert.equal(0, r.code, script.account(r))
      local _, instants, n = check(parse(read(path)))
      os.remove(path)
      assert(instants.go >= 4 and n >= 4)
    end)
  end
end)
