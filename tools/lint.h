/*
** lint.h - what the analyzers do not see: these do not return (they are declared to, so that one
** can write `return luaL_error(...)`).  For clang-tidy.
*/
#if !defined(_GNU_SOURCE)              /* (as some files do, and this one comes before) */
#define _GNU_SOURCE
#endif
#include <lua.h>
#include <lauxlib.h>

#define NEVER __attribute__((analyzer_noreturn))

int (lua_error) (lua_State *L) NEVER;
int (luaL_error) (lua_State *L, const char *fmt, ...) NEVER;
int (luaL_argerror) (lua_State *L, int arg, const char *msg) NEVER;
int (luaL_typeerror) (lua_State *L, int arg, const char *name) NEVER;

/* goro's own of that kind (argerr.h) */
int arg_error (lua_State *L, int arg, const char *msg) NEVER;
int arg_typeerror (lua_State *L, int arg, const char *expected) NEVER;
