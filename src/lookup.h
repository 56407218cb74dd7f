/*
** lookup.h - names of hosts, looked up.  Layer 4.
**
** The C library's getaddrinfo blocks, for seconds if a name server is away, and cannot be given up.
** So it runs on threads of its own, few and only while there is work; a goroutine waits for its
** result as for anything else and may give up, which leaves the rest to the thread.
*/
#ifndef GORO_LOOKUP_H
#define GORO_LOOKUP_H

#include "sock.h"
#include "waitq.h"

#pragma GCC visibility push(hidden)

#define LOOKUP_MAX 16                  /* addresses of one name that are used */

typedef struct Lookup {
  _Atomic(uint32_t) refs;
  struct Lookup *next;                 /* [L:jobs] waits for a thread */
  AddrText text;                       /* [I] */
  Lock lock;                           /* RANK_OBJECT */
  bool done;                           /* [L] */
  WaitQ waiters;                       /* [L] */
  int n;                               /* [I] once done: addresses; 0: see why */
  const char *why;
  Addr addrs[LOOKUP_MAX];
} Lookup;

Lookup *lookup_start (const AddrText *t);        /* a reference; NULL: errno */
/* true: parking has begun; park, then lookup_wait_end.  false: it is done. */
bool lookup_wait (Lookup *l, G *g);
bool lookup_wait_end (Lookup *l, G *g);          /* true: it is done */
void lookup_unref (Lookup *l);

#pragma GCC visibility pop

#endif
