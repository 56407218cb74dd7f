/*
** hash.h - the hash of short strings in tables: FNV-1a, 32 bits.  Layer 1.
*/
#ifndef GORO_HASH_H
#define GORO_HASH_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define HASH_FIRST 2166136261u

/* 'h': HASH_FIRST, or what came before. */
static inline uint32_t hash_bytes (uint32_t h, const char *s, size_t len) {
  size_t i;
  for (i = 0; i < len; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
  return h;
}

/* Before all but the low bits are cut off: what the high ones know comes down. */
static inline uint32_t hash_fold (uint32_t h) { return h ^ h >> 15; }

#pragma GCC visibility pop

#endif
