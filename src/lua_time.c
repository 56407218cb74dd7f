/*
** lua_time.c - sleep, now, after.  Layer 6.
*/
#include "lua_args.h"
#include "alarm.h"

static lua_Number seconds (int64_t ns) { return (lua_Number)ns / 1e9; }

/* goro.now() -> monotonic seconds. */
static int l_now (lua_State *L) {
  lua_pushnumber(L, seconds(os_now()));
  return 1;
}

static int sleep_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  (void)status; (void)ctx;
  if (!wait_over(h)) return wait_unwind(L, h);
  if (h.g->wake != WAKE_TIMEOUT) return false_reason(L, h);
  lua_pushboolean(L, 1);
  return 1;
}

/* goro.sleep(s [, ctx]) -> true; or false, reason as soon as the context is done.  Go's
** time.Sleep. */
static int l_sleep (lua_State *L) {
  Here h = here(L);
  int64_t ns = arg_seconds(L, 1, true);
  Limit lim;
  lim.ctx = arg_context(L, 2)->core;
  check_panics(L, h);
  if (limit_over(h, &lim)) return false_reason(L, h);
  if (ns == 0) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lim.until = from_now(ns);
  park_begin(h.g, WAIT_SLEEP);
  return wait_k(L, h, lim, 0, sleep_k);
}

/* goro.after(s) -> a channel that gets one value, the time.  Go's time.After. */
static int l_after (lua_State *L) {
  Here h = here(L);
  Clock *k = clock_new(h.m, h.g->host, from_now(arg_seconds(L, 1, true)), 0);
  handle_push_taken(L, h.s, (Obj *)k, VIEW_RECV);
  return 1;
}

const luaL_Reg time_functions[] = {
  { "now", l_now }, { "sleep", l_sleep }, { "after", l_after }, { NULL, NULL }
};
