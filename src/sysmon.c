/*
** sysmon.c - the thread that watches.  Layer 3.
**
** Every 20 us to 10 ms (backing off while nothing happens) it looks at the lent P's.
**
**   A P whose thread uses no CPU time and sleeps in the kernel is inside a C call that blocks: it
**   is retaken and handed to another M, if there is work for it or no other P is idle (Go's
**   retake from a syscall).  A thread that only waits for a CPU is no such one, nor is one that
**   sleeps for a lock of goro's: who holds that waits for a CPU, and more threads would not help.
**   For the same reason one that sleeps for some lock (malloc's, the kernel's for memory) keeps
**   its P for 10 ms.
**   If the call returns and the goroutine then computes on, without a P, it is asked to yield
**   too, so that it queues for one.
**   A P whose slice has lasted 10 ms while others wait (2 ms if it was preempted before, and
**   there are others that were not): the goroutine is asked to yield, by a signal to its thread, in whose handler a count hook is set (sent only while the thread uses
**   CPU time: a blocked C call must not see EINTR).  If that had no effect for another 10 ms
**   in which the thread did run the code is in a long C function, and the P is retaken as well.
**   A host's thread gets no signal: its state's hooks are the host's.  Its P is retaken.  But
**   while it runs a guest (guest.c) it is like a worker's, and its guest has a TURN, no more,
**   whoever waits.
**
** It also starts an M for timers that are overdue while P's are idle, and asks for descriptors that
** have become ready when nobody has for 10 ms.  While no P is in use it
** sleeps; p_set wakes it.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "debug.h"
#include "host.h"
#include "netpoll.h"
#include "runq.h"
#include "sched.h"
#include "trace.h"

#define TICK_MIN (SECOND / 50000)      /* 20 us */
#define TICK_MAX (SECOND / 100)        /* 10 ms */
#define TICK_IDLE (SECOND / 1000)      /* at most, when somebody runs again after all were idle */

/* Does somebody wait who was not preempted? */
static bool fresh_work_waits (P *pp) {
  return !runq_empty(pp) || load_seq(&sched.ngq) != 0 || timers_next_all() <= os_now();
}

static bool work_waits (P *pp) { return load_seq(&sched.nbq) != 0 || fresh_work_waits(pp); }

static int64_t soonest = FOREVER;              /* when the next slice may be over; sysmon's own */

static int nretaken;                   /* Ms with 'retaken' set; sysmon's own */

static bool retake (P *pp, const MLook *l, uint32_t word, uint32_t tick, int64_t cpu) {
  if (!cas_acqrel(&pp->word, &word, P_OWNED)) return false;
  if (!l->is_host && load_rlx(&l->m->retaken) == 0 && tick != 0) {
    store_rlx(&l->m->retaken_since, pp->seen_when);
    store_rlx(&l->m->retaken, tick);
    l->m->retaken_cpu = cpu;
    nretaken++;
  }
  if (trace_on()) trace_put_m(TRACE_RETAKE, l->m->id, (uint32_t)pp->id);
  GORO_POINT();
  handoff_p(pp);
  return true;
}

/* One P.  true: it was retaken. */
static bool look_at (P *pp, int64_t now) {
  uint32_t word = load_acq(&pp->word), tick = load_rlx(&pp->schedtick);
  MLook l;
  int64_t cpu, limit;
  uint32_t slice = 0;
  if ((word & 3) != P_LENT) {
    pp->seen_word = word;
    return false;
  }
  if (!m_look_up(word >> 2, &l)) return false;
  if (goro_maybe(4)) return retake(pp, &l, word, 0, 0);
  cpu = os_thread_cpu(l.cpuclock);
  if (word != pp->seen_word || tick != pp->seen_tick) {
    pp->seen_word = word;
    pp->seen_tick = tick;
    pp->seen_when = now;
    pp->seen_cpu = pp->slice_cpu = cpu;
    pp->still_since = now;
    pp->signalled = false;
    if (now + TURN < soonest && (l.guest || work_waits(pp))) soonest = now + TURN;
    return false;
  }
  if (!l.is_host) {                    /* a worker's M stays while we run */
    slice = load_acq(&l.m->tick);
    if (load_rlx(&l.m->in_lock) != 0) return false;
  }
  if (cpu >= 0 && cpu == pp->seen_cpu && (work_waits(pp) || load_seq(&sched.nidlep) == 0) &&
      os_thread_sleeps(l.tid)) {
    if (now - pp->still_since >= SLICE || !os_thread_dozes(l.tid))
      return retake(pp, &l, word, slice, cpu);
    if (pp->still_since + SLICE < soonest) soonest = pp->still_since + SLICE;
    return false;
  }
  if (cpu != pp->seen_cpu) pp->still_since = now;
  pp->seen_cpu = cpu;
  if (!l.guest && !work_waits(pp)) return false;
  limit = pp->seen_when +
    (l.guest || (load_rlx(&pp->bg) != 0 && fresh_work_waits(pp)) ? TURN : SLICE);
  if (now < limit) {
    if (limit < soonest) soonest = limit;
    return false;
  }
  if (!l.is_host && sched.can_preempt && !pp->signalled) {
    pp->signalled = true;
    pp->seen_when = now;
    pp->slice_cpu = cpu;
    store_rel(&l.m->preempt, slice);
    m_signal(word >> 2, l.m);
    return false;                      /* (no reason to look more often) */
  }
  if (cpu >= 0 && cpu - pp->slice_cpu < SLICE / 4) return false;     /* it waits for a CPU */
  return retake(pp, &l, word, slice, cpu);
}

/* Those that lost their P and compute without one. */
static void look_at_retaken (void) {
  uint32_t i;
  nretaken = 0;
  for (i = 1; i < load_acq(&sched.nallm); i++) {
    MLook l;
    uint32_t tick;
    if (!m_look_up(i, &l) || (tick = load_rlx(&l.m->retaken)) == 0) continue;
    if (l.is_host || load_acq(&l.m->tick) != tick)
      store_rlx(&l.m->retaken, 0);     /* another slice: it has a P */
    else if (os_thread_cpu(l.cpuclock) - l.m->retaken_cpu > SLICE / 4 &&
             !os_thread_sleeps(l.tid)) {
      store_rlx(&l.m->retaken, 0);
      store_rel(&l.m->preempt, tick);
      if (sched.can_preempt) m_signal(i, l.m);
    }
    else nretaken++;
  }
}

/* Those who run have not asked for long, and nobody sleeps there. */
static void look_at_descriptors (int64_t now) {
  GList l = { NULL, NULL };
  if (!netpoll_any() || load_seq(&sched.netpolling) != 0 ||
      now - load_rlx(&netpoll_last) < SLICE) return;
  netpoll(0, &l);
  sched_ready_all(NULL, &l);
}

/* Who is woken here is in no queue for a moment: counted as busy, so that nobody takes that for
** a deadlock. */
static void deliver_signals (void) {
  GList dead = { NULL, NULL };
  store_seq(&sched.signalled, 0);
  lock_acquire(&sched.lock);
  sched.nbusy++;
  lock_release(&sched.lock);
  sched.deliver();
  lock_acquire(&sched.lock);
  sched.nbusy--;
  check_dead_locked(&dead);
  lock_release(&sched.lock);
  sched_ready_all(NULL, &dead);
}

static void *sysmon_main (void *arg) {
  int64_t nap = TICK_MIN, checked = 0, looked = 0, starved = 0;
  int quiet = 0;
  (void)arg;
  while (!load_seq(&sched.stopping)) {
    int i, n;
    int64_t left;
    bool did = false, used = false;
    int64_t now;
    left = soonest - os_now();
    note_sleep(&sched.sysmon_note, left < nap && left > TICK_MIN ? left : nap);
    note_clear(&sched.sysmon_note);
    if (load_seq(&sched.signalled) != 0) {
      deliver_signals();
    }
    now = os_now();
    store_rlx(&sched.clock, now);
    n = load_rlx(&sched.nprocs);
    soonest = FOREVER;
    for (i = 0; i < MAX_PROCS; i++) {
      P *pp = load_acq(&sched.allp[i]);
      if (pp == NULL) break;
      if (i >= n && load_rlx(&pp->word) == P_DEAD) continue;
      if (load_rlx(&pp->word) != P_IDLE) used = true;
      if (look_at(pp, now)) did = true;
    }
    if (load_seq(&sched.nidlep) > 0 &&
        (gq_any() || timers_next_all() <= now)) {
      wake_p();
      used = true;
    }
    look_at_descriptors(now);
    if (load_seq(&sched.starved)) {    /* timers that nobody sleeps for count, too */
      if (timers_next_all() != FOREVER && load_seq(&sched.poll_until) == 0) wake_p();
      bool asked = load_rlx(&sched.starved) == STARVED_ASKED;
      if (starved == 0) starved = now;
      else if (starved > 0 && now - starved > SECOND && !asked) {
        fputs("goro: no thread can be started; goroutines wait for one\n", stderr);
        starved = -1;
      }
      used = true;
    }
    else if (starved > 0) starved = 0;
    if (nretaken > 0 && now - looked > SLICE) {
      look_at_retaken();
      looked = now;
    }
    used = used || nretaken > 0;
    if (load_rlx(&sched.nhosts) > 1 && now - checked > SECOND / 20) {
      host_check_deadlocks();
      checked = now;
    }
    if (did) {
      quiet = 0;
      nap = TICK_MIN;
    }
    else if (++quiet > 50 && nap < TICK_MAX) nap *= 2;
    if (!used) {                       /* nobody runs: sleep until somebody does */
      store_seq(&sched.sysmon_waits, 1);
      if (load_seq(&sched.nidlep) >= load_seq(&sched.nprocs) && !load_seq(&sched.stopping))
        note_sleep(&sched.sysmon_note, load_rlx(&sched.nhosts) > 1 ? SECOND / 20 : FOREVER);
      note_clear(&sched.sysmon_note);
      store_seq(&sched.sysmon_waits, 0);
      if (nap > TICK_IDLE) nap = TICK_IDLE;
    }
  }
  return NULL;
}

static void on_signal (int sig) {
  M *m = sched_m();
  (void)sig;
  if (m != NULL && (m->is_host || load_rlx(&m->preempt) == load_rlx(&m->tick) ||
                    load_rlx(&m->due) != 0))
    sched.hooks.preempt(m);
}

bool sysmon_signals (void) { return sched.can_preempt || os_preempt_install(on_signal); }

void sysmon_wake (void) {
  uint32_t one = 1;
  if (load_rlx(&sched.sysmon_waits) != 0 && cas_seq(&sched.sysmon_waits, &one, 0))
    note_wake(&sched.sysmon_note);
}

int sysmon_start (void) {
  int e = 0;
  if (load_acq(&sched.sysmon_running)) return 0;
  lock_acquire(&sched.lock);
  if (!load_rlx(&sched.sysmon_running)) {
    const char *off = getenv("GOROPREEMPT");       /* 0: nobody is asked to give way */
    sched.can_preempt = (off == NULL || strcmp(off, "0") != 0) && os_preempt_install(on_signal);
    e = os_thread_start(&sched.sysmon, sysmon_main, NULL);
    if (e == 0) store_rel(&sched.sysmon_running, 1);
  }
  lock_release(&sched.lock);
  return e;
}
