/*
** costate.h - coroutine.* of goroutine states.  Layer 5.
*/
#ifndef GORO_COSTATE_H
#define GORO_COSTATE_H

#include "lua.h"

/* Replace what must be ours in the table 'coroutine' on top of the stack. */
void costate_open (lua_State *L);

#endif
