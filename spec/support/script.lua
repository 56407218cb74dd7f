--- Runs scripts as a user would: by the stock interpreter, in a process of their own.
--
-- What the script and the report call it is always `script.lua`, and a source may mark its
-- lines by a comment `--@name`, so that a spec need not count them.

local M = {}

local build = os.getenv("GOROBUILD")
if build == "" or build == "release" then build = nil end
M.lua = build and "tools/lua" or os.getenv("LUA") or "lua5.4"

--- Seconds after which a script is killed: a hang must not stop the specs.
M.limit = tonumber(os.getenv("GOROLIMIT")) or 30

local function quote(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end
M.quote = quote

--- A file's contents.
local function slurp(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end
M.slurp = slurp

--- The words before a command that let it find this checkout's goro.
function M.environment(extra)
  local dir = build and ("build/" .. build) or "build"
  local words = {
    "env", "-u", "LUA_INIT", "-u", "LUA_INIT_5_4",
    "LUA_PATH=" .. quote("./lua/?.lua;./lua/?/init.lua;" .. (os.getenv("LUA_PATH") or ";")),
    "LUA_CPATH=" .. quote((os.getenv("GOROCORE") or "./" .. dir .. "/?.so") .. ";"
      .. (os.getenv("LUA_CPATH") or ";")),
  }
  for name, value in pairs(extra or {}) do
    words[#words + 1] = name .. "=" .. quote(tostring(value))
  end
  return table.concat(words, " ")
end

--- Runs a shell command from the project root.
---@return table result `code` (exit status), `signal` (its number, if one killed it), `out`,
--- `err`, `hung` (it was killed at the limit)
function M.command(command, options)
  options = options or {}
  local out, err = os.tmpname(), os.tmpname()
  local line = ("exec %s timeout -s KILL %g %s >%s 2>%s"):format(
    M.environment(options.env), options.limit or M.limit, command, out, err)
  local _, how, number = os.execute(line)
  local result = { out = slurp(out), err = slurp(err) }
  os.remove(out)
  os.remove(err)
  if how == "exit" then
    result.code = number
  else
    result.signal = number
  end
  result.hung = number == 137 or result.signal == 9
  return result
end

--- Runs a source text.
---@param source string
---@param options? {env: table?, limit: number?, args: string?, pipe: string?, before: string?}
--- `pipe`: what its output goes through; `before`: words before the interpreter
---@return table result as from `command`
function M.run(source, options)
  options = options or {}
  local name = os.tmpname()
  local path = name .. ".lua"
  local file = assert(io.open(path, "wb"))
  file:write(source)
  file:close()
  local command = ("%s %s %s %s"):format(options.before or "", M.lua, path, options.args or "")
  if options.pipe then
    command = "sh -c " .. quote(command .. " | " .. options.pipe)
  end
  local result = M.command(command, options)
  os.remove(name)
  os.remove(path)
  local pattern = path:gsub("%p", "%%%0")
  result.out = result.out:gsub(pattern, "script.lua")
  result.err = result.err:gsub(pattern, "script.lua")
  return result
end

--- Where the line marked `--@mark` is, as messages write it: `script.lua:12`.
function M.at(source, mark)
  local number = 0
  for line in (source .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    if line:find("%-%-@" .. mark .. "%f[^%w_]") then return "script.lua:" .. number end
  end
  error("no line is marked --@" .. mark)
end

--- A readable account of a run, for failure messages.
function M.account(result)
  return ("exit status %s, signal %s%s\n--- stdout\n%s\n--- stderr\n%s"):format(
    result.code, result.signal, result.hung and " (it hung)" or "",
    result.out:sub(-2000), result.err:sub(1, 4000))
end

--- Runs a source that must end well: status 0, nothing on stderr; returns its output.
function M.ok(source, options)
  local result = M.run(source, options)
  if result.code ~= 0 or result.err ~= "" then error(M.account(result), 2) end
  return result.out, result
end

return M
