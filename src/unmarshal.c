/*
** unmarshal.c - messages to Lua values.  Layer 5.
**
** The mirror of encode.c: a reader, open tables and functions as frames, no recursion but for
** MAKE.  What is numbered is kept in a Lua table only if the message refers to some number.
** Every length is checked against the message's end: the bytes come from our own encoder, but a
** decoder that trusts nothing is one that can be fuzzed.
*/
#include <stdlib.h>
#include <string.h>
#include "rom.h"
#include "stdlibs.h"
#include "tame.h"
#include "unmarshal.h"

_Noreturn void dec_broken (Dec *d) {
  luaL_error(d->L, "broken message");
  abort();                             /* not reached */
}

_Noreturn void dec_no_memory (lua_State *L) {
  luaL_error(L, "not enough memory");
  abort();                             /* not reached */
}

static size_t get_long (Dec *d, int b) {
  size_t n = (size_t)(b & 127);
  int shift = 7;
  do {
    b = get(d);
    if (shift > 63) dec_broken(d);
    n |= (size_t)(b & 127) << shift;
    shift += 7;
  } while (b & 128);
  return n;
}

static inline size_t get_len (Dec *d) {
  int b = get(d);
  size_t n = b & 128 ? get_long(d, b) : (size_t)b;
  need(d, n);
  return n;
}

/* ---------------------------------------------------------------- objects */

static void set_number (Dec *d, uint32_t n) {      /* the object on top has number n - 1 */
  lua_State *L = d->L;
  if (d->nshared == 0) return;
  lua_pushvalue(L, -1);
  lua_rawseti(L, d->objs, (lua_Integer)n);
}

static inline void number (Dec *d) { set_number(d, ++d->nobj); }

static void grow_sizes (Dec *d) {
  DSession *x = d->x;
  uint32_t cap = d->sizes == NULL ? 16 : d->sizes->cap * 2;
  Sizes *z = realloc(d->sizes, sizeof *z + cap * sizeof z->of[0]);
  if (z == NULL) dec_no_memory(d->L);
  z->cap = cap;
  if (d->sizes == NULL) {
    z->next = x->sizes;
    z->link = &x->sizes;
  }
  *z->link = z;
  if (z->next != NULL) z->next->link = &z->next;
  d->sizes = z;
}

static void free_sizes (Sizes *z) {
  *z->link = z->next;
  if (z->next != NULL) z->next->link = z->link;
  free(z);
}

static void later (Dec *d, uint32_t narr, uint32_t nhash, bool meta) {   /* what is on top */
  lua_State *L = d->L;
  if (d->sizes == NULL || d->nlater == d->sizes->cap) grow_sizes(d);
  d->sizes->of[d->nlater].narr = narr;
  d->sizes->of[d->nlater].nhash = nhash;
  d->sizes->of[d->nlater].meta = meta;
  if (lua_isnil(L, d->later)) {
    lua_newtable(L);
    lua_replace(L, d->later);
  }
  lua_pushvalue(L, -1);
  lua_rawseti(L, d->later, (lua_Integer)++d->nlater);
}

static int get_code (Dec *d) {         /* push the function; its number of upvalues */
  lua_State *L = d->L;
  uint32_t n = get_u32(d);
  int nup;
  lua_Debug ar;
  need(d, n);
  if (rom_load(L, d->s, d->p, n, "=goroutine", false) != LUA_OK)
    luaL_error(L, "cannot load a function here: %s", lua_tostring(L, -1));
  d->p += n;
  nup = get(d);
  lua_pushvalue(L, -1);
  lua_getinfo(L, ">u", &ar);
  if (ar.nups != nup) dec_broken(d);
  return nup;
}

static void clear_upvalues (lua_State *L, int nup) {
  if (nup > 0) {                       /* load has put the globals into the first one */
    lua_pushnil(L);
    lua_setupvalue(L, -2, 1);
  }
}

DFrame *dec_frame (Dec *d, int kind) {
  DFrame *f;
  if (d->run->nframes > DEPTH) dec_broken(d);
  f = &d->run->frames[d->run->nframes++];
  memset(f, 0, sizeof *f);
  stack_room(d->L, LUA_MINSTACK);
  f->idx = lua_gettop(d->L);
  f->kind = (uint8_t)kind;
  return f;
}

/* An array element takes a byte at least, a pair two: a broken size cannot ask for more. */
static void new_table (Dec *d, int *flags, uint32_t *narr, uint32_t *nhash) {
  size_t left;
  *flags = get(d);
  *narr = get_u32(d);
  *nhash = get_u32(d);
  left = (size_t)(d->end - d->p);
  if (*narr > left || *nhash > left / 2 || *narr > INT32_MAX || *nhash > INT32_MAX) dec_broken(d);
  lua_createtable(d->L, (int)*narr, (int)*nhash);
  number(d);
}

static void get_class (Dec *d) {
  uint32_t n = get_u32(d);
  lua_State *L = d->L;
  if (n + 1 == d->last_class) {
    lua_pushvalue(L, d->class);
    return;
  }
  if (d->v != NULL) {
    if (n >= d->v->ndeps) dec_broken(d);
    dec_push_class(d, d->v->deps[n], NULL);
  }
  else {
    Obj *o;
    if (n >= d->m->nobjs || (o = d->m->objs[n])->type != OBJ_CLASS) dec_broken(d);
    dec_push_class(d, ((Version *)o)->c, (Version *)o);
  }
  lua_pushvalue(L, -1);
  lua_replace(L, d->class);
  d->last_class = n + 1;
}

/* ---------------------------------------------------------------- values */

static void get_modref (Dec *d);
static void get_make (Dec *d);

/* Push a value; tables and functions with something inside become the frame in work.  false: it
** is not complete yet. */
static inline bool get_value (Dec *d) {
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
      stdlibs_push(L, d->s, f);
      return true;
    }
    case T_OBJ: {
      uint32_t n = get_u32(d);
      int view = get(d);
      if (n >= d->m->nobjs || view > VIEW_CALL || d->m->objs[n]->type >= OBJ_NTYPES ||
          (view == VIEW_CALL && handle_types[d->m->objs[n]->type]->call == NULL)) dec_broken(d);
      handle_push(L, d->s, d->m->objs[n], view);
      return true;
    }
    case T_GLOBALS: lua_pushglobaltable(L); return true;
    case T_REF: {
      uint32_t n = get_u32(d);
      if (n >= d->nobj || d->nshared == 0) dec_broken(d);
      lua_rawgeti(L, d->objs, (lua_Integer)n + 1);
      return true;
    }
    case T_TABLE: {
      int flags;
      uint32_t narr, nhash;
      DFrame *f;
      new_table(d, &flags, &narr, &nhash);
      if (narr == 0 && nhash == 0 && flags == 0) return true;
      f = dec_frame(d, F_TABLE);
      f->narr = narr;
      f->nhash = nhash;
      f->meta = (flags & TABLE_HAS_META) != 0;
      return false;
    }
    case T_LATER_TABLE: {
      int flags;
      uint32_t narr, nhash;
      new_table(d, &flags, &narr, &nhash);
      later(d, narr, nhash, (flags & TABLE_HAS_META) != 0);
      return true;
    }
    case T_FUNC: {
      int nup = get_code(d);
      number(d);
      if (nup == 0) return true;
      dec_frame(d, F_FUNC)->nup = (uint8_t)nup;
      return false;
    }
    case T_LATER_FUNC: {
      int nup = get_code(d);
      clear_upvalues(L, nup);
      number(d);
      later(d, 0, 0, false);
      return true;
    }
    case T_CLASS:
      tame_lost(d->s);
      get_class(d);
      return true;
    case T_MODREF:
      get_modref(d);
      return true;
    case T_MAKE:
      tame_lost(d->s);
      get_make(d);
      return true;
    default: dec_broken(d);
  }
}

bool dec_value (Dec *d) { return get_value(d); }

static void get_key (Dec *d) {
  lua_State *L = d->L;
  if (!get_value(d) || lua_isnil(L, -1) ||         /* keys are never frames */
      (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1)))
    dec_broken(d);
}

/* Set the metatable on top (popped) of the table at 'idx'. */
static void set_metatable (Dec *d, int idx) {
  if (lua_type(d->L, -1) != LUA_TTABLE) dec_broken(d);
  tame_lost(d->s);
  lua_setmetatable(d->L, idx);
}

static void step_table (Dec *d, DFrame *f) {
  lua_State *L = d->L;
  int t = f->idx;
  if (lua_gettop(L) > t) {             /* a value that was in work is complete */
    if (f->i < f->narr) lua_rawseti(L, t, (lua_Integer)++f->i);
    else if (f->nhash > 0) {
      lua_rawset(L, t);
      f->nhash--;
    }
    else dec_broken(d);
  }
  while (f->i < f->narr) {
    if (!get_value(d)) return;
    lua_rawseti(L, t, (lua_Integer)++f->i);
  }
  while (f->nhash > 0) {
    get_key(d);
    if (!get_value(d)) return;
    lua_rawset(L, t);
    f->nhash--;
  }
  if (f->meta) {
    if (!get_value(d)) dec_broken(d);
    set_metatable(d, t);
  }
  d->run->nframes--;
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
      if (n >= d->nobj || d->nshared == 0) dec_broken(d);
      lua_rawgeti(L, d->objs, (lua_Integer)n + 1);
      if (lua_type(L, -1) != LUA_TFUNCTION || lua_iscfunction(L, -1) ||
          lua_getupvalue(L, -1, k) == NULL) dec_broken(d);
      lua_pop(L, 1);
      lua_upvaluejoin(L, f->idx, (int)++f->i, -1, k);
      lua_pop(L, 1);
    }
    else {
      if (!get_value(d)) return;
      lua_setupvalue(L, f->idx, (int)++f->i);
    }
  }
  d->run->nframes--;
}

void dec_run (Dec *d) {
  DRun *run = d->run;
  while (run->nframes > 0) {
    DFrame *f = &run->frames[run->nframes - 1];
    if (f->kind == F_FUNC) step_function(d, f);
    else step_table(d, f);
  }
}

/* What was put off since 'from', until nothing is left. */
static void run_later (Dec *d, uint32_t from) {
  lua_State *L = d->L;
  while (d->run->done < d->nlater) {
    uint32_t k = d->run->done++;
    DFrame *f;
    lua_rawgeti(L, d->later, (lua_Integer)k + 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, d->later, (lua_Integer)k + 1);
    if (lua_type(L, -1) == LUA_TFUNCTION) {
      lua_Debug ar;
      f = dec_frame(d, F_FUNC);
      lua_pushvalue(L, -1);
      lua_getinfo(L, ">u", &ar);
      f->nup = ar.nups;
    }
    else {
      f = dec_frame(d, F_TABLE);
      f->narr = d->sizes->of[k].narr;
      f->nhash = d->sizes->of[k].nhash;
      f->meta = d->sizes->of[k].meta;
    }
    dec_run(d);
    lua_pop(L, 1);
  }
  d->nlater = d->run->done = from;
}

/* ---------------------------------------------------------------- modules */

/* Where in the message we are, as far as it is known here: an open table's next element. */
static void add_steps (Dec *d, luaL_Buffer *b) {
  lua_State *L = d->L;
  int i;
  for (i = 0; i < d->run->nframes; i++) {
    DFrame *f = &d->run->frames[i];
    if (f->kind == F_FUNC) {
      const char *n = lua_getupvalue(L, f->idx, (int)f->i + 1);
      if (n != NULL) lua_pop(L, 1);
      lua_pushfstring(L, " upvalue '%s'", n != NULL && *n ? n : "?");
    }
    else if (f->i < f->narr) lua_pushfstring(L, "[%I]", (LUAI_UACINT)f->i + 1);
    else if (f->nhash == 0) lua_pushliteral(L, " metatable");
    else {
      lua_pushfstring(L, lua_type(L, f->idx + 1) == LUA_TSTRING ? ".%s" : "[%s]",
                      luaL_tolstring(L, f->idx + 1, NULL));
      lua_remove(L, -2);
    }
    luaL_addvalue(b);
  }
}

/* The error on top, of the module's value whose path is at 'path': raised with both paths. */
static _Noreturn void cannot_receive (Dec *d, int path) {
  lua_State *L = d->L;
  int err = lua_gettop(L);
  luaL_Buffer b;
  stack_room(L, LUA_MINSTACK);
  modref_text(L, path);
  luaL_buffinit(L, &b);
  add_steps(d, &b);
  luaL_pushresult(&b);
  if (lua_rawlen(L, -1) == 0)
    luaL_error(L, "cannot receive '%s': %s", lua_tostring(L, err + 1),
               luaL_tolstring(L, err, NULL));
  luaL_error(L, "cannot receive '%s' (at %s): %s", lua_tostring(L, err + 1),
             lua_tostring(L, err + 2) + (*lua_tostring(L, err + 2) == ' '),
             luaL_tolstring(L, err, NULL));
  abort();                             /* not reached */
}

static int resolve (lua_State *L) {    /* path, State *, Heritage * */
  State *s = lua_touserdata(L, 2);
  Heritage *h = lua_touserdata(L, 3);
  lua_settop(L, 1);
  modref_resolve(L, s, h);
  return 1;
}

static void get_modref (Dec *d) {
  lua_State *L = d->L;
  const char *from = d->p;
  size_t len = (size_t)(d->modref_end - d->modref);
  uint32_t h;
  int i, n, path;
  if (len > 0 && (size_t)(d->end - from) >= len && memcmp(from, d->modref, len) == 0) {
    d->p += len;                       /* the same as the last one */
    lua_pushvalue(L, d->module);
    return;
  }
  h = get_u32(d);
  n = get(d);
  if (h > d->m->nobjs || (h > 0 && d->m->objs[h - 1]->type != OBJ_HERITAGE) || n == 0) dec_broken(d);
  stack_room(L, LUA_MINSTACK);
  lua_createtable(L, n, 0);
  path = lua_gettop(L);
  for (i = 1; i <= n; i++) {
    need(d, 1);
    if (*d->p > T_LUD || !get_value(d)) dec_broken(d);             /* scalars */
    if (i == 1 && lua_type(L, -1) != LUA_TSTRING) dec_broken(d);
    if (i > 1 || !tame_library(lua_tostring(L, -1))) tame_lost(d->s);
    if (lua_isnil(L, -1)) dec_broken(d);
    lua_rawseti(L, path, i);
  }
  lua_pushcfunction(L, resolve);
  lua_pushvalue(L, path);
  lua_pushlightuserdata(L, d->s);
  lua_pushlightuserdata(L, h > 0 ? d->m->objs[h - 1] : NULL);
  if (lua_pcall(L, 3, 1, 0) != LUA_OK) cannot_receive(d, path);
  lua_replace(L, path);
  lua_pushvalue(L, path);
  lua_replace(L, d->module);
  d->modref = from;
  d->modref_end = d->p;
}

/* ---------------------------------------------------------------- __goro */

static void get_make (Dec *d) {
  lua_State *L = d->L;
  uint32_t n = ++d->nobj, from = d->nlater;
  DRun run, *up = d->run;
  if (++d->depth > MAKE_DEPTH) dec_broken(d);
  run.done = from;
  run.nframes = 0;
  d->run = &run;
  stack_room(L, LUA_MINSTACK);
  if (!get_value(d)) dec_run(d);
  run_later(d, from);
  dec_work_off(d->x, d->depth);
  d->run = up;
  d->depth--;
  if (lua_type(L, -1) != LUA_TFUNCTION) dec_broken(d);
  lua_call(L, 0, 1);                   /* it makes the object */
  set_number(d, n);
}

/* ---------------------------------------------------------------- messages */

void dec_begin (Dec *d, DSession *x, const Msg *m, DRun *run, int depth) {
  lua_State *L = x->L;
  memset(d, 0, sizeof *d);
  d->L = L;
  d->s = x->s;
  d->x = x;
  d->m = m;
  d->p = m->bytes;
  d->end = m->bytes + m->len;
  d->depth = depth;
  d->run = run;
  run->done = 0;
  run->nframes = 0;
  stack_room(L, LUA_MINSTACK);
  d->objs = lua_gettop(L) + 1;
  d->later = d->objs + 1;
  d->class = d->objs + 2;
  d->module = d->objs + 3;
  lua_settop(L, d->module);
  d->nshared = get_u32(d);
  if (d->nshared > 0) {
    if (d->nshared > (size_t)(d->end - d->p)) dec_broken(d);
    lua_createtable(L, (int)(d->nshared > 1000000 ? 1000000 : d->nshared), 0);
    lua_replace(L, d->objs);
  }
}

void dec_finish (Dec *d) {
  run_later(d, 0);
  if (d->sizes != NULL) free_sizes(d->sizes);
  d->sizes = NULL;
}

static int decode (lua_State *L) {     /* DSession *, Msg * -> values */
  DSession *x = lua_touserdata(L, 1);
  const Msg *m = lua_touserdata(L, 2);
  Dec d;
  DRun run;
  uint32_t i, n;
  dec_begin(&d, x, m, &run, 0);
  n = get_u32(&d);
  if (n > (size_t)(d.end - d.p) || n > INT32_MAX) dec_broken(&d);
  stack_room(L, (int)n + LUA_MINSTACK);
  for (i = 0; i < n; i++)
    if (!get_value(&d)) dec_run(&d);
  dec_finish(&d);
  dec_work_off(x, 0);
  return (int)n;
}

static void close_session (DSession *x, bool failed) {
  uint32_t i;
  for (i = 0; i < x->nfills; i++) {
    ClassRec *r = x->fills[i].r;
    Version *v = x->fills[i].v;
    r->queue = NULL;
    if (failed && r->v != NULL) {      /* filled in part, or with others that are */
      version_unref(r->v);
      r->v = NULL;
    }
    version_unref(v);
  }
  free(x->fills);
  while (x->sizes != NULL) free_sizes(x->sizes);   /* NOLINT: it takes itself out of the list */
  if (x->entered) classes_leave(x->s);
}

/* Decode 'm', which stays as it is.  A status of lua_pcall's. */
static int run_decode (lua_State *L, State *s, const Msg *m) {
  DSession x;
  int status;
  memset(&x, 0, sizeof x);
  x.L = L;
  x.s = s;
  lua_pushcfunction(L, decode);
  lua_pushlightuserdata(L, &x);
  lua_pushlightuserdata(L, (void *)m);
  status = lua_pcall(L, 2, LUA_MULTRET, 0);
  close_session(&x, status != LUA_OK);
  return status;
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
  stack_room(L, 4);
  if (run_decode(L, s, m) != LUA_OK) lua_error(L);
  return lua_gettop(L) - top;
}

