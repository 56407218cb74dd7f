/*
** handle.c - shared objects behind userdata.  Layer 5.
*/
#include "lauxlib.h"
#include "argerr.h"
#include "handle.h"

const HandleType *handle_types[OBJ_NTYPES];
uint8_t handle_slots[OBJ_NTYPES];
static const char handle_key = 0;      /* metatable[&handle_key] = true: a handle's */
static const char metas_key = 0;       /* registry[&metas_key][type] = metatable */

static int h_gc (lua_State *L) {
  Handle *h = lua_touserdata(L, 1);
  if (h != NULL && h->o != NULL) {
    obj_unref(h->o);
    h->o = NULL;
  }
  return 0;
}

static int h_eq (lua_State *L) {
  Handle *a = handle_test(L, 1), *b = handle_test(L, 2);
  lua_pushboolean(L, a != NULL && b != NULL && a->o == b->o);
  return 1;
}

static int h_tostring (lua_State *L) {
  Handle *h = handle_test(L, 1);
  if (h == NULL) return luaL_error(L, "object expected");
  lua_pushfstring(L, "%s: %p", handle_types[h->o->type]->name, (void *)h->o);
  return 1;
}

void handle_register (lua_State *L) {
  int t;
  lua_createtable(L, OBJ_NTYPES, 0);
  for (t = 0; t < OBJ_NTYPES; t++) {
    const HandleType *d = handle_types[t];
    if (d == NULL) {
      lua_pushboolean(L, 0);
      lua_rawseti(L, -2, t + 1);
      continue;
    }
    lua_createtable(L, 0, 10);
    lua_pushboolean(L, 1);
    lua_rawsetp(L, -2, &handle_key);
    lua_pushstring(L, d->name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushcfunction(L, h_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, h_eq);
    lua_setfield(L, -2, "__eq");
    lua_pushcfunction(L, h_tostring);
    lua_setfield(L, -2, "__tostring");
    if (d->meta != NULL) luaL_setfuncs(L, d->meta, 0);
    lua_newtable(L);
    luaL_setfuncs(L, d->methods, 0);
    lua_setfield(L, -2, "__index");
    lua_rawseti(L, -2, t + 1);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metas_key);
}

Handle *handle_test (lua_State *L, int idx) {
  Handle *h = lua_touserdata(L, idx);
  bool ours;
  if (h == NULL || lua_islightuserdata(L, idx) || !lua_getmetatable(L, idx)) return NULL;
  ours = lua_rawgetp(L, -1, &handle_key) == LUA_TBOOLEAN;
  lua_pop(L, 2);
  return ours && h->o != NULL ? h : NULL;
}

Handle *handle_check (lua_State *L, int arg, int type) {
  Handle *h = handle_test(L, arg);
  if (h == NULL || h->o->type != type)
    arg_typeerror(L, arg, handle_types[type]->name);
  return h;
}

void handle_push (lua_State *L, State *s, Obj *o, int view) {
  const void *key = (const char *)o + view;
  Handle *h;
  luaL_checkstack(L, 5, NULL);
  lua_rawgeti(L, LUA_REGISTRYINDEX, s->cache);
  if (lua_rawgetp(L, -1, key) != LUA_TNIL) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  h = lua_newuserdatauv(L, sizeof *h, handle_slots[o->type]);
  h->o = NULL;
  h->held = 0;
  h->view = (uint8_t)view;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metas_key);
  lua_rawgeti(L, -1, o->type + 1);
  lua_setmetatable(L, -3);
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, key);
  h->o = obj_ref(o);
  lua_remove(L, -2);
}

static int push_new (lua_State *L) {
  State *s = lua_touserdata(L, 1);
  handle_push(L, s, lua_touserdata(L, 2), VIEW_BOTH);
  return 1;
}

void handle_push_new (lua_State *L, State *s, Obj *o) {
  int status;
  if (o == NULL) luaL_error(L, "not enough memory");
  lua_pushcfunction(L, push_new);      /* (checkstack: LUA_MINSTACK is enough for callers) */
  lua_pushlightuserdata(L, s);
  lua_pushlightuserdata(L, o);
  status = lua_pcall(L, 2, 1, 0);
  obj_unref(o);
  if (status != LUA_OK) lua_error(L);
}
