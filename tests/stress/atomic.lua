-- Histories of an Atomic are linearizable; no add is lost: tests/stress/atomic.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")
local linear = require("linear")

local function results(...) return table.pack(...) end

local model = {
  initial = "0",
  load = function(s) return s, results(tonumber(s)) end,
  store = function(_, a) return tostring(a[1]), results() end,
  add = function(s, a)
    local v = tonumber(s) + a[1]
    return tostring(v), results(v)
  end,
  swap = function(s, a) return tostring(a[1]), results(tonumber(s)) end,
  cas = function(s, a)
    if tonumber(s) ~= a[1] then return s, results(false) end
    return tostring(a[2]), results(true)
  end,
}

harness.run("atomic", function(seed)
  local a = goro.Atomic()
  linear.history(4, seed, model, function(R)
    for _ = 1, 8 do
      local what = math.random(5)
      if what == 1 then R.call("load", a.load, a)
      elseif what == 2 then R.call("store", a.store, a, math.random(3))
      elseif what == 3 then R.call("add", a.add, a, math.random(3))
      elseif what == 4 then R.call("swap", a.swap, a, math.random(3))
      else R.call("cas", a.cas, a, math.random(3), math.random(3)) end
    end
  end)
  local b = goro.Atomic()
  harness.crowd(4, seed, function()
    for _ = 1, 1000 do b:add(1) end
  end)
  assert(b:load() == 4000)
end)
