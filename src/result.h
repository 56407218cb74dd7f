/*
** result.h - how a goroutine ended: results or an error, shared by who waits for it.  Layer 2.
*/
#ifndef GORO_RESULT_H
#define GORO_RESULT_H

#include "msg.h"

#pragma GCC visibility push(hidden)

typedef struct Result {
  _Atomic(uint32_t) refs;
  bool ok;                             /* [I] */
  _Atomic(uint32_t) seen;              /* [A] somebody was given the error */
  Value v;                             /* [I] results as one message (nil: none), or the error */
  char *traceback;                     /* [I] or NULL */
  char *text;                          /* [I] the error as a line, for stderr; or NULL */
} Result;

/* Takes over v, traceback and text.  NULL: no memory (they are released). */
Result *result_new (bool ok, Value *v, char *traceback, char *text);
static inline Result *result_ref (Result *r) { add_rlx(&r->refs, 1); return r; }
/* The last reference of an error that nobody has seen prints it on stderr. */
void result_unref (Result *r);
/* The one that says that there was no memory for another; a reference. */
Result *result_no_memory (void);
bool result_is_no_memory (const Result *r);
void result_report (Result *r);        /* print it now */

#pragma GCC visibility pop

#endif
