/*
** depot.h - blocks of one size that one thread makes and another frees.  Layer 1.
*/
#ifndef GORO_DEPOT_H
#define GORO_DEPOT_H

#include <stddef.h>
#include "lock.h"

#pragma GCC visibility push(hidden)

typedef struct Kept { struct Kept *next; } Kept;   /* a block's first word; the rest is as it was */

/* What one thread keeps: all zero to begin with. */
typedef struct Stock {
  Kept *first;
  int32_t n;
} Stock;

typedef void (*FreeBlock) (void *p);

#define DEPOT_BATCH 32
#define DEPOT_MOST 64

typedef struct Depot {
  Lock lock;                           /* RANK_LEAF */
  _Atomic(int32_t) n;                  /* [A] batches; changed under the lock */
  int32_t most;                        /* [I] of them, at most DEPOT_MOST */
  FreeBlock free;                      /* [I] */
  Kept *batch[DEPOT_MOST];             /* [L] */
} Depot;

Kept *depot_fetch (Depot *d, Stock *s);          /* a batch for 's', which is empty, or NULL */
void depot_return (Depot *d, Stock *s);          /* a batch of 's'; is freed if there is no room */
void stock_drop (Stock *s, const Depot *d);      /* free all */

/* A block, or NULL: one must be made. */
static inline void *stock_take (Stock *s, Depot *d) {
  Kept *k = s->first;
  if (k == NULL && (load_rlx(&d->n) == 0 || (k = depot_fetch(d, s)) == NULL)) return NULL;
  s->first = k->next;
  s->n--;
  return k;
}

static inline void stock_keep (Stock *s, Depot *d, void *p) {
  Kept *k = p;
  k->next = s->first;
  s->first = k;
  if (++s->n == 2 * DEPOT_BATCH) depot_return(d, s);
}

#pragma GCC visibility pop

#endif
