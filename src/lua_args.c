/*
** lua_args.c - arguments that many functions take.  Layer 6.
*/
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <math.h>
#include <string.h>
#include "lua_args.h"

static int64_t to_ns (lua_Number s) {
  if (s >= 9.0e9) return FOREVER;      /* 285 years */
  return (int64_t)(s * 1e9);
}

int64_t arg_seconds (lua_State *L, int arg, bool negative) {
  lua_Number s = arg_number(L, arg);
  arg_check(L, s == s, arg, "not a number (NaN)");
  arg_check(L, negative || s >= 0, arg, "negative time");
  if (s <= 0) return 0;
  return to_ns(s);
}

/* The context at 'idx', or NULL: it is none. */
static Context *to_context (lua_State *L, int idx) {
  Handle *ud = lua_type(L, idx) == LUA_TUSERDATA ? handle_test(L, idx) : NULL;
  return ud != NULL && ud->o->type == OBJ_CONTEXT ? (Context *)ud->o : NULL;
}

Context *arg_context (lua_State *L, int arg) {
  Context *c;
  if (lua_isnoneornil(L, arg)) return &context_background;
  c = to_context(L, arg);
  if (c == NULL) arg_typeerror(L, arg, "context");
  return c;
}

bool arg_is_timeout (lua_State *L, int idx) {
  lua_Number s;
  if (lua_isnoneornil(L, idx) || to_context(L, idx) != NULL) return true;
  s = lua_tonumber(L, idx);
  return lua_type(L, idx) == LUA_TNUMBER && s == s;
}

Limit arg_timeout (lua_State *L, int arg, int64_t deflt) {
  Limit lim = arg_span(L, arg, deflt);
  limit_begin(&lim);
  return lim;
}

Limit arg_span (lua_State *L, int arg, int64_t deflt) {
  Limit lim = { deflt, NULL };
  lua_Number s;
  int64_t ns;
  if (lua_isnoneornil(L, arg)) return lim;
  if (lua_type(L, arg) != LUA_TNUMBER) {
    Context *c = to_context(L, arg);
    if (c == NULL) arg_typeerror(L, arg, "time-out in seconds, or context");
    lim.until = FOREVER;
    lim.ctx = c->core;                 /* NULL: it will never be done */
    return lim;
  }
  s = lua_tonumber(L, arg);
  arg_check(L, s == s, arg, "not a number (NaN)");
  ns = s <= 0 ? 0 : to_ns(s);
  if (s <= 0 || ns == FOREVER) lim.until = ns;
  else lim.until = ns > 0 ? -ns : -1;
  return lim;
}

Limit arg_timeout_again (lua_State *L, int arg, int64_t until) {
  Limit lim = { until, NULL };
  Context *c = to_context(L, arg);
  if (c != NULL) lim.ctx = c->core;
  return lim;
}

const char *wake_reason (const G *g) {
  switch (g->wake) {
    case WAKE_CANCELED: return "context canceled";
    case WAKE_DEADLINE: return "context deadline exceeded";
    default: return "timeout";
  }
}

static void set_number (lua_State *L, int idx, Probe *p) {
  lua_Number n;
  if (lua_isinteger(L, idx)) {
    p->v.tag = V_INT;
    p->v.u.i = lua_tointeger(L, idx);
    return;
  }
  n = lua_tonumber(L, idx);
  if (n >= -0x1p63 && n < 0x1p63 && n == floor(n)) {             /* 1.0 is 1 */
    p->v.tag = V_INT;
    p->v.u.i = (int64_t)n;
    return;
  }
  p->v.tag = V_FLT;
  p->v.u.n = n;
}

void key_get (lua_State *L, int idx, Probe *p) {
  p->v = NIL_VALUE;
  switch (lua_type(L, idx)) {
    case LUA_TSTRING:
      p->v.tag = V_STR;
      p->s = lua_tolstring(L, idx, &p->len);
      break;
    case LUA_TNUMBER:
      set_number(L, idx, p);
      break;
    default:
      p->v.tag = lua_toboolean(L, idx) ? V_TRUE : V_FALSE;
      break;
  }
}

void arg_key (lua_State *L, int arg, Probe *p) {
  switch (lua_type(L, arg)) {
    case LUA_TSTRING: case LUA_TBOOLEAN:
      break;
    case LUA_TNUMBER: {
      lua_Number n = lua_tonumber(L, arg);
      arg_check(L, n == n, arg, "key is NaN");
      break;
    }
    case LUA_TNIL: case LUA_TNONE:
      arg_error(L, arg, "key is nil");
      break;
    default:
      arg_typeerror(L, arg, "string, number or boolean as key");
  }
  key_get(L, arg, p);
}

int false_reason (lua_State *L, Here h) {
  lua_pushboolean(L, 0);
  lua_pushstring(L, wake_reason(h.g));
  return 2;
}

int nil_text (lua_State *L, const char *why) {
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

int nil_reason (lua_State *L, Here h) { return nil_text(L, wake_reason(h.g)); }

int nil_errno (lua_State *L, int e, const char *what) {
  char buf[128];
  const char *text = strerror_r(e, buf, sizeof buf);       /* (strerror is not for threads) */
  lua_pushnil(L);
  if (what != NULL) lua_pushfstring(L, "%s: %s", what, text);
  else lua_pushstring(L, text);
  lua_pushinteger(L, e);
  return 3;
}
