/*
** code.c - which code a Lua function has, told without copying it.  Layer 5.
**
** code_of ends the dump as soon as the writer is given the instructions.  Which call that is,
** the same for all functions in a stripped dump, is learned from two functions that differ by a
** known number of instructions: the first block that is longer by that much holds them.  If the
** lesson does not come out as it should (a Lua that dumps in another way), code_of tells nothing
** and callers compare whole dumps.
*/
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "code.h"

static int call_of_code;               /* [I] after code_learn: its number; 0: not known */

typedef struct Look { int at, calls; const void *p; size_t n; } Look;

static int look (lua_State *L, const void *p, size_t n, void *ud) {
  Look *k = ud;
  (void)L;
  if (++k->calls != k->at) return 0;
  k->p = p;
  k->n = n;
  return 1;                            /* enough */
}

/* Block number 'at' of the stripped dump of the function on top. */
static Look block (lua_State *L, int at) {
  Look k = { at, 0, NULL, 0 };
  lua_dump(L, look, &k, 1);
  return k;
}

const void *code_of (lua_State *L, int idx) {
  Look k;
  if (call_of_code == 0) return NULL;
  lua_pushvalue(L, idx);
  k = block(L, call_of_code);
  lua_pop(L, 1);
  return k.p;
}

#define STATEMENT "x=1 "               /* one instruction */
#define FEW 3                          /* (a size below 128 takes one byte in a dump) */
#define MANY 53

static void push_lesson (lua_State *L, int statements) {
  luaL_Buffer b;
  int i;
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "local x ");
  for (i = 0; i < statements; i++) luaL_addstring(&b, STATEMENT);
  luaL_addstring(&b, "local function f() return x end return f, f");
  luaL_pushresult(&b);
  if (luaL_loadbufferx(L, lua_tostring(L, -1), lua_rawlen(L, -1), "=lesson", "t") != LUA_OK)
    lua_error(L);
  lua_remove(L, -2);
}

void code_learn (lua_State *L) {
  int top = lua_gettop(L), at;
  Look a, b;
  call_of_code = 0;
  push_lesson(L, FEW);
  push_lesson(L, MANY);
  for (at = 1; at < 100; at++) {
    lua_pushvalue(L, top + 1);
    a = block(L, at);
    lua_pushvalue(L, top + 2);
    b = block(L, at);
    lua_pop(L, 2);
    if (a.p == NULL || b.p == NULL) break;
    if (a.n == b.n) continue;
    if (b.n - a.n == (MANY - FEW) * sizeof(uint32_t)) call_of_code = at;
    break;
  }
  if (call_of_code != 0) {             /* two closures of one prototype, and another prototype */
    lua_pushvalue(L, top + 1);
    lua_call(L, 0, 1);
    lua_pushvalue(L, top + 1);
    lua_call(L, 0, 1);
    if (code_of(L, top + 3) == NULL || code_of(L, top + 3) != code_of(L, top + 4) ||
        code_of(L, top + 3) == code_of(L, top + 1))
      call_of_code = 0;
  }
  lua_settop(L, top);
}

/* ---------------------------------------------------------------- whole dumps */

typedef struct Bytes { char *p; size_t len, cap; } Bytes;

static int write (lua_State *L, const void *p, size_t n, void *ud) {
  Bytes *b = ud;
  (void)L;
  if (b->cap - b->len < n) {
    size_t cap = b->cap * 2;
    char *q;
    while (cap - b->len < n) cap *= 2;
    q = realloc(b->p, cap);
    if (q == NULL) return 1;
    b->p = q;
    b->cap = cap;
  }
  memcpy(b->p + b->len, p, n);
  b->len += n;
  return 0;
}

char *code_dump (lua_State *L, int idx, size_t *len) {
  Bytes b = { malloc(1024), 0, 1024 };
  int status;
  if (b.p == NULL) return NULL;
  lua_pushvalue(L, idx);
  status = lua_dump(L, write, &b, 0);
  lua_pop(L, 1);
  if (status != 0) {
    free(b.p);
    return NULL;
  }
  *len = b.len;
  return b.p;
}

uint64_t code_hash (const char *p, size_t len, uint64_t h) {
  while (len >= 8) {
    uint64_t w;
    memcpy(&w, p, 8);
    h = (h ^ w) * UINT64_C(0x9E3779B97F4A7C15);
    h ^= h >> 29;
    p += 8;
    len -= 8;
  }
  while (len-- > 0) h = (h ^ (unsigned char)*p++) * UINT64_C(1099511628211);
  return h ^ h >> 32;
}

bool code_mentions (const char *bytes, size_t len, const char *name) {
  size_t n = strlen(name);
  const char *p = bytes, *end = bytes + len;
  while ((p = memmem(p, (size_t)(end - p), name, n)) != NULL) {
    if (p > bytes && (unsigned char)p[-1] == ((n + 1) | 128)) return true;
    p++;                               /* (a string is dumped behind its length and one) */
  }
  return false;
}
