/*
** chan.c - channels.  Layer 4.
**
** INVARIANTS (c->lock held):
**   C1  at most one of recvq and sendq has goroutines that still wait (but for one select that
**       stands in both);
**   C2  buffered and count > 0: nobody waits in recvq;  count < cap: nobody in sendq;
**   C3  closed: nobody waits in either queue;
**   C4  timed, and somebody stands in recvq: the host's ntimers counts it (counted), for then it
**       is no deadlock.
**
** A sender that finds a receiver hands it the value and readies it; values move by plain copy
** of a Value, what they refer to moves with them.  A message was encoded before the lock was
** taken and is decoded after it is released: nothing here can raise, or knows Lua.
*/
#include <stdlib.h>
#include "chan.h"
#include "debug.h"

#define MALLOC_GRAIN 16u               /* at least that: a max_align_t */

_Static_assert(sizeof(void *) != 8 || (offsetof(Chan, lock) == CHAN_LINE &&
               offsetof(Chan, sendq) + sizeof(WaitQ) == 2 * CHAN_LINE), "one line");

void chan_fini (Chan *c) {
  int64_t i, n = load_rlx(&c->count);
  goro_check(c->recvq.head == NULL && c->sendq.head == NULL && !c->counted);
  for (i = 0; i < n; i++)
    value_drop(&c->buf[(c->first + i) % c->cap]);
  free(c->buf);
  free(c->name);
}

static void chan_destroy (Obj *o) {
  Chan *c = (Chan *)o;
  chan_fini(c);
  free(c->block);
}

bool chan_init (Chan *c, int64_t cap, uint8_t type, const char *name,
                void (*destroy) (Obj *o)) {
  memset(c, 0, sizeof *c);
  store_rlx(&c->obj.refs, 1);
  c->obj.type = OBJ_CHAN;
  c->obj.destroy = destroy;
  lock_init(&c->lock, RANK_CHAN);
#if defined(GORO_CHAOS)
  {
    static _Atomic(uintptr_t) last;
    c->number = add_rlx(&last, 1) + 1;
  }
#endif
  c->cap = (int32_t)cap;
  c->type = type;
  if ((cap > 0 && (c->buf = calloc((size_t)cap, sizeof *c->buf)) == NULL) ||
      (name != NULL && (c->name = strdup(name)) == NULL)) {
    free(c->buf);
    return false;
  }
  return true;
}

/* (aligned_alloc would do the same at several times the price) */
Chan *chan_new (int64_t cap, uint8_t type, const char *name) {
  void *block = malloc(sizeof(Chan) + CHAN_LINE - MALLOC_GRAIN);
  Chan *c = (Chan *)(((uintptr_t)block + CHAN_LINE - 1) & ~(uintptr_t)(CHAN_LINE - 1));
  if (block == NULL) return NULL;
  if (!chan_init(c, cap, type, name, chan_destroy)) {
    free(block);
    return NULL;
  }
  c->block = block;
  return c;
}

/* ---- c->lock held ---- */

void chan_recount (Chan *c) {
  bool counted = c->timed && c->recvq.head != NULL;
  if (counted == c->counted) return;
  c->counted = counted;
  if (counted) add_acqrel(&c->host->ntimers, 1);
  else sub_acqrel(&c->host->ntimers, 1);         /* (who was woken has been claimed before) */
}

static inline void recount (Chan *c) {
  if (c->host != NULL) chan_recount(c);
}

void chan_leave_locked (Chan *c, Sudog *s) {
  if (s->enqueued) waitq_remove(s->send ? &c->sendq : &c->recvq, s);
  recount(c);
}

static void buf_put (Chan *c, const Value *v) {
  int64_t n = load_rlx(&c->count), at = c->first + n;
  if (at >= c->cap) at -= c->cap;
  c->buf[at] = *v;
  store_rlx(&c->count, n + 1);
}

static void buf_get (Chan *c, Value *v) {
  *v = c->buf[c->first];
  if (++c->first == c->cap) c->first = 0;
  store_rlx(&c->count, load_rlx(&c->count) - 1);
}

static ChanResult try_send (Chan *c, Value *v, GList *ready) {
  Sudog *s;
  if (c->closed) return CHAN_CLOSED;
  s = waitq_pop(&c->recvq);
  if (s != NULL) {
    s->elem = *v;
    s->ok = true;
    glist_add(ready, s->g);
    recount(c);
    return CHAN_OK;
  }
  if (load_rlx(&c->count) < c->cap) {
    buf_put(c, v);
    return CHAN_OK;
  }
  return CHAN_BUSY;
}

static ChanResult try_recv (Chan *c, Value *v, GList *ready) {
  Sudog *s;
  if (load_rlx(&c->count) > 0) {
    buf_get(c, v);
    s = waitq_pop(&c->sendq);          /* there is room now for who waits longest */
    if (s != NULL) {
      buf_put(c, &s->elem);
      s->ok = true;
      s->elem = NIL_VALUE;
      glist_add(ready, s->g);
    }
    return CHAN_OK;
  }
  if (c->closed) {
    *v = NIL_VALUE;
    return CHAN_CLOSED;
  }
  s = waitq_pop(&c->sendq);
  if (s != NULL) {
    *v = s->elem;
    s->elem = NIL_VALUE;
    s->ok = true;
    glist_add(ready, s->g);
    return CHAN_OK;
  }
  return CHAN_BUSY;
}

ChanResult chan_try_locked (Chan *c, bool send, Value *v, GList *ready) {
  lock_check_held(&c->lock);
  return send ? try_send(c, v, ready) : try_recv(c, v, ready);
}

/* ---- */

static ChanResult operate (Chan *c, M *m, G *g, Value *v, bool send, bool block) {
  GList ready = { NULL, NULL };
  ChanResult r;
  lock_acquire(&c->lock);
  lock_count_use(&c->lock);
  r = send ? try_send(c, v, &ready) : try_recv(c, v, &ready);
  if (r == CHAN_BUSY && block) {
    Sudog *s = &g->own;
    s->g = g;
    s->queue = c;
    s->send = send;
    s->ok = false;
    s->elem = send ? *v : NIL_VALUE;
    park_begin(g, send ? WAIT_SEND : WAIT_RECV);
    waitq_push(send ? &c->sendq : &c->recvq, s);
    recount(c);
    r = CHAN_WAIT;
  }
  lock_release(&c->lock);
  if (r == CHAN_OK && (!send || ready.head != NULL)) stat_add(m, STAT_MESSAGES, 1);
  if (ready.head != NULL) sched_ready(m, ready.head, true);   /* one at most */
  return r;
}

ChanResult chan_send (Chan *c, M *m, G *g, Value *v, bool block) {
  return operate(c, m, g, v, true, block);
}

ChanResult chan_recv (Chan *c, M *m, G *g, Value *v, bool block) {
  return operate(c, m, g, v, false, block);
}

ChanResult chan_finish (Chan *c, G *g, Value *v) {
  Sudog *s = &g->own;
  ChanResult r = CHAN_BUSY;
  if (g->wake == WAKE_READY)
    r = s->ok ? CHAN_OK : CHAN_CLOSED;
  else {
    lock_acquire(&c->lock);
    chan_leave_locked(c, s);
    lock_release(&c->lock);
  }
  *v = s->elem;
  s->elem = NIL_VALUE;
  return r;
}

static void wake_all (WaitQ *q, GList *ready) {
  Sudog *s;
  while ((s = waitq_pop(q)) != NULL) {
    s->ok = false;
    glist_add(ready, s->g);
  }
}

bool chan_shut (Chan *c, GList *ready) {
  bool was;
  lock_acquire(&c->lock);
  was = c->closed;
  c->closed = true;
  if (!was) {
    wake_all(&c->recvq, ready);
    wake_all(&c->sendq, ready);
    c->timed = false;
    recount(c);
  }
  lock_release(&c->lock);
  return !was;
}

bool chan_close (Chan *c, M *m) {
  GList ready = { NULL, NULL };
  bool closed = chan_shut(c, &ready);
  sched_ready_all(m, &ready);
  if (closed && c->on_close != NULL) c->on_close(c);
  return closed;
}

int64_t chan_len (Chan *c) { return load_rlx(&c->count); }

void chan_offer (Chan *c, const Value *v, bool timed, GList *ready) {
  Value copy = *v;
  lock_acquire(&c->lock);
  if (!c->closed) try_send(c, &copy, ready);
  c->timed = timed;
  recount(c);
  lock_release(&c->lock);
}

void chan_set_timed (Chan *c, bool timed) {
  lock_acquire(&c->lock);
  c->timed = timed;
  recount(c);
  lock_release(&c->lock);
}

bool chan_clear (Chan *c) {
  Value v = NIL_VALUE;
  bool any = false;
  for (;;) {                           /* dropped outside of the lock */
    bool more;
    lock_acquire(&c->lock);
    more = load_rlx(&c->count) > 0;
    if (more) buf_get(c, &v);
    lock_release(&c->lock);
    if (!more) return any;
    any = true;
    value_drop(&v);
  }
}
