/*
** lazy.c - tables that are filled when somebody looks.  Layer 5.
*/
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "code.h"
#include "handle.h"
#include "hash.h"
#include "lazy.h"
#include "stdlibs.h"
#include "tame.h"

#define SLOTS 256
#define MAX_NAME 32

typedef struct Spec {
  LazyEntry e[LAZY_MAX];
  uint8_t bit[LAZY_MAX];               /* of each entry, in State.lazy */
  bool tame[LAZY_MAX];                 /* tame_name of each */
  int n;
  uint8_t slot[SLOTS];                 /* by hash: entry + 1, 0 free */
} Spec;

static Spec specs[NLAZY];
static int nbits;                      /* given to entries of all of them */
static const char lazy_key = 0;        /* metatable[&lazy_key] = which */

static uint32_t hash (const char *s, size_t len) {
  return hash_fold(hash_bytes(HASH_FIRST, s, len)) & (SLOTS - 1);
}

static int find (int which, const char *name, size_t len) {  /* entry, or -1 */
  Spec *p = &specs[which];
  uint32_t h;
  if (len > MAX_NAME) return -1;
  for (h = hash(name, len); p->slot[h] != 0; h = (h + 1) & (SLOTS - 1)) {
    const char *n = p->e[p->slot[h] - 1].name;
    if (strncmp(n, name, len) == 0 && n[len] == '\0') return p->slot[h] - 1;
  }
  return -1;
}

static int find_key (lua_State *L, int which, int idx) {
  size_t len;
  const char *name;
  if (lua_type(L, idx) != LUA_TSTRING) return -1;
  name = lua_tolstring(L, idx, &len);
  return find(which, name, len);
}

bool lazy_define (int which, const LazyEntry *entries, int n) {
  Spec *p = &specs[which];
  int i;
  for (i = 0; i < n; i++) {
    uint32_t h = hash(entries[i].name, strlen(entries[i].name));
    if (p->n == LAZY_MAX || nbits == 64 * LAZY_WORDS) return false;
    p->bit[p->n] = (uint8_t)nbits++;
    p->e[p->n] = entries[i];
    p->tame[p->n++] = tame_name(which, entries[i].name);
    while (p->slot[h] != 0) h = (h + 1) & (SLOTS - 1);
    p->slot[h] = (uint8_t)p->n;
  }
  return true;
}

bool lazy_is_tame (lua_CFunction f) {
  int which, i;
  for (which = 0; which < NLAZY; which++)
    for (i = 0; i < specs[which].n; i++)
      if (specs[which].e[i].f == f && specs[which].tame[i]) return true;
  return false;
}

void lazy_forget (void) {
  memset(specs, 0, sizeof specs);
  nbits = 0;
}

static bool is_done (const State *s, int which, int i) {
  return lazy_done_bit(s, specs[which].bit[i]);
}

static void set_done (State *s, int which, int i) {
  int bit = specs[which].bit[i];
  s->lazy[bit / 64] |= UINT64_C(1) << bit % 64;
}

int lazy_bit (int which, const char *name) {
  int i = find(which, name, strlen(name));
  return i >= 0 ? specs[which].bit[i] : -1;
}

bool lazy_is_done (const State *s, int which, const char *name) {
  int i = find(which, name, strlen(name));
  return i >= 0 && is_done(s, which, i);
}

/* Entry 'i' into the table at 't', if it was never there; pushed. */
static void put (lua_State *L, State *s, int t, int which, int i) {
  LazyEntry *e = &specs[which].e[i];
  if (is_done(s, which, i)) {
    lua_pushstring(L, e->name);
    lua_rawget(L, t);
    return;
  }
  stack_room(L, 10);
  if (!specs[which].tame[i]) tame_lost(s);
  if (e->f != NULL) lua_pushcfunction(L, e->f);
  else e->make(L, s, e->name);
  lua_pushstring(L, e->name);
  lua_pushvalue(L, -2);
  lua_rawset(L, t);                    /* (may raise: then it is not there) */
  set_done(s, which, i);
  if (which == LAZY_LOADED) modref_stale(s);
}

static int get_field (lua_State *L, int which);

static int get_field_k (lua_State *L, int status, lua_KContext which) {
  (void)status;
  return get_field(L, (int)which);
}

static int get_field (lua_State *L, int which) {
  int i = find_key(L, which, 2);
  State *s = here(L).s;
  if (i >= 0 ? is_done(s, which, i) : which != LAZY_GORO) return 0;
  if ((i < 0 || !specs[which].tame[i]) && tame_guest(s, L))
    return tame_leave(L, s, which, get_field_k);
  if (i < 0) return stdlibs.goro_index(L);
  put(L, s, 1, which, i);
  return 1;
}

static int set_field (lua_State *L, int which) {
  int i = find_key(L, which, 2);
  lua_rawset(L, 1);
  if (i >= 0) set_done(here(L).s, which, i);
  return 0;
}

static bool is_globals (lua_State *L, int idx) {
  bool same;
  idx = lua_absindex(L, idx);
  lua_pushglobaltable(L);
  same = lua_rawequal(L, -1, idx);
  lua_pop(L, 1);
  return same;
}

static int index_string (lua_State *L) {
  State *s = here(L).s;
  return tame_guest(s, L) ? tame_again(L, s, index_string) : stdlibs_index_string(L);
}

/* Of the common metatable: a string's, _G's or a methods table's. */
static int index_common (lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) return index_string(L);
  return is_globals(L, 1) ? get_field(L, LAZY_G) : handle_index(L);
}

static int newindex_common (lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) return luaL_error(L, "attempt to index a string value");
  if (is_globals(L, 1)) return set_field(L, LAZY_G);
  lua_rawset(L, 1);
  return 0;
}

static int index_loaded (lua_State *L) { return get_field(L, LAZY_LOADED); }
static int index_goro (lua_State *L) { return get_field(L, LAZY_GORO); }
static int newindex_loaded (lua_State *L) { return set_field(L, LAZY_LOADED); }
static int newindex_goro (lua_State *L) { return set_field(L, LAZY_GORO); }

static void fill_meta (lua_State *L, int which);

void lazy_make_common (lua_State *L, int n) {
  lua_createtable(L, 0, n + 3);
  fill_meta(L, LAZY_G);
}

bool lazy_is_common (lua_State *L) {
  bool is;
  lua_pushliteral(L, "__index");
  is = lua_rawget(L, -2) == LUA_TFUNCTION && lua_tocfunction(L, -1) == index_common;
  lua_pop(L, 1);
  return is;
}

bool lazy_push_common (lua_State *L) {
  bool there;
  lua_pushglobaltable(L);
  there = lua_getmetatable(L, -1);
  lua_remove(L, there ? -2 : -1);
  if (!there) return false;
  if (lazy_is_common(L)) return true;
  lua_pop(L, 1);
  return false;
}

void lazy_attach (lua_State *L, int which) {
  lua_createtable(L, 0, 3);
  fill_meta(L, which);
  lua_setmetatable(L, -2);
}

static void fill_meta (lua_State *L, int which) {
  static const lua_CFunction gets[] = { index_common, index_loaded, index_goro };
  static const lua_CFunction sets[] = { newindex_common, newindex_loaded, newindex_goro };
  lua_pushcfunction(L, gets[which]);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, sets[which]);
  lua_setfield(L, -2, "__newindex");
  lua_pushinteger(L, which);
  lua_rawsetp(L, -2, &lazy_key);
}

/* Which lazy table is at 'idx'?  -1: none. */
static int which_lazy (lua_State *L, int idx) {
  int which = -1;
  if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx)) return -1;
  if (lua_rawgetp(L, -1, &lazy_key) == LUA_TNUMBER) which = (int)lua_tointeger(L, -1);
  lua_pop(L, 2);
  if (which == LAZY_G && !is_globals(L, idx)) which = -1;      /* methods: the common metatable */
  return which;
}

void lazy_fill (lua_State *L, int idx) {
  int which = which_lazy(L, idx), i;
  if (which < 0) return;
  idx = lua_absindex(L, idx);
  for (i = 0; i < specs[which].n; i++) {
    put(L, here(L).s, idx, which, i);
    lua_pop(L, 1);
  }
  if (which == LAZY_GORO) {            /* its parts are still loaded at first use */
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, stdlibs.goro_index);
    lua_setfield(L, -2, "__index");
  }
  else lua_pushnil(L);
  lua_setmetatable(L, idx);
}

void lazy_set_done (State *s, int which, const char *name) {
  int i = find(which, name, strlen(name));
  if (i >= 0) set_done(s, which, i);
}

void lazy_put_mentioned (lua_State *L, State *s, int idx, const char *code, size_t len) {
  int which = which_lazy(L, idx), i;
  if (which < 0) return;
  idx = lua_absindex(L, idx);
  for (i = 0; i < specs[which].n; i++) {
    LazyEntry *e = &specs[which].e[i];
    if (e->f == NULL || is_done(s, which, i) || !code_mentions(code, len, e->name)) continue;
    put(L, s, idx, which, i);
    lua_pop(L, 1);
  }
}

void lazy_get (lua_State *L, int idx, const char *name) {
  int which = which_lazy(L, idx);
  idx = lua_absindex(L, idx);
  lua_pushstring(L, name);
  if (lua_rawget(L, idx) == LUA_TNIL && which >= 0) {
    int i = find(which, name, strlen(name));
    if (i >= 0) {
      lua_pop(L, 1);
      put(L, here(L).s, idx, which, i);
    }
  }
}

/* ---------------------------------------------------------------- what could see it */

static int l_next (lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  lazy_fill(L, 1);
  if (lua_next(L, 1)) return 2;
  lua_pushnil(L);
  return 1;
}

static int pairs_k (lua_State *L, int status, lua_KContext ctx) {
  (void)L; (void)status; (void)ctx;
  return 3;
}

static int l_pairs (lua_State *L) {
  luaL_checkany(L, 1);
  if (luaL_getmetafield(L, 1, "__pairs") == LUA_TNIL) {
    lua_pushcfunction(L, l_next);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
  }
  else {
    lua_pushvalue(L, 1);
    lua_callk(L, 1, 3, 0, pairs_k);
  }
  return 3;
}

static int l_rawget (lua_State *L) {
  int which;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  if ((which = which_lazy(L, 1)) >= 0) {
    int i = find_key(L, which, 2);
    if (i >= 0) {
      put(L, here(L).s, 1, which, i);
      return 1;
    }
  }
  lua_rawget(L, 1);
  return 1;
}

static int l_rawset (lua_State *L) {
  int which;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  if ((which = which_lazy(L, 1)) >= 0) set_field(L, which);
  else lua_rawset(L, 1);
  lua_settop(L, 1);
  return 1;
}

/* The metatable of strings comes with their library. */
static void see_metatable (lua_State *L, int idx) {
  if (lua_type(L, idx) == LUA_TSTRING) stdlibs_string(L);
}

static int l_getmetatable (lua_State *L) {
  luaL_checkany(L, 1);
  see_metatable(L, 1);
  if (which_lazy(L, 1) >= 0 || !lua_getmetatable(L, 1)) {
    lua_pushnil(L);
    return 1;
  }
  if (handle_any(L, 1) != NULL) lua_pushboolean(L, 0);         /* (see push_meta in handle.c) */
  else luaL_getmetafield(L, 1, "__metatable");
  return 1;
}

/* The metatable on top is about to be set: does it make its objects finalised? */
static void note_gc (lua_State *L) {
  if (lua_type(L, -1) != LUA_TTABLE) return;
  lua_pushliteral(L, "__gc");
  if (lua_rawget(L, -2) != LUA_TNIL) here(L).s->must_close = true;
  lua_pop(L, 1);
}

static int l_setmetatable (lua_State *L) {
  int t = lua_type(L, 2);
  tame_lost(here(L).s);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, t == LUA_TNIL || t == LUA_TTABLE, 2, "nil or table");
  lazy_fill(L, 1);
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
    return luaL_error(L, "cannot change a protected metatable");
  lua_settop(L, 2);
  note_gc(L);
  lua_setmetatable(L, 1);
  return 1;
}

static int debug_getmetatable (lua_State *L) {
  luaL_checkany(L, 1);
  see_metatable(L, 1);
  if (which_lazy(L, 1) >= 0 || !lua_getmetatable(L, 1)) lua_pushnil(L);
  return 1;
}

static int debug_setmetatable (lua_State *L) {
  int t = lua_type(L, 2);
  luaL_argexpected(L, t == LUA_TNIL || t == LUA_TTABLE, 2, "nil or table");
  see_metatable(L, 1);
  lazy_fill(L, 1);
  lua_settop(L, 2);
  note_gc(L);
  lua_setmetatable(L, 1);
  return 1;
}

const luaL_Reg lazy_base_functions[] = {
  { "next", l_next }, { "pairs", l_pairs }, { "rawget", l_rawget }, { "rawset", l_rawset },
  { "getmetatable", l_getmetatable }, { "setmetatable", l_setmetatable }, { NULL, NULL }
};

const luaL_Reg lazy_debug_functions[] = {
  { "getmetatable", debug_getmetatable }, { "setmetatable", debug_setmetatable },
  { NULL, NULL }
};
