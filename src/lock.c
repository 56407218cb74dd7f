/*
** lock.c - a futex mutex and the note.  Layer 1.
**
** To take a free lock is one compare-and-swap, to release it a plain store: an exchange there,
** which would tell at once whether somebody sleeps, costs more than all the rest.  So the two
** sides must not miss each other:
**
**     who releases                 who is about to sleep (lock_slow)
**       1. word = 0                  1. sleepers = 1
**       2. light fence               2. heavy fence
**       3. sleepers? wake one        3. word still 1? sleep
**
** One of the two sees the other (platform.h).  A sleeper waits on 'gen', not on the word: who
** wakes clears 'sleepers' and then changes 'gen', so that one who set 'sleepers' just before, but
** does not sleep yet, finds 'gen' changed and looks again.
**
** INVARIANT.  If somebody sleeps, 'sleepers' is set or a thread is awake in lock_slow: that one
** sets it before it sleeps again and leaves it set when it has the lock, since it knows nothing of
** others.  So each sleeper's turn comes.
**
** The slow path spins a little first: sections are tens of nanoseconds long, a futex sleep
** costs microseconds.  Spinning is bounded, so a holder that lost its CPU is waited for asleep.
**
** TURNS.  Two threads that do little but send and receive on one channel take its lock from each
** other at each use, and with it the lines of the cache that go with it, which may cost a multiple
** of the use: one at a time is faster.  Who finds a channel's lock held measures, while it waits,
** how often the lock is used without it, and what it takes to fetch a line that another core has
** written.  If the uses come quicker than that, it looks away twice as long the next time, up to
** some microseconds: so each has its turn of a hundred uses.  If they do not, half as long.
**
** After a release the lock may be freed by the next holder: who uses one holds a reference to what
** it is in.
*/
#include <stdlib.h>
#include <string.h>
#include "debug.h"
#include "lock.h"

#define PAUSE_MIN 8
#define PAUSE_TURN 256
#define PAUSE_MAX 1024
#define COLD 2                         /* how many lines one must fetch before its first use */
#define LINE_MAX 1000                  /* more, nanoseconds, is not a line's way */

__thread _Atomic(uint32_t) *lock_sleeps __attribute__((tls_model("initial-exec")));

void lock_init (Lock *l, LockRank rank) {
  store_rlx(&l->word, 0);
  store_rlx(&l->gen, 0);
  store_rlx(&l->sleepers, 0);
  store_rlx(&l->uses, 0);
  l->rank = (uint8_t)rank;
}

static bool take (Lock *l) {
  uint32_t free = 0;
  return load_rlx(&l->word) == 0 &&
         atomic_compare_exchange_strong_explicit(&l->word, &free, 1, memory_order_acquire,
                                                 memory_order_relaxed);
}

static void look_away (int pause) {
  int i;
  for (i = 0; i < pause; i++) cpu_relax();
}

static bool take_soon (Lock *l) {      /* false: it is still held */
  int pause;
  for (pause = PAUSE_MIN; pause <= PAUSE_MAX; pause *= 2) {
    look_away(pause);
    if (take(l)) return true;
  }
  return false;
}

/* The same for a lock that counts its uses: TURNS. */
static bool take_turns (Lock *l) {
  static __thread struct { Lock *lock; int pause; int64_t line; } mine
    __attribute__((tls_model("initial-exec")));
  uint16_t before = load_rlx(&l->uses), n;
  int64_t began = os_now(), looked, took;
  int pause;
  if (mine.lock != l) mine.pause = PAUSE_MIN;
  mine.lock = l;
  for (pause = mine.pause; pause <= PAUSE_MAX; pause *= 2) {
    look_away(pause);
    looked = os_now();
    n = (uint16_t)(load_rlx(&l->uses) - before);
    if (n > 0) {                       /* it was written by another since */
      took = os_now() - looked;
      mine.line += ((took < LINE_MAX ? took : LINE_MAX) - mine.line) / 8;
    }
    if (!take(l)) continue;
    if ((n + COLD) * mine.line > looked - began)
      mine.pause = pause < PAUSE_TURN ? 2 * pause : PAUSE_TURN;
    else if (pause > PAUSE_MIN) mine.pause = pause / 2;
    return true;
  }
  return false;
}

void lock_slow (Lock *l) {
  if (l->rank == RANK_CHAN ? take_turns(l) : take_soon(l)) return;
  for (;;) {
    uint32_t gen = load_acq(&l->gen);
    store_rlx(&l->sleepers, 1);
    fence_heavy();
    if (take(l)) return;
    GORO_POINT();
    if (lock_sleeps != NULL) store_rlx(lock_sleeps, 1);
    os_futex_wait(&l->gen, gen, FOREVER);
    if (lock_sleeps != NULL) store_rlx(lock_sleeps, 0);
  }
}

void lock_wake (Lock *l) {
  GORO_POINT();
  if (atomic_exchange_explicit(&l->sleepers, 0, memory_order_acq_rel) == 0) return;
  add_acqrel(&l->gen, 1);
  os_futex_wake(&l->gen, 1);
}

void doze (int64_t ns) {
  _Atomic(uint32_t) never;
  store_rlx(&never, 0);
  os_futex_wait(&never, 0, ns);
}

void note_wake (Note *n) {
  GORO_POINT();
  if (xchg_acqrel(&n->set, 1) == 2)    /* 2: somebody sleeps */
    os_futex_wake(&n->set, 1);
}

bool note_spin (Note *n, int64_t ns) {
  int64_t until = os_now() + ns;
  do {
    int i;
    for (i = 0; i < 16; i++) {
      if (load_acq(&n->set) == 1) return true;
      cpu_relax();
    }
  } while (os_now() < until);
  return false;
}

bool note_sleep (Note *n, int64_t ns) {
  int64_t until = (ns == FOREVER) ? FOREVER : os_now() + ns;
  uint32_t s = 0;
  GORO_POINT();
  cas_acqrel(&n->set, &s, 2);
  for (;;) {
    if (load_acq(&n->set) == 1) return true;
    if (until == FOREVER)
      os_futex_wait(&n->set, 2, FOREVER);
    else {
      int64_t left = until - os_now();
      if (left <= 0) {
        s = 2;                         /* leave as we came, unless woken just now */
        return !cas_acqrel(&n->set, &s, 0);
      }
      os_futex_wait(&n->set, 2, left);
    }
  }
}

#if defined(GORO_DEBUG)
#undef realloc                         /* (not one that a test lets fail) */

/* Ranks: what this thread holds, in the order taken. */
static __thread Lock **held;           /* (an array would not fit into the static TLS block) */
static __thread int nheld, capheld;

void lock_push (Lock *l) {
  GORO_POINT();
  if (nheld > 0) {
    Lock *top = held[nheld - 1];
    bool several = l->rank == RANK_CHAN || l->rank == RANK_SHARD;
#if defined(GORO_CHAOS)
    bool order = top != l;             /* there channels go by number: select.c */
#else
    bool order = top < l;
#endif
    if (top->rank > l->rank || (top->rank == l->rank && (!several || !order)))
      goro_fatal("lock of rank %d taken while one of rank %d is held", l->rank, top->rank);
  }
  if (nheld == capheld) {
    capheld = capheld ? 2 * capheld : 16;
    held = realloc(held, (size_t)capheld * sizeof *held);      /* a test build: never freed */
    if (held == NULL) goro_fatal("no memory");
  }
  held[nheld++] = l;
}

void lock_pop (Lock *l) {
  int i;
  for (i = nheld - 1; i >= 0 && held[i] != l; i--) continue;
  if (i < 0) goro_fatal("release of a lock that is not held");
  memmove(&held[i], &held[i + 1], (size_t)(nheld - 1 - i) * sizeof held[0]);
  nheld--;
}

void lock_check_held (Lock *l) {
  int i;
  for (i = 0; i < nheld; i++) if (held[i] == l) return;
  goro_fatal("a lock that should be held is not");
}
#endif
