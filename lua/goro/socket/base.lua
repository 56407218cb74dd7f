--- goro.socket.base: what of LuaSocket's `socket` has to do with no socket: try and protect,
--- and sources and sinks for ltn12.

local M = { _VERSION = "LuaSocket 3.1.0 (goro)", BLOCKSIZE = 2048, _SETSIZE = math.maxinteger,
  _DATAGRAMSIZE = 8192, _SOCKETINVALID = -1, sinkt = {}, sourcet = {} }

-- ------------------------------------------------------------------ exceptions

local Exception = {}
Exception.__name = "socket exception"
Exception.__tostring = function(e) return tostring(e[1]) end
M._exception = Exception

--- A function that returns its arguments, or raises the second, for protect, if the first is
--- nil or false; `finalizer` is called before.
function M.newtry(finalizer)
  return function(...)
    if ... then return ... end
    if finalizer then pcall(finalizer) end
    error(setmetatable({ (select(2, ...)) }, Exception), 0)
  end
end

M.try = M.newtry()

local function finish(ok, err, ...)
  if ok then return err, ... end
  if getmetatable(err) == Exception then return nil, err[1] end
  error(err, 0)
end

--- `f`, but what a try in it raises is returned as nil, message.
function M.protect(f)
  return function(...) return finish(pcall(f, ...)) end
end

function M.skip(n, ...) return select(n + 1, ...) end

function M.choose(what)
  return function(name, a, b)
    if type(name) ~= "string" then name, a, b = "default", name, a end
    local f = what[name or "nil"]
    if not f then error(("unknown key (%s)"):format(tostring(name)), 3) end
    return f(a, b)
  end
end

-- ------------------------------------------------------------------ sources and sinks

local function over(sock, call)
  return setmetatable({
    getfd = function() return sock:getfd() end,
    dirty = function() return sock:dirty() end,
  }, { __call = call })
end

M.sinkt["close-when-done"] = function(sock)
  return over(sock, function(_, chunk)
    if chunk then return sock:send(chunk) end
    sock:close()
    return 1
  end)
end

M.sinkt["keep-open"] = function(sock)
  return over(sock, function(_, chunk)
    if chunk then return sock:send(chunk) end
    return 1
  end)
end

M.sinkt.default = M.sinkt["keep-open"]
M.sink = M.choose(M.sinkt)

M.sourcet["by-length"] = function(sock, length)
  return over(sock, function()
    if length <= 0 then return nil end
    local chunk, err = sock:receive(math.min(M.BLOCKSIZE, length))
    if err then return nil, err end
    length = length - #chunk
    return chunk
  end)
end

M.sourcet["until-closed"] = function(sock)
  local done
  return over(sock, function()
    if done then return nil end
    local chunk, err, partial = sock:receive(M.BLOCKSIZE)
    if not err then return chunk end
    if err ~= "closed" then return nil, err end
    sock:close()
    done = true
    return partial
  end)
end

M.sourcet.default = M.sourcet["until-closed"]
M.source = M.choose(M.sourcet)

return { functions = M }
