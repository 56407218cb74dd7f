/*
** lua_hook.c - debug.sethook and debug.gethook in goroutines.  Layer 6.
**
** Lua forgets how far a count hook has counted when another hook is set, as preemption does: a
** hook at each 10,000,000th instruction would never be called in a goroutine that is preempted
** after fewer.  A large count is taken in steps here, and what the steps make up is remembered:
** preemption costs one step at most.
*/
#include "lua_args.h"
#include "lua_hook.h"
#include "stdlibs.h"

#define STEP 1000

static const char counted_key = 0;     /* registry[&counted_key] = { [thread] = Counted }, weak */

typedef struct Counted {
  lua_Hook f;                          /* the stock library's */
  int count, left, step;
} Counted;

static Counted *counted_of (lua_State *L, lua_State *co) {
  Counted *c = NULL;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &counted_key) == LUA_TTABLE) {
    lua_pushthread(co);
    if (co != L) lua_xmove(co, L, 1);
    lua_rawget(L, -2);
    c = lua_touserdata(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return c;
}

static Counted *counted_make (lua_State *L, lua_State *co) {
  Counted *c;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &counted_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &counted_key);
  }
  lua_pushthread(co);
  if (co != L) lua_xmove(co, L, 1);
  c = lua_newuserdatauv(L, sizeof *c, 0);
  here(L).s->nhandles++;               /* ours, and not finalised */
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return c;
}

static void hook (lua_State *L, lua_Debug *ar) {
  Counted *c = counted_of(L, L);
  if (c == NULL) return;               /* a new coroutine inherits hooks; the stock one does nothing */
  if (ar->event == LUA_HOOKCOUNT) {
    c->left -= c->step;
    if (c->left <= 0) c->left = c->count;
    if (lua_gethook(L) == hook && c->step != (c->left < STEP ? c->left : STEP)) {
      c->step = c->left < STEP ? c->left : STEP;
      lua_sethook(L, hook, lua_gethookmask(L), c->step);
    }
    if (c->left != c->count) return;
  }
  c->f(L, ar);
}

/* A request to give way that is being carried out stands aside meanwhile. */
static void stand_aside (lua_State *L, bool back) {
  Here h = here(L);
  if (preempt_pending(h.m)) preempt_moves(h.s, back ? h.m->curl : NULL);
}

int hook_sethook (lua_State *L) {
  lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  lua_CFunction stock = stdlibs_map(hook_sethook, &hs_of(here(L).s)->s);
  int count;
  lua_Hook f;
  stand_aside(L, false);
  stock(L);                            /* its own frame: it names itself in errors */
  f = lua_gethook(co);
  count = lua_gethookcount(co);
  if (f != NULL && (lua_gethookmask(co) & LUA_MASKCOUNT) && count > STEP) {
    Counted *c;
    luaL_checkstack(co, 1, NULL);
    c = counted_make(L, co);
    c->f = f;
    c->count = c->left = count;
    c->step = STEP;
    lua_sethook(co, hook, lua_gethookmask(co), c->step);
  }
  stand_aside(L, true);
  return 0;
}

int hook_gethook (lua_State *L) {
  lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  lua_CFunction stock = stdlibs_map(hook_gethook, &hs_of(here(L).s)->s);
  Counted *c = NULL;
  int n;
  stand_aside(L, false);
  luaL_checkstack(co, 1, NULL);
  if (lua_gethook(co) == hook && (c = counted_of(L, co)) != NULL)
    lua_sethook(co, c->f, lua_gethookmask(co), c->count);
  n = stock(L);
  if (c != NULL) lua_sethook(co, hook, lua_gethookmask(co), c->step);
  stand_aside(L, true);
  return n;
}
