/*
** big.h - large blocks, some of which are kept when they are freed.  Layer 1.
*/
#ifndef GORO_BIG_H
#define GORO_BIG_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* Like malloc, realloc and free; the sizes are those that were asked for. */
void *big_new (size_t size);
void *big_resize (void *p, size_t osize, size_t nsize);
void big_free (void *p, size_t size);

#pragma GCC visibility pop

#endif
