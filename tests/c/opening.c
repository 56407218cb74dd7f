/*
** opening.c - a Lua module that bears no second thread while it is opened, as many that fill C
** statics there.  For specs: build/tests/opening.so.
*/
#define _GNU_SOURCE
#include <unistd.h>

#include "lua.h"
#include "lauxlib.h"

static volatile int inside, opened;

static int l_opened (lua_State *L) {
  lua_pushinteger(L, opened);
  return 1;
}

int luaopen_opening (lua_State *L);

int luaopen_opening (lua_State *L) {
  if (inside++ != 0) return luaL_error(L, "opened by two threads at once");
  usleep(500);
  lua_getglobal(L, "require");           /* another, in the midst of it */
  lua_pushliteral(L, "posix");
  lua_call(L, 1, 0);
  usleep(500);
  opened++;
  inside--;
  lua_newtable(L);
  lua_pushcfunction(L, l_opened);
  lua_setfield(L, -2, "opened");
  return 1;
}
