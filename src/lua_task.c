/*
** lua_task.c - goro.async and tasks.  Layer 6.
*/
#include <stdlib.h>
#include "lua_args.h"
#include "lua_go.h"
#include "task.h"

static Task *check_task (lua_State *L) {
  return (Task *)handle_check(L, 1, OBJ_TASK)->o;
}

static void ending_done (Ending *e, M *m, Result *r) {
  if (r == NULL) r = result_no_memory();
  task_end((Task *)e->obj, m, r);
  ending_free(e, m);
}

/*
** goro.async(f, ...) -> a task: runs f(...) in a new goroutine, whose results or error any
** goroutine that holds the task may ask for, any number of times.
*/
static int l_async (lua_State *L) {
  Here h = here(L);
  int n = lua_gettop(L);
  State *s;
  Ending *e;
  Task *t;
  sched_check_p(h.m, h.g);
  arg_type(L, 1, LUA_TFUNCTION);
  stack_room(L, n + LUA_MINSTACK);
  handle_push_new(L, h.s, (Obj *)(t = task_new()));
  lua_insert(L, 1);                    /* what may raise comes before the goroutine exists */
  e = malloc(sizeof *e);
  if (e == NULL) return luaL_error(L, "not enough memory");
  lua_pushcfunction(L, go_prepare_protected);
  lua_pushlightuserdata(L, &s);
  for (int i = 0; i < n; i++) lua_pushvalue(L, 2 + i);
  if (lua_pcall(L, n + 1, 0, 0) != LUA_OK) {
    free(e);
    return lua_error(L);
  }
  go_ends(s, e, ENDS_RESULTS, &t->obj, ending_done, ending_free);      /* (nobody is left to wake) */
  run_start(here(L), s);
  lua_settop(L, 1);
  return 1;
}

/* ---------------------------------------------------------------- wait and result */

enum { AS_WAIT, AS_RESULT };

static int given (lua_State *L, Here h, Result *r, int how) {
  int n = 0;
  store_rlx(&r->seen, 1);
  if (!r->ok && how == AS_RESULT) return result_raise(L, h.s, result_ref(r));
  stack_room(L, LUA_MINSTACK);
  if (how == AS_WAIT) lua_pushboolean(L, r->ok);
  n = result_push(L, h.s, r);
  if (r->ok) return n + (how == AS_WAIT);
  if (n == 0) lua_pushnil(L);          /* error(nil) */
  if (r->traceback != NULL) lua_pushstring(L, r->traceback);
  else lua_pushnil(L);
  return 3;
}

static int wait_ended (lua_State *L, int status, lua_KContext how) {
  Here h = here(L);
  Task *t = (Task *)((Handle *)lua_touserdata(L, 1))->o;
  Result *r = task_finish(t, h.g);
  (void)status;
  if (!wait_over(h)) return wait_unwind(L, h);
  return r != NULL ? given(L, h, r, (int)how) : nil_reason(L, h);
}

static int wait (lua_State *L, int how) {
  Here h = here(L);
  Task *t = check_task(L);
  Limit lim = arg_timeout(L, 2, FOREVER);
  Result *r;
  check_panics(L, h);
  if (limit_over(h, &lim)) return nil_reason(L, h);
  r = task_wait(t, h.g, limit_waits(&lim));
  if (r != NULL) return given(L, h, r, how);
  if (limit_waits(&lim)) return wait_k(L, h, lim, how, wait_ended);
  return nil_reason(L, h);
}

/* task:wait([timeout]) -> true, results...; false, err, traceback; or nil, reason. */
static int l_wait (lua_State *L) { return wait(L, AS_WAIT); }

/* task:result([timeout]) -> the results; raises the error; or nil, reason. */
static int l_result (lua_State *L) { return wait(L, AS_RESULT); }

/* task:done() -> a channel that is closed at the end, for select. */
static int l_done (lua_State *L) {
  Here h = here(L);
  Chan *c = task_done(check_task(L), h.m);
  if (c == NULL) return luaL_error(L, "not enough memory");
  handle_push(L, h.s, &c->obj, VIEW_RECV);
  return 1;
}

static const luaL_Reg methods[] = {
  { "wait", l_wait }, { "result", l_result }, { "done", l_done }, { NULL, NULL }
};

const HandleType task_type = { "task", methods, NULL, NULL, NULL };

const luaL_Reg task_functions[] = { { "async", l_async }, { NULL, NULL } };
