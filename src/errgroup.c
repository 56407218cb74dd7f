/*
** errgroup.c - goroutines that work on one task, and its first failure.  Layer 4.
**
** INVARIANTS (eg->lock held)
**   E1  somebody waits in starters: n >= limit, and limit is not -1;
**   E2  nobody waits in waiters when n is 0.
** Who ends hands its place to the starter that waits longest: so nobody is overtaken.
*/
#include <stdlib.h>
#include "debug.h"
#include "errgroup.h"

static void errgroup_destroy (Obj *o) {
  ErrGroup *eg = (ErrGroup *)o;
  goro_check(eg->n == 0 && eg->starters.head == NULL && eg->waiters.head == NULL);
  if (eg->failure != NULL) result_unref(eg->failure);
  obj_unref(&eg->ctx->obj);
  free(eg);
}

ErrGroup *errgroup_new (Context *parent, M *m, Host *h) {
  ErrGroup *eg = calloc(1, sizeof *eg);
  if (eg == NULL) return NULL;
  eg->ctx = context_new(parent, m, h, FOREVER);
  if (eg->ctx == NULL) {
    free(eg);
    return NULL;
  }
  store_rlx(&eg->obj.refs, 1);
  eg->obj.type = OBJ_ERRGROUP;
  eg->obj.destroy = errgroup_destroy;
  lock_init(&eg->lock, RANK_OBJECT);
  eg->limit = -1;
  return eg;
}

/* ---- eg->lock held ---- */

static bool has_room (const ErrGroup *eg) { return eg->limit < 0 || eg->n < eg->limit; }

static void serve (ErrGroup *eg, GList *ready) {
  Sudog *s;
  while (has_room(eg) && (s = waitq_pop(&eg->starters)) != NULL) {
    eg->n++;
    glist_add(ready, s->g);
  }
  if (eg->n == 0)
    while ((s = waitq_pop(&eg->waiters)) != NULL) glist_add(ready, s->g);
}

static void enqueue (ErrGroup *eg, WaitQ *q, G *g, WaitReason reason) {
  g->own.g = g;
  g->own.queue = eg;
  g->own.elem = NIL_VALUE;
  park_begin(g, reason);
  waitq_push(q, &g->own);
}

/* ---- */

bool errgroup_limit (ErrGroup *eg, M *m, int64_t limit) {
  GList ready = { NULL, NULL };
  bool ok;
  lock_acquire(&eg->lock);
  ok = eg->n == 0;
  if (ok) {
    eg->limit = limit < 0 ? -1 : limit;
    serve(eg, &ready);
  }
  lock_release(&eg->lock);
  sched_ready_all(m, &ready);
  return ok;
}

bool errgroup_enter (ErrGroup *eg, G *g) {
  bool ok;
  lock_acquire(&eg->lock);
  ok = has_room(eg);
  if (ok) eg->n++;
  else enqueue(eg, &eg->starters, g, WAIT_ERRGROUP_GO);
  lock_release(&eg->lock);
  return ok;
}

bool errgroup_entered (ErrGroup *eg, G *g) {
  if (g->wake == WAKE_READY) return true;
  lock_acquire(&eg->lock);
  if (g->own.enqueued) waitq_remove(&eg->starters, &g->own);
  lock_release(&eg->lock);
  return false;
}

static void fail (ErrGroup *eg, M *m, Result *failure) {
  bool first;
  lock_acquire(&eg->lock);
  first = eg->failure == NULL;
  if (first) eg->failure = result_ref(failure);
  lock_release(&eg->lock);
  if (first) {
    Value cause = value_share(&failure->v);
    context_cancel(eg->ctx, m, &cause);
  }
  else result_report(failure);         /* only the first is returned: never silent */
  result_unref(failure);
}

void errgroup_ended (ErrGroup *eg, M *m, Result *failure) {
  GList ready = { NULL, NULL };
  if (failure != NULL) fail(eg, m, failure);       /* before who waits can see the end */
  GORO_POINT();
  lock_acquire(&eg->lock);
  eg->n--;
  serve(eg, &ready);
  lock_release(&eg->lock);
  sched_ready_all(m, &ready);
}

bool errgroup_wait (ErrGroup *eg, G *g, bool block) {
  bool none;
  lock_acquire(&eg->lock);
  none = eg->n == 0;
  if (!none && block) enqueue(eg, &eg->waiters, g, WAIT_ERRGROUP);
  lock_release(&eg->lock);
  return none;
}

bool errgroup_waited (ErrGroup *eg, G *g) {
  if (g->wake == WAKE_READY) return true;
  lock_acquire(&eg->lock);
  if (g->own.enqueued) waitq_remove(&eg->waiters, &g->own);
  lock_release(&eg->lock);
  return false;
}

Result *errgroup_failure (ErrGroup *eg) {
  Result *r;
  lock_acquire(&eg->lock);
  r = eg->failure != NULL ? result_ref(eg->failure) : NULL;
  lock_release(&eg->lock);
  return r;
}
