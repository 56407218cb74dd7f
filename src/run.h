/*
** run.h - running goroutines' Lua: slices, waits, panics.  Layer 5.
*/
#ifndef GORO_RUN_H
#define GORO_RUN_H

#include "context.h"
#include "state.h"

#pragma GCC visibility push(hidden)

extern const SchedHooks run_hooks;

/* Can the goroutine block by yielding from 'L'? */
static inline bool can_yield (State *s, lua_State *L) {
  return L == s->cur && s->chain && s->locked == 0 && lua_isyieldable(L);
}

/*
** Wait: park_begin was called and g stands in its queues.  'lim': when to give up, NO_LIMIT for
** never.  Goes on in 'k' when woken (returns k's result, or yields): g->wake says why.  k must
** leave the queues, then call wait_over.
*/
int wait_k (lua_State *L, Here h, Limit lim, lua_KContext ctx, lua_KFunction k);

/*
** The same in two steps, for calls that may wait many times: a loop takes no C stack where wait_k,
** which calls k, would.  wait_here: true: the wait is over (here the thread had to block).  false:
** return wait_yield(...); what comes after the wait is then k's to do.
*/
bool wait_here (lua_State *L, Here h, Limit lim);
int wait_yield (lua_State *L, Here h, lua_KContext ctx, lua_KFunction k);

/* At the start of a call with a time-out: is its context done?  Then it gives up at once, also
** if it need not wait.  From here on wake_reason tells why a call gave up. */
static inline bool limit_over (Here h, const Limit *lim) {
  h.g->wake = WAKE_TIMEOUT;            /* if it may not wait at all */
  if (lim->ctx == NULL || context_err(lim->ctx) == CTX_OK) return false;
  h.g->wake = context_wake(context_err(lim->ctx));
  return true;
}

/* Did g's wait end so that the call can return, with what it waited for or without? */
static inline bool wait_returns (const G *g) { return g->wake < WAKE_INTERRUPT; }

/* After a wait has ended and its queues are left: stops the timer, leaves the context.  true: go on;
** false: return
** wait_unwind(L, h) instead: the wait ended by a panic, a deadlock, a signal, the host's end, or could
** not begin for want of memory or threads. */
bool wait_over (Here h);
int wait_unwind (lua_State *L, Here h);

/* At the start of each call that may block: panics to be raised in main; the host's end. */
void check_panics_slow (lua_State *L, Here h);
static inline void check_panics (lua_State *L, Here h) {
  sched_check_p(h.m, h.g);
  if ((h.s->is_host && load_rlx(&hs_of(h.s)->npanics) != 0) || host_closing(h.g->host))
    check_panics_slow(L, h);
}

/*
** The goroutine goes on in 'L', another of its lua_States, or stops (NULL): a request to give
** way that is still open goes with it.  Cheap to ask first: preempt_pending.
*/
void preempt_moves (State *s, lua_State *L);
static inline bool preempt_pending (const M *m) {
  return m->hooked != NULL || load_rlx(&m->preempt) == load_rlx(&m->tick);
}
/* 's' runs as a guest (guest.c): it shall give way at its next instruction. */
void preempt_guest (M *m, State *s);
/* If 'L', a coroutine of 's', has inherited the hook it gets the script's instead. */
void preempt_inherited (M *m, const State *s, lua_State *L);

/* In images: what their goroutines run (stack: run_handler, the function, its arguments), and the
** message handler. */
int run_body (lua_State *L);
int run_handler (lua_State *L);

int yield_k (lua_State *L, Here h, int n);         /* goro.yield; then returns the 'n' on top */

/* (chaos build) preempt what runs in 'L' after 'n' instructions. */
void run_slice (M *m, State *s, lua_State *L, uint32_t n);

bool host_interrupted (void *hs);      /* M.interrupted for hosts */

/* Start a goroutine: its State has all it needs.  Returns at once. */
void run_start (Here h, State *s);

/* os.exit in a goroutine: the others are ended as far as they can be, then the process. */
_Noreturn void run_exit (State *s, int status);

/* Have the main script of 'h' raise '*v' (taken; NULL: there was no memory for it), at once or in its
** next call that may block. */
void run_tell_main (Host *h, Value *v);

/* Report a panic of 's': prints, and hands 'v' (taken) to the main script. */
void run_panic (State *s, const char *text, const char *traceback, Value *v);

#pragma GCC visibility pop

#endif
