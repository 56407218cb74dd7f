/*
** lua_args.c - arguments that many functions take.  Layer 6.
*/
#include <math.h>
#include "lua_args.h"

static int64_t to_ns (lua_Number s) {
  if (s >= 9.0e9) return FOREVER;      /* 285 years */
  return (int64_t)(s * 1e9);
}

int64_t arg_seconds (lua_State *L, int arg, bool negative) {
  lua_Number s = arg_number(L, arg);
  arg_check(L, s == s, arg, "not a number (NaN)");
  arg_check(L, negative || s >= 0, arg, "negative time");
  if (s <= 0) return 0;
  return to_ns(s);
}

int64_t arg_timeout (lua_State *L, int arg, int64_t deflt) {
  lua_Number s;
  int64_t ns, now;
  if (lua_isnoneornil(L, arg)) return deflt;
  if (lua_type(L, arg) != LUA_TNUMBER) {
    arg_typeerror(L, arg, "time-out in seconds, or context");
  }
  s = lua_tonumber(L, arg);
  arg_check(L, s == s, arg, "not a number (NaN)");
  if (s <= 0) return 0;
  ns = to_ns(s);
  if (ns == FOREVER) return FOREVER;
  now = os_now();
  return now + (ns > 0 ? ns : 1);
}

int64_t arg_timeout_again (lua_State *L, int arg, int64_t until) {
  if (lua_isnoneornil(L, arg) || lua_type(L, arg) == LUA_TNUMBER) return until;
  return arg_timeout(L, arg, FOREVER);
}

const char *wake_reason (G *g) {
  (void)g;
  return "timeout";
}

int false_reason (lua_State *L, Here h) {
  lua_pushboolean(L, 0);
  lua_pushstring(L, wake_reason(h.g));
  return 2;
}
