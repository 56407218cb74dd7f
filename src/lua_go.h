/*
** lua_go.h - starting goroutines from bindings.  Layer 6.
*/
#ifndef GORO_LUA_GO_H
#define GORO_LUA_GO_H

#include "marshal.h"
#include "run.h"

#pragma GCC visibility push(hidden)

/* A goroutine for the function at 'arg' and the arguments behind it, ready for run_start.
** Raises, with nothing held. */
State *go_prepare (lua_State *L, Here h, int arg);
/* The same in two steps, for one that is started later, or several times: always by message. */
typedef struct GoKit {
  Msg *start;                          /* f and its arguments */
  Heritage *heritage;
  Origin *origin;
  uint64_t creator;
} GoKit;
void go_kit (lua_State *L, Here h, int arg, GoKit *k);         /* raises: 'k' is as it was */
void go_kit_free (GoKit *k);           /* zero, or filled */
State *go_from_kit (const GoKit *k, HostState *hs);  /* NULL: no memory, or the host ends */
/* For lua_pcall: (State **, f, ...). */
int go_prepare_protected (lua_State *L);
void go_abandon (State *s);            /* it shall not start after all */

/* 'e', malloc'ed, is what comes of its end: it is filled, with a reference to 'o'. */
void go_ends (State *s, Ending *e, uint8_t wants, Obj *o,
              void (*done) (Ending *e, M *m, Result *r), void (*drop) (Ending *e, M *m));
void ending_free (Ending *e, M *m);    /* once all is done; as Ending.drop: nobody need be told */

/* Raise the error of 'r', a reference that is given up. */
int result_raise (lua_State *L, State *s, Result *r);
/* Push its results; returns how many.  The reference stays. */
int result_push (lua_State *L, State *s, const Result *r);

#pragma GCC visibility pop

#endif
