/*
** lua_conn.h - connections for Lua, and how they are made.  Layer 6.
*/
#ifndef GORO_LUA_CONN_H
#define GORO_LUA_CONN_H

#include "conn.h"
#include "lua_args.h"

#pragma GCC visibility push(hidden)

/* The address that the string at 'idx' names; a host's name is looked up, which blocks this thread.
** false: nil and a message are pushed. */
bool net_address (lua_State *L, Here h, int idx, bool passive, bool stream, Addr *a);

/* goro.stdin, .stdout, .stderr: pushed; false: 'name' is none of them. */
bool push_standard (lua_State *L, const char *name);

#pragma GCC visibility pop

#endif
