/*
** fdwait.h - waiting for descriptors.  Layer 4.
**
** An Fd is a descriptor of goro's own.  Whoever uses its number does so between fd_enter and
** fd_leave, never while it waits; fd_close makes further fd_enters fail and wakes all who wait, and
** the number is given back to the OS when the last user has left: so nobody reads from what was
** opened under the same number meanwhile (Go's fdMutex).
**
**     for (;;) {
**       if (!fd_enter(fd)) -> closed
**       edges = fd_edges(fd, way);
**       r = read(fd->fd, ...);                      and so on
**       if (it would block) w = fd_wait(fd, way, edges, g, reason);
**       fd_leave(fd);
**       if (w == FD_WAIT) { park; fd_wait_end(g); }  FD_AGAIN: try again
**     }
**
** Of one way only one goroutine should wait: conn.c has a lock for each.
*/
#ifndef GORO_FDWAIT_H
#define GORO_FDWAIT_H

#include "netpoll.h"
#include "waitq.h"

#pragma GCC visibility push(hidden)

typedef struct Fd {
  int fd;                              /* [I] */
  _Atomic(uint32_t) users;             /* [A] 2 for each user, 1: closed */
  _Atomic(PollDesc *) pd;              /* [A] NULL: nobody has waited yet; set under pd->lock */
} Fd;

typedef enum FdResult {
  FD_WAIT,                             /* parking has begun */
  FD_AGAIN,                            /* something happened: try again */
  FD_CLOSED,                           /* by fd_close */
  FD_READY,                            /* no waiting for this kind of file: it is always ready */
  FD_ERROR                             /* errno */
} FdResult;

void fd_init (Fd *fd, int number);     /* takes it over */
bool fd_enter (Fd *fd);                /* false: closed */
void fd_leave (Fd *fd, M *m);
bool fd_close (Fd *fd, M *m);          /* false: it was closed before */
static inline bool fd_closed (Fd *fd) { return (load_acq(&fd->users) & 1) != 0; }

/* How many events there were; to be asked before what might block is tried. */
uint32_t fd_edges (Fd *fd, int way);
bool fd_odd (Fd *fd);                  /* then: did one of them say more than that? (PollDesc.odd) */
/* As a user: wait for the next event of this way. */
FdResult fd_wait (Fd *fd, int way, uint32_t edges, G *g, WaitReason reason);
void fd_wait_end (G *g);               /* after each FD_WAIT */
/* The same for one of several in one wait, each with a Sudog of its own, where parking has begun.
** What comes of it but FD_WAIT leaves nothing behind. */
FdResult fd_wait_on (Fd *fd, int way, uint32_t edges, G *g, Sudog *s);
void fd_wait_off (Sudog *s);           /* after the wait, or before park_abort */
void fd_kick (Fd *fd, M *m);           /* let all who wait try again */

/* For goro.poll: any descriptor, whoever's. */
typedef struct PollEdges { uint32_t n[2]; } PollEdges;
PollDesc *fd_poll_desc (int fd);       /* NULL: errno */
PollEdges fd_poll_edges (PollDesc *pd);
FdResult fd_poll_wait (PollDesc *pd, unsigned modes, PollEdges before, G *g);

#pragma GCC visibility pop

#endif
