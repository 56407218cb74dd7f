-- Goroutine leak: a goroutine that waits for what never comes stays until the program ends.
-- The fix is a quit channel: closing it wakes everybody who listens to it.

local goro = require("goro")

local function leaky()
  local ch = goro.chan()
  goro.go(function()
    print((ch:recv())) -- waits for ever: nobody sends
  end)
end -- the channel is forgotten here, the goroutine is not

local function fixed(wg, quit)
  local ch = goro.chan()
  wg:go(function()
    goro.select {
      { recv = ch, function(v) print(v) end },
      { recv = quit, function() end }, -- closed: a clean exit
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

local wg = goro.WaitGroup()
local quit = goro.chan()
local before = goro.num_goroutine()
for _ = 1, 10 do
  fixed(wg, quit)
end
show("waiting")

quit:close()
wg:wait()
settle(before)
show("after quit")
