/*
** platform.h - what goro needs of the operating system.  Layer 0: the OS ends here.
*/
#ifndef GORO_PLATFORM_H
#define GORO_PLATFORM_H

#include <pthread.h>
#include <sys/select.h>
#include <stdbool.h>
#include <stdint.h>
#include "atomics.h"

#pragma GCC visibility push(hidden)

#define SECOND INT64_C(1000000000)     /* times inside are nanoseconds */
#define FOREVER INT64_MAX

int64_t os_now (void);                 /* monotonic clock, nanoseconds */

/* The processor's own counter, a quarter of os_now's price: only where it runs evenly, and the same on
** all CPUs.  'even' is os_ticks_even's answer; without, nanoseconds of os_now. */
bool os_ticks_even (void);
static inline uint64_t os_ticks (bool even) {
#if defined(__x86_64__)
  if (__builtin_expect(even, 1)) return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t t;
  if (even) {
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(t));
    return t;
  }
#endif
  (void)even;
  return (uint64_t)os_now();
}

int os_num_cpu (void);                 /* CPUs this process may use, cgroup quota counted, >= 1 */

/* Sleep while '*word' is 'expected', at most 'ns' (FOREVER: no limit).  May wake early. */
void os_futex_wait (_Atomic(uint32_t) *word, uint32_t expected, int64_t ns);
void os_futex_wake (_Atomic(uint32_t) *word, int n);

/* Start a detached or joinable thread with all signals blocked but the preemption signal.
** 0 or an errno. */
int os_thread_start (pthread_t *t, void *(*f) (void *), void *arg);
void os_thread_join (pthread_t t);
void os_mutex_lock (pthread_mutex_t *m);
/* CPU time a thread has used, nanoseconds; -1 if it cannot be told. */
int64_t os_thread_cpu (clockid_t id);
clockid_t os_thread_clock (pthread_t t);
/*
** An asymmetric fence, for protocols in which two sides each write one word and then read the
** other's: fence_light stands on the side that is taken often and costs nothing there, fence_heavy
** on the side that is taken seldom, where it makes all threads of the process execute a fence
** (Linux's membarrier).  Either the light side sees what the heavy one wrote, or the heavy side
** sees what the light one wrote, as with a full fence on both.  Without membarrier both are one.
*/
extern bool os_membarrier;             /* [I] set before main */
void fence_heavy (void);
static inline void fence_light (void) {
#if defined(__SANITIZE_THREAD__)
  fence_seq();
#else
  if (os_membarrier) atomic_signal_fence(memory_order_seq_cst);    /* for the compiler */
  else fence_seq();
#endif
}

/* This thread's number, and whether the thread of a number sleeps in the kernel: one that only
** waits for a CPU does not.  True if that cannot be told. */
int os_thread_id (void);
bool os_thread_sleeps (int id);
/* Most likely for a moment: for a lock (libc's malloc has some), or one of the kernel's for memory? */
bool os_thread_dozes (int id);

#define OS_PREEMPT_SIGNAL SIGURG       /* (needs signal.h) */
/* Preemption signal: install 'handler' (only where nobody else has one); false if taken. */
bool os_preempt_install (void (*handler) (int));
void os_preempt_signal (pthread_t t);
/* Does this thread, which is not ours, let the preemption signal in, and has it a stack of 1 MiB? */
bool os_thread_is_roomy (void);
void os_signals_block (sigset_t *old); /* all, for this thread */
void os_signals_restore (const sigset_t *old);
void os_signals_unblock (void);          /* all, for this thread */
extern bool os_forked;                 /* this is a fork's child, without its parent's threads */

/* An event another thread can raise, waited for with SIGINT let in (the host's thread). */
typedef struct Event { int fd; } Event;
bool event_init (Event *e);
void event_close (Event *e);
void event_raise (Event *e);
/* Wait until raised or a signal came.  'interrupted' is asked with SIGINT blocked before each
** sleep and after each signal; when it says true the wait ends with false. */
bool event_wait (Event *e, bool (*interrupted) (void *), void *arg);

/* These bytes will all be written soon: the pages that lie in them, at once. */
void os_touch (void *p, size_t size);

/* Keep the shared object that holds 'addr' mapped until the process ends. */
void os_pin_library (const void *addr);
void os_pin_file (const char *path);

/* Run 'command' by the shell, all signals unblocked there; its standard input or output is 'fd'
** (-1: ours).  Its process id, or -1 and errno. */
int os_shell (const char *command, int fd, bool output);
int os_wait (int pid, int *status);    /* waitpid, again after EINTR: -1 and errno */
bool os_pipe (int fd[2]);              /* close-on-exec */

/* What a file is: equal again if nobody has changed or replaced it. */
typedef struct FileId {
  uint64_t dev, ino;
  int64_t size;
  int64_t mtime, ctime;                /* nanoseconds since 1970 */
} FileId;
bool os_file_id (const char *path, FileId *id);    /* false: no regular file */
bool os_dir_id (const char *path, FileId *id);     /* false: no directory */
bool file_id_equal (const FileId *a, const FileId *b);
/* Has it been left alone long enough that a further change would show in its times? */
bool os_file_rested (const FileId *id);
bool os_file_readable (const char *path);          /* could it be opened to be read? */
typedef enum FileSeen { FILE_READABLE, FILE_ABSENT, FILE_OTHER } FileSeen;
FileSeen os_file_look (const char *path);          /* FILE_ABSENT: or a link that leads nowhere */
bool os_file_absent (const char *path);            /* there is not even a link */
/* Which of 'read' and 'write' a descriptor is ready for, 1 and 2 or-ed (an error or the other
** side's end counts for all that was asked); 0: none; -1: errno. */
int os_ready (int fd, int modes);

uint64_t os_random (void);             /* 64 bits nobody can guess; for seeds */

#pragma GCC visibility pop

#if defined(GORO_CHAOS) && !defined(GORO_REAL_OS)
#include "chaos.h"                     /* another system in the place of this one */
#endif

#endif
