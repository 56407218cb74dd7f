-- While the main script waits, its thread may run the goroutine that it has just woken: a guest
-- (guest.c, tame.c).  Whatever that does, the main script must be served as if it did not.

local goro = require("goro")
local support = require("spec.support")
local script = require("spec.support.script")

-- A goroutine with which the main script has talked so often that it is a guest whenever it can
-- be: it echoes what it gets until that is false, and then calls f(ping, pong, ...).
local function tamed(f, ...)
  local ping, pong = goro.chan(), goro.chan()
  goro.go(function(...)
    while true do
      local v = ping:recv()
      if v == false then break end
      pong:send(v)
    end
    f(ping, pong, ...)
  end, ...)
  for i = 1, 40 do
    ping:send(i)
    assert.equal(i, (pong:recv()))
  end
  return ping, pong
end

-- The same as a program: its guest ends with `body`, its main script with `last`.
local function program(body, last)
  return ([[
    local goro = require("goro")
    local ping, pong = goro.chan(), goro.chan()
    goro.go(function()
      for i = 1, 40 do pong:send(ping:recv()) end
      %s
    end)
    for i = 1, 40 do
      ping:send(i)
      pong:recv()
    end
    %s
  ]]):format(body, last)
end

-- Has a guest call f(ping, pong, over, ...), which goes on until the main script, having waited
-- for `seconds`, sets over: if the main script is not served, neither comes to an end.
local function served(seconds, f, ...)
  local over = goro.Atomic()
  local ping, pong = tamed(f, over, ...)
  local wait = goro.chan()
  ping:send(false)
  local _, _, why = wait:recv(seconds)
  over:store(1)
  assert.equal("timeout", why)
  return ping, pong
end

describe("a goroutine on the thread of a main script that waits #guest", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("answers in order, whatever the messages are", function()
    local ping, pong = tamed(function(ping, pong)
      for v in ping:range() do pong:send(v) end
      pong:close()
    end)
    ping:send(false)
    local object = setmetatable({ 1 }, { __index = { f = function() return 2 end } })
    local values = {
      1, 2.5, "s", ("x"):rep(100000), { 1, { 2 } }, function() return 3 end, goro.chan(), print,
      goro.Map(), object, 1, 2, 3,
    }
    for i, v in ipairs(values) do
      ping:send(v)
      local w = pong:recv()
      assert.equal(type(v), type(w), i)
      if type(v) == "table" then assert.equal(v[1], w[1]) end
      if type(v) ~= "table" and type(v) ~= "function" then assert.equal(v, w) end
      if v == object then assert.equal(2, w.f()) end
    end
    ping:close()
    assert.is_nil((pong:recv()))
  end)

  it("runs on its thread, if images are there #nosan", function()
    local ping, pong = tamed(function(ping, pong)
      for v in ping:range() do pong:send(v) end
    end)
    ping:send(false)
    local path, n = os.tmpname(), 200
    assert(goro.trace.start(path))
    for i = 1, n do
      ping:send(i)
      pong:recv()
    end
    goro.trace.stop()
    ping:close()
    local main, count = nil, 0
    for line in io.lines(path) do
      main = main or line:match('"tid":(%d+).*"thread_name".*"main ')
      local tid = line:match('"ph":"X".*"tid":(%d+).*guest_spec')
      if tid and tid == main then count = count + 1 end
    end
    os.remove(path)
    if os.getenv("GOROIMAGE") ~= "0" then assert.is_true(count > n / 2, count) end
  end)

  it("is served while others run on workers", function()
    local ping, pong = tamed(function(ping, pong)
      for v in ping:range() do pong:send(v) end
    end)
    ping:send(false)
    local wg, n = goro.WaitGroup(), support.many(2000)
    local sum = goro.Atomic()
    for _ = 1, 4 do
      wg:go(function()
        for _ = 1, n do
          sum:add(1)
          goro.yield()
        end
      end)
    end
    for i = 1, n do
      ping:send(i)
      assert.equal(i, (pong:recv()))
    end
    ping:close()
    wg:wait()
    assert.equal(4 * n, sum:load())
  end)

  describe("holds up neither it nor others", function()
    it("that computes in Lua", function()
      local _, pong = served(0.02, function(_, pong, over)
        while over:load() == 0 do end
        pong:send(true)
      end)
      assert.is_true((pong:recv()))
    end)

    it("that computes without a call", function()
      local _, pong = served(0.02, function(_, pong, over)
        repeat
          for _ = 1, 1000000 do end
        until over:load() ~= 0
        pong:send(true)
      end)
      assert.is_true((pong:recv()))
    end)

    it("that has told it something and computes on", function()
      local over = goro.Atomic()
      local ping, pong = tamed(function(_, pong, stop)
        pong:send("now")
        while stop:load() == 0 do end
        pong:send("end")
      end, over)
      ping:send(false)
      assert.equal("now", (pong:recv()))
      over:store(1)
      assert.equal("end", (pong:recv()))
    end)

    -- f(ping, pong, over, fifo, ...) blocks in C until the main script, which must have been
    -- served meanwhile, writes a line to the fifo; f sends it.
    local fifo

    local function release(pong)
      assert.is_nil((pong:try_recv()))
      local file = assert(io.open(fifo, "w"))
      file:write("done\n")
      file:close()
      assert.equal("done", (pong:recv()))
    end

    local function blocks(f, ...)
      local _, pong = served(0.01, f, fifo, ...)
      release(pong)
    end

    setup(function()
      fifo = os.tmpname()
      os.remove(fifo)
      assert(os.execute("mkfifo " .. fifo))
    end)
    teardown(function() os.remove(fifo) end)

    it("that blocks in C, whichever way it came there", function()
      for _, f in ipairs {
        function(_, pong, _, path) pong:send(io.open(path):read("l")) end,
        function(_, pong, _, path)
          pong:send(os.execute("cat " .. path .. " >/dev/null") and "done")
        end,
        function(_, pong, _, path) pong:send(_G["io"]["lines"](path)()) end,
        function(_, pong, _, path) pong:send(require("io").lines(path)()) end,
        function(_, pong, _, path)
          for k, v in pairs(_G) do
            if k == "io" then pong:send(v.lines(path)()) end
          end
        end,
        function(_, pong, _, path)
          local t = setmetatable({}, { __index = function(_, k) return io[k] end })
          pong:send(t.lines(path)())
        end,
        function(_, pong, _, path)
          local f = coroutine.wrap(function() coroutine.yield(io.lines(path)()) end)
          pong:send(f())
        end,
        function(_, pong, _, path)
          pong:send(tostring(setmetatable({}, { __tostring = function()
            return io.lines(path)()
          end })))
        end,
      } do
        blocks(f)
      end
    end)

    it("that blocks in C by a function that it has had before", function()
      local ping, pong = goro.chan(), goro.chan()
      goro.go(function(path)
        local lines = io.lines
        while true do
          local v = ping:recv()
          if v == false then break end
          pong:send(v)
        end
        pong:send(lines(path)())
      end, fifo)
      for i = 1, 40 do
        ping:send(i)
        pong:recv()
      end
      ping:send(false)
      assert.same({ n = 3, nil, nil, "timeout" }, table.pack(pong:recv(0.01)))
      release(pong)
    end)

    it("that gets a function which blocks, or an object that blocks when it is made", function()
      local ch = goro.chan(1)
      local function lines(path) return io.lines(path)() end
      local function get(_, pong, _, path, from)
        local f = from:recv()
        if type(f) == "table" then f = f[1] end
        if type(f) == "function" then f = f(path) end
        pong:send(type(f) == "function" and f() or f)
      end
      local made = setmetatable({}, { __goro = function()
        local path = fifo
        return function() return io.lines(path)() end
      end })
      for _, v in ipairs { io.lines, { io.lines }, lines, made } do
        ch:send(v)
        blocks(get, ch)
      end
    end)

    it("that waits where it cannot yield", function()
      local ping, pong = served(0.02, function(ping, pong)
        local t = { 3, 1, 2 }
        table.sort(t, function(a, b)
          ping:recv(0.001)
          return a < b
        end)
        pong:send(t[1] == 1)
        pong:send((string.gsub("a", "a", function() return (ping:recv()) end)) == "b")
      end)
      assert.is_true((pong:recv()))
      ping:send("b")
      assert.is_true((pong:recv()))
    end)

    it("that computes long in C", function()
      local _, pong = served(0.02, function(_, pong, over)
        local s = ("x"):rep(30)
        repeat s:find((".-"):rep(5) .. "b") until over:load() ~= 0
        pong:send(true)
      end)
      assert.is_true((pong:recv()))
    end)

    it("that locks its thread", function()
      local ping, pong = served(0.02, function(ping, pong)
        goro.lock_thread()
        pong:send((ping:recv()))
      end)
      ping:send(true)
      assert.is_true((pong:recv()))
    end)
  end)

  it("that fails is told to the main script", function()
    local r = script.run(program([[error("guest's error")]], "print(pcall(pong.recv, pong))"))
    assert.truthy(r.out:find("^false\t.*guest's error"), script.account(r))
    assert.truthy(r.err:find("goroutine 2 panicked.*guest's error"), script.account(r))
  end)

  it("may close the channel that the main script waits for", function()
    local ping, pong = tamed(function(_, pong) pong:close() end)
    ping:send(false)
    assert.same({ nil, false }, { pong:recv() })
  end)

  it("may end, and leave it in a deadlock", function()
    local ping, pong = tamed(function() end)
    ping:send(false)
    support.raises("deadlock", pong.recv, pong)
  end)

  it("may start goroutines and wake others", function()
    local ping, pong = tamed(function(_, pong)
      local wg = goro.WaitGroup()
      local sum = goro.Atomic()
      for i = 1, 50 do wg:go(function() sum:add(i) end) end
      wg:wait()
      pong:send(sum:load())
    end)
    ping:send(false)
    assert.equal(1275, (pong:recv()))
  end)

  it("is seen in stacks, and where others of goro look", function()
    local over = goro.Atomic()
    local ping, pong = tamed(function(_, pong, stop)
      while stop:load() == 0 do end
      pong:send(true)
    end, over)
    local text = goro.async(function()
      local text = goro.stacks()
      over:store(1)
      return text
    end)
    ping:send(false)
    assert.is_true((pong:recv()))
    assert.truthy(text:result():find("guest_spec.lua", 1, true))
  end)

  it("goes on when maxprocs changes", function()
    local ping, pong = tamed(function(ping, pong)
      for v in ping:range() do pong:send(v) end
    end)
    ping:send(false)
    local stop = goro.Atomic()
    local old = goro.maxprocs()
    local changes = goro.async(function()
      local i = 0
      while stop:load() == 0 do
        i = i + 1
        goro.maxprocs(1 + i % 3)
        goro.yield()
      end
    end)
    for i = 1, support.many(2000) do
      ping:send(i)
      assert.equal(i, (pong:recv()))
    end
    stop:store(1)
    changes:result()
    goro.maxprocs(old)
    ping:close()
  end)

  it("does not keep timers of a P that maxprocs has retired from being seen", function()
    local old = goro.maxprocs(4)
    local running, woken = goro.Atomic(), goro.Atomic()
    for _ = 1, 4 do                    -- each on a P of its own
      goro.go(function()
        running:add(1)
        while running:load() < 4 do end
        goro.sleep(0.2)
        woken:add(1)
      end)
    end
    while running:load() < 4 do goro.sleep(0.001) end
    goro.maxprocs(1)
    local ping, pong = tamed(function(ping, pong)
      for v in ping:range() do pong:send(v) end
    end)
    ping:send(false)
    local start = goro.now()
    while woken:load() < 4 and goro.now() - start < 2 do
      ping:send(1)
      pong:recv()
    end
    goro.maxprocs(old)
    ping:close()
    assert.equal(4, woken:load())
  end)

  it("takes a goroutine that waits for timers, and time-outs that race", function()
    local ping, pong = tamed(function(ping, pong)
      for v in ping:range() do
        if v % 3 == 0 then goro.sleep(0.0005) end
        pong:try_send(v, 0.0003)
      end
    end)
    ping:send(false)
    for i = 1, support.many(300) do
      ping:send(i)
      local v = pong:recv(0.0004)
      assert.is_true(v == nil or v <= i)
    end
    ping:close()
  end)

  it("leaves the main script to Ctrl-C #notsan", function()
    for _, body in ipairs {
      "while true do end", "ping:recv()", "os.execute('sleep 5')",
      "while true do pong:send(ping:recv(0.001)) end", "while true do goro.yield() end",
      "while true do a:send(1) b:recv() end",
    } do
      local r = script.run(([[
        local goro = require("goro")
        local ping, pong = goro.chan(), goro.chan()
        local a, b = goro.chan(), goro.chan()
        goro.go(function() for v in a:range() do b:send(v) end end)
        goro.go(function()
          for i = 1, 40 do
            a:send(ping:recv())
            pong:send(b:recv())
          end
          ping:recv()
          %s
        end)
        for i = 1, 40 do
          ping:send(i)
          pong:recv()
        end
        os.execute("(sleep 0.1; kill -INT " .. io.open("/proc/self/stat"):read("n") .. ") &")
        local wait = goro.chan()
        ping:send(true)
        local ok, err = pcall(wait.recv, wait, 20)
        print(ok, (tostring(err):gsub(".*: ", "")))
        os.exit(0)
      ]]):format(body))
      assert.equal("false\tinterrupted!\n", r.out, body .. script.account(r))
    end
  end)

  local function killed(body)
    local _, r = script.ok(program(body, "pong:recv(0.01)"))
    assert.equal(0, r.code)
  end

  it("is killed with its host, whatever it waits for", function()
    killed("ping:recv()")
    killed("goro.sleep(100)")
    killed("while true do goro.yield() end")
  end)

  it("is killed with its host while it computes #notsan", function()
    killed("while true do end")
  end)

  it("may end the process by os.exit", function()
    local r = script.run(program("os.exit(7)", "pong:recv()"))
    assert.equal(7, r.code, script.account(r))
  end)
end)
