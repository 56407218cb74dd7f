/*
** lua_go.c - goro.go, init, yield, id, name, on_panic.  Layer 6.
*/
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lua_args.h"
#include "lua_go.h"
#include "modimage.h"
#include "start.h"
#include "tracename.h"

/* ---------------------------------------------------------------- results */

static int push_shared (lua_State *L) {
  State *s = lua_touserdata(L, 1);
  const Value *v = lua_touserdata(L, 2);
  lua_settop(L, 0);
  value_to_lua_shared(L, s, v);
  return lua_gettop(L);
}

int result_raise (lua_State *L, State *s, Result *r) {
  if (result_is_no_memory(r)) return luaL_error(L, "not enough memory");
  lua_pushcfunction(L, push_shared);
  lua_pushlightuserdata(L, s);
  lua_pushlightuserdata(L, &r->v);
  lua_pcall(L, 2, 1, 0);               /* on failure its error is raised instead */
  result_unref(r);
  return lua_error(L);
}

int result_push (lua_State *L, State *s, const Result *r) {
  int top = lua_gettop(L);
  if (result_is_no_memory(r)) lua_pushliteral(L, "not enough memory");
  else if (r->v.tag != V_NIL) value_to_lua_shared(L, s, &r->v);
  return lua_gettop(L) - top;
}

/* ---------------------------------------------------------------- go */

State *go_prepare (lua_State *L, Here h, int arg) {
  Msg *m = NULL;
  Image *img = NULL, *making = NULL;
  Start *st;
  State *s;
  int e;
  arg_type(L, arg, LUA_TFUNCTION);
  if ((e = sched_ensure()) != 0) {
    check_panics_slow(L, h);
    luaL_error(L, "cannot start a thread: %s", strerror(e));
  }
  heritage_of(L, h.s);
  st = start_capture(L, h.s, arg, lua_gettop(L) - arg, &img);
  if (st == NULL) {
    modimage_begin(h.s);
    m = msg_from_lua(L, h.s, arg, lua_gettop(L) - arg + 1);
    img = modimage_choose(h.s, h.s->heritage, &making);
  }
  h.s->spawned = true;
  s = state_new(hs_of(h.s));
  if (s == NULL) {
    if (st == NULL) msg_free(m);
    else start_free(st);
    image_unref(img);
    if (making != NULL) image_abandon(making);
    image_unref(making);
    if (host_closing(h.g->host)) check_panics_slow(L, h);
    luaL_error(L, host_closing(h.g->host) ? "the main script has ended" : "not enough memory");
  }
  s->imaged = st != NULL;
  if (st != NULL) s->start.image = st;
  else s->start.msg = m;
  s->image = img;
  modimage_appoint(s, making);
  s->heritage = heritage_lend(h.s);
  s->origin = origin_here(L, h.s);
  s->creator = h.g->id;
  s->ninits = load_acq(&hs_of(h.s)->ninits);
  if (trace_on()) tracename_function(L, arg, s->g, st != NULL ? &img->traced : NULL);
  return s;
}

void go_kit (lua_State *L, Here h, int arg, GoKit *k) {
  Msg *m;
  arg_type(L, arg, LUA_TFUNCTION);
  heritage_of(L, h.s);
  m = msg_from_lua(L, h.s, arg, lua_gettop(L) - arg + 1);
  k->start = m;
  k->heritage = heritage_lend(h.s);
  k->origin = origin_here(L, h.s);
  k->creator = h.g->id;
}

void go_kit_free (GoKit *k) {
  if (k->start != NULL) msg_free(k->start);
  heritage_unref(k->heritage);
  origin_unref(k->origin);
}

State *go_from_kit (const GoKit *k, HostState *hs) {
  State *s = state_new(hs);
  if (s == NULL) return NULL;
  s->start.msg = k->start;
  add_rlx(&k->start->refs, 1);
  s->heritage = k->heritage;
  obj_ref(&s->heritage->o);
  s->origin = k->origin;
  if (s->origin != NULL) add_rlx(&s->origin->refs, 1);
  s->creator = k->creator;
  s->ninits = load_acq(&hs->ninits);
  if (trace_on()) tracename_origin(s->g, s->origin);
  return s;
}

int go_prepare_protected (lua_State *L) {
  State **s = lua_touserdata(L, 1);
  *s = go_prepare(L, here(L), 2);
  return 0;
}

void go_abandon (State *s) { state_free(s); }

void go_ends (State *s, Ending *e, uint8_t wants, Obj *o,
              void (*done) (Ending *e, M *m, Result *r), void (*drop) (Ending *e, M *m)) {
  e->done = done;
  e->drop = drop;
  e->obj = obj_ref(o);
  e->wants = wants;
  s->ending = e;
}

void ending_free (Ending *e, M *m) {
  (void)m;
  obj_unref(e->obj);
  free(e);
}

/* goro.go(f, ...): runs f(...) in a new goroutine.  Go's go statement. */
static int l_go (lua_State *L) {
  Here h = here(L);
  State *s;
  sched_check_p(h.m, h.g);
  s = go_prepare(L, h, 1);
  run_start(here(L), s);
  return 0;
}

/* goro.init(f): f() runs in the state of every goroutine started after, before its function. */
static int l_init (lua_State *L) {
  Here h = here(L);
  HostState *hs = hs_of(h.s);
  InitFn *f;
  Msg *m;
  arg_type(L, 1, LUA_TFUNCTION);
  m = msg_from_lua(L, h.s, 1, 1);
  f = malloc(sizeof *f);
  if (f == NULL) {
    msg_free(m);
    return luaL_error(L, "not enough memory");
  }
  f->f = m;
  store_rlx(&f->next, NULL);
  lock_acquire(&hs->host->lock);
  store_rel(hs->inits_end, f);
  hs->inits_end = &f->next;
  add_acqrel(&hs->ninits, 1);
  lock_release(&hs->host->lock);
  return 0;
}

/* goro.yield(): lets others run.  Go's runtime.Gosched. */
static int l_yield (lua_State *L) {
  Here h = here(L);
  check_panics(L, h);
  return yield_k(L, h, 0);
}

static int l_id (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)here(L).g->id);
  return 1;
}

/* goro.name([s]) -> name: for stacks, panics, deadlocks, traces. */
static int l_name (lua_State *L) {
  Here h = here(L);
  if (!lua_isnoneornil(L, 1)) {
    char *name = strdup(arg_string(L, 1)), *old;
    if (name == NULL) return luaL_error(L, "not enough memory");
    lock_acquire(&h.g->host->lock);
    old = h.s->name;
    h.s->name = name;
    lock_release(&h.g->host->lock);
    free(old);
    if (trace_on()) trace_called(h.g, h.s->name);
  }
  if (h.s->name != NULL) lua_pushstring(L, h.s->name);
  else lua_pushnil(L);
  return 1;
}

static int l_on_panic (lua_State *L) {
  static const char *const names[] = { "raise", "report", "exit", NULL };
  Here h = here(L);
  int how = arg_option(L, 1, NULL, names);
  lua_pushstring(L, names[load_rlx(&hs_of(h.s)->on_panic)]);
  store_rlx(&hs_of(h.s)->on_panic, (uint32_t)how);
  return 1;
}

const luaL_Reg go_functions[] = {
  { "go", l_go }, { "init", l_init }, { "yield", l_yield }, { "id", l_id },
  { "name", l_name }, { "on_panic", l_on_panic }, { NULL, NULL }
};
