/*
** unmarshal.h - what the decoder's files share: unmarshal.c (values, messages) and
** unmarshal_class.c.  Layer 5.
*/
#ifndef GORO_UNMARSHAL_H
#define GORO_UNMARSHAL_H

#include <string.h>
#include "classes.h"
#include "marshal.h"

#pragma GCC visibility push(hidden)

enum { F_TABLE, F_FIELDS, F_FUNC };

typedef struct DFrame {
  int idx;                             /* stack: the table or function */
  uint32_t narr, nhash;                /* still to come, in all */
  uint32_t i;                          /* array elements or upvalues set */
  uint8_t nup, kind;
  bool meta;                           /* a metatable comes */
} DFrame;

typedef struct DRun {                  /* all values, or the function of a MAKE */
  uint32_t done;                       /* of those put off here */
  int nframes;
  DFrame frames[DEPTH + 2];
} DRun;

/* Of what was put off: malloc'ed, known to the session, which frees it if something raises. */
typedef struct Sizes {
  struct Sizes *next, **link;
  uint32_t cap;
  struct { uint32_t narr, nhash; bool meta; } of[];
} Sizes;

typedef struct Fill { ClassRec *r; Version *v; } Fill;         /* counted */

/* One message, with the bodies of the classes that come with it. */
typedef struct DSession {
  lua_State *L;
  State *s;
  bool entered;                        /* classes_enter */
  Fill *fills;
  uint32_t nfills, capfills, filled;
  Sizes *sizes;                        /* those in use */
} DSession;

typedef struct Dec {
  lua_State *L;
  State *s;
  DSession *x;
  const Msg *m;
  const Version *v;                    /* a class's body: of this version */
  const char *p, *end;
  int objs;                            /* stack: objs[number + 1]; nil: not needed */
  int later;                           /* stack: what comes later, in order; nil: nothing yet */
  int class;                           /* stack: the class pushed last */
  int module;                          /* stack: the module's value pushed last */
  uint32_t nobj, nshared;
  uint32_t last_class;                 /* its number + 1 */
  const char *modref, *modref_end;     /* where its path stands */
  Sizes *sizes;                        /* of what comes later */
  uint32_t nlater;
  int depth;                           /* of MAKEs */
  DRun *run;
} Dec;

/* unmarshal.c */
_Noreturn void dec_broken (Dec *d);
_Noreturn void dec_no_memory (lua_State *L);
DFrame *dec_frame (Dec *d, int kind);            /* the table or function is on top */
bool dec_value (Dec *d);               /* push one; false: it became the frame in work ... */
void dec_run (Dec *d);                 /* ... which this completes */
void dec_begin (Dec *d, DSession *x, const Msg *m, DRun *run, int depth);
void dec_finish (Dec *d);

/* unmarshal_class.c */
void dec_push_class (Dec *d, Class *c, Version *v);
void dec_work_off (DSession *x, int depth);      /* fill the classes in the queue */

static inline void need (Dec *d, size_t n) {
  if ((size_t)(d->end - d->p) < n) dec_broken(d);
}

static inline int get (Dec *d) { need(d, 1); return (unsigned char)*d->p++; }

static inline uint32_t get_u32 (Dec *d) {
  uint32_t v;
  need(d, 4);
  memcpy(&v, d->p, 4);
  d->p += 4;
  return v;
}

static inline void get_word (Dec *d, void *v) {
  need(d, 8);
  memcpy(v, d->p, 8);
  d->p += 8;
}

#pragma GCC visibility pop

#endif
