/*
** paths.c - where the files of modules were found.  Layer 2.
**
** require asks for several files before it finds one, or none: a system call each.  What came of a
** search is kept, by name and path, with the directories in which those files are not that were
** looked for in vain; and as long as these directories are what they were, so is the answer.
** A path has half as many directories as files.
**
** INVARIANT W1.  Where a directory has the same device, inode and times as in an entry, each file
** that the entry has it vouch for is still not there.  Because
**
**   - what vouches for a file is the nearest directory above it that there is, by its path: any
**     link or directory on the way that is replaced leads to another;
**   - it was looked at first, then it was seen that the next step below it is not there, not even
**     as a link that leads nowhere (whose end may appear elsewhere);
**   - when a name appears in a directory the kernel stamps it, with the time of its last tick; and
**     what is kept had rested by then (os_file_rested).
**
** Files that are there but cannot be read, or whose directories cannot be searched, are in no
** entry.  The file that was found is for the caller to look at, who will anyhow.
**
** A table under one lock, of sets of a few entries; one in use is counted.  Where directories keep
** changing, nothing is kept in a set for a while, longer and longer: that costs as much again.
*/
#include <stdlib.h>
#include <string.h>
#include "debug.h"
#include "hash.h"
#include "lock.h"
#include "paths.h"
#include "platform.h"

#define NSETS 256u                     /* a power of two */
#define WAYS 4u
#define MAX_DIRS 16
#define MAX_REST 255u                  /* searches */

typedef struct Dir { FileId id; char *path; } Dir;

typedef struct Entry {
  _Atomic(uint32_t) refs;              /* [A] the table, and who looks at it */
  uint32_t ndirs;                      /* [I] as all below */
  Dir dirs[MAX_DIRS];
  bool found;
  size_t lname, lpath, ltried;
  char *name, *path, *file, *tried;    /* in 'text' */
  char text[];
} Entry;

typedef struct Set {
  Entry *e[WAYS];                      /* [L] or NULL */
  uint32_t next;                       /* [L] which is to go for another */
  uint32_t rest, last;                 /* [L] searches to come that nothing is kept for; last time */
} Set;

static struct {
  Lock lock;                           /* RANK_LEAF */
  Set sets[NSETS];                     /* [L] */
  PathStats stats;                     /* [L] */
} table = { .lock = { .rank = RANK_LEAF } };

static Set *set_of (const char *name, size_t lpath) {
  uint32_t h = hash_bytes(HASH_FIRST ^ (uint32_t)lpath, name, strlen(name));
  return &table.sets[hash_fold(h) & (NSETS - 1)];
}

static void entry_unref_n (Entry *e, uint32_t n) {
  uint32_t i;
  if (e == NULL || sub_acqrel(&e->refs, n) != n) return;
  for (i = 0; i < e->ndirs; i++) free(e->dirs[i].path);
  free(e);
}

#define entry_unref(e) entry_unref_n(e, 1)

/* ---------------------------------------------------------------- looking for files */

/* The file that the template at '*path' says, into 'file'; '*path' is moved to the template's end.
** Its length; -1: it is too long. */
static long next_file (const char *name, const char **path, char *file) {
  const char *p = *path, *q;
  size_t n = 0;
  for (; *p != '\0' && *p != ';'; p++)
    for (q = *p == '?' ? name : p; *q != '\0'; q++) {
      if (n + 1 >= PATHS_MAX_FILE) return -1;
      file[n++] = *p == '?' && *q == '.' ? '/' : *q;
      if (*p != '?') break;
    }
  file[n] = '\0';
  *path = p;
  return (long)n;
}

static bool add_text (char *tried, size_t *at, const char *s, size_t n) {
  if (n > PATHS_MAX_TRIED - *at) return false;
  memcpy(tried + *at, s, n);
  *at += n;
  return true;
}

/* '*sure': what was not found is known not to be there. */
static Found probe (const char *name, const char *path, char *file, char *tried, size_t *ltried,
                    bool *sure) {
  *ltried = 0;
  *sure = true;
  for (;; path++) {
    long n = next_file(name, &path, file);
    FileSeen seen;
    if (n < 0) return PATH_STRANGE;
    seen = os_file_look(file);
    if (seen == FILE_READABLE) return PATH_FOUND;
    if (seen != FILE_ABSENT) *sure = false;
    if (!add_text(tried, ltried, "no file '", 9) || !add_text(tried, ltried, file, (size_t)n) ||
        !add_text(tried, ltried, "'\n\t", *path == '\0' ? 1 : 3))
      return PATH_STRANGE;
    if (*path == '\0') return PATH_NONE;
  }
}

/* ---------------------------------------------------------------- remembering */

static void to_parent (char *p) {      /* of "a/b" "a", of "a" ".", of "/a" "/" */
  char *end = p + strlen(p);
  while (end > p && end[-1] == '/') end--;
  if (end == p && *p == '/') return;
  while (end > p && end[-1] != '/') end--;
  while (end > p + 1 && end[-1] == '/') end--;
  if (end == p) *end++ = '.';
  *end = '\0';
}

static bool add_dir (Entry *e, const char *path) {
  Dir *d = &e->dirs[e->ndirs];
  uint32_t i;
  for (i = 0; i < e->ndirs; i++)
    if (strcmp(e->dirs[i].path, path) == 0) return true;
  if (e->ndirs == MAX_DIRS || !os_dir_id(path, &d->id) || !os_file_rested(&d->id) ||
      (d->path = strdup(path)) == NULL)
    return false;
  e->ndirs++;
  return true;
}

/* Have a directory vouch for it that 'file' is not there.  false: none can. */
static bool vouch (Entry *e, const char *file) {
  char dir[PATHS_MAX_FILE + 1], step[PATHS_MAX_FILE + 1];
  FileId id;
  strcpy(dir, file);
  do {
    strcpy(step, dir);
    to_parent(dir);
    if (strcmp(dir, step) == 0) return false;
  } while (!os_dir_id(dir, &id));
  return add_dir(e, dir) && os_file_absent(step);
}

/* An entry for what was found; NULL: it cannot be kept. */
static Entry *new_entry (const char *name, const char *path, size_t lpath, Found found,
                         const char *file, const char *tried, size_t ltried) {
  size_t lname = strlen(name), lfile = found == PATH_FOUND ? strlen(file) : 0;
  Entry *e = calloc(1, sizeof *e + lname + lpath + lfile + ltried + 3);
  if (e == NULL) return NULL;
  store_rlx(&e->refs, 1);
  e->found = found == PATH_FOUND;
  e->lname = lname;
  e->lpath = lpath;
  e->ltried = ltried;
  e->name = e->text;
  e->path = e->name + lname + 1;
  e->file = e->path + lpath + 1;
  e->tried = e->file + lfile + 1;
  memcpy(e->name, name, lname);
  memcpy(e->path, path, lpath);
  if (e->found) memcpy(e->file, file, lfile);
  memcpy(e->tried, tried, ltried);
  for (;; path++) {
    char other[PATHS_MAX_FILE];
    next_file(name, &path, other);
    if (e->found && strcmp(other, file) == 0) return e;
    if (!vouch(e, other)) break;
    if (*path == '\0') return e;
  }
  entry_unref(e);
  return NULL;
}

static bool is_for (const Entry *e, const char *name, const char *path, size_t lpath) {
  return e->lpath == lpath && memcmp(e->path, path, lpath) == 0 && strcmp(e->name, name) == 0;
}

static bool still_holds (const Entry *e, bool readable) {
  uint32_t i;
  for (i = 0; i < e->ndirs; i++) {
    FileId id;
    if (!os_dir_id(e->dirs[i].path, &id) || !file_id_equal(&id, &e->dirs[i].id)) return false;
  }
  return !(e->found && readable) || os_file_readable(e->file);
}

/* ---- table.lock held ---- */

/* Where the entry for these stands, or NULL. */
static Entry **find (Set *set, const char *name, const char *path, size_t lpath) {
  uint32_t i;
  for (i = 0; i < WAYS; i++)
    if (set->e[i] != NULL && is_for(set->e[i], name, path, lpath)) return &set->e[i];
  return NULL;
}

static Entry **room (Set *set) {
  uint32_t i;
  for (i = 0; i < WAYS; i++)
    if (set->e[i] == NULL) return &set->e[i];
  return &set->e[set->next++ % WAYS];
}

/* ---- */

/* What is remembered, a reference, or NULL; '*keep': a new answer should be put there. */
static Entry *recall (Set *set, const char *name, const char *path, size_t lpath, bool readable,
                      bool *keep) {
  Entry *e, **pe;
  uint32_t held = 1;
  bool good;
  lock_acquire(&table.lock);
  table.stats.searches++;
  pe = find(set, name, path, lpath);
  e = pe != NULL ? *pe : NULL;
  if (e != NULL) add_rlx(&e->refs, 1);
  *keep = e != NULL || set->rest == 0;
  if (!*keep) set->rest--;
  lock_release(&table.lock);
  if (e == NULL) return NULL;
  good = still_holds(e, readable);
  lock_acquire(&table.lock);
  if (good) {
    table.stats.hits++;
    set->last = 0;
  }
  else if ((pe = find(set, name, path, lpath)) != NULL && *pe == e) {
    *pe = NULL;
    held = 2;
  }
  lock_release(&table.lock);
  if (good) return e;
  entry_unref_n(e, held);
  return NULL;
}

static void put (Set *set, Entry *e) {             /* NULL: it could not be kept */
  Entry *old = NULL, **pe;
  lock_acquire(&table.lock);
  if (e != NULL) {
    pe = find(set, e->name, e->path, e->lpath);
    if (pe == NULL) pe = room(set);
    old = *pe;
    *pe = e;
  }
  else {
    set->last = set->last < MAX_REST / 2 ? 2 * set->last + 1 : MAX_REST;
    set->rest = set->last;
  }
  lock_release(&table.lock);
  entry_unref(old);
}

Found path_search (const char *name, const char *path, bool readable, char *file, char *tried,
                   size_t *ltried) {
  size_t lpath = strlen(path);
  Set *set = set_of(name, lpath);
  bool keep, sure;
  Entry *e;
  Found found;
  if (os_forked) return PATH_STRANGE;  /* (the lock may be somebody's who is not here) */
  e = recall(set, name, path, lpath, readable, &keep);
  if (e != NULL) {
    found = e->found ? PATH_FOUND : PATH_NONE;
    strcpy(file, e->file);
    memcpy(tried, e->tried, e->ltried);
    *ltried = e->ltried;
    entry_unref(e);
    return found;
  }
  found = probe(name, path, file, tried, ltried, &sure);
  if (keep && found != PATH_STRANGE)
    put(set, sure ? new_entry(name, path, lpath, found, file, tried, *ltried) : NULL);
  return found;
}

PathStats path_stats (void) {
  PathStats s;
  lock_acquire(&table.lock);
  s = table.stats;
  lock_release(&table.lock);
  return s;
}
