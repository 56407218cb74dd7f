/*
** modimage.c - images with modules in them.  Layer 5.
**
** To require a module anew costs far more than all the rest of a goroutine.  So when several
** goroutines were started by messages that ask for the same set of modules, with the same
** heritage, the next such one makes an image of its state just after it has loaded them; those
** that come later are copies, and find the modules in package.loaded.  They start by their
** message, as ever: what it refers to is there.
**
** THE MAKER is an ordinary goroutine.  Its state lies in one large piece of memory.  Before all
** else it requires the modules, in a slice (or several: a module may wait) of their own; when
** that has returned, nothing runs in the state, and it is looked at (fit.c), copied, and
** verified like any image.  Then the goroutine goes on as if nothing had happened.  So a module
** runs no more often than without images, and sees nothing strange.
**
** WHICH MODULES.  Those the message refers to, and what they require.  Never one that goro.fresh
** names.  A set is refused, with a reason that goro.stats tells, if loading it fails, starts a
** goroutine, or leaves anything that a copy may not have: full userdata, goro's objects,
** coroutines, finalisers.  Goroutines that ask for it start as copies of a state that has 'package'
** open at least, as they will all need it.
**
** WHEN IT IS OUT OF DATE.  The image notes which files were looked for, found and read.  They are
** looked at again, at most every 10 ms, when a goroutine is to be a copy; one that has changed, or
** is found elsewhere now, ends the image.
**
** goro.init's functions run before modules are required, the plain way: where there are some,
** no image of modules is used.
*/
#include <stdlib.h>
#include <string.h>
#include "code.h"
#include "fit.h"
#include "lualib.h"
#include "modimage.h"
#include "paths.h"
#include "run.h"
#include "stdlibs.h"

#define ARENA_SIZE (1u << 20)
#define MAX_IMAGE (512u << 10)
#define LOOK_EVERY (SECOND / 100)

static struct {
  Lock lock;                           /* RANK_LEAF */
  char **names;                        /* [L] of goro.fresh */
  int n;                               /* [L] */
  bool all;                            /* [L] */
  _Atomic(uint32_t) epoch;             /* [A] changes when they do */
} fresh = { .lock = { .rank = RANK_LEAF } };

/* ---------------------------------------------------------------- goro.fresh */

bool modimage_fresh (const char *name) {
  char *copy = name != NULL ? strdup(name) : NULL, **names = NULL;
  bool ok = true;
  lock_acquire(&fresh.lock);
  if (name == NULL) fresh.all = true;
  else if (copy == NULL ||
           (names = realloc(fresh.names, ((size_t)fresh.n + 1) * sizeof *names)) == NULL)
    ok = false;
  else {
    fresh.names = names;
    names[fresh.n++] = copy;
    copy = NULL;
  }
  add_acqrel(&fresh.epoch, 1);
  lock_release(&fresh.lock);
  free(copy);
  return ok;
}

static bool is_fresh (const char *name) {
  bool is;
  int i;
  lock_acquire(&fresh.lock);
  is = fresh.all;
  for (i = 0; i < fresh.n && !is; i++) is = strcmp(fresh.names[i], name) == 0;
  lock_release(&fresh.lock);
  return is;
}

/* ---------------------------------------------------------------- which modules */

void modimage_begin (State *s) {
  Rare *r;
  if (!image_there() || (r = rare_write(s)) == NULL) return;
  if (r->mods == NULL && (r->mods = malloc(sizeof *r->mods)) == NULL) return;
  r->mods->on = true;
  r->mods->over = false;
  r->mods->len = 0;
}

void modimage_note (State *s, const char *name, size_t len) {
  ModNames *mods = rare(s)->mods;
  size_t i;
  if (mods == NULL || !mods->on || strlen(name) != len) return;
  for (i = 0; i < mods->len; i += strlen(mods->text + i) + 1)
    if (strcmp(mods->text + i, name) == 0) return;
  if (mods->len + len + 1 > sizeof mods->text) {
    mods->over = true;
    return;
  }
  if (is_fresh(name)) return;
  memcpy(mods->text + mods->len, name, len + 1);
  mods->len += len + 1;
}

/* Would it be found where it was? */
static bool is_found_there (const ModSearch *q) {
  char file[PATHS_MAX_FILE], tried[PATHS_MAX_TRIED];
  size_t ltried;
  switch (path_search(q->name, q->path, true, file, tried, &ltried)) {
    case PATH_FOUND: return q->file != NULL && strcmp(q->file, file) == 0;
    case PATH_NONE: return q->file == NULL;
    default: return false;
  }
}

/* Do the image's files say what they said? */
static bool is_current (Image *img) {
  int64_t now;
  uint32_t i;
  if (img->epoch != load_acq(&fresh.epoch)) return false;
  now = os_now();
  if (now - load_rlx(&img->looked) < LOOK_EVERY) return true;
  for (i = 0; i < img->nfiles; i++) {
    FileId id;
    if (!os_file_id(img->files[i].path, &id) || !file_id_equal(&id, &img->files[i].id))
      return false;
  }
  for (i = 0; i < img->nsearches; i++)
    if (!is_found_there(&img->searches[i])) return false;
  store_rlx(&img->looked, now);
  return true;
}

/* The entry for these names, a new reference: its image is ready, or may be when the goroutine
** runs.  NULL: it cannot be used; or the caller's goroutine is to make it, '*make'.  '*refused': it
** never can. */
static Image *ask (const char *names, size_t len, Heritage *h, Image **make, bool *refused) {
  Image *img = image_find_modules(names, len, h);
  if (img == NULL) return NULL;
  switch (image_ask(img)) {
    case ASK_READY:
      if (is_current(img)) return img;
      image_forget(img);
      break;
    case ASK_MAKE:
      *make = img;
      return NULL;
    case ASK_NEVER: *refused = true; break;
    case ASK_NOT: return img;
  }
  image_unref(img);
  return NULL;
}

Image *modimage_choose (State *s, Heritage *h, Image **make) {
  ModNames *mods = rare(s)->mods;
  bool refused = false;
  Image *img;
  *make = NULL;
  if (mods == NULL || !mods->on) return NULL;
  mods->on = false;
  if (mods->len == 0 || mods->over || load_acq(&hs_of(s)->ninits) != 0) return NULL;
  img = ask(mods->text, mods->len, h, make, &refused);
  if (refused) img = ask(LUA_LOADLIBNAME, sizeof LUA_LOADLIBNAME, h, make, &refused);
  return img;
}

void modimage_appoint (State *s, Image *make) {
  if (make == NULL) return;
  if (rare_write(s) != NULL) s->rare->making = make;
  else {                               /* no memory: let another make it */
    image_abandon(make);
    image_unref(make);
  }
}

/* Thousands may have been started before the first of them could make the image. */
void modimage_decide (State *s) {
  Image *img = s->image, *make;
  bool refused;
  Ask now = image_look(img);
  if (now == ASK_READY && !is_current(img)) {
    image_forget(img);
    now = ASK_NOT;
  }
  else if (now == ASK_NEVER) {
    image_unref(img);
    make = NULL;
    img = ask(LUA_LOADLIBNAME, sizeof LUA_LOADLIBNAME, s->heritage, &make, &refused);
    modimage_appoint(s, make);
    if (img != NULL) now = image_look(img);
  }
  if (now == ASK_READY) add_rlx(&img->started, 1);
  else {
    image_unref(img);
    img = NULL;
  }
  s->image = img;
}

/* ---------------------------------------------------------------- making one */

static int fill (lua_State *L) {
  State *s = lua_touserdata(L, 1);
  lua_settop(L, 0);
  image_fill_plain(L, s);
  return 0;
}

lua_State *modimage_open (State *s) {
  lua_State *L;
  s->arena = arena_new_aligned(ARENA_SIZE);
  if (s->arena == NULL) return NULL;
  L = lua_newstate(state_allocate, s);
  if (L == NULL) return NULL;
  state_prepare(L);
  lua_pushcfunction(L, fill);
  lua_pushlightuserdata(L, s);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    lua_close(L);
    return NULL;
  }
  s->lazy_libs = s->loading = s->is_maker = true;
  s->rare->making->epoch = load_acq(&fresh.epoch);
  return L;
}

void modimage_file (State *s, const char *path, const FileId *id) {
  Image *img = rare(s)->making;
  ModFile *files;
  char *copy;
  if (img == NULL || !s->loading) return;
  copy = strdup(path);
  files = copy != NULL ? realloc(img->files, (img->nfiles + 1) * sizeof *files) : NULL;
  if (files == NULL) {
    free(copy);
    image_refuse(img, "not enough memory");
    return;
  }
  img->files = files;
  files[img->nfiles].path = copy;
  files[img->nfiles++].id = *id;
}

static bool search_make (ModSearch *q, const Heritage *h, const char *name, const char *path,
                         const char *file) {
  memset(q, 0, sizeof *q);
  q->name = strdup(name);
  if (file != NULL) q->file = strdup(file);
  if (h->path != NULL && strcmp(h->path, path) == 0) q->path = h->path;
  else if (h->cpath != NULL && strcmp(h->cpath, path) == 0) q->path = h->cpath;
  else q->path = q->own = strdup(path);
  return q->name != NULL && q->path != NULL && (file == NULL || q->file != NULL);
}

void modimage_search (State *s, const char *name, const char *path, const char *file) {
  Image *img = rare(s)->making;
  ModSearch *list;
  if (img == NULL || !s->loading) return;
  list = realloc(img->searches, (img->nsearches + 1) * sizeof *list);
  if (list != NULL) {
    img->searches = list;
    if (search_make(&list[img->nsearches], img->heritage, name, path, file)) {
      img->nsearches++;
      return;
    }
    search_drop(&list[img->nsearches]);
  }
  image_refuse(img, "not enough memory");
}

static int loaded (lua_State *L, int status, lua_KContext ctx) {
  State *s = here(L).s;
  (void)ctx;
  if (status != LUA_OK && status != LUA_YIELD && rare(s)->making != NULL) {
    const char *msg = lua_tostring(L, -1);
    image_refuse(rare(s)->making, msg != NULL ? msg : "an error while it loads");
  }
  return 0;
}

/* Arguments: where the names are, how far.  One after the other; each may yield. */
static int require_next (lua_State *L, int status, lua_KContext ctx) {
  const Image *img = lua_touserdata(L, 1);
  size_t at = (size_t)ctx;
  (void)status;
  lua_settop(L, 1);
  if (at >= img->len) return 0;
  if (lua_getglobal(L, "require") != LUA_TFUNCTION) return luaL_error(L, "there is no 'require'");
  lua_pushstring(L, img->code + at);
  at += strlen(img->code + at) + 1;
  lua_callk(L, 1, 0, (lua_KContext)at, require_next);
  return require_next(L, LUA_OK, (lua_KContext)at);
}

static int require_all (lua_State *L) { return require_next(L, LUA_OK, 0); }

int modimage_load (lua_State *L) {
  int status;
  lua_settop(L, 0);
  lua_pushcfunction(L, require_all);
  lua_pushlightuserdata(L, rare(here(L).s)->making);
  status = lua_pcallk(L, 1, 0, 0, 0, loaded);
  return loaded(L, status, 0);
}

/* Is a module among those loaded that is to be loaded anew each time? */
static int find_fresh (lua_State *L) {
  bool *found = lua_touserdata(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) == LUA_TSTRING && !stdlibs_is_standard(lua_tostring(L, -1)) &&
        is_fresh(lua_tostring(L, -1)))
      *found = true;
  }
  return 0;
}

static const char *why_not (State *s) {
  lua_State *L = s->L;
  bool found = false;
  const char *why;
  if (s->spawned) return "it starts goroutines";
  if (s->must_close) return "it has a finaliser";
  if (s->handles != NULL) return "it holds goro's objects";
  if (rare(s)->classes != NULL || rare(s)->modref.map != 0 || rare(s)->code_slots != NULL)
    return "it sends values";
  lua_pushcfunction(L, find_fresh);
  lua_pushlightuserdata(L, &found);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_settop(L, 0);
  if (found) return "it requires a module that goro.fresh names";
  why = fit_take_out(L);
  if (why != NULL) return why;
  lua_gc(L, LUA_GCCOLLECT, 0);
  lua_gc(L, LUA_GCCOLLECT, 0);
  if (arena_size(s->arena) > MAX_IMAGE) return "it is too large";
  return NULL;
}

void modimage_take (State *s) {
  Image *img = rare(s)->making;
  lua_State *L = s->L;
  const char *why = img->reason;
  lua_settop(L, 0);
  if (why == NULL) {
    lua_gc(L, LUA_GCCOLLECT, 0);
    why = why_not(s);
    if (why != NULL) image_refuse(img, why);
  }
  image_settle(img, s, L);
  s->rare->making = NULL;
  s->loading = false;
  s->asleep = true;
  image_unref(img);
}

void modimage_give_up (State *s) {
  image_abandon(s->rare->making);
  image_unref(s->rare->making);
  s->rare->making = NULL;
}

/* ---------------------------------------------------------------- in the copy */

void modimage_wake (lua_State *L, State *s) {
  s->asleep = false;
  fit_restore(L);
  if (s->image != NULL) fit_seed(L);   /* (the maker's own state is seeded) */
}
