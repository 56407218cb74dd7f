/*
** lua_select.c - goro.select.  Layer 6.
*/
#include <string.h>
#include "lua_args.h"
#include "select.h"
#include "tame.h"

#define FEW 16

typedef struct Parsed {
  Case *cases;
  int n;
  enum { ONLY_CHANNELS, TABLES, SENDS } kinds;   /* what there is among them */
  bool options;                        /* is there a time-out or default? */
  Limit lim;
  int dflt;                            /* 0: none, 1: true, 2: a handler */
} Parsed;

/* The channel at the top (popped) of case 'i': NULL if it is false. */
static Chan *case_chan (lua_State *L, int i, bool send) {
  Handle *h;
  Chan *c;
  if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    return NULL;
  }
  h = handle_test(L, -1);
  if (h == NULL || h->o->type != OBJ_CHAN)
    luaL_error(L, "bad argument #1 to 'select' (case %d: channel or false expected, got %s)", i,
               luaL_typename(L, -1));
  if (h->view == (send ? VIEW_RECV : VIEW_SEND))
    luaL_error(L, "bad argument #1 to 'select' (case %d: %s)", i,
               send ? "send on a receive-only channel" : "receive from a send-only channel");
  c = (Chan *)h->o;
  lua_pop(L, 1);
  return c;
}

/* Keys of the case table on top: recv, or send and value; 1: a handler. */
static void check_case_keys (lua_State *L, int t, int i) {
  lua_pushnil(L);
  while (lua_next(L, t)) {
    if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1) {
      if (!lua_isfunction(L, -1))
        luaL_error(L, "bad argument #1 to 'select' (case %d: handler must be a function, got %s)",
                   i, luaL_typename(L, -1));
    }
    else {
      const char *k = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
      if (k == NULL || (strcmp(k, "recv") != 0 && strcmp(k, "send") != 0 &&
                        strcmp(k, "value") != 0)) {
        luaL_tolstring(L, -2, NULL);
        luaL_error(L, "bad argument #1 to 'select' (case %d: unknown key '%s')", i,
                   lua_tostring(L, -1));
      }
    }
    lua_pop(L, 1);
  }
}

static void parse_case (lua_State *L, State *s, Case *k, int i) {  /* a table, on top; popped */
  int t = lua_gettop(L);
  check_case_keys(L, t, i);
  lua_pushliteral(L, "recv");
  if (lua_rawget(L, t) != LUA_TNIL) {
    lua_pushliteral(L, "send");
    if (lua_rawget(L, t) != LUA_TNIL)
      luaL_error(L, "bad argument #1 to 'select' (case %d: both 'recv' and 'send')", i);
    lua_pop(L, 1);
    lua_pushliteral(L, "value");
    if (lua_rawget(L, t) != LUA_TNIL)
      luaL_error(L, "bad argument #1 to 'select' (case %d: 'value' without 'send')", i);
    lua_pop(L, 1);
    k->c = case_chan(L, i, false);
  }
  else {
    lua_pop(L, 1);
    lua_pushliteral(L, "send");
    if (lua_rawget(L, t) == LUA_TNIL)
      luaL_error(L, "bad argument #1 to 'select' (case %d: no channel: 'recv' and 'send' are nil;"
                 " use false for a case that is never ready)", i);
    k->c = case_chan(L, i, true);
    k->send = true;
    if (k->c != NULL) {
      lua_pushliteral(L, "value");
      lua_rawget(L, t);
      chan_check_value(L, k->c, -1, 0);
      value_from_lua(L, s, -1, &k->v);
      lua_pop(L, 1);
    }
  }
  lua_settop(L, t - 1);
}

/* Parsed *, cases table: those that are tables.  Raises; what was encoded by then is in the cases. */
static int parse (lua_State *L) {
  Parsed *p = lua_touserdata(L, 1);
  State *s = here(L).s;
  int i;
  for (i = 1; i <= p->n; i++) {
    if (lua_rawgeti(L, 2, i) == LUA_TTABLE) parse_case(L, s, &p->cases[i - 1], i);
    else lua_pop(L, 1);
  }
  return 0;
}

/*
** Keys of the whole: 1 .. n, timeout, default.  Sets the cases, as empty ones where they are tables.
** (The first test of a case is all that most need: a list of channels is what programs select from.)
*/
static void check_cases (lua_State *L, Parsed *p) {
  int found = 0;
  p->kinds = ONLY_CHANNELS;
  p->options = false;
  lua_pushnil(L);
  while (lua_next(L, 1)) {
    lua_Integer i;
    int is;
    Case *k;
    Handle *h;
    if (lua_type(L, -2) == LUA_TSTRING) {
      const char *key = lua_tostring(L, -2);
      if (strcmp(key, "timeout") != 0 && strcmp(key, "default") != 0)
        luaL_error(L, "bad argument #1 to 'select' (unknown key '%s')", key);
      p->options = true;
      lua_pop(L, 1);
      continue;
    }
    i = lua_tointegerx(L, -2, &is);
    if (!is || i < 1 || i > p->n) {
      luaL_tolstring(L, -2, NULL);
      luaL_error(L, "bad argument #1 to 'select' (unknown key '%s': the cases must be a list "
                 "without holes)", lua_tostring(L, -1));
    }
    found++;
    k = &p->cases[i - 1];
    k->c = NULL;
    k->v = NIL_VALUE;
    k->send = false;
    h = handle_test(L, -1);
    if (h != NULL && h->o->type == OBJ_CHAN && h->view != VIEW_SEND) {
      k->c = (Chan *)h->o;
      lua_pop(L, 1);
    }
    else if (lua_type(L, -1) != LUA_TTABLE) k->c = case_chan(L, (int)i, false);
    else {
      lua_pushliteral(L, "send");
      if (lua_rawget(L, -2) != LUA_TNIL) p->kinds = SENDS;
      else if (p->kinds == ONLY_CHANNELS) p->kinds = TABLES;
      lua_pop(L, 2);
    }
  }
  if (found < p->n) {                  /* a hole, whose border rawlen did not take */
    int i = 1;
    while (lua_rawgeti(L, 1, i) != LUA_TNIL) i++;
    case_chan(L, i, false);            /* (raises) */
  }
}

/* Only what is to be sent could leak. */
static void parse_tables (lua_State *L, Parsed *p) {
  int i, status = LUA_OK;
  stack_room(L, LUA_MINSTACK);
  lua_pushcfunction(L, parse);
  lua_pushlightuserdata(L, p);
  lua_pushvalue(L, 1);
  if (p->kinds == SENDS) status = lua_pcall(L, 2, 0, 0);
  else lua_call(L, 2, 0);
  if (status != LUA_OK) {
    for (i = 0; i < p->n; i++) value_drop(&p->cases[i].v);
    lua_error(L);
  }
}

/* The time-out stays on the stack: a context must live as long as 'lim'. */
static void parse_options (lua_State *L, Parsed *p) {
  lua_pushliteral(L, "default");
  switch (lua_rawget(L, 1)) {
    case LUA_TNIL: break;
    case LUA_TBOOLEAN: p->dflt = lua_toboolean(L, -1); break;
    case LUA_TFUNCTION: p->dflt = 2; break;
    default:
      luaL_error(L, "bad argument #1 to 'select' ('default' must be true or a function, got %s)",
                 luaL_typename(L, -1));
  }
  lua_pop(L, 1);
  lua_pushliteral(L, "timeout");
  if (lua_rawget(L, 1) != LUA_TNIL) {
    if (!arg_is_timeout(L, -1))
      luaL_error(L, "bad argument #1 to 'select' ('timeout' must be seconds or a context, got %s)",
                 lua_type(L, -1) == LUA_TNUMBER ? "NaN" : luaL_typename(L, -1));
    p->lim = arg_timeout(L, lua_gettop(L), FOREVER);
  }
}

static int handled (lua_State *L, int status, lua_KContext ctx) {
  (void)status; (void)ctx;
  return lua_gettop(L) - 1;
}

/*
** Case 'which' is done.  Its handler is called with v, ok; or index, v, ok returned.  'plain': it is
** known to have no table.
*/
static int chosen (lua_State *L, Here h, ChanResult r, int which, bool plain, Value *v) {
  bool handler = false, send = false;
  lua_settop(L, 1);
  if (!plain && lua_rawgeti(L, 1, which + 1) == LUA_TTABLE) {
    lua_pushliteral(L, "send");
    send = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 1);
    handler = lua_rawgeti(L, -1, 1) == LUA_TFUNCTION;
    lua_remove(L, -2);
  }
  if (!handler) lua_settop(L, 1);
  if (send && r == CHAN_CLOSED) {
    value_drop(v);
    return luaL_error(L, "send on closed channel");
  }
  if (!handler) lua_pushinteger(L, which + 1);
  if (!send) {
    value_to_lua(L, h.s, v);
    lua_pushboolean(L, r == CHAN_OK);
  }
  if (!handler) return send ? 1 : 3;
  lua_callk(L, send ? 0 : 2, LUA_MULTRET, 0, handled);
  return handled(L, LUA_OK, 0);
}

/* A guest has left first: where 'at' is the case, twice, and 1 more for a plain one. */
static int chosen_k (lua_State *L, int status, lua_KContext at) {
  Here h = here(L);
  Value v = h.g->own.elem;
  (void)status;
  h.g->own.elem = NIL_VALUE;
  return chosen(L, h, CHAN_OK, (int)(at / 2), at % 2 != 0, &v);
}

static int select_k (lua_State *L, int status, lua_KContext plain) {
  Here h = here(L);
  int which = 0;
  Value v;
  ChanResult r = select_finish(h.g, &which, &v);
  (void)status;
  if (!wait_over(h)) {
    value_drop(&v);
    return wait_unwind(L, h);
  }
  if (r == CHAN_BUSY) return nil_reason(L, h);
  return chosen(L, h, r, which, plain != 0, &v);
}

/*
** goro.select { case, ..., timeout = s, default = true or f }.  Go's select.  A case is a channel
** (receive), { recv = ch [, handler] }, { send = ch, value = v [, handler] }; a channel that is
** false is never ready.
*/
static int l_select (lua_State *L) {
  Case few[FEW];
  Parsed p;
  Here h = here(L);
  ChanResult r;
  int i, which = 0;
  bool over, plain;
  arg_type(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  p.n = (int)lua_rawlen(L, 1);
  p.lim = NO_LIMIT;
  p.dflt = 0;
  p.cases = p.n <= FEW ? few : lua_newuserdatauv(L, (size_t)p.n * sizeof(Case), 0);
  check_panics(L, h);
  check_cases(L, &p);
  plain = p.kinds == ONLY_CHANNELS;
  if (p.options) parse_options(L, &p);
  if (!plain) {
    parse_tables(L, &p);
    h = here(L);
  }
  over = limit_over(h, &p.lim);
  r = over ? CHAN_BUSY :
      select_go(h.m, h.g, p.cases, p.n, limit_waits(&p.lim) && p.dflt == 0, &which);
  if (r == CHAN_WAIT) return wait_k(L, h, p.lim, plain, select_k);
  for (i = 0; i < p.n; i++) {          /* what was not sent */
    bool gone = r == CHAN_OK && i == which;
    if (p.cases[i].send && !gone) value_drop(&p.cases[i].v);
  }
  if (r == SELECT_NOMEM) return luaL_error(L, "not enough memory");
  if (r != CHAN_BUSY) {
    Value v = p.cases[which].v;
    if (p.cases[which].send) v = NIL_VALUE;
    else if (tame_leaves(L, h, &v))
      return tame_leave_with(L, h.s, &v, 2 * which + plain, chosen_k);
    return chosen(L, h, r, which, plain, &v);
  }
  if (over || p.dflt == 0) return nil_reason(L, h);
  if (p.dflt == 1) return nil_text(L, "default");
  lua_settop(L, 1);
  lua_getfield(L, 1, "default");
  lua_callk(L, 0, LUA_MULTRET, 0, handled);
  return handled(L, LUA_OK, 0);
}

const luaL_Reg select_functions[] = { { "select", l_select }, { NULL, NULL } };
