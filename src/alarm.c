/*
** alarm.c - timers that scripts hold.  Layer 4.
**
** A CLOCK is a channel and the timer that sends on it in one: whoever holds the channel holds
** both, and when nobody does the timer is stopped and freed.  What Lua knows as a timer is a
** small object of its own that holds the Clock.  Firing gives up no reference.
**
** As in Go since 1.23 no value is received after stop or reset that was sent before: they stop
** the timer, after which it neither fires nor is firing, and then empty the channel.  A value
** that was found there counts as not fired: nobody has seen it.
**
** The Clock counts against deadlock while it is set and somebody waits on it (chan.c, C4).
**
** A LATER runs a function outside of all locks: fire puts it into the list of what is due
** (timers.c), and whoever expired the timers works that off.  It may fire again before that: so
** it counts.  Each time it is set it holds a reference, which goes with the time it fired to
** 'run', or back to who stops it.
**
** LOCKS.  A timer is set and stopped under the alarm's lock, which comes before its shard's: two
** goroutines may call stop and reset at once.  fire, under the shard's, never takes it.
**
** REJECTED.  The goroutine of an after_func made beforehand: it would be counted, and take its
** memory, while the timer runs.
*/
#include <stdlib.h>
#include "alarm.h"
#include "debug.h"
#include "host.h"

static int shard_of (M *m) { return m->p != NULL ? m->p->id : 0; }

/* ---------------------------------------------------------------- clocks */

static void clock_fire (Timer *t, int64_t now, GList *ready) {
  Clock *k = (Clock *)((char *)t - offsetof(Clock, t));
  Value v = NIL_VALUE;
  bool again = k->period > 0;
  v.tag = V_FLT;
  v.u.n = (double)now / 1e9;
  if (again) timer_again(t, t->when + k->period * (1 + (now - t->when) / k->period));
  chan_offer(&k->c, &v, again, ready);
}

static void clock_destroy (Obj *o) {
  Clock *k = (Clock *)o;
  timer_stop(&k->t.t);
  chan_fini(&k->c);
  free(k);
}

static AlarmResult clock_set (Clock *k, M *m, int64_t when, int64_t period) {
  k->period = period;
  chan_set_timed(&k->c, true);         /* before it can fire */
  if (timer_add(&k->t.t, when, shard_of(m))) return ALARM_IDLE;
  chan_set_timed(&k->c, false);
  return ALARM_NOMEM;
}

Clock *clock_new (M *m, Host *h, int64_t when, int64_t period) {
  Clock *k = malloc(sizeof *k);
  if (k == NULL) return NULL;
  if (!chan_init(&k->c, 1, 0, NULL, clock_destroy)) {
    free(k);
    return NULL;
  }
  k->c.host = h;
  lock_init(&k->lock, RANK_ALARM);
  memset(&k->t, 0, sizeof k->t);
  k->t.t.fire = clock_fire;
  timer_own(&k->t, h, NULL);
  if (clock_set(k, m, when, period) == ALARM_NOMEM) {
    clock_destroy(&k->c.obj);
    return NULL;
  }
  sched_timer_added(when);
  return k;
}

static AlarmResult stop (Clock *k) {   /* k->lock held */
  bool set = timer_stop(&k->t.t), full;
  GORO_POINT();
  chan_set_timed(&k->c, false);
  full = chan_clear(&k->c);
  return set || full ? ALARM_STOPPED : ALARM_IDLE;
}

AlarmResult clock_stop (Clock *k) {
  AlarmResult r;
  lock_acquire(&k->lock);
  r = stop(k);
  lock_release(&k->lock);
  return r;
}

AlarmResult clock_reset (Clock *k, M *m, int64_t when, int64_t period) {
  AlarmResult r;
  lock_acquire(&k->lock);
  r = stop(k);
  GORO_POINT();
  if (clock_set(k, m, when, period) == ALARM_NOMEM) r = ALARM_NOMEM;
  lock_release(&k->lock);
  sched_timer_added(when);
  return r;
}

/* ---------------------------------------------------------------- laters */

static void unset (Later *l) {         /* it was set, and will not run */
  Obj *o = l->obj;
  sub_acqrel(&l->host->ntimers, 1);
  obj_unref(o);
}

static void later_fire (Timer *t, int64_t now, GList *ready) {
  Later *l = (Later *)((char *)t - offsetof(Later, t));
  (void)now; (void)ready;
  if (add_acqrel(&l->fired, 1) == 0) due_add(&l->due);
}

/* One reference comes with each time it fired; the last may free it. */
static void later_due (Due *d, M *m) {
  Later *l = (Later *)((char *)d - offsetof(Later, due));
  uint32_t n = xchg_acqrel(&l->fired, 0);
  for (; n > 0; n--) {
    l->run(l, m);
    unset(l);                          /* after its goroutine is there: else a deadlock is seen */
  }
}

static void later_drop (Timer *t) { unset((Later *)((char *)t - offsetof(Later, t))); }

void later_init (Later *l, Obj *obj, Host *h, void (*run) (Later *l, M *m)) {
  memset(l, 0, sizeof *l);
  lock_init(&l->lock, RANK_ALARM);
  l->due.run = later_due;
  l->t.t.fire = later_fire;
  timer_own(&l->t, h, later_drop);
  l->obj = obj;
  l->host = h;
  l->run = run;
}

AlarmResult later_stop (Later *l) {    /* the caller holds it */
  bool set;
  lock_acquire(&l->lock);
  set = timer_stop(&l->t.t);
  lock_release(&l->lock);
  if (set) unset(l);
  return set ? ALARM_STOPPED : ALARM_IDLE;
}

AlarmResult later_reset (Later *l, M *m, int64_t when) {
  bool set, ok;
  lock_acquire(&l->lock);
  set = timer_stop(&l->t.t);
  GORO_POINT();
  if (!set) {                          /* else both are there already */
    add_acqrel(&l->host->ntimers, 1);
    obj_ref(l->obj);
  }
  ok = timer_add(&l->t.t, when, shard_of(m));
  lock_release(&l->lock);
  if (!ok) {
    unset(l);
    return ALARM_NOMEM;
  }
  sched_timer_added(when);
  return set ? ALARM_STOPPED : ALARM_IDLE;
}
