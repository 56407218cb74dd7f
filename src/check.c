/*
** check.c - goro.check: warnings of what copying hides.  Layer 5.
**
** Once a place, on stderr: a crossing that copies more than 64 KiB, with the line that sends and
** the bytes; and a goroutine that ends having assigned to a captured variable, with the function
** and the variable: in Go that would be seen outside.  Places are known by a hash of their text:
** of two that meet in one slot the second replaces the first, and may be told once more.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "check.h"

_Atomic(uint32_t) check_on;
static const char check_key = 0;       /* registry[&check_key] = { function, upvalue ... } */

#define SLOTS 1024
static _Atomic(uint64_t) told[SLOTS];

void check_init (void) {
  const char *on = getenv("GOROCHECK");
  if (on != NULL && strcmp(on, "1") == 0) store_rlx(&check_on, 1);
}

static void tell (const char *place, const char *text) {
  uint64_t h = UINT64_C(14695981039346656037);
  const char *p;
  char line[512];
  for (p = place; *p != '\0'; p++) h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
  if (h == 0) h = 1;
  if (xchg_acqrel(&told[h % SLOTS], h) == h) return;
  snprintf(line, sizeof line, "goro: %s: %s\n", place, text);
  fputs(line, stderr);                 /* one write */
  fflush(stderr);
}

void check_crossing_slow (lua_State *L, size_t bytes) {
  char place[LUA_IDSIZE + 32] = "?", text[100];
  lua_Debug ar;
  int level;
  for (level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline > 0) {
      snprintf(place, sizeof place, "%s:%d", ar.short_src, ar.currentline);
      break;
    }
  }
  snprintf(text, sizeof text, "a crossing copies %zu bytes", bytes);
  tell(place, text);
}

void check_start_slow (lua_State *L, int idx) {
  int i;
  idx = lua_absindex(L, idx);
  if (lua_type(L, idx) != LUA_TFUNCTION || lua_iscfunction(L, idx)) return;
  stack_room(L, 4);
  lua_newtable(L);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -2, 1);
  for (i = 1; lua_getupvalue(L, idx, i) != NULL; i++) lua_rawseti(L, -2, i + 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &check_key);
}

void check_end_slow (lua_State *L) {
  int top = lua_gettop(L), i;
  const char *name;
  if (!lua_checkstack(L, 6)) return;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &check_key) == LUA_TTABLE) {
    lua_rawgeti(L, top + 1, 1);
    for (i = 1; (name = lua_getupvalue(L, top + 2, i)) != NULL; i++) {
      lua_rawgeti(L, top + 1, i + 1);
      if (!lua_rawequal(L, -1, -2)) {
        char place[LUA_IDSIZE + 200], text[300];
        lua_Debug ar;
        lua_pushvalue(L, top + 2);
        lua_getinfo(L, ">S", &ar);
        snprintf(place, sizeof place, "%s:%d: '%.100s'", ar.short_src, ar.linedefined, name);
        snprintf(text, sizeof text, "the goroutine's function assigned to this captured "
                 "variable: a copy, nothing outside changed");
        tell(place, text);
      }
      lua_settop(L, top + 2);
    }
  }
  lua_settop(L, top);
}
