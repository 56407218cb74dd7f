/*
** sleep.c - timers that send on channels.  Layer 4.
*/
#include <stdlib.h>
#include "sleep.h"

typedef struct After {
  Timer t;
  Chan *c;                             /* a reference */
} After;

static void after_fire (Timer *t, int64_t now, GList *ready) {
  After *a = (After *)t;
  Value v = NIL_VALUE;
  v.tag = V_FLT;
  v.u.n = (double)now / 1e9;
  chan_offer(a->c, &v, false, ready);
  sub_acqrel(&t->owner->ntimers, 1);
  obj_unref(&a->c->obj);
  free(a);
}

static void after_drop (Timer *t) {
  After *a = (After *)t;
  sub_acqrel(&t->owner->ntimers, 1);
  obj_unref(&a->c->obj);
  free(a);
}

bool after_start (M *m, Host *h, Chan *c, int64_t when) {
  After *a = calloc(1, sizeof *a);
  if (a == NULL) return false;
  a->t.fire = after_fire;
  a->t.drop = after_drop;
  a->t.owner = h;
  a->c = c;
  obj_ref(&c->obj);
  add_acqrel(&h->ntimers, 1);
  if (!timer_add(&a->t, when, m->p != NULL ? m->p->id : 0)) {
    after_drop(&a->t);
    return false;
  }
  sched_timer_added(when);
  return true;
}
