/*
** alarm.h - timers that scripts hold: channels on which one sends, and functions that one starts.
** Layer 4.
*/
#ifndef GORO_ALARM_H
#define GORO_ALARM_H

#include "chan.h"

#pragma GCC visibility push(hidden)

/* A channel on which a timer sends the time: goro.after, and t.c of a timer or ticker. */
typedef struct Clock {
  Chan c;                              /* first: it is the object */
  Lock lock;                           /* RANK_ALARM: who sets and stops the timer, one by one */
  OwnedTimer t;
  int64_t period;                      /* [L, timer not set] tickers: nanoseconds; 0: once */
} Clock;

typedef enum AlarmResult {
  ALARM_IDLE,                          /* it was not set, or had fired */
  ALARM_STOPPED,                       /* it was still to fire */
  ALARM_NOMEM
} AlarmResult;

/* What a script holds as a timer begins with this. */
typedef struct ClockRef {
  Obj obj;                             /* OBJ_TIMER */
  Clock *clock;                        /* [I] a reference; NULL: an after_func */
} ClockRef;

/* One that is set: it sends at 'when', and then every 'period' if that is not 0.  NULL: no memory. */
Clock *clock_new (M *m, Host *h, int64_t when, int64_t period);
/* After these no value sent before is received any more. */
AlarmResult clock_stop (Clock *k);
AlarmResult clock_reset (Clock *k, M *m, int64_t when, int64_t period);

/*
** Something that is done when a timer fires, outside of all locks.  'obj' is what holds it, and
** what it needs.  While it is set it holds a reference to obj, and counts in the host's ntimers.
*/
typedef struct Later Later;
struct Later {
  Due due;
  OwnedTimer t;
  Lock lock;                           /* RANK_ALARM */
  Obj *obj;                            /* [I] */
  Host *host;                          /* [I] */
  void (*run) (Later *l, M *m);        /* [I] once for each time it fired */
  _Atomic(uint32_t) fired;             /* [A] times it fired that 'run' has not seen */
};

void later_init (Later *l, Obj *obj, Host *h, void (*run) (Later *l, M *m));
AlarmResult later_stop (Later *l);
AlarmResult later_reset (Later *l, M *m, int64_t when);        /* also the first time */

#pragma GCC visibility pop

#endif
