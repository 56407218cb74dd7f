/*
** park.h - a goroutine leaves and comes back.  Layer 3.
**
**   park_begin(g, reason)      before it enters wait queues
**   ... enqueue, add timers ...
**   park_here(m, g)            where Lua cannot yield: blocks the thread, returns when woken
**   or: yield to the worker, which calls park_commit
**   g->wake, g->fired          say what ended the wait
**
** wait_claim(g, why) decides who ends a wait: whoever gets true must ready g, and nobody else
** may.  A channel calls it under its lock for each Sudog it takes off.
*/
#ifndef GORO_PARK_H
#define GORO_PARK_H

#include "sched.h"

#pragma GCC visibility push(hidden)

void park_begin (G *g, WaitReason reason);
void park_abort (G *g);                /* nothing was enqueued, or all was taken back */
void park_commit (M *m, G *g);         /* the worker's half */
void park_here (M *m, G *g);
/* goro.yield and preemption where Lua cannot yield */
void yield_here (M *m, G *g, bool preempted);
const char *wait_reason_text (uint32_t reason);
const char *wait_reason (G *g);

static inline bool wait_claim (G *g, Wake why) {
  uint32_t open = 1;
  if (!cas_acqrel(&g->claim, &open, 0)) return false;
  g->wake = why;
  return true;
}

/* Time-outs: a goroutine's own timer claims it with WAKE_TIMEOUT. */
bool wait_arm (M *m, G *g, int64_t until);   /* false: no memory.  After park_begin */
void wait_disarm (G *g);                     /* after waking */

#pragma GCC visibility pop

#endif
