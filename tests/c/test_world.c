/* The world stands still: while it does no slice begins, and afterwards all go on.  Two threads
   stop it, one of them the main script's; goroutines yield, wait for each other and spawn. */
#include <string.h>
#include "crowd.h"
#include "debug.h"

#define N 16                           /* goroutines */
#define STOPS 300

typedef struct Task { int id; bool waits; } Task;

static _Atomic(uint64_t) slices[N];    /* begun, and ended, by each */
static G *gs[N];
static _Atomic(uint32_t) over, all_over;

static Outcome run (M *m, G *g) {
  Task *t = g->state;
  Outcome o = RUN_YIELDED;
  add_seq(&slices[t->id], 1);
  if (!t->waits) sched_own(m, g);
  if (load_seq(&over)) {
    waitgroup_add(wg, m, -1);
    o = RUN_DEAD;
  }
  if (m->owned) sched_lend(m);
  add_seq(&slices[t->id], 1);
  return o;
}

/* Stop it, look twice, start it.  One that is in a slice then sleeps in it (a lock, a delay of the
   debug build, ThreadSanitizer's own locks), maybe before it has counted the beginning: it may come
   to the slice's end, or to its wish for a P, but begins no other. */
static void stop_once (M *m) {
  uint64_t before[N], now;
  bool still[N];
  int i;
  CHECK(world_stop(m, host));
  CHECK(world_stands());
  for (i = 0; i < N; i++) {
    still[i] = load_acq(&gs[i]->status) != G_RUNNING;
    before[i] = load_seq(&slices[i]);
  }
  doze(20000);
  for (i = 0; i < N; i++) {
    now = load_seq(&slices[i]);
    CHECK(now >= before[i] && now <= (still[i] ? before[i] : (before[i] | 1) + 1));
  }
  for (i = 0; i < load_acq(&sched.nallp); i++)
    CHECK(load_seq(&load_rlx(&sched.allp[i])->word) == P_DEAD);
  world_start();
}

static void *other_stopper (void *arg) {
  (void)arg;
  while (!load_seq(&all_over)) {
    stop_once(NULL);
    doze(50000);
  }
  return NULL;
}

static void go_on (M *m) {             /* each has run since */
  uint64_t before[N];
  int i;
  for (i = 0; i < N; i++) before[i] = load_seq(&slices[i]);
  for (i = 0; i < N; i++)
    while (load_seq(&slices[i]) == before[i]) cpu_relax();
  (void)m;
}

static void one_host (int procs) {
  M *m = sched_adopt();
  Result *failure;
  pthread_t t;
  int i;
  store_seq(&over, 0);
  store_seq(&all_over, 0);
  memset(slices, 0, sizeof slices);
  sched_maxprocs(procs);
  host = host_new();
  CHECK(m != NULL && host != NULL);
  m->curg = host->main;
  wg = waitgroup_new();
  sysmon_start();
  for (i = 0; i < N; i++) {
    G *g = crowd_new(m, sizeof(Task));
    Task *k = g->state;
    k->id = i;
    gs[i] = g;
    k->waits = i % 2;
    sched_ready(m, g, false);
  }
  CHECK(os_thread_start(&t, other_stopper, NULL) == 0);
  for (i = 0; i < STOPS; i++) {
    stop_once(m);
    sched_check_p(m, host->main);
    if (i % 50 == 0) go_on(m);
    if (i % 100 == 0) CHECK(sched_maxprocs(procs) == procs);
  }
  store_seq(&all_over, 1);
  pthread_join(t, NULL);
  go_on(m);
  store_seq(&over, 1);
  sched_own(m, host->main);
  if (!waitgroup_wait(wg, host->main, true, &failure)) {
    park_here(m, host->main);
    CHECK(waitgroup_finish(wg, host->main, &failure));
  }
  sched_lend(m);
  crowd_end(m);
}

int main (void) {
  static const SchedHooks hooks = { run, reap, nothing, nothing, sleeps, nothing, 0, NULL, NULL };
  CHECK(sched_init(&hooks));
  one_host(1);
  one_host(2);
  one_host(8);
  puts("world: stopped by two, 1, 2 and 8 processors");
  return 0;
}
