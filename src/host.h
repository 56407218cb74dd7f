/*
** host.h - Lua states that required goro, and the goroutines that belong to them.  Layer 3.
*/
#ifndef GORO_HOST_H
#define GORO_HOST_H

#include "park.h"

#pragma GCC visibility push(hidden)

Host *host_new (void);                 /* with its main G; NULL: no memory */
void host_unref (Host *h);
/* IDLE, counted, with an id; all zero behind it (SchedHooks.room).  NULL: no memory, or the host
** ends. */
G *g_new (Host *h);
void g_unlink (G *g);                  /* DEAD or IDLE: its host knows it no more, and may go */
void g_free (G *g);                    /* unlinked already */

/*
** End all goroutines of 'h': those that wait are woken with WAKE_KILL, those that run are asked
** by signal.  Called on a host's thread that is in no goro call otherwise.  true: all are gone;
** false: some are in C and were left behind.
*/
bool host_end (Host *h, M *m);

/* os.exit in goroutine 'self': end the others as far as they can be, in 50 ms. */
void host_halt (Host *h, M *m, G *self);

/* For sysmon, where there are several hosts: raise deadlocks that check_dead cannot see. */
void host_check_deadlocks (void);

static inline bool host_closing (const Host *h) { return load_rlx(&h->closing) != 0; }

#pragma GCC visibility pop

#endif
