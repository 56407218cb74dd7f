-- Work that computes: as many goroutines as there are CPUs, each with a share of its own.

local goro = require("goro")

local LIMIT <const> = 200000

local function is_prime(n)
  for d = 2, math.floor(n ^ 0.5) do
    if n % d == 0 then return false end
  end
  return n > 1
end

-- Counts the primes among first, first + step, first + 2 * step ...
local function count(first, step, results)
  local primes = 0
  for n = first, LIMIT, step do
    if is_prime(n) then primes = primes + 1 end
  end
  results:send(primes)
end

local workers = goro.num_cpu()
local results = goro.chan(workers)

for i = 1, workers do
  goro.go(count, 2 * i - 1, 2 * workers, results) -- odd numbers only
end

local primes = 1 -- 2, the one even prime
for _ = 1, workers do
  primes = primes + results:recv()
end
print(("%d primes up to %d"):format(primes, LIMIT))
