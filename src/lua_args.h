/*
** lua_args.h - arguments that many functions take.  Layer 6.
*/
#ifndef GORO_LUA_ARGS_H
#define GORO_LUA_ARGS_H

#include "argerr.h"
#include "chan.h"
#include "marshal.h"
#include "run.h"

#pragma GCC visibility push(hidden)

/* A number of seconds; raises for NaN and, if !negative, below 0.  In nanoseconds, clipped. */
int64_t arg_seconds (lua_State *L, int arg, bool negative);

/*
** TIME-OUTS.  How a call that takes one waits:
**
**   Limit lim = arg_timeout(L, 2, FOREVER);       may raise: before anything is entered
**   check_panics(L, h);
**   if (limit_over(h, &lim)) return gave_up(L, h);          its context is done: before any look
**   if (... can be had at once, or else begins to wait if limit_waits(&lim) ...) return done
**   if (limit_waits(&lim)) return wait_k(L, h, lim, 0, k);
**   return gave_up(L, h);
**
** and gave_up, there and in k, pushes wake_reason(h.g) behind the call's usual results.
*/

static inline int64_t from_now (int64_t ns) {      /* a moment that comes, if late */
  return ns > FOREVER / 2 ? FOREVER - 1 : os_now() + ns;
}

/* A time-out: a number of seconds or a context.  Until when to wait on os_now's clock; nil:
** FOREVER, 'deflt' (FOREVER or 0) if none was given; 0: don't block.  Anything else raises. */
Limit arg_timeout (lua_State *L, int arg, int64_t deflt);
/* The same, but a number of seconds is left as nanoseconds below 0: for calls that seldom wait,
** which look at the clock when they do (limit_begin). */
Limit arg_span (lua_State *L, int arg, int64_t deflt);
static inline void limit_begin (Limit *lim) {
  if (lim->until < 0) lim->until = from_now(-lim->until);
}
bool arg_is_timeout (lua_State *L, int idx);       /* would it not raise? */
static inline bool limit_waits (const Limit *lim) { return lim->until != 0; }

/* For a second wait in one call: a number ran from the first one's begin, 'until'. */
Limit arg_timeout_again (lua_State *L, int arg, int64_t until);

/* A context, the background if there is none; or another value: raises. */
Context *arg_context (lua_State *L, int arg);

/* What ended a call that gave up: "timeout", "context canceled", "context deadline exceeded". */
const char *wake_reason (const G *g);
int false_reason (lua_State *L, Here h);    /* pushes false, reason */
int nil_text (lua_State *L, const char *why);
int nil_reason (lua_State *L, Here h);      /* nil, reason */
/* nil, message, code: as io's functions tell what the OS said.  'what' (an address, a path) stands
** before the message, if given. */
int nil_errno (lua_State *L, int e, const char *what);

/* A key of a Map or a context: a string, a number but NaN, or a boolean; others raise.  key_get
** is for one that was checked, and does not hash: probe_hash. */
void arg_key (lua_State *L, int arg, Probe *p);
void key_get (lua_State *L, int idx, Probe *p);

/* Raises if the value at 'idx' is not of the channel's type; 'arg' 0: it is a select case's. */
void chan_check_value (lua_State *L, Chan *c, int idx, int arg);

/* Each file's functions and types. */
extern const HandleType chan_type, waitgroup_type, task_type, mutex_type, rwmutex_type, once_type,
  cond_type, semaphore_type, atomic_type, map_type, context_type, timer_type,
  errgroup_type;
extern const luaL_Reg chan_functions[], select_functions[], sync_functions[], time_functions[],
  runtime_functions[], load_functions[], sight_functions[], go_functions[], task_functions[],
  mutex_functions[],
  cond_functions[], semaphore_functions[], map_functions[], context_functions[],
  poll_functions[], timer_functions[], errgroup_functions[], signal_functions[];
extern const HandleType conn_type, listener_type, udp_type;
extern const luaL_Reg net_functions[], open_functions[];
void push_context_module (lua_State *L);
void push_net_module (lua_State *L);
extern const luaL_Reg debug_functions[];
void push_debug_module (lua_State *L);
extern const luaL_Reg trace_functions[];
void push_trace_module (lua_State *L);
void debug_init (void);                 /* once: reads the environment */
void push_process_module (lua_State *L);
extern const luaL_Reg profile_functions[];
void push_profile_part (lua_State *L);

#pragma GCC visibility pop

#endif
