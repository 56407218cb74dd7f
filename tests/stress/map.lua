-- Histories of a Map are linearizable, snapshots and lengths too; a bank's total stays what it
-- is; keys whose goroutine fails in update become free: tests/stress/map.lua [s [seed]]
package.path = arg[0]:match("^(.*/)[^/]*$") .. "?.lua;" .. package.path
local goro = require("goro")
local harness = require("harness")
local linear = require("linear")

local function results(...) return table.pack(...) end

-- The state: "x=1 y=2", keys in order, absent ones left out.
local function unpacked(s)
  local t = {}
  for k, v in s:gmatch("(%w+)=(%w+)") do t[k] = v end
  return t
end

local KEYS = { "x", "y" }

local function packed(t)
  local parts = {}
  for _, k in ipairs(KEYS) do
    if t[k] then parts[#parts + 1] = k .. "=" .. t[k] end
  end
  return table.concat(parts, " ")
end

local function with(s, k, v)
  local t = unpacked(s)
  t[k] = v
  return packed(t)
end

local function changed(v) return (v or "") .. "u" end

local model = {
  initial = "",
  load = function(s, a)
    local v = unpacked(s)[a[1]]
    return s, results(v, v ~= nil)
  end,
  store = function(s, a) return with(s, a[1], a[2]), results() end,
  load_or_store = function(s, a)
    local v = unpacked(s)[a[1]]
    if v then return s, results(v, true) end
    return with(s, a[1], a[2]), results(a[2], false)
  end,
  swap = function(s, a)
    local v = unpacked(s)[a[1]]
    return with(s, a[1], a[2]), results(v, v ~= nil)
  end,
  delete = function(s, a)
    local v = unpacked(s)[a[1]]
    return with(s, a[1], nil), results(v, v ~= nil)
  end,
  cas = function(s, a)
    if unpacked(s)[a[1]] ~= a[2] then return s, results(false) end
    return with(s, a[1], a[3]), results(true)
  end,
  update = function(s, a)
    local v = changed(unpacked(s)[a[1]])
    return with(s, a[1], v), results(v)
  end,
  len = function(s)
    local n = 0
    for _ in pairs(unpacked(s)) do n = n + 1 end
    return s, results(n)
  end,
  range = function(s) return s, results(s) end,
}

local function value()
  if math.random(4) == 1 then return nil end
  return ("v"):rep(math.random(3))
end

local function snapshot(m)
  local t = {}
  for k, v in m:range() do t[k] = v end
  return packed(t)
end

local function histories(seed)
  local m = goro.Map()
  linear.history(4, seed, model, function(R)
    for _ = 1, 7 do
      local k, what = KEYS[math.random(#KEYS)], math.random(10)
      if what == 1 then R.call("load", m.load, m, k)
      elseif what == 2 then R.call("store", m.store, m, k, value())
      elseif what == 3 then R.call("load_or_store", m.load_or_store, m, k, "los")
      elseif what == 4 then R.call("swap", m.swap, m, k, value())
      elseif what == 5 then R.call("delete", m.delete, m, k)
      elseif what == 6 then R.call("cas", m.cas, m, k, value(), value())
      elseif what == 7 then R.call("len", m.len, m)
      elseif what == 8 then R.call("range", snapshot, m)
      else
        R.call("update", function(self, key)
          return self:update(key, function(v)
            harness.linger()
            return changed(v)
          end)
        end, m, k)
      end
    end
  end)
end

local ACCOUNTS, FUNDS = 10, 100

-- Transfers inside update inside update, in the order of the keys; some fail half way.
local function bank(seed)
  local m = goro.Map()
  for i = 1, ACCOUNTS do m:store(i, { funds = FUNDS }) end
  harness.crowd(6, seed, function()
    for _ = 1, 60 do
      local from, to = math.random(ACCOUNTS - 1), ACCOUNTS
      to = math.random(from + 1, to)
      local ok, err = pcall(m.update, m, from, function(a)
        local sum = math.random(-20, 20)
        harness.linger()
        m:update(to, function(b)
          if math.random(10) == 1 then error("no", 0) end
          b.funds = b.funds + sum
          return b
        end)
        a.funds = a.funds - sum
        return a
      end)
      assert(ok or err == "no", err)
      assert(#m == ACCOUNTS)
    end
  end)
  local total = 0
  for _, a in pairs(m) do total = total + a.funds end
  assert(total == ACCOUNTS * FUNDS)
end

-- A coroutine closed, and one dropped, inside update.
local function dropped(seed)
  local m = goro.Map()
  harness.crowd(4, seed, function()
    for _ = 1, 20 do
      local co = coroutine.create(function()
        m:update("k", function(v)
          coroutine.yield(v)
          return 1
        end)
      end)
      coroutine.resume(co)
      if math.random(2) == 1 then
        coroutine.close(co)
      else
        co = nil                       -- luacheck: ignore
        collectgarbage()
      end
    end
  end)
  assert(#m == 0)
  m:store("k", 1)
end

-- Readers see whole values however often they are overwritten, and snapshots no half of a pair.
local function whole(seed)
  local m, stop = goro.Map(), goro.Atomic()
  local long = ("x"):rep(300)
  m:store("t", { 1, 1, s = long })
  m:store("s", long)
  harness.crowd(4, seed, function(i)
    if i <= 2 then
      for j = 1, 200 do
        m:store("t", { j, j, s = long })
        m:store("s", tostring(j % 10):rep(300))
        m:store("key" .. i .. " " .. j, j)
      end
      stop:add(1)
      return
    end
    repeat
      local t, s = m:load("t"), m:load("s")
      assert(t[1] == t[2] and t.s == long and #s == 300 and s == s:sub(1, 1):rep(300))
      local last = { 0, 0 }
      for k in m:range() do
        local who, j = k:match("^key(%d) (%d+)$")
        if who then last[tonumber(who)] = math.max(last[tonumber(who)], tonumber(j)) end
      end
      local n = #m
      assert(n >= last[1] + last[2] + 2)
    until stop:load() == 2
  end)
  assert(#m == 402)
end

harness.run("map", function(seed)
  for i = 1, 20 do histories(seed * 20 + i) end
  bank(seed)
  dropped(seed)
  whole(seed)
end)
