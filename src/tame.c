/*
** tame.c - which goroutines may run on the thread of a main script that waits.  Layer 5.
**
** A guest (guest.c) stands above the main script on its C stack, and must be off it soon whenever
** that is wanted.  It runs Lua, which the preemption hook can stop at any instruction if nothing in C
** called it; so it must never be in C for long, wait there, or have its Lua called from C.  Lua
** has no means to say what a C function does.  But each that a goroutine can call came into its state
** in some way, and all ways are ours: fields of lazy tables and libraries, at their first use; handles
** and their methods; messages.  What is not on the list below makes the state *wild*, for good.
**
** A state without metatables of its own (setmetatable makes it wild, a class that comes in a
** message, too) has no metamethods but C functions of goro's; with sort, gsub, load, xpcall and the
** like off the list no C function that it has calls Lua in a way that could not yield.  (pcall,
** coroutine.*, select's handlers can.)  It has no finalisers (must_close).  So a guest always can
** yield.  How long C may take, an instruction of Lua as well (a long string's copy, a table that
** grows, a step of the collector), is bounded by what the state holds: TAME_KB when its slice begins, and
** what it can make of that until sysmon has it yield.
**
** A guest never does what would make it wild: where it is about to, the function that would yields
** first (tame_leave), and goes on on a worker.  Values that are not plain, or large, are decoded
** there; errors are reported there (stderr may block).  tame_lost's hook is for what was overlooked.
**
** A goroutine is a guest only after it has waited QUICK times, and again so often after each slice that was
** long: this is no matter of safety, but keeps what computes away from the main script's thread.
**
** REJECTED.  Wrapping each function of the standard library that blocks or computes: a look at the thread in
** each, for the sake of goroutines that do so little between two messages that they do not need them.
*/
#include <string.h>
#include "check.h"
#include "lualib.h"
#include "plain.h"
#include "tame.h"

#if defined(GORO_DEBUG)
#define QUICK 2
#else
#define QUICK 16
#endif
#define TAME_KB 256                    /* of a state */
#define TAME_BYTES 65536               /* of a string received */

static const char *const globals[] = {
  "assert", "coroutine", "error", "getmetatable", "goro", "ipairs", "math", "next", "pairs", "pcall",
  "rawequal", "rawget", "rawlen", "rawset", "select", "tonumber", "tostring", "type", "utf8",
  "_G", "_VERSION", NULL
};

static const char *const ours[] = {
  "Atomic", "Mutex", "RWMutex", "Semaphore", "WaitGroup", "after", "chan", "go", "id", "now", "select",
  "sleep", "yield", "version", "_VERSION", NULL
};

static const char *const libraries[] = {
  LUA_MATHLIBNAME, LUA_UTF8LIBNAME, LUA_COLIBNAME, LUA_GNAME, "goro", NULL
};

static bool among (const char *const *list, const char *name) {
  for (; *list != NULL; list++)
    if (strcmp(*list, name) == 0) return true;
  return false;
}

bool tame_library (const char *name) { return among(libraries, name); }

bool tame_name (int which, const char *name) {
  switch (which) {
    case LAZY_G: return among(globals, name);
    case LAZY_GORO: return among(ours, name);
    default: return among(libraries, name);
  }
}

bool tame_type (int type) {
  switch (type) {
    case OBJ_CHAN: case OBJ_WAITGROUP: case OBJ_MUTEX: case OBJ_RWMUTEX: case OBJ_SEMAPHORE:
    case OBJ_ATOMIC: case OBJ_TIMER: case OBJ_CONTEXT: return true;
    default: return false;
  }
}

bool tame_value (const Value *v) {
  switch (v->tag) {
    case V_CFN: return false;
    case V_OBJ: return tame_type(v->u.o->type);
    case V_STR: return v->u.m->len <= TAME_BYTES;
    case V_MSG: return plain_is(v->u.m);
    default: return true;
  }
}

/* Waits that end with nothing to be decoded but what its Sudog holds. */
static bool tame_wait (uint32_t reason) {
  switch (reason) {
    case WAIT_RECV: case WAIT_SEND: case WAIT_SELECT: case WAIT_SLEEP: case WAIT_MUTEX:
    case WAIT_RLOCK: case WAIT_WLOCK: case WAIT_SEMAPHORE: return true;
    default: return false;
  }
}

bool tame (M *m, G *g) {
  const State *s = g->state;
  return s->L != NULL && !s->wild && !s->must_close && s->locked == 0 && s->yielding == Y_PARK &&
         tame_wait(load_rlx(&g->reason)) &&
         load_rlx(&g->parkseq) - g->slow >= QUICK &&
         (g->fired == NULL || tame_value(&g->fired->elem)) && m->from != NULL &&
         lua_gc(s->L, LUA_GCCOUNT, 0) <= TAME_KB && load_rlx(&check_on) == 0;
}

void tame_lost_slow (State *s) {
  M *m = sched_m();
  s->wild = true;
  if (m != NULL && m->is_host && m->curg != NULL && m->curg->state == s && !s->is_host)
    preempt_guest(m, s);
}

int tame_leave (lua_State *L, State *s, lua_KContext ctx, lua_KFunction k) {
  s->wild = true;
  s->yielding = Y_YIELD;
  return lua_yieldk(L, 0, ctx, k);
}

static int again_k (lua_State *L, int status, lua_KContext f) {
  (void)status;
  return ((lua_CFunction)f)(L);
}

int tame_again (lua_State *L, State *s, lua_CFunction f) {
  return tame_leave(L, s, (lua_KContext)f, again_k);
}

int tame_leave_with (lua_State *L, State *s, Value *v, lua_KContext ctx, lua_KFunction k) {
  G *g = s->g;
  g->own.elem = *v;
  g->own.ok = true;
  g->wake = WAKE_READY;
  s->yielding = Y_YIELD;
  g->slow = load_rlx(&g->parkseq);
  return lua_yieldk(L, 0, ctx, k);
}
