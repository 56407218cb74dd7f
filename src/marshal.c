/*
** marshal.c - what a Value can hold itself, both ways; the rest is encode.c's and unmarshal.c's.
** Layer 5.
*/
#include "check.h"
#include "marshal.h"
#include "plain.h"
#include "stdlibs.h"

/* ---------------------------------------------------------------- out */

Msg *msg_from_lua (lua_State *L, State *s, int idx, int n) {
  bool plain = n == 1 && lua_istable(L, idx);
  Msg *m;
  idx = lua_absindex(L, idx);
  stack_room(L, n + 4 + PLAIN_STACK);  /* (msg_encode's: nothing may raise in between) */
  if (plain) modref_refresh(L, s, false);
  m = msg_new();
  if (m == NULL) luaL_error(L, "not enough memory");
  m->nvals = (uint32_t)n;
  if (!(plain && plain_encode(L, s, m, idx)) &&
      msg_encode(L, s, m, idx, n) != LUA_OK) {
    msg_free(m);
    lua_error(L);
  }
  check_crossing(L, m->len);
  stat_add(sched_m(), STAT_BYTES, m->len);
  return m;
}

void value_from_lua (lua_State *L, State *s, int idx, Value *v) {
  v->view = 0;
  switch (lua_type(L, idx)) {
    case LUA_TNIL: case LUA_TNONE:
      v->tag = V_NIL;
      return;
    case LUA_TBOOLEAN:
      v->tag = lua_toboolean(L, idx) ? V_TRUE : V_FALSE;
      return;
    case LUA_TNUMBER:
      if (lua_isinteger(L, idx)) {
        v->tag = V_INT;
        v->u.i = lua_tointeger(L, idx);
      }
      else {
        v->tag = V_FLT;
        v->u.n = lua_tonumber(L, idx);
      }
      return;
    case LUA_TLIGHTUSERDATA:
      v->tag = V_LUD;
      v->u.p = lua_touserdata(L, idx);
      return;
    case LUA_TSTRING: {
      size_t len;
      const char *str = lua_tolstring(L, idx, &len);
      v->u.m = msg_new_string(str, len);
      if (v->u.m == NULL) luaL_error(L, "not enough memory");
      check_crossing(L, len);
      stat_add(sched_m(), STAT_BYTES, len);
      v->tag = V_STR;
      return;
    }
    case LUA_TUSERDATA: case LUA_TFUNCTION: {
      bool f = lua_type(L, idx) == LUA_TFUNCTION;
      Handle *h = f ? handle_of_function(L, idx) : handle_test(L, idx);
      if (h != NULL) {
        v->tag = V_OBJ;
        v->u.o = obj_ref(h->o);
        v->view = f ? VIEW_CALL : h->view;
        return;
      }
      break;
    }
    default:
      break;
  }
  v->u.m = msg_from_lua(L, s, idx, 1);
  v->tag = V_MSG;
}

static int protected_value (lua_State *L) {
  Value *v = lua_touserdata(L, 1);
  State *s = lua_touserdata(L, 2);
  value_from_lua(L, s, 3, v);
  return 0;
}

static int to_string (lua_State *L) {
  Value *v = lua_touserdata(L, 1);
  State *s = lua_touserdata(L, 2);
  luaL_tolstring(L, 3, NULL);
  value_from_lua(L, s, -1, v);
  return 0;
}

bool value_from_error (lua_State *L, State *s, int idx, Value *v) {
  static const lua_CFunction ways[] = { protected_value, to_string };
  int i;
  idx = lua_absindex(L, idx);
  *v = NIL_VALUE;
  for (i = 0; i < 2; i++) {
    if (!lua_checkstack(L, 5)) return false;
    lua_pushcfunction(L, ways[i]);
    lua_pushlightuserdata(L, v);
    lua_pushlightuserdata(L, s);
    lua_pushvalue(L, idx);
    if (lua_pcall(L, 3, 0, 0) == LUA_OK) return true;
    lua_pop(L, 1);
    *v = NIL_VALUE;
  }
  return false;
}

/* ---------------------------------------------------------------- in */

static int push_object (lua_State *L) {
  Value *v = lua_touserdata(L, 1);
  State *s = lua_touserdata(L, 2);
  handle_push(L, s, v->u.o, v->view);
  return 1;
}

static int push_bytes (lua_State *L) {
  const Msg *m = lua_touserdata(L, 1);
  lua_pushlstring(L, m->bytes, m->len);
  return 1;
}

/* Push a string and release it, also when Lua has no memory for it: short ones are copied first,
** so that nothing is held. */
static void push_string (lua_State *L, Msg *m) {
  char buf[512];
  size_t len = m->len;
  int status;
  if (len <= sizeof buf) {
    memcpy(buf, m->bytes, len);
    msg_free(m);
    lua_pushlstring(L, buf, len);
    return;
  }
  lua_pushcfunction(L, push_bytes);
  lua_pushlightuserdata(L, m);
  status = lua_pcall(L, 1, 1, 0);
  msg_free(m);
  if (status != LUA_OK) lua_error(L);
}

void value_to_lua (lua_State *L, State *s, Value *v) {
  switch (v->tag) {
    case V_NIL: lua_pushnil(L); break;
    case V_FALSE: lua_pushboolean(L, 0); break;
    case V_TRUE: lua_pushboolean(L, 1); break;
    case V_INT: lua_pushinteger(L, v->u.i); break;
    case V_FLT: lua_pushnumber(L, v->u.n); break;
    case V_LUD: lua_pushlightuserdata(L, v->u.p); break;
    case V_CFN: stdlibs_push(L, s, (lua_CFunction)v->u.f); break;
    case V_OBJ: {
      int status;
      lua_pushcfunction(L, push_object);
      lua_pushlightuserdata(L, v);
      lua_pushlightuserdata(L, s);
      status = lua_pcall(L, 2, 1, 0);
      value_drop(v);
      if (status != LUA_OK) lua_error(L);
      break;
    }
    case V_STR: {
      Msg *m = v->u.m;
      *v = NIL_VALUE;
      push_string(L, m);
      break;
    }
    case V_MSG: {
      Msg *m = v->u.m;
      *v = NIL_VALUE;
      if (plain_is(m)) plain_to_lua(L, m);
      else msg_to_lua(L, s, m);
      break;
    }
  }
}

void value_to_lua_shared (lua_State *L, State *s, const Value *v) {
  switch (v->tag) {
    case V_OBJ: handle_push(L, s, v->u.o, v->view); break;
    case V_STR: lua_pushlstring(L, v->u.m->bytes, v->u.m->len); break;
    case V_MSG: msg_to_lua_shared(L, s, v->u.m); break;
    default: {
      Value copy = *v;                 /* owns nothing */
      value_to_lua(L, s, &copy);
    }
  }
}
