/*
** chunks.h - compiled source files, one copy in the process.  Layer 2.
**
** What Lua made of a file is kept as bytes under the file's path and mode, as long as the file
** is what it was: same device, inode, size and times to the nanosecond.  Nothing here knows Lua.
*/
#ifndef GORO_CHUNKS_H
#define GORO_CHUNKS_H

#include <stddef.h>
#include "platform.h"

#pragma GCC visibility push(hidden)

/* Counted; constant once it was put. */
typedef struct Chunk {
  _Atomic(uint32_t) refs;              /* [A] the table, and who loads it */
  size_t len;                          /* [I] */
  char *bytes;                         /* [I] own allocation */
} Chunk;

typedef struct ChunkStats {            /* since the process began, but for the last two */
  uint64_t compiled, hits;             /* files compiled and kept; loads that needed no compiler */
  uint64_t files, bytes;               /* kept now */
} ChunkStats;

/* What is kept of 'path' for 'mode', if the file is still 'id': a reference for chunk_unref.
** NULL: nothing. */
Chunk *chunk_get (const char *path, const char *mode, const FileId *id);
void chunk_unref (Chunk *c);

/* Keep 'bytes' (malloc'ed, taken in any case) as what 'path' was when it was 'id'. */
void chunk_put (const char *path, const char *mode, const FileId *id, char *bytes, size_t len);

void chunk_stats (ChunkStats *out);

#pragma GCC visibility pop

#endif
