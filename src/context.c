/*
** context.c - contexts.  Layer 4.
**
** A TREE is a topmost context that can be cancelled and all below it that can; those that only
** hold a value stand between and are passed over by 'core'.  One lock, the topmost one's, covers
** the tree: a child holds references to all above it, so that one lives as long as any below.
**
** WHO HOLDS WHOM.  Handles and messages hold a context, a child its parent, a done channel its
** context, a goroutine that waits the context it waits under.  Parents know their children, and a
** context its done channel, without counting: so a context that nobody holds is freed, and its
** timer with it, while a done channel that somebody holds is closed in time.  Whoever is being
** destroyed takes itself out of those lists under the lock; who finds it there before may look
** at it, but can hold it only by obj_try_ref.
**
** CANCELLING marks all in one section of the lock, those further down first: who sees that a
** context is done, without a lock, sees all below it done.  The channels are closed and the
** goroutines claimed there, and readied after the unlock.  No recursion: a chain may be long.
**
** INVARIANTS (root->lock held)
**   X1  not done: it is in the list of children of the nearest above that can be cancelled, if
**       there is one, and that one is not done;
**   X2  done: it has no children, nobody waits, its done channel is closed;
**   X3  own_timer, and not done: its timer is set (or firing, and waits for the lock).
**
** DEADLINES.  A child whose parent's deadline is not later needs no timer of its own.  A timer
** that fires late, for one that is done, does nothing; cancel stops those it finds, destroying
** a context stops its own (and so waits for one that is firing).
**
** DEADLOCKS.  What waits for a context with a deadline is not asleep for good.  The deadlines
** that could end a wait are there when it begins, and only go by firing: so the goroutine counts
** in its host's ntimers from the wait's begin to its end, and a done channel as a timer's does.
**
** REJECTED.  A lock for each context (Go): cancelling would hold a chain of them, or not be seen
** everywhere at once.  Waiting on the done channel next to the call's own queue: it would have
** to be made for each context, and a wait is on one queue.
*/
#include <stdlib.h>
#include "context.h"
#include "debug.h"

static void never (Obj *o) { (void)o; }

#define BACKGROUND { .obj = { 1, OBJ_CONTEXT, never }, .deadline = FOREVER }
Context context_background = BACKGROUND, context_todo = BACKGROUND;

/* ---- root->lock held ---- */

static void link_child (Context *up, Context *c) {
  c->next = up->children;
  if (c->next != NULL) c->next->link = &c->next;
  c->link = &up->children;
  up->children = c;
}

static void unlink_child (Context *c) {
  if (c->link == NULL) return;
  *c->link = c->next;
  if (c->next != NULL) c->next->link = c->link;
  c->link = NULL;
}

static void unlink_waiter (Context *c, G *g) {
  *g->llink = g->lnext;
  if (g->lnext != NULL) g->lnext->llink = g->llink;
  else c->waiters_end = g->llink;
  g->llink = NULL;
}

/* 'c' and all below it, by 'chain', those further down before those above them. */
static Context *take_down (Context *c) {
  Context *todo = c, *taken = NULL;
  unlink_child(c);
  c->chain = NULL;
  while (todo != NULL) {
    Context *x = todo, *y;
    todo = x->chain;
    x->chain = taken;
    taken = x;
    while ((y = x->children) != NULL) {
      unlink_child(y);
      y->chain = todo;
      todo = y;
    }
  }
  return taken;
}

static void mark (Context *c, uint32_t err, const Value *cause, GList *ready) {
  G *g;
  c->cause = value_share(cause);
  store_rel(&c->err, err);             /* release: see context_err */
  if (c->done != NULL) chan_shut(c->done, ready);
  while ((g = c->waiters) != NULL) {
    unlink_waiter(c, g);
    if (wait_claim(g, context_wake(err))) glist_add(ready, g);
  }
}

/* 'stopped': those whose timers are to be stopped, a reference to each, by 'chain'; or NULL. */
static void end (Context *c, uint32_t err, const Value *cause, GList *ready, Context **stopped) {
  Context *x, *next;
  for (x = take_down(c); x != NULL; x = next) {
    next = x->chain;
    mark(x, err, cause, ready);
    if (stopped != NULL && x->own_timer && obj_try_ref(&x->obj)) {
      x->chain = *stopped;             /* (done: nobody else chains it any more) */
      *stopped = x;
    }
  }
}

/* ---- */

bool context_cancel (Context *c, M *m, Value *cause) {
  GList ready = { NULL, NULL };
  Context *stopped = NULL;
  bool was;
  GORO_POINT();
  goro_check(c->core == c);
  lock_acquire(&c->root->lock);
  was = load_rlx(&c->err) != CTX_OK;
  if (!was) end(c, CTX_CANCELED, cause, &ready, &stopped);
  lock_release(&c->root->lock);
  sched_ready_all(m, &ready);
  while (stopped != NULL) {
    Context *x = stopped;
    stopped = x->chain;
    timer_stop(&x->timer.t);
    obj_unref(&x->obj);
  }
  value_drop(cause);
  return !was;
}

/* Under the shard's lock: no reference is given up here. */
static void fire (Timer *t, int64_t now, GList *ready) {
  Context *c = (Context *)((char *)t - offsetof(Context, timer));
  (void)now;
  lock_acquire(&c->root->lock);
  if (load_rlx(&c->err) == CTX_OK) end(c, CTX_DEADLINE, &NIL_VALUE, ready, NULL);
  lock_release(&c->root->lock);
}

static void context_destroy (Obj *o) {
  Context *c = (Context *)o;
  do {                                 /* not by recursion: the chain may be long */
    Context *up = c->parent;
    if (c->core == c) {
      GORO_POINT();
      if (c->root != c) {
        lock_acquire(&c->root->lock);
        unlink_child(c);
        lock_release(&c->root->lock);
      }
      if (c->own_timer) timer_stop(&c->timer.t);   /* before the check: it may be firing */
      goro_check(c->children == NULL && c->waiters == NULL && c->done == NULL);
    }
    value_drop(&c->key);
    value_drop(&c->value);
    value_drop(&c->cause);
    free(c);
    c = up;
  } while (c != NULL && sub_acqrel(&c->obj.refs, 1) == 1);
}

static Context *new_child (Context *parent) {
  Context *c = calloc(1, sizeof *c);
  if (c == NULL) return NULL;
  store_rlx(&c->obj.refs, 1);
  c->obj.type = OBJ_CONTEXT;
  c->obj.destroy = context_destroy;
  c->parent = parent;
  obj_ref(&parent->obj);
  c->core = parent->core;
  c->deadline = FOREVER;
  return c;
}

/* Its timer is set before it can be found from above: so none sets and stops it at once. */
static bool set_timer (Context *c, M *m) {
  if (c->deadline <= os_now()) {
    store_rlx(&c->err, CTX_DEADLINE);  /* nobody knows it yet */
    return true;
  }
  c->timer.t.fire = fire;
  timer_own(&c->timer, c->host, NULL);
  if (!timer_add(&c->timer.t, c->deadline, m->p != NULL ? m->p->id : 0)) return false;
  c->own_timer = true;
  sched_timer_added(c->deadline);
  return true;
}

Context *context_new (Context *parent, M *m, Host *h, int64_t deadline) {
  Context *c = new_child(parent), *up = parent->core;
  bool ended = false;
  if (c == NULL) return NULL;
  c->core = c;
  c->root = up != NULL ? up->root : c;
  lock_init(&c->lock, RANK_OBJECT);
  c->host = h;
  c->waiters_end = &c->waiters;
  c->deadline = up != NULL ? up->deadline : FOREVER;
  if (deadline < c->deadline) {
    c->deadline = deadline;
    if (!set_timer(c, m)) {
      obj_unref(&c->obj);
      return NULL;
    }
  }
  if (up == NULL) return c;
  GORO_POINT();
  lock_acquire(&c->root->lock);
  if (load_rlx(&c->err) == CTX_OK) {   /* (its timer may have fired) */
    ended = load_rlx(&up->err) != CTX_OK;
    if (!ended) link_child(up, c);
    else {
      c->cause = value_share(&up->cause);
      store_rel(&c->err, load_rlx(&up->err));
    }
  }
  lock_release(&c->root->lock);
  if (ended && c->own_timer) timer_stop(&c->timer.t);
  return c;
}

Context *context_with_value (Context *parent, Value *key, Value *value) {
  Context *c = new_child(parent);
  if (c == NULL) {
    value_drop(key);
    value_drop(value);
    return NULL;
  }
  c->key = *key;
  c->value = *value;
  *key = *value = NIL_VALUE;
  return c;
}

const Value *context_value (const Context *c, const Probe *key) {
  for (; c != NULL; c = c->parent)
    if (c->key.tag != V_NIL && value_equals(&c->key, key)) return &c->value;
  return NULL;
}

/* ---------------------------------------------------------------- waiting */

Wake context_enter (Context *c, G *g) {
  Wake w;
  lock_acquire(&c->root->lock);
  w = context_wake(load_rlx(&c->err));
  if (w == WAKE_READY) {
    g->lnext = NULL;
    g->llink = c->waiters_end;
    *c->waiters_end = g;
    c->waiters_end = &g->lnext;
    g->limit = c;
  }
  lock_release(&c->root->lock);
  if (w == WAKE_READY) {
    obj_ref(&c->obj);                  /* (the caller's argument holds it until here) */
    if (c->deadline != FOREVER) add_acqrel(&g->host->ntimers, 1);
  }
  return w;
}

void context_leave (G *g) {
  Context *c = g->limit;
  if (c == NULL) return;
  g->limit = NULL;
  GORO_POINT();
  lock_acquire(&c->root->lock);        /* a claim that fails is over after this, too */
  if (g->llink != NULL) unlink_waiter(c, g);
  lock_release(&c->root->lock);
  if (c->deadline != FOREVER) sub_acqrel(&g->host->ntimers, 1);
  obj_unref(&c->obj);
}

/* ---------------------------------------------------------------- done channels */

typedef struct Done {
  Chan c;
  Context *ctx;                        /* [I] a reference */
} Done;

static void done_destroy (Obj *o) {
  Done *d = (Done *)o;
  Context *ctx = d->ctx;
  lock_acquire(&ctx->root->lock);
  if (ctx->done == &d->c) ctx->done = NULL;
  lock_release(&ctx->root->lock);
  chan_fini(&d->c);
  free(d);
  obj_unref(&ctx->obj);
}

/* Of all that can never be done; made once, never freed. */
static Chan *never_done (void) {
  static _Atomic(Chan *) never_closed;
  Chan *c = load_acq(&never_closed), *none = NULL;
  if (c == NULL) {
    c = chan_new(0, 0, NULL);
    if (c == NULL) return NULL;
    if (!cas_acqrel(&never_closed, &none, c)) {
      obj_unref(&c->obj);
      c = none;
    }
  }
  obj_ref(&c->obj);
  return c;
}

static Chan *held_done (Context *c) {  /* root->lock held */
  return c->done != NULL && obj_try_ref(&c->done->obj) ? c->done : NULL;
}

Chan *context_done (Context *any, Host *h) {
  Context *c = any->core;
  GList none = { NULL, NULL };
  Chan *ch;
  Done *d;
  if (c == NULL) return never_done();
  lock_acquire(&c->root->lock);
  ch = held_done(c);
  lock_release(&c->root->lock);
  if (ch != NULL) return ch;
  d = malloc(sizeof *d);
  if (d == NULL) return NULL;
  if (!chan_init(&d->c, 0, 0, NULL, done_destroy)) {
    free(d);
    return NULL;
  }
  d->ctx = c;
  obj_ref(&c->obj);
  d->c.host = h;
  GORO_POINT();
  lock_acquire(&c->root->lock);
  ch = held_done(c);
  if (ch == NULL) {
    c->done = &d->c;
    if (load_rlx(&c->err) != CTX_OK) chan_shut(&d->c, &none);  /* nobody waits there yet */
    else if (c->deadline != FOREVER) chan_set_timed(&d->c, true);
  }
  lock_release(&c->root->lock);
  if (ch == NULL) return &d->c;
  obj_unref(&d->c.obj);                /* somebody else was quicker */
  return ch;
}

/* ---------------------------------------------------------------- for leaks.c */

Context *context_of_done (Chan *c) {
  return c->obj.destroy == done_destroy ? ((Done *)c)->ctx : NULL;
}

void context_each_below (Context *any, void (*f) (void *ud, Obj *o), void *ud) {
  Context *c = any->core, *y;
  if (c == NULL) return;
  lock_acquire(&c->root->lock);
  if (c->done != NULL && obj_try_ref(&c->done->obj)) f(ud, &c->done->obj);
  for (y = c->children; y != NULL; y = y->next)
    if (obj_try_ref(&y->obj)) f(ud, &y->obj);
  lock_release(&c->root->lock);
}
