/*
** profile.h - where CPU time goes: sampled Lua stacks of all goroutines.  Layer 5.
*/
#ifndef GORO_PROFILE_H
#define GORO_PROFILE_H

#include "report.h"

#pragma GCC visibility push(hidden)

#define PROFILE_HZ 100                 /* Go's */
#define PROFILE_HZ_MAX 1000

/* 0; EBUSY: already profiling; ENOSYS: the signal is not ours; or what the OS says. */
int profile_start (int hz);

/* What was sampled so far, as lines "frame;frame;frame count", for how long and how often.
** Sampling goes on.  A number for profile_end; 0: not profiling; -1: no memory. */
int64_t profile_read (Text *t, int *hz, double *seconds);
bool profile_end (int64_t which);      /* false: that one has ended already */
void profile_drop (void);              /* no host is left */

/*
** For who runs: 'm' owes samples (m->due) and is at a safe place of 'L', one of the lua_States of
** 's', which runs on this thread or has just yielded there.  'level': the first that counts.
*/
void profile_take (M *m, const State *s, lua_State *L, int level);

/* In the signal handler: 'm' owes samples, and runs no goroutine's Lua; or a main script whose
** count hook must not be disturbed. */
void profile_elsewhere (M *m, bool counting);

#pragma GCC visibility pop

#endif
