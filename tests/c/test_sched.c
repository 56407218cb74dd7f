/* The scheduler, channels, select and WaitGroups with goroutines made of C functions: nothing is
   lost, nothing comes twice, order is kept, everybody is woken. */
#include <string.h>
#include "crowd.h"
#include "debug.h"
#include "select.h"

typedef struct Task Task;
typedef Outcome (*Step) (M *m, G *g, Task *t);

struct Task {
  Step step;
  Chan *c, *reply;
  Case cases[4];
  int64_t i, n, id;
  int at;                              /* where in its step it goes on */
};

#define PER_SENDER MANY(4000)
#define SENDERS 8

static _Atomic(int64_t) total, received;
static int64_t last_of[64];            /* per sender, checked by single receivers */

/* ---------------------------------------------------------------- goroutines */

static Outcome run (M *m, G *g) {
  Task *t = g->state;
  if (t->at != 0 && g->wake == WAKE_KILL) return RUN_DEAD;
  sched_own(m, g);
  return crowd_ran(m, t->step(m, g, t));
}

static Task *spawn (M *m, Step step, Chan *c) {
  G *g = crowd_new(m, sizeof(Task));
  Task *t = g->state;
  t->step = step;
  t->c = c;
  return t;
}

static void start (M *m, Task *t) {    /* its G is the newest of the host */
  G *g = host->all;
  while (g->state != t) g = g->hnext;
  crowd_ready(m, g);
}

/* Sends id * 2^32 + 0, 1, 2 ... */
static Outcome sender (M *m, G *g, Task *t) {
  Value v;
  if (t->at == 1) {
    CHECK(chan_finish(t->c, g, &v) == CHAN_OK);
    t->at = 0;
    t->i++;
  }
  for (; t->i < t->n; t->i++) {
    v = number(t->id << 32 | t->i);
    add_seq(&total, t->i + 1);
    switch (chan_send(t->c, m, g, &v, true)) {
      case CHAN_OK: break;
      case CHAN_WAIT: t->at = 1; return RUN_PARKED;
      default: CHECK(0);
    }
    if (goro_choose(50) == 0) {
      t->i++;
      return goro_choose(2) ? RUN_YIELDED : RUN_PREEMPTED;
    }
  }
  return RUN_DEAD;
}

static void got (Task *t, const Value *v) {
  CHECK(v->tag == V_INT);
  add_seq(&received, (v->u.i & 0xffffffff) + 1);
  if (t->n == 1) {                     /* the only receiver: order per sender */
    int64_t *last = &last_of[v->u.i >> 32];
    CHECK((v->u.i & 0xffffffff) == *last);
    ++*last;
  }
}

static Outcome receiver (M *m, G *g, Task *t) {
  Value v;
  ChanResult r;
  if (t->at == 1) {
    r = chan_finish(t->c, g, &v);
    t->at = 0;
    if (r == CHAN_CLOSED) return RUN_DEAD;
    CHECK(r == CHAN_OK);
    got(t, &v);
  }
  for (;;) {
    r = chan_recv(t->c, m, g, &v, true);
    if (r == CHAN_WAIT) {
      t->at = 1;
      return RUN_PARKED;
    }
    if (r == CHAN_CLOSED) return RUN_DEAD;
    CHECK(r == CHAN_OK);
    got(t, &v);
  }
}

/* Receives from four channels until all are closed. */
static Outcome selector (M *m, G *g, Task *t) {
  int which;
  Value v;
  ChanResult r;
  if (t->at == 1) {
    r = select_finish(g, &which, &v);
    t->at = 0;
    goto one;
  }
  for (;;) {
    if (t->i == 4) return RUN_DEAD;
    r = select_go(m, g, t->cases, 4, true, &which);
    if (r == CHAN_WAIT) {
      t->at = 1;
      return RUN_PARKED;
    }
    v = t->cases[which].v;
  one:
    if (r == CHAN_CLOSED) {
      t->cases[which].c = NULL;
      t->i++;
    }
    else {
      CHECK(r == CHAN_OK);
      got(t, &v);
    }
  }
}

/* ---------------------------------------------------------------- programs */

static void reset (void) {
  store_seq(&total, 0);
  store_seq(&received, 0);
  memset(last_of, 0, sizeof last_of);
}

static void close_when_sent (M *m, Chan **c, int n) {
  int i;
  while (load_seq(&received) != load_seq(&total) ||
         load_seq(&total) != (int64_t)SENDERS * PER_SENDER * (PER_SENDER + 1) / 2)
    cpu_relax();
  sched_own(m, host->main);
  for (i = 0; i < n; i++) CHECK(chan_close(c[i], m));
  sched_lend(m);
}

static void many (M *m, int64_t cap, int receivers) {
  Chan *c = chan_new(cap, 0, NULL);
  Task *t;
  int i;
  reset();
  for (i = 0; i < receivers; i++) {
    t = spawn(m, receiver, c);
    t->n = receivers;
    start(m, t);
  }
  for (i = 0; i < SENDERS; i++) {
    t = spawn(m, sender, c);
    t->id = i;
    t->n = PER_SENDER;
    start(m, t);
  }
  close_when_sent(m, &c, 1);
  wait_for_all(m);
  CHECK(load_seq(&received) == load_seq(&total));
  obj_unref(&c->obj);
}

static void selected (M *m, int selectors) {
  Chan *c[4];
  Task *t;
  int i, k;
  reset();
  for (k = 0; k < 4; k++) c[k] = chan_new(k, 0, NULL);
  for (i = 0; i < selectors; i++) {
    t = spawn(m, selector, NULL);
    t->n = selectors;
    for (k = 0; k < 4; k++) t->cases[k].c = c[k];
    start(m, t);
  }
  for (i = 0; i < SENDERS; i++) {
    t = spawn(m, sender, c[i % 4]);
    t->id = i;
    t->n = PER_SENDER;
    start(m, t);
  }
  close_when_sent(m, c, 4);
  wait_for_all(m);
  CHECK(load_seq(&received) == load_seq(&total));
  for (k = 0; k < 4; k++) obj_unref(&c[k]->obj);
}

static Note idled;
static __thread bool told;             /* it was told that it would sleep */

/* In a thread that sleeps, without a P.  If it has had nothing to do for long it keeps nothing, is
** idle, and can be woken. */
static void m_sleep (M *m, bool rests) {
  CHECK(m == sched_m() && !m->is_host && m->p == NULL);
  if (!rests) {
    told = true;
    return;
  }
  CHECK(told);
  told = false;
  CHECK(m->curg == NULL && m->spare.first == NULL && m->spare.n == 0 && m->iobuf == NULL);
  note_wake(&idled);
}

static void rested (void) {
  note_clear(&idled);
  CHECK(note_sleep(&idled, 60 * SECOND));
}

int main (void) {
  static const SchedHooks hooks = { run, reap, nothing, nothing, m_sleep, nothing, 0, NULL, NULL };
  static const int procs[] = { 1, 2, 8 };
  M *m;
  int i;
  CHECK(sched_init(&hooks));
  for (i = 0; i < 3; i++) {
    m = crowd_begin(procs[i]);
    many(m, 0, 1);
    many(m, 7, 1);
    many(m, 0, 5);
    many(m, 128, 5);
    selected(m, 1);
    selected(m, 5);
    if (procs[i] == 8) {
      rested();
      many(m, 0, 5);
    }
    crowd_end(m);
  }
  puts("sched: channels and select, 1, 2 and 8 processors");
  return 0;
}
