/*
** lua_fault.c - what specs say to fault.c.  Layer 6.  Empty in release builds.
**
** Not part of goro's module: package.loadlib(core, "luaopen_goro_fault") gives it, and nothing
** in a release build.
*/
#include <dirent.h>
#include "fault.h"
#include "sched.h"
#include "state.h"

#if defined(GORO_FAULTS)

/* The allocator of a host's state is its program's: ours stands before it from then on. */
typedef struct HostAlloc {
  lua_Alloc f;
  void *ud;
} HostAlloc;

static void *allocate (void *ud, void *p, size_t osize, size_t nsize) {
  HostAlloc *a = ud;
  if (fault_lua(p, osize, nsize)) return NULL;
  if (fault_collect(p, osize, 100)) return NULL;
  return a->f(a->ud, p, osize, nsize);
}

static void stand_before (lua_State *L) {
  static HostAlloc hosts[8];           /* those that ever were: their lua_close still needs it */
  static _Atomic(uint32_t) nhosts;
  void *ud;
  lua_Alloc f = lua_getallocf(L, &ud);
  State *s;
  uint32_t i;
  if (f == allocate) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (s != NULL && !s->is_host) return;            /* (NULL: goro is not open yet) */
  i = add_rlx(&nhosts, 1);
  if (i >= sizeof hosts / sizeof *hosts) luaL_error(L, "too many states");
  hosts[i].f = f;
  hosts[i].ud = ud;
  lua_setallocf(L, allocate, &hosts[i]);
}

/* arm(n [, "once"|"all"]): the n-th allocation from now on fails, or all from there; 0: none. */
static int l_arm (lua_State *L) {
  static const char *const names[] = { "once", "all", NULL };
  lua_Integer n = luaL_checkinteger(L, 1);
  int how = luaL_checkoption(L, 2, "once", names);
  stand_before(L);
  fault_arm(how == 0 ? FAULT_ONCE : FAULT_ALL, (uint64_t)n);
  return 0;
}

/* disarm() -> how many failed, how many were asked for. */
static int l_disarm (lua_State *L) {
  uint64_t asked, failed = fault_disarm(&asked);
  lua_pushinteger(L, (lua_Integer)failed);
  lua_pushinteger(L, (lua_Integer)asked);
  return 2;
}

static int tried (lua_State *L, int status, lua_KContext ctx) {
  uint64_t asked, failed = fault_disarm(&asked);
  (void)ctx;
  lua_pushinteger(L, (lua_Integer)failed);
  lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
  lua_rotate(L, 1, 2);
  return lua_gettop(L);
}

/* try(n, mode, f, ...) -> how many failed, ok, the results or the error: arm, pcall, disarm. */
static int l_try (lua_State *L) {
  l_arm(L);
  lua_remove(L, 1);
  lua_remove(L, 1);
  return tried(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, tried), 0);
}

/* blocks() -> how many blocks goro has allocated, hosts' Lua memory and the Ms apart (those are
** kept for ever). */
static int l_blocks (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)(fault_blocks() - load_acq(&sched.nallm)));
  return 1;
}

/* collect(): the main script's state heeds GOROGC, as goroutines' do. */
static int l_collect (lua_State *L) {
  stand_before(L);
  return 0;
}

/* descriptors() -> how many are open. */
static int l_descriptors (lua_State *L) {
  DIR *d = opendir("/proc/self/fd");
  lua_Integer n = -3;                  /* ".", "..", its own */
  if (d == NULL) return luaL_error(L, "no /proc/self/fd");
  while (readdir(d) != NULL) n++;
  closedir(d);
  lua_pushinteger(L, n);
  return 1;
}

__attribute__((visibility("default"))) int luaopen_goro_fault (lua_State *L);

int luaopen_goro_fault (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "arm", l_arm }, { "disarm", l_disarm }, { "try", l_try }, { "blocks", l_blocks },
    { "collect", l_collect },
    { "descriptors", l_descriptors },
    { NULL, NULL }
  };
  luaL_newlib(L, functions);
  return 1;
}

#endif
