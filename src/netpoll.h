/*
** netpoll.h - descriptors that become ready.  Layer 2.
**
** A PollDesc stands for a descriptor's *number*; it is made when the number is first used and
** never freed, so an event that comes late finds it.  'seq' tells the uses of a number apart: an
** event carries the seq it was registered with, and one of an earlier use is dropped.  (What is
** registered is the open file behind the number: if a duplicate of a closed descriptor lives on,
** its events still come.)
**
** Nothing is said to be ready here, only that something happened: 'edges' counts events.  Who
** wants to wait notes the count, tries what it wants to do, and if that would block waits unless
** the count has changed meanwhile.  So any number of goroutines may wait on one descriptor, and
** an event can neither be lost nor be swallowed by somebody else.
**
** netpoll() wakes nobody: it returns who was claimed.  Go's netpoll.
*/
#ifndef GORO_NETPOLL_H
#define GORO_NETPOLL_H

#include "g.h"

#pragma GCC visibility push(hidden)

enum { POLL_R = 1, POLL_W = 2 };       /* modes, or-ed; */
enum { POLL_ODD = 4 };                 /* and of an event: see PollDesc.odd */
enum { WAY_R, WAY_W };                 /* indices */

typedef struct PollDesc {
  int fd;                              /* [I] */
  Lock lock;                           /* RANK_OBJECT */
  uint32_t seq;                        /* [L] which use of the number this is */
  bool watched;                        /* [L] registered for good, edge-triggered, by its Fd */
  uint8_t modes;                       /* [L] what those in 'any' want, at least */
  _Atomic(uint32_t) odd;               /* [A] an event said more than that data can be read or
                                          written: the end, an error, urgent data; likewise */
  _Atomic(uint32_t) edges[2];          /* [A] events, by way; written under the lock */
  WaitQ way[2];                        /* [L] fdwait.c's: who waits to read, to write */
  WaitQ any;                           /* [L] goro.poll's: woken by every event */
} PollDesc;

/* Called with pd->lock held: claim who is to be woken by an event of 'modes' into 'ready'. */
typedef void (*NetpollFire) (PollDesc *pd, unsigned modes, GList *ready);

bool netpoll_init (NetpollFire fire);  /* at first use; often; false: errno */
extern _Atomic(uint32_t) netpoll_ready;          /* netpoll_init has succeeded */
extern _Atomic(int64_t) netpoll_waiters;         /* goroutines that wait for a descriptor */
extern _Atomic(int64_t) netpoll_last;            /* when it was last asked */

static inline bool netpoll_active (void) { return load_seq(&netpoll_ready) != 0; }
static inline bool netpoll_any (void) { return load_seq(&netpoll_waiters) != 0; }

PollDesc *netpoll_desc (int fd);       /* NULL: no memory, or fd too large (errno) */

/* pd->lock held.  0 or an errno: EPERM says that it is a file that is always ready. */
int netpoll_watch (PollDesc *pd);      /* for good, edge-triggered, both ways, with a new seq */
int netpoll_once (PollDesc *pd, unsigned modes);     /* the next event of these, no more */
void netpoll_forget (PollDesc *pd);    /* before the close of a watched one */

/* Wait for events, at most 'ns' (0: don't wait).  Claimed goroutines come into 'ready'. */
void netpoll (int64_t ns, GList *ready);
void netpoll_break (void);             /* end the wait that goes on, or else the next one */

/* For netpoll_X.c: what the OS reports. */
void netpoll_event (uint64_t key, unsigned modes, GList *ready);

/* --- what an OS must offer: netpoll_epoll.c.  Errors as errno; 'key' comes back with events --- */
int poller_init (void);
int poller_add (int fd, uint64_t key);           /* for good, edge-triggered, both ways */
int poller_once (int fd, uint64_t key, unsigned modes);
void poller_remove (int fd);
void poller_wait (int64_t ns, GList *ready);     /* calls netpoll_event */
void poller_break (void);

#pragma GCC visibility pop

#endif
