/*
** lua_context.c - contexts for Lua: the module goro.context.  Layer 6.
*/
#include "lua_args.h"
#include "tame.h"

static Context *check_context (lua_State *L) {
  return (Context *)handle_check(L, 1, OBJ_CONTEXT)->o;
}

/* ---------------------------------------------------------------- making them */

/* goro.context.background(), .todo(): never done.  Go's Background and TODO. */
static int l_background (lua_State *L) {
  handle_push(L, here(L).s, &context_background.obj, VIEW_BOTH);
  return 1;
}
static int l_todo (lua_State *L) {
  handle_push(L, here(L).s, &context_todo.obj, VIEW_BOTH);
  return 1;
}

static int push_child (lua_State *L, Context *parent, int64_t deadline) {  /* ctx, cancel */
  Here h = here(L);
  Context *c = context_new(parent, h.m, h.g->host, deadline);
  handle_push_new(L, h.s, (Obj *)c);
  handle_push(L, h.s, &c->obj, VIEW_CALL);
  return 2;
}

/* goro.context.with_cancel([parent]) -> ctx, cancel.  Go's WithCancelCause. */
static int l_with_cancel (lua_State *L) { return push_child(L, arg_context(L, 1), FOREVER); }

/* goro.context.with_timeout(parent, s) -> ctx, cancel: done after s seconds at the latest. */
static int l_with_timeout (lua_State *L) {
  Context *parent = arg_context(L, 1);
  int64_t ns = arg_seconds(L, 2, true);
  return push_child(L, parent, ns > FOREVER / 2 ? FOREVER : os_now() + ns);
}

/* goro.context.with_deadline(parent, t) -> ctx, cancel: done at t (of goro.now) at the latest. */
static int l_with_deadline (lua_State *L) {
  Context *parent = arg_context(L, 1);
  return push_child(L, parent, arg_seconds(L, 2, true));
}

static void probe_value (lua_State *L, State *s, int idx, const Probe *p, Value *v) {
  if (p->v.tag == V_STR) value_from_lua(L, s, idx, v);
  else *v = p->v;                      /* (1.0 is 1) */
}

static int encode (lua_State *L) {     /* Value *, k, v: may raise; what was encoded is there */
  Value *v = lua_touserdata(L, 1);
  State *s = here(L).s;
  Probe key;
  key_get(L, 2, &key);
  probe_value(L, s, 2, &key, &v[0]);
  value_from_lua(L, s, 3, &v[1]);
  return 0;
}

/* goro.context.with_value(parent, k, v) -> ctx: ctx:value(k) is a copy of v, here and below.
** Keys are those of a Map. */
static int l_with_value (lua_State *L) {
  Context *parent = arg_context(L, 1);
  Value v[2] = { NIL_VALUE, NIL_VALUE };
  Probe key;
  arg_key(L, 2, &key);
  arg_any(L, 3);
  lua_settop(L, 3);
  lua_pushcfunction(L, encode);
  lua_pushlightuserdata(L, v);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
    value_drop(&v[0]);
    value_drop(&v[1]);
    return lua_error(L);
  }
  handle_push_new(L, here(L).s, (Obj *)context_with_value(parent, &v[0], &v[1]));
  return 1;
}

/* ---------------------------------------------------------------- cancel */

static void cancel (lua_State *L, Context *c, Value *cause) {
  context_cancel(c, here(L).m, cause);
}

/* cancel([cause]): ends its context and all below it.  The first call counts.  Never blocks.
** upvalue 1: the context */
static int l_cancel (lua_State *L) {
  Handle *ud = lua_touserdata(L, lua_upvalueindex(1));
  Value cause;
  if (ud->o == NULL) return 0;         /* (a finaliser calls it, and the handle was the first) */
  lua_settop(L, 1);
  value_from_lua(L, here(L).s, 1, &cause);
  cancel(L, (Context *)ud->o, &cause);
  return 0;
}

/* The end of a <close> variable.  One that has only a value ends with its parent. */
static int l_meta_close (lua_State *L) {
  Context *c = check_context(L);
  Value none = NIL_VALUE;
  if (c->core == c) cancel(L, c, &none);
  return 0;
}

/* ---------------------------------------------------------------- methods */

static const char *const reasons[] = { NULL, "context canceled", "context deadline exceeded" };

/* ctx:done() -> a channel that is closed when it is done, for select. */
static int l_done (lua_State *L) {
  Here h = here(L);
  handle_push_taken(L, h.s, (Obj *)context_done(check_context(L), h.g->host), VIEW_RECV);
  return 1;
}

/* ctx:err() -> nil; "context canceled" or "context deadline exceeded" once it is done. */
static int l_err (lua_State *L) {
  lua_pushstring(L, reasons[context_err(check_context(L))]);
  return 1;
}

/* What is in a context may be anything: no guest decodes it. */

/* ctx:cause() -> what cancel was given, its own or that of the one above that ended it; else
** err().  Go's context.Cause. */
static int l_cause (lua_State *L) {
  Context *c = check_context(L);
  State *s = here(L).s;
  if (tame_guest(s, L)) return tame_again(L, s, l_cause);
  if (context_err(c) == CTX_OK || c->core->cause.tag == V_NIL) return l_err(L);
  value_to_lua_shared(L, s, &c->core->cause);
  return 1;
}

/* ctx:value(k) -> a copy of the value that it or the nearest above has for k; nil: none has. */
static int l_value (lua_State *L) {
  Context *c = check_context(L);
  State *s = here(L).s;
  const Value *v;
  Probe key;
  arg_key(L, 2, &key);
  if (tame_guest(s, L)) return tame_again(L, s, l_value);
  v = context_value(c, &key);
  if (v == NULL) lua_pushnil(L);
  else value_to_lua_shared(L, s, v);
  return 1;
}

/* ctx:deadline() -> when it will be done at the latest, on goro.now's clock; nil: no limit. */
static int l_deadline (lua_State *L) {
  Context *c = check_context(L)->core;
  if (c == NULL || c->deadline == FOREVER) lua_pushnil(L);
  else lua_pushnumber(L, (lua_Number)c->deadline / 1e9);
  return 1;
}

static const luaL_Reg methods[] = {
  { "done", l_done }, { "err", l_err }, { "cause", l_cause }, { "value", l_value },
  { "deadline", l_deadline }, { NULL, NULL }
};

static const luaL_Reg meta[] = { { "__close", l_meta_close }, { NULL, NULL } };

const HandleType context_type = { "context", methods, meta, l_cancel, NULL };

/* ---------------------------------------------------------------- the module */

const luaL_Reg context_functions[] = {
  { "background", l_background }, { "todo", l_todo }, { "with_cancel", l_with_cancel },
  { "with_timeout", l_with_timeout }, { "with_deadline", l_with_deadline },
  { "with_value", l_with_value }, { NULL, NULL }
};

void push_context_module (lua_State *L) {
  luaL_newlib(L, context_functions);
  lua_pushliteral(L, "timeout");
  lua_setfield(L, -2, "Timeout");
  lua_pushstring(L, reasons[CTX_CANCELED]);
  lua_setfield(L, -2, "Canceled");
  lua_pushstring(L, reasons[CTX_DEADLINE]);
  lua_setfield(L, -2, "DeadlineExceeded");
}
