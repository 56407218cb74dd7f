--- Random programs over a Mutex, an RWMutex, a WaitGroup, a Semaphore and a Map, whose histories
--- must have one order that a sequential object could have gone through (tests/stress/linear).
--
-- A program is { kind = "Mutex", bodies = { {op, ...}, ... } }; an op is { name, argument }.
-- Programs are balanced: what a body locks it unlocks, so all of them come to their end; one that
-- does not has lost a wake-up.

local goro = require("goro")
local here = debug.getinfo(1, "S").source:match("^@(.*/)history/[^/]*$") or "tests/"
local linear = dofile(here .. "stress/linear.lua")

local M = {}

local function results(...) return table.pack(...) end

local none = results()
local yes, no = results(true), results(false)

-- With a time-out: may give up at any time.
local function limited(take)
  return function(s, a)
    if not a.got then return s, no end
    return take(s, a)
  end
end

-- One of each kind: 'make' the object, 'model' for linear.check (a function that returns nothing:
-- the operation cannot come here), 'ops' the groups that a body is made of.
local kinds = {}

kinds.Mutex = {
  make = goro.Mutex,
  model = {
    initial = "free",
    lock = function(s) if s == "free" then return "held", yes end end,
    try_lock = function(s)
      if s == "free" then return "held", yes end
      return s, no
    end,
    unlock = function(s) if s == "held" then return "free", none end end,
  },
  groups = { { { "lock" }, { "unlock" } }, { { "lock" }, { "pause" }, { "unlock" } },
    { { "try_lock", "unlock" } }, { { "try_lock", "pause", "unlock" } } },
}

-- "3": readers; "w": a writer
kinds.RWMutex = {
  make = goro.RWMutex,
  model = {
    initial = "0",
    lock = function(s) if s == "0" then return "w", yes end end,
    unlock = function(s) if s == "w" then return "0", none end end,
    rlock = function(s) if s ~= "w" then return ("%d"):format(s + 1), yes end end,
    runlock = function(s) if s ~= "w" and s ~= "0" then return ("%d"):format(s - 1), none end end,
    try_lock = function(s)
      if s == "0" then return "w", yes end
      return s, no
    end,
    -- a waiting writer holds back new readers, and the model does not know who waits
    try_rlock = function(s, a)
      if a.got then
        if s ~= "w" then return ("%d"):format(s + 1), yes end
      else
        return s, no
      end
    end,
  },
  groups = { { { "lock" }, { "unlock" } }, { { "rlock" }, { "runlock" } },
    { { "rlock" }, { "pause" }, { "runlock" } }, { { "try_lock", "unlock" } },
    { { "try_rlock", "runlock" } }, { { "lock" }, { "pause" }, { "unlock" } } },
}

kinds.Semaphore = {
  make = function() return goro.Semaphore(3) end,
  model = {
    initial = "3",
    acquire = function(s, a)
      if tonumber(s) >= a[1] then return ("%d"):format(s - a[1]), yes end
    end,
    -- a large request is not overtaken, and the model does not know who waits
    try_acquire = function(s, a)
      if not a.got then return s, no end
      if tonumber(s) >= a[1] then return ("%d"):format(s - a[1]), yes end
    end,
    release = function(s, a)
      if s + a[1] <= 3 then return ("%d"):format(s + a[1]), none end
    end,
  },
  groups = { { { "acquire", 1 }, { "release", 1 } }, { { "acquire", 2 }, { "release", 2 } },
    { { "acquire", 3 }, { "pause" }, { "release", 3 } }, { { "try_acquire", "release", 2 } },
    { { "acquire", 2 }, { "release", 1 }, { "pause" }, { "release", 1 } } },
}

kinds.WaitGroup = {
  make = goro.WaitGroup,
  model = {
    initial = "0",
    add = function(s, a) return ("%d"):format(s + a[1]), none end,
    done = function(s) if s ~= "0" then return ("%d"):format(s - 1), none end end,
    -- woken at the moment the counter was 0, which may be over when it returns
    wait = function(s) if s == "0" then return s, yes end end,
  },
  groups = { { { "add", 1 }, { "done" } }, { { "add", 2 }, { "done" }, { "pause" }, { "done" } },
    { { "wait" } }, { { "wait" } } },
}

kinds.Map = {
  make = goro.Map,
  model = {
    initial = "-",
    store = function(_, a) return tostring(a[1]), none end,
    load = function(s) return s, results(s ~= "-" and tonumber(s) or nil, s ~= "-") end,
    update = function(s) return ("%d"):format((tonumber(s) or 0) + 1), results((tonumber(s) or 0) + 1) end,
    delete = function(s) return "-", results(s ~= "-" and tonumber(s) or nil, s ~= "-") end,
    swap = function(s, a)
      return tostring(a[1]), results(s ~= "-" and tonumber(s) or nil, s ~= "-")
    end,
    load_or_store = function(s, a)
      if s == "-" then return tostring(a[1]), results(a[1], false) end
      return s, results(tonumber(s), true)
    end,
    cas = function(s, a)             -- n becomes n + 1
      if s == tostring(a[1]) then return ("%d"):format(a[1] + 1), yes end
      return s, no
    end,
    len = function(s) return s, results(s ~= "-" and 1 or 0) end,
  },
  groups = { { { "store", 1 } }, { { "load" } }, { { "update" } }, { { "update" }, { "load" } },
    { { "delete" } }, { { "swap", 7 } }, { { "load_or_store", 3 } }, { { "cas", 1 } }, { { "cas", 2 } },
    { { "len" } } },
}

for _, name in ipairs({ "lock", "rlock", "acquire" }) do
  for _, kind in pairs(kinds) do
    local take = kind.model[name]
    if take then
      kind.model[name .. "_for"] = limited(take)
      local give = name == "acquire" and "release" or name:gsub("lock", "unlock")
      local k = name == "acquire" and 2 or nil
      table.insert(kind.groups, { { name .. "_for", give, k } })
      table.insert(kind.groups, { { name .. "_for", "pause", give, k } })
    end
  end
end

kinds.WaitGroup.model.wait_for = limited(kinds.WaitGroup.model.wait)
table.insert(kinds.WaitGroup.groups, { { "wait_for" } })

local names = { "Mutex", "RWMutex", "Semaphore", "WaitGroup", "Map" }

function M.random(goroutines, length)
  local program = { kind = names[math.random(#names)], bodies = {} }
  local groups = kinds[program.kind].groups
  local ops = 0
  for g = 1, math.random(2, math.min(goroutines, 6)) do
    local body = {}
    for i = 1, math.random(math.max(length // 3, 1)) do
      body[i] = groups[math.random(#groups)]
      ops = ops + #body[i]
    end
    program.bodies[g] = body
    if ops > 40 then break end
  end
  return program
end

local function bump(v) return (v or 0) + 1 end

local function truth(v) return table.pack(v and true or false) end

local function perform(g, body, kind, o, clock, out)
  local log = {}
  local function call(name, arg)
    local from = clock:add(1)
    local r
    if name:find("_for$") then
      local limit = 0.00003
      if arg then r = truth(o:acquire(arg, limit))
      else r = truth(o[name:sub(1, -5)](o, limit)) end
    elseif name == "lock" or name == "rlock" or name:find("^try_") or name == "acquire" then
      r = truth(o[name](o, arg))
    elseif kind == "Map" then
      if name == "update" then r = table.pack(o:update("k", bump))
      elseif name == "cas" then r = table.pack(o:cas("k", arg, arg + 1))
      elseif name == "len" then r = table.pack(o:len())
      else r = table.pack(o[name](o, "k", arg)) end
    elseif name == "wait" then
      r = truth(o:wait())
    else
      o[name](o, arg)
      r = { n = 0 }
    end
    log[#log + 1] = { g = g, name = name, kind = name, args = { arg, n = 1, got = r[1] },
      results = r, begun = from, ended = clock:add(1) }
    return r[1]
  end
  local function step(name, arg)
    if name == "pause" then goro.yield() else return call(name, arg) end
  end
  for _, group in ipairs(body) do
    for _, op in ipairs(group) do
      if op[1]:find("^try_") or op[1]:find("_for$") then                  -- { try, what then ..., argument }
        local arg = type(op[#op]) == "number" and op[#op] or nil
        if call(op[1], arg) then
          for i = 2, arg and #op - 1 or #op do step(op[i], arg) end
        end
      else
        step(op[1], op[2])
      end
    end
  end
  out:send(log)
end

--- nil, or what is wrong; and the log.
function M.try(program)
  local kind = kinds[program.kind]
  local o, clock = kind.make(), goro.Atomic()
  local out = goro.chan(#program.bodies)
  for g, body in ipairs(program.bodies) do
    goro.go(perform, g, body, program.kind, o, clock, out)
  end
  local log = {}
  for _ = 1, #program.bodies do
    local ok, piece = pcall(out.recv, out)
    if not ok then return program.kind .. ": a wake-up was lost: " .. tostring(piece), log end
    table.move(piece, 1, #piece, #log + 1, log)
  end
  for _, r in ipairs(log) do r.from, r.to = r.begun, r.ended end
  if #log <= 62 and not linear.check(log, kind.model) then
    return program.kind .. ": not linearizable:\n" .. linear.text(log), log
  end
  return nil, log
end

--- The same check for a log from elsewhere.
function M.linear(kind, log) return linear.check(log, kinds[kind].model) end

function M.text(program)
  local lines = { program.kind }
  for _, body in ipairs(program.bodies) do
    local parts = {}
    for _, group in ipairs(body) do
      for _, op in ipairs(group) do parts[#parts + 1] = table.concat(op, " ") end
    end
    lines[#lines + 1] = "  " .. table.concat(parts, "; ")
  end
  return table.concat(lines, "\n")
end

return M
