/* Where files were found: the answer is always what asking for each file gives, whatever happens
   to files, directories and links meanwhile; and mostly it is remembered. */
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "atomics.h"
#include "paths.h"
#include "platform.h"
#include "test.h"

static char dir[] = "/tmp/goro-paths-XXXXXX";

static void make (const char *path) {
  FILE *f = fopen(path, "w");
  CHECK(f != NULL && fclose(f) == 0);
}

/* The search is for 'file' (NULL: none), and tells of 'tried' if that is not NULL. */
static void finds (const char *name, const char *path, const char *file, const char *tried) {
  char found[PATHS_MAX_FILE], text[PATHS_MAX_TRIED];
  size_t n;
  Found r = path_search(name, path, true, found, text, &n);
  CHECK(r == (file != NULL ? PATH_FOUND : PATH_NONE));
  if (file != NULL) CHECK(strcmp(found, file) == 0);
  if (tried != NULL) CHECK(n == strlen(tried) && memcmp(text, tried, n) == 0);
}

/* Until the answer is remembered: what is there has rested then. */
static void rests (const char *name, const char *path) {
  char found[PATHS_MAX_FILE], text[PATHS_MAX_TRIED];
  size_t n;
  uint64_t hits;
  int64_t stop = os_now() + 20 * SECOND;
  do {
    CHECK(os_now() < stop);
    hits = path_stats().hits;
    path_search(name, path, true, found, text, &n);
  } while (path_stats().hits == hits);
}

static void relative_paths (void) {
  CHECK(mkdir("one", 0777) == 0 && mkdir("two", 0777) == 0);
  make("two/m.lua");
  finds("m", "?.lua;./?.lua;x/../?.lua;one/?", NULL,
    "no file 'm.lua'\n\tno file './m.lua'\n\tno file 'x/../m.lua'\n\tno file 'one/m'");
  rests("m", "?.lua;./?.lua;x/../?.lua;one/?");
  finds("a.b", "", NULL, "no file ''");
  finds("a.b", ";", NULL, "no file ''\n\tno file ''");
  finds("a.b", "?;//?;x//y///?", NULL,
    "no file 'a/b'\n\tno file '//a/b'\n\tno file 'x//y///a/b'");
  rests("a.b", "?;//?;x//y///?");
  CHECK(mkdir("x", 0777) == 0);                    /* now "x/.." leads somewhere */
  make("m.lua");
  finds("m", "x/../?.lua", "x/../m.lua", NULL);
  rests("m", "x/../?.lua");
  CHECK(unlink("m.lua") == 0);
  finds("m", "x/../?.lua", NULL, NULL);
  rests("m", "?.lua;two/?.lua");
  CHECK(chdir("two") == 0);                        /* the same names mean others */
  finds("m", "?.lua;two/?.lua", "m.lua", NULL);
  CHECK(chdir("..") == 0);
  finds("m", "?.lua;two/?.lua", "two/m.lua", NULL);
}

static void strange_ones (void) {
  char found[PATHS_MAX_FILE], text[PATHS_MAX_TRIED], path[8000];
  size_t n;
  memset(path, 'x', sizeof path);
  path[PATHS_MAX_FILE] = '\0';
  CHECK(path_search("m", path, true, found, text, &n) == PATH_STRANGE);
  path[PATHS_MAX_FILE - 1] = '\0';                 /* its length and the NUL fit */
  CHECK(path_search("m", path, true, found, text, &n) == PATH_NONE && n == PATHS_MAX_FILE + 9);
  memset(path, ';', 1000);
  path[1000] = '\0';
  CHECK(path_search("m", path, true, found, text, &n) == PATH_STRANGE);
  CHECK(symlink("loop", "loop") == 0 && symlink("nowhere", "dangling") == 0);
  make("plain");
  for (n = 0; n < 600; n++) {                      /* (longer than anything is left alone) */
    uint64_t hits = path_stats().hits;
    finds("m", "loop/?", NULL, NULL);
    finds("m", "plain/?", NULL, NULL);
    finds("m", "dangling/?", NULL, NULL);
    finds("m", "dangling", NULL, NULL);
    CHECK(path_stats().hits == hits);
    if (n == 300) {
      struct timespec rest = { 0, 60 * 1000 * 1000 };
      nanosleep(&rest, NULL);
    }
  }
  CHECK(mkdir("nowhere", 0777) == 0);
  make("nowhere/m");
  finds("m", "dangling/?", "dangling/m", NULL);
}

static void many_names (void) {
  char name[16];
  int i, round;
  for (round = 0; round < 3; round++)
    for (i = 0; i < 2000; i++) {                   /* more than are kept */
      snprintf(name, sizeof name, "n%d", i);
      finds(name, "one/?", NULL, NULL);
    }
  for (i = 0; i < 50; i++) {
    snprintf(name, sizeof name, "n%d", i);
    rests(name, "one/?");
  }
  make("one/n7");
  finds("n7", "one/?", "one/n7", NULL);
  CHECK(unlink("one/n7") == 0);
  finds("n7", "one/?", NULL, NULL);
}

static _Atomic(int) stop;

static void *ask (void *arg) {
  char found[PATHS_MAX_FILE], text[PATHS_MAX_TRIED];
  size_t n;
  (void)arg;
  while (!load_acq(&stop)) {
    Found r = path_search("t", "one/?;two/?;three/?", true, found, text, &n);
    CHECK(r == PATH_FOUND || (r == PATH_NONE && n > 10));
    if (r == PATH_FOUND) CHECK(strcmp(found, "one/t") == 0 || strcmp(found, "three/t") == 0);
  }
  return NULL;
}

static void threads (void) {
  pthread_t t[3];
  int i;
  for (i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, ask, NULL) == 0);
  for (i = 0; i < 300; i++) {
    if (i == 100) CHECK(mkdir("three", 0777) == 0);
    if (i % 100 == 0) rests("t", "one/?;two/?;three/?");
    if (i == 150) make("three/t");
    make("one/t");
    finds("t", "one/?;two/?;three/?", "one/t", NULL);
    CHECK(unlink("one/t") == 0);
    finds("t", "one/?;two/?;three/?", i >= 150 ? "three/t" : NULL, NULL);
  }
  store_rel(&stop, 1);
  for (i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

int main (void) {
  char command[64];
  CHECK(mkdtemp(dir) != NULL && chdir(dir) == 0);
  relative_paths();
  strange_ones();
  many_names();
  threads();
  CHECK(chdir("/") == 0);
  snprintf(command, sizeof command, "rm -r %s", dir);
  CHECK(system(command) == 0);
  puts("paths: what is remembered holds");
  return 0;
}
