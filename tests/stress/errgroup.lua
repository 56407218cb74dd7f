-- Groups with limits, failures and nesting: never more run than may, all have ended when wait
-- returns, the first failure is the context's cause: tests/stress/errgroup.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")

local function group(seed, i)
  local g = goro.errgroup()
  local limit = math.random(4)
  local running, ended = goro.Atomic(), goro.Atomic()
  g:limit(limit)
  local fails = math.random(3) == 1 and math.random(20)
  local n = math.random(20)
  for k = 1, n do
    g:go(function(ctx)
      math.randomseed(seed, i * 100 + k)
      assert(running:add(1) <= limit, "too many")
      harness.linger()
      if math.random(5) == 1 then goro.sleep(math.random() * 0.001, ctx) end
      running:add(-1)
      ended:add(1)
      if k == fails then return nil, "failure " .. k end
    end, g.ctx)
  end
  local ok, err = g:wait(math.random(3) == 1 and math.random() * 0.0002 or nil)
  if not ok and err == "timeout" then ok, err = g:wait() end
  assert(ended:load() == n and running:load() == 0, "wait returned early")
  if fails and fails <= n then
    assert(not ok and err == "failure " .. fails and g.ctx:cause() == err)
  else
    assert(ok and g.ctx:cause() == goro.context.Canceled)
  end
end

local function flights(seed)
  local sf, running = goro.singleflight(), goro.Map()
  harness.crowd(6, seed, function()
    for _ = 1, 30 do
      local key = math.random(3)
      local ok, v = pcall(sf.run, sf, key, function()
        assert(running:swap(key, true) == nil, "two run at once")
        harness.linger()
        running:delete(key)
        if math.random(5) == 1 then error("no", 0) end
        return key
      end)
      assert(v == (ok and key or "no"), v)
    end
  end)
  assert(#sf.map == 0)
end

harness.run("errgroup", function(seed)
  harness.crowd(6, seed, function(i)
    for _ = 1, 5 do group(seed, i) end
  end)
  flights(seed)
end)
