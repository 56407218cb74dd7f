/*
** runq.c - a bounded ring with one producer (the P's owner) and many consumers, and runnext.
** Layer 2.
**
** Free-running head and tail.  The owner alone moves tail, with a release store that publishes
** the slots before it; owner and thieves move head by CAS with release, which publishes that the
** slots are free again (pairs with the owner's acquire load in put).  A thief copies slots before
** its CAS: if the CAS succeeds head had not moved, so nobody could have overwritten them.
*/
#include "debug.h"
#include "runq.h"

bool runq_empty (P *pp) {
  /* runnext may be kicked into the ring while we look: read tail again to be sure that all
  ** three were seen at one moment. */
  for (;;) {
    uint32_t h = load_seq(&pp->head), t = load_seq(&pp->tail);
    G *next = load_seq(&pp->runnext);
    if (t == load_seq(&pp->tail))
      return h == t && next == NULL;
  }
}

bool runq_put (P *pp, G *g, bool next, GList *spill, int *nspill) {
  uint32_t h, t, n, i;
  GORO_POINT();
  if (next) {
    g = atomic_exchange_explicit(&pp->runnext, g, memory_order_acq_rel);
    if (g == NULL) return true;
  }
  for (;;) {
    h = load_acq(&pp->head);
    t = load_rlx(&pp->tail);
    if (t - h < RUNQ_SIZE) {
      store_rlx(&pp->runq[t % RUNQ_SIZE], g);
      store_rel(&pp->tail, t + 1);
      return true;
    }
    n = (t - h) / 2;                   /* full: half of it goes to the global queue */
    {
      G *batch[RUNQ_SIZE / 2];
      for (i = 0; i < n; i++) batch[i] = load_rlx(&pp->runq[(h + i) % RUNQ_SIZE]);
      if (!cas_acqrel(&pp->head, &h, h + n)) continue;   /* thieves were there: there is room */
      for (i = 0; i < n; i++) glist_add(spill, batch[i]);
      glist_add(spill, g);
      *nspill = (int)n + 1;
      return false;
    }
  }
}

/* Any order of the queue is a right one: runnext goes behind the rest, or the first does. */
static void turn_round (P *pp) {
  G *g = NULL;
  GList spill = { NULL, NULL };
  int n;
  uint32_t h = load_acq(&pp->head), t = load_rlx(&pp->tail);
  if (t - h >= RUNQ_SIZE / 2) return;
  if (goro_maybe(2)) g = atomic_exchange_explicit(&pp->runnext, NULL, memory_order_acq_rel);
  if (g == NULL && t != h) {
    g = load_rlx(&pp->runq[h % RUNQ_SIZE]);
    if (!cas_acqrel(&pp->head, &h, h + 1)) return;
  }
  if (g != NULL) runq_put(pp, g, false, &spill, &n);
}

G *runq_get (P *pp) {
  uint32_t h, t;
  G *g = load_rlx(&pp->runnext);
  GORO_POINT();
  if (goro_maybe(4)) turn_round(pp);
  if (g == NULL) pp->nexts = 0;
  else if (++pp->nexts % RUNNEXT_MAX != 0 || load_acq(&pp->head) == load_rlx(&pp->tail)) {
    /* only the owner sets runnext; a thief may take it */
    if (cas_acqrel(&pp->runnext, &g, NULL)) return g;
  }
  for (;;) {
    h = load_acq(&pp->head);
    t = load_rlx(&pp->tail);
    if (t == h) return NULL;
    g = load_rlx(&pp->runq[h % RUNQ_SIZE]);
    if (cas_acqrel(&pp->head, &h, h + 1)) return g;
  }
}

G *runq_steal (P *pp, P *victim, bool take_next) {
  uint32_t h, t, n, i, mine = load_rlx(&pp->tail);
  G *g;
  GORO_POINT();
  for (;;) {
    h = load_acq(&victim->head);
    t = load_acq(&victim->tail);
    n = t - h;
    n -= n / 2;
    if (n == 0) {
      if (!take_next || load_acq(&victim->runnext) == NULL) return NULL;
      g = load_acq(&victim->runnext);
      if (g == NULL) return NULL;
      if (cas_acqrel(&victim->runnext, &g, NULL)) return g;
      continue;
    }
    if (n > RUNQ_SIZE / 2) continue;   /* read at two moments */
    for (i = 0; i < n; i++) {
      g = load_rlx(&victim->runq[(h + i) % RUNQ_SIZE]);
      store_rlx(&pp->runq[(mine + i) % RUNQ_SIZE], g);
    }
    GORO_POINT();
    if (cas_acqrel(&victim->head, &h, h + n)) break;
  }
  n--;                                 /* the last one is run at once */
  g = load_rlx(&pp->runq[(mine + n) % RUNQ_SIZE]);
  if (n > 0) store_rel(&pp->tail, mine + n);
  return g;
}
