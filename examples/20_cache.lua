-- Concurrent cache: a Map that many goroutines read and fill.  A value is computed once,
-- however many ask for it at the same time, kept for a while, and thrown out after that.

local goro = require("goro")

local Cache = {}
Cache.__index = Cache

-- compute(key): what to put in for a key that is not there.  ttl: for how many seconds.
function Cache.new(compute, ttl)
  return setmetatable({
    map = goro.Map(), compute = compute, ttl = ttl,
    hits = goro.Atomic(), misses = goro.Atomic(),
  }, Cache)
end

-- update is atomic for its key and holds up no other key: so `compute` may take its time, and
-- whoever wants the same key waits for it instead of computing again.
local function fill(entry, compute, key, ttl, misses)
  if entry and entry.expires > goro.now() then return entry end
  misses:add(1)
  return { value = compute(key), expires = goro.now() + ttl }
end

function Cache:get(key)
  local entry = self.map:load(key)
  if entry and entry.expires > goro.now() then
    self.hits:add(1)
    return entry.value
  end
  return self.map:update(key, fill, self.compute, key, self.ttl, self.misses).value
end

-- Throws out what has expired.
function Cache:prune()
  for key, entry in self.map:pairs() do
    if entry.expires <= goro.now() then self.map:delete(key) end
  end
end

local cache = Cache.new(function(key)
  goro.sleep(0.01)
  return key * key
end, 0.5)

local wg = goro.WaitGroup()
for i = 1, 200 do
  wg:go(function()
    for k = 1, 10 do
      assert(cache:get(k) == k * k, i)
    end
  end)
end
wg:wait()
print("misses: " .. cache.misses:load())
print("values kept: " .. #cache.map)
goro.sleep(0.55)
cache:prune()
print("values kept later: " .. #cache.map)
