/*
** guest.c - goroutines that run on the thread of a main script that waits.  Layer 3.
**
** A main script has its C stack on its host's thread.  If it talks to a goroutine, that runs on a
** worker, and each exchange would take two switches of threads.  So while it waits its thread
** keeps the P, and runs as a *guest* the goroutine that stands alone in that P's queue: the one
** that the main script has just woken.  When the guest's slice is over and the main script is
** ready, it goes on where it was.
**
** The main script cannot go on while a guest stands above it on the C stack.  It must be served
** all the same when its message, its time-out, a panic or Ctrl-C comes:
**
**   GU1 A guest is tame (hooks.tame; tame.c in layer 5): nothing that it can reach blocks in C,
**       stays there for long, or calls Lua from C.  So it can yield whenever it runs Lua, and does
**       so for good before it gets hold of anything that is not tame.
**   GU2 m->guests is MAY from before the main script is PARKED until its thread has stopped
**       taking guests (xchg to NONE).  Who readies the main script meanwhile moves it to OVER, and puts
**       it into no queue: the thread, which is awake, finds it there and goes on with it.  One of the
**       two is first: after NONE a waker takes the usual way, and the thread sleeps in m_wait.
**   GU3 Who moves it to OVER from another thread sends the preemption signal, whose handler has the
**       guest yield.  A signal that comes before the guest's lua_State is known does nothing; the
**       slice looks at m->guests itself right after (run.c).
**   GU4 A guest that has readied the main script itself goes on until it waits; sysmon asks
**       it to yield after TURN, as any guest whose slice is that long, and it is no guest again before
**       it has waited QUICK times on workers.
**   GU5 After IN_A_ROW slices it takes no more and sleeps, where Ctrl-C reaches it (host_sleep): two
**       guests that talk to each other go on on a worker.
**   GU6 Nobody waits for the P meanwhile: a guest is taken only if no queue but its own has
**       anybody, and the P's number is not too high (maxprocs, world_stop).  Else the P is handed
**       off, as without guests.
**
** While a guest runs, m->curhost is set, and that host's thread is treated as a worker by sysmon, the
** world's stop, and the end of a host (m_look_up).  For the deadlock check nothing changes: the main
** script counts as waiting only in m_wait (m->waiting), where its thread comes when it takes
** no more guests.
**
** docs/model/guests.pml is a model of GU2 to GU4.
**
** REJECTED.  Making the hand-over between the two threads cheaper: with the P in one word that
** both watch it is two misses of a cache line and twice the work for one exchange, and where there is
** one CPU, or others use it, two switches of threads.  A C stack of its own for guests, so that the main
** script could go on beside one that stays in C: a blocked thread cannot be switched away.  Any
** goroutine as a guest, taken off by sysmon: one that is in C cannot be taken off.
*/
#include "debug.h"
#include "guest.h"
#include "park.h"
#include "runq.h"

#define IN_A_ROW 8

bool guests_can (M *m) {
  if (sched.hooks.tame == NULL || !(sched.can_preempt || goro_maybe(1))) return false;
  if (m->takes_guests == 0) {
    bool can = os_thread_is_roomy();
    if (can) sched.hooks.m_start(m);
    m->takes_guests = can ? 1 : -1;
  }
  return m->takes_guests > 0;
}

/* GU6 */
static G *next_guest (M *m, const G *main) {
  P *pp = m->p;
  G *g;
  if (pp->id >= load_rlx(&sched.nprocs) || gq_any() ||
      runq_length(pp) + (load_rlx(&pp->runnext) != NULL) != 1 || (g = runq_get(pp)) == NULL)
    return NULL;
  if (load_rlx(&g->bound) == NULL && g->host == main->host && sched.hooks.tame(m, g)) return g;
  runq_add(pp, g, true);               /* who gets the P runs it */
  return NULL;
}

/* What stands in the queue of 'pp' may be others' while the main script runs. */
static void share_queue (P *pp) {
  G *g = load_acq(&pp->runnext);
  if (g != NULL && cas_acqrel(&pp->runnext, &g, NULL)) runq_add(pp, g, false);
  if (!runq_empty(pp) || gq_any()) wake_p();
}

bool guests_run (M *m) {
  G *main = m->curg, *g;
  int n;
  m->sleeps = true;                    /* (hostlook.c, H1) */
  for (n = 0; n < IN_A_ROW; n++) {
    if (load_acq(&m->guests) != GUESTS_MAY || !(m->owned || m_take_back(m))) break;
    if (load_rlx(&m->p->schedtick) % FAIR_TICK == 0) expire_all(m);
    else if (timers_next(m->p->id) != FOREVER) p_expire(m);
    if ((g = next_guest(m, main)) == NULL) break;
    GORO_POINT();
    sched_guest(m, g);
  }
  if (!m->owned && gq_any()) wake_p();             /* sysmon took the P: where a guest went then */
  m->curg = main;
  m->sleeps = false;
  store_rel(&m->tick, load_rlx(&m->tick) + 1);     /* a request of before is over */
  GORO_POINT();
  if (xchg_acqrel(&m->guests, GUESTS_NONE) != GUESTS_OVER) return false;
  store_rel(&main->status, G_RUNNING);
  if (m->owned) {
    P *pp = m->p;
    store_rlx(&pp->schedtick, load_rlx(&pp->schedtick) + 1);
    if (pp->id < load_rlx(&sched.nprocs)) share_queue(pp);
    else handoff_p(p_release(m));
  }
  return true;
}

bool guests_main_ready (G *g) {
  M *m = load_rlx(&g->bound);
  uint32_t may = GUESTS_MAY, id = m->id;
  if (g != g->host->main || !cas_acqrel(&m->guests, &may, GUESTS_OVER)) return false;
  GORO_POINT();
  if (m != sched_m()) m_signal(id, m);
  return true;
}
