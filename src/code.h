/*
** code.h - which code a Lua function has, told without copying it.  Layer 5.
**
** Prototypes are Lua's own and have no name in its API.  But lua_dump hands its writer the very
** array of instructions: its address is the prototype's identity, for as long as a function with
** that prototype lives.  Whoever keeps such an address keeps (weakly) a function beside it.
*/
#ifndef GORO_CODE_H
#define GORO_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lua.h"

#pragma GCC visibility push(hidden)

/* Learn where in a dump the instructions come; raises only without memory.  Once. */
void code_learn (lua_State *L);

/* The address of the instructions of the Lua function at 'idx'; NULL: it cannot be told. */
const void *code_of (lua_State *L, int idx);

/* A dump of the Lua function at 'idx', malloc'ed; NULL: no memory. */
char *code_dump (lua_State *L, int idx, size_t *len);

uint64_t code_hash (const char *bytes, size_t len, uint64_t seed);

/* Does a constant string, or a name, of that text stand in the dump?  (May say so wrongly.) */
bool code_mentions (const char *bytes, size_t len, const char *name);

#pragma GCC visibility pop

#endif
