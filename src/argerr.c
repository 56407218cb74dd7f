/*
** argerr.c - wrong arguments.  Layer 5.
*/
#include <string.h>
#include "argerr.h"

#define MAX_LISTS 64

static const luaL_Reg *lists[MAX_LISTS];
static int nlists;

void argerr_names (const luaL_Reg *list) {
  int i;
  for (i = 0; i < nlists; i++)
    if (lists[i] == list) return;
  if (nlists < MAX_LISTS) lists[nlists++] = list;
}

static const char *name_of (lua_CFunction f) {
  int i;
  const luaL_Reg *r;
  for (i = 0; i < nlists; i++)
    for (r = lists[i]; r->name != NULL; r++)
      if (r->func == f) return r->name;
  return NULL;
}

int arg_error (lua_State *L, int arg, const char *msg) {
  lua_Debug ar;
  const char *name = NULL;
  bool method = false;
  if (lua_getstack(L, 0, &ar)) {
    lua_getinfo(L, "nf", &ar);
    name = name_of(lua_tocfunction(L, -1));
    lua_pop(L, 1);
    method = strcmp(ar.namewhat, "method") == 0;
    if (name == NULL) name = ar.name;
  }
  if (name == NULL) name = "?";
  if (method && --arg == 0)
    return luaL_error(L, "calling '%s' on bad self (%s)", name, msg);
  return luaL_error(L, "bad argument #%d to '%s' (%s)", arg, name, msg);
}

int arg_typeerror (lua_State *L, int arg, const char *expected) {
  const char *got;
  if (luaL_getmetafield(L, arg, "__name") == LUA_TSTRING) got = lua_tostring(L, -1);
  else if (lua_type(L, arg) == LUA_TLIGHTUSERDATA) got = "light userdata";
  else got = luaL_typename(L, arg);
  return arg_error(L, arg, lua_pushfstring(L, "%s expected, got %s", expected, got));
}

lua_Integer arg_integer (lua_State *L, int arg) {
  int ok;
  lua_Integer i = lua_tointegerx(L, arg, &ok);
  if (!ok) {
    if (lua_isnumber(L, arg)) arg_error(L, arg, "number has no integer representation");
    arg_typeerror(L, arg, "number");
  }
  return i;
}

lua_Integer arg_opt_integer (lua_State *L, int arg, lua_Integer deflt) {
  return lua_isnoneornil(L, arg) ? deflt : arg_integer(L, arg);
}

lua_Number arg_number (lua_State *L, int arg) {
  int ok;
  lua_Number n = lua_tonumberx(L, arg, &ok);
  if (!ok) arg_typeerror(L, arg, "number");
  return n;
}

const char *arg_string (lua_State *L, int arg) {
  const char *s = lua_tostring(L, arg);
  if (s == NULL) arg_typeerror(L, arg, "string");
  return s;
}

void arg_type (lua_State *L, int arg, int type) {
  if (lua_type(L, arg) != type) arg_typeerror(L, arg, lua_typename(L, type));
}

void arg_any (lua_State *L, int arg) {
  if (lua_type(L, arg) == LUA_TNONE) arg_error(L, arg, "value expected");
}

int arg_option (lua_State *L, int arg, const char *deflt, const char *const list[]) {
  const char *name;
  int i;
  if (deflt != NULL && lua_isnoneornil(L, arg)) name = deflt;
  else {
    if (lua_type(L, arg) != LUA_TSTRING) arg_typeerror(L, arg, "string");
    name = lua_tostring(L, arg);
  }
  for (i = 0; list[i] != NULL; i++)
    if (strcmp(list[i], name) == 0) return i;
  return arg_error(L, arg, lua_pushfstring(L, "invalid option '%s'", name));
}
