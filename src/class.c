/*
** class.c - classes and their versions.  Layer 2.
**
** WHO MAY TAKE A REFERENCE.  Those that hold one already, and who reads Class.current under the
** lock while something keeps the class alive: a version that is held and whose deps name it, or
** its own table at home.  So what the sweep finds unreachable stays so.
*/
#include <stdlib.h>
#include "class.h"
#include "lock.h"

#define FIRST_SWEEP 64

static Lock lock = { .rank = RANK_LEAF };
static Class *all;                     /* [L] */
static Version *versions;              /* [L] */
static uint32_t nclasses;              /* [L] */
static uint32_t sweep_at = FIRST_SWEEP;          /* [L] */

Class *class_new (uint64_t home) {
  Class *c = calloc(1, sizeof *c);
  if (c == NULL) return NULL;
  c->home = home;
  store_rlx(&c->holders, 1);
  lock_acquire(&lock);
  c->next = all;
  all = c;
  nclasses++;
  lock_release(&lock);
  return c;
}

/* Release: what this holder read of the class comes before its being freed. */
void class_release (Class *c) { sub_acqrel(&c->holders, 1); }

/* Take 'v' out of the list; its 'prev' if that was the last to hold it. */
static Version *unlink_version (Version *v) {
  Version *prev = v->prev;
  lock_acquire(&lock);
  if (v->link != NULL) {
    *v->link = v->next;
    if (v->next != NULL) v->next->link = v->link;
    if (prev != NULL) prev->later--;
  }
  /* under the lock: the sweep compares both counts */
  if (prev != NULL && sub_acqrel(&prev->o.refs, 1) != 1) prev = NULL;
  lock_release(&lock);
  return prev;
}

static void destroy (Obj *o) {
  Version *v = (Version *)o;
  while (v != NULL) {                  /* not by recursion: the chain may be long */
    Version *prev = unlink_version(v);
    if (v->body != NULL) msg_free(v->body);
    free(v->deps);
    free(v);
    v = prev;
  }
}

Version *version_new (Class *c, uint64_t no, Version *prev) {
  Version *v = calloc(1, sizeof *v);
  if (v == NULL) return NULL;
  store_rlx(&v->o.refs, 1);
  v->o.type = OBJ_CLASS;
  v->o.destroy = destroy;
  v->c = c;
  v->no = no;
  v->prev = prev;
  if (prev != NULL) {
    obj_ref(&prev->o);
    v->length = prev->length + 1;
  }
  return v;
}

bool version_dep (Version *v, Class *c) {
  if (v->ndeps == v->capdeps) {
    uint32_t cap = v->capdeps ? v->capdeps * 2 : 4;
    Class **p = realloc(v->deps, cap * sizeof *p);
    if (p == NULL) return false;
    v->deps = p;
    v->capdeps = cap;
  }
  v->deps[v->ndeps++] = c;
  return true;
}

void class_publish (Version **vs, uint32_t n) {
  uint32_t i;
  bool full;
  lock_acquire(&lock);
  for (i = 0; i < n; i++) {
    Version *v = vs[i], *old = v->c->current;
    v->next = versions;
    v->link = &versions;
    if (v->next != NULL) v->next->link = &v->next;
    versions = v;
    if (v->prev != NULL) v->prev->later++;
    if (old == NULL || old->no < v->no) {
      v->c->current = v;
      obj_ref(&v->o);
      vs[i] = old;
    }
    else vs[i] = NULL;
  }
  full = nclasses > sweep_at;
  lock_release(&lock);
  for (i = 0; i < n; i++)
    if (vs[i] != NULL) version_unref(vs[i]);
  if (full) class_sweep();
}

Version *class_latest (Class *c) {
  Version *v;
  lock_acquire(&lock);
  v = c->current;
  if (v != NULL) obj_ref(&v->o);
  lock_release(&lock);
  return v;
}

/* ---------------------------------------------------------------- mark and sweep */

static void mark (Class *c, Class **work) {
  if (c->marked) return;
  c->marked = true;
  c->work = *work;
  *work = c;
}

static void mark_version (Version *v, Class **work) {
  for (; v != NULL; v = v->prev) {
    uint32_t i;
    mark(v->c, work);
    for (i = 0; i < v->ndeps; i++) mark(v->deps[i], work);
  }
}

/* Is it held by others than its class and later versions?  If not, its class may be freed
** already: it is being destroyed itself. */
static bool held (const Version *v) {
  uint32_t refs = load_acq(&v->o.refs);
  if (refs <= v->later) return false;
  return refs > v->later + 1 || v->c->current != v;
}

void class_sweep (void) {
  Class *c, **pc, *work = NULL, *dead = NULL;
  Version *v;
  lock_acquire(&lock);
  for (c = all; c != NULL; c = c->next) c->marked = false;
  for (c = all; c != NULL; c = c->next)
    if (load_acq(&c->holders) > 0) mark(c, &work);
  for (v = versions; v != NULL; v = v->next)
    if (held(v)) mark_version(v, &work);
  while (work != NULL) {
    c = work;
    work = c->work;
    mark_version(c->current, &work);
  }
  for (pc = &all; (c = *pc) != NULL; ) {
    if (c->marked) pc = &c->next;
    else {
      *pc = c->next;
      c->next = dead;
      dead = c;
      nclasses--;
    }
  }
  sweep_at = nclasses < FIRST_SWEEP / 2 ? FIRST_SWEEP : nclasses * 2;
  lock_release(&lock);
  while (dead != NULL) {               /* (its version first: sweeps look at v->c) */
    c = dead;
    dead = c->next;
    if (c->current != NULL) version_unref(c->current);
    free(c);
  }
}

uint32_t class_count (void) {
  uint32_t n;
  lock_acquire(&lock);
  n = nclasses;
  lock_release(&lock);
  return n;
}
