/*
** chaos.h - an operating system driven by a seed, in the place of the real one.  Layer 0.
**
** Included by platform.h in the chaos build (-DGORO_CHAOS) alone: what goro asks of the system
** is renamed to what chaos.c makes of it.
*/
#ifndef GORO_CHAOS_H
#define GORO_CHAOS_H

#include "platform.h"

#pragma GCC visibility push(hidden)

uint64_t chaos_rand (void);
void chaos_point (void);               /* another thread may go on here */
void chaos_relax (void);               /* another thread must, if one can */
uint32_t chaos_slice (void);           /* instructions until a preemption; 0: none */

int64_t chaos_now (void);
void chaos_futex_wait (_Atomic(uint32_t) *word, uint32_t expected, int64_t ns);
void chaos_futex_wake (_Atomic(uint32_t) *word, int n);
int chaos_thread_start (pthread_t *t, void *(*f) (void *), void *arg);
void chaos_thread_join (pthread_t t);
void chaos_mutex_lock (pthread_mutex_t *m);
void chaos_poll (int fd, int64_t ns);  /* until there is input */
void chaos_event_raise (Event *e);
bool chaos_event_wait (Event *e, bool (*interrupted) (void *), void *arg);

#if !defined(GORO_REAL_OS)
#define os_now chaos_now
#define os_num_cpu() 1                 /* nobody spins */
#define os_random chaos_rand
#define os_futex_wait chaos_futex_wait
#define os_futex_wake chaos_futex_wake
#define os_thread_start chaos_thread_start
#define os_thread_join chaos_thread_join
#define os_mutex_lock chaos_mutex_lock
#define os_thread_cpu(id) ((void)(id), INT64_C(-1))
#define os_thread_sleeps(id) ((void)(id), (chaos_rand() & 1) != 0)
#define os_preempt_install(f) ((void)(f), false)
#define os_preempt_signal(t) ((void)(t))
#define event_raise chaos_event_raise
#define event_wait chaos_event_wait
#undef cpu_relax
#define cpu_relax chaos_relax
#endif

#pragma GCC visibility pop

#endif
