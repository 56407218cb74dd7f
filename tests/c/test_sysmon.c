/* sysmon takes the P of who sleeps in a call, at once; of who sleeps for a lock of goro's it does
   not, however long. */
#include <time.h>
#include <unistd.h>
#include "crowd.h"
#include "debug.h"
#include "park.h"
#include "sched.h"

enum { HOLDER, LOCKER, SLEEPER, OTHER };

static Lock lock;
static _Atomic(uint32_t) held, done, ran, kept;

static void sleep_ms (int ms) {
  struct timespec ts = { 0, ms * 1000000L };
  nanosleep(&ts, NULL);
}

static Outcome run (M *m, G *g) {
  int what = *(int *)g->state;
  sched_own(m, g);
  sched_lend(m);                       /* as while Lua runs */
  switch (what) {
    case HOLDER:
      sched_block(m, g);               /* it needs no P for what it does */
      lock_acquire(&lock);
      store_seq(&held, 1);
      while (load_seq(&done) == 0) sleep_ms(1);
      lock_release(&lock);
      sched_unblock(m, g);
      break;
    case LOCKER:
      lock_acquire(&lock);
      lock_release(&lock);
      store_seq(&kept, sched_still_lent(m));
      break;
    case SLEEPER:
      while (load_seq(&ran) == 0) sleep_ms(20);
      store_seq(&kept, sched_still_lent(m));
      break;
    default:
      store_seq(&ran, 1);
  }
  waitgroup_add(wg, m, -1);
  return RUN_DEAD;
}

static void start (M *m, int what) {
  G *g = crowd_new(m, sizeof(int));
  *(int *)g->state = what;
  crowd_ready(m, g);
}

int main (void) {
  static const SchedHooks hooks = { run, reap, nothing, nothing, sleeps, nothing, 0, NULL, NULL };
  M *m;
  int i;
  CHECK(sched_init(&hooks));
  m = crowd_begin(1);
  lock_init(&lock, RANK_LEAF);
  for (i = 0; i < 3; i++) {
    store_seq(&held, 0);
    store_seq(&done, 0);
    store_seq(&ran, 0);
    start(m, HOLDER);
    while (load_seq(&held) == 0) sleep_ms(1);
    start(m, LOCKER);                  /* has the only P, and others wait for it */
    start(m, OTHER);
    sleep_ms(60);                      /* (sysmon looks every 10 ms at least) */
    store_seq(&done, 1);
    wait_for_all(m);
#if !defined(GORO_DEBUG)               /* (there P's are retaken at random) */
    CHECK(load_seq(&kept) == 1);
#endif
    store_seq(&ran, 0);
    start(m, SLEEPER);
    start(m, OTHER);
    wait_for_all(m);
    CHECK(load_seq(&kept) == 0);
  }
  crowd_end(m);
  puts("sysmon: a call that sleeps, a lock that is waited for");
  return 0;
}
