/*
** depot.c - blocks of one size that one thread makes and another frees.  Layer 1.
**
** That is what malloc does worst: each free goes into the other thread's arena, under its lock.  So
** a thread keeps what it frees, up to two batches, in its stock; a batch that is more goes to the
** depot, from where threads whose stock is empty fetch one.  Whoever takes a block writes to memory
** that was warm in the other's cache, and no more words are shared for each block than that.
*/
#include "depot.h"

static void free_list (Kept *k, FreeBlock f) {
  while (k != NULL) {
    Kept *next = k->next;
    f(k);
    k = next;
  }
}

Kept *depot_fetch (Depot *d, Stock *s) {
  Kept *k = NULL;
  int32_t n;
  lock_acquire(&d->lock);
  if ((n = load_rlx(&d->n)) > 0) {
    k = d->batch[n - 1];
    store_rlx(&d->n, n - 1);
  }
  lock_release(&d->lock);
  s->first = k;
  if (k != NULL) s->n = DEPOT_BATCH;
  return k;
}

void depot_return (Depot *d, Stock *s) {
  Kept *batch = s->first, *last = batch;
  int32_t i, n;
  for (i = 1; i < DEPOT_BATCH; i++) last = last->next;
  s->first = last->next;
  s->n -= DEPOT_BATCH;
  last->next = NULL;
  lock_acquire(&d->lock);
  if ((n = load_rlx(&d->n)) < d->most) {
    d->batch[n] = batch;
    store_rlx(&d->n, n + 1);
    batch = NULL;
  }
  lock_release(&d->lock);
  free_list(batch, d->free);
}

void stock_drop (Stock *s, const Depot *d) {
  free_list(s->first, d->free);
  s->first = NULL;
  s->n = 0;
}
