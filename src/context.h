/*
** context.h - contexts: cancellation, deadlines and values that a call tree shares.  Layer 4.
*/
#ifndef GORO_CONTEXT_H
#define GORO_CONTEXT_H

#include "chan.h"
#include "smap.h"

#pragma GCC visibility push(hidden)

enum { CTX_OK, CTX_CANCELED, CTX_DEADLINE };       /* Context.err */

typedef struct Context Context;
struct Context {
  Obj obj;
  Context *parent;                     /* [I] a reference; NULL: a background */
  Context *core;                       /* [I] itself, or the nearest above that can be cancelled;
                                          NULL: there is none, it never will be done */
  /* with a value */
  Value key, value;                    /* [I] key nil: it has none */
  /* those that can be cancelled: core is itself */
  Context *root;                       /* [I] the topmost of them; its lock is the tree's */
  Lock lock;                           /* RANK_OBJECT */
  _Atomic(uint32_t) err;               /* [A] CTX_; changes once, under the lock */
  Value cause;                         /* [I] once err is set; nil: none was given */
  Context *children;                   /* [L:root] not counted */
  Context *next, **link;               /* [L:root] in the parent's list; link NULL: not in it */
  Context *chain;                      /* [L:root] of whom a cancellation reaches */
  G *waiters, **waiters_end;           /* [L:root] goroutines whose time-out it is */
  Chan *done;                          /* [L:root] not counted; NULL: nobody holds one */
  int64_t deadline;                    /* [I] its own or one above, FOREVER: none */
  Host *host;                          /* [I] of who made it */
  bool own_timer;                      /* [I] the deadline is its own: 'timer' is set */
  OwnedTimer timer;
};

/* How long a call may wait: until a moment (FOREVER, 0: don't), and while 'ctx', if there is one,
** is not done. */
typedef struct Limit {
  int64_t until;
  Context *ctx;                        /* one that can be cancelled, or NULL */
} Limit;

static const Limit NO_LIMIT = { FOREVER, NULL }, NO_WAIT = { 0, NULL };

extern Context context_background, context_todo;   /* never freed */

/* A child of 'parent' that can be cancelled, with a deadline or FOREVER.  NULL: no memory. */
Context *context_new (Context *parent, M *m, Host *h, int64_t deadline);
/* One that holds a value too; takes both, also when it returns NULL: no memory. */
Context *context_with_value (Context *parent, Value *key, Value *value);
const Value *context_value (const Context *c, const Probe *key);       /* NULL: none */

static inline uint32_t context_err (const Context *c) {        /* acquire: its cause is there */
  return c->core == NULL ? CTX_OK : load_acq(&c->core->err);
}

/* Cancel 'c', which can be cancelled, and all below it.  Takes 'cause'.  false: it was done. */
bool context_cancel (Context *c, M *m, Value *cause);

/* The channel that is closed when it is done; a reference, NULL: no memory. */
Chan *context_done (Context *c, Host *h);

/* For leaks.c: whose done channel it is, or NULL; what it reaches without holding it, each with a
** reference for 'f' to keep. */
Context *context_of_done (Chan *c);
void context_each_below (Context *c, void (*f) (void *ud, Obj *o), void *ud);

/* For waits (wait_k): after park_begin let 'c' end the wait of 'g' too.  WAKE_READY: it will;
** else it is done already, and nothing was entered.  After the wait: context_leave. */
Wake context_enter (Context *c, G *g);
void context_leave (G *g);
static inline Wake context_wake (uint32_t err) {
  return err == CTX_OK ? WAKE_READY : err == CTX_CANCELED ? WAKE_CANCELED : WAKE_DEADLINE;
}

#pragma GCC visibility pop

#endif
