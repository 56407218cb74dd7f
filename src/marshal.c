/*
** marshal.c - Lua values to messages.  Layer 5.
**
** One pass, one buffer, no recursion: open tables and functions are frames, their Lua values
** stand on the Lua stack.  The whole encoding runs in one protected call, so that whatever Lua
** raises, the message and the references in it are released.  No Lua code of the user's runs,
** but __goro.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "marshal.h"
#include "lualib.h"

typedef struct Frame {
  int idx;                             /* stack: the object; a table's key comes above it */
  bool func;
  int nup, i;                          /* function: upvalues, the one in work */
  uint32_t number;
  size_t at;                           /* table: where its sizes go */
  uint32_t narr, nhash;
  bool pairs;                          /* table: past the array part */
  bool meta;                           /* table: its metatable is in work */
} Frame;

typedef struct IdSlot { const void *p; uint32_t n; } IdSlot;

typedef struct Enc {
  lua_State *L;
  State *s;
  Msg *m;
  int count;                           /* the values to encode */
  int later;                           /* stack: table of what was put off, 0: none */
  uint32_t nlater, done;
  size_t *later_at;                    /* where their sizes go */
  uint32_t *later_number;
  uint32_t caplater;
  uint32_t nobj;                       /* tables and functions numbered */
  IdSlot few[8], *ids;
  uint32_t nids, capids;
  struct { uint32_t f; int i; } *owners;         /* upvalues met, by number */
  uint32_t nowners, capowners;
  Frame frames[DEPTH + 1];
  int nframes;
  const void *globals;
  const struct Enc *parent;            /* MAKE: the encoder whose object makes itself */
  const void *making;                  /* the object whose __goro's function is in work */
  size_t shared_at;                    /* MAKE: where nshared goes */
  bool shared;                         /* some number is referred to */
} Enc;

/* ---------------------------------------------------------------- bytes */

static void enc_nomem (Enc *e) {
  luaL_error(e->L, "not enough memory");
}

static char *room (Enc *e, size_t n) {
  if (e->m->cap - e->m->len < n && !msg_reserve(e->m, n)) enc_nomem(e);
  return e->m->bytes + e->m->len;
}

static void put (Enc *e, int tag) { *room(e, 1) = (char)tag; e->m->len++; }

static void put_bytes (Enc *e, const void *p, size_t n) {
  memcpy(room(e, n), p, n);
  e->m->len += n;
}

static void put_u32 (Enc *e, uint32_t v) { put_bytes(e, &v, sizeof v); }

static void put_word (Enc *e, int tag, const void *p) {      /* tag and 8 bytes */
  char *b = room(e, 9);
  b[0] = (char)tag;
  memcpy(b + 1, p, 8);
  e->m->len += 9;
}

static void put_len (Enc *e, size_t n) {
  unsigned char b[10];
  int k = 0;
  while (n > 127) {
    b[k++] = (unsigned char)(n | 128);
    n >>= 7;
  }
  b[k++] = (unsigned char)n;
  put_bytes(e, b, (size_t)k);
}

/* ---------------------------------------------------------------- identity */

static IdSlot *id_slot (IdSlot *t, uint32_t cap, const void *p) {
  uint32_t i = (uint32_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (cap - 1);
  while (t[i].p != NULL && t[i].p != p) i = (i + 1) & (cap - 1);
  return &t[i];
}

static bool id_find (Enc *e, const void *p, uint32_t *n) {
  if (e->ids == NULL) {
    uint32_t i;
    for (i = 0; i < e->nids; i++)
      if (e->few[i].p == p) {
        *n = e->few[i].n;
        return true;
      }
    return false;
  }
  else {
    IdSlot *s = id_slot(e->ids, e->capids, p);
    if (s->p == NULL) return false;
    *n = s->n;
    return true;
  }
}

static void id_add (Enc *e, const void *p, uint32_t n) {
  uint32_t i;
  if (e->ids == NULL && e->nids < 8) {
    e->few[e->nids].p = p;
    e->few[e->nids++].n = n;
    return;
  }
  if (e->ids == NULL || e->nids * 2 >= e->capids) {
    uint32_t cap = e->ids == NULL ? 64 : e->capids * 2;
    IdSlot *old = e->ids == NULL ? e->few : e->ids;
    uint32_t oldcap = e->ids == NULL ? e->nids : e->capids;
    IdSlot *t = calloc(cap, sizeof *t);
    if (t == NULL) enc_nomem(e);
    for (i = 0; i < oldcap; i++)
      if (old[i].p != NULL) *id_slot(t, cap, old[i].p) = old[i];
    free(e->ids);
    e->ids = t;
    e->capids = cap;
  }
  {
    IdSlot *s = id_slot(e->ids, e->capids, p);
    s->p = p;
    s->n = n;
    e->nids++;
  }
}

/* ---------------------------------------------------------------- errors */

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
      luaL_addstring(b, lua_toboolean(L, key) && lua_isboolean(L, key) ? "[true]" :
                        lua_isboolean(L, key) ? "[false]" : "[?]");
  }
}

/* Raise: the value on top, or what 'what' says of it, cannot cross. */
static void cannot_send (Enc *e, const char *what) {
  lua_State *L = e->L;
  luaL_Buffer b;
  char name[64];
  int i, v = lua_gettop(L);
  bool any = false;
  if (what == NULL) {
    if (luaL_getmetafield(L, v, "__name") == LUA_TSTRING)
      snprintf(name, sizeof name, "%s", lua_tostring(L, -1));
    else snprintf(name, sizeof name, "%s", luaL_typename(L, v));
    what = name;
  }
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_settop(L, v);
  luaL_buffinit(L, &b);
  if (e->done > 0) {
    luaL_addstring(&b, "...");
    any = true;
  }
  for (i = 0; i < e->nframes; i++) {
    Frame *f = &e->frames[i];
    if (f->func) {
      const char *n = lua_getupvalue(L, f->idx, f->i);
      lua_pop(L, 1);
      if (any) luaL_addstring(&b, " ");
      luaL_addstring(&b, "upvalue '");
      luaL_addstring(&b, n != NULL && n[0] != '\0' ? n : "?");
      luaL_addstring(&b, "'");
    }
    else if (f->meta) luaL_addstring(&b, " metatable");
    else add_step(L, &b, f->idx + 1);
    any = true;
  }
  luaL_pushresult(&b);
  if (any)
    luaL_error(L, "cannot send a value of type '%s' (at %s)", what, lua_tostring(L, -1));
  else
    luaL_error(L, "cannot send a value of type '%s'", what);
}

/* ---------------------------------------------------------------- functions */

static int dump_writer (lua_State *L, const void *p, size_t n, void *ud) {
  Enc *e = ud;
  (void)L;
  if (n == 0) return 0;
  if (!msg_reserve(e->m, n)) return 1;
  memcpy(e->m->bytes + e->m->len, p, n);
  e->m->len += n;
  return 0;
}

static int count_upvalues (lua_State *L, int f) {
  lua_Debug ar;
  lua_pushvalue(L, f);
  lua_getinfo(L, ">u", &ar);
  return ar.nups;
}

static int put_code (Enc *e) {         /* of the function on top; its number of upvalues */
  lua_State *L = e->L;
  size_t at, n;
  int nup = count_upvalues(L, -1);
  uint32_t len;
  put_u32(e, 0);
  at = e->m->len;
  if (lua_dump(L, dump_writer, e, 0) != 0) enc_nomem(e);
  n = e->m->len - at;
  if (n > UINT32_MAX) enc_nomem(e);
  len = (uint32_t)n;
  memcpy(e->m->bytes + at - 4, &len, 4);
  put(e, nup);
  return nup;
}

/* ---------------------------------------------------------------- frames */

static void put_later (Enc *e, uint32_t number, size_t at) {   /* the value on top; popped */
  lua_State *L = e->L;
  if (e->nlater == e->caplater) {
    uint32_t cap = e->caplater ? e->caplater * 2 : 16;
    size_t *a = realloc(e->later_at, cap * sizeof *a);
    uint32_t *b;
    if (a == NULL) enc_nomem(e);
    e->later_at = a;
    b = realloc(e->later_number, cap * sizeof *b);
    if (b == NULL) enc_nomem(e);
    e->later_number = b;
    e->caplater = cap;
  }
  e->later_at[e->nlater] = at;
  e->later_number[e->nlater] = number;
  lua_rawseti(L, e->later, (lua_Integer)++e->nlater);
}

static void open_table (Enc *e, uint32_t number, size_t at) {  /* the table on top */
  Frame *f = &e->frames[e->nframes++];
  memset(f, 0, sizeof *f);
  luaL_checkstack(e->L, LUA_MINSTACK, "message");
  f->idx = lua_gettop(e->L);
  f->number = number;
  f->at = at;
  lua_pushnil(e->L);                   /* the first key */
}

static void open_function (Enc *e, uint32_t number, int nup) { /* the function on top */
  Frame *f = &e->frames[e->nframes++];
  memset(f, 0, sizeof *f);
  luaL_checkstack(e->L, LUA_MINSTACK, "message");
  f->idx = lua_gettop(e->L);
  f->number = number;
  f->func = true;
  f->nup = nup;
}

static void put_modref (Enc *e) {      /* path table on top; popped */
  lua_State *L = e->L;
  int i, n = (int)lua_rawlen(L, -1);
  put(e, T_MODREF);
  put(e, n);
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    switch (lua_type(L, -1)) {
      case LUA_TSTRING: {
        size_t len;
        const char *s = lua_tolstring(L, -1, &len);
        put(e, T_STR);
        put_len(e, len);
        put_bytes(e, s, len);
        break;
      }
      case LUA_TBOOLEAN:
        put(e, lua_toboolean(L, -1) ? T_TRUE : T_FALSE);
        break;
      default:
        if (lua_isinteger(L, -1)) {
          lua_Integer k = lua_tointeger(L, -1);
          put_word(e, T_INT, &k);
        }
        else {
          lua_Number k = lua_tonumber(L, -1);
          put_word(e, T_FLT, &k);
        }
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static int encode_into (lua_State *L, State *s, Msg *m, const Enc *parent, int idx, int n);

/*
** __goro: the object at -2 crosses as the function that its __goro (on top) returns: a message
** in the message, numbered apart.  Pops both.
*/
static void put_make (Enc *e) {
  lua_State *L = e->L;
  const void *p = lua_topointer(L, -2);
  const Enc *up;
  for (up = e; up != NULL; up = up->parent)
    if (up->making == p)
      luaL_error(L, "an object crosses inside the function that its '__goro' returned");
  id_add(e, p, e->nobj++);
  e->shared = true;
  lua_pushvalue(L, -2);
  lua_call(L, 1, 1);
  if (lua_type(L, -1) != LUA_TFUNCTION)
    luaL_error(L, "'__goro' must return a function (got %s)", luaL_typename(L, -1));
  put(e, T_MAKE);
  e->making = p;
  if (encode_into(L, e->s, e->m, e, lua_gettop(L), 1) != LUA_OK) lua_error(L);
  e->making = NULL;
  lua_pop(L, 2);
}

static void put_object_number (Enc *e, uint32_t n) {
  put(e, T_REF);
  put_u32(e, n);
  e->shared = true;
}

static void put_table (Enc *e, bool is_key) {        /* on top; popped or made a frame */
  lua_State *L = e->L;
  const void *p = lua_topointer(L, -1);
  uint32_t n;
  bool meta;
  if (id_find(e, p, &n)) {
    put_object_number(e, n);
    lua_pop(L, 1);
    return;
  }
  if (p == e->globals) {
    put(e, T_GLOBALS);
    lua_pop(L, 1);
    return;
  }
  meta = lua_getmetatable(L, -1);
  if (meta) {
    lua_pushliteral(L, "__goro");
    if (lua_rawget(L, -2) != LUA_TNIL) {
      lua_remove(L, -2);
      put_make(e);
      return;
    }
    lua_pop(L, 2);
  }
  if (modref_find(L, &e->s->modref, -1, meta)) {
    put_modref(e);
    lua_pop(L, 1);
    return;
  }
  n = e->nobj++;
  id_add(e, p, n);
  if (is_key || e->nframes >= DEPTH) {
    put(e, T_LATER_TABLE);
    put(e, meta ? TABLE_HAS_META : 0);
    put_u32(e, 0);
    put_u32(e, 0);
    e->shared = true;
    put_later(e, n, e->m->len - 8);
    return;
  }
  put(e, T_TABLE);
  put(e, meta ? TABLE_HAS_META : 0);
  put_u32(e, 0);
  put_u32(e, 0);
  open_table(e, n, e->m->len - 8);
}

static void put_function (Enc *e, bool is_key) {     /* on top; popped or made a frame */
  lua_State *L = e->L;
  const void *p = lua_topointer(L, -1);
  uint32_t n;
  int nup;
  if (lua_iscfunction(L, -1)) {
    lua_CFunction f = lua_tocfunction(L, -1);
    if (lua_getupvalue(L, -1, 1) == NULL) {
      put_word(e, T_CFN, &f);
      lua_pop(L, 1);
      return;
    }
    lua_pop(L, 1);
    if (!modref_find(L, &e->s->modref, -1, true))
      cannot_send(e, "C function with upvalues");
    put_modref(e);
    lua_pop(L, 1);
    return;
  }
  if (id_find(e, p, &n)) {
    put_object_number(e, n);
    lua_pop(L, 1);
    return;
  }
  if (modref_find(L, &e->s->modref, -1, true)) {
    put_modref(e);
    lua_pop(L, 1);
    return;
  }
  n = e->nobj++;
  id_add(e, p, n);
  if (is_key || e->nframes >= DEPTH) {
    put(e, T_LATER_FUNC);
    put_code(e);
    e->shared = true;
    put_later(e, n, 0);
    return;
  }
  put(e, T_FUNC);
  nup = put_code(e);
  if (nup == 0) lua_pop(L, 1);
  else open_function(e, n, nup);
}

static void put_userdata (Enc *e) {    /* full, on top; popped */
  lua_State *L = e->L;
  Handle *h = handle_test(L, -1);
  if (h != NULL) {
    int64_t n = msg_add_obj(e->m, h->o);
    if (n < 0) enc_nomem(e);
    put(e, T_OBJ);
    put_u32(e, (uint32_t)n);
    put(e, h->view);
    lua_pop(L, 1);
    return;
  }
  if (modref_find(L, &e->s->modref, -1, true)) {
    put_modref(e);
    lua_pop(L, 1);
    return;
  }
  {
    luaL_Stream *f = luaL_testudata(L, -1, LUA_FILEHANDLE);
    int fd = f == NULL || f->closef == NULL ? 0 : f->f == stdin ? 1 : f->f == stdout ? 2 :
             f->f == stderr ? 3 : 0;
    static const char *const names[] = { "stdin", "stdout", "stderr" };
    if (fd != 0) {
      lua_createtable(L, 2, 0);
      lua_pushliteral(L, "io");
      lua_rawseti(L, -2, 1);
      lua_pushstring(L, names[fd - 1]);
      lua_rawseti(L, -2, 2);
      put_modref(e);
      lua_pop(L, 1);
      return;
    }
  }
  {
    const void *p = lua_topointer(L, -1);
    uint32_t n;
    if (id_find(e, p, &n)) {
      put_object_number(e, n);
      lua_pop(L, 1);
      return;
    }
    if (luaL_getmetafield(L, -1, "__goro") != LUA_TNIL) {
      put_make(e);
      return;
    }
  }
  cannot_send(e, NULL);
}

static void put_value (Enc *e, bool is_key) {        /* on top; popped or made a frame */
  lua_State *L = e->L;
  switch (lua_type(L, -1)) {
    case LUA_TNIL:
      put(e, T_NIL);
      break;
    case LUA_TBOOLEAN:
      put(e, lua_toboolean(L, -1) ? T_TRUE : T_FALSE);
      break;
    case LUA_TNUMBER:
      if (lua_isinteger(L, -1)) {
        lua_Integer i = lua_tointeger(L, -1);
        if (i >= -128 && i < 128) {
          char *b = room(e, 2);
          b[0] = T_INT8;
          b[1] = (char)i;
          e->m->len += 2;
        }
        else put_word(e, T_INT, &i);
      }
      else {
        lua_Number n = lua_tonumber(L, -1);
        put_word(e, T_FLT, &n);
      }
      break;
    case LUA_TSTRING: {
      size_t len;
      const char *s = lua_tolstring(L, -1, &len);
      put(e, T_STR);
      put_len(e, len);
      put_bytes(e, s, len);
      break;
    }
    case LUA_TLIGHTUSERDATA: {
      void *p = lua_touserdata(L, -1);
      put_word(e, T_LUD, &p);
      break;
    }
    case LUA_TTABLE:
      put_table(e, is_key);
      return;
    case LUA_TFUNCTION:
      put_function(e, is_key);
      return;
    case LUA_TUSERDATA:
      put_userdata(e);
      return;
    default:
      cannot_send(e, NULL);
  }
  lua_pop(L, 1);
}

/* One step of the table in work: its next element, its metatable, or its end. */
static void table_step (Enc *e, Frame *f) {
  lua_State *L = e->L;
  if (!f->meta && lua_next(L, f->idx)) {
    if (!f->pairs) {
      if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == (lua_Integer)f->narr + 1 &&
          f->narr < UINT32_MAX - 1) {
        f->narr++;
        put_value(e, false);           /* leaves the key on top, or above it a frame */
        return;
      }
      f->pairs = true;
    }
    if (f->nhash == UINT32_MAX) enc_nomem(e);
    f->nhash++;
    lua_pushvalue(L, -2);
    put_value(e, true);
    put_value(e, false);
    return;
  }
  memcpy(e->m->bytes + f->at, &f->narr, 4);
  memcpy(e->m->bytes + f->at + 4, &f->nhash, 4);
  if (!f->meta && lua_getmetatable(L, f->idx)) {
    f->meta = true;                    /* (idx + 1 holds no key any more: not used with meta) */
    put_value(e, false);
    return;
  }
  lua_settop(L, f->idx - 1);
  e->nframes--;
}

/* Is the table on top an environment that only stands before the globals: no fields of its own,
** and its _G is theirs?  (busted gives each spec one.) */
static bool is_shadow (Enc *e) {
  lua_State *L = e->L;
  bool same;
  if (lua_topointer(L, -1) == e->globals || !lua_getmetatable(L, -1)) return false;
  lua_pop(L, 1);
  lua_pushnil(L);
  if (lua_next(L, -2)) {
    lua_pop(L, 2);
    return false;
  }
  lua_getfield(L, -1, "_G");
  same = lua_topointer(L, -1) == e->globals;
  lua_pop(L, 1);
  return same;
}

static void put_upvalue (Enc *e, Frame *f) {
  lua_State *L = e->L;
  void *id = lua_upvalueid(L, f->idx, f->i);
  uint32_t n;
  if (id_find(e, id, &n)) {            /* shared with a function met before */
    put(e, T_UPREF);
    put_u32(e, e->owners[n].f);
    put(e, e->owners[n].i);
    e->shared = true;
    return;
  }
  if (e->nowners == e->capowners) {
    uint32_t cap = e->capowners ? e->capowners * 2 : 16;
    void *o = realloc(e->owners, cap * sizeof *e->owners);
    if (o == NULL) enc_nomem(e);
    e->owners = o;
    e->capowners = cap;
  }
  e->owners[e->nowners].f = f->number;
  e->owners[e->nowners].i = f->i;
  id_add(e, id, e->nowners++);
  {
    const char *name = lua_getupvalue(L, f->idx, f->i);
    if (name != NULL && strcmp(name, "_ENV") == 0 && lua_istable(L, -1) && is_shadow(e)) {
      put(e, T_GLOBALS);
      lua_pop(L, 1);
      return;
    }
  }
  put_value(e, false);
}

static void run_frames (Enc *e) {
  while (e->nframes > 0) {
    Frame *f = &e->frames[e->nframes - 1];
    if (!f->func) table_step(e, f);
    else if (f->i < f->nup) {
      f->i++;
      put_upvalue(e, f);
    }
    else {
      lua_settop(e->L, f->idx - 1);
      e->nframes--;
    }
  }
}

static int encode (lua_State *L) {     /* Enc *, values ... */
  Enc *e = lua_touserdata(L, 1);
  int i;
  luaL_checkstack(L, LUA_MINSTACK, "message");
  lua_pushglobaltable(L);
  e->globals = lua_topointer(L, -1);
  lua_pop(L, 1);
  lua_newtable(L);
  e->later = lua_gettop(L);
  put_u32(e, 0);
  e->shared_at = e->m->len - 4;
  put_u32(e, (uint32_t)e->count);
  for (i = 0; i < e->count; i++) {
    lua_pushvalue(L, 2 + i);
    put_value(e, false);
    run_frames(e);
  }
  while (e->done < e->nlater) {
    uint32_t k = e->done++;
    lua_rawgeti(L, e->later, (lua_Integer)k + 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, e->later, (lua_Integer)k + 1);
    if (lua_type(L, -1) == LUA_TTABLE)
      open_table(e, e->later_number[k], e->later_at[k]);
    else
      open_function(e, e->later_number[k], count_upvalues(L, -1));
    run_frames(e);
  }
  if (e->shared) memcpy(e->m->bytes + e->shared_at, &e->nobj, 4);
  return 0;
}

/* Encode the 'n' values at 'idx' into 'm'.  A status of lua_pcall's; an error is on top. */
static int encode_into (lua_State *L, State *s, Msg *m, const Enc *parent, int idx, int n) {
  Enc e;
  int i, status;
  luaL_checkstack(L, n + 4, "message");
  memset(&e, 0, offsetof(Enc, frames));
  e.L = L;
  e.s = s;
  e.m = m;
  e.count = n;
  e.nframes = 0;
  e.parent = parent;
  e.making = NULL;
  e.shared = false;
  lua_pushcfunction(L, encode);
  lua_pushlightuserdata(L, &e);
  for (i = 0; i < n; i++) lua_pushvalue(L, idx + i);
  status = lua_pcall(L, n + 1, 0, 0);
  free(e.ids);
  free(e.owners);
  free(e.later_at);
  free(e.later_number);
  return status;
}

Msg *msg_from_lua (lua_State *L, State *s, int idx, int n) {
  Msg *m = msg_new();
  if (m == NULL) luaL_error(L, "not enough memory");
  m->nvals = (uint32_t)n;
  if (encode_into(L, s, m, NULL, lua_absindex(L, idx), n) != LUA_OK) {
    msg_free(m);
    lua_error(L);
  }
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
      v->tag = V_STR;
      return;
    }
    case LUA_TUSERDATA: {
      Handle *h = handle_test(L, idx);
      if (h != NULL) {
        v->tag = V_OBJ;
        v->u.o = obj_ref(h->o);
        v->view = h->view;
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
