/*
** arena.h - the allocator of goroutine states.  Layer 1.
**
** One owner at a time, no locks: a state's memory comes from a few chunks of its own, by size
** class, and large blocks from malloc.  All of it can be given back at once, without walking.
**
** An arena can be copied: one whose blocks all lie in its first chunk (arena_new with 'inner')
** is a piece of memory in which every pointer to a block is a word that holds an address inside
** that piece.  arena_pointers finds these words, arena_copy makes a copy in which they point
** into the copy.
*/
#ifndef GORO_ARENA_H
#define GORO_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct Arena Arena;

/* First chunks given back, to be used again: one thread's.  All zero when new. */
#define POOL_SIZE 16
typedef struct ArenaPool { Arena *free[POOL_SIZE]; } ArenaPool;

/* 'first': bytes of its first chunk; 'inner': large blocks come from it too, as long as there is
** room.  NULL: no memory. */
Arena *arena_new (size_t first, bool inner);
Arena *arena_new_aligned (size_t first);         /* inner; for states in which scripts run */
void arena_free (Arena *a, ArenaPool *pool);     /* and every block in it; 'pool' may be NULL */
void arena_pool_drop (ArenaPool *pool);
void *arena_realloc (Arena *a, void *p, size_t osize, size_t nsize);   /* NULL: no memory, or
                                                                          over the limit */
void arena_limit (Arena *a, size_t bytes);     /* 0: none */
/* From now on chunks are small: little is left over in the last one, and others may come to be free
** as a whole.  What was so before. */
bool arena_fine (Arena *a, bool on);
void arena_trim (Arena *a);            /* give back chunks in which nothing is in use; comes of itself
                                          where three quarters of them are free */
size_t arena_used (const Arena *a);    /* bytes in blocks handed out */

/* Where the words are that hold pointers into 'a', as offsets in words; malloc'ed.  -1: no
** memory, or 'a' has blocks outside its first chunk. */
long arena_pointers (const Arena *a, uint32_t **offsets);
/* A copy with 'slack' more bytes; NULL: no memory.  'pool' may be NULL. */
Arena *arena_copy (const Arena *a, size_t slack, const uint32_t *offsets, long n,
                   ArenaPool *pool);
/* A copy of 'a', an aligned one with nothing outside its first chunk, without what is free in it;
** NULL: no memory.  It may lie anywhere, and its copies.  '*p', a block, is set to where it lies in
** the copy. */
Arena *arena_compact (const Arena *a, void **p);
size_t arena_extent (const Arena *a);  /* bytes of its chunks and large blocks */
size_t arena_size (const Arena *a);    /* bytes of a copy without slack */
size_t arena_need (const Arena *a);    /* the same, with what its further chunks hold */
/* Where in 'to', a copy of 'from', the block lies that is 'p' in 'from'. */
#define arena_moved(from, to, p) \
  ((void *)((char *)(p) + ((char *)(to) - (const char *)(from))))

#pragma GCC visibility pop

#endif
