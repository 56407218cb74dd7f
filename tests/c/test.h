/* What the C tests share. */
#ifndef TEST_H
#define TEST_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(c) \
  ((c) ? (void)0 : (fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #c), abort()))

/* How often: where each step takes long, and in the debug build goes other ways each time, less. */
#if defined(GORO_DEBUG) || defined(__SANITIZE_THREAD__)
#define MANY(n) ((n) / 4)
#else
#define MANY(n) (n)
#endif

static inline unsigned test_random (unsigned *seed) {          /* xorshift */
  unsigned x = *seed;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return *seed = x;
}

#endif
