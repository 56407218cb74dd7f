/*
** timers.h - deadlines.  Layer 2.
**
** Timers live in a few shards, each a 4-ary heap under a lock.  A timer that is due is taken
** out and its 'fire' called under the shard's lock: it may claim goroutines and add them to the
** list it is given, take locks of a higher rank, set its timer again (timer_again), put something
** to be done outside into the list of what is due (due_add), and must do no more: give up no
** reference.  timer_stop takes the same lock, so that after it 'fire' neither runs nor will run.
*/
#ifndef GORO_TIMERS_H
#define GORO_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

struct GList;
struct M;
typedef struct Timer Timer;
struct Timer {
  int64_t when;                        /* [L:shard] monotonic nanoseconds */
  int32_t index;                       /* [L:shard] place in the heap + 1; 0: not in one */
  int16_t shard;                       /* [O] of whoever adds and stops it */
  bool owned;                          /* [I] it is the first part of an OwnedTimer */
  void (*fire) (Timer *t, int64_t now, struct GList *ready);
};

/* One that ends with its host.  (A goroutine's own is stopped by its goroutine, and there may be a
** million of those: they carry no owner.) */
typedef struct OwnedTimer {
  Timer t;
  struct Host *owner;                  /* [I] the host that ends it: timers_drop */
  void (*drop) (Timer *t);             /* [I] for timers_drop: called, without the lock, for one
                                          that was taken out; then the timer must live as long
                                          as it is set.  NULL: nothing need be done */
} OwnedTimer;
static inline void timer_own (OwnedTimer *o, struct Host *owner, void (*drop) (Timer *t)) {
  o->owner = owner;
  o->drop = drop;
  o->t.owned = true;
}

/* Take out all timers of a host that ends, and drop them. */
void timers_drop (struct Host *owner);

void timer_again (Timer *t, int64_t when);         /* in its 'fire' only */

/* What is to be done once the timers' locks are released, by whoever expired them: due_run. */
typedef struct Due Due;
struct Due {
  Due *next;
  void (*run) (Due *d, struct M *m);   /* [I] 'd' may be added again from here on, and freed */
};
void due_add (Due *d);                 /* not in the list already */
bool due_run (struct M *m);            /* no lock held; m NULL: no M's.  true: there was something */

void timers_init (void);
bool timer_add (Timer *t, int64_t when, int shard);   /* false: no memory.  The caller lets
                                                         sched_timer_added(when) know */
bool timer_stop (Timer *t);                           /* true: it was still to fire */
int timers_expire (int shard, int64_t now, struct GList *ready);
void timers_expire_all (int64_t now, struct GList *ready);
int64_t timers_next (int shard);                      /* FOREVER: none */
int64_t timers_next_all (void);
void timers_free (void);                              /* all are stopped: give memory back */

#define NTIMERSHARDS 16

#pragma GCC visibility pop

#endif
