/*
** rom.c - instructions that states share.  Layer 5.
**
** A goroutine that waits in a loop of forty lines holds a kilobyte of instructions that a thousand
** others hold too; each of them brings its own into the cache when it goes on.  Lua cannot share
** prototypes between states, since they hold collected objects, but the arrays of instructions and
** of line numbers hold none, and are only read once they are loaded.
**
** WHICH ARRAYS.  While a dump is loaded the allocator notes the blocks that Lua asks for, but for
** objects.  lua_dump hands its writer the very arrays that it loaded (see code.c): a block that the
** writer is given whole is one of them.  Its address stands in exactly one word of the other
** blocks, its prototype's.  A RECIPE says which of the noted blocks these are, by their number, and
** where in 'rom' their contents are kept.
**
** A LOAD of the same dump asks for the same blocks in the same order.  So the recipe is tried: if
** each word holds the address that it should, and each array what is kept, the word is set to what
** is kept, and the array is freed.
**
** INVARIANT R1.  Functions whose instructions are the same array were loaded from equal dumps: an
** array's address tells what function it is, as ever (code.h).  Hence a recipe holds its dump.
**
** FREEING.  Lua frees the array with its prototype, by the allocator, which knows by the address
** that it is none of its own (state.c).  Nothing in 'rom' is ever freed: who still reads it is not
** known.  Hence a dump is kept only when it was loaded KEEP_AT times, and 4 MB are all there is; and
** 12 for the recipes, since a dump may be all strings.
**
** REJECTED.  Counting who uses an array: states are dropped without being closed.  Giving Lua the
** shared array while it loads: it would write into what others read.
*/
#include <stdlib.h>
#include <string.h>
#include "code.h"
#include "rom.h"

#define MAX_BLOCKS 1024                /* of one load */
#define MIN_ARRAY 24u                  /* bytes worth sharing */
#define MIN_DUMP 300u
#define MAX_DUMP (256u << 10)
#define MAX_HELD (12u << 20)            /* bytes of recipes */
#define MAX_RATIO 16                   /* a recipe's bytes to those that are shared */
#define KEEP_AT 3
#define NSLOTS 1024u                   /* a power of two */
#define PROBES 4u

_Alignas(64) char rom[ROM_SIZE];

typedef struct Block { char *p; size_t size; } Block;          /* p NULL: freed meanwhile */

typedef struct Record {
  State *s;
  int n;                               /* more than MAX_BLOCKS: too many */
  bool clear;                          /* new blocks are */
  uint64_t met[16];                    /* bits: addresses that may be among them */
  Block block[MAX_BLOCKS];
} Record;

typedef struct Part {                  /* an array that is kept */
  uint16_t array, holder;              /* numbers of blocks */
  uint32_t word;                       /* of the holder, which points to it */
  uint32_t size;
  uint32_t found;                      /* such words, while it is made */
  const char *kept;                    /* in rom */
} Part;

typedef struct Recipe {
  char *dump;
  size_t len;
  int nblocks, n;
  Part part[];
} Recipe;
#define recipe_size(n) (sizeof(Recipe) + (size_t)(n) * sizeof(Part))

typedef struct Slot {
  _Atomic(uint64_t) key;               /* [A] 0: free */
  _Atomic(uint32_t) asked;             /* [A] */
  _Atomic(const Recipe *) recipe;      /* [A] set once; then all of the slot stays */
} Slot;

static Slot slots[NSLOTS];
static const Recipe none;              /* it cannot be shared */

static struct {
  Lock lock;                           /* RANK_LEAF */
  size_t used;                         /* [L] of rom */
  size_t held;                         /* [L] bytes of recipes, with their dumps */
  _Atomic(uint64_t) loads;             /* [A] */
} kept = { .lock = { .rank = RANK_LEAF } };

/* ---------------------------------------------------------------- what a load allocates */

static bool is_object (size_t kind) {
  return kind == LUA_TSTRING || kind == LUA_TTABLE || kind == LUA_TFUNCTION ||
         kind == LUA_TUSERDATA || kind == LUA_TTHREAD;
}

static uintptr_t hash_of (uintptr_t p) { return p / 8 ^ p / 8192; }

static uint64_t *met_word (Record *r, const void *p, uint64_t *bit) {
  uintptr_t h = hash_of((uintptr_t)p);
  *bit = UINT64_C(1) << h % 64;
  return &r->met[h / 64 % 16];
}

static void forget (Record *r, const void *p) {
  uint64_t bit;
  int i;
  if (!(*met_word(r, p, &bit) & bit)) return;
  for (i = 0; i < r->n && i < MAX_BLOCKS; i++)
    if (r->block[i].p == p) r->block[i].p = NULL;
}

/* The allocator during a load.  (Finalisers may run, too.) */
static void *allocate (void *ud, void *p, size_t osize, size_t nsize) {
  Record *r = ud;
  void *q = state_allocate(r->s, p, osize, nsize);
  if (p != NULL) {
    if (nsize == 0 || (q != NULL && q != p)) forget(r, p);
  }
  else if (q != NULL && !is_object(osize)) {
    uint64_t bit, *w = met_word(r, q, &bit);
    *w |= bit;
    if (r->clear) memset(q, 0, nsize);
    if (r->n < MAX_BLOCKS) {
      r->block[r->n].p = q;
      r->block[r->n].size = nsize;
    }
    r->n++;
  }
  return q;
}

/* ---------------------------------------------------------------- recipes */

static uintptr_t *word_of (const Block *b, uint32_t i) { return (uintptr_t *)(void *)b->p + i; }

/* Find the one word of the blocks that holds each array's address; an array is left out if
** there is not one.  (There may be some 100,000 words: hence a table.) */
static void find_holders (const Record *r, Recipe *c) {
  uint16_t table[2 * MAX_BLOCKS] = { 0 };          /* by address: a part's number + 1 */
  int i, j, n = 0;
  uint32_t k;
  uintptr_t h;
#define next_in_table(h) (((h) + 1) % (2 * MAX_BLOCKS))
#define first_in_table(w) (hash_of(w) % (2 * MAX_BLOCKS))
  for (j = 0; j < c->n; j++) {
    h = first_in_table((uintptr_t)r->block[c->part[j].array].p);
    while (table[h] != 0) h = next_in_table(h);
    table[h] = (uint16_t)(j + 1);
  }
  for (i = 0; i < r->n; i++)
    for (k = 0; r->block[i].p != NULL && k < r->block[i].size / sizeof(uintptr_t); k++) {
      uintptr_t w = *word_of(&r->block[i], k);
      for (h = first_in_table(w); table[h] != 0; h = next_in_table(h)) {
        Part *part = &c->part[table[h] - 1];
        if ((uintptr_t)r->block[part->array].p != w || i == part->array) continue;
        part->found++;
        part->holder = (uint16_t)i;
        part->word = k;
      }
    }
  for (j = 0; j < c->n; j++)
    if (c->part[j].found == 1) c->part[n++] = c->part[j];
  c->n = n;
}

typedef struct Making { const Record *r; Recipe *recipe; } Making;

static int see_block (lua_State *L, const void *p, size_t n, void *ud) {
  Making *mk = ud;
  const Record *r = mk->r;
  Recipe *c = mk->recipe;
  int i;
  (void)L;
  if (n < MIN_ARRAY) return 0;
  for (i = 0; i < r->n && (r->block[i].p != p || r->block[i].size != n); i++) continue;
  if (i < r->n) {
    c->part[c->n].array = (uint16_t)i;
    c->part[c->n].size = (uint32_t)n;
    c->n++;
  }
  return 0;
}

static size_t room_of (const Part *part) { return (part->size + 15u) & ~(size_t)15; }

/* Copy the arrays into rom.  false: there is no room, or the recipe is too large for them. */
static bool keep_arrays (const Record *r, Recipe *c) {
  size_t need = 0, own = recipe_size(c->nblocks) + c->len;
  char *to;
  int i;
  for (i = 0; i < c->n; i++) need += room_of(&c->part[i]);
  lock_acquire(&kept.lock);
  to = rom + kept.used;
  if (need < own / MAX_RATIO || need > ROM_SIZE - kept.used || own > MAX_HELD - kept.held)
    need = 0;
  kept.used += need;
  if (need > 0) kept.held += own;
  lock_release(&kept.lock);
  for (i = 0; i < c->n && need > 0; i++) {
    memcpy(to, r->block[c->part[i].array].p, c->part[i].size);
    c->part[i].kept = to;
    to += room_of(&c->part[i]);
  }
  return need > 0;
}

static void recipe_free (Recipe *c) {
  if (c != NULL) free(c->dump);
  free(c);
}

/* For the function on top, which 'r' is the load of.  NULL: no memory. */
static const Recipe *recipe_new (lua_State *L, const Record *r, const char *dump, size_t len) {
  Making mk = { r, NULL };
  Recipe *c;
  if (r->n > MAX_BLOCKS) return &none;
  c = mk.recipe = calloc(1, recipe_size(r->n));
  if (c == NULL || (c->dump = malloc(len)) == NULL) {
    recipe_free(c);
    return NULL;
  }
  memcpy(c->dump, dump, len);
  c->len = len;
  c->nblocks = r->n;
  lua_dump(L, see_block, &mk, 0);
  find_holders(r, c);
  if (c->n > 0 && keep_arrays(r, c)) return c;
  recipe_free(c);
  return &none;
}

static bool is_for (const Recipe *c, const Record *r, const char *dump, size_t len) {
  int i;
  if (c->nblocks != r->n || c->len != len || memcmp(c->dump, dump, len) != 0) return false;
  for (i = 0; i < c->n; i++) {
    const Part *part = &c->part[i];
    const Block *array = &r->block[part->array], *holder = &r->block[part->holder];
    if (array->p == NULL || holder->p == NULL || array->size != part->size ||
        part->word >= holder->size / sizeof(uintptr_t) ||
        *word_of(holder, part->word) != (uintptr_t)array->p ||
        memcmp(array->p, part->kept, part->size) != 0)
      return false;
  }
  return true;
}

static void share (const Recipe *c, const Record *r) {
  int i;
  for (i = 0; i < c->n; i++) {
    const Part *part = &c->part[i];
    const Block *array = &r->block[part->array];
    *word_of(&r->block[part->holder], part->word) = (uintptr_t)part->kept;
    state_allocate(r->s, array->p, array->size, 0);
  }
  add_rlx(&kept.loads, 1);
}

/* ---------------------------------------------------------------- the table */

static uint64_t key_of (const char *dump, size_t len) { return code_hash(dump, len, len) | 1; }

/* Where what has this key is; or a slot for it, without a recipe.  NULL: there is no room. */
static Slot *slot_of (uint64_t key) {
  uint32_t i;
  Slot *spare = NULL;
  for (i = 0; i < PROBES; i++) {
    Slot *slot = &slots[((key >> 32) + i) & (NSLOTS - 1)];
    if (load_rlx(&slot->key) == key) return slot;
    if (load_rlx(&slot->recipe) == NULL &&
        (spare == NULL || load_rlx(&slot->asked) < load_rlx(&spare->asked)))
      spare = slot;
  }
  if (spare == NULL) return NULL;
  store_rlx(&spare->key, key);         /* (two at once: whatever comes of it is tried before use) */
  store_rlx(&spare->asked, 0);
  return spare;
}

/* The recipe for the load of 'dump' that 'r' is, made now; NULL: no memory, or the slot is
** another dump's meanwhile. */
static const Recipe *recipe_made (lua_State *L, Slot *slot, const Record *r, const char *dump,
                                  size_t len) {
  const Recipe *c, *other = NULL;
  if (load_rlx(&slot->key) != key_of(dump, len)) return NULL;
  c = recipe_new(L, r, dump, len);
  if (c == NULL || cas_acqrel(&slot->recipe, &other, c)) return c;
  if (c != &none) recipe_free((Recipe *)c);        /* (what it kept stays: two at once are rare) */
  return other;
}

/* Where the recipe for this load is, or will be; NULL: it is not to be noted.  '*c': what is there. */
static Slot *find (lua_State *L, const State *s, const char *dump, size_t len, bool eager,
                   const Recipe **c) {
  Slot *slot;
  void *ud;
  if (len < MIN_DUMP || len > MAX_DUMP || s->arena == NULL) return NULL;
  if (lua_getallocf(L, &ud) != state_allocate) return NULL;    /* by a finaliser, in another load */
  if ((slot = slot_of(key_of(dump, len))) == NULL) return NULL;
  *c = load_acq(&slot->recipe);
  if (*c == NULL && !eager && add_rlx(&slot->asked, 1) + 1 < KEEP_AT) return NULL;
  return *c != &none ? slot : NULL;
}

int rom_load (lua_State *L, State *s, const char *dump, size_t len, const char *name, bool eager) {
  const Recipe *c;
  Slot *slot = find(L, s, dump, len, eager, &c);
  Record r;
  int status;
  if (slot == NULL) return luaL_loadbufferx(L, dump, len, name, "b");
  r.s = s;
  r.n = 0;
  r.clear = c == NULL;                 /* all words are looked at then, also those not set yet */
  memset(r.met, 0, sizeof r.met);
  lua_setallocf(L, allocate, &r);
  status = luaL_loadbufferx(L, dump, len, name, "b");
  lua_setallocf(L, state_allocate, s);
  if (status != LUA_OK) return status;
  if (c == NULL) c = recipe_made(L, slot, &r, dump, len);
  if (c != NULL && c != &none && is_for(c, &r, dump, len)) share(c, &r);
  return LUA_OK;
}

RomStats rom_stats (void) {
  RomStats st;
  lock_acquire(&kept.lock);
  st.bytes = kept.used;
  lock_release(&kept.lock);
  st.loads = load_rlx(&kept.loads);
  return st;
}
