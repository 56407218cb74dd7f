/*
** task.h - a goroutine whose results somebody may ask for.  Layer 4.
*/
#ifndef GORO_TASK_H
#define GORO_TASK_H

#include "chan.h"
#include "result.h"

#pragma GCC visibility push(hidden)

typedef struct Task {
  Obj obj;
  Lock lock;                           /* RANK_OBJECT */
  _Atomic(Result *) result;            /* [A] NULL until it has ended; then constant */
  WaitQ waiters;                       /* [L] */
  Chan *done;                          /* [L] made when first asked for; NULL: not yet */
} Task;

Task *task_new (void);                 /* NULL: no memory */
/* Its goroutine has ended; takes 'r'. */
void task_end (Task *t, M *m, Result *r);
/* The result, not a reference of the caller's own; or NULL, then, if 'block', parking has begun. */
Result *task_wait (Task *t, G *g, bool block);
/* After a wait: the result, or NULL if the wait ended for another reason. */
Result *task_finish (Task *t, G *g);
/* A channel that is closed at the end; the task's, NULL: no memory. */
Chan *task_done (Task *t, M *m);

#pragma GCC visibility pop

#endif
