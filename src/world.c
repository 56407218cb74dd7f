/*
** world.c - the world stands still.  Layer 3.
**
** To look at goroutines' Lua states, or at who holds what, nothing may run meanwhile.  The means
** is maxprocs: with no P at all (nprocs is 0) no slice can begin, and no goroutine whose C stack
** is on a thread of its own (a main script) can come back from a wait.  P's retire as they do when
** maxprocs is lowered; what is in their queues moves to the global one.
**
**   W1  While the world stands still all P's are P_DEAD.  So a goroutine that is RUNNABLE or
**       PARKED stays off every CPU, and its lua_State may be read; it may become RUNNABLE (a
**       timer, a goroutine in C that comes back), which changes nothing of that.
**   W2  A goroutine that is RUNNING (or PARKING, NOTIFIED) then is beyond our reach: the caller
**       itself, one inside C, a main script that computes.  Nothing of its state may be read.  It
**       goes on until it wants a P: in its next goro call that may block, copy or start
**       anything (sched_check_p).
**
** A P that is owned comes to us by itself: its M looks for work, or ends a goro call and lends
** it.  A lent one is taken when its thread sleeps (in two looks, with no CPU time used between:
** it is in C, or blocked with its goroutine), when it is a host's, whose Lua cannot be
** interrupted, or when it was asked to yield and has not for 10 ms of its CPU time (it is in a
** long C function).  Threads are asked by the preemption signal, and only those that do not sleep:
** no blocked system call sees EINTR.
**
** Who waits to stop the world himself is in C for as long as it stands still (M.stops), and so need
** not be asked; by its CPU time that would be seen late, since it looks for the lock each millisecond.
**
** LOCK.  world_lock is held from world_stop to world_start, and by whoever must not be stopped
** half-way (maxprocs, the end of a host); no lock of lock.h is held when it is taken.  A
** goroutine waits for it with its P lent.
**
** REJECTED.  Holding single goroutines (PARKED -> PARKING by compare-and-swap, undone as
** park_commit does it): enough for traces of those that wait, not for those that are runnable,
** and leaks() needs one moment for all.  A flag that each slice looks at: nprocs is one already.
*/
#include "debug.h"
#include "host.h"
#include "sched.h"

#define IN_C (SECOND / 100)            /* CPU time after which one that was asked is in C */
#define NAP_MIN (SECOND / 50000)
#define NAP_MAX (SECOND / 1000)

static pthread_mutex_t world_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(int32_t) procs_before;  /* [A] changed under world_lock */

int world_procs (void) {
  int n = load_seq(&sched.nprocs);
  return n > 0 ? n : load_rlx(&procs_before);
}

void world_hold (void) { os_mutex_lock(&world_lock); }
void world_release (void) { pthread_mutex_unlock(&world_lock); }

/*
** Ask the slice that worker 'id' runs, if any, to yield.  true: it may yet; false: nothing more
** comes of asking, and its P can be taken.
*/
static bool ask (uint32_t id, M *self) {
  MLook l = { NULL, false, false, 0, 0 };
  int64_t cpu;
  uint32_t tick;
  bool sleeps, quiet;
  if (!m_look_up(id, &l) || l.is_host || l.m == self || load_acq(&l.m->curhost) == NULL ||
      load_acq(&l.m->orphan) || load_acq(&l.m->stops) != 0)
    return false;
  tick = load_acq(&l.m->tick);
  cpu = os_thread_cpu(l.cpuclock);
  if (l.m->stop_tick != tick || !l.m->asked) {
    l.m->asked = true;
    l.m->stop_tick = tick;
    l.m->stop_cpu = cpu;
    l.m->stop_seen = -1;
  }
  sleeps = os_thread_sleeps(l.tid);
  quiet = sleeps && cpu == l.m->stop_seen;
  l.m->stop_seen = sleeps ? cpu : -1;
  if (quiet) return false;
  if (sleeps) return true;
  if (cpu < 0 || cpu - l.m->stop_cpu > IN_C || !sched.can_preempt) return false;
  store_rel(&l.m->preempt, tick);
  m_signal(id, l.m);
  return true;
}

/* Retire the lent P's of those that cannot be asked or did not answer.  true: all are gone. */
static bool take_ps (M *self) {
  int i;
  bool all = true;
  for (i = 0; i < load_acq(&sched.nallp); i++) {
    P *pp = load_rlx(&sched.allp[i]);
    uint32_t w = load_acq(&pp->word);
    if (w == P_DEAD) continue;
    if ((w & 3) == P_LENT && !ask(w >> 2, self) && cas_acqrel(&pp->word, &w, P_OWNED)) {
      GORO_POINT();
      p_retire(pp);
    }
    else all = false;
  }
  return all;
}

/* false: the end of 'h' holds the lock. */
static bool take_turn (M *self, Host *h) {
  bool ok = true;
  if (pthread_mutex_trylock(&world_lock) == 0) return true;
  if (self != NULL) store_rel(&self->stops, 1);
  do {
    if (h != NULL && host_closing(h)) ok = false;
    else doze(NAP_MAX);
  } while (ok && pthread_mutex_trylock(&world_lock) != 0);
  if (self != NULL) store_rel(&self->stops, 0);
  return ok;
}

bool world_stop (M *self, Host *h) {
  int64_t ns = NAP_MIN;
  uint32_t i;
  bool still;
  P *pp;
  goro_check(self == NULL || !self->owned);
  if (!take_turn(self, h)) return false;
  for (i = 1; i < load_acq(&sched.nallm); i++) {
    M *m = load_acq(&sched.allm[i]);
    if (m != NULL) m->asked = false;
  }
  lock_acquire(&sched.lock);
  store_rlx(&procs_before, load_rlx(&sched.nprocs));
  store_seq(&sched.nprocs, 0);
  store_seq(&sched.stop_seq, load_rlx(&sched.stop_seq) + 1);
  while ((pp = sched.idlep) != NULL) {
    sched.idlep = pp->link;
    sub_seq(&sched.nidlep, 1);
    store_rel(&pp->word, P_DEAD);
  }
  lock_release(&sched.lock);
  for (;;) {
    still = take_ps(self);
    for (i = 1; i < load_acq(&sched.nallm); i++)   /* those without a P compute, too */
      if (ask(i, self)) still = false;
    if (still) return true;
    doze(ns);
    if (ns < NAP_MAX) ns *= 2;
  }
}

void world_start (void) {
  lock_acquire(&sched.lock);
  store_seq(&sched.nprocs, load_rlx(&procs_before));
  p_revive();
  lock_release(&sched.lock);
  pthread_mutex_unlock(&world_lock);
  wake_p();
}
