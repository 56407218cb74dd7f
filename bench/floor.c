/*
** floor.c - what C pays for the like of what goro does: floor name [n]
**
** Prints `name value unit`.  Wall-clock time; BENCH_SCALE (a factor) shortens it.
**
**   newstate     luaL_newstate, luaL_openlibs, lua_close          ns
**   bare         lua_newstate, lua_close                          ns
**   state_bytes  what a state with its libraries has allocated    bytes
**   bare_bytes   what a state without libraries has               bytes
**   memcpy1m     memcpy of 1 MiB                                  MB/s
**   resident     resident memory of each of n states with their libraries, where
**                BENCH_CODE (Lua source) has run, after a collection  bytes
**   touch        the first write to each page of n KiB of new memory  s
*/

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#define MIB (1 << 20)

static double now (void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void *l_alloc (void *ud, void *ptr, size_t osize, size_t nsize) {
  (void)ud;
  (void)osize;
  if (nsize == 0) {
    free(ptr);
    return NULL;
  }
  return realloc(ptr, nsize);
}

static lua_State *checked (lua_State *L) {
  if (L == NULL) {
    fputs("out of memory\n", stderr);
    exit(1);
  }
  return L;
}

static double newstate (long n) {
  double start = now();
  for (long i = 0; i < n; i++) {
    lua_State *L = checked(luaL_newstate());
    luaL_openlibs(L);
    lua_close(L);
  }
  return (now() - start) * 1e9 / (double)n;
}

static double bare (long n) {
  double start = now();
  for (long i = 0; i < n; i++)
    lua_close(checked(lua_newstate(l_alloc, NULL)));
  return (now() - start) * 1e9 / (double)n;
}

static double counted (lua_State *L) {
  double bytes = lua_gc(L, LUA_GCCOUNT) * 1024.0 + lua_gc(L, LUA_GCCOUNTB);
  lua_close(L);
  return bytes;
}

static double state_bytes (long n) {
  lua_State *L = checked(luaL_newstate());
  (void)n;
  luaL_openlibs(L);
  return counted(L);
}

static double bare_bytes (long n) {
  (void)n;
  return counted(checked(lua_newstate(l_alloc, NULL)));
}

static double memcpy1m (long n) {
  char *from = malloc(MIB), *to = malloc(MIB);
  double start, seconds;
  if (from == NULL || to == NULL)
    exit(1);
  memset(from, 'x', MIB);
  memset(to, 'y', MIB);
  start = now();
  for (long i = 0; i < n; i++) {
    memcpy(to, from, MIB);
    __asm__ volatile("" : : "r"(to) : "memory");  /* the copy is wanted */
  }
  seconds = now() - start;
  free(from);
  free(to);
  return (double)n * MIB / 1e6 / seconds;
}

static double vm_rss (void) {
  char line[256];
  double bytes = 0;
  FILE *file = fopen("/proc/self/status", "r");
  if (file == NULL)
    return 0;
  while (fgets(line, sizeof(line), file) != NULL)
    if (strncmp(line, "VmRSS:", 6) == 0)
      bytes = atof(line + 6) * 1024;
  fclose(file);
  return bytes;
}

static void one_state (const char *code) {         /* stays open */
  lua_State *L = checked(luaL_newstate());
  luaL_openlibs(L);
  if (code != NULL && luaL_dostring(L, code) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
  }
  lua_gc(L, LUA_GCCOLLECT);
}

static double resident (long n) {
  const char *code = getenv("BENCH_CODE");
  double before;
  for (int i = 0; i < 20; i++)                     /* what is there once for all */
    one_state(code);
  before = vm_rss();
  for (long i = 0; i < n; i++)
    one_state(code);
  return (vm_rss() - before) / (double)n;
}

static double touch (long n) {
  size_t size = (size_t)n << 10, page = (size_t)sysconf(_SC_PAGESIZE);
  char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  double start = now();
  if (p == MAP_FAILED) {
    fputs("out of memory\n", stderr);
    exit(1);
  }
  for (size_t i = 0; i < size; i += page)
    p[i] = 1;
  return now() - start;                            /* (unmapped with the process) */
}

static const struct {
  const char *name;
  const char *unit;
  long n;
  double (*run) (long n);
} floors[] = {
  {"newstate", "ns", 20000, newstate},
  {"bare", "ns", 200000, bare},
  {"state_bytes", "bytes", 1, state_bytes},
  {"bare_bytes", "bytes", 1, bare_bytes},
  {"memcpy1m", "MB/s", 4000, memcpy1m},
  {"resident", "bytes", 2000, resident},
  {"touch", "s", 1 << 20, touch},
};

int main (int argc, char **argv) {
  const size_t count = sizeof(floors) / sizeof(floors[0]);
  for (size_t i = 0; i < count; i++) {
    const char *scale = getenv("BENCH_SCALE");
    long n = floors[i].n;
    if (argc < 2) {
      printf("%-14s %8ld\n", floors[i].name, n);
      continue;
    }
    if (strcmp(argv[1], floors[i].name) != 0)
      continue;
    if (argc > 2)
      n = atol(argv[2]);
    else if (scale != NULL)
      n = (long)((double)n * atof(scale));
    printf("%s %.6g %s\n", floors[i].name, floors[i].run(n < 1 ? 1 : n), floors[i].unit);
    return 0;
  }
  if (argc >= 2)
    fprintf(stderr, "no floor '%s'\n", argv[1]);
  return argc < 2 ? 0 : 2;
}
