/*
** host.c - a C program with Lua states of its own that require goro.
**
**   host one SCRIPT [ARG ...]   one state runs the script and is closed
**   host plain                  states that load goro and do nothing with it
**   host series N               N states, one after another, each with goroutines at its end
**   host pair                   two states at once in one thread, closed in either order
**   host panics                 of two states, a panic goes to the one it belongs to
**   host deadlocks              of two states, a deadlock goes to the one it belongs to
**   host signals                two states hear of one signal, and the second after the first's end
**   host threads T N            T threads, each with N states one after another
**   host moved                  a state opened by one thread, used and closed by another
**   host coroutine              a state that runs the script inside a coroutine
**   host trace PATH             a trace of two states, begun by one that is closed before the end
**
** Exit status: 0 when all was as it should be, else 1 and a line on stderr for what was not.
** Every state has an allocator that counts: after lua_close it must hold nothing.  When the
** last state is closed the process must be back to the threads it had before.
*/
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lua.h"
#include "lauxlib.h"
#include "lualib.h"

typedef struct Host {
  lua_State *L;
  size_t bytes;                    /* held by this state's allocator */
} Host;

static const char *const builtin =
  "local goro = require('goro')\n"
  "local round = ...\n"
  "assert(goro.id() == 1)\n"
  "local never, results = goro.chan(), goro.chan(8)\n"
  "for i = 1, 50 do\n"
  "  goro.go(function() never:recv() end)\n"
  "  goro.go(function() goro.sleep(1000) end)\n"
  "end\n"
  "if round % 10 == 0 then goro.go(function() while true do end end) end\n"
  "local sum = 0\n"
  "for i = 1, 20 do goro.go(function() results:send(i * i) end) end\n"
  "for i = 1, 20 do sum = sum + results:recv() end\n"
  "assert(sum == 2870)\n"
  "function again(n)\n"
  "  local c = goro.chan()\n"
  "  goro.go(function() c:send(n + 1) end)\n"
  "  return (c:recv())\n"
  "end\n"
  "return sum\n";

static void fail (const char *what, const char *detail) {
  fprintf(stderr, "host: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
  exit(1);
}

static void *count_alloc (void *ud, void *ptr, size_t osize, size_t nsize) {
  Host *h = ud;
  if (ptr == NULL) osize = 0;
  if (nsize == 0) {
    free(ptr);
    h->bytes -= osize;
    return NULL;
  }
  ptr = realloc(ptr, nsize);
  if (ptr != NULL) h->bytes += nsize - osize;
  return ptr;
}

static int on_panic (lua_State *L) {
  fail("error outside a protected call", lua_tostring(L, -1));
  return 0;
}

static void host_open (Host *h) {
  h->bytes = 0;
  h->L = lua_newstate(count_alloc, h);
  if (h->L == NULL) fail("no memory for a state", NULL);
  lua_atpanic(h->L, on_panic);
  luaL_openlibs(h->L);
}

static void host_close (Host *h) {
  lua_close(h->L);
  h->L = NULL;
  if (h->bytes != 0) fail("lua_close left memory of the state behind", NULL);
}

static int traceback (lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

/* Call the function below 'n' arguments; leaves 'results' values. */
static void call (lua_State *L, int n, int results) {
  int base = lua_gettop(L) - n;
  lua_pushcfunction(L, traceback);
  lua_insert(L, base);
  if (lua_pcall(L, n, results, base) != LUA_OK) fail("error", lua_tostring(L, -1));
  lua_remove(L, base);
}

/* Run a source text with one integer; it must return 'want'. */
static void run (lua_State *L, const char *source, int arg, lua_Integer want) {
  if (luaL_loadbuffer(L, source, strlen(source), "=host") != LUA_OK)
    fail("cannot load", lua_tostring(L, -1));
  lua_pushinteger(L, arg);
  call(L, 1, 1);
  if (lua_tointeger(L, -1) != want) fail("wrong result", luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
}

static void again (lua_State *L, int n) {
  lua_getglobal(L, "again");
  lua_pushinteger(L, n);
  call(L, 1, 1);
  if (lua_tointeger(L, -1) != n + 1) fail("wrong result of a later call", NULL);
  lua_settop(L, 0);
}

static int threads_now (void) {
  int n = 0;
  DIR *d = opendir("/proc/self/task");
  if (d == NULL) return 0;
  for (struct dirent *e; (e = readdir(d)) != NULL;)
    n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

/* A thread that was joined may be seen in /proc for a moment. */
static void threads_back_to (int before) {
  struct timespec ms = { 0, 1000000 };
  for (int i = 0; i < 1000 && threads_now() > before; i++)
    nanosleep(&ms, NULL);
  if (threads_now() > before) fail("threads are left after the last lua_close", NULL);
}

static int host_one (int argc, char **argv) {
  Host h;
  int status = 0;
  if (argc < 1) fail("no script", NULL);
  host_open(&h);
  lua_createtable(h.L, argc, 0);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(h.L, argv[i]);
    lua_rawseti(h.L, -2, i);
  }
  lua_setglobal(h.L, "arg");
  lua_pushcfunction(h.L, traceback);
  status = luaL_loadfile(h.L, argv[0]);
  if (status == LUA_OK) {
    for (int i = 1; i < argc; i++) lua_pushstring(h.L, argv[i]);
    status = lua_pcall(h.L, argc - 1, 0, 1);
  }
  if (status != LUA_OK) fprintf(stderr, "host: %s\n", lua_tostring(h.L, -1));
  host_close(&h);
  return status != LUA_OK;
}

static void host_series (int n) {
  for (int i = 1; i <= n; i++) {
    Host h;
    host_open(&h);
    run(h.L, builtin, i, 2870);
    host_close(&h);
  }
}

static void host_plain (void) {
  for (int i = 0; i < 50; i++) {
    Host a, b;
    host_open(&a);
    host_open(&b);
    run(a.L, "require('goro') return 1", 0, 1);
    run(b.L, "package.loaded.goro = nil require('goro') require('goro') return 1", 0, 1);
    host_close(i % 2 ? &a : &b);
    host_close(i % 2 ? &b : &a);
  }
}

static void host_pair (void) {
  for (int round = 1; round <= 20; round++) {
    Host h[2];
    int first = round % 2;
    host_open(&h[0]);
    host_open(&h[1]);
    run(h[0].L, builtin, round, 2870);
    run(h[1].L, builtin, round + 5, 2870);
    for (int i = 0; i < 50; i++) again(h[i % 2].L, i);
    host_close(&h[first]);
    for (int i = 0; i < 50; i++) again(h[!first].L, i);
    host_open(&h[first]);                  /* a third one, while the second lives */
    run(h[first].L, builtin, round, 2870);
    host_close(&h[!first]);
    again(h[first].L, round);
    host_close(&h[first]);
  }
}

/* The trace is not the child's to write.  (AddressSanitizer looks for leaks in it.) */
static void fork_and_exit (void) {
#if !defined(__SANITIZE_ADDRESS__)
  int status;
  pid_t pid = fork();
  if (pid == 0) exit(0);
  if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) fail("a fork's exit", NULL);
#endif
}

static void host_trace (const char *path) {
  Host a, b;
  host_open(&a);
  host_open(&b);
  lua_pushstring(a.L, path);
  lua_setglobal(a.L, "path");
  run(b.L, builtin, 1, 2870);
  run(a.L, "assert(require('goro').trace.start(path)) return 1", 0, 1);
  run(a.L, builtin, 1, 2870);
  for (int i = 0; i < 50; i++) again(i % 2 ? a.L : b.L, i);
  run(b.L, "assert(not require('goro').trace.start('/dev/null')) return 1", 0, 1);
  fork_and_exit();
  host_close(&a);
  for (int i = 0; i < 50; i++) again(b.L, i);
  host_close(&b);                          /* now it is written */
}

static void host_panics (void) {
  Host a, b;
  host_open(&a);
  host_open(&b);
  run(b.L, "local goro = require('goro') _G.goro = goro goro.go(function() goro.sleep(1000) end) return 1", 0, 1);
  run(a.L, "local goro = require('goro') _G.goro = goro\n"
           "local c = goro.chan()\n"
           "goro.go(function() c:close() error('of a') end)\n"
           "return 1", 0, 1);
  run(b.L, "goro.sleep(0.2) return 1", 0, 1);       /* would raise it, if it went here */
  run(a.L, "local ok, err = pcall(goro.sleep, 10)\n"
           "assert(not ok and err:find('of a', 1, true), err)\n"
           "goro.sleep(0.01)\n"                     /* raised once */
           "return 1", 0, 1);
  run(b.L, "goro.go(error, 'of b')\n"
           "local ok, err = pcall(goro.sleep, 10)\n"
           "assert(not ok and err:find('of b', 1, true), err)\n"
           "return 1", 0, 1);
  run(a.L, "goro.sleep(0.01) return 1", 0, 1);
  host_close(&b);
  run(a.L, "goro.sleep(0.01) return 1", 0, 1);
  host_close(&a);
}

static void host_signals (void) {
  static const char *const listen =
    "goro = require('goro')\n"
    "c, got = goro.signal('USR1'), goro.chan(10)\n"
    "goro.go(function(c, got)\n"
    "  for name in c:range() do got:send(name) end\n"
    "end, c, got)\n"
    "return 1";
  static const char *const hears = "return got:recv(20) == 'USR1' and 1";
  struct sigaction sa;
  Host a, b;
  host_open(&a);
  host_open(&b);
  run(a.L, listen, 0, 1);
  run(b.L, listen, 0, 1);
  kill(getpid(), SIGUSR1);
  run(a.L, hears, 0, 1);
  run(b.L, hears, 0, 1);
  host_close(&a);
  kill(getpid(), SIGUSR1);
  run(b.L, hears, 0, 1);
  run(b.L, "return #got == 0 and 1", 0, 1);
  host_close(&b);
  if (sigaction(SIGUSR1, NULL, &sa) != 0 || sa.sa_handler != SIG_DFL)
    fail("the signal does not do what it did before", NULL);
}

static void host_deadlocks (void) {
  static const char *const stuck =
    "local goro = require('goro')\n"
    "local c = goro.chan()\n"
    "goro.go(function() c:recv() end)\n"
    "local ok, err = pcall(goro.select, {})\n"
    "assert(not ok and err:find('all goroutines are asleep - deadlock!', 1, true), err)\n"
    "return 1";
  static const char *const sleeps =
    "local goro = require('goro')\n"
    "local c = goro.chan()\n"
    "goro.go(function() goro.sleep(0.2) c:send(1) end)\n"
    "return (c:recv())";
  Host a, b;
  host_open(&a);
  host_open(&b);
  run(b.L, "local goro = require('goro') _G.goro = goro\n"
           "goro.go(function() goro.sleep(1000) end)\n"
           "goro.go(function() while true do end end)\n"
           "return 1", 0, 1);
  run(a.L, stuck, 0, 1);           /* nothing of b's could ever wake something of a's */
  run(b.L, sleeps, 0, 1);          /* and a's dead ones are no deadlock of b's */
  run(a.L, sleeps, 0, 1);
  host_close(&b);
  run(a.L, stuck, 0, 1);
  host_close(&a);
}

static void *thread_main (void *ud) {
  host_series(*(int *)ud);
  return NULL;
}

static void in_threads (int t, int n) {
  pthread_t ids[64];
  if (t > 64) t = 64;
  for (int i = 0; i < t; i++)
    if (pthread_create(&ids[i], NULL, thread_main, &n) != 0) fail("no thread", NULL);
  for (int i = 0; i < t; i++)
    pthread_join(ids[i], NULL);
}

static double mebibytes (void) {       /* in memory */
  double size = 0, pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f == NULL || fscanf(f, "%lf %lf", &size, &pages) != 2) pages = 0;
  if (f != NULL) fclose(f);
  return pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

/* What a quarter of them takes, the rest may not add to. */
static void host_threads (int t, int n) {
  double before;
  char text[100];
  if (n < 1000) {
    in_threads(t, n);
    return;
  }
  in_threads(t, n / 4);
  before = mebibytes();
  in_threads(t, n - n / 4);
  snprintf(text, sizeof text, "%.1f MiB after %d states, %.1f after %d", before, n / 4 * t,
           mebibytes(), n * t);
  fprintf(stderr, "host: %s\n", text);
  if (mebibytes() > 1.05 * before + 1) fail("memory grows", text);
}

static void *opener_main (void *ud) {
  Host *h = ud;
  host_open(h);
  run(h->L, builtin, 10, 2870);
  return NULL;
}

static void host_moved (void) {
  for (int i = 0; i < 20; i++) {
    Host h;
    pthread_t id;
    if (pthread_create(&id, NULL, opener_main, &h) != 0) fail("no thread", NULL);
    pthread_join(id, NULL);
    for (int k = 0; k < 20; k++) again(h.L, k);
    host_close(&h);
  }
}

/* What blocks in the coroutine blocks the thread: the host sees only the script's own yields. */
static void host_coroutine (void) {
  static const char *const script =
    "local goro = require('goro')\n"
    "local c = goro.chan()\n"
    "goro.go(function() for i = 1, 10 do c:send(i) goro.sleep(0.001) end c:close() end)\n"
    "goro.go(function() goro.sleep(1000) end)\n"
    "local sum = 0\n"
    "for v in c:range() do\n"
    "  sum = sum + v\n"
    "  if v == 5 then sum = sum + coroutine.yield(v) end\n"
    "end\n"
    "local ok, err = pcall(coroutine.wrap(function() goro.sleep(0.01) return c:recv() end))\n"
    "assert(ok, err)\n"
    "return sum";
  for (int i = 0; i < 20; i++) {
    Host h;
    int n = 0, status;
    host_open(&h);
    lua_State *co = lua_newthread(h.L);
    if (luaL_loadbuffer(co, script, strlen(script), "=host") != LUA_OK)
      fail("cannot load", lua_tostring(co, -1));
    status = lua_resume(co, h.L, 0, &n);
    if (status != LUA_YIELD || n != 1 || lua_tointeger(co, -1) != 5)
      fail("not the script's own yield", status > LUA_YIELD ? lua_tostring(co, -1) : NULL);
    lua_pop(co, n);
    lua_pushinteger(co, 100);
    status = lua_resume(co, h.L, 1, &n);
    if (status != LUA_OK || n != 1 || lua_tointeger(co, -1) != 155)
      fail("the coroutine did not end well", status > LUA_YIELD ? lua_tostring(co, -1) : NULL);
    run(h.L, builtin, 1, 2870);    /* the main thread of the state goes on with goro */
    host_close(&h);
  }
}

int main (int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  int n = argc > 2 ? atoi(argv[2]) : 0;
  int before = threads_now();
  if (strcmp(mode, "one") == 0) return host_one(argc - 2, argv + 2);
  else if (strcmp(mode, "plain") == 0) host_plain();
  else if (strcmp(mode, "series") == 0) host_series(n);
  else if (strcmp(mode, "pair") == 0) host_pair();
  else if (strcmp(mode, "trace") == 0 && argc > 2) host_trace(argv[2]);
  else if (strcmp(mode, "panics") == 0) host_panics();
  else if (strcmp(mode, "deadlocks") == 0) host_deadlocks();
  else if (strcmp(mode, "signals") == 0) host_signals();
  else if (strcmp(mode, "threads") == 0) host_threads(n, argc > 3 ? atoi(argv[3]) : 1);
  else if (strcmp(mode, "moved") == 0) host_moved();
  else if (strcmp(mode, "coroutine") == 0) host_coroutine();
  else fail("no such mode", mode);
  threads_back_to(before);
  puts("ok");
  return 0;
}
