-- One inside at a time, no update lost, nobody left behind: tests/stress/mutex.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")

local CROWD, TIMES = 8, 200

-- The protected variable: two steps, so that a second one inside would lose an update.
local function section(inside, total)
  assert(inside:add(1) == 1, "two inside")
  local v = total:load()
  harness.linger()
  total:store(v + 1)
  assert(inside:add(-1) == 0, "two inside")
end

local ways = {
  function(mu, ...)
    local _ <close> = mu:lock()
    section(...)
    return true
  end,
  function(mu, ...)
    mu:lock()
    section(...)
    mu:unlock()
    return true
  end,
  function(mu, ...)
    local ok <close> = mu:try_lock()
    if ok then section(...) end
    return ok
  end,
  function(mu, ...)
    local ok <close> = mu:lock(math.random() * 0.001)
    if ok then section(...) end
    return ok
  end,
  function(mu, ...)                    -- an error leaves by the guard
    local ok, err = pcall(function(...)
      local _ <close> = mu:lock()
      section(...)
      error("on purpose", 0)
    end, ...)
    assert(not ok and err == "on purpose", err)
    return true
  end,
  function(mu, inside, total)          -- where Lua cannot yield
    table.sort({ 2, 1 }, function(a, b)
      local _ <close> = mu:lock()
      section(inside, total)
      return a < b
    end)
    return true
  end,
  function(mu, ...)                    -- unlocked by another
    mu:lock()
    section(...)
    goro.go(function() mu:unlock() end)
    return true
  end,
  function(mu, ...)                    -- unlocked early: the guard must not unlock another's
    local _ <close> = mu:lock()
    section(...)
    mu:unlock()
    goro.yield()
    return true
  end,
}

harness.run("mutex", function(seed)
  local mu, inside, total, done = goro.Mutex(), goro.Atomic(), goro.Atomic(), goro.Atomic()
  harness.crowd(CROWD, seed, function()
    for _ = 1, TIMES do
      if ways[math.random(#ways)](mu, inside, total) then done:add(1) end
    end
  end)
  mu:lock()                            -- the last unlock may be another goroutine's
  mu:unlock()
  assert(total:load() == done:load(), ("%d of %d"):format(total:load(), done:load()))
  assert(not pcall(mu.unlock, mu))
end)
