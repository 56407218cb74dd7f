/* Goroutines of C functions in a host of their own, for the tests of the scheduler: what those
   share.  'wg' counts the goroutines that have not ended. */
#ifndef CROWD_H
#define CROWD_H

#include "host.h"
#include "test.h"
#include "waitgroup.h"

static Host *host;
static WaitGroup *wg;

static inline void reap (G *g) {
  free(g->state);
  g_unlink(g);
  g_free(g);
}

static inline void nothing (M *m) { (void)m; }
static inline void sleeps (M *m, bool rests) { (void)m; (void)rests; }

/* This thread's host, on that many processors. */
static inline M *crowd_begin (int procs) {
  M *m;
  sched_maxprocs(procs);
  m = sched_adopt();
  host = host_new();
  CHECK(m != NULL && host != NULL);
  m->curg = host->main;
  wg = waitgroup_new();
  return m;
}

static inline void crowd_leave (M *m) {            /* the host has ended */
  m->curg = NULL;
  host_unref(host);
  sched_leave(m);
  sched_stop();
  obj_unref(&wg->obj);
}

static inline void crowd_end (M *m) {
  m->curg = NULL;
  CHECK(host_end(host, m));
  crowd_leave(m);
}

/* A goroutine that is to run; what it knows of itself, 'size' bytes of zeros, is its state. */
static inline G *crowd_new (M *m, size_t size) {
  G *g = g_new(host);
  CHECK(g != NULL && (g->state = calloc(1, size)) != NULL);
  CHECK(waitgroup_add(wg, m, 1));
  return g;
}

/* The end of a slice, which came to 'o'. */
static inline Outcome crowd_ran (M *m, Outcome o) {
  if (m->owned) sched_lend(m);
  if (o == RUN_DEAD) waitgroup_add(wg, m, -1);
  return o;
}

static inline Value number (int64_t n) {
  Value v = NIL_VALUE;
  v.tag = V_INT;
  v.u.i = n;
  return v;
}

static inline void crowd_ready (M *m, G *g) {      /* it begins */
  sysmon_start();
  sched_ready(m, g, false);
}

static inline void wait_for_all (M *m) {
  G *g = host->main;
  Result *failure;
  sched_own(m, g);
  if (!waitgroup_wait(wg, g, true, &failure)) {
    park_here(m, g);
    CHECK(g->wake == WAKE_READY && waitgroup_finish(wg, g, &failure));
  }
  if (m->owned) sched_lend(m);
}

#endif
