/*
** tame.h - which goroutines may run on the thread of a main script that waits.  Layer 5.
*/
#ifndef GORO_TAME_H
#define GORO_TAME_H

#include "run.h"

#pragma GCC visibility push(hidden)

bool tame (M *m, G *g);                /* SchedHooks.tame */

/* 's' gets hold of something that is not tame: it is no guest from here on, and if it is one just
** now it leaves at its next instruction. */
void tame_lost_slow (State *s);
static inline void tame_lost (State *s) {
  if (!s->wild) tame_lost_slow(s);
}

/* Does 's', which runs 'L', do so as a guest, and can it leave? */
static inline bool tame_guest (State *s, lua_State *L) {
  const M *m = sched_m();
  return m != NULL && m->is_host && !s->is_host && can_yield(s, L);
}

/* The same of a goro call that has received '*v', which no guest decodes. */
bool tame_value (const Value *v);      /* can a guest decode it? */
static inline bool tame_leaves (lua_State *L, Here h, const Value *v) {
  return __builtin_expect(h.m->is_host, 0) && !tame_value(v) && tame_guest(h.s, L);
}

/* Then, before what is not tame: go on in k, on a worker. */
int tame_leave (lua_State *L, State *s, lua_KContext ctx, lua_KFunction k);
/* The same: 'f', which is about to do it, is called again. */
int tame_again (lua_State *L, State *s, lua_CFunction f);
/* The same with a value just received: k finds it in g->own.elem. */
int tame_leave_with (lua_State *L, State *s, Value *v, lua_KContext ctx, lua_KFunction k);

bool tame_type (int type);             /* are its methods tame?  OBJ_ */
bool tame_name (int which, const char *name);      /* a field of a lazy table */
bool tame_library (const char *name);

#pragma GCC visibility pop

#endif
