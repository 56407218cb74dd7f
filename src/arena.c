/*
** arena.c - the allocator of goroutine states.  Layer 1.
**
** Blocks up to MAX_SMALL come in classes (of 8 bytes, then of more), cut from the newest
** chunk, and go to a free list of their class; Lua tells every block's size, so none needs a
** header.  Larger blocks are malloc's, in a doubly linked list; in a template they lie in the
** first chunk, and when one of those is freed it is cut into small ones.
**
** The arena's head is part of what each goroutine takes, and the lists are most of it.  In most
** arenas all blocks lie in the first chunk, right behind the head: so the lists in the head are of
** such near blocks only, told by their distance in two bytes (which a copy need not change).  For
** blocks elsewhere there is a second set of lists, Far, by pointers.  It lies at the beginning of
** the first chunk that is added, or of the first chunk if that is larger than two bytes can tell.
**
** Free blocks are hidden from everybody where a checker looks on (poison.h), but not in what is
** to be copied, for that is read as a whole.
*/
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "arena.h"
#include "big.h"
#include "debug.h"
#include "platform.h"
#include "poison.h"
#include "slab.h"

#define GRAIN 8u                       /* what Lua asks of an allocator's alignment */
#define MAX_SMALL 512u
#define NCLASSES 18u                   /* up to 64 by 8, 128 by 16, 256 by 32, 512 by 128 */
#define CHUNK 768u
#define MAX_CHUNK 16384u
#define MAX_POOLED 131072u              /* of those with modules */

#define round_up(size) (((size) + GRAIN - 1) & ~(size_t)(GRAIN - 1))

/* The class of blocks of at least 'size' bytes, not 0; what such a block has. */
static inline size_t class_of (size_t size) {
  if (size <= 64) return (size + 7) / 8 - 1;
  if (size <= 128) return (size + 15) / 16 + 3;
  if (size <= 256) return (size + 31) / 32 + 7;
  return (size + 127) / 128 + 13;
}
static inline size_t class_size (size_t c) {
  return c < 8 ? (c + 1) * 8 : c < 12 ? (c - 3) * 16 : c < 16 ? (c - 7) * 32 : (c - 13) * 128;
}
/* The largest class that fits into 'size' bytes, at least GRAIN and a multiple of it. */
static inline size_t class_within (size_t size) {
  size_t c = size >= MAX_SMALL ? NCLASSES - 1 : class_of(size);
  return class_size(c) <= size ? c : c - 1;
}

_Static_assert(NCLASSES <= 32, "a bit for each class");

typedef struct Chunk { struct Chunk *next; size_t size; } Chunk;
typedef struct Large { struct Large *next, *prev; } Large;     /* 16 bytes: keeps alignment */

/* A free block: the next one of its list.  Near: in grains from the arena; far: a pointer; 0: it is
** the last. */
typedef struct Free { uintptr_t next; } Free;
#define NEAR ((size_t)UINT16_MAX + 1)  /* grains */

typedef struct Far {
  uint32_t there;                      /* bits: classes with free blocks */
  uint32_t low;                        /* where less is in use, chunks may be free as a whole */
  size_t size;                         /* bytes of chunks */
  int64_t trimmed;                     /* when, last */
  uintptr_t free[NCLASSES];
} Far;

struct Arena {
  char *top, *end;                     /* of the newest chunk */
  size_t used, limit;
  Large *large;                        /* list; the first one's prev is NULL */
  Chunk *chunks;                       /* all but the first, newest first */
  size_t outside;                      /* bytes in chunks and large blocks */
  Far *far;                            /* NULL: no block is further away than NEAR */
  uint32_t first;                      /* bytes of the first chunk, which follows */
  uint32_t grow : 29;                  /* bytes of the next chunk */
  uint32_t inner : 1;
  uint32_t fine : 1;                   /* small chunks (arena_fine) */
  uint32_t aligned : 1;                /* lies, as its copies do, at a multiple of ALIGN */
  uint32_t there;                      /* bits: classes with free blocks near */
  uint16_t free[NCLASSES];             /* near, in grains; 0: none */
};

_Static_assert(CHUNK >= sizeof(Chunk) + sizeof(Far) + MAX_SMALL, "a chunk holds the largest");

#define HEAD round_up(sizeof(Arena))
#define base(a) ((char *)(a) + HEAD)

/* Does it lie in the first chunk? */
static bool is_inner (const Arena *a, const void *p) {
  size_t at = (uintptr_t)p - (uintptr_t)a;         /* (huge where it is below) */
  return at >= HEAD && at < HEAD + a->first;
}

static Free *near_block (const Arena *a, uintptr_t grains) {
  return (Free *)((uintptr_t)a + grains * GRAIN);
}

/* At the newest chunk's top: the caller has seen to the room. */
static void far_begin (Arena *a) {
  a->far = (Far *)a->top;
  memset(a->far, 0, sizeof *a->far);
  a->top += sizeof *a->far;
}

static void arena_init (Arena *a, size_t first, bool inner) {
  memset(a, 0, HEAD);                  /* (of an inner one's blocks each is cleared: clear_rest) */
  a->first = (uint32_t)first;
  a->inner = inner;
  a->top = base(a);
  a->end = a->top + first;
  a->grow = CHUNK;
  if (HEAD + first > NEAR * GRAIN) far_begin(a);
}

/*
** Where scripts have run, a closed upvalue may have a value's tag in the low byte of what was a
** pointer (Lua keeps them in a union), and such a word is taken for one.  That is harmless if the
** distance between copies has a low byte of zero: the rest of the word is not looked at.  What
** arena_compact makes has no such words any more.
*/
#define ALIGN 256u

static Arena *aligned_chunk (size_t first) {
  return aligned_alloc(ALIGN, (HEAD + first + ALIGN - 1) & ~(size_t)(ALIGN - 1));
}

static void piece_free (Arena *a) {
  if (a->aligned) free(a);
  else slab_free(a, HEAD + a->first);
}

Arena *arena_new_aligned (size_t first) {
  Arena *a = aligned_chunk(first);
  if (a == NULL) return NULL;
  arena_init(a, first, true);
  a->aligned = true;
  return a;
}

Arena *arena_new (size_t first, bool inner) {
  Arena *a = slab_alloc(HEAD + first);
  if (a != NULL) arena_init(a, first, inner);
  return a;
}


/* ---------------------------------------------------------------- pools */

/*
** A goroutine that ends leaves a piece of memory that is warm in the cache and of just the size
** that the next one like it needs.  A pool keeps a few, by size in one place of an array each;
** not where GORO_POOLS says no.
*/
static Arena **pool_slot (ArenaPool *pool, size_t first) {
  return &pool->free[first / SLAB_UNIT % POOL_SIZE];
}

static Arena *first_chunk (size_t first, bool aligned, ArenaPool *pool) {
  if (GORO_POOLS && pool != NULL) {
    Arena **slot = pool_slot(pool, first), *a = *slot;
    if (a != NULL && a->first == first && a->aligned == aligned) {
      *slot = (Arena *)a->chunks;
      return a;
    }
  }
  return aligned ? aligned_chunk(first) : slab_alloc(HEAD + first);
}

/* A chain of at most POOL_DEPTH of one size for each place; another size takes the place. */
#define POOL_DEPTH 4

static void free_chain (Arena *a) {
  while (a != NULL) {
    Arena *next = (Arena *)a->chunks;
    piece_free(a);
    a = next;
  }
}

static void give_back (Arena *a, ArenaPool *pool) {
  if (GORO_POOLS && pool != NULL && a->first <= MAX_POOLED) {
    Arena **slot = pool_slot(pool, a->first), *old = *slot;
    if (old != NULL && (old->first != a->first || old->aligned != a->aligned)) {
      free_chain(old);
      old = NULL;
    }
    if (old == NULL || old->used < POOL_DEPTH) {
      a->chunks = (Chunk *)old;
      a->used = old == NULL ? 1 : old->used + 1;
      *slot = a;
      return;
    }
  }
  piece_free(a);
}

void arena_pool_drop (ArenaPool *pool) {
  int i;
  for (i = 0; i < POOL_SIZE; i++) free_chain(pool->free[i]);
  memset(pool, 0, sizeof *pool);
}

void arena_free (Arena *a, ArenaPool *pool) {
  Chunk *c = a->chunks;
  Large *l = a->large;
  while (l != NULL) {
    Large *next = l->next;
    free(l);
    l = next;
  }
  while (c != NULL) {
    Chunk *next = c->next;
    free(c);
    c = next;
  }
  give_back(a, pool);
}

void arena_limit (Arena *a, size_t bytes) { a->limit = bytes; }

bool arena_fine (Arena *a, bool on) {
  bool was = a->fine;
  a->fine = on;
  return was;
}

size_t arena_used (const Arena *a) { return a->used; }
size_t arena_extent (const Arena *a) { return HEAD + a->first + a->outside; }
size_t arena_size (const Arena *a) { return (size_t)(a->top - (const char *)a); }

size_t arena_need (const Arena *a) {
  const Chunk *c = a->chunks;
  size_t n;
  if (c == NULL) return arena_size(a);
  n = HEAD + a->first + (size_t)(a->top - (const char *)(c + 1));      /* of the newest: in use */
  while ((c = c->next) != NULL) n += c->size - sizeof *c;
  return is_inner(a, a->far) ? n : n - sizeof *a->far;
}

/* ---------------------------------------------------------------- copies */

/*
** A word is taken for a pointer if it holds an address of the arena, up to one past its last
** block.  What is no pointer but looks like one would be wrong in a copy: callers that put
** others' data into an arena must look (image.c does).
*/
long arena_pointers (const Arena *a, uint32_t **offsets) {
  const uintptr_t *w = (const uintptr_t *)a;
  size_t n = arena_size(a) / sizeof *w, i;
  uintptr_t low = (uintptr_t)a, high = (uintptr_t)a->top;
  long count = 0;
  if (a->chunks != NULL || a->large != NULL) return -1;
  for (i = 0; i < n; i++) count += w[i] >= low && w[i] <= high;
  *offsets = malloc((size_t)(count + 1) * sizeof **offsets);
  if (*offsets == NULL) return -1;
  count = 0;
  for (i = 0; i < n; i++)
    if (w[i] >= low && w[i] <= high) (*offsets)[count++] = (uint32_t)i;
  return count;
}

Arena *arena_copy (const Arena *a, size_t slack, const uint32_t *offsets, long n,
                   ArenaPool *pool) {
  size_t size = arena_size(a);
  size_t first = slab_round(size + slack) - HEAD;
  Arena *b = first_chunk(first, a->aligned, pool);
  uintptr_t *w = (uintptr_t *)b;
  uintptr_t distance = (uintptr_t)b - (uintptr_t)a;
  long i;
  if (b == NULL) return NULL;
  memcpy(b, a, size);
  for (i = 0; i + 4 <= n; i += 4) {    /* (some 400: the loop itself would be half the cost) */
    w[offsets[i]] += distance;
    w[offsets[i + 1]] += distance;
    w[offsets[i + 2]] += distance;
    w[offsets[i + 3]] += distance;
  }
  for (; i < n; i++) w[offsets[i]] += distance;
  b->first = (uint32_t)first;
  b->end = base(b) + first;
  b->inner = false;
  return b;
}

/* ---------------------------------------------------------------- without what is free */

/*
** What is free in a template where scripts have run, a fifth of it, need not be in each copy.  So
** what is in use is pushed together: each run of blocks between two that are free moves down by
** what is free below.  Where a block begins need not be known: an address within a run, or one
** past its end, moves as the run does.
**
** A closed upvalue holds its value behind a pointer to it, and behind that word, in the value's
** type, rests of a pointer: where that is what a word and the next but one look like, all but the
** type are cleared.  Other words with a type's low bits are no pointers, which are multiples of 8.
*/
typedef struct Gap { uint32_t from, to, below; } Gap;          /* offsets; what is free below it */

static int by_place (const void *a, const void *b) {
  const Gap *x = a, *y = b;
  return x->from < y->from ? -1 : x->from > y->from;
}

static void add_gap (const Arena *a, Gap *g, const void *p, size_t size) {
  if (g == NULL) return;
  g->from = (uint32_t)((const char *)p - (const char *)a);
  g->to = g->from + (uint32_t)size;
}

/* How many free blocks there are; put down in 'g', if that is not NULL. */
static size_t count_free (const Arena *a, Gap *g) {
  size_t c, k = 0;
  uintptr_t at;
  for (c = 0; c < NCLASSES; c++) {
    for (at = a->free[c]; at != 0; k++) {
      const Free *f = near_block(a, at);
      add_gap(a, g == NULL ? NULL : g + k, f, class_size(c));
      at = f->next;
    }
    if (a->far == NULL) continue;
    for (at = a->far->free[c]; at != 0; k++) {
      add_gap(a, g == NULL ? NULL : g + k, (const void *)at, class_size(c));
      at = ((const Free *)at)->next;
    }
  }
  return k;
}

/* All that is free below a->top, in order, adjacent pieces as one; '*n' of them.  One more stands
** at the end.  NULL: no memory. */
static Gap *find_gaps (const Arena *a, size_t *n) {
  size_t k = count_free(a, NULL) + (a->far != NULL), i;
  Gap *g = malloc((k + 1) * sizeof *g);
  if (g == NULL) return NULL;
  i = count_free(a, g);
  if (a->far != NULL) add_gap(a, &g[i], a->far, sizeof *a->far);     /* (the copy has none) */
  qsort(g, k, sizeof *g, by_place);
  for (i = 0, *n = 0; i < k; i++) {
    if (*n > 0 && g[*n - 1].to == g[i].from) g[*n - 1].to = g[i].to;
    else g[(*n)++] = g[i];
  }
  g[*n].from = g[*n].to = (uint32_t)arena_size(a);
  for (i = 0, k = 0; i <= *n; i++) {
    g[i].below = (uint32_t)k;
    k += g[i].to - g[i].from;
  }
  return g;
}

/* What is free below offset 'at': that of the first gap that does not end below it. */
static uint32_t free_below (const Gap *g, size_t n, uint32_t at) {
  size_t low = 0, high = n;            /* g[n].to is the end: not below any */
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (g[mid].to <= at) low = mid + 1;
    else high = mid;
  }
  return g[low].below;
}

/* Put the words from offset 'from' to 'to', moved to 'w', right. */
static void move_words (const Arena *a, Arena *b, const Gap *g, size_t n, uintptr_t *w,
                        size_t count, const uintptr_t *was) {
  uintptr_t low = (uintptr_t)a, high = (uintptr_t)a->top;
  size_t i;
  for (i = 0; i < count; i++) {
    uintptr_t v = was[i];
    if (v < low || v > high) continue;
    if (i >= 2 && was[i - 2] == (uintptr_t)&was[i - 1]) w[i] = v & 255;
    else if (v % GRAIN == 0)
      w[i] = (uintptr_t)b + (v - low) - free_below(g, n, (uint32_t)(v - low));
  }
}

Arena *arena_compact (const Arena *a, void **p) {
  const char *from = (const char *)a;
  size_t n, i, size = arena_size(a), at = HEAD;
  Gap *g = find_gaps(a, &n);
  Arena *b = NULL;
  if (g != NULL) b = slab_alloc(size - g[n].below);
  if (b != NULL) {
    memset(b, 0, HEAD);
    b->used = a->used;
    b->limit = a->limit;
    b->grow = CHUNK;
    for (i = 0; i <= n; i++) {
      char *to = (char *)b + at - g[i].below;
      memcpy(to, from + at, g[i].from - at);
      move_words(a, b, g, n, (uintptr_t *)(void *)to, (g[i].from - at) / sizeof(uintptr_t),
                 (const uintptr_t *)(const void *)(from + at));
      at = g[i].to;
    }
    b->first = (uint32_t)(size - g[n].below - HEAD);
    b->top = b->end = base(b) + b->first;
    i = (size_t)((char *)*p - from);
    *p = (char *)b + i - free_below(g, n, (uint32_t)i);
  }
  free(g);
  return b;
}

/* ---------------------------------------------------------------- blocks */

#define class_bit(c) (UINT32_C(1) << (c))

static void free_small (Arena *a, void *p, size_t c) {
  Free *f = p;
  size_t grains = ((uintptr_t)p - (uintptr_t)a) / GRAIN;       /* (huge where it is below) */
  goro_check(c < NCLASSES);
  if (grains < NEAR) {
    f->next = a->free[c];
    a->free[c] = (uint16_t)grains;
    a->there |= class_bit(c);
  }
  else if (a->far != NULL) {           /* (else the end of an image's copy of half a megabyte) */
    f->next = a->far->free[c];
    a->far->free[c] = (uintptr_t)f;
    a->far->there |= class_bit(c);
  }
  if (!a->inner) poison_hide(p, class_size(c));
}

static void *take_near (Arena *a, size_t c) {      /* there is one */
  Free *f = near_block(a, a->free[c]);
  poison_peek(f, sizeof *f);
  a->free[c] = (uint16_t)f->next;
  if (f->next == 0) a->there &= ~class_bit(c);
  if (!a->inner) poison_show(f, class_size(c));
  return f;
}

static void *take_far (Arena *a, size_t c) {       /* there is one */
  Free *f;
  goro_check(a->far != NULL);
  f = (Free *)a->far->free[c];
  poison_peek(f, sizeof *f);
  a->far->free[c] = f->next;
  if (f->next == 0) a->far->there &= ~class_bit(c);
  if (!a->inner) poison_show(f, class_size(c));
  return f;
}

/* Memory in a chunk that nobody uses, to the free lists. */
static void recycle (Arena *a, char *p, size_t size) {
  size &= ~(size_t)(GRAIN - 1);
  while (size > 0) {
    size_t c = class_within(size), n = class_size(c);
    free_small(a, p, c);
    p += n;
    size -= n;
  }
}

/* How large the next chunk is to be: a quarter more than the last one.  A fifth of what a state has
** ever needed at once may be for nothing, then; twice as much each time, and it would be half. */
static size_t next_chunk (Arena *a) {
  size_t size = a->grow;
  if (a->fine) {
    size = arena_extent(a) / 64 & ~(size_t)(GRAIN - 1);
    return size < CHUNK ? CHUNK : size > MAX_CHUNK ? MAX_CHUNK : size;
  }
  if (a->grow < MAX_CHUNK) a->grow += a->grow / 4 & ~(size_t)(GRAIN - 1);
  return size;
}

/* The smallest free block that one of class 'c' can be cut from; what it has more is free again
** (what a template has left free should serve).  NULL: there is none. */
static char *free_block (Arena *a, size_t c) {
  uint32_t near = a->there >> c, far = a->far != NULL ? a->far->there >> c : 0;
  size_t k;
  char *p;
  if ((near | far) == 0) return NULL;
  k = c + (size_t)__builtin_ctz(near | far);
  p = a->there & class_bit(k) ? take_near(a, k) : take_far(a, k);
  if (k > c) recycle(a, p + class_size(c), class_size(k) - class_size(c));
  return p;
}

/*
** What a state has needed at once, and needs no more, goes back: when so little is in use that three
** quarters of its chunks are for nothing.  That is less than a collector leaves from cycle to cycle.
** To look for chunks that are free takes as long as there are free blocks, so not in large states, nor
** where little is to be had; and once a second, for who makes as much again and again needs it.
*/
#define TRIM_FROM 65536u
#define TRIM_TO (4u << 20)

static void set_low (Arena *a) {
  size_t n = a->far->size;
  a->far->low = (uint32_t)(a->inner || n < TRIM_FROM || n > TRIM_TO ? 0 :
                           a->used < n / 4 ? a->used / 2 : n / 4);
}

static bool add_chunk (Arena *a) {     /* false: no memory */
  size_t size = next_chunk(a);
  Chunk *k = malloc(size);
  if (k == NULL) return false;
  recycle(a, a->top, (size_t)(a->end - a->top));
  k->size = size;
  a->outside += size;
  k->next = a->chunks;
  a->chunks = k;
  a->top = (char *)(k + 1);
  a->end = (char *)k + size;
  if (a->far == NULL) far_begin(a);
  a->far->size += size;
  set_low(a);
  return true;
}

static void *small_new (Arena *a, size_t size) {
  size_t c = class_of(size);
  char *p = free_block(a, c);
  if (p != NULL) return p;
  size = class_size(c);
  if ((size_t)(a->end - a->top) < size && !add_chunk(a)) return NULL;
  p = a->top;
  a->top += size;
  return p;
}

static void *block_new (Arena *a, size_t size) {
  Large *l;
  if (size <= MAX_SMALL) return small_new(a, size);
  if (a->inner && a->chunks == NULL && round_up(size) <= (size_t)(a->end - a->top)) {
    char *p = a->top;
    a->top += round_up(size);
    return p;
  }
  if (size > (size_t)-1 - sizeof *l) return NULL;
  l = big_new(sizeof *l + size);
  if (l == NULL) return NULL;
  a->outside += sizeof *l + size;
  l->next = a->large;
  l->prev = NULL;
  if (a->large != NULL) a->large->prev = l;
  a->large = l;
  return l + 1;
}

static void block_free (Arena *a, void *p, size_t size) {
  if (size <= MAX_SMALL) free_small(a, p, class_of(size));
  else if (is_inner(a, p))
    recycle(a, p, round_up(size));
  else {
    Large *l = (Large *)p - 1;
    if (l->next != NULL) l->next->prev = l->prev;
    if (l->prev != NULL) l->prev->next = l->next;
    else a->large = l->next;
    a->outside -= sizeof *l + size;
    big_free(l, sizeof *l + size);
  }
}

/*
** What is to be copied must not hold what it is not: where bytes of what was there before stay
** behind an array's last element, or between the members of a structure, the word they stand in
** might be taken for a pointer.
*/
static void clear_rest (Arena *a, void *p, size_t keep, size_t size) {
  size_t all = size <= MAX_SMALL ? class_size(class_of(size)) :
               is_inner(a, p) ? round_up(size) : size;
  memset((char *)p + keep, 0, all - keep);
}

static void trim (Arena *a);

void *arena_realloc (Arena *a, void *p, size_t osize, size_t nsize) {
  void *q;
  if (p == NULL) osize = 0;
  if (nsize == 0) {
    if (p != NULL) block_free(a, p, osize);
    a->used -= osize;
    if (a->far != NULL && a->used < a->far->low) trim(a);
    return NULL;
  }
  if (a->limit != 0 && nsize > osize && a->used - osize + nsize > a->limit) return NULL;
  if (p == NULL)
    q = block_new(a, nsize);
  else if (osize <= MAX_SMALL && nsize <= MAX_SMALL && class_of(osize) == class_of(nsize))
    q = p;
  else if (osize > MAX_SMALL && nsize > MAX_SMALL && !is_inner(a, p)) {
    Large *l = (Large *)p - 1, *next = l->next, *prev = l->prev;
    l = big_resize(l, sizeof *l + osize, sizeof *l + nsize);
    if (l == NULL) return NULL;
    a->outside += nsize - osize;
    if (next != NULL) next->prev = l;
    if (prev != NULL) prev->next = l;
    else a->large = l;
    q = l + 1;
  }
  else {
    q = block_new(a, nsize);
    if (q == NULL) return NULL;
    memcpy(q, p, osize < nsize ? osize : nsize);
    block_free(a, p, osize);
  }
  if (a->inner && q != NULL) clear_rest(a, q, osize < nsize ? osize : nsize, nsize);
  a->used += nsize - osize;
  return q;
}

/* ---------------------------------------------------------------- chunks that are free */

typedef struct Part { Chunk *k; size_t free; } Part;

static int part_by_place (const void *a, const void *b) {
  uintptr_t x = (uintptr_t)((const Part *)a)->k, y = (uintptr_t)((const Part *)b)->k;
  return x < y ? -1 : x > y;
}

/* All chunks but the first and the newest, in order; '*n' of them.  NULL: none, or no memory. */
static Part *find_parts (const Arena *a, size_t *n) {
  Part *parts;
  Chunk *k;
  *n = 0;
  for (k = a->chunks; k != NULL; k = k->next) ++*n;
  if (*n < 2 || (parts = malloc(*n * sizeof *parts)) == NULL) return NULL;
  for (*n = 0, k = a->chunks->next; k != NULL; k = k->next) {
    parts[*n].k = k;
    parts[(*n)++].free = 0;
  }
  qsort(parts, *n, sizeof *parts, part_by_place);
  return parts;
}

static Part *part_of (Part *parts, size_t n, const void *p) {  /* where 'p' lies, or NULL */
  size_t low = 0, high = n;            /* the first one that begins above 'p' */
  while (low < high) {
    size_t mid = (low + high) / 2;
    if ((uintptr_t)parts[mid].k > (uintptr_t)p) high = mid;
    else low = mid + 1;
  }
  if (low == 0) return NULL;
  parts += low - 1;
  return (uintptr_t)p < (uintptr_t)parts->k + parts->k->size ? parts : NULL;
}

#define all_free(part) ((part) != NULL && (part)->free == (part)->k->size - sizeof(Chunk))

/* Count a free block where it lies; the next one of its list. */
static uintptr_t count_block (const Arena *a, Part *parts, size_t n, Free *f, size_t c) {
  Part *part = part_of(parts, n, f);
  uintptr_t next;
  if (part != NULL) part->free += class_size(c);
  poison_peek(f, sizeof *f);
  next = f->next;
  if (!a->inner) poison_hide(f, sizeof *f);
  return next;
}

/* Count what is free in each. */
static void count_parts (const Arena *a, Part *parts, size_t n) {
  size_t c;
  uintptr_t at;
  for (c = 0; c < NCLASSES; c++) {
    for (at = a->free[c]; at != 0;) at = count_block(a, parts, n, near_block(a, at), c);
    if (a->far == NULL) continue;
    for (at = a->far->free[c]; at != 0;) at = count_block(a, parts, n, (Free *)at, c);
  }
}

/* Take what lies in those that are free as a whole out of the free lists. */
static void unlist_free (Arena *a, Part *parts, size_t n) {
  size_t c;
  for (c = 0; c < NCLASSES; c++) {
    Free *stay = NULL;
    for (;;) {
      Free *f = a->there & class_bit(c) ? take_near(a, c) :
                a->far != NULL && (a->far->there & class_bit(c)) ? take_far(a, c) : NULL;
      if (f == NULL) break;
      if (all_free(part_of(parts, n, f))) continue;
      f->next = (uintptr_t)stay;
      stay = f;
    }
    while (stay != NULL) {
      Free *next = (Free *)stay->next;
      free_small(a, stay, c);
      stay = next;
    }
  }
}

/* (The chunk in which Far lies is never free as a whole.) */
void arena_trim (Arena *a) {
  size_t n, i;
  Part *parts = find_parts(a, &n);
  Chunk **k;
  if (parts == NULL) return;
  count_parts(a, parts, n);
  unlist_free(a, parts, n);
  for (k = &a->chunks->next; *k != NULL;) {
    Chunk *gone = *k;
    if (!all_free(part_of(parts, n, gone))) k = &gone->next;
    else {
      *k = gone->next;
      a->outside -= gone->size;
      a->far->size -= gone->size;
    }
  }
  for (i = 0; i < n; i++)
    if (all_free(&parts[i])) free(parts[i].k);
  free(parts);
}

static void trim (Arena *a) {
  Far *far = a->far;
  size_t was = far->size;
  int64_t now = os_now();
  if (now - far->trimmed < SECOND) far->low = (uint32_t)(a->used / 2);
  else {
    far->trimmed = now;
    arena_trim(a);
    if (far->size < was) a->grow = CHUNK;
    set_low(a);
  }
}
