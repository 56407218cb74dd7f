/* sysmon takes the P of who sleeps in a call, at once; of who sleeps for a lock of goro's it does
   not, however long. */
#include <time.h>
#include <unistd.h>
#include "debug.h"
#include "host.h"
#include "park.h"
#include "sched.h"
#include "test.h"
#include "waitgroup.h"

enum { HOLDER, LOCKER, SLEEPER, OTHER };

static Host *host;
static WaitGroup *wg;
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

static void reap (G *g) {
  free(g->state);
  g_unlink(g);
  g_free(g);
}

static void nothing (M *m) { (void)m; }

static void start (M *m, int what) {
  G *g = g_new(host);
  CHECK(g != NULL && (g->state = malloc(sizeof(int))) != NULL);
  *(int *)g->state = what;
  CHECK(waitgroup_add(wg, m, 1));
  sysmon_start();
  sched_ready(m, g, false);
}

static void wait_for_all (M *m) {
  G *g = host->main;
  Result *failure;
  sched_own(m, g);
  if (!waitgroup_wait(wg, g, true, &failure)) {
    park_here(m, g);
    CHECK(g->wake == WAKE_READY && waitgroup_finish(wg, g, &failure));
  }
  if (m->owned) sched_lend(m);
}

int main (void) {
  static const SchedHooks hooks = { run, reap, nothing, nothing, nothing, 0 };
  M *m;
  int i;
  CHECK(sched_init(&hooks));
  sched_maxprocs(1);
  m = sched_adopt();
  host = host_new();
  CHECK(m != NULL && host != NULL);
  m->curg = host->main;
  wg = waitgroup_new();
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
  m->curg = NULL;
  CHECK(host_end(host, m));
  host_unref(host);
  sched_leave(m);
  sched_stop();
  obj_unref(&wg->obj);
  puts("sysmon: a call that sleeps, a lock that is waited for");
  return 0;
}
