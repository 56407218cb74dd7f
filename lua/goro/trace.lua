-- goro.trace: an execution trace.  It is C: see src/lua_trace.c.
return require "goro.core" "goro.trace"
