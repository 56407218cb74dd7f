/*
** fit.h - is a state fit to become an image?  Layer 5.
*/
#ifndef GORO_FIT_H
#define GORO_FIT_H

#include "state.h"

#pragma GCC visibility push(hidden)

/*
** Look at all that can be reached in 'L', a main thread in which nothing runs.  Pairs whose keys
** hash by address are taken out of their tables and noted in the registry.  NULL: it is fit; or
** why it is not.  In any case fit_restore must be called before scripts run.
*/
const char *fit_take_out (lua_State *L);

/* In the state or a copy of it: put those pairs back.  Raises without memory. */
void fit_restore (lua_State *L);

/* For copies: a seed of its own for math.random, if that is open.  Raises without memory. */
void fit_seed (lua_State *L);

#pragma GCC visibility pop

#endif
