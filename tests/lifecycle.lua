-- tests/lifecycle.lua STATE ENDING ROUND: gets goroutines into a state, says so, and ends.
-- Run by tests/lifecycle.sh, which knows what has to come of it.

local goro = require("goro")

local state, ending, round = ...
round = math.tointeger(tonumber(round)) or 1

local up = goro.chan(1000)    -- every goroutine that got into place says so here
local never = goro.chan()     -- nobody sends
local full = goro.chan()      -- nobody receives

-- Each of these starts goroutines and returns how many of them to wait for.
local begin = {}

function begin.idle()
  for i = 1, 1000 do
    goro.go(function() up:send(i) end)
  end
  return 1000
end

function begin.computing()
  for i = 1, 48 do
    goro.go(function()
      up:send(i)
      local n, list = 0, {}
      if i == 48 and round % 5 == 0 then    -- for ages in one call of a C function
        n = ("a"):rep(40):find(("a?"):rep(40) .. ("a"):rep(40))
      end
      while true do
        n = n + 1
        if i % 3 == 1 then                  -- the collector is at work
          list[n % 64] = { n }
          n = n + #list % 2
        elseif i % 3 == 2 then              -- short stays in C
          list[1] = ("x"):rep(10000):gsub("x", "y")
        end
      end
    end)
  end
  return 4
end

local wg = goro.WaitGroup()

local function recv() return never:recv() end

local ways_to_block = {
  [0] = recv,
  function() full:send("x") end,
  function() goro.select { never, { send = full, value = 1 } } end,
  function() goro.sleep(1000) end,
  function() wg:wait() end,
  function() coroutine.wrap(recv)() end,
  function() pcall(recv) end,
  function()
    local guard <close> = setmetatable({}, { __close = function(t) t.closed = true end })
    recv()
    return guard
  end,
  function() goro.select {} end,
  function() never:try_recv(1000) end,
}

function begin.blocked()
  wg:add(1)
  for i = 1, 1000 do
    local block = ways_to_block[i % 10]
    if i % 100 == 0 then                    -- where Lua cannot yield
      block = function()
        table.sort({ 1, 2, 3 }, function(a, b) never:recv() return a < b end)
      end
    end
    goro.go(function()
      up:send(i)
      block()
    end)
  end
  return 1000
end

function begin.execute()
  for i = 1, 20 do
    goro.go(function()
      up:send(i)
      os.execute("exec sleep 1000")
    end)
  end
  return 20
end

function begin.read()
  local path = os.getenv("LIFECYCLE_PIPE")
  for i = 1, 20 do
    goro.go(function()
      local file = i % 2 == 0 and io.stdin or assert(io.open(path, "r"))
      up:send(i)
      file:read("l")
    end)
  end
  return 20
end

local function ready()
  local stat = assert(io.open("/proc/self/stat"))
  local pid = stat:read("n")
  stat:close()
  print("ready " .. pid)
  io.stdout:flush()
end

-- Where the main script is when something else ends it.
local function wait()
  local way = round % 5
  if way == 0 then
    goro.sleep(1000)
  elseif way == 1 then
    while true do end
  end
  goro.go(function() goro.sleep(1000) end)  -- so that it is no deadlock
  if way == 2 then
    never:recv()
  elseif way == 3 then
    goro.select { never, timeout = 1000 }
  else
    local mine = goro.WaitGroup()
    mine:add(1)
    mine:wait()
  end
end

local finish = {
  ["return"] = function() end,
  error = function() error("the end") end,
  exit = function() os.exit(7) end,
  exitclose = function() os.exit(7, true) end,
  goexit = function()
    goro.go(function() os.exit(7) end)
    wait()
  end,
  signal = wait,
  caught = function()
    local ok, err = pcall(function()
      ready()                          -- the signal may come at once: not outside
      wait()
    end)
    print(not ok and tostring(err):find("interrupted!", 1, true) and "caught" or "not caught")
  end,
}

for _ = 1, begin[state]() do up:recv() end

if ending ~= "caught" then ready() end
finish[ending]()
