/*
** fdwait.c - waiting for descriptors.  Layer 4.
**
** INVARIANTS
**   F1  The number of an Fd is closed once: by fd_close if there is no user, else by the last
**       user's fd_leave.  fd_enter fails from fd_close on.
**   F2  Who begins to wait holds pd->lock and has found the Fd open; fd_close marks it closed and
**       then takes pd->lock to wake all: one of the two sees the other.
**   F3  Who begins to wait has found under pd->lock that no event came since before it tried.
**   F4  A PollDesc's number is closed by us under its lock, after its seq has moved on.
**
** A waiting goroutine counts among its host's ntimers (it is no deadlock) and in netpoll_waiters,
** from before it can be found until it goes on.
**
** The kernel is asked to register a descriptor under pd->lock: a short system call, and nobody
** wants that lock but who uses the same descriptor, and the poller for one event.
*/
#include <errno.h>
#include <unistd.h>
#include "debug.h"
#include "fdwait.h"

enum { ANY = 2 };                      /* Sudog.index of goro.poll's waits */

static WaitQ *queue_of (PollDesc *pd, int which) {
  return which == ANY ? &pd->any : &pd->way[which];
}

static void wake_all (WaitQ *q, GList *ready) {
  Sudog *s;
  while ((s = waitq_pop(q)) != NULL) glist_add(ready, s->g);
}

static void fire (PollDesc *pd, unsigned modes, GList *ready) {
  if (modes & POLL_R) wake_all(&pd->way[WAY_R], ready);
  if (modes & POLL_W) wake_all(&pd->way[WAY_W], ready);
  wake_all(&pd->any, ready);
  pd->modes = 0;
}

/* pd->lock held.  WAIT_NONE: parking has begun. */
static void enqueue (PollDesc *pd, int which, G *g, Sudog *s, WaitReason reason) {
  s->g = g;
  s->queue = pd;
  s->index = which;
  add_acqrel(&g->host->ntimers, 1);
  add_seq(&netpoll_waiters, 1);
  if (reason != WAIT_NONE) park_begin(g, reason);
  waitq_push(queue_of(pd, which), s);
}

static void leave (Sudog *s, bool queued) {
  PollDesc *pd = s->queue;
  if (queued) {                        /* perhaps */
    lock_acquire(&pd->lock);
    if (s->enqueued) waitq_remove(queue_of(pd, s->index), s);
    lock_release(&pd->lock);
  }
  sub_seq(&netpoll_waiters, 1);
  sub_acqrel(&s->g->host->ntimers, 1);
}

void fd_wait_end (G *g) { leave(&g->own, g->wake != WAKE_READY); }
void fd_wait_off (Sudog *s) { leave(s, true); }

static bool prepare (void) {
  bool first = !netpoll_active();
  if (!netpoll_init(fire)) return false;
  if (first) sched_netpoll_started();
  return true;
}

/* ---------------------------------------------------------------- our own */

void fd_init (Fd *fd, int number) {
  fd->fd = number;
  store_rlx(&fd->users, 0);
  store_rlx(&fd->pd, NULL);
}

bool fd_enter (Fd *fd) {
  uint32_t u = load_rlx(&fd->users);
  do {
    if (u & 1) return false;
  } while (!cas_acqrel(&fd->users, &u, u + 2));
  GORO_POINT();
  return true;
}

/* F1: nobody uses it any more, and nobody will. */
static void give_back (Fd *fd, M *m) {
  GList ready = { NULL, NULL };
  PollDesc *pd = netpoll_active() ? netpoll_desc(fd->fd) : NULL;   /* goro.poll may wait for it */
  int saved = errno;
  if (pd != NULL) {
    lock_acquire(&pd->lock);
    if (load_rlx(&fd->pd) != NULL || pd->any.head != NULL) netpoll_forget(pd);
    close(fd->fd);
    wake_all(&pd->any, &ready);        /* they will find it closed */
    pd->modes = 0;
    lock_release(&pd->lock);
    sched_ready_all(m, &ready);
  }
  else close(fd->fd);
  errno = saved;
}

void fd_leave (Fd *fd, M *m) {
  GORO_POINT();
  if (sub_acqrel(&fd->users, 2) == 3) give_back(fd, m);
}

/* Wake who waits on our Fd: pd->way. */
static void wake_ways (Fd *fd, M *m) {
  GList ready = { NULL, NULL };
  PollDesc *pd = load_acq(&fd->pd);
  if (pd == NULL) pd = netpoll_active() ? netpoll_desc(fd->fd) : NULL;
  if (pd == NULL) return;
  lock_acquire(&pd->lock);
  if (load_rlx(&fd->pd) != NULL) {     /* else they are another Fd's, or there are none */
    add_acqrel(&pd->edges[WAY_R], 1);
    add_acqrel(&pd->edges[WAY_W], 1);
    wake_all(&pd->way[WAY_R], &ready);
    wake_all(&pd->way[WAY_W], &ready);
  }
  lock_release(&pd->lock);
  sched_ready_all(m, &ready);
}

bool fd_close (Fd *fd, M *m) {
  uint32_t u = load_rlx(&fd->users);
  do {
    if (u & 1) return false;
  } while (!cas_acqrel(&fd->users, &u, (u | 1) + 2));          /* as a user, while we wake them */
  GORO_POINT();
  wake_ways(fd, m);
  fd_leave(fd, m);
  return true;
}

void fd_kick (Fd *fd, M *m) {
  if (!fd_enter(fd)) return;
  wake_ways(fd, m);
  fd_leave(fd, m);
}

uint32_t fd_edges (Fd *fd, int way) {
  PollDesc *pd = load_acq(&fd->pd);
  return pd == NULL ? 0 : load_acq(&pd->edges[way]);
}

bool fd_odd (Fd *fd) {
  PollDesc *pd = load_acq(&fd->pd);
  return pd != NULL && load_rlx(&pd->odd) != 0;
}

static FdResult begin (Fd *fd, int way, uint32_t edges, G *g, Sudog *s, WaitReason reason) {
  PollDesc *pd;
  FdResult r = FD_WAIT;
  int e;
  if (!prepare() || (pd = netpoll_desc(fd->fd)) == NULL) return FD_ERROR;
  GORO_POINT();
  lock_acquire(&pd->lock);
  if (fd_closed(fd)) r = FD_CLOSED;    /* F2 */
  else if (load_rlx(&fd->pd) == NULL) {          /* the first wait */
    e = netpoll_watch(pd);             /* what is ready now comes as an event: no need to look */
    if (e == 0) store_rel(&fd->pd, pd);
    else {
      errno = e;
      r = e == EPERM ? FD_READY : FD_ERROR;
    }
  }
  else if (load_rlx(&pd->edges[way]) != edges) r = FD_AGAIN;   /* F3 */
  if (r == FD_WAIT) enqueue(pd, way, g, s, reason);
  lock_release(&pd->lock);
  return r;
}

FdResult fd_wait (Fd *fd, int way, uint32_t edges, G *g, WaitReason reason) {
  return begin(fd, way, edges, g, &g->own, reason);
}

FdResult fd_wait_on (Fd *fd, int way, uint32_t edges, G *g, Sudog *s) {
  return begin(fd, way, edges, g, s, WAIT_NONE);
}

/* ---------------------------------------------------------------- anybody's */

PollDesc *fd_poll_desc (int fd) { return prepare() ? netpoll_desc(fd) : NULL; }

PollEdges fd_poll_edges (PollDesc *pd) {
  PollEdges e = { { load_acq(&pd->edges[WAY_R]), load_acq(&pd->edges[WAY_W]) } };
  return e;
}

FdResult fd_poll_wait (PollDesc *pd, unsigned modes, PollEdges before, G *g) {
  FdResult r = FD_WAIT;
  int e;
  GORO_POINT();
  lock_acquire(&pd->lock);
  if (load_rlx(&pd->edges[WAY_R]) != before.n[WAY_R] ||
      load_rlx(&pd->edges[WAY_W]) != before.n[WAY_W]) r = FD_AGAIN;
  else if ((e = netpoll_once(pd, pd->modes | modes)) != 0) {
    errno = e;
    r = e == EPERM ? FD_READY : FD_ERROR;
  }
  else {
    pd->modes |= (uint8_t)modes;
    enqueue(pd, ANY, g, &g->own, WAIT_POLL);
  }
  lock_release(&pd->lock);
  return r;
}
