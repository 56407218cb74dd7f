/*
** stdlibs.c - the standard libraries in goroutines' states.  Layer 5.
**
** Two ways: all at once (stdlibs_open), or each when its name is first met (stdlibs_open_lazy,
** for state images).  The functions of the base library are taken from a state of our own that
** is opened once, so that whatever this Lua's base library holds is there.
*/
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "lualib.h"
#include "code.h"
#include "costate.h"
#include "stdlibs.h"
#include "tame.h"

StdLibs stdlibs;

static const luaL_Reg libs[] = {
  { LUA_LOADLIBNAME, luaopen_package }, { LUA_COLIBNAME, luaopen_coroutine },
  { LUA_TABLIBNAME, luaopen_table }, { LUA_IOLIBNAME, luaopen_io }, { LUA_OSLIBNAME, luaopen_os },
  { LUA_STRLIBNAME, luaopen_string }, { LUA_MATHLIBNAME, luaopen_math },
  { LUA_UTF8LIBNAME, luaopen_utf8 }, { LUA_DBLIBNAME, luaopen_debug }, { NULL, NULL }
};

static bool same (const char *a, const char *b) { return *a == *b && strcmp(a, b) == 0; }

bool stdlibs_is_standard (const char *name) {
  int i;
  for (i = 0; libs[i].name != NULL; i++)
    if (same(libs[i].name, name)) return true;
  if (*name == 'g')                    /* they are "goro.something" */
    for (i = 0; stdlibs.parts[i].name != NULL; i++)
      if (same(stdlibs.parts[i].name, name)) return true;
  return same(name, LUA_GNAME) || same(name, "goro");
}

#define MAX_REPLACED 64

static StdFunction replaced[MAX_REPLACED];
static lua_CFunction stock[MAX_REPLACED];
static int nreplaced;
static bool can_be_lazy;

/* ---------------------------------------------------------------- replaced functions */

static bool replace (const char *lib, const luaL_Reg *r) {
  for (; r->name != NULL; r++) {
    StdFunction *f = &replaced[nreplaced];
    if (nreplaced == MAX_REPLACED) return false;
    f->lib = lib;
    f->name = r->name;
    f->f = r->func;
    f->hosts = false;
    nreplaced++;
  }
  return true;
}

lua_CFunction stdlibs_map (lua_CFunction f, const State *to) {
  int i;
  for (i = 0; i < nreplaced; i++) {
    bool ours = !to->is_host || replaced[i].hosts;
    if (f == (ours ? stock[i] : replaced[i].f) && f != NULL)
      return ours ? replaced[i].f : stock[i];
  }
  return f;
}

void stdlibs_push (lua_State *L, State *s, lua_CFunction f) {
  f = stdlibs_map(f, s);
  if (!s->wild && !lazy_is_tame(f)) tame_lost(s);
  lua_pushcfunction(L, f);
}

/* Replace what is to be replaced in the library on top. */
static void put_functions (lua_State *L, State *s, const char *lib) {
  int i;
  for (i = 0; i < nreplaced; i++)
    if (strcmp(replaced[i].lib, lib) == 0 && (!s->is_host || replaced[i].hosts)) {
      lua_pushcfunction(L, replaced[i].f);
      lua_setfield(L, -2, replaced[i].name);
    }
}

static void put_replaced (lua_State *L, State *s, const char *lib) {
  put_functions(L, s, lib);
  stdlibs.opened(L, s, lib);
}

/* ---------------------------------------------------------------- at once */

static void put_all (lua_State *L, State *s) {
  int i;
  stack_room(L, 8);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushglobaltable(L);
  put_replaced(L, s, LUA_GNAME);
  lua_pop(L, 1);
  for (i = 0; libs[i].name != NULL; i++) {
    if (lua_getfield(L, -1, libs[i].name) == LUA_TTABLE) put_replaced(L, s, libs[i].name);
    lua_pop(L, 1);
  }
}

void stdlibs_open_host (lua_State *L, State *s) {
  put_all(L, s);
  lua_pop(L, 1);
}

/* Somebody may have put the stock globals back since (busted does, between files). */
void stdlibs_again_in_host (lua_State *L, State *s) {
  lua_pushglobaltable(L);
  put_functions(L, s, LUA_GNAME);
  lua_pop(L, 1);
}

/* Plain Lua's seed, time and an address, may be the same for two goroutines. */
static void seed_random (lua_State *L) {             /* math on top */
  uint64_t r[2] = { os_random(), os_random() };
  lua_getfield(L, -1, "randomseed");
  lua_pushinteger(L, (lua_Integer)r[0]);
  lua_pushinteger(L, (lua_Integer)r[1]);
  lua_call(L, 2, 0);
}

void stdlibs_open (lua_State *L, State *s) {
  const LazyEntry *e;
  luaL_openlibs(L);
  put_all(L, s);
  if (lua_getfield(L, -1, LUA_MATHLIBNAME) == LUA_TTABLE) seed_random(L);
  lua_pop(L, 1);
  stdlibs.push_goro(L);
  lua_setfield(L, -2, "goro");
  for (e = stdlibs.parts; e->name != NULL; e++) {
    e->make(L, s, e->name);
    lua_setfield(L, -2, e->name);
  }
  lua_pop(L, 1);
  if (s->heritage != NULL) {
    heritage_package(L, s);
    heritage_arg(L, s);
    if (lua_istable(L, -1)) lua_setglobal(L, "arg");
    else lua_pop(L, 1);
  }
}

/* ---------------------------------------------------------------- one by one */

void stdlibs_loaded (lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lazy_attach(L, LAZY_LOADED);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

/* ---------------------------------------------------------------- prepared */

/*
** A template may hold libraries that are nothing but tables and C functions.  They stand in
** registry[&prepared_key], the metatable of strings beside them, and become known to the script
** when it first asks for them: it is then that a state is no longer tame.  (math and io make
** userdata; what package and os hold differs from goroutine to goroutine.)
*/
static const char prepared_key = 0;
static const char *const plain[] = { LUA_STRLIBNAME, LUA_TABLIBNAME, LUA_UTF8LIBNAME, LUA_COLIBNAME };
#define NPLAIN (sizeof plain / sizeof *plain)

static bool is_plain (const char *name) {
  size_t i;
  for (i = 0; i < NPLAIN; i++)
    if (same(plain[i], name)) return true;
  return false;
}

static void push_lib (lua_State *L, State *s, const char *name) {      /* anew */
  int i;
  for (i = 0; !same(libs[i].name, name); i++) continue;
  lua_pushcfunction(L, libs[i].func);
  lua_pushstring(L, name);
  lua_call(L, 1, 1);
  put_replaced(L, s, name);
}

static void prepare (lua_State *L, State *s, const char *name) {
  int top = lua_gettop(L);
  stdlibs_loaded(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &prepared_key) != LUA_TTABLE) {
    lua_createtable(L, 1, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &prepared_key);
    lua_replace(L, top + 2);
  }
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  push_lib(L, s, name);
  lua_setfield(L, top + 2, name);
  if (same(name, LUA_STRLIBNAME)) {
    lua_getmetatable(L, top + 3);
    lua_rawseti(L, top + 2, 1);
    lua_setmetatable(L, top + 3);      /* the lazy one again */
  }
  lua_settop(L, top);
}

static bool push_prepared (lua_State *L, const char *name) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &prepared_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    return false;
  }
  lua_pushstring(L, name);
  if (lua_rawget(L, -2) != LUA_TTABLE) {
    lua_pop(L, 2);
    return false;
  }
  if (same(name, LUA_STRLIBNAME)) {
    lua_pushliteral(L, "");
    lua_rawgeti(L, -3, 1);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
  }
  lua_remove(L, -2);
  return true;
}

void stdlibs_prepare_common (lua_State *L, State *s) {
  prepare(L, s, LUA_STRLIBNAME);
  prepare(L, s, LUA_TABLIBNAME);
}

static bool mentions_methods (const char *code, size_t len) {  /* of strings */
  static const char *const methods[] = { "gsub", "gmatch", "format", "match", "find", "sub", "rep",
                                         "byte", "lower", "upper", NULL };
  int i;
  for (i = 0; methods[i] != NULL; i++)
    if (code_mentions(code, len, methods[i])) return true;
  return false;
}

void stdlibs_prepare_mentioned (lua_State *L, State *s, const char *code, size_t len) {
  size_t i;
  for (i = 0; i < NPLAIN; i++)
    if (code_mentions(code, len, plain[i]) ||
        (same(plain[i], LUA_STRLIBNAME) && mentions_methods(code, len)))
      prepare(L, s, plain[i]);
}

/* ---------------------------------------------------------------- opened */

/* Push the library 'name', opened if it was not. */
static void make_lib (lua_State *L, State *s, const char *name) {
  int require = 0;
  stack_room(L, LUA_MINSTACK);
  stdlibs_loaded(L);
  lua_pushstring(L, name);
  if (lua_rawget(L, -2) == LUA_TTABLE) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  if (!tame_library(name)) tame_lost(s);
  if (s->origin != NULL && load_rlx(&s->origin->rich) == 0 && is_plain(name))
    store_rlx(&s->origin->rich, 1);
  if (strcmp(name, LUA_LOADLIBNAME) == 0 && lazy_is_done(s, LAZY_G, "require")) {
    lua_pushglobaltable(L);            /* luaopen_package sets it: keep the script's */
    lua_pushliteral(L, "require");
    lua_rawget(L, -2);
    lua_remove(L, -2);
    require = lua_gettop(L);
  }
  if (!push_prepared(L, name)) push_lib(L, s, name);
  lua_pushvalue(L, -1);
  lua_setfield(L, require ? require - 1 : -3, name);           /* package.loaded */
  modref_stale(s);
  if (strcmp(name, LUA_MATHLIBNAME) == 0) seed_random(L);
  if (strcmp(name, LUA_LOADLIBNAME) == 0) heritage_package(L, s);
  if (require) {
    lua_pushvalue(L, require);
    lua_setglobal(L, "require");
    lua_remove(L, require);
  }
  lua_remove(L, -2);
}

static void make_require (lua_State *L, State *s, const char *name) {
  make_lib(L, s, LUA_LOADLIBNAME);
  lua_pop(L, 1);
  lua_pushglobaltable(L);
  lua_pushstring(L, name);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

static void make_version (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  lua_pushliteral(L, LUA_VERSION);
}

static void make_globals (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  lua_pushglobaltable(L);
}

static void make_arg (lua_State *L, State *s, const char *name) {
  (void)name;
  heritage_arg(L, s);
}

static void make_goro (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  lua_newtable(L);
  lazy_attach(L, LAZY_GORO);
}

void stdlibs_goro_lazy (lua_State *L, State *s) {
  stdlibs_loaded(L);
  make_goro(L, s, "goro");
  lua_pushliteral(L, "goro");
  lua_pushvalue(L, -2);
  lua_rawset(L, -4);
  lazy_set_done(s, LAZY_LOADED, "goro");
  lua_remove(L, -2);
}

int stdlibs_index_string (lua_State *L) {
  stdlibs_string(L);
  lua_settop(L, 2);
  lua_gettable(L, 1);                  /* again, by the metatable of an open library */
  return 1;
}

void stdlibs_string (lua_State *L) {
  int top = lua_gettop(L);
  lua_pushliteral(L, "");
  if (lua_getmetatable(L, -1) && lazy_is_common(L)) {
    make_lib(L, here(L).s, LUA_STRLIBNAME);
    lua_pop(L, 1);
  }
  lua_settop(L, top);
}

/* The metamethods of strings, for their arithmetic; the library itself need not be open. */
#define MAX_ARITH 16
static luaL_Reg string_arith[MAX_ARITH];
static int string_arith_n;

void stdlibs_open_lazy (lua_State *L) {
  int i;
  lua_pushglobaltable(L);
  lua_pushliteral(L, "");
  lazy_make_common(L, string_arith_n);
  for (i = 0; i < string_arith_n; i++) {
    lua_pushcfunction(L, string_arith[i].func);
    lua_setfield(L, -2, string_arith[i].name);
  }
  lua_pushvalue(L, -1);
  lua_setmetatable(L, -4);             /* of _G */
  lua_setmetatable(L, -2);             /* of strings */
  lua_pop(L, 2);
}

/* ---------------------------------------------------------------- once */

static bool add (int which, const char *name, lua_CFunction f,
                 void (*make) (lua_State *, State *, const char *)) {
  LazyEntry e;
  e.name = name;
  e.f = f;
  e.make = make;
  return lazy_define(which, &e, 1);
}

static lua_CFunction replacement (const char *lib, const char *name) {
  int i;
  for (i = 0; i < nreplaced; i++)
    if (strcmp(replaced[i].lib, lib) == 0 && strcmp(replaced[i].name, name) == 0)
      return replaced[i].f;
  return NULL;
}

static int bit_arg, bit_package;       /* [I] of lazy entries */

bool stdlibs_touched_heritage (const State *s) {
  return lazy_done_bit(s, bit_package) || lazy_done_bit(s, bit_arg);
}

/* What a plain state's globals are, as entries; can_be_lazy tells whether all of them are known. */
static void learn_globals (lua_State *L) {
  bool ok = true;
  lua_pushglobaltable(L);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    int i;
    for (i = 0; libs[i].name != NULL && strcmp(libs[i].name, name) != 0; i++) continue;
    if (libs[i].name != NULL) {
      ok = ok && add(LAZY_G, libs[i].name, NULL, make_lib) &&
           add(LAZY_LOADED, libs[i].name, NULL, make_lib);
    }
    else if (strcmp(name, "require") == 0) ok = ok && add(LAZY_G, "require", NULL, make_require);
    else if (strcmp(name, "_VERSION") == 0) ok = ok && add(LAZY_G, "_VERSION", NULL, make_version);
    else if (strcmp(name, LUA_GNAME) == 0) {
      ok = ok && add(LAZY_G, LUA_GNAME, NULL, make_globals) &&
           add(LAZY_LOADED, LUA_GNAME, NULL, make_globals);
    }
    else if (lua_iscfunction(L, -1)) {
      lua_CFunction f = lua_tocfunction(L, -1), r = replacement(LUA_GNAME, name);
      char *copy = ok ? strdup(name) : NULL;       /* for ever */
      ok = copy != NULL && lua_getupvalue(L, -1, 1) == NULL &&
           add(LAZY_G, copy, r != NULL ? r : f, NULL);
      if (!ok) free(copy);
    }
    else ok = false;
    lua_pop(L, 1);
  }
  ok = ok && add(LAZY_G, "arg", NULL, make_arg) && add(LAZY_LOADED, "goro", NULL, make_goro);
  bit_arg = lazy_bit(LAZY_G, "arg");
  bit_package = lazy_bit(LAZY_LOADED, LUA_LOADLIBNAME);
  ok = ok && bit_arg >= 0 && bit_package >= 0;
  can_be_lazy = ok;
}

static bool learn_strings (lua_State *L) {
  bool ok = true;
  lua_pushliteral(L, "");
  if (!lua_getmetatable(L, -1)) return false;
  lua_pushnil(L);
  while (ok && lua_next(L, -2)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    if (strcmp(name, "__index") != 0) {
      luaL_Reg *r = &string_arith[string_arith_n];
      ok = string_arith_n < MAX_ARITH && lua_iscfunction(L, -1) &&
           lua_getupvalue(L, -1, 1) == NULL && (r->name = strdup(name)) != NULL;
      if (ok) {
        r->func = lua_tocfunction(L, -1);
        string_arith_n++;
      }
    }
    lua_pop(L, 1);
  }
  return ok;
}

static int learn (lua_State *L) {
  int i;
  luaL_openlibs(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (i = 0; i < nreplaced; i++) {
    if (lua_getfield(L, -1, replaced[i].lib) == LUA_TTABLE) {
      lua_getfield(L, -1, replaced[i].name);
      stock[i] = lua_tocfunction(L, -1);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  learn_globals(L);
  can_be_lazy = learn_strings(L) && can_be_lazy;
  lua_settop(L, 0);
  code_learn(L);
  return 0;
}

bool stdlibs_init (void) {
  const StdFunction *f;
  const LazyEntry *e;
  lua_State *L;
  bool ok;
  nreplaced = 0;                       /* (once more, if there was no memory before) */
  lazy_forget();
  ok = replace(LUA_GNAME, lazy_base_functions) &&
       replace(LUA_DBLIBNAME, lazy_debug_functions) &&
       replace(LUA_COLIBNAME, costate_functions);
  for (f = stdlibs.functions; ok && f->lib != NULL; f++) {
    if (nreplaced == MAX_REPLACED) return false;
    replaced[nreplaced++] = *f;
  }
  for (e = stdlibs.goro; ok && e->name != NULL; e++) ok = lazy_define(LAZY_GORO, e, 1);
  for (e = stdlibs.parts; ok && e->name != NULL; e++) ok = lazy_define(LAZY_LOADED, e, 1);
  L = luaL_newstate();
  if (L == NULL) return false;
  lua_pushcfunction(L, learn);
  ok = ok && lua_pcall(L, 0, 0, 0) == LUA_OK;
  lua_close(L);
  return ok;
}

bool stdlibs_can_be_lazy (void) { return can_be_lazy; }
