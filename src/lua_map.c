/*
** lua_map.c - Map for Lua.  Layer 6.
**
** update's stack: the map, the key, the keeper, then f and its arguments, later its results.  The
** keeper owns the key while f runs.  It is to be closed, and collected: the key becomes free
** also if f never ends (its coroutine is closed, its goroutine killed).  A handle keeps an idle
** one, so that updates, unless one runs inside another, do not make one each time.
*/
#include "lua_args.h"
#include "smap.h"

#define KEY 2
#define KEEPER 3

#define check_map(L) handle_check(L, 1, OBJ_MAP)
#define map_of(ud) ((SMap *)(ud)->o)

/* goro.Map().  Go's sync.Map. */
static int l_map (lua_State *L) {
  Here h = here(L);
  handle_push_new(L, h.s, (Obj *)smap_new());
  return 1;
}

/* ---------------------------------------------------------------- keys and values */

/* The key at KEY; once more after a wait. */
static void get_key (lua_State *L, Probe *p) {
  key_get(L, KEY, p);
  probe_hash(p);
}

static void check_key (lua_State *L, Probe *p) {
  arg_key(L, KEY, p);
  probe_hash(p);
}

/* The value at 'idx', to be compared.  false: one whose copy may be itself, such as a class, and
** that only the decoded form can tell. */
static bool get_old (lua_State *L, int idx, Probe *p) {
  Handle *ud;
  p->v = NIL_VALUE;
  switch (lua_type(L, idx)) {
    case LUA_TNIL: case LUA_TNONE:
      return true;
    case LUA_TBOOLEAN: case LUA_TNUMBER: case LUA_TSTRING:
      key_get(L, idx, p);
      return true;
    case LUA_TLIGHTUSERDATA:
      p->v.tag = V_LUD;
      p->v.u.p = lua_touserdata(L, idx);
      return true;
    default:
      ud = handle_test(L, idx);
      if (ud == NULL) return false;
      p->v.tag = V_OBJ;
      p->v.u.o = ud->o;
      p->v.view = ud->view;
      return true;
  }
}

static int push_found (lua_State *L, State *s, Value *v) {
  bool found = v->tag != V_NIL;
  value_to_lua(L, s, v);
  lua_pushboolean(L, found);
  return 2;
}

static int inside_itself (lua_State *L) {
  return luaL_error(L, "change of a Map's key inside its own update");
}

/* ---------------------------------------------------------------- load */

/* map:load(k) -> v, found.  Never waits. */
static int l_load (lua_State *L) {
  Here h = here(L);
  Handle *ud = check_map(L);
  Probe key;
  Value v;
  check_key(L, &key);
  sched_check_p(h.m, h.g);
  v = smap_load(map_of(ud), &key);
  return push_found(L, h.s, &v);
}

/* ---------------------------------------------------------------- writing */

enum { STORE, SWAP, DELETE, ADD, CAS };

static const MapOpKind kinds[] = { MAP_SWAP, MAP_SWAP, MAP_SWAP, MAP_ADD, MAP_CAS };

#define VALUE 3                        /* where the new value stands; of CAS the old */

static int written (lua_State *L, Here h, int what, MapResult r, MapOp *op) {
  if (r == MAP_SELF || r == MAP_NOMEM) {
    value_drop(&op->v);
    if (r == MAP_SELF) return inside_itself(L);
    return luaL_error(L, "not enough memory");
  }
  value_drop(&op->v);
  switch (what) {
    case STORE:
      value_drop(&op->was);
      return 0;
    case SWAP: case DELETE:
      return push_found(L, h.s, &op->was);
    case ADD:
      if (op->done) lua_settop(L, VALUE);
      else value_to_lua(L, h.s, &op->was);
      lua_pushboolean(L, !op->done);
      return 2;
    default:
      value_drop(&op->was);
      lua_pushboolean(L, op->done);
      return 1;
  }
}

static int write_k (lua_State *L, int status, lua_KContext what) {
  Here h = here(L);
  Probe key, old;
  MapOp op;
  MapResult r;
  (void)status;
  get_key(L, &key);
  op.kind = kinds[what];
  op.old = &old;
  if (what == CAS) get_old(L, VALUE, &old);
  r = smap_write_finish(map_of((Handle *)lua_touserdata(L, 1)), h.m, h.g, &key, &op);
  if (!wait_over(h)) {
    value_drop(&op.v);
    return wait_unwind(L, h);
  }
  return written(L, h, (int)what, r, &op);
}

/* The key and, for CAS, 'old' are set; the new value is encoded here, before any lock. */
static int write (lua_State *L, int what, const Probe *key, const Probe *old, int idx) {
  Here h = here(L);
  MapOp op;
  MapResult r;
  check_panics(L, h);
  op.kind = kinds[what];
  op.old = old;
  op.v = NIL_VALUE;
  if (idx != 0) {
    value_from_lua(L, h.s, idx, &op.v);
    h = here(L);                       /* __goro may have run, and parked */
  }
  r = smap_write(map_of((Handle *)lua_touserdata(L, 1)), h.m, h.g, key, &op);
  if (r == MAP_WAIT) return wait_k(L, h, NO_LIMIT, what, write_k);
  return written(L, h, what, r, &op);
}

/* map:store(k, v).  nil deletes. */
static int l_store (lua_State *L) {
  Probe key;
  check_map(L);
  check_key(L, &key);
  lua_settop(L, VALUE);
  return write(L, STORE, &key, NULL, VALUE);
}

/* map:swap(k, v) -> the old value, found.  Go's Swap. */
static int l_swap (lua_State *L) {
  Probe key;
  check_map(L);
  check_key(L, &key);
  lua_settop(L, VALUE);
  return write(L, SWAP, &key, NULL, VALUE);
}

/* map:delete(k) -> the old value, found.  Go's LoadAndDelete. */
static int l_delete (lua_State *L) {
  Probe key;
  check_map(L);
  check_key(L, &key);
  return write(L, DELETE, &key, NULL, 0);
}

/* map:load_or_store(k, v) -> what is there, true; or v, which is stored, false. */
static int l_load_or_store (lua_State *L) {
  Here h = here(L);
  Handle *ud = check_map(L);
  Probe key;
  Value v;
  check_key(L, &key);
  check_panics(L, h);
  lua_settop(L, VALUE);
  v = smap_load(map_of(ud), &key);     /* mostly it is there, and v need not be encoded */
  if (v.tag != V_NIL) return push_found(L, h.s, &v);
  return write(L, ADD, &key, NULL, VALUE);
}

/* ---------------------------------------------------------------- owning a key */

typedef struct Keeper {
  SMap *map;                           /* a reference, while it keeps */
  Entry *e;
  Value v;                             /* the old value, later the new */
  bool store;                          /* v is to be stored */
} Keeper;

static const char keeper_key = 0;

static void keeper_release (Keeper *kp) {
  SMap *map = kp->map;
  kp->map = NULL;
  smap_release(map, sched_m(), kp->e, kp->store ? &kp->v : NULL);
  value_drop(&kp->v);
  obj_unref(&map->obj);
}

static int keeper_close (lua_State *L) {
  Keeper *kp = lua_touserdata(L, 1);
  if (kp->map != NULL) {
    kp->store = false;
    keeper_release(kp);
  }
  return 0;
}

/* The idle one leaves its slot: what the slot holds would not be collected with a dropped
** coroutine. */
static void push_keeper (lua_State *L) {
  Keeper *kp;
  if (lua_getiuservalue(L, 1, 1) == LUA_TUSERDATA) {
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 1);
    return;
  }
  lua_pop(L, 1);
  kp = lua_newuserdatauv(L, sizeof *kp, 0);
  memset(kp, 0, sizeof *kp);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keeper_key) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, keeper_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, keeper_close);
    lua_setfield(L, -2, "__gc");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &keeper_key);
  }
  lua_setmetatable(L, -2);
}

/* The body has ended: release the key, with or without a new value. */
static int own_end (lua_State *L, int status, lua_KContext ctx) {
  Keeper *kp = lua_touserdata(L, KEEPER);
  bool ok = status == LUA_OK || status == LUA_YIELD;
  (void)ctx;
  if (!ok) kp->store = false;
  keeper_release(kp);
  lua_pushvalue(L, KEEPER);            /* idle again */
  lua_setiuservalue(L, 1, 1);
  return ok ? 1 : lua_error(L);
}

/* The key is ours.  All that may raise happens in 'body': an error that ends a coroutine would not
** close the keeper. */
static int owned (lua_State *L, Entry *e, const Value *v, lua_CFunction body) {
  Keeper *kp = lua_touserdata(L, KEEPER);
  kp->map = map_of((Handle *)lua_touserdata(L, 1));
  obj_ref(&kp->map->obj);
  kp->e = e;
  kp->v = *v;
  kp->store = false;
  lua_pushcfunction(L, body);
  lua_insert(L, KEEPER + 1);
  lua_pushvalue(L, KEEPER);
  lua_insert(L, KEEPER + 2);
  return own_end(L, lua_pcallk(L, lua_gettop(L) - KEEPER - 1, 1, 0, 0, own_end), 0);
}

static int own_k (lua_State *L, int status, lua_KContext body) {
  Here h = here(L);
  Probe key;
  Entry *e;
  Value v;
  (void)status;
  get_key(L, &key);
  smap_own_finish(map_of((Handle *)lua_touserdata(L, 1)), h.g, &key, &e, &v);
  if (!wait_over(h)) return wait_unwind(L, h);     /* (else it is ours: nothing else ends it) */
  return owned(L, e, &v, (lua_CFunction)body);
}

/* Own the key, call body(keeper, ...) with what stands behind the key, return its result. */
static int own (lua_State *L, const Probe *key, lua_CFunction body) {
  Here h = here(L);
  Entry *e;
  Value v;
  check_panics(L, h);
  stack_room(L, 6);
  push_keeper(L);
  lua_insert(L, KEEPER);
  lua_toclose(L, KEEPER);
  switch (smap_own(map_of((Handle *)lua_touserdata(L, 1)), h.g, key, &e, &v)) {
    case MAP_OK: return owned(L, e, &v, body);
    case MAP_WAIT: return wait_k(L, h, NO_LIMIT, (lua_KContext)body, own_k);
    case MAP_SELF: return inside_itself(L);
    default: return luaL_error(L, "not enough memory");
  }
}

/* ---------------------------------------------------------------- update, cas */

static void push_kept (lua_State *L, Keeper *kp) {
  Value v = kp->v;
  kp->v = NIL_VALUE;
  value_to_lua(L, here(L).s, &v);
}

static void keep_new (lua_State *L, Keeper *kp, int idx) {
  value_from_lua(L, here(L).s, idx, &kp->v);
  kp->store = true;
}

static int called (lua_State *L, int status, lua_KContext ctx) {
  (void)status; (void)ctx;
  if (lua_gettop(L) == 1) return luaL_error(L, "the function of update returned no value");
  lua_settop(L, 2);
  keep_new(L, lua_touserdata(L, 1), 2);
  return 1;
}

static int update (lua_State *L) {     /* keeper, f, arguments */
  push_kept(L, lua_touserdata(L, 1));
  lua_insert(L, 3);
  lua_callk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, called);
  return called(L, LUA_OK, 0);
}

/*
** map:update(k, f, ...) -> what f(v, ...) returned, which is stored.  Others that want to change
** the key wait meanwhile.  Raises what f raises, if f returns no value, and for the same key
** inside f: then nothing changes.
*/
static int l_update (lua_State *L) {
  Probe key;
  check_map(L);
  check_key(L, &key);
  arg_type(L, 3, LUA_TFUNCTION);
  return own(L, &key, update);
}

static int compare (lua_State *L) {    /* keeper, old, new */
  Keeper *kp = lua_touserdata(L, 1);
  bool equal;
  push_kept(L, kp);
  equal = lua_rawequal(L, 2, 4);
  if (equal) keep_new(L, kp, 3);
  lua_pushboolean(L, equal);
  return 1;
}

/* map:cas(k, old, new) -> boolean: stores new if the value is old, as rawequal compares; nil
** stands for absent.  Go's CompareAndSwap. */
static int l_cas (lua_State *L) {
  Probe key, old;
  check_map(L);
  check_key(L, &key);
  lua_settop(L, 4);
  if (get_old(L, VALUE, &old)) return write(L, CAS, &key, &old, 4);
  return own(L, &key, compare);        /* the old value must be decoded to be compared */
}

/* ---------------------------------------------------------------- len, range */

/* map:len(), #map: how many keys have a value. */
static int l_len (lua_State *L) {
  lua_pushinteger(L, load_seq(&map_of(check_map(L))->count));
  return 1;
}

static int snap_close (lua_State *L) {
  snapshot_free(lua_touserdata(L, 1));
  return 0;
}

static const char snap_key = 0;

static Snapshot *push_snapshot (lua_State *L) {
  Snapshot *snap = lua_newuserdatauv(L, sizeof *snap, 0);
  snap->items = NULL;
  snap->n = snap->next = 0;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &snap_key) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, snap_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, snap_close);
    lua_setfield(L, -2, "__gc");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &snap_key);
  }
  lua_setmetatable(L, -2);
  return snap;
}

static void push_key (lua_State *L, const Entry *e) {
  Probe key;
  entry_key(e, &key);
  switch (key.v.tag) {
    case V_INT: lua_pushinteger(L, key.v.u.i); break;
    case V_FLT: lua_pushnumber(L, key.v.u.n); break;
    case V_STR: lua_pushlstring(L, key.s, key.len); break;
    default: lua_pushboolean(L, key.v.tag == V_TRUE); break;
  }
}

static int range_next (lua_State *L) {
  Snapshot *snap = lua_touserdata(L, lua_upvalueindex(1));
  size_t i = snap->next;
  Value v;
  if (i == snap->n) return 0;
  push_key(L, snap->items[i].e);
  snap->next++;                        /* the value is ours from here on */
  v = snap->items[i].v;
  entry_unref(snap->items[i].e);
  value_to_lua(L, here(L).s, &v);
  return 2;
}

/* for k, v in map:range() do, map:pairs(), pairs(map): a snapshot of one moment. */
static int l_range (lua_State *L) {
  Handle *ud = check_map(L);
  Here h = here(L);
  Snapshot *snap = push_snapshot(L);
  sched_check_p(h.m, h.g);
  if (!smap_snapshot(map_of(ud), snap)) return luaL_error(L, "not enough memory");
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, range_next, 1);
  lua_insert(L, -2);                   /* iterator, nil, nil, to be closed: the snapshot */
  lua_pushnil(L);
  lua_insert(L, -2);
  lua_pushnil(L);
  lua_insert(L, -2);
  return 4;
}

static int l_pairs (lua_State *L) { return l_range(L); }         /* (its own name in errors) */

static const luaL_Reg methods[] = {
  { "load", l_load }, { "store", l_store }, { "load_or_store", l_load_or_store },
  { "swap", l_swap }, { "delete", l_delete }, { "cas", l_cas }, { "update", l_update },
  { "len", l_len }, { "range", l_range }, { "pairs", l_pairs }, { NULL, NULL }
};

static const luaL_Reg meta[] = { { "__len", l_len }, { "__pairs", l_pairs }, { NULL, NULL } };

const HandleType map_type = { "Map", methods, meta, NULL, NULL };

const luaL_Reg map_functions[] = { { "Map", l_map }, { NULL, NULL } };
