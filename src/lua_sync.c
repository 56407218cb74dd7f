/*
** lua_sync.c - WaitGroup for Lua.  Layer 6.
*/
#include <stdlib.h>
#include "lua_args.h"
#include "lua_go.h"
#include "tame.h"
#include "waitgroup.h"

static WaitGroup *check_wg (lua_State *L, int arg) {
  return (WaitGroup *)handle_check(L, arg, OBJ_WAITGROUP)->o;
}

/* goro.WaitGroup() */
static int l_waitgroup (lua_State *L) {
  Here h = here(L);
  handle_push_new(L, h.s, (Obj *)waitgroup_new());
  return 1;
}

static int add (lua_State *L, lua_Integer n) {
  if (!waitgroup_add(check_wg(L, 1), here(L).m, n))
    return luaL_error(L, n < 0 ? "negative WaitGroup counter" : "WaitGroup counter overflow");
  return 0;
}

/* wg:add([n = 1]), wg:done().  Raise if the counter would become negative. */
static int l_add (lua_State *L) {
  check_wg(L, 1);
  return add(L, arg_opt_integer(L, 2, 1));
}
static int l_done (lua_State *L) { return add(L, -1); }

/* Its round is over: true, or the first failure of a wg:go raised. */
static int waited (lua_State *L, Here h, Result *failure) {
  if (failure != NULL) {
    store_rlx(&failure->seen, 1);
    result_raise(L, h.s, failure);
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int wait_ended (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  WaitGroup *w = (WaitGroup *)((Handle *)lua_touserdata(L, 1))->o;
  Result *failure;
  bool zero = waitgroup_finish(w, h.g, &failure);
  (void)status; (void)ctx;
  if (!wait_over(h)) {
    if (failure != NULL) result_unref(failure);
    return wait_unwind(L, h);
  }
  return zero ? waited(L, h, failure) : false_reason(L, h);
}

/* wg:wait([timeout]) -> true; or false, reason.  Raises the first failure of the round's gos. */
static int l_wait (lua_State *L) {
  Here h = here(L);
  WaitGroup *w = check_wg(L, 1);
  Limit lim = arg_timeout(L, 2, FOREVER);
  Result *failure;
  if (tame_guest(h.s, L)) return tame_again(L, h.s, l_wait);   /* (the failure's value) */
  check_panics(L, h);
  if (limit_over(h, &lim)) return false_reason(L, h);
  if (waitgroup_wait(w, h.g, limit_waits(&lim), &failure)) return waited(L, h, failure);
  if (limit_waits(&lim)) return wait_k(L, h, lim, 0, wait_ended);
  return false_reason(L, h);
}

/* ---------------------------------------------------------------- go */

static void wg_done (Ending *e, M *m, Result *r) {
  if (r == NULL) r = result_no_memory();
  if (r->ok) {
    result_unref(r);
    r = NULL;
  }
  waitgroup_ended((WaitGroup *)e->obj, m, r);
  ending_free(e, m);
}

/* wg:go(f, ...): add, start, done at the end, also when f fails.  Go 1.25's WaitGroup.Go. */
static int l_go (lua_State *L) {
  Here h = here(L);
  WaitGroup *w = check_wg(L, 1);
  State *s;
  Ending *e;
  s = go_prepare(L, h, 2);
  e = malloc(sizeof *e);
  if (e == NULL) {
    go_abandon(s);
    return luaL_error(L, "not enough memory");
  }
  go_ends(s, e, ENDS_ERROR, &w->obj, wg_done, ending_free);  /* (nobody is left to wake) */
  waitgroup_add(w, h.m, 1);
  run_start(here(L), s);
  return 0;
}

static const luaL_Reg methods[] = {
  { "add", l_add }, { "done", l_done }, { "wait", l_wait }, { "go", l_go }, { NULL, NULL }
};

const HandleType waitgroup_type = { "WaitGroup", methods, NULL, NULL, NULL };

const luaL_Reg sync_functions[] = { { "WaitGroup", l_waitgroup }, { NULL, NULL } };
