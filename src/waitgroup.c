/*
** waitgroup.c - WaitGroup.  Layer 4.
*/
#include <stdlib.h>
#include "debug.h"
#include "waitgroup.h"

static void waitgroup_destroy (Obj *o) {
  WaitGroup *w = (WaitGroup *)o;
  if (w->failure != NULL) result_unref(w->failure);
  free(w);
}

WaitGroup *waitgroup_new (void) {
  WaitGroup *w = calloc(1, sizeof *w);
  if (w == NULL) return NULL;
  store_rlx(&w->obj.refs, 1);
  w->obj.type = OBJ_WAITGROUP;
  w->obj.destroy = waitgroup_destroy;
  lock_init(&w->lock, RANK_OBJECT);
  return w;
}

/* w->lock held: add and, at 0, take off who waits, each with the round's failure. */
static bool add (WaitGroup *w, int64_t n, GList *ready, Result **old) {
  Sudog *s;
  if (n < 0 ? w->n < -n || n == INT64_MIN : w->n > INT64_MAX - n) return false;
  if (w->n == 0 && n > 0) {            /* a new round */
    *old = w->failure;
    w->failure = NULL;
  }
  w->n += n;
  if (w->n == 0)
    while ((s = waitq_pop(&w->waiters)) != NULL) {
      s->elem.u.p = w->failure != NULL ? result_ref(w->failure) : NULL;
      glist_add(ready, s->g);
    }
  return true;
}

bool waitgroup_add (WaitGroup *w, M *m, int64_t n) {
  GList ready = { NULL, NULL };
  Result *old = NULL;
  bool ok;
  lock_acquire(&w->lock);
  ok = add(w, n, &ready, &old);
  lock_release(&w->lock);
  sched_ready_all(m, &ready);
  if (old != NULL) result_unref(old);
  return ok;
}

void waitgroup_ended (WaitGroup *w, M *m, Result *failure) {
  GList ready = { NULL, NULL };
  Result *old = NULL, *later = NULL;
  lock_acquire(&w->lock);
  if (w->failure == NULL) w->failure = failure;
  else later = failure;
  add(w, -1, &ready, &old);            /* (a done too many by the script is not our error) */
  lock_release(&w->lock);
  sched_ready_all(m, &ready);
  if (later != NULL) {
    result_report(later);              /* only the first is raised: never silent */
    result_unref(later);
  }
}

static Result *failure_of (WaitGroup *w) {       /* w->lock held */
  return w->failure != NULL ? result_ref(w->failure) : NULL;
}

bool waitgroup_wait (WaitGroup *w, G *g, bool block, Result **failure) {
  bool zero;
  *failure = NULL;
  lock_acquire(&w->lock);
  zero = w->n == 0;
  if (zero) *failure = failure_of(w);
  else if (block) {
    g->own.g = g;
    g->own.queue = w;
    g->own.elem = NIL_VALUE;
    park_begin(g, WAIT_WAITGROUP);
    waitq_push(&w->waiters, &g->own);
  }
  lock_release(&w->lock);
  return zero;
}

bool waitgroup_finish (WaitGroup *w, G *g, Result **failure) {
  bool zero = g->wake == WAKE_READY;
  if (!zero) {
    lock_acquire(&w->lock);
    if (g->own.enqueued) waitq_remove(&w->waiters, &g->own);
    lock_release(&w->lock);
  }
  *failure = zero ? g->own.elem.u.p : NULL;
  g->own.elem = NIL_VALUE;
  return zero;
}
