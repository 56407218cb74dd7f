/*
** lua_profile.c - goro.profile's C half: starting, reading, ending.  Layer 6.
** What is made of the samples is lua/goro/profile.lua's.
*/
#include <errno.h>
#include <string.h>
#include "lua_args.h"
#include "profile.h"

/*
** goro.profile.start([hz = 100]) -> true; or nil, reason.  Samples the Lua stack of whatever runs,
** hz times in a second of CPU time, 1 to 1000, in all goroutines and main scripts of the process.
** Go's runtime/pprof.StartCPUProfile.
*/
static int l_start (lua_State *L) {
  lua_Integer hz = arg_opt_integer(L, 1, PROFILE_HZ);
  int e;
  arg_check(L, hz >= 1 && hz <= PROFILE_HZ_MAX, 1, "1 to 1000 samples a second expected");
  here(L);
  e = profile_start((int)hz);
  if (e == 0) {
    lua_pushboolean(L, 1);
    return 1;
  }
  return nil_text(L, e == EBUSY ? "already profiling" :
                     e == ENOSYS ? "the signal SIGURG is in use" : strerror(e));
}

/* read() -> a number for finish, "frame;frame;frame count\n" ..., hz, seconds; or nil, reason. */
static int l_read (lua_State *L) {
  Text t = { NULL, 0, 0 };
  int hz = 0;
  double seconds = 0;
  int64_t which;
  here(L);
  which = profile_read(&t, &hz, &seconds);
  if (which <= 0) {
    text_free(&t);
    return nil_text(L, which == 0 ? "not profiling" : "not enough memory");
  }
  lua_pushinteger(L, which);
  text_push(L, &t);
  lua_pushinteger(L, hz);
  lua_pushnumber(L, seconds);
  return 4;
}

/* finish(number) -> true; false: that profile has been ended by somebody else. */
static int l_finish (lua_State *L) {
  lua_Integer which = luaL_checkinteger(L, 1);
  here(L);
  lua_pushboolean(L, profile_end(which));
  return 1;
}

const luaL_Reg profile_functions[] = {
  { "start", l_start }, { "read", l_read }, { "finish", l_finish }, { NULL, NULL }
};

void push_profile_part (lua_State *L) { luaL_newlib(L, profile_functions); }
