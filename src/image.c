/*
** image.c - goroutines' states as copies of a template.  Layer 5.
**
** lua_newstate and the libraries cost some 25 us and 20 kB.  A state made once, all of whose
** blocks lie in one piece of memory (an arena's first chunk), can be copied instead: memcpy, then
** the distance is added to each word that points into the piece.  That is all, because
**
**   - all of a state's memory comes from its allocator, and Lua keeps plain pointers to it;
**   - what points outside (C functions, goro's keys in the registry, the allocator's function)
**     is the same for every copy;
**   - what the copy must have of its own is put right through Lua's API: the allocator's user
**     data and the State in the registry.
**
** A template may hold nothing whose place depends on an address inside: a table with tables,
** functions (but light C functions), full userdata or threads as keys is hashed by address and
** would be broken in a copy.  It holds no handle (each copy would need a reference) and no full
** userdata, so that math.random's state, io's files and the like are each state's own: they
** come with their library, when it is first used (lazy.c).
**
** The words are found by looking at all of them (arena_pointers).  What is no pointer but looks
** like one would be changed: the template's contents are ours alone (names, light C functions,
** small integers), none of which can be an address of user space.  check() runs a copy of a copy
** at start, and if anything is not as it should be there are no images: states are made the
** plain way.
*/
#include <stdlib.h>
#include <string.h>
#include "handle.h"
#include "image.h"
#include "stdlibs.h"

#define TEMPLATE_SIZE 65536
#define SLACK 1024                     /* for the first things a goroutine makes */

typedef struct Image {
  Arena *arena;
  lua_State *L;
  uint32_t *pointers;                  /* offsets of words that point into the arena */
  long npointers;
} Image;

static Image plain;                    /* [I] after image_init */
static bool there;

bool image_there (void) { return there; }

static int fill_template (lua_State *L) {
  state_register(L, NULL);
  stdlibs_open_lazy(L);
  handle_prepare(L);
  return 0;
}

static bool build (Image *img) {
  State *s = calloc(1, sizeof *s);     /* for the allocator, while the template is made */
  bool ok = false;
  if (s == NULL) return false;
  img->arena = s->arena = arena_new(TEMPLATE_SIZE, true);
  if (s->arena != NULL && (img->L = lua_newstate(state_allocate, s)) != NULL) {
    state_prepare(img->L);
    lua_pushcfunction(img->L, fill_template);
    if (lua_pcall(img->L, 0, 0, 0) == LUA_OK) {
      lua_gc(img->L, LUA_GCCOLLECT, 0);
      lua_gc(img->L, LUA_GCCOLLECT, 0);
      img->npointers = arena_pointers(img->arena, &img->pointers);
      ok = img->npointers >= 0 && s->nuserdata == 0;
    }
  }
  free(s);                             /* the template never allocates again */
  return ok;
}

static lua_State *copy (const Image *img, State *s) {
  lua_State *L;
  s->arena = arena_copy(img->arena, SLACK, img->pointers, img->npointers);
  if (s->arena == NULL) return NULL;
  L = arena_moved(img->arena, s->arena, img->L);
  lua_setallocf(L, state_allocate, s);
  s->lazy_libs = true;
  return L;
}

lua_State *image_open (State *s) {
  lua_State *L = copy(&plain, s);
  if (L != NULL) state_register(L, s); /* the key is there: no memory is needed */
  return L;
}

/* ---------------------------------------------------------------- the check */

static const char program[] =
  "local t, sum = {}, 0\n"
  "for i = 1, 300 do t[i] = { i, 'k' .. i }; t['k' .. i] = t[i] end\n"
  "for i = 1, 300 do sum = sum + t['k' .. i][1] end\n"
  "return sum, '10' + 1";

static int exercise (lua_State *L) {   /* what uses memory, strings and the collector */
  if (luaL_loadbufferx(L, program, sizeof program - 1, "=image", "t") != LUA_OK)
    return lua_error(L);
  lua_pushnil(L);                      /* (no globals: they need a goroutine) */
  if (lua_setupvalue(L, -2, 1) == NULL) return luaL_error(L, "no upvalue");
  lua_pushvalue(L, -1);
  lua_call(L, 0, 2);
  if (lua_tointeger(L, -2) != 45150 || lua_tointeger(L, -1) != 11)
    return luaL_error(L, "wrong result");
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT, 0);
  return 0;
}

static bool check (const Image *img) {
  Image second = *img;
  State *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
  bool ok = false;
  if (a != NULL && b != NULL && (second.L = copy(img, a)) != NULL) {
    second.arena = a->arena;
    if (copy(&second, b) != NULL) {
      lua_State *L = arena_moved(a->arena, b->arena, second.L);
      lua_pushcfunction(L, exercise);
      ok = lua_pcall(L, 0, 0, 0) == LUA_OK;
      lua_pushcfunction(second.L, exercise);
      ok = ok && lua_pcall(second.L, 0, 0, 0) == LUA_OK;
      lua_close(L);
      arena_free(b->arena);
    }
    lua_close(second.L);
    arena_free(a->arena);
  }
  free(a);
  free(b);
  return ok;
}

void image_init (void) {
  const char *off = getenv("GOROIMAGE");
  if ((off != NULL && strcmp(off, "0") == 0) || !stdlibs_can_be_lazy()) return;
  there = build(&plain) && check(&plain);
}
