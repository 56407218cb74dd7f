/*
** lua_trace.c - goro.trace: an execution trace in a file.  Layer 6.
*/
#include <errno.h>
#include <string.h>
#include "lua_args.h"
#include "run.h"
#include "tracename.h"

static int failed (lua_State *L, const char *why) {
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

static int started (lua_State *L, int status, lua_KContext ctx) {
  (void)status; (void)ctx;
  lua_pushboolean(L, 1);
  return 1;
}

/*
** goro.trace.start(path) -> true; or nil, reason: the file cannot be written, or a trace is being
** written.  From then on what the scheduler does is recorded, of all goroutines of the process,
** until goro.trace.stop, the end of the last host or the process's; it is written to the file then,
** in the Trace Event Format.  Lets others run, as goro.yield does.  Go's runtime/trace.Start.
*/
static int l_start (lua_State *L) {
  const char *path = arg_string(L, 1), *why;
  Here h = here(L);
  sched_check_p(h.m, h.g);
  if ((why = trace_open(path)) != NULL) return failed(L, why);
  if (!world_stop(h.m, h.g->host)) {
    trace_cancel();
    return failed(L, "the main script has ended");
  }
  trace_start();
  tracename_all();
  trace_go();
  world_start();
  sched_check_p(h.m, h.g);
  if (can_yield(h.s, L)) {             /* the rest of its slice is to be seen as one */
    h.s->yielding = Y_YIELD;
    return lua_yieldk(L, 0, 0, started);
  }
  sched_own(h.m, h.g);
  yield_here(h.m, h.g, false);
  sched_lend(h.m);
  return started(L, LUA_OK, 0);
}

/*
** goro.trace.stop() -> true; or nil, reason: no trace is being written, or the file could not be.
** Takes a second for some million events, in which others run.  Go's runtime/trace.Stop.
*/
static int l_stop (lua_State *L) {
  Here h = here(L);
  bool still;
  int e;
  if (!trace_close()) return failed(L, "not tracing");
  sched_check_p(h.m, h.g);
  still = world_stop(h.m, h.g->host);
  trace_stop();
  if (still) world_start();
  sched_block(h.m, h.g);
  e = trace_write();
  sched_unblock(h.m, h.g);
  if (e != 0) return failed(L, strerror(e));
  lua_pushboolean(L, 1);
  return 1;
}

const luaL_Reg trace_functions[] = { { "start", l_start }, { "stop", l_stop }, { NULL, NULL } };

void push_trace_module (lua_State *L) { luaL_newlib(L, trace_functions); }
