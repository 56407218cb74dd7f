-- goro.lock_thread(): a goroutine stays on its OS thread, and no other runs there.

local goro = require("goro")
local support = require("spec.support")

local function thread()
  local file = assert(io.open("/proc/thread-self/stat"))
  local id = file:read("n")
  file:close()
  return id
end

describe("goro.lock_thread #sight #nochaos", function()
  before_each(support.begin)
  after_each(support.settled)

  it("keeps a goroutine on its thread, whatever it waits for, and others off it", function()
    local a, b = goro.chan(), goro.chan()
    local mine, others = goro.chan(1), goro.chan(1000)
    local n = support.many(200)
    goro.go(function()
      goro.lock_thread()
      local first = thread()
      local same = true
      for i = 1, n do
        a:recv()
        same = same and thread() == first
        if i % 10 == 0 then goro.sleep(0.0002) end
        goro.yield()
        coroutine.wrap(function() b:send(i) end)()
        same = same and thread() == first
      end
      mine:send({ first, same })
      a:recv()  -- (once it has ended, its thread serves anybody)
    end)
    for _ = 1, n do
      a:send(true)
      goro.go(function() goro.yield() others:send(thread()) end)
      b:recv()
    end
    local first, same = table.unpack((mine:recv()))
    assert.is_true(same)
    for _ = 1, n do assert(others:recv() ~= first) end
    a:send(true)
  end)

  it("is counted, taken back, and ends with the goroutine", function()
    assert.is_true(support.in_goroutine(function()
      goro.unlock_thread()
      goro.lock_thread()
      goro.lock_thread()
      goro.unlock_thread()
      local first = thread()
      goro.sleep(0.001)
      local same = thread() == first
      goro.unlock_thread()
      goro.sleep(0.001)
      goro.lock_thread()
      return same
    end))
  end)

  it("does not keep a goroutine that computes from giving way", function()
    support.with_procs(1, function()
      local stop = goro.Atomic()
      local wg = goro.WaitGroup()
      wg:go(function() goro.lock_thread() while stop:load() == 0 do end end)
      goro.sleep(0.02)
      stop:store(1)
      wg:wait()
    end)
  end)
end)
