/*
** select.h - wait for one of several channel operations.  Layer 4.
*/
#ifndef GORO_SELECT_H
#define GORO_SELECT_H

#include "chan.h"

#pragma GCC visibility push(hidden)

typedef struct Case {
  Chan *c;                             /* NULL: never ready */
  bool send;
  Value v;                             /* to send; or what was received */
} Case;

/*
** CHAN_OK/CHAN_CLOSED: case '*which' is done (CLOSED: a send on a closed channel was chosen, or
** a receive from one, whose v is nil).  CHAN_BUSY (only if !block): none is ready.  CHAN_WAIT:
** g stands in all queues and must be parked; then select_finish.  -1 (as ChanResult): no memory.
** Values of cases that were not done stay in 'cases' (after CHAN_WAIT: in g, until
** select_finish gives them back through select_value).
*/
#define SELECT_NOMEM ((ChanResult)-1)
ChanResult select_go (M *m, G *g, Case *cases, int n, bool block, int *which);

/* After a wait.  CHAN_BUSY: it ended for another reason.  '*v': what was received.  The values
** of the send cases that did not happen are dropped. */
ChanResult select_finish (G *g, int *which, Value *v);

#pragma GCC visibility pop

#endif
