/*
** encode.c - the encoder: Lua values to bytes.  Layer 5.
**
** One pass, one buffer, no recursion: open tables and functions are frames, their Lua values
** stand on the Lua stack.  The whole encoding runs in one protected call, so that whatever Lua
** raises, the message and the references in it are released.  No Lua code of the user's runs,
** but __goro.
**
** CLASSES.  A class is met as a table that is known to be one, or as a metatable.  It is put down
** by number; whether it must be published (again) is looked at once a message, the bodies of
** those that must are encoded after the values, and all are published together at the very end,
** when nothing can fail any more.  A table that was taken for data and then turns out to be a
** class (it holds a metamethod, or an object met later has it as metatable) makes the encoding
** start again: now it is known.  Each time is the first for some table, so this ends.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "classes.h"
#include "marshal.h"
#include "lualib.h"

#define MAX_CHAIN 64                   /* versions that tell changes, before a whole one */
#define MAX_ABOVE 200                  /* classes above classes that are looked at */

enum { F_TABLE, F_FIELDS, F_FUNC };

typedef struct Frame {
  int idx;                             /* stack: the object; a table's key comes above it */
  uint8_t kind;
  bool pairs;                          /* table: past the array part */
  bool meta, at_meta;                  /* table: it has a metatable; which is in work */
  bool data;                           /* fields: the second time round */
  int nup, i;                          /* function: upvalues, the one in work */
  uint32_t number;
  size_t at;                           /* table: where its sizes go */
  uint32_t narr, nhash;
} Frame;

typedef struct IdSlot { const void *p; uint32_t n; } IdSlot;

/* What is encoded as one piece: all values, or the function of a MAKE. */
typedef struct Run {
  struct Run *up;                      /* MAKE: the one in which the object stands */
  const void *making;                  /* MAKE: the object */
  uint32_t done;                       /* of those put off here */
  int nframes;
  Frame frames[DEPTH + 1];
} Run;

/* A class that this message publishes. */
typedef struct Pending {
  ClassRec *r;
  Version *v;
  Shape shape;                         /* the one before, to be put back or freed */
  uint64_t above[ABOVE];
  bool job;                            /* it has a body; the job is in the list */
  bool was_dirty;
} Pending;

enum { JOB_TABLE = 1, JOB_KEPT, JOB_PATH, JOB_VALUES };        /* a job's fields; five values */

/* One message, with the bodies of the classes it publishes. */
typedef struct Session {
  lua_State *L;
  State *s;
  struct Enc *main;                    /* the message's encoder ... */
  struct Enc *body;                    /* ... and the bodies', malloc'ed; NULL: none so far */
  int later, made, jobs;               /* stack: tables (nil until used): what was put off;
                                          { [object] = function }; one for each Pending */
  uint64_t serial;                     /* 0: no class so far */
  Pending *pending;
  uint32_t npending, cappending;
  bool looked;                         /* for modules that came without require */
  bool body_data;                      /* a body holds a table that is data */
  bool again;
} Session;

typedef struct Enc {
  lua_State *L;
  State *s;
  Session *x;
  Msg *m;
  Version *v;                          /* a class's body: of this version */
  int job;                             /* stack: its job; 0: the message */
  uint64_t serial;
  size_t *later_at;                    /* what was put off: where their sizes go */
  uint32_t *later_number;
  uint32_t nlater, caplater;
  uint32_t nobj;                       /* tables, functions, made objects numbered */
  IdSlot few[8], *ids;
  uint32_t nids, capids;
  struct { uint32_t f; int i; } *owners;         /* upvalues met, by number */
  uint32_t nowners, capowners;
  const void *globals;
  const void *last_meta;               /* the metatable met last: a class, and fit to cross */
  uint32_t last_class;
  const void *last_modref;             /* the same for one of a module's: where it was put down */
  size_t modref_at, modref_end;
  uint32_t heritage;                   /* number of the reference to the sender's, + 1 */
  bool shared;                         /* some number is referred to */
  Run *run;
  Run first;                           /* (last: it is not cleared) */
} Enc;

/* ---------------------------------------------------------------- bytes */

static _Noreturn void no_memory (Enc *e) {
  luaL_error(e->L, "not enough memory");
  abort();                             /* not reached */
}

static inline char *room (Enc *e, size_t n) {
  if (e->m->cap - e->m->len < n && !msg_reserve(e->m, n)) no_memory(e);
  return e->m->bytes + e->m->len;
}

static inline void put (Enc *e, int tag) { *room(e, 1) = (char)tag; e->m->len++; }

static inline void put_bytes (Enc *e, const void *p, size_t n) {
  memcpy(room(e, n), p, n);
  e->m->len += n;
}

static inline void put_u32 (Enc *e, uint32_t v) { put_bytes(e, &v, sizeof v); }

static inline void put_number (Enc *e, int tag, uint32_t v) {
  char *b = room(e, 5);
  b[0] = (char)tag;
  memcpy(b + 1, &v, 4);
  e->m->len += 5;
}

static inline void put_word (Enc *e, int tag, const void *p) {         /* tag and 8 bytes */
  char *b = room(e, 9);
  b[0] = (char)tag;
  memcpy(b + 1, p, 8);
  e->m->len += 9;
}

static void put_string (Enc *e, const char *s, size_t len) {
  char *b;
  size_t n = len;
  if (len > SIZE_MAX - 16) no_memory(e);
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

static inline uint32_t id_hash (const void *p) {
  return (uint32_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32);
}

static IdSlot *id_slot (IdSlot *t, uint32_t cap, const void *p) {
  uint32_t i = id_hash(p) & (cap - 1);
  while (t[i].p != NULL && t[i].p != p) i = (i + 1) & (cap - 1);
  return &t[i];
}

static inline bool id_find (Enc *e, const void *p, uint32_t *n) {
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
    *n = s->n;
    return s->p != NULL;
  }
}

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
    if (t == NULL) no_memory(e);
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

static uint32_t number (Enc *e, const void *p) {
  uint32_t n = e->nobj++;
  if (n == UINT32_MAX - 1) no_memory(e);
  id_add(e, p, n);
  return n;
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
      luaL_addstring(b, !lua_isboolean(L, key) ? "[?]" :
                        lua_toboolean(L, key) ? "[true]" : "[false]");
  }
}

static void add_word (luaL_Buffer *b, bool *any, const char *text) {
  if (*any) luaL_addchar(b, ' ');
  luaL_addstring(b, text);
}

static void add_steps (Enc *e, luaL_Buffer *b, Run *run, bool *any) {
  lua_State *L = e->L;
  int i;
  if (run->up != NULL) add_steps(e, b, run->up, any);
  for (i = 0; i < run->nframes; i++) {
    Frame *f = &run->frames[i];
    if (f->kind == F_FUNC) {
      const char *n = lua_getupvalue(L, f->idx, f->i);
      if (n != NULL) lua_pop(L, 1);
      add_word(b, any, "upvalue '");
      luaL_addstring(b, n != NULL && n[0] != '\0' ? n : "?");
      luaL_addstring(b, "'");
    }
    else if (f->at_meta) add_word(b, any, "metatable");
    else add_step(L, b, f->idx + 1);
    *any = true;
  }
}

/* Push where in the message we are: .log.handle; nothing: false. */
static bool push_path (Enc *e) {
  lua_State *L = e->L;
  luaL_Buffer b;
  bool any = false;
  stack_room(L, LUA_MINSTACK);
  luaL_buffinit(L, &b);
  if (e->job != 0) {
    lua_rawgeti(L, e->job, JOB_PATH);
    any = lua_rawlen(L, -1) > 0;
    luaL_addvalue(&b);
  }
  else if (e->first.done > 0) {        /* what was put off has lost the way to it */
    luaL_addstring(&b, "...");
    any = true;
  }
  add_steps(e, &b, e->run, &any);
  luaL_pushresult(&b);
  return any;
}

static _Noreturn void cannot (Enc *e, const char *what, const char *why) {
  lua_State *L = e->L;
  if (push_path(e)) luaL_error(L, "cannot send %s (at %s)%s", what, lua_tostring(L, -1), why);
  luaL_error(L, "cannot send %s%s", what, why);
  abort();                             /* not reached */
}

/* Raise: the value on top cannot cross. */
static _Noreturn void cannot_send (Enc *e, const char *what, const char *why) {
  char name[96];
  lua_State *L = e->L;
  int v = lua_gettop(L);
  stack_room(L, LUA_MINSTACK);
  if (what == NULL && luaL_getmetafield(L, v, "__name") == LUA_TSTRING)
    what = lua_tostring(L, -1);
  snprintf(name, sizeof name, "a value of type '%.64s'", what ? what : luaL_typename(L, v));
  lua_settop(L, v);
  cannot(e, name, why);
}

/* ---------------------------------------------------------------- code */

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
  if (lua_dump(L, dump_writer, e, 0) != 0) no_memory(e);
  n = e->m->len - at;
  if (n > UINT32_MAX) no_memory(e);
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
    if (a == NULL) no_memory(e);
    e->later_at = a;
    b = realloc(e->later_number, cap * sizeof *b);
    if (b == NULL) no_memory(e);
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

static Frame *open_frame (Enc *e, int kind, uint32_t n) {      /* the object is on top */
  Frame *f = &e->run->frames[e->run->nframes++];
  stack_room(e->L, LUA_MINSTACK);
  memset(f, 0, sizeof *f);
  f->idx = lua_gettop(e->L);
  f->kind = (uint8_t)kind;
  f->number = n;
  return f;
}

static void open_table (Enc *e, uint32_t n, size_t at, bool meta) {
  Frame *f = open_frame(e, F_TABLE, n);
  f->at = at;
  f->meta = meta;
  lua_pushnil(e->L);                   /* the first key */
}

static void open_function (Enc *e, uint32_t n, int nup) {
  open_frame(e, F_FUNC, n)->nup = nup;
}

static size_t put_sizes (Enc *e, int tag, bool meta) {         /* where they go */
  char *b = room(e, 10);
  b[0] = (char)tag;
  b[1] = meta ? TABLE_HAS_META : 0;
  memset(b + 2, 0, 8);
  e->m->len += 10;
  return e->m->len - 8;
}

static void put_reference (Enc *e, uint32_t n) {
  put_number(e, T_REF, n);
  e->shared = true;
}

static uint32_t put_object (Enc *e, Obj *o) {      /* a reference in the message; its number */
  int64_t n = msg_add_obj(e->m, o);
  if (n < 0) no_memory(e);
  return (uint32_t)n;
}

static void put_modref (Enc *e) {      /* path on top; popped */
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
    put_scalar(e, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Look once a message for modules that came without require. */
static void look (Enc *e) {
  if (e->x->looked) return;
  e->x->looked = true;
  modref_refresh(e->L, e->s, true);
}

/* ---------------------------------------------------------------- classes */

static void enter_classes (Enc *e) {
  Session *x = e->x;
  if (x->serial == 0) x->serial = ++classes_enter(e->L, e->s)->serial;
  if (e->serial == 0) e->serial = ++e->s->classes->serial;
}

/* The table at 'idx' turns out to be a class. */
static ClassRec *new_class (Enc *e, int idx) {
  const void *p = lua_topointer(e->L, idx);
  uint32_t n;
  enter_classes(e);
  if (id_find(e, p, &n) || (e != e->x->main && id_find(e->x->main, p, &n)) || e->x->body_data)
    e->x->again = true;                /* it was, or may have been, put down as data */
  return classes_make(e->L, e->s, idx);
}

static Pending *add_pending (Enc *e, ClassRec *r, Version *prev, const uint64_t *above) {
  Session *x = e->x;
  Pending *p;
  if (x->npending == x->cappending) {
    uint32_t cap = x->cappending ? x->cappending * 2 : 8;
    p = realloc(x->pending, cap * sizeof *p);
    if (p == NULL) no_memory(e);
    x->pending = p;
    x->cappending = cap;
  }
  p = &x->pending[x->npending];
  memset(p, 0, sizeof *p);
  p->r = r;
  p->v = version_new(r->c, r->last_no + 1, prev);
  if (p->v == NULL) no_memory(e);
  r->last_no++;
  p->was_dirty = r->dirty;
  memcpy(p->above, above, sizeof p->above);
  x->npending++;
  return p;
}

/* Publish the class at 't' with what it holds now. */
static Version *publish (Enc *e, ClassRec *r, int t, const uint64_t *above) {
  Session *x = e->x;
  lua_State *L = e->L;
  bool whole = r->v == NULL || r->dirty || r->v->length >= MAX_CHAIN;
  uint32_t at = x->npending;
  Version *v = add_pending(e, r, whole ? NULL : r->v, above)->v;
  int top = lua_gettop(L), i;
  stack_room(L, LUA_MINSTACK);
  if (lua_isnil(L, x->jobs)) {
    lua_newtable(L);
    lua_replace(L, x->jobs);
  }
  lua_createtable(L, JOB_VALUES + 4, 0);
  lua_pushvalue(L, t);
  lua_rawseti(L, top + 1, JOB_TABLE);
  classes_kept(L, t);
  if (lua_isnil(L, -1)) lua_pushboolean(L, 0), lua_replace(L, -2);
  lua_rawseti(L, top + 1, JOB_KEPT);
  push_path(e);
  lua_rawseti(L, top + 1, JOB_PATH);
  lua_pushvalue(L, top + 1);
  lua_rawseti(L, x->jobs, (lua_Integer)at + 1);
  classes_take(L, r, t, v->no, whole, &x->pending[at].shape);
  x->pending[at].job = true;
  for (i = 4; i >= 0; i--) lua_rawseti(L, top + 1, JOB_VALUES + i);
  lua_settop(L, top);
  v->nfields = r->shape.n;
  return v;
}

static void check_finaliser (Enc *e, int class) {  /* the object, or class, is on top */
  lua_State *L = e->L;
  lua_pushliteral(L, "__gc");
  if (lua_rawget(L, class) != LUA_TNIL) {
    const char *name;
    lua_pop(L, 1);
    lua_pushliteral(L, "__name");
    lua_rawget(L, class);
    name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "table";
    lua_insert(L, -2);
    cannot_send(e, name, ": its class has '__gc', but no '__goro'");
  }
  lua_pop(L, 1);
}

static Version *version_for (Enc *e, ClassRec *r, int depth);

/* The version of the class above another, on top (popped); 0: it is none. */
static uint64_t look_above (Enc *e, int depth) {
  lua_State *L = e->L;
  Version *v = NULL;
  if (lua_istable(L, -1) && depth < MAX_ABOVE && lua_topointer(L, -1) != e->globals) {
    ClassRec *r = classes_find(L, e->s, -1);
    if (r == NULL || modref_may_know(&e->s->modref, lua_topointer(L, -1))) {
      look(e);
      if (modref_find(L, &e->s->modref, -1)) {
        lua_pop(L, 2);
        return 0;
      }
      if (r == NULL) r = new_class(e, lua_gettop(L));
    }
    v = version_for(e, r, depth + 1);
  }
  lua_pop(L, 1);
  return v == NULL ? 0 : v->no;
}

/* Is the class at 't', or was it in this message, as it was published, with nothing special in
** it and nothing above?  The common case. */
static bool is_as_ever (Enc *e, ClassRec *r, int t) {
  static const uint64_t nothing[ABOVE];
  if (!r->home || !r->plain || r->v == NULL || r->dirty ||
      memcmp(r->above, nothing, sizeof nothing) != 0) return false;
  enter_classes(e);
  if (r->session == e->x->serial) return r->now == r->v;
  if (!classes_same(e->L, r, t)) return false;
  r->session = e->x->serial;
  r->now = r->v;
  return true;
}

/* The version in which the class on top (which stays) crosses in this message. */
static Version *version_for (Enc *e, ClassRec *r, int depth) {
  Session *x = e->x;
  lua_State *L = e->L;
  int t = lua_gettop(L);
  uint64_t above[ABOVE] = { 0, 0 };
  enter_classes(e);
  if (r->session == x->serial || is_as_ever(e, r, t)) return r->now;
  stack_room(L, LUA_MINSTACK);
  lua_pushliteral(L, "__goro");
  if (lua_rawget(L, t) == LUA_TNIL) {
    lua_pop(L, 1);
    check_finaliser(e, t);
  }
  lua_settop(L, t);
  if (!r->home) {
    if (r->v == NULL) cannot(e, "a class", " that came here in part only");
    r->session = x->serial;
    return r->now = r->v;
  }
  r->session = x->serial;              /* (before we look above: it may be its own __index) */
  r->now = r->v;
  if (lua_getmetatable(L, t)) above[0] = look_above(e, depth);
  lua_pushliteral(L, "__index");
  lua_rawget(L, t);
  above[1] = lua_topointer(L, -1) == lua_topointer(L, t) ? 0 : look_above(e, depth);
  lua_settop(L, t);
  if (r->v == NULL || r->dirty || !classes_same(L, r, t)) r->now = publish(e, r, t, above);
  else if (memcmp(above, r->above, sizeof above) != 0) {       /* its version tells of them */
    if (r->v->length >= MAX_CHAIN) r->now = publish(e, r, t, above);
    else {
      r->now = add_pending(e, r, r->v, above)->v;
      r->now->nfields = r->v->nfields;
    }
  }
  return r->now;
}

static uint32_t class_number (Enc *e, ClassRec *r) {           /* of the class on top */
  Version *v = version_for(e, r, 0);
  if (r->encoder == e->serial) return r->index;
  if (e->v == NULL) r->index = put_object(e, &v->o);
  else {
    if (!version_dep(e->v, r->c)) no_memory(e);
    r->index = e->v->ndeps - 1;
  }
  r->encoder = e->serial;
  return r->index;
}

/* The versions that say nothing themselves: receivers look at the classes above. */
static void name_above (Session *x, Pending *p) {
  lua_State *L = x->L;
  ClassRec *r;
  int i;
  if (!classes_push(L, p->r)) {
    lua_pop(L, 1);
    return;
  }
  for (i = 0; i < ABOVE; i++) {
    if (i == 0 ? !lua_getmetatable(L, -1) : (lua_pushliteral(L, "__index"),
        lua_rawget(L, -2) != LUA_TTABLE)) {
      if (i == 1) lua_pop(L, 1);
      continue;
    }
    r = classes_find(L, x->s, -1);
    lua_pop(L, 1);
    if (r != NULL && !version_dep(p->v, r->c)) no_memory(x->main);
  }
  lua_pop(L, 1);
}

/* The metatable on top, of the object in work: always a class; popped. */
static void put_metatable (Enc *e) {
  lua_State *L = e->L;
  const void *p = lua_topointer(L, -1);
  ClassRec *r;
  if (p == e->last_meta) {
    put_number(e, T_CLASS, e->last_class);
    lua_pop(L, 1);
    return;
  }
  if (p == e->last_modref) {
    size_t n = e->modref_end - e->modref_at;
    (void)room(e, n);
    put_bytes(e, e->m->bytes + e->modref_at, n);
    lua_pop(L, 1);
    return;
  }
  r = classes_find(L, e->s, -1);
  if (r == NULL || modref_may_know(&e->s->modref, p)) {
    look(e);
    if (modref_find(L, &e->s->modref, -1)) {
      e->modref_at = e->m->len;
      put_modref(e);
      e->modref_end = e->m->len;
      e->last_modref = p;
      lua_pop(L, 1);
      return;
    }
    if (p == e->globals) {
      put(e, T_GLOBALS);
      lua_pop(L, 1);
      return;
    }
    if (r == NULL) r = new_class(e, lua_gettop(L));
  }
  e->last_class = class_number(e, r);
  e->last_meta = p;
  put_number(e, T_CLASS, e->last_class);
  lua_pop(L, 1);
}

/* ---------------------------------------------------------------- __goro */

static void run_frames (Enc *e);
static void run_later (Enc *e, uint32_t from);
static void put_value (Enc *e, bool is_key);

/* Is the object of this number still incomplete here? */
static bool in_work (const Enc *e, uint32_t n) {
  const Run *run;
  uint32_t i, done = e->nlater;
  for (run = e->run; run != NULL; run = run->up) {
    int k;
    for (k = 0; k < run->nframes; k++)
      if (run->frames[k].kind == F_FUNC && run->frames[k].number == n) return true;
    if (run->done < done) done = run->done;
  }
  for (i = done; i < e->nlater; i++)
    if (e->later_number[i] == n) return true;
  return false;
}

static _Noreturn void in_itself (Enc *e) {
  cannot(e, "an object", ": it crosses inside the function that its '__goro' returned");
}

/* The object at -2 crosses as the function that its __goro (on top) returns.  Pops both. */
static void put_make (Enc *e) {
  lua_State *L = e->L;
  const void *p = lua_topointer(L, -2);
  int object = lua_gettop(L) - 1, depth = 0;
  uint32_t n, from = e->nlater;
  Run run, *up;
  for (up = e->run; up != NULL; up = up->up) depth++;
  if (depth > MAKE_DEPTH) cannot(e, "an object", ": too many in each other's '__goro'");
  number(e, p);
  stack_room(L, LUA_MINSTACK);
  if (lua_isnil(L, e->x->made)) {
    lua_newtable(L);
    lua_replace(L, e->x->made);
  }
  lua_pushvalue(L, object);            /* (known if we start again) */
  if (lua_rawget(L, e->x->made) == LUA_TNIL) {
    lua_pushvalue(L, object + 1);
    lua_pushvalue(L, object);
    lua_call(L, 1, 1);
    if (lua_type(L, -1) != LUA_TFUNCTION) {
      char why[64];
      snprintf(why, sizeof why, ": '__goro' must return a function (got %s)",
               luaL_typename(L, -1));
      cannot(e, "an object", why);
    }
    lua_pushvalue(L, object);
    lua_pushvalue(L, -2);
    lua_rawset(L, e->x->made);
  }
  put(e, T_MAKE);
  run.up = e->run;
  run.making = p;
  run.done = from;
  run.nframes = 0;
  e->run = &run;
  if (id_find(e, lua_topointer(L, -1), &n) && in_work(e, n)) in_itself(e);
  lua_insert(L, object);
  lua_settop(L, object);
  put_value(e, false);
  run_frames(e);
  run_later(e, from);
  e->run = run.up;
  e->last_meta = e->last_modref = NULL;            /* the script's code may have changed classes */
}

static bool is_being_made (const Enc *e, const void *p) {
  const Run *run;
  for (run = e->run; run != NULL; run = run->up)
    if (run->making == p) return true;
  return false;
}

static void put_met (Enc *e, const void *p, uint32_t n) {      /* on top, met before; popped */
  if (e->run->up != NULL && is_being_made(e, p)) in_itself(e);
  put_reference(e, n);
  lua_pop(e->L, 1);
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
  else if ((r = classes_find(L, e->s, -1)) != NULL && is_as_ever(e, r, object + 1)) {
    if (!modref_may_know(&e->s->modref, p)) {
      e->last_class = class_number(e, r);
      e->last_meta = p;
    }
  }
  else {
    lua_pushliteral(L, "__goro");
    if (lua_rawget(L, -2) != LUA_TNIL) {
      lua_remove(L, -2);
      put_make(e);
      *made = true;
      return true;
    }
    lua_pop(L, 1);
    lua_insert(L, object);             /* the object on top, for the message */
    check_finaliser(e, object);
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
    put_met(e, p, n);
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
  if (modref_may_know(&e->s->modref, p) || (meta && !known)) {
    if (meta) look(e);
    if (modref_find(L, &e->s->modref, -1)) {
      put_modref(e);
      lua_pop(L, 1);
      return;
    }
  }
  if (known && (r = classes_find(L, e->s, -1)) != NULL) {
    put_number(e, T_CLASS, class_number(e, r));
    lua_pop(L, 1);
    return;
  }
  n = number(e, p);
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
    look(e);
    if (!modref_find(L, &e->s->modref, -1))
      cannot_send(e, "C function with upvalues", "");
    put_modref(e);
    lua_pop(L, 1);
    return;
  }
  if (id_find(e, p, &n)) {
    put_reference(e, n);
    lua_pop(L, 1);
    return;
  }
  look(e);
  if (modref_find(L, &e->s->modref, -1)) {
    put_modref(e);
    lua_pop(L, 1);
    return;
  }
  n = number(e, p);
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
    put_modref(e);
    lua_pop(L, 1);
    return;
  }
  p = lua_topointer(L, -1);
  if (id_find(e, p, &n)) {
    put_met(e, p, n);
    return;
  }
  if (luaL_getmetafield(L, -1, "__goro") == LUA_TNIL) cannot_send(e, NULL, "");
  put_make(e);
}

static void put_value (Enc *e, bool is_key) {        /* on top; popped or made a frame */
  if (put_scalar(e, -1)) {
    lua_pop(e->L, 1);
    return;
  }
  switch (lua_type(e->L, -1)) {
    case LUA_TTABLE: put_table(e, is_key); break;
    case LUA_TFUNCTION: put_function(e, is_key); break;
    case LUA_TUSERDATA: put_userdata(e); break;
    default: cannot_send(e, NULL, "");
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
      new_class(e, t);
      e->x->again = true;
    }
    put_string(e, s, len);
  }
  else if (!put_scalar(e, t + 1)) {
    lua_pushvalue(L, t + 1);
    put_value(e, true);                /* keys are never frames */
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
      if (f->nhash == UINT32_MAX) no_memory(e);
      f->nhash++;
      put_key(e, t, true);
    }
    if (put_scalar(e, t + 2)) lua_pop(L, 1);
    else {
      put_value(e, false);
      if (run->nframes != frames) return;
    }
  }
  if (!f->at_meta) {
    memcpy(e->m->bytes + f->at, &f->narr, 4);
    memcpy(e->m->bytes + f->at + 4, &f->nhash, 4);
    if (f->meta) {
      f->at_meta = true;               /* (no key stands above it any more) */
      if (!lua_getmetatable(L, t)) cannot(e, "a table", ": it was changed while it crossed");
      put_metatable(e);
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
      put_value(e, false);
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
    if (o == NULL) no_memory(e);
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
  else put_value(e, false);
}

static void run_frames (Enc *e) {
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
static void run_later (Enc *e, uint32_t from) {
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
    run_frames(e);
  }
  e->nlater = run->done = from;
}

/* ---------------------------------------------------------------- messages */

static void begin (Enc *e, Session *x, Msg *m, uint32_t n) {   /* e's arrays are kept */
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

static void finish (Enc *e) {
  run_later(e, 0);
  if (e->shared) memcpy(e->m->bytes, &e->nobj, 4);
}

/* The body of a class to be published. */
static void put_body (Session *x, uint32_t k) {
  Enc *e = x->body;
  lua_State *L = x->L;
  Version *v = x->pending[k].v;
  int top = lua_gettop(L), i;
  Frame *f;
  if (e == NULL) {
    e = x->body = malloc(sizeof *e);
    if (e == NULL) no_memory(x->main);
    memset(e, 0, offsetof(Enc, first));
    e->globals = x->main->globals;
  }
  v->body = msg_new();
  if (v->body == NULL) no_memory(x->main);
  begin(e, x, v->body, 5);
  e->v = v;
  stack_room(L, LUA_MINSTACK);
  lua_rawgeti(L, x->jobs, (lua_Integer)k + 1);
  e->job = top + 1;
  enter_classes(e);
  lua_rawgeti(L, e->job, JOB_VALUES);
  put_number(e, T_FIELDS, 0);
  f = open_frame(e, F_FIELDS, 0);
  f->at = e->m->len - 4;
  lua_pushnil(L);
  run_frames(e);
  for (i = 1; i < 5; i++) {
    lua_rawgeti(L, e->job, JOB_VALUES + i);
    if (i == 2 && lua_istable(L, -1)) put_metatable(e);
    else put_value(e, false);
    run_frames(e);
  }
  finish(e);
  lua_settop(L, top);
}

static void start_again (Session *x) {
  lua_State *L = x->L;
  Msg *m = x->main->m;
  while (x->npending > 0) {
    Pending *p = &x->pending[--x->npending];
    if (p->job) {
      int top = lua_gettop(L);
      lua_rawgeti(L, x->jobs, (lua_Integer)x->npending + 1);
      lua_rawgeti(L, top + 1, JOB_TABLE);
      lua_rawgeti(L, top + 1, JOB_KEPT);
      classes_back(L, p->r, top + 2, &p->shape);
      p->r->dirty = p->was_dirty;
      lua_settop(L, top);
    }
    version_unref(p->v);
  }
  while (m->nobjs > 0) obj_unref(m->objs[--m->nobjs]);
  m->len = 0;
  x->again = x->body_data = false;
  x->serial = ++x->s->classes->serial;
}

/* The classes are as their new versions tell: nothing can fail here. */
static void commit (Session *x) {
  Version *few[16], **vs = few;
  uint32_t i;
  if (x->npending > 16) vs = malloc(x->npending * sizeof *vs);
  if (vs == NULL) no_memory(x->main);  /* (not yet) */
  for (i = 0; i < x->npending; i++) {
    Pending *p = &x->pending[i];
    ClassRec *r = p->r;
    vs[i] = p->v;
    if (p->job) r->dirty = false;
    memcpy(r->above, p->above, sizeof r->above);
    if (r->v == NULL || r->v->no < p->v->no) {
      if (r->v != NULL) version_unref(r->v);
      r->v = p->v;
      obj_ref(&p->v->o);
    }
  }
  class_publish(vs, x->npending);
  if (vs != few) free(vs);
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
  modref_refresh(L, x->s, false);
  for (;;) {
    begin(e, x, e->m, (uint32_t)n);
    for (i = 0; i < n; i++) {
      if (put_scalar(e, i + 2)) continue;
      lua_pushvalue(L, i + 2);
      put_value(e, false);
      run_frames(e);
    }
    finish(e);
    for (k = 0; k < x->npending; k++) {
      if (x->pending[k].job) put_body(x, k);
      else name_above(x, &x->pending[k]);
    }
    if (!x->again) break;
    start_again(x);
  }
  if (x->npending > 0) commit(x);
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
