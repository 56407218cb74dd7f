/*
** costate.c - coroutine.* of goroutine states: a goroutine that blocks inside coroutines.
** Layer 5.
**
** The blocking call yields its own lua_State.  lua_resume returns that to our resume below,
** which sees s->yielding, and instead of returning to the script yields in turn, until the
** worker has it.  When the goroutine is woken the worker resumes the outermost lua_State, whose
** continuation here resumes the next, down to the blocking call's own.  The resumer's script
** sees nothing.  A yield of the script's own (s->yielding is 0) is returned as always.
**
** s->cur and s->chain say what is innermost and whether a yield can travel; both are set before
** each lua_resume and put back after it, so that they are right whatever the coroutine did.
** Where the resumer itself cannot yield (a resume inside a sort comparator), chain is false
** below it and nothing yields there.
*/
#include <string.h>
#include "lauxlib.h"
#include "profile.h"
#include "run.h"
#include "costate.h"

static lua_State *check_co (lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  if (co == NULL) luaL_typeerror(L, 1, "coroutine");
  return co;
}

/* What a resume must put back: packed into the continuation's context. */
#define CTX(chain, wrap) ((lua_KContext)((chain) | (wrap) << 1))
#define CTX_CHAIN(c) (((c) & 1) != 0)
#define CTX_WRAP(c) (((c) & 2) != 0)

static int resume_k (lua_State *L, int status, lua_KContext ctx);

static int finish_wrap (lua_State *L, lua_State *co) {         /* error object is on top of co */
  int status = lua_status(co);
  lua_xmove(co, L, 1);
  if (status != LUA_OK && status != LUA_YIELD) {               /* an error in the coroutine */
    lua_sethook(co, NULL, 0, 0);
    status = lua_resetthread(co);      /* closes what it left pending */
    if (lua_gettop(co) > 0) lua_xmove(co, L, 1);               /* (5.4.0 may leave nothing) */
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

/* The goroutine goes on in 'L'. */
static void run_in (State *s, lua_State *L) {
  M *m = sched_m();
  uint32_t slice;
  m->curl = L;
  if (preempt_pending(m)) preempt_moves(s, L);
  if ((slice = goro_slice()) > 0) run_slice(m, s, L, slice);
}

/* The innermost coroutine of a goroutine that blocks: it may owe the profiler a sample. */
static void profile_yields (M *m, const State *s, lua_State *co) {
  if (load_rlx(&m->due) != 0) profile_take(m, s, co, 0);
}

/*
** Resume 'co' with 'n' values already on its stack.  Values below L's top stay: in resume_k the
** stack is as it was here.
*/
static int resume (lua_State *L, lua_State *co, int n, lua_KContext ctx) {
  Here h = here(L);
  State *s = h.s;
  Resumer r = { L, h.m->resumer };
  int status, nres;
  h.m->resumer = &r;
  s->cur = co;
  s->chain = CTX_CHAIN(ctx) && lua_isyieldable(L);
  run_in(s, co);
  status = lua_resume(co, L, n, &nres);
  if (status == LUA_YIELD && s->yielding != Y_NONE) {          /* the goroutine blocks */
    if (h.m->hooked != NULL) profile_yields(h.m, s, co);
    h.m->resumer = r.up;
    return lua_yieldk(L, 0, ctx, resume_k);
  }
  h.m->resumer = r.up;
  s->cur = L;
  s->chain = CTX_CHAIN(ctx);
  run_in(s, L);
  if (status == LUA_OK || status == LUA_YIELD) {
    if (!lua_checkstack(L, nres + 1)) {
      lua_pop(co, nres);
      if (CTX_WRAP(ctx)) return luaL_error(L, "too many results to resume");
      lua_pushboolean(L, 0);
      lua_pushliteral(L, "too many results to resume");
      return 2;
    }
    if (!CTX_WRAP(ctx)) lua_pushboolean(L, 1);
    lua_xmove(co, L, nres);
    return nres + !CTX_WRAP(ctx);
  }
  if (CTX_WRAP(ctx)) return finish_wrap(L, co);
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  return 2;
}

static int resume_k (lua_State *L, int status, lua_KContext ctx) {
  lua_State *co = CTX_WRAP(ctx) ? lua_tothread(L, lua_upvalueindex(1)) : lua_tothread(L, 1);
  (void)status;
  here(L).s->yielding = Y_NONE;
  return resume(L, co, 0, ctx);
}

/* Move the arguments over; an error message is left on L's top if that cannot be. */
static bool pass_arguments (lua_State *L, lua_State *co, int n) {
  if (!lua_checkstack(co, n)) {
    lua_pushliteral(L, "too many arguments to resume");
    return false;
  }
  lua_xmove(L, co, n);
  return true;
}

/* Not a coroutine of ours (a C library's own resume is between): resume as plain Lua does. */
static bool foreign (lua_State *L, State *s) { return L != s->cur; }

static int plain_resume (lua_State *L, lua_State *co, int n, bool wrap) {
  Here h = here(L);
  State *s = h.s;
  lua_State *cur = s->cur;
  bool chain = s->chain;
  const Resumer *up = h.m->resumer;
  Resumer known = { cur, up }, r = { L, &known };
  int status, nres;
  h.m->resumer = &r;
  s->cur = co;
  s->chain = false;                    /* nothing travels through what we don't know */
  status = lua_resume(co, L, n, &nres);
  h.m->resumer = up;
  s->cur = cur;
  s->chain = chain;
  if (status == LUA_OK || status == LUA_YIELD) {
    luaL_checkstack(L, nres + 1, "too many results to resume");
    if (!wrap) lua_pushboolean(L, 1);
    lua_xmove(co, L, nres);
    return nres + !wrap;
  }
  if (wrap) return finish_wrap(L, co);
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  return 2;
}

static int co_resume (lua_State *L) {
  lua_State *co = check_co(L);
  State *s = here(L).s;
  int n = lua_gettop(L) - 1;
  if (co == L || co == s->L || !pass_arguments(L, co, n)) {
    const char *what = co == L || co == s->L ? "cannot resume non-suspended coroutine" : NULL;
    lua_pushboolean(L, 0);
    if (what != NULL) lua_pushstring(L, what);
    else lua_insert(L, -2);
    return 2;
  }
  if (foreign(L, s)) return plain_resume(L, co, n, false);
  return resume(L, co, n, CTX(s->chain, 0));
}

static int co_wrapped (lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  State *s = here(L).s;
  int n = lua_gettop(L);
  if (co == L) return luaL_error(L, "cannot resume non-suspended coroutine");
  if (!pass_arguments(L, co, n)) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
    return lua_error(L);
  }
  if (foreign(L, s)) return plain_resume(L, co, n, true);
  return resume(L, co, n, CTX(s->chain, 1));
}

static int co_create (lua_State *L) {
  Here h = here(L);
  lua_State *co;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  co = lua_newthread(L);
  preempt_inherited(h.m, h.s, co);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  return 1;
}

static int co_wrap (lua_State *L) {
  co_create(L);
  lua_pushcclosure(L, co_wrapped, 1);
  return 1;
}

/* The goroutine's own body is its main thread: no coroutine, for the script. */
static int co_yield (lua_State *L) {
  State *s = here(L).s;
  if (L == s->L) return luaL_error(L, "attempt to yield from outside a coroutine");
  s->yielding = Y_NONE;
  return lua_yield(L, lua_gettop(L));
}

static int co_isyieldable (lua_State *L) {
  lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  lua_pushboolean(L, co != here(L).s->L && lua_isyieldable(co));
  return 1;
}

static int co_close (lua_State *L) {
  lua_State *co = check_co(L);
  State *s = here(L).s;
  lua_Debug ar;
  int status = lua_status(co);
  const char *what = NULL;
  if (co == L) what = "running";
  else if (co == s->L) what = "normal";
  else if (status == LUA_OK && lua_getstack(co, 0, &ar)) what = "normal";
  if (what != NULL) return luaL_error(L, "cannot close a %s coroutine", what);
  lua_sethook(co, NULL, 0, 0);         /* a hook would cut its __close short */
  status = lua_resetthread(co);
  if (status == LUA_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  return 2;
}

const luaL_Reg costate_functions[] = {
  { "create", co_create },
  { "resume", co_resume },
  { "wrap", co_wrap },
  { "yield", co_yield },
  { "isyieldable", co_isyieldable },
  { "close", co_close },
  { NULL, NULL }
};
