/*
** lua_load.c - loading source files through the process's compiled chunks.  Layer 6.
**
** require, loadfile and dofile read and compile a file once for all states.  What is kept is
** Lua's own dump, not stripped: names, lines and messages are those of the source.  Whatever is
** out of the ordinary (no such file, a syntax error, standard input, a strange mode) is done by
** the stock functions, so that it is told in their words.
*/
#include <stdlib.h>
#include <string.h>
#include "chunks.h"
#include "code.h"
#include "lua_args.h"
#include "lua_load.h"
#include "modimage.h"
#include "paths.h"
#include "rom.h"

/* Keep the function on top as what 'path' was when it was 'id'. */
static void keep (lua_State *L, const char *path, const char *mode, const FileId *id) {
  size_t len;
  char *bytes = code_dump(L, -1, &len);
  if (bytes != NULL) chunk_put(path, mode, id, bytes, len);
}

/* The State of 'L', if it is one of goro's and runs; or NULL. */
static State *state_here (lua_State *L) {
  M *m = sched_m();
  State *s = m != NULL && m->curg != NULL ? m->curg->state : NULL;
  return s != NULL && s->registry == lua_topointer(L, LUA_REGISTRYINDEX) ? s : NULL;
}

/* The same, if it is of a goroutine that makes an image of modules. */
static State *maker (lua_State *L) {
  State *s = state_here(L);
  return s != NULL && rare(s)->making != NULL ? s : NULL;
}

/* The dump of a file; what goroutines load of it, they share. */
static int load_dump (lua_State *L, const Chunk *c, const char *name) {
  State *s = state_here(L);
  if (s == NULL) return luaL_loadbufferx(L, c->bytes, c->len, name, "b");
  return rom_load(L, s, c->bytes, c->len, name, rare(s)->making != NULL);
}

/* A goroutine that makes an image of modules is told which files they are from ... */
static void note_file (lua_State *L, const char *path, const FileId *id) {
  State *s = maker(L);
  if (s != NULL) modimage_file(s, path, id);
}

/* ... and how those were found. */
static void note_search (lua_State *L, const char *name, const char *path, const char *file) {
  State *s = maker(L);
  if (s != NULL) modimage_search(s, name, path, file);
}

int load_file (lua_State *L, const char *path, const char *mode) {
  const char *key = mode != NULL ? mode : "bt";
  FileId before, after;
  Chunk *c;
  int status;
  if (path == NULL || strlen(key) > 2 || os_forked || !os_file_id(path, &before))
    return luaL_loadfilex(L, path, mode);
  note_file(L, path, &before);
  luaL_checkstack(L, 3, NULL);         /* before there is a reference: it may raise */
  c = chunk_get(path, key, &before);
  if (c != NULL) {
    status = load_dump(L, c, path);    /* (what a dump's function is called is in the dump) */
    chunk_unref(c);
    return status;
  }
  status = luaL_loadfilex(L, path, mode);
  if (status == LUA_OK && os_file_id(path, &after) && file_id_equal(&before, &after) &&
      os_file_rested(&after))
    keep(L, path, key, &after);
  return status;
}

/* ---------------------------------------------------------------- the base library's */

int l_loadfile (lua_State *L) {
  const char *path = luaL_optstring(L, 1, NULL);
  const char *mode = luaL_optstring(L, 2, NULL);
  int env = lua_isnone(L, 3) ? 0 : 3;
  if (load_file(L, path, mode) != LUA_OK) {
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
  }
  if (env != 0) {
    lua_pushvalue(L, env);
    if (lua_setupvalue(L, -2, 1) == NULL) lua_pop(L, 1);
  }
  return 1;
}

static int dofile_k (lua_State *L, int status, lua_KContext ctx) {
  (void)status; (void)ctx;
  return lua_gettop(L) - 1;
}

int l_dofile (lua_State *L) {
  const char *path = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (load_file(L, path, NULL) != LUA_OK) return lua_error(L);
  lua_callk(L, 0, LUA_MULTRET, 0, dofile_k);
  return dofile_k(L, LUA_OK, 0);
}

/* ---------------------------------------------------------------- require's */

/* What searchpath would be asked: is it for path_search?  (Lua reads its arguments as C strings.) */
static bool is_plain (const char *name, size_t lname, const char *path, size_t lpath) {
  return strcspn(name, LUA_PATH_SEP LUA_PATH_MARK) == lname && strlen(path) == lpath;
}

/* The file of the module whose name is at 1, by package[field], into 'file'.  PATH_NONE: what was
** looked for in vain is pushed, if it is to be told. */
static Found find_module (lua_State *L, int package, const char *field, bool readable, bool tell,
                          char *file) {
  char tried[PATHS_MAX_TRIED];
  size_t lname, lpath, ltried;
  const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &lname) : NULL;
  const char *path;
  Found found = PATH_STRANGE;
  lua_settop(L, 1);
  if (name != NULL && lua_istable(L, package)) {
    lua_pushstring(L, field);
    if (lua_rawget(L, package) == LUA_TSTRING) {
      path = lua_tolstring(L, 2, &lpath);
      if (is_plain(name, lname, path, lpath))
        found = path_search(name, path, readable, file, tried, &ltried);
      if (found != PATH_STRANGE) note_search(L, name, path, found == PATH_FOUND ? file : NULL);
    }
  }
  lua_settop(L, 1);
  if (tell && found == PATH_NONE) lua_pushlstring(L, tried, ltried);
  return found;
}

int search_lua (lua_State *L) {
  char file[PATHS_MAX_FILE];
  bool readable = false;               /* (it is loaded at once: that tells as much) */
  for (;; readable = true) {
    Found found = find_module(L, lua_upvalueindex(2), "path", readable, true, file);
    if (found == PATH_NONE) return 1;
    if (found == PATH_FOUND && load_file(L, file, NULL) == LUA_OK) {
      lua_pushstring(L, file);
      return 2;
    }
    if (found == PATH_STRANGE || readable) break;
  }
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));           /* an error: it says so */
  lua_insert(L, 1);
  lua_call(L, 1, LUA_MULTRET);
  return lua_gettop(L);
}

int find_file (lua_State *L, int package, const char *field, bool readable, bool tell) {
  char file[PATHS_MAX_FILE];
  Found found = find_module(L, package, field, readable, tell, file);
  if (found == PATH_STRANGE) return -1;
  if (found == PATH_FOUND) lua_pushstring(L, file);
  return found == PATH_FOUND;
}

/* upvalue 1: the stock function, for what is out of the ordinary. */
int l_searchpath (lua_State *L) {
  char file[PATHS_MAX_FILE], tried[PATHS_MAX_TRIED];
  size_t lname, lpath, ltried;
  Found found = PATH_STRANGE;
  if (lua_gettop(L) == 2 && lua_type(L, 1) == LUA_TSTRING && lua_type(L, 2) == LUA_TSTRING) {
    const char *name = lua_tolstring(L, 1, &lname), *path = lua_tolstring(L, 2, &lpath);
    if (is_plain(name, lname, path, lpath))
      found = path_search(name, path, true, file, tried, &ltried);
  }
  if (found == PATH_FOUND) {
    lua_pushstring(L, file);
    return 1;
  }
  if (found == PATH_NONE) {
    luaL_pushfail(L);
    lua_pushlstring(L, tried, ltried);
    return 2;
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* ---------------------------------------------------------------- figures */

static void free_infos (ModImageInfo *list, int n) {
  while (n > 0) {
    free(list[--n].names);
    free(list[n].reason);
  }
  free(list);
}

static void field (lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

static int push_infos (lua_State *L) {           /* a list of 'n' */
  const ModImageInfo *list = lua_touserdata(L, 1);
  int i, n = (int)lua_tointeger(L, 2);
  lua_createtable(L, n, 0);
  for (i = 0; i < n; i++) {
    lua_createtable(L, 0, 5);
    lua_pushstring(L, list[i].names);
    lua_setfield(L, -2, "modules");
    lua_pushstring(L, list[i].phase);
    lua_setfield(L, -2, "state");
    if (list[i].reason != NULL) {
      lua_pushstring(L, list[i].reason);
      lua_setfield(L, -2, "reason");
    }
    field(L, "bytes", list[i].bytes);
    field(L, "goroutines", list[i].started);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/*
** compiled, compile_hits: source files compiled for require, loadfile and dofile, and loads that
** needed none; searches, search_hits: files looked for on a path, and those whose place was
** remembered; code_bytes, code_loads: instructions and line numbers that goroutines share, and
** loads that found theirs there; images, image_bytes: of functions and modules, that are ready;
** module_images: a list, each with modules ("a, b"), state ("counting", "making", "ready",
** "refused"), reason (why it was refused), bytes, goroutines (started from it).
*/
void load_stats (lua_State *L) {
  ChunkStats c;
  ImageStats st = image_stats();
  ModImageInfo *list;
  int n, status;
  PathStats p = path_stats();
  RomStats r = rom_stats();
  chunk_stats(&c);
  field(L, "compiled", c.compiled);
  field(L, "compile_hits", c.hits);
  field(L, "searches", p.searches);
  field(L, "search_hits", p.hits);
  field(L, "code_bytes", r.bytes);
  field(L, "code_loads", r.loads);
  field(L, "images", st.ready);
  field(L, "image_bytes", st.bytes);
  list = image_list_modules(&n);
  lua_pushcfunction(L, push_infos);
  lua_pushlightuserdata(L, list);
  lua_pushinteger(L, n);
  status = lua_pcall(L, 2, 1, 0);
  free_infos(list, n);
  if (status != LUA_OK) lua_error(L);
  lua_setfield(L, -2, "module_images");
}

/* ---------------------------------------------------------------- goro.fresh */

/*
** goro.fresh(name, ...), goro.fresh(true): the bodies of these modules (true: of all) run anew in
** every goroutine that requires them, in this process, from now on.  No counterpart in Go.
*/
static int l_fresh (lua_State *L) {
  int i, n = lua_gettop(L);
  arg_any(L, 1);
  if (lua_isboolean(L, 1) && lua_toboolean(L, 1)) {
    modimage_fresh(NULL);
    return 0;
  }
  for (i = 1; i <= n; i++)
    if (lua_type(L, i) != LUA_TSTRING) arg_typeerror(L, i, "a module's name, or true");
  for (i = 1; i <= n; i++)
    if (!modimage_fresh(lua_tostring(L, i))) return luaL_error(L, "not enough memory");
  return 0;
}

const luaL_Reg load_functions[] = { { "fresh", l_fresh }, { NULL, NULL } };
