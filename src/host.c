/*
** host.c - hosts and the end of their goroutines.  Layer 3.
**
** THE END.  closing = 1 is set under h->lock; from then on no goroutine is added (g_new refuses)
** and whatever would wait finds closing set after its park_begin and goes on with WAKE_KILL
** (layer 5 and 6 look).  So one walk over h->all that claims every wait reaches all that waited
** before, and nobody waits after.  Layer 5 closes the state of a goroutine that was killed.
*/
#include <stdlib.h>
#include <string.h>
#include "debug.h"
#include "host.h"
#include "slab.h"

Host *host_new (void) {
  static _Atomic(uint32_t) last;
  Host *h = aligned_alloc(_Alignof(Host), sizeof *h);
  G *g = calloc(1, sizeof *g);
  if (h != NULL) memset(h, 0, sizeof *h);
  if (h == NULL || g == NULL) {
    free(h);
    free(g);
    return NULL;
  }
  store_rlx(&h->refs, 1);
  lock_init(&h->lock, RANK_HOST);
  store_rlx(&h->lastid, 1);
  h->number = add_rlx(&last, 1) + 1;
  g->id = 1;
  g->host = h;
  store_rlx(&g->status, G_RUNNING);
  h->main = g;
  lock_acquire(&sched.lock);
  h->next = sched.hosts;
  sched.hosts = h;
  add_seq(&sched.nhosts, 1);
  lock_release(&sched.lock);
  return h;
}

void host_unref (Host *h) {
  if (sub_acqrel(&h->refs, 1) == 1) {
    if (h->drop != NULL) h->drop(h);
    free(h->main->many);
    free(h->main);
    free(h);
  }
}

/*
** A G and what layer 5 keeps of it are one block.  They go through a depot, all zero but for their
** first word: who ends a goroutine, and has it in its cache, clears it, and who starts one writes
** only what is not zero.
*/
#define BATCHES 4

static size_t g_size (void) { return sizeof(G) + sched.hooks.room; }
static void free_block (void *p) { slab_free(p, g_size()); }

static Depot gs = { .lock = { .rank = RANK_LEAF }, .most = BATCHES, .free = free_block };

static G *g_alloc (void) {
  M *m = sched_m();
  G *g = GORO_POOLS && m != NULL ? stock_take(&m->spare, &gs) : NULL;
  if (g != NULL) g->link = NULL;
  else if ((g = slab_alloc(g_size())) != NULL) memset(g, 0, g_size());
  return g;
}

static void g_release (G *g) {
  M *m = sched_m();
  free(g->many);
  if (!GORO_POOLS || m == NULL) free_block(g);
  else {
    memset(g, 0, g_size());
    stock_keep(&m->spare, &gs, g);
  }
}

void g_spare_drop (M *m) { stock_drop(&m->spare, &gs); }

G *g_new (Host *h) {
  G *g = g_alloc();
  uint64_t id;
  if (g == NULL) return NULL;
  g->host = h;
  if (sched.hooks.room > 0) g->state = g + 1;
  store_rlx(&g->status, G_IDLE);
  lock_acquire(&h->lock);
  if (host_closing(h)) {
    lock_release(&h->lock);
    g_release(g);
    return NULL;
  }
  id = load_rlx(&h->lastid) + 1;       /* (changed under the lock only) */
  store_rlx(&h->lastid, id);
  g->id = id;
  g->hnext = h->all;
  if (h->all != NULL) h->all->hprev = g;
  h->all = g;
  if (add_acqrel(&h->ng, 1) == 0) add_rlx(&h->refs, 1);        /* goroutines have one together */
  lock_release(&h->lock);
  return g;
}

/* It counts in h->ng until the lock is released to the last: whoever releases a lock may look at
** it once more after another could take it, and end the host. */
void g_unlink (G *g) {
  Host *h = g->host;
  lock_acquire(&h->lock);
  if (g->hprev != NULL) g->hprev->hnext = g->hnext;
  else h->all = g->hnext;
  if (g->hnext != NULL) g->hnext->hprev = g->hprev;
  g->hnext = g->hprev = NULL;
  lock_release(&h->lock);
  if (sub_acqrel(&h->ng, 1) != 1) return;
  if (host_closing(h)) note_wake(&h->ended);
  host_unref(h);
}

void g_free (G *g) { g_release(g); }

/* Ask every M that runs a goroutine of 'h' to let it yield. */
static void interrupt_runners (Host *h, M *self) {
  uint32_t i;
  for (i = 1; i < load_acq(&sched.nallm); i++) {
    M *m;
    lock_acquire(&sched.lock);         /* (a host's thread with a guest may leave after it) */
    m = load_acq(&sched.allm[i]);
    if (m != NULL && m != self && load_acq(&m->curhost) == h) {
      store_rel(&m->preempt, load_acq(&m->tick));
      if (load_acq(&m->cpu_known)) os_preempt_signal(m->thread);
    }
    lock_release(&sched.lock);
  }
}

/* Wake all that wait.  Done again and again: one that was just about to wait may have missed
** 'closing'. */
static void reclaim (Host *h, M *m) {
  GList woken = { NULL, NULL };
  G *g;
  lock_acquire(&h->lock);
  for (g = h->all; g != NULL; g = g->hnext)
    if (wait_claim(g, WAKE_KILL)) glist_add(&woken, g);
  lock_release(&h->lock);
  sched_ready_all(m, &woken);
}

#define GRACE (SECOND / 20)            /* for what is in C */
#define GRACE_MAX (20 * SECOND)        /* for a machine on which nothing gets a CPU any more */

typedef struct Seen { uint32_t tick; int64_t since, cpu; } Seen;

/*
** Is 'm', which runs a goroutine of the host that ends, in C?  It sleeps in the kernel, in the
** same slice for 50 ms, or it has used 50 ms of CPU time in that slice and not come back.  A
** thread that waits for a CPU or for a P, or a goroutine that nobody has run yet, is none: it
** will end as soon as it runs.
*/
static bool is_stuck (uint32_t id, Host *h, M *self, Seen *s, int64_t now) {
  bool runs, known;
  uint32_t tick = 0;
  int tid = 0;
  clockid_t clock = 0;
  int64_t cpu;
  M *m;
  lock_acquire(&sched.lock);           /* (an M may be forgotten and used anew) */
  m = load_rlx(&sched.allm[id]);
  runs = m != NULL && m != self && !m->waiting && load_acq(&m->curhost) == h;
  known = runs && load_acq(&m->cpu_known);
  if (known) {
    tick = load_acq(&m->tick);
    tid = m->tid;
    clock = m->cpuclock;
  }
  lock_release(&sched.lock);
  if (!known) {
    s->since = 0;
    return false;
  }
  cpu = os_thread_cpu(clock);
  if (s->since == 0 || s->tick != tick) {
    s->tick = tick;
    s->since = now;
    s->cpu = cpu;
    return false;
  }
  if (now - s->since < GRACE) return false;
  return cpu < 0 || cpu - s->cpu >= GRACE || os_thread_sleeps(tid);
}

/* Until 'rest' goroutines are left, or all that are left are in C.  'seen': MAX_MS of them. */
static bool wait_for_end (Host *h, M *self, int64_t rest, Seen *seen) {
  int64_t left = -1, stop = os_now() + GRACE_MAX;
  for (;;) {
    int64_t n = load_acq(&h->ng), now = os_now(), stuck = 0;
    uint32_t i;
    if (n <= rest) return true;
    if (n == left) reclaim(h, self);
    left = n;
    interrupt_runners(h, self);
    for (i = 1; i < load_acq(&sched.nallm); i++)
      if (is_stuck(i, h, self, &seen[i], now)) stuck++;
    if (stuck >= n - rest || now >= stop) return false;
    note_sleep(&h->ended, SECOND / 1000);
    note_clear(&h->ended);
  }
}

static bool end_all (Host *h, M *m, int64_t rest) {
  Seen *seen;
  bool all = true;
  world_hold();                        /* who stands still cannot end */
  lock_acquire(&h->lock);
  store_seq(&h->closing, 1);
  lock_release(&h->lock);
  reclaim(h, m);
  if (m->p != NULL) {                  /* workers need it; we only wait from now on */
    sched_own(m, m->curg);
    handoff_p(p_release(m));
  }
  if (load_acq(&h->ng) > rest) {
    seen = calloc(MAX_MS, sizeof *seen);
    all = seen != NULL && wait_for_end(h, m, rest, seen);
    free(seen);
  }
  world_release();
  return all;
}

bool host_end (Host *h, M *m) {
  Host **pp;
  bool all;
  end_all(h, m, 0);
  timers_drop(h);
  lock_acquire(&h->lock);              /* g_free may still hold it */
  all = load_acq(&h->ng) == 0;
  if (!all) store_seq(&h->closing, 2);
  lock_release(&h->lock);
  lock_acquire(&sched.lock);
  for (pp = &sched.hosts; *pp != h; pp = &(*pp)->next) continue;
  *pp = h->next;
  sub_seq(&sched.nhosts, 1);
  lock_release(&sched.lock);
  return all;
}

void host_halt (Host *h, M *m, G *self) {
  end_all(h, m, self == h->main ? 0 : 1);
}

/* ---------------------------------------------------------------- deadlocks of one host */

/*
** With several hosts the scheduler may be busy with one while all goroutines of another are
** asleep.  true: all of 'h' were parked at one moment; then nobody can wake them (no timer is
** set), and they are still.  A goroutine that is parked in its n-th wait in both looks was parked
** all the time between: so between the looks all were.
*/
static bool all_parked (Host *h) {
  uint64_t sum[2] = { 0, 0 };
  int look;
  G *g;
  for (look = 0; look < 2; look++) {
    if (load_seq(&h->ntimers) != 0) return false;
    for (g = h->main; g != NULL; g = g == h->main ? h->all : g->hnext) {
      /* one that is claimed is about to be readied, and no timer counts for it any more */
      if (load_seq(&g->status) != G_PARKED || load_seq(&g->claim) == 0) return false;
      sum[look] += load_acq(&g->parkseq);          /* they only grow: equal sums, equal terms */
    }
  }
  return sum[0] == sum[1];
}

void host_check_deadlocks (void) {
  GList dead = { NULL, NULL };
  Host *h, *seen[64];
  int i, n = 0;
  lock_acquire(&sched.lock);
  for (h = sched.hosts; h != NULL && n < 64; h = h->next)
    if (load_acq(&h->main->status) == G_PARKED && !load_rlx(&h->closing)) {
      add_rlx(&h->refs, 1);
      seen[n++] = h;
    }
  lock_release(&sched.lock);
  for (i = 0; i < n; i++) {
    h = seen[i];
    lock_acquire(&h->lock);
    if (all_parked(h) && wait_claim(h->main, WAKE_DEADLOCK)) glist_add(&dead, h->main);
    lock_release(&h->lock);
    sched_ready_all(NULL, &dead);
    host_unref(h);
  }
}
