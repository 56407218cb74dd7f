/*
** netpoll_epoll.c - netpoll by Linux's epoll.  Layer 2.
**
** The event that breaks a wait is level-triggered and is cleared only by a wait that may block:
** one that only looks (sysmon's, a busy worker's) must not take it away from the M that sleeps.
**
** A descriptor of goro's own is registered once, edge-triggered.  One of somebody else's is
** registered for one event each time somebody waits (EPOLLONESHOT): that asks the kernel anew what
** is there, finds out that the number has become another file's, and leaves nothing behind that
** would wake us.
*/
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "netpoll.h"

#define MAX_EVENTS 128
#define BREAK_KEY UINT64_MAX

static int epfd = -1, breakfd = -1;    /* [I] after poller_init */
static _Atomic(uint32_t) no_pwait2;    /* [A] an old kernel: milliseconds */

int poller_init (void) {
  struct epoll_event ev = { .events = EPOLLIN, .data = { .u64 = BREAK_KEY } };
  int e;
  epfd = epoll_create1(EPOLL_CLOEXEC);
  if (epfd < 0) return errno;
  breakfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (breakfd >= 0 && epoll_ctl(epfd, EPOLL_CTL_ADD, breakfd, &ev) == 0) return 0;
  e = errno;
  if (breakfd >= 0) close(breakfd);
  close(epfd);
  epfd = breakfd = -1;
  return e;
}

static int control (int fd, int first, int second, int cue, struct epoll_event *ev) {
  if (epoll_ctl(epfd, first, fd, ev) == 0) return 0;
  if (errno != cue) return errno;
  return epoll_ctl(epfd, second, fd, ev) == 0 ? 0 : errno;
}

int poller_add (int fd, uint64_t key) {
  struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
                            .data = { .u64 = key } };
  return control(fd, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EEXIST, &ev);
}

int poller_once (int fd, uint64_t key, unsigned modes) {
  struct epoll_event ev = { .events = EPOLLONESHOT, .data = { .u64 = key } };
  if (modes & POLL_R) ev.events |= EPOLLIN | EPOLLRDHUP;
  if (modes & POLL_W) ev.events |= EPOLLOUT;
  return control(fd, EPOLL_CTL_MOD, EPOLL_CTL_ADD, ENOENT, &ev);
}

void poller_remove (int fd) {
  struct epoll_event ev = { 0 };
  epoll_ctl(epfd, EPOLL_CTL_DEL, fd, &ev);
}

static int wait_for (struct epoll_event *ev, int64_t ns) {
#if defined(GORO_CHAOS)
  chaos_poll(epfd, ns);
  ns = 0;
#endif
  if (ns != 0 && ns != FOREVER && !load_rlx(&no_pwait2)) {
#if defined(SYS_epoll_pwait2)
    struct timespec ts = { (time_t)(ns / SECOND), (long)(ns % SECOND) };
    int n = (int)syscall(SYS_epoll_pwait2, epfd, ev, MAX_EVENTS, &ts, NULL, 0);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
#endif
    store_rlx(&no_pwait2, 1);
  }
  if (ns == FOREVER) return epoll_wait(epfd, ev, MAX_EVENTS, -1);
  ns = (ns + 999999) / 1000000;
  return epoll_wait(epfd, ev, MAX_EVENTS, ns > 1000000000 ? 1000000000 : (int)ns);
}

void poller_wait (int64_t ns, GList *ready) {
  struct epoll_event ev[MAX_EVENTS];
  int i, n = wait_for(ev, ns < 0 ? 0 : ns);
  for (i = 0; i < n; i++) {
    uint32_t e = ev[i].events;
    unsigned modes = 0;
    if (ev[i].data.u64 == BREAK_KEY) {
      uint64_t count;
      if (ns > 0 && read(breakfd, &count, sizeof count) < 0) continue;
      continue;
    }
    if (e & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) modes |= POLL_R;
    if (e & (EPOLLOUT | EPOLLHUP | EPOLLERR)) modes |= POLL_W;
    if (e & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) modes |= POLL_ODD;
    if (modes != 0) netpoll_event(ev[i].data.u64, modes, ready);
  }
}

void poller_break (void) {
  uint64_t one = 1;
  int saved = errno;
  while (write(breakfd, &one, sizeof one) < 0 && errno == EINTR) continue;
  errno = saved;
}
