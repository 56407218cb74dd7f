/*
** unmarshal.c - messages to Lua values.  Layer 5.
**
** The mirror of encode.c: a reader, open tables and functions as frames, no recursion but for
** MAKE.  What is numbered is kept in a Lua table only if the message refers to some number.
** Every length is checked against the message's end: the bytes come from our own encoder, but a
** decoder that trusts nothing is one that can be fuzzed.
**
** CLASSES.  A class that is met for the first time, or in a newer version than the state's copy,
** goes into the session's queue; its table, empty at first, can be used at once as a metatable.
** The queue is worked off when the message's values are complete, and before a function makes an
** object (which may call methods).  If that fails, the copies in the queue are filled when they
** are met next.
*/
#include <stdlib.h>
#include <string.h>
#include "classes.h"
#include "marshal.h"
#include "stdlibs.h"

enum { F_TABLE, F_FIELDS, F_FUNC };

typedef struct DFrame {
  int idx;                             /* stack: the table or function */
  uint32_t narr, nhash;                /* still to come, in all */
  uint32_t i;                          /* array elements or upvalues set */
  uint8_t nup, kind;
  bool meta;                           /* a metatable comes */
} DFrame;

typedef struct DRun {                  /* all values, or the function of a MAKE */
  uint32_t done;                       /* of those put off here */
  int nframes;
  DFrame frames[DEPTH + 2];
} DRun;

/* Of what was put off: malloc'ed, known to the session, which frees it if something raises. */
typedef struct Sizes {
  struct Sizes *next, **link;
  uint32_t cap;
  struct { uint32_t narr, nhash; bool meta; } of[];
} Sizes;

typedef struct Fill { ClassRec *r; Version *v; } Fill;         /* counted */

/* One message, with the bodies of the classes that come with it. */
typedef struct DSession {
  lua_State *L;
  State *s;
  bool entered;                        /* classes_enter */
  Fill *fills;
  uint32_t nfills, capfills, filled;
  Sizes *sizes;                        /* those in use */
} DSession;

typedef struct Dec {
  lua_State *L;
  State *s;
  DSession *x;
  const Msg *m;
  const Version *v;                    /* a class's body: of this version */
  const char *p, *end;
  int objs;                            /* stack: objs[number + 1]; nil: not needed */
  int later;                           /* stack: what comes later, in order; nil: nothing yet */
  int class;                           /* stack: the class pushed last */
  int module;                          /* stack: the module's value pushed last */
  uint32_t nobj, nshared;
  uint32_t last_class;                 /* its number + 1 */
  const char *modref, *modref_end;     /* where its path stands */
  Sizes *sizes;                        /* of what comes later */
  uint32_t nlater;
  int depth;                           /* of MAKEs */
  DRun *run;
} Dec;

static _Noreturn void broken (Dec *d) {
  luaL_error(d->L, "broken message");
  abort();                             /* not reached */
}

static _Noreturn void no_memory (lua_State *L) {
  luaL_error(L, "not enough memory");
  abort();                             /* not reached */
}

/* ---------------------------------------------------------------- bytes */

static inline void need (Dec *d, size_t n) {
  if ((size_t)(d->end - d->p) < n) broken(d);
}

static inline int get (Dec *d) { need(d, 1); return (unsigned char)*d->p++; }

static inline uint32_t get_u32 (Dec *d) {
  uint32_t v;
  need(d, 4);
  memcpy(&v, d->p, 4);
  d->p += 4;
  return v;
}

static inline void get_word (Dec *d, void *v) {
  need(d, 8);
  memcpy(v, d->p, 8);
  d->p += 8;
}

static size_t get_long (Dec *d, int b) {
  size_t n = (size_t)(b & 127);
  int shift = 7;
  do {
    b = get(d);
    if (shift > 63) broken(d);
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
  if (z == NULL) no_memory(d->L);
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

static DFrame *open_frame (Dec *d, int kind) {
  DFrame *f;
  if (d->run->nframes > DEPTH) broken(d);
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
  if (*narr > left || *nhash > left / 2 || *narr > INT32_MAX || *nhash > INT32_MAX) broken(d);
  lua_createtable(d->L, (int)*narr, (int)*nhash);
  number(d);
}

/* ---------------------------------------------------------------- classes */

/* The reference to 'v' is taken over; room was made. */
static void queue (DSession *x, ClassRec *r, Version *v) {
  Fill *f = &x->fills[x->nfills++];
  f->r = r;
  f->v = v;
  r->queue = x;
  r->queued = v->no;
}

static void make_room (DSession *x) {
  if (!x->entered) {
    classes_enter(x->L, x->s);
    x->entered = true;
  }
  if (x->nfills == x->capfills) {
    uint32_t cap = x->capfills ? x->capfills * 2 : 8;
    Fill *p = realloc(x->fills, cap * sizeof *p);
    if (p == NULL) no_memory(x->L);
    x->fills = p;
    x->capfills = cap;
  }
}

/* Is a copy as this version tells, or will be?  (The original always is.) */
static bool is_fresh (const DSession *x, const ClassRec *r, uint64_t no) {
  if (r->queue == x && r->queued >= no) return true;
  return r->v != NULL && (r->home || r->v->no >= no);
}

/* Push the class's table: the state's own or its copy, made if there is none; queue it if it
** must be filled.  'v': the version at hand; NULL: the latest. */
static void push_class (Dec *d, Class *c, Version *v) {
  lua_State *L = d->L;
  DSession *x = d->x;
  ClassRec *r;
  bool there;
  make_room(x);
  stack_room(L, LUA_MINSTACK);
  r = classes_know(L, d->s, c);
  there = classes_push(L, r);
  if (there && v != NULL && is_fresh(x, r, v->no)) return;
  v = v == NULL || r->home ? class_latest(c) : (obj_ref(&v->o), v);
  if (v == NULL) broken(d);
  if (!there) {
    /* (a record without a table was of one that is gone, or is new) */
    if (r->v != NULL) version_unref(r->v);
    r->v = NULL;
    queue(x, r, v);                    /* v is the queue's from here on */
    lua_pop(L, 1);
    lua_createtable(L, 0, v->nfields < INT32_MAX ? (int)v->nfields : 0);
    classes_bind(L, d->s, r, -1);
  }
  else if (is_fresh(x, r, v->no)) version_unref(v);
  else queue(x, r, v);
}

static void get_class (Dec *d) {
  uint32_t n = get_u32(d);
  lua_State *L = d->L;
  if (n + 1 == d->last_class) {
    lua_pushvalue(L, d->class);
    return;
  }
  if (d->v != NULL) {
    if (n >= d->v->ndeps) broken(d);
    push_class(d, d->v->deps[n], NULL);
  }
  else {
    Obj *o;
    if (n >= d->m->nobjs || (o = d->m->objs[n])->type != OBJ_CLASS) broken(d);
    push_class(d, ((Version *)o)->c, (Version *)o);
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
      lua_pushcfunction(L, stdlibs_map(f, d->s));
      return true;
    }
    case T_OBJ: {
      uint32_t n = get_u32(d);
      int view = get(d);
      if (n >= d->m->nobjs || view > VIEW_CALL || d->m->objs[n]->type >= OBJ_NTYPES ||
          (view == VIEW_CALL && handle_types[d->m->objs[n]->type]->call == NULL)) broken(d);
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
      new_table(d, &flags, &narr, &nhash);
      if (narr == 0 && nhash == 0 && flags == 0) return true;
      f = open_frame(d, F_TABLE);
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
      open_frame(d, F_FUNC)->nup = (uint8_t)nup;
      return false;
    }
    case T_LATER_FUNC: {
      int nup = get_code(d);
      clear_upvalues(L, nup);
      number(d);
      later(d, 0, 0, false);
      return true;
    }
    case T_CLASS: get_class(d); return true;
    case T_MODREF: get_modref(d); return true;
    case T_MAKE: get_make(d); return true;
    default: broken(d);
  }
}

static void get_key (Dec *d) {
  lua_State *L = d->L;
  if (!get_value(d) || lua_isnil(L, -1) ||         /* keys are never frames */
      (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1)))
    broken(d);
}

/* Set the metatable on top (popped) of the table at 'idx'. */
static void set_metatable (Dec *d, int idx) {
  if (lua_type(d->L, -1) != LUA_TTABLE) broken(d);
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
    else broken(d);
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
    if (!get_value(d)) broken(d);
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
  d->run->nframes--;
}

static void run_frames (Dec *d) {
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
      f = open_frame(d, F_FUNC);
      lua_pushvalue(L, -1);
      lua_getinfo(L, ">u", &ar);
      f->nup = ar.nups;
    }
    else {
      f = open_frame(d, F_TABLE);
      f->narr = d->sizes->of[k].narr;
      f->nhash = d->sizes->of[k].nhash;
      f->meta = d->sizes->of[k].meta;
    }
    run_frames(d);
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
  if (h > d->m->nobjs || (h > 0 && d->m->objs[h - 1]->type != OBJ_HERITAGE) || n == 0) broken(d);
  stack_room(L, LUA_MINSTACK);
  lua_createtable(L, n, 0);
  path = lua_gettop(L);
  for (i = 1; i <= n; i++) {
    need(d, 1);
    if (*d->p > T_LUD || !get_value(d)) broken(d);             /* scalars */
    if (i == 1 && lua_type(L, -1) != LUA_TSTRING) broken(d);
    if (lua_isnil(L, -1)) broken(d);
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

/* ---------------------------------------------------------------- class bodies */

static void begin (Dec *d, DSession *x, const Msg *m, DRun *run, int depth) {
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
    if (d->nshared > (size_t)(d->end - d->p)) broken(d);
    lua_createtable(L, (int)(d->nshared > 1000000 ? 1000000 : d->nshared), 0);
    lua_replace(L, d->objs);
  }
}

static void finish (Dec *d) {
  run_later(d, 0);
  if (d->sizes != NULL) free_sizes(d->sizes);
  d->sizes = NULL;
}

/* The five values of the body of 'v'; the fields into the table at 't'.  The other four are
** left on the stack. */
static void get_body (DSession *x, const Version *v, int t, int depth) {
  lua_State *L = x->L;
  Dec d;
  DRun run;
  DFrame *f;
  int i, base = lua_gettop(L);
  begin(&d, x, v->body, &run, depth);
  d.v = v;
  if (get_u32(&d) != 5 || get(&d) != T_FIELDS) broken(&d);
  lua_pushvalue(L, t);
  f = open_frame(&d, F_FIELDS);
  f->nhash = get_u32(&d);
  run_frames(&d);
  lua_pop(L, 1);
  for (i = 0; i < 4; i++)
    if (!get_value(&d)) run_frames(&d);
  finish(&d);
  for (i = 0; i < 4; i++) lua_replace(L, base + 4 - i);
  lua_settop(L, base + 4);
}

/* Push the set of keys that version 'v' of the class has. */
static void push_keys (DSession *x, const Version *v, int depth) {
  lua_State *L = x->L;
  int set = lua_gettop(L) + 1;
  lua_newtable(L);
  if (v->prev != NULL) {               /* (not deep: encode.c bounds it) */
    lua_pop(L, 1);
    push_keys(x, v->prev, depth);
  }
  if (v->body == NULL) return;
  lua_newtable(L);
  get_body(x, v, set + 1, depth);      /* removed, ... */
  lua_pushnil(L);
  while (lua_next(L, set + 1)) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, set);
  }
  if (lua_istable(L, set + 2)) {
    int i, n = (int)lua_rawlen(L, set + 2);
    for (i = 1; i <= n; i++) {
      lua_rawgeti(L, set + 2, i);
      lua_pushnil(L);
      lua_rawset(L, set);
    }
  }
  lua_settop(L, set);
}

static void take_metatable (lua_State *L, int t, int meta) {   /* table, false: none, nil: as it was */
  if (lua_isnil(L, meta)) return;
  if (lua_istable(L, meta)) lua_pushvalue(L, meta);
  else lua_pushnil(L);
  lua_setmetatable(L, t);
}

/* Set what has changed since version 'known' of the copy at 't', by a whole version. */
static void apply_whole (DSession *x, const ClassRec *r, const Version *v, int t, int depth) {
  lua_State *L = x->L;
  uint64_t known = r->v->no;
  int base = lua_gettop(L), fields = base + 2, stamps = base + 5;
  lua_Integer i, n;
  push_keys(x, r->v, depth);           /* base + 1 */
  lua_newtable(L);
  get_body(x, v, fields, depth);       /* removed, metatable, stamps, its stamp */
  n = lua_istable(L, stamps) ? (lua_Integer)lua_rawlen(L, stamps) : 0;
  for (i = 1; i < n; i += 2) {
    lua_rawgeti(L, stamps, i);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, base + 1);           /* it is still there */
    lua_rawgeti(L, stamps, i + 1);
    if ((uint64_t)lua_tointeger(L, -1) > known) {
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -1);
      lua_rawget(L, fields);
      lua_rawset(L, t);
    }
    lua_settop(L, base + 6);
  }
  if (n == 0) {                        /* all of it is new */
    lua_pushnil(L);
    while (lua_next(L, fields)) {
      lua_pushvalue(L, -2);
      lua_pushnil(L);
      lua_rawset(L, base + 1);
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, t);
    }
  }
  lua_pushnil(L);
  while (lua_next(L, base + 1)) {      /* removed at home */
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, t);
  }
  if ((uint64_t)lua_tointeger(L, base + 6) > known) take_metatable(L, t, base + 4);
  lua_settop(L, base);
}

static void apply_change (DSession *x, const Version *v, int t, int depth) {
  lua_State *L = x->L;
  int base = lua_gettop(L);
  if (v->body == NULL) return;
  get_body(x, v, t, depth);            /* removed, metatable, ... */
  if (lua_istable(L, base + 1)) {
    lua_Integer i, n = (lua_Integer)lua_rawlen(L, base + 1);
    for (i = 1; i <= n; i++) {
      lua_rawgeti(L, base + 1, i);
      lua_pushnil(L);
      lua_rawset(L, t);
    }
  }
  take_metatable(L, t, base + 2);
  lua_settop(L, base);
}

/* Bring the class's table, on top, to version 'v'. */
static void fill (DSession *x, ClassRec *r, Version *v, int depth) {
  lua_State *L = x->L;
  int t = lua_gettop(L);
  uint64_t known = r->v != NULL ? r->v->no : 0;
  const Version *u, *stop = NULL;      /* applied last to first: those after 'stop' */
  if (known >= v->no) return;
  stack_room(L, LUA_MINSTACK);
  for (;;) {
    const Version *next = NULL;
    for (u = v; u != stop; u = u->prev) {
      if (u->no <= known) break;       /* (not one of the copy's line: a gap is harmless) */
      next = u;
    }
    if (next == NULL) break;
    if (next->prev != NULL) apply_change(x, next, t, depth);
    else if (r->v == NULL) {
      get_body(x, next, t, depth);
      take_metatable(L, t, t + 2);
      lua_settop(L, t);
    }
    else apply_whole(x, r, next, t, depth);
    stop = next;
    if (next == v) break;
  }
}

/* The classes that 'v' names, up to the last one that the copy knew of, are brought up to date
** if the state has them. */
static void refresh_deps (DSession *x, const Version *v, uint64_t known) {
  for (; v != NULL && v->no > known; v = v->prev) {
    uint32_t i;
    for (i = 0; i < v->ndeps; i++) {
      ClassRec *r = classes_rec(x->s, v->deps[i]);
      Version *u;
      if (r == NULL || r->home || r->v == NULL) continue;
      make_room(x);
      u = class_latest(r->c);
      if (u == NULL) continue;
      if (is_fresh(x, r, u->no)) version_unref(u);
      else queue(x, r, u);
    }
  }
}

static void work_off (DSession *x, int depth) {
  lua_State *L = x->L;
  while (x->filled < x->nfills) {
    Fill f = x->fills[x->filled++];    /* (the array may move) */
    stack_room(L, LUA_MINSTACK);
    if (classes_push(L, f.r)) {
      uint64_t known = f.r->v != NULL ? f.r->v->no : 0;
      fill(x, f.r, f.v, depth);
      refresh_deps(x, f.v, known);
      if (known < f.v->no) {
        if (f.r->v != NULL) version_unref(f.r->v);
        f.r->v = f.v;
        obj_ref(&f.v->o);
        f.r->dirty = f.r->home;        /* made anew at home: nothing is known of its shape */
        if (f.r->last_no < f.v->no) f.r->last_no = f.v->no;
      }
    }
    lua_pop(L, 1);
  }
}

/* ---------------------------------------------------------------- __goro */

static void get_make (Dec *d) {
  lua_State *L = d->L;
  uint32_t n = ++d->nobj, from = d->nlater;
  DRun run, *up = d->run;
  if (++d->depth > MAKE_DEPTH) broken(d);
  run.done = from;
  run.nframes = 0;
  d->run = &run;
  stack_room(L, LUA_MINSTACK);
  if (!get_value(d)) run_frames(d);
  run_later(d, from);
  work_off(d->x, d->depth);
  d->run = up;
  d->depth--;
  if (lua_type(L, -1) != LUA_TFUNCTION) broken(d);
  lua_call(L, 0, 1);                   /* it makes the object */
  set_number(d, n);
}

/* ---------------------------------------------------------------- messages */

static int decode (lua_State *L) {     /* DSession *, Msg * -> values */
  DSession *x = lua_touserdata(L, 1);
  const Msg *m = lua_touserdata(L, 2);
  Dec d;
  DRun run;
  uint32_t i, n;
  begin(&d, x, m, &run, 0);
  n = get_u32(&d);
  if (n > (size_t)(d.end - d.p) || n > INT32_MAX) broken(&d);
  stack_room(L, (int)n + LUA_MINSTACK);
  for (i = 0; i < n; i++)
    if (!get_value(&d)) run_frames(&d);
  finish(&d);
  work_off(x, 0);
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
  while (x->sizes != NULL) free_sizes(x->sizes);
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
      push_string(L, m);
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
