/*
** runq.h - a P's run queue.  Layer 2.
*/
#ifndef GORO_RUNQ_H
#define GORO_RUNQ_H

#include "g.h"

#pragma GCC visibility push(hidden)

/* The owner's.  put: false when the ring is full; 'spill' then holds half of it and 'g', to go
** to the global queue.  'next': into runnext, kicking its holder into the ring. */
bool runq_put (P *pp, G *g, bool next, GList *spill, int *nspill);
G *runq_get (P *pp);
/* Anybody's. */
bool runq_empty (P *pp);
static inline uint32_t runq_length (P *pp) {       /* at about this time; without runnext */
  return load_rlx(&pp->tail) - load_rlx(&pp->head);
}
/* Take half of 'victim's goroutines into 'pp's ring (pp owned by the caller, its ring empty):
** one of them is returned to be run. */
G *runq_steal (P *pp, P *victim, bool take_next);

#pragma GCC visibility pop

#endif
