/*
** mutex.h - Mutex.  Layer 4.
*/
#ifndef GORO_MUTEX_H
#define GORO_MUTEX_H

#include "waitq.h"

#pragma GCC visibility push(hidden)

typedef struct Mutex {
  Obj obj;
  _Atomic(uint32_t) word;              /* [A] MUTEX_ bits, see mutex.c */
  Lock lock;                           /* RANK_OBJECT: the queue */
  WaitQ waiters;                       /* [L] */
  _Atomic(G *) owner;                  /* [A] who locked it; NULL while unlocked.  For guards
                                          only: anybody may unlock */
} Mutex;

enum { MUTEX_LOCKED = 1, MUTEX_WAITERS = 2, MUTEX_WOKEN = 4, MUTEX_HANDOFF = 8 };

typedef enum LockResult { LOCK_OK, LOCK_BUSY, LOCK_AGAIN } LockResult;

Mutex *mutex_new (void);               /* NULL: no memory */
void mutex_init (Mutex *mu);           /* one that is part of something else; all zero before */

static inline bool mutex_locked (Mutex *mu) {
  return (load_acq(&mu->word) & MUTEX_LOCKED) != 0;
}

/* Without waiting.  A mutex that is being handed over stays locked: nobody is overtaken. */
static inline bool mutex_try (Mutex *mu, G *g) {
  uint32_t w = load_rlx(&mu->word);
  while (!(w & MUTEX_LOCKED))
    if (cas_acqrel(&mu->word, &w, w | MUTEX_LOCKED)) {
      store_rlx(&mu->owner, g);
      return true;
    }
  return false;
}

/* true: locked.  false: parking has begun; park, then call mutex_finish. */
bool mutex_lock (Mutex *mu, G *g);
/* After a wait: leave the queue.  LOCK_OK; LOCK_BUSY: gave up (g->wake); LOCK_AGAIN: call
** mutex_relock, which is mutex_lock for those who have waited. */
LockResult mutex_finish (Mutex *mu, G *g);
bool mutex_relock (Mutex *mu, G *g);

bool mutex_unlock (Mutex *mu, M *m);   /* false: it was not locked */

#pragma GCC visibility pop

#endif
