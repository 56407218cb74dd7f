/*
** class.h - classes on their way between goroutines: identity and versions.  Layer 2.
**
** A Class is the identity that a table in one state, its home, has in the whole process.  What it
** holds crosses as Versions, which are constant once they are published: the first is the whole
** class, the next ones what has changed since (or the whole again, now and then).  A message
** holds references to the versions that its objects need; so does a state to the version its
** own copy is like.
**
** Classes refer to each other, in cycles: their bodies name other classes without counting.  A
** class is alive while a state knows it, a version of it is held from outside, or a living class
** refers to it; a mark and sweep over all of them, run when their number has doubled, finds the
** others.
*/
#ifndef GORO_CLASS_H
#define GORO_CLASS_H

#include "msg.h"

#pragma GCC visibility push(hidden)

typedef struct Class {
  struct Class *next;                  /* [L:classes] */
  struct Version *current;             /* [L:classes] counted; NULL: not published yet */
  struct Class *work;                  /* [L:classes] marked, its references not followed yet */
  _Atomic(uint32_t) holders;           /* [A] states that know it */
  bool marked;                         /* [L:classes] */
  uint64_t home;                       /* [I] number of the state whose table it is */
} Class;

typedef struct Version {
  Obj o;                               /* held by messages, states, later versions, the class */
  Class *c;                            /* [I] */
  uint64_t no;                         /* [I] 1, 2 ...; one state gives them */
  struct Version *prev;                /* [I] counted: this one tells what changed since 'prev';
                                          NULL: it tells all */
  Msg *body;                           /* [I] see classes.h; NULL: nothing changed but deps */
  Class **deps;                        /* [I] the classes that 'body' names, by number */
  uint32_t ndeps, capdeps;
  uint32_t nfields;                    /* [I] of the class, to make a table of that size */
  uint32_t length;                     /* [I] versions from here to the whole one */
  uint32_t later;                      /* [L:classes] versions whose 'prev' it is */
  struct Version *next, **link;        /* [L:classes] all published ones */
} Version;

Class *class_new (uint64_t home);      /* holders 1; NULL: no memory */
void class_release (Class *c);         /* one holder less */

/* A version to be filled in and published, or unref'ed.  'prev' may be NULL.  NULL: no memory. */
Version *version_new (Class *c, uint64_t no, Version *prev);
bool version_dep (Version *v, Class *c);         /* one more; false: no memory */
#define version_unref(v) obj_unref(&(v)->o)

/*
** Publish 'n' versions together: each becomes its class's current one, unless that is newer.
** They must be reachable only by the caller until now.  vs[] is used up (not the references).
*/
void class_publish (Version **vs, uint32_t n);

/* The current version, a new reference.  The caller holds something that keeps 'c' alive. */
Version *class_latest (Class *c);

void class_sweep (void);               /* free what nobody can reach */
uint32_t class_count (void);           /* how many there are, dead ones included */

#pragma GCC visibility pop

#endif
