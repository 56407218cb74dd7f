/*
** slab.h - the pieces of memory that goroutines' states are copies in.  Layer 1.
*/
#ifndef GORO_SLAB_H
#define GORO_SLAB_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

#define SLAB_UNIT 16u                  /* what sizes are rounded up to */
#define slab_round(size) (((size) + SLAB_UNIT - 1) / SLAB_UNIT * SLAB_UNIT)

/* Like malloc and free; the size must be told again.  From any thread. */
void *slab_alloc (size_t size);        /* NULL: no memory */
void slab_free (void *p, size_t size);

#pragma GCC visibility pop

#endif
