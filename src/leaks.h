/*
** leaks.h - goroutines that nobody can ever wake.  Layer 5.
*/
#ifndef GORO_LEAKS_H
#define GORO_LEAKS_H

#include "report.h"

#pragma GCC visibility push(hidden)

typedef struct Leak {
  uint64_t id;
  char *name;                          /* or NULL */
  Text waiting, traceback;
} Leak;

typedef struct Leaks { Leak *list; size_t n; } Leaks;

/*
** Find those of 'h'.  The world stands still.  NULL: no memory.  When it goes on again:
** leaks_let_go (false: there was not enough memory), then leaks_free.
*/
typedef struct Search Search;
Search *leaks_find (Host *h, Leaks *out);
bool leaks_let_go (Search *x);
void leaks_free (Leaks *out);

#pragma GCC visibility pop

#endif
