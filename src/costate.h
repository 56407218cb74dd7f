/*
** costate.h - coroutine.* of goroutine states.  Layer 5.
*/
#ifndef GORO_COSTATE_H
#define GORO_COSTATE_H

#include "lua.h"
#include "lauxlib.h"

#pragma GCC visibility push(hidden)

extern const luaL_Reg costate_functions[];

#pragma GCC visibility pop

#endif
