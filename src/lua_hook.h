/*
** lua_hook.h - debug.sethook and debug.gethook of goroutines.  Layer 6.
*/
#ifndef GORO_LUA_HOOK_H
#define GORO_LUA_HOOK_H

#include "lua.h"

#pragma GCC visibility push(hidden)

int hook_sethook (lua_State *L);
int hook_gethook (lua_State *L);

#pragma GCC visibility pop

#endif
