/*
** smap.c - Map: a table shared by all.  Layer 4.
**
** NSHARDS hash tables with chains, each under its own lock, chosen by the key's hash.  Values were
** encoded before the lock is taken and are decoded after it is released; what a Value refers to
** is counted and constant, so a reader takes a reference under the lock, and the value it got
** stays whole however often it is overwritten meanwhile.
**
** OWNED KEYS.  update runs a script's function between its look and its store.  Meanwhile its
** goroutine owns the key: e->owner.  Readers see the old value; who wants to change the key waits
** in e->waiters, first come, first served, and is handed the key; so a key with an owner never
** becomes free with somebody waiting.  A goroutine that was handed a key always comes for it,
** also when its host ends.
**
** INVARIANTS (shard->lock held)
**   S1  An entry is in its shard's table if it has a value or an owner, and else is not.
**   S2  Somebody waits for an entry: it has an owner.
**   S3  map->count is the number of entries with a value; it changes before the lock is
**       released, so that who sees a change sees it counted.
**
** SNAPSHOTS are taken with all shards locked, in their order: one moment.  Room is found before.
** What costs under the locks is one reference an entry.
**
** REJECTED.  Reading without locks (epochs): a reader spends most of its time decoding, outside
** the lock.  Snapshots by copying on write: every store would pay for the few that range.
*/
#include <stdlib.h>
#include "debug.h"
#include "smap.h"

#define NSHARDS 32u                    /* a power of two */
#define SHARD_SHIFT 59                 /* the topmost bits choose the shard */
#define FIRST_BUCKETS 8u

struct Entry {
  Entry *next;                         /* [L:shard] */
  uint64_t hash;                       /* [I] */
  _Atomic(uint32_t) refs;              /* [A] the table, snapshots */
  uint8_t tag;                         /* [I] of the key: V_INT, V_FLT, V_STR, V_TRUE, V_FALSE */
  union { int64_t i; double n; size_t len; } key;  /* [I] */
  Value v;                             /* [L:shard] nil: none, but somebody owns the key */
  G *owner;                            /* [L:shard] */
  WaitQ waiters;                       /* [L:shard] */
  char bytes[];                        /* [I] V_STR */
};

struct Shard {
  Lock lock;                           /* RANK_SHARD */
  uint32_t nbuckets;                   /* [L] a power of two, or 0 */
  uint32_t n;                          /* [L] entries */
  Entry **buckets;                     /* [L] */
  char pad[64 - sizeof(Lock) - 8 - sizeof(Entry **)];   /* a cache line each */
};

/* ---------------------------------------------------------------- keys */

static uint64_t mix (uint64_t h, uint64_t x) {
  h = (h ^ x) * UINT64_C(0x9E3779B97F4A7C15);
  return h ^ h >> 32;
}

static _Atomic(uint64_t) seed;         /* [A] set once: keys that collide cannot be guessed */

static uint64_t get_seed (void) {
  uint64_t s = load_rlx(&seed), none = 0;
  if (s == 0) {
    s = goro_rand() | 1;
    if (!cas_acqrel(&seed, &none, s)) s = none;
  }
  return s;
}

void probe_hash (Probe *p) {
  uint64_t h = mix(get_seed(), p->v.tag);
  if (p->v.tag == V_STR) {
    const char *s = p->s;
    size_t left = p->len;
    uint64_t word;
    for (; left >= 8; s += 8, left -= 8) {
      memcpy(&word, s, 8);
      h = mix(h, word);
    }
    word = 0;
    memcpy(&word, s, left);
    h = mix(mix(h, word), p->len);
  }
  else if (p->v.tag >= V_INT) h = mix(h, (uint64_t)p->v.u.i);        /* a float's bits, too */
  p->hash = mix(h, 0);
}

static bool key_equals (const Entry *e, const Probe *p) {
  if (e->hash != p->hash || e->tag != p->v.tag) return false;
  switch (e->tag) {
    case V_INT: return e->key.i == p->v.u.i;
    case V_FLT: return e->key.n == p->v.u.n;
    case V_STR: return e->key.len == p->len && memcmp(e->bytes, p->s, p->len) == 0;
    default: return true;
  }
}

void entry_key (const Entry *e, Probe *key) {
  key->v = NIL_VALUE;
  key->v.tag = e->tag;
  if (e->tag == V_STR) {
    key->s = e->bytes;
    key->len = e->key.len;
  }
  else if (e->tag == V_INT) key->v.u.i = e->key.i;
  else if (e->tag == V_FLT) key->v.u.n = e->key.n;
}

/* A message is equal to itself only. */
bool value_equals (const Value *v, const Probe *p) {
  if (v->tag != p->v.tag) {
    if (v->tag == V_INT && p->v.tag == V_FLT)      /* (whole floats are V_INT in a Probe) */
      return false;
    if (v->tag == V_FLT && p->v.tag == V_INT)
      return v->u.n == (double)p->v.u.i && v->u.n >= -0x1p63 && v->u.n < 0x1p63 &&
             (int64_t)v->u.n == p->v.u.i;
    return false;
  }
  switch (v->tag) {
    case V_INT: return v->u.i == p->v.u.i;
    case V_FLT: return v->u.n == p->v.u.n;
    case V_LUD: return v->u.p == p->v.u.p;
    case V_CFN: return v->u.f == p->v.u.f;
    case V_OBJ: return v->u.o == p->v.u.o && v->view == p->v.view;
    case V_STR: return v->u.m->len == p->len && memcmp(v->u.m->bytes, p->s, p->len) == 0;
    case V_MSG: return v->u.m == p->v.u.m;
    default: return true;
  }
}

/* ---------------------------------------------------------------- the table */

static inline Shard *shard_of (SMap *map, uint64_t hash) {
  return &map->shards[hash >> SHARD_SHIFT];
}

void entry_unref (Entry *e) {
  if (sub_acqrel(&e->refs, 1) != 1) return;
  value_drop(&e->v);
  free(e);
}

static void smap_destroy (Obj *o) {
  SMap *map = (SMap *)o;
  uint32_t i, b;
  for (i = 0; i < NSHARDS; i++) {
    Shard *sh = &map->shards[i];
    for (b = 0; b < sh->nbuckets; b++) {
      Entry *e, *next;
      for (e = sh->buckets[b]; e != NULL; e = next) {
        goro_check(e->waiters.head == NULL);
        next = e->next;
        entry_unref(e);
      }
    }
    free(sh->buckets);
  }
  free(map->shards);
  free(map);
}

SMap *smap_new (void) {
  SMap *map = calloc(1, sizeof *map);
  uint32_t i;
  if (map == NULL) return NULL;
  map->shards = aligned_alloc(64, NSHARDS * sizeof(Shard));
  if (map->shards == NULL) {
    free(map);
    return NULL;
  }
  memset(map->shards, 0, NSHARDS * sizeof(Shard));
  for (i = 0; i < NSHARDS; i++) lock_init(&map->shards[i].lock, RANK_SHARD);
  store_rlx(&map->obj.refs, 1);
  map->obj.type = OBJ_MAP;
  map->obj.destroy = smap_destroy;
  return map;
}

/* ---- shard->lock held ---- */

static Entry *find (Shard *sh, const Probe *key) {
  Entry *e;
  if (sh->nbuckets == 0) return NULL;
  for (e = sh->buckets[key->hash & (sh->nbuckets - 1)]; e != NULL; e = e->next)
    if (key_equals(e, key)) return e;
  return NULL;
}

/* Twice the buckets.  Without memory chains get longer; false if there are none at all. */
static bool grow (Shard *sh) {
  uint32_t n = sh->nbuckets ? sh->nbuckets * 2 : FIRST_BUCKETS, b;
  Entry **buckets = n > sh->nbuckets ? calloc(n, sizeof *buckets) : NULL;
  if (buckets == NULL) return sh->nbuckets > 0;
  for (b = 0; b < sh->nbuckets; b++) {
    Entry *e, *next;
    for (e = sh->buckets[b]; e != NULL; e = next) {
      next = e->next;
      e->next = buckets[e->hash & (n - 1)];
      buckets[e->hash & (n - 1)] = e;
    }
  }
  free(sh->buckets);
  sh->buckets = buckets;
  sh->nbuckets = n;
  return true;
}

/* A new entry without a value; NULL: no memory. */
static Entry *insert (Shard *sh, const Probe *key) {
  bool string = key->v.tag == V_STR;
  Entry *e, **b;
  if (sh->n >= sh->nbuckets && !grow(sh)) return NULL;
  e = malloc(sizeof *e + (string ? key->len : 0));
  if (e == NULL) return NULL;
  memset(e, 0, sizeof *e);
  store_rlx(&e->refs, 1);
  e->hash = key->hash;
  e->tag = key->v.tag;
  if (string) {
    e->key.len = key->len;
    memcpy(e->bytes, key->s, key->len);
  }
  else if (e->tag == V_FLT) e->key.n = key->v.u.n;
  else e->key.i = key->v.u.i;
  b = &sh->buckets[e->hash & (sh->nbuckets - 1)];
  e->next = *b;
  *b = e;
  sh->n++;
  return e;
}

/* If 'e' has neither value nor owner, take it out: S1.  The caller drops it after the unlock. */
static Entry *remove_if_unused (Shard *sh, Entry *e) {
  Entry **p;
  if (e->v.tag != V_NIL || e->owner != NULL) return NULL;
  goro_check(e->waiters.head == NULL);
  for (p = &sh->buckets[e->hash & (sh->nbuckets - 1)]; *p != e; p = &(*p)->next) continue;
  *p = e->next;
  sh->n--;
  return e;
}

/* Store '*v' in 'e'; what was there is in it afterwards. */
static void exchange (SMap *map, Entry *e, Value *v) {
  Value was = e->v;
  int more = (v->tag != V_NIL) - (was.tag != V_NIL);
  e->v = *v;
  *v = was;
  if (more != 0) add_seq(&map->count, more);       /* S3 */
}

/* Wait for 'e', which has an owner. */
static void enqueue (Entry *e, G *g, const Value *keep) {
  Sudog *s = &g->own;
  s->g = g;
  s->queue = e;
  s->elem = *keep;
  park_begin(g, WAIT_MAP);
  waitq_push(&e->waiters, s);
}

/* The owner leaves: who is next has it. */
static G *pass_on (Entry *e) {
  Sudog *s = waitq_pop(&e->waiters);
  e->owner = s != NULL ? s->g : NULL;
  return e->owner;
}

/* 'e' NULL: absent.  false: no memory. */
static bool apply (SMap *map, Shard *sh, const Probe *key, Entry *e, MapOp *op) {
  op->was = NIL_VALUE;
  op->done = false;
  switch (op->kind) {
    case MAP_SWAP: break;
    case MAP_ADD:
      if (e == NULL || e->v.tag == V_NIL) break;
      op->was = value_share(&e->v);
      return true;
    case MAP_CAS:
      if (!value_equals(e != NULL ? &e->v : &NIL_VALUE, op->old)) return true;
      break;
  }
  op->done = true;
  if (e == NULL) {
    if (op->v.tag == V_NIL) return true;
    e = insert(sh, key);
    if (e == NULL) {
      op->done = false;
      return false;
    }
  }
  op->was = op->v;
  exchange(map, e, &op->was);
  op->v = NIL_VALUE;
  return true;
}

/* ---- */

Value smap_load (SMap *map, const Probe *key) {
  Shard *sh = shard_of(map, key->hash);
  Value v = NIL_VALUE;
  Entry *e;
  lock_acquire(&sh->lock);
  e = find(sh, key);
  if (e != NULL) v = value_share(&e->v);
  lock_release(&sh->lock);
  return v;
}

MapResult smap_write (SMap *map, M *m, G *g, const Probe *key, MapOp *op) {
  Shard *sh = shard_of(map, key->hash);
  MapResult r = MAP_OK;
  Entry *e, *unused = NULL;
  (void)m;
  lock_acquire(&sh->lock);
  e = find(sh, key);
  if (e != NULL && e->owner == g) r = MAP_SELF;
  else if (e != NULL && e->owner != NULL && !(op->kind == MAP_ADD && e->v.tag != V_NIL)) {
    enqueue(e, g, &op->v);
    r = MAP_WAIT;
  }
  else {
    if (!apply(map, sh, key, e, op)) r = MAP_NOMEM;
    if (e != NULL) unused = remove_if_unused(sh, e);
  }
  lock_release(&sh->lock);
  if (unused != NULL) entry_unref(unused);
  return r;
}

/* A wait for a key has ended otherwise.  The entry is there as long as we stand in its queue. */
static void leave (Shard *sh, G *g) {
  lock_acquire(&sh->lock);
  if (g->own.enqueued) waitq_remove(&((Entry *)g->own.queue)->waiters, &g->own);
  lock_release(&sh->lock);
}

MapResult smap_write_finish (SMap *map, M *m, G *g, const Probe *key, MapOp *op) {
  Shard *sh = shard_of(map, key->hash);
  Entry *e = g->own.queue, *unused;
  G *next;
  op->v = g->own.elem;
  g->own.elem = NIL_VALUE;
  if (g->wake != WAKE_READY) {
    leave(sh, g);
    return MAP_GAVE_UP;
  }
  lock_acquire(&sh->lock);
  goro_check(e->owner == g);
  apply(map, sh, key, e, op);
  next = pass_on(e);
  unused = remove_if_unused(sh, e);
  lock_release(&sh->lock);
  if (unused != NULL) entry_unref(unused);
  if (next != NULL) sched_ready(m, next, false);
  return MAP_OK;
}

MapResult smap_own (SMap *map, G *g, const Probe *key, Entry **ep, Value *v) {
  Shard *sh = shard_of(map, key->hash);
  MapResult r = MAP_OK;
  Entry *e;
  lock_acquire(&sh->lock);
  e = find(sh, key);
  if (e == NULL) e = insert(sh, key);
  if (e == NULL) r = MAP_NOMEM;
  else if (e->owner == g) r = MAP_SELF;
  else if (e->owner != NULL) {
    enqueue(e, g, &NIL_VALUE);
    r = MAP_WAIT;
  }
  else {
    e->owner = g;
    *v = value_share(&e->v);
    *ep = e;
  }
  lock_release(&sh->lock);
  return r;
}

MapResult smap_own_finish (SMap *map, G *g, const Probe *key, Entry **ep, Value *v) {
  Shard *sh = shard_of(map, key->hash);
  Entry *e = g->own.queue;
  if (g->wake != WAKE_READY) {
    leave(sh, g);
    return MAP_GAVE_UP;
  }
  lock_acquire(&sh->lock);
  goro_check(e->owner == g);
  *v = value_share(&e->v);
  *ep = e;
  lock_release(&sh->lock);
  return MAP_OK;
}

void smap_release (SMap *map, M *m, Entry *e, Value *v) {
  Shard *sh = shard_of(map, e->hash);
  Entry *unused;
  G *next;
  GORO_POINT();
  lock_acquire(&sh->lock);
  if (v != NULL) exchange(map, e, v);
  next = pass_on(e);
  unused = remove_if_unused(sh, e);
  lock_release(&sh->lock);
  if (unused != NULL) entry_unref(unused);
  if (next != NULL) sched_ready(m, next, false);
}

/* ---------------------------------------------------------------- snapshots */

static void lock_all (SMap *map) {
  uint32_t i;
  for (i = 0; i < NSHARDS; i++) lock_acquire(&map->shards[i].lock);
}

static void unlock_all (SMap *map) {
  uint32_t i;
  for (i = 0; i < NSHARDS; i++) lock_release(&map->shards[i].lock);
}

static void copy_shard (Shard *sh, Snapshot *snap) {
  uint32_t b;
  Entry *e;
  for (b = 0; b < sh->nbuckets; b++)
    for (e = sh->buckets[b]; e != NULL; e = e->next) {
      if (e->v.tag == V_NIL) continue;
      add_rlx(&e->refs, 1);
      snap->items[snap->n].e = e;
      snap->items[snap->n++].v = value_share(&e->v);
    }
}

bool smap_snapshot (SMap *map, Snapshot *snap) {
  size_t room = (size_t)load_seq(&map->count), need;
  uint32_t i;
  bool fits;
  snap->n = snap->next = 0;
  snap->items = NULL;
  do {                                 /* until there is room for what there is by then */
    room += room / 16 + 4;
    free(snap->items);
    snap->items = malloc(room * sizeof *snap->items);
    if (snap->items == NULL) return false;
    lock_all(map);
    need = (size_t)load_seq(&map->count);
    fits = need <= room;
    if (fits)
      for (i = 0; i < NSHARDS; i++) copy_shard(&map->shards[i], snap);
    unlock_all(map);
    room = need;
  } while (!fits);
  return true;
}

void snapshot_free (Snapshot *snap) {
  size_t i;
  for (i = snap->next; i < snap->n; i++) {
    entry_unref(snap->items[i].e);
    value_drop(&snap->items[i].v);
  }
  free(snap->items);
  snap->items = NULL;
  snap->n = snap->next = 0;
}

void smap_each (SMap *map, SMapVisit f, void *ud) {
  uint32_t i, b;
  Entry *e;
  for (i = 0; i < NSHARDS; i++) {
    Shard *s = &map->shards[i];
    lock_acquire(&s->lock);
    for (b = 0; b < s->nbuckets; b++)
      for (e = s->buckets[b]; e != NULL; e = e->next) f(ud, &e->v, e->owner, &e->waiters);
    lock_release(&s->lock);
  }
}
