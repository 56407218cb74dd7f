/*
** lua_runtime.c - maxprocs and figures; and what goro replaces in the standard libraries.
** Layer 6.
**
** In hosts and goroutines: print (one write), os.exit (ends the goroutines first), require and
** the searchers of C modules (loading is serialised, and what was loaded stays mapped).  In
** goroutines also coroutine.* (costate.c).
*/
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "lualib.h"
#include "check.h"
#include "code.h"
#include "lua_args.h"
#include "lua_load.h"
#include "lua_hook.h"
#include "lua_runtime.h"

/* goro.maxprocs([n]) -> the previous number.  Go's runtime.GOMAXPROCS. */
static int l_maxprocs (lua_State *L) {
  lua_Integer n = 0;
  if (!lua_isnoneornil(L, 1)) {
    n = arg_integer(L, 1);
    arg_check(L, n >= 1, 1, "at least 1 expected");
    arg_check(L, n <= MAX_PROCS, 1, "too large");
  }
  lua_pushinteger(L, sched_maxprocs((int)n));
  return 1;
}

/* goro.max_threads([n]) -> the previous bound on worker threads, 10,000 at first.  Threads that
** there are stay.  Where a goroutine needs another (one is stuck in C, or blocks where Lua cannot
** yield) and none may be made, the rest waits until one is free; when all are blocked for good
** the main script's blocked call raises.  (Go's debug.SetMaxThreads, which ends the process.) */
static int l_max_threads (lua_State *L) {
  lua_Integer n = 0;
  if (!lua_isnoneornil(L, 1)) {
    n = arg_integer(L, 1);
    arg_check(L, n >= 1, 1, "at least 1 expected");
    arg_check(L, n <= MAX_THREADS, 1, "too large");
  }
  lua_pushinteger(L, sched_max_threads((uint32_t)n));
  return 1;
}

static int l_num_cpu (lua_State *L) {
  lua_pushinteger(L, os_num_cpu());
  return 1;
}

/* goro.num_goroutine() -> how many live, the main script counted. */
static int l_num_goroutine (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)load_acq(&here(L).g->host->ng) + 1);
  return 1;
}

/* goro.memory_limit([bytes]) -> the previous limit of each state made after; 0: none. */
static int l_memory_limit (lua_State *L) {
  lua_Integer old = (lua_Integer)load_rlx(&memory_limit);
  if (!lua_isnoneornil(L, 1)) {
    lua_Integer n = arg_integer(L, 1);
    arg_check(L, n >= 0, 1, "negative limit");
    store_rlx(&memory_limit, (uint64_t)n);
  }
  lua_pushinteger(L, old);
  return 1;
}

/* goro.check([on]) -> what it was: warns on stderr, once a place, of what copying hides: a
** goroutine that assigned to a captured variable, a crossing of more than 64 KiB.  GOROCHECK=1 */
static int l_check (lua_State *L) {
  bool old = load_rlx(&check_on) != 0;
  if (!lua_isnoneornil(L, 1)) {
    arg_type(L, 1, LUA_TBOOLEAN);
    store_rlx(&check_on, lua_toboolean(L, 1) ? 1u : 0u);
  }
  lua_pushboolean(L, old);
  return 1;
}

/* GOROMEMLIMIT: bytes, or with K, M or G.  What is no number counts for nothing. */
void runtime_init (void) {
  const char *s = getenv("GOROMEMLIMIT");
  char *end;
  long long n = s != NULL ? strtoll(s, &end, 10) : 0;
  int shift = 0;
  if (n <= 0) return;
  if (*end == 'K' || *end == 'k') shift = 10;
  else if (*end == 'M' || *end == 'm') shift = 20;
  else if (*end == 'G' || *end == 'g') shift = 30;
  if (n <= INT64_MAX >> shift) store_rlx(&memory_limit, (uint64_t)n << shift);
}

const luaL_Reg runtime_functions[] = {
  { "maxprocs", l_maxprocs }, { "max_threads", l_max_threads },
  { "num_cpu", l_num_cpu }, { "num_goroutine", l_num_goroutine },
  { "memory_limit", l_memory_limit }, { "check", l_check }, { NULL, NULL }
};

/* ---------------------------------------------------------------- print */

static int l_print (lua_State *L) {
  int i, n = lua_gettop(L);
  luaL_Buffer b;
  size_t len;
  const char *s;
  stack_room(L, n + LUA_MINSTACK);
  for (i = 1; i <= n; i++) {           /* before the buffer: they may be the script's code */
    luaL_tolstring(L, i, NULL);
    lua_replace(L, i);
  }
  luaL_buffinit(L, &b);
  for (i = 1; i <= n; i++) {
    if (i > 1) luaL_addchar(&b, '\t');
    lua_pushvalue(L, i);
    luaL_addvalue(&b);
  }
  luaL_addchar(&b, '\n');
  luaL_pushresult(&b);
  s = lua_tolstring(L, -1, &len);
  fwrite(s, 1, len, stdout);           /* stdio locks the stream for the whole of it */
  fflush(stdout);
  return 0;
}

/* ---------------------------------------------------------------- os.exit */

static int exit_status (lua_State *L) {
  if (lua_isboolean(L, 1)) return lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
  return (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
}

/* upvalue 1: the stock os.exit */
static int l_exit (lua_State *L) {
  Here h = here(L);
  int status = exit_status(L);
  if (!h.s->is_host) run_exit(h.s, status);
  host_closing(h.g->host) ? (void)0 : host_halt(h.g->host, h.m, h.g);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 0);
  return 0;                            /* not reached */
}

/* ---------------------------------------------------------------- child processes */

/*
** In goroutines os.execute and io.popen start the child with no signal blocked (workers block
** all, and a child inherits that), and leave Ctrl-C alone: libc's system() ignores SIGINT in the
** whole process meanwhile.
*/
static int l_execute (lua_State *L) {
  const char *command = luaL_optstring(L, 1, NULL);
  int pid, status = -1;
  if (command == NULL) {
    lua_pushboolean(L, 1);
    return 1;
  }
  pid = os_shell(command, -1, false);
  if (pid < 0 || os_wait(pid, &status) < 0) return luaL_fileresult(L, 0, NULL);
  errno = 0;                           /* (5.4.4 and later take one of before for the command's) */
  return luaL_execresult(L, status);
}

static int pclose_stream (lua_State *L) {
  luaL_Stream *f = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  int pid, status = -1;
  fclose(f->f);
  lua_getiuservalue(L, 1, 1);
  pid = (int)lua_tointeger(L, -1);
  if (os_wait(pid, &status) < 0) return luaL_fileresult(L, 0, NULL);
  errno = 0;
  return luaL_execresult(L, status);
}

static int l_popen (lua_State *L) {
  const char *command = luaL_checkstring(L, 1), *mode = luaL_optstring(L, 2, "r");
  luaL_Stream *f;
  bool reads;
  int fd[2], pid, saved;
  luaL_argcheck(L, (mode[0] == 'r' || mode[0] == 'w') && mode[1] == '\0', 2, "invalid mode");
  reads = mode[0] == 'r';
  f = lua_newuserdatauv(L, sizeof *f, 1);
  f->closef = NULL;
  f->f = NULL;
  luaL_setmetatable(L, LUA_FILEHANDLE);
  if (!os_pipe(fd)) return luaL_fileresult(L, 0, command);
  pid = os_shell(command, fd[reads ? 1 : 0], reads);
  saved = errno;
  close(fd[reads ? 1 : 0]);
  if (pid >= 0) f->f = fdopen(fd[reads ? 0 : 1], mode);
  if (f->f == NULL) {
    if (pid >= 0) saved = errno;
    close(fd[reads ? 0 : 1]);
    if (pid >= 0) os_wait(pid, &pid);
    errno = saved;
    return luaL_fileresult(L, 0, command);
  }
  lua_pushinteger(L, pid);
  lua_setiuservalue(L, -2, 1);
  f->closef = pclose_stream;
  return 1;
}

/* ---------------------------------------------------------------- modules */

/* One thread at a time loads C modules: many luaopen_ functions touch process-wide state. */
static pthread_mutex_t load_lock;
static pthread_once_t load_once = PTHREAD_ONCE_INIT;

static void load_init (void) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&load_lock, &a);
  pthread_mutexattr_destroy(&a);
}

/* Call the function below the 'n' arguments on top with the lock held. */
static int call_locked (lua_State *L, int n) {
  int base = lua_gettop(L) - n - 1, status;
  pthread_once(&load_once, load_init);
  os_mutex_lock(&load_lock);
  status = lua_pcall(L, n, LUA_MULTRET, 0);
  pthread_mutex_unlock(&load_lock);
  if (status != LUA_OK) return lua_error(L);
  return lua_gettop(L) - base;
}

/* Keep the library mapped; those done already are known by a hash of 64 bits. */
static void pin (const char *file) {
  static _Atomic(uint64_t) done[64];
  uint64_t h = code_hash(file, strlen(file), 1) | 1;
  _Atomic(uint64_t) *slot = &done[h >> 58];
  if (load_rlx(slot) == h) return;
  os_pin_file(file);
  store_rlx(slot, h);
}

/* upvalue 1: the module's luaopen_ function.  Arguments: name, file. */
static int run_loader (lua_State *L) {
  const char *file = lua_tostring(L, 2);
  if (file != NULL) pin(file);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  return call_locked(L, lua_gettop(L) - 1);
}

/* upvalue 1: a stock searcher of C modules. */
static int search_c (lua_State *L) {
  int n;
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  n = call_locked(L, 1);
  if (lua_iscfunction(L, 1)) {
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, run_loader, 1);
    lua_replace(L, 1);
  }
  return n;
}

/* Push the name of the function that opens the C module whose name is at 1. */
static void push_open_name (lua_State *L) {
  static const char ofs[] = "_";
  const char *name = lua_tostring(L, 1);
  if (strchr(name, '.') == NULL) lua_pushfstring(L, "luaopen_%s", name);
  else {
    lua_pushliteral(L, "luaopen_");
    luaL_gsub(L, name, ".", ofs);
    lua_concat(L, 2);
  }
}

/* loadlib is on top: push what opens the C module whose name is at 1, its file at 'file'. */
static bool load_open (lua_State *L, int file) {
  lua_pushvalue(L, file);
  push_open_name(L);
  return call_locked(L, 2) == 1 && lua_iscfunction(L, -1);
}

/* upvalues: the stock searcher of C modules, the package table, its loadlib as it was.  Argument:
** a name.  Probes files as search_lua does (the stock one opens them); what is out of the ordinary
** is told by the stock one. */
static int search_c_file (lua_State *L) {
  const char *name = lua_tostring(L, 1);
  int found = -1;
  if (name != NULL && strchr(name, '-') == NULL)   /* (libc may know the library) */
    found = find_file(L, lua_upvalueindex(2), "cpath", true, true);
  if (found == 0) return 1;
  if (found == 1) {
    int file = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(3));
    if (load_open(L, file)) {
      lua_pushcclosure(L, run_loader, 1);
      lua_pushvalue(L, file);
      return 2;
    }
  }
  lua_settop(L, 1);
  return search_c(L);
}

/* upvalue 1: the stock searcher of package.preload, which is asked first. */
static int search_preload (lua_State *L) {
  modref_stale(here(L).s);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/*
** What a module leaves free in a goroutine's memory when it is loaded a parked one would hold for
** good.  Full userdata are what keeps modules out of images; those that make many (lpeg's re: 293
** patterns, most of them parts of others) leave several times what they keep, so it is collected:
** twice, for userdata with finalisers need that.
*/
#define MANY_USERDATA 32

static void tidy_up (lua_State *L, State *s, uint32_t nuserdata) {
  if (s->nuserdata - nuserdata < MANY_USERDATA || !lua_gc(L, LUA_GCISRUNNING)) return;
  lua_gc(L, LUA_GCCOLLECT);
  lua_gc(L, LUA_GCCOLLECT);
  arena_trim(s->arena);
}

/* Is the module of the name at 1 there? */
static bool is_loaded (lua_State *L) {
  bool is;
  stdlibs_loaded(L);
  lua_pushvalue(L, 1);
  is = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return is;
}

#define PACKAGE lua_upvalueindex(1)    /* l_require's: the package table */

/*
** What 'require' makes for its message, in case that there is no such module, is half a kilobyte
** that a parked goroutine would hold for good, beside what it takes to make it.  So where our own
** searchers are asked first, and one of them finds the module, a goroutine loads it without; all
** else is done as the stock function does it.
*/
static bool is_function (lua_State *L, int t, int i, lua_CFunction f) {
  bool is = lua_rawgeti(L, t, i) == LUA_TFUNCTION && lua_tocfunction(L, -1) == f;
  lua_pop(L, 1);
  return is;
}

/* Push package.searchers; false: it is no table. */
static bool push_searchers (lua_State *L) {
  lua_pushliteral(L, "searchers");
  return lua_istable(L, PACKAGE) && lua_rawget(L, PACKAGE) == LUA_TTABLE;
}

/* Would the stock function ask our searchers for files first?  The name is at 1, alone. */
static bool is_ours_to_find (lua_State *L) {
  bool ours;
  stdlibs_loaded(L);
  ours = lua_getfield(L, 2, lua_tostring(L, 1)) == LUA_TNIL &&       /* (no standard library) */
         lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE) == LUA_TTABLE &&
         !lua_getmetatable(L, 4) && lua_getfield(L, 4, lua_tostring(L, 1)) == LUA_TNIL &&
         push_searchers(L) && is_function(L, 6, 1, search_preload) &&
         is_function(L, 6, 2, search_lua) && is_function(L, 6, 3, search_c_file);
  lua_settop(L, 1);
  return ours;
}

/* Push the luaopen_ function of the C module whose name and file are at 1 and 2. */
static bool push_open (lua_State *L) {
  return push_searchers(L) && lua_rawgeti(L, 3, 3) == LUA_TFUNCTION &&
         lua_getupvalue(L, 4, 3) != NULL && load_open(L, 2);
}

/* On top: what the loader was given, what it returned.  Into package.loaded, and as results. */
static int set_loaded (lua_State *L) {
  const char *name = lua_tostring(L, 1);
  int value = lua_gettop(L);
  stdlibs_loaded(L);
  if (!lua_isnil(L, value)) {
    lua_pushvalue(L, value);
    lua_setfield(L, value + 1, name);
  }
  if (lua_getfield(L, value + 1, name) == LUA_TNIL) {
    lua_pushboolean(L, 1);
    lua_copy(L, -1, -2);
    lua_setfield(L, value + 1, name);
  }
  lua_pushvalue(L, value - 1);
  return 2;
}

/* The name, a string, is at 1, alone; how many results.  0: it is for require_plainly. */
static int require_quietly (lua_State *L) {
  const char *name = lua_tostring(L, 1);
  bool c = false;
  int found;
  if (!is_ours_to_find(L)) return 0;
  modref_stale(here(L).s);
  if ((found = find_file(L, PACKAGE, "path", false, false)) == 0 && strchr(name, '-') == NULL) {
    c = true;
    found = find_file(L, PACKAGE, "cpath", true, false);
  }
  if (found != 1) return 0;
  if (c ? !push_open(L) : load_file(L, lua_tostring(L, 2), NULL) != LUA_OK) return 0;
  lua_copy(L, -1, 3);
  lua_settop(L, 3);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  if (c) {
    pin(lua_tostring(L, 2));
    call_locked(L, 2);
  }
  else lua_call(L, 2, 1);
  lua_settop(L, 3);
  return set_loaded(L);
}

/* Push a loader for the module whose name is at 1, and what it is to be given. */
static void find_loader (lua_State *L) {
  luaL_Buffer tried;
  int i, searchers = lua_gettop(L) + 1;
  if (lua_getfield(L, PACKAGE, "searchers") != LUA_TTABLE)
    luaL_error(L, "'package.searchers' must be a table");
  luaL_buffinit(L, &tried);
  for (i = 1; lua_rawgeti(L, searchers, i) != LUA_TNIL; i++) {
    lua_pushvalue(L, 1);
    lua_call(L, 1, 2);
    if (lua_isfunction(L, -2)) return;
    lua_pop(L, 1);
    if (lua_isstring(L, -1)) {
      lua_pushliteral(L, "\n\t");
      lua_insert(L, -2);
      lua_concat(L, 2);
      luaL_addvalue(&tried);
    }
    else lua_pop(L, 1);
  }
  lua_pop(L, 1);
  luaL_pushresult(&tried);
  luaL_error(L, "module '%s' not found:%s", lua_tostring(L, 1), lua_tostring(L, -1));
}

/* The same for whatever there is.  The stock function does no more, but it would take a C function
** for its caller, and not say where a script asked in vain. */
static int require_plainly (lua_State *L) {
  stdlibs_loaded(L);
  lua_getfield(L, -1, lua_tostring(L, 1));
  if (lua_toboolean(L, -1)) return 1;
  lua_settop(L, 1);
  find_loader(L);
  lua_insert(L, -2);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -3);
  lua_call(L, 2, 1);                   /* (if it raises small chunks stay) */
  return set_loaded(L);
}

static int l_require (lua_State *L) {
  State *s;
  bool goroutine, fine;
  uint32_t nuserdata;
  int n = 0;
  luaL_checkstring(L, 1);
  lua_settop(L, 1);
  s = is_loaded(L) ? NULL : here(L).s; /* where something is to be loaded */
  goroutine = s != NULL && !s->is_host;
  fine = goroutine && arena_fine(s->arena, true);
  nuserdata = goroutine ? s->nuserdata : 0;
  if (goroutine && (n = require_quietly(L)) == 0) lua_settop(L, 1);
  if (n == 0) n = require_plainly(L);
  if (goroutine) {
    arena_fine(s->arena, fine);
    tidy_up(L, s, nuserdata);
  }
  if (s != NULL) modref_stale(s);
  return n;
}

static void replace_searcher (lua_State *L, int t, int i, lua_CFunction f) {
  if (lua_rawgeti(L, t, i) == LUA_TFUNCTION && lua_iscfunction(L, -1)) {
    lua_pushcclosure(L, f, 1);
    lua_rawseti(L, t, i);
  }
  else lua_pop(L, 1);
}

/* The two that look for files: they have the package table, too. */
static void replace_file_searcher (lua_State *L, int package, int t, int i, lua_CFunction f) {
  if (lua_rawgeti(L, t, i) == LUA_TFUNCTION && lua_iscfunction(L, -1)) {
    lua_pushvalue(L, package);
    lua_getfield(L, package, "loadlib");
    lua_pushcclosure(L, f, 3);
    lua_rawseti(L, t, i);
  }
  else lua_pop(L, 1);
}

static void wrap (lua_State *L, int t, const char *name, lua_CFunction f) {
  if (lua_getfield(L, t, name) == LUA_TFUNCTION) {
    lua_pushcclosure(L, f, 1);
    lua_setfield(L, t, name);
  }
  else lua_pop(L, 1);
}

void runtime_opened (lua_State *L, State *s, const char *lib) {
  int top = lua_gettop(L);
  (void)s;
  if (strcmp(lib, LUA_OSLIBNAME) == 0) wrap(L, top, "exit", l_exit);
  else if (strcmp(lib, LUA_LOADLIBNAME) == 0) {
    if (lua_getfield(L, top, "searchers") == LUA_TTABLE) {
      replace_searcher(L, top + 1, 1, search_preload);
      replace_file_searcher(L, top, top + 1, 2, search_lua);
      replace_file_searcher(L, top, top + 1, 3, search_c_file);
      replace_searcher(L, top + 1, 4, search_c);
    }
    wrap(L, top, "searchpath", l_searchpath);
    lua_pushglobaltable(L);
    if (lua_getfield(L, -1, "require") == LUA_TFUNCTION) {
      lua_pushvalue(L, top);
      lua_pushcclosure(L, l_require, 1);
      lua_setfield(L, -3, "require");
    }
  }
  lua_settop(L, top);
}

const StdFunction runtime_replaced[] = {
  { LUA_GNAME, "print", l_print, true },
  { LUA_GNAME, "loadfile", l_loadfile, true },
  { LUA_GNAME, "dofile", l_dofile, true },
  { LUA_OSLIBNAME, "execute", l_execute, false },
  { LUA_IOLIBNAME, "popen", l_popen, false },
  { LUA_DBLIBNAME, "sethook", hook_sethook, false },
  { LUA_DBLIBNAME, "gethook", hook_gethook, false },
  { NULL, NULL, NULL, false }
};
