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

/* Where is the module of the name at 1, by the field "path" or "cpath" of the table at 'package'?
** 1: its file is pushed; 0: there is none, and if 'tell' why is pushed; -1: the stock searcher is to
** look.  'readable': it is looked whether the file can be read.  May raise. */
int find_file (lua_State *L, int package, const char *field, bool readable, bool tell);

#pragma GCC visibility pop

#endif
