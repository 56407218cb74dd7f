/*
** lua_trace.c - goro.trace: an execution trace in a file.  Layer 6.
*/
#include <errno.h>
#include <string.h>
#include "lua_args.h"
#include "run.h"
#include "tracename.h"

/*
** goro.trace.start(path) -> true; or nil, reason: the file cannot be written, or a trace is being
** written.  From then on what the scheduler does is recorded, of all goroutines of the process,
** until goro.trace.stop, the end of the last host or the process's; it is written to the file then,
** in the Trace Event Format.  All others stand still for a moment.  Go's runtime/trace.Start.
**
** The rest of the caller's slice is to be seen as one.  A main script's begins here: it is m_wait
** that will see it end.  A goroutine yields, so that it goes on in run_traced.
*/
static int l_start (lua_State *L) {
  const char *path = arg_string(L, 1), *why;
  Here h = here(L);
  sched_check_p(h.m, h.g);
  if ((why = trace_open(path)) != NULL) return nil_text(L, why);
  if (!world_stop(h.m, h.g->host)) {
    trace_cancel();
    return nil_text(L, "the main script has ended");
  }
  trace_start();
  tracename_all();
  trace_go();
  if (h.s->is_host) {
    stat_add(h.m, STAT_SWITCHES, 1);
    trace_begin(h.m, h.g);
  }
  world_start();
  sched_check_p(h.m, h.g);
  lua_pushboolean(L, 1);
  return h.s->is_host ? 1 : yield_k(L, h, 1);
}

/*
** goro.trace.stop() -> true; or nil, reason: no trace is being written, or the file could not be.
** Takes a second for some million events, in which others run.  Go's runtime/trace.Stop.
*/
static int l_stop (lua_State *L) {
  Here h = here(L);
  bool still;
  int e;
  if (!trace_close()) return nil_text(L, "not tracing");
  sched_check_p(h.m, h.g);
  still = world_stop(h.m, h.g->host);
  trace_stop();
  if (still) world_start();
  sched_block(h.m, h.g);
  e = trace_write();
  sched_unblock(h.m, h.g);
  if (e != 0) return nil_text(L, strerror(e));
  lua_pushboolean(L, 1);
  return 1;
}

const luaL_Reg trace_functions[] = { { "start", l_start }, { "stop", l_stop }, { NULL, NULL } };

void push_trace_module (lua_State *L) { luaL_newlib(L, trace_functions); }
