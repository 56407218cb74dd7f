--- goro.singleflight: of several that ask for the same at once one does the work, and all get
--- what came of it.  Go's x/sync/singleflight.
--
-- A group is a Map of the calls in flight: { once = a Once, n = an Atomic: how many joined,
-- and OVER for each that has left }.  Who comes joins the call of its key, or makes one, in one
-- step (update); the Once does the rest.  A call that is over leaves the Map; where there was
-- no memory for that, who comes next sees that it is over.

local goro = require("goro")

local M = {}

---@class goro.Singleflight
local Group = { __name = "singleflight" }
Group.__index = Group

-- [map] = group: a group is one value in each state, as goro's other objects are.
local groups = setmetatable({}, { __mode = "k" })

--- The group whose calls are in `map`.
function M.of(map)
  local group = groups[map]
  if not group then
    group = setmetatable({ map = map }, Group)
    groups[map] = group
  end
  return group
end

function Group.__goro(group)
  local map = group.map
  return function() return require("goro.singleflight").of(map) end
end

function Group.__tostring(group)
  return (tostring(group.map):gsub("^Map", Group.__name))
end

local function check_key(key, name)
  local t = type(key)
  if t == "string" or t == "boolean" or (t == "number" and key == key) then return end
  error(("bad argument #1 to '%s' (string, number or boolean as key expected, got %s)"):format(
    name, t == "number" and "NaN" or t), 3)
end

local OVER = 1 << 32

local function join(call)
  if call and call.n:load() >= OVER then call = nil end
  call = call or { once = goro.Once(), n = goro.Atomic() }
  call.n:add(1)
  return call
end

-- The call is over: who comes now starts another.
local function leave(call, current)
  if current and rawequal(current.once, call.once) then return nil end
  return current
end

-- Closed also if the function raises, or never ends.
local Joined = {}

function Joined.__close(joined)
  if joined.group then
    joined.call.n:add(OVER)
    joined.group.map:update(joined.key, function(current)
      return leave(joined.call, current)
    end)
  end
  joined.group = nil
end

--- Runs `f(...)`, unless a call for `key` is in flight: then waits for that one.
---@param key string|number|boolean
---@param f function runs in the goroutine that came first
---@param ... any arguments for `f`
---@return any ... what `f` returned (copies, for the others), and then whether they were given
--- to several; raises what `f` raised, in all
function Group:run(key, f, ...)
  check_key(key, "run")
  if type(f) ~= "function" then
    error(("bad argument #2 to 'run' (function expected, got %s)"):format(type(f)), 2)
  end
  local call = self.map:update(key, join)
  local joined <close> = setmetatable({ group = self, key = key, call = call }, Joined)
  local results = table.pack(call.once:run(f, ...))
  Joined.__close(joined)               -- nobody joins any more
  results[results.n + 1] = call.n:load() % OVER > 1
  return table.unpack(results, 1, results.n + 1)
end

--- Forgets the call for `key` that is in flight: who comes next starts another.
---@param key string|number|boolean
function Group:forget(key)
  check_key(key, "forget")
  self.map:delete(key)
end

--- `goro.singleflight()`: a group of calls, shared by all goroutines that hold it.
return setmetatable(M, { __call = function() return M.of(goro.Map()) end })
