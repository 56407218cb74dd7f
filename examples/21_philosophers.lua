-- Dining philosophers: each needs two forks at once, and each fork is shared by two.  Taking
-- the fork with the smaller number first makes a circle of waiting impossible.

local goro = require("goro")

local PHILOSOPHERS <const>, MEALS <const> = 5, 200

local forks = {}
for i = 1, PHILOSOPHERS do forks[i] = goro.Mutex() end

local eating = goro.Map()
local meals = goro.Atomic()

local function dine(seat, first, second, neighbours)
  for _ = 1, MEALS do
    local _ <close> = first:lock()
    local _ <close> = second:lock()            -- both are put down at the end of the block
    eating:store(seat, true)
    goro.yield()
    for _, n in ipairs(neighbours) do
      assert(not eating:load(n), "a neighbour eats with our fork")
    end
    meals:add(1)
    eating:store(seat, false)
  end
end

local wg = goro.WaitGroup()
for seat = 1, PHILOSOPHERS do
  local right = seat % PHILOSOPHERS + 1
  local left = (seat - 2) % PHILOSOPHERS + 1
  wg:go(dine, seat, forks[math.min(seat, right)], forks[math.max(seat, right)], { left, right })
end
wg:wait()
print(("%d philosophers had %d meals"):format(PHILOSOPHERS, meals:load()))

-- The other way out is a waiter who lets all but one to the table: goro.Semaphore(n - 1).  A
-- table at which everybody takes the left fork first ends in goro's deadlock report.
