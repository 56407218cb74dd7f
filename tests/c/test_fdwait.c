/* netpoll and fdwait with goroutines made of C functions: no byte and no wake-up is lost over many
   sockets, a close wakes who waits, a number that is used anew gets no event of its former use. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "crowd.h"
#include "debug.h"
#include "fdwait.h"

typedef struct Task Task;
typedef Outcome (*Step) (M *m, G *g, Task *t);

struct Task {
  G *g;
  Step step;
  Fd *fd, *other;
  int64_t left;
  int number;                          /* for goro.poll's kind of wait */
  int at;
};

static _Atomic(int64_t) total;

static Outcome run (M *m, G *g) {
  Task *t = g->state;
  if (t->at != 0) fd_wait_end(g);
  if (t->at != 0 && g->wake == WAKE_KILL) return RUN_DEAD;
  t->at = 0;
  sched_own(m, g);
  return crowd_ran(m, t->step(m, g, t));
}

static Task *spawn (M *m, Step step, Fd *fd, int64_t n) {
  G *g = crowd_new(m, sizeof(Task));
  Task *t = g->state;
  t->g = g;
  t->step = step;
  t->fd = fd;
  t->left = n;
  return t;
}

static void start (M *m, Task *t) {
  crowd_ready(m, t->g);
}

static void pair (Fd *a, Fd *b) {
  int n[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, n) == 0);
  fd_init(a, n[0]);
  fd_init(b, n[1]);
}

/* ---------------------------------------------------------------- goroutines */

/* One byte, or some; sees to it that the task's goroutine waits if it must.  false: it waits, or
   *end. */
static bool transfer (M *m, G *g, Task *t, int way, bool *end) {
  char bytes[3000] = { 0 };
  for (;;) {
    uint32_t edges;
    FdResult w;
    ssize_t n;
    *end = false;
    if (!fd_enter(t->fd)) break;
    edges = fd_edges(t->fd, way);
    n = t->left < (int64_t)sizeof bytes ? t->left : (int64_t)sizeof bytes;
    n = 1 + goro_choose((uint32_t)n);
    n = way == WAY_R ? recv(t->fd->fd, bytes, sizeof bytes, 0)
                     : send(t->fd->fd, bytes, (size_t)n, MSG_NOSIGNAL);
    if (n > 0) {
      fd_leave(t->fd, m);
      t->left -= n;
      if (way == WAY_R) add_seq(&total, n);
      return true;
    }
    if (n == 0 || errno != EAGAIN) {
      fd_leave(t->fd, m);
      break;
    }
    w = fd_wait(t->fd, way, edges, g, WAIT_POLL);
    fd_leave(t->fd, m);
    CHECK(w == FD_WAIT || w == FD_AGAIN || w == FD_CLOSED);
    if (w == FD_WAIT) {
      t->at = 1;
      return false;
    }
  }
  *end = true;
  return false;
}

static Outcome sender (M *m, G *g, Task *t) {
  bool end;
  while (t->left > 0)
    if (!transfer(m, g, t, WAY_W, &end)) return end ? RUN_DEAD : RUN_PARKED;
  fd_close(t->fd, m);
  return RUN_DEAD;
}

static Outcome receiver (M *m, G *g, Task *t) {
  bool end;
  while (transfer(m, g, t, WAY_R, &end)) continue;
  if (!end) return RUN_PARKED;
  fd_close(t->fd, m);
  return RUN_DEAD;
}

/* Reads until it is closed by another. */
static Outcome victim (M *m, G *g, Task *t) {
  bool end;
  while (transfer(m, g, t, WAY_R, &end)) continue;
  return end ? RUN_DEAD : RUN_PARKED;
}

static Outcome closer (M *m, G *g, Task *t) {
  if (t->left-- > 0) return RUN_YIELDED;
  (void)g;
  fd_close(t->fd, m);
  fd_close(t->other, m);
  return RUN_DEAD;
}

/* Waits as goro.poll does, until the descriptor is ready or closed. */
static Outcome poller (M *m, G *g, Task *t) {
  PollDesc *pd = fd_poll_desc(t->number);
  (void)m;
  CHECK(pd != NULL);
  for (;;) {
    PollEdges before = fd_poll_edges(pd);
    int r = os_ready(t->number, POLL_R);
    FdResult w;
    if (r != 0) {
      add_seq(&total, 1);
      return RUN_DEAD;
    }
    w = fd_poll_wait(pd, POLL_R, before, g);
    if (w == FD_WAIT) {
      t->at = 1;
      return RUN_PARKED;
    }
    if (w == FD_ERROR) {
      CHECK(errno == EBADF);
      add_seq(&total, 1);
      return RUN_DEAD;
    }
    CHECK(w == FD_AGAIN);
  }
}

/* ---------------------------------------------------------------- programs */

#define PAIRS 40
#define BYTES 100000

static void streams (M *m) {
  static Fd fds[2 * PAIRS];
  int i;
  store_seq(&total, 0);
  for (i = 0; i < PAIRS; i++) {
    pair(&fds[2 * i], &fds[2 * i + 1]);
    start(m, spawn(m, receiver, &fds[2 * i], 0));
    start(m, spawn(m, sender, &fds[2 * i + 1], BYTES));
  }
  wait_for_all(m);
  CHECK(load_seq(&total) == (int64_t)PAIRS * BYTES);
  CHECK(load_seq(&netpoll_waiters) == 0 && load_seq(&host->ntimers) == 0);
}

static void closes (M *m) {
  static Fd fds[2 * PAIRS];
  int round, i;
  for (round = 0; round < 50; round++) {
    for (i = 0; i < PAIRS; i++) {
      Task *t;
      pair(&fds[2 * i], &fds[2 * i + 1]);
      start(m, spawn(m, victim, &fds[2 * i], 0));
      t = spawn(m, closer, &fds[2 * i], goro_choose(4));
      t->other = &fds[2 * i + 1];
      start(m, t);
    }
    wait_for_all(m);
  }
}

/* Two wait for one descriptor in goro.poll's way, one as its reader: all are woken by one byte. */
static void polls (M *m) {
  Fd a, b;
  int round, i;
  for (round = 0; round < 300; round++) {
    pair(&a, &b);
    store_seq(&total, 0);
    for (i = 0; i < 3; i++) {
      Task *t = spawn(m, poller, NULL, 0);
      t->number = a.fd;
      start(m, t);
    }
    if (round % 3 == 0) {
      Task *t = spawn(m, closer, &a, 2);
      t->other = &b;
      start(m, t);
      wait_for_all(m);
      CHECK(load_seq(&total) == 3);
      continue;
    }
    CHECK(send(b.fd, "x", 1, 0) == 1);
    wait_for_all(m);
    CHECK(load_seq(&total) == 3);
    if (round % 3 == 1) start(m, spawn(m, receiver, &a, 0));
    else fd_close(&a, m);
    fd_close(&b, m);
    wait_for_all(m);
  }
}

/* A number closed behind our back and used anew: who waits for the new one is woken by it, and a
   duplicate of the old one that lives on wakes nobody for long. */
static void reuse (M *m) {
  int round;
  for (round = 0; round < 200; round++) {
    int old[2], new[2], copy, number;
    Task *t;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, old) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, new) == 0);
    number = old[0];
    store_seq(&total, 0);
    t = spawn(m, poller, NULL, 0);
    t->number = number;
    start(m, t);
    while (load_seq(&netpoll_waiters) != 1) cpu_relax();
    copy = dup(number);
    CHECK(dup2(new[0], number) == number);         /* closes the old one */
    t = spawn(m, poller, NULL, 0);
    t->number = number;
    start(m, t);
    while (load_seq(&netpoll_waiters) != 2) cpu_relax();
    CHECK(send(old[1], "x", 1, 0) == 1);
    if (round % 8 == 0) usleep(1000);
    CHECK(load_seq(&total) == 0);
    CHECK(send(new[1], "x", 1, 0) == 1);
    wait_for_all(m);
    CHECK(load_seq(&total) == 2);
    close(number);
    close(copy);
    close(new[0]);
    close(new[1]);
    close(old[1]);
  }
}

/* The host ends while goroutines wait. */
static void end (M *m) {
  static Fd fds[2 * PAIRS];
  int i;
  for (i = 0; i < PAIRS; i++) {
    pair(&fds[2 * i], &fds[2 * i + 1]);
    start(m, spawn(m, victim, &fds[2 * i], 0));
  }
  CHECK(host_end(host, m));
  for (i = 0; i < 2 * PAIRS; i++) CHECK(fd_close(&fds[i], m));
  CHECK(load_seq(&netpoll_waiters) == 0);
}

static int open_files (void) {
  int i, n = 0;
  for (i = 0; i < 1024; i++)
    if (fcntl(i, F_GETFD) >= 0) n++;
  return n;
}

int main (void) {
  static const SchedHooks hooks = { run, reap, nothing, nothing, sleeps, nothing, 0, NULL, NULL };
  static const int procs[] = { 1, 2, 8 };
  M *m;
  int i, files = 0;
  CHECK(sched_init(&hooks));
  for (i = 0; i < 3; i++) {
    m = crowd_begin(procs[i]);
    streams(m);
    closes(m);
    polls(m);
    reuse(m);
    end(m);
    crowd_leave(m);
    if (i == 0) files = open_files();
    CHECK(open_files() == files);
  }
  puts("fdwait: streams, closes, polls and numbers used anew, 1, 2 and 8 processors");
  return 0;
}
