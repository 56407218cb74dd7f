/*
** conn.h - connections: what can be read and written and parks instead of blocking.  Layer 4.
**
** A Conn is a stream (a socket, a pipe, a terminal, a file), a listener, or a UDP socket.  Any
** goroutine may use one at any time: each way has a lock that parks, so one reads while another
** writes, and readers come one after the other.
**
** The calls below that may have to wait return IO_WAIT when parking has begun: the caller parks,
** calls fd_wait_end, and makes the same call again.  They are called with the lock of their way
** held, which the caller keeps while it waits.
*/
#ifndef GORO_CONN_H
#define GORO_CONN_H

#include "context.h"
#include "fdwait.h"
#include "mutex.h"
#include "sock.h"

#pragma GCC visibility push(hidden)

typedef enum ConnKind {
  CONN_TCP,                            /* a socket, never blocks, whoever shares it; and a read */
                                       /* that got less than it asked for has emptied it */
  CONN_SOCKET,                         /* another socket */
  CONN_STREAM,                         /* a pipe or terminal opened by us: non-blocking */
  CONN_SHARED,                         /* one that other processes have too: is asked first */
  CONN_FILE                            /* always ready: just done */
} ConnKind;

typedef struct Conn {
  Obj obj;                             /* OBJ_CONN, OBJ_LISTENER, OBJ_UDP */
  Fd fd;
  uint8_t kind;                        /* [I] ConnKind */
  Mutex lock[2];                       /* by way */
  char *buf;                           /* [L:lock[WAY_R]] what was read and not asked for yet is */
  size_t start, end, cap;              /* [L:lock[WAY_R]] between start and end; NULL: nothing */
  bool empty;                          /* [L:lock[WAY_R]] the last read emptied it; before that */
  uint32_t empty_edges;                /* [L:lock[WAY_R]] so many events had come */
  size_t scanned;                      /* [L:lock[WAY_R]] no line ends before start + this */
  size_t done;                         /* [L:lock[WAY_W]] of a write that waits: bytes written */
  _Atomic(size_t) limit;               /* [A] longest line */
  Lock dlock;                          /* RANK_LEAF */
  Limit deadline;                      /* [L:dlock] of calls without a time-out; its context is a
                                          reference */
  _Atomic(uint32_t) limited;           /* [A] there is one */
  char *path;                          /* [I] of a Unix listener: removed at its close */
} Conn;

#define CONN_LIMIT 65536

typedef enum IoResult {
  IO_OK,
  IO_WAIT,                             /* parking has begun */
  IO_BUSY,                             /* would wait, and must not */
  IO_EOF,
  IO_CLOSED,                           /* by us */
  IO_LONG,                             /* no end of line within the limit */
  IO_ERROR                             /* errno */
} IoResult;

/* Takes over 'fd', also when it fails (NULL: no memory). */
Conn *conn_new (uint8_t type, int fd, ConnKind kind);
Conn *conn_over (uint8_t type, int fd, ConnKind kind);           /* leaves it if it fails */
bool conn_close (Conn *c, M *m);       /* wakes who waits; false: it was closed */
void conn_set_deadline (Conn *c, M *m, Limit lim);     /* of those that wait, too */
/* The deadline, for one call.  Its context is a reference, for conn_deadline_over. */
Limit conn_deadline (Conn *c);

/* What a read found, out of the Conn's hands, so that its lock can be released. */
typedef struct Taken {
  char *p;
  size_t n;
  char *block;                         /* owned allocation around p, or NULL */
  size_t cap;                          /* its size */
  char small[1024];
} Taken;
void taken_free (Taken *t, M *m);

IoResult conn_read (Conn *c, M *m, G *g, size_t max, bool block, Taken *t);   /* some bytes */
IoResult conn_read_full (Conn *c, M *m, G *g, size_t n, bool block, Taken *t);
IoResult conn_read_line (Conn *c, M *m, G *g, bool block, Taken *t);
IoResult conn_read_all (Conn *c, M *m, G *g, bool block, Taken *t);
/* c->done counts: 0 at the first call. */
IoResult conn_write (Conn *c, M *m, G *g, const char *p, size_t n, bool block);

IoResult conn_accept (Conn *c, M *m, G *g, bool block, int *fd);
IoResult conn_recvfrom (Conn *c, M *m, G *g, bool block, Taken *t, Addr *from);
IoResult conn_sendto (Conn *c, M *m, G *g, const char *p, size_t n, const Addr *to, bool block);

#pragma GCC visibility pop

#endif
