/*
** start.h - a goroutine's function and arguments, where its image has the function.  Layer 5.
*/
#ifndef GORO_START_H
#define GORO_START_H

#include "image.h"

#pragma GCC visibility push(hidden)

/* What is filled into the copy: the values of its slots.  Owned by the State, until it starts. */
typedef struct Start {
  uint32_t n;
  uint8_t room;                        /* those it was made for */
  bool strings;                        /* there are some: filling in needs memory */
  Value v[];
} Start;

/*
** The function at 'f' and the 'n' arguments behind it, if there is an image for them: the values,
** and a reference to the image.  NULL: they must be sent as a message.  May raise.
*/
Start *start_capture (lua_State *L, State *s, int f, int n, Image **img);
void start_free (Start *st);
void start_forget (State *s);          /* what it knows of functions it has started */

/* In a new copy: bind its handles. */
void start_bind (State *s, Start *st);
/* Fill in the values: function and arguments are at 'f' and behind.  Raises only if there are
** strings. */
void start_fill (lua_State *L, State *s, Start *st, int f);

#pragma GCC visibility pop

#endif
