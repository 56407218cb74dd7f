/* Reading from TCP sockets, where a read that would find nothing is not made: no end, reset or byte
   is missed by it, and it is really not made. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "crowd.h"
#include "conn.h"
#include "debug.h"

typedef struct Reader {
  G *g;
  Conn *c;
  char got[64];
  size_t n;
  IoResult last;
  bool waits;
} Reader;

static _Atomic(int64_t) total;         /* bytes read */
static _Atomic(int64_t) calls;         /* of recv */

/* In libc's place. */
ssize_t recv (int fd, void *p, size_t n, int flags) {
  add_seq(&calls, 1);
  return recvfrom(fd, p, n, flags, NULL, NULL);
}

static Outcome read_on (M *m, G *g, Reader *r) {
  for (;;) {
    Taken t;
    r->last = conn_read(r->c, m, g, sizeof r->got, true, &t);
    if (r->last == IO_WAIT) {
      r->waits = true;
      return RUN_PARKED;
    }
    if (r->last != IO_OK) return RUN_DEAD;
    if (r->n + t.n <= sizeof r->got) memcpy(r->got + r->n, t.p, t.n);
    r->n += t.n;
    add_seq(&total, (int64_t)t.n);
    taken_free(&t, m);
  }
}

static Outcome run (M *m, G *g) {
  Reader *r = g->state;
  Outcome o;
  if (r->waits) fd_wait_end(g);
  r->waits = false;
  sched_own(m, g);
  o = read_on(m, g, r);
  if (m->owned) sched_lend(m);
  if (o == RUN_DEAD) {
    g->state = NULL;                   /* it is who started it's */
    waitgroup_add(wg, m, -1);
  }
  return o;
}

/* A connection: our side, and the peer's number. */
static int connect_pair (int *peer) {
  struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
  socklen_t len = sizeof a;
  int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
  CHECK(l >= 0 && bind(l, (struct sockaddr *)&a, sizeof a) == 0 && listen(l, 1) == 0);
  CHECK(getsockname(l, (struct sockaddr *)&a, &len) == 0);
  *peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(*peer >= 0 && connect(*peer, (struct sockaddr *)&a, sizeof a) == 0);
  fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  CHECK(fd >= 0);
  close(l);
  return fd;
}

static void start (M *m, Reader *r, int *peer) {
  memset(r, 0, sizeof *r);
  store_seq(&total, 0);
  r->c = conn_new(OBJ_CONN, connect_pair(peer), CONN_TCP);
  r->g = g_new(host);
  CHECK(r->c != NULL && r->g != NULL);
  r->g->state = r;
  CHECK(waitgroup_add(wg, m, 1));
  crowd_ready(m, r->g);
}

static void has_read (int64_t n) {
  int i;
  for (i = 0; load_seq(&total) != n; i++)
    if (i < 1000) cpu_relax();
    else doze(SECOND / 20000);
}

static void finish (M *m, Reader *r, IoResult last, const char *got) {
  wait_for_all(m);
  CHECK(r->last == last && r->n == strlen(got) && memcmp(r->got, got, r->n) == 0);
  obj_unref(&r->c->obj);
}

/* The end, which comes with the last bytes or right after them. */
static void ends (M *m) {
  int round, peer;
  for (round = 0; round < MANY(400); round++) {
    Reader r;
    start(m, &r, &peer);
    if (round % 2 == 0) {
      CHECK(send(peer, "one", 3, 0) == 3);
      has_read(3);
    }
    CHECK(send(peer, "two", 3, 0) == 3);
    if (round % 4 < 2) shutdown(peer, SHUT_WR);
    else close(peer);
    finish(m, &r, IO_EOF, round % 2 == 0 ? "onetwo" : "two");
    if (round % 4 < 2) close(peer);
  }
}

static void resets (M *m) {
  struct linger none = { 1, 0 };
  int round, peer;
  for (round = 0; round < MANY(200); round++) {
    Reader r;
    start(m, &r, &peer);
    CHECK(send(peer, "one", 3, 0) == 3);
    has_read(3);
    CHECK(setsockopt(peer, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0);
    close(peer);
    finish(m, &r, IO_ERROR, "one");
  }
}

/* Urgent data cut a read short, though there is more. */
static void urgent (M *m) {
  int round, peer;
  for (round = 0; round < MANY(200); round++) {
    Reader r;
    start(m, &r, &peer);
    if (round % 2 == 0) {
      CHECK(send(peer, "a", 1, 0) == 1);
      has_read(1);
    }
    CHECK(send(peer, "bc", 2, 0) == 2);
    CHECK(send(peer, "!", 1, MSG_OOB) == 1);
    CHECK(send(peer, "de", 2, 0) == 2);
    has_read(round % 2 == 0 ? 5 : 4);
    close(peer);
    finish(m, &r, IO_EOF, round % 2 == 0 ? "abcde" : "bcde");
  }
}

#define TRIPS 1000

/* As many calls as there are messages; waiting takes none. */
static void sparing (M *m) {
  Reader r;
  int i, peer;
  start(m, &r, &peer);
  CHECK(send(peer, "x", 1, 0) == 1);
  has_read(1);
  store_seq(&calls, 0);
  for (i = 2; i <= TRIPS; i++) {
    CHECK(send(peer, "x", 1, 0) == 1);
    has_read(i);
  }
  CHECK(load_seq(&calls) >= TRIPS - 1 && load_seq(&calls) < TRIPS + TRIPS / 10);
  close(peer);
  wait_for_all(m);
  CHECK(r.last == IO_EOF && r.n == TRIPS);
  obj_unref(&r.c->obj);
}

int main (void) {
  static const SchedHooks hooks = { run, reap, nothing, nothing, sleeps, nothing, 0, NULL, NULL };
  static const int procs[] = { 1, 2, 8 };
  M *m;
  int i;
  CHECK(sched_init(&hooks));
  for (i = 0; i < 3; i++) {
    m = crowd_begin(procs[i]);
    ends(m);
    resets(m);
    urgent(m);
    sparing(m);
    crowd_end(m);
  }
  puts("conn: ends, resets, urgent data and no call too many, 1, 2 and 8 processors");
  return 0;
}
