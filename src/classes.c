/*
** classes.c - what a state knows of classes.  Layer 5.
**
** Registry[&map_key]: table -> ClassRec *, weak keys.  Registry[&table_key]: Class * -> table,
** weak values.  Registry[&keep_key]: table -> what it held when it was published, weak keys with
** values that last as long (an ephemeron): so no address in a Shape is used anew, and a class
** is not kept alive by its methods.
**
** All of it is made when the first class crosses; the records of dropped classes are swept when
** their number has doubled.
*/
#include <stdlib.h>
#include <string.h>
#include "lauxlib.h"
#include "classes.h"

#define FIRST_LIMIT 32

static const char map_key = 0, table_key = 0, keep_key = 0;
static _Atomic(uint64_t) last_number;

/* ---------------------------------------------------------------- records */

static Classes *classes_of (lua_State *L, State *s) {
  Rare *r = rare_write(s);
  if (r == NULL) luaL_error(L, "not enough memory");
  if (r->classes == NULL) {
    Classes *cs = calloc(1, sizeof *cs);
    if (cs == NULL) luaL_error(L, "not enough memory");
    cs->number = add_rlx(&last_number, 1) + 1;
    cs->limit = FIRST_LIMIT;
    r->classes = cs;
  }
  return r->classes;
}

static void bloom_add (Classes *cs, const void *p) {
  uint32_t h = classes_hash(p);
  cs->bloom[h >> 6] |= UINT64_C(1) << (h & 63);
}

static ClassRec **slot (Classes *cs, const Class *c) {
  uint32_t i = (uint32_t)(((uintptr_t)c >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32);
  for (i &= cs->cap - 1; cs->slots[i] != NULL && cs->slots[i]->c != c; i = (i + 1) & (cs->cap - 1))
    continue;
  return &cs->slots[i];
}

static bool make_slots (Classes *cs, uint32_t n) {             /* for n records */
  uint32_t cap = 16;
  ClassRec *r, **p;
  while (cap < n * 2) cap *= 2;
  if ((p = calloc(cap, sizeof *p)) == NULL) return false;
  free(cs->slots);
  cs->slots = p;
  cs->cap = cap;
  for (r = cs->all; r != NULL; r = r->next) *slot(cs, r->c) = r;
  return true;
}

static void free_rec (ClassRec *r) {
  if (r->v != NULL) version_unref(r->v);
  class_release(r->c);
  free(r->shape.fields);
  free(r);
}

void classes_close (State *s) {
  Classes *cs = rare(s)->classes;
  if (cs == NULL) return;
  s->rare->classes = NULL;
  while (cs->all != NULL) {
    ClassRec *r = cs->all;
    cs->all = r->next;
    free_rec(r);
  }
  free(cs->slots);
  free(cs);
}

/* Free the records whose tables are gone. */
static void sweep (lua_State *L, Classes *cs) {
  ClassRec *r, **pr;
  uint32_t n = 0;
  for (r = cs->all; r != NULL; r = r->next) r->live = false;
  memset(cs->bloom, 0, sizeof cs->bloom);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &map_key) == LUA_TTABLE) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      r = lua_touserdata(L, -1);
      lua_pop(L, 1);
      if (r == NULL) continue;         /* a binding that failed */
      r->live = true;
      bloom_add(cs, lua_topointer(L, -1));
    }
  }
  lua_pop(L, 1);
  memset(cs->slots, 0, cs->cap * sizeof *cs->slots);
  for (pr = &cs->all; (r = *pr) != NULL; ) {
    if (r->live) {
      *slot(cs, r->c) = r;
      pr = &r->next;
      n++;
    }
    else {
      *pr = r->next;
      free_rec(r);
    }
  }
  cs->n = n;
  cs->limit = n < FIRST_LIMIT / 2 ? FIRST_LIMIT : n * 2;
}

Classes *classes_enter (lua_State *L, State *s) {
  Classes *cs = classes_of(L, s);
  if (cs->busy == 0 && cs->n >= cs->limit) sweep(L, cs);
  cs->busy++;
  return cs;
}

void classes_leave (State *s) {
  if (rare(s)->classes != NULL) rare(s)->classes->busy--;
}

/* A record for 'c', one of whose holders it becomes. */
static ClassRec *add_rec (Classes *cs, Class *c) {
  ClassRec *r;
  if ((cs->n + 1) * 2 > cs->cap && !make_slots(cs, cs->n + 1)) return NULL;
  r = calloc(1, sizeof *r);
  if (r == NULL) return NULL;
  r->c = c;
  r->next = cs->all;
  cs->all = r;
  cs->n++;
  *slot(cs, c) = r;
  return r;
}

ClassRec *classes_rec (State *s, const Class *c) {
  Classes *cs = rare(s)->classes;
  return cs == NULL || cs->cap == 0 ? NULL : *slot(cs, c);
}

static void push_weak (lua_State *L, const char *key, const char *mode) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* Both ways or neither: a table known one way only would cross as a new class.  So the second
** entry has its room, and tells nothing, before the first is made. */
void classes_bind (lua_State *L, State *s, ClassRec *r, int idx) {
  idx = lua_absindex(L, idx);
  push_weak(L, &map_key, "k");
  lua_pushvalue(L, idx);
  lua_pushboolean(L, 0);
  lua_rawset(L, -3);
  push_weak(L, &table_key, "v");
  lua_pushvalue(L, idx);
  lua_rawsetp(L, -2, r->c);
  lua_pop(L, 1);
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, r);
  lua_rawset(L, -3);                   /* cannot fail */
  lua_pop(L, 1);
  bloom_add(rare(s)->classes, lua_topointer(L, idx));
}

bool classes_push (lua_State *L, const ClassRec *r) {
  push_weak(L, &table_key, "v");
  lua_rawgetp(L, -1, r->c);
  lua_remove(L, -2);
  return !lua_isnil(L, -1);
}

ClassRec *classes_find (lua_State *L, State *s, int idx) {
  ClassRec *r;
  if (!classes_may_know(s, lua_topointer(L, idx))) return NULL;
  idx = lua_absindex(L, idx);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &map_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    return NULL;
  }
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  r = lua_touserdata(L, -1);
  lua_pop(L, 2);
  return r;
}

ClassRec *classes_make (lua_State *L, State *s, int idx) {
  Classes *cs = classes_of(L, s);
  Class *c;
  ClassRec *r;
  idx = lua_absindex(L, idx);
  stack_room(L, 8);
  if ((c = class_new(cs->number)) == NULL) luaL_error(L, "not enough memory");
  r = add_rec(cs, c);
  if (r == NULL) {
    class_release(c);
    luaL_error(L, "not enough memory");
  }
  r->home = true;
  classes_bind(L, s, r, idx);
  return r;
}

ClassRec *classes_know (lua_State *L, State *s, Class *c) {
  Classes *cs = classes_of(L, s);
  ClassRec *r = classes_rec(s, c);
  if (r != NULL) return r;
  stack_room(L, 8);
  r = add_rec(cs, c);
  if (r == NULL) luaL_error(L, "not enough memory");
  add_rlx(&c->holders, 1);
  r->home = c->home == cs->number;
  return r;
}

/* ---------------------------------------------------------------- what is a class */

/* Is 'name' (without its underscores) that of a metamethod? */
static bool is_event (const char *name) {
  static const char *const names[] = {
    "index", "newindex", "call", "tostring", "eq", "lt", "le", "len", "concat", "unm", "add",
    "sub", "mul", "div", "mod", "pow", "idiv", "band", "bor", "bxor", "bnot", "shl", "shr",
    "close", "gc", "pairs", "goro", NULL
  };
  int i;
  for (i = 0; names[i] != NULL; i++)
    if (strcmp(name, names[i]) == 0) return true;
  return false;
}

/* t[name], raw, of the table at 't': is it there? */
static bool has (lua_State *L, int t, const char *name) {
  bool there;
  lua_pushstring(L, name);
  there = lua_rawget(L, t) != LUA_TNIL;
  lua_pop(L, 1);
  return there;
}

bool classes_telling (lua_State *L, State *s, int t, int k, int v) {
  const char *name = lua_tostring(L, k);
  bool class = false;
  if (name[0] != '_' || name[1] != '_') return false;
  if (strcmp(name, "__index") == 0) return true;
  if (lua_type(L, v) == LUA_TFUNCTION) return is_event(name + 2);
  if (lua_type(L, v) == LUA_TTABLE && lua_getmetatable(L, t)) {
    class = !lua_rawequal(L, -1, v) && has(L, lua_gettop(L), "__call") &&
            (has(L, v, "__index") || classes_find(L, s, v) != NULL);
    lua_pop(L, 1);
  }
  return class;
}

/* ---------------------------------------------------------------- shapes */

static inline uint64_t bits (lua_State *L, int idx, uint8_t *type) {
  int t = lua_type(L, idx);
  *type = (uint8_t)t;
  if (t == LUA_TNUMBER) {
    uint64_t u;
    if (lua_isinteger(L, idx)) return (uint64_t)lua_tointeger(L, idx);
    else {
      lua_Number n = lua_tonumber(L, idx);
      memcpy(&u, &n, sizeof u);
      *type |= 64;
      return u;
    }
  }
  if (t == LUA_TBOOLEAN) return (uint64_t)lua_toboolean(L, idx);
  return (uint64_t)(uintptr_t)lua_topointer(L, idx);
}

/* Most fields are named functions: an address each, and no look at their types.  (No object's
** address is that of another thing in the same field: what was there is kept.) */
static inline bool holds (lua_State *L, const Field *f) {
  const void *k = lua_topointer(L, -2), *v = lua_topointer(L, -1);
  uint8_t type;
  if (k != NULL ? f->key != (uint64_t)(uintptr_t)k
                : f->key != bits(L, -2, &type) || f->ktype != type) return false;
  return v != NULL ? f->value == (uint64_t)(uintptr_t)v
                   : f->value == bits(L, -1, &type) && f->vtype == type;
}

static const void *metatable_of (lua_State *L, int t) {
  const void *p = NULL;
  if (lua_getmetatable(L, t)) {
    p = lua_topointer(L, -1);
    lua_pop(L, 1);
  }
  return p;
}

bool classes_same (lua_State *L, const ClassRec *r, int t) {
  uint32_t i = 0;
  if (metatable_of(L, t) != r->shape.meta) return false;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    if (i == r->shape.n || !holds(L, &r->shape.fields[i])) {
      lua_pop(L, 2);
      return false;
    }
    i++;
    lua_pop(L, 1);
  }
  return i == r->shape.n;
}

void classes_kept (lua_State *L, int t) {
  push_weak(L, &keep_key, "k");
  lua_pushvalue(L, t);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

void classes_back (lua_State *L, ClassRec *r, int t, Shape *old) {
  push_weak(L, &keep_key, "k");
  lua_pushvalue(L, t);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 2);
  free(r->shape.fields);
  r->shape = *old;
  old->fields = NULL;
}

static uint32_t count_fields (lua_State *L, int t) {
  uint32_t n = 0;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    n++;
    lua_pop(L, 1);
  }
  return n;
}

/* Push { [key] = number of its field } of the shape that was, from the list at 'kept'. */
static void push_index (lua_State *L, const ClassRec *r, int kept) {
  uint32_t i;
  lua_createtable(L, 0, (int)r->shape.n);
  for (i = 0; i < r->shape.n; i++) {
    lua_rawgeti(L, kept, 2 * (lua_Integer)i + 1);
    lua_pushinteger(L, (lua_Integer)i);
    lua_rawset(L, -3);
  }
}

static void push_removed (lua_State *L, int index) { /* the keys left in 'index', or nil */
  lua_Integer n = 0;
  lua_pushnil(L);
  if (!lua_next(L, index)) {
    lua_pushnil(L);
    return;
  }
  lua_pop(L, 2);
  lua_newtable(L);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, ++n);
  }
}

/* Is the key that of a field which objects must be asked for? */
static bool is_special (lua_State *L, int k) {
  const char *name;
  if (lua_type(L, k) != LUA_TSTRING) return false;
  name = lua_tostring(L, k);
  return strcmp(name, "__goro") == 0 || strcmp(name, "__gc") == 0;
}

void classes_take (lua_State *L, ClassRec *r, int t, uint64_t no, bool whole, Shape *fresh) {
  int top = lua_gettop(L), kept = top + 1, list = top + 2, index = 0, set = 0;
  bool known = r->v != NULL && !r->dirty;          /* the old shape tells something */
  uint32_t i = 0, n = count_fields(L, t);
  stack_room(L, 16);
  r->plain = true;
  fresh->fields = malloc((n ? n : 1) * sizeof *fresh->fields);
  if (fresh->fields == NULL) luaL_error(L, "not enough memory");
  classes_kept(L, t);
  lua_createtable(L, n < INT32_MAX / 2 ? (int)n * 2 : 0, 0);
  if (known) {
    push_index(L, r, kept);
    index = lua_gettop(L);
    lua_newtable(L);                   /* the fields set; of a whole one { key, version ... } */
    set = lua_gettop(L);
  }
  lua_pushnil(L);
  while (lua_next(L, t)) {
    Field *f = &fresh->fields[i];
    if (i == n) break;                 /* not reached: nobody else touches the table */
    f->key = bits(L, -2, &f->ktype);
    f->value = bits(L, -1, &f->vtype);
    f->stamp = no;
    if (is_special(L, -2)) r->plain = false;
    if (known) {
      lua_pushvalue(L, -2);
      if (lua_rawget(L, index) == LUA_TNUMBER) {
        const Field *old = &r->shape.fields[lua_tointeger(L, -1)];
        if (old->value == f->value && old->vtype == f->vtype) f->stamp = old->stamp;
        lua_pushvalue(L, -3);
        lua_pushnil(L);
        lua_rawset(L, index);
      }
      lua_pop(L, 1);
      if (whole || f->stamp == no) {
        lua_pushvalue(L, -2);
        if (whole) {
          lua_rawseti(L, set, 2 * (lua_Integer)i + 1);
          lua_pushinteger(L, (lua_Integer)f->stamp);
          lua_rawseti(L, set, 2 * (lua_Integer)i + 2);
        }
        else {
          lua_pushvalue(L, -2);
          lua_rawset(L, set);
        }
      }
    }
    i++;
    lua_pushvalue(L, -2);
    lua_rawseti(L, list, 2 * (lua_Integer)i - 1);
    lua_rawseti(L, list, 2 * (lua_Integer)i);
  }
  fresh->n = i;
  fresh->meta = metatable_of(L, t);
  fresh->meta_stamp = known && fresh->meta == r->shape.meta ? r->shape.meta_stamp : no;
  if (lua_getmetatable(L, t)) lua_rawseti(L, list, 2 * (lua_Integer)i + 1);
  push_weak(L, &keep_key, "k");
  lua_pushvalue(L, t);
  lua_pushvalue(L, list);
  r->dirty = true;
  lua_rawset(L, -3);
  lua_pop(L, 1);
  {
    Shape old = r->shape;
    r->shape = *fresh;
    *fresh = old;
  }
  lua_pushvalue(L, whole ? t : set);
  if (known && !whole) push_removed(L, index);
  else lua_pushnil(L);
  if (!whole && r->shape.meta_stamp != no) lua_pushnil(L);
  else if (!lua_getmetatable(L, t)) lua_pushboolean(L, 0);
  if (known && whole) lua_pushvalue(L, set);
  else lua_pushnil(L);
  lua_pushinteger(L, (lua_Integer)r->shape.meta_stamp);
  lua_rotate(L, top + 1, 5);
  lua_settop(L, top + 5);
}
