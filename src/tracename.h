/*
** tracename.h - what goroutines are called in a trace.  Layer 5.
*/
#ifndef GORO_TRACENAME_H
#define GORO_TRACENAME_H

#include "state.h"
#include "trace.h"

#pragma GCC visibility push(hidden)

/* 'g' is to run the function at 'arg' of 'L', in which a function of ours was called with it.
** Raises nothing.  (trace_on is asked first.)  'key': see trace.h. */
void tracename_function (lua_State *L, int arg, G *g, TraceKey *key);
void tracename_origin (G *g, const Origin *o);   /* where only that is known */

/* All goroutines of all hosts.  The world stands still; 'self': the caller's. */
void tracename_all (void);

#pragma GCC visibility pop

#endif
