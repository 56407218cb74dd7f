/*
** park.c - how a goroutine stops running and is started again.  Layer 3.
**
** THE PROBLEM.  A goroutine that must wait enters a wait queue (a channel's, say) and then
** yields.  From the moment it stands in the queue another thread may find it and ready it;
** but until lua_resume() has returned to our worker, its lua_State is still in use on our C
** stack.  Resumed within that window, one lua_State would run on two threads.
**
** THE PROTOCOL.  All parties meet in g->status and move it by compare-and-swap:
**
**     the goroutine, before it enters a queue     RUNNING -> PARKING     park_begin
**     its worker, once lua_resume() has returned  PARKING -> PARKED      park_commit
**       (or itself, where it blocks its thread)                          park_here
**     a waker that comes before that              PARKING -> NOTIFIED    sched_ready
**     a waker that comes after it                 PARKED  -> RUNNABLE    sched_ready
**
** A worker that finds NOTIFIED does the early waker's job and enqueues the goroutine itself.
** Exactly one CAS leaves PARKING, so exactly one side enqueues: no wake-up is lost, and none
** is done twice.
**
** WHO MAY WAKE.  g->claim is 1 from park_begin to the first wait_claim, whose caller alone may
** ready the goroutine: a sender, a closer, its timer, a panic that wants the main script, the
** end of its host.  The losers leave it alone.  A goroutine leaves all its queues and stops its
** timer before it parks again, and both need the locks under which claims are made: a claim
** never hits a later wait than the one it was meant for.
**
** The steps have the same names in docs/model/park.pml, which `make model` checks.
**
** INVARIANT P1.  A goroutine is in a run queue if and only if it is RUNNABLE, and in one only.
** PRECONDITION.  One sched_ready() per park: the claim's winner.
**
** REJECTED.  Keeping the wait queue's lock until the worker is back (Go's gopark does so):
** here it would be held across lua_yieldk()'s longjmp and through every coroutine between
** the blocking call and the worker.  A claim for selects only (Go's selectDone): every wait of
** ours can be ended by something else than its queue, a time-out or the end of the host.
*/
#include "debug.h"
#include "guest.h"
#include "park.h"

static const char *const reason_texts[] = {
#define X(name, text) text,
  WAIT_REASONS(X)
#undef X
};

const char *wait_reason_text (uint32_t r) { return reason_texts[r < NWAITREASONS ? r : 0]; }

const char *wait_reason (G *g) { return wait_reason_text(load_rlx(&g->reason)); }

void park_begin (G *g, WaitReason reason) {
  goro_check(load_rlx(&g->status) == G_RUNNING);
  goro_check(load_rlx(&g->claim) == 0);
  g->fired = NULL;
  g->wake = WAKE_READY;
  store_rlx(&g->parkseq, load_rlx(&g->parkseq) + 1);
  store_rlx(&g->reason, (uint16_t)reason);
  store_rlx(&g->since, load_rlx(&sched.clock));
  store_rel(&g->status, G_PARKING);
  store_rel(&g->claim, 1);             /* from here on it can be woken */
  GORO_POINT();
}

/*
** Undo park_begin: the caller has found that it need not wait.  If somebody (a panic, the
** host's end) claimed it meanwhile, their ready must have come before we go on.
*/
void park_abort (G *g) {
  uint32_t open = 1;
  if (!cas_acqrel(&g->claim, &open, 0)) {
    while (load_acq(&g->status) != G_NOTIFIED) cpu_relax();   /* its ready is on the way */
  }
  store_rlx(&g->reason, WAIT_NONE);
  store_rel(&g->status, G_RUNNING);
}

/*
** The worker's half: lua_resume() returned LUA_YIELD, so 'g' is off our C stack.  Once the
** CAS has succeeded 'g' belongs to its waker: not one field of it may be read here.
*/
void park_commit (M *m, G *g) {
  uint32_t s = G_PARKING;
  GORO_POINT();
  if (cas_acqrel(&g->status, &s, G_PARKED))
    return;
  goro_check(s == G_NOTIFIED);
  store_rel(&g->status, G_RUNNABLE);
  if (m->p != NULL) runq_add(m->p, g, false);   /* no wake_p: this worker looks there next */
  else {
    gq_add(g);
    wake_p();
  }
}

/*
** Where Lua cannot yield: block this thread.  The P, owned by the caller, goes to another M;
** who readies us hands us one.  Returns with a P owned.
*/
void park_here (M *m, G *g) {
  uint32_t s = G_PARKING;
  M *before = load_rlx(&g->bound);
  bool guests = m->is_host && g == g->host->main && guests_can(m);
  GORO_POINT();
  goro_check(before == NULL || before == m);
  goro_check(!m->is_host || g == g->host->main);   /* (a guest yields: guest.c, GU1) */
  if (load_acq(&g->status) != G_NOTIFIED) {
    if (before == NULL) store_rlx(&g->bound, m);   /* before PARKED is published */
    if (guests) store_rel(&m->guests, GUESTS_MAY);
    if (cas_acqrel(&g->status, &s, G_PARKED)) {
      m_wait(m, RUN_PARKED);           /* (its status may say by now that it was readied) */
      goro_check(load_rlx(&g->status) == G_RUNNING);
      if (before == NULL) store_rlx(&g->bound, NULL);
      return;
    }
    if (before == NULL) store_rlx(&g->bound, NULL);
    if (guests) store_rlx(&m->guests, GUESTS_NONE);
  }
  store_rel(&g->status, G_RUNNING);    /* woken already */
}

/* Let others run, keeping this thread's stack.  A P is owned by the caller, and after. */
void yield_here (M *m, G *g, bool preempted) {
  M *before = load_rlx(&g->bound);
  store_rlx(&g->bound, m);
  store_rel(&g->status, G_RUNNABLE);
  if (preempted) bq_add(m->p, g);
  else gq_add(g);
  m_wait(m, RUN_YIELDED);
  store_rlx(&g->bound, before);
}

static void timeout_fire (Timer *t, int64_t now, GList *ready) {
  G *g = (G *)((char *)t - offsetof(G, timer));
  (void)now;
  if (wait_claim(g, WAKE_TIMEOUT))
    glist_add(ready, g);
  sub_acqrel(&g->host->ntimers, 1);    /* after the claim: see all_parked in host.c */
}

bool wait_arm (M *m, G *g, int64_t until) {
  g->timer.fire = timeout_fire;
  add_acqrel(&g->host->ntimers, 1);
  if (!timer_add(&g->timer, until, m->p != NULL ? m->p->id : 0)) {
    sub_acqrel(&g->host->ntimers, 1);
    g->timer.fire = NULL;
    return false;
  }
  sched_timer_added(until);
  return true;
}

void wait_disarm (G *g) {
  if (g->timer.fire == NULL) return;
  if (timer_stop(&g->timer)) sub_acqrel(&g->host->ntimers, 1);
  g->timer.fire = NULL;
}
