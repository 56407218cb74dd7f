-- Pipeline: stages joined by channels.  The middle one fans out to several goroutines, whose
-- results fan in to one channel; cancelling the context takes all of it down.

local goro = require("goro")

-- Numbers from 1 on, until nobody wants them any more.
local function source(ctx)
  local out = goro.chan()
  goro.go(function()
    local n = 0
    repeat
      n = n + 1
    until not out:try_send(n, ctx)
    out:close()
  end)
  return out
end

-- One worker of the middle stage.
local function square(ctx, numbers)
  local out = goro.chan()
  goro.go(function()
    for n in numbers:range() do
      if not out:try_send({ n = n, square = n * n }, ctx) then break end
    end
    out:close()
  end)
  return out
end

-- Fan-in: everything that comes from any of the channels, until all are closed.
local function merge(ctx, channels)
  local out = goro.chan()
  local wg = goro.WaitGroup()
  for _, ch in ipairs(channels) do
    wg:go(function()
      for v in ch:range() do
        if not out:try_send(v, ctx) then break end
      end
    end)
  end
  goro.go(function()
    wg:wait()
    out:close()
  end)
  return out
end

local WORKERS <const>, WANTED <const> = 4, 1000

local ctx <close>, cancel = goro.context.with_cancel()
local numbers = source(ctx)
local stages = {}
for i = 1, WORKERS do
  stages[i] = square(ctx, numbers)         -- fan-out: all read the same channel
end

local seen, count, right = {}, 0, true
for v in merge(ctx, stages):range() do
  right = right and v.square == v.n ^ 2 and not seen[v.n]
  seen[v.n] = true
  count = count + 1
  if count == WANTED then cancel() end
  if count >= WANTED then break end
end
print(count .. " squares, each right and only once:", right)

-- Nothing is left behind.
while goro.num_goroutine() > 1 do goro.yield() end
print("goroutines left: " .. goro.num_goroutine())
