/*
** lua_load.h - loading source files through the process's compiled chunks.  Layer 6.
*/
#ifndef GORO_LUA_LOAD_H
#define GORO_LUA_LOAD_H

#include "stdlibs.h"

#pragma GCC visibility push(hidden)

/* As luaL_loadfilex: the same functions, names, lines and errors. */
int load_file (lua_State *L, const char *path, const char *mode);

int l_loadfile (lua_State *L);         /* loadfile, dofile: the base library's */
int l_dofile (lua_State *L);
int l_searchpath (lua_State *L);       /* package's; upvalue 1: the stock one */

/* goro.stats: fields of the table on top that tell of files and images. */
void load_stats (lua_State *L);

/* Instead of the stock searcher of Lua modules.  Upvalue 1: that one; 2: the package table. */
int search_lua (lua_State *L);

/* For the searcher of C modules, whose upvalues 1 and 2 are the same: where is the one of the name
** at 1?  1: its file is pushed; 0: there is none, and why is pushed; -1: the stock one is to
** look.  May raise. */
int find_c (lua_State *L);

/* The same for l_require, by package[field], whose upvalue 2 is the package table, too; 0: nothing
** is pushed. */
int find_quietly (lua_State *L, const char *field, bool readable);

#pragma GCC visibility pop

#endif
