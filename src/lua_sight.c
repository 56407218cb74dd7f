/*
** lua_sight.c - stats and stacks: what all those goroutines are doing.  Layer 6.
*/
#include <inttypes.h>
#include <string.h>
#include "lua_args.h"
#include "lua_load.h"
#include "leaks.h"
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
** parked_workers, spinning_workers.  Of files and images: see load_stats.
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
  load_stats(L);
  return 1;
}

/* ---------------------------------------------------------------- stacks */

/*
** goro.stacks() -> text: every goroutine of this script, its name, what it does and since when
** (from 0.1 s on), its traceback, and where it was created.  All stand still meanwhile, but for
** those inside C, whose tracebacks cannot be told.  Go's runtime.Stack(buf, true).
*/
static int l_stacks (lua_State *L) {
  Here h = here(L);
  Text t = { NULL, 0, 0 };
  sched_check_p(h.m, h.g);
  if (!world_stop(h.m, h.g->host)) {
    lua_pushliteral(L, "");            /* the script has ended */
    return 1;
  }
  report_stacks(&t, h.g->host, h.s, L);
  world_start();
  sched_check_p(h.m, h.g);
  text_push(L, &t);
  return 1;
}

/* ---------------------------------------------------------------- leaks */

static void text_field (lua_State *L, const char *name, const char *s, size_t len) {
  lua_pushlstring(L, s, len);
  lua_setfield(L, -2, name);
}

static int push_leaks (lua_State *L) {
  const Leaks *l = lua_touserdata(L, 1);
  size_t i;
  lua_createtable(L, (int)l->n, 0);
  for (i = 0; i < l->n; i++) {
    const Leak *k = &l->list[i];
    const char *where = k->traceback.s != NULL ? k->traceback.s : "";
    lua_createtable(L, 0, 4);
    field(L, "id", (lua_Integer)k->id);
    if (k->name != NULL) text_field(L, "name", k->name, strlen(k->name));
    text_field(L, "waiting", k->waiting.s != NULL ? k->waiting.s : "", k->waiting.len);
    text_field(L, "traceback", where + (*where == '\n'), strlen(where + (*where == '\n')));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/*
** goro.leaks() -> a list of those goroutines of this script that can never run again, though others
** can: each { id =, name =, waiting =, traceback = }.  What they wait on is held by nobody who could
** wake them.  Never one that could be woken; one whose channel is held by a goroutine inside C may
** be missed.  Runs a full collection of the caller's state; all others stand still meanwhile.
*/
static int l_leaks (lua_State *L) {
  Here h;
  Leaks out;
  Search *x;
  bool ok;
  int status;
  lua_gc(L, LUA_GCCOLLECT, 0);         /* what the caller has dropped */
  h = here(L);                         /* finalisers may have blocked */
  sched_check_p(h.m, h.g);
  if (!world_stop(h.m, h.g->host)) {
    lua_newtable(L);
    return 1;
  }
  x = leaks_find(h.g->host, &out);
  world_start();
  ok = x != NULL && leaks_let_go(x);
  sched_check_p(h.m, h.g);
  lua_pushcfunction(L, push_leaks);
  lua_pushlightuserdata(L, &out);
  status = lua_pcall(L, 1, 1, 0);
  leaks_free(&out);
  if (!ok) return luaL_error(L, "not enough memory");
  return status == LUA_OK ? 1 : lua_error(L);
}

/* ---------------------------------------------------------------- threads */

/*
** goro.lock_thread(): this goroutine stays on its OS thread, and no other runs there, until it has
** called unlock_thread as often, or ends.  It blocks its thread from now on, and its P goes on.  The
** main script is always on its own.  Go's runtime.LockOSThread.
*/
static int l_lock_thread (lua_State *L) {
  State *s = here(L).s;
  if (s->locked == UINT32_MAX) return luaL_error(L, "too many lock_thread");
  s->locked++;
  return 0;
}

/* goro.unlock_thread().  Does nothing if it is not locked, as in Go. */
static int l_unlock_thread (lua_State *L) {
  State *s = here(L).s;
  if (s->locked > 0) s->locked--;
  return 0;
}

const luaL_Reg sight_functions[] = {
  { "stats", l_stats }, { "stacks", l_stacks }, { "leaks", l_leaks },
  { "lock_thread", l_lock_thread }, { "unlock_thread", l_unlock_thread }, { NULL, NULL }
};
