-- Rate limiter: a ticker lets one request through at each tick, a full bucket lets a burst
-- through at once.

local goro = require("goro")

-- A limiter is a channel of permits: a goroutine puts one in at each tick and drops it while
-- the bucket is full.  Ends with the context.
local function limiter(ctx, interval, burst)
  local bucket = goro.chan(burst)
  for _ = 1, burst do bucket:send(true) end
  goro.go(function()
    local ticker <close> = goro.ticker(interval)
    while not ctx:err() do
      goro.select { ticker.c, ctx:done() }
      bucket:try_send(true)
    end
  end)
  return bucket:recv_only()
end

local INTERVAL <const>, BURST <const>, REQUESTS <const> = 0.02, 3, 8

local ctx <close>, _ = goro.context.with_cancel()
local permits = limiter(ctx, INTERVAL, BURST)
local start = goro.now()
local at = {}
for i = 1, REQUESTS do
  permits:recv()
  at[i] = goro.now() - start
end

-- The burst passes at once; what comes after keeps its distance.
print(("%d requests, %d at once"):format(REQUESTS, BURST))
local least = INTERVAL * (REQUESTS - BURST)
print("the rest at the limiter's pace:", at[REQUESTS] >= 0.9 * least)
