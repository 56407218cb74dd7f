/*
** handle.c - shared objects behind userdata.  Layer 5.
*/
#include <string.h>
#include "lauxlib.h"
#include "argerr.h"
#include "code.h"
#include "handle.h"
#include "image.h"
#include "lazy.h"
#include "tame.h"

const HandleType *handle_types[OBJ_NTYPES];
uint8_t handle_slots[OBJ_NTYPES];
static const char meta_keys[OBJ_NTYPES];         /* registry[&meta_keys[type]] = metatable */

static void release (Handle *h) {
  Obj *o = h->o;
  h->o = NULL;
  if (h->owner != NULL) {
    if (h->slot != 0) h->owner->bound &= ~(UINT64_C(1) << h->slot);
    if (h->prev != NULL) h->prev->next = h->next;
    else h->owner->handles = h->next;
    if (h->next != NULL) h->next->prev = h->prev;
    h->owner = NULL;
  }
  obj_unref_n(o, 1u + h->spare);
}

void handle_release_all (State *s) {   /* (their memory goes with them) */
  Handle *h;
  for (h = s->handles; h != NULL; h = h->next) obj_unref_n(h->o, 1u + h->spare);
  s->handles = NULL;
  s->bound = 0;
}

/* Its handles are finalised one by one, after the State has gone. */
void handle_disown_all (State *s) {
  Handle *h;
  for (h = s->handles; h != NULL; h = h->next) h->owner = NULL;
  s->handles = NULL;
}

/* A collection takes dead handles out of the weak keep, though they wait for their finaliser. */
bool handle_alive (lua_State *L, const Handle *h) {
  bool alive;
  if (h->slot != 0) keep_push(L, h->slot);
  else {
    keep_table(L, 0);                  /* (it is there since the handle was made) */
    lua_rawgetp(L, -1, (const char *)h->o + h->view);
    lua_remove(L, -2);
  }
  alive = lua_touserdata(L, -1) == h;
  lua_pop(L, 1);
  return alive;
}

static int h_gc (lua_State *L) {
  Handle *h = lua_touserdata(L, 1);
  if (h != NULL && h->o != NULL && !os_forked) release(h);
  return 0;
}

static int h_eq (lua_State *L) {
  Handle *a = handle_test(L, 1), *b = handle_test(L, 2);
  lua_pushboolean(L, a != NULL && b != NULL && a->o == b->o);
  return 1;
}

static int h_tostring (lua_State *L) {
  Handle *h = handle_test(L, 1);
  if (h == NULL) return luaL_error(L, "object expected");
  lua_pushfstring(L, "%s: %p", handle_types[h->o->type]->name, (void *)h->o);
  return 1;
}

/* __index of a type's table of methods: the method comes into it when it is first called. */
static int find_method (lua_State *L, int type) {
  const luaL_Reg *r;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  for (r = handle_types[type]->methods; r->name != NULL; r++)
    if (strcmp(r->name, name) == 0) {
      lua_pushcfunction(L, r->func);
      lua_pushvalue(L, 2);
      lua_pushvalue(L, -2);
      lua_rawset(L, 1);
      return 1;
    }
  return 0;
}

#define TYPES(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) \
  X(14) X(15)
#define X(n) static int find_##n (lua_State *L) { return find_method(L, n); }
TYPES(X)
#undef X
#define X(n) find_##n,
static const lua_CFunction finders[] = { TYPES(X) };
#undef X
_Static_assert(OBJ_NTYPES <= sizeof finders / sizeof *finders, "a finder for each type");

/* The same for a methods table that has the metatable common to all that is lazy. */
int handle_index (lua_State *L) {
  int type;
  for (type = 0; type < OBJ_NTYPES; type++) {
    bool same = false;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_keys[type]) == LUA_TTABLE) {
      lua_pushliteral(L, "__index");
      lua_rawget(L, -2);
      if (handle_types[type]->index != NULL) lua_getupvalue(L, -1, 1);
      same = lua_rawequal(L, -1, 1);
    }
    lua_settop(L, 2);
    if (same) return find_method(L, type);
  }
  return 0;
}

/* Push the metatable of handles of 'type'. */
static void push_meta (lua_State *L, int type) {
  const HandleType *d = handle_types[type];
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_keys[type]) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 8);
  lua_pushstring(L, d->name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushcfunction(L, h_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, h_eq);
  lua_setfield(L, -2, "__eq");
  lua_pushcfunction(L, h_tostring);
  lua_setfield(L, -2, "__tostring");
  if (d->meta != NULL) luaL_setfuncs(L, d->meta, 0);
  lua_newtable(L);                     /* the methods */
  if (d->index != NULL || !lazy_push_common(L)) {  /* (handle_index looks at __index) */
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, finders[type]);
    lua_setfield(L, -2, "__index");
  }
  lua_setmetatable(L, -2);
  if (d->index != NULL) lua_pushcclosure(L, d->index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_keys[type]);
}

Handle *handle_of_function (lua_State *L, int idx) {
  lua_CFunction f = lua_tocfunction(L, idx);
  Handle *h = NULL;
  int type;
  if (f == NULL) return NULL;
  for (type = 0; type < OBJ_NTYPES && h == NULL; type++)
    if (handle_types[type] != NULL && handle_types[type]->call == f &&
        lua_getupvalue(L, idx, 1) != NULL) {
      h = handle_test(L, -1);
      lua_pop(L, 1);
    }
  return h;
}

bool handle_is_dead (lua_State *L, int idx) {
  Handle *h = handle_any(L, idx);
  return h != NULL && h->o == NULL;
}

void handle_fail (lua_State *L, int arg, int type) {
  arg_typeerror(L, arg, handle_types[type]->name);
}

void handle_prepare (lua_State *L) {
  stack_room(L, 8);
  keep_table(L, 0);
  push_meta(L, OBJ_CHAN);
  push_meta(L, OBJ_WAITGROUP);
  lua_pop(L, 3);
}

/* Push a handle without an object. */
static Handle *make (lua_State *L, State *s, int type, int view) {
  Handle *h = lua_newuserdatauv(L, sizeof *h, handle_slots[type]);
  if (!tame_type(type)) tame_lost(s);
  s->nhandles++;
  memset(h, 0, sizeof *h);
  h->magic = HANDLE_MAGIC(h);
  h->view = (uint8_t)view;
  push_meta(L, type);
  lua_setmetatable(L, -2);
  return h;
}

static void enlist (State *s, Handle *h) {
  h->owner = s;
  h->prev = NULL;
  h->next = s->handles;
  if (h->next != NULL) h->next->prev = h;
  s->handles = h;
}

/* Push the handle of the object among those that the image brought; false: it has none. */
static bool push_bound (lua_State *L, State *s, Obj *o, int view) {
  uint64_t left;
  for (left = s->bound; left != 0; left &= left - 1) {
    int slot = __builtin_ctzll(left);
    Handle *h = image_handle(s, slot);
    if (h->o != o || h->view != view) continue;
    keep_push(L, slot);
    if (lua_touserdata(L, -1) == h) return true;
    lua_pop(L, 1);                     /* dead already, and about to be finalised */
  }
  return false;
}

void handle_push (lua_State *L, State *s, Obj *o, int view) {
  const void *key = (const char *)o + view;
  Handle *h;
  stack_room(L, 8);
  if (s->bound != 0 && push_bound(L, s, o, view)) return;
  keep_table(L, 0);
  if (lua_rawgetp(L, -1, key) != LUA_TNIL) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  if (view == VIEW_CALL) {
    handle_push(L, s, o, VIEW_BOTH);
    lua_pushcclosure(L, handle_types[o->type]->call, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, key);
    lua_remove(L, -2);
    return;
  }
  h = make(L, s, o->type, view);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, key);
  lua_remove(L, -2);
  h->o = obj_ref(o);
  enlist(s, h);
}

/* ---------------------------------------------------------------- images */

static void fill_methods (lua_State *L, int type, const char *code, size_t len) {
  const luaL_Reg *r;                   /* the handle is on top */
  luaL_getmetafield(L, -1, "__index");
  if (handle_types[type]->index != NULL) {
    lua_getupvalue(L, -1, 1);
    lua_remove(L, -2);
  }
  for (r = handle_types[type]->methods; r->name != NULL; r++)
    if (code_mentions(code, len, r->name)) {
      lua_pushstring(L, r->name);
      lua_pushcfunction(L, r->func);
      lua_rawset(L, -3);
    }
  lua_pop(L, 1);
}

Handle *handle_blank (lua_State *L, State *s, int type, int view, int slot, const char *code,
                      size_t len) {
  Handle *h;
  luaL_checkstack(L, 8, NULL);
  h = make(L, s, type, view);
  h->magic = 0;                        /* (its copies have other addresses) */
  h->slot = (uint8_t)slot;
  fill_methods(L, type, code, len);
  return h;
}

void handle_bind (State *s, Handle *h, Obj *o) {
  h->magic = HANDLE_MAGIC(h);
  h->o = o;
  enlist(s, h);
  s->bound |= UINT64_C(1) << h->slot;
}

static int push_new (lua_State *L) {
  State *s = lua_touserdata(L, 1);
  handle_push(L, s, lua_touserdata(L, 2), (int)lua_tointeger(L, 3));
  return 1;
}

void handle_push_taken (lua_State *L, State *s, Obj *o, int view) {
  int status;
  if (o == NULL) luaL_error(L, "not enough memory");
  lua_pushcfunction(L, push_new);      /* (checkstack: LUA_MINSTACK is enough for callers) */
  lua_pushlightuserdata(L, s);
  lua_pushlightuserdata(L, o);
  lua_pushinteger(L, view);
  status = lua_pcall(L, 3, 1, 0);
  obj_unref(o);
  if (status != LUA_OK) lua_error(L);
}
