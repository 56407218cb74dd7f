--- Builds a shared object from tests/c.

local root = "build/tests/"

--- tests/c/NAME.c as build/tests/NAME.so, unless the one there is newer than its source.
---@return string|nil path
---@return string|nil why it could not be built
return function(name)
  local path, source = root .. name .. ".so", "tests/c/" .. name .. ".c"
  local headers = os.getenv("LUA_INCDIR")
  headers = (headers or "") ~= "" and "-I" .. headers or "$(pkg-config --cflags lua5.4)"
  -- (others may be at it at the same moment)
  local command = ("mkdir -p %s && { test %s -nt %s || { new=$(mktemp %snew.XXXXXX) &&"
    .. " %s -O1 -Wall -Wextra -fPIC -shared %s -o $new %s -ldl -pthread && mv -f $new %s; }; }"
    .. " 2>&1"):format(root, path, source, root, os.getenv("CC") or "cc", headers, source, path)
  local pipe = assert(io.popen(command))
  local output = pipe:read("a")
  if not pipe:close() then return nil, output end
  return path
end
