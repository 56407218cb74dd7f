/*
** select.c - wait for one of several channel operations.  Layer 4.
**
** Three passes, as Go's selectgo:
**   look      with all channels locked, in address order, the cases are tried in random order;
**   enqueue   if none was ready, g is put into every channel's queue, in that same random order
**             (with one channel in several cases, whoever comes meets each of them alike);
**   dequeue   after waking, g is taken out of the other queues.
** While enqueued, the first who claims g's wait under a channel's lock has the case; the losers
** pass over its Sudog.  All locks are held from the look to the end of enqueueing: nothing can
** become ready in between unseen.  docs/model/select.pml is a model of these passes.
*/
#include <stdlib.h>
#include "debug.h"
#include "select.h"

#define FEW 16

/* (21 of 64 random bits a step: a list of 1,000 is shuffled fairly to within 1 in 2,000.) */
static void shuffle (int *order, int n) {
  uint64_t random = 0;
  int i;
  if (n > 0) order[0] = 0;
  for (i = 1; i < n; i++) {
    int j;
    random = i % 3 == 1 ? goro_rand() : random >> 21;
    j = (int)(((random & 0x1FFFFF) * ((uint64_t)i + 1)) >> 21);
    order[i] = order[j];
    order[j] = i;
  }
}

/* The numbers of the cases by their channels' addresses: a few are inserted, more heap-sorted. */
static void by_address (const Case *cases, int *o, int n) {
  int i, end;
  if (n <= FEW) {
    for (i = 0; i < n; i++) {
      int j = i;
      for (; j > 0 && chan_order(cases[o[j - 1]].c) > chan_order(cases[i].c); j--) o[j] = o[j - 1];
      o[j] = i;
    }
    return;
  }
  for (i = 0; i < n; i++) o[i] = i;
  for (i = n / 2 - 1, end = n; ; ) {
    int root, child, keep;
    if (i >= 0) root = i--;
    else {
      if (--end <= 0) return;
      keep = o[0];
      o[0] = o[end];
      o[end] = keep;
      root = 0;
    }
    keep = o[root];
    for (;;) {
      child = 2 * root + 1;
      if (child >= end) break;
      if (child + 1 < end && chan_order(cases[o[child + 1]].c) > chan_order(cases[o[child]].c))
        child++;
      if (chan_order(cases[o[child]].c) <= chan_order(cases[keep].c)) break;
      o[root] = o[child];
      root = child;
    }
    o[root] = keep;
  }
}

static void lock_all (const Case *cases, const int *o, int n) {
  int i;
  for (i = 0; i < n; i++)
    if (cases[o[i]].c != NULL && (i == 0 || cases[o[i]].c != cases[o[i - 1]].c))
      lock_acquire(&cases[o[i]].c->lock);
}

static void unlock_all (const Case *cases, const int *o, int n) {
  int i;
  for (i = n - 1; i >= 0; i--)
    if (cases[o[i]].c != NULL && (i == 0 || cases[o[i]].c != cases[o[i - 1]].c))
      lock_release(&cases[o[i]].c->lock);
}

static ChanResult look (Case *cases, const int *order, int n, int *which, GList *ready) {
  int i;
  for (i = 0; i < n; i++) {
    Case *k = &cases[order[i]];
    ChanResult r;
    if (k->c == NULL) continue;
    r = chan_try_locked(k->c, k->send, &k->v, ready);
    if (r != CHAN_BUSY) {
      *which = order[i];
      return r;
    }
  }
  return CHAN_BUSY;
}

static bool room (G *g, int n) {
  Sudogs *many = g->many;
  if (n <= (many != NULL ? many->cap : 0)) return true;
  many = realloc(many, sizeof *many + (size_t)n * sizeof *many->at);
  if (many == NULL) return false;
  many->cap = n;
  g->many = many;
  return true;
}

static void enqueue (G *g, const Case *cases, const int *order, int n) {
  int i;
  park_begin(g, n > 0 ? WAIT_SELECT : WAIT_SELECT_NOTHING);
  goro_check(n == 0 || g->many != NULL);
  if (g->many != NULL) g->many->n = n;
  for (i = 0; i < n; i++) {
    const Case *k = &cases[order[i]];
    Sudog *s = &g->many->at[i];
    s->g = g;
    s->queue = k->c;
    s->index = order[i];
    s->send = k->send;
    s->ok = false;
    s->enqueued = false;
    s->elem = k->send ? k->v : NIL_VALUE;
    if (k->c == NULL) continue;
    waitq_push(k->send ? &k->c->sendq : &k->c->recvq, s);
    if (k->c->host != NULL) chan_recount(k->c);
  }
}

ChanResult select_go (M *m, G *g, Case *cases, int n, bool block, int *which) {
  int few[2 * FEW], *order = few, *locks;
  GList ready = { NULL, NULL };
  ChanResult r;
  if (n > FEW && (order = malloc(2 * (size_t)n * sizeof *order)) == NULL) return SELECT_NOMEM;
  locks = order + n;
  if (block && !room(g, n)) {          /* before anything is published */
    if (order != few) free(order);
    return SELECT_NOMEM;
  }
  shuffle(order, n);
  by_address(cases, locks, n);
  lock_all(cases, locks, n);
  r = look(cases, order, n, which, &ready);
  if (r == CHAN_BUSY && block) {
    enqueue(g, cases, order, n);
    r = CHAN_WAIT;
  }
  unlock_all(cases, locks, n);
  if (order != few) free(order);
  if (r == CHAN_OK && (!cases[*which].send || ready.head != NULL)) stat_add(m, STAT_MESSAGES, 1);
  if (ready.head != NULL) sched_ready(m, ready.head, true);
  return r;
}

ChanResult select_finish (G *g, int *which, Value *v) {
  Sudog *hit = g->wake == WAKE_READY ? g->fired : NULL;
  ChanResult r = CHAN_BUSY;
  int i;
  *v = NIL_VALUE;
  if (g->many == NULL) return r;
  for (i = 0; i < g->many->n; i++) {
    Sudog *s = &g->many->at[i];
    Chan *c = s->queue;
    if (c == NULL) continue;
    if (s == hit) {
      r = s->ok ? CHAN_OK : CHAN_CLOSED;
      *which = s->index;
      if (!s->send) {
        *v = s->elem;
        s->elem = NIL_VALUE;
      }
    }
    else {
      lock_acquire(&c->lock);
      chan_leave_locked(c, s);
      lock_release(&c->lock);
    }
    value_drop(&s->elem);
  }
  g->many->n = 0;
  return r;
}
