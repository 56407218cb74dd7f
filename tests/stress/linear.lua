-- Is a history of operations linearizable?  That is: is there one order of all of them that a
-- sequential object could have gone through, and in which an operation that returned before
-- another began comes first?

local goro = require("goro")

local M = {}

--- A recorder: `call(name, f, ...)` runs f(...) and notes what it was given and gave, and when,
--- on a clock that all recorders of a history share (a goro.Atomic).
function M.recorder(clock)
  local ops = {}
  local R = { ops = ops }
  function R.call(name, f, self, ...)
    local begun = clock:add(1)
    local results = table.pack(f(self, ...))
    ops[#ops + 1] = { name = name, args = table.pack(...), results = results,
      begun = begun, ended = clock:add(1) }
    return table.unpack(results, 1, results.n)
  end
  return R
end

local function same(a, b)
  if a.n ~= b.n then return false end
  for i = 1, a.n do
    if a[i] ~= b[i] then return false end
  end
  return true
end

--- `model`: `initial` (a string that is the object's state), and for each name of an operation
--- a function (state, args) -> state, results (nothing: it cannot come here).  Searches depth first; what was reached once
--- (which operations are done, and the state) is not searched again.
function M.check(ops, model)
  local n, seen = #ops, {}
  table.sort(ops, function(a, b) return a.begun < b.begun end)
  assert(n <= 62, "too many operations")
  local full = (1 << n) - 1
  local function search(done, state)
    if done == full then return true end
    local key = done .. " " .. state
    if seen[key] then return false end
    seen[key] = true
    local first = math.huge            -- none that begins after this one's end can be next
    for i = 1, n do
      if done & (1 << (i - 1)) == 0 then first = math.min(first, ops[i].ended) end
    end
    for i = 1, n do
      local op = ops[i]
      if done & (1 << (i - 1)) == 0 and op.begun < first then
        local after, results = model[op.name](state, op.args)
        if results and same(results, op.results) and search(done | 1 << (i - 1), after) then return true end
      end
    end
    return false
  end
  return search(0, model.initial)
end

local function show(list)
  local texts = {}
  for i = 1, list.n do texts[i] = tostring(list[i]) end
  return table.concat(texts, ", ")
end

--- The history as text.
function M.text(ops)
  local lines = {}
  for _, op in ipairs(ops) do
    lines[#lines + 1] = ("%5d-%-5d %s(%s) -> %s"):format(op.begun, op.ended, op.name,
      show(op.args), show(op.results))
  end
  return table.concat(lines, "\n")
end

--- Runs `f(R, i)` in `n` goroutines, each with a recorder, and checks the history of all.
function M.history(n, seed, model, f, ...)
  local clock, out = goro.Atomic(), goro.chan(n)
  for i = 1, n do
    goro.go(function(...)
      math.randomseed(seed, i)
      local R = M.recorder(clock)
      f(R, i, ...)
      out:send(R.ops)
    end, ...)
  end
  local all = {}
  for _ = 1, n do
    local ops = out:recv()
    table.move(ops, 1, #ops, #all + 1, all)
  end
  if not M.check(all, model) then
    error("not linearizable (seed " .. seed .. "):\n" .. M.text(all))
  end
end

return M
