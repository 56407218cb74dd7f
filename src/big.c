/*
** big.c - large blocks, some of which are kept when they are freed.  Layer 1.
**
** malloc soon gives a large block back to the kernel, which clears it page by page when it is
** wanted again: for a string of 1 MB that takes ten times as long as to copy it.  So freed blocks
** of BIG_MIN to BIG_MAX bytes are kept for whoever wants one of the size next, BIG_KEEP bytes of
** them in the process; when there are more, all are given back.  Sizes are rounded up to a
** quarter of a power of two.
*/
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "big.h"
#include "lock.h"

#define BIG_MIN ((size_t)64 << 10)
#define BIG_MAX ((size_t)4 << 20)
#define NCLASSES 25                    /* 6 powers of two by 4, and BIG_MAX */

#if defined(__SANITIZE_ADDRESS__) || defined(GORO_VALGRIND)
#define BIG_KEEP 0                     /* what is freed must not be used */
#else
#define BIG_KEEP ((size_t)16 << 20)
#endif

typedef struct Kept { struct Kept *next; } Kept;

static Lock lock = { .rank = RANK_LEAF };
static Kept *kept[NCLASSES];           /* [L] */
static size_t total;                   /* [L] bytes in them */

/* The class of a block, and how large its blocks are; -1: they are not kept. */
static int class_of (size_t size, size_t *room) {
  int power = 0, quarter;
  size_t base;
  if (size < BIG_MIN || size > BIG_MAX) return -1;
  while ((BIG_MIN << power) * 2 <= size) power++;
  base = BIG_MIN << power;
  quarter = (int)((size - base + base / 4 - 1) / (base / 4));
  *room = base + (size_t)quarter * (base / 4);
  return power * 4 + quarter;
}

void *big_new (size_t size) {
  size_t room;
  int c = class_of(size, &room);
  Kept *k;
  if (c < 0) return malloc(size);
  lock_acquire(&lock);
  if ((k = kept[c]) != NULL) {
    kept[c] = k->next;
    total -= room;
  }
  lock_release(&lock);
  return k != NULL ? k : malloc(room);
}

void big_free (void *p, size_t size) {
  Kept *all[NCLASSES], *k = p;
  size_t room;
  bool full;
  int c = class_of(size, &room), i;
  if (c < 0 || room > BIG_KEEP) {
    free(p);
    return;
  }
  lock_acquire(&lock);
  if ((full = total + room > BIG_KEEP)) {
    memcpy(all, kept, sizeof all);
    memset(kept, 0, sizeof kept);
    total = 0;
  }
  k->next = kept[c];
  kept[c] = k;
  total += room;
  lock_release(&lock);
  for (i = 0; full && i < NCLASSES; i++)
    while ((k = all[i]) != NULL) {
      all[i] = k->next;
      free(k);
    }
}

void *big_resize (void *p, size_t osize, size_t nsize) {
  size_t oroom, nroom;
  int o = class_of(osize, &oroom), n = class_of(nsize, &nroom);
  void *q;
  if (o < 0 && n < 0) return realloc(p, nsize);
  if (o == n) return p;
  if ((q = big_new(nsize)) == NULL)
    return nsize <= osize ? p : NULL;  /* shrinking cannot fail: it is larger than need be */
  memcpy(q, p, osize < nsize ? osize : nsize);
  big_free(p, osize);
  return q;
}
