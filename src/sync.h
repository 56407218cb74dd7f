/*
** sync.h - Once, Cond, Semaphore, Atomic.  Layer 4.
*/
#ifndef GORO_SYNC_H
#define GORO_SYNC_H

#include "mutex.h"

#pragma GCC visibility push(hidden)

/* ---- Once ---- */

typedef enum OnceState {
  ONCE_NEW, ONCE_RUNNING,
  ONCE_DONE,                           /* 'v': the results as one message, nil: none */
  ONCE_FAILED,                         /* 'v': the error */
  ONCE_LOST,                           /* there was no memory to keep the error */
  ONCE_ABANDONED                       /* its function will never end */
} OnceState;

typedef struct Once {
  Obj obj;
  Lock lock;                           /* RANK_OBJECT */
  _Atomic(uint32_t) state;             /* [A] OnceState; changed under the lock */
  G *runner;                           /* [L] while RUNNING: for comparison */
  WaitQ waiters;                       /* [L] */
  Value v;                             /* [I] once state is DONE or FAILED */
} Once;

typedef enum OnceResult {
  ONCE_OVER,                           /* it has run: look at state and v */
  ONCE_RUN,                            /* the caller must run it, then call once_end */
  ONCE_RECURSIVE,                      /* the caller is running it */
  ONCE_WAIT                            /* parking has begun; then once_finish */
} OnceResult;

Once *once_new (void);                 /* NULL: no memory */
OnceResult once_enter (Once *o, G *g);
void once_finish (Once *o, G *g);      /* after a wait: leaves the queue */
void once_end (Once *o, M *m, OnceState how, Value *v);        /* takes v */

/* ---- Cond ---- */

typedef struct Cond {
  Obj obj;
  Lock lock;                           /* RANK_OBJECT */
  WaitQ waiters;                       /* [L] */
  Mutex *mutex;                        /* [I] a reference */
} Cond;

Cond *cond_new (Mutex *mu);            /* NULL: no memory */
/* Enter the queue, then unlock the mutex; parking has begun, then call cond_finish.  false: the
** mutex is not locked, nothing happened. */
bool cond_wait (Cond *c, M *m, G *g);
void cond_finish (Cond *c, G *g);      /* after a wait: leaves the queue */
void cond_signal (Cond *c, M *m, bool all);

/* ---- Semaphore ---- */

typedef struct Semaphore {
  Obj obj;
  Lock lock;                           /* RANK_OBJECT */
  int64_t size;                        /* [I] */
  int64_t held;                        /* [L] 0 .. size */
  WaitQ waiters;                       /* [L] elem.u.i: how many each wants */
} Semaphore;

Semaphore *semaphore_new (int64_t size);           /* NULL: no memory */
/* 'k' at most size.  false: !block, and it would have to wait; or parking has begun, then
** semaphore_finish. */
bool semaphore_acquire (Semaphore *sem, G *g, int64_t k, bool block);
/* After a wait.  true: acquired.  false: gave up (g->wake). */
bool semaphore_finish (Semaphore *sem, M *m, G *g);
bool semaphore_release (Semaphore *sem, M *m, int64_t k);      /* false: more than is held */

/* ---- Atomic ---- */

typedef struct Atomic {
  Obj obj;
  _Atomic(uint64_t) v;                 /* [A] sequentially consistent; unsigned: wraps around */
} Atomic;

Atomic *atomic_new (int64_t v);        /* NULL: no memory */

#pragma GCC visibility pop

#endif
