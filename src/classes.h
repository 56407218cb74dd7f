/*
** classes.h - what a state knows of classes: tables that cross by identity.  Layer 5.
**
** A class is a table that is a metatable, or holds __index or another metamethod; the table that
** is a class's __index is one too.  So is one that can be called and holds another class under a
** name that begins with two underscores: libraries keep the metatable of their objects so.
**
** A state has a ClassRec for each class whose table is in it, its own (it is the home) or a
** copy.  At home the record remembers what the class held when it was last published, so that
** a change is seen at the next crossing: one walk through its fields, no look into them.
**
** A version's body is a message of five values: the fields (of the whole class: its own pairs;
** else those that were set), the keys that were removed or nil, the metatable (false: none now;
** nil: as before), of a whole one that is not the first a list of its keys, each followed by the
** version in which it was set, and the version in which the metatable was.
*/
#ifndef GORO_CLASSES_H
#define GORO_CLASSES_H

#include "class.h"
#include "state.h"

#pragma GCC visibility push(hidden)

#define CLASSES_BLOOM 32               /* words of 64 bits */

typedef struct Field {                 /* of a class, when it was published last */
  uint64_t key, value;                 /* addresses or numbers */
  uint64_t stamp;                      /* the version in which it was set */
  uint8_t ktype, vtype;
} Field;

typedef struct Shape {                 /* all that a class holds */
  Field *fields;
  uint32_t n;
  const void *meta;
  uint64_t meta_stamp;
} Shape;

#define ABOVE 2                        /* its metatable, its __index */

typedef struct ClassRec {
  struct ClassRec *next;               /* Classes.all */
  Class *c;
  Version *v;                          /* counted: what the table is like (home: was); or NULL */
  bool home;                           /* the table is the original */
  bool dirty;                          /* home: the shape is not that of 'v' */
  bool plain;                          /* home: there is no __goro and no __gc in the shape */
  bool live;                           /* sweep: its table is there */
  Shape shape;                         /* home */
  uint64_t above[ABOVE];               /* home: versions of the classes above, published with it */
  uint64_t last_no;                    /* home: of the versions made */
  uint64_t encoder;                    /* who met it last, and as which number */
  uint32_t index;
  uint64_t session;                    /* the message whose encoding looked at it last ... */
  Version *now;                        /* ... and the version that crosses there */
  const void *queue;                   /* the decoding that has yet to fill its table ... */
  uint64_t queued;                     /* ... with this version */
} ClassRec;

typedef struct Classes {
  uint64_t number;                     /* of this state, in the process */
  uint64_t bloom[CLASSES_BLOOM];       /* of the tables' addresses: most tables are none */
  ClassRec *all, **slots;              /* slots: by Class */
  uint32_t n, limit, cap;
  uint64_t serial;                     /* numbers encoders and messages */
  uint32_t busy;                       /* crossings that hold ClassRecs: no sweep */
} Classes;

/* A crossing meets its first class: until classes_leave, no ClassRec goes.  May raise. */
Classes *classes_enter (lua_State *L, State *s);
void classes_leave (State *s);
void classes_close (State *s);         /* after lua_close, or without one */

static inline uint32_t classes_hash (const void *p) {
  return (uint32_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 53);
}

static inline bool classes_may_know (const State *s, const void *p) {
  const Classes *cs = rare(s)->classes;
  uint32_t h = classes_hash(p);
  return cs != NULL && ((cs->bloom[h >> 6] >> (h & 63)) & 1);
}

ClassRec *classes_find (lua_State *L, State *s, int idx);      /* of this table, or NULL */
ClassRec *classes_make (lua_State *L, State *s, int idx);      /* a new one; may raise */
ClassRec *classes_rec (State *s, const Class *c);              /* of this class, or NULL */
/* The same, made if there is none: its table is to come (classes_bind).  May raise. */
ClassRec *classes_know (lua_State *L, State *s, Class *c);
void classes_bind (lua_State *L, State *s, ClassRec *r, int idx);
bool classes_push (lua_State *L, const ClassRec *r);           /* its table; false: nil, it is gone */

/* Does its field (key at 'k', value at 'v') say that the table at 't' is a class?  (Absolute
** indices.) */
bool classes_telling (lua_State *L, State *s, int t, int k, int v);

/* Home: is the class at 't' as it was when it was published? */
bool classes_same (lua_State *L, const ClassRec *r, int t);

/*
** Home: note the shape of the class at 't' as that of version 'no', and push the five values of
** the body.  '*fresh' is the new shape until it is in place, then the old one, the caller's to
** free or to put back by classes_back.  May raise; then r->dirty may be set.
*/
void classes_take (lua_State *L, ClassRec *r, int t, uint64_t no, bool whole, Shape *fresh);
/* Push what else classes_back needs (before classes_take). */
void classes_kept (lua_State *L, int t);
/* Put the old shape back; the value that classes_kept pushed is on top (popped). */
void classes_back (lua_State *L, ClassRec *r, int t, Shape *old);

#pragma GCC visibility pop

#endif
