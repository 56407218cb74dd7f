-- Goroutine leak: a goroutine that waits for what never comes stays until the program ends.
-- The fix is a way out that is always there: a context, or a quit channel.

local goro = require("goro")
local context = goro.context

local function leaky()
  local ch = goro.chan()
  goro.go(function()
    print((ch:recv())) -- waits for ever: nobody sends
  end)
end -- the channel is forgotten here, the goroutine is not

local function fixed(ctx, wg)
  local ch = goro.chan()
  wg:go(function()
    goro.select {
      { recv = ch, function(v) print(v) end },
      { recv = ctx:done(), function() end }, -- closed on cancellation: a clean exit
    }
  end)
end

-- The same without a context: closing a channel wakes everybody who listens to it.
local function fixed_by_channel(quit, wg)
  local ch = goro.chan()
  wg:go(function()
    goro.select {
      { recv = ch, function(v) print(v) end },
      { recv = quit, function() end },
    }
  end)
end

-- A goroutine that is done may need a moment more to be gone.
local function settle(n)
  while goro.num_goroutine() > n do
    goro.yield()
  end
end

local function show(when)
  print(("%-16s%3d"):format(when, goro.num_goroutine()))
end

show("at first")

for _ = 1, 10 do
  leaky()
end
show("leaked")

local before = goro.num_goroutine()
local wg = goro.WaitGroup()
local ctx, cancel = context.with_cancel(context.background())
local quit = goro.chan()
for _ = 1, 5 do
  fixed(ctx, wg)
  fixed_by_channel(quit, wg)
end
show("waiting")

cancel()
quit:close()
wg:wait()
settle(before)
show("after cancel")
