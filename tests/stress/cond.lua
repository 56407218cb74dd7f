-- A bounded queue of a mutex and two conditions: nothing lost, nobody left waiting, never more
-- than fit: tests/stress/cond.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")

local CROWD, EACH, ROOM = 4, 100, 3

local function wait(cond)
  if math.random(4) == 1 then
    cond:wait(math.random() * 0.0005)
  else
    cond:wait()
  end
end

harness.run("cond", function(seed)
  local mu = goro.Mutex()
  local not_full, not_empty = goro.Cond(mu), goro.Cond(mu)
  local head, tail, inside = goro.Atomic(), goro.Atomic(), goro.Atomic()
  local slots, sum = goro.Map(), goro.Atomic()
  local all = seed % 2 == 0            -- broadcast, or signal
  harness.crowd(2 * CROWD, seed, function(i)
    for j = 1, EACH do
      local _ <close> = mu:lock()
      if i <= CROWD then
        while tail:load() - head:load() == ROOM do wait(not_full) end
        assert(inside:add(1) == 1, "two inside")
        slots:store(tail:load() % ROOM, i * EACH + j)
        tail:add(1)
        assert(tail:load() - head:load() <= ROOM)
        if all then not_empty:broadcast() else not_empty:signal() end
      else
        while tail:load() == head:load() do wait(not_empty) end
        assert(inside:add(1) == 1, "two inside")
        local v = slots:delete(head:load() % ROOM)
        head:add(1)
        sum:add(v)
        if all then not_full:broadcast() else not_full:signal() end
      end
      inside:add(-1)
    end
  end)
  local want = 0
  for i = 1, CROWD do
    for j = 1, EACH do want = want + i * EACH + j end
  end
  assert(sum:load() == want and #slots == 0)
  assert(not pcall(mu.unlock, mu))
end)
