/*
** lock.c - a futex mutex (three states) and the note.  Layer 1.
**
** The slow path spins a little first: sections are tens of nanoseconds long, a futex sleep
** costs microseconds.  Spinning is bounded, so a holder that lost its CPU is waited for asleep.
*/
#include <stdlib.h>
#include <string.h>
#include "debug.h"
#include "lock.h"

#define SPINS 40

void lock_init (Lock *l, LockRank rank) {
  store_rlx(&l->word, 0);
  l->rank = (uint8_t)rank;
}

void lock_slow (Lock *l) {
  int i;
  for (i = 0; i < SPINS; i++) {
    uint32_t free = 0;
    cpu_relax();
    if (load_rlx(&l->word) == 0 &&
        atomic_compare_exchange_strong_explicit(&l->word, &free, 1, memory_order_acquire,
                                                memory_order_relaxed))
      return;
  }
  /* From here on we leave 2 behind: there may be other sleepers we do not know of. */
  while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire) != 0)
    os_futex_wait(&l->word, 2, FOREVER);
}

void lock_wake (Lock *l) { os_futex_wake(&l->word, 1); }

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
