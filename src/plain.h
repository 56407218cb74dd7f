/*
** plain.h - small tables of plain data, the quick way.  Layer 5.
*/
#ifndef GORO_PLAIN_H
#define GORO_PLAIN_H

#include "marshal.h"

#pragma GCC visibility push(hidden)

#define PLAIN_BYTES 512                /* messages up to this are decoded from the C stack */
#define PLAIN_DEPTH 6                  /* tables in tables */
#define PLAIN_STACK (3 * PLAIN_DEPTH + 4)        /* Lua stack that either side may need */

/*
** Encode the table at 'idx' (absolute) into 'm', which is empty.  false: it is not as plain as
** that, 'm' is empty again.  Raises nothing.  PLAIN_STACK slots are free, modref_refresh was called.
*/
bool plain_encode (lua_State *L, State *s, Msg *m, int idx);

/* Is that what 'm' holds, and nobody else's? */
static inline bool plain_is (Msg *m) {
  return m->plain && m->len <= PLAIN_BYTES && !msg_is_shared(m);
}
/* Then: push its value and free it, also when this raises. */
void plain_to_lua (lua_State *L, Msg *m);

#pragma GCC visibility pop

#endif
