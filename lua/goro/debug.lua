-- goro.debug: stacks on a signal, and what goro-top sees.  It is C: see src/lua_debug.c.
return require "goro.core" "goro.debug"
