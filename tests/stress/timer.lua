-- Timers that are stopped, reset and received from by many at once: a value comes for each time
-- one was set and not stopped, none after stop; after_func runs as often:
-- tests/stress/timer.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")

local CROWD, EACH = 6, 60

-- A lock makes "was it set?" and the call one step; firing keeps racing with both.
local function timers(seed)
  local got, set = goro.Atomic(), goro.Atomic(1)
  local t, mu = goro.timer(0.0003), goro.Mutex()
  local over = goro.chan()
  local receivers = goro.WaitGroup()
  for _ = 1, 2 do
    receivers:go(function()
      while goro.select { t.c, over } == 1 do got:add(1) end
    end)
  end
  harness.crowd(CROWD, seed, function()
    for _ = 1, EACH do
      do
        local _ <close> = mu:lock()
        if math.random(3) == 1 then
          if t:stop() then set:add(-1) end
        elseif not t:reset(math.random() * 0.0006) then
          set:add(1)
        end
      end
      harness.linger()
    end
  end)
  local limit = goro.now() + 20
  while got:load() ~= set:load() and goro.now() < limit do goro.sleep(0.0005) end
  assert(got:load() == set:load(), got:load() .. " received, " .. set:load() .. " set")
  over:close()
  receivers:wait()
end

local function functions(seed)
  local ran, set = goro.Atomic(), goro.Atomic()
  local ts = {}
  for i = 1, 4 do
    ts[i] = goro.after_func(0.0002 * i, function() ran:add(1) end)
    set:add(1)
  end
  harness.crowd(CROWD, seed, function()
    for _ = 1, EACH do
      local t = ts[math.random(#ts)]
      if math.random(3) == 1 then
        if t:stop() then set:add(-1) end
      elseif not t:reset(math.random() * 0.0006) then
        set:add(1)
      end
      if math.random(20) == 1 then
        goro.after_func(math.random() * 0.0005, function() ran:add(1) end)
        set:add(1)
      end
      harness.linger()
    end
  end)
  local limit = goro.now() + 20
  while ran:load() ~= set:load() and goro.now() < limit do goro.sleep(0.0005) end
  assert(ran:load() == set:load(), ran:load() .. " ran, " .. set:load() .. " set")
end

local function tickers(seed)
  harness.crowd(CROWD, seed, function(i)
    local start = goro.now()
    local s = 0.0002 * i
    local t <close> = goro.ticker(s)
    local last = 0
    for n = 1, EACH / 3 do
      local v = t.c:recv()
      assert(v > last and v >= start + n * s - 1e-6, "early")
      last = v
      harness.linger()
      if math.random(10) == 1 then
        start, last = goro.now() - n * s, 0
        t:reset(s)
      end
    end
    assert(t:stop())
    assert(select(3, t.c:try_recv()) == "timeout", "a tick after stop")
    for _ = 1, 20 do goro.ticker(s) end            -- nobody's
    collectgarbage("step")
  end)
end

harness.run("timer", function(seed)
  timers(seed)
  functions(seed)
  tickers(seed)
end)
