/*
** image.h - goroutines' states as copies of a template.  Layer 5.
*/
#ifndef GORO_IMAGE_H
#define GORO_IMAGE_H

#include "state.h"

#pragma GCC visibility push(hidden)

void image_init (void);                /* once, after stdlibs_init; GOROIMAGE=0: no images */
bool image_there (void);
/* A new lua_State for 's', with lazy libraries; in s->arena.  NULL: no memory. */
lua_State *image_open (State *s);

#pragma GCC visibility pop

#endif
