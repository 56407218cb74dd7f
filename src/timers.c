/*
** timers.c - 4-ary heaps of deadlines.  Layer 2.
**
** The deadlines stand in the heap beside the timers, and the four below one are a line of the cache:
** a hundred thousand goroutines that sleep have their timers in as many other lines.
*/
#include <stdlib.h>
#include <string.h>
#include "debug.h"
#include "g.h"
#include "timers.h"

typedef struct Entry { int64_t when; Timer *t; } Entry;        /* when: the timer's */

#define LINE 64u
#define SKEW 3u                        /* entries before the heap: 1, 5, 9 ... begin a line */

typedef struct Shard {
  Lock lock;                           /* RANK_TIMERS */
  Entry *heap;                         /* [L] in 'mem', SKEW entries from its begin */
  Entry *mem;                          /* [L] */
  int32_t n, cap;                      /* [L] */
  _Atomic(int64_t) next;               /* [A] heap[0]'s deadline, FOREVER if none; written under
                                          the lock, read by anybody */
} Shard;

static Shard shards[NTIMERSHARDS];

void timers_init (void) {
  int i;
  for (i = 0; i < NTIMERSHARDS; i++) {
    lock_init(&shards[i].lock, RANK_TIMERS);
    store_rlx(&shards[i].next, FOREVER);
  }
}

void timers_free (void) {
  int i;
  for (i = 0; i < NTIMERSHARDS; i++) {
    Shard *s = &shards[i];
    lock_acquire(&s->lock);
    if (s->n == 0) {
      free(s->mem);
      s->heap = s->mem = NULL;
      s->cap = 0;
    }
    lock_release(&s->lock);
  }
}

static void place (Shard *s, Entry e, int32_t i) {
  s->heap[i] = e;
  e.t->index = i + 1;
}

static void sift_up (Shard *s, int32_t i) {
  Entry e = s->heap[i];
  while (i > 0) {
    int32_t up = (i - 1) / 4;
    if (s->heap[up].when <= e.when) break;
    place(s, s->heap[up], i);
    i = up;
  }
  place(s, e, i);
}

static void sift_down (Shard *s, int32_t i) {
  Entry e = s->heap[i];
  for (;;) {
    int32_t c = 4 * i + 1, end = c + 4, best = c, k;
    if (c >= s->n) break;
    if (end > s->n) end = s->n;
    for (k = c + 1; k < end; k++)
      if (s->heap[k].when < s->heap[best].when) best = k;
    if (s->heap[best].when >= e.when) break;
    place(s, s->heap[best], i);
    i = best;
  }
  place(s, e, i);
}

/* Put it at the end, where there is room, and where it belongs. */
static void heap_add (Shard *s, Timer *t, int64_t when) {
  t->when = when;
  s->heap[s->n].when = when;
  s->heap[s->n].t = t;
  sift_up(s, s->n++);
}

/* Room for twice as many. */
static bool heap_grow (Shard *s) {
  int32_t cap = s->cap ? s->cap * 2 : 64;
  Entry *h = aligned_alloc(LINE, ((size_t)cap + SKEW + 1) * sizeof *h);       /* (a multiple of it) */
  if (h == NULL) return false;
  if (s->n > 0) memcpy(h + SKEW, s->heap, (size_t)s->n * sizeof *h);
  free(s->mem);
  s->mem = h;
  s->heap = h + SKEW;
  s->cap = cap;
  return true;
}

static void publish_next (Shard *s) {  /* s->lock held */
  store_seq(&s->next, s->n > 0 ? s->heap[0].when : FOREVER);
}

static void heap_remove (Shard *s, Timer *t) {     /* s->lock held */
  int32_t i = t->index - 1;
  Entry last = s->heap[--s->n];
  goro_check(s->heap[i].t == t);
  t->index = 0;
  if (last.t != t) {
    place(s, last, i);
    if (i > 0 && s->heap[(i - 1) / 4].when > last.when) sift_up(s, i);
    else sift_down(s, i);
  }
}

bool timer_add (Timer *t, int64_t when, int shard) {
  Shard *s = &shards[shard & (NTIMERSHARDS - 1)];
  bool ok;
  lock_acquire(&s->lock);
  ok = s->n < s->cap || heap_grow(s);
  if (ok) {
    t->shard = (int16_t)(shard & (NTIMERSHARDS - 1));
    heap_add(s, t, when);
    publish_next(s);
  }
  lock_release(&s->lock);
  return ok;
}

bool timer_stop (Timer *t) {
  Shard *s = &shards[t->shard];
  bool was;
  lock_acquire(&s->lock);
  was = t->index != 0;
  if (was) {
    heap_remove(s, t);
    publish_next(s);
  }
  lock_release(&s->lock);
  return was;
}

int timers_expire (int shard, int64_t now, GList *ready) {
  Shard *s = &shards[shard & (NTIMERSHARDS - 1)];
  int n = 0;
  if (load_rlx(&s->next) > now) return 0;
  lock_acquire(&s->lock);
  while (s->n > 0 && s->heap[0].when <= now) {
    Timer *t = s->heap[0].t;
    heap_remove(s, t);
    t->fire(t, now, ready);
    n++;
    if (goro_maybe(4)) break;          /* the rest is late */
  }
  publish_next(s);
  lock_release(&s->lock);
  return n;
}

void timers_expire_all (int64_t now, GList *ready) {
  int i;
  for (i = 0; i < NTIMERSHARDS; i++) timers_expire(i, now, ready);
}

int64_t timers_next (int shard) { return load_rlx(&shards[shard & (NTIMERSHARDS - 1)].next); }

int64_t timers_next_all (void) {
  int64_t best = FOREVER;
  int i;
  for (i = 0; i < NTIMERSHARDS; i++) {
    int64_t w = load_seq(&shards[i].next);
    if (w < best) best = w;
  }
  return best;
}

void timer_again (Timer *t, int64_t when) {
  Shard *s = &shards[t->shard];
  lock_check_held(&s->lock);
  heap_add(s, t, when);                /* (there is room: it was in the heap just now) */
}

/* Take out one of the host's, if there is any. */
static bool take_one (Shard *s, Host *owner, Timer **t, void (**drop) (Timer *)) {
  int32_t k;
  bool found = false;
  lock_acquire(&s->lock);
  for (k = s->n - 1; k >= 0 && !found; k--) {
    OwnedTimer *o = (OwnedTimer *)s->heap[k].t;
    found = o->t.owned && o->owner == owner;
    if (found) {
      *t = &o->t;
      *drop = o->drop;                 /* without one it may be freed as soon as we unlock */
      heap_remove(s, *t);
      publish_next(s);
    }
  }
  lock_release(&s->lock);
  return found;
}

void timers_drop (Host *owner) {
  void (*drop) (Timer *) = NULL;
  Timer *t;
  int i;
  for (i = 0; i < NTIMERSHARDS; i++)
    while (take_one(&shards[i], owner, &t, &drop))
      if (drop != NULL) drop(t);
}

/* ---------------------------------------------------------------- what is due */

static _Atomic(Due *) due;             /* [A] a stack: added one by one, taken as a whole */

void due_add (Due *d) {
  Due *top = load_rlx(&due);
  do d->next = top;
  while (!cas_acqrel(&due, &top, d));
}

bool due_run (M *m) {
  Due *d = load_rlx(&due), *first = NULL, *next;
  if (d == NULL) return false;
  GORO_POINT();
  for (d = xchg_acqrel(&due, NULL); d != NULL; d = next) {     /* in the order they came */
    next = d->next;
    d->next = first;
    first = d;
  }
  for (d = first; d != NULL; d = next) {
    next = d->next;
    d->run(d, m);
  }
  return first != NULL;
}
