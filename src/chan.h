/*
** chan.h - channels.  Layer 4.
*/
#ifndef GORO_CHAN_H
#define GORO_CHAN_H

#include "waitq.h"

#pragma GCC visibility push(hidden)

typedef enum ChanResult { CHAN_OK, CHAN_CLOSED, CHAN_BUSY, CHAN_WAIT } ChanResult;

/*
** What each operation writes stands in one line of the cache, apart from what they all only read:
** two Ps that use one channel take that line from each other.  (chan_new sees to it; a channel that
** is part of something larger lies where that does.)
*/
#define CHAN_LINE 64

typedef struct Chan {
  Obj obj;
  int32_t cap;                         /* [I] */
  uint8_t type;                        /* [I] what layer 6 checks on send; 0: anything */
  Value *buf;                          /* [I] cap slots, which are [L] */
  char *name;                          /* [I] or NULL */
  void (*on_close) (struct Chan *);    /* [I] or NULL: called by who closes it, no lock held */
  Host *host;                          /* [I] whose timers may end a receive; NULL: none will */
  void *block;                         /* [I] chan_new's: what malloc gave */
  /* the line */
  Lock lock;                           /* RANK_CHAN */
  bool closed;                         /* [L] */
  bool timed;                          /* [L] one is set that will */
  bool counted;                        /* [L] in host->ntimers: C4 */
  _Atomic(int64_t) count;              /* [L] values in buf; read by len() without */
  int64_t first;                       /* [L] the oldest one's place */
  WaitQ recvq, sendq;                  /* [L] */
#if defined(GORO_CHAOS)
  uintptr_t number;                    /* [I] addresses differ from run to run, this does not */
#endif
} Chan;

/* In which order the locks of several channels are taken. */
#if defined(GORO_CHAOS)
#define chan_order(c) ((c) != NULL ? (c)->number : 0)
#else
#define chan_order(c) ((uintptr_t)(c))
#endif

#define CHAN_MAX_CAP INT32_MAX

Chan *chan_new (int64_t cap, uint8_t type, const char *name);   /* NULL: no memory */
/* The same for one that is part of something larger, which has its own 'destroy'. */
bool chan_init (Chan *c, int64_t cap, uint8_t type, const char *name,
                void (*destroy) (Obj *o));
void chan_fini (Chan *c);              /* in that destroy: releases what the channel holds */

/*
** Send '*v', or receive into it.  CHAN_OK: done, '*v' is the channel's (or ours).  CHAN_CLOSED:
** send: '*v' stays the caller's; recv: '*v' is nil.  CHAN_BUSY (only if !block): nothing
** happened.  CHAN_WAIT: g stands in the queue, parking has begun (g->own.elem holds the value);
** the caller must now park g, and call chan_finish after it woke.
*/
ChanResult chan_send (Chan *c, M *m, G *g, Value *v, bool block);
ChanResult chan_recv (Chan *c, M *m, G *g, Value *v, bool block);

/*
** After a wait: leave the queue.  The result: CHAN_OK or CHAN_CLOSED; CHAN_BUSY if the wait
** ended for another reason (g->wake).  For a receive '*v' is the value; for a send that did
** not happen '*v' is the value, the caller's again.
*/
ChanResult chan_finish (Chan *c, G *g, Value *v);

bool chan_close (Chan *c, M *m);       /* false: was closed */
int64_t chan_len (Chan *c);

/* For select.c: the same steps with the locks held by the caller. */
ChanResult chan_try_locked (Chan *c, bool send, Value *v, GList *ready);
void chan_leave_locked (Chan *c, Sudog *s);        /* out of the queue it may still be in */
/* A receiver was put into recvq. */
void chan_recount (Chan *c);

/* For timers: put a value without blocking, drop it if there is no room.  'timed': as below. */
void chan_offer (Chan *c, const Value *v, bool timed, GList *ready);
/* c->host is set.  Will a timer end a receive from now on?  Only then does a goroutine that
** waits here not count as asleep for good. */
void chan_set_timed (Chan *c, bool timed);
bool chan_clear (Chan *c);             /* drop what is buffered; true: there was something */
/* Close, under the caller's locks; who waits is put into 'ready'.  false: was closed. */
bool chan_shut (Chan *c, GList *ready);

#pragma GCC visibility pop

#endif
