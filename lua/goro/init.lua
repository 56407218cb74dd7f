-- goro: goroutines for Lua.  All is in the C module goro.core, which returns the function that
-- makes the module: so tracebacks name goro's functions by goro's name.
return require "goro.core" ()
