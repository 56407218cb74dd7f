/*
** debug.h - checks, fatal errors, the seeded choices and the perturbation points.  Layer 0.
**
** goro_choose(n) is the one function through which every free choice of the scheduler goes:
** which victim to rob, whether to preempt here.  (select draws its order from goro_rand, below it,
** several steps at once.)  In test builds (-DGORO_DEBUG) GOROSEED=n makes its sequence repeat
** (per thread).  GORO_POINT() stands wherever threads can interleave; it is empty in release
** builds, and yields or delays at random in test builds.  In the chaos build (-DGORO_CHAOS, see
** chaos.c) one seed, GOROCHAOS=n, decides all of it, and three things more, which are constant
** elsewhere:
**
**   GORO_CALL()       stands where each goro call begins: other threads may come in between
**   goro_maybe(n)     once in n: take the way that is allowed but rare
**   goro_slice()      after how many instructions to preempt this slice; 0: not that way
*/
#ifndef GORO_DEBUG_H
#define GORO_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

_Noreturn void goro_fatal (const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* called by goro_fatal before it ends the process: prints all Gs, Ms, Ps */
extern void (*goro_fatal_dump) (void);

uint32_t goro_choose (uint32_t n);     /* 0 .. n-1, n > 0 */
uint64_t goro_rand (void);

#if defined(GORO_CHAOS)
void chaos_point (void);
uint32_t chaos_slice (void);
#define GORO_CALL() chaos_point()
#define goro_maybe(n) (goro_choose(n) == 0)
#define goro_slice() chaos_slice()
#else
#define GORO_CALL() ((void)0)
#define goro_maybe(n) false
#define goro_slice() 0u
#endif

#if defined(GORO_CHAOS)
#define GORO_POINT() chaos_point()
#elif defined(GORO_DEBUG)
void goro_perturb (void);
#define GORO_POINT() goro_perturb()
#else
#define GORO_POINT() ((void)0)
#endif

/* Is memory kept for reuse?  Not where a sanitizer should see that it is free. */
#if !defined(__has_feature)
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer) || defined(GORO_VALGRIND)
#define GORO_POOLS 0
#elif defined(GORO_FAULTS)
#define GORO_POOLS fault_pools()
#else
#define GORO_POOLS 1
#endif

#if defined(GORO_DEBUG)
#define goro_check(c) \
  ((c) ? (void)0 : goro_fatal("%s:%d: check failed: %s", __FILE__, __LINE__, #c))
#else
#define goro_check(c) ((void)0)
#endif

#pragma GCC visibility pop

#endif
