/*
** waitgroup.h - WaitGroup.  Layer 4.
*/
#ifndef GORO_WAITGROUP_H
#define GORO_WAITGROUP_H

#include "result.h"
#include "waitq.h"

#pragma GCC visibility push(hidden)

typedef struct WaitGroup {
  Obj obj;
  Lock lock;                           /* RANK_OBJECT */
  int64_t n;                           /* [L] the counter */
  WaitQ waiters;                       /* [L] */
  Result *failure;                     /* [L] the first failure of a go of this round */
} WaitGroup;

WaitGroup *waitgroup_new (void);
/* false: the counter would be negative; nothing is done. */
bool waitgroup_add (WaitGroup *w, M *m, int64_t n);
/* A go has ended: one less; 'failure' (taken) or NULL. */
void waitgroup_ended (WaitGroup *w, M *m, Result *failure);
/* true: the counter is 0; '*failure' is a reference to the round's failure, or NULL.  false: parking
** has begun (block), or it is not 0. */
bool waitgroup_wait (WaitGroup *w, G *g, bool block, Result **failure);
/* After a wait.  true: it reached 0, '*failure' as above. */
bool waitgroup_finish (WaitGroup *w, G *g, Result **failure);

#pragma GCC visibility pop

#endif
