/*
** fault.h - allocations that fail on demand, and a count of what is allocated.  Layer 0.
**
** Test builds (-DGORO_FAULTS) put this file before every other (-include): malloc and the like
** become functions of fault.c, which let the one fail that a test has chosen, and count the
** blocks that are in use.  The allocators of Lua states ask fault_lua.  In release builds all of
** this is nothing.
**
** "The n-th fails" counts the allocations of the whole process from fault_arm on.
** FAULT_ONCE: that one alone (Lua asks again after a collection: that is refused too).
** FAULT_ALL: every one from there on, as when memory has really run out.
**
** GOROGC=n: about each n-th new object of a goroutine's state, and each 100 n-th of a host's that
** was asked to (lua_fault.c), is refused once, and so comes after a full collection; what goro
** holds by an address alone is gone then.  Goroutines' collectors hardly rest, too (state.c).
*/
#ifndef GORO_FAULT_H
#define GORO_FAULT_H

#if defined(GORO_FAULTS) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>

#if defined(GORO_FAULTS)

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC visibility push(hidden)

enum { FAULT_NONE, FAULT_ONCE, FAULT_ALL };

void fault_arm (uint32_t mode, uint64_t n);        /* the n-th from now on; 0: none, but count */
uint64_t fault_disarm (uint64_t *asked);           /* how many failed, and were asked for */
int64_t fault_blocks (void);                       /* in use; from the first call on ... */
bool fault_pools (void);               /* ... no memory is kept for reuse */

/* In a lua_Alloc: is this request to be refused? */
bool fault_lua (const void *p, size_t osize, size_t nsize);
/* The same for GOROGC, of a state that is complete: it will collect and ask again.  (Objects only:
** luaL_Buffer asks the allocator itself, and but once.)  'rare': each how many n-th. */
bool fault_collect (const void *p, size_t kind, uint32_t rare);
bool fault_collects (void);            /* is it on? */

void *fault_malloc (size_t n);
void *fault_calloc (size_t n, size_t size);
void *fault_realloc (void *p, size_t n);
void *fault_aligned_alloc (size_t alignment, size_t n);
char *fault_strdup (const char *s);
void fault_free (void *p);

#pragma GCC visibility pop

#if !defined(FAULT_PLAIN)
#define malloc(n) fault_malloc(n)
#define calloc(n, size) fault_calloc(n, size)
#define realloc(p, n) fault_realloc(p, n)
#define aligned_alloc(alignment, n) fault_aligned_alloc(alignment, n)
#undef strdup
#define strdup(s) fault_strdup(s)
#define free(p) fault_free(p)
#endif

#else
#define fault_lua(p, osize, nsize) false
#define fault_collect(p, kind, rare) false
#endif

#endif
