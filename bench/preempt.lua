-- What bench/preempt.sh counts the instructions of: arg[1] names the work.  Nobody waits for a
-- processor in any of them.

local goro = require("goro")

local work = {}

function work.compute()
  local x = 0
  for i = 1, 5000000 do x = x + i % 7 end
  return x
end

function work.calls()
  local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
  return fib(27)
end

function work.tables()
  local t = {}
  for i = 1, 300000 do t[i % 1000 + 1] = { i, tostring(i) } end
  return #t
end

function work.coroutines()
  local x, next_value = 0, coroutine.wrap(function()
    while true do coroutine.yield(1) end
  end)
  for _ = 1, 100000 do x = x + next_value() end
  return x
end

function work.channel()
  local a, b = goro.chan(), goro.chan()
  goro.go(function()
    for v in a:range() do b:send(v) end
    b:close()
  end)
  for i = 1, 50000 do
    a:send(i)
    b:recv()
  end
  a:close()
  b:recv()
end

function work.spawn()
  local wg = goro.WaitGroup()
  for _ = 1, 20000 do
    wg:go(function() end)
    goro.yield()
  end
  wg:wait()
end

goro.async(work[arg[1]]):result()
