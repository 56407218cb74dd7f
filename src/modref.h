/*
** modref.h - values that cross by reference: modules, their functions and classes.  Layer 5.
**
** A state's modules are those in package.loaded.  The table of a module, the functions in it
** and the classes in it (tables that hold __index or another metamethod) are known here by
** identity: the other side requires the module and takes the same path.
*/
#ifndef GORO_MODREF_H
#define GORO_MODREF_H

#include <stdbool.h>
#include <stdint.h>
#include "lua.h"

#pragma GCC visibility push(hidden)

#define MODREF_BLOOM 32                /* words of 64 bits */

typedef struct ModRef {
  int map;                             /* registry index: [value] = { module, key, ... }, weak
                                          keys; 0: not made yet */
  int64_t nloaded;                     /* entries of package.loaded when it was made */
  bool stale;                          /* require has run since */
  uint64_t *bloom;                     /* of the addresses in it: most tables are data */
} ModRef;

/* If the value at 'idx' is a module's, push its path table and return true.  'thorough': look
** first whether modules were added without require.  May raise (no memory). */
bool modref_find (lua_State *L, ModRef *r, int idx, bool thorough);
/* The other side: the path table on top is replaced by the value.  Raises if there is none. */
void modref_resolve (lua_State *L);

#pragma GCC visibility pop

#endif
