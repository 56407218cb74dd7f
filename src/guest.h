/*
** guest.h - goroutines that run on the thread of a main script that waits.  Layer 3.
*/
#ifndef GORO_GUEST_H
#define GORO_GUEST_H

#include "sched.h"

#pragma GCC visibility push(hidden)

/* May m, a host's thread, take guests? */
bool guests_can (M *m);

/*
** In m_wait, for the main script that m->curg is, once GUESTS_MAY was set: run guests as long as
** there are any.  true: it is ready meanwhile, and goes on: RUNNING, with the P or without.  false:
** it waits; a P that m had is still m's.
*/
bool guests_run (M *m);

/* In ready_one: 'g' is RUNNABLE and bound, and its thread may have guests.  true: that thread will
** go on with it by itself, and was told. */
bool guests_main_ready (G *g);

#pragma GCC visibility pop

#endif
