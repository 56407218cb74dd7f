/*
** encode.h - what the encoder's files share: encode.c (bytes, values, messages), encode_class.c,
** encode_make.c (__goro), encode_path.c (errors).  Layer 5.
*/
#ifndef GORO_ENCODE_H
#define GORO_ENCODE_H

#include <string.h>
#include "classes.h"
#include "marshal.h"

#pragma GCC visibility push(hidden)

enum { F_TABLE, F_FIELDS, F_FUNC };

typedef struct Frame {
  int idx;                             /* stack: the object; a table's key comes above it */
  uint8_t kind;
  bool pairs;                          /* table: past the array part */
  bool meta, at_meta;                  /* table: it has a metatable; which is in work */
  bool data;                           /* fields: the second time round */
  int nup, i;                          /* function: upvalues, the one in work */
  uint32_t number;
  size_t at;                           /* table: where its sizes go */
  uint32_t narr, nhash;
} Frame;

typedef struct IdSlot { const void *p; uint32_t n; } IdSlot;

/* What is encoded as one piece: all values, or the function of a MAKE. */
typedef struct Run {
  struct Run *up;                      /* MAKE: the one in which the object stands */
  const void *making;                  /* MAKE: the object */
  uint32_t done;                       /* of those put off here */
  int nframes;
  Frame frames[DEPTH + 1];
} Run;

/* A class that this message publishes. */
typedef struct Pending {
  ClassRec *r;
  Version *v;
  Shape shape;                         /* the one before, to be put back or freed */
  uint64_t above[ABOVE];
  bool job;                            /* it has a body; the job is in the list */
  bool was_dirty;
} Pending;

enum { JOB_TABLE = 1, JOB_KEPT, JOB_PATH, JOB_VALUES };        /* a job's fields; five values */

/* One message, with the bodies of the classes it publishes. */
typedef struct Session {
  lua_State *L;
  State *s;
  struct Enc *main;                    /* the message's encoder ... */
  struct Enc *body;                    /* ... and the bodies', malloc'ed; NULL: none so far */
  int later, made, jobs;               /* stack: tables (nil until used): what was put off;
                                          { [object] = function }; one for each Pending */
  uint64_t serial;                     /* 0: no class so far */
  Pending *pending;
  uint32_t npending, cappending;
  bool looked;                         /* for modules that came without require */
  bool body_data;                      /* a body holds a table that is data */
  bool again;
  char above[40];                      /* the way from the class in work to the one looked at */
} Session;

typedef struct Enc {
  lua_State *L;
  State *s;
  Session *x;
  Msg *m;
  Version *v;                          /* a class's body: of this version */
  int job;                             /* stack: its job; 0: the message */
  uint64_t serial;
  size_t *later_at;                    /* what was put off: where their sizes go */
  uint32_t *later_number;
  uint32_t nlater, caplater;
  uint32_t nobj;                       /* tables, functions, made objects numbered */
  IdSlot few[8], *ids;
  uint32_t nids, capids;
  struct { uint32_t f; int i; } *owners;         /* upvalues met, by number */
  uint32_t nowners, capowners;
  const void *globals;
  const void *last_meta;               /* the metatable met last: a class, and fit to cross */
  uint32_t last_class;
  const void *last_modref;             /* the same for one of a module's: where it was put down */
  size_t modref_at, modref_end;
  uint32_t heritage;                   /* number of the reference to the sender's, + 1 */
  bool shared;                         /* some number is referred to */
  Run *run;
  Run first;                           /* (last: it is not cleared) */
} Enc;

/* encode.c.  A value is on top of the stack and is popped, or it becomes the frame in work. */
_Noreturn void enc_no_memory (Enc *e);
uint32_t enc_number (Enc *e, const void *p);     /* the number of one not met before */
void enc_value (Enc *e, bool is_key);
void enc_modref (Enc *e);              /* by reference; its path is on top, popped */
void enc_look (Enc *e);                /* once a message: modules that came without require */
Frame *enc_frame (Enc *e, int kind, uint32_t n);
void enc_run (Enc *e);                 /* until the frames of this Run are done */
void enc_run_later (Enc *e, uint32_t from);      /* what was put off since then */
void enc_begin (Enc *e, Session *x, Msg *m, uint32_t n);
void enc_finish (Enc *e);

/* encode_path.c.  Raise: 'what' (NULL: the value on top) cannot cross. */
_Noreturn void enc_cannot (Enc *e, const char *what, const char *why);
_Noreturn void enc_cannot_send (Enc *e, const char *what, const char *why);
bool enc_path (Enc *e);                /* push where we are; false: at the top */

/* encode_make.c */
void enc_make (Enc *e);                /* object and its __goro on top: popped */
void enc_met (Enc *e, const void *p, uint32_t n);          /* on top, met before: popped */

/* encode_class.c */
ClassRec *enc_new_class (Enc *e, int idx);       /* the table there turns out to be one */
bool enc_as_ever (Enc *e, ClassRec *r, int t);
uint32_t enc_class_number (Enc *e, ClassRec *r); /* of the class on top, which stays */
void enc_metatable (Enc *e);           /* on top, always a class: popped */
void enc_check_finaliser (Enc *e, int class);
void enc_body (Session *x, uint32_t k);          /* of the k-th class to be published */
void enc_above (Session *x, Pending *p);
void enc_again (Session *x);           /* forget what is encoded so far */
void enc_commit (Session *x);          /* publish them all: nothing can fail from here */


static inline char *room (Enc *e, size_t n) {
  if (!msg_room(e->m, n)) enc_no_memory(e);
  return e->m->bytes + e->m->len;
}

static inline void put (Enc *e, int tag) { *room(e, 1) = (char)tag; e->m->len++; }

static inline void put_bytes (Enc *e, const void *p, size_t n) {
  memcpy(room(e, n), p, n);
  e->m->len += n;
}

static inline void put_u32 (Enc *e, uint32_t v) { put_bytes(e, &v, sizeof v); }

static inline void put_number (Enc *e, int tag, uint32_t v) {
  char *b = room(e, 5);
  b[0] = (char)tag;
  memcpy(b + 1, &v, 4);
  e->m->len += 5;
}

static inline void put_word (Enc *e, int tag, const void *p) {         /* tag and 8 bytes */
  char *b = room(e, 9);
  b[0] = (char)tag;
  memcpy(b + 1, p, 8);
  e->m->len += 9;
}

static inline void put_reference (Enc *e, uint32_t n) {
  put_number(e, T_REF, n);
  e->shared = true;
}

/* A reference in the message; its number. */
static inline uint32_t put_object (Enc *e, Obj *o) {
  int64_t n = msg_add_obj(e->m, o);
  if (n < 0) enc_no_memory(e);
  return (uint32_t)n;
}

static inline uint32_t id_hash (const void *p) {
  return (uint32_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

static inline IdSlot *id_slot (IdSlot *t, uint32_t cap, const void *p) {
  uint32_t i = id_hash(p) & (cap - 1);
  while (t[i].p != NULL && t[i].p != p) i = (i + 1) & (cap - 1);
  return &t[i];
}

static inline bool id_find (Enc *e, const void *p, uint32_t *n) {
  if (e->ids == NULL) {
    uint32_t i;
    for (i = 0; i < e->nids; i++)
      if (e->few[i].p == p) {
        *n = e->few[i].n;
        return true;
      }
    return false;
  }
  else {
    IdSlot *s = id_slot(e->ids, e->capids, p);
    *n = s->n;
    return s->p != NULL;
  }
}

#pragma GCC visibility pop

#endif
