/*
** lua_goro.c - the module: opened in hosts by require, in goroutines by state_open.  Layer 6.
**
** A HOST'S END.  The registry holds a userdata whose __gc is the end of the host: lua_close
** runs it on the host's own thread.  It ends the host's goroutines, takes the State out of the
** registry (what calls goro later, from another finaliser, gets an error) and, if it was the
** last host, ends the workers.  The shared object stays mapped for ever: a thread that was left
** behind in C comes back to our code.
*/
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "hostlook.h"
#include "image.h"
#include "lua_args.h"
#include "lua_conn.h"
#include "lua_guard.h"
#include "lua_runtime.h"
#include "profile.h"
#include "sigchan.h"
#include "trace.h"

#define VERSION "0.1.0"

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;      /* hosts open and close one by one */
static const char sentinel_key = 0;

static int host_gc (lua_State *L) {
  HostState **ud = lua_touserdata(L, 1);
  HostState *hs = *ud;
  Here h;
  bool last;
  if (hs == NULL || os_forked) return 0;
  h = here(L);
  *ud = NULL;
  os_mutex_lock(&life);
  host_end(hs->host, h.m);
  sigchan_drop(hs->host);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  h.m->curg = NULL;
  hostlook_end(hs);
  h.m->interrupted = NULL;
  lock_acquire(&sched.lock);
  last = h.m->is_host && --h.m->nhosts == 0;       /* no other host's thread */
  lock_release(&sched.lock);
  hoststate_close(hs);
  if (last) sched_leave(h.m);
  if (load_seq(&sched.nhosts) == 0) {
    profile_drop();
    sched_stop();
    trace_finish();
  }
  pthread_mutex_unlock(&life);
  return 0;
}

/* ---------------------------------------------------------------- the table */

/* goro.context and the like: modules of their own, loaded at first use. */
static const char *const parts[] = {
  "context", "net", "trace", "profile", "debug", "singleflight", "socket",
  "command", NULL
};

static int l_index (lua_State *L) {
  int i;
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  if (!push_standard(L, lua_tostring(L, 2))) {
    for (i = 0; parts[i] != NULL && strcmp(lua_tostring(L, 2), parts[i]) != 0; i++) continue;
    if (parts[i] == NULL) return 0;
    lua_getglobal(L, "require");
    lua_pushfstring(L, "goro.%s", parts[i]);
    lua_call(L, 1, 1);
  }
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_rawset(L, 1);
  return 1;
}

static const luaL_Reg *const functions[] = {
  go_functions, task_functions, chan_functions, select_functions, sync_functions, time_functions,
  runtime_functions, load_functions, sight_functions, mutex_functions, cond_functions,
  semaphore_functions, map_functions, poll_functions, open_functions, timer_functions,
  errgroup_functions, signal_functions, NULL
};

static void push_module (lua_State *L) {
  int i;
  lua_newtable(L);
  for (i = 0; functions[i] != NULL; i++) luaL_setfuncs(L, functions[i], 0);
  lua_pushliteral(L, VERSION);
  lua_setfield(L, -2, "version");
  lua_pushliteral(L, "goro " VERSION);
  lua_setfield(L, -2, "_VERSION");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_index);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

static void make_version (lua_State *L, State *s, const char *name) {
  (void)s;
  if (strcmp(name, "version") == 0) lua_pushliteral(L, VERSION);
  else lua_pushliteral(L, "goro " VERSION);
}

/* The module's fields, for the lazy one of goroutines. */
static const LazyEntry *module_entries (void) {
  static LazyEntry entries[LAZY_MAX + 1];
  int i, n = 0;
  const luaL_Reg *r;
  for (i = 0; functions[i] != NULL; i++)
    for (r = functions[i]; r->name != NULL && n < LAZY_MAX - 2; r++, n++) {
      entries[n].name = r->name;
      entries[n].f = r->func;
    }
  entries[n].name = "version";
  entries[n++].make = make_version;
  entries[n].name = "_VERSION";
  entries[n++].make = make_version;
  entries[n].name = NULL;
  return entries;
}

static void make_context (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  push_context_module(L);
}

static void make_net (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  push_net_module(L);
}

static void make_debug (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  push_debug_module(L);
}

static void make_trace (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  push_trace_module(L);
}

static void make_process (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  push_process_module(L);
}

static void make_profiler (lua_State *L, State *s, const char *name) {
  (void)s; (void)name;
  push_profile_part(L);
}

static const LazyEntry c_parts[] = {
  { "goro.context", NULL, make_context }, { "goro.net", NULL, make_net },
  { "goro.debug", NULL, make_debug }, { "goro.os", NULL, make_process },
  { "goro.profiler", NULL, make_profiler },
  { "goro.trace", NULL, make_trace },
  { NULL, NULL, NULL }
};

static bool init (void) {
  static bool done;
  int i;
  if (done) return true;
  handle_types[OBJ_CHAN] = &chan_type;
  handle_types[OBJ_WAITGROUP] = &waitgroup_type;
  handle_types[OBJ_TASK] = &task_type;
  handle_types[OBJ_MUTEX] = &mutex_type;
  handle_types[OBJ_RWMUTEX] = &rwmutex_type;
  handle_types[OBJ_ONCE] = &once_type;
  handle_types[OBJ_COND] = &cond_type;
  handle_types[OBJ_SEMAPHORE] = &semaphore_type;
  handle_types[OBJ_ATOMIC] = &atomic_type;
  handle_types[OBJ_MAP] = &map_type;
  handle_types[OBJ_CONTEXT] = &context_type;
  handle_types[OBJ_TIMER] = &timer_type;
  handle_types[OBJ_ERRGROUP] = &errgroup_type;
  handle_types[OBJ_CONN] = &conn_type;
  handle_types[OBJ_LISTENER] = &listener_type;
  handle_types[OBJ_UDP] = &udp_type;
  handle_slots[OBJ_MUTEX] = handle_slots[OBJ_RWMUTEX] = GUARD_SLOT;
  handle_slots[OBJ_SEMAPHORE] = GUARD_SLOT;
  handle_slots[OBJ_MAP] = 1;           /* lua_map.c's own */
  for (i = 0; functions[i] != NULL; i++) argerr_names(functions[i]);
  argerr_names(context_functions);
  argerr_names(net_functions);
  argerr_names(debug_functions);
  argerr_names(profile_functions);
  argerr_names(trace_functions);
  for (i = 0; i < OBJ_NTYPES; i++)
    if (handle_types[i] != NULL) argerr_names(handle_types[i]->methods);
  stdlibs.functions = runtime_replaced;
  stdlibs.opened = runtime_opened;
  stdlibs.push_goro = push_module;
  stdlibs.goro_index = l_index;
  stdlibs.goro = module_entries();
  stdlibs.parts = c_parts;
  os_pin_library((const void *)&sched);
  os_pin_library((const void *)(uintptr_t)lua_newstate);
  if (!sched_init(&run_hooks) || !stdlibs_init()) return false;
  image_init();
  runtime_init();
  debug_init();
  check_init();
  done = true;
  return true;
}

static void open_host (lua_State *L) {
  HostState **ud = lua_newuserdatauv(L, sizeof *ud, 0);
  HostState *hs;
  *ud = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, host_gc);
  lua_setfield(L, -2, "__gc");
  os_mutex_lock(&life);
  hs = init() ? hoststate_open(L) : NULL;
  pthread_mutex_unlock(&life);
  if (hs == NULL) luaL_error(L, "goro: not enough memory");
  *ud = hs;
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &sentinel_key);
  state_register(L, &hs->s);
  stdlibs_open_host(L, &hs->s);
}

/* The module; or the part of that name. */
static int open_module (lua_State *L) {
  const char *part = luaL_optstring(L, 1, NULL);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) == LUA_TNIL) open_host(L);
  else {
    State *s = lua_touserdata(L, -1);
    if (s->is_host) stdlibs_again_in_host(L, s);
  }
  if (part == NULL) push_module(L);
  else {
    int i;
    for (i = 0; c_parts[i].name != NULL && strcmp(c_parts[i].name, part) != 0; i++) continue;
    if (c_parts[i].name == NULL) return luaL_error(L, "goro has no part '%s'", part);
    c_parts[i].make(L, NULL, part);
  }
  return 1;
}

/* goro.core is the function that makes the module: so that the name by which tracebacks know
** goro's functions is goro's.  With a part's name, such as "goro.context", it makes that one. */
__attribute__((visibility("default"))) int luaopen_goro_core (lua_State *L);

int luaopen_goro_core (lua_State *L) {
  luaL_checkversion(L);
  lua_pushcfunction(L, open_module);
  return 1;
}
