/*
** lua_mutex.c - Mutex and RWMutex for Lua.  Layer 6.
**
** While one waits its stack is: the lock, the time-out as it was given, the guard, until when.
*/
#include "lua_guard.h"
#include "mutex.h"
#include "rwmutex.h"

#define TIMEOUT 2
#define GUARD 3
#define UNTIL 4

#define check_mutex(L) handle_check(L, 1, OBJ_MUTEX)

static int locked (lua_State *L) {
  guard_give(L, GUARD, 1);
  lua_settop(L, GUARD);
  return 1;
}

/* ---------------------------------------------------------------- Mutex */

/* goro.Mutex().  Go's sync.Mutex. */
static int l_mutex (lua_State *L) {
  Here h = here(L);
  handle_push_new(L, h.s, (Obj *)mutex_new());
  return 1;
}

/* Only if this goroutine locked it last, and nobody has unlocked it since. */
static void mutex_guarded (Here h, Handle *ud, int64_t k) {
  Mutex *mu = (Mutex *)ud->o;
  (void)k;
  if (load_rlx(&mu->owner) == h.g) mutex_unlock(mu, h.m);
}

static int lock_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Mutex *mu = (Mutex *)((Handle *)lua_touserdata(L, 1))->o;
  LockResult r = mutex_finish(mu, h.g);
  (void)status; (void)ctx;
  if (!wait_over(h)) return wait_unwind(L, h);
  if (r == LOCK_AGAIN) {
    Limit lim = arg_timeout_again(L, TIMEOUT, lua_tointeger(L, UNTIL));
    if (!mutex_relock(mu, h.g)) return wait_k(L, h, lim, 0, lock_k);
    r = LOCK_OK;
  }
  return r == LOCK_OK ? locked(L) : false_reason(L, h);
}

static int lock (lua_State *L, Handle *ud, Limit lim) {
  Here h = here(L);
  Mutex *mu = (Mutex *)ud->o;
  check_panics(L, h);
  lua_settop(L, TIMEOUT);
  guard_push(L, 1, true, mutex_guarded);
  if (limit_over(h, &lim)) return false_reason(L, h);
  if (mutex_try(mu, h.g)) return locked(L);
  if (!limit_waits(&lim)) return false_reason(L, h);
  lua_pushinteger(L, lim.until);
  if (mutex_lock(mu, h.g)) return locked(L);
  return wait_k(L, h, lim, 0, lock_k);
}

/* mu:lock([timeout]) -> a guard; or false, reason.  Go's Lock. */
static int l_lock (lua_State *L) {
  Handle *ud = check_mutex(L);
  return lock(L, ud, arg_timeout(L, TIMEOUT, FOREVER));
}

/* mu:try_lock() -> a guard; or false, reason.  Go's TryLock. */
static int l_try_lock (lua_State *L) { return lock(L, check_mutex(L), NO_WAIT); }

/* mu:unlock().  Any goroutine may.  Raises if it is not locked. */
static int l_unlock (lua_State *L) {
  if (!mutex_unlock((Mutex *)check_mutex(L)->o, here(L).m))
    return luaL_error(L, "unlock of unlocked mutex");
  return 0;
}

static const luaL_Reg mutex_methods[] = {
  { "lock", l_lock }, { "try_lock", l_try_lock }, { "unlock", l_unlock }, { NULL, NULL }
};

const HandleType mutex_type = { "Mutex", mutex_methods, NULL, NULL, NULL };

/* ---------------------------------------------------------------- RWMutex */

#define check_rw(L) handle_check(L, 1, OBJ_RWMUTEX)

/* goro.RWMutex().  Go's sync.RWMutex. */
static int l_rwmutex (lua_State *L) {
  Here h = here(L);
  handle_push_new(L, h.s, (Obj *)rwmutex_new());
  return 1;
}

static void write_guarded (Here h, Handle *ud, int64_t k) {
  RWMutex *rw = (RWMutex *)ud->o;
  (void)k;
  if (load_rlx(&rw->owner) == h.g) rwmutex_unlock(rw, h.m);
}

/* ud->held counts how often this goroutine has locked for reading: a guard whose reading was
** ended by runlock finds 0. */
static void read_guarded (Here h, Handle *ud, int64_t k) {
  (void)k;
  if (ud->held == 0) return;
  ud->held--;
  rwmutex_runlock((RWMutex *)ud->o, h.m);
}

static int rw_locked (lua_State *L, bool write) {
  if (!write) ((Handle *)lua_touserdata(L, 1))->held++;
  return locked(L);
}

static int rwlock_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  RWMutex *rw = (RWMutex *)((Handle *)lua_touserdata(L, 1))->o;
  bool write = ctx != 0, ok = rwmutex_finish(rw, h.m, h.g, write);
  (void)status;
  if (!wait_over(h)) return wait_unwind(L, h);
  return ok ? rw_locked(L, write) : false_reason(L, h);
}

static int rwlock (lua_State *L, Handle *ud, Limit lim, bool write) {
  Here h = here(L);
  RWMutex *rw = (RWMutex *)ud->o;
  bool idle = write || ud->held == 0;
  check_panics(L, h);
  lua_settop(L, TIMEOUT);
  guard_push(L, 1, idle, write ? write_guarded : read_guarded);
  if (limit_over(h, &lim)) return false_reason(L, h);
  if (rwmutex_lock(rw, h.g, write, limit_waits(&lim))) return rw_locked(L, write);
  if (!limit_waits(&lim)) return false_reason(L, h);
  return wait_k(L, h, lim, write, rwlock_k);
}

/* rw:lock([timeout]), rw:rlock([timeout]) -> a guard; or false, reason.  Go's Lock and RLock. */
static int l_wlock (lua_State *L) {
  Handle *ud = check_rw(L);
  return rwlock(L, ud, arg_timeout(L, TIMEOUT, FOREVER), true);
}
static int l_rlock (lua_State *L) {
  Handle *ud = check_rw(L);
  return rwlock(L, ud, arg_timeout(L, TIMEOUT, FOREVER), false);
}

/* rw:try_lock(), rw:try_rlock() -> a guard; or false, reason. */
static int l_try_wlock (lua_State *L) { return rwlock(L, check_rw(L), NO_WAIT, true); }
static int l_try_rlock (lua_State *L) { return rwlock(L, check_rw(L), NO_WAIT, false); }

/* rw:unlock(), rw:runlock().  Any goroutine may.  Raise if it is not locked that way. */
static int l_wunlock (lua_State *L) {
  if (!rwmutex_unlock((RWMutex *)check_rw(L)->o, here(L).m))
    return luaL_error(L, "unlock of unlocked RWMutex");
  return 0;
}
static int l_runlock (lua_State *L) {
  Handle *ud = check_rw(L);
  if (!rwmutex_runlock((RWMutex *)ud->o, here(L).m))
    return luaL_error(L, "runlock of unlocked RWMutex");
  if (ud->held > 0) ud->held--;
  return 0;
}

static const luaL_Reg rwmutex_methods[] = {
  { "lock", l_wlock }, { "try_lock", l_try_wlock }, { "unlock", l_wunlock },
  { "rlock", l_rlock }, { "try_rlock", l_try_rlock }, { "runlock", l_runlock }, { NULL, NULL }
};

const HandleType rwmutex_type = { "RWMutex", rwmutex_methods, NULL, NULL, NULL };

const luaL_Reg mutex_functions[] = {
  { "Mutex", l_mutex }, { "RWMutex", l_rwmutex }, { NULL, NULL }
};
