-- Cancellation: a context carries a deadline to everything that works for one request.

local goro = require("goro")
local context = goro.context

-- A long operation that gives up when its context is done.
local function work(ctx, seconds)
  local ok, reason = goro.sleep(seconds, ctx)
  if not ok then return nil, reason end
  return "done"
end

-- The context's channel is closed when the time is up: a case of select like any other.
local function by_select(seconds, limit)
  local ctx <close> = context.with_timeout(context.background(), limit)
  local result = goro.chan(1)

  goro.go(function()
    goro.sleep(seconds, ctx)
    result:send("done")
  end)

  goro.select {
    { recv = ctx:done(), function() print("Operation cancelled: " .. ctx:err()) end },
    { recv = result, function(v) print(v) end },
  }
end

-- Or the context is the time-out of what is called, all the way down.
local function by_argument(seconds, limit)
  local ctx <close> = context.with_timeout(context.background(), limit)
  print(work(ctx, seconds))
end

by_select(10, 0.05)
by_select(0.01, 10)
by_argument(10, 0.05)
by_argument(0.01, 10)
