/*
** modref.c - values that cross by reference.  Layer 5.
**
** The map is made anew when require has run since, or (for functions and objects with
** metatables, which are dear anyway) when package.loaded has another number of entries.
** Breadth first, so that the shortest path is kept; _G and the inside of 'package' are left out:
** being a global makes nothing a module.
*/
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "modref.h"
#include "stdlibs.h"

#define MAX_DEPTH 6

static uint32_t hash (const void *p) {
  return (uint32_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 53);
}

static void bloom_add (const ModRef *r, const void *p) {
  uint32_t h = hash(p);
  r->bloom[(h >> 6) % MODREF_BLOOM] |= UINT64_C(1) << (h & 63);
}

static bool bloom_has (const ModRef *r, const void *p) {
  uint32_t h = hash(p);
  return (r->bloom[(h >> 6) % MODREF_BLOOM] >> (h & 63)) & 1;
}

static int64_t count (lua_State *L, int t) {
  int64_t n = 0;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    n++;
    lua_pop(L, 1);
  }
  return n;
}

/* map[value on top] = path + key at 'k' (0: the path itself, at 'path'); false: known already.
** The stack is as before. */
static bool add (lua_State *L, ModRef *r, int map, int path, int k) {
  int v = lua_gettop(L), i, n;
  lua_pushvalue(L, v);
  if (lua_rawget(L, map) != LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  lua_pop(L, 1);
  bloom_add(r, lua_topointer(L, v));
  lua_pushvalue(L, v);
  if (k == 0) lua_pushvalue(L, path);
  else {
    n = (int)lua_rawlen(L, path);
    lua_createtable(L, n + 1, 0);
    for (i = 1; i <= n; i++) {
      lua_rawgeti(L, path, i);
      lua_rawseti(L, -2, i);
    }
    lua_pushvalue(L, k);
    lua_rawseti(L, -2, n + 1);
  }
  lua_rawset(L, map);
  return true;
}

static bool is_class (lua_State *L, int t) {
  lua_pushnil(L);
  while (lua_next(L, t)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) == LUA_TSTRING) {
      const char *s = lua_tostring(L, -1);
      if (s[0] == '_' && s[1] == '_') {
        lua_pop(L, 1);
        return true;
      }
    }
  }
  return false;
}

/* Add what is in the table on top (whose path is at 'path'); its tables go into 'queue'. */
static void walk (lua_State *L, ModRef *r, int map, int path, int queue, int depth) {
  int t = lua_gettop(L);
  luaL_checkstack(L, 12, "modules");
  lua_pushnil(L);
  while (lua_next(L, t)) {
    int k = lua_gettop(L) - 1, kt = lua_type(L, k), vt = lua_type(L, -1);
    if (kt == LUA_TSTRING || kt == LUA_TNUMBER || kt == LUA_TBOOLEAN) {
      if (vt == LUA_TFUNCTION) add(L, r, map, path, k);
      else if (vt == LUA_TTABLE && depth < MAX_DEPTH) {
        bool class = is_class(L, lua_gettop(L));
        int v = lua_gettop(L);
        /* a table that is data is walked, once, but not itself a reference */
        lua_pushvalue(L, v);
        if (lua_rawget(L, queue) == LUA_TNIL) {
          int n = (int)lua_rawlen(L, path), i;
          lua_pop(L, 1);
          lua_createtable(L, n + 1, 0);
          for (i = 1; i <= n; i++) {
            lua_rawgeti(L, path, i);
            lua_rawseti(L, -2, i);
          }
          lua_pushvalue(L, k);
          lua_rawseti(L, -2, n + 1);
          lua_pushvalue(L, v);
          lua_pushvalue(L, -2);
          lua_rawset(L, queue);                    /* seen, and its path */
          lua_pop(L, 1);
          lua_pushvalue(L, v);
          lua_rawseti(L, queue, (lua_Integer)lua_rawlen(L, queue) + 1);
        }
        else lua_pop(L, 1);
        if (class) add(L, r, map, path, k);
      }
    }
    lua_pop(L, 1);
  }
}

static void build (lua_State *L, ModRef *r) {
  int top = lua_gettop(L), map, loaded, queue;
  lua_Integer i, level_end;
  int depth;
  luaL_checkstack(L, 20, "modules");
  if (r->bloom == NULL && (r->bloom = malloc(MODREF_BLOOM * sizeof *r->bloom)) == NULL)
    luaL_error(L, "not enough memory");
  memset(r->bloom, 0, MODREF_BLOOM * sizeof *r->bloom);
  lua_newtable(L);
  map = lua_gettop(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, map);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  loaded = lua_gettop(L);
  lua_newtable(L);                     /* queue[i] = table, queue[table] = its path */
  queue = lua_gettop(L);
  r->nloaded = 0;
  lua_pushnil(L);
  while (lua_next(L, loaded)) {
    int t = lua_type(L, -1);
    r->nloaded++;
    if (lua_type(L, -2) == LUA_TSTRING && (t == LUA_TTABLE || t == LUA_TFUNCTION)) {
      const char *name = lua_tostring(L, -2);
      int v = lua_gettop(L), path = v + 1;
      lua_createtable(L, 1, 0);
      lua_pushvalue(L, v - 1);
      lua_rawseti(L, path, 1);
      lua_pushvalue(L, v);
      add(L, r, map, path, 0);
      if (t == LUA_TTABLE && strcmp(name, "_G") != 0) {
        lua_pushvalue(L, path);
        lua_rawset(L, queue);          /* queue[module] = path */
        if (strcmp(name, "package") != 0) {
          lua_pushvalue(L, v);
          lua_rawseti(L, queue, (lua_Integer)lua_rawlen(L, queue) + 1);
        }
      }
      lua_settop(L, v);
    }
    lua_pop(L, 1);
  }
  lua_pushglobaltable(L);
  lua_pushliteral(L, "require");       /* the one standard global with upvalues */
  if (lua_rawget(L, -2) == LUA_TFUNCTION && lua_iscfunction(L, -1)) {
    int path = lua_gettop(L) + 1;
    lua_createtable(L, 2, 0);
    lua_pushliteral(L, LUA_GNAME);
    lua_rawseti(L, path, 1);
    lua_pushliteral(L, "require");
    lua_rawseti(L, path, 2);
    lua_pushvalue(L, path - 1);
    add(L, r, map, path, 0);
    lua_settop(L, path - 1);
  }
  lua_pop(L, 1);
  lua_pushboolean(L, 1);               /* not to be walked through a module's field */
  lua_rawset(L, queue);
  for (i = 1, depth = 0; depth < MAX_DEPTH; depth++) {
    level_end = (lua_Integer)lua_rawlen(L, queue);
    if (i > level_end) break;
    for (; i <= level_end; i++) {
      lua_rawgeti(L, queue, i);
      lua_pushvalue(L, -1);
      lua_rawget(L, queue);            /* its path */
      lua_insert(L, -2);
      walk(L, r, map, lua_gettop(L) - 1, queue, depth);
      lua_pop(L, 2);
    }
  }
  if (r->map == 0) {
    lua_pushvalue(L, map);
    r->map = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  else {
    lua_pushvalue(L, map);
    lua_rawseti(L, LUA_REGISTRYINDEX, r->map);
  }
  r->stale = false;
  lua_settop(L, top);
}

bool modref_find (lua_State *L, ModRef *r, int idx, bool thorough) {
  idx = lua_absindex(L, idx);
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) != LUA_TTABLE) {
    lua_pop(L, 1);                     /* no library has been opened here */
    return false;
  }
  lua_pop(L, 1);
  if (r->map == 0 || r->stale) build(L, r);
  else if (thorough) {
    int64_t n;
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    n = count(L, lua_gettop(L));
    lua_pop(L, 1);
    if (n != r->nloaded) build(L, r);
  }
  if (!bloom_has(r, lua_topointer(L, idx))) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, r->map);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pop(L, 2);
    return false;
  }
  lua_remove(L, -2);
  return true;
}

void modref_resolve (lua_State *L) {
  int path = lua_gettop(L), i, n = (int)lua_rawlen(L, path);
  luaL_checkstack(L, 6, "modules");
  stdlibs_loaded(L);
  lua_rawgeti(L, path, 1);
  if (lua_gettable(L, -2) == LUA_TNIL) {
    lua_pop(L, 1);
    if (lua_getglobal(L, "require") != LUA_TFUNCTION)
      luaL_error(L, "there is no 'require' here");
    lua_rawgeti(L, path, 1);
    lua_call(L, 1, 1);
  }
  lua_remove(L, -2);
  for (i = 2; i <= n; i++) {
    if (lua_type(L, -1) != LUA_TTABLE) {
      lua_pushnil(L);
      break;
    }
    lua_rawgeti(L, path, i);
    if (lua_type(L, -1) == LUA_TSTRING) {
      lazy_get(L, -2, lua_tostring(L, -1));
      lua_remove(L, -2);
    }
    else lua_rawget(L, -2);
    lua_remove(L, -2);
  }
  if (lua_isnil(L, -1)) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (i = 2; i <= n; i++) {
      lua_rawgeti(L, path, i);
      luaL_addstring(&b, ".");
      luaL_tolstring(L, -1, NULL);
      lua_remove(L, -2);
      luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    lua_rawgeti(L, path, 1);
    luaL_error(L, "module '%s' has no field '%s' here", lua_tostring(L, -1),
               lua_tostring(L, -2));
  }
  lua_replace(L, path);
}
