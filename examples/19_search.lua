-- Cancellable search: several goroutines search, the first that finds something stops all the
-- others by the context they share.

local goro = require("goro")

local LIMIT <const> = 50000000
local CHECK <const> = 10000 -- numbers between two looks at the context

-- Looks for n with n^2 mod m == r among start, start + step, ...
local function search(ctx, start, step, m, r)
  for n = start, LIMIT, step do
    if n * n % m == r then return n end
    if n // step % CHECK == 0 and ctx:err() then
      return nil                               -- somebody else has it
    end
  end
end

local function find(m, r)
  local workers = goro.num_cpu() + 1
  local ctx <close>, cancel = goro.context.with_timeout(nil, 60)
  local found = goro.chan(workers)
  local wg = goro.WaitGroup()
  for w = 1, workers do
    wg:go(function()
      local n = search(ctx, w, workers, m, r)
      if n then
        found:send(n)
        cancel()
      end
    end)
  end
  wg:wait()
  return (found:try_recv())
end

local MODULUS <const> = 10000019
local n = find(MODULUS, 1234321)               -- 1111^2
print("n * n % " .. MODULUS .. " == " .. n * n % MODULUS)

-- What is not there is looked for until the time is up.
local ctx <close>, _ = goro.context.with_timeout(nil, 0.05)
local none = goro.async(search, ctx, 1, 1, 16, 3)  -- no square is 3 mod 16
print("no such number:", none:result() == nil, ctx:err())
