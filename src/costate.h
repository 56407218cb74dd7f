/*
** costate.h - coroutine.* of goroutine states.  Layer 5.
*/
#ifndef GORO_COSTATE_H
#define GORO_COSTATE_H

#include "lua.h"
#include "lauxlib.h"

extern const luaL_Reg costate_functions[];

#endif
