/*
** start.c - a goroutine's function and arguments, where its image has the function.  Layer 5.
**
** Most goroutines are started by a function that was started before, with upvalues and arguments
** that are numbers, strings or goro's objects.  Then nothing needs to be encoded: the image has
** the function, and the values are laid into a Start, from which each copy takes them.  Anything
** else (tables, other Lua functions, modules) goes as a message (marshal.h).
**
** WHICH IMAGE.  The state that starts goroutines keeps a few CodeSlots: the address of a
** function's instructions, and the image that was found for it.  Such an address may be used
** again when the function is gone: so beside each slot the function stands in the keep, weakly.
** As long as it is there the address is its own, and a function with the same address has the
** same prototype.  Otherwise the code is dumped and looked for by its bytes.  A state that is
** itself a copy knows its own function from the start: trees of goroutines dump nothing.
*/
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "code.h"
#include "marshal.h"
#include "slab.h"
#include "start.h"

#define NCODESLOTS 8u

typedef struct CodeSlot {
  const void *code;                    /* NULL: unused */
  Image *img;                          /* counted ... */
  uint16_t spare;                      /* ... and so many times more: lend() */
} CodeSlot;

static void slot_clear (CodeSlot *slot) {
  image_unref_n(slot->img, 1u + slot->spare);
  slot->code = NULL;
  slot->img = NULL;
  slot->spare = 0;
}

/* ---------------------------------------------------------------- what the slots hold */

typedef struct Look {
  lua_State *L;
  int f;                               /* stack: the function */
  Slots slots;
  bool strings;
  Value v[MAX_SLOTS];                  /* objects not counted, strings not copied yet */
  Handle *h[MAX_SLOTS];                /* objects' */
} Look;

static bool is_goro (lua_State *L) {   /* the table on top: the module? */
  bool same;
  if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) == LUA_TTABLE) {
    lua_pushliteral(L, "goro");
    lua_rawget(L, -2);
    same = lua_rawequal(L, -1, -3);
    lua_pop(L, 2);
    return same;
  }
  lua_pop(L, 1);
  return false;
}

static bool is_globals (lua_State *L, const char *name) {      /* the table on top */
  bool same;
  lua_pushglobaltable(L);
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 1);
  return same || (name != NULL && strcmp(name, "_ENV") == 0 && marshal_is_shadow(L));
}

static int look_at_table (lua_State *L, const char *name) {
  if (is_globals(L, name)) return SLOT_GLOBALS;
  return is_goro(L) ? SLOT_GORO : -1;
}

static int look_at_handle (Look *k, Value *v) {
  Handle *h = handle_test(k->L, -1);
  int i, kind;
  if (h == NULL) return -1;
  kind = SLOT_HANDLE + 4 * h->o->type + h->view;
  for (i = 0; i < k->slots.n; i++)
    if (k->v[i].tag == V_OBJ && k->v[i].u.o == h->o && k->slots.kind[i] == kind)
      return SLOT_SAME + i;
  v->tag = V_OBJ;
  v->u.o = h->o;
  k->h[k->slots.n] = h;
  return kind;
}

static int look_at_function (Look *k, Value *v) {
  lua_State *L = k->L;
  lua_CFunction f;
  if (!lua_iscfunction(L, -1)) return lua_rawequal(L, -1, k->f) ? SLOT_SELF : -1;
  f = lua_tocfunction(L, -1);
  if (lua_getupvalue(L, -1, 1) != NULL) {
    lua_pop(L, 1);
    return -1;
  }
  marshal_pin(f);
  v->tag = V_CFN;
  v->u.f = (void (*) (void))f;
  return SLOT_VALUE;
}

/* Look at the value on top, popped; false: there is no image with such a thing. */
static bool look_at (Look *k, const char *name) {
  lua_State *L = k->L;
  Value *v = &k->v[k->slots.n];
  int kind = SLOT_VALUE;
  *v = NIL_VALUE;
  switch (lua_type(L, -1)) {
    case LUA_TNIL: break;
    case LUA_TBOOLEAN: v->tag = lua_toboolean(L, -1) ? V_TRUE : V_FALSE; break;
    case LUA_TNUMBER:
      if (lua_isinteger(L, -1)) {
        v->tag = V_INT;
        v->u.i = lua_tointeger(L, -1);
      }
      else {
        v->tag = V_FLT;
        v->u.n = lua_tonumber(L, -1);
      }
      break;
    case LUA_TLIGHTUSERDATA:
      v->tag = V_LUD;
      v->u.p = lua_touserdata(L, -1);
      break;
    case LUA_TSTRING:
      v->tag = V_STR;
      k->strings = true;
      break;
    case LUA_TFUNCTION: kind = look_at_function(k, v); break;
    case LUA_TTABLE: kind = look_at_table(L, name); break;
    case LUA_TUSERDATA: kind = look_at_handle(k, v); break;
    default: kind = -1;
  }
  lua_pop(L, 1);
  if (kind < 0) return false;
  k->slots.kind[k->slots.n++] = (uint8_t)kind;
  return true;
}

/* Are two of its upvalues one variable (debug.upvaluejoin)? */
static bool has_joined (lua_State *L, int f, int nup) {
  void *id[MAX_SLOTS];
  int i, j;
  for (i = 0; i < nup; i++) {
    id[i] = lua_upvalueid(L, f, i + 1);
    for (j = 0; j < i; j++)
      if (id[i] == id[j]) return true;
  }
  return false;
}

static bool look (Look *k, int n) {
  lua_State *L = k->L;
  const char *name;
  int i;
  for (i = 1; (name = lua_getupvalue(L, k->f, i)) != NULL; i++) {
    if (i > MAX_SLOTS) {
      lua_pop(L, 1);
      return false;
    }
    if (!look_at(k, name)) return false;
  }
  k->slots.nup = (uint8_t)(i - 1);
  if (k->slots.nup + n > MAX_SLOTS || has_joined(L, k->f, k->slots.nup)) return false;
  for (i = 1; i <= n; i++) {
    lua_pushvalue(L, k->f + i);
    if (!look_at(k, NULL)) return false;
  }
  return true;
}

/* ---------------------------------------------------------------- which image */

static bool is_kept (lua_State *L, int i) {
  bool there;
  keep_push(L, i);
  there = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return there;
}

static uint64_t slots_hash (const Slots *slots) {
  return code_hash((const char *)slots->kind, slots->n, slots->n + 64u * slots->nup);
}

/* A new reference; NULL: no memory.  May raise. */
static Image *find_by_bytes (Look *k, uint64_t h) {
  size_t len;
  char *code = code_dump(k->L, k->f, &len);
  return code == NULL ? NULL : image_find(code, len, code_hash(code, len, h), &k->slots);
}

/*
** The image for what was looked at; not counted: the slot has it, or the state that it made, whose
** references to be lent are at '*spare' then; or it is '*own', and '*spare' stays.
*/
static Image *find (Look *k, State *s, Image **own, uint16_t **spare) {
  lua_State *L = k->L;
  const void *code = code_of(L, k->f);
  uint64_t h = slots_hash(&k->slots);
  CodeSlot *slot;
  Rare *r;
  int i;
  *own = NULL;
  if (code == NULL) return *own = find_by_bytes(k, h);
  if (s->image != NULL && image_function(s) == code &&
      image_is_for(s->image, &k->slots) && is_kept(L, (int)s->image->nhandles + 1)) {
    *spare = &s->spare_image;
    return s->image;
  }
  if ((r = rare_write(s)) == NULL) return NULL;
  if (r->code_slots == NULL) {
    r->code_slots = calloc(NCODESLOTS, sizeof *r->code_slots);
    if (r->code_slots == NULL) return NULL;
  }
  i = (int)(((uintptr_t)code >> 4 ^ h) % NCODESLOTS);
  slot = &r->code_slots[i];
  *spare = &slot->spare;
  if (slot->code == code && image_is_for(slot->img, &k->slots) && is_kept(L, KEEP_CODE + i))
    return slot->img;
  slot_clear(slot);
  lua_pushvalue(L, k->f);
  keep_set(L, KEEP_CODE + i);
  slot->img = find_by_bytes(k, h);
  if (slot->img != NULL) slot->code = code;
  return slot->img;
}

void start_forget (State *s) {
  CodeSlot *slots = rare(s)->code_slots;
  unsigned i;
  if (slots == NULL) return;
  for (i = 0; i < NCODESLOTS; i++) slot_clear(&slots[i]);
  free(slots);
  s->rare->code_slots = NULL;
}

/* ---------------------------------------------------------------- capture */

/* The string in slot 'i', copied; NULL: no memory. */
static Msg *copy_string (Look *k, uint32_t i) {
  lua_State *L = k->L;
  const char *str;
  size_t len;
  Msg *m;
  if (i < k->slots.nup) lua_getupvalue(L, k->f, (int)i + 1);
  else lua_pushvalue(L, k->f + 1 + (int)(i - k->slots.nup));
  str = lua_tolstring(L, -1, &len);
  m = msg_new_string(str, len);
  lua_pop(L, 1);
  return m;
}

/* From slabs: a hundred thousand may wait to start, and go back to the system when they have. */
#define start_size(n) (sizeof(Start) + (n) * sizeof(Value))

static Start *take (Look *k) {
  uint32_t i, n = k->slots.n;
  Start *st = slab_alloc(start_size(n));
  if (st == NULL) return NULL;
  st->n = 0;
  st->room = (uint8_t)n;
  st->strings = k->strings;
  for (i = 0; i < n; i++) {
    st->v[i] = k->v[i];
    if (k->v[i].tag == V_OBJ) lend(&k->h[i]->o->refs, &k->h[i]->spare);
    else if (k->v[i].tag == V_STR && (st->v[i].u.m = copy_string(k, i)) == NULL) {
      start_free(st);
      return NULL;
    }
    st->n = i + 1;
  }
  return st;
}

Start *start_capture (lua_State *L, State *s, int f, int n, Image **img) {
  Look k;
  Image *own;
  uint16_t none = 0, *spare = &none;
  Start *st = NULL;
  if (!image_there() || lua_iscfunction(L, f) || load_rlx(&check_on) != 0) return NULL;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  k.L = L;
  k.f = f;
  k.slots.n = 0;
  k.strings = false;
  if (!look(&k, n)) return NULL;
  *img = find(&k, s, &own, &spare);
  if (*img != NULL && image_ready(*img) && (st = take(&k)) != NULL) lend(&(*img)->refs, spare);
  if (own != NULL) image_unref_n(own, 1u + none);
  return st;
}

void start_free (Start *st) {
  uint32_t i;
  for (i = 0; i < st->n; i++) value_drop(&st->v[i]);
  slab_free(st, start_size(st->room));
}

/* ---------------------------------------------------------------- in the copy */

void start_bind (State *s, Start *st) {
  const Image *img = s->image;
  uint32_t i;
  for (i = 0; i < img->nhandles; i++) {
    Value *v = &st->v[img->place[i]];
    handle_bind(s, image_handle(s, i + 1), v->u.o);
    *v = NIL_VALUE;
  }
}

void start_fill (lua_State *L, State *s, Start *st, int f) {
  const Slots *slots = &s->image->slots;
  uint32_t i;
  for (i = 0; i < st->n; i++) {
    Value *v = &st->v[i];
    if (v->tag == V_NIL || slots->kind[i] != SLOT_VALUE) continue;
    value_to_lua(L, s, v);
    *v = NIL_VALUE;
    if (i < slots->nup) lua_setupvalue(L, f, (int)i + 1);
    else lua_replace(L, f + 1 + (int)(i - slots->nup));
  }
}
