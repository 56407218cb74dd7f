/* Large blocks: they keep what was written, whatever their sizes become, in several threads. */
#include <pthread.h>
#include <string.h>
#include "big.h"
#include "test.h"

#define BLOCKS 40
#define ROUNDS 3000

static size_t some_size (unsigned *seed) {
  unsigned r = test_random(seed) % 100;
  size_t k = test_random(seed) % 64;
  if (r < 10) return 65536 + k - 32;                         /* about the limits */
  if (r < 15) return (4u << 20) + k - 32;
  if (r < 30) return 1 + test_random(seed) % 65536;
  return 65536 + test_random(seed) % (r < 95 ? 300000u : 5000000u);
}

static void mark (unsigned char *p, size_t size, unsigned char m) {
  p[0] = p[size / 2] = p[size - 1] = m;
}

static void *use (void *arg) {
  struct { unsigned char *p; size_t size; unsigned char m; } b[BLOCKS];
  unsigned seed = *(unsigned *)arg;
  int k;
  memset(b, 0, sizeof b);
  for (k = 0; k < ROUNDS; k++) {
    int i = (int)(test_random(&seed) % BLOCKS);
    size_t size = some_size(&seed), old = b[i].size;
    if (b[i].p == NULL) b[i].p = big_new(size);
    else if (test_random(&seed) % 3 == 0) {
      CHECK(b[i].p[0] == b[i].m && b[i].p[old / 2] == b[i].m && b[i].p[old - 1] == b[i].m);
      big_free(b[i].p, old);
      b[i].p = NULL;
      continue;
    }
    else {
      b[i].p = big_resize(b[i].p, old, size);
      CHECK(b[i].p[0] == b[i].m);
      if (size > old / 2) CHECK(b[i].p[old / 2] == b[i].m);
      if (size >= old) CHECK(b[i].p[old - 1] == b[i].m);
    }
    CHECK(b[i].p != NULL && ((size_t)b[i].p & 15) == 0);
    b[i].size = size;
    b[i].m = (unsigned char)test_random(&seed);
    mark(b[i].p, size, b[i].m);
  }
  for (k = 0; k < BLOCKS; k++)
    if (b[k].p != NULL) big_free(b[k].p, b[k].size);
  return NULL;
}

int main (void) {
  pthread_t t[3];
  unsigned seeds[] = { 1, 2, 3 };
  int i;
  for (i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, use, &seeds[i]) == 0);
  for (i = 0; i < 3; i++) pthread_join(t[i], NULL);
  puts("big: sizes, contents, threads");
  return 0;
}
