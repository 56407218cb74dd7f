/*
** errgroup.h - goroutines that work on one task, and its first failure.  Layer 4.
*/
#ifndef GORO_ERRGROUP_H
#define GORO_ERRGROUP_H

#include "context.h"
#include "result.h"

#pragma GCC visibility push(hidden)

typedef struct ErrGroup {
  Obj obj;
  Lock lock;                           /* RANK_OBJECT */
  int64_t n;                           /* [L] goroutines that run */
  int64_t limit;                       /* [L] how many may; -1: any number */
  WaitQ starters, waiters;             /* [L] starters: each wants one more to run */
  Result *failure;                     /* [L] the first; set once */
  Context *ctx;                        /* [I] a reference */
} ErrGroup;

ErrGroup *errgroup_new (Context *parent, M *m, Host *h);       /* NULL: no memory */
bool errgroup_limit (ErrGroup *eg, M *m, int64_t limit);       /* false: goroutines run */

/* One more shall run.  true: it is counted.  false: parking has begun, then errgroup_entered. */
bool errgroup_enter (ErrGroup *eg, G *g);
bool errgroup_entered (ErrGroup *eg, G *g);        /* true: it is counted */
/* One has ended; 'failure' (taken) or NULL.  The first failure cancels the context. */
void errgroup_ended (ErrGroup *eg, M *m, Result *failure);

/* true: none runs.  false: !block, or parking has begun, then errgroup_waited. */
bool errgroup_wait (ErrGroup *eg, G *g, bool block);
bool errgroup_waited (ErrGroup *eg, G *g);
Result *errgroup_failure (ErrGroup *eg);           /* a reference, or NULL */

#pragma GCC visibility pop

#endif
