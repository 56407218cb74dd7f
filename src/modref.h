/*
** modref.h - values that cross by reference: modules, their functions and classes.  Layer 5.
**
** A state's modules are those in package.loaded.  The table of a module, the functions in it
** and the classes in it (tables that hold metamethods, also those that only its functions know,
** as upvalues) are known here by identity: the other side requires the module and takes the
** same path.
**
** A PATH is a list: the module's name, then keys; a light userdata is the number of an upvalue.
*/
#ifndef GORO_MODREF_H
#define GORO_MODREF_H

#include <stdbool.h>
#include <stdint.h>
#include "lua.h"

#pragma GCC visibility push(hidden)

#define MODREF_BLOOM 32                /* words of 64 bits */

struct State;
struct Heritage;

typedef struct ModRef {
  int map;                             /* registry index: [value] = path, weak keys; 0: not made
                                          yet */
  uint64_t digest;                     /* of package.loaded when it was made */
  bool stale;                          /* require has run since */
  uint64_t *bloom;                     /* of the addresses in it: most tables are data */
} ModRef;

void modref_stale (struct State *s);   /* require has run, or a library was opened */

/* Might the value at this address be known? */
bool modref_may_know (const ModRef *r, const void *p);

/* Have modules come since the map was made?  Then it is made anew.  'thorough': look also for
** those that were added without require.  May raise. */
void modref_refresh (lua_State *L, struct State *s, bool thorough);

/* If the value at 'idx' is a module's, push its path and return true. */
bool modref_find (lua_State *L, const ModRef *r, int idx);

/* Is the path at 'idx' one of a standard library? */
bool modref_is_standard (lua_State *L, int idx);

/* The other side: the path on top is replaced by the value.  A module that is not loaded here is
** required with the sender's paths, if 'h' has them.  Raises if there is none. */
void modref_resolve (lua_State *L, struct State *s, struct Heritage *h);

/* Push the path at 'idx' as a text: shapes.Circle */
void modref_text (lua_State *L, int idx);

#pragma GCC visibility pop

#endif
