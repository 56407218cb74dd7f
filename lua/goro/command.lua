--- goro.command: child processes.  Go's os/exec.
--
-- A goroutine waits for each, so none becomes a zombie, whether anybody asks for its end or
-- not.  A Process holds nothing but values that cross, and shared objects: it may be used in
-- any goroutine.

local goro = require("goro")
local os_part = require("goro.core")("goro.os")

local open, copy, close, pipe = os_part.open, os_part.copy, os_part.close, os_part.pipe
local reap, kill, await = os_part.reap, os_part.kill, os_part.await
local pcall, poll = pcall, goro.poll

local Process = {}
Process.__index = Process
Process.__name = "process"

--- The goroutine that waits for a process; it alone takes note of the end.  It is there before
--- the process, whose number comes in an Atomic, so that only what is waited for is started.
--- From then on nothing may fail for want of memory: what needs some comes before, methods too,
--- or is done in another way.
local function await_end(pid, fd, ctx)
  if ctx and not poll(fd, "r", ctx) and ctx:err() then kill(pid, 9) end
  return poll(fd, "r")
end

local function watch(ready, started, number, descriptor, ctx, mutex, ended)
  local load, store, lock, unlock = number.load, ended.store, mutex.lock, mutex.unlock
  local recv = started.recv
  ready:close()
  recv(started)
  local pid, fd = load(number), load(descriptor)
  if pid == 0 then return end          -- it could not be started
  local over = fd < 0 and ctx and goro.chan()
  if over then
    goro.go(function()
      over:recv(ctx)
      local _ <close> = mutex:lock()
      if ended:load() == 0 then kill(pid, 9) end
    end)
  end
  local ok, gone = pcall(await_end, pid, fd, ctx)
  if not (ok and gone) then await(pid) end
  local locked = pcall(lock, mutex)    -- nobody signals a number that is free again
  local how, code = reap(pid)          -- (both its words are constants here: they cost nothing)
  store(ended, code * 4 + (how == "exit" and 1 or how == "signal" and 3 or 0))
  if locked then unlock(mutex) end
  close(fd)
  if over then over:close() end
end

--- Waits for its end.
---@param timeout? number|goro.Context
---@return "exit"|"signal"|nil how nil, and a reason, if the time-out came first
---@return integer|string number exit status, or the signal's number
function Process:wait(timeout)
  local done, err = self.task:wait(timeout)
  if done == nil then return nil, err end
  local ended = self.ended:load()
  if ended == 0 then error(err, 2) end
  return ended & 2 == 0 and "exit" or "signal", ended // 4
end

--- Sends it a signal.
---@param signal? string|integer a name such as `"TERM"`, or a number; KILL unless given
---@return true? sent; nil, reason if it has ended
---@return string? reason
function Process:kill(signal)
  local number = os_part.signal(signal or "KILL")
  if not number then error(("unknown signal '%s'"):format(tostring(signal)), 2) end
  local _ <close> = self.mutex:lock()
  if self.ended:load() ~= 0 then return nil, "process already finished" end
  return kill(self.pid, number)
end

function Process:__tostring()
  return ("process: %d"):format(self.pid)
end

local known = { stdin = true, stdout = true, stderr = true, dir = true, env = true, ctx = true }

local function check(options)
  if type(options) ~= "table" then
    error(("bad argument #1 to 'command' (table expected, got %s)"):format(type(options)), 3)
  end
  if #options == 0 then error("bad argument #1 to 'command' (no program)", 3) end
  local argv = {}
  for i, word in ipairs(options) do
    if type(word) ~= "string" and type(word) ~= "number" then
      error(("bad argument #1 to 'command' (string expected at [%d], got %s)")
        :format(i, type(word)), 3)
    end
    argv[i] = tostring(word)
    if argv[i]:find("\0", 1, true) then
      error(("bad argument #1 to 'command' (a zero byte at [%d])"):format(i), 3)
    end
  end
  for key in pairs(options) do
    if not known[key] and not (math.type(key) == "integer" and argv[key]) then
      error(("bad argument #1 to 'command' (unknown option '%s')"):format(tostring(key)), 3)
    end
  end
  return argv
end

--- The environment as a list: a list is all of it, as in Go; names change or (false) remove
--- variables of ours.
local function environment(env)
  if env == nil then return nil end
  if #env > 0 then return env end
  local list = {}
  for _, word in ipairs(os_part.environ()) do
    if env[word:match("^[^=]*")] == nil then list[#list + 1] = word end
  end
  for name, value in pairs(env) do
    if value then list[#list + 1] = ("%s=%s"):format(name, tostring(value)) end
  end
  return list
end

--- What a child's descriptor is to be: its number goes into fds[n + 1] at once, our end of a
--- pipe into p[name].
local function stream(what, n, name, fds, p)
  local mode = n == 0 and "r" or "w"
  local fd, reason, code
  if what == nil or what == "null" then
    fd, reason, code = open("/dev/null", mode)
  elseif what == "pipe" then
    p[name], fd, code = pipe(n == 0 and "w" or "r")
    if not p[name] then fd, reason = nil, fd end
  elseif what == "inherit" then
    fd, reason, code = copy(n)
  elseif what == "stdout" and n == 2 then
    fd, reason, code = copy(fds[2])
  elseif type(what) == "string" then
    fd, reason, code = open(what, mode)
  elseif math.type(what) == "integer" or io.type(what) then
    fd, reason, code = copy(what)
  else
    local ok, number, why = pcall(function() return what:fd() end)
    if not ok then
      error(("bad argument #1 to 'command' (%s: path or connection expected, got %s)")
        :format(name, type(what)), 3)
    end
    if not number then return nil, why end
    fd, reason, code = copy(number)
  end
  fds[n + 1] = fd
  return fd, reason, code
end

local names = { "stdin", "stdout", "stderr" }

-- The child's descriptors, and our ends until it runs.
local Descriptors = {}

function Descriptors.__close(fds)
  close(fds[1], fds[2], fds[3])
  for _, name in ipairs(names) do
    if fds.p and fds.p[name] then fds.p[name]:close() end
  end
end

--- Starts a program.  Go's exec.Command and Start.
--
-- `stdin`, `stdout`, `stderr`: `"pipe"` (then `p.stdin` and so on are connections), `"inherit"`
-- (ours), a path, a connection, an open file, a descriptor's number; nil or `"null"` is
-- /dev/null, as in Go; for stderr also `"stdout"`, the same as that.  `dir`: where it runs.
-- `env`: a list (`{ "HOME=/" }`) is its whole environment, names (`{ LANG = "C" }`, or false)
-- change ours.
-- `ctx`: kills it when it is done.
---@param options table the program, looked for in PATH, and its arguments; and the above
---@return table? process or nil, message, code, also where the program cannot be executed
---@return string? message
---@return integer? code
local function command(options)
  local argv, env = check(options), environment(options.env)
  local ctx = options.ctx
  if ctx and ctx:err() then return nil, ctx:err() end
  local p = setmetatable({
    pid = 0, stdin = false, stdout = false, stderr = false,
    mutex = goro.Mutex(), ended = goro.Atomic(), task = false,
  }, Process)
  local fds <close> = setmetatable({ false, false, false, p = p }, Descriptors)
  for i, name in ipairs(names) do
    local fd, reason, code = stream(options[name], i - 1, name, fds, p)
    if not fd then return nil, reason, code end
  end
  local number, descriptor = goro.Atomic(), goro.Atomic()
  local ready = goro.chan()
  local started <close> = goro.chan()
  p.task = goro.async(watch, ready, started, number, descriptor, ctx, p.mutex, p.ended)
  if goro.select { ready, p.task:done() } ~= 1 then p.task:result() end
  local store = number.store
  local pid, fd, code = os_part.spawn(argv, fds[1], fds[2], fds[3], options.dir, env)
  if not pid then return nil, fd, code end
  store(descriptor, fd or -1)
  store(number, pid)
  p.pid, fds.p = pid, nil
  p.stdin, p.stdout, p.stderr = p.stdin or nil, p.stdout or nil, p.stderr or nil
  return p
end

return command
