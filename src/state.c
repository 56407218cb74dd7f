/*
** state.c - making, closing and inheriting Lua states.  Layer 5.
*/
#include <stdlib.h>
#include <string.h>
#include "lualib.h"
#include "debug.h"
#include "marshal.h"
#include "run.h"
#include "state.h"

const char state_key = 0;
_Atomic(uint64_t) memory_limit;
void (*state_libs) (lua_State *L, State *s);

/* ---------------------------------------------------------------- heritage */

/*
** Registry[&heritage_key] = { path, cpath, preload values ..., searchers ... }: what the cached
** heritage was made from, kept alive so that no address is used anew.
*/
static const char heritage_key = 0;

void heritage_unref (Heritage *h) {
  if (h == NULL || sub_acqrel(&h->refs, 1) != 1) return;
  if (h->extra != NULL) msg_free(h->extra);
  free(h->path);
  free(h->cpath);
  free(h);
}

#define STOCK_SEARCHERS 4

/* Push { path, cpath, arg, k, v, k, v ..., searcher ... } of this state, as it is now. */
static void push_snapshot (lua_State *L) {
  int t, n = 3, pkg;
  lua_newtable(L);
  t = lua_gettop(L);
  lua_getglobal(L, "arg");
  lua_rawseti(L, t, 3);
  if (lua_getglobal(L, "package") != LUA_TTABLE) return;
  pkg = lua_gettop(L);
  lua_getfield(L, pkg, "path");
  lua_rawseti(L, t, 1);
  lua_getfield(L, pkg, "cpath");
  lua_rawseti(L, t, 2);
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE) == LUA_TTABLE) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      lua_pushvalue(L, -2);
      lua_rawseti(L, t, ++n);
      lua_rawseti(L, t, ++n);
    }
  }
  if (lua_getfield(L, pkg, "searchers") == LUA_TTABLE) {
    int i, k = (int)lua_rawlen(L, -1);
    for (i = 1; i <= k; i++) {
      lua_rawgeti(L, -1, i);
      lua_rawseti(L, t, ++n);
    }
  }
  lua_settop(L, t);
}

static bool same_snapshot (lua_State *L, int a, int b) {
  lua_Integer i, n = (lua_Integer)lua_rawlen(L, a);
  if (n != (lua_Integer)lua_rawlen(L, b)) return false;
  for (i = 1; i <= n; i++) {
    bool same;
    lua_rawgeti(L, a, i);
    lua_rawgeti(L, b, i);
    same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    if (!same) return false;
  }
  return true;
}

static char *copy_string (lua_State *L, int t, int i, size_t *len) {
  const char *s;
  char *c = NULL;
  lua_rawgeti(L, t, i);
  s = lua_tolstring(L, -1, len);
  if (s != NULL && (c = malloc(*len + 1)) != NULL) memcpy(c, s, *len + 1);
  lua_pop(L, 1);
  return c;
}

/* { preload = {...}, searchers = { [i] = f } , arg = {...} } with what is not stock; or nil. */
static void push_extra (lua_State *L) {
  int e, i, n;
  bool any = false;
  lua_newtable(L);
  e = lua_gettop(L);
  if (lua_getglobal(L, "arg") == LUA_TTABLE) {
    lua_setfield(L, e, "arg");
    any = true;
  }
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE) == LUA_TTABLE) {
    lua_pushnil(L);
    if (lua_next(L, -2)) {
      lua_pop(L, 2);
      lua_pushvalue(L, -1);
      lua_setfield(L, e, "preload");
      any = true;
    }
  }
  if (lua_getglobal(L, "package") == LUA_TTABLE &&
      lua_getfield(L, -1, "searchers") == LUA_TTABLE) {
    int s = lua_gettop(L);
    lua_newtable(L);
    n = (int)lua_rawlen(L, s);
    for (i = 1; i <= n; i++) {
      lua_rawgeti(L, s, i);
      if (lua_iscfunction(L, -1)) {    /* stock ones have upvalues and a place of their own */
        lua_pop(L, 1);
        lua_pushinteger(L, i);
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

Heritage *heritage_of (lua_State *L, State *s) {
  int top = lua_gettop(L);
  Heritage *h = s->heritage;
  luaL_checkstack(L, 12, NULL);
  push_snapshot(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &heritage_key);
  if (h == NULL || !lua_istable(L, -1) || !same_snapshot(L, top + 1, top + 2)) {
    Msg *extra = NULL;
    push_extra(L);
    if (!lua_isnil(L, -1)) extra = msg_from_lua(L, s, lua_gettop(L), 1);
    h = calloc(1, sizeof *h);
    if (h == NULL) {
      if (extra != NULL) msg_free(extra);
      luaL_error(L, "not enough memory");
    }
    store_rlx(&h->refs, 1);
    h->extra = extra;
    h->path = copy_string(L, top + 1, 1, &h->lpath);
    h->cpath = copy_string(L, top + 1, 2, &h->lcpath);
    heritage_unref(s->heritage);
    s->heritage = h;                   /* owned by s now: what follows may raise */
    lua_pushvalue(L, top + 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &heritage_key);
  }
  lua_settop(L, top);
  add_rlx(&h->refs, 1);
  return h;
}

void heritage_apply (lua_State *L, State *s) {
  Heritage *h = s->heritage;
  int top = lua_gettop(L), pkg;
  if (h == NULL) return;
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
  if (h->extra != NULL) {
    int i, n, ex, sn;
    msg_to_lua_shared(L, s, h->extra);
    ex = lua_gettop(L);
    if (lua_getfield(L, ex, "arg") == LUA_TTABLE) lua_setglobal(L, "arg");
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
        if (lua_isinteger(L, -1)) {    /* the stock one of that number, if it has one */
          lua_rawgeti(L, sn + 1, lua_tointeger(L, -1));
          lua_remove(L, -2);
          if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            continue;
          }
        }
        lua_rawseti(L, sn + 2, (lua_Integer)lua_rawlen(L, sn + 2) + 1);
      }
      for (i = 1; i <= n; i++) {       /* the same table: 'require' looks at its own upvalue */
        lua_rawgeti(L, sn + 2, i);
        lua_rawseti(L, sn + 1, i);
      }
    }
  }
  lua_settop(L, top);
}

/* ---------------------------------------------------------------- all states */

void state_register (lua_State *L, State *s) {
  luaL_checkstack(L, 8, NULL);
  lua_pushlightuserdata(L, s);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  lua_newtable(L);                     /* handles by address */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  s->cache = luaL_ref(L, LUA_REGISTRYINDEX);
  handle_register(L);
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
    h.g->bound = h.m;                  /* its C stack is here */
    h.m->interrupted = host_interrupted;
    h.m->interrupted_arg = h.s;
  }
  return h;
}

/* ---------------------------------------------------------------- goroutine states */

State *state_new (HostState *hs) {
  State *s = calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->g = g_new(hs->host);
  if (s->g == NULL) {
    free(s);
    return NULL;
  }
  s->g->state = s;
  s->hs = hs;
  return s;
}

static void *allocate (void *ud, void *p, size_t osize, size_t nsize) {
  return arena_realloc(ud, p, osize, nsize);
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

static int open_plain (lua_State *L) {
  State *s = lua_touserdata(L, 1);
  luaL_openlibs(L);
  state_register(L, s);
  state_libs(L, s);
  return 0;
}

bool state_open (State *s) {
  lua_State *L;
  s->arena = arena_new(8192);
  if (s->arena == NULL) return false;
  L = lua_newstate(allocate, s->arena);
  if (L == NULL) goto fail;
  lua_atpanic(L, panic);
  lua_setwarnf(L, warn_off, L);
  s->registry = lua_topointer(L, LUA_REGISTRYINDEX);
  lua_pushcfunction(L, open_plain);
  lua_pushlightuserdata(L, s);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    lua_close(L);
    goto fail;
  }
  s->L = s->cur = L;
  s->chain = true;
  arena_limit(s->arena, load_rlx(&memory_limit));
  return true;
fail:
  arena_free(s->arena);
  s->arena = NULL;
  return false;
}

void state_close (State *s) {
  M *m = sched_m();
  lua_State *L = s->L;
  if (L == NULL) return;
  m->curl = NULL;                      /* no preemption from here on */
  if (s->cur != NULL && s->cur != L) lua_sethook(s->cur, NULL, 0, 0);
  lua_sethook(L, NULL, 0, 0);
  s->cur = NULL;                       /* whatever blocks now blocks the thread */
  s->chain = false;
  s->ended = true;
  arena_limit(s->arena, 0);            /* what ends must be able to */
  lua_close(L);
  s->L = NULL;
  arena_free(s->arena);
  s->arena = NULL;
}

static void drop_limbo (State *s) {
  while (s->limbo != NULL) {
    Msg *m = s->limbo;
    s->limbo = m->next;
    msg_free(m);
  }
}

void state_free (State *s) {
  G *g = s->g;
  drop_limbo(s);
  if (s->start != NULL) msg_free(s->start);
  heritage_unref(s->heritage);
  free(s->created);
  free(s->traceback);
  {
    char *name;
    lock_acquire(&g->host->lock);
    name = s->name;
    s->name = NULL;
    g->state = NULL;
    lock_release(&g->host->lock);
    free(name);
  }
  free(s);
  g_free(g);
}

/* ---------------------------------------------------------------- hosts */

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
  hs->panics_end = &hs->panics;
  hs->inits_end = &hs->inits;
  s = &hs->s;
  s->g = hs->host->main;
  s->g->state = s;
  s->hs = hs;
  s->is_host = true;
  s->registry = lua_topointer(L, LUA_REGISTRYINDEX);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  s->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  return hs;
}

void hoststate_close (HostState *hs) {
  Host *h = hs->host;
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
  drop_limbo(s);
  heritage_unref(s->heritage);
  free(s->name);
  free(hs->deadlock);
  free(hs);
  host_unref(h);
}
