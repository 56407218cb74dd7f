/*
** verify.c - is a copy of a state what it was copied from?  Layer 5.
**
** The two lie at different addresses, so a word that was taken for a pointer and is none has
** different values in them.  All values that can be reached through Lua's API are compared:
** numbers bit by bit, strings byte by byte, functions by their dumps (instructions, constants,
** debug information, with those of the functions inside), tables pair by pair in the order of
** 'next', which the copy must have too.
**
** The walk also refuses what no template may hold: keys that are hashed by address, coroutines.
*/
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "code.h"
#include "verify.h"

#define MAX_DEPTH 150

typedef struct Pair { const void *a, *b; } Pair;

typedef struct Walk {
  lua_State *A, *B;
  Pair *seen;                          /* objects met: by address in A */
  size_t n, cap;
  int depth;
  bool same;
} Walk;

static bool walk (Walk *w);

/* Was the object met before?  If so '*same' says whether with the same counterpart. */
static bool met (Walk *w, const void *a, const void *b, bool *same) {
  size_t i;
  *same = true;
  if (w->n * 2 >= w->cap) {
    size_t cap = w->cap ? w->cap * 2 : 256, k;
    Pair *p = calloc(cap, sizeof *p);
    if (p == NULL) {
      *same = false;
      return true;
    }
    for (k = 0; k < w->cap; k++)
      if (w->seen[k].a != NULL) {
        for (i = (uintptr_t)w->seen[k].a / 16 % cap; p[i].a != NULL; i = (i + 1) % cap) continue;
        p[i] = w->seen[k];
      }
    free(w->seen);
    w->seen = p;
    w->cap = cap;
  }
  for (i = (uintptr_t)a / 16 % w->cap; w->seen[i].a != NULL; i = (i + 1) % w->cap)
    if (w->seen[i].a == a) {
      *same = w->seen[i].b == b;
      return true;
    }
  w->seen[i].a = a;
  w->seen[i].b = b;
  w->n++;
  return false;
}

static bool is_fit_key (lua_State *L) {
  switch (lua_type(L, -1)) {
    case LUA_TSTRING: case LUA_TNUMBER: case LUA_TBOOLEAN: case LUA_TLIGHTUSERDATA: return true;
    case LUA_TFUNCTION:                /* a light one */
      if (!lua_iscfunction(L, -1)) return false;
      if (lua_getupvalue(L, -1, 1) == NULL) return true;
      lua_pop(L, 1);
      return false;
    default: return false;
  }
}

/* The tables on top. */
static bool walk_table (Walk *w) {
  lua_State *A = w->A, *B = w->B;
  bool more, meta;
  lua_pushnil(A);
  lua_pushnil(B);
  while ((more = lua_next(A, -2)) == lua_next(B, -2) && more) {
    if (!walk(w)) return false;        /* the values; popped */
    if (!is_fit_key(A)) return false;
    lua_pushvalue(A, -1);
    lua_pushvalue(B, -1);
    if (!walk(w)) return false;
  }
  if (more) return false;
  meta = lua_getmetatable(A, -1);
  if (lua_getmetatable(B, -1) != meta) return false;
  return !meta || walk(w);
}

static bool walk_function (Walk *w) {
  lua_State *A = w->A, *B = w->B;
  const char *a, *b;
  int i;
  if (lua_tocfunction(A, -1) != lua_tocfunction(B, -1)) return false;
  if (!lua_iscfunction(A, -1)) {
    size_t la = 0, lb = 0;
    char *da = code_dump(A, -1, &la), *db = code_dump(B, -1, &lb);
    bool same = da != NULL && db != NULL && la == lb && memcmp(da, db, la) == 0;
    free(da);
    free(db);
    if (!same) return false;
  }
  for (i = 1; ; i++) {
    a = lua_getupvalue(A, -1, i);
    b = lua_getupvalue(B, -1, i);
    if (a == NULL || b == NULL) return a == b;
    if (strcmp(a, b) != 0 || !walk(w)) return false;
  }
}

static bool walk_userdata (Walk *w) {
  lua_State *A = w->A, *B = w->B;
  size_t n = lua_rawlen(A, -1);
  int i, ta, tb;
  if (lua_rawlen(B, -1) != n) return false;
  if (n > 0 && memcmp(lua_touserdata(A, -1), lua_touserdata(B, -1), n) != 0) return false;
  for (i = 1; ; i++) {
    ta = lua_getiuservalue(A, -1, i);
    tb = lua_getiuservalue(B, -1, i);
    if (ta != tb) return false;
    if (ta == LUA_TNONE) break;
    if (!walk(w)) return false;
  }
  lua_pop(A, 1);
  lua_pop(B, 1);
  if (!lua_getmetatable(A, -1)) return !lua_getmetatable(B, -1);
  return lua_getmetatable(B, -1) && walk(w);
}

static bool walk_string (Walk *w) {
  size_t la, lb;
  const char *a = lua_tolstring(w->A, -1, &la), *b = lua_tolstring(w->B, -1, &lb);
  return la == lb && memcmp(a, b, la) == 0;
}

static bool walk_number (Walk *w) {
  lua_State *A = w->A, *B = w->B;
  if (lua_isinteger(A, -1))
    return lua_isinteger(B, -1) && lua_tointeger(A, -1) == lua_tointeger(B, -1);
  else {
    lua_Number a = lua_tonumber(A, -1), b = lua_tonumber(B, -1);
    return !lua_isinteger(B, -1) && memcmp(&a, &b, sizeof a) == 0;
  }
}

static bool walk_object (Walk *w, int type) {
  bool same, done = met(w, lua_topointer(w->A, -1), lua_topointer(w->B, -1), &same);
  if (done) return same;
  if (w->depth >= MAX_DEPTH || !lua_checkstack(w->A, 10) || !lua_checkstack(w->B, 10))
    return false;
  w->depth++;
  if (type == LUA_TTABLE) same = walk_table(w);
  else if (type == LUA_TFUNCTION) same = walk_function(w);
  else same = walk_userdata(w);
  w->depth--;
  return same;
}

/* The values on top; popped if they are the same. */
static bool walk (Walk *w) {
  lua_State *A = w->A, *B = w->B;
  int type = lua_type(A, -1), a = lua_gettop(A), b = lua_gettop(B);
  bool same;
  if (lua_type(B, -1) != type) return false;
  switch (type) {
    case LUA_TNIL: same = true; break;
    case LUA_TBOOLEAN: same = lua_toboolean(A, -1) == lua_toboolean(B, -1); break;
    case LUA_TLIGHTUSERDATA: same = lua_touserdata(A, -1) == lua_touserdata(B, -1); break;
    case LUA_TNUMBER: same = walk_number(w); break;
    case LUA_TSTRING: same = walk_string(w); break;
    case LUA_TTHREAD: same = lua_tothread(A, -1) == A && lua_tothread(B, -1) == B; break;
    default: same = walk_object(w, type); break;
  }
  lua_settop(A, a - 1);
  lua_settop(B, b - 1);
  return same;
}

static bool walk_metatables (Walk *w) {            /* of the basic types */
  lua_State *A = w->A, *B = w->B;
  int i;
  for (i = 0; i < 4; i++) {
    lua_State *both[2] = { A, B };
    int k;
    for (k = 0; k < 2; k++) {
      lua_State *L = both[k];
      if (i == 0) lua_pushnil(L);
      else if (i == 1) lua_pushboolean(L, 0);
      else if (i == 2) lua_pushinteger(L, 0);
      else lua_pushliteral(L, "");
      if (!lua_getmetatable(L, -1)) lua_pushnil(L);
    }
    if (!walk(w)) return false;
    lua_pop(A, 1);
    lua_pop(B, 1);
  }
  return true;
}

static int walk_all (lua_State *L) {   /* in B, called from A's: errors of either end here */
  Walk *w = lua_touserdata(L, 1);
  lua_State *A = w->A;
  lua_settop(L, 0);
  lua_pushvalue(A, LUA_REGISTRYINDEX);
  lua_pushvalue(L, LUA_REGISTRYINDEX);
  w->same = walk(w) && walk_metatables(w);
  return 0;
}

static int walk_b (lua_State *A) {
  Walk *w = lua_touserdata(A, 1);
  lua_State *B = w->B;
  lua_settop(A, 0);
  lua_pushcfunction(B, walk_all);
  lua_pushlightuserdata(B, w);
  if (lua_pcall(B, 1, 0, 0) != LUA_OK) w->same = false;
  return 0;
}

bool verify_same (lua_State *A, lua_State *B) {
  Walk w;
  bool same = true;
  int i, n = lua_gettop(A);
  memset(&w, 0, sizeof w);
  w.A = A;
  w.B = B;
  if (lua_gettop(B) != n || !lua_checkstack(A, 20) || !lua_checkstack(B, 20)) return false;
  lua_pushcfunction(A, walk_b);
  lua_pushlightuserdata(A, &w);
  same = lua_pcall(A, 1, 0, 0) == LUA_OK && w.same;
  for (i = 1; same && i <= n; i++) {   /* (what walks them finds no key unfit: it cannot raise) */
    lua_pushvalue(A, i);
    lua_pushvalue(B, i);
    same = walk(&w);
  }
  free(w.seen);
  return same;
}

/* ---------------------------------------------------------------- */

static const char program[] =
  "local t, sum = {}, 0\n"
  "for i = 1, 50 do t[i] = { i, 'k' .. i }; t['k' .. i] = t[i] end\n"
  "for i = 1, 50 do sum = sum + t['k' .. i][1] end\n"
  "return sum, '10' + 1";

static int exercise (lua_State *L) {
  if (luaL_loadbufferx(L, program, sizeof program - 1, "=image", "t") != LUA_OK)
    return lua_error(L);
  lua_pushnil(L);                      /* (no globals: they need a goroutine) */
  if (lua_setupvalue(L, -2, 1) == NULL) return luaL_error(L, "no upvalue");
  lua_call(L, 0, 2);
  if (lua_tointeger(L, -2) != 1275 || lua_tointeger(L, -1) != 11)
    return luaL_error(L, "wrong result");
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT, 0);
  return 0;
}

bool verify_works (lua_State *L) {
  lua_pushcfunction(L, exercise);
  return lua_pcall(L, 0, 0, 0) == LUA_OK;
}
