/*
** lua_sight.c - stats and stacks: what all those goroutines are doing.  Layer 6.
*/
#include <inttypes.h>
#include "lua_args.h"
#include "report.h"

/* ---------------------------------------------------------------- stats */

static void field (lua_State *L, const char *name, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_setfield(L, -2, name);
}

/*
** goro.stats() -> a table of figures of this process.  They count from the start: spawned, switches
** (a goroutine began to run, or went on), steals (from another processor's queue), handoffs (a
** processor given to another thread, since its own is inside C), preemptions, messages (received
** from channels), bytes_marshalled (of strings, tables, functions on their way).  As they are now:
** live (goroutines, main scripts counted), runnable, maxprocs, idle_procs, workers (threads),
** parked_workers, spinning_workers.
*/
static int l_stats (lua_State *L) {
  static const char *const names[] = {
#define X(name, text) text,
    STATS(X)
#undef X
  };
  Figures f;
  int i;
  here(L);
  sched_figures(&f);
  lua_createtable(L, 0, NSTATS + 7);
  for (i = 0; i < NSTATS; i++) field(L, names[i], (lua_Integer)f.n[i]);
  field(L, "live", f.live);
  field(L, "runnable", f.runnable);
  field(L, "maxprocs", f.procs);
  field(L, "idle_procs", f.idle_procs);
  field(L, "workers", f.workers);
  field(L, "parked_workers", f.parked_workers);
  field(L, "spinning_workers", f.spinning);
  return 1;
}

/* ---------------------------------------------------------------- stacks */

static int push_text (lua_State *L) {
  const Text *t = lua_touserdata(L, 1);
  lua_pushlstring(L, t->s != NULL ? t->s : "", t->len);
  return 1;
}

/*
** goro.stacks() -> text: every goroutine of this script, its name, what it does and since when
** (from 0.1 s on), its traceback, and where it was created.  All stand still meanwhile, but for
** those inside C, whose tracebacks cannot be told.  Go's runtime.Stack(buf, true).
*/
static int l_stacks (lua_State *L) {
  Here h = here(L);
  Text t = { NULL, 0, 0 };
  int status;
  sched_check_p(h.m, h.g);
  if (!world_stop(h.m, h.g->host)) {
    lua_pushliteral(L, "");            /* the script has ended */
    return 1;
  }
  report_stacks(&t, h.g->host, h.s, L);
  world_start();
  sched_check_p(h.m, h.g);
  lua_pushcfunction(L, push_text);
  lua_pushlightuserdata(L, &t);
  status = lua_pcall(L, 1, 1, 0);
  text_free(&t);
  return status == LUA_OK ? 1 : lua_error(L);
}

const luaL_Reg sight_functions[] = {
  { "stats", l_stats }, { "stacks", l_stacks }, { NULL, NULL }
};
