/*
** lua_guard.c - guards.  Layer 6.
*/
#include "lua_guard.h"

static const char guard_key = 0;       /* registry[&guard_key] = metatable */

static int g_close (lua_State *L) {
  Guard *gd = lua_touserdata(L, 1);
  Handle *ud;
  if (!gd->given || gd->closed) return 0;
  gd->closed = true;
  lua_getiuservalue(L, 1, 1);
  ud = lua_touserdata(L, -1);
  if (ud != NULL && ud->o != NULL) gd->release(here(L), ud, gd->k);
  return 0;
}

static void set_metatable (lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &guard_key) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, "guard");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushcfunction(L, g_close);
    lua_setfield(L, -2, "__close");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &guard_key);
  }
  lua_setmetatable(L, -2);
}

void guard_push (lua_State *L, int idx, bool idle,
                 void (*release) (Here h, Handle *ud, int64_t k)) {
  Guard *gd;
  if (lua_getiuservalue(L, idx, GUARD_SLOT) == LUA_TUSERDATA) {
    gd = lua_touserdata(L, -1);
    if (gd->release == release && (!gd->given || (idle && !gd->closed))) return;
  }
  lua_pop(L, 1);
  gd = lua_newuserdatauv(L, sizeof *gd, 1);
  here(L).s->nhandles++;               /* ours, and not finalised */
  gd->release = release;
  gd->given = gd->closed = false;
  set_metatable(L);
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, idx, GUARD_SLOT);
}

void guard_give (lua_State *L, int idx, int64_t k) {
  Guard *gd = lua_touserdata(L, idx);
  gd->k = k;
  gd->given = true;
}
