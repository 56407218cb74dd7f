/* Contexts without goroutines: trees of any shape end as a whole, done channels outlive their
   contexts and close in time, and nothing is left, while threads make, cancel and drop them and
   timers fire. */
#include <pthread.h>
#include "context.h"
#include "test.h"

static Host host;
static M nobody;

static Context *child (Context *parent, int64_t deadline) {
  Context *c = context_new(parent, &nobody, &host, deadline);
  CHECK(c != NULL);
  return c;
}

static void cancel (Context *c, int64_t cause) {
  Value v = NIL_VALUE;
  if (cause != 0) {
    v.tag = V_INT;
    v.u.i = cause;
  }
  context_cancel(c, &nobody, &v);
}

static bool closed (Chan *c) {
  Value v;
  ChanResult r = chan_recv(c, &nobody, NULL, &v, false);
  CHECK(r == CHAN_CLOSED || r == CHAN_BUSY);
  return r == CHAN_CLOSED;
}

static void drop (Context *c) { obj_unref(&c->obj); }

static void shapes (void) {
  Context *root = child(&context_background, FOREVER), *a = child(root, FOREVER);
  Context *b = child(root, os_now() + SECOND * 1000), *aa = child(a, FOREVER);
  Chan *done = context_done(aa, &host), *again = context_done(aa, &host);
  CHECK(done == again && !closed(done));
  obj_unref(&again->obj);
  cancel(a, 7);
  cancel(a, 8);
  CHECK(context_err(a) == CTX_CANCELED && context_err(aa) == CTX_CANCELED && closed(done));
  CHECK(aa->cause.tag == V_INT && aa->cause.u.i == 7);
  CHECK(context_err(root) == CTX_OK && context_err(b) == CTX_OK);
  drop(a);
  drop(aa);                            /* the channel holds it, and all above it */
  drop(root);
  CHECK(b->deadline < FOREVER && b->own_timer);
  a = child(b, FOREVER);
  CHECK(a->deadline == b->deadline && !a->own_timer);
  cancel(b, 0);
  CHECK(context_err(a) == CTX_CANCELED && a->cause.tag == V_NIL);
  CHECK(timers_next_all() == FOREVER); /* its timer was stopped */
  aa = child(a, FOREVER);
  CHECK(context_err(aa) == CTX_CANCELED);
  drop(a);
  drop(b);
  drop(aa);
  obj_unref(&done->obj);
}

static void deadlines (void) {
  GList ready = { NULL, NULL };
  Context *p = child(&context_background, os_now() + SECOND), *a = child(p, 2 * os_now());
  Context *b = child(p, os_now() + SECOND / 2), *late = child(p, os_now());
  Chan *done = context_done(b, &host);
  CHECK(!a->own_timer && b->own_timer && context_err(late) == CTX_DEADLINE);
  drop(late);
  drop(b);                             /* its channel is held */
  timers_expire_all(os_now() + SECOND * 3 / 4, &ready);
  CHECK(closed(done) && context_err(p) == CTX_OK);
  timers_expire_all(os_now() + SECOND * 2, &ready);
  CHECK(context_err(p) == CTX_DEADLINE && context_err(a) == CTX_DEADLINE);
  drop(p);
  drop(a);
  obj_unref(&done->obj);
  drop(child(&context_background, os_now() + SECOND));
  CHECK(timers_next_all() == FOREVER && ready.head == NULL);
}

#define DEEP 100000

static void deep (bool end) {
  Context *root = child(&context_background, FOREVER), *c = root;
  int i;
  for (i = 0; i < DEEP; i++) {
    Context *next = child(c, i % 1000 == 0 ? os_now() + (DEEP - i) * SECOND : FOREVER);
    if (i > 0) drop(c);                /* its child holds it */
    c = next;
  }
  if (end) cancel(root, 1);
  CHECK(context_err(c) == (end ? CTX_CANCELED : CTX_OK));
  drop(root);
  drop(c);
  CHECK(timers_next_all() == FOREVER);
}

static void wide (void) {
  static Context *all[10000];
  Context *root = child(&context_background, FOREVER);
  int i;
  for (i = 0; i < 10000; i++) all[i] = child(i % 3 ? root : i ? all[i - 1] : root, FOREVER);
  for (i = 0; i < 10000; i += 5) drop(all[i]);
  cancel(root, 0);
  CHECK(root->children == NULL);
  for (i = 0; i < 10000; i++)
    if (i % 5) {
      CHECK(context_err(all[i]) == CTX_CANCELED);
      drop(all[i]);
    }
  drop(root);
}

/* ---------------------------------------------------------------- threads */

#define THREADS 4
#define ROUNDS 3000
#define KEPT 16

static _Atomic(uint32_t) go_on = 1;
static _Atomic(Context *) roots[THREADS];          /* each thread's; others cancel it */

static void *expirer (void *arg) {
  GList ready = { NULL, NULL };
  (void)arg;
  while (load_seq(&go_on)) {
    timers_expire_all(os_now(), &ready);
    CHECK(ready.head == NULL);
  }
  return NULL;
}

static void keep (Chan **kept, unsigned r, Chan *c) {
  if (kept[r % KEPT] != NULL) obj_unref(&kept[r % KEPT]->obj);
  kept[r % KEPT] = c;
}

static void *maker (void *arg) {
  int me = (int)(size_t)arg, i, k;
  unsigned seed = (unsigned)me + 17;
  Chan *kept[KEPT] = { NULL };
  Context *line[8] = { NULL };
  Context *root = load_seq(&roots[me]);
  for (i = 0; i < ROUNDS; i++) {
    unsigned r = test_random(&seed);
    Context *up = line[r % 8] != NULL ? line[r % 8] : root, *c;
    c = child(r % 50 == 0 ? root : up,
              r % 3 ? FOREVER : os_now() + (int64_t)(test_random(&seed) % 200000));
    if (r % 7 < 3) keep(kept, r / 64, context_done(c, &host));
    if (r % 5 == 0) cancel(c, (int)r | 1);
    if (r % 11 == 0) cancel(up, 0);    /* (also the root, now and then) */
    if (line[r / 8 % 8] != NULL) drop(line[r / 8 % 8]);
    line[r / 8 % 8] = c;
    if (r % 97 == 0) cancel(load_seq(&roots[r / 97 % THREADS]), 0);
  }
  cancel(root, 0);
  for (k = 0; k < 8; k++)
    if (line[k] != NULL) {
      CHECK(context_err(line[k]) != CTX_OK);
      drop(line[k]);
    }
  for (k = 0; k < KEPT; k++)
    if (kept[k] != NULL) {
      CHECK(closed(kept[k]));
      obj_unref(&kept[k]->obj);
    }
  return NULL;
}

static void contended (int round) {
  pthread_t t[THREADS + 1];
  Context *top = child(&context_background, FOREVER);
  int i;
  store_seq(&go_on, 1);
  for (i = 0; i < THREADS; i++)        /* trees of their own, or one tree */
    store_seq(&roots[i], child(round % 2 ? &context_background : top, FOREVER));
  for (i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, maker, (void *)(size_t)i);
  pthread_create(&t[i], NULL, expirer, NULL);
  for (i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  store_seq(&go_on, 0);
  pthread_join(t[i], NULL);
  for (i = 0; i < THREADS; i++) drop(load_seq(&roots[i]));
  cancel(top, 0);
  drop(top);
  CHECK(timers_next_all() == FOREVER);
}

int main (void) {
  int i;
  timers_init();
  lock_init(&sched.lock, RANK_SCHED);
  shapes();
  deadlines();
  deep(true);
  deep(false);
  wide();
  for (i = 0; i < 6; i++) contended(i);
  CHECK(load_seq(&host.ntimers) == 0);
  timers_free();
  puts("contexts: trees, deadlines, done channels, threads");
  return 0;
}
