/*
** lua_chan.c - channels for Lua.  Layer 6.
*/
#include <math.h>
#include <string.h>
#include "chan.h"
#include "lua_args.h"
#include "tame.h"

#define check_chan(L, arg) handle_check(L, arg, OBJ_CHAN)

/* Chan.type: 0 anything; else an index + 1 into this list. */
static const char *const types[] = {
  "nil", "boolean", "number", "string", "table", "function", "userdata", "integer", "float",
  "channel", "thread", NULL
};

static bool has_type (lua_State *L, int idx, int type) {
  const char *want = types[type - 1];
  switch (want[0]) {
    case 'i': return lua_isinteger(L, idx);
    case 'c': {
      Handle *h = handle_test(L, idx);
      return h != NULL && h->o->type == OBJ_CHAN;
    }
    default: break;
  }
  if (strcmp(want, "float") == 0)
    return lua_type(L, idx) == LUA_TNUMBER && !lua_isinteger(L, idx);
  return strcmp(want, luaL_typename(L, idx)) == 0;
}

void chan_check_value (lua_State *L, Chan *c, int idx, int arg) {
  if (c->type != 0 && !has_type(L, idx, c->type)) {
    if (arg > 0) arg_typeerror(L, arg, types[c->type - 1]);
    luaL_error(L, "%s expected for channel, got %s", types[c->type - 1], luaL_typename(L, idx));
  }
}

/*
** goro.chan([cap = 0] [, type [, name]]) -> channel.  Go's make(chan T, cap).
** cap: slots; type: a type() name, "integer", "float" or "channel"; name: shown by tostring.
*/
static int l_chan (lua_State *L) {
  Here h = here(L);
  lua_Integer cap = arg_opt_integer(L, 1, 0);
  const char *name = lua_isnoneornil(L, 3) ? NULL : arg_string(L, 3);
  int type = lua_isnoneornil(L, 2) ? 0 : arg_option(L, 2, NULL, types) + 1;
  arg_check(L, cap >= 0, 1, "negative capacity");
  arg_check(L, cap <= CHAN_MAX_CAP, 1, "capacity too large");
  handle_push_new(L, h.s, (Obj *)chan_new(cap, (uint8_t)type, name));
  return 1;
}

/* ---------------------------------------------------------------- send */

static int send_done (lua_State *L, Here h, ChanResult r, Value *v) {
  switch (r) {
    case CHAN_OK:
      lua_pushboolean(L, 1);
      return 1;
    case CHAN_CLOSED:
      value_drop(v);
      return luaL_error(L, "send on closed channel");
    default:
      value_drop(v);
      return false_reason(L, h);
  }
}

static int send_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Chan *c = (Chan *)((Handle *)lua_touserdata(L, 1))->o;
  Value v;
  ChanResult r = chan_finish(c, h.g, &v);
  (void)status; (void)ctx;
  if (!wait_over(h)) {
    value_drop(&v);
    return wait_unwind(L, h);
  }
  return send_done(L, h, r, &v);
}

static int send (lua_State *L, Limit lim) {
  Here h = here(L);
  Handle *ud = check_chan(L, 1);
  Chan *c = (Chan *)ud->o;
  Value v;
  ChanResult r;
  if (ud->view == VIEW_RECV) return luaL_error(L, "send on a receive-only channel");
  if (lua_gettop(L) < 2) arg_any(L, 2);
  if (c->type != 0) chan_check_value(L, c, 2, 2);
  check_panics(L, h);
  value_from_lua(L, h.s, 2, &v);
  h = here(L);                         /* __goro may have run, and parked */
  if (limit_over(h, &lim)) return send_done(L, h, CHAN_BUSY, &v);
  r = chan_send(c, h.m, h.g, &v, limit_waits(&lim));
  if (r == CHAN_WAIT) return wait_k(L, h, lim, 0, send_k);
  return send_done(L, h, r, &v);
}

/* ch:send(v) -> true.  Go's ch <- v. */
static int l_send (lua_State *L) { return send(L, NO_LIMIT); }

/* ch:try_send(v [, timeout = 0]) -> true; or false, reason. */
static int l_try_send (lua_State *L) { return send(L, arg_timeout(L, 3, 0)); }

/* ---------------------------------------------------------------- receive */

static int recv_done (lua_State *L, Here h, ChanResult r, Value *v) {
  switch (r) {
    case CHAN_OK:
      value_to_lua(L, h.s, v);
      lua_pushboolean(L, 1);
      return 2;
    case CHAN_CLOSED:
      lua_pushnil(L);
      lua_pushboolean(L, 0);
      return 2;
    default:
      lua_pushnil(L);
      lua_pushnil(L);
      lua_pushstring(L, wake_reason(h.g));
      return 3;
  }
}

static int recv_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Chan *c = (Chan *)((Handle *)lua_touserdata(L, 1))->o;
  Value v;
  ChanResult r = chan_finish(c, h.g, &v);
  (void)status; (void)ctx;
  if (!wait_over(h)) {
    value_drop(&v);
    return wait_unwind(L, h);
  }
  return recv_done(L, h, r, &v);
}

static int recv (lua_State *L, Limit lim) {
  Here h = here(L);
  Handle *ud = check_chan(L, 1);
  Chan *c = (Chan *)ud->o;
  Value v = NIL_VALUE;
  ChanResult r;
  if (ud->view == VIEW_SEND) return luaL_error(L, "receive from a send-only channel");
  check_panics(L, h);
  if (limit_over(h, &lim)) return recv_done(L, h, CHAN_BUSY, &v);
  r = chan_recv(c, h.m, h.g, &v, limit_waits(&lim));
  if (r == CHAN_WAIT) return wait_k(L, h, lim, 0, recv_k);
  if (tame_leaves(L, h, &v)) return tame_leave_with(L, h.s, &v, 0, recv_k);
  return recv_done(L, h, r, &v);
}

/* ch:recv([timeout]) -> v, true; nil, false when closed and drained; nil, nil, reason.
** Go's v, ok := <-ch. */
static int l_recv (lua_State *L) { return recv(L, arg_timeout(L, 2, FOREVER)); }

/* ch:try_recv([timeout = 0]): the same. */
static int l_try_recv (lua_State *L) { return recv(L, arg_timeout(L, 2, 0)); }

static int range_done (lua_State *L, Here h, ChanResult r, Value *v) {
  bool made = v->tag == V_MSG;         /* by a __goro's function, which may have returned nil */
  if (r != CHAN_OK) {
    lua_pushnil(L);
    return 1;
  }
  if (v->tag != V_NIL) value_to_lua(L, h.s, v);
  else {
    lua_pushnil(L);
    made = true;
  }
  if (made && lua_isnil(L, -1))
    return luaL_error(L, "received nil in range (use recv for a channel that carries nil)");
  return 1;
}

static int range_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Value v;
  ChanResult r = chan_finish((Chan *)((Handle *)lua_touserdata(L, 1))->o, h.g, &v);
  (void)status; (void)ctx;
  if (!wait_over(h)) {
    value_drop(&v);
    return wait_unwind(L, h);
  }
  return range_done(L, h, r, &v);
}

static int range_next (lua_State *L) {
  Here h = here(L);
  Handle *ud = check_chan(L, 1);
  Value v;
  ChanResult r;
  check_panics(L, h);
  r = chan_recv((Chan *)ud->o, h.m, h.g, &v, true);
  if (r == CHAN_WAIT) return wait_k(L, h, NO_LIMIT, 0, range_k);
  if (tame_leaves(L, h, &v)) return tame_leave_with(L, h.s, &v, 0, range_k);
  return range_done(L, h, r, &v);
}

/* for v in ch:range() do: until the channel is closed and drained. */
static int l_range (lua_State *L) {
  Handle *ud = check_chan(L, 1);
  if (ud->view == VIEW_SEND) return luaL_error(L, "receive from a send-only channel");
  lua_pushcfunction(L, range_next);
  lua_pushvalue(L, 1);
  return 2;
}

/* ---------------------------------------------------------------- the rest */

/* ch:close().  Go's close(ch). */
static int l_close (lua_State *L) {
  Here h = here(L);
  Handle *ud = check_chan(L, 1);
  if (ud->view == VIEW_RECV) return luaL_error(L, "close of a receive-only channel");
  if (!chan_close((Chan *)ud->o, h.m)) return luaL_error(L, "close of closed channel");
  return 0;
}

/* The end of a <close> variable: closing again is no mistake there.  One that only receives is
** not its holder's to close. */
static int l_meta_close (lua_State *L) {
  Here h = here(L);
  Handle *ud = check_chan(L, 1);
  if (ud->view != VIEW_RECV) chan_close((Chan *)ud->o, h.m);
  return 0;
}

static int l_len (lua_State *L) {      /* ch:len(), #ch: buffered values */
  lua_pushinteger(L, chan_len((Chan *)check_chan(L, 1)->o));
  return 1;
}

static int l_cap (lua_State *L) {
  lua_pushinteger(L, ((Chan *)check_chan(L, 1)->o)->cap);
  return 1;
}

static int view (lua_State *L, int view, int other, const char *what) {
  Handle *ud = check_chan(L, 1);
  if (ud->view == other) return luaL_error(L, "%s", what);
  handle_push(L, here(L).s, ud->o, view);
  return 1;
}

/* ch:send_only(), ch:recv_only(): the same channel, one direction (Go's chan<- and <-chan). */
static int l_send_only (lua_State *L) {
  return view(L, VIEW_SEND, VIEW_RECV, "a receive-only channel cannot become send-only");
}
static int l_recv_only (lua_State *L) {
  return view(L, VIEW_RECV, VIEW_SEND, "a send-only channel cannot become receive-only");
}

static int l_tostring (lua_State *L) {
  Chan *c = (Chan *)check_chan(L, 1)->o;
  if (c->name != NULL)
    lua_pushfstring(L, "channel: %p \"%s\" %I/%I", (void *)c, c->name,
                    (LUAI_UACINT)chan_len(c), (LUAI_UACINT)c->cap);
  else
    lua_pushfstring(L, "channel: %p %I/%I", (void *)c, (LUAI_UACINT)chan_len(c),
                    (LUAI_UACINT)c->cap);
  return 1;
}

static const luaL_Reg methods[] = {
  { "send", l_send }, { "try_send", l_try_send }, { "recv", l_recv },
  { "try_recv", l_try_recv }, { "close", l_close }, { "range", l_range }, { "len", l_len },
  { "cap", l_cap }, { "send_only", l_send_only }, { "recv_only", l_recv_only },
  { NULL, NULL }
};

static const luaL_Reg meta[] = {
  { "__len", l_len }, { "__tostring", l_tostring }, { "__close", l_meta_close },
  { NULL, NULL }
};

const HandleType chan_type = { "channel", methods, meta, NULL, NULL };

const luaL_Reg chan_functions[] = { { "chan", l_chan }, { NULL, NULL } };
