/* A P's run queue: the owner puts and gets, others steal; each goroutine comes out once, and
   alone in order. */
#include <pthread.h>
#include <string.h>
#include "runq.h"
#include "test.h"

#define N 300000
#define THIEVES 3

static G *gs;
static _Atomic(uint32_t) *taken;
static P *owner;
static _Atomic(uint32_t) finished, count;

static void take (G *g) {
  CHECK(add_seq(&taken[g - gs], 1) == 0);
  add_seq(&count, 1);
}

static P *new_p (int id) {
  P *pp = aligned_alloc(64, (sizeof *pp + 63) & ~(size_t)63);
  memset(pp, 0, sizeof *pp);
  pp->id = id;
  return pp;
}

static void *thief (void *arg) {
  P *pp = new_p(1);
  unsigned seed = (unsigned)(size_t)arg + 1;
  while (!load_seq(&finished)) {
    G *g = runq_steal(pp, owner, test_random(&seed) % 64 == 0);
    for (; g != NULL; g = runq_get(pp)) take(g);
  }
  free(pp);
  return NULL;
}

static void contended (void) {
  pthread_t t[THIEVES];
  GList spill = { NULL, NULL };
  unsigned seed = 7;
  uint32_t i;
  int n = 0;
  G *g;
  owner = new_p(0);
  for (i = 0; i < THIEVES; i++) pthread_create(&t[i], NULL, thief, (void *)(size_t)i);
  for (i = 0; i < N; i++) {
    n = 0;
    if (!runq_put(owner, &gs[i], test_random(&seed) % 3 == 0, &spill, &n)) {
      int k = 0;
      while ((g = glist_pop(&spill)) != NULL) {
        take(g);
        k++;
      }
      CHECK(k == n && k > 1);
    }
    if (test_random(&seed) % 2 == 0 && (g = runq_get(owner)) != NULL) take(g);
  }
  while ((g = runq_get(owner)) != NULL) take(g);
  while (load_seq(&count) < N) continue;
  store_seq(&finished, 1);
  for (i = 0; i < THIEVES; i++) pthread_join(t[i], NULL);
  CHECK(runq_empty(owner) && load_seq(&count) == N);
  free(owner);
}

static void in_order (void) {
  P *a = new_p(0), *b = new_p(1);
  GList spill = { NULL, NULL };
  int n = 0, i;
  for (i = 0; i < 100; i++) CHECK(runq_put(a, &gs[i], false, &spill, &n));
  CHECK(runq_put(a, &gs[100], true, &spill, &n));
  CHECK(runq_put(a, &gs[101], true, &spill, &n));        /* kicks 100 to the end */
  CHECK(runq_get(a) == &gs[101]);
  CHECK(runq_steal(b, a, false) == &gs[50]);             /* half: 0 to 50, the last at once */
  for (i = 0; i < 50; i++) CHECK(runq_get(b) == &gs[i]);
  for (i = 51; i <= 100; i++) CHECK(runq_get(a) == &gs[i]);
  CHECK(runq_get(a) == NULL && runq_get(b) == NULL && runq_empty(a));
  free(a);
  free(b);
}

int main (void) {
  gs = calloc(N, sizeof *gs);
  taken = calloc(N, sizeof *taken);
  in_order();
  contended();
  printf("runq: order, %d goroutines and %d thieves\n", N, THIEVES);
  free(gs);
  free((void *)taken);
  return 0;
}
