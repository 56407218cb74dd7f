/*
** arena.c - the allocator of goroutine states.  Layer 1.
**
** Blocks up to MAX_SMALL come in classes of 16 bytes, cut from the newest chunk, and go to a
** free list of their class; Lua tells every block's size, so none needs a header.  Larger
** blocks are malloc's, in a doubly linked list.
*/
#include <stdlib.h>
#include <string.h>
#include "arena.h"

#define GRAIN 16u
#define MAX_SMALL 512u
#define NCLASSES (MAX_SMALL / GRAIN)
#define CHUNK 4096u
#define MAX_CHUNK 65536u

#define class_of(size) (((size) + GRAIN - 1) / GRAIN - 1)
#define round_up(size) (((size) + GRAIN - 1) & ~(size_t)(GRAIN - 1))

typedef struct Free { struct Free *next; } Free;
typedef struct Chunk { struct Chunk *next; size_t size; } Chunk;
typedef struct Large { struct Large *next, *prev; } Large;     /* 16 bytes: keeps alignment */

struct Arena {
  char *top, *end;                     /* of the newest chunk */
  size_t used, limit, grow;
  Large large;                         /* list head */
  Chunk *chunks;                       /* all but the first, newest first */
  Free *free[NCLASSES];
  size_t first;                        /* the first chunk follows */
};

#define HEAD round_up(sizeof(Arena))

Arena *arena_new (size_t first) {
  Arena *a = malloc(HEAD + first);
  if (a == NULL) return NULL;
  memset(a, 0, sizeof *a);
  a->first = first;
  a->top = (char *)a + HEAD;
  a->end = a->top + first;
  a->grow = CHUNK;
  a->large.next = a->large.prev = &a->large;
  return a;
}

void arena_free (Arena *a) {
  Chunk *c = a->chunks;
  Large *l = a->large.next;
  while (l != &a->large) {
    Large *next = l->next;
    free(l);
    l = next;
  }
  while (c != NULL) {
    Chunk *next = c->next;
    free(c);
    c = next;
  }
  free(a);
}

void arena_limit (Arena *a, size_t bytes) { a->limit = bytes; }
size_t arena_used (const Arena *a) { return a->used; }
char *arena_base (Arena *a) { return (char *)a + HEAD; }
size_t arena_top (const Arena *a) { return (size_t)(a->top - ((const char *)a + HEAD)); }

bool arena_is_single (const Arena *a) {
  return a->chunks == NULL && a->large.next == &a->large;
}

Arena *arena_clone (const Arena *a, size_t slack) {
  size_t top = arena_top(a);
  Arena *b = arena_new(round_up(top + slack));
  ptrdiff_t d;
  int i;
  if (b == NULL) return NULL;
  memcpy(arena_base(b), (const char *)a + HEAD, top);
  d = (char *)b - (const char *)a;
  b->top += top;
  b->used = a->used;
  for (i = 0; i < (int)NCLASSES; i++) {        /* the free lists of the copy */
    Free *f;
    if (a->free[i] == NULL) continue;
    b->free[i] = (Free *)((char *)a->free[i] + d);
    for (f = b->free[i]; f->next != NULL; f = f->next)
      f->next = (Free *)((char *)f->next + d);
  }
  return b;
}

static void *small_new (Arena *a, size_t size) {
  size_t c = class_of(size);
  Free *f = a->free[c];
  char *p;
  if (f != NULL) {
    a->free[c] = f->next;
    return f;
  }
  size = round_up(size);
  if ((size_t)(a->end - a->top) < size) {
    Chunk *k = malloc(a->grow);
    while ((size_t)(a->end - a->top) >= GRAIN && k != NULL) {  /* use up the rest */
      size_t left = (size_t)(a->end - a->top);
      if (left > MAX_SMALL) left = MAX_SMALL;
      f = (Free *)a->top;
      f->next = a->free[class_of(left)];
      a->free[class_of(left)] = f;
      a->top += round_up(left);
    }
    if (k == NULL) return NULL;
    k->size = a->grow;
    k->next = a->chunks;
    a->chunks = k;
    a->top = (char *)(k + 1);
    a->end = (char *)k + a->grow;
    if (a->grow < MAX_CHUNK) a->grow *= 2;
  }
  p = a->top;
  a->top += size;
  return p;
}

static void *block_new (Arena *a, size_t size) {
  Large *l;
  if (size <= MAX_SMALL) return small_new(a, size);
  if (size > (size_t)-1 - sizeof *l) return NULL;
  l = malloc(sizeof *l + size);
  if (l == NULL) return NULL;
  l->next = a->large.next;
  l->prev = &a->large;
  l->next->prev = l->prev->next = l;
  return l + 1;
}

static void block_free (Arena *a, void *p, size_t size) {
  if (size <= MAX_SMALL) {
    Free *f = p;
    f->next = a->free[class_of(size)];
    a->free[class_of(size)] = f;
  }
  else {
    Large *l = (Large *)p - 1;
    l->next->prev = l->prev;
    l->prev->next = l->next;
    free(l);
  }
}

void *arena_realloc (Arena *a, void *p, size_t osize, size_t nsize) {
  void *q;
  if (p == NULL) osize = 0;
  if (nsize == 0) {
    if (p != NULL) block_free(a, p, osize);
    a->used -= osize;
    return NULL;
  }
  if (a->limit != 0 && nsize > osize && a->used - osize + nsize > a->limit) return NULL;
  if (p == NULL)
    q = block_new(a, nsize);
  else if (osize <= MAX_SMALL && nsize <= MAX_SMALL && class_of(osize) == class_of(nsize))
    q = p;
  else if (osize > MAX_SMALL && nsize > MAX_SMALL) {
    Large *l = (Large *)p - 1, *next = l->next, *prev = l->prev;
    l = realloc(l, sizeof *l + nsize);
    if (l == NULL) return NULL;
    next->prev = prev->next = l;
    q = l + 1;
  }
  else {
    q = block_new(a, nsize);
    if (q == NULL) return NULL;
    memcpy(q, p, osize < nsize ? osize : nsize);
    block_free(a, p, osize);
  }
  a->used += nsize - osize;
  return q;
}
