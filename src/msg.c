/*
** msg.c - messages in flight.  Layer 2.
**
** Blocks of messages of the first size are made by one thread and freed by another: they go through
** a depot.  A thread that ends, or has nothing to do, gives back what it keeps.
*/
#include <pthread.h>
#include <stdlib.h>
#include "big.h"
#include "debug.h"
#include "depot.h"
#include "msg.h"

Msg *msg_new_string (const char *s, size_t len) {
  Msg *m = len > SIZE_MAX - sizeof *m ? NULL : big_new(sizeof *m + len);
  if (m == NULL) return NULL;
  memset(m, 0, sizeof *m);
  store_rlx(&m->refs, 1);
  m->len = m->cap = len;
  m->objs = m->few;
  m->capobjs = 2;
  m->bytes = (char *)(m + 1);
  if (len > 0) memcpy(m->bytes, s, len);
  return m;
}

#define FIRST_ROOM 192                 /* a small record fits without a second allocation */

static Depot depot = { .lock = { .rank = RANK_LEAF }, .most = DEPOT_MOST, .free = free };
static __thread Stock mine __attribute__((tls_model("initial-exec")));
static __thread bool registered __attribute__((tls_model("initial-exec")));
static pthread_key_t at_end;
static bool has_key;

void msg_spare_drop (void) { stock_drop(&mine, &depot); }

static void thread_ends (void *arg) {
  (void)arg;
  msg_spare_drop();
}

__attribute__((constructor)) static void make_key (void) {
  has_key = GORO_POOLS && pthread_key_create(&at_end, thread_ends) == 0;
}

/* May this thread keep some?  Only one that gives them back when it ends. */
static bool may_keep (void) {
  if (!registered)                     /* (where there is no key, never) */
    registered = has_key && pthread_setspecific(at_end, &mine) == 0;
  return registered && GORO_POOLS;
}

/* (where GORO_POOLS says no, each is malloc's) */
static void *block_new (void) {
  void *p = may_keep() ? stock_take(&mine, &depot) : NULL;
  return p != NULL ? p : malloc(sizeof(Msg) + FIRST_ROOM);
}

static void block_free (void *p) {
  if (may_keep()) stock_keep(&mine, &depot, p);
  else free(p);
}

Msg *msg_new (void) {
  Msg *m = block_new();
  if (m == NULL) return NULL;
  memset(m, 0, sizeof *m);
  store_rlx(&m->refs, 1);
  m->cap = FIRST_ROOM;
  m->objs = m->few;
  m->capobjs = 2;
  m->bytes = (char *)(m + 1);
  return m;
}

bool msg_reserve (Msg *m, size_t more) {
  size_t need = m->len + more, cap = m->cap;
  bool own = m->bytes != (char *)(m + 1);
  char *p;
  if (need < more) return false;
  if (need <= cap) return true;
  while (cap < need) {
    if (cap > SIZE_MAX / 2) return false;
    cap *= 2;
  }
  p = own ? big_resize(m->bytes, m->cap, cap) : big_new(cap);
  if (p == NULL) return false;
  if (!own) memcpy(p, m->bytes, m->len);
  m->bytes = p;
  m->cap = cap;
  return true;
}

int64_t msg_add_obj (Msg *m, Obj *o) {
  if (m->nobjs == m->capobjs) {
    uint32_t cap = m->capobjs * 2;
    bool own = m->objs != m->few;
    struct Obj **p = realloc(own ? m->objs : NULL, cap * sizeof *p);
    if (p == NULL) return -1;
    if (!own) memcpy(p, m->few, sizeof m->few);
    m->objs = p;
    m->capobjs = cap;
  }
  m->objs[m->nobjs] = obj_ref(o);
  return m->nobjs++;
}

void msg_free (Msg *m) {
  uint32_t i;
  if (msg_is_shared(m) && sub_acqrel(&m->refs, 1) != 1) return;
  for (i = 0; i < m->nobjs; i++) obj_unref(m->objs[i]);
  if (m->objs != m->few) free(m->objs);
  if (m->bytes == (char *)(m + 1) && m->cap == FIRST_ROOM) block_free(m);
  else if (m->bytes == (char *)(m + 1)) big_free(m, sizeof *m + m->cap);
  else {
    big_free(m->bytes, m->cap);
    free(m);
  }
}

size_t value_size (const Value *v) {
  return v->tag >= V_STR ? v->u.m->len : 0;
}

void value_drop (Value *v) {
  if (v->tag == V_OBJ) obj_unref(v->u.o);
  else if (v->tag >= V_STR) msg_free(v->u.m);
  *v = NIL_VALUE;
}

Value value_share (const Value *v) {
  if (v->tag == V_OBJ) obj_ref(v->u.o);
  else if (v->tag >= V_STR) add_rlx(&v->u.m->refs, 1);
  return *v;
}
