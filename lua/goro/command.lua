--- goro.command: child processes.  Go's os/exec.
--
-- A goroutine waits for each, so none becomes a zombie, whether anybody asks for its end or
-- not.  A Process holds nothing but values that cross, and shared objects: it may be used in
-- any goroutine.

local goro = require("goro")
local os_part = require("goro.core")("goro.os")

local open, copy, close, pipe = os_part.open, os_part.copy, os_part.close, os_part.pipe
local reap, kill, await = os_part.reap, os_part.kill, os_part.await

local Process = {}
Process.__index = Process
Process.__name = "process"

--- The goroutine that waits for a process; it alone takes note of the end.
local function watch(pid, fd, ctx, mutex, ended)
  local over = not fd and ctx and goro.chan()
  if fd then
    if ctx and not goro.poll(fd, "r", ctx) then kill(pid, 9) end
    goro.poll(fd, "r")
  elseif over then
    goro.go(function()
      over:recv(ctx)
      local _ <close> = mutex:lock()
      if ended:load() == 0 then kill(pid, 9) end
    end)
  end
  if not fd then await(pid) end
  local _ <close> = mutex:lock()       -- nobody signals a number that is free again
  local how, number = reap(pid)
  ended:store(1)
  if over then over:close() end
  close(fd)
  return how, number
end

--- Waits for its end.
---@param timeout? number|goro.Context
---@return "exit"|"signal"|nil how nil, and a reason, if the time-out came first
---@return integer|string number exit status, or the signal's number
function Process:wait(timeout)
  local done, how, number = self.task:wait(timeout)
  if done == nil then return nil, how end
  if done == false then error(how, 2) end
  return how, number
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

--- What a child's descriptor is to be: its number here, and our end of a pipe.
local function stream(what, n, fds)
  local mode = n == 0 and "r" or "w"
  if what == nil or what == "null" then return open("/dev/null", mode) end
  if what == "pipe" then
    local conn, fd, code = pipe(n == 0 and "w" or "r")
    if not conn then return nil, fd, code end
    return fd, conn
  end
  if what == "inherit" then return copy(n) end
  if what == "stdout" and n == 2 then return copy(fds[2]) end
  if type(what) == "string" then return open(what, mode) end
  if math.type(what) == "integer" or io.type(what) then return copy(what) end
  local ok, fd, reason = pcall(function() return what:fd() end)
  if not ok then
    error(("bad argument #1 to 'command' (%s: path or connection expected, got %s)")
      :format(({ "stdin", "stdout", "stderr" })[n + 1], type(what)), 3)
  end
  if not fd then return nil, reason end
  return copy(fd)
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
  local argv = check(options)
  local ctx = options.ctx
  if ctx and ctx:err() then return nil, ctx:err() end
  local fds, ours = {}, {}
  local function give_up(...)
    close(table.unpack(fds))
    for _, conn in pairs(ours) do conn:close() end
    return ...
  end
  for n, name in ipairs { "stdin", "stdout", "stderr" } do
    local ok, fd, conn, code = pcall(stream, options[name], n - 1, fds)
    if not ok then
      give_up()
      error(fd, 0)
    end
    if not fd then return give_up(nil, conn, code) end
    fds[n], ours[name] = fd, conn
  end
  local pid, fd, code = os_part.spawn(argv, fds[1], fds[2], fds[3], options.dir,
    environment(options.env))
  if not pid then return give_up(nil, fd, code) end
  close(table.unpack(fds))
  local mutex, ended = goro.Mutex(), goro.Atomic()
  return setmetatable({
    pid = pid, stdin = ours.stdin, stdout = ours.stdout, stderr = ours.stderr,
    mutex = mutex, ended = ended,
    task = goro.async(watch, pid, fd, ctx, mutex, ended),
  }, Process)
end

return command
