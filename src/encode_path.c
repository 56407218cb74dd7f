/*
** encode_path.c - what cannot cross, and where in the message it stands.  Layer 5.
*/
#include <stdio.h>
#include <stdlib.h>
#include "encode.h"

static void add_step (lua_State *L, luaL_Buffer *b, int key) {
  switch (lua_type(L, key)) {
    case LUA_TSTRING: {
      size_t n, i;
      const char *k = lua_tolstring(L, key, &n);
      bool plain = n > 0 && !(k[0] >= '0' && k[0] <= '9');
      for (i = 0; i < n; i++)
        if (!(k[i] == '_' || (k[i] >= '0' && k[i] <= '9') || (k[i] >= 'a' && k[i] <= 'z') ||
              (k[i] >= 'A' && k[i] <= 'Z')))
          plain = false;
      luaL_addstring(b, plain ? "." : "[\"");
      luaL_addlstring(b, k, n);
      if (!plain) luaL_addstring(b, "\"]");
      break;
    }
    case LUA_TNUMBER:
      luaL_addstring(b, "[");
      lua_pushvalue(L, key);
      lua_tostring(L, -1);
      luaL_addvalue(b);
      luaL_addstring(b, "]");
      break;
    default:
      luaL_addstring(b, !lua_isboolean(L, key) ? "[?]" :
                        lua_toboolean(L, key) ? "[true]" : "[false]");
  }
}

static void add_word (luaL_Buffer *b, bool *any, const char *text) {
  if (*any) luaL_addchar(b, ' ');
  luaL_addstring(b, text);
}

static void add_steps (Enc *e, luaL_Buffer *b, Run *run, bool *any) {
  lua_State *L = e->L;
  int i;
  if (run->up != NULL) add_steps(e, b, run->up, any);
  for (i = 0; i < run->nframes; i++) {
    Frame *f = &run->frames[i];
    if (f->kind == F_FUNC) {
      const char *n = lua_getupvalue(L, f->idx, f->i);
      if (n != NULL) lua_pop(L, 1);
      add_word(b, any, "upvalue '");
      luaL_addstring(b, n != NULL && n[0] != '\0' ? n : "?");
      luaL_addstring(b, "'");
    }
    else if (f->at_meta) add_word(b, any, "metatable");
    else add_step(L, b, f->idx + 1);
    *any = true;
  }
}

/* Push where in the message we are: .log.handle; nothing: false. */
bool enc_path (Enc *e) {
  lua_State *L = e->L;
  luaL_Buffer b;
  bool any = false;
  stack_room(L, LUA_MINSTACK);
  luaL_buffinit(L, &b);
  if (e->job != 0) {
    lua_rawgeti(L, e->job, JOB_PATH);
    any = lua_rawlen(L, -1) > 0;
    luaL_addvalue(&b);
  }
  else if (e->first.done > 0) {        /* what was put off has lost the way to it */
    luaL_addstring(&b, "...");
    any = true;
  }
  add_steps(e, &b, e->run, &any);
  if (*e->x->above != '\0') {
    luaL_addstring(&b, e->x->above + (!any && *e->x->above == ' '));
    any = true;
  }
  luaL_pushresult(&b);
  return any;
}

_Noreturn void enc_cannot (Enc *e, const char *what, const char *why) {
  lua_State *L = e->L;
  if (enc_path(e)) luaL_error(L, "cannot send %s (at %s)%s", what, lua_tostring(L, -1), why);
  luaL_error(L, "cannot send %s%s", what, why);
  abort();                             /* not reached */
}

/* Raise: the value on top cannot cross. */
_Noreturn void enc_cannot_send (Enc *e, const char *what, const char *why) {
  char name[96];
  lua_State *L = e->L;
  int v = lua_gettop(L);
  stack_room(L, LUA_MINSTACK);
  if (what == NULL && luaL_getmetafield(L, v, "__name") == LUA_TSTRING)
    what = lua_tostring(L, -1);
  snprintf(name, sizeof name, "a value of type '%.64s'", what ? what : luaL_typename(L, v));
  lua_settop(L, v);
  enc_cannot(e, name, why);
}

