/*
** encode_class.c - classes on their way out: the versions that a message publishes.  Layer 5.
**
** CLASSES.  A class is met as a table that is known to be one, or as a metatable.  It is put down
** by number; whether it must be published (again) is looked at once a message, the bodies of
** those that must are encoded after the values, and all are published together at the very end,
** when nothing can fail any more.  A table that was taken for data and then turns out to be a
** class (it holds a metamethod, or an object met later has it as metatable) makes the encoding
** start again: now it is known.  Each time is the first for some table, so this ends.
*/
#include <stdlib.h>
#include <string.h>
#include "encode.h"

#define MAX_CHAIN 64                   /* versions that tell changes, before a whole one */
#define MAX_ABOVE 200                  /* classes above classes that are looked at */

static void enter_classes (Enc *e) {
  Session *x = e->x;
  if (x->serial == 0) x->serial = ++classes_enter(e->L, e->s)->serial;
  if (e->serial == 0) e->serial = ++rare(e->s)->classes->serial;
}

/* The table at 'idx' turns out to be a class. */
ClassRec *enc_new_class (Enc *e, int idx) {
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
    if (p == NULL) enc_no_memory(e);
    x->pending = p;
    x->cappending = cap;
  }
  p = &x->pending[x->npending];
  memset(p, 0, sizeof *p);
  p->r = r;
  p->v = version_new(r->c, r->last_no + 1, prev);
  if (p->v == NULL) enc_no_memory(e);
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
  enc_path(e);
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

void enc_check_finaliser (Enc *e, int class) {  /* the object, or class, is on top */
  lua_State *L = e->L;
  lua_pushliteral(L, "__gc");
  if (lua_rawget(L, class) != LUA_TNIL) {
    const char *name;
    lua_pop(L, 1);
    lua_pushliteral(L, "__name");
    lua_rawget(L, class);
    name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "table";
    lua_insert(L, -2);
    enc_cannot_send(e, name, ": its class has '__gc', but no '__goro'");
  }
  lua_pop(L, 1);
}

static Version *version_for (Enc *e, ClassRec *r, int depth);

/* The version of the class above another, on top (popped); 0: it is none. */
static uint64_t look_above (Enc *e, int depth, const char *step) {
  lua_State *L = e->L;
  char *above = e->x->above;
  size_t was = strlen(above);
  Version *v = NULL;
  if (lua_istable(L, -1) && depth < MAX_ABOVE && lua_topointer(L, -1) != e->globals) {
    ClassRec *r = classes_find(L, e->s, -1);
    if (r == NULL || modref_may_know(&rare(e->s)->modref, lua_topointer(L, -1))) {
      enc_look(e);
      if (modref_find(L, &rare(e->s)->modref, -1)) {
        lua_pop(L, 2);
        return 0;
      }
      if (r == NULL) r = enc_new_class(e, lua_gettop(L));
    }
    if (was + strlen(step) < sizeof e->x->above) strcpy(above + was, step);
    v = version_for(e, r, depth + 1);
    above[was] = '\0';
  }
  lua_pop(L, 1);
  return v == NULL ? 0 : v->no;
}

/* Is the class at 't', or was it in this message, as it was published, with nothing special in
** it and nothing above?  The common case. */
bool enc_as_ever (Enc *e, ClassRec *r, int t) {
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
  if (r->session == x->serial || enc_as_ever(e, r, t)) return r->now;
  stack_room(L, LUA_MINSTACK);
  lua_pushliteral(L, "__goro");
  if (lua_rawget(L, t) == LUA_TNIL) {
    lua_pop(L, 1);
    enc_check_finaliser(e, t);
  }
  lua_settop(L, t);
  if (!r->home) {
    if (r->v == NULL) enc_cannot(e, "a class", " that came here in part only");
    r->session = x->serial;
    return r->now = r->v;
  }
  r->session = x->serial;              /* (before we look above: it may be its own __index) */
  r->now = r->v;
  if (lua_getmetatable(L, t)) above[0] = look_above(e, depth, " metatable");
  lua_pushliteral(L, "__index");
  lua_rawget(L, t);
  above[1] = lua_topointer(L, -1) == lua_topointer(L, t) ? 0 : look_above(e, depth, ".__index");
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

uint32_t enc_class_number (Enc *e, ClassRec *r) {           /* of the class on top */
  Version *v = version_for(e, r, 0);
  if (r->encoder == e->serial) return r->index;
  if (e->v == NULL) r->index = put_object(e, &v->o);
  else {
    if (!version_dep(e->v, r->c)) enc_no_memory(e);
    r->index = e->v->ndeps - 1;
  }
  r->encoder = e->serial;
  return r->index;
}

/* The versions that say nothing themselves: receivers look at the classes above. */
void enc_above (Session *x, Pending *p) {
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
    if (r != NULL && !version_dep(p->v, r->c)) enc_no_memory(x->main);
  }
  lua_pop(L, 1);
}

/* The metatable on top, of the object in work: always a class; popped. */
void enc_metatable (Enc *e) {
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
  if (r == NULL || modref_may_know(&rare(e->s)->modref, p)) {
    enc_look(e);
    if (modref_find(L, &rare(e->s)->modref, -1)) {
      e->modref_at = e->m->len;
      enc_modref(e);
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
    if (r == NULL) r = enc_new_class(e, lua_gettop(L));
  }
  e->last_class = enc_class_number(e, r);
  e->last_meta = p;
  put_number(e, T_CLASS, e->last_class);
  lua_pop(L, 1);
}

/* ---------------------------------------------------------------- publishing */

/* The body of a class to be published. */
void enc_body (Session *x, uint32_t k) {
  Enc *e = x->body;
  lua_State *L = x->L;
  Version *v = x->pending[k].v;
  int top = lua_gettop(L), i;
  Frame *f;
  if (e == NULL) {
    e = x->body = malloc(sizeof *e);
    if (e == NULL) enc_no_memory(x->main);
    memset(e, 0, offsetof(Enc, first));
    e->globals = x->main->globals;
  }
  v->body = msg_new();
  if (v->body == NULL) enc_no_memory(x->main);
  enc_begin(e, x, v->body, 5);
  e->v = v;
  stack_room(L, LUA_MINSTACK);
  lua_rawgeti(L, x->jobs, (lua_Integer)k + 1);
  e->job = top + 1;
  enter_classes(e);
  lua_rawgeti(L, e->job, JOB_VALUES);
  put_number(e, T_FIELDS, 0);
  f = enc_frame(e, F_FIELDS, 0);
  f->at = e->m->len - 4;
  lua_pushnil(L);
  enc_run(e);
  for (i = 1; i < 5; i++) {
    lua_rawgeti(L, e->job, JOB_VALUES + i);
    if (i == 2 && lua_istable(L, -1)) enc_metatable(e);
    else enc_value(e, false);
    enc_run(e);
  }
  enc_finish(e);
  lua_settop(L, top);
}

void enc_again (Session *x) {
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
  x->serial = ++rare(x->s)->classes->serial;
}

/* The classes are as their new versions tell: nothing can fail here. */
void enc_commit (Session *x) {
  Version *few[16], **vs = few;
  uint32_t i;
  if (x->npending > 16) vs = malloc(x->npending * sizeof *vs);
  if (vs == NULL) enc_no_memory(x->main);  /* (not yet) */
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

