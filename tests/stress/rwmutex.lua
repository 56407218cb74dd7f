-- Writers alone, readers together, both get in: tests/stress/rwmutex.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")

local CROWD, TIMES = 8, 200
local WRITER = 1000

local function reading(s)
  local n = s.inside:add(1)
  assert(n < WRITER, "a reader with a writer")
  local x = s.x:load()
  harness.linger()
  assert(s.y:load() == x and s.x:load() == x, "a reader saw a write")
  s.inside:add(-1)
end

local function writing(s)
  assert(s.inside:add(WRITER) == WRITER, "a writer with another")
  local v = s.x:load() + 1
  s.x:store(v)
  harness.linger()
  s.y:store(v)
  s.inside:add(-WRITER)
  s.written:add(1)
end

local ways = {
  function(rw, s)
    local _ <close> = rw:rlock()
    reading(s)
  end,
  function(rw, s)
    rw:rlock()
    reading(s)
    rw:runlock()
  end,
  function(rw, s)
    local ok <close> = rw:try_rlock()
    if ok then reading(s) end
  end,
  function(rw, s)
    local ok <close> = rw:rlock(math.random() * 0.001)
    if ok then reading(s) end
  end,
  function(rw, s)
    local _ <close> = rw:lock()
    writing(s)
  end,
  function(rw, s)
    local ok <close> = rw:try_lock()
    if ok then writing(s) end
  end,
  function(rw, s)
    local ok <close> = rw:lock(math.random() * 0.001)
    if ok then writing(s) end
  end,
  function(rw, s)
    local _ <close> = rw:rlock()
    reading(s)
    rw:runlock()
    goro.yield()
  end,
  function(rw, s)
    rw:lock()
    writing(s)
    goro.go(function() rw:unlock() end)
  end,
}

harness.run("rwmutex", function(seed)
  local rw = goro.RWMutex()
  local s = { inside = goro.Atomic(), x = goro.Atomic(), y = goro.Atomic(),
    written = goro.Atomic() }
  harness.crowd(CROWD, seed, function()
    for _ = 1, TIMES do
      ways[math.random(#ways)](rw, s)
    end
  end)
  rw:lock()
  rw:unlock()
  assert(s.x:load() == s.written:load())
  assert(not pcall(rw.unlock, rw) and not pcall(rw.runlock, rw))
end)
