/*
** slab.c - the pieces of memory that goroutines' states are copies in.  Layer 1.
**
** All copies of an image are of one size, and there may be a million of them.  malloc would make
** each from a heap that it lets grow by 128 KB at a time, with two system calls, and give back
** only from its end.  Here a slab, mapped at once and touched as it is needed, is cut into blocks of
** one size.  A block's slab is found by its address.  A slab of which nothing is in use goes back to
** the system, but for the last one of its size: so those of small blocks are small.
**
** Pages of 4 KB on purpose: where a virtual machine gives free memory back to its host, large ones
** made touching new memory up to six times as dear (docs/performance.md).
**
** Where allocations are made to fail in tests, and under AddressSanitizer, it is malloc's.
*/
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "debug.h"
#include "lock.h"
#include "platform.h"
#include "slab.h"

#define bytes_of(size) ((size_t)((size) < 256 ? 256 << 10 : 4 << 20))    /* a slab of such blocks */
#define LARGEST 65536u
#define NSIZES (LARGEST / SLAB_UNIT)

typedef struct Block { struct Block *next; } Block;

typedef struct Slab {
  struct Slab *next, *prev;            /* [L] with something free, of one size */
  Block *free;                         /* [L] */
  char *top, *end;                     /* [L] never used yet */
  char *touched;                       /* [L] up to where it was asked of the system */
  uint32_t used;                       /* [L] blocks */
  bool listed;                         /* [L] */
} Slab;

#define HEAD 128u
#define AHEAD 16384u
#define MAX_AHEAD 131072u

static struct {
  Lock lock;                           /* a free word: needs no init but its rank */
  Slab *first[NSIZES + 1];             /* [L] */
} slabs = { .lock = { .rank = RANK_LEAF } };

/* (in test builds GORO_POOLS may be no constant, and each block is to be seen) */
#if defined(GORO_FAULTS)
#define is_ours(size) false
#else
#define is_ours(size) (GORO_POOLS && (size) <= LARGEST)
#endif

static Slab *slab_of (void *p, size_t size) {
  return (Slab *)((uintptr_t)p & ~(uintptr_t)(bytes_of(size) - 1));
}

static void list (Slab **first, Slab *s) {         /* slabs.lock held */
  s->prev = NULL;
  s->next = *first;
  if (s->next != NULL) s->next->prev = s;
  *first = s;
  s->listed = true;
}

static void unlist (Slab **first, Slab *s) {       /* slabs.lock held */
  if (s->prev != NULL) s->prev->next = s->next;
  else *first = s->next;
  if (s->next != NULL) s->next->prev = s->prev;
  s->listed = false;
}

static Slab *map (size_t slab) {       /* aligned to its size; NULL: no memory */
  char *p = mmap(NULL, 2 * slab, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *q;
  Slab *s;
  if (p == MAP_FAILED) return NULL;
  q = (char *)(((uintptr_t)p + slab - 1) & ~(uintptr_t)(slab - 1));
  if (q != p) munmap(p, (size_t)(q - p));
  if (q + slab != p + 2 * slab) munmap(q + slab, (size_t)(p + slab - q));
  s = (Slab *)q;                       /* all zero */
  s->top = q + HEAD;
  s->touched = q;
  s->end = q + slab;
  return s;
}

static bool is_full (const Slab *s, size_t size) {
  return s->free == NULL && (size_t)(s->end - s->top) < size;
}

/* New memory is asked for in pieces of a quarter of what the slab uses: a fault for each page would
** cost more. */
static size_t ahead (const Slab *s) {
  size_t n = (size_t)(s->top - (const char *)s) / 4 & ~(size_t)(AHEAD - 1);
  size_t need = (size_t)(s->top - s->touched), left = (size_t)(s->end - s->touched);
  if (n > MAX_AHEAD) n = MAX_AHEAD;
  if (n < need) n = (need + AHEAD - 1) & ~(size_t)(AHEAD - 1);
  return n < left ? n : left;
}

/* A block of a slab with something free.  '*touch': so many bytes from there on are to be touched. */
static void *take (Slab **first, size_t size, char **from, size_t *touch) {  /* slabs.lock held */
  Slab *s = *first;
  void *p = s->free;
  if (p != NULL) s->free = s->free->next;
  else {
    p = s->top;
    s->top += size;
    if (s->top > s->touched) {
      *from = s->touched;
      *touch = ahead(s);
      s->touched += *touch;
    }
  }
  s->used++;
  if (is_full(s, size)) unlist(first, s);
  return p;
}

void *slab_alloc (size_t size) {
  Slab **first, *fresh;
  char *from = NULL;
  size_t touch = 0;
  void *p = NULL;
  if (!is_ours(size)) return malloc(size);
  size = slab_round(size);
  first = &slabs.first[size / SLAB_UNIT];
  lock_acquire(&slabs.lock);
  if (*first != NULL) p = take(first, size, &from, &touch);
  lock_release(&slabs.lock);
  if (p == NULL) {
    if ((fresh = map(bytes_of(size))) == NULL) return NULL;
    lock_acquire(&slabs.lock);
    list(first, fresh);
    p = take(first, size, &from, &touch);
    lock_release(&slabs.lock);
  }
  if (touch != 0) os_touch(from, touch);
  return p;
}

void slab_free (void *p, size_t size) {
  Slab **first, *s, *gone = NULL;
  Block *b = p;
  if (!is_ours(size)) {
    free(p);
    return;
  }
  size = slab_round(size);
  s = slab_of(p, size);
  first = &slabs.first[size / SLAB_UNIT];
  lock_acquire(&slabs.lock);
  b->next = s->free;
  s->free = b;
  if (!s->listed) list(first, s);
  if (--s->used == 0 && (s->next != NULL || s->prev != NULL)) {
    unlist(first, s);
    gone = s;
  }
  lock_release(&slabs.lock);
  if (gone != NULL) munmap(gone, bytes_of(size));
}
