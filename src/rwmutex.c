/*
** rwmutex.c - RWMutex.  Layer 4.
**
** WHO IS NEXT.  A writer that waits holds back readers that come after it.  When a writer leaves,
** all readers that wait by then get in together, before the next writer; when the last of them
** leaves, the next writer does.  So neither side waits for more than one turn of the other, and
** writers are served in the order they came.
**
** THE WORD.  WRITER: one writes.  WWAIT, RWAIT: a queue may have somebody.  Above them the number
** of readers.  It changes by CAS; waiting goroutines are always handed the lock.
**
** INVARIANTS (what is said of the queues: rw->lock held)
**   R1  WRITER: no readers.
**   R2  WWAIT is set if somebody waits in writers, RWAIT if somebody waits in readers; both are
**       changed under rw->lock only.
**   R3  Somebody waits in writers: WRITER is set, or there are readers.
**   R4  Somebody waits in readers: WRITER or WWAIT is set.
**   R5  With WRITER and a waiter, or one reader and WWAIT, whoever leaves comes to rw->lock; so
**       the word stays as it is while one holds it.
*/
#include <stdlib.h>
#include "debug.h"
#include "rwmutex.h"

#define NREADERS(w) ((w) / RW_READER)

static void rwmutex_destroy (Obj *o) {
  RWMutex *rw = (RWMutex *)o;
  goro_check(rw->readers.head == NULL && rw->writers.head == NULL);
  free(rw);
}

RWMutex *rwmutex_new (void) {
  RWMutex *rw = calloc(1, sizeof *rw);
  if (rw == NULL) return NULL;
  store_rlx(&rw->obj.refs, 1);
  rw->obj.type = OBJ_RWMUTEX;
  rw->obj.destroy = rwmutex_destroy;
  lock_init(&rw->lock, RANK_OBJECT);
  return rw;
}

/* What the word becomes if one more gets in; 0: it must wait. */
static inline uint64_t entered (uint64_t w, bool write) {
  if (write) return w == 0 ? RW_WRITER : 0;
  return w & (RW_WRITER | RW_WWAIT) ? 0 : w + RW_READER;
}

static bool try_lock (RWMutex *rw, G *g, bool write) {
  uint64_t w = load_rlx(&rw->word), want;
  while ((want = entered(w, write)) != 0)
    if (cas_acqrel(&rw->word, &w, want)) {
      if (write) store_rlx(&rw->owner, g);
      return true;
    }
  return false;
}

bool rwmutex_lock (RWMutex *rw, G *g, bool write, bool block) {
  Sudog *s = &g->own;
  uint64_t w, want;
  GORO_POINT();
  if (try_lock(rw, g, write)) return true;
  if (!block) return false;
  lock_acquire(&rw->lock);
  w = load_rlx(&rw->word);
  do {
    want = entered(w, write);
  } while (!cas_acqrel(&rw->word, &w, want ? want : w | (write ? RW_WWAIT : RW_RWAIT)));
  if (want != 0) {
    if (write) store_rlx(&rw->owner, g);
  }
  else {
    s->g = g;
    s->queue = rw;
    s->elem = NIL_VALUE;
    park_begin(g, write ? WAIT_WLOCK : WAIT_RLOCK);
    waitq_push(write ? &rw->writers : &rw->readers, s);
  }
  lock_release(&rw->lock);
  return want != 0;
}

/* ---- rw->lock held ---- */

static uint64_t wwait (RWMutex *rw) { return rw->writers.head != NULL ? RW_WWAIT : 0; }
static uint64_t rwait (RWMutex *rw) { return rw->readers.head != NULL ? RW_RWAIT : 0; }

/* All readers that wait: how many there are. */
static uint64_t take_readers (RWMutex *rw, GList *ready) {
  uint64_t n = 0;
  Sudog *s;
  for (; (s = waitq_pop(&rw->readers)) != NULL; n++) glist_add(ready, s->g);
  return n;
}

/* Nobody has the lock but the caller, who leaves, and R5 holds: who is next? */
static void pass_on (RWMutex *rw, bool readers_first, GList *ready) {
  uint64_t n = readers_first ? take_readers(rw, ready) : 0;
  Sudog *s = n == 0 ? waitq_pop(&rw->writers) : NULL;
  if (s != NULL) {
    store_rlx(&rw->owner, s->g);
    glist_add(ready, s->g);
    store_rel(&rw->word, RW_WRITER | wwait(rw) | rwait(rw));
    return;
  }
  if (n == 0) n = take_readers(rw, ready);
  store_rel(&rw->word, n * RW_READER | wwait(rw));
}

/* ---- */

bool rwmutex_unlock (RWMutex *rw, M *m) {
  GList ready = { NULL, NULL };
  uint64_t w = load_rlx(&rw->word);
  if (!(w & RW_WRITER)) return false;
  store_rlx(&rw->owner, NULL);
  GORO_POINT();
  for (;;) {
    while (!(w & (RW_WWAIT | RW_RWAIT))) {
      if (!(w & RW_WRITER)) return false;          /* two unlock, one of them wrongly */
      if (cas_acqrel(&rw->word, &w, 0)) return true;
    }
    lock_acquire(&rw->lock);
    w = load_rlx(&rw->word);
    if (w & (RW_WWAIT | RW_RWAIT)) break;
    lock_release(&rw->lock);           /* they have gone meanwhile */
  }
  if (w & RW_WRITER) pass_on(rw, true, &ready);
  lock_release(&rw->lock);
  sched_ready_all(m, &ready);
  return (w & RW_WRITER) != 0;
}

bool rwmutex_runlock (RWMutex *rw, M *m) {
  GList ready = { NULL, NULL };
  uint64_t w = load_rlx(&rw->word);
  bool ok = true, locked = false;
  GORO_POINT();
  for (;;) {
    if (NREADERS(w) == 0) {
      ok = false;
      break;
    }
    if (NREADERS(w) > 1 || !(w & RW_WWAIT)) {
      if (cas_acqrel(&rw->word, &w, w - RW_READER)) break;
    }
    else if (!locked) {
      locked = true;
      lock_acquire(&rw->lock);
      w = load_rlx(&rw->word);
    }
    else {
      pass_on(rw, false, &ready);
      break;
    }
  }
  if (locked) lock_release(&rw->lock);
  sched_ready_all(m, &ready);
  return ok;
}

bool rwmutex_finish (RWMutex *rw, M *m, G *g, bool write) {
  GList ready = { NULL, NULL };
  uint64_t w, n = 0;
  if (g->wake == WAKE_READY) return true;
  lock_acquire(&rw->lock);
  if (g->own.enqueued) waitq_remove(write ? &rw->writers : &rw->readers, &g->own);
  w = load_rlx(&rw->word);
  if (write && rw->writers.head == NULL && !(w & RW_WRITER))
    n = take_readers(rw, &ready);      /* it held them back: R4 */
  while (!cas_acqrel(&rw->word, &w, ((w & ~(uint64_t)(RW_WWAIT | RW_RWAIT)) | wwait(rw) |
                                     rwait(rw)) + n * RW_READER)) continue;
  lock_release(&rw->lock);
  sched_ready_all(m, &ready);
  return false;
}
