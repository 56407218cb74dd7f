/*
** lua_semaphore.c - Semaphore and Atomic for Lua.  Layer 6.
*/
#include "lua_guard.h"
#include "sync.h"

/* ---------------------------------------------------------------- Semaphore */

/* While one waits its stack is: the semaphore, how many, the time-out, the guard. */
#define TIMEOUT 3
#define GUARD 4

/* goro.Semaphore(n): n units.  Go's semaphore.NewWeighted. */
static int l_semaphore (lua_State *L) {
  Here h = here(L);
  lua_Integer n = arg_integer(L, 1);
  arg_check(L, n >= 0, 1, "negative size");
  handle_push_new(L, h.s, (Obj *)semaphore_new(n));
  return 1;
}

/* ud->held counts this goroutine's acquires that are not released: the guard of one that was,
** by release, finds 0. */
static void guarded (Here h, Handle *ud, int64_t k) {
  if (ud->held == 0) return;
  ud->held--;
  semaphore_release((Semaphore *)ud->o, h.m, k);
}

static int acquired (lua_State *L) {
  ((Handle *)lua_touserdata(L, 1))->held++;
  guard_give(L, GUARD, lua_tointeger(L, 2));
  return 1;
}

static int acquire_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Semaphore *sem = (Semaphore *)((Handle *)lua_touserdata(L, 1))->o;
  bool ok = semaphore_finish(sem, h.m, h.g);
  (void)status; (void)ctx;
  if (!wait_over(h)) return wait_unwind(L, h);
  return ok ? acquired(L) : false_reason(L, h);
}

static int64_t arg_units (lua_State *L) {
  lua_Integer k = arg_opt_integer(L, 2, 1);
  arg_check(L, k >= 0, 2, "negative number");
  return k;
}

static int acquire (lua_State *L, Handle *ud, int64_t k, Limit lim) {
  Here h = here(L);
  Semaphore *sem = (Semaphore *)ud->o;
  arg_check(L, k <= sem->size, 2, "more than the semaphore has");
  check_panics(L, h);
  lua_settop(L, TIMEOUT);
  lua_pushinteger(L, k);
  lua_replace(L, 2);
  guard_push(L, 1, ud->held == 0, guarded);
  if (limit_over(h, &lim)) return false_reason(L, h);
  if (semaphore_acquire(sem, h.g, k, limit_waits(&lim))) return acquired(L);
  if (!limit_waits(&lim)) return false_reason(L, h);
  return wait_k(L, h, lim, 0, acquire_k);
}

#define check_semaphore(L) handle_check(L, 1, OBJ_SEMAPHORE)

/* sem:acquire([k = 1 [, timeout]]) -> a guard; or false, reason.  Raises if there are fewer than
** k in all.  Go's Acquire. */
static int l_acquire (lua_State *L) {
  Handle *ud = check_semaphore(L);
  int64_t k = arg_units(L);
  return acquire(L, ud, k, arg_timeout(L, TIMEOUT, FOREVER));
}

/* sem:try_acquire([k = 1]) -> a guard; or false, reason.  Go's TryAcquire. */
static int l_try_acquire (lua_State *L) {
  Handle *ud = check_semaphore(L);
  return acquire(L, ud, arg_units(L), NO_WAIT);
}

/* sem:release([k = 1]).  Any goroutine may.  Raises if that is more than is held. */
static int l_release (lua_State *L) {
  Handle *ud = check_semaphore(L);
  int64_t k = arg_units(L);
  if (!semaphore_release((Semaphore *)ud->o, here(L).m, k))
    return luaL_error(L, "semaphore: released more than held");
  if (ud->held > 0) ud->held--;
  return 0;
}

static const luaL_Reg semaphore_methods[] = {
  { "acquire", l_acquire }, { "try_acquire", l_try_acquire }, { "release", l_release },
  { NULL, NULL }
};

const HandleType semaphore_type = { "Semaphore", semaphore_methods, NULL, NULL, NULL };

/* ---------------------------------------------------------------- Atomic */

/* An integer, not what could be made one: a float here is a mistake. */
static uint64_t arg_exact (lua_State *L, int arg) {
  if (!lua_isinteger(L, arg)) {
    if (lua_type(L, arg) == LUA_TNUMBER) arg_error(L, arg, "integer expected, got float");
    arg_typeerror(L, arg, "integer");
  }
  return (uint64_t)lua_tointeger(L, arg);
}

static int push (lua_State *L, uint64_t v) {
  lua_pushinteger(L, (lua_Integer)v);
  return 1;
}

#define word(L) (&((Atomic *)handle_check(L, 1, OBJ_ATOMIC)->o)->v)

/* goro.Atomic([v = 0]).  Go's atomic.Int64. */
static int l_atomic (lua_State *L) {
  Here h = here(L);
  uint64_t v = lua_isnoneornil(L, 1) ? 0 : arg_exact(L, 1);
  handle_push_new(L, h.s, (Obj *)atomic_new((int64_t)v));
  return 1;
}

/* a:load() -> v */
static int l_load (lua_State *L) { return push(L, load_seq(word(L))); }

/* a:store(v) */
static int l_store (lua_State *L) {
  _Atomic(uint64_t) *w = word(L);
  store_seq(w, arg_exact(L, 2));
  return 0;
}

/* a:add(n) -> the new value */
static int l_add (lua_State *L) {
  _Atomic(uint64_t) *w = word(L);
  uint64_t n = arg_exact(L, 2);
  return push(L, add_seq(w, n) + n);
}

/* a:swap(v) -> the old value */
static int l_swap (lua_State *L) {
  _Atomic(uint64_t) *w = word(L);
  return push(L, xchg_seq(w, arg_exact(L, 2)));
}

/* a:cas(old, new) -> boolean.  Go's CompareAndSwap. */
static int l_cas (lua_State *L) {
  _Atomic(uint64_t) *w = word(L);
  uint64_t old = arg_exact(L, 2);
  lua_pushboolean(L, cas_seq(w, &old, arg_exact(L, 3)));
  return 1;
}

static const luaL_Reg atomic_methods[] = {
  { "load", l_load }, { "store", l_store }, { "add", l_add }, { "swap", l_swap },
  { "cas", l_cas }, { NULL, NULL }
};

const HandleType atomic_type = { "Atomic", atomic_methods, NULL, NULL, NULL };

const luaL_Reg semaphore_functions[] = {
  { "Semaphore", l_semaphore }, { "Atomic", l_atomic }, { NULL, NULL }
};
