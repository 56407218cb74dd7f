/*
** test_slab.c - blocks of many sizes from many threads: none overlaps another, all come back.
*/
#include <string.h>
#include "lock.h"
#include "slab.h"
#include "test.h"

#define N 3000

typedef struct Piece { unsigned char *p; size_t size; unsigned char mark; } Piece;

static void *use (void *arg) {
  static const size_t sizes[] = { 40, 544, 8000, 8001, 8032, 20000, 65536, 65537, 100000 };
  uint64_t r = (uint64_t)(uintptr_t)arg * 2654435761u + 1;
  Piece *all = calloc(N, sizeof *all);
  int i, k;
  CHECK(all != NULL);
  for (i = 0; i < 10 * N; i++) {
    Piece *b;
    r = r * UINT64_C(6364136223846793005) + 1442695040888963407u;
    b = &all[(r >> 33) % N];
    if (b->p != NULL) {
      CHECK(b->p[0] == b->mark && b->p[b->size / 2] == b->mark && b->p[b->size - 1] == b->mark);
      slab_free(b->p, b->size);
      b->p = NULL;
      continue;
    }
    b->size = sizes[(r >> 20) % (sizeof sizes / sizeof *sizes)];
    b->mark = (unsigned char)(r >> 50);
    b->p = slab_alloc(b->size);
    CHECK(b->p != NULL && ((uintptr_t)b->p & 15) == 0);
    b->p[0] = b->p[b->size / 2] = b->p[b->size - 1] = b->mark;
  }
  for (k = 0; k < N; k++)
    if (all[k].p != NULL) slab_free(all[k].p, all[k].size);
  free(all);
  return NULL;
}

/* Some slabs of each size, filled: what is asked for ahead is nobody's but who gets it. */
#define STEP 31u
static void fill (size_t size) {
  size_t n = (size < 256 ? 600u << 10 : 9u << 20) / size, words = size / sizeof(uint32_t), i, k;
  uint32_t **all = calloc(n, sizeof *all);
  CHECK(all != NULL);
  for (i = 0; i < n; i++) {
    CHECK((all[i] = slab_alloc(size)) != NULL);
    for (k = 0; k < words; k += STEP) all[i][k] = (uint32_t)i;
    if (i % 3 == 2) {                  /* used again among what is new */
      slab_free(all[i - 1], size);
      CHECK((all[i - 1] = slab_alloc(size)) != NULL);
      for (k = 0; k < words; k += STEP) all[i - 1][k] = (uint32_t)(i - 1);
    }
  }
  for (i = 0; i < n; i++)
    for (k = 0; k < words; k += STEP) CHECK(all[i][k] == i);
  for (i = 0; i < n; i += 2) slab_free(all[i], size);
  for (i = 1; i < n; i += 2) slab_free(all[i], size);
  free(all);
}

static void *fill_all (void *arg) {
  static const size_t sizes[] = { 16, 40, 255, 256, 4096, 5008, 16384, 40000, 65520, 65536 };
  unsigned i;
  (void)arg;
  for (i = 0; i < sizeof sizes / sizeof *sizes; i++) fill(sizes[i]);
  return NULL;
}

int main (void) {
  pthread_t t[4];
  uintptr_t i;
  for (i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, use, (void *)i) == 0);
  for (i = 0; i < 4; i++) pthread_join(t[i], NULL);
  for (i = 0; i < 2; i++) CHECK(pthread_create(&t[i], NULL, fill_all, NULL) == 0);
  for (i = 0; i < 2; i++) pthread_join(t[i], NULL);
  puts("slab: sizes, reuse, threads, whole slabs");
  return 0;
}
