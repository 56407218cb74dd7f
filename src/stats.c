/*
** stats.c - figures of the scheduler.  Layer 3.
**
** Each M counts on its own line, plainly; who reads adds them up and gets a sum that was true at
** some moment for each M, not one for all.
*/
#include "sched.h"

int sched_queued (int i) {
  P *pp = load_acq(&sched.allp[i]);
  if (pp == NULL) return 0;
  return (int)(load_rlx(&pp->tail) - load_rlx(&pp->head)) + (load_rlx(&pp->runnext) != NULL);
}

void sched_figures (Figures *f) {
  uint32_t k, i;
  Host *h;
  M *m;
  for (k = 0; k < NSTATS; k++) f->n[k] = 0;
  f->live = 0;
  f->parked_workers = 0;
  lock_acquire(&sched.lock);           /* no M leaves, no host ends */
  for (k = 0; k < NSTATS; k++) f->n[k] = load_rlx(&sched.stats[k]);
  for (i = 1; i < load_rlx(&sched.nallm); i++) {
    m = load_rlx(&sched.allm[i]);
    if (m == NULL) continue;
    for (k = 0; k < NSTATS; k++) f->n[k] += load_rlx(&m->stats[k]);
    if (!m->is_host && (m->idle || m->waiting)) f->parked_workers++;
  }
  f->global = load_rlx(&sched.ngq) + load_rlx(&sched.nbq);
  f->runnable = f->global;
  for (i = 0; i < (uint32_t)load_acq(&sched.nallp); i++) f->runnable += sched_queued((int)i);
  for (h = sched.hosts; h != NULL; h = h->next) f->live += load_rlx(&h->ng) + 1;
  f->procs = world_procs();
  f->idle_procs = load_rlx(&sched.nidlep);
  f->spinning = load_rlx(&sched.nspinning);
  f->workers = (int32_t)sched.nworkers;
  lock_release(&sched.lock);
}
