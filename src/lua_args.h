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

/* A time-out: until when to wait on os_now's clock.  nil: FOREVER ('deflt' if none was given);
** 0: don't block.  Anything else raises. */
int64_t arg_timeout (lua_State *L, int arg, int64_t deflt);

/* For a second wait in one call: a number ran from the first one's begin, 'until'. */
int64_t arg_timeout_again (lua_State *L, int arg, int64_t until);

/* What ended a wait that gave up: "timeout" ... */
const char *wake_reason (G *g);
int false_reason (lua_State *L, Here h);    /* pushes false, reason */

/* Raises if the value at 'idx' is not of the channel's type; 'arg' 0: it is a select case's. */
void chan_check_value (lua_State *L, Chan *c, int idx, int arg);

/* Each file's functions and types. */
extern const HandleType chan_type, waitgroup_type, task_type, mutex_type, rwmutex_type, once_type,
  cond_type, semaphore_type, atomic_type, map_type;
extern const luaL_Reg chan_functions[], select_functions[], sync_functions[], time_functions[],
  runtime_functions[], go_functions[], task_functions[], mutex_functions[], cond_functions[],
  semaphore_functions[], map_functions[];

#pragma GCC visibility pop

#endif
