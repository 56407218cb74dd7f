-- goro.net: connections.  It is C: see src/lua_net.c.
return require "goro.core" "goro.net"
