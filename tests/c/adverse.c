/*
** adverse.c - preloaded into a process, makes the system less kind.  For specs.
**
**   ADVERSE=pthread_create:2-5,eventfd:0   calls 2, 3 and 4 (from 0) fail; all calls fail
**   ADVERSE_HZ=1000                      so many SIGALRM a second, handled by nothing
**   ADVERSE_RESTART=0                    ... which interrupt system calls (no SA_RESTART)
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
#include <sys/time.h>

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

int pthread_create (pthread_t *t, const pthread_attr_t *a, void *(*f) (void *), void *arg) {
  static atomic_int calls;
  if (fails("pthread_create", &calls)) return EAGAIN;
  return REAL(pthread_create)(t, a, f, arg);
}

int eventfd (unsigned int n, int flags) {
  static atomic_int calls;
  if (fails("eventfd", &calls)) {
    errno = EMFILE;
    return -1;
  }
  return REAL(eventfd)(n, flags);
}

int epoll_create1 (int flags) {
  static atomic_int calls;
  if (fails("epoll_create1", &calls)) {
    errno = EMFILE;
    return -1;
  }
  return REAL(epoll_create1)(flags);
}

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
  unsetenv("ADVERSE_HZ");              /* not for what this process starts */
  memset(&sa, 0, sizeof sa);
  sa.sa_handler = on_alarm;
  sa.sa_flags = restart != NULL && *restart == '0' ? 0 : SA_RESTART;
  sigaction(SIGALRM, &sa, NULL);
  it.it_interval.tv_sec = 0;
  it.it_interval.tv_usec = 1000000 / atoi(hz);
  it.it_value = it.it_interval;
  setitimer(ITIMER_REAL, &it, NULL);
}
