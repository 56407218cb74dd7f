/* Timers: they fire in order, once, or were stopped, but not both. */
#include <pthread.h>
#include "g.h"
#include "test.h"

#define N 20000

typedef struct T { Timer t; _Atomic(uint32_t) fired; bool stopped; } T;

static T *ts;
static int64_t last;
static _Atomic(uint32_t) go_on = 1;

static void fire (Timer *t, int64_t now, struct GList *ready) {
  T *x = (T *)t;
  (void)ready;
  CHECK(x->t.when <= now);
  CHECK(add_seq(&x->fired, 1) == 0);
}

static void fire_in_order (Timer *t, int64_t now, struct GList *ready) {
  CHECK(t->when >= last);
  last = t->when;
  fire(t, now, ready);
}

static void in_order (void) {
  GList l = { NULL, NULL };
  unsigned seed = 99;
  int64_t now;
  int i, fired = 0, stopped = 0;
  for (i = 0; i < N; i++) {
    ts[i].t.fire = fire_in_order;
    CHECK(timer_add(&ts[i].t, (int64_t)(test_random(&seed) % 1000000), 3));
  }
  for (i = 0; i < N; i += 3) {
    ts[i].stopped = timer_stop(&ts[i].t);
    CHECK(ts[i].stopped && !timer_stop(&ts[i].t));
  }
  for (now = 0; now <= 1000000; now += 1000) {
    timers_expire(3, now, &l);
    CHECK(timers_next(3) > now);
  }
  CHECK(timers_next(3) == FOREVER && timers_next_all() == FOREVER);
  for (i = 0; i < N; i++) {
    fired += (int)load_seq(&ts[i].fired);
    stopped += ts[i].stopped;
    CHECK((load_seq(&ts[i].fired) != 0) != ts[i].stopped);
  }
  CHECK(fired + stopped == N && stopped == (N + 2) / 3);
}

/* ---- beside a list that is searched: any order of add, stop, expire and again */

#define FEW 600

static T few[FEW];
static int64_t set[FEW];               /* its deadline; FOREVER: not set */
static int64_t upto;                   /* who fires must be due, and nobody earlier */

static int64_t earliest (void) {
  int64_t best = FOREVER;
  int i;
  for (i = 0; i < FEW; i++)
    if (set[i] < best) best = set[i];
  return best;
}

static void fire_listed (Timer *t, int64_t now, struct GList *ready) {
  int i = (int)((T *)t - few);
  (void)ready;
  CHECK(now == upto && t->when == set[i] && set[i] == earliest() && set[i] <= now);
  set[i] = FOREVER;
  if (i % 4 != 0) return;
  set[i] = t->when + 1 + i;            /* (perhaps due as well) */
  timer_again(t, set[i]);
}

static void as_a_list (void) {
  GList l = { NULL, NULL };
  unsigned seed = 7;
  int64_t now = 1000;
  int i, k, spread;
  for (i = 0; i < FEW; i++) {
    few[i].t.fire = fire_listed;
    set[i] = FOREVER;
  }
  for (k = 0; k < 60000; k++) {
    i = (int)(test_random(&seed) % FEW);
    spread = k / 10000 % 2 ? 30 : 3000;            /* many alike, or few */
    if (set[i] != FOREVER) {
      CHECK(timer_stop(&few[i].t));
      set[i] = FOREVER;
    }
    else if (!timer_stop(&few[i].t) && test_random(&seed) % 4 > 0) {
      set[i] = now - 20 + (int64_t)(test_random(&seed) % (unsigned)spread);
      if (k % 97 == 0) set[i] = k % 2 ? FOREVER - 1 : -set[i];
      CHECK(timer_add(&few[i].t, set[i], 9));
    }
    CHECK(timers_next(9) == earliest() && timers_next_all() == earliest());
    if (k % 50 == 0) {
      upto = now += 40;
      timers_expire(9, now, &l);
      CHECK(timers_next(9) > now && timers_next(9) == earliest());
    }
    if (k % 20000 == 0) {              /* empty, without memory, and again from the beginning */
      for (i = 0; i < FEW; i++) {
        CHECK(timer_stop(&few[i].t) == (set[i] != FOREVER));
        set[i] = FOREVER;
      }
      timers_free();
    }
  }
  for (i = 0; i < FEW; i++) timer_stop(&few[i].t);
  CHECK(timers_next(9) == FOREVER);
}

static void *expirer (void *arg) {
  GList l = { NULL, NULL };
  int64_t now = 0;
  (void)arg;
  while (load_seq(&go_on)) timers_expire_all(now += 50, &l);
  timers_expire_all(FOREVER - 1, &l);
  return NULL;
}

static void *adder (void *arg) {       /* a quarter each */
  int q = (int)(size_t)arg, i;
  unsigned seed = (unsigned)q + 5;
  for (i = q * (N / 4); i < (q + 1) * (N / 4); i++) {
    ts[i].t.fire = fire;
    store_seq(&ts[i].fired, 0);
    CHECK(timer_add(&ts[i].t, (int64_t)(test_random(&seed) % 100000), i));
    if (i % 2) ts[i].stopped = timer_stop(&ts[i].t);
    else ts[i].stopped = false;
  }
  return NULL;
}

static void contended (void) {
  pthread_t t[6];
  int i;
  for (i = 0; i < 4; i++) pthread_create(&t[i], NULL, adder, (void *)(size_t)i);
  for (; i < 6; i++) pthread_create(&t[i], NULL, expirer, NULL);
  for (i = 0; i < 4; i++) pthread_join(t[i], NULL);
  store_seq(&go_on, 0);
  for (; i < 6; i++) pthread_join(t[i], NULL);
  for (i = 0; i < N; i++) CHECK((load_seq(&ts[i].fired) != 0) != ts[i].stopped);
}

/* ---- again, and what is due */

static T tick;

static void fire_again (Timer *t, int64_t now, struct GList *ready) {
  (void)ready;
  CHECK(t->when <= now);
  add_seq(&tick.fired, 1);
  timer_again(t, t->when + 10);
}

static void again (void) {
  GList l = { NULL, NULL };
  tick.t.fire = fire_again;
  CHECK(timer_add(&tick.t, 10, 5));
  timers_expire(5, 9, &l);
  CHECK(load_seq(&tick.fired) == 0);
  timers_expire(5, 35, &l);            /* also what is due already when it is set again */
  CHECK(load_seq(&tick.fired) == 3 && timers_next(5) == 40);
  CHECK(timer_stop(&tick.t) && !timer_stop(&tick.t));
  CHECK(timers_next(5) == FOREVER);
}

typedef struct D { Due d; _Atomic(uint32_t) fired, run; } D;

static D ds[64];
static _Atomic(uint64_t) fires;

static void run (Due *d, M *m) {
  D *x = (D *)d;
  (void)m;
  add_seq(&x->run, xchg_seq(&x->fired, 0));
}

static void *due_adder (void *arg) {
  unsigned seed = (unsigned)(size_t)arg + 3;
  int i;
  for (i = 0; i < 100000; i++) {
    D *x = &ds[test_random(&seed) % 64];
    add_seq(&fires, 1);
    if (add_seq(&x->fired, 1) == 0) due_add(&x->d);
    if (i % 5 == 0) due_run(NULL);
  }
  return NULL;
}

static void what_is_due (void) {       /* each time it fired it is run, once */
  pthread_t t[4];
  uint64_t n = 0;
  int i;
  for (i = 0; i < 64; i++) ds[i].d.run = run;
  for (i = 0; i < 4; i++) pthread_create(&t[i], NULL, due_adder, (void *)(size_t)i);
  for (i = 0; i < 4; i++) pthread_join(t[i], NULL);
  due_run(NULL);
  CHECK(!due_run(NULL));
  for (i = 0; i < 64; i++) n += load_seq(&ds[i].run);
  CHECK(n == load_seq(&fires));
}

/* ---- the end of a host */

static int ndropped;

static void dropped (Timer *t) {
  CHECK(!timer_stop(t));               /* outside of the lock, and taken out */
  ndropped++;
}

static void dropping (void) {
  static struct Host one, two;
  OwnedTimer *owned = calloc(N, sizeof *owned);
  int i, left = 0;
  for (i = 0; i < N; i++) {
    owned[i].t.fire = fire;
    if (i % 3 < 2) timer_own(&owned[i], i % 3 == 0 ? &one : &two, i % 2 ? dropped : NULL);
    CHECK(timer_add(&owned[i].t, i, i));
  }
  timers_drop(&one);
  CHECK(ndropped == N / 6);
  timers_drop(&two);
  for (i = 0; i < N; i++) left += timer_stop(&owned[i].t);
  CHECK(left == N / 3);
  free(owned);
}

int main (void) {
  ts = calloc(N, sizeof *ts);
  timers_init();
  in_order();
  as_a_list();
  contended();
  again();
  what_is_due();
  dropping();
  timers_free();
  puts("timers: order, as a list, stop against fire, again, due, dropped");
  free(ts);
  return 0;
}
