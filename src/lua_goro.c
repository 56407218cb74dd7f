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
#include "lua_args.h"
#include "lua_guard.h"
#include "lua_runtime.h"

#define VERSION "0.1.0"

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;      /* hosts open and close one by one */
static const char sentinel_key = 0;

/* Is 'm' some other host's thread? */
static bool thread_is_used (M *m) {
  Host *h;
  bool used = false;
  lock_acquire(&sched.lock);
  for (h = sched.hosts; h != NULL; h = h->next)
    if (h->main->bound == m) used = true;
  lock_release(&sched.lock);
  return used;
}

static int host_gc (lua_State *L) {
  HostState **ud = lua_touserdata(L, 1);
  HostState *hs = *ud;
  Here h;
  if (hs == NULL) return 0;
  h = here(L);
  *ud = NULL;
  pthread_mutex_lock(&life);
  host_end(hs->host, h.m);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  h.m->curg = NULL;
  h.m->interrupted = NULL;
  hoststate_close(hs);
  if (h.m->is_host && !thread_is_used(h.m)) sched_leave(h.m);
  if (load_seq(&sched.nhosts) == 0) sched_stop();
  pthread_mutex_unlock(&life);
  return 0;
}

/* ---------------------------------------------------------------- the table */

/* goro.context and the like: modules of their own, loaded at first use. */
static const char *const parts[] = {
  "context", "errgroup", "net", "trace", "profile", "debug", "singleflight", "socket", NULL
};

static int l_index (lua_State *L) {
  int i;
  if (lua_type(L, 2) == LUA_TSTRING)
    for (i = 0; parts[i] != NULL; i++)
      if (strcmp(lua_tostring(L, 2), parts[i]) == 0) {
        lua_getglobal(L, "require");
        lua_pushfstring(L, "goro.%s", parts[i]);
        lua_call(L, 1, 1);
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 1);
        return 1;
      }
  return 0;
}

static const luaL_Reg *const functions[] = {
  go_functions, chan_functions, select_functions, sync_functions, time_functions,
  runtime_functions, mutex_functions, cond_functions, semaphore_functions, map_functions, NULL
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

/* In a new goroutine's state: as if the script had required goro. */
static void open_in_goroutine (lua_State *L, State *s) {
  runtime_replace(L, s);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  push_module(L);
  lua_setfield(L, -2, "goro");
  lua_pop(L, 1);
}

static bool init (void) {
  int i;
  handle_types[OBJ_CHAN] = &chan_type;
  handle_types[OBJ_WAITGROUP] = &waitgroup_type;
  handle_types[OBJ_MUTEX] = &mutex_type;
  handle_types[OBJ_RWMUTEX] = &rwmutex_type;
  handle_types[OBJ_ONCE] = &once_type;
  handle_types[OBJ_COND] = &cond_type;
  handle_types[OBJ_SEMAPHORE] = &semaphore_type;
  handle_types[OBJ_ATOMIC] = &atomic_type;
  handle_types[OBJ_MAP] = &map_type;
  handle_slots[OBJ_MUTEX] = handle_slots[OBJ_RWMUTEX] = GUARD_SLOT;
  handle_slots[OBJ_SEMAPHORE] = GUARD_SLOT;
  handle_slots[OBJ_MAP] = 1;           /* lua_map.c's own */
  for (i = 0; functions[i] != NULL; i++) argerr_names(functions[i]);
  for (i = 0; i < OBJ_NTYPES; i++)
    if (handle_types[i] != NULL) argerr_names(handle_types[i]->methods);
  state_libs = open_in_goroutine;
  os_pin_library((const void *)&sched);
  os_pin_library((const void *)(uintptr_t)lua_newstate);
  return sched_init(&run_hooks);
}

static void open_host (lua_State *L) {
  HostState **ud = lua_newuserdatauv(L, sizeof *ud, 0);
  HostState *hs;
  *ud = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, host_gc);
  lua_setfield(L, -2, "__gc");
  pthread_mutex_lock(&life);
  hs = init() ? hoststate_open(L) : NULL;
  pthread_mutex_unlock(&life);
  if (hs == NULL) luaL_error(L, "goro: not enough memory");
  *ud = hs;
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &sentinel_key);
  state_register(L, &hs->s);
  runtime_replace(L, &hs->s);
}

static int open_module (lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) == LUA_TNIL) open_host(L);
  lua_settop(L, 0);
  push_module(L);
  return 1;
}

/* goro.core is the function that makes the module: so that the name by which tracebacks know
** goro's functions is goro's. */
__attribute__((visibility("default"))) int luaopen_goro_core (lua_State *L);

int luaopen_goro_core (lua_State *L) {
  luaL_checkversion(L);
  lua_pushcfunction(L, open_module);
  return 1;
}
