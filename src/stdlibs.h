/*
** stdlibs.h - the standard libraries in goroutines' states.  Layer 5.
**
** Some functions are replaced there (print, coroutine.*, os.execute ...).  A captured standard
** function is the receiver's own on the other side: stdlibs_map knows which.
*/
#ifndef GORO_STDLIBS_H
#define GORO_STDLIBS_H

#include "lazy.h"

#pragma GCC visibility push(hidden)

typedef struct StdFunction {
  const char *lib;                     /* "_G", "os" ... */
  const char *name;
  lua_CFunction f;                     /* instead of the stock one, without upvalues */
  bool hosts;                          /* in hosts too */
} StdFunction;

/* What layer 6 adds; set before stdlibs_init. */
typedef struct StdLibs {
  const StdFunction *functions;        /* ends with lib NULL */
  /* A library (table on top) was opened in 's': wrap what needs the stock function. */
  void (*opened) (lua_State *L, State *s, const char *lib);
  void (*push_goro) (lua_State *L);    /* the goro module, eager */
  lua_CFunction goro_index;            /* __index of it: its parts */
  const LazyEntry *goro;               /* what it holds; ends with name NULL */
  const LazyEntry *parts;              /* its parts that are C: modules of their own */
} StdLibs;

extern StdLibs stdlibs;

bool stdlibs_init (void);              /* once; false: no memory */
bool stdlibs_can_be_lazy (void);       /* after init: the stock libraries are as we know them */
void stdlibs_open (lua_State *L, State *s);          /* all, in a new state; may raise */
void stdlibs_open_lazy (lua_State *L);               /* in a template: they will come */
/* Could a lazy state's package or arg differ from what it inherited? */
bool stdlibs_touched_heritage (const State *s);
void stdlibs_open_host (lua_State *L, State *s);     /* in a host, whose libraries are open */
void stdlibs_again_in_host (lua_State *L, State *s); /* goro is required once more */
void stdlibs_loaded (lua_State *L);                  /* push package.loaded */
void stdlibs_goro_lazy (lua_State *L, State *s);     /* a template: push the goro module */
int stdlibs_index_string (lua_State *L);  /* ("x").name before that: C function */
void stdlibs_string (lua_State *L);                  /* see that the string library is open */
bool stdlibs_is_standard (const char *name);      /* a library of Lua's, or goro itself */
lua_CFunction stdlibs_map (lua_CFunction f, const State *to);
/* In a template: libraries that hold tables and C functions only are made, but not opened yet: those
** that 'code' mentions, or whose functions it seems to call; or string and table. */
void stdlibs_prepare_mentioned (lua_State *L, State *s, const char *code, size_t len);
void stdlibs_prepare_common (lua_State *L, State *s);
void stdlibs_push (lua_State *L, State *s, lua_CFunction f);   /* what it is there */

#pragma GCC visibility pop

#endif
