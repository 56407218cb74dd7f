-- busted's runner, for `tools/lua tools/busted.lua --ignore-lua ...`: one process, this Lua.
require "busted.runner" { standalone = false }
