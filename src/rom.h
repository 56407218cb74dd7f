/*
** rom.h - instructions that states share.  Layer 5.
**
** The instructions of a function, and their lines, do not change once they are loaded.  What many
** goroutines load is kept once: they take less memory, and find it in the cache.
*/
#ifndef GORO_ROM_H
#define GORO_ROM_H

#include "state.h"

#pragma GCC visibility push(hidden)

#define ROM_SIZE (4u << 20)            /* bytes; what does not fit is not shared */

/* Like luaL_loadbufferx of a dump, in a goroutine's state or that of a template, which is to be
** copied ('eager': shares at once, not only what was loaded before). */
int rom_load (lua_State *L, State *s, const char *dump, size_t len, const char *name, bool eager);

typedef struct RomStats { uint64_t bytes, loads; } RomStats;
RomStats rom_stats (void);             /* bytes kept; loads that used them */

extern char rom[ROM_SIZE];
/* Is it there?  Such a block is nobody's to free. */
static inline bool rom_has (const void *p) { return (uintptr_t)p - (uintptr_t)rom < ROM_SIZE; }

#pragma GCC visibility pop

#endif
