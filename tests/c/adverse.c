/*
** adverse.c - preloaded into a process, makes the system less kind.  For specs.
**
**   ADVERSE=pthread_create:2-5,eventfd:0   calls 2, 3 and 4 (from 0) fail; all calls fail
**   ADVERSE_HZ=1000                      so many SIGALRM a second, handled by nothing
**   ADVERSE_RESTART=0                    ... which interrupt system calls (no SA_RESTART)
**   ADVERSE_CHILDREN=1                   ... also in the Lua programs that this one starts
**   ADVERSE_CLOCK=1                      the time of day is another at each look
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int fails (const char *name, atomic_int *calls) {
  const char *s = getenv("ADVERSE");
  size_t len = strlen(name);
  for (; s != NULL && *s != '\0'; s = strchr(s, ',') ? strchr(s, ',') + 1 : "")
    if (strncmp(s, name, len) == 0 && s[len] == ':') {
      int n = atomic_fetch_add(calls, 1), from = 0, to = 1 << 30;
      sscanf(s + len + 1, "%d-%d", &from, &to);
      return n >= from && n < to;
    }
  return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A system call by its function: this call fails with 'error', if it is its turn. */
#define CALL(type, name, error, result, declared, given) \
  type name declared { \
    static atomic_int calls; \
    if (fails(#name, &calls)) { \
      errno = error; \
      return result; \
    } \
    return REAL(name) given; \
  }

CALL(int, eventfd, EMFILE, -1, (unsigned int n, int flags), (n, flags))
CALL(int, epoll_create1, EMFILE, -1, (int flags), (flags))
CALL(int, epoll_ctl, ENOSPC, -1, (int fd, int op, int other, struct epoll_event *ev),
     (fd, op, other, ev))
CALL(int, socket, EMFILE, -1, (int family, int type, int protocol), (family, type, protocol))
CALL(int, pipe2, EMFILE, -1, (int fd[2], int flags), (fd, flags))
CALL(int, accept4, EMFILE, -1, (int fd, struct sockaddr *a, socklen_t *n, int flags),
     (fd, a, n, flags))
CALL(void *, mmap, ENOMEM, MAP_FAILED,
     (void *p, size_t n, int prot, int flags, int fd, off_t at), (p, n, prot, flags, fd, at))

int pthread_create (pthread_t *t, const pthread_attr_t *a, void *(*f) (void *), void *arg) {
  static atomic_int calls;
  if (fails("pthread_create", &calls)) return EAGAIN;
  return REAL(pthread_create)(t, a, f, arg);
}

/* ---------------------------------------------------------------- the time of day */

static int jumpy = -1;

/* Some day of 2001 to 2068, and never the one of the last call. */
static time_t another_time (time_t now) {
  static atomic_uint calls;
  if (jumpy < 0) jumpy = getenv("ADVERSE_CLOCK") != NULL;
  if (!jumpy) return now;
  return 1000000000 + (time_t)((atomic_fetch_add(&calls, 1) * 2654435761u) >> 1);
}

int clock_gettime (clockid_t id, struct timespec *ts) {
  static __typeof__(&clock_gettime) real;
  int r;
  if (real == NULL) real = REAL(clock_gettime);
  r = real(id, ts);
  if (id == CLOCK_REALTIME && r == 0) ts->tv_sec = another_time(ts->tv_sec);
  return r;
}

int gettimeofday (struct timeval *restrict tv, void *restrict zone) {
  int r = REAL(gettimeofday)(tv, zone);
  if (r == 0) tv->tv_sec = another_time(tv->tv_sec);
  return r;
}

time_t time (time_t *p) {
  time_t t = another_time(REAL(time)(NULL));
  if (p != NULL) *p = t;
  return t;
}

/* ---------------------------------------------------------------- alarms */

static atomic_long alarms;

static void on_alarm (int sig) {
  (void)sig;
  atomic_fetch_add(&alarms, 1);
}

__attribute__((constructor)) static void begin (void) {
  const char *hz = getenv("ADVERSE_HZ"), *restart = getenv("ADVERSE_RESTART");
  struct sigaction sa;
  struct itimerval it;
  /* tools/lua is a shell script before it is Lua */
  if (hz == NULL || atoi(hz) <= 0 || strncmp(program_invocation_short_name, "lua", 3) != 0) return;
  memset(&sa, 0, sizeof sa);
  sa.sa_handler = on_alarm;
  sa.sa_flags = restart != NULL && *restart == '0' ? 0 : SA_RESTART;
  sigaction(SIGALRM, &sa, NULL);
  it.it_interval.tv_sec = 0;
  it.it_interval.tv_usec = 1000000 / atoi(hz);
  it.it_value = it.it_interval;
  setitimer(ITIMER_REAL, &it, NULL);
  if (getenv("ADVERSE_CHILDREN") == NULL) unsetenv("ADVERSE_HZ");
}
