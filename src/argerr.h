/*
** argerr.h - wrong arguments, always told with the function's own name.  Layer 5.
**
** lauxlib's functions take the name from the call: '?' or 'goro.chan' under pcall, a local's name
** elsewhere.  These look the C function up among goro's.  As there, self is not counted in a
** method call.
*/
#ifndef GORO_ARGERR_H
#define GORO_ARGERR_H

#include <stdbool.h>
#include "lua.h"
#include "lauxlib.h"

#pragma GCC visibility push(hidden)

void argerr_names (const luaL_Reg *list);          /* static lists, given once */

int arg_error (lua_State *L, int arg, const char *msg);
int arg_typeerror (lua_State *L, int arg, const char *expected);
lua_Integer arg_integer (lua_State *L, int arg);
lua_Integer arg_opt_integer (lua_State *L, int arg, lua_Integer deflt);
lua_Number arg_number (lua_State *L, int arg);
const char *arg_string (lua_State *L, int arg);
void arg_type (lua_State *L, int arg, int type);
void arg_any (lua_State *L, int arg);
int arg_option (lua_State *L, int arg, const char *deflt, const char *const list[]);

#define arg_check(L, cond, arg, msg) ((void)((cond) || arg_error((L), (arg), (msg))))

#pragma GCC visibility pop

#endif
