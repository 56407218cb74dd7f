/*
** unmarshal_class.c - classes on their way in: a state's copies, and what changed in them.
** Layer 5.
**
** CLASSES.  A class that is met for the first time, or in a newer version than the state's copy,
** goes into the session's queue; its table, empty at first, can be used at once as a metatable.
** The queue is worked off when the message's values are complete, and before a function makes an
** object (which may call methods).  If that fails, the copies in the queue are filled when they
** are met next.
*/
#include <stdlib.h>
#include "unmarshal.h"

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
    if (p == NULL) dec_no_memory(x->L);
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
void dec_push_class (Dec *d, Class *c, Version *v) {
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
  if (v == NULL) dec_broken(d);
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

/* ---------------------------------------------------------------- bodies */

/* The five values of the body of 'v'; the fields into the table at 't'.  The other four are
** left on the stack. */
static void get_body (DSession *x, const Version *v, int t, int depth) {
  lua_State *L = x->L;
  Dec d;
  DRun run;
  DFrame *f;
  int i, base = lua_gettop(L);
  dec_begin(&d, x, v->body, &run, depth);
  d.v = v;
  if (get_u32(&d) != 5 || get(&d) != T_FIELDS) dec_broken(&d);
  lua_pushvalue(L, t);
  f = dec_frame(&d, F_FIELDS);
  f->nhash = get_u32(&d);
  dec_run(&d);
  lua_pop(L, 1);
  for (i = 0; i < 4; i++)
    if (!dec_value(&d)) dec_run(&d);
  dec_finish(&d);
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

void dec_work_off (DSession *x, int depth) {
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

