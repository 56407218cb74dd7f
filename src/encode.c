/*
** encode.c - the encoder: Lua values to bytes.  Layer 5.
**
** One pass, one buffer, no recursion: open tables and functions are frames, their Lua values
** stand on the Lua stack.  The whole encoding runs in one protected call, so that whatever Lua
** raises, the message and the references in it are released.  No Lua code of the user's runs,
** but __goro.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "encode.h"
#include "modimage.h"
#include "stdlibs.h"
#include "lualib.h"

/* ---------------------------------------------------------------- bytes */

_Noreturn void enc_no_memory (Enc *e) {
  luaL_error(e->L, "not enough memory");
  abort();                             /* not reached */
}

static void put_string (Enc *e, const char *s, size_t len) {
  char *b;
  size_t n = len;
  if (len > SIZE_MAX - 16) enc_no_memory(e);
  b = room(e, len + 11);
  *b++ = T_STR;
  while (n > 127) {
    *b++ = (char)(n | 128);
    n >>= 7;
  }
  *b++ = (char)n;
  memcpy(b, s, len);
  e->m->len = (size_t)(b + len - e->m->bytes);
}

/* The value at 'idx', if it is none that must be looked into. */
static inline bool put_scalar (Enc *e, int idx) {
  lua_State *L = e->L;
  switch (lua_type(L, idx)) {
    case LUA_TSTRING: {
      size_t len;
      const char *s = lua_tolstring(L, idx, &len);
      put_string(e, s, len);
      return true;
    }
    case LUA_TNUMBER:
      if (lua_isinteger(L, idx)) {
        lua_Integer i = lua_tointeger(L, idx);
        if (i >= -128 && i < 128) {
          char *b = room(e, 2);
          b[0] = T_INT8;
          b[1] = (char)i;
          e->m->len += 2;
        }
        else put_word(e, T_INT, &i);
      }
      else {
        lua_Number n = lua_tonumber(L, idx);
        put_word(e, T_FLT, &n);
      }
      return true;
    case LUA_TBOOLEAN:
      put(e, lua_toboolean(L, idx) ? T_TRUE : T_FALSE);
      return true;
    case LUA_TNIL:
      put(e, T_NIL);
      return true;
    case LUA_TLIGHTUSERDATA: {
      void *p = lua_touserdata(L, idx);
      put_word(e, T_LUD, &p);
      return true;
    }
    default:
      return false;
  }
}

/* ---------------------------------------------------------------- identity */

static void id_add (Enc *e, const void *p, uint32_t n) {
  uint32_t i;
  if (e->ids == NULL && e->nids < 8) {
    e->few[e->nids].p = p;
    e->few[e->nids++].n = n;
    return;
  }
  if (e->ids == NULL || e->nids >= e->capids / 2) {
    uint32_t cap = e->ids == NULL ? 64 : e->capids * 2;
    IdSlot *old = e->ids == NULL ? e->few : e->ids;
    uint32_t oldcap = e->ids == NULL ? e->nids : e->capids;
    IdSlot *t = cap == 0 ? NULL : calloc(cap, sizeof *t);
    if (t == NULL) enc_no_memory(e);
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

uint32_t enc_number (Enc *e, const void *p) {
  uint32_t n = e->nobj++;
  if (n == UINT32_MAX - 1) enc_no_memory(e);
  id_add(e, p, n);
  return n;
}

/* ---------------------------------------------------------------- code */

static int dump_writer (lua_State *L, const void *p, size_t n, void *ud) {
  Enc *e = ud;
  (void)L;
  if (n == 0) return 0;
  if (!msg_room(e->m, n)) return 1;
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
  if (lua_dump(L, dump_writer, e, 0) != 0) enc_no_memory(e);
  n = e->m->len - at;
  if (n > UINT32_MAX) enc_no_memory(e);
  len = (uint32_t)n;
  memcpy(e->m->bytes + at - 4, &len, 4);
  put(e, nup);
  return nup;
}

void marshal_pin (lua_CFunction f) {
  static _Atomic(uintptr_t) pinned[256];           /* those seen last */
  uintptr_t p = (uintptr_t)f;
  _Atomic(uintptr_t) *slot = &pinned[(p >> 4 ^ p >> 12) & 255];
  if (load_rlx(slot) == p) return;
  os_pin_library((const void *)p);
  store_rlx(slot, p);
}

/* ---------------------------------------------------------------- frames */

static void put_later (Enc *e, uint32_t n, size_t at) {        /* the value on top; popped */
  lua_State *L = e->L;
  if (e->nlater == e->caplater) {
    uint32_t cap = e->caplater ? e->caplater * 2 : 16;
    size_t *a = realloc(e->later_at, cap * sizeof *a);
    uint32_t *b;
    if (a == NULL) enc_no_memory(e);
    e->later_at = a;
    b = realloc(e->later_number, cap * sizeof *b);
    if (b == NULL) enc_no_memory(e);
    e->later_number = b;
    e->caplater = cap;
  }
  e->later_at[e->nlater] = at;
  e->later_number[e->nlater] = n;
  if (lua_isnil(L, e->x->later)) {
    lua_newtable(L);
    lua_replace(L, e->x->later);
  }
  lua_rawseti(L, e->x->later, (lua_Integer)++e->nlater);
}

Frame *enc_frame (Enc *e, int kind, uint32_t n) {      /* the object is on top */
  Frame *f = &e->run->frames[e->run->nframes++];
  stack_room(e->L, LUA_MINSTACK);
  memset(f, 0, sizeof *f);
  f->idx = lua_gettop(e->L);
  f->kind = (uint8_t)kind;
  f->number = n;
  return f;
}

static void open_table (Enc *e, uint32_t n, size_t at, bool meta) {
  Frame *f = enc_frame(e, F_TABLE, n);
  f->at = at;
  f->meta = meta;
  lua_pushnil(e->L);                   /* the first key */
}

static void open_function (Enc *e, uint32_t n, int nup) {
  enc_frame(e, F_FUNC, n)->nup = nup;
}

static size_t put_sizes (Enc *e, int tag, bool meta) {         /* where they go */
  char *b = room(e, 10);
  b[0] = (char)tag;
  b[1] = meta ? TABLE_HAS_META : 0;
  memset(b + 2, 0, 8);
  e->m->len += 10;
  return e->m->len - 8;
}

static void note_module (Enc *e) {     /* its name on top */
  size_t len;
  const char *name = lua_tolstring(e->L, -1, &len);
  if (!stdlibs_is_standard(name)) modimage_note(e->s, name, len);
}

void enc_modref (Enc *e) {      /* path on top; popped */
  lua_State *L = e->L;
  int i, n = (int)lua_rawlen(L, -1);
  Heritage *h = e->s->heritage;
  if (e->s->inheriting || h == NULL || modref_is_standard(L, -1)) put_number(e, T_MODREF, 0);
  else {
    if (e->heritage == 0) e->heritage = 1 + put_object(e, &h->o);
    put_number(e, T_MODREF, e->heritage);
  }
  put(e, n);
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    if (i == 1 && rare(e->s)->mods != NULL && lua_type(L, -1) == LUA_TSTRING) note_module(e);
    put_scalar(e, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Look once a message for modules that came without require. */
void enc_look (Enc *e) {
  if (e->x->looked) return;
  e->x->looked = true;
  modref_refresh(e->L, e->s, true);
}

/* ---------------------------------------------------------------- values */

/* Has the object on top a metatable, and is it fit to cross?  With __goro it is put down here:
** '*made', popped. */
static bool look_at_metatable (Enc *e, bool *made) {
  lua_State *L = e->L;
  int object = lua_gettop(L);
  const void *p;
  ClassRec *r;
  if (!lua_getmetatable(L, object)) return false;
  p = lua_topointer(L, -1);
  if (p == e->last_meta || p == e->last_modref) (void)p;
  else if ((r = classes_find(L, e->s, -1)) != NULL && enc_as_ever(e, r, object + 1)) {
    if (!modref_may_know(&rare(e->s)->modref, p)) {
      e->last_class = enc_class_number(e, r);
      e->last_meta = p;
    }
  }
  else {
    lua_pushliteral(L, "__goro");
    if (lua_rawget(L, -2) != LUA_TNIL) {
      lua_remove(L, -2);
      enc_make(e);
      *made = true;
      return true;
    }
    lua_pop(L, 1);
    lua_insert(L, object);             /* the object on top, for the message */
    enc_check_finaliser(e, object);
    lua_insert(L, object);
  }
  lua_pop(L, 1);
  return true;
}

static void put_table (Enc *e, bool is_key) {        /* on top; popped or made a frame */
  lua_State *L = e->L;
  const void *p = lua_topointer(L, -1);
  uint32_t n;
  bool meta, made = false, known;
  ClassRec *r;
  size_t at;
  if (id_find(e, p, &n)) {
    enc_met(e, p, n);
    return;
  }
  if (p == e->globals) {
    put(e, T_GLOBALS);
    lua_pop(L, 1);
    return;
  }
  meta = look_at_metatable(e, &made);
  if (made) return;
  known = classes_may_know(e->s, p);
  if (modref_may_know(&rare(e->s)->modref, p) || (meta && !known)) {
    if (meta) enc_look(e);
    if (modref_find(L, &rare(e->s)->modref, -1)) {
      enc_modref(e);
      lua_pop(L, 1);
      return;
    }
  }
  if (known && (r = classes_find(L, e->s, -1)) != NULL) {
    put_number(e, T_CLASS, enc_class_number(e, r));
    lua_pop(L, 1);
    return;
  }
  n = enc_number(e, p);
  if (e->v != NULL) e->x->body_data = true;
  if (is_key || e->run->nframes >= DEPTH) {
    at = put_sizes(e, T_LATER_TABLE, meta);
    e->shared = true;
    put_later(e, n, at);
    return;
  }
  at = put_sizes(e, T_TABLE, meta);
  open_table(e, n, at, meta);
}

static void put_handle (Enc *e, const Handle *h, int view) {   /* on top, or a function; popped */
  put_number(e, T_OBJ, put_object(e, h->o));
  put(e, view);
  lua_pop(e->L, 1);
}

static void put_function (Enc *e, bool is_key) {     /* on top; popped or made a frame */
  lua_State *L = e->L;
  const void *p = lua_topointer(L, -1);
  Handle *h;
  uint32_t n;
  int nup;
  if (lua_iscfunction(L, -1)) {
    lua_CFunction f = lua_tocfunction(L, -1);
    if (lua_getupvalue(L, -1, 1) == NULL) {
      marshal_pin(f);
      put_word(e, T_CFN, &f);
      lua_pop(L, 1);
      return;
    }
    lua_pop(L, 1);
    if ((h = handle_of_function(L, -1)) != NULL) {
      put_handle(e, h, VIEW_CALL);
      return;
    }
    enc_look(e);
    if (!modref_find(L, &rare(e->s)->modref, -1))
      enc_cannot_send(e, "C function with upvalues", "");
    enc_modref(e);
    lua_pop(L, 1);
    return;
  }
  if (id_find(e, p, &n)) {
    put_reference(e, n);
    lua_pop(L, 1);
    return;
  }
  enc_look(e);
  if (modref_find(L, &rare(e->s)->modref, -1)) {
    enc_modref(e);
    lua_pop(L, 1);
    return;
  }
  n = enc_number(e, p);
  if (is_key || e->run->nframes >= DEPTH) {
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

static bool push_standard_file (lua_State *L) {      /* is it on top?  Its path */
  static const char *const names[] = { "stdin", "stdout", "stderr" };
  luaL_Stream *f = luaL_testudata(L, -1, LUA_FILEHANDLE);
  int fd = f == NULL || f->closef == NULL ? -1 : f->f == stdin ? 0 : f->f == stdout ? 1 :
           f->f == stderr ? 2 : -1;
  if (fd < 0) return false;
  lua_createtable(L, 2, 0);
  lua_pushliteral(L, LUA_IOLIBNAME);
  lua_rawseti(L, -2, 1);
  lua_pushstring(L, names[fd]);
  lua_rawseti(L, -2, 2);
  return true;
}

static void put_userdata (Enc *e) {    /* full, on top; popped */
  lua_State *L = e->L;
  Handle *h = handle_test(L, -1);
  const void *p;
  uint32_t n;
  if (h != NULL) {
    put_handle(e, h, h->view);
    return;
  }
  if (push_standard_file(L)) {
    enc_modref(e);
    lua_pop(L, 1);
    return;
  }
  p = lua_topointer(L, -1);
  if (id_find(e, p, &n)) {
    enc_met(e, p, n);
    return;
  }
  if (luaL_getmetafield(L, -1, "__goro") == LUA_TNIL) enc_cannot_send(e, NULL, "");
  enc_make(e);
}

void enc_value (Enc *e, bool is_key) {        /* on top; popped or made a frame */
  if (put_scalar(e, -1)) {
    lua_pop(e->L, 1);
    return;
  }
  switch (lua_type(e->L, -1)) {
    case LUA_TTABLE: put_table(e, is_key); break;
    case LUA_TFUNCTION: put_function(e, is_key); break;
    case LUA_TUSERDATA: put_userdata(e); break;
    default: enc_cannot_send(e, NULL, "");
  }
}

/* The key of the table at 't' (its value above it) is put down. */
static inline void put_key (Enc *e, int t, bool data) {
  lua_State *L = e->L;
  if (lua_type(L, t + 1) == LUA_TSTRING) {
    size_t len;
    const char *s = lua_tolstring(L, t + 1, &len);
    if (data && s[0] == '_' && s[1] == '_' && classes_telling(L, e->s, t, t + 1, t + 2) &&
        classes_find(L, e->s, t) == NULL) {
      enc_new_class(e, t);
      e->x->again = true;
    }
    put_string(e, s, len);
  }
  else if (!put_scalar(e, t + 1)) {
    lua_pushvalue(L, t + 1);
    enc_value(e, true);                /* keys are never frames */
  }
}

/* Go on with the table in work, until something in it becomes a frame, or to its end. */
static void table_step (Enc *e, Frame *f) {
  lua_State *L = e->L;
  Run *run = e->run;
  int t = f->idx, frames = run->nframes;
  while (!f->at_meta && lua_next(L, t)) {
    if (!f->pairs) {
      if (lua_isinteger(L, t + 1) && lua_tointeger(L, t + 1) == (lua_Integer)f->narr + 1 &&
          f->narr < UINT32_MAX - 1)
        f->narr++;
      else f->pairs = true;
    }
    if (f->pairs) {
      if (lua_type(L, t + 1) == LUA_TUSERDATA && handle_is_dead(L, t + 1)) {
        lua_pop(L, 1);
        continue;
      }
      if (f->nhash == UINT32_MAX) enc_no_memory(e);
      f->nhash++;
      put_key(e, t, true);
    }
    if (put_scalar(e, t + 2)) lua_pop(L, 1);
    else {
      enc_value(e, false);
      if (run->nframes != frames) return;
    }
  }
  if (!f->at_meta) {
    memcpy(e->m->bytes + f->at, &f->narr, 4);
    memcpy(e->m->bytes + f->at + 4, &f->nhash, 4);
    if (f->meta) {
      f->at_meta = true;               /* (no key stands above it any more) */
      if (!lua_getmetatable(L, t)) enc_cannot(e, "a table", ": it was changed while it crossed");
      enc_metatable(e);
    }
  }
  lua_settop(L, t - 1);
  run->nframes--;
}

/* The same for a class's fields: functions and scalars first, so that what a __goro makes among
** the others finds the methods there. */
static void fields_step (Enc *e, Frame *f) {
  lua_State *L = e->L;
  Run *run = e->run;
  int t = f->idx, frames = run->nframes;
  for (;;) {
    while (lua_next(L, t)) {
      int type = lua_type(L, t + 2);
      if ((type == LUA_TTABLE || type == LUA_TUSERDATA) != f->data) {
        lua_pop(L, 1);
        continue;
      }
      f->nhash++;
      put_key(e, t, false);
      enc_value(e, false);
      if (run->nframes != frames) return;
    }
    if (f->data) break;
    f->data = true;
    lua_pushnil(L);
  }
  memcpy(e->m->bytes + f->at, &f->nhash, 4);
  lua_settop(L, t - 1);
  run->nframes--;
}

/* Is the table on top an environment that only stands before the globals: no fields of its own,
** and its _G is theirs?  (busted gives each spec one.) */
bool marshal_is_shadow (lua_State *L) {
  bool same;
  if (!lua_getmetatable(L, -1)) return false;
  lua_pop(L, 1);
  lua_pushnil(L);
  if (lua_next(L, -2)) {
    lua_pop(L, 2);
    return false;
  }
  lua_pushglobaltable(L);
  if (lua_rawequal(L, -1, -2)) {       /* the globals themselves */
    lua_pop(L, 1);
    return false;
  }
  lua_getfield(L, -2, "_G");
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

static void put_upvalue (Enc *e, Frame *f) {
  lua_State *L = e->L;
  void *id = lua_upvalueid(L, f->idx, f->i);
  const char *name;
  uint32_t n;
  if (id_find(e, id, &n)) {            /* shared with a function met before */
    put_number(e, T_UPREF, e->owners[n].f);
    put(e, e->owners[n].i);
    e->shared = true;
    return;
  }
  if (e->nowners == e->capowners) {
    uint32_t cap = e->capowners ? e->capowners * 2 : 16;
    void *o = realloc(e->owners, cap * sizeof *e->owners);
    if (o == NULL) enc_no_memory(e);
    e->owners = o;
    e->capowners = cap;
  }
  e->owners[e->nowners].f = f->number;
  e->owners[e->nowners].i = f->i;
  id_add(e, id, e->nowners++);
  name = lua_getupvalue(L, f->idx, f->i);
  if (name != NULL && strcmp(name, "_ENV") == 0 && lua_istable(L, -1) && marshal_is_shadow(L)) {
    put(e, T_GLOBALS);
    lua_pop(L, 1);
  }
  else enc_value(e, false);
}

void enc_run (Enc *e) {
  Run *run = e->run;
  while (run->nframes > 0) {
    Frame *f = &run->frames[run->nframes - 1];
    if (f->kind == F_TABLE) table_step(e, f);
    else if (f->kind == F_FIELDS) fields_step(e, f);
    else if (f->i < f->nup) {
      f->i++;
      put_upvalue(e, f);
    }
    else {
      lua_settop(e->L, f->idx - 1);
      run->nframes--;
    }
  }
}

/* What was put off since 'from', until nothing is left. */
void enc_run_later (Enc *e, uint32_t from) {
  lua_State *L = e->L;
  Run *run = e->run;
  while (run->done < e->nlater) {
    uint32_t k = run->done++;
    lua_rawgeti(L, e->x->later, (lua_Integer)k + 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, e->x->later, (lua_Integer)k + 1);
    if (lua_type(L, -1) == LUA_TTABLE) {
      bool meta = e->m->bytes[e->later_at[k] - 1] & TABLE_HAS_META;
      open_table(e, e->later_number[k], e->later_at[k], meta);
    }
    else open_function(e, e->later_number[k], count_upvalues(L, -1));
    enc_run(e);
  }
  e->nlater = run->done = from;
}

/* ---------------------------------------------------------------- messages */

void enc_begin (Enc *e, Session *x, Msg *m, uint32_t n) {   /* e's arrays are kept */
  e->L = x->L;
  e->s = x->s;
  e->x = x;
  e->m = m;
  e->v = NULL;
  e->job = 0;
  e->serial = 0;
  e->nlater = e->nobj = e->nids = e->nowners = 0;
  free(e->ids);
  e->ids = NULL;
  e->capids = 0;
  e->last_meta = e->last_modref = NULL;
  e->heritage = 0;
  e->shared = false;
  e->run = &e->first;
  e->first.up = NULL;
  e->first.making = NULL;
  e->first.done = 0;
  e->first.nframes = 0;
  put_u32(e, 0);                       /* nshared */
  put_u32(e, n);
}

void enc_finish (Enc *e) {
  enc_run_later(e, 0);
  if (e->shared) memcpy(e->m->bytes, &e->nobj, 4);
}

/* Nothing among the 'n' values from 'idx' on can be a module's. */
static bool all_scalars (lua_State *L, int idx, int n) {
  int i;
  for (i = idx; i < idx + n; i++) {
    int type = lua_type(L, i);
    if (type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA) return false;
  }
  return true;
}

static int encode (lua_State *L) {     /* Session *, values ... */
  Session *x = lua_touserdata(L, 1);
  Enc *e = x->main;
  int i, n = lua_gettop(L) - 1;
  uint32_t k;
  stack_room(L, LUA_MINSTACK);
  lua_pushglobaltable(L);
  e->globals = lua_topointer(L, -1);
  x->later = n + 2;                    /* (in place of the globals) */
  x->made = n + 3;
  x->jobs = n + 4;
  lua_settop(L, n + 1);
  lua_settop(L, n + 4);
  if (!all_scalars(L, 2, n)) modref_refresh(L, x->s, false);
  for (;;) {
    enc_begin(e, x, e->m, (uint32_t)n);
    for (i = 0; i < n; i++) {
      if (put_scalar(e, i + 2)) continue;
      lua_pushvalue(L, i + 2);
      enc_value(e, false);
      enc_run(e);
    }
    enc_finish(e);
    for (k = 0; k < x->npending; k++) {
      if (x->pending[k].job) enc_body(x, k);
      else enc_above(x, &x->pending[k]);
    }
    if (!x->again) break;
    enc_again(x);
  }
  if (x->npending > 0) enc_commit(x);
  return 0;
}

static void free_enc (Enc *e) {
  free(e->ids);
  free(e->owners);
  free(e->later_at);
  free(e->later_number);
}

int msg_encode (lua_State *L, State *s, Msg *m, int idx, int n) {
  Session x;
  Enc e;
  int i, status;
  uint32_t k;
  stack_room(L, n + 4);
  memset(&x, 0, sizeof x);
  memset(&e, 0, offsetof(Enc, first));
  x.L = L;
  x.s = s;
  x.main = &e;
  e.m = m;
  lua_pushcfunction(L, encode);
  lua_pushlightuserdata(L, &x);
  for (i = 0; i < n; i++) lua_pushvalue(L, idx + i);
  status = lua_pcall(L, n + 1, 0, 0);
  for (k = 0; k < x.npending; k++) {
    version_unref(x.pending[k].v);
    free(x.pending[k].shape.fields);
  }
  free(x.pending);
  if (x.serial != 0) classes_leave(s);
  if (x.body != NULL) free_enc(x.body);
  free(x.body);
  free_enc(&e);
  return status;
}
