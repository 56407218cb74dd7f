/*
** debug.c - fatal errors, seeded choices, perturbation.  Layer 0.
*/
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "atomics.h"
#include "debug.h"
#include "platform.h"

#if defined(__SANITIZE_THREAD__)
_Atomic(uint32_t) goro_fence_word;
#endif

void (*goro_fatal_dump) (void);

_Noreturn void goro_fatal (const char *fmt, ...) {
  va_list ap;
  fputs("goro: fatal: ", stderr);
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fputc('\n', stderr);
  if (goro_fatal_dump != NULL) goro_fatal_dump();
  abort();
}

#if defined(GORO_CHAOS)
uint64_t goro_rand (void) { return chaos_rand(); }
#else
/* One generator a thread (splitmix64): no shared word on the scheduler's paths. */
static __thread uint64_t rng;

static uint64_t rng_seed (void) {
  static _Atomic(uint32_t) nthread;
#if defined(GORO_DEBUG)
  const char *s = getenv("GOROSEED");
  if (s != NULL)
    return strtoull(s, NULL, 10) * UINT64_C(0x9E3779B97F4A7C15) + add_rlx(&nthread, 1) + 1;
#endif
  return (os_random() + add_rlx(&nthread, 1)) | 1;
}

uint64_t goro_rand (void) {
  uint64_t z;
  if (rng == 0) rng = rng_seed();
  z = (rng += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}
#endif

uint32_t goro_choose (uint32_t n) {
  return (uint32_t)(((goro_rand() >> 32) * (uint64_t)n) >> 32);
}

#if defined(GORO_DEBUG) && !defined(GORO_CHAOS)
void goro_perturb (void) {
  uint32_t r = goro_choose(256);
  if (r >= 24) return;
  if (r >= 2) sched_yield();
  else {
    struct timespec ts = { 0, 1000L * (1 + (long)goro_choose(200)) };
    nanosleep(&ts, NULL);
  }
}
#endif
