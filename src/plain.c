/*
** plain.c - small tables of plain data, the quick way.  Layer 5.
**
** Most messages are a record: a table or a few, strings, numbers, booleans.  encode.c and
** unmarshal.c would spend more on being ready for everything (protected calls, frames, sessions)
** than on the data.  The form is theirs (marshal.h), so whatever cannot be done here is done there:
** a message that others hold too, or a long one, is decoded by unmarshal.c.
**
** PLAIN is a table without metatable that no module and no class has, met once, in which no key
** looks like a metamethod's; keys are strings, numbers, booleans, values these, light userdata and
** such tables, PLAIN_DEPTH deep, MAX_TABLES in all.
**
** Nothing is protected, since nothing can leak.  The encoder calls nothing that raises: it makes no
** Lua object.  The decoder copies the bytes to its own stack and frees the message first.
*/
#include <string.h>
#include "classes.h"
#include "plain.h"

#define MAX_TABLES 16

/* ---------------------------------------------------------------- out */

typedef struct Out {
  lua_State *L;
  State *s;
  Msg *m;
  const void *globals;
  int ntables;
  const void *tables[MAX_TABLES];      /* met so far */
} Out;

static inline char *room (Out *o, size_t n) {    /* NULL: no memory (the long way will say so) */
  Msg *m = o->m;
  if (!msg_room(m, n)) return NULL;
  return m->bytes + m->len;
}

static bool put_string (Out *o, const char *s, size_t len) {
  size_t n = len;
  char *b;
  if (len > PLAIN_BYTES || (b = room(o, len + 3)) == NULL) return false;
  *b++ = T_STR;
  while (n > 127) {
    *b++ = (char)(n | 128);
    n >>= 7;
  }
  *b++ = (char)n;
  memcpy(b, s, len);
  o->m->len = (size_t)(b + len - o->m->bytes);
  return true;
}

static bool put_word (Out *o, int tag, const void *p) {
  char *b = room(o, 9);
  if (b == NULL) return false;
  b[0] = (char)tag;
  memcpy(b + 1, p, 8);
  o->m->len += 9;
  return true;
}

static bool put_number (Out *o, int idx) {
  lua_State *L = o->L;
  if (lua_isinteger(L, idx)) {
    lua_Integer i = lua_tointeger(L, idx);
    if (i >= -128 && i < 128) {
      char *b = room(o, 2);
      if (b == NULL) return false;
      b[0] = T_INT8;
      b[1] = (char)i;
      o->m->len += 2;
      return true;
    }
    return put_word(o, T_INT, &i);
  }
  else {
    lua_Number n = lua_tonumber(L, idx);
    return put_word(o, T_FLT, &n);
  }
}

static bool put_boolean (Out *o, int idx) {
  char *b = room(o, 1);
  if (b == NULL) return false;
  *b = (char)(lua_toboolean(o->L, idx) ? T_TRUE : T_FALSE);
  o->m->len++;
  return true;
}

static bool put_key (Out *o, int idx, int type) {
  switch (type) {
    case LUA_TSTRING: {
      size_t len;
      const char *s = lua_tolstring(o->L, idx, &len);
      if (s[0] == '_' && s[1] == '_') return false;          /* it may be a class */
      return put_string(o, s, len);
    }
    case LUA_TNUMBER: return put_number(o, idx);
    case LUA_TBOOLEAN: return put_boolean(o, idx);
    default: return false;
  }
}

static bool put_table (Out *o, int depth);

static bool put_value (Out *o, int idx, int depth) {         /* 'idx' is the top */
  switch (lua_type(o->L, idx)) {
    case LUA_TSTRING: {
      size_t len;
      const char *s = lua_tolstring(o->L, idx, &len);
      return put_string(o, s, len);
    }
    case LUA_TNUMBER: return put_number(o, idx);
    case LUA_TBOOLEAN: return put_boolean(o, idx);
    case LUA_TTABLE: return put_table(o, depth + 1);
    case LUA_TLIGHTUSERDATA: {
      void *p = lua_touserdata(o->L, idx);
      return put_word(o, T_LUD, &p);
    }
    default: return false;
  }
}

static bool is_plain (Out *o, int t) {
  const void *p = lua_topointer(o->L, t);
  int i;
  if (p == o->globals || o->ntables == MAX_TABLES) return false;
  for (i = 0; i < o->ntables; i++)
    if (o->tables[i] == p) return false;           /* met twice: it must be one there, too */
  o->tables[o->ntables++] = p;
  return !lua_getmetatable(o->L, t) && !classes_may_know(o->s, p) &&
         !modref_may_know(&rare(o->s)->modref, p);
}

static bool put_table (Out *o, int depth) {        /* on top, where it stays */
  lua_State *L = o->L;
  int t = lua_gettop(L);
  uint32_t narr = 0, nhash = 0;
  bool pairs = false;
  size_t at;
  char *b;
  if (depth > PLAIN_DEPTH || !is_plain(o, t) || (b = room(o, 10)) == NULL) return false;
  b[0] = T_TABLE;
  b[1] = 0;
  at = o->m->len + 2;
  o->m->len += 10;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    int type = lua_type(L, t + 1);
    if (!pairs) {                      /* 1, 2, ... come first if they are an array */
      if (type == LUA_TNUMBER && lua_isinteger(L, t + 1) &&
          lua_tointeger(L, t + 1) == (lua_Integer)narr + 1) narr++;
      else pairs = true;
    }
    if (pairs) {
      nhash++;
      if (!put_key(o, t + 1, type)) return false;
    }
    if (!put_value(o, t + 2, depth)) return false;
    lua_settop(L, t + 1);
    if (o->m->len > PLAIN_BYTES) return false;     /* large ones gain nothing */
  }
  memcpy(o->m->bytes + at, &narr, 4);
  memcpy(o->m->bytes + at + 4, &nhash, 4);
  return true;
}

bool plain_encode (lua_State *L, State *s, Msg *m, int idx) {
  static const uint32_t head[2] = { 0, 1 };        /* nothing is shared; one value */
  Out o = { L, s, m, NULL, 0, { NULL } };
  int top = lua_gettop(L);
  lua_pushglobaltable(L);
  o.globals = lua_topointer(L, -1);
  lua_pop(L, 1);
  memcpy(m->bytes, head, sizeof head);             /* (a new message has room for these) */
  m->len = sizeof head;
  lua_pushvalue(L, idx);
  m->plain = put_table(&o, 1);
  lua_settop(L, top);
  if (!m->plain) m->len = 0;
  return m->plain;
}

/* ---------------------------------------------------------------- in */

typedef struct In { lua_State *L; const char *p, *end; } In;

static void need (In *r, size_t n) {
  if ((size_t)(r->end - r->p) < n) luaL_error(r->L, "broken message");
}

static void get_bytes (In *r, void *v, size_t n) {
  need(r, n);
  memcpy(v, r->p, n);
  r->p += n;
}

static void get_string (In *r) {
  size_t n = 0;
  int b, shift = 0;
  do {
    need(r, 1);
    b = (unsigned char)*r->p++;
    n |= (size_t)(b & 127) << shift;
    shift += 7;
  } while ((b & 128) && shift < 21);
  need(r, n);
  lua_pushlstring(r->L, r->p, n);
  r->p += n;
}

static void get_value (In *r);

static void get_table (In *r) {
  lua_State *L = r->L;
  uint32_t size[2], i;
  need(r, 1);
  r->p++;                              /* no flags */
  get_bytes(r, size, sizeof size);
  need(r, size[0]);
  need(r, size[1]);
  lua_createtable(L, (int)size[0], (int)size[1]);
  for (i = 1; i <= size[0]; i++) {
    get_value(r);
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  for (i = 0; i < size[1]; i++) {
    get_value(r);
    get_value(r);
    lua_rawset(L, -3);
  }
}

static void get_value (In *r) {
  lua_State *L = r->L;
  need(r, 1);
  switch (*r->p++) {
    case T_STR: get_string(r); break;
    case T_TABLE: get_table(r); break;
    case T_INT8:
      need(r, 1);
      lua_pushinteger(L, (signed char)*r->p++);
      break;
    case T_INT: {
      lua_Integer i;
      get_bytes(r, &i, sizeof i);
      lua_pushinteger(L, i);
      break;
    }
    case T_FLT: {
      lua_Number n;
      get_bytes(r, &n, sizeof n);
      lua_pushnumber(L, n);
      break;
    }
    case T_FALSE: lua_pushboolean(L, 0); break;
    case T_TRUE: lua_pushboolean(L, 1); break;
    case T_LUD: {
      void *p;
      get_bytes(r, &p, sizeof p);
      lua_pushlightuserdata(L, p);
      break;
    }
    default: luaL_error(L, "broken message");
  }
}

void plain_to_lua (lua_State *L, Msg *m) {
  char bytes[PLAIN_BYTES];
  In r = { L, bytes + 8, bytes + m->len };
  bool fits = lua_checkstack(L, PLAIN_STACK);
  memcpy(bytes, m->bytes, m->len);
  msg_free(m);
  if (!fits) luaL_error(L, "stack overflow");
  get_value(&r);
}
