-- What arrives equals what was sent: random values of all kinds that may cross, with sharing,
-- cycles and metatables.  GOROPROP=n makes n of them (100000: the full run), GOROPROPSEED=n
-- starts at another seed; each value has one of its own, which is printed when it fails.

local goro = require("goro")
local support = require("spec.support")

local N = tonumber(os.getenv("GOROPROP")) or support.many(30000)
local SEED = tonumber(os.getenv("GOROPROPSEED")) or os.time() % 1000000 * 1000000

local random, type, rawequal, getmetatable, setmetatable = math.random, type, rawequal,
  getmetatable, setmetatable
local mathtype, dump, upvalueid, getupvalue = math.type, string.dump, debug.upvalueid,
  debug.getupvalue

-- --- values ----------------------------------------------------------------------------------

local light = debug.upvalueid(function() return support end, 1)
local channel, group = goro.chan(1), goro.WaitGroup()

local Class = { tag = "class" }
Class.__index = Class
local Derived = setmetatable({}, { __index = Class })
Derived.__index = Derived
local Named = { __name = "named" }
local Op = { __add = function(a) return a end }
local classes = { Class, Derived, Named, Op }
-- (nothing in Named tells that it is a metatable: it is known from its first object on)
for _, class in ipairs(classes) do support.cross(setmetatable({}, class)) end

local Made = {}
Made.__index = Made
function Made.__goro(o)
  local payload = o.payload
  return function() return setmetatable({ payload = payload }, Made) end
end

local constants = { true, false, 0, 1, -1, 127, 128, -128, -129, 1 << 31, 1 << 53,
  math.maxinteger, math.mininteger, 0.0, -0.0, 0 / 0, 1.0, -1.5, 1e300, 5e-324, 2.0 ^ 53,
  math.huge, -math.huge, "", "a", "\0", "id", "name", "__index ", ("long"):rep(20), "\xff\xfe",
  "__typename", light, channel, group, print, string.format, math.random, string, goro, _G,
  io.stdout, require, Class, Derived, Named }
local NCONSTANTS = #constants

local function scalar()
  local what = random(6)
  if what == 1 then return random(0) end
  if what == 2 then return random() * 2 ^ random(-60, 60) end
  if what == 3 then return ("x"):rep(random(0, 300)) end
  return constants[random(NCONSTANTS)]
end

local build

local function table_of(pool, depth)
  local t = {}
  pool[#pool + 1] = t
  for i = 1, random(0, 4) do
    if random(8) > 1 then t[i] = build(pool, depth - 1) end
  end
  for _ = 1, random(0, 3) do
    local k = random(4) == 1 and build(pool, depth - 1) or scalar()
    if k ~= nil and k == k then t[k] = build(pool, depth - 1) end
  end
  if random(6) == 1 then setmetatable(t, classes[random(#classes)]) end
  return t
end

local function function_of(pool, depth)
  local what = random(5)
  local f, g
  if what == 1 then
    f = function(...) return ... end
  elseif what == 2 then
    local a, b = build(pool, depth - 1), build(pool, depth - 1)
    f = function() return a, b end
  elseif what == 3 then            -- two with one variable
    local shared = build(pool, depth - 1)
    f = function() return shared end
    g = function(v) shared = v end
    pool[#pool + 1] = g
  elseif what == 4 then            -- one that knows itself, and globals
    local a = build(pool, depth - 1)
    f = function(n) return n == 0 and a or f(n - 1), tostring(a) end
  else
    local a = scalar()
    f = load(dump(function() return a end, random(2) == 1))
    debug.setupvalue(f, 1, a)
  end
  pool[#pool + 1] = f
  return f
end

local function made(pool, depth)
  local own = {}
  local payload = build(own, depth - 1)
  local o = setmetatable({ payload = payload }, Made)
  for i = 1, #own do pool[#pool + 1] = own[i] end
  pool[#pool + 1] = o
  return o
end

function build(pool, depth)
  local what = random(12)
  if depth <= 0 or what <= 5 then return scalar() end
  if what <= 7 and #pool > 0 then return pool[random(#pool)] end
  if what <= 10 then return table_of(pool, depth) end
  if what == 11 then return function_of(pool, depth) end
  return made(pool, depth)
end

local function value(seed)
  math.randomseed(seed)
  return build({}, random(1, 6))
end

local environment = _ENV

-- --- are they equal? ----------------------------------------------------------------------

local by_identity = { [Class] = true, [Derived] = true, [Named] = true, [Op] = true,
  [Made] = true, [string] = true, [goro] = true, [_G] = true }

local function compare(a, b)
  local there, back = {}, {}       -- what corresponds: objects, and functions' variables
  local pairs_of_keys = {}
  local todo, n = { a, b }, 2

  local function same(x, y)        -- scalars at once; objects are put on the list
    local t = type(x)
    if t ~= type(y) then return false end
    if t == "number" then
      if mathtype(x) ~= mathtype(y) then return false end
      return x == y and (x ~= 0 or mathtype(x) == "integer" or 1 / x == 1 / y)
        or x ~= x and y ~= y
    end
    if t ~= "table" and t ~= "function" then return x == y end
    if by_identity[x] then return rawequal(x, y) end
    if there[x] or back[y] then return there[x] == y and back[y] == x end
    there[x], back[y] = y, x
    todo[n + 1], todo[n + 2] = x, y
    n = n + 2
    return true
  end

  local function fields(x, y)
    if not rawequal(getmetatable(x), getmetatable(y)) then return "metatable" end
    local count, objects = 0, nil
    for k, v in next, x do
      local t = type(k)
      if (t == "table" or t == "function") and not by_identity[k] then
        objects = objects or {}
        objects[#objects + 1] = k
      elseif not same(v, rawget(y, k)) then
        return "field"
      end
      count = count + 1
    end
    for _ in next, y do count = count - 1 end
    if count ~= 0 then return "number of fields" end
    if objects then pairs_of_keys[#pairs_of_keys + 1] = { x, y, objects } end
  end

  local function functions(x, y)
    if rawequal(x, y) then return nil end
    if dump(x) ~= dump(y) then return "code" end
    for i = 1, 255 do
      local name, v = getupvalue(x, i)
      if not name then break end
      local _, w = getupvalue(y, i)
      local p, q = upvalueid(x, i), upvalueid(y, i)
      if there[p] or back[q] then
        if there[p] ~= q or back[q] ~= p then return "shared variable" end
      else
        there[p], back[q] = q, p
        if rawequal(v, environment) then       -- busted's stands before the globals
          if not rawequal(w, _G) then return "environment" end
        elseif not same(v, w) then
          return "variable " .. name
        end
      end
    end
  end

  n = 0
  if not same(a, b) then return "value" end
  local i = 1
  while true do
    while i <= n do
      local x, y = todo[i], todo[i + 1]
      i = i + 2
      local wrong
      if type(x) == "table" then wrong = fields(x, y) else wrong = functions(x, y) end
      if wrong then return wrong end
    end
    -- keys that are objects: those that were met elsewhere by now, else any that fits alone
    local job = table.remove(pairs_of_keys)
    if not job then return nil end
    local x, y, keys = job[1], job[2], job[3]
    for _, k in ipairs(keys) do
      local other = there[k]
      if not other then
        local free
        for c in next, y do
          if type(c) == type(k) and not by_identity[c] and not back[c] then
            free = free and "many" or c
          end
        end
        if free == "many" then other = nil else other = free end
        if other and not same(k, other) then return "key" end
        if not free then return "missing key" end
      end
      if other and not same(rawget(x, k), rawget(y, other)) then return "field of a key" end
    end
  end
end

-- --- the property ----------------------------------------------------------------------------

local function check(seed, sent, got)
  local wrong = compare(sent, got)
  if wrong then error(("%s differs: GOROPROPSEED=%d GOROPROP=1"):format(wrong, seed), 0) end
end

describe("any value #property", function()
  before_each(function() support.begin() end)
  after_each(function()
    math.randomseed(os.time())
    support.settled()
  end)

  it("is told from another by this spec", function()
    local f, x = function() return 1 end, {}
    for _, t in ipairs { { 1, 1.0 }, { 0.0, -0.0 }, { "a", "b" }, { {}, { 1 } },
      { { x, x }, { {}, {} } }, { { {}, {} }, { x, x } }, { f, function() return 2 end },
      { {}, setmetatable({}, Class) }, { { [{}] = 1 }, { [{}] = 2 } },
      { { 1, n = 2 }, { 1, n = 2, 3 } } } do
      assert.is_truthy(compare(t[1], t[2]), "pair " .. _)
      assert.is_nil(compare(t[1], t[1]))
    end
  end)

  it(("of %d crosses a channel and equals what was sent"):format(N), function()
    local c = goro.chan(1)
    for i = 0, N - 1 do
      local v = value(SEED + i)
      local ok, err = pcall(c.send, c, v)
      if not ok then error(("%s: GOROPROPSEED=%d GOROPROP=1"):format(err, SEED + i), 0) end
      check(SEED + i, v, (c:recv()))
    end
  end)

  it(("of %d goes to another goroutine and comes back"):format(N // 4), function()
    local to, from = goro.chan(10), goro.chan(10)
    goro.go(function()
      for list in to:range() do from:send(list) end
    end)
    for i = 0, N // 4 - 1, 25 do
      local list = {}
      for k = 1, 25 do list[k] = { value(SEED + i + k - 1) } end
      to:send(list)
      local got = from:recv()
      for k = 1, 25 do check(SEED + i + k - 1, list[k], got[k]) end
    end
    to:close()
  end)

  it(("of %d is captured, passed and returned"):format(N // 40), function()
    local c = goro.chan(1)
    for i = 0, N // 40 - 1 do
      local v = value(SEED + i)
      goro.go(function(a) c:send({ a, v }) end, v)
      local r = c:recv()
      check(SEED + i, { v, v }, r)
    end
  end)
end)
