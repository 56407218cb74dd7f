/*
** encode_make.c - objects that cross as the function that makes them (__goro).  Layer 5.
*/
#include <stdio.h>
#include "encode.h"

/* Is the object of this number still incomplete here? */
static bool in_work (const Enc *e, uint32_t n) {
  const Run *run;
  uint32_t i, done = e->nlater;
  for (run = e->run; run != NULL; run = run->up) {
    int k;
    for (k = 0; k < run->nframes; k++)
      if (run->frames[k].kind == F_FUNC && run->frames[k].number == n) return true;
    if (run->done < done) done = run->done;
  }
  for (i = done; i < e->nlater; i++)
    if (e->later_number[i] == n) return true;
  return false;
}

static _Noreturn void in_itself (Enc *e) {
  enc_cannot(e, "an object", ": it crosses inside the function that its '__goro' returned");
}

/* The object at -2 crosses as the function that its __goro (on top) returns.  Pops both. */
void enc_make (Enc *e) {
  lua_State *L = e->L;
  const void *p = lua_topointer(L, -2);
  int object = lua_gettop(L) - 1, depth = 0;
  uint32_t n, from = e->nlater;
  Run run, *up;
  for (up = e->run; up != NULL; up = up->up) depth++;
  if (depth > MAKE_DEPTH) enc_cannot(e, "an object", ": too many in each other's '__goro'");
  enc_number(e, p);
  stack_room(L, LUA_MINSTACK);
  if (lua_isnil(L, e->x->made)) {
    lua_newtable(L);
    lua_replace(L, e->x->made);
  }
  lua_pushvalue(L, object);            /* (known if we start again) */
  if (lua_rawget(L, e->x->made) == LUA_TNIL) {
    lua_pushvalue(L, object + 1);
    lua_pushvalue(L, object);
    lua_call(L, 1, 1);
    if (lua_type(L, -1) != LUA_TFUNCTION) {
      char why[64];
      snprintf(why, sizeof why, ": '__goro' must return a function (got %s)",
               luaL_typename(L, -1));
      enc_cannot(e, "an object", why);
    }
    lua_pushvalue(L, object);
    lua_pushvalue(L, -2);
    lua_rawset(L, e->x->made);
  }
  put(e, T_MAKE);
  run.up = e->run;
  run.making = p;
  run.done = from;
  run.nframes = 0;
  e->run = &run;
  if (id_find(e, lua_topointer(L, -1), &n) && in_work(e, n)) in_itself(e);
  lua_insert(L, object);
  lua_settop(L, object);
  enc_value(e, false);
  enc_run(e);
  enc_run_later(e, from);
  e->run = run.up;
  e->last_meta = e->last_modref = NULL;            /* the script's code may have changed classes */
}

static bool is_being_made (const Enc *e, const void *p) {
  const Run *run;
  for (run = e->run; run != NULL; run = run->up)
    if (run->making == p) return true;
  return false;
}

void enc_met (Enc *e, const void *p, uint32_t n) {      /* on top, met before; popped */
  if (e->run->up != NULL && is_being_made(e, p)) in_itself(e);
  put_reference(e, n);
  lua_pop(e->L, 1);
}

