/*
** rwmutex.h - RWMutex.  Layer 4.
*/
#ifndef GORO_RWMUTEX_H
#define GORO_RWMUTEX_H

#include "waitq.h"

#pragma GCC visibility push(hidden)

typedef struct RWMutex {
  Obj obj;
  _Atomic(uint64_t) word;              /* [A] RW_ bits, and the readers above them */
  Lock lock;                           /* RANK_OBJECT: the queues */
  WaitQ readers, writers;              /* [L] */
  _Atomic(G *) owner;                  /* [A] the writer, NULL if there is none: for guards */
} RWMutex;

enum { RW_WRITER = 1, RW_WWAIT = 2, RW_RWAIT = 4, RW_READER = 8 };

RWMutex *rwmutex_new (void);           /* NULL: no memory */

/* Lock for writing or reading.  false: !block, and it would have to wait; or parking has begun:
** park, then call rwmutex_finish. */
bool rwmutex_lock (RWMutex *rw, G *g, bool write, bool block);
/* After a wait.  true: locked.  false: gave up (g->wake). */
bool rwmutex_finish (RWMutex *rw, M *m, G *g, bool write);

/* false: it was not locked that way. */
bool rwmutex_unlock (RWMutex *rw, M *m);
bool rwmutex_runlock (RWMutex *rw, M *m);

#pragma GCC visibility pop

#endif
