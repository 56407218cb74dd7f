/*
** state.c - making, closing and inheriting Lua states.  Layer 5.
*/
#include <stdlib.h>
#include <string.h>
#include "lualib.h"
#include "classes.h"
#include "debug.h"
#include "fault.h"
#include "image.h"
#include "marshal.h"
#include "modimage.h"
#include "rom.h"
#include "run.h"
#include "start.h"
#include "stdlibs.h"

const char state_key = 0;
_Atomic(uint64_t) memory_limit;

/* ---------------------------------------------------------------- heritage */

/*
** Registry[&heritage_key] = what the cached heritage was made from, in a list: path, cpath, arg,
** preload values ..., searchers ...; kept alive so that no address is used anew.
*/
static const char heritage_key = 0;

static void destroy_heritage (Obj *o) {
  Heritage *h = (Heritage *)o;
  if (h->package != NULL) msg_free(h->package);
  if (h->arg != NULL) msg_free(h->arg);
  free(h->path);
  free(h->cpath);
  free(h);
}

/* The value on top (popped) is number 'i' of the list at 't': put it there, or compare it. */
static bool item (lua_State *L, int t, int i, bool store) {
  bool same = true;
  if (store) lua_rawseti(L, t, i);
  else {
    lua_rawgeti(L, t, i);
    same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
  }
  return same;
}

/* All items.  false: something is not as in the list. */
static bool walk_heritage (lua_State *L, int t, bool store) {
  int top = lua_gettop(L), n = 3, pkg;
  bool same = lua_istable(L, t);
  if (!same) return false;
  lua_getglobal(L, "arg");
  same = item(L, t, 3, store);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, LUA_LOADLIBNAME) == LUA_TTABLE) {
    pkg = lua_gettop(L);
    lua_getfield(L, pkg, "path");
    same = item(L, t, 1, store) && same;
    lua_getfield(L, pkg, "cpath");
    same = item(L, t, 2, store) && same;
    if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE) == LUA_TTABLE) {
      lua_pushnil(L);
      while (lua_next(L, pkg + 1)) {
        same = item(L, t, ++n, store) && same;
        lua_pushvalue(L, -1);
        same = item(L, t, ++n, store) && same;
      }
    }
    lua_settop(L, pkg);
    if (same && lua_getfield(L, pkg, "searchers") == LUA_TTABLE) {
      int i, k = (int)lua_rawlen(L, -1);
      for (i = 1; i <= k; i++) {
        lua_rawgeti(L, pkg + 1, i);
        same = item(L, t, ++n, store) && same;
      }
    }
  }
  lua_settop(L, top);
  return same;
}

static char *copy_string (lua_State *L, int t, int i, size_t *len) {
  const char *s;
  char *c = NULL;
  lua_rawgeti(L, t, i);
  s = lua_tolstring(L, -1, len);
  if (s != NULL) {
    if ((c = malloc(*len + 1)) == NULL) luaL_error(L, "not enough memory");
    memcpy(c, s, *len + 1);
  }
  lua_pop(L, 1);
  return c;
}

/*
** The address of the stock searcher on top, wherever it stands: each has an upvalue, that of a
** goroutine's state (lua_runtime.c) the stock one itself.  0: it is none.
*/
static lua_Integer stock_searcher (lua_State *L) {
  lua_CFunction f = lua_tocfunction(L, -1);
  if (f == NULL || lua_getupvalue(L, -1, 1) == NULL) return 0;
  if (lua_iscfunction(L, -1)) f = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  return (lua_Integer)(intptr_t)f;
}

/* { preload = {...}, searchers = { f or the address of a stock one } }; nil: all is stock. */
static void push_package (lua_State *L) {
  int e, i, n;
  bool any = false;
  lua_newtable(L);
  e = lua_gettop(L);
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE) == LUA_TTABLE) {
    lua_pushnil(L);
    if (lua_next(L, -2)) {
      lua_pop(L, 2);
      lua_pushvalue(L, -1);
      lua_setfield(L, e, "preload");
      any = true;
    }
  }
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, LUA_LOADLIBNAME) == LUA_TTABLE &&
      lua_getfield(L, -1, "searchers") == LUA_TTABLE) {
    int s = lua_gettop(L);
    lua_newtable(L);
    n = (int)lua_rawlen(L, s);
    for (i = 1; i <= n; i++) {
      lua_Integer stock;
      lua_rawgeti(L, s, i);
      if ((stock = stock_searcher(L)) != 0) {
        lua_pop(L, 1);
        lua_pushinteger(L, stock);
      }
      else any = any || lua_isfunction(L, -1);
      lua_rawseti(L, -2, i);
    }
    lua_setfield(L, e, "searchers");
  }
  lua_settop(L, e);
  if (!any) {
    lua_pop(L, 1);
    lua_pushnil(L);
  }
}

static Msg *message_of_top (lua_State *L, State *s) {          /* popped; NULL: nil */
  Msg *m = lua_isnil(L, -1) ? NULL : msg_from_lua(L, s, lua_gettop(L), 1);
  lua_pop(L, 1);
  return m;
}

static int copy_values (lua_State *L) {            /* Heritage *, arg */
  Heritage *h = lua_touserdata(L, 1);
  State *s = here(L).s;
  push_package(L);
  h->package = message_of_top(L, s);
  h->arg = message_of_top(L, s);
  return 0;
}

Heritage *heritage_of (lua_State *L, State *s) {
  int top = lua_gettop(L), status;
  Heritage *h = s->heritage;
  if (h != NULL && s->lazy_libs && !stdlibs_touched_heritage(s))
    return h;                          /* it cannot have changed: as it was inherited */
  stack_room(L, 12);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &heritage_key);
  if (h == NULL || !walk_heritage(L, top + 1, false)) {
    h = calloc(1, sizeof *h);
    if (h == NULL) luaL_error(L, "not enough memory");
    store_rlx(&h->o.refs, 1);
    h->o.type = OBJ_HERITAGE;
    h->o.destroy = destroy_heritage;
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &heritage_key);
    if (s->heritage != NULL) obj_unref_n(&s->heritage->o, 1u + s->spare_heritage);
    s->spare_heritage = 0;
    s->heritage = h;                   /* owned by s: what follows may raise */
    lua_newtable(L);
    lua_replace(L, top + 1);
    walk_heritage(L, top + 1, true);
    s->inheriting = true;              /* its messages do not hold it */
    lua_pushcfunction(L, copy_values);
    lua_pushlightuserdata(L, h);
    lua_rawgeti(L, top + 1, 3);
    status = lua_pcall(L, 2, 0, 0);
    s->inheriting = false;
    if (status != LUA_OK) lua_error(L);
    h->path = copy_string(L, top + 1, 1, &h->lpath);
    h->cpath = copy_string(L, top + 1, 2, &h->lcpath);
    lua_pushvalue(L, top + 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &heritage_key);
  }
  lua_settop(L, top);
  return h;
}

void heritage_arg (lua_State *L, State *s) {
  if (s->heritage != NULL && s->heritage->arg != NULL)
    msg_to_lua_shared(L, s, s->heritage->arg);
  else lua_pushnil(L);
}

/* Replace the address on top by the stock searcher of that address in the list at 't'. */
static bool push_stock (lua_State *L, int t, lua_Integer address) {
  int i, n = (int)lua_rawlen(L, t);
  for (i = 1; i <= n; i++) {
    lua_rawgeti(L, t, i);
    if (stock_searcher(L) == address) {
      lua_replace(L, -2);
      return true;
    }
    lua_pop(L, 1);
  }
  return false;
}

void heritage_package (lua_State *L, State *s) {
  Heritage *h = s->heritage;
  int top = lua_gettop(L), pkg;
  if (h == NULL) return;
  stack_room(L, 12);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, LUA_LOADLIBNAME);
  pkg = lua_gettop(L);
  if (h->path != NULL) {
    lua_pushlstring(L, h->path, h->lpath);
    lua_setfield(L, pkg, "path");
  }
  if (h->cpath != NULL) {
    lua_pushlstring(L, h->cpath, h->lcpath);
    lua_setfield(L, pkg, "cpath");
  }
  if (h->package != NULL) {
    int i, n, ex, sn;
    msg_to_lua_shared(L, s, h->package);
    ex = lua_gettop(L);
    if (lua_getfield(L, ex, "preload") == LUA_TTABLE) {
      lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
      lua_pushnil(L);
      while (lua_next(L, -3)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
      }
    }
    if (lua_getfield(L, ex, "searchers") == LUA_TTABLE) {
      sn = lua_gettop(L);
      n = (int)lua_rawlen(L, sn);
      lua_getfield(L, pkg, "searchers");
      lua_createtable(L, n, 0);
      for (i = 1; i <= n; i++) {
        lua_rawgeti(L, sn, i);
        if (lua_isinteger(L, -1) && !push_stock(L, sn + 1, lua_tointeger(L, -1))) {
          lua_pop(L, 1);
          continue;
        }
        lua_rawseti(L, sn + 2, (lua_Integer)lua_rawlen(L, sn + 2) + 1);
      }
      if (n < (int)lua_rawlen(L, sn + 1)) n = (int)lua_rawlen(L, sn + 1);
      for (i = 1; i <= n; i++) {       /* the same table: 'require' looks at its own upvalue */
        lua_rawgeti(L, sn + 2, i);
        lua_rawseti(L, sn + 1, i);
      }
    }
  }
  lua_settop(L, top);
}

/* ---------------------------------------------------------------- origins */

void origin_unref_n (Origin *o, uint32_t n) {
  if (o != NULL && sub_acqrel(&o->refs, n) == n) free(o);
}

Origin *origin_here (lua_State *L, State *s) {
  lua_Debug ar;
  Rare *r = rare_write(s);
  Origin *o;
  int level;
  if (r == NULL) return NULL;
  o = r->latest;
  ar.currentline = -1;
  for (level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline > 0) break;
  }
  if (ar.currentline <= 0) ar.short_src[0] = '\0';
  if (o == NULL || o->line != ar.currentline || strcmp(o->src, ar.short_src) != 0) {
    o = malloc(sizeof *o);
    if (o == NULL) return NULL;
    store_rlx(&o->refs, 1);
    store_rlx(&o->rich, 0);
    o->line = ar.currentline;
    memcpy(o->src, ar.short_src, sizeof o->src);
    origin_unref_n(r->latest, 1u + s->spare_origin);
    r->latest = o;
    s->spare_origin = 0;
  }
  lend(&o->refs, &s->spare_origin);
  return o;
}

/* ---------------------------------------------------------------- what few need */

const Rare rare_none;

Rare *rare_write (State *s) {
  if (s->rare == NULL) s->rare = calloc(1, sizeof *s->rare);
  return s->rare;
}

static void rare_free (State *s) {
  Rare *r = s->rare;
  if (r == NULL) return;
  start_forget(s);
  classes_close(s);
  free(r->mods);
  free(r->modref.bloom);
  free(r->traceback);
  free(r);
  s->rare = NULL;
}

/* ---------------------------------------------------------------- all states */

void stack_full (lua_State *L) {
  lua_Debug ar;
  bool deep = lua_getstack(L, 2000, &ar) || lua_gettop(L) > LUAI_MAXSTACK / 2;
  luaL_error(L, deep ? "stack overflow" : "not enough memory");
  abort();                             /* not reached */
}

/* As luaL_traceback counts: lua_getstack takes as many steps as it goes deep. */
int stack_depth (lua_State *L) {
  lua_Debug ar;
  int lo = 0, hi = 1;
  while (lua_getstack(L, hi - 1, &ar)) {
    lo = hi;
    hi *= 2;
  }
  while (hi - lo > 1) {
    int mid = lo + (hi - lo) / 2;
    if (lua_getstack(L, mid - 1, &ar)) lo = mid;
    else hi = mid;
  }
  return lo;
}

bool stack_body (lua_State *L, lua_Debug *ar) {
  int level = stack_depth(L);
  while (--level >= 0 && lua_getstack(L, level, ar)) {
    lua_getinfo(L, "S", ar);
    if (ar->what[0] != 'C') return true;
  }
  return false;
}

void state_register (lua_State *L, State *s) {
  lua_pushlightuserdata(L, s);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
}

Here here_slow (lua_State *L) {
  Here h;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  h.s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (h.s == NULL) luaL_error(L, "goro was not required in this state, or is closed");
  h.g = h.s->g;
  h.m = sched_m();
  if (h.m == NULL && (h.m = sched_adopt()) == NULL)
    luaL_error(L, "goro: too many threads, or no memory for one more");
  h.m->curg = h.g;
  if (h.s->is_host) {
    if (load_rlx(&h.g->bound) != h.m) {            /* its C stack is here */
      M *was = load_rlx(&h.g->bound);
      lock_acquire(&sched.lock);
      if (was != NULL) was->nhosts--;
      h.m->nhosts++;
      store_rlx(&h.g->bound, h.m);
      store_rel(&hs_of(h.s)->home, h.m);
      lock_release(&sched.lock);
    }
    h.m->interrupted = host_interrupted;
    h.m->interrupted_arg = h.s;
  }
  return h;
}

/* ---------------------------------------------------------------- goroutine states */

State *state_new (HostState *hs) {
  G *g = g_new(hs->host);
  State *s;
  size_t limit;
  if (g == NULL) return NULL;
  s = g->state;                        /* behind it, all zero */
  s->g = g;
  limit = load_rlx(&memory_limit);
  if (limit != 0) {
    Rare *r = rare_write(s);
    if (r == NULL) {
      state_free(s);
      return NULL;
    }
    r->limit = limit;
  }
  return s;
}

/* Lua tells the kind of a new object in 'osize'. */
void *state_allocate (void *ud, void *p, size_t osize, size_t nsize) {
  State *s = ud;
  if (fault_lua(p, osize, nsize)) return NULL;
  if (s->L != NULL && fault_collect(p, osize, 1)) return NULL;
  if (nsize == 0 && rom_has(p)) return NULL;     /* (it is never resized) */
  goro_check(!rom_has(p));
  if (p == NULL && osize == LUA_TUSERDATA) s->nuserdata++;
  return arena_realloc(s->arena, p, osize, nsize);
}

static int panic (lua_State *L) {
  const char *msg = lua_tostring(L, -1);
  goro_fatal("unprotected error in a goroutine's state: %s", msg ? msg : "?");
}

static void warn_off (void *ud, const char *msg, int tocont);
static void warn_on (void *ud, const char *msg, int tocont);

static bool control (lua_State *L, const char *msg, int tocont) {
  if (tocont || msg[0] != '@') return false;
  if (strcmp(msg, "@off") == 0) lua_setwarnf(L, warn_off, L);
  else if (strcmp(msg, "@on") == 0) lua_setwarnf(L, warn_on, L);
  return true;
}

static void warn_cont (void *ud, const char *msg, int tocont) {
  lua_State *L = ud;
  lua_writestringerror("%s", msg);
  if (tocont) lua_setwarnf(L, warn_cont, L);
  else {
    lua_writestringerror("%s", "\n");
    lua_setwarnf(L, warn_on, L);
  }
}

static void warn_on (void *ud, const char *msg, int tocont) {
  if (control(ud, msg, tocont)) return;
  lua_writestringerror("%s", "Lua warning: ");
  warn_cont(ud, msg, tocont);
}

static void warn_off (void *ud, const char *msg, int tocont) { control(ud, msg, tocont); }

void state_prepare (lua_State *L) {
  lua_atpanic(L, panic);
  lua_setwarnf(L, warn_off, L);
}

static int open_plain (lua_State *L) {
  State *s = lua_touserdata(L, 1);
  state_register(L, s);
  stdlibs_open(L, s);
  return 0;
}

static lua_State *open_without_image (State *s) {
  lua_State *L;
  s->arena = arena_new(8192, false);
  if (s->arena == NULL) return NULL;
  L = lua_newstate(state_allocate, s);
  if (L == NULL) return NULL;
  state_prepare(L);
  s->registry = lua_topointer(L, LUA_REGISTRYINDEX);
  s->must_close = true;
  s->L = L;
  lua_pushcfunction(L, open_plain);
  lua_pushlightuserdata(L, s);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return L;
  lua_close(L);
  return NULL;
}

static ArenaPool *pool_here (void) {
  M *m = sched_m();
  return m != NULL ? m->pool : NULL;
}

/* GOROGC (fault.h): collectors that hardly rest, of both kinds. */
static void no_rest (const State *s) {
#if defined(GORO_FAULTS)
  if (!fault_collects()) return;
  if (s->g->id & 1) lua_gc(s->L, LUA_GCINC, 1, 1000, 1);
  else lua_gc(s->L, LUA_GCGEN, 1, 1);
#else
  (void)s;
#endif
}

bool state_open (State *s) {
  lua_State *L = NULL;
  if (s->image != NULL && s->image->modules) modimage_decide(s);
  if (rare(s)->making != NULL) L = modimage_open(s);
  else if (image_there()) L = image_open(s, pool_here());
  else {
    L = open_without_image(s);
    s->L = NULL;
  }
  if (L == NULL) {
    if (s->arena != NULL) arena_free(s->arena, NULL);
    s->arena = NULL;
    return false;
  }
  s->registry = lua_topointer(L, LUA_REGISTRYINDEX);
  s->L = s->cur = L;
  s->chain = true;
  arena_limit(s->arena, rare(s)->limit);
  no_rest(s);
  return true;
}

/*
** A goroutine that came to its end, in whose state nothing has a finaliser but handles, needs no
** lua_close: its memory is given back as it is.
*/
static bool can_be_dropped (const State *s) {
  return s->ended && !s->must_close && s->nuserdata == s->nhandles;
}

void state_close (State *s) {
  M *m = sched_m();
  lua_State *L = s->L;
  size_t limit = rare(s)->limit;
  if (L == NULL) return;
  m->curl = NULL;                      /* no preemption from here on */
  if (can_be_dropped(s)) handle_release_all(s);
  else {
    if (s->cur != NULL && s->cur != L) lua_sethook(s->cur, NULL, 0, 0);
    lua_sethook(L, NULL, 0, 0);
    s->cur = NULL;                     /* whatever blocks now blocks the thread */
    s->chain = false;
    s->ended = true;
    /* what ends must be able to, and its finalisers must not eat all there is */
    if (limit != 0) arena_limit(s->arena, limit + limit / 4 + 65536);
    /* lua_close does not expect it to have yielded.  (No other: this makes the stack so small that
    ** finalisers need memory, and there may be none.) */
    if (lua_status(L) == LUA_YIELD) lua_resetthread(L);
    lua_close(L);
  }
  s->L = NULL;
  if (rare(s)->making != NULL) modimage_give_up(s);
  if (s->lazy_libs && !s->is_maker) image_close(s, m->pool);
  else arena_free(s->arena, NULL);
  s->arena = NULL;
}

/* What goroutines that it starts have, too, with the references that were still to be lent. */
static void forget_kin (State *s) {
  if (s->heritage != NULL) obj_unref_n(&s->heritage->o, 1u + s->spare_heritage);
  s->heritage = NULL;
  s->spare_heritage = 0;
  if (s->rare == NULL) return;
  origin_unref_n(s->rare->latest, 1u + s->spare_origin);
  s->rare->latest = NULL;
  s->spare_origin = 0;
}

void state_free (State *s) {
  G *g = s->g;
  g_unlink(g);                         /* nobody looks at it from here on */
  if (s->start.any != NULL) {
    if (s->imaged) start_free(s->start.image);
    else msg_free(s->start.msg);
  }
  if (rare(s)->making != NULL) modimage_give_up(s);
  image_unref_n(s->image, 1u + s->spare_image);
  forget_kin(s);
  origin_unref(s->origin);
  rare_free(s);
  free(s->name);
  g_free(g);
}

/* ---------------------------------------------------------------- hosts */

/* The last goroutine of a host that was closed has gone, too: those left in C used this. */
static void hoststate_free (Host *h) {
  HostState *hs = h->state;
  State *s = &hs->s;
  while (hs->panics != NULL) {
    Panic *p = hs->panics;
    hs->panics = p->next;
    value_drop(&p->v);
    free(p);
  }
  for (;;) {
    InitFn *f = load_rlx(&hs->inits);
    if (f == NULL) break;
    store_rlx(&hs->inits, load_rlx(&f->next));
    msg_free(f->f);
    free(f);
  }
  free(s->name);
  free(hs->deadlock);
  free(hs);
}

HostState *hoststate_open (lua_State *L) {
  HostState *hs = calloc(1, sizeof *hs);
  State *s;
  if (hs == NULL) return NULL;
  hs->host = host_new();
  if (hs->host == NULL) {
    free(hs);
    return NULL;
  }
  hs->host->state = hs;
  hs->host->drop = hoststate_free;
  hs->panics_end = &hs->panics;
  hs->inits_end = &hs->inits;
  s = &hs->s;
  s->g = hs->host->main;
  s->g->state = s;
  s->is_host = true;
  s->registry = lua_topointer(L, LUA_REGISTRYINDEX);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  s->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  return hs;
}

void hoststate_close (HostState *hs) {
  State *s = &hs->s;
  handle_disown_all(s);
  forget_kin(s);
  rare_free(s);
  class_sweep();
  host_unref(hs->host);
}
