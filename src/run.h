/*
** run.h - running goroutines' Lua: slices, waits, panics.  Layer 5.
*/
#ifndef GORO_RUN_H
#define GORO_RUN_H

#include "state.h"

#pragma GCC visibility push(hidden)

extern const SchedHooks run_hooks;

/* Can the goroutine block by yielding from 'L'? */
static inline bool can_yield (State *s, lua_State *L) {
  return L == s->cur && s->chain && lua_isyieldable(L);
}

/*
** Wait: park_begin was called and g stands in its queues.  'until': FOREVER, or when to give up
** (clock of os_now).  Goes on in 'k' when woken (returns k's result, or yields): g->wake says
** why.  k must leave the queues, then call wait_over.
*/
int wait_k (lua_State *L, Here h, int64_t until, lua_KContext ctx, lua_KFunction k);

/* After a wait has ended and its queues are left: stops the timer.  true: go on.  false: return
** wait_unwind(L, h) instead: the wait ended by a panic, a deadlock, a signal, the host's end. */
bool wait_over (Here h);
int wait_unwind (lua_State *L, Here h);

/* At the start of each call that may block: panics to be raised in main; the host's end. */
void check_panics_slow (lua_State *L, Here h);
static inline void check_panics (lua_State *L, Here h) {
  sched_check_p(h.m, h.g);
  if ((h.s->is_host && load_rlx(&h.s->hs->npanics) != 0) || host_closing(h.g->host))
    check_panics_slow(L, h);
}

int yield_k (lua_State *L, Here h);    /* goro.yield */

/* (chaos build) preempt what runs in 'L' after 'n' instructions. */
void run_slice (M *m, State *s, lua_State *L, uint32_t n);

bool host_interrupted (void *hs);      /* M.interrupted for hosts */

/* Start a goroutine: its State has all it needs.  Returns at once. */
void run_start (Here h, State *s);

/* os.exit in a goroutine: the others are ended as far as they can be, then the process. */
_Noreturn void run_exit (State *s, int status);

/* Report a panic of 's': prints, and hands 'v' (taken) to the main script. */
void run_panic (State *s, const char *text, const char *traceback, Value *v);

/* All goroutines of a host and where they wait: a malloc'ed text, NULL without memory.  Only
** where they cannot run meanwhile. */
char *run_report (Host *h, const char *head);

/* Traceback of a thread of another state, which nobody runs, as text of at most 'size'. */
size_t run_traceback (lua_State *L, char *buf, size_t size);

#pragma GCC visibility pop

#endif
