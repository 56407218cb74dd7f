/*
** lua_runtime.h - what goro replaces in the standard libraries.  Layer 6.
*/
#ifndef GORO_LUA_RUNTIME_H
#define GORO_LUA_RUNTIME_H

#include "state.h"

void runtime_replace (lua_State *L, State *s);   /* once a state; may raise */

#endif
