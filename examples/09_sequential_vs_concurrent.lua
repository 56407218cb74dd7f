-- Waiting is free: 100 waits of 10 ms one after the other, and all at once.

local goro = require("goro")

local WAITS <const> = 100

local function simulate_io()
  goro.sleep(0.01)
end

local function sequential()
  for _ = 1, WAITS do
    simulate_io()
  end
end

local function concurrent()
  local wg = goro.WaitGroup()
  for _ = 1, WAITS do
    wg:go(simulate_io)
  end
  wg:wait()
end

local function measure(name, f)
  local start = goro.now()
  f()
  print(("%s: %.3f s"):format(name, goro.now() - start))
end

measure("sequential", sequential)
measure("concurrent", concurrent)
