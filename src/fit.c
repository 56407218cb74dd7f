/*
** fit.c - is a state fit to become an image?  Layer 5.
**
** Its modules have run in it (modimage.c), so anything may be there.  Refused are coroutines and
** full userdata: what those hold may be counted, open, or somebody's.  The exceptions are Lua's
** own: the state of math.random, which each copy seeds anew, and io's three files, which hold
** plain pointers to the process's own and are never closed.
**
** A table whose keys are tables, functions or userdata is hashed by their addresses, and broken
** in a copy.  Such pairs are taken out, into a list in the registry, before the state is copied,
** and put back in each copy, and in the state itself.  (What is left of them in the table are
** dead keys: nothing looks for those.)
*/
#include <stdlib.h>
#include <string.h>
#include "fit.h"
#include "lualib.h"
#include "platform.h"

#define MAX_DEPTH 150                  /* as verify.c's */
#define MAX_OWN 8

static const char pairs_key = 0;       /* registry[&pairs_key] = { table, key, value, ... } */
static const char seed_key = 0;        /* registry[&seed_key] = math.randomseed */

typedef struct Fit {
  lua_State *L;
  const void **seen;                   /* a hash set: objects met */
  size_t n, cap;
  const void *own[MAX_OWN];            /* userdata of Lua's libraries */
  int nown;
  int depth;
  int list;                            /* stack: the pairs */
  lua_Integer npairs;                  /* values in it */
  const char *why;                     /* NULL, or why it is not fit */
} Fit;

/* Was it met before?  false: it is noted. */
static bool met (Fit *f, const void *p) {
  size_t i;
  if (f->n * 2 >= f->cap) {
    size_t cap = f->cap ? f->cap * 2 : 1024, k;
    const void **s = calloc(cap, sizeof *s);
    if (s == NULL) {
      f->why = "not enough memory";
      return true;
    }
    for (k = 0; k < f->cap; k++)
      if (f->seen[k] != NULL) {
        for (i = (uintptr_t)f->seen[k] / 16 % cap; s[i] != NULL; i = (i + 1) % cap) continue;
        s[i] = f->seen[k];
      }
    free(f->seen);
    f->seen = s;
    f->cap = cap;
  }
  for (i = (uintptr_t)p / 16 % f->cap; f->seen[i] != NULL; i = (i + 1) % f->cap)
    if (f->seen[i] == p) return true;
  f->seen[i] = p;
  f->n++;
  return false;
}

static bool walk (Fit *f);

static bool hashes_by_address (lua_State *L, int idx) {
  switch (lua_type(L, idx)) {
    case LUA_TTABLE: case LUA_TUSERDATA: case LUA_TTHREAD: return true;
    case LUA_TFUNCTION:
      if (!lua_iscfunction(L, idx)) return true;
      if (lua_getupvalue(L, idx, 1) == NULL) return false;     /* a light one */
      lua_pop(L, 1);
      return true;
    default: return false;
  }
}

/* The pair on top, of the table below it. */
static void take_out (Fit *f, int t) {
  lua_State *L = f->L;
  int k = lua_gettop(L) - 1;
  lua_pushvalue(L, t);
  lua_rawseti(L, f->list, f->npairs + 1);
  lua_pushvalue(L, k);
  lua_rawseti(L, f->list, f->npairs + 2);
  lua_pushvalue(L, k + 1);
  lua_rawseti(L, f->list, f->npairs + 3);
  f->npairs += 3;
  lua_pushvalue(L, k);
  lua_pushnil(L);
  lua_rawset(L, t);                    /* (clearing is allowed while 'next' goes on) */
}

static bool walk_table (Fit *f) {
  lua_State *L = f->L;
  int t = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, t)) {
    if (hashes_by_address(L, -2)) {
      lua_pushvalue(L, -2);
      if (!walk(f)) return false;
      take_out(f, t);
    }
    if (!walk(f)) return false;        /* the value; popped */
  }
  return !lua_getmetatable(L, t) || walk(f);
}

static bool walk_function (Fit *f) {
  int i;
  for (i = 1; lua_getupvalue(f->L, -1, i) != NULL; i++)
    if (!walk(f)) return false;
  return true;
}

static bool refuse (Fit *f, const char *why) {
  if (f->why == NULL) f->why = why;
  return false;
}

static bool walk_userdata (Fit *f) {
  const void *p = lua_topointer(f->L, -1);
  int i;
  for (i = 0; i < f->nown; i++)
    if (p == f->own[i]) return true;
  return refuse(f, "it has full userdata");
}

/* The value on top; popped. */
static bool walk (Fit *f) {
  lua_State *L = f->L;
  int top = lua_gettop(L), type = lua_type(L, top);
  bool ok = true;
  if (type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA) {
    if (!met(f, lua_topointer(L, top))) {
      if (f->depth >= MAX_DEPTH) return refuse(f, "its tables are nested too deeply");
      luaL_checkstack(L, 12, NULL);
      f->depth++;
      ok = type == LUA_TTABLE ? walk_table(f) :
           type == LUA_TFUNCTION ? walk_function(f) : walk_userdata(f);
      f->depth--;
    }
  }
  else if (type == LUA_TTHREAD && lua_tothread(L, top) != L)
    ok = refuse(f, "it has a coroutine");
  if (f->why != NULL) ok = false;
  if (ok) lua_settop(L, top - 1);
  return ok;
}

static void add_own (Fit *f, int idx) {
  if (lua_type(f->L, idx) == LUA_TUSERDATA && f->nown < MAX_OWN)
    f->own[f->nown++] = lua_topointer(f->L, idx);
}

static bool raw_library (lua_State *L, const char *name) {     /* push it, if it is open */
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_istable(L, -1)) {
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    lua_remove(L, -2);
  }
  return lua_istable(L, -1);
}

static void raw_field (lua_State *L, const char *name) {       /* of the table on top */
  lua_pushstring(L, name);
  lua_rawget(L, -2);
}

/* What of Lua's own userdata may be copied. */
static void find_own (Fit *f) {
  static const char *const files[] = { "stdin", "stdout", "stderr" };
  lua_State *L = f->L;
  int top = lua_gettop(L), i;
  if (raw_library(L, LUA_IOLIBNAME))
    for (i = 0; i < 3; i++) {
      raw_field(L, files[i]);
      add_own(f, -1);
      lua_pop(L, 1);
    }
  lua_settop(L, top);
  if (raw_library(L, LUA_MATHLIBNAME)) {
    raw_field(L, "randomseed");
    if (lua_iscfunction(L, -1) && lua_getupvalue(L, -1, 1) != NULL) {
      add_own(f, -1);
      lua_pop(L, 1);
      lua_rawsetp(L, LUA_REGISTRYINDEX, &seed_key);
    }
    else refuse(f, "it replaces math.randomseed");
  }
  lua_settop(L, top);
}

static bool walk_basic_metatables (Fit *f) {
  lua_State *L = f->L;
  int i;
  for (i = 0; i < 6; i++) {
    if (i == 0) lua_pushnil(L);
    else if (i == 1) lua_pushboolean(L, 0);
    else if (i == 2) lua_pushinteger(L, 0);
    else if (i == 3) lua_pushliteral(L, "");
    else if (i == 4) lua_pushlightuserdata(L, f);
    else lua_pushthread(L);
    if (lua_getmetatable(L, -1) && !walk(f)) return false;
    lua_pop(L, 1);
  }
  return true;
}

static int look (lua_State *L) {
  Fit *f = lua_touserdata(L, 1);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_settop(L, 0);
  lua_newtable(L);
  f->list = 1;
  lua_pushvalue(L, 1);                 /* there before anything is taken out: whatever raises */
  lua_rawsetp(L, LUA_REGISTRYINDEX, &pairs_key);
  find_own(f);
  met(f, lua_topointer(L, 1));         /* (it is no part of what is looked at) */
  if (f->why == NULL) {
    lua_pushvalue(L, LUA_REGISTRYINDEX);
    if (walk(f)) walk_basic_metatables(f);
  }
  return 0;
}

const char *fit_take_out (lua_State *L) {
  Fit f;
  memset(&f, 0, sizeof f);
  f.L = L;
  lua_pushcfunction(L, look);
  lua_pushlightuserdata(L, &f);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    lua_pop(L, 1);
    f.why = "not enough memory";
  }
  free(f.seen);
  return f.why;
}

void fit_restore (lua_State *L) {
  int top = lua_gettop(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &pairs_key) == LUA_TTABLE) {
    lua_Integer i, n = (lua_Integer)lua_rawlen(L, top + 1);
    for (i = 1; i + 2 <= n; i += 3) {
      lua_rawgeti(L, top + 1, i);
      lua_rawgeti(L, top + 1, i + 1);
      lua_rawgeti(L, top + 1, i + 2);
      lua_rawset(L, -3);
      lua_pop(L, 1);
    }
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &pairs_key);
  }
  lua_settop(L, top);
}

/* Seeds need not be a secret for each goroutine: one secret a process, and a count. */
void fit_seed (lua_State *L) {
  static _Atomic(uint64_t) secret, count;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &seed_key) == LUA_TFUNCTION) {
    uint64_t a = load_rlx(&secret), n = add_rlx(&count, 1);
    if (a == 0) {
      a = os_random() | 1;
      store_rlx(&secret, a);
    }
    lua_pushinteger(L, (lua_Integer)(a ^ n));
    lua_pushinteger(L, (lua_Integer)(a * UINT64_C(0x9E3779B97F4A7C15) + n));
    lua_call(L, 2, 0);
  }
  else lua_pop(L, 1);
}
