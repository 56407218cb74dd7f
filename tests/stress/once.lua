-- Run once, and everybody gets the same: tests/stress/once.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")

harness.run("once", function(seed)
  local once, runs, out = goro.Once(), goro.Atomic(), goro.chan(8)
  local fails = seed % 3 == 0
  harness.crowd(8, seed, function(i)
    harness.linger()
    local r = table.pack(pcall(once.run, once, function(a)
      runs:add(1)
      harness.linger()
      if fails then error({ who = a }) end
      return { who = a }, a, nil
    end, i))
    out:send(fails and r[2].who or { r[2].who, r[3] })
    assert(r[1] == not fails and r.n == (fails and 2 or 4))
  end)
  assert(runs:load() == 1)
  local first = out:recv()
  for _ = 2, 8 do
    local v = out:recv()
    if fails then
      assert(v == first)
    else
      assert(v[1] == first[1] and v[2] == first[2] and v[1] == v[2])
    end
  end
end)
