/* A main script that waits and its thread's guests: it is woken by a guest, by others, by time-outs,
   at any moment; no message is lost or comes twice, and no wake-up. */
#include <string.h>
#include "chan.h"
#include "crowd.h"
#include "debug.h"

#define TRIPS MANY(20000)
#define PUSHERS 3
#define PUSHES MANY(3000)

typedef struct Task {
  Outcome (*step) (M *m, G *g, struct Task *t);
  Chan *from, *to;
  int64_t n, i;
  Value v;
  int at;
} Task;

static _Atomic(uint64_t) as_guest;

static Outcome run (M *m, G *g) {
  Task *t = g->state;
  if (t->at != 0 && g->wake == WAKE_KILL) return RUN_DEAD;
  if (m->is_host) add_rlx(&as_guest, 1);
  sched_own(m, g);
  return crowd_ran(m, t->step(m, g, t));
}

/* Any that has begun, now and then not. */
static bool tame (M *m, G *g) {
  const Task *t = g->state;
  (void)m;
  return t->at != 0 && goro_choose(20) != 0;
}

static Task *spawn (M *m, Outcome (*step) (M *, G *, Task *), Chan *from, Chan *to) {
  G *g = crowd_new(m, sizeof(Task));
  Task *t = g->state;
  t->step = step;
  t->from = from;
  t->to = to;
  crowd_ready(m, g);
  return t;
}

/* What sysmon does to one that is long in C: its P is gone when it yields, and sysmon may sleep. */
static void lose_p (M *m) {
  P *pp = m->p;
  uint32_t word = P_LENT_TO(m);
  int i;
  sched_lend(m);
  if (!cas_acqrel(&pp->word, &word, P_OWNED)) return;
  handoff_p(pp);
  for (i = 0; i < 100 && load_rlx(&sched.sysmon_waits) == 0; i++) doze(SECOND / 50000);
}

/* Sends back what it gets; now and then it yields first, or is long about it. */
static Outcome echo (M *m, G *g, Task *t) {
  ChanResult r;
  switch (t->at) {
    case 1: goto received;
    case 2: goto sent;
    case 3: goto yielded;
    default: break;
  }
  for (;;) {
    r = chan_recv(t->from, m, g, &t->v, true);
    if (r == CHAN_WAIT) {
      t->at = 1;
      return RUN_PARKED;
  received:
      r = chan_finish(t->from, g, &t->v);
    }
    if (r == CHAN_CLOSED) return RUN_DEAD;
    CHECK(r == CHAN_OK && t->v.tag == V_INT);
    if (goro_choose(30) == 0) {
      t->at = 3;
      if (m->is_host && goro_choose(20) == 0) lose_p(m);
      return goro_choose(2) ? RUN_YIELDED : RUN_PREEMPTED;
    }
  yielded:
    r = chan_send(t->to, m, g, &t->v, true);
    if (r == CHAN_WAIT) {
      t->at = 2;
      return RUN_PARKED;
  sent:
      r = chan_finish(t->to, g, &t->v);
    }
    CHECK(r == CHAN_OK);
  }
}

/* Sends -1 n times, from wherever it runs. */
static Outcome pusher (M *m, G *g, Task *t) {
  Value v = number(-1);
  if (t->at == 1) {
    CHECK(chan_finish(t->to, g, &v) == CHAN_OK);
    t->at = 0;
    t->i++;
  }
  for (; t->i < PUSHES; t->i++) {
    v = number(-1);
    if (chan_send(t->to, m, g, &v, true) == CHAN_WAIT) {
      t->at = 1;
      return RUN_PARKED;
    }
    if (goro_choose(4) == 0) {
      t->i++;
      return RUN_YIELDED;
    }
  }
  return RUN_DEAD;
}

/* The main script's calls, as layers 5 and 6 make them. */

static ChanResult wait_for (M *m, Chan *c, Value *v, int64_t ns) {
  G *g = host->main;
  ChanResult r;
  bool armed = ns > 0 && wait_arm(m, g, os_now() + ns);
  park_here(m, g);
  r = chan_finish(c, g, v);
  if (armed) wait_disarm(g);
  CHECK(g->wake == WAKE_READY || (g->wake == WAKE_TIMEOUT && armed));
  return r;
}

static void main_send (M *m, Chan *c, int64_t n) {
  Value v = number(n);
  ChanResult r;
  sched_own(m, host->main);
  r = chan_send(c, m, host->main, &v, true);
  if (r == CHAN_WAIT) r = wait_for(m, c, &v, 0);
  CHECK(r == CHAN_OK);
  if (m->owned) sched_lend(m);
}

/* false: the time was over. */
static bool main_recv (M *m, Chan *c, int64_t ns, int64_t *n) {
  Value v;
  ChanResult r;
  sched_own(m, host->main);
  r = chan_recv(c, m, host->main, &v, true);
  if (r == CHAN_WAIT) r = wait_for(m, c, &v, ns);
  if (m->owned) sched_lend(m);
  if (r != CHAN_OK) return false;
  CHECK(v.tag == V_INT);
  *n = v.u.i;
  return true;
}

static void trips (M *m, int pushers) {
  Chan *ping = chan_new(0, 0, NULL), *pong = chan_new(0, 0, NULL);
  int64_t i, n, pushed = 0;
  int k;
  spawn(m, echo, ping, pong);
  for (k = 0; k < pushers; k++) spawn(m, pusher, NULL, pong);
  for (i = 0; i < TRIPS; i++) {
    main_send(m, ping, i);
    for (;;) {
      int64_t ns = goro_choose(3) == 0 ? (int64_t)goro_choose(20000) + 1 : 0;
      if (!main_recv(m, pong, ns, &n)) continue;
      if (n >= 0) break;
      pushed++;
    }
    CHECK(n == i);
  }
  while (pushed < (int64_t)pushers * PUSHES)
    if (main_recv(m, pong, 0, &n)) pushed++;
  sched_own(m, host->main);
  CHECK(chan_close(ping, m));
  if (m->owned) sched_lend(m);
  wait_for_all(m);
  obj_unref(&ping->obj);
  obj_unref(&pong->obj);
}

int main (void) {
  static const SchedHooks hooks = { run, reap, nothing, nothing, sleeps, nothing, 0, NULL, tame };
  static const int procs[] = { 1, 2, 8 };
  int i;
  CHECK(sched_init(&hooks));
  for (i = 0; i < 3; i++) {
    M *m = crowd_begin(procs[i]);
    trips(m, 0);
    trips(m, PUSHERS);
    crowd_end(m);
  }
  CHECK(load_seq(&as_guest) > 1000);
  puts("guests: a main script and its thread's guests, 1, 2 and 8 processors");
  return 0;
}
