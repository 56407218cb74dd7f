/*
** proc.c - Ps, and how Ms search for work.  Layer 3.  (m.c: how Ms sleep.)
**
** PARKING WORKERS.  Workers should be neither too many (they would burn CPU looking for work)
** nor too few (work would wait while a CPU idles).  The state is spread over the P's queues, so
** nobody sees all of it at once.  The rules, which are Go's:
**
**   An M without work spins: it looks through everybody's queues before it sleeps.  At most half
**   as many Ms spin as are busy.  Who submits work wakes one M, as a spinning one, if there is an
**   idle P and nobody spins yet (wake_p).  A spinning M that finds work stops spinning and, if it
**   was the last, wakes another: so a burst of work wakes as many as it needs, one by one.
**
**   The dance of submitting and of going to sleep must not miss each other:
**
**     the submitter                        the M that goes to sleep
**       1. puts work into a queue            1. gives its P to the idle list, nspinning - 1
**       2. light fence                       2. heavy fence (platform.h)
**       3. nspinning == 0? wake one          3. looks through all queues (and timers) once more
**
**   Either the submitter sees that nobody spins, or the M sees the work: with sequential
**   consistency between 1 and 3 on both sides one of the two must.  The fence stands in wake_p
**   and in find_runnable; what each checks must agree with what the other publishes.  The model of
**   this is docs/model/workers.pml.
**
** TIMERS.  Due timers are looked for at each turn (one's own shard) and when idle (all).  Of the
** idle Ms one, the poller, sleeps only until the next deadline (m.c).
**
** NAPS.  A spinning M that found nothing gives its P away, but while other P's are in use it does
** not sleep for good: it takes naps of 20 to 100 us (the kernel adds 50), looks again after each,
** and counts as spinning all the time.  So who readies a goroutine right before it blocks, as two
** that talk to each other do at each step, need not wake anybody, and is not disturbed.  What
** stands in a runnext is left to its P as long as that P turns its goroutines over quickly
** (may_take_next): there it runs sooner, with warm caches, than it could elsewhere.  A nap is ended
** at once by work in the global queue, by a queue of some length, by an early timer (end_nap).
**
** BOUND GOROUTINES.  A goroutine that blocked where Lua cannot yield, and a host's main script,
** have their C stack on one thread: g->bound.  Whoever gets to run such a goroutine gives that M
** its own P and looks for another (Go's startlockedm).
**
** THE BACKGROUND.  A goroutine that was preempted computes; it goes to a queue of its own, which
** is served when no other goroutine can run, so that a hundred that compute cannot hold up one
** that sleeps or reads for more than a turn.  Nor can those keep the background waiting: it has a
** turn on each P after the others have had theirs (TURN, of 2 ms).  A background goroutine that
** blocks is like any other when it is woken.  For the same reason runnext goes before the ring 63
** times in a row at most: two that talk to each other would hold up those in the ring for ever
** (Go lets them share one time slice, which needs the clock at each switch).
**
** DESCRIPTORS.  A goroutine that waits for a descriptor is found by whoever asks netpoll: an M with
** a P when it runs out of work, the poller, who sleeps in it (m.c), and sysmon when nobody has for
** 10 ms.  Nothing published by a submitter is needed here, for the kernel keeps what happened until
** it is asked; only somebody must ask.  So, as with timers:
**
**     the one that begins to wait          the M that goes to sleep
**       1. netpoll_waiters + 1               1. gives its P away, becomes the poller if there is none
**       2. parks: its M looks for work,      2. sleeps in netpoll, whoever waits
**          or hands its P off
**
**   In step 2 on the left the M itself comes to worker_sleep, where it finds a poller or becomes it;
**   or it runs others, and asks when they are done; or its P goes to another M, of which the same is
**   true, or becomes idle: then handoff_p, seeing that somebody waits, wakes an M if there is no
**   poller.  A poller that went to sleep on its note before the first descriptor is woken by
**   sched_netpoll_started, for whether it sleeps there is decided under sched.lock.
**
** LOCK ORDER.  sched.lock is taken with nothing but object locks held, and never held over a
** wake-up that runs somebody's code; starting a thread under it is avoided for its length.
**
** REJECTED.  One global queue with a lock: fine for two CPUs, and the end of it for eight.
** Stopping the world to change maxprocs (Go does so): a P with a number too high retires when
** its M next looks at it, and nothing else needs to stop.
*/
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "debug.h"
#include "guest.h"
#include "netpoll.h"
#include "park.h"
#include "runq.h"
#include "sched.h"
#include "trace.h"

#define NAP_MIN (SECOND / 50000)
#define MANY 4                         /* goroutines in a queue: worth ending a nap */
#define FAST 8                         /* goroutines a nap: fewer are worth a theft of runnext */

static void wake_for (M *m);

Sched sched;

/* ---------------------------------------------------------------- queues */

void gq_add (G *g) {
  lock_acquire(&sched.lock);
  glist_add(&sched.gq, g);
  add_seq(&sched.ngq, 1);
  lock_release(&sched.lock);
}

void gq_add_all (GList *l, int n) {
  if (n == 0) return;
  lock_acquire(&sched.lock);
  if (sched.gq.tail != NULL) sched.gq.tail->link = l->head;
  else sched.gq.head = l->head;
  sched.gq.tail = l->tail;
  add_seq(&sched.ngq, n);
  lock_release(&sched.lock);
  l->head = l->tail = NULL;
}

void bq_add (P *pp, G *g) {
  if (pp != NULL) pp->turn = os_now();
  lock_acquire(&sched.lock);
  glist_add(&sched.bq, g);
  add_seq(&sched.nbq, 1);
  lock_release(&sched.lock);
}

static G *bq_get (P *pp) {
  G *g;
  if (load_rlx(&sched.nbq) == 0) return NULL;
  lock_acquire(&sched.lock);
  g = glist_pop(&sched.bq);
  if (g != NULL) sub_seq(&sched.nbq, 1);
  lock_release(&sched.lock);
  if (g != NULL) store_rlx(&pp->bg, 1);
  return g;
}

/* One goroutine to run, and one's share of the rest into 'pp's ring. */
static G *gq_get (P *pp, int max) {
  G *g = NULL;
  GList spill = { NULL, NULL };
  int n, i, nspill = 0;
  if (load_rlx(&sched.ngq) == 0) return NULL;
  lock_acquire(&sched.lock);
  n = load_rlx(&sched.ngq);
  if (n > 0) {
    int procs = load_rlx(&sched.nprocs), share = n / (procs > 0 ? procs : 1) + 1;
    if (share > n) share = n;
    if (max > 0 && share > max) share = max;
    if (share > (int)RUNQ_SIZE / 2) share = RUNQ_SIZE / 2;
    g = glist_pop(&sched.gq);
    for (i = 1; i < share; i++)        /* there is room: the ring is empty or max is 1 */
      if (!runq_put(pp, glist_pop(&sched.gq), false, &spill, &nspill)) break;
    sub_seq(&sched.ngq, i < share ? i + 1 : share);
    if (nspill > 0) {                  /* cannot be, but would lose goroutines */
      if (sched.gq.tail != NULL) sched.gq.tail->link = spill.head;
      else sched.gq.head = spill.head;
      sched.gq.tail = spill.tail;
      add_seq(&sched.ngq, nspill);
    }
  }
  lock_release(&sched.lock);
  return g;
}

void runq_add (P *pp, G *g, bool next) {
  GList spill = { NULL, NULL };
  int n = 0;
  if (!runq_put(pp, g, next, &spill, &n))
    gq_add_all(&spill, n);
}

/* ---------------------------------------------------------------- Ps */

void p_set (M *m, P *pp) {             /* pp->word is P_OWNED already, by us */
  m->p = pp;
  m->owned = true;
  m->trace_kept = false;
  if (load_rlx(&sched.sysmon_waits) != 0) {
    uint32_t one = 1;
    if (cas_seq(&sched.sysmon_waits, &one, 0)) {
      store_rlx(&sched.clock, os_now());           /* it stood still */
      note_wake(&sched.sysmon_note);
    }
  }
}

P *p_release (M *m) {
  P *pp = m->p;
  goro_check(m->owned && load_rlx(&pp->word) == P_OWNED);
  m->p = NULL;
  m->owned = false;
  return pp;
}

P *p_pop_idle (void) {
  P *pp;
  lock_check_held(&sched.lock);
  while ((pp = sched.idlep) != NULL) {
    sched.idlep = pp->link;
    sub_seq(&sched.nidlep, 1);
    if (pp->id >= load_rlx(&sched.nprocs)) {   /* maxprocs was lowered */
      store_rel(&pp->word, P_DEAD);
      continue;
    }
    store_rel(&pp->word, P_OWNED);
    return pp;
  }
  return NULL;
}

void p_to_idle (P *pp) {
  lock_check_held(&sched.lock);
  if (pp->id >= load_rlx(&sched.nprocs)) {
    store_rel(&pp->word, P_DEAD);
    return;
  }
  store_rlx(&pp->bg, 0);
  store_rel(&pp->word, P_IDLE);
  pp->link = sched.idlep;
  sched.idlep = pp;
  add_seq(&sched.nidlep, 1);
}

bool p_acquire_idle (M *m) {
  P *pp;
  if (load_seq(&sched.nidlep) == 0) return false;
  lock_acquire(&sched.lock);
  pp = p_pop_idle();
  lock_release(&sched.lock);
  if (pp == NULL) return false;
  p_set(m, pp);
  return true;
}

uint32_t sched_max_threads (uint32_t n) {
  uint32_t old;
  lock_acquire(&sched.lock);
  old = sched.max_threads;
  if (n > 0) sched.max_threads = n;
  lock_release(&sched.lock);
  return old;
}

/* A P whose number is too high now, or that finds no thread: its goroutines go to the global queue.  Under the lock, so
** that check_dead never sees them in neither queue. */
static void p_drain (P *pp) {
  G *g;
  lock_acquire(&sched.lock);
  while ((g = runq_get(pp)) != NULL) {
    glist_add(&sched.gq, g);
    add_seq(&sched.ngq, 1);
  }
  lock_release(&sched.lock);
}

void p_retire (P *pp) {
  bool more;
  p_drain(pp);
  lock_acquire(&sched.lock);
  p_to_idle(pp);
  more = gq_any();
  lock_release(&sched.lock);
  if (more) wake_p();                  /* its goroutines are others' now */
}

void p_revive (void) {
  int i;
  lock_check_held(&sched.lock);
  for (i = 0; i < load_rlx(&sched.nprocs); i++) {
    P *pp = load_rlx(&sched.allp[i]);
    if (load_acq(&pp->word) == P_DEAD) p_to_idle(pp);
  }
}

int sched_maxprocs (int n) {
  int old, i;
  bool more = false;
  world_hold();
  lock_acquire(&sched.lock);
  old = load_rlx(&sched.nprocs);
  if (n > 0 && n != old) {
    if (n > MAX_PROCS) n = MAX_PROCS;
    for (i = 0; i < n; i++) {
      P *pp = load_rlx(&sched.allp[i]);
      if (pp == NULL) {
        pp = aligned_alloc(64, (sizeof *pp + 63) & ~(size_t)63);
        if (pp == NULL) break;
        memset(pp, 0, sizeof *pp);
        pp->id = i;
        store_rlx(&pp->word, P_DEAD);
        store_rel(&sched.allp[i], pp);
        store_rel(&sched.nallp, i + 1);
      }
    }
    store_seq(&sched.nprocs, i > 0 ? i : old);
    p_revive();
    more = true;
  }
  lock_release(&sched.lock);
  world_release();
  if (more && old > 0) wake_p();       /* (at the start there is nothing to be run) */
  return old;
}

/* ---------------------------------------------------------------- lending and owning */

void sched_lend (M *m) {
  goro_check(m->owned);
  m->owned = false;
  store_rel(&m->p->word, P_LENT_TO(m));
}

bool m_take_back (M *m) {
  uint32_t w;
  if (m->p == NULL) return false;
  w = P_LENT_TO(m);
  if (cas_acqrel(&m->p->word, &w, P_OWNED)) {
    m->owned = true;
    return true;
  }
  m->p = NULL;                         /* sysmon has taken it */
  return false;
}

void sched_own (M *m, G *g) {
  M *before;
  GORO_POINT();
  if (load_rlx(&m->orphan)) m_sleep_for_ever(m);
  if (m->owned || m_take_back(m)) return;
  if (p_acquire_idle(m)) return;
  /* queue for one, as a bound goroutine that is runnable */
  before = load_rlx(&g->bound);
  store_rlx(&g->bound, m);
  store_rel(&g->status, G_RUNNABLE);
  gq_add(g);
  wake_for(NULL);                      /* a P may have become idle since we looked */
  m_wait(m, RUN_YIELDED);
  store_rlx(&g->bound, before);
}

void sched_block (M *m, G *g) {
  if (os_forked) return;
  sched_own(m, g);
  handoff_p(p_release(m));
}

void sched_unblock (M *m, G *g) {
  int saved = errno;
  if (os_forked) return;
  sched_own(m, g);
  sched_lend(m);
  errno = saved;
}

/* ---------------------------------------------------------------- starting Ms */

static void *worker_main (void *arg);

/* Take the first bound goroutine out of the global queue.  sched.lock held. */
static G *pop_bound (void) {
  GList rest = { NULL, NULL };
  G *g, *found = NULL;
  while ((g = glist_pop(&sched.gq)) != NULL) {
    if (found == NULL && load_rlx(&g->bound) != NULL) found = g;
    else glist_add(&rest, g);
  }
  sched.gq = rest;
  if (found != NULL) sub_seq(&sched.ngq, 1);
  return found;
}

/*
** No thread is to be had for 'pp' (max_threads, or the system's limit).  Its goroutines wait for
** one of those that live; a bound one has its own.  sysmon tries again; if nobody is left who
** could run anything a main script that waits hears of it.  'm' came to nothing, or NULL.
*/
static void no_thread (P *pp, M *m) {
  GList dead = { NULL, NULL };
  G *g;
  p_drain(pp);
  lock_acquire(&sched.lock);
  sched.nbusy--;
  sched.no_thread = true;
  if (m != NULL) m_forget(m);
  g = load_rlx(&sched.stopping) ? NULL : pop_bound();
  if (g == NULL) {
    p_to_idle(pp);
    check_dead_locked(&dead);
  }
  lock_release(&sched.lock);
  if (m != NULL) m_free(m);
  if (g != NULL) {
    store_rel(&g->status, G_RUNNING);
    m_give(load_rlx(&g->bound), pp);
  }
  sched_ready_all(NULL, &dead);
}

/* A worker without a P: it will look for one.  0 or an errno. */
static int first_worker (void) {
  M *m = m_new(false);
  pthread_t t;
  int e = EAGAIN;
  lock_acquire(&sched.lock);
  sched.nbusy++;
  lock_release(&sched.lock);
  if (m != NULL && (e = os_thread_start(&t, worker_main, m)) == 0) return 0;
  lock_acquire(&sched.lock);
  sched.nbusy--;
  if (m != NULL) m_forget(m);
  lock_release(&sched.lock);
  if (m != NULL) m_free(m);
  return e;
}

int sched_ensure (void) {
  int e;
  bool none;
  if (load_acq(&sched.ensured)) return 0;
  if (os_forked) return ENOTSUP;
  if ((e = sysmon_start()) != 0) return e;
  lock_acquire(&sched.lock);
  none = sched.nworkers == 0;
  lock_release(&sched.lock);
  if (none && (e = first_worker()) != 0) return e;
  store_rel(&sched.ensured, 1);
  return 0;
}

void start_m (P *pp, bool spinning) {
  bool asked_for;
  M *m;
  lock_acquire(&sched.lock);
  if (pp == NULL) {
    pp = p_pop_idle();
    if (pp == NULL) {
      lock_release(&sched.lock);
      if (spinning) sub_seq(&sched.nspinning, 1);
      return;
    }
  }
  m = load_rlx(&sched.stopping) ? NULL : sched.idlem;
  if (m != NULL) {
    idlem_remove(m);
    m->nextp = pp;
    m->spinning = spinning;
    sched.nbusy++;
    lock_release(&sched.lock);
    m_wake(m);
    return;
  }
  sched.nbusy++;                       /* at once: check_dead must not see a gap */
  lock_release(&sched.lock);
  m = load_rlx(&sched.stopping) ? NULL : m_new(false);
  if (m != NULL) {
    lock_acquire(&sched.lock);
    sched.no_thread = false;
    lock_release(&sched.lock);
    m->nextp = pp;
    m->spinning = spinning;
    pthread_t t;                       /* the worker notes its own: it may be read before we return */
    if (os_thread_start(&t, worker_main, m) == 0) {
      store_rlx(&sched.starved, 0);
      return;
    }
  }
  lock_acquire(&sched.lock);
  asked_for = m == NULL && sched.max_threads < MAX_THREADS;
  lock_release(&sched.lock);
  no_thread(pp, m);
  if (spinning) sub_seq(&sched.nspinning, 1);
  store_seq(&sched.starved, asked_for ? STARVED_ASKED : STARVED);
  sysmon_wake();
}

void wake_p (void) {
  int32_t none = 0;
  fence_light();                       /* PARKING WORKERS, the submitter's step 2 */
  if (load_seq(&sched.nidlep) == 0 || load_seq(&sched.nspinning) != 0) return;
  if (!cas_seq(&sched.nspinning, &none, 1)) return;
  start_m(NULL, true);
}

/* Nobody will run 'pp' if we don't see to it.  What is asked here is what find_runnable asks. */
void handoff_p (P *pp) {
  int32_t none = 0;
  int64_t next;
  if (load_seq(&sched.stopping) == 0) {
    if (pp->id >= load_rlx(&sched.nprocs)) {
      p_retire(pp);
      return;
    }
    if (!runq_empty(pp) || gq_any()) {
      stat_add(sched_m(), STAT_HANDOFFS, 1);
      if (trace_on()) trace_put_m(TRACE_HANDOFF, 0, (uint32_t)pp->id);
      start_m(pp, false);
      return;
    }
    else if (load_seq(&sched.nspinning) == 0 && load_seq(&sched.nidlep) == 0 &&
             load_rlx(&sched.nprocs) > 1 && cas_seq(&sched.nspinning, &none, 1)) {
      start_m(pp, true);               /* all are busy: there may be something to steal */
      return;
    }
  }
  lock_acquire(&sched.lock);
  if (gq_any() && !load_rlx(&sched.stopping) &&
      pp->id < load_rlx(&sched.nprocs)) {
    lock_release(&sched.lock);
    start_m(pp, false);
    return;
  }
  p_to_idle(pp);
  lock_release(&sched.lock);
  next = timers_next_all();
  if (next != FOREVER || netpoll_any()) sched_timer_added(next);
}

/* NAPS.  The M that naps, if there is one, shall look at once. */
static void end_nap (void) {
  M *m = load_seq(&sched.napper);
  if (m == NULL || !cas_seq(&sched.napper, &m, NULL)) return;
  store_seq(&m->nap, 1);
  os_futex_wake(&m->nap, 1);
}

/* Wake an M, if one is to be woken, for what was put into m's queue or the global one. */
static void wake_for (M *m) {
  wake_p();
  if (load_rlx(&sched.napper) != NULL &&
      (load_rlx(&sched.ngq) != 0 || (m != NULL && m->owned && runq_length(m->p) >= MANY)))
    end_nap();
}

void nap_timer_added (int64_t when) {
  if (when < load_seq(&sched.nap_until) && load_seq(&sched.napper) != NULL) end_nap();
}

/* ---------------------------------------------------------------- ready */

/* A bound one: its thread may be awake (guest.c); else it is given a P, if one is idle.  false: it
** stands in a queue like others. */
static bool ready_bound (M *m, G *g) {
  M *b = load_rlx(&g->bound);
  P *pp = NULL;
  if (load_acq(&b->guests) == GUESTS_MAY && guests_main_ready(g)) return true;
  if (m != NULL && m->owned && b == m) return false;
  if (load_seq(&sched.nidlep) != 0) {
    lock_acquire(&sched.lock);
    pp = p_pop_idle();
    lock_release(&sched.lock);
  }
  if (pp == NULL) return false;
  store_rel(&g->status, G_RUNNING);
  m_give(b, pp);
  return true;
}

static void ready_one (M *m, G *g, bool next) {
  uint32_t s = G_PARKING;
  GORO_POINT();
  if (trace_on()) trace_ready(g);
  if (cas_acqrel(&g->status, &s, G_NOTIFIED))
    return;                            /* came early: park_commit will enqueue it */
  if (s != G_PARKED && s != G_IDLE)
    goro_fatal("ready of goroutine %" PRIu64 " in status %u", g->id, s);
  store_rel(&g->status, G_RUNNABLE);   /* nobody else knows of it now: no CAS needed */
  if (load_rlx(&g->bound) != NULL && ready_bound(m, g)) return;
  if (m != NULL && m->owned) runq_add(m->p, g, next);
  else gq_add(g);
}

void sched_ready (M *m, G *g, bool next) {
  bool took = m != NULL && !m->owned && m_take_back(m);
  ready_one(m, g, next);
  wake_for(m);
  if (took) sched_lend(m);
}

void sched_ready_all (M *m, GList *l) {
  bool took;
  G *g = glist_pop(l);
  if (g == NULL) return;
  took = m != NULL && !m->owned && m_take_back(m);
  do {
    ready_one(m, g, false);
    wake_for(m);
  } while ((g = glist_pop(l)) != NULL);
  if (took) sched_lend(m);
}

/* ---------------------------------------------------------------- find_runnable */

void p_expire (M *m) {
  GList l = { NULL, NULL };
  timers_expire(m->p->id, os_now(), &l);
  sched_ready_all(m, &l);
  due_run(m);
}

bool expire_all (M *m) {
  GList l = { NULL, NULL };
  bool any;
  int64_t next = timers_next_all();
  if (next == FOREVER || next > os_now()) return false;
  timers_expire_all(os_now(), &l);
  any = l.head != NULL;
  sched_ready_all(m, &l);
  return due_run(m) || any;
}

/*
** May we take what stands in 'victim's runnext?  Not at first sight: its M most likely runs it
** within a moment.  After a nap: if the P has hardly changed goroutines meanwhile.
*/
static bool may_take_next (M *m, P *victim) {
  uint32_t tick = load_rlx(&victim->schedtick);
  int64_t now;
  if ((load_rlx(&victim->word) & 3) == P_IDLE) return true;
  now = os_now();
  if (m->seen_p == victim && tick - m->seen_tick < FAST) return now - m->seen_when >= NAP_MIN;
  m->seen_p = victim;
  m->seen_tick = tick;
  m->seen_when = now;
  return false;
}

/* Ready those of 'l'; the first needs nobody woken if it comes into our own queue: we look there. */
static void ready_for_us (M *m, GList *l) {
  G *g = glist_pop(l);
  if (g == NULL) return;
  ready_one(m, g, false);
  if (m->p == NULL) wake_p();
  sched_ready_all(m, l);
}

/* Without waiting, and only if nobody waits there. */
static bool look_at_descriptors (M *m) {
  GList l = { NULL, NULL };
  if (!netpoll_any() || load_seq(&sched.netpolling) != 0) return false;
  netpoll(0, &l);
  if (l.head == NULL) return false;
  ready_for_us(m, &l);
  return true;
}

static G *steal_work (M *m) {
  P *pp = m->p;
  int i, k, n = load_acq(&sched.nallp);
  for (i = 0; i < 2; i++) {
    uint32_t start = goro_choose((uint32_t)n);
    for (k = 0; k < n; k++) {
      P *victim = load_acq(&sched.allp[(start + (uint32_t)k) % (uint32_t)n]);
      G *g;
      if (victim == NULL || victim == pp) continue;
      if (load_seq(&sched.ngq) != 0) return NULL;    /* easier: caller looks there again */
      g = runq_steal(pp, victim, i == 1 && load_acq(&victim->runnext) != NULL &&
                                 may_take_next(m, victim));
      if (g != NULL) {
        stat_add(m, STAT_STEALS, 1);
        if (trace_on()) trace_put(TRACE_STEAL, g, (uint32_t)victim->id);
        return g;
      }
    }
  }
  return NULL;
}

static bool anything_anywhere (void) {
  int i, n = load_acq(&sched.nallp);
  if (gq_any()) return true;
  for (i = 0; i < n; i++) {
    P *pp = load_acq(&sched.allp[i]);
    if (pp != NULL && !runq_empty(pp)) return true;
  }
  return false;
}

/* NAPS, without a P.  false: nobody else is at work, there is nothing to wait for. */
static bool take_nap (M *m) {
  M *none = NULL;
  int64_t now, until, next;
  if (load_seq(&sched.nidlep) >= load_rlx(&sched.nprocs)) return false;
  now = os_now();
  until = now + NAP_MIN * (m->naps < 5 ? ++m->naps : 5);
  next = timers_next_all();            /* (once: FOREVER may follow) */
  if (next < until) until = next;
  if (until <= now) return true;
  store_rlx(&m->nap, 0);
  store_rlx(&sched.nap_until, until);
  if (!cas_seq(&sched.napper, &none, m)) {         /* one is enough that can be woken */
    os_futex_wait(&m->nap, 0, until - now);
    return true;
  }
  if (load_seq(&sched.ngq) == 0 && timers_next_all() >= until && !load_seq(&sched.stopping))
    os_futex_wait(&m->nap, 0, until - now);
  none = m;
  if (!cas_seq(&sched.napper, &none, NULL))
    while (load_acq(&m->nap) == 0) cpu_relax();    /* end_nap is about to write there */
  return true;
}

/* The next goroutine to run, with a P owned; NULL: the runtime stops. */
static G *find_runnable (M *m) {
  G *g;
  P *pp;
  GList ready = { NULL, NULL };
  bool was_spinning;
top:
  if (load_rlx(&sched.stopping)) {
    if (m->spinning) {
      m->spinning = false;
      sub_seq(&sched.nspinning, 1);
    }
    if (m->p != NULL) {
      pp = p_release(m);
      lock_acquire(&sched.lock);
      p_to_idle(pp);
      lock_release(&sched.lock);
    }
    return NULL;
  }
  if (m->p == NULL) {
    if (m->spinning) {                 /* its P had a number too high: who sleeps does not spin */
      m->spinning = false;
      sub_seq(&sched.nspinning, 1);
    }
    if (!p_acquire_idle(m)) {
      if (!worker_sleep(m, &ready)) return NULL;
      ready_for_us(m, &ready);
      goto top;
    }
  }
  pp = m->p;
  if (pp->id >= load_rlx(&sched.nprocs)) {          /* maxprocs was lowered */
    p_release(m);
    handoff_p(pp);
    goto top;
  }
  if (timers_next(pp->id) != FOREVER) p_expire(m);
  if (load_rlx(&pp->bg) != 0) {        /* the background has had its turn */
    store_rlx(&pp->bg, 0);
    pp->turn = os_now();
  }
  else if (load_rlx(&sched.nbq) != 0 && (os_now() - pp->turn >= TURN || goro_maybe(4)) &&
           (g = bq_get(pp)) != NULL)
    return g;
  if (load_rlx(&pp->schedtick) % FAIR_TICK == 0) {
    expire_all(m);
    if ((g = gq_get(pp, 1)) != NULL) return g;
  }
  if ((g = runq_get(pp)) != NULL) return g;
  if ((g = gq_get(pp, 0)) != NULL) return g;
  if (expire_all(m) && (g = runq_get(pp)) != NULL) return g;
  if (look_at_descriptors(m)) {
    if ((g = runq_get(pp)) != NULL) return g;
    goto top;                          /* a bound one: it went to its own M */
  }
  if (m->spinning || 2 * load_rlx(&sched.nspinning) <
      load_rlx(&sched.nprocs) - load_rlx(&sched.nidlep)) {
    if (!m->spinning) {
      m->spinning = true;
      add_seq(&sched.nspinning, 1);
    }
    if ((g = steal_work(m)) != NULL) return g;
    if (load_seq(&sched.ngq) != 0) goto top;
  }
  if ((g = bq_get(pp)) != NULL) return g;
  /* nothing: give the P away and look once more */
  lock_acquire(&sched.lock);
  if (gq_any()) {
    lock_release(&sched.lock);
    goto top;
  }
  p_release(m);
  p_to_idle(pp);
  lock_release(&sched.lock);
  was_spinning = m->spinning;
  if (was_spinning && take_nap(m) && p_acquire_idle(m)) goto top;
  if (was_spinning) {
    m->spinning = false;
    sub_seq(&sched.nspinning, 1);
  }
  fence_heavy();                       /* PARKING WORKERS, the sleeper's step 2 */
  GORO_POINT();
  if (anything_anywhere() || timers_next_all() <= os_now()) {
    if (p_acquire_idle(m)) {
      if (was_spinning) {
        m->spinning = true;
        add_seq(&sched.nspinning, 1);
      }
      goto top;
    }
  }
  if (!worker_sleep(m, &ready)) return NULL;
  ready_for_us(m, &ready);
  goto top;
}

/* ---------------------------------------------------------------- the worker */

/* One slice.  'guest': on a host's thread (guest.c). */
static inline __attribute__((always_inline)) void slice (M *m, G *g, bool guest) {
  Outcome o;
  m->curg = g;
  store_rlx(&g->since, load_rlx(&sched.clock));
  stat_add(m, STAT_SWITCHES, 1);
  store_rel(&m->tick, load_rlx(&m->tick) + 1);
  store_rel(&m->curhost, g->host);
  sched_lend(m);
  o = load_acq(&sched.run)(m, g);
  if (!m->owned) m_take_back(m);
  store_rel(&m->curhost, NULL);
  m->curg = NULL;
  if (guest && (o == RUN_PREEMPTED || !m->owned))
    g->slow = load_rlx(&g->parkseq);
  switch (o) {
    case RUN_PARKED:
      park_commit(m, g);
      break;
    case RUN_YIELDED:
      store_rel(&g->status, G_RUNNABLE);
      gq_add(g);
      break;
    case RUN_PREEMPTED:
      store_rel(&g->status, G_RUNNABLE);
      bq_add(m->p, g);
      break;
    case RUN_DEAD:
      store_rel(&g->status, G_DEAD);
      sched.hooks.reap(g);
      break;
  }
}

void sched_guest (M *m, G *g) {
  store_rel(&g->status, G_RUNNING);
  store_rlx(&m->p->schedtick, load_rlx(&m->p->schedtick) + 1);
  slice(m, g, true);
}

static void execute (M *m, G *g) {
  goro_check(load_rlx(&g->status) == G_RUNNABLE);
  if (m->spinning) {                   /* the last spinning M that finds work wakes another */
    m->spinning = false;
    m->naps = 0;
    if (sub_seq(&sched.nspinning, 1) == 1) wake_p();
  }
  store_rel(&g->status, G_RUNNING);
  /* also for a bound one: at each FAIR_TICK the global queue comes first, and a main script that
     yields again and again would come from there for ever, if the tick stood still */
  store_rlx(&m->p->schedtick, load_rlx(&m->p->schedtick) + 1);
  if (load_rlx(&g->bound) != NULL) {   /* its C stack is on another thread */
    M *b = load_rlx(&g->bound);
    goro_check(b != m);
    m_give(b, p_release(m));
    return;
  }
  slice(m, g, false);
  if (load_acq(&m->orphan)) m_sleep_for_ever(m);
}

static void *worker_main (void *arg) {
  M *m = arg;
  P *pp = m->nextp;
  G *g;
  sched_this_m = m;
  lock_sleeps = &m->in_lock;
  m_is_here(m);
  store_rel(&m->cpu_known, 1);
  sched.hooks.m_start(m);
  m->nextp = NULL;
  if (pp != NULL) p_set(m, pp);
  while ((g = find_runnable(m)) != NULL)
    execute(m, g);
  sched.hooks.m_end(m);
  lock_acquire(&sched.lock);
  if (!load_rlx(&m->orphan)) sched.nbusy--;        /* else sched_stop has counted it out */
  lock_release(&sched.lock);
  store_rel(&m->exited, 1);
  note_wake(&sched.sysmon_note);       /* sched_stop waits there */
  return NULL;
}

/* ---------------------------------------------------------------- life */

static void dump (void) {
  uint32_t i;
  fprintf(stderr, "goro: procs %d idle %d spinning %d queue %d background %d busy %d\n",
          load_rlx(&sched.nprocs), load_rlx(&sched.nidlep), load_rlx(&sched.nspinning),
          load_rlx(&sched.ngq), load_rlx(&sched.nbq), sched.nbusy);
  for (i = 0; i < (uint32_t)load_acq(&sched.nallp); i++) {
    P *pp = load_rlx(&sched.allp[i]);
    fprintf(stderr, "  P%u word %x tick %u queue %u next %p\n", i, load_rlx(&pp->word),
            load_rlx(&pp->schedtick), load_rlx(&pp->tail) - load_rlx(&pp->head),
            (void *)load_rlx(&pp->runnext));
  }
  for (i = 0; i < load_rlx(&sched.nallm); i++) {
    M *m = load_rlx(&sched.allm[i]);
    if (m == NULL) continue;
    fprintf(stderr, "  M%u%s%s%s curg %lld\n", i, m->is_host ? " host" : "",
            m->idle ? " idle" : "", m->spinning ? " spinning" : "",
            m->curg ? (long long)m->curg->id : -1);
  }
}

bool sched_init (const SchedHooks *h) {
  static bool done;
  const char *s;
  int n;
  if (done) return true;
  lock_init(&sched.lock, RANK_SCHED);
  timers_init();
  forked_init();
  sched.hooks = *h;
  store_rlx(&sched.run, h->run);
  sched.max_threads = MAX_THREADS;
  store_rlx(&sched.clock, os_now());
  goro_fatal_dump = dump;
  store_rlx(&sched.nprocs, 0);
  s = getenv("GOROMAXPROCS");
  n = s != NULL ? atoi(s) : 0;
  sched.ncpu = os_num_cpu();
  if (n <= 0) n = sched.ncpu;
  sched_maxprocs(n);
  done = load_rlx(&sched.nprocs) > 0;
  return done;
}

/* Join the workers that have left.  'in_c': all others run a goroutine that is in C. */
static bool join_workers (bool *in_c) {
  bool all = true;
  uint32_t i;
  *in_c = true;
  for (i = 0; i < load_rlx(&sched.nallm); i++) {
    M *m = load_rlx(&sched.allm[i]);
    if (m == NULL || m->is_host || load_rlx(&m->orphan)) continue;
    if (load_acq(&m->exited)) {
      os_thread_join(m->thread);
      lock_acquire(&sched.lock);
      m_forget(m);
      lock_release(&sched.lock);
      m_free(m);
      continue;
    }
    all = false;
    if (load_acq(&m->curhost) == NULL) *in_c = false;
  }
  return all;
}

/*
** The last host is gone: no goroutine is left but those in C that ended none of our waiting.
** Ends the workers and joins them.  One that is in C and does not come back in 50 ms is left
** behind: it will find 'orphan' set and sleep for ever.  The others come as soon as they get a
** CPU, however long that takes; after 20 s they are given up, too.
*/
void sched_stop (void) {
  uint32_t i;
  int64_t began = os_now(), waited;
  bool all, in_c;
  M *m;
  world_hold();
  lock_acquire(&sched.lock);
  store_seq(&sched.stopping, 1);
  for (m = sched.idlem; m != NULL; m = m->next) m_wake(m);
  lock_release(&sched.lock);
  if (load_acq(&sched.sysmon_running)) {
    note_wake(&sched.sysmon_note);
    os_thread_join(sched.sysmon);
    store_rel(&sched.sysmon_running, 0);
  }
  do {                                 /* workers leave one by one */
    note_clear(&sched.sysmon_note);
    all = join_workers(&in_c);
    waited = os_now() - began;
  } while (!all && waited < (in_c ? SECOND / 20 : 20 * SECOND) &&
           (note_sleep(&sched.sysmon_note, SECOND / 500), true));
  lock_acquire(&sched.lock);
  for (i = 0; i < load_rlx(&sched.nallm); i++) {
    m = load_rlx(&sched.allm[i]);
    if (m == NULL || m->is_host || load_rlx(&m->orphan)) continue;
    store_rel(&m->orphan, 1);          /* stays in allm: its P word may name it */
    pthread_detach(m->thread);
    sched.nbusy--;
  }
  for (i = 0; i < (uint32_t)load_acq(&sched.nallp); i++) {    /* P's lent to those are ours again */
    P *pp = load_rlx(&sched.allp[i]);
    uint32_t w = load_acq(&pp->word);
    if ((w & 3) == P_LENT && cas_acqrel(&pp->word, &w, P_OWNED)) {
      M *lm = load_rlx(&sched.allm[w >> 2]);
      if (lm != NULL && lm->is_host) store_rel(&pp->word, w);
      else p_to_idle(pp);
    }
  }
  store_seq(&sched.stopping, 0);
  store_rel(&sched.ensured, 0);
  lock_release(&sched.lock);
  due_run(NULL);
  timers_free();
  world_release();
}
