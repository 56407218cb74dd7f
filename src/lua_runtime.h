/*
** lua_runtime.h - what goro replaces in the standard libraries.  Layer 6.
*/
#ifndef GORO_LUA_RUNTIME_H
#define GORO_LUA_RUNTIME_H

#include "stdlibs.h"

#pragma GCC visibility push(hidden)

void runtime_init (void);               /* once: reads the environment */
extern const StdFunction runtime_replaced[];
void runtime_opened (lua_State *L, State *s, const char *lib);     /* StdLibs.opened */

#pragma GCC visibility pop

#endif
