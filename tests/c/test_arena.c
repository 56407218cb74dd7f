/* The arena: blocks keep what was written, its count and its limit hold, copies point into
   themselves. */
#include <string.h>
#include "arena.h"
#include "test.h"

#define BLOCKS 500

typedef struct Block { unsigned char *p; size_t size; unsigned char mark; } Block;

static void check_block (const Block *b) {
  size_t i;
  for (i = 0; i < b->size; i++) CHECK(b->p[i] == b->mark);
}

static void random_use (size_t first, bool inner) {
  static Block blocks[BLOCKS];
  Arena *a = arena_new(first, inner);
  unsigned seed = 12345, k;
  size_t used = 0;
  CHECK(a != NULL);
  memset(blocks, 0, sizeof blocks);
  for (k = 0; k < 200000; k++) {
    Block *b = &blocks[test_random(&seed) % BLOCKS];
    unsigned kind = test_random(&seed) % 10;
    size_t size = kind == 0 ? 0 : kind < 8 ? test_random(&seed) % 600 : test_random(&seed) % 6000;
    size_t keep = size < b->size ? size : b->size, i;
    unsigned char *p = arena_realloc(a, b->p, b->size, size);
    CHECK((p != NULL) == (size > 0));
    CHECK(((size_t)p & 7) == 0);
    for (i = 0; i < keep; i++) CHECK(p[i] == b->mark);
    used += size - b->size;
    b->p = p;
    b->size = size;
    b->mark = (unsigned char)test_random(&seed);
    if (p != NULL) memset(p, b->mark, size);
    CHECK(arena_used(a) == used);
    if (k % 30000 == 0) arena_fine(a, k % 60000 == 0);
    if (k % 7000 == 0) arena_trim(a);
    if (k % 1000 == 0)
      for (i = 0; i < BLOCKS; i++) check_block(&blocks[i]);
  }
  arena_free(a, NULL);
}

/* What is free as a whole is given back, and nothing else. */
static void trim (void) {
  static unsigned char *p[1000];
  Arena *a = arena_new(1024, false);
  size_t i, full, empty = arena_extent(a);
  CHECK(!arena_fine(a, true) && arena_fine(a, true));
  for (i = 0; i < 1000; i++) {
    p[i] = arena_realloc(a, NULL, 0, 40);
    memset(p[i], (int)(i % 251), 40);
  }
  full = arena_extent(a);
  arena_trim(a);
  CHECK(arena_extent(a) == full);
  for (i = 0; i < 1000; i++)
    if (i % 500 != 0) arena_realloc(a, p[i], 40, 0);
  CHECK(arena_extent(a) == full);
  arena_trim(a);
  CHECK(arena_extent(a) < empty + full / 5 && arena_used(a) == 2 * 40);
  for (i = 0; i < 1000; i++) {
    if (i % 500 != 0) p[i] = arena_realloc(a, NULL, 0, 40);
    else CHECK(p[i][39] == i % 251);
    memset(p[i], (int)(i % 251), 40);
  }
  for (i = 0; i < 1000; i++) CHECK(p[i][0] == i % 251 && p[i][39] == i % 251);
  arena_free(a, NULL);
}

#define WAVE 40000

/* So it is, unasked, of an arena in which most of what was in use is so no more; not of a template,
** whose blocks must stay where they are.  'n' blocks, of which one in 97 of the first eighth stays. */
static void ebb (bool inner, size_t n) {
  static unsigned char *p[WAVE];
  Arena *a = arena_new(1024, inner);
  size_t i, full;
  for (i = 0; i < n; i++) {
    p[i] = arena_realloc(a, NULL, 0, 8 + i % 57);
    memset(p[i], (int)(i % 251), 8 + i % 57);
  }
  full = arena_extent(a);
  for (i = n; i-- > 0;)
    if (i % 97 != 0 || i > n / 8) p[i] = arena_realloc(a, p[i], 8 + i % 57, 0);
  CHECK(inner || full < 100000 ? arena_extent(a) == full : arena_extent(a) < full * 2 / 3);
  for (i = 0; i < n; i++) {
    CHECK(p[i] == NULL || (p[i][0] == i % 251 && p[i][7 + i % 57] == i % 251));
    if (p[i] == NULL) p[i] = arena_realloc(a, NULL, 0, 8 + i % 57);
    memset(p[i], (int)(i % 251), 8 + i % 57);
  }
  for (i = 0; i < n; i++) {
    CHECK(p[i][0] == i % 251 && p[i][7 + i % 57] == i % 251);
    p[i] = arena_realloc(a, p[i], 8 + i % 57, 0);
  }
  CHECK(arena_used(a) == 0);
  arena_free(a, NULL);
}

static void limit (void) {
  Arena *a = arena_new(4096, false);
  void *p, *q;
  arena_limit(a, 10000);
  p = arena_realloc(a, NULL, 0, 9000);
  CHECK(p != NULL && arena_realloc(a, NULL, 0, 2000) == NULL);
  q = arena_realloc(a, NULL, 0, 900);
  CHECK(q != NULL && arena_realloc(a, q, 900, 1100) == NULL);
  CHECK(arena_realloc(a, p, 9000, 100) != NULL);
  CHECK(arena_used(a) == 1000);
  arena_free(a, NULL);
}

typedef struct Node { struct Node *next, *self; size_t n; void *outside; } Node;

static void copies (size_t first) {
  Arena *a = arena_new(first, true), *b, *c;
  uint32_t *offsets;
  Node *list = NULL, *x, *y;
  long n;
  int i, round;
  for (i = 0; i < 200; i++) {
    x = arena_realloc(a, NULL, 0, i % 7 == 0 ? 700 : sizeof *x);
    x->next = list;
    x->self = x;
    x->n = (size_t)i;
    x->outside = &i;
    list = x;
  }
  n = arena_pointers(a, &offsets);
  CHECK(n >= 400);
  b = arena_copy(a, 100, offsets, n, NULL);
  c = arena_copy(b, 0, offsets, n, NULL);    /* a copy of a copy */
  for (round = 0; round < 2; round++) {
    Arena *to = round ? c : b;
    for (x = list, y = arena_moved(a, to, list); x != NULL; x = x->next, y = y->next) {
      CHECK((char *)y >= (char *)to && (char *)y < (char *)to + arena_size(to));
      CHECK(y->self == y && y->n == x->n && y->outside == x->outside && x->self == x);
    }
    CHECK(y == NULL && arena_used(to) == arena_used(a));
    x = arena_moved(a, to, list);      /* a large block of the template, freed in the copy */
    for (i = 0; i < 199; i++) x = x->next;
    arena_realloc(to, x, 700, 0);
    CHECK(arena_realloc(to, NULL, 0, 400) != NULL);
  }
  free(offsets);
  arena_free(a, NULL);
  arena_free(b, NULL);
  arena_free(c, NULL);
}

int main (void) {
  random_use(8192, false);
  random_use(0, false);
  random_use(65536, true);
  random_use(1 << 20, true);           /* blocks further away than NEAR in the first chunk, too */
  trim();
  ebb(false, 500);
  ebb(false, 3000);
  ebb(false, 7000);
  ebb(false, WAVE);
  ebb(true, WAVE);
  limit();
  copies(1 << 16);
  copies(1 << 20);
  puts("arena: blocks, limit, copies, what is given back");
  return 0;
}
