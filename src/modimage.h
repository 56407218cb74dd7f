/*
** modimage.h - images with modules in them.  Layer 5.
*/
#ifndef GORO_MODIMAGE_H
#define GORO_MODIMAGE_H

#include "image.h"

#pragma GCC visibility push(hidden)

/* The modules that a message asks its receiver for, in the order they are met. */
typedef struct ModNames {
  bool on;                             /* they are being collected */
  bool over;                           /* there are too many */
  size_t len;
  char text[1000];                     /* each ended by a NUL */
} ModNames;

/* A goroutine is about to be started by a message: collect, until modimage_choose. */
void modimage_begin (State *s);
/* The encoder has put down a reference to this module. */
void modimage_note (State *s, const char *name, size_t len);

/*
** The image for the modules collected and this heritage, a new reference; it may not be ready yet:
** modimage_decide, when the goroutine is to run, drops one that is not.  NULL: there is none.  Then
** '*make', if not NULL, is one that the new goroutine is to make of its own state, a reference: its
** 'making'.
*/
Image *modimage_choose (State *s, Heritage *h, Image **make);
void modimage_appoint (State *s, Image *make);     /* takes that reference; NULL: nothing */
void modimage_decide (State *s);       /* s->image is one of modimage_choose's: can it be used? */

/* The goroutine that makes one: its state is opened in an arena that can be copied (NULL: no
** memory), modimage_load runs first in it, then modimage_take, when it has returned. */
lua_State *modimage_open (State *s);
int modimage_load (lua_State *L);
void modimage_take (State *s);
void modimage_give_up (State *s);      /* it ends before that */
/* It has read a file for a module. */
void modimage_file (State *s, const char *path, const FileId *id);
/* It has looked for a module's file; 'file' NULL: in vain. */
void modimage_search (State *s, const char *name, const char *path, const char *file);

/* In a goroutine whose state is a copy, or was taken one of, before its function runs.  Raises
** without memory. */
void modimage_wake (lua_State *L, State *s);

/* goro.fresh: these modules (all: a NULL name) are in no image from now on.  false: no memory. */
bool modimage_fresh (const char *name);

#pragma GCC visibility pop

#endif
