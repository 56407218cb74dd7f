/*
** mutex.c - Mutex.  Layer 4.
**
** Two modes, as in Go.  Normally unlock frees the mutex, wakes who waits longest and goes on:
** the woken goroutine competes with whoever comes, who mostly wins, being on a CPU already.
** That is quick, for the mutex changes hands without a switch, but unfair: so a goroutine that
** was woken, lost and has waited for longer than STARVING asks for a hand-over.  From then on
** unlock gives the mutex to the first in the queue and it stays locked on the way; when the one
** that gets it is the last, or has not waited that long, things are normal again.
**
** THE WORD.  LOCKED.  WAITERS: the queue may have somebody.  WOKEN: somebody was woken and has
** not yet come to try: no need to wake another.  HANDOFF: see above.
**
** INVARIANTS
**   M1  Locking is a CAS that finds LOCKED clear; where waiting is the alternative WAITERS is set
**       by the CAS that found LOCKED set.  So whoever unlocks sees that somebody waits, or the
**       one that wants to wait sees that it need not.
**   M2  WAITERS, WOKEN and HANDOFF are changed under mu->lock only, so with LOCKED, WAITERS and
**       not WOKEN the word stays as it is while one holds mu->lock: unlock must come there.
**   M3  HANDOFF: WAITERS and LOCKED are set, WOKEN is not.  (It is set by the woken goroutine, and
**       nobody is woken until it is cleared.)
**   M4  WOKEN is cleared by the goroutine that was woken, which always comes: a claimed wait
**       goes through mutex_finish also when the host ends.
**
** REJECTED.  Always handing over: simple and fair, and with four goroutines on one mutex many
** times slower, since each section then costs a switch.  A queue of spinning threads: a
** goroutine's section can be long, and the thread has others to run.
*/
#include <stdlib.h>
#include "debug.h"
#include "mutex.h"

#define STARVING INT64_C(1000000)      /* 1 ms */

static void mutex_destroy (Obj *o) {
  Mutex *mu = (Mutex *)o;
  goro_check(mu->waiters.head == NULL);
  free(mu);
}

void mutex_init (Mutex *mu) {
  store_rlx(&mu->obj.refs, 1);
  mu->obj.type = OBJ_MUTEX;
  mu->obj.destroy = mutex_destroy;
  lock_init(&mu->lock, RANK_OBJECT);
}

Mutex *mutex_new (void) {
  Mutex *mu = calloc(1, sizeof *mu);
  if (mu != NULL) mutex_init(mu);
  return mu;
}

/* Lock, or enter the queue: 'woken' at its head, for another try; others at its end. */
static bool lock_or_queue (Mutex *mu, G *g, bool woken, uint32_t handoff) {
  Sudog *s = &g->own;
  uint32_t clear = woken ? MUTEX_WOKEN : 0, w;
  bool got;
  lock_acquire(&mu->lock);
  w = load_rlx(&mu->word);
  for (;;) {                           /* M1 */
    got = !(w & MUTEX_LOCKED);
    if (cas_acqrel(&mu->word, &w, (w & ~clear) |
                   (got ? MUTEX_LOCKED : MUTEX_WAITERS | handoff))) break;
  }
  if (got) store_rlx(&mu->owner, g);
  else {
    s->g = g;
    s->queue = mu;
    s->ok = false;
    park_begin(g, WAIT_MUTEX);
    if (woken) waitq_push_front(&mu->waiters, s);
    else waitq_push(&mu->waiters, s);
  }
  lock_release(&mu->lock);
  return got;
}

bool mutex_lock (Mutex *mu, G *g) {
  GORO_POINT();
  if (mutex_try(mu, g)) return true;
  g->own.elem = NIL_VALUE;
  g->own.elem.u.i = os_now();          /* since when: for STARVING */
  return lock_or_queue(mu, g, false, 0);
}

bool mutex_relock (Mutex *mu, G *g) {
  bool starving = os_now() - g->own.elem.u.i > STARVING;
  GORO_POINT();
  return lock_or_queue(mu, g, true, starving ? MUTEX_HANDOFF : 0);
}

LockResult mutex_finish (Mutex *mu, G *g) {
  Sudog *s = &g->own;
  if (g->wake == WAKE_READY) return s->ok ? LOCK_OK : LOCK_AGAIN;
  lock_acquire(&mu->lock);
  if (s->enqueued) waitq_remove(&mu->waiters, s);
  if (mu->waiters.head == NULL) {
    uint32_t w = load_rlx(&mu->word);
    while (!cas_acqrel(&mu->word, &w, w & ~(uint32_t)(MUTEX_WAITERS | MUTEX_HANDOFF)))
      continue;
  }
  lock_release(&mu->lock);
  return LOCK_BUSY;
}

/* mu->lock held, and M2 holds.  Who is to be readied, or NULL. */
static G *pass_on (Mutex *mu, bool handoff) {
  Sudog *s = waitq_pop(&mu->waiters);
  uint32_t rest = mu->waiters.head != NULL ? MUTEX_WAITERS : 0;
  if (s == NULL) {
    store_rel(&mu->word, 0);
    return NULL;
  }
  s->ok = handoff;
  if (handoff) {
    bool more = rest && os_now() - s->elem.u.i > STARVING;
    store_rlx(&mu->owner, s->g);
    store_rel(&mu->word, MUTEX_LOCKED | rest | (more ? MUTEX_HANDOFF : 0));
  }
  else store_rel(&mu->word, rest | MUTEX_WOKEN);
  return s->g;
}

bool mutex_unlock (Mutex *mu, M *m) {
  uint32_t w = load_rlx(&mu->word);
  bool handoff;
  G *g;
  if (!(w & MUTEX_LOCKED)) return false;
  store_rlx(&mu->owner, NULL);
  GORO_POINT();
  for (;;) {
    while (!(w & MUTEX_WAITERS) || (w & MUTEX_WOKEN)) {
      if (!(w & MUTEX_LOCKED)) return false;
      if (cas_acqrel(&mu->word, &w, w & ~(uint32_t)MUTEX_LOCKED)) return true;
    }
    lock_acquire(&mu->lock);
    w = load_rlx(&mu->word);
    if ((w & MUTEX_WAITERS) && !(w & MUTEX_WOKEN)) break;
    lock_release(&mu->lock);           /* they have gone meanwhile */
  }
  if (!(w & MUTEX_LOCKED)) {           /* two unlock at once, one of them wrongly */
    lock_release(&mu->lock);
    return false;
  }
  handoff = (w & MUTEX_HANDOFF) != 0;
  g = pass_on(mu, handoff);
  lock_release(&mu->lock);
  if (g != NULL) sched_ready(m, g, true);
  return true;
}
