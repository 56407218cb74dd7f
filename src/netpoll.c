/*
** netpoll.c - the table of PollDescs, and what becomes of an event.  Layer 2.
**
** The poller itself is netpoll_epoll.c, all that another system must replace.  Nothing is made
** before the first descriptor is waited for.
*/
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "debug.h"
#include "netpoll.h"

#define CHUNK 64
#define CHUNKS 16384                   /* descriptors up to a million */

_Atomic(uint32_t) netpoll_ready;
_Atomic(int64_t) netpoll_waiters;
_Atomic(int64_t) netpoll_last;

static _Atomic(PollDesc *) chunks[CHUNKS];       /* [A] each is published whole */
static NetpollFire fire;                         /* [I] once netpoll_ready is set */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

bool netpoll_init (NetpollFire f) {
  int e = 0;
  if (load_acq(&netpoll_ready)) return true;
  pthread_mutex_lock(&making);
  if (!load_rlx(&netpoll_ready)) {
    e = poller_init();
    if (e == 0) {
      fire = f;
      store_rlx(&netpoll_last, os_now());
      store_seq(&netpoll_ready, 1);
    }
  }
  pthread_mutex_unlock(&making);
  errno = e;
  return e == 0;
}

static PollDesc *make_chunk (int first) {
  PollDesc *c = calloc(CHUNK, sizeof *c), *none = NULL;
  int i;
  if (c == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  for (i = 0; i < CHUNK; i++) {
    c[i].fd = first + i;
    lock_init(&c[i].lock, RANK_OBJECT);
  }
  if (cas_acqrel(&chunks[first / CHUNK], &none, c)) return c;
  free(c);                             /* somebody was quicker */
  return none;
}

PollDesc *netpoll_desc (int fd) {
  PollDesc *c;
  if (fd < 0 || fd >= CHUNK * CHUNKS) {
    errno = fd < 0 ? EBADF : EMFILE;
    return NULL;
  }
  c = load_acq(&chunks[fd / CHUNK]);
  if (c == NULL) c = make_chunk(fd - fd % CHUNK);
  return c == NULL ? NULL : &c[fd % CHUNK];
}

static uint64_t key_of (PollDesc *pd) { return (uint64_t)pd->seq << 32 | (uint32_t)pd->fd; }

int netpoll_watch (PollDesc *pd) {
  int e;
  lock_check_held(&pd->lock);
  pd->seq++;
  store_rlx(&pd->odd, 0);
  e = poller_add(pd->fd, key_of(pd));
  pd->watched = e == 0;
  return e;
}

int netpoll_once (PollDesc *pd, unsigned modes) {
  lock_check_held(&pd->lock);
  if (pd->watched) return 0;           /* its events come anyway */
  pd->seq++;
  return poller_once(pd->fd, key_of(pd), modes);
}

void netpoll_forget (PollDesc *pd) {
  lock_check_held(&pd->lock);
  pd->seq++;
  if (!pd->watched) return;
  pd->watched = false;
  poller_remove(pd->fd);
}

void netpoll_event (uint64_t key, unsigned modes, GList *ready) {
  PollDesc *pd = netpoll_desc((int)(uint32_t)key);
  GORO_POINT();
  lock_acquire(&pd->lock);
  if (pd->seq == key >> 32) {
    if (modes & POLL_ODD) store_rlx(&pd->odd, 1);              /* before it is counted */
    if (modes & POLL_R) add_acqrel(&pd->edges[WAY_R], 1);
    if (modes & POLL_W) add_acqrel(&pd->edges[WAY_W], 1);
    fire(pd, modes, ready);
  }
  lock_release(&pd->lock);
}

void netpoll (int64_t ns, GList *ready) {
  store_rlx(&netpoll_last, os_now());
  poller_wait(ns, ready);
  if (ns != 0) store_rlx(&netpoll_last, os_now());
}

void netpoll_break (void) { poller_break(); }
