--- goro: goroutines for Lua 5.4.
-- The whole of it is made by the C core; parts that a program may not need (goro.context ...) are
-- modules of their own, which the table loads at first use.
return require "goro.core" ()
