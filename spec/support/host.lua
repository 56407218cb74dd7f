--- Builds tests/c/host.c, the C program that opens Lua states and closes them.

local M = {}

local build = os.getenv("GOROBUILD")
if build == "" or build == "release" then build = nil end
local flags = { asan = "-fsanitize=address", tsan = "-fsanitize=thread" }

--- Compiles the host, unless the one there is newer than its source.
---@param kind "shared"|"static" how it is linked with Lua's library
---@return string|nil path of the program
---@return string|nil why it could not be built
function M.build(kind)
  local dir = "build/tests" .. (build and "/" .. build or "")
  local path = dir .. (kind == "static" and "/host-static" or "/host")
  local source = "tests/c/host.c"
  local libs = "$(pkg-config --libs lua5.4)"
  if kind == "static" then
    libs = "-Wl,-E -Wl,-Bstatic $(pkg-config --libs lua5.4) -Wl,-Bdynamic -ldl -lm"
  end
  local command = ("mkdir -p %s && { test %s -nt %s || %s -std=c11 -O1 -g -Wall -Wextra %s "
    .. "$(pkg-config --cflags lua5.4) -o %s %s %s -Wl,-E -pthread; } 2>&1"):format(
    dir, path, source, os.getenv("CC") or "cc", flags[build] or "", path, source, libs)
  local pipe = assert(io.popen(command))
  local output = pipe:read("a")
  if not pipe:close() then return nil, output end
  return path
end

return M
