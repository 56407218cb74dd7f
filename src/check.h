/*
** check.h - goro.check: warnings of what copying hides.  Layer 5.
*/
#ifndef GORO_CHECK_H
#define GORO_CHECK_H

#include "state.h"

#pragma GCC visibility push(hidden)

extern _Atomic(uint32_t) check_on;

#define CHECK_BYTES 65536              /* a crossing that copies more is told */

void check_init (void);                /* GOROCHECK=1 */
void check_crossing_slow (lua_State *L, size_t bytes);
/* The goroutine's function is at 'idx', about to run; it has ended. */
void check_start_slow (lua_State *L, int idx);
void check_end_slow (lua_State *L);

static inline void check_crossing (lua_State *L, size_t bytes) {
  if (bytes > CHECK_BYTES && load_rlx(&check_on)) check_crossing_slow(L, bytes);
}
static inline void check_start (lua_State *L, int idx) {
  if (load_rlx(&check_on)) check_start_slow(L, idx);
}
static inline void check_end (lua_State *L) {
  if (load_rlx(&check_on)) check_end_slow(L);
}

#pragma GCC visibility pop

#endif
