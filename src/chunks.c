/*
** chunks.c - compiled source files, one copy in the process.  Layer 2.
**
** A hash table under one lock, with a list by last use: more than MAX_BYTES are not kept, the
** least used go first.  A chunk in use is counted: it may leave the table meanwhile.
**
** INVARIANT K1.  A path and a mode have one entry at most: the newest that was put.
**
** A file that changed within the grain of its time stamps looks unchanged; so nobody may put
** what he read before the file has rested (os_file_id tells, see platform.c).
**
** REJECTED.  Keeping bytes by contents: the file would have to be read to find them, and reading
** is a third of the cost.
*/
#include <stdlib.h>
#include <string.h>
#include "chunks.h"
#include "debug.h"
#include "hash.h"
#include "lock.h"

#define NBUCKETS 1024u                 /* a power of two */
#define MAX_BYTES (UINT64_C(64) << 20)
#define MAX_MODE 4                     /* "bt" and its NUL, with room */

typedef struct Entry {
  struct Entry *next;                  /* [L] in its bucket */
  struct Entry *newer, *older;         /* [L] by last use */
  FileId id;                           /* [I] */
  Chunk *chunk;                        /* [I] a reference */
  uint32_t hash;                       /* [I] */
  char mode[MAX_MODE];                 /* [I] */
  char path[];                         /* [I] */
} Entry;

static struct {
  Lock lock;                           /* RANK_LEAF */
  Entry *buckets[NBUCKETS];            /* [L] */
  Entry *newest, *oldest;              /* [L] */
  ChunkStats stats;                    /* [L] */
} table = { .lock = { .rank = RANK_LEAF } };

static uint32_t hash_of (const char *path, const char *mode) {
  uint32_t h = hash_bytes(HASH_FIRST, mode, strlen(mode));
  return hash_fold(hash_bytes(h, path, strlen(path)));
}

void chunk_unref (Chunk *c) {
  if (c != NULL && sub_acqrel(&c->refs, 1) == 1) {
    free(c->bytes);
    free(c);
  }
}

static void entry_free (Entry *e) {
  if (e == NULL) return;
  chunk_unref(e->chunk);
  free(e);
}

/* ---- table.lock held ---- */

static Entry **find (const char *path, const char *mode, uint32_t hash) {
  Entry **p = &table.buckets[hash & (NBUCKETS - 1)];
  while (*p != NULL && ((*p)->hash != hash || strcmp((*p)->mode, mode) != 0 ||
                        strcmp((*p)->path, path) != 0))
    p = &(*p)->next;
  return p;
}

static void use_unlink (Entry *e) {
  if (e->newer != NULL) e->newer->older = e->older;
  else table.newest = e->older;
  if (e->older != NULL) e->older->newer = e->newer;
  else table.oldest = e->newer;
}

static void use_link (Entry *e) {      /* it is the newest */
  e->newer = NULL;
  e->older = table.newest;
  if (table.newest != NULL) table.newest->newer = e;
  else table.oldest = e;
  table.newest = e;
}

static Entry *take_out (Entry **p) {   /* the caller frees it after the unlock */
  Entry *e = *p;
  goro_check(e != NULL);
  *p = e->next;
  use_unlink(e);
  table.stats.files--;
  table.stats.bytes -= e->chunk->len;
  e->next = NULL;
  return e;
}

/* ---- */

Chunk *chunk_get (const char *path, const char *mode, const FileId *id) {
  uint32_t hash = hash_of(path, mode);
  Entry *e, *stale = NULL;
  Chunk *c = NULL;
  Entry **p;
  lock_acquire(&table.lock);
  p = find(path, mode, hash);
  e = *p;
  if (e != NULL && file_id_equal(&e->id, id)) {
    c = e->chunk;
    add_rlx(&c->refs, 1);
    use_unlink(e);
    use_link(e);
    table.stats.hits++;
  }
  else if (e != NULL) stale = take_out(p);
  lock_release(&table.lock);
  entry_free(stale);
  return c;
}

void chunk_put (const char *path, const char *mode, const FileId *id, char *bytes, size_t len) {
  size_t size = strlen(path) + 1;
  uint32_t hash = hash_of(path, mode);
  Entry *e, *out = NULL, **p;
  Chunk *c;
  if (strlen(mode) >= MAX_MODE || len > MAX_BYTES) {
    free(bytes);
    return;
  }
  e = calloc(1, sizeof *e + size);
  c = malloc(sizeof *c);
  if (e == NULL || c == NULL) {
    free(e);
    free(c);
    free(bytes);
    return;
  }
  store_rlx(&c->refs, 1);
  c->bytes = bytes;
  c->len = len;
  e->chunk = c;
  e->id = *id;
  e->hash = hash;
  strcpy(e->mode, mode);
  memcpy(e->path, path, size);
  lock_acquire(&table.lock);
  p = find(path, mode, hash);
  if (*p != NULL) out = take_out(p);
  e->next = *p;
  *p = e;
  use_link(e);
  table.stats.files++;
  table.stats.bytes += len;
  table.stats.compiled++;
  while (table.stats.bytes > MAX_BYTES) {          /* never this one: it is smaller */
    Entry *gone = take_out(find(table.oldest->path, table.oldest->mode, table.oldest->hash));
    gone->next = out;
    out = gone;
  }
  lock_release(&table.lock);
  while (out != NULL) {
    e = out;
    out = e->next;
    entry_free(e);
  }
}

void chunk_stats (ChunkStats *out) {
  lock_acquire(&table.lock);
  *out = table.stats;
  lock_release(&table.lock);
}
