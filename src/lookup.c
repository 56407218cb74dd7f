/*
** lookup.c - names of hosts, looked up.  Layer 4.
*/
#include <errno.h>
#include <stdlib.h>
#include "debug.h"
#include "lookup.h"

#define MAX_LOOKUPS 32                 /* threads; more names wait */

static struct {
  Lock lock;                           /* RANK_LEAF (all zero is a free lock) */
  Lookup *head, **end;                 /* [L] */
  int threads;                         /* [L] */
} jobs = { .lock = { .rank = RANK_LEAF }, .end = &jobs.head };

void lookup_unref (Lookup *l) {
  if (sub_acqrel(&l->refs, 1) == 1) free(l);
}

static Lookup *next_job (void) {
  Lookup *l;
  lock_acquire(&jobs.lock);
  l = jobs.head;
  if (l == NULL) jobs.threads--;
  else {
    jobs.head = l->next;
    if (jobs.head == NULL) jobs.end = &jobs.head;
  }
  lock_release(&jobs.lock);
  return l;
}

static void *thread_main (void *arg) {
  Lookup *l;
  (void)arg;
  while ((l = next_job()) != NULL) {
    GList ready = { NULL, NULL };
    Sudog *s;
    const char *why = NULL;
    int n = os_lookup(&l->text, false, true, l->addrs, LOOKUP_MAX, &why);
    lock_acquire(&l->lock);
    l->n = n;
    l->why = why;
    l->done = true;
    while ((s = waitq_pop(&l->waiters)) != NULL) glist_add(&ready, s->g);
    lock_release(&l->lock);
    lookup_unref(l);
    sched_ready_all(NULL, &ready);
  }
  return NULL;
}

Lookup *lookup_start (const AddrText *t) {
  Lookup *l = calloc(1, sizeof *l);
  bool start;
  int e;
  pthread_t id;
  if (l == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  store_rlx(&l->refs, 2);              /* the caller's and the thread's */
  l->text = *t;
  lock_init(&l->lock, RANK_OBJECT);
  lock_acquire(&jobs.lock);
  *jobs.end = l;
  jobs.end = &l->next;
  start = jobs.threads < MAX_LOOKUPS;
  if (start) jobs.threads++;
  lock_release(&jobs.lock);
  if (!start) return l;
  e = os_thread_start(&id, thread_main, NULL);
  if (e == 0) pthread_detach(id);
  else thread_main(NULL);              /* no thread to be had: do it here, whoever's it is */
  return l;
}

bool lookup_wait (Lookup *l, G *g) {
  bool wait;
  lock_acquire(&l->lock);
  wait = !l->done;
  if (wait) {
    g->own.g = g;
    g->own.queue = l;
    add_acqrel(&g->host->ntimers, 1);
    park_begin(g, WAIT_LOOKUP);
    waitq_push(&l->waiters, &g->own);
  }
  lock_release(&l->lock);
  return wait;
}

bool lookup_wait_end (Lookup *l, G *g) {
  bool done;
  lock_acquire(&l->lock);
  if (g->own.enqueued) waitq_remove(&l->waiters, &g->own);
  done = l->done;
  lock_release(&l->lock);
  sub_acqrel(&g->host->ntimers, 1);
  return done;
}
