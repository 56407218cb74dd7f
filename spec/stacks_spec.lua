-- goro.stacks() shows every goroutine: what it does, since when, and where; also those that
-- compute, and the main script.  Nothing is disturbed by it.

local goro = require("goro")
local script = require("spec.support.script")
local support = require("spec.support")

local function has(text, part)
  assert(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

local function hasnt(text, part)
  assert(not text:find(part, 1, true), ("%q is in:\n%s"):format(part, text))
end

-- The part of `text` about the goroutine whose head matches `pattern`.
local function part(text, pattern)
  for one in (text .. "\n\n"):gmatch("(goroutine %d+.-)\n\n") do
    if one:match("^[^\n]*"):find(pattern) then return one end
  end
  error(("no goroutine matches %q in:\n%s"):format(pattern, text), 2)
end

-- Asks until the goroutine named `name` is in state `state`: it may be on its way.
local function wait_for(name, state)
  local stop = goro.now() + 20
  while true do
    local text = goro.stacks()
    local ok, one = pcall(part, text, '"' .. name .. '"')
    if ok and one:find("[" .. state, 1, true) then return one, text end
    if goro.now() > stop then
      error(("%s is not in state %s:\n%s"):format(name, state, text), 2)
    end
    goro.yield()
  end
end

describe("goro.stacks #sight #nochaos", function()
  before_each(support.begin)
  after_each(support.settled)

  it("shows the caller where it stands", function()
    local text = goro.stacks() -- here
    local line = debug.getinfo(1, "l").currentline - 1
    local me = part(text, "^goroutine 1 .*%[running%]:$")
    has(me, "in field 'stacks'")
    has(me, "stacks_spec.lua:" .. line .. ":")
    hasnt(me, "created by")
  end)

  it("shows a goroutine that calls it, with its name and who created it", function()
    local text = support.in_goroutine(function()
      goro.name("the asker")
      return goro.stacks()
    end)
    local asker = part(text, '^goroutine %d+ "the asker" %[running%]:$')
    has(asker, "stacks_spec.lua:")
    assert.matches("\ncreated by main at [^\n]*:%d+$", asker)
    part(text, "^goroutine 1 .*%[")
  end)

  for state, wait in pairs {
    ["chan receive"] = function(c) c:recv() end,
    ["chan send"] = function(c) c:send_only():send(1) end,
    ["select"] = function(c) goro.select { c } end,
  } do
    it("tells what one waits for and where: " .. state, function()
      local c = goro.chan()
      local line = debug.getinfo(wait, "S").linedefined
      goro.go(function() goro.name("waiter") wait(c) end)
      local one = wait_for("waiter", state)
      has(one, "stacks_spec.lua:" .. line .. ":")
      if state == "chan send" then c:recv() else c:send(1) end
    end)
  end

  it("names the channel", function()
    local c = goro.chan(0, nil, "jobs")
    goro.go(function() goro.name("waiter") c:recv() end)
    has(wait_for("waiter", "chan receive"), '[chan receive "jobs"')
    c:close()
  end)

  it("tells for how long, from a tenth of a second on", function()
    local out = script.ok([[
      local goro = require "goro"
      goro.go(function() goro.name("short") goro.sleep(3600) end)
      while not goro.stacks():find('"short" [sleep', 1, true) do goro.yield() end
      local first = goro.stacks()
      goro.sleep(0.3)
      print(first:match('"short" (%b[])'))
      print(goro.stacks():match('"short" (%b[])'))
    ]])
    assert.matches("^%[sleep[^\n]*%]\n%[sleep, %d+%.%d s%]\n$", out)
    assert(tonumber(out:match("%[sleep, (%d+%.%d) s%]\n$")) >= 0.2, out)
  end)

  -- (On one processor it is preempted, and so runnable, whenever another one looks.)
  it("shows one that computes, as running, with the line it is at", function()
    support.with_procs(math.max(2, goro.maxprocs()), function()
      local stop = goro.Atomic()
      local _ <close> = setmetatable({}, { __close = function() stop:store(1) end })
      goro.go(function()
        goro.name("spinner")
        while stop:load() == 0 do end -- spins
      end)
      local here = "stacks_spec.lua:" .. debug.getinfo(1, "l").currentline - 2 .. ":"
      repeat until wait_for("spinner", "running]"):find(here, 1, true)
    end)
  end)

  it("shows the main script, that computes, to a goroutine", function()
    local out = goro.chan(1)
    goro.go(function()
      local text
      repeat text = goro.stacks() until text:find("in upvalue 'busy'", 1, true)
      out:send(text)
    end)
    local function busy(n)
      local x = 0
      for i = 1, n do x = x + i end
      goro.now() -- (a thread sanitizer lets signals through in system calls only)
      return x
    end
    local function loop() while #out == 0 do busy(100000) end end
    loop()
    has(part(out:recv(), "^goroutine 1 .*%[running"), "stacks_spec.lua:")
  end)

  it("says of one inside C that it is there", function()
    local out = script.ok([[
      local goro = require "goro"
      goro.go(function() goro.name("caller") os.execute("sleep 1") end)
      local text
      repeat
        goro.sleep(0.01)
        text = goro.stacks()
      until text:find('"caller" [in C', 1, true)
      print(text:match('"caller" %[in C.-\n(created[^\n]*)'))
    ]])
    assert.equal("created by main at script.lua:2\n", out)
  end)

  it("shows who waits where Lua cannot yield, and through coroutines", function()
    local c = goro.chan()
    goro.go(function()
      goro.name("sorter")
      table.sort({ 2, 1 }, function(a, b) c:recv() return a < b end)
    end)
    goro.go(function()
      goro.name("wrapped")
      local function inner() c:recv() end
      coroutine.wrap(function() inner() end)()
    end)
    has(wait_for("sorter", "chan receive"), "in field 'sort'")
    has(wait_for("wrapped", "chan receive"), "in upvalue 'inner'")
    c:close()
  end)

  it("skips the middle of a deep stack", function()
    local c = goro.chan()
    goro.go(function()
      goro.name("deep")
      local function down(n)
        if n == 0 then c:recv() else down(n - 1) end
        return n
      end
      down(100)
    end)
    local one = wait_for("deep", "chan receive")
    assert.matches("\n\t%.%.%.\t%(skipping %d+ levels%)\n", one)
    assert(select(2, one:gsub("\n", "")) < 30)
    c:close()
  end)

  -- (lua_getstack takes as many steps as it goes deep: level by level this would take minutes.)
  it("takes a deep stack in no time, as do leaks, trace and goro-top", function()
    local out = script.ok(([[
      local goro = require("goro")
      local up, path = goro.chan(), os.tmpname()
      os.remove(path)
      goro.go(function()
        goro.name("deep")
        local function down(n)
          if n == 0 then up:send(true) goro.chan():recv() else down(n - 1) end
          return n
        end
        local function depth(n) return n == 0 and 0 or 1 + depth(n - 1) end
        local n = 150000
        while not pcall(depth, n) do n = n // 2 end      -- (Lua 5.4.0 and 5.4.1 go less deep)
        print(n - n // 20)
        down(n - n // 20)
      end)
      up:recv()
      repeat goro.yield() until goro.stacks():find('"deep" %%[chan receive')
      print(goro.stacks():match('"deep" .-%%(skipping (%%d+) levels'))
      print(goro.leaks()[1].traceback:match("%%(skipping (%%d+) levels"))
      assert(goro.trace.start(path))
      goro.trace.stop()
      os.remove(path)
      assert(goro.debug.serve(path))
      local p = io.popen("%s bin/goro-top --json --once " .. path)
      print(p:read("a"):match('"state":"chan receive"'))
      p:close()
    ]]):format(script.lua))
    local n, stacks, leaks, top = out:match("^(%d+)\n(%d+)\n(%d+)\n(.*)$")
    assert.is_true(n - stacks < 25 and n - leaks < 25, out)      -- (it may be on its way)
    assert.equal('"state":"chan receive"\n', top)
  end)

  it("shows them in the order they were made, and those not yet started", function()
    local c, n = goro.chan(), 200
    for _ = 1, n do goro.go(function() c:recv() end) end
    local ids = {}
    for id in goro.stacks():gmatch("goroutine (%d+)[^\n]* %[") do
      ids[#ids + 1] = tonumber(id)
    end
    assert.equal(n + 1, #ids)
    for i = 2, #ids do assert(ids[i - 1] < ids[i]) end
    c:close()
  end)

  it("loses nothing of what goes on meanwhile", function()
    local n, per = 8, support.many(2000)
    local c, done, sum = goro.chan(4), goro.WaitGroup(), 0
    for i = 1, n do
      done:go(function()
        for k = 1, per do
          c:send(k)
          if k % 50 == i then goro.sleep(0.0001) end
        end
      end)
    end
    goro.go(function() done:wait() c:close() end)
    local asked, stop = goro.chan(), goro.chan()
    for _ = 1, 2 do
      goro.go(function()
        local k = 0
        while goro.select { stop, default = true } ~= 1 do
          assert(goro.stacks():find("^goroutine 1 .*%["))
          k = k + 1
          goro.yield()
        end
        asked:send(k)
      end)
    end
    for v in c:range() do sum = sum + v end
    stop:close()
    assert(asked:recv() + asked:recv() > 0)
    assert.equal(n * per * (per + 1) // 2, sum)
  end)

  it("goes with maxprocs changing at the same time", function()
    local old = goro.maxprocs()
    local stop = goro.chan()
    local wg = goro.WaitGroup()
    wg:go(function()
      for i = 1, support.many(200) do goro.maxprocs(i % 4 + 1) goro.yield() end
      stop:close()
    end)
    wg:go(function()
      while goro.select { stop, default = true } ~= 1 do goro.stacks() goro.yield() end
    end)
    wg:wait()
    goro.maxprocs(old)
    assert.equal(old, goro.maxprocs())
  end)

  it("does not disturb a deadlock's report", function()
    local out = script.ok([[
      local goro = require "goro"
      local c = goro.chan()
      for _ = 1, 50 do
        goro.go(function() goro.stacks() c:recv() end)
        local ok, err = pcall(c.recv, c)
        assert(not ok and err:find("deadlock!", 1, true), err)
      end
      print("50")
    ]])
    assert.equal("50\n", out)
  end)

  it("may be running when the main script ends", function()
    for _ = 1, 3 do
      script.ok([[
        local goro = require "goro"
        local up = goro.chan()
        for i = 1, 4 do
          goro.go(function()
            up:send(i)
            while true do goro.stacks() end
          end)
        end
        for _ = 1, 4 do up:recv() end
      ]])
    end
  end)

  it("leaves Ctrl-C to the main script that computes #notsan", function()
    local r = script.run([[
      local goro = require "goro"
      local up = goro.chan()
      goro.go(function() up:send(1) while true do goro.stacks() end end)
      up:recv()
      goro.go(function()
        goro.sleep(0.2)
        local stat = assert(io.open("/proc/self/stat"))
        os.execute("kill -INT " .. stat:read("n"))
        stat:close()
      end)
      local ok, err = pcall(function() while true do end end)
      print(ok, (err:gsub("^.*: ", "")))
    ]])
    assert.equal("false\tinterrupted!\n", r.out, script.account(r))
  end)
end)

describe("goro.stats #sight", function()
  before_each(support.begin)
  after_each(support.settled)

  local counters = { "spawned", "switches", "steals", "handoffs", "preemptions", "messages",
    "bytes_marshalled" }
  local now = { "live", "runnable", "maxprocs", "idle_procs", "workers", "parked_workers",
    "spinning_workers", "compiled", "compile_hits", "searches", "search_hits",
    "code_bytes", "code_loads", "images", "image_bytes" }

  it("is a table of integers that are not negative, and no others", function()
    local s = goro.stats()
    for _, list in ipairs { counters, now } do
      for _, name in ipairs(list) do
        assert.equal("integer", math.type(s[name]), name)
        assert(s[name] >= 0, name)
        s[name] = nil
      end
    end
    assert.equal("table", type(s.module_images))   -- see modimage_spec.lua
    s.module_images = nil
    assert.is_nil(next(s))
  end)

  it("counts what is spawned, lives, and runs", function()
    local before, c = goro.stats(), goro.chan()
    for _ = 1, 100 do goro.go(function() c:recv() end) end
    local between = goro.stats()
    assert.equal(before.spawned + 100, between.spawned)
    assert.equal(before.live + 100, between.live)
    for _ = 1, 100 do c:send(1) end
    local after = goro.stats()
    assert(after.switches >= before.switches + 100)
    assert.equal(goro.maxprocs(), after.maxprocs)
    assert(after.workers >= 1 and after.parked_workers <= after.workers)
  end)

  it("counts messages and the bytes of those that are no scalars", function()
    local c = goro.chan(10)
    local before = goro.stats()
    for i = 1, 10 do c:send(i) end
    for _ = 1, 10 do c:recv() end
    local between = goro.stats()
    assert.equal(before.messages + 10, between.messages)
    assert.equal(before.bytes_marshalled, between.bytes_marshalled)
    c:send(("x"):rep(1000))
    c:recv()
    local after = goro.stats()
    assert.equal(between.messages + 1, after.messages)
    assert.equal(between.bytes_marshalled + 1000, after.bytes_marshalled)
  end)

  it("counts each message once, whoever waits for whom", function()
    local c, n = goro.chan(), support.many(500)
    local before = goro.stats().messages
    local done = goro.async(function()
      for _ = 1, n do c:recv() end
      for i = 1, n do goro.select { { send = c, value = i } } end
    end)
    for i = 1, n do c:send(i) end
    for _ = 1, n do goro.select { c } end
    done:wait()
    assert.equal(before + 2 * n, goro.stats().messages)
  end)

  it("counts preemptions and hand-offs", function()
    local before = goro.stats()
    local stop = goro.Atomic()
    local wg = goro.WaitGroup()
    for _ = 1, goro.maxprocs() + 1 do
      wg:go(function() while stop:load() == 0 do end end)
    end
    while goro.stats().preemptions == before.preemptions do goro.yield() end
    stop:store(1)
    wg:wait()
    support.with_procs(1, function()
      wg:go(function() os.execute("sleep 0.1") end)
      wg:go(function() for _ = 1, 10 do goro.sleep(0.005) end end)
      wg:wait()
    end)
    assert(goro.stats().handoffs > before.handoffs)
  end)
end)
