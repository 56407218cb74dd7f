-- Graceful shutdown: on SIGINT or SIGTERM no new work is taken, what was begun is finished, and
-- whatever takes too long is cancelled.  Without arguments it sends itself a SIGTERM.
-- Usage: 22_shutdown.lua [--wait]

local goro = require("goro")

local GRACE <const> = 2 -- seconds for what was begun

local function handle(ctx, request)
  return goro.sleep(request.seconds, ctx)
end

-- Serves requests until the channel is closed; ends when all that were begun are done.
local function serve(ctx, requests, served, dropped)
  local wg = goro.WaitGroup()
  for request in requests:range() do
    wg:go(function()
      if handle(ctx, request) then served:add(1) else dropped:add(1) end
    end)
  end
  wg:wait()
end

local signals = goro.signal("INT", "TERM")
local ctx <close>, cancel = goro.context.with_cancel()
local requests = goro.chan()
local served, dropped = goro.Atomic(), goro.Atomic()
local server = goro.async(serve, ctx, requests, served, dropped)

-- The world outside: a few quick requests, and one that would take all day.
local client = goro.async(function()
  for _ = 1, 20 do requests:send { seconds = 0.01 } end
  requests:send { seconds = 86400 }
end)
client:result()

if arg[1] == "--wait" then
  print("waiting for a signal")
  io.stdout:flush()
else
  goro.go(function() os.execute("kill -TERM $PPID") end)
end

print("got SIG" .. signals:recv() .. ", shutting down")
requests:close()                               -- no new work
if not server:wait(arg[1] == "--wait" and GRACE or 0.1) then
  print("some requests take too long: cancelled")
  cancel()
  server:wait()
end
print(("served %d, dropped %d"):format(served:load(), dropped:load()))
