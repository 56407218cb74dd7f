/*
** marshal.c - fuzz target: the decoder and the encoder.  Built by `make fuzz`.
**
** The first byte of the input chooses:
**   0  the rest is a message's bytes, to be decoded
**   1  the rest is the body of a class's version, which a message's object needs
**   2  the rest is a program that makes a value: it is sent, received, compared
**   3  the same, but some bytes of the message are changed on the way
**
** What a message may do to its receiver by right is kept from it: bytecode is that of a few
** functions (others are refused, see wrap_load), C functions are harmless, libraries that read,
** wait or exit are not there.
*/
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lualib.h"
#include "chan.h"
#include "classes.h"
#include "marshal.h"

int luaopen_goro_core (lua_State *L);
int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static lua_State *L;
static State *s;
static Msg *dumps[8];                  /* of the functions that may be loaded */
static int ndumps;

/* ---------------------------------------------------------------- what is kept from messages */

int __real_luaL_loadbufferx (lua_State *l, const char *p, size_t n, const char *name,
                             const char *mode);
int __wrap_luaL_loadbufferx (lua_State *l, const char *p, size_t n, const char *name,
                             const char *mode);
void __wrap_stdlibs_push (lua_State *l, State *to, lua_CFunction f);

int __wrap_luaL_loadbufferx (lua_State *l, const char *p, size_t n, const char *name,
                             const char *mode) {
  int i;
  if (n > 0 && *p != LUA_SIGNATURE[0])
    return __real_luaL_loadbufferx(l, p, n, name, mode);       /* text: not from a message */
  for (i = 0; i < ndumps; i++)
    if (dumps[i]->len == n && memcmp(dumps[i]->bytes, p, n) == 0)
      return __real_luaL_loadbufferx(l, p, n, name, mode);
  lua_pushliteral(l, "not one of ours");
  return LUA_ERRSYNTAX;
}

static int harmless (lua_State *l) {
  lua_settop(l, 1);
  return 1;
}

void __wrap_stdlibs_push (lua_State *l, State *to, lua_CFunction f) {
  (void)to; (void)f;
  lua_pushcfunction(l, harmless);
}

/* ---------------------------------------------------------------- the program */

static const char prelude[] =
  "package.path, package.cpath = '', ''\n"
  "local x, y = 1, 2\n"
  "C = { __index = {}, a = 1, f = function() return C end }\n"
  "M = { __goro = function(o) local p = o.p return function() return { p = p } end end }\n"
  "functions = {\n"
  "  function() end, function() return x end, function(v) x = v return y, x end,\n"
  "  function() local a return function() return a, x end end,\n"
  "}\n"
  "module = { f = function() return x end, C = { __add = function() end } }\n"
  "makers = { function(v) return function() return v end end,\n"
  "  function(v) local function g() return v, g end return g end }\n"
  "function same(a, b)\n"
  "  local there, back, n = {}, {}, 0\n"
  "  local todo = { a, b }\n"
  "  local function eq(x, y)\n"
  "    if type(x) ~= type(y) then return false end\n"
  "    if type(x) == 'number' then return math.type(x) == math.type(y) and "
  "      (x == y or x ~= x and y ~= y) end\n"
  "    if type(x) == 'function' then return true end\n"
  "    if type(x) ~= 'table' or rawequal(x, y) then return x == y end\n"
  "    if there[x] or back[y] then return there[x] == y and back[y] == x end\n"
  "    there[x], back[y] = y, x\n"
  "    todo[#todo + 1] = x todo[#todo + 1] = y\n"
  "    return true\n"
  "  end\n"
  "  if type(a) ~= 'table' then return eq(a, b) end\n"
  "  there[a], back[b] = b, a\n"
  "  local i = 1\n"
  "  while todo[i] do\n"
  "    local x, y, n = todo[i], todo[i + 1], 0\n"
  "    i = i + 2\n"
  "    local made = getmetatable(x) == M\n"
  "    if made then x = { p = x.p } end\n"
  "    if not made and not eq(getmetatable(x), getmetatable(y)) then return false end\n"
  "    for k, v in next, x do\n"
  "      n = n + 1\n"
  "      if type(k) ~= 'table' and type(k) ~= 'function' and not eq(v, rawget(y, k)) then\n"
  "        return false\n"
  "      end\n"
  "    end\n"
  "    for _ in next, y do n = n - 1 end\n"
  "    if n ~= 0 then return false end\n"
  "  end\n"
  "  return true\n"
  "end\n"
  "package.loaded.fuzz = module\n"
  "for _, n in ipairs { 'os', 'io', 'debug', 'goro', 'goro.core', 'coroutine', 'package' } do\n"
  "  package.loaded[n] = nil\n"
  "end\n"
  "for _, n in ipairs { 'dofile', 'loadfile', 'print', 'os', 'io', 'debug', 'coroutine',\n"
  "  'collectgarbage', 'load', 'error', 'warn' } do _G[n] = nil end\n"
  "package = nil\n";

static int writer (lua_State *l, const void *p, size_t n, void *ud) {
  Msg *m = ud;
  (void)l;
  if (!msg_reserve(m, n)) return 1;
  memcpy(m->bytes + m->len, p, n);
  m->len += n;
  return 0;
}

static void know_code (void) {         /* of the function on top (popped) */
  dumps[ndumps] = msg_new();
  lua_dump(L, writer, dumps[ndumps++], 0);
  lua_pop(L, 1);
}

static void start (void) {
  int i;
  L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "goro.core", luaopen_goro_core, 0);
  lua_call(L, 0, 1);
  lua_settop(L, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  s = lua_touserdata(L, -1);
  if (luaL_loadbuffer(L, prelude, sizeof prelude - 1, "=prelude") != LUA_OK ||
      lua_pcall(L, 0, 0, 0) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
  }
  lua_getglobal(L, "functions");
  for (i = 1; i <= 4; i++) {
    lua_rawgeti(L, -1, i);
    know_code();
  }
  lua_getglobal(L, "makers");
  for (i = 1; i <= 2; i++) {
    lua_rawgeti(L, -1, i);
    lua_pushinteger(L, 1);
    lua_call(L, 1, 1);
    know_code();
  }
  lua_getglobal(L, "M");               /* what its __goro returns */
  lua_getfield(L, -1, "__goro");
  lua_newtable(L);
  lua_call(L, 1, 1);
  know_code();
  lua_getglobal(L, "C");
  lua_getfield(L, -1, "f");
  know_code();
  lua_settop(L, 0);
}

/* ---------------------------------------------------------------- messages of raw bytes */

static Msg *raw (const uint8_t *data, size_t size) {
  static Chan *chan;
  Msg *m = msg_new();
  Value v;
  if (chan == NULL) chan = chan_new(1, 0, NULL);
  if (!msg_reserve(m, size)) abort();
  if (size > 0) memcpy(m->bytes, data, size);
  m->len = size;
  lua_getglobal(L, "C");
  value_from_lua(L, s, -1, &v);        /* the class's version is its one reference */
  lua_pop(L, 1);
  msg_add_obj(m, (Obj *)chan);
  msg_add_obj(m, v.u.m->objs[0]);
  value_drop(&v);
  return m;
}

static int receive (lua_State *l) {
  Msg *m = lua_touserdata(l, 1);
  msg_to_lua(l, s, m);
  return 0;
}

static void decode (Msg *m) {
  lua_pushcfunction(L, receive);
  lua_pushlightuserdata(L, m);
  lua_pcall(L, 1, 0, 0);
  lua_settop(L, 0);
}

/* A message with an object of a class whose version has these bytes, twice: as the whole class,
** and as what has changed. */
static void class_body (const uint8_t *data, size_t size) {
  static const uint8_t object[] = { 0, 0, 0, 0, 1, 0, 0, 0, T_CLASS, 0, 0, 0, 0 };
  Class *c = class_new(0), *other = class_new(0);
  Version *v = version_new(other, 1, NULL), *w = NULL, *vs[1];
  int i;
  v->body = msg_new();
  vs[0] = v;
  class_publish(vs, 1);
  for (i = 1; i <= 3; i++) {
    Version *prev = w;
    Msg *m = msg_new();
    w = version_new(c, (uint64_t)i, i == 3 ? NULL : prev);
    w->body = raw(data, size);
    version_dep(w, c);
    version_dep(w, other);
    vs[0] = w;
    class_publish(vs, 1);
    if (prev != NULL) version_unref(prev);
    memcpy(m->bytes, object, sizeof object);
    m->len = sizeof object;
    msg_add_obj(m, &w->o);
    decode(m);
  }
  version_unref(v);
  version_unref(w);
  class_release(c);
  class_release(other);
}

/* ---------------------------------------------------------------- values made by a program */

typedef struct In { const uint8_t *p, *end; } In;

static unsigned next (In *in) { return in->p < in->end ? *in->p++ : 0; }

static void push_scalar (In *in) {
  unsigned b = next(in);
  switch (b % 8) {
    case 0: lua_pushinteger(L, (signed char)next(in)); break;
    case 1: {
      union { uint8_t b[8]; lua_Integer i; lua_Number n; } u;
      int i;
      for (i = 0; i < 8; i++) u.b[i] = (uint8_t)next(in);
      if (b & 8) lua_pushinteger(L, u.i);
      else lua_pushnumber(L, u.n);
      break;
    }
    case 2: lua_pushboolean(L, b & 8); break;
    case 3: {
      size_t n = next(in), left = (size_t)(in->end - in->p);
      if (n > left) n = left;
      lua_pushlstring(L, (const char *)in->p, n);
      in->p += n;
      break;
    }
    case 4: lua_pushlightuserdata(L, (void *)(uintptr_t)next(in)); break;
    case 5: lua_pushstring(L, b & 8 ? "__index" : "__x"); break;
    case 6: lua_pushglobaltable(L); break;
    default: lua_getglobal(L, b & 8 ? "C" : "module");
  }
}

static void push_global_entry (const char *list, int i) {
  lua_getglobal(L, list);
  lua_rawgeti(L, -1, i);
  lua_remove(L, -2);
}

/* A stack of up to 100 values, and one instruction a byte.  The last value is left alone. */
static void run_program (In *in) {
  unsigned deep = 0;                   /* tables nested by case 12: not so many that it is slow */
  lua_newtable(L);
  while (in->p < in->end) {
    unsigned op = next(in), arg = op >> 4;
    int top = lua_gettop(L), pick = top - (int)arg % top;
    if (top > 100) break;
    switch (op & 15) {
      case 0: case 1: push_scalar(in); break;
      case 2: case 3: lua_newtable(L); break;
      case 4: lua_pushvalue(L, pick); break;
      case 5: case 6:                  /* set a list's end, or a field, of the table below */
        if (top < 2 || !lua_istable(L, -2)) break;
        lua_getglobal(L, "C");
        lua_getglobal(L, "module");
        lua_pushglobaltable(L);
        if (lua_rawequal(L, top - 1, top + 1) || lua_rawequal(L, top - 1, top + 2) ||
            lua_rawequal(L, top - 1, top + 3)) {
          lua_settop(L, top);
          break;
        }
        lua_settop(L, top);
        if ((op & 15) == 5) lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
        else {
          push_scalar(in);
          if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1)) {
            lua_settop(L, top);
            break;
          }
          lua_insert(L, -2);
          lua_rawset(L, -3);
        }
        break;
      case 7:                          /* [value] = key */
        if (top < 2 || !lua_istable(L, -1) || lua_rawequal(L, -1, -2)) break;
        lua_newtable(L);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, pick);
        lua_rawset(L, -3);
        break;
      case 8: push_global_entry("functions", 1 + (int)arg % 4); break;
      case 9:
        push_global_entry("makers", 1 + (int)arg % 2);
        lua_pushvalue(L, pick);
        lua_call(L, 1, 1);
        break;
      case 10:                         /* an object */
        lua_newtable(L);
        lua_pushvalue(L, pick);
        lua_setfield(L, -2, arg & 1 ? "p" : "q");
        lua_getglobal(L, arg & 8 ? "M" : "C");
        lua_setmetatable(L, -2);
        break;
      case 11:                         /* a metatable of its own */
        lua_newtable(L);
        lua_newtable(L);
        lua_pushvalue(L, pick);
        lua_setfield(L, -2, arg & 1 ? "__index" : "__x");
        lua_setmetatable(L, -2);
        break;
      case 12: {                       /* nested */
        unsigned i, n = next(in);
        for (i = 0; i < n && deep < 500; i++, deep++) {
          lua_newtable(L);
          lua_insert(L, -2);
          if (arg & 1) lua_rawseti(L, -2, 1);
          else lua_setfield(L, -2, "k");
        }
        break;
      }
      default: if (top > 1) lua_pop(L, 1);
    }
  }
}

static int send_value (lua_State *l) {
  Value *v = lua_touserdata(l, 1);
  value_from_lua(l, s, 2, v);
  return 0;
}

static int compare (lua_State *l) {    /* Value *, what was sent */
  Value *v = lua_touserdata(l, 1);
  lua_getglobal(l, "same");
  lua_pushvalue(l, 2);
  value_to_lua(l, s, v);
  lua_call(l, 2, 1);
  return 1;
}

static void value (In *in, bool change) {
  Value v = { { 0 }, V_NIL, 0 };
  In at = *in;
  int top;
  if (!lua_checkstack(L, 400)) abort();
  run_program(in);
  top = lua_gettop(L);
  lua_pushcfunction(L, send_value);
  lua_pushlightuserdata(L, &v);
  lua_pushvalue(L, top);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) {
    if (change && v.tag == V_MSG && v.u.m->len > 0) {
      unsigned n = 1 + next(&at) % 4;
      while (n-- > 0) {
        size_t i = (next(&at) | (size_t)next(&at) << 8) % v.u.m->len;
        v.u.m->bytes[i] = (char)next(&at);
      }
      decode(v.u.m);
    }
    else {
      lua_pushcfunction(L, compare);
      lua_pushlightuserdata(L, &v);
      lua_pushvalue(L, top);
      if (lua_pcall(L, 2, 1, 0) != LUA_OK || !lua_toboolean(L, -1)) {
        fprintf(stderr, "what arrived is not what was sent: %s\n",
                lua_isstring(L, -1) ? lua_tostring(L, -1) : "");
        abort();
      }
    }
  }
  lua_settop(L, 0);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size) {
  In in;
  if (L == NULL) start();
  if (size == 0) return 0;
  in.p = data + 1;
  in.end = data + size;
  switch (data[0] & 3) {
    case 0: decode(raw(in.p, size - 1)); break;
    case 1: class_body(in.p, size - 1); break;
    case 2: value(&in, false); break;
    default: value(&in, true);
  }
  return 0;
}
