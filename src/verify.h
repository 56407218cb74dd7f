/*
** verify.h - is a copy of a state what it was copied from?  Layer 5.
*/
#ifndef GORO_VERIFY_H
#define GORO_VERIFY_H

#include <stdbool.h>
#include "lua.h"

#pragma GCC visibility push(hidden)

/* Walk both, from their registries and stacks, in step.  false: something differs, or is there
** that a template may not hold, or memory ran out; then neither may be used or closed. */
bool verify_same (lua_State *A, lua_State *B);

/* Run something in it that uses memory, strings, tables and the collector. */
bool verify_works (lua_State *L);

#pragma GCC visibility pop

#endif
