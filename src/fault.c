/*
** fault.c - allocations that fail on demand.  Layer 0.  Empty in release builds.
*/
#include <errno.h>
#include "atomics.h"
#include "debug.h"
#include "fault.h"

#if defined(GORO_FAULTS)

#undef malloc
#undef calloc
#undef realloc
#undef aligned_alloc
#undef strdup
#undef free

static _Atomic(uint32_t) mode;
static _Atomic(uint64_t) chosen, asked, failed, armed;
static _Atomic(int64_t) blocks;
static _Atomic(uint32_t) exact;

/* What Lua was refused on this thread: it collects and asks for the very same again.  (A state
** in the making does not; what it was refused under an earlier arming says nothing now.) */
static __thread struct { const void *p; size_t osize, nsize; uint64_t armed; bool is; } refused;

void fault_arm (uint32_t how, uint64_t n) {
  store_rlx(&mode, FAULT_NONE);
  store_rlx(&chosen, n);
  store_rlx(&asked, 0);
  store_rlx(&failed, 0);
  add_rlx(&armed, 1);
  store_seq(&mode, how);
}

uint64_t fault_disarm (uint64_t *n) {
  store_seq(&mode, FAULT_NONE);
  *n = load_rlx(&asked);
  return load_rlx(&failed);
}

int64_t fault_blocks (void) {
  store_rlx(&exact, 1);
  return load_rlx(&blocks);
}

bool fault_pools (void) { return !load_rlx(&exact); }

static bool due (void) {
  uint32_t how = load_rlx(&mode);
  uint64_t n;
  if (how == FAULT_NONE) return false;
  n = add_rlx(&asked, 1) + 1;
  if (n != load_rlx(&chosen) && (how == FAULT_ONCE || n < load_rlx(&chosen))) return false;
  if (load_rlx(&chosen) == 0) return false;
  add_rlx(&failed, 1);
  return true;
}

bool fault_lua (const void *p, size_t osize, size_t nsize) {
  if (nsize == 0 || (p != NULL && nsize <= osize)) return false;       /* Lua relies on that */
  if (load_rlx(&mode) == FAULT_NONE) {
    refused.is = false;
    return false;
  }
  if (refused.is) {
    refused.is = false;
    if (refused.armed == load_rlx(&armed) && refused.p == p && refused.osize == osize &&
        refused.nsize == nsize) return true;
  }
  if (!due()) return false;
  refused.is = true;
  refused.armed = load_rlx(&armed);
  refused.p = p;
  refused.osize = osize;
  refused.nsize = nsize;
  return true;
}

static uint32_t collect_each;          /* [I] GOROGC; 0: off */

__attribute__((constructor)) static void collect_init (void) {
  const char *each = getenv("GOROGC");
  if (each != NULL) collect_each = (uint32_t)strtoul(each, NULL, 10);
}

bool fault_collects (void) { return collect_each != 0; }

bool fault_collect (const void *p, size_t kind, uint32_t rare) {
  static __thread bool again;          /* (the collection makes no object) */
  if (collect_each == 0 || p != NULL || kind == 0) return false;
  if (again) again = false;
  else again = goro_choose(collect_each * rare) == 0;
  return again;
}

static void *counted (void *p) {
  if (p != NULL) add_rlx(&blocks, 1);
  else errno = ENOMEM;
  return p;
}

void *fault_malloc (size_t n) { return counted(due() ? NULL : malloc(n)); }
void *fault_calloc (size_t n, size_t size) { return counted(due() ? NULL : calloc(n, size)); }
void *fault_aligned_alloc (size_t alignment, size_t n) {
  return counted(due() ? NULL : aligned_alloc(alignment, n));
}
char *fault_strdup (const char *s) { return counted(due() ? NULL : strdup(s)); }

void *fault_realloc (void *p, size_t n) {
  void *q = due() ? NULL : realloc(p, n);
  if (p == NULL) counted(q);
  else if (q == NULL && n > 0) errno = ENOMEM;
  return q;
}

void fault_free (void *p) {
  if (p != NULL) add_rlx(&blocks, -1);
  free(p);
}

#endif
