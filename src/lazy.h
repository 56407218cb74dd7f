/*
** lazy.h - tables that are filled when somebody looks.  Layer 5.
**
** A goroutine's state starts with an empty _G: a global function is put there when it is first
** asked for, a library is opened when its name is.  So are package.loaded and the goro module.
** A metatable does it, which nobody sees: the functions that could (next, pairs, rawget,
** rawset, getmetatable, setmetatable, debug's) are replaced in goroutines by those of this
** file, which fill such a table before they look into it.
**
** Each name is put there once: a script that sets print to nil finds nil.
**
** One metatable, the common one, serves _G, strings before their library is opened, and the
** tables of handles' methods: each would be small, and a goroutine has little room.
*/
#ifndef GORO_LAZY_H
#define GORO_LAZY_H

#include "state.h"

#pragma GCC visibility push(hidden)

#define LAZY_MAX (64 * LAZY_WORDS - 1) /* entries a table may have */

typedef struct LazyEntry {
  const char *name;
  lua_CFunction f;                     /* the value; or NULL: */
  void (*make) (lua_State *L, State *s, const char *name);     /* pushes it; may raise */
} LazyEntry;

/* Before the first state: what the table 'which' (LAZY_) holds.  false: too many. */
bool lazy_define (int which, const LazyEntry *entries, int n);
void lazy_forget (void);                /* all that was defined */
/* In a template: push the common metatable, made for _G, with room for 'n' fields of strings. */
void lazy_make_common (lua_State *L, int n);
/* Push it; false (nothing pushed): this state has none (any more). */
bool lazy_push_common (lua_State *L);
/* Has the metatable on top the common one's __index? */
bool lazy_is_common (lua_State *L);
/* The table on top is the lazy one of its kind in this state; 's' knows it by its bits. */
void lazy_attach (lua_State *L, int which);
/* The field 'name' of the table at 'idx', which may be lazy: pushed, raw otherwise. */
void lazy_get (lua_State *L, int idx, const char *name);
/* Was 'name' put there already, or set by the script? */
bool lazy_is_done (const State *s, int which, const char *name);
int lazy_number (int which, const char *name);   /* of an entry, for: */
#define lazy_done_number(s, which, i) (((s)->lazy[which][(i) / 64] >> ((i) % 64) & 1) != 0)
/* A template: the functions in the lazy table at 'idx' that 'code' mentions are put there now. */
void lazy_put_mentioned (lua_State *L, State *s, int idx, const char *code, size_t len);
/* Is this one of the functions in lazy tables that are tame? */
bool lazy_is_tame (lua_CFunction f);
/* The entry 'name' is there already (the caller sees to it). */
void lazy_set_done (State *s, int which, const char *name);
/* If the table at 'idx' is lazy, fill it and make it a plain one. */
void lazy_fill (lua_State *L, int idx);

extern const luaL_Reg lazy_base_functions[];   /* next ... setmetatable */
extern const luaL_Reg lazy_debug_functions[];  /* getmetatable, setmetatable */

#pragma GCC visibility pop

#endif
