/*
** waitq.h - a queue of waiting goroutines, first come, first served.  Layer 3.
** Everything here is called with the lock of the object that the queue belongs to.
*/
#ifndef GORO_WAITQ_H
#define GORO_WAITQ_H

#include "park.h"

#pragma GCC visibility push(hidden)

static inline void waitq_push (WaitQ *q, Sudog *s) {
  s->next = NULL;
  s->prev = q->tail;
  if (q->tail != NULL) q->tail->next = s;
  else q->head = s;
  q->tail = s;
  s->enqueued = true;
}

static inline void waitq_push_front (WaitQ *q, Sudog *s) {
  s->prev = NULL;
  s->next = q->head;
  if (q->head != NULL) q->head->prev = s;
  else q->tail = s;
  q->head = s;
  s->enqueued = true;
}

static inline void waitq_remove (WaitQ *q, Sudog *s) {
  if (s->prev != NULL) s->prev->next = s->next;
  else q->head = s->next;
  if (s->next != NULL) s->next->prev = s->prev;
  else q->tail = s->prev;
  s->next = s->prev = NULL;
  s->enqueued = false;
}

/* Take off the first whose wait we can claim; the caller readies s->g (after the unlock). */
static inline Sudog *waitq_pop (WaitQ *q) {
  Sudog *s;
  while ((s = q->head) != NULL) {
    G *g = s->g;
    waitq_remove(q, s);
    if (wait_claim(g, WAKE_READY)) {
      g->fired = s;
      return s;
    }
  }                                    /* lost to a time-out or another case: it knows */
  return NULL;
}

#pragma GCC visibility pop

#endif
