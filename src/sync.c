/*
** sync.c - Once, Cond, Semaphore, Atomic.  Layer 4.
**
** Each is a lock and a queue.  A Cond takes its own lock and its mutex's one after the other,
** never both.
*/
#include <stdlib.h>
#include "debug.h"
#include "sync.h"

static void *object (size_t size, uint8_t type, void (*destroy) (Obj *)) {
  Obj *o = calloc(1, size);
  if (o == NULL) return NULL;
  store_rlx(&o->refs, 1);
  o->type = type;
  o->destroy = destroy;
  return o;
}

static void enqueue (WaitQ *q, G *g, void *object, WaitReason reason) {
  g->own.g = g;
  g->own.queue = object;
  park_begin(g, reason);
  waitq_push(q, &g->own);
}

static void wake_all (WaitQ *q, GList *ready) {
  Sudog *s;
  while ((s = waitq_pop(q)) != NULL) glist_add(ready, s->g);
}

/* ---------------------------------------------------------------- Once */

static void once_destroy (Obj *obj) {
  Once *o = (Once *)obj;
  goro_check(o->waiters.head == NULL);
  value_drop(&o->v);
  free(o);
}

Once *once_new (void) {
  Once *o = object(sizeof *o, OBJ_ONCE, once_destroy);
  if (o != NULL) lock_init(&o->lock, RANK_OBJECT);
  return o;
}

OnceResult once_enter (Once *o, G *g) {
  OnceResult r = ONCE_OVER;
  if (load_acq(&o->state) >= ONCE_DONE) return r;  /* acquire: v is there */
  GORO_POINT();
  lock_acquire(&o->lock);
  switch (load_rlx(&o->state)) {
    case ONCE_NEW:
      store_rlx(&o->state, ONCE_RUNNING);
      o->runner = g;
      r = ONCE_RUN;
      break;
    case ONCE_RUNNING:
      if (o->runner == g) r = ONCE_RECURSIVE;
      else {
        enqueue(&o->waiters, g, o, WAIT_ONCE);
        r = ONCE_WAIT;
      }
      break;
    default:
      break;
  }
  lock_release(&o->lock);
  return r;
}

void once_finish (Once *o, G *g) {
  if (g->wake == WAKE_READY) return;
  lock_acquire(&o->lock);
  if (g->own.enqueued) waitq_remove(&o->waiters, &g->own);
  lock_release(&o->lock);
}

void once_end (Once *o, M *m, OnceState how, Value *v) {
  GList ready = { NULL, NULL };
  lock_acquire(&o->lock);
  goro_check(load_rlx(&o->state) == ONCE_RUNNING);
  o->v = *v;
  o->runner = NULL;
  store_rel(&o->state, how);           /* release: see once_enter */
  wake_all(&o->waiters, &ready);
  lock_release(&o->lock);
  sched_ready_all(m, &ready);
  *v = NIL_VALUE;
}

/* ---------------------------------------------------------------- Cond */

static void cond_destroy (Obj *obj) {
  Cond *c = (Cond *)obj;
  goro_check(c->waiters.head == NULL);
  obj_unref(&c->mutex->obj);
  free(c);
}

Cond *cond_new (Mutex *mu) {
  Cond *c = object(sizeof *c, OBJ_COND, cond_destroy);
  if (c == NULL) return NULL;
  lock_init(&c->lock, RANK_OBJECT);
  c->mutex = mu;
  obj_ref(&mu->obj);
  return c;
}

bool cond_wait (Cond *c, M *m, G *g) {
  if (!mutex_locked(c->mutex)) return false;
  lock_acquire(&c->lock);
  enqueue(&c->waiters, g, c, WAIT_COND);
  lock_release(&c->lock);
  GORO_POINT();
  if (mutex_unlock(c->mutex, m)) return true;
  lock_acquire(&c->lock);              /* somebody unlocked it meanwhile, wrongly */
  if (g->own.enqueued) waitq_remove(&c->waiters, &g->own);
  lock_release(&c->lock);
  park_abort(g);
  if (g->wake == WAKE_READY && g->fired != NULL) cond_signal(c, m, false);   /* not for us */
  return false;
}

void cond_finish (Cond *c, G *g) {
  if (g->wake == WAKE_READY) return;
  lock_acquire(&c->lock);
  if (g->own.enqueued) waitq_remove(&c->waiters, &g->own);
  lock_release(&c->lock);
}

void cond_signal (Cond *c, M *m, bool all) {
  GList ready = { NULL, NULL };
  Sudog *s;
  lock_acquire(&c->lock);
  if (all) wake_all(&c->waiters, &ready);
  else if ((s = waitq_pop(&c->waiters)) != NULL) glist_add(&ready, s->g);
  lock_release(&c->lock);
  sched_ready_all(m, &ready);
}

/* ---------------------------------------------------------------- Semaphore */

static void semaphore_destroy (Obj *obj) {
  goro_check(((Semaphore *)obj)->waiters.head == NULL);
  free(obj);
}

Semaphore *semaphore_new (int64_t size) {
  Semaphore *sem = object(sizeof *sem, OBJ_SEMAPHORE, semaphore_destroy);
  if (sem == NULL) return NULL;
  lock_init(&sem->lock, RANK_OBJECT);
  sem->size = size;
  return sem;
}

bool semaphore_acquire (Semaphore *sem, G *g, int64_t k, bool block) {
  bool ok;
  goro_check(k >= 0 && k <= sem->size);
  lock_acquire(&sem->lock);
  ok = sem->waiters.head == NULL && k <= sem->size - sem->held;
  if (ok) sem->held += k;
  else if (block) {
    g->own.elem = NIL_VALUE;
    g->own.elem.u.i = k;
    enqueue(&sem->waiters, g, sem, WAIT_SEMAPHORE);
  }
  lock_release(&sem->lock);
  return ok;
}

/*
** sem->lock held.  Serve the queue from its head as far as the units go.  Not waitq_pop: it might
** take one whose request does not fit in place of a first one that has given up.
*/
static void serve (Semaphore *sem, GList *ready) {
  Sudog *s;
  while ((s = sem->waiters.head) != NULL && s->elem.u.i <= sem->size - sem->held) {
    G *g = s->g;
    waitq_remove(&sem->waiters, s);
    if (wait_claim(g, WAKE_READY)) {
      g->fired = s;
      sem->held += s->elem.u.i;
      glist_add(ready, g);
    }
  }
}

bool semaphore_finish (Semaphore *sem, M *m, G *g) {
  GList ready = { NULL, NULL };
  if (g->wake == WAKE_READY) return true;
  lock_acquire(&sem->lock);
  if (g->own.enqueued) {
    waitq_remove(&sem->waiters, &g->own);
    serve(sem, &ready);                /* it may have stood before smaller ones */
  }
  lock_release(&sem->lock);
  sched_ready_all(m, &ready);
  return false;
}

bool semaphore_release (Semaphore *sem, M *m, int64_t k) {
  GList ready = { NULL, NULL };
  bool ok;
  lock_acquire(&sem->lock);
  ok = k <= sem->held;
  if (ok) {
    sem->held -= k;
    serve(sem, &ready);
  }
  lock_release(&sem->lock);
  sched_ready_all(m, &ready);
  return ok;
}

/* ---------------------------------------------------------------- Atomic */

static void atomic_destroy (Obj *obj) { free(obj); }

Atomic *atomic_new (int64_t v) {
  Atomic *a = object(sizeof *a, OBJ_ATOMIC, atomic_destroy);
  if (a != NULL) store_rlx(&a->v, (uint64_t)v);
  return a;
}
