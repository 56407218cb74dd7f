/*
** unmarshal.c - messages to Lua values.  Layer 5.
**
** The mirror of marshal.c: a reader, open tables and functions as frames, no recursion but for
** MAKE.  What is numbered is kept in a Lua table only if the message refers to some number.
** Every length is checked against the message's end: the bytes come from our own encoder, but a
** decoder that trusts nothing is one that can be fuzzed.
*/
#include <stdlib.h>
#include <string.h>
#include "marshal.h"
#include "stdlibs.h"

typedef struct DFrame {
  int idx;                             /* stack: the table or function */
  uint32_t narr, nhash;                /* still to come, in all */
  uint32_t i;                          /* array elements or upvalues set */
  uint8_t nup;
  bool func, meta, key;                /* meta: a metatable comes; key: a key is on the stack */
} DFrame;

typedef struct Dec {
  lua_State *L;
  State *s;
  const Msg *m;
  const char *p, *end;
  int objs;                            /* stack: objs[number + 1], 0: not needed */
  uint32_t nobj, nshared;
  int later;                           /* stack: what comes later, in order; 0: nothing yet */
  uint32_t nlater, done;
  int nframes;
  DFrame frames[DEPTH + 2];
} Dec;

static _Noreturn void broken (Dec *d) {
  luaL_error(d->L, "broken message");
  abort();                             /* not reached */
}

static void need (Dec *d, size_t n) {
  if ((size_t)(d->end - d->p) < n) broken(d);
}

static int get (Dec *d) { need(d, 1); return (unsigned char)*d->p++; }

static uint32_t get_u32 (Dec *d) {
  uint32_t v;
  need(d, 4);
  memcpy(&v, d->p, 4);
  d->p += 4;
  return v;
}

static void get_word (Dec *d, void *v) {
  need(d, 8);
  memcpy(v, d->p, 8);
  d->p += 8;
}

static size_t get_len (Dec *d) {
  size_t n = 0;
  int shift = 0, b;
  do {
    b = get(d);
    if (shift > 63) broken(d);
    n |= (size_t)(b & 127) << shift;
    shift += 7;
  } while (b & 128);
  need(d, n);
  return n;
}

static void number (Dec *d) {          /* the object on top gets the next number */
  lua_State *L = d->L;
  d->nobj++;
  if (d->nshared == 0) return;
  lua_pushvalue(L, -1);
  lua_rawseti(L, d->objs, (lua_Integer)d->nobj);
}

static void later (Dec *d) {           /* the object on top is filled later */
  lua_State *L = d->L;
  lua_pushvalue(L, -1);
  lua_rawseti(L, d->later, (lua_Integer)++d->nlater);
}

static int get_code (Dec *d) {         /* push the function; its number of upvalues */
  lua_State *L = d->L;
  uint32_t n = get_u32(d);
  int nup;
  lua_Debug ar;
  need(d, n);
  if (luaL_loadbufferx(L, d->p, n, "=goroutine", "b") != LUA_OK)
    luaL_error(L, "cannot load a function here: %s", lua_tostring(L, -1));
  d->p += n;
  nup = get(d);
  lua_pushvalue(L, -1);
  lua_getinfo(L, ">u", &ar);
  if (ar.nups != nup) broken(d);
  return nup;
}

static void clear_upvalues (lua_State *L, int nup) {
  if (nup > 0) {                       /* load has put the globals into the first one */
    lua_pushnil(L);
    lua_setupvalue(L, -2, 1);
  }
}

static DFrame *open_frame (Dec *d) {
  DFrame *f;
  if (d->nframes > DEPTH) broken(d);
  f = &d->frames[d->nframes++];
  memset(f, 0, sizeof *f);
  luaL_checkstack(d->L, LUA_MINSTACK, "message");
  f->idx = lua_gettop(d->L);
  return f;
}

static void sizes (Dec *d, int *flags, uint32_t *narr, uint32_t *nhash) {
  *flags = get(d);
  *narr = get_u32(d);
  *nhash = get_u32(d);
}

/* An array element takes a byte at least, a pair two: a broken size cannot ask for more. */
static void new_table (Dec *d, uint32_t narr, uint32_t nhash) {
  size_t left = (size_t)(d->end - d->p);
  if (narr > left || nhash > left / 2 || narr > INT32_MAX || nhash > INT32_MAX) broken(d);
  lua_createtable(d->L, (int)narr, (int)nhash);
}

static void get_modref (Dec *d);
static int decode (lua_State *L);

static void get_make (Dec *d) {
  lua_State *L = d->L;
  Dec sub;
  memset(&sub, 0, offsetof(Dec, frames));
  sub.L = L;
  sub.s = d->s;
  sub.m = d->m;
  sub.p = d->p;
  sub.end = d->end;
  lua_pushcfunction(L, decode);
  lua_pushlightuserdata(L, &sub);
  lua_call(L, 1, 1);
  d->p = sub.p;
  lua_call(L, 0, 1);                   /* the function makes the object */
  number(d);
}

/* Push a value; tables and functions with something inside become the frame in work.  false: it
** is not complete yet. */
static bool get_value (Dec *d) {
  lua_State *L = d->L;
  switch (get(d)) {
    case T_NIL: lua_pushnil(L); return true;
    case T_FALSE: lua_pushboolean(L, 0); return true;
    case T_TRUE: lua_pushboolean(L, 1); return true;
    case T_INT8: lua_pushinteger(L, (signed char)get(d)); return true;
    case T_INT: {
      lua_Integer i;
      get_word(d, &i);
      lua_pushinteger(L, i);
      return true;
    }
    case T_FLT: {
      lua_Number n;
      get_word(d, &n);
      lua_pushnumber(L, n);
      return true;
    }
    case T_STR: {
      size_t n = get_len(d);
      lua_pushlstring(L, d->p, n);
      d->p += n;
      return true;
    }
    case T_LUD: {
      void *p;
      get_word(d, &p);
      lua_pushlightuserdata(L, p);
      return true;
    }
    case T_CFN: {
      lua_CFunction f;
      get_word(d, &f);
      lua_pushcfunction(L, stdlibs_map(f, d->s));
      return true;
    }
    case T_OBJ: {
      uint32_t n = get_u32(d);
      int view = get(d);
      if (n >= d->m->nobjs || view > VIEW_RECV) broken(d);
      handle_push(L, d->s, d->m->objs[n], view);
      return true;
    }
    case T_GLOBALS: lua_pushglobaltable(L); return true;
    case T_REF: {
      uint32_t n = get_u32(d);
      if (n >= d->nobj || d->nshared == 0) broken(d);
      lua_rawgeti(L, d->objs, (lua_Integer)n + 1);
      return true;
    }
    case T_TABLE: {
      int flags;
      uint32_t narr, nhash;
      DFrame *f;
      sizes(d, &flags, &narr, &nhash);
      new_table(d, narr, nhash);
      number(d);
      if (narr == 0 && nhash == 0 && flags == 0) return true;
      f = open_frame(d);
      f->narr = narr;
      f->nhash = nhash;
      f->meta = (flags & TABLE_HAS_META) != 0;
      return false;
    }
    case T_LATER_TABLE: {
      int flags;
      uint32_t narr, nhash;
      sizes(d, &flags, &narr, &nhash);
      new_table(d, narr, nhash);
      number(d);
      lua_createtable(L, 4, 0);        /* { table, narr, nhash, flags } */
      lua_pushvalue(L, -2);
      lua_rawseti(L, -2, 1);
      lua_pushinteger(L, narr);
      lua_rawseti(L, -2, 2);
      lua_pushinteger(L, nhash);
      lua_rawseti(L, -2, 3);
      lua_pushinteger(L, flags);
      lua_rawseti(L, -2, 4);
      later(d);
      lua_pop(L, 1);
      return true;
    }
    case T_FUNC: {
      int nup = get_code(d);
      DFrame *f;
      number(d);
      if (nup == 0) return true;
      f = open_frame(d);
      f->func = true;
      f->nup = (uint8_t)nup;
      return false;
    }
    case T_LATER_FUNC: {
      int nup = get_code(d);
      clear_upvalues(L, nup);
      number(d);
      later(d);
      return true;
    }
    case T_MODREF: get_modref(d); return true;
    case T_MAKE: get_make(d); return true;
    default: broken(d);
  }
}

static void get_modref (Dec *d) {
  lua_State *L = d->L;
  int i, n = get(d);
  lua_createtable(L, n, 0);
  for (i = 1; i <= n; i++) {
    int frames = d->nframes;
    if (!get_value(d) || d->nframes != frames) broken(d);
    lua_rawseti(L, -2, i);
  }
  if (n == 0) broken(d);
  modref_resolve(L);
}

static void step_table (Dec *d, DFrame *f) {
  lua_State *L = d->L;
  if (lua_gettop(L) > f->idx) {        /* a value that was in work is complete */
    if (f->i < f->narr) lua_rawseti(L, f->idx, (lua_Integer)++f->i);
    else if (f->nhash > 0) {
      lua_rawset(L, f->idx);
      f->nhash--;
    }
    else {
      if (lua_type(L, -1) != LUA_TTABLE) broken(d);
      lua_setmetatable(L, f->idx);
      f->meta = false;
    }
  }
  while (f->i < f->narr) {
    if (!get_value(d)) return;
    lua_rawseti(L, f->idx, (lua_Integer)++f->i);
  }
  while (f->nhash > 0) {
    if (!get_value(d) || lua_isnil(L, -1) ||
        (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1)))
      broken(d);                       /* keys are never frames */
    if (!get_value(d)) return;
    lua_rawset(L, f->idx);
    f->nhash--;
  }
  if (f->meta) {
    if (!get_value(d)) return;
    if (lua_type(L, -1) != LUA_TTABLE) broken(d);
    lua_setmetatable(L, f->idx);
    f->meta = false;
  }
  d->nframes--;
}

static void step_function (Dec *d, DFrame *f) {
  lua_State *L = d->L;
  if (lua_gettop(L) > f->idx) lua_setupvalue(L, f->idx, (int)++f->i);
  while (f->i < f->nup) {
    need(d, 1);
    if ((unsigned char)*d->p == T_UPREF) {
      uint32_t n;
      int k;
      d->p++;
      n = get_u32(d);
      k = get(d);
      if (n >= d->nobj || d->nshared == 0) broken(d);
      lua_rawgeti(L, d->objs, (lua_Integer)n + 1);
      if (lua_type(L, -1) != LUA_TFUNCTION || lua_iscfunction(L, -1) ||
          lua_getupvalue(L, -1, k) == NULL) broken(d);
      lua_pop(L, 1);
      lua_upvaluejoin(L, f->idx, (int)++f->i, -1, k);
      lua_pop(L, 1);
    }
    else {
      if (!get_value(d)) return;
      lua_setupvalue(L, f->idx, (int)++f->i);
    }
  }
  d->nframes--;
}

static void run_frames (Dec *d) {
  while (d->nframes > 0) {
    DFrame *f = &d->frames[d->nframes - 1];
    if (f->func) step_function(d, f);
    else step_table(d, f);
  }
}

static void fill_later (Dec *d) {
  lua_State *L = d->L;
  while (d->done < d->nlater) {
    DFrame *f;
    lua_rawgeti(L, d->later, (lua_Integer)++d->done);
    lua_pushboolean(L, 0);
    lua_rawseti(L, d->later, (lua_Integer)d->done);
    if (lua_type(L, -1) == LUA_TFUNCTION) {
      lua_Debug ar;
      f = open_frame(d);
      f->func = true;
      lua_pushvalue(L, -1);
      lua_getinfo(L, ">u", &ar);
      f->nup = ar.nups;
    }
    else {
      int t = lua_gettop(L);
      uint32_t narr, nhash;
      bool meta;
      lua_rawgeti(L, t, 2);
      lua_rawgeti(L, t, 3);
      lua_rawgeti(L, t, 4);
      narr = (uint32_t)lua_tointeger(L, -3);
      nhash = (uint32_t)lua_tointeger(L, -2);
      meta = (lua_tointeger(L, -1) & TABLE_HAS_META) != 0;
      lua_pop(L, 3);
      lua_rawgeti(L, t, 1);
      lua_replace(L, t);
      f = open_frame(d);
      f->narr = narr;
      f->nhash = nhash;
      f->meta = meta;
    }
    run_frames(d);
    lua_pop(L, 1);
  }
}

static int decode (lua_State *L) {     /* Dec * -> values */
  Dec *d = lua_touserdata(L, 1);
  int i, n;
  luaL_checkstack(L, LUA_MINSTACK, "message");
  d->nshared = get_u32(d);
  n = (int)get_u32(d);
  if (n < 0 || (size_t)n > (size_t)(d->end - d->p)) broken(d);
  if (d->nshared > 0) {
    if (d->nshared > (size_t)(d->end - d->p)) broken(d);
    lua_createtable(L, (int)(d->nshared > 1000000 ? 1000000 : d->nshared), 0);
    d->objs = lua_gettop(L);
    lua_newtable(L);
    d->later = lua_gettop(L);
  }
  else {                               /* no later ones without numbers */
    d->objs = 0;
    d->later = 0;
  }
  luaL_checkstack(L, n + LUA_MINSTACK, "message");
  for (i = 0; i < n; i++)
    if (!get_value(d)) run_frames(d);
  fill_later(d);
  return n;
}

/* Decode 'm', which stays as it is.  A status of lua_pcall's. */
static int run_decode (lua_State *L, State *s, const Msg *m) {
  Dec d;
  memset(&d, 0, offsetof(Dec, frames));
  d.nframes = 0;
  d.L = L;
  d.s = s;
  d.m = m;
  d.p = m->bytes;
  d.end = m->bytes + m->len;
  lua_pushcfunction(L, decode);
  lua_pushlightuserdata(L, &d);
  return lua_pcall(L, 1, LUA_MULTRET, 0);
}

int msg_to_lua (lua_State *L, State *s, Msg *m) {
  int top = lua_gettop(L), status;
  if (!lua_checkstack(L, 4)) {
    msg_free(m);
    luaL_error(L, "stack overflow");
  }
  status = run_decode(L, s, m);
  msg_free(m);
  if (status != LUA_OK) lua_error(L);
  return lua_gettop(L) - top;
}

int msg_to_lua_shared (lua_State *L, State *s, const Msg *m) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 4, NULL);
  if (run_decode(L, s, m) != LUA_OK) lua_error(L);
  return lua_gettop(L) - top;
}

/* ---------------------------------------------------------------- single values */

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

/* One that others own too cannot be in our limbo: short ones are copied first, so that nothing
** is held when Lua has no memory. */
static void push_shared_string (lua_State *L, Msg *m) {
  char buf[256];
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

/* A string that Lua may have no memory for: the message is kept where the next can find it. */
static void push_string (lua_State *L, State *s, Msg *m) {
  Msg **pp;
  if (msg_is_shared(m)) {
    push_shared_string(L, m);
    return;
  }
  m->next = s->limbo;
  s->limbo = m;
  lua_pushlstring(L, m->bytes, m->len);
  for (pp = &s->limbo; *pp != m; pp = &(*pp)->next) continue;
  *pp = m->next;
  msg_free(m);
}

void value_to_lua (lua_State *L, State *s, Value *v) {
  switch (v->tag) {
    case V_NIL: lua_pushnil(L); break;
    case V_FALSE: lua_pushboolean(L, 0); break;
    case V_TRUE: lua_pushboolean(L, 1); break;
    case V_INT: lua_pushinteger(L, v->u.i); break;
    case V_FLT: lua_pushnumber(L, v->u.n); break;
    case V_LUD: lua_pushlightuserdata(L, v->u.p); break;
    case V_CFN: lua_pushcfunction(L, stdlibs_map((lua_CFunction)v->u.f, s)); break;
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
      push_string(L, s, m);
      break;
    }
    case V_MSG: {
      Msg *m = v->u.m;
      *v = NIL_VALUE;
      msg_to_lua(L, s, m);
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
