/*
** atomics.h - C11 atomics with the memory order in the name.
**
** Layer 0.  A word that two threads may touch at once is declared _Atomic and is read and
** written through these only, so that every access says which order it relies on.  With a
** plain '=' the compiler would choose the strongest order, and the reader would learn nothing.
*/
#ifndef GORO_ATOMICS_H
#define GORO_ATOMICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define load_rlx(p)        atomic_load_explicit((p), memory_order_relaxed)
#define load_acq(p)        atomic_load_explicit((p), memory_order_acquire)
#define load_seq(p)        atomic_load_explicit((p), memory_order_seq_cst)
#define store_rlx(p, v)    atomic_store_explicit((p), (v), memory_order_relaxed)
#define store_rel(p, v)    atomic_store_explicit((p), (v), memory_order_release)
#define store_seq(p, v)    atomic_store_explicit((p), (v), memory_order_seq_cst)
#define xchg_acqrel(p, v)  atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define xchg_seq(p, v)     atomic_exchange_explicit((p), (v), memory_order_seq_cst)
#define add_rlx(p, v)      atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define add_acqrel(p, v)   atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define sub_acqrel(p, v)   atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define add_seq(p, v)      atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define sub_seq(p, v)      atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst)
/* '*expected' is overwritten with what was found when these fail */
#define cas_acqrel(p, expected, v) atomic_compare_exchange_strong_explicit( \
  (p), (expected), (v), memory_order_acq_rel, memory_order_acquire)
#define cas_seq(p, expected, v) atomic_compare_exchange_strong_explicit( \
  (p), (expected), (v), memory_order_seq_cst, memory_order_seq_cst)

/* ThreadSanitizer does not model fences: a read-modify-write of one shared word orders the
** same and is understood by it. */
#if defined(__SANITIZE_THREAD__)
extern _Atomic(uint32_t) goro_fence_word;
#define fence_seq() ((void)add_seq(&goro_fence_word, 1))
#else
#define fence_seq() atomic_thread_fence(memory_order_seq_cst)
#endif

#if defined(__x86_64__) || defined(__i386__)
#define cpu_relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ __volatile__("yield" ::: "memory")
#else
#define cpu_relax() ((void)0)
#endif

#pragma GCC visibility pop

#endif
