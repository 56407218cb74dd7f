/*
** arena.h - the allocator of goroutine states.  Layer 1.
**
** One owner at a time, no locks: a state's memory comes from a few chunks of its own, by size
** class, and large blocks from malloc.  All of it can be given back at once, without walking.
*/
#ifndef GORO_ARENA_H
#define GORO_ARENA_H

#include <stddef.h>
#include <stdbool.h>

typedef struct Arena Arena;

Arena *arena_new (size_t first);       /* 'first': bytes of its first chunk; NULL: no memory */
void arena_free (Arena *a);            /* and every block in it */
void *arena_realloc (Arena *a, void *p, size_t osize, size_t nsize);   /* NULL: no memory, or
                                                                          over the limit */
void arena_limit (Arena *a, size_t bytes);     /* 0: none */
size_t arena_used (const Arena *a);    /* bytes in blocks handed out */
/* Where the first chunk's blocks begin, and how much of it is in use: see image.c. */
char *arena_base (Arena *a);
size_t arena_top (const Arena *a);
/* A copy of 'a' whose first chunk holds the first 'top' bytes of it, and nothing else.  'a' must
** have only that chunk, no large blocks. */
Arena *arena_clone (const Arena *a, size_t slack);
bool arena_is_single (const Arena *a);

#endif
