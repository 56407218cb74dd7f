/*
** modref.c - values that cross by reference.  Layer 5.
**
** The map is made anew when require has run or a library was opened since, or (looked at once a
** message, when a function or an object of an unknown class is met) when package.loaded holds
** something else.
** Breadth first, so that the shortest path is kept; classes that are only upvalues of a module's
** functions come last.  _G and the inside of 'package' are left out: being a global makes
** nothing a module.
*/
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "lualib.h"
#include "classes.h"
#include "marshal.h"
#include "modref.h"
#include "stdlibs.h"

#define MAX_DEPTH 6
#define MAX_ROUNDS 3                   /* of classes found as upvalues */

typedef struct Build {
  lua_State *L;
  State *s;
  int map;                             /* stack: [value] = path */
  int queue;                           /* stack: [i] = table to be walked, [table] = its path */
  int functions;                       /* stack: [i] = Lua function */
  lua_Integer nqueue, nfunctions;
} Build;

static uint32_t hash (const void *p) {
  return (uint32_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 53);
}

static void bloom_add (const ModRef *r, const void *p) {
  uint32_t h = hash(p);
  r->bloom[(h >> 6) % MODREF_BLOOM] |= UINT64_C(1) << (h & 63);
}

bool modref_may_know (const ModRef *r, const void *p) {
  uint32_t h = hash(p);
  return r->bloom != NULL && ((r->bloom[(h >> 6) % MODREF_BLOOM] >> (h & 63)) & 1);
}

/* What tells package.loaded, at 't', from what it was: a sum over its entries. */
static uint64_t digest (lua_State *L, int t) {
  uint64_t n = 0;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    uint64_t k = (uint64_t)(uintptr_t)lua_topointer(L, -2);
    uint64_t v = (uint64_t)(uintptr_t)lua_topointer(L, -1);
    n += (k * UINT64_C(0x9E3779B97F4A7C15) ^ v) * UINT64_C(0xBF58476D1CE4E5B9) + 1;
    lua_pop(L, 1);
  }
  return n;
}

/* Push the path at 'path' with the key at 'k' added. */
static void push_longer (lua_State *L, int path, int k) {
  int i, n = (int)lua_rawlen(L, path);
  lua_createtable(L, n + 1, 0);
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, path, i);
    lua_rawseti(L, -2, i);
  }
  lua_pushvalue(L, k);
  lua_rawseti(L, -2, n + 1);
}

static bool has (lua_State *L, int t, int v) {       /* t[v] ~= nil */
  bool there;
  lua_pushvalue(L, v);
  there = lua_rawget(L, t) != LUA_TNIL;
  lua_pop(L, 1);
  return there;
}

static void set (lua_State *L, int t, int v, int path) {
  lua_pushvalue(L, v);
  lua_pushvalue(L, path);
  lua_rawset(L, t);
}

/* map[value at 'v'] = path at 'path', if it has none. */
static void know (Build *b, int v, int path) {
  lua_State *L = b->L;
  if (has(L, b->map, v)) return;
  set(L, b->map, v, path);
  bloom_add(&b->s->rare->modref, lua_topointer(L, v));
  if (lua_isfunction(L, v) && !lua_iscfunction(L, v)) {
    lua_pushvalue(L, v);
    lua_rawseti(L, b->functions, ++b->nfunctions);
  }
}

static void enqueue (Build *b, int v, int path) {    /* the table at 'v' is to be walked */
  lua_State *L = b->L;
  set(L, b->queue, v, path);
  lua_pushvalue(L, v);
  lua_rawseti(L, b->queue, ++b->nqueue);
}

/* Does the table at 't' look like a metatable, or like a library's class? */
static bool is_class (Build *b, int t) {
  lua_State *L = b->L;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    if (lua_type(L, -2) == LUA_TSTRING) {
      const char *name = lua_tostring(L, -2);
      if (name[0] == '_' && name[1] == '_' &&
          (classes_telling(L, b->s, t, lua_gettop(L) - 1, lua_gettop(L)) || strcmp(name, "__name") == 0 ||
           strcmp(name, "__mode") == 0 || strcmp(name, "__metatable") == 0)) {
        lua_pop(L, 2);
        return true;
      }
    }
    lua_pop(L, 1);
  }
  return false;
}

/* The table at 'v', reached by the path at 'path' + the key at 'k'. */
static void meet_table (Build *b, int v, int path, int k, bool data) {
  lua_State *L = b->L;
  bool class;
  if (has(L, b->queue, v)) return;
  class = is_class(b, v);
  if (!class && !data) return;
  push_longer(L, path, k);
  if (class) know(b, v, lua_gettop(L));
  enqueue(b, v, lua_gettop(L));        /* a table that is data is walked, but no reference */
  lua_pop(L, 1);
}

/* What is in the table on top, whose path is at 'path'. */
static void walk (Build *b, int path, bool deeper) {
  lua_State *L = b->L;
  int t = lua_gettop(L);
  stack_room(L, 12);
  lua_pushnil(L);
  while (lua_next(L, t)) {
    int k = t + 1, v = t + 2, kt = lua_type(L, k), vt = lua_type(L, v);
    if (kt == LUA_TSTRING || kt == LUA_TNUMBER || kt == LUA_TBOOLEAN) {
      if (vt == LUA_TFUNCTION) {
        if (!has(L, b->map, v)) {
          push_longer(L, path, k);
          know(b, v, v + 1);
        }
      }
      else if (vt == LUA_TTABLE && deeper) meet_table(b, v, path, k, true);
    }
    lua_settop(L, k);
  }
}

static void walk_queue (Build *b, lua_Integer i) {   /* from entry 'i' on, by levels */
  lua_State *L = b->L;
  int depth;
  for (depth = 0; i <= b->nqueue; depth++) {
    lua_Integer end = b->nqueue;
    for (; i <= end; i++) {
      lua_rawgeti(L, b->queue, i);
      lua_pushvalue(L, -1);
      lua_rawget(L, b->queue);         /* its path */
      lua_insert(L, -2);
      walk(b, lua_gettop(L) - 1, depth < MAX_DEPTH);
      lua_pop(L, 2);
    }
  }
}

/* Classes that only functions know: those among the upvalues of the functions from 'i' on. */
static void walk_upvalues (Build *b, lua_Integer i) {
  lua_State *L = b->L;
  lua_Integer end = b->nfunctions;
  for (; i <= end; i++) {
    int f = lua_gettop(L) + 1, path = f + 1, k;
    lua_rawgeti(L, b->functions, i);
    lua_pushvalue(L, f);
    lua_rawget(L, b->map);
    for (k = 1; lua_getupvalue(L, f, k) != NULL; k++) {
      if (lua_istable(L, -1)) {
        lua_pushlightuserdata(L, (void *)(intptr_t)k);
        meet_table(b, path + 1, path, path + 2, false);
      }
      lua_settop(L, path);
    }
    lua_settop(L, f - 1);
  }
}

/* What is in a standard library crosses without help, but for C functions with upvalues.  What a
** script has put there is not in the receiver's. */
static void walk_standard (Build *b, int t, int path) {
  lua_State *L = b->L;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    int v = lua_gettop(L);
    if (lua_iscfunction(L, v) && lua_type(L, v - 1) == LUA_TSTRING &&
        lua_getupvalue(L, v, 1) != NULL) {
      push_longer(L, path, v - 1);
      know(b, v, lua_gettop(L));
    }
    lua_settop(L, v - 1);
  }
}

/* The module on top, whose name is below it. */
static void meet_module (Build *b) {
  lua_State *L = b->L;
  const char *name = lua_tostring(L, -2);
  int v = lua_gettop(L), path = v + 1;
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, v - 1);
  lua_rawseti(L, path, 1);
  know(b, v, path);
  if (!lua_istable(L, v)) return;
  if (!stdlibs_is_standard(name)) {
    enqueue(b, v, path);
    return;
  }
  set(L, b->queue, v, path);
  walk_standard(b, v, path);
  if (strcmp(name, LUA_LOADLIBNAME) == 0) {
    lua_pushliteral(L, "loaded");
    lua_pushvalue(L, -1);
    if (lua_rawget(L, v) == LUA_TTABLE) {
      push_longer(L, path, path + 1);
      know(b, path + 2, path + 3);
      set(L, b->queue, path + 2, path + 3);
    }
  }
}

static void build (lua_State *L, State *s) {
  Rare *all = rare_write(s);
  ModRef *r;
  Build b;
  int top = lua_gettop(L), loaded, round;
  lua_Integer tables = 1, functions = 1;
  stack_room(L, 24);
  if (all == NULL) luaL_error(L, "not enough memory");
  r = &all->modref;
  if (r->bloom == NULL && (r->bloom = malloc(MODREF_BLOOM * sizeof *r->bloom)) == NULL)
    luaL_error(L, "not enough memory");
  memset(r->bloom, 0, MODREF_BLOOM * sizeof *r->bloom);
  r->stale = true;                     /* until it is done */
  b.L = L;
  b.s = s;
  b.nqueue = b.nfunctions = 0;
  lua_newtable(L);
  b.map = top + 1;
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, b.map);
  lua_newtable(L);
  b.queue = top + 2;
  lua_newtable(L);
  b.functions = top + 3;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  loaded = top + 4;
  r->digest = digest(L, loaded);
  lua_pushnil(L);
  while (lua_next(L, loaded)) {
    int t = lua_type(L, -1);
    if (lua_type(L, -2) == LUA_TSTRING && (t == LUA_TTABLE || t == LUA_TFUNCTION))
      meet_module(&b);
    lua_settop(L, loaded + 1);
  }
  lua_pushglobaltable(L);              /* not to be walked through a module's field */
  lua_pushboolean(L, 1);
  lua_rawset(L, b.queue);
  for (round = 0; round < MAX_ROUNDS && tables <= b.nqueue; round++) {
    lua_Integer n;
    walk_queue(&b, tables);
    tables = b.nqueue + 1;
    n = b.nfunctions + 1;
    walk_upvalues(&b, functions);
    functions = n;
  }
  lua_settop(L, b.map);
  if (r->map == 0) r->map = luaL_ref(L, LUA_REGISTRYINDEX);
  else lua_rawseti(L, LUA_REGISTRYINDEX, r->map);
  r->stale = false;
  lua_settop(L, top);
}

void modref_stale (State *s) {
  if (s->rare != NULL) s->rare->modref.stale = true;           /* (else no map was made) */
}

void modref_refresh (lua_State *L, State *s, bool thorough) {
  const ModRef *r = &rare(s)->modref;
  if (r->map != 0 && !r->stale && !thorough) return;
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) == LUA_TTABLE &&
      (r->map == 0 || r->stale || digest(L, lua_gettop(L)) != r->digest)) {
    build(L, s);
    if (!s->inheriting) heritage_of(L, s);         /* receivers may need its paths */
  }
  lua_pop(L, 1);                       /* (no table: no library has been opened here) */
}

bool modref_find (lua_State *L, const ModRef *r, int idx) {
  if (r->map == 0 || !modref_may_know(r, lua_topointer(L, idx))) return false;
  idx = lua_absindex(L, idx);
  lua_rawgeti(L, LUA_REGISTRYINDEX, r->map);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pop(L, 2);
    return false;
  }
  lua_remove(L, -2);
  return true;
}

bool modref_is_standard (lua_State *L, int idx) {
  const char *name;
  bool standard;
  lua_rawgeti(L, idx, 1);
  name = lua_tostring(L, -1);
  standard = name != NULL && stdlibs_is_standard(name);
  lua_pop(L, 1);
  return standard;
}

/* ---------------------------------------------------------------- the other side */

void modref_text (lua_State *L, int idx) {
  luaL_Buffer b;
  int i, n = (int)lua_rawlen(L, idx);
  stack_room(L, LUA_MINSTACK);
  idx = lua_absindex(L, idx);
  luaL_buffinit(L, &b);
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, idx, i);
    if (lua_islightuserdata(L, -1)) {
      lua_pushfstring(L, " upvalue %d", (int)(intptr_t)lua_touserdata(L, -1));
      lua_remove(L, -2);
    }
    else {
      lua_pushfstring(L, i > 1 ? ".%s" : "%s", luaL_tolstring(L, -1, NULL));
      lua_replace(L, -3);
      lua_pop(L, 1);
    }
    luaL_addvalue(&b);
  }
  luaL_pushresult(&b);
}

/* Arguments: name, Heritage *, preload function or nil.  Requires with the sender's paths. */
static int require_as (lua_State *L) {
  const Heritage *h = lua_touserdata(L, 2);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, LUA_LOADLIBNAME);
  if (lua_istable(L, -1)) {
    if (h->path != NULL) {
      lua_pushlstring(L, h->path, h->lpath);
      lua_setfield(L, 5, "path");
    }
    if (h->cpath != NULL) {
      lua_pushlstring(L, h->cpath, h->lcpath);
      lua_setfield(L, 5, "cpath");
    }
  }
  if (!lua_isnil(L, 3) &&
      lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE) == LUA_TTABLE) {
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) == LUA_TNIL) {
      lua_pushvalue(L, 1);
      lua_pushvalue(L, 3);
      lua_rawset(L, -4);
    }
  }
  lua_getglobal(L, "require");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* Push the module whose name is on top (popped). */
static void require_module (lua_State *L, State *s, Heritage *h) {
  int name = lua_gettop(L), status;
  if (lua_getglobal(L, "require") != LUA_TFUNCTION) luaL_error(L, "there is no 'require' here");
  if (h == NULL || h == s->heritage) {
    lua_pushvalue(L, name);
    lua_call(L, 1, 1);
    lua_replace(L, name);
    return;
  }
  lua_pop(L, 1);                       /* (that has opened 'package') */
  stdlibs_loaded(L);
  lua_getfield(L, -1, LUA_LOADLIBNAME);
  if (!lua_istable(L, -1)) luaL_error(L, "there is no 'package' here");
  lua_getfield(L, -1, "path");
  lua_getfield(L, -2, "cpath");        /* name + 1: loaded, package, path, cpath */
  lua_pushcfunction(L, require_as);
  lua_pushvalue(L, name);
  lua_pushlightuserdata(L, h);
  lua_pushnil(L);
  if (h->package != NULL) {
    msg_to_lua_shared(L, s, h->package);
    if (lua_getfield(L, -1, "preload") == LUA_TTABLE) {
      lua_pushvalue(L, name);
      lua_rawget(L, -2);
      lua_replace(L, name + 8);
    }
    lua_settop(L, name + 8);
  }
  status = lua_pcall(L, 3, 1, 0);
  lua_pushvalue(L, name + 3);
  lua_setfield(L, name + 2, "path");
  lua_pushvalue(L, name + 4);
  lua_setfield(L, name + 2, "cpath");
  if (status != LUA_OK) lua_error(L);
  lua_replace(L, name);
  lua_settop(L, name);
}

void modref_resolve (lua_State *L, State *s, Heritage *h) {
  int path = lua_gettop(L), i, n = (int)lua_rawlen(L, path);
  stack_room(L, LUA_MINSTACK);
  stdlibs_loaded(L);
  lua_rawgeti(L, path, 1);
  if (lua_gettable(L, -2) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_rawgeti(L, path, 1);
    require_module(L, s, h);
  }
  lua_remove(L, -2);
  for (i = 2; i <= n && !lua_isnil(L, -1); i++) {
    lua_rawgeti(L, path, i);
    if (lua_islightuserdata(L, -1)) {
      int k = (int)(intptr_t)lua_touserdata(L, -1);
      lua_pop(L, 1);
      if (!lua_isfunction(L, -1) || k < 1 || k > 255 || lua_getupvalue(L, -1, k) == NULL)
        lua_pushnil(L);
    }
    else if (lua_type(L, -2) != LUA_TTABLE) lua_pushnil(L);
    else if (lua_type(L, -1) == LUA_TSTRING) {
      lazy_get(L, -2, lua_tostring(L, -1));
      lua_remove(L, -2);
    }
    else lua_rawget(L, -2);
    lua_remove(L, -2);
  }
  if (lua_isnil(L, -1)) {
    lua_rawgeti(L, path, 1);
    luaL_error(L, "module '%s' has no such value here", lua_tostring(L, -1));
  }
  lua_replace(L, path);
}
