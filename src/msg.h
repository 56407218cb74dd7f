/*
** msg.h - values on their way between goroutines, and the shared objects.  Layer 2.
**
** A Value is what a channel's slot holds: a scalar in place, a reference to a shared object, or
** a Msg, the encoded form of everything else.  Whoever holds a Value owns what it refers to,
** until it hands the Value on or drops it.  Nothing here knows Lua.
*/
#ifndef GORO_MSG_H
#define GORO_MSG_H

#include <stddef.h>
#include <string.h>
#include "atomics.h"

#pragma GCC visibility push(hidden)

/* A shared object: channel, WaitGroup ...  Embedded as the first member. */
typedef struct Obj {
  _Atomic(uint32_t) refs;              /* [A] handles in states, messages, other objects */
  uint8_t type;                        /* [I] one of OBJ_ */
  void (*destroy) (struct Obj *);      /* [I] called when the last reference goes */
} Obj;

enum { OBJ_CHAN, OBJ_WAITGROUP, OBJ_TASK, OBJ_MUTEX, OBJ_RWMUTEX, OBJ_ONCE, OBJ_COND,
       OBJ_SEMAPHORE, OBJ_ATOMIC, OBJ_MAP, OBJ_TIMER, OBJ_CONTEXT, OBJ_ERRGROUP,
       OBJ_CONN, OBJ_LISTENER, OBJ_UDP, OBJ_NTYPES,
       OBJ_CLASS = OBJ_NTYPES, OBJ_HERITAGE };     /* these have no handles */

static inline Obj *obj_ref (Obj *o) { add_rlx(&o->refs, 1); return o; }
static inline void obj_unref (Obj *o) {
  if (sub_acqrel(&o->refs, 1) == 1) o->destroy(o);
}
/*
** Who hands out one reference after another to what it holds itself takes LENT of them at once: the
** word is wanted by all those who give theirs back.  '*spare' is what is left; it goes with the
** lender's own: obj_unref_n(o, 1 + spare).
*/
#define LENT 64
static inline void lend (_Atomic(uint32_t) *refs, uint16_t *spare) {
  if (*spare == 0) {
    add_rlx(refs, LENT);
    *spare = LENT;
  }
  --*spare;
}
static inline void obj_unref_n (Obj *o, uint32_t n) {
  if (sub_acqrel(&o->refs, n) == n) o->destroy(o);
}
/* For who knows an object without holding it: false if its destruction has begun. */
static inline bool obj_try_ref (Obj *o) {
  uint32_t n = load_rlx(&o->refs);
  while (n != 0)
    if (cas_acqrel(&o->refs, &n, n + 1)) return true;
  return false;
}

typedef enum ValueTag {
  V_NIL, V_FALSE, V_TRUE, V_INT, V_FLT, V_LUD,      /* scalars; V_LUD a light userdata */
  V_CFN,                                           /* a C function without upvalues */
  V_OBJ,                                           /* a shared object, 'view' its direction */
  V_STR,                                           /* Msg: the bytes of a string */
  V_MSG                                            /* Msg: encoded, see marshal.h */
} ValueTag;

struct Msg;
typedef struct Value {
  union {
    int64_t i;
    double n;
    void *p;
    Obj *o;
    struct Msg *m;
    void (*f) (void);
  } u;
  uint8_t tag;                         /* ValueTag */
  uint8_t view;                        /* V_OBJ: VIEW_ */
} Value;

enum { VIEW_BOTH, VIEW_SEND, VIEW_RECV,
       VIEW_CALL };                    /* the object's function: a context's cancel */

/* An encoded message.  Owned by one Value (or one goroutine that is being started); those of a
** Map's values by several, and then constant. */
typedef struct Msg {
  size_t len;                          /* bytes in use */
  size_t cap;
  struct Obj **objs;                   /* references held, by number: own allocation, or 'few' */
  uint32_t nobjs, capobjs;
  uint32_t nvals;                      /* top-level values encoded */
  _Atomic(uint32_t) refs;              /* [A] owners */
  bool plain;                          /* a small table of plain data (plain.c) */
  char *bytes;                         /* own allocation, or right behind this struct */
  struct Obj *few[2];
} Msg;

static const Value NIL_VALUE = { { 0 }, V_NIL, 0 };

Msg *msg_new_string (const char *s, size_t len);   /* NULL: no memory */
Msg *msg_new (void);                               /* empty, to be written; NULL: no memory */
bool msg_reserve (Msg *m, size_t more);            /* room for 'more' bytes behind len */
static inline bool msg_room (Msg *m, size_t more) {            /* the same, where there mostly is */
  return m->cap - m->len >= more || msg_reserve(m, more);
}
int64_t msg_add_obj (Msg *m, Obj *o);              /* takes a new reference; its number, or -1 */
void msg_free (Msg *m);                            /* one owner less; the last frees it, with
                                                      the references it holds */
void msg_spare_drop (void);                        /* what this thread keeps of freed ones */
static inline bool msg_is_shared (Msg *m) { return load_acq(&m->refs) > 1; }
size_t value_size (const Value *v);                /* bytes behind the slot */
void value_drop (Value *v);                        /* release what it owns; nil afterwards */
Value value_share (const Value *v);                /* the same value, with references of its own */

#pragma GCC visibility pop

#endif
