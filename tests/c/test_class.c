/* Classes: what somebody can reach stays, what nobody can is swept; cycles, chains, threads. */
#include <pthread.h>
#include "class.h"
#include "test.h"

static Version *make (Class *c, uint64_t no, Version *prev, Class **deps, int n) {
  Version *v = version_new(c, no, prev);
  int i;
  CHECK(v != NULL && (v->body = msg_new()) != NULL);
  for (i = 0; i < n; i++) CHECK(version_dep(v, deps[i]));
  return v;
}

static void publish (Version *v) {
  Version *vs[1] = { v };
  class_publish(vs, 1);
}

static void counted (uint32_t n) {
  class_sweep();
  CHECK(class_count() == n);
}

static void life (void) {
  Class *c = class_new(1);
  Version *v = make(c, 1, NULL, NULL, 0), *w;
  CHECK(class_latest(c) == NULL);
  publish(v);
  w = class_latest(c);
  CHECK(w == v);
  version_unref(w);
  version_unref(v);
  counted(1);                          /* its home knows it */
  w = class_latest(c);
  class_release(c);
  counted(1);                          /* a message holds it */
  version_unref(w);
  counted(0);
}

static void cycle (void) {             /* a and b name each other */
  Class *c[2] = { class_new(1), class_new(1) };
  Version *v[2] = { make(c[0], 1, NULL, &c[1], 1), make(c[1], 1, NULL, &c[0], 1) }, *held;
  Version *vs[2] = { v[0], v[1] };
  class_publish(vs, 2);
  version_unref(v[0]);
  version_unref(v[1]);
  held = class_latest(c[0]);
  class_release(c[0]);
  class_release(c[1]);
  counted(2);
  version_unref(held);
  counted(0);
}

static void chain (void) {             /* versions of one class; a dep only of an old one */
  Class *c = class_new(1), *d = class_new(2);
  Version *v = make(d, 1, NULL, NULL, 0), *old;
  uint64_t no;
  publish(v);
  version_unref(v);
  class_release(d);
  v = make(c, 1, NULL, &d, 1);
  publish(v);
  for (no = 2; no <= 1000; no++) {
    Version *next = make(c, no, v, NULL, 0);
    publish(next);
    version_unref(v);
    v = next;
  }
  counted(2);                          /* the chain begins with the first */
  old = v;
  v = make(c, no, NULL, NULL, 0);
  publish(v);
  version_unref(v);
  counted(2);
  version_unref(old);
  counted(1);
  class_release(c);
  counted(0);
}

static void older (void) {             /* a version that comes late is not the current one */
  Class *c = class_new(1);
  Version *a = make(c, 1, NULL, NULL, 0), *b = make(c, 2, NULL, NULL, 0), *v;
  publish(b);
  publish(a);
  v = class_latest(c);
  CHECK(v == b);
  version_unref(v);
  version_unref(a);
  version_unref(b);
  class_release(c);
  counted(0);
}

static void never_published (void) {
  Class *c = class_new(1);
  Version *v = make(c, 1, NULL, NULL, 0), *w = make(c, 2, v, NULL, 0);
  version_unref(v);
  version_unref(w);
  class_release(c);
  counted(0);
}

static void bounded (void) {           /* garbage is swept without being asked for */
  int i;
  for (i = 0; i < 20000; i++) {
    Class *c = class_new(1);
    Version *v = make(c, 1, NULL, &c, 1);
    publish(v);
    version_unref(v);
    class_release(c);
  }
  CHECK(class_count() < 1000);
  counted(0);
}

/* ---------------------------------------------------------------- threads */

#define SLOTS 64
#define THREADS 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Version *slots[SLOTS];          /* "messages" that threads give to each other */

static Version *exchange (unsigned i, Version *v) {
  Version *old;
  pthread_mutex_lock(&lock);
  old = slots[i];
  slots[i] = v;
  pthread_mutex_unlock(&lock);
  return old;
}

/* Read all that a version refers to, as a receiver does. */
static Version *receive (Version *v, unsigned *seed) {
  Version *u, *dep;
  for (u = v; u != NULL; u = u->prev) CHECK(u->body->len == 0 && u->c == v->c);
  if (v->ndeps == 0) return NULL;
  dep = class_latest(v->deps[test_random(seed) % v->ndeps]);
  CHECK(dep != NULL && dep->body->len == 0);
  return dep;
}

static void *work (void *arg) {
  unsigned seed = 1 + (unsigned)(size_t)arg, i;
  Class *own = NULL;
  Version *last = NULL;
  uint64_t no = 0;
  for (i = 0; i < 20000; i++) {
    Version *got = exchange(test_random(&seed) % SLOTS, NULL);
    Version *dep = got != NULL ? receive(got, &seed) : NULL;
    if (own == NULL) {
      own = class_new((uint64_t)(size_t)arg);
      last = NULL;
      no = 0;
    }
    if (test_random(&seed) % 3 == 0 || last == NULL) {
      Class *deps[3] = { own, got != NULL ? got->c : own, dep != NULL ? dep->c : own };
      Version *prev = test_random(&seed) % 4 == 0 ? NULL : last;
      Version *v = make(own, ++no, prev, deps, 3);
      publish(v);
      if (last != NULL) version_unref(last);
      last = v;
    }
    obj_ref(&last->o);
    {
      Version *old = exchange(test_random(&seed) % SLOTS, last);
      if (old != NULL) version_unref(old);
    }
    if (dep != NULL) version_unref(dep);
    if (got != NULL) version_unref(got);
    if (test_random(&seed) % 50 == 0) {
      version_unref(last);
      class_release(own);
      own = NULL;
    }
    if (test_random(&seed) % 500 == 0) class_sweep();
  }
  if (own != NULL) {
    version_unref(last);
    class_release(own);
  }
  return NULL;
}

static void threads (void) {
  pthread_t t[THREADS];
  size_t i;
  for (i = 0; i < THREADS; i++) CHECK(pthread_create(&t[i], NULL, work, (void *)i) == 0);
  for (i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  for (i = 0; i < SLOTS; i++)
    if (slots[i] != NULL) version_unref(slots[i]);
  counted(0);
}

int main (void) {
  life();
  cycle();
  chain();
  older();
  never_published();
  bounded();
  threads();
  return 0;
}
