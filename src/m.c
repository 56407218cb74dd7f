/*
** m.c - Ms: how threads come, wait for a P, sleep and are woken, and go.  Layer 3.
**
** An M without work is in the idle list (worker_sleep); start_m takes it out and hands it a P.
** An M whose goroutine blocked its thread waits in m_wait, and m_give hands it a P.  Both sleep on
** the M's note, hosts' threads on its event, where Ctrl-C reaches them.  What proc.c says of
** parking workers holds here: who looked for work in vain comes to worker_sleep, and nobody else.
**
** THE POLLER.  Of the idle Ms one sleeps only until the next deadline; a timer added with an earlier
** one wakes it (sched_timer_added).  Once a descriptor was waited for, it sleeps in netpoll instead
** of on its note, so that who is readied by an event runs there, without another hop.  Its note then
** holds SLEEPS_IN_NETPOLL: who wakes it breaks that wait, once, however many want it awake.  When
** it leaves for work and a P is idle, it sees to it that another M takes its place; if none is
** idle, those that have Ps poll whenever they run out of work, and sysmon does if they do not.  For
** that reason nobody becomes the poller while no P is idle: it would be woken by each event, with a
** switch of threads, to do nothing but put its goroutine into the global queue.  (Who makes a P
** idle becomes the poller itself or wakes somebody: find_runnable, handoff_p.)
**
** DEADLOCK.  Whoever is about to sleep asks check_dead_locked whether anybody can still wake a
** main script.
*/
#include <stdlib.h>
#include <string.h>
#include "debug.h"
#include "guest.h"
#include "netpoll.h"
#include "park.h"
#include "runq.h"
#include "sched.h"
#include "trace.h"

__thread M *sched_this_m __attribute__((tls_model("initial-exec")));

/* What a sleeping M's note holds: who sets it to 1 and finds this must wake it. */
enum { SLEEPS = 2, SLEEPS_IN_NETPOLL = 3 };

#define SPIN_MIN 1000                   /* see spin() */
#define SPIN_MAX 50000

/* ---------------------------------------------------------------- made, adopted, left */

void m_sleep_for_ever (M *m) {
  if (m->owned) {                      /* taken back before it saw that it is an orphan */
    P *pp = p_release(m);
    lock_acquire(&sched.lock);
    p_to_idle(pp);
    lock_release(&sched.lock);
  }
  for (;;) os_futex_wait(&m->note.set, load_rlx(&m->note.set), FOREVER);
}

/* M's are reused and never freed: sysmon may look at one that has just left. */
static M *free_ms;                     /* [L:sched] by 'next' */

static void drop_spares (M *m) {
  g_spare_drop(m);
  free(m->iobuf);
  m->iobuf = NULL;
}

void m_free (M *m) {
  drop_spares(m);
  lock_acquire(&sched.lock);
  m->next = free_ms;
  free_ms = m;
  lock_release(&sched.lock);
}

M *m_new (bool is_host) {
  M *m;
  uint32_t i;
  lock_acquire(&sched.lock);
  m = free_ms;
  if (m != NULL) free_ms = m->next;
  lock_release(&sched.lock);
  if (m == NULL) m = malloc(sizeof *m);
  if (m == NULL) return NULL;
  memset(m, 0, sizeof *m);
  m->is_host = is_host;
  m->cpuclock = (clockid_t)-1;
  m->event.fd = -1;
  m->spin = SPIN_MAX / 4;
  lock_acquire(&sched.lock);
  for (i = 1; i < MAX_MS && load_rlx(&sched.allm[i]) != NULL; i++) continue;
  if (i < MAX_MS && (is_host || sched.nworkers < sched.max_threads)) {
    m->id = i;
    store_rel(&sched.allm[i], m);
    if (i >= load_rlx(&sched.nallm)) store_rel(&sched.nallm, i + 1);
    if (!is_host) sched.nworkers++;
  }
  lock_release(&sched.lock);
  if (m->id == 0) {
    m_free(m);
    return NULL;
  }
  return m;
}

void m_forget (M *m) {          /* sched.lock held */
  int i;
  for (i = 0; i < NSTATS; i++) add_rlx(&sched.stats[i], load_rlx(&m->stats[i]));
  store_rel(&sched.allm[m->id], NULL);
  if (!m->is_host) sched.nworkers--;
}

void m_is_here (M *m) {
  m->thread = pthread_self();
  m->tid = os_thread_id();
  m->cpuclock = os_thread_clock(m->thread);
}

M *sched_adopt (void) {
  M *m = m_new(true);
  if (m == NULL) return NULL;
  if (!event_init(&m->event)) {
    lock_acquire(&sched.lock);
    m_forget(m);
    lock_release(&sched.lock);
    m_free(m);
    return NULL;
  }
  m->event_ok = true;
  m_is_here(m);
  store_rel(&m->cpu_known, 1);
  sched_this_m = m;
  lock_sleeps = &m->in_lock;
  return m;
}

void sched_leave (M *m) {
  goro_check(m == sched_this_m && m->is_host);
  if (m->owned || m_take_back(m)) {
    P *pp = p_release(m);
    handoff_p(pp);
  }
  if (m->takes_guests > 0) sched.hooks.m_end(m);
  lock_acquire(&sched.lock);
  m_forget(m);
  lock_release(&sched.lock);
  event_close(&m->event);
  sched_this_m = NULL;
  lock_sleeps = NULL;
  m_free(m);
}

static void idlem_add (M *m, bool last) {      /* sched.lock held */
  m->idle = true;
  m->next = m->prev = NULL;
  if (sched.idlem == NULL) sched.idlem = sched.idlem_tail = m;
  else if (last) {
    m->prev = sched.idlem_tail;
    sched.idlem_tail->next = m;
    sched.idlem_tail = m;
  }
  else {
    m->next = sched.idlem;
    sched.idlem->prev = m;
    sched.idlem = m;
  }
}

void idlem_remove (M *m) {      /* sched.lock held */
  m->idle = false;
  if (m->prev != NULL) m->prev->next = m->next;
  else sched.idlem = m->next;
  if (m->next != NULL) m->next->prev = m->prev;
  else sched.idlem_tail = m->prev;
  m->next = m->prev = NULL;
}

/* ---------------------------------------------------------------- waiting for a P */

/*
** Before it sleeps an M looks for a while whether it is woken: to put a thread to sleep and to
** wake it costs more than many a wait is long (a main script and a goroutine that talk to each
** other).  How long depends on what came of it the last times.  On one CPU there is no point.
*/
static bool spin (M *m) {
  bool woken;
  if (sched.ncpu < 2) return false;
  woken = note_spin(&m->note, m->spin < SPIN_MIN ? SPIN_MIN : m->spin);
  if (!woken) m->spin /= 2;
  else if (m->spin < SPIN_MAX) m->spin = m->spin < SPIN_MIN ? 2 * SPIN_MIN : 2 * m->spin;
  return woken;
}

void m_wake (M *m) {
  uint32_t was;
  GORO_POINT();
  was = xchg_acqrel(&m->note.set, 1);
  if (was == SLEEPS_IN_NETPOLL) netpoll_break();
  else if (was == SLEEPS) {
    if (m->is_host) event_raise(&m->event);
    else os_futex_wake(&m->note.set, 1);
  }
}

/*
** Give 'pp' to 'm', which waits in m_wait or will in a moment: its goroutine is RUNNING now.
*/
void m_give (M *m, P *pp) {
  lock_acquire(&sched.lock);
  if (!m->is_host) sched.nbusy++;
  m->waiting = false;
  goro_check(m->nextp == NULL);
  m->nextp = pp;
  lock_release(&sched.lock);
  GORO_POINT();
  m_wake(m);
}

/* A host's thread sleeps where Ctrl-C can reach it; its handler's wish ends the wait. */
static void host_sleep (M *m) {
  uint32_t s = 0;
  if (spin(m)) return;
  cas_acqrel(&m->note.set, &s, SLEEPS);
  while (load_acq(&m->note.set) != 1) {
    if (!event_wait(&m->event, m->interrupted, m->interrupted_arg)) {
      G *g = m->curg;
      if (g != NULL && wait_claim(g, WAKE_INTERRUPT))
        sched_ready(NULL, g, false);
      while (load_acq(&m->note.set) != 1)          /* whoever claimed it gives us a P soon */
        event_wait(&m->event, NULL, NULL);
    }
  }
}

/*
** TRACES.  Between these two the goroutine does not run.  A worker's that stood still already when
** the trace began is not seen to go on: the end of that slice will not be seen either (trace.c, T2).
*/
static uint32_t trace_stands (M *m, Outcome o) {
  G *g = m->curg;
  uint32_t now = load_rlx(&trace_now);
  if (now == 0) return 0;
  trace_end(m, g, o);
  return now;
}

static void trace_goes_on (M *m, uint32_t traced) {
  if (m->is_host || traced == load_rlx(&trace_now)) trace_begin(m, m->curg);
}

static void went_on (M *m, uint32_t traced) {
  stat_add(m, STAT_SWITCHES, 1);
  store_rlx(&m->curg->since, load_rlx(&sched.clock));
  if (trace_on()) trace_goes_on(m, traced);
}

/*
** Block this M until somebody gives it a P (start_m, or execute for its bound goroutine).  Its
** own P, if any, is handed off.
*/
void m_wait (M *m, Outcome o) {
  GList dead = { NULL, NULL };
  uint32_t traced = trace_stands(m, o);
  if (load_rlx(&m->guests) != GUESTS_NONE && m->curg == m->curg->host->main && guests_run(m)) {
    went_on(m, traced);
    sched_own(m, m->curg);             /* sysmon may have taken its P */
    return;
  }
  if (m->owned || m_take_back(m)) {
    P *pp = p_release(m);
    handoff_p(pp);
  }
  lock_acquire(&sched.lock);
  if (!m->is_host) sched.nbusy--;
  m->waiting = true;
  check_dead_locked(&dead);
  lock_release(&sched.lock);
  sched_ready_all(NULL, &dead);
  for (;;) {                           /* a wake-up left over from before may end a sleep */
    P *pp;
    if (m->is_host) {
      m->sleeps = true;
      host_sleep(m);
      m->sleeps = false;
    }
    else if (!spin(m)) {
      sched.hooks.m_sleep(m, false);
      note_sleep(&m->note, FOREVER);
    }
    note_clear(&m->note);
    lock_acquire(&sched.lock);
    pp = m->nextp;
    m->nextp = NULL;
    if (pp != NULL) m->waiting = false;            /* (m_give may have come before it was set) */
    lock_release(&sched.lock);
    if (pp != NULL) {
      p_set(m, pp);
      went_on(m, traced);
      return;
    }
  }
}

/* ---------------------------------------------------------------- the poller */

/* Let the poller look at the timers again.  sched.lock held. */
static void poke_poller (void) {
  lock_check_held(&sched.lock);
  if (sched.poller != NULL && sched.poller->idle) {
    store_seq(&sched.poll_until, 1);   /* once is enough */
    m_wake(sched.poller);
  }
}

void sched_timer_added (int64_t when) {
  int64_t until;
  fence_seq();
  nap_timer_added(when);
  until = load_seq(&sched.poll_until);
  if (until == 0) wake_p();            /* nobody sleeps for timers: an idle M shall */
  else if (when < until) {
    lock_acquire(&sched.lock);
    poke_poller();
    lock_release(&sched.lock);
  }
}

/* ---------------------------------------------------------------- deadlock */

/*
** Called with sched.lock held when an M is about to sleep.  If no worker is busy, nothing is
** runnable, and no timer is set, then what a host's main script waits for will never come.  Nor
** will it if all workers are blocked, each with its bound goroutine, and there can be no more of
** them: then what is runnable will never run.  Claims those scripts into 'dead'; the caller
** readies them.
*/
void check_dead_locked (GList *dead) {
  Host *h;
  M *b;                                /* (read once: a main may go on without the lock) */
  Wake why = WAKE_DEADLOCK;
  int i;
  if (sched.nbusy > 0 || load_rlx(&sched.stopping)) return;
  if (gq_any()) {
    if (!sched.no_thread || sched.idlem != NULL) return;
    why = WAKE_THREADS;
  }
  for (i = 0; i < load_acq(&sched.nallp); i++) {
    P *pp = load_rlx(&sched.allp[i]);
    if (!runq_empty(pp)) return;
  }
  for (h = sched.hosts; h != NULL; h = h->next) {
    if (load_seq(&h->ntimers) != 0 || load_rlx(&h->closing)) continue;
    if (load_acq(&h->main->status) != G_PARKED) continue;
    /* it may still be handing its P off, with goroutines in its hands */
    if ((b = load_rlx(&h->main->bound)) == NULL || !b->waiting) continue;
    if (wait_claim(h->main, why)) glist_add(dead, h->main);
  }
}

/* ---------------------------------------------------------------- idle */

#define KEEP_FOR SECOND                /* so long without work, and nothing is kept for reuse */

static void give_back (M *m) {
  drop_spares(m);
  msg_spare_drop();
  sched.hooks.m_sleep(m, true);
}

/*
** Who was woken last is woken first: where threads were many for a moment, most sleep for long.
** None sleeps on pieces of memory that states were in: each may lie in another slab, and a slab of
** which one piece is in use is in use.
*/
static void sleep_on_note (M *m, int64_t left) {
  if (left >= SPIN_MAX) {
    if (spin(m)) return;
    sched.hooks.m_sleep(m, false);
  }
  if (left == FOREVER) {
    if (note_sleep(&m->note, KEEP_FOR)) return;
    give_back(m);                      /* (who wakes it meanwhile finds that nobody sleeps) */
  }
  note_sleep(&m->note, left);
}

static void sleep_in_netpoll (M *m, int64_t left, GList *ready) {
  uint32_t s = 0;
  if (!cas_acqrel(&m->note.set, &s, SLEEPS_IN_NETPOLL)) return;          /* woken already */
  GORO_POINT();
  netpoll(left, ready);
  s = SLEEPS_IN_NETPOLL;               /* leave as we came, unless woken just now */
  cas_acqrel(&m->note.set, &s, 0);
}

void sched_netpoll_started (void) {
  lock_acquire(&sched.lock);
  poke_poller();                       /* it sleeps on its note, or is about to */
  lock_release(&sched.lock);
}

/*
** Sleep until somebody gives us a P, or, if nobody else watches those, until the next timer or
** event.  Goroutines that became ready are in 'ready' then, for the caller.
*/
bool worker_sleep (M *m, GList *ready) {
  GList dead = { NULL, NULL };
  int64_t next, left = FOREVER;
  bool poll = false, in_netpoll = false;
  goro_check(!m->spinning && m->p == NULL);
  lock_acquire(&sched.lock);
  if (load_seq(&sched.stopping)) {
    lock_release(&sched.lock);
    return false;
  }
  if (gq_any() && sched.idlep != NULL) {
    P *pp = p_pop_idle();
    lock_release(&sched.lock);
    if (pp != NULL) p_set(m, pp);
    return true;
  }
  next = timers_next_all();
  if (sched.poller == NULL && load_seq(&sched.nidlep) > 0) {
    poll = true;
    in_netpoll = netpoll_active();
    sched.poller = m;
    if (in_netpoll) store_seq(&sched.netpolling, 1);
    store_seq(&sched.poll_until, next);
    next = timers_next_all();          /* one added before we published poll_until */
    store_seq(&sched.poll_until, next);
    if (next != FOREVER) {
      left = next - os_now();
      if (left < 0) left = 0;
    }
  }
  else if (next < load_seq(&sched.poll_until))
    poke_poller();
  idlem_add(m, poll);
  sched.nbusy--;
  check_dead_locked(&dead);
  lock_release(&sched.lock);
  sched_ready_all(NULL, &dead);
  GORO_POINT();
  if (in_netpoll) sleep_in_netpoll(m, left, ready);
  else sleep_on_note(m, left);
  lock_acquire(&sched.lock);
  if (poll) {
    sched.poller = NULL;
    store_seq(&sched.poll_until, 0);
    if (in_netpoll) store_seq(&sched.netpolling, 0);
  }
  if (m->nextp == NULL) {              /* a timer or an event woke us, or the end */
    idlem_remove(m);
    sched.nbusy++;
    m->nextp = p_pop_idle();
  }
  if (m->nextp != NULL) {
    P *pp = m->nextp;
    m->nextp = NULL;
    lock_release(&sched.lock);
    note_clear(&m->note);
    p_set(m, pp);
    if (poll && (timers_next_all() != FOREVER || netpoll_any()))
      wake_p();                        /* another shall watch them */
    return true;
  }
  lock_release(&sched.lock);
  note_clear(&m->note);
  /* No P: all are busy.  Timers that are due still put their goroutines into the queue. */
  if (!load_seq(&sched.stopping)) expire_all(NULL);
  return true;
}

/* ---------------------------------------------------------------- looked at by others */

bool m_look_up (uint32_t id, MLook *l) {
  bool ok;
  lock_acquire(&sched.lock);
  l->m = load_rlx(&sched.allm[id]);
  ok = l->m != NULL && load_acq(&l->m->cpu_known);
  if (ok) {
    l->guest = l->m->is_host && load_acq(&l->m->curhost) != NULL;
    l->is_host = l->m->is_host && !l->guest;
    l->tid = l->m->tid;
    l->cpuclock = l->m->cpuclock;
  }
  lock_release(&sched.lock);
  return ok;
}

/* A thread that ends is forgotten before, under the lock: it can be signalled while it is held. */
void m_signal (uint32_t id, const M *m) {
  lock_acquire(&sched.lock);
  if (load_rlx(&sched.allm[id]) == m) os_preempt_signal(m->thread);
  lock_release(&sched.lock);
}

bool m_sample (uint32_t id, int tid, uint32_t n) {
  bool ok;
  M *m;
  lock_acquire(&sched.lock);
  m = load_rlx(&sched.allm[id]);
  ok = m != NULL && load_acq(&m->cpu_known) && m->tid == tid;
  if (ok) {
    add_acqrel(&m->due, n);
    os_preempt_signal(m->thread);
  }
  lock_release(&sched.lock);
  return ok;
}

void m_samples_drop (void) {
  uint32_t i;
  lock_acquire(&sched.lock);
  for (i = 1; i < load_rlx(&sched.nallm); i++) {
    M *m = load_rlx(&sched.allm[i]);
    if (m != NULL) store_rlx(&m->due, 0);
  }
  lock_release(&sched.lock);
}
