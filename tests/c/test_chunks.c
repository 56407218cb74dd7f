/* Compiled chunks: one for each path and mode, given out as long as the file is what it was; the
   least used leave when there are too many bytes. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "chunks.h"
#include "test.h"

static char dir[] = "/tmp/goro-chunks-XXXXXX";

static void put (const char *path, const char *mode, const FileId *id, const char *text,
                 size_t len) {
  char *bytes = malloc(len);
  CHECK(bytes != NULL);
  memset(bytes, 0, len);
  memcpy(bytes, text, strlen(text));
  chunk_put(path, mode, id, bytes, len);
}

static void holds (const char *path, const char *mode, const FileId *id, const char *text) {
  Chunk *c = chunk_get(path, mode, id);
  CHECK((c != NULL) == (text != NULL));
  if (c != NULL) CHECK(memcmp(c->bytes, text, strlen(text)) == 0);
  chunk_unref(c);
}

static void table_of_paths (void) {
  FileId one = { 1, 2, 3, 4, 5 }, other = { 1, 2, 3, 4, 6 };
  ChunkStats s;
  Chunk *c;
  holds("a", "bt", &one, NULL);
  put("a", "bt", &one, "first", 10);
  holds("a", "bt", &one, "first");
  holds("a", "t", &one, NULL);
  holds("b", "bt", &one, NULL);
  put("a", "t", &one, "text", 10);
  put("a", "bt", &one, "second", 10);              /* in the first one's place */
  holds("a", "bt", &one, "second");
  holds("a", "t", &one, "text");
  c = chunk_get("a", "bt", &one);
  holds("a", "bt", &other, NULL);                  /* changed: it is gone */
  holds("a", "bt", &one, NULL);
  CHECK(memcmp(c->bytes, "second", 6) == 0);       /* but not for who uses it */
  chunk_unref(c);
  put("a", "strange", &one, "x", 10);
  holds("a", "strange", &one, NULL);
  chunk_stats(&s);
  CHECK(s.files == 1 && s.bytes == 10 && s.compiled == 3);
}

static void too_many (void) {
  FileId id = { 9, 9, 9, 9, 9 };
  char path[32];
  ChunkStats s;
  int i;
  for (i = 0; i < 100; i++) {
    snprintf(path, sizeof path, "file%d", i);
    put(path, "bt", &id, path, (size_t)1 << 20);
    holds("file0", "bt", &id, "file0");            /* always in use: it stays */
  }
  holds("file99", "bt", &id, "file99");
  holds("file1", "bt", &id, NULL);
  chunk_stats(&s);
  CHECK(s.bytes <= (UINT64_C(64) << 20) && s.files >= 60);
}

static void write_file (const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void identities (void) {
  char path[64], other[64];
  FileId a, b;
  CHECK(mkdtemp(dir) != NULL);
  snprintf(path, sizeof path, "%s/x", dir);
  snprintf(other, sizeof other, "%s/y", dir);
  CHECK(!os_file_id(path, &a) && !os_file_id(dir, &a) && !os_file_readable(path));
  write_file(path, "one");
  CHECK(os_file_id(path, &a) && os_file_id(path, &b) && file_id_equal(&a, &b));
  CHECK(a.size == 3 && os_file_readable(path));
  CHECK(!os_file_rested(&a));                      /* written just now */
  a.mtime -= 10 * SECOND;
  a.ctime -= 10 * SECOND;
  CHECK(os_file_rested(&a));
  write_file(other, "two");                        /* the same size, in its place */
  CHECK(os_file_id(path, &a) && rename(other, path) == 0);
  CHECK(os_file_id(path, &b) && !file_id_equal(&a, &b));
  CHECK(unlink(path) == 0 && rmdir(dir) == 0);
}

static void *pound (void *arg) {
  unsigned seed = *(unsigned *)arg, i;
  char path[16];
  for (i = 0; i < 20000; i++) {
    FileId id = { 7, 7, 0, 7, 7 };
    Chunk *c;
    id.size = test_random(&seed) % 2;
    snprintf(path, sizeof path, "p%u", test_random(&seed) % 8);
    c = chunk_get(path, "bt", &id);
    if (c != NULL) {
      CHECK(memcmp(c->bytes, path, 2) == 0);
      chunk_unref(c);
    }
    else put(path, "bt", &id, path, 64);
  }
  return NULL;
}

static void threads (void) {
  pthread_t t[4];
  unsigned seeds[4] = { 11, 22, 33, 44 };
  int i;
  for (i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, pound, &seeds[i]) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

int main (void) {
  table_of_paths();
  too_many();
  identities();
  threads();
  puts("chunks: paths and modes, changes, room, threads");
  return 0;
}
