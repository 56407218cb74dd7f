/*
** lua_cond.c - Once and Cond for Lua.  Layer 6.
*/
#include "lua_args.h"
#include "sync.h"

/* ---------------------------------------------------------------- Once */

/*
** The stack of the one that runs: the Once, its runner, then the function and its arguments, later
** the results.  The runner is to be closed: if the function never ends (its coroutine is closed
** or collected, its goroutine is killed), those who wait are told.
*/
#define RUNNER 2
typedef struct Runner { Once *o; } Runner;         /* a reference, until it has ended */

static const char runner_key = 0;

static void runner_end (Runner *r, OnceState how, Value *v) {
  Once *o = r->o;
  r->o = NULL;
  once_end(o, sched_m(), how, v);
  obj_unref(&o->obj);
}

static int runner_close (lua_State *L) {
  Runner *r = lua_touserdata(L, 1);
  Value v = NIL_VALUE;
  if (r->o != NULL) runner_end(r, ONCE_ABANDONED, &v);
  return 0;
}

static void push_runner (lua_State *L) {
  Runner *r = lua_newuserdatauv(L, sizeof *r, 0);
  r->o = NULL;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &runner_key) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, runner_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, runner_close);
    lua_setfield(L, -2, "__gc");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &runner_key);
  }
  lua_setmetatable(L, -2);
}

#define check_once(L) ((Once *)handle_check(L, 1, OBJ_ONCE)->o)

/* goro.Once().  Go's sync.Once. */
static int l_once (lua_State *L) {
  Here h = here(L);
  handle_push_new(L, h.s, (Obj *)once_new());
  return 1;
}

/* It is over: a copy of the results, or of the error raised.  'keep': of the stack. */
static int outcome (lua_State *L, Here h, Once *o, int keep) {
  lua_settop(L, keep);
  switch (load_acq(&o->state)) {
    case ONCE_DONE:
      if (o->v.tag != V_NIL) value_to_lua_shared(L, h.s, &o->v);
      return lua_gettop(L) - keep;
    case ONCE_FAILED:
      value_to_lua_shared(L, h.s, &o->v);
      return lua_error(L);
    case ONCE_LOST:
      return luaL_error(L, "not enough memory");
    default:
      return luaL_error(L, "the function of this Once never ended");
  }
}

static int pack (lua_State *L) {       /* Value *, results ... */
  Value *v = lua_touserdata(L, 1);
  v->u.m = msg_from_lua(L, here(L).s, 2, lua_gettop(L) - 1);
  v->tag = V_MSG;
  return 0;
}

static int ran (lua_State *L, int status, lua_KContext ctx) {
  Runner *r = lua_touserdata(L, RUNNER);
  Once *o = r->o;
  Value v = NIL_VALUE;
  int n = lua_gettop(L) - RUNNER;
  (void)ctx;
  if (status == LUA_OK || status == LUA_YIELD) {
    status = LUA_OK;
    if (n > 0) {                       /* what cannot cross is an error for all, the runner too */
      stack_room(L, 3);
      lua_pushcfunction(L, pack);
      lua_insert(L, RUNNER + 1);
      lua_pushlightuserdata(L, &v);
      lua_insert(L, RUNNER + 2);
      status = lua_pcall(L, n + 1, 0, 0);
    }
  }
  if (status != LUA_OK) {
    bool kept = value_from_error(L, here(L).s, -1, &v);
    runner_end(r, kept ? ONCE_FAILED : ONCE_LOST, &v);
    return lua_error(L);               /* the very error */
  }
  runner_end(r, ONCE_DONE, &v);
  return outcome(L, here(L), o, RUNNER);
}

static int run_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Once *o = (Once *)((Handle *)lua_touserdata(L, 1))->o;
  (void)status; (void)ctx;
  once_finish(o, h.g);
  if (!wait_over(h)) return wait_unwind(L, h);
  return outcome(L, h, o, RUNNER);
}

/*
** once:run(f, ...) -> the results of the one run, or its error raised.  Go's OnceValues.
** f runs in the first caller's own state and may block.  Raises if f calls it again: Go
** deadlocks there.
*/
static int l_run (lua_State *L) {
  Here h = here(L);
  Once *o = check_once(L);
  Runner *r;
  arg_type(L, 2, LUA_TFUNCTION);
  check_panics(L, h);
  if (load_acq(&o->state) >= ONCE_DONE) return outcome(L, h, o, 1);
  stack_room(L, 4);
  push_runner(L);                      /* before it is ours: this may raise */
  r = lua_touserdata(L, -1);
  lua_insert(L, RUNNER);
  lua_toclose(L, RUNNER);
  switch (once_enter(o, h.g)) {
    case ONCE_RUN:
      r->o = o;
      obj_ref(&o->obj);
      return ran(L, lua_pcallk(L, lua_gettop(L) - RUNNER - 1, LUA_MULTRET, 0, 0, ran), 0);
    case ONCE_RECURSIVE:
      return luaL_error(L, "run of a Once inside its own function");
    case ONCE_WAIT:
      return wait_k(L, h, NO_LIMIT, 0, run_k);
    default:
      return outcome(L, h, o, RUNNER);
  }
}

static const luaL_Reg once_methods[] = { { "run", l_run }, { NULL, NULL } };

const HandleType once_type = { "Once", once_methods, NULL, NULL, NULL };

/* ---------------------------------------------------------------- Cond */

#define check_cond(L) ((Cond *)handle_check(L, 1, OBJ_COND)->o)

/* goro.Cond(mutex).  Go's sync.NewCond. */
static int l_cond (lua_State *L) {
  Here h = here(L);
  Mutex *mu = (Mutex *)handle_check(L, 1, OBJ_MUTEX)->o;
  handle_push_new(L, h.s, (Obj *)cond_new(mu));
  return 1;
}

static bool began (Wake how) { return how != WAKE_NOMEM && how != WAKE_NOTHREAD; }

/* The mutex is locked again.  What may raise comes only now: the caller will unlock. */
static int waited (lua_State *L, Here h, Wake how) {
  h.g->wake = how;
  if (!began(how)) return wait_unwind(L, h);
  if (how != WAKE_READY) return false_reason(L, h);
  lua_pushboolean(L, 1);
  return 1;
}

/* The second wait, for the mutex.  'ctx': how the first one ended. */
static int relock_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Mutex *mu = ((Cond *)((Handle *)lua_touserdata(L, 1))->o)->mutex;
  LockResult r = mutex_finish(mu, h.g);
  (void)status;
  if (!wait_over(h)) return wait_unwind(L, h);
  if (r == LOCK_AGAIN && !mutex_relock(mu, h.g)) return wait_k(L, h, NO_LIMIT, ctx, relock_k);
  return waited(L, h, (Wake)ctx);
}

static int cond_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Cond *c = (Cond *)((Handle *)lua_touserdata(L, 1))->o;
  Wake how = h.g->wake;
  (void)status; (void)ctx;
  cond_finish(c, h.g);
  if (!wait_over(h) && began(how)) {
    /* the script goes on elsewhere: with the mutex, if it is */
    if (how != WAKE_KILL) mutex_try(c->mutex, h.g);        /* free; its guard will know */
    return wait_unwind(L, h);
  }
  if (!mutex_lock(c->mutex, h.g)) return wait_k(L, h, NO_LIMIT, (lua_KContext)how, relock_k);
  return waited(L, h, how);
}

/*
** cond:wait([timeout]) -> true; or false, reason.  Unlocks the mutex, waits to be woken, locks it
** again, however long that takes.  Raises if the mutex is not locked.  If the wait ends by an
** error (a panic, a deadlock, an interrupt raised in the main script) the mutex is locked again only if that
** needs no waiting; if it cannot wait, for want of memory, it is locked when that is raised.  Go's Wait.
*/
static int l_wait (lua_State *L) {
  Here h = here(L);
  Cond *c = check_cond(L);
  Limit lim = arg_timeout(L, 2, FOREVER);
  bool over;
  check_panics(L, h);
  lua_settop(L, 2);
  over = limit_over(h, &lim);
  if (over || !limit_waits(&lim)) {
    if (!mutex_locked(c->mutex)) return luaL_error(L, "Cond wait with unlocked mutex");
    return false_reason(L, h);
  }
  if (!cond_wait(c, h.m, h.g)) return luaL_error(L, "Cond wait with unlocked mutex");
  return wait_k(L, h, lim, 0, cond_k);
}

/* cond:signal(): wakes the one that waits longest.  cond:broadcast(): wakes all. */
static int l_signal (lua_State *L) {
  cond_signal(check_cond(L), here(L).m, false);
  return 0;
}
static int l_broadcast (lua_State *L) {
  cond_signal(check_cond(L), here(L).m, true);
  return 0;
}

static const luaL_Reg cond_methods[] = {
  { "wait", l_wait }, { "signal", l_signal }, { "broadcast", l_broadcast }, { NULL, NULL }
};

const HandleType cond_type = { "Cond", cond_methods, NULL, NULL, NULL };

const luaL_Reg cond_functions[] = { { "Once", l_once }, { "Cond", l_cond }, { NULL, NULL } };
