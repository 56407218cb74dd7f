/*
** lua_errgroup.c - errgroup for Lua.  Layer 6.
*/
#include <stdlib.h>
#include <string.h>
#include "errgroup.h"
#include "lua_args.h"
#include "lua_go.h"

static ErrGroup *check_group (lua_State *L) {
  return (ErrGroup *)handle_check(L, 1, OBJ_ERRGROUP)->o;
}

/* goro.errgroup([ctx]) -> g; g.ctx is a child of ctx.  Go's errgroup.WithContext. */
static int l_errgroup (lua_State *L) {
  Here h = here(L);
  Context *parent = arg_context(L, 1);
  handle_push_new(L, h.s, (Obj *)errgroup_new(parent, h.m, h.g->host));
  return 1;
}

/* g:limit(n): at most n run at once from now on, any number if n is negative.  Raises while some
** run.  Go's SetLimit. */
static int l_limit (lua_State *L) {
  ErrGroup *eg = check_group(L);
  if (!errgroup_limit(eg, here(L).m, arg_integer(L, 2)))
    return luaL_error(L, "limit of an errgroup whose goroutines run");
  return 0;
}

/* ---------------------------------------------------------------- go */

static void ending_done (Ending *e, M *m, Result *r) {
  if (r == NULL) r = result_no_memory();
  if (r->ok) {
    result_unref(r);
    r = NULL;
  }
  errgroup_ended((ErrGroup *)e->obj, m, r);
  ending_free(e, m);
}

static void ending_drop (Ending *e, M *m) {        /* the host ends */
  errgroup_ended((ErrGroup *)e->obj, m, NULL);
  ending_free(e, m);
}

static int start (lua_State *L) {      /* it is counted: group, f, arguments */
  ErrGroup *eg = (ErrGroup *)((Handle *)lua_touserdata(L, 1))->o;
  Ending *e = malloc(sizeof *e);
  State *s;
  int n = lua_gettop(L) - 1, status = LUA_OK, i;
  if (e != NULL) {
    lua_pushcfunction(L, go_prepare_protected);
    lua_pushlightuserdata(L, &s);
    for (i = 0; i < n; i++) lua_pushvalue(L, 2 + i);
    status = lua_pcall(L, n + 1, 0, 0);
  }
  if (e == NULL || status != LUA_OK) {
    free(e);
    errgroup_ended(eg, here(L).m, NULL);
    return e == NULL ? luaL_error(L, "not enough memory") : lua_error(L);
  }
  go_ends(s, e, ENDS_STRICT, &eg->obj, ending_done, ending_drop);
  run_start(here(L), s);
  return 0;
}

static int go_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  ErrGroup *eg = (ErrGroup *)((Handle *)lua_touserdata(L, 1))->o;
  bool ok = errgroup_entered(eg, h.g);
  (void)status; (void)ctx;
  if (!wait_over(h)) {
    if (ok) errgroup_ended(eg, h.m, NULL);
    return wait_unwind(L, h);
  }
  return start(L);                     /* (without a time-out nothing else ends the wait) */
}

/*
** g:go(f, ...): runs f(...) in a new goroutine; waits while as many run as limit allows.  f fails
** if it raises, or returns nil or false and then a value that is not nil.  Go's Go.
*/
static int l_go (lua_State *L) {
  Here h = here(L);
  ErrGroup *eg = check_group(L);
  arg_type(L, 2, LUA_TFUNCTION);
  check_panics(L, h);
  luaL_checkstack(L, lua_gettop(L) + LUA_MINSTACK, NULL);
  if (errgroup_enter(eg, h.g)) return start(L);
  return wait_k(L, h, NO_LIMIT, 0, go_k);
}

/* ---------------------------------------------------------------- wait */

static int ended (lua_State *L, Here h, ErrGroup *eg) {
  Result *r = errgroup_failure(eg);
  Value none = NIL_VALUE;
  int top;
  context_cancel(eg->ctx, h.m, &none);
  if (r == NULL) {
    lua_pushboolean(L, 1);
    return 1;
  }
  store_rlx(&r->seen, 1);
  result_unref(r);                     /* the group holds it, and our stack the group */
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_pushnil(L);
  top = lua_gettop(L);
  if (result_push(L, h.s, r) == 0) lua_pushnil(L);
  lua_settop(L, top + 1);
  if (r->traceback != NULL) lua_pushstring(L, r->traceback);
  else lua_pushnil(L);
  return 3;
}

static int wait_k_ended (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  ErrGroup *eg = (ErrGroup *)((Handle *)lua_touserdata(L, 1))->o;
  bool ok = errgroup_waited(eg, h.g);
  (void)status; (void)ctx;
  if (!wait_over(h)) return wait_unwind(L, h);
  return ok ? ended(L, h, eg) : nil_reason(L, h);
}

/* g:wait([timeout]) -> true; nil, err, traceback of the first failure, when all have ended; or
** nil, reason.  g.ctx is cancelled when all have ended.  Go's Wait. */
static int l_wait (lua_State *L) {
  Here h = here(L);
  ErrGroup *eg = check_group(L);
  Limit lim = arg_timeout(L, 2, FOREVER);
  check_panics(L, h);
  if (limit_over(h, &lim)) return nil_reason(L, h);
  if (errgroup_wait(eg, h.g, limit_waits(&lim))) return ended(L, h, eg);
  if (limit_waits(&lim)) return wait_k(L, h, lim, 0, wait_k_ended);
  return nil_reason(L, h);
}

static int close_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  ErrGroup *eg = (ErrGroup *)((Handle *)lua_touserdata(L, 1))->o;
  (void)status; (void)ctx;
  errgroup_waited(eg, h.g);
  return wait_over(h) ? 0 : wait_unwind(L, h);
}

/* The end of a <close> variable: cancels, and waits for all.  A failure that nobody has asked
** for is reported when the group is gone. */
static int l_meta_close (lua_State *L) {
  Here h = here(L);
  ErrGroup *eg = check_group(L);
  Value none = NIL_VALUE;
  context_cancel(eg->ctx, h.m, &none);
  check_panics(L, h);
  if (errgroup_wait(eg, h.g, true)) return 0;
  return wait_k(L, h, NO_LIMIT, 0, close_k);
}

/* ---------------------------------------------------------------- the rest */

static int l_index (lua_State *L) {    /* g.ctx */
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "ctx") == 0) {
    handle_push(L, here(L).s, &check_group(L)->ctx->obj, VIEW_BOTH);
    return 1;
  }
  lua_settop(L, 2);
  lua_gettable(L, lua_upvalueindex(1));
  return 1;
}

static const luaL_Reg methods[] = {
  { "go", l_go }, { "limit", l_limit }, { "wait", l_wait }, { NULL, NULL }
};

static const luaL_Reg meta[] = { { "__close", l_meta_close }, { NULL, NULL } };

const HandleType errgroup_type = { "errgroup", methods, meta, NULL, l_index };

const luaL_Reg errgroup_functions[] = { { "errgroup", l_errgroup }, { NULL, NULL } };
