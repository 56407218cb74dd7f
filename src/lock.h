/*
** lock.h - the mutex of the C core, and the one-shot note.  Layer 1.
**
** A Lock guards a few instructions: nobody allocates from Lua, calls Lua, readies a goroutine
** or waits while holding one.  Locks have ranks; a thread may take a lock only if it holds none
** of the same or a higher rank (channels, and a Map's shards: several in address order).
** Test builds check this.
*/
#ifndef GORO_LOCK_H
#define GORO_LOCK_H

#include "atomics.h"
#include "platform.h"

#pragma GCC visibility push(hidden)

typedef enum LockRank {                /* taken in this order */
  RANK_HOST = 1,                       /* Host.lock: list of goroutines, panics */
  RANK_ALARM,                          /* one of alarm.c: sets and stops its timer */
  RANK_TIMERS,                         /* TimerShard.lock */
  RANK_OBJECT,                         /* one WaitGroup ..., a tree of contexts */
  RANK_SHARD,                          /* one of a Map; several in address order */
  RANK_CHAN,                           /* Chan.lock; several in address order */
  RANK_SCHED,                          /* sched.lock */
  RANK_LEAF                            /* anything that takes no other lock */
} LockRank;

typedef struct Lock {
  _Atomic(uint32_t) word;              /* [A] 0 free, 1 held */
  _Atomic(uint32_t) gen;               /* [A] what sleepers wait on: counts wake-ups */
  _Atomic(uint8_t) sleepers;           /* [A] somebody sleeps, or may (see lock.c) */
  uint8_t rank;                        /* [I] */
  _Atomic(uint16_t) uses;              /* [A] counted by who holds it, RANK_CHAN's: see lock.c, TURNS */
} Lock;

/* Where this thread says (1) that it sleeps for a Lock, NULL: nowhere.  Such a sleep is short, if
** the system lets who holds the lock run: sysmon leaves it alone. */
extern __thread _Atomic(uint32_t) *lock_sleeps __attribute__((tls_model("initial-exec")));

void lock_init (Lock *l, LockRank rank);
void lock_slow (Lock *l);
void lock_wake (Lock *l);
#if defined(GORO_DEBUG)
void lock_push (Lock *l);
void lock_pop (Lock *l);
void lock_check_held (Lock *l);
#else
#define lock_push(l) ((void)0)
#define lock_pop(l) ((void)0)
#define lock_check_held(l) ((void)0)
#endif

static inline void lock_acquire (Lock *l) {
  uint32_t free = 0;
  lock_push(l);
  if (!atomic_compare_exchange_strong_explicit(&l->word, &free, 1, memory_order_acquire,
                                               memory_order_relaxed))
    lock_slow(l);
}

static inline void lock_release (Lock *l) {
  lock_pop(l);
  store_rel(&l->word, 0);
  fence_light();                       /* pairs with the heavy one in lock_slow */
  if (load_rlx(&l->sleepers) != 0) lock_wake(l);
}

static inline void lock_count_use (Lock *l) {      /* held */
  store_rlx(&l->uses, (uint16_t)(load_rlx(&l->uses) + 1));
}

void doze (int64_t ns);                 /* where there is nothing to be woken by; may be shorter */

/*
** A note: one sleeps, one wakes, once; a wake-up before the sleep is not lost.  Cleared by the
** sleeper before it can be woken again (Go's note).
*/
typedef struct Note { _Atomic(uint32_t) set; } Note;

static inline void note_clear (Note *n) { store_rlx(&n->set, 0); }
void note_wake (Note *n);
bool note_spin (Note *n, int64_t ns);  /* look for at most 'ns' before sleeping; true: woken */
bool note_sleep (Note *n, int64_t ns); /* true: woken; false: 'ns' have passed */

#pragma GCC visibility pop

#endif
