/*
** task.c - a goroutine whose results somebody may ask for.  Layer 4.
**
** The result is published once, under the lock, and never changes: whoever finds it may read it
** without the lock for as long as it holds the task.
*/
#include <stdlib.h>
#include "debug.h"
#include "task.h"

static void task_destroy (Obj *o) {
  Task *t = (Task *)o;
  Result *r = load_acq(&t->result);
  if (r != NULL) result_unref(r);      /* a failure that nobody has seen is reported here */
  if (t->done != NULL) obj_unref(&t->done->obj);
  free(t);
}

Task *task_new (void) {
  Task *t = calloc(1, sizeof *t);
  if (t == NULL) return NULL;
  store_rlx(&t->obj.refs, 1);
  t->obj.type = OBJ_TASK;
  t->obj.destroy = task_destroy;
  lock_init(&t->lock, RANK_OBJECT);
  return t;
}

void task_end (Task *t, M *m, Result *r) {
  GList ready = { NULL, NULL };
  Sudog *s;
  Chan *done;
  lock_acquire(&t->lock);
  store_rel(&t->result, r);
  while ((s = waitq_pop(&t->waiters)) != NULL) glist_add(&ready, s->g);
  done = t->done;
  lock_release(&t->lock);
  sched_ready_all(m, &ready);
  if (done != NULL) chan_close(done, m);         /* (it stays as long as the task) */
}

Result *task_wait (Task *t, G *g, bool block) {
  Result *r = load_acq(&t->result);
  if (r != NULL || !block) return r;
  lock_acquire(&t->lock);
  r = load_rlx(&t->result);
  if (r == NULL) {
    g->own.g = g;
    g->own.queue = t;
    g->own.elem = NIL_VALUE;
    park_begin(g, WAIT_TASK);
    waitq_push(&t->waiters, &g->own);
  }
  lock_release(&t->lock);
  return r;
}

Result *task_finish (Task *t, G *g) {
  if (g->wake == WAKE_READY) return load_acq(&t->result);
  lock_acquire(&t->lock);
  if (g->own.enqueued) waitq_remove(&t->waiters, &g->own);
  lock_release(&t->lock);
  return NULL;
}

Chan *task_done (Task *t, M *m) {
  Chan *c, *unused = NULL;
  bool ended;
  lock_acquire(&t->lock);
  c = t->done;
  lock_release(&t->lock);
  if (c != NULL) return c;
  c = chan_new(0, 0, NULL);
  if (c == NULL) return NULL;
  lock_acquire(&t->lock);
  if (t->done != NULL) {
    unused = c;
    c = t->done;
  }
  else t->done = c;
  ended = load_rlx(&t->result) != NULL;          /* then task_end did not see the channel */
  lock_release(&t->lock);
  if (unused != NULL) obj_unref(&unused->obj);
  else if (ended) chan_close(c, m);
  return c;
}
