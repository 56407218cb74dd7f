/*
** lua_guard.h - guards: what a lock returns for <close>.  Layer 6.
**
** A guard releases once, at its close, what it was given for.  If that was released before, by
** unlock or by another goroutine, it does nothing: see each type's release function.
**
** Guards are made before the lock is taken, for making one may raise.  A handle keeps its last
** one: a guard that was not used, or never closed, and whose lock was released otherwise (the
** lock() ... unlock() style) serves again, so that style allocates nothing.
*/
#ifndef GORO_LUA_GUARD_H
#define GORO_LUA_GUARD_H

#include "lua_args.h"

#pragma GCC visibility push(hidden)

enum { GUARD_SLOT = 1 };               /* the handle's user value that keeps it */

typedef struct Guard {
  /* Release 'k' units of ud's object if they are still this goroutine's. */
  void (*release) (Here h, Handle *ud, int64_t k);
  int64_t k;
  bool given;                          /* it guards something */
  bool closed;
} Guard;

/* Push a guard for the handle at 'idx'.  'idle': none of this goroutine's holds of it is in
** force.  guard_give, when the lock is taken, cannot raise. */
void guard_push (lua_State *L, int idx, bool idle,
                 void (*release) (Here h, Handle *ud, int64_t k));
void guard_give (lua_State *L, int idx, int64_t k);

#pragma GCC visibility pop

#endif
