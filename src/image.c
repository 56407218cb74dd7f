/*
** image.c - goroutines' states as copies of a template.  Layer 5.
**
** lua_newstate and the libraries cost some 25 us and 20 kB.  A state made once, all of whose
** blocks lie in one piece of memory (an arena's first chunk), can be copied instead: memcpy, then
** the distance is added to each word that points into the piece.  That is all, because
**
**   - all of a state's memory comes from its allocator, and Lua keeps plain pointers to it;
**   - what points outside (C functions, goro's keys in the registry, the allocator's function)
**     is the same for every copy;
**   - what the copy must have of its own is put right through Lua's API: the allocator's user
**     data and the State in the registry.
**
** A template may hold nothing whose place depends on an address inside: a table with tables,
** functions (but light C functions), full userdata or threads as keys is hashed by address and
** would be broken in a copy.  Full userdata are goro's handles only, without an object: each copy
** binds its own (handle_bind).  math.random's state, io's files and the like are each state's
** own: they come with their library, when it is first used (lazy.c).
**
** THE WORDS are found by looking at all of them (arena_pointers).  What is no pointer but looks
** like one would be changed.  So a new image is verified: a copy and a copy of that copy, which
** lie elsewhere, are walked in step and must be equal in every scalar, string and instruction
** (verify.c), and the function's code must still be what it was made from.  An image that fails
** is refused: its goroutines are started as messages, in copies of the plain image.  If that
** fails, when goro is loaded, there are no images: states are made the plain way.
**
** THE LIST.  Which image a function has is found by its code and its slots.  An entry begins as a
** count; the image is made when it has been asked for MAKE_AT times.  Beyond MAX_IMAGES entries
** or MAX_BYTES those least asked for go.  Everything is counted: a goroutine holds its image.
** docs/images.md says the same at more length, and how to look into it.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "code.h"
#include "image.h"
#include "rom.h"
#include "run.h"
#include "stdlibs.h"
#include "verify.h"

#define TEMPLATE_SIZE 65536
#define SLACK 64                       /* at first, for what a goroutine makes; then as learned */
#define MAX_SLACK 4096
#define MAKE_AT 8
#define MODULES_AT 3                   /* goroutines that asked for the same modules */
#define MAX_IMAGES 512
#define MAX_BYTES (16u << 20)
#define NBUCKETS 128u

enum { COUNTING, MAKING, READY, REFUSED };       /* Image.phase */

static Image plain;                    /* [I] after image_init */
static Image rich;                     /* the same with 'string' and 'table' prepared; its phase says */
static bool there;
static uint32_t make_at = MAKE_AT, modules_at = MODULES_AT;    /* [I] */
static bool logging;                   /* [I] */

static struct {
  Lock lock;
  Image *bucket[NBUCKETS];             /* [L] */
  uint32_t n;                          /* [L] */
  size_t bytes;                        /* [L] in ready ones */
} images;

bool image_there (void) { return there; }

/* ---------------------------------------------------------------- the keep */

static const char keep_key = 0;        /* registry[&keep_key] = the keep */

void keep_push (lua_State *L, int i) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keep_key) == LUA_TTABLE) lua_rawgeti(L, -1, i);
  else lua_pushnil(L);
  lua_remove(L, -2);
}

void keep_table (lua_State *L, int n) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keep_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, n, 1);            /* its own metatable, as one table is less than two */
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_pushvalue(L, -1);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &keep_key);
}

void keep_set (lua_State *L, int i) {
  keep_table(L, 0);
  lua_insert(L, -2);
  lua_rawseti(L, -2, i);
  lua_pop(L, 1);
}

/* ---------------------------------------------------------------- making one */

typedef struct Making { Image *img; State *s; } Making;

void image_fill_plain (lua_State *L, State *s) {
  state_register(L, s);
  stdlibs_open_lazy(L);
  handle_prepare(L);
}

static int fill_plain (lua_State *L) {           /* or rich */
  Making *mk = lua_touserdata(L, 1);
  lua_settop(L, 0);
  image_fill_plain(L, NULL);
  if (mk->img == &rich) stdlibs_prepare_common(L, mk->s);
  return 0;
}

/* Push what stands in slot 'i'; earlier slots' values stand from 'base' on. */
static void push_slot (lua_State *L, Making *mk, int base, int i) {
  Image *img = mk->img;
  int kind = img->slots.kind[i];
  if (kind == SLOT_GLOBALS) lua_pushglobaltable(L);
  else if (kind == SLOT_SELF) lua_pushvalue(L, base - 1);
  else if (kind == SLOT_GORO) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, img);        /* (made already?) */
    if (lua_istable(L, -1)) return;
    lua_pop(L, 1);
    stdlibs_goro_lazy(L, mk->s);
    lazy_put_mentioned(L, mk->s, -1, img->code, img->len);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, img);
  }
  else if (kind >= SLOT_SAME) lua_pushvalue(L, base + kind - SLOT_SAME);
  else if (kind >= SLOT_HANDLE) {
    int type = (kind - SLOT_HANDLE) / 4, view = (kind - SLOT_HANDLE) % 4;
    uint32_t k = img->nhandles++;
    img->handles[k] = handle_blank(L, mk->s, type, view, (int)k + 1, img->code, img->len);
    img->place[k] = (uint8_t)i;
    lua_pushvalue(L, -1);
    keep_set(L, (int)k + 1);
  }
  else lua_pushnil(L);
}

/* Results: run.c's two functions, the function, its arguments. */
static int fill_function (lua_State *L) {
  Making *mk = lua_touserdata(L, 1);
  Image *img = mk->img;
  int i, n = img->slots.n, nh = 0;
  lua_settop(L, 0);
  for (i = 0; i < n; i++) nh += img->slots.kind[i] >= SLOT_HANDLE && img->slots.kind[i] < SLOT_SAME;
  state_register(L, NULL);
  stdlibs_open_lazy(L);
  keep_table(L, nh + 1);
  lua_pushglobaltable(L);
  lazy_put_mentioned(L, mk->s, -1, img->code, img->len);
  stdlibs_prepare_mentioned(L, mk->s, img->code, img->len);
  lua_settop(L, 0);
  luaL_checkstack(L, n + 10, NULL);
  lua_pushcfunction(L, run_body);
  lua_pushcfunction(L, run_handler);
  if (rom_load(L, mk->s, img->code, img->len, "=goroutine", true) != LUA_OK) return lua_error(L);
  lua_pushvalue(L, -1);
  keep_set(L, nh + 1);
  for (i = 0; i < n; i++) push_slot(L, mk, 4, i);
  for (i = 0; i < img->slots.nup; i++) {
    lua_pushvalue(L, 4 + i);
    if (lua_setupvalue(L, 3, i + 1) == NULL) return luaL_error(L, "no upvalue");
  }
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, img) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, img);
  }
  lua_settop(L, 3 + n);
  for (i = 0; i < img->slots.nup; i++) lua_remove(L, 4);
  return lua_gettop(L);
}

static bool is_function_kept (lua_State *L, const Image *img) {
  bool same;
  if (img->code == NULL) return true;
  keep_push(L, (int)img->nhandles + 1);
  same = lua_rawequal(L, -1, 3);
  lua_pop(L, 1);
  return same;
}

/* Where code that is at 'f' in 'from' is in its copy; NULL: there is none. */
static const void *code_moved (const Arena *from, const Arena *to, const void *f) {
  return f == NULL || rom_has(f) ? f : arena_moved(from, to, f);
}

/* Make the image in a large arena, then keep a copy of the size that it needs. */
static bool make (Image *img) {
  State *s = calloc(1, sizeof *s);     /* for the allocator, while the template is made */
  Making mk = { img, s };
  lua_State *L = NULL;
  Arena *large;
  bool ok = false;
  if (s == NULL) return false;
  large = s->arena = arena_new(TEMPLATE_SIZE, true);
  if (large != NULL && (L = lua_newstate(state_allocate, s)) != NULL) {
    state_prepare(L);
    lua_pushcfunction(L, img->code == NULL ? fill_plain : fill_function);
    lua_pushlightuserdata(L, &mk);
    if (lua_pcall(L, 1, LUA_MULTRET, 0) == LUA_OK && is_function_kept(L, img)) {
      lua_gc(L, LUA_GCCOLLECT, 0);
      lua_gc(L, LUA_GCCOLLECT, 0);
      if (img->code != NULL) img->function = code_of(L, 3);
      img->npointers = arena_pointers(large, &img->pointers);
      if (img->npointers >= 0 && s->nuserdata == img->nhandles)
        img->arena = arena_copy(large, 0, img->pointers, img->npointers, NULL);
    }
  }
  if (img->arena != NULL) {
    uint32_t i;
    img->L = arena_moved(large, img->arena, L);
    img->function = code_moved(large, img->arena, img->function);
    for (i = 0; i < img->nhandles; i++)
      img->handles[i] = arena_moved(large, img->arena, img->handles[i]);
    memcpy(img->lazy, s->lazy, sizeof img->lazy);
    img->wild = s->wild;
    store_rlx(&img->slack, SLACK);
    ok = true;
  }
  if (large != NULL) arena_free(large, NULL);      /* the template never allocates again */
  free(s);
  return ok;
}

/* A copy of 'from', which is 'img' or a copy of it, for 's'. */
static lua_State *copy (const Image *img, const Arena *from, State *s, size_t slack,
                        ArenaPool *pool) {
  lua_State *L;
  s->arena = arena_copy(from, slack, img->pointers, img->npointers, pool);
  if (s->arena == NULL) return NULL;
  L = arena_moved(img->arena, s->arena, img->L);
  lua_setallocf(L, state_allocate, s);
  return L;
}

/* Is the function at 3 of the copy as it was? */
static bool same_code (lua_State *L, const Image *img) {
  size_t len;
  char *code;
  bool same;
  if (img->code == NULL || img->modules) return true;
  code = code_dump(L, 3, &len);
  same = code != NULL && len == img->len && memcmp(code, img->code, len) == 0;
  free(code);
  return same;
}

/* 'L': the template, where the image is not its exact copy; or NULL. */
static bool check (const Image *img, lua_State *L) {
  State *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
  lua_State *A, *B;
  bool ok = false;
  if (a != NULL && b != NULL && (A = copy(img, img->arena, a, SLACK, NULL)) != NULL) {
    if ((B = copy(img, a->arena, b, SLACK, NULL)) != NULL) {
      ok = verify_same(A, B) && (L == NULL || verify_same(L, A)) && same_code(A, img) &&
           same_code(B, img) && verify_works(A) && verify_works(B);
      if (ok && !img->modules) lua_close(B);       /* (modules' finalisers are not ours to run) */
      arena_free(b->arena, NULL);
    }
    if (ok && !img->modules) lua_close(A);
    arena_free(a->arena, NULL);
  }
  free(a);
  free(b);
  return ok;
}

static void drop (Image *img) {        /* what make() made */
  if (img->arena != NULL) arena_free(img->arena, NULL);
  free(img->pointers);
  img->arena = NULL;
  img->pointers = NULL;
}

/* ---------------------------------------------------------------- the list */

void search_drop (ModSearch *q) {
  free(q->name);
  free(q->own);
  free(q->file);
}

static void forget_files (Image *img) {
  while (img->nfiles > 0) free(img->files[--img->nfiles].path);
  while (img->nsearches > 0) search_drop(&img->searches[--img->nsearches]);
}

void image_unref_n (Image *img, uint32_t n) {
  if (img == NULL || sub_acqrel(&img->refs, n) != n) return;
  drop(img);
  forget_files(img);
  free(img->files);
  free(img->searches);
  free(img->reason);
  heritage_unref(img->heritage);
  free(img->code);
  free(img);
}

bool image_is_for (const Image *img, const Slots *slots) {
  return img->slots.n == slots->n && img->slots.nup == slots->nup &&
         memcmp(img->slots.kind, slots->kind, slots->n) == 0;
}

static size_t ready_bytes (const Image *img) {
  return load_acq(&img->phase) == READY ? arena_extent(img->arena) : 0;
}

/* Take the entry least asked for out of the list; all others are asked for half as much. */
static Image *evict (const Image *stays) {         /* images.lock held */
  Image **least = NULL, **pp, *img;
  uint32_t i;
  lock_check_held(&images.lock);
  for (i = 0; i < NBUCKETS; i++)
    for (pp = &images.bucket[i]; (img = *pp) != NULL; pp = &img->next) {
      uint32_t asked = load_rlx(&img->asked);
      if (img == stays || load_rlx(&img->phase) == MAKING) continue;
      if (least == NULL || asked < load_rlx(&(*least)->asked)) least = pp;
      if (load_rlx(&img->phase) != COUNTING) store_rlx(&img->asked, asked / 2);
    }
  if (least == NULL) return NULL;
  img = *least;
  *least = img->next;
  images.n--;
  images.bytes -= ready_bytes(img);
  return img;
}

static Image *new_entry (char *code, size_t len, uint64_t hash, const Slots *slots) {
  Image *img = aligned_alloc(_Alignof(Image), sizeof *img);
  if (img == NULL) {
    free(code);
    return NULL;
  }
  memset(img, 0, sizeof *img);
  store_rlx(&img->refs, 2);            /* the list's and the caller's */
  img->code = code;
  img->len = len;
  img->hash = hash;
  img->slots.n = slots->n;
  img->slots.nup = slots->nup;
  memcpy(img->slots.kind, slots->kind, slots->n);
  return img;
}

Image *image_find (char *code, size_t len, uint64_t hash, const Slots *slots) {
  Image **bucket = &images.bucket[hash % NBUCKETS], *img, *old = NULL;
  lock_acquire(&images.lock);
  for (img = *bucket; img != NULL; img = img->next)
    if (img->hash == hash && img->len == len && !img->modules && image_is_for(img, slots) &&
        memcmp(img->code, code, len) == 0)
      break;
  if (img != NULL) {
    add_rlx(&img->refs, 1);
    free(code);
  }
  else if ((img = new_entry(code, len, hash, slots)) != NULL) {
    img->next = *bucket;
    *bucket = img;
    if (++images.n > MAX_IMAGES) old = evict(img);
  }
  lock_release(&images.lock);
  image_unref(old);
  return img;
}

/* ---------------------------------------------------------------- with modules */

static bool same_bytes (const char *a, size_t la, const char *b, size_t lb) {
  return la == lb && (a == NULL) == (b == NULL) && (a == NULL || memcmp(a, b, la) == 0);
}

/* Would modules be found and run the same way? */
static bool same_heritage (const Heritage *a, const Heritage *b) {
  if (a == b) return true;
  if (a->package != NULL || b->package != NULL) return false;
  if ((a->arg == NULL) != (b->arg == NULL)) return false;
  if (a->arg != NULL && (a->arg->nobjs != 0 || b->arg->nobjs != 0 ||
                         !same_bytes(a->arg->bytes, a->arg->len, b->arg->bytes, b->arg->len)))
    return false;
  return same_bytes(a->path, a->lpath, b->path, b->lpath) &&
         same_bytes(a->cpath, a->lcpath, b->cpath, b->lcpath);
}

Image *image_find_modules (const char *names, size_t len, Heritage *h) {
  static const Slots none;
  uint64_t hash = code_hash(names, len, 1);
  Image **bucket = &images.bucket[hash % NBUCKETS], *img, *old = NULL;
  char *copy = NULL;
  lock_acquire(&images.lock);
  for (img = *bucket; img != NULL; img = img->next)
    if (img->modules && same_bytes(img->code, img->len, names, len) &&
        same_heritage(img->heritage, h))
      break;
  if (img != NULL) add_rlx(&img->refs, 1);
  else if ((copy = malloc(len)) != NULL) {
    memcpy(copy, names, len);
    if ((img = new_entry(copy, len, hash, &none)) != NULL) {
      img->modules = true;
      img->heritage = h;
      obj_ref(&h->o);
      img->next = *bucket;
      *bucket = img;
      if (++images.n > MAX_IMAGES) old = evict(img);
    }
  }
  lock_release(&images.lock);
  image_unref(old);
  return img;
}

Ask image_look (const Image *img) {
  uint32_t phase = load_acq(&img->phase);
  return phase == READY ? ASK_READY : phase == REFUSED ? ASK_NEVER : ASK_NOT;
}

Ask image_ask (Image *img) {
  uint32_t phase = load_acq(&img->phase), asked = load_rlx(&img->asked);
  if (asked < UINT32_MAX / 2) store_rlx(&img->asked, asked + 1);
  if (phase == COUNTING && asked + 1 >= modules_at && cas_acqrel(&img->phase, &phase, MAKING))
    return ASK_MAKE;
  return image_look(img);
}

void image_refuse (Image *img, const char *why) {
  if (img->reason == NULL) img->reason = strdup(why);
}

void image_abandon (Image *img) {
  forget_files(img);
  store_rlx(&img->asked, 0);
  store_rel(&img->phase, COUNTING);
}

void image_forget (Image *img) {
  Image **pp;
  lock_acquire(&images.lock);
  for (pp = &images.bucket[img->hash % NBUCKETS]; *pp != NULL && *pp != img; pp = &(*pp)->next)
    continue;
  if (*pp == img) {
    *pp = img->next;
    images.n--;
    images.bytes -= ready_bytes(img);
  }
  else img = NULL;
  lock_release(&images.lock);
  image_unref(img);                    /* the list's reference */
}

static void publish (Image *img, bool ok) {
  Image *old = NULL;
  lock_acquire(&images.lock);
  store_rel(&img->phase, ok ? READY : REFUSED);
  images.bytes += ready_bytes(img);
  if (images.bytes > MAX_BYTES) old = evict(NULL);
  lock_release(&images.lock);
  image_unref(old);
}

/* All that a copy of 's' needs, into 'img'.  NULL: it is done, and right; or why not.  With
** 'compact', without what is free in it. */
static const char *take_copy (Image *img, const State *s, lua_State *L, bool compact) {
  img->npointers = arena_pointers(s->arena, &img->pointers);
  if (img->npointers < 0) return "its memory is not in one piece";
  if (compact) {
    void *p = L;
    free(img->pointers);
    img->pointers = NULL;
    img->arena = arena_compact(s->arena, &p);
    img->L = p;
    if (img->arena != NULL) img->npointers = arena_pointers(img->arena, &img->pointers);
  }
  else {
    img->arena = arena_copy(s->arena, 0, img->pointers, img->npointers, NULL);
    img->L = arena_moved(s->arena, img->arena, L);
  }
  if (img->arena == NULL || img->npointers < 0) return "not enough memory";
  memcpy(img->lazy, s->lazy, sizeof img->lazy);
  img->wild = s->wild || img->modules;
  store_rlx(&img->slack, SLACK);
  return check(img, compact ? L : NULL) ? NULL : "a copy of it is not the same";
}

void image_settle (Image *img, State *s, lua_State *L) {
  const char *why = NULL;
  if (img->reason == NULL && (why = take_copy(img, s, L, true)) != NULL) {
    drop(img);
    why = take_copy(img, s, L, false);
  }
  if (why != NULL) image_refuse(img, why);
  if (logging)
    fprintf(stderr, "goro: image of modules %s: %s%s%s\n", img->code,
            img->reason == NULL ? "made" : "refused: ", img->reason == NULL ? "" : img->reason,
            strlen(img->code) + 1 < img->len ? " (and others)" : "");
  if (img->reason != NULL) drop(img);
  publish(img, img->reason == NULL);
}

static const char *const phases[] = { "counting", "making", "ready", "refused" };

ModImageInfo *image_list_modules (int *n) {
  ModImageInfo *list;
  uint32_t i, room;
  Image *img;
  size_t k;
  *n = 0;
  lock_acquire(&images.lock);
  room = images.n;
  list = calloc(room + 1, sizeof *list);
  for (i = 0; i < NBUCKETS && list != NULL; i++)
    for (img = images.bucket[i]; img != NULL; img = img->next) {
      uint32_t phase = load_acq(&img->phase);
      ModImageInfo *info = &list[*n];
      if (!img->modules || (info->names = malloc(2 * img->len)) == NULL) continue;
      for (k = 0, room = 0; k + 1 < img->len; k++) {
        if (img->code[k] != '\0') info->names[room++] = img->code[k];
        else {
          info->names[room++] = ',';
          info->names[room++] = ' ';
        }
      }
      info->names[room] = '\0';
      info->phase = phases[phase];
      if (phase == REFUSED && img->reason != NULL) info->reason = strdup(img->reason);
      info->bytes = phase == READY ? arena_size(img->arena) : 0;
      info->started = load_rlx(&img->started);
      (*n)++;
    }
  lock_release(&images.lock);
  return list;
}

/* ---------------------------------------------------------------- of functions */

/* GOROIMAGE=log: one line on stderr. */
static void tell (const Image *img, bool ok) {
  lua_Debug ar;
  if (img->arena == NULL) {
    fprintf(stderr, "goro: image refused: it could not be made\n");
    return;
  }
  lua_pushvalue(img->L, 3);            /* (there is room: LUA_MINSTACK) */
  lua_getinfo(img->L, ">S", &ar);
  fprintf(stderr, "goro: image %s: %s:%d, %zu bytes, %ld pointers, %u handles\n",
          ok ? "made" : "refused", ar.short_src, ar.linedefined, arena_size(img->arena),
          img->npointers, img->nhandles);
}

static void make_and_check (Image *img) {
  bool ok = make(img) && check(img, NULL);
  if (logging) tell(img, ok);
  if (!ok) drop(img);
  publish(img, ok);
}

bool image_ready (Image *img) {
  uint32_t phase = load_acq(&img->phase), asked = load_rlx(&img->asked);
  if (asked < UINT32_MAX / 2) store_rlx(&img->asked, asked + 1);
  if (phase == COUNTING && asked + 1 >= make_at && cas_acqrel(&img->phase, &phase, MAKING)) {
    make_and_check(img);
    phase = load_acq(&img->phase);
  }
  return phase == READY;
}

ImageStats image_stats (void) {
  ImageStats st = { 0, 0, 0, 0 };
  uint32_t i;
  Image *img;
  lock_acquire(&images.lock);
  for (i = 0; i < NBUCKETS; i++)
    for (img = images.bucket[i]; img != NULL; img = img->next) {
      st.images++;
      st.ready += load_rlx(&img->phase) == READY;
      st.refused += load_rlx(&img->phase) == REFUSED;
    }
  st.bytes = images.bytes;
  lock_release(&images.lock);
  return st;
}

/* ---------------------------------------------------------------- goroutines */

/*
** Goroutines that start by messages are copies of the plain image, or of the rich one where others
** that were started there opened a library that it has, or an image is made for every start.
*/
static bool is_rich (const State *s) {
  uint32_t phase = COUNTING;
  if (make_at > 1 && (s->origin == NULL || load_rlx(&s->origin->rich) == 0)) return false;
  if (load_rlx(&rich.phase) == COUNTING && cas_acqrel(&rich.phase, &phase, MAKING)) {
    bool ok = make(&rich) && check(&rich, NULL);
    if (!ok) drop(&rich);
    store_rel(&rich.phase, ok ? READY : REFUSED);
  }
  return load_acq(&rich.phase) == READY;
}

static Image *image_of (const State *s) {
  return s->image != NULL ? s->image : s->rich ? &rich : &plain;
}

lua_State *image_open (State *s, ArenaPool *pool) {
  Image *img;
  lua_State *L;
  if (s->image == NULL) s->rich = is_rich(s);
  img = image_of(s);
  L = copy(img, img->arena, s, load_rlx(&img->slack), pool);
  if (L == NULL) return NULL;
  s->lazy_libs = true;
  s->asleep = img->modules;
  memcpy(s->lazy, img->lazy, sizeof s->lazy);
  s->wild = img->wild;
  s->nuserdata = s->nhandles = img->nhandles;
  state_register(L, s);                /* the key is there: no memory is needed */
  return L;
}

const void *image_function (const State *s) {
  return code_moved(s->image->arena, s->arena, s->image->function);
}

void image_learn (const State *s) {
  Image *img = image_of(s);
  size_t need = arena_need(s->arena) - arena_size(img->arena);
  if (need > MAX_SLACK) need = MAX_SLACK;
  if (need > load_rlx(&img->slack)) store_rlx(&img->slack, (uint32_t)need);
}

void image_close (State *s, ArenaPool *pool) {
  image_learn(s);
  arena_free(s->arena, pool);
  s->arena = NULL;
}

void image_init (void) {
  const char *how = getenv("GOROIMAGE");
  lock_init(&images.lock, RANK_LEAF);
  if ((how != NULL && strcmp(how, "0") == 0) || !stdlibs_can_be_lazy()) return;
  if (how != NULL && strstr(how, "always") != NULL) make_at = modules_at = 1;
  logging = how != NULL && strstr(how, "log") != NULL;
  there = make(&plain) && check(&plain, NULL);
}
