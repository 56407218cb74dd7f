-- goro.poll: waiting for descriptors that are somebody else's.

local goro = require("goro")
local support = require("spec.support")
local uv = require("luv")

local in_goroutine = support.in_goroutine

--- A pipe; both ends are closed by `close`, given or not.
local function pipe()
  local p = uv.pipe({}, {})
  return p.read, p.write
end

local function close(...)
  for _, fd in ipairs({ ... }) do uv.fs_close(fd) end
end

local function fill(fd)
  uv.fs_write(fd, ("x"):rep(4096))
  while goro.poll(fd, "w", 0) do uv.fs_write(fd, ("x"):rep(4096)) end
end

describe("goro.poll #poll", function()
  before_each(function() support.begin() end)
  after_each(function() support.settled() end)

  it("says what a descriptor is ready for", function()
    local pair = uv.socketpair()
    local a, b = pair[1], pair[2]
    assert.equal("w", goro.poll(a, "w"))
    assert.equal("w", goro.poll(a, "rw"))
    assert.same({ nil, "timeout" }, { goro.poll(a, "r", 0) })
    uv.fs_write(b, "hello")
    assert.equal("r", goro.poll(a, "r"))
    assert.equal("rw", goro.poll(a, "rw"))
    assert.equal("rw", goro.poll(a, "wr"))
    close(a, b)
  end)

  it("parks the goroutine until it is ready, in the main script too", function()
    local r, w = pipe()
    goro.go(function()
      goro.sleep(0.02)
      require("luv").fs_write(w, "x")
    end)
    assert.equal("r", goro.poll(r, "r"))
    uv.fs_read(r, 1)
    local task = goro.async(function() return goro.poll(r, "r") end)
    goro.sleep(0.01)
    uv.fs_write(w, "y")
    assert.same({ true, "r" }, { task:wait() })
    close(r, w)
  end)

  it("waits for room to write", function()
    local r, w = pipe()
    fill(w)
    assert.same({ nil, "timeout" }, { goro.poll(w, "w", 0.01) })
    local task = goro.async(function() return goro.poll(w, "w") end)
    goro.sleep(0.01)
    repeat until #uv.fs_read(r, 65536) < 65536 or not goro.poll(r, "r", 0)
    assert.same({ true, "w" }, { task:wait() })
    close(r, w)
  end)

  it("gives up at its time-out, not before", function()
    local r, w = pipe()
    for _, f in ipairs({ function(...) return ... end, in_goroutine }) do
      local took, v, reason = f(function()
        local t = goro.now()
        local v, reason = goro.poll(r, "r", 0.03)
        return goro.now() - t, v, reason
      end)
      if f ~= in_goroutine then took, v, reason = took() end
      assert.is_nil(v)
      assert.equal("timeout", reason)
      assert.is_true(took >= 0.03 and took < 5, took)
    end
    close(r, w)
  end)

  it("takes the other side's end for ready", function()
    local r, w = pipe()
    local task = goro.async(function() return goro.poll(r, "r") end)
    goro.sleep(0.005)
    close(w)
    assert.same({ true, "r" }, { task:wait() })
    close(r)
    r, w = pipe()
    close(r)
    assert.equal("w", goro.poll(w, "w"))
    close(w)
  end)

  it("wakes all who wait for one descriptor", function()
    local r, w = pipe()
    local wg, seen = goro.WaitGroup(), goro.Atomic()
    for i = 1, 20 do
      wg:go(function()
        assert(goro.poll(r, i % 2 == 0 and "r" or "rw") == "r")
        seen:add(1)
      end)
    end
    goro.sleep(0.005)
    assert.equal(0, seen:load())
    uv.fs_write(w, "x")
    wg:wait()
    assert.equal(20, seen:load())
    close(r, w)
  end)

  it("serves readers and writers of one descriptor apart", function()
    local pair = uv.socketpair(nil, nil, { nonblock = true }, { nonblock = true })
    local a, b = pair[1], pair[2]
    while uv.fs_write(a, ("x"):rep(65536)) do end
    local reader = goro.async(function() return goro.poll(a, "r") end)
    local writer = goro.async(function() return goro.poll(a, "w") end)
    goro.sleep(0.005)
    repeat until not uv.fs_read(b, 65536)
    assert.same({ true, "w" }, { writer:wait() })
    assert.same({ nil, "timeout" }, { reader:wait(0.01) })
    uv.fs_write(b, "x")
    assert.same({ true, "r" }, { reader:wait() })
    close(a, b)
  end)

  it("finds regular files always ready", function()
    local fd = uv.fs_open("Makefile", "r", 0)
    assert.equal("rw", goro.poll(fd, "rw"))
    assert.equal("r", in_goroutine(function() return goro.poll(fd, "r", 0) end))
    close(fd)
  end)

  it("tells of a descriptor that is none", function()
    local r, w = pipe()
    close(r, w)
    assert.same({ nil, "Bad file descriptor", 9 }, { goro.poll(r, "r") })
    assert.same({ nil, "Bad file descriptor", 9 }, { goro.poll(-1, "r") })
    assert.same({ nil, "Bad file descriptor", 9 }, { goro.poll(1 << 40, "r", 0) })
  end)

  it("is not misled by a number that is used anew", function()
    local function waiting(n)           -- until so many goroutines wait in poll
      repeat
        goro.yield()
        local _, found = goro.stacks():gsub("%[poll[,%]]", "")
      until found == n
    end
    for _ = 1, 20 do
      local r, w = pipe()
      local copy = uv.fs_open("/proc/self/fd/" .. r, "r", 0)
      local first = goro.async(function() return goro.poll(r, "r", 2) end)
      waiting(1)
      local spare = uv.pipe({}, {})
      assert(uv.fs_close(r))             -- while it is waited for
      local r2 = assert(uv.fs_open("/proc/self/fd/" .. spare.read, "r", 0))
      if r2 == r then                    -- (or another thread has opened something)
        local second = goro.async(function() return goro.poll(r2, "r") end)
        waiting(2)
        uv.fs_write(w, "old")
        assert.same({ nil, "timeout" }, { second:wait(0.0005) })
        uv.fs_write(spare.write, "new")
        assert.same({ true, "r" }, { second:wait() })
        assert.same({ true, "r" }, { first:wait() })
      end
      first:wait()
      close(r2, spare.read, spare.write, w, copy)
    end
  end)

  it("is no deadlock: somebody else may write", function()
    local r, w = pipe()
    local never = goro.chan()
    goro.go(function() never:send((goro.poll(r, "r", 0.05))) end)
    assert.is_nil((never:recv()))
    assert.is_nil((goro.poll(r, "r", 0.05)))
    close(r, w)
    support.all_blocked()
  end)

  it("carries many round trips", function()
    local pair = uv.socketpair()
    local a, b = pair[1], pair[2]
    local n = support.many(3000)
    local wg = goro.WaitGroup()
    local function side(fd, begins)
      local luv = require("luv")
      if begins then luv.fs_write(fd, "x") end
      for _ = 1, n do
        assert(goro.poll(fd, "r") == "r")
        assert(luv.fs_read(fd, 10) == "x")
        luv.fs_write(fd, "x")
      end
    end
    wg:go(side, a, true)
    wg:go(side, b, false)
    wg:wait()
    close(a, b)
  end)

  it("works where Lua cannot yield, and in coroutines", function()
    local r, w = pipe()
    local wg = goro.WaitGroup()
    wg:go(function()
      table.sort({ 2, 1 }, function(a, b)
        assert(goro.poll(r, "r") == "r")
        return a < b
      end)
    end)
    wg:go(function()
      assert(coroutine.wrap(function() return goro.poll(r, "r") end)() == "r")
    end)
    goro.sleep(0.005)
    uv.fs_write(w, "x")
    wg:wait()
    close(r, w)
  end)

  it("leaves nothing behind when its goroutine's process ends", function()
    local script = require("spec.support.script")
    local out = script.ok([[
      local goro = require("goro")
      local uv = require("luv")
      local p = uv.pipe({}, {})
      for _ = 1, 50 do goro.go(function() goro.poll(p.read, "r") end) end
      goro.sleep(0.01)
      print("done")
    ]])
    assert.equal("done\n", out)
  end)

  it("keeps timers on time beside it", function()
    local r, w = pipe()
    goro.go(function() goro.poll(r, "r", 1) end)
    local worst = 0
    for _ = 1, 20 do
      local t = goro.now()
      goro.sleep(0.0021)
      local late = goro.now() - t - 0.0021
      assert.is_true(late >= 0, late)
      worst = math.max(worst, late)
    end
    assert.is_true(worst < 2, worst)
    uv.fs_write(w, "x")
    support.settled()
    close(r, w)
  end)

  it("raises for wrong arguments", function()
    support.bad_argument(1, "poll", goro.poll)
    support.bad_argument(1, "poll", goro.poll, "x", "r")
    support.bad_argument(1, "poll", goro.poll, 1.5, "r")
    support.bad_argument(2, "poll", goro.poll, 0)
    support.bad_argument(2, "poll", goro.poll, 0, "x")
    support.bad_argument(3, "poll", goro.poll, 0, "r", "soon")
    support.bad_argument(3, "poll", goro.poll, 0, "r", 0 / 0)
  end)
end)
