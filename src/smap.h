/*
** smap.h - Map: a table shared by all.  Layer 4.
*/
#ifndef GORO_SMAP_H
#define GORO_SMAP_H

#include "waitq.h"

#pragma GCC visibility push(hidden)

/*
** A key, or a value to compare with: what a Lua value looks like from here.  Strings are borrowed.
** Tags as in Value; a float that is a whole number is an integer (1.0 is 1).
*/
typedef struct Probe {
  Value v;                             /* V_STR: not set; V_MSG: the very message */
  const char *s;                       /* V_STR */
  size_t len;
  uint64_t hash;                       /* of keys */
} Probe;

typedef struct Entry Entry;
typedef struct Shard Shard;

typedef struct SMap {
  Obj obj;
  _Atomic(int64_t) count;              /* [A] keys that have a value */
  Shard *shards;                       /* [I] NSHARDS of them */
} SMap;

typedef enum MapResult {
  MAP_OK,
  MAP_WAIT,                            /* parking has begun: then the _finish */
  MAP_SELF,                            /* this goroutine is updating the key */
  MAP_GAVE_UP,                         /* _finish: the wait ended otherwise (g->wake) */
  MAP_NOMEM
} MapResult;

/* One change of one key. */
typedef enum MapOpKind { MAP_SWAP, MAP_ADD, MAP_CAS } MapOpKind;
typedef struct MapOp {
  MapOpKind kind;                      /* ADD: only if absent.  CAS: only if it equals 'old' */
  Value v;                             /* the new value, nil deletes; taken if it is stored,
                                          else the caller's to drop */
  const Probe *old;
  Value was;                           /* what was there before; nil: nothing.  The caller's */
  bool done;                           /* 'v' was stored */
} MapOp;

SMap *smap_new (void);                 /* NULL: no memory */
void probe_hash (Probe *p);            /* once the rest is set */
bool value_equals (const Value *v, const Probe *p);            /* raw equality, as Lua's */

Value smap_load (SMap *map, const Probe *key);     /* nil: absent.  The caller's to drop */
MapResult smap_write (SMap *map, M *m, G *g, const Probe *key, MapOp *op);
/* After a wait; op->v, which the wait has kept, is set again. */
MapResult smap_write_finish (SMap *map, M *m, G *g, const Probe *key, MapOp *op);

/*
** Own a key: until smap_release nobody else changes it.  '*e' is its entry, '*v' its value.
*/
MapResult smap_own (SMap *map, G *g, const Probe *key, Entry **e, Value *v);
MapResult smap_own_finish (SMap *map, G *g, const Probe *key, Entry **e, Value *v);
/* 'v', if not NULL, is stored (and taken; what was there is in it afterwards). */
void smap_release (SMap *map, M *m, Entry *e, Value *v);

/* All keys and values at one moment. */
typedef struct Snapshot {
  struct { Entry *e; Value v; } *items;
  size_t n, next;
} Snapshot;

/* For leaks.c: each key, under its shard's lock: its value, who updates it (or NULL) and who waits
** for that. */
typedef void (*SMapVisit) (void *ud, const Value *v, G *owner, const WaitQ *waiters);
void smap_each (SMap *map, SMapVisit f, void *ud);

bool smap_snapshot (SMap *map, Snapshot *snap);    /* false: no memory */
void snapshot_free (Snapshot *snap);               /* also what is left of one half read */
void entry_unref (Entry *e);
void entry_key (const Entry *e, Probe *key);       /* borrowed */

#pragma GCC visibility pop

#endif
