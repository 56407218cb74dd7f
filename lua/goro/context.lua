-- goro.context: cancellation, deadlines and values.  It is C: see src/lua_context.c.
return require "goro.core" "goro.context"
