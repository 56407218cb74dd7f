/*
** conn.c - connections.  Layer 4.
**
** BUFFERS.  What was read lies in c->buf until it is asked for.  A buffer is IOBUF bytes, grows for
** long lines and large reads, and is there only while it holds something: a connection that waits
** for its peer has none.  Each M keeps one spare, since most reads empty it at once.  What a read
** returns is taken out under the lock (Taken) and made a Lua string when the lock is free again: that
** may raise.  What a read that gives up has found stays in the buffer, for the next one.
**
** EMPTY SOCKETS.  A read from a TCP socket that got less than there was room for has taken all there
** was.  As long as no event has come since before it, the next one would find nothing and is not
** made.  That does not hold for one whose events have told more than data: the end that came with
** the last bytes is announced once, and urgent data cut a read short.
**
** SHARED DESCRIPTORS (standard input and output) are left as they are: O_NONBLOCK would be seen by
** every process that has the same terminal or pipe.  They are asked first, and at most PIPE_BUF
** bytes are written at a time, which a pipe that is ready takes without blocking.  If somebody else
** is quicker the call blocks nevertheless, as any C call may: its P is retaken meanwhile.  The same
** holds for files, on which nobody can wait.
**
** The Fd's number is used between fd_enter and fd_leave only, so a close by another goroutine never
** hits a system call of ours.
*/
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "conn.h"
#include "debug.h"

#define IOBUF 16384u
#define SMALL 2048u                    /* a waiting connection keeps no more room than it needs */
#define DATAGRAM 65536u

/* ---------------------------------------------------------------- life */

static void conn_destroy (Obj *o) {
  Conn *c = (Conn *)o;
  conn_close(c, sched_m());
  if (c->deadline.ctx != NULL) obj_unref(&c->deadline.ctx->obj);
  free(c->buf);
  free(c->path);
  free(c);
}

Conn *conn_new (uint8_t type, int fd, ConnKind kind) {
  Conn *c = conn_over(type, fd, kind);
  if (c == NULL) close(fd);
  return c;
}

Conn *conn_over (uint8_t type, int fd, ConnKind kind) {
  Conn *c = calloc(1, sizeof *c);
  if (c == NULL) return NULL;
  store_rlx(&c->obj.refs, 1);
  c->obj.type = type;
  c->obj.destroy = conn_destroy;
  fd_init(&c->fd, fd);
  c->kind = (uint8_t)kind;
  mutex_init(&c->lock[WAY_R]);
  mutex_init(&c->lock[WAY_W]);
  store_rlx(&c->limit, CONN_LIMIT);
  lock_init(&c->dlock, RANK_LEAF);
  c->deadline = NO_LIMIT;
  return c;
}

bool conn_close (Conn *c, M *m) {
  if (!fd_close(&c->fd, m)) return false;
  if (c->path != NULL) unlink(c->path);
  return true;
}

void conn_set_deadline (Conn *c, M *m, Limit lim) {
  Context *old;
  if (lim.ctx != NULL) obj_ref(&lim.ctx->obj);
  lock_acquire(&c->dlock);
  old = c->deadline.ctx;
  c->deadline = lim;
  store_rel(&c->limited, lim.until != FOREVER || lim.ctx != NULL);
  lock_release(&c->dlock);
  if (old != NULL) obj_unref(&old->obj);
  fd_kick(&c->fd, m);                  /* who waits looks at it again */
}

Limit conn_deadline (Conn *c) {
  Limit lim = NO_LIMIT;
  if (!load_acq(&c->limited)) return lim;
  lock_acquire(&c->dlock);
  lim = c->deadline;
  if (lim.ctx != NULL) obj_ref(&lim.ctx->obj);
  lock_release(&c->dlock);
  return lim;
}

/* ---------------------------------------------------------------- buffers */

static char *block_new (M *m, size_t cap) {
  char *p;
  if (cap == IOBUF && m->iobuf != NULL) {
    p = m->iobuf;
    m->iobuf = NULL;
    return p;
  }
  p = malloc(cap);
  if (p == NULL) errno = ENOMEM;
  return p;
}

static void block_free (M *m, char *p, size_t cap) {
  if (cap == IOBUF && m != NULL && m->iobuf == NULL) m->iobuf = p;
  else free(p);
}

static void buf_drop (Conn *c, M *m) {
  if (c->buf != NULL) block_free(m, c->buf, c->cap);
  c->buf = NULL;
  c->start = c->end = c->cap = c->scanned = 0;
}

static bool buf_resize (Conn *c, M *m, size_t cap) {
  size_t n = c->end - c->start;
  char *p = block_new(m, cap);
  if (p == NULL) return false;
  memcpy(p, c->buf + c->start, n);
  block_free(m, c->buf, c->cap);
  c->buf = p;
  c->start = 0;
  c->end = n;
  c->cap = cap;
  return true;
}

/* Room behind what there is, for a read that wants 'want' bytes in all. */
static bool buf_room (Conn *c, M *m, size_t want) {
  size_t n = c->end - c->start, cap = c->cap;
  if (c->buf == NULL) {
    c->buf = block_new(m, IOBUF);
    c->cap = c->buf != NULL ? IOBUF : 0;
    return c->buf != NULL;
  }
  if (c->cap - c->end >= SMALL) return true;
  if (c->cap - n >= c->cap / 2 && c->cap >= IOBUF) {
    memmove(c->buf, c->buf + c->start, n);
    c->start = 0;
    c->end = n;
    return true;
  }
  if (cap < IOBUF) cap = IOBUF;
  while (cap - n < cap / 2) cap *= 2;
  if (want > n && want + SMALL < cap && want > cap / 2) cap = want + SMALL;   /* no more than that */
  return buf_resize(c, m, cap);
}

/* Before a wait. */
static void buf_rest (Conn *c, M *m) {
  size_t n = c->end - c->start;
  if (n == 0) buf_drop(c, m);
  else if (c->cap == IOBUF && n <= SMALL / 2) buf_resize(c, m, SMALL);
}

void taken_free (Taken *t, M *m) {
  if (t->block != NULL) block_free(m, t->block, t->cap);
  t->block = NULL;
}

/* The first 'n' bytes, of which 'shown' are the result; the buffer goes if that empties it. */
static IoResult take (Conn *c, M *m, size_t n, size_t shown, Taken *t) {
  t->n = shown;
  t->block = NULL;
  t->p = t->small;
  goro_check(shown == 0 || c->buf != NULL);
  if (shown <= sizeof t->small) {
    if (shown > 0) memcpy(t->small, c->buf + c->start, shown);
  }
  else if (n == c->end - c->start) {   /* all there is: the block itself */
    t->block = c->buf;
    t->cap = c->cap;
    t->p = c->buf + c->start;
    c->buf = NULL;
    c->start = c->end = 0;
    n = 0;
  }
  else {
    t->block = malloc(shown);
    if (t->block == NULL) {
      errno = ENOMEM;
      return IO_ERROR;
    }
    t->cap = shown;
    t->p = memcpy(t->block, c->buf + c->start, shown);
  }
  c->start += n;
  c->scanned = 0;
  if (c->start == c->end) buf_drop(c, m);
  return IO_OK;
}

/* ---------------------------------------------------------------- waiting */

/* As a user: it would block. */
static IoResult would_wait (Conn *c, int way, uint32_t edges, G *g, bool block) {
  WaitReason reason = way == WAY_W ? WAIT_WRITE :
                      c->obj.type == OBJ_LISTENER ? WAIT_ACCEPT : WAIT_READ;
  if (!block) return IO_BUSY;
  switch (fd_wait(&c->fd, way, edges, g, reason)) {
    case FD_WAIT: return IO_WAIT;
    case FD_CLOSED: return IO_CLOSED;
    case FD_AGAIN: case FD_READY: return IO_OK;
    default: return IO_ERROR;
  }
}

#define BLOCKED(e) ((e) == EAGAIN || (e) == EWOULDBLOCK)

/* ---------------------------------------------------------------- reading */

static ssize_t read_now (Conn *c, char *p, size_t n) {
  switch (c->kind) {
    case CONN_TCP: case CONN_SOCKET: return os_recv(c->fd.fd, p, n);
    case CONN_SHARED: {
      int r = os_ready(c->fd.fd, POLL_R);
      if (r <= 0) {
        if (r == 0) errno = EAGAIN;
        return -1;
      }
      return os_read(c->fd.fd, p, n);
    }
    default: return os_read(c->fd.fd, p, n);
  }
}

/* More bytes into the buffer, for a read that wants 'want' in all. */
static IoResult fill (Conn *c, M *m, G *g, size_t want, bool block) {
  for (;;) {
    uint32_t edges;
    ssize_t n;
    IoResult r;
    if (!buf_room(c, m, want)) return IO_ERROR;
    if (!fd_enter(&c->fd)) return IO_CLOSED;
    edges = fd_edges(&c->fd, WAY_R);
    n = -1;
    if (block && c->empty && c->empty_edges == edges && !fd_odd(&c->fd)) errno = EAGAIN;
    else n = read_now(c, c->buf + c->end, c->cap - c->end);
    c->empty = false;
    if (n > 0) {
      c->empty = c->kind == CONN_TCP && (size_t)n < c->cap - c->end;
      c->empty_edges = edges;
      c->end += (size_t)n;
      r = IO_OK;
    }
    else if (n == 0) r = IO_EOF;
    else if (!BLOCKED(errno)) r = IO_ERROR;
    else {
      if (block) buf_rest(c, m);
      r = would_wait(c, WAY_R, edges, g, block);
    }
    fd_leave(&c->fd, m);
    if (r != IO_OK && c->start == c->end) {
      int saved = errno;
      buf_drop(c, m);
      errno = saved;
    }
    if (r != IO_OK || n > 0) return r;
  }
}

IoResult conn_read (Conn *c, M *m, G *g, size_t max, bool block, Taken *t) {
  size_t n;
  if (fd_closed(&c->fd)) return IO_CLOSED;
  if (c->start == c->end) {
    IoResult r = fill(c, m, g, 0, block);
    if (r != IO_OK) return r;
  }
  n = c->end - c->start;
  if (n > max) n = max;
  return take(c, m, n, n, t);
}

IoResult conn_read_full (Conn *c, M *m, G *g, size_t n, bool block, Taken *t) {
  if (fd_closed(&c->fd)) return IO_CLOSED;
  while (c->end - c->start < n) {
    IoResult r = fill(c, m, g, n, block);
    if (r != IO_OK) return r;
  }
  return take(c, m, n, n, t);
}

IoResult conn_read_line (Conn *c, M *m, G *g, bool block, Taken *t) {
  size_t limit = load_rlx(&c->limit);
  if (fd_closed(&c->fd)) return IO_CLOSED;
  for (;;) {
    size_t n = c->end - c->start;
    IoResult r;
    if (n > c->scanned) {
      char *line = c->buf + c->start;
      char *nl = memchr(line + c->scanned, '\n', n - c->scanned);
      if (nl != NULL) {
        size_t len = (size_t)(nl - line), shown = len;
        if (shown > 0 && line[shown - 1] == '\r') shown--;
        return shown > limit ? IO_LONG : take(c, m, len + 1, shown, t);
      }
      c->scanned = n;
      if (n > limit + (line[n - 1] == '\r')) return IO_LONG;
    }
    r = fill(c, m, g, 0, block);
    if (r == IO_EOF && n > 0) return take(c, m, n, n, t);      /* a last line without an end */
    if (r != IO_OK) return r;
  }
}

IoResult conn_read_all (Conn *c, M *m, G *g, bool block, Taken *t) {
  IoResult r;
  if (fd_closed(&c->fd)) return IO_CLOSED;
  while ((r = fill(c, m, g, 0, block)) == IO_OK) continue;
  return r == IO_EOF ? take(c, m, c->end - c->start, c->end - c->start, t) : r;
}

/* ---------------------------------------------------------------- writing */

static ssize_t write_now (Conn *c, const char *p, size_t n) {
  struct iovec v = { (void *)(uintptr_t)p, n };
  switch (c->kind) {
    case CONN_TCP: case CONN_SOCKET: return os_send(c->fd.fd, &v, 1);
    case CONN_SHARED: {
      int r = os_ready(c->fd.fd, POLL_W);
      if (r <= 0) {
        if (r == 0) errno = EAGAIN;
        return -1;
      }
      if (v.iov_len > PIPE_BUF) v.iov_len = PIPE_BUF;
      return os_write(c->fd.fd, &v, 1);
    }
    default: return os_write(c->fd.fd, &v, 1);
  }
}

IoResult conn_write (Conn *c, M *m, G *g, const char *p, size_t n, bool block) {
  IoResult r = IO_OK;
  while (r == IO_OK && c->done < n) {
    uint32_t edges;
    ssize_t k;
    if (!fd_enter(&c->fd)) return IO_CLOSED;
    edges = fd_edges(&c->fd, WAY_W);
    k = write_now(c, p + c->done, n - c->done);
    if (k >= 0) c->done += (size_t)k;
    else if (!BLOCKED(errno)) r = IO_ERROR;
    else r = would_wait(c, WAY_W, edges, g, block);
    fd_leave(&c->fd, m);
  }
  return r == IO_OK && fd_closed(&c->fd) && n == 0 ? IO_CLOSED : r;
}

/* ---------------------------------------------------------------- listeners, datagrams */

IoResult conn_accept (Conn *c, M *m, G *g, bool block, int *fd) {
  IoResult r = IO_OK;
  for (*fd = -1; r == IO_OK && *fd < 0;) {
    uint32_t edges;
    if (!fd_enter(&c->fd)) return IO_CLOSED;
    edges = fd_edges(&c->fd, WAY_R);
    *fd = os_accept(c->fd.fd);
    if (*fd < 0) r = BLOCKED(errno) ? would_wait(c, WAY_R, edges, g, block) : IO_ERROR;
    fd_leave(&c->fd, m);
  }
  return r;
}

IoResult conn_recvfrom (Conn *c, M *m, G *g, bool block, Taken *t, Addr *from) {
  char p[DATAGRAM];
  IoResult r = IO_OK;
  ssize_t n = -1;
  while (r == IO_OK && n < 0) {
    uint32_t edges;
    if (!fd_enter(&c->fd)) return IO_CLOSED;
    edges = fd_edges(&c->fd, WAY_R);
    n = os_recvfrom(c->fd.fd, p, sizeof p, from);
    if (n < 0) r = BLOCKED(errno) ? would_wait(c, WAY_R, edges, g, block) : IO_ERROR;
    fd_leave(&c->fd, m);
  }
  if (r != IO_OK) return r;
  if (n > (ssize_t)sizeof p) n = sizeof p;
  t->n = (size_t)n;
  t->p = t->small;
  t->block = NULL;
  if (t->n > sizeof t->small) {
    t->cap = t->n;
    t->p = t->block = malloc(t->n);
    if (t->p == NULL) {
      errno = ENOMEM;
      return IO_ERROR;
    }
  }
  memcpy(t->p, p, t->n);
  return IO_OK;
}

IoResult conn_sendto (Conn *c, M *m, G *g, const char *p, size_t n, const Addr *to, bool block) {
  IoResult r = IO_OK;
  ssize_t k = -1;
  while (r == IO_OK && k < 0) {
    uint32_t edges;
    if (!fd_enter(&c->fd)) return IO_CLOSED;
    edges = fd_edges(&c->fd, WAY_W);
    k = os_sendto(c->fd.fd, p, n, to);
    if (k < 0) r = BLOCKED(errno) ? would_wait(c, WAY_W, edges, g, block) : IO_ERROR;
    fd_leave(&c->fd, m);
  }
  return r;
}
