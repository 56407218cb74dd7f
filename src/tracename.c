/*
** tracename.c - what goroutines are called in a trace.  Layer 5.
**
** By goro.name, else by their function: where it begins, and what it is called where it was handed
** to goro.go, if it stands in a local variable, an upvalue or a global there.  That is looked for
** once for each function (trace.c remembers by the place), and without a metamethod.
*/
#include <stdio.h>
#include <string.h>
#include "report.h"
#include "tracename.h"

/* ---------------------------------------------------------------- of a function being started */

/* Is the value on top the function?  Pops it. */
static bool is_it (lua_State *L, int f) {
  bool same = lua_rawequal(L, -1, f);
  lua_pop(L, 1);
  return same;
}

/* In the caller's variables; 'f' is absolute. */
static const char *local_name (lua_State *L, lua_Debug *ar, int f) {
  const char *name;
  int i;
  for (i = 1; (name = lua_getlocal(L, ar, i)) != NULL; i++)
    if (is_it(L, f) && name[0] != '(') return name;
  return NULL;
}

/* In the table on top, which is popped; copied to 'buf'. */
static const char *global_name (lua_State *L, int f, char *buf, size_t size) {
  const char *found = NULL;
  lua_pushnil(L);
  while (found == NULL && lua_next(L, -2)) {
    if (lua_type(L, -2) == LUA_TSTRING && lua_rawequal(L, -1, f)) {
      snprintf(buf, size, "%s", lua_tostring(L, -2));
      found = buf;
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return found;
}

static const char *upvalue_name (lua_State *L, int f, int caller, char *buf, size_t size) {
  const char *name, *found = NULL;
  int i;
  for (i = 1; found == NULL && (name = lua_getupvalue(L, caller, i)) != NULL; i++) {
    if (strcmp(name, "_ENV") == 0 && lua_istable(L, -1)) found = global_name(L, f, buf, size);
    else if (is_it(L, f) && *name != '\0') found = name;
  }
  return found;
}

static const char *find_name (lua_State *L, int f, char *buf, size_t size) {
  const char *name = NULL;
  lua_Debug ar;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 6) || !lua_getstack(L, 1, &ar)) return NULL;
  lua_getinfo(L, "S", &ar);
  if (*ar.what != 'C' && (name = local_name(L, &ar, f)) == NULL) {
    lua_getinfo(L, "f", &ar);
    name = upvalue_name(L, f, lua_gettop(L), buf, size);
  }
  lua_settop(L, top);
  return name;
}

void tracename_function (lua_State *L, int arg, G *g, TraceKey *key) {
  char buf[64];
  lua_Debug ar;
  if ((key != NULL && trace_known(g, key)) || !lua_checkstack(L, 1)) return;
  lua_pushvalue(L, arg);
  lua_getinfo(L, ">S", &ar);
  if (trace_function(g, ar.short_src, ar.linedefined, key)) return;
  trace_function_is(g, ar.short_src, ar.linedefined, find_name(L, arg, buf, sizeof buf), key);
}

void tracename_origin (G *g, const Origin *o) {
  char text[LUA_IDSIZE + 40];
  if (o == NULL || o->src[0] == '\0') return;
  snprintf(text, sizeof text, "started at %s:%d", o->src, o->line);
  trace_function_is(g, "", 0, text, NULL);
}

/* ---------------------------------------------------------------- of those that are there */

/* Its body: the outermost Lua function.  It does not run. */
static bool body_name (const State *s, G *g) {
  lua_Debug ar;
  if (!stack_body(s->L, &ar)) return false;
  if (!trace_function(g, ar.short_src, ar.linedefined, NULL))
    trace_function_is(g, ar.short_src, ar.linedefined, NULL, NULL);
  return true;
}

static void name_one (G *g) {
  const State *s = g->state;
  uint32_t status = load_acq(&g->status);
  bool still = status == G_PARKED || status == G_RUNNABLE;       /* (world.c, W1) */
  if (s == NULL) return;
  if (s->is_host) trace_function_is(g, "", 0, "main", NULL);
  else if (!still || s->L == NULL || !body_name(s, g)) tracename_origin(g, s->origin);
  if (s->name != NULL) trace_called(g, s->name);
}

void tracename_all (void) {
  Host *h, *list[64];
  G *g;
  int i, n = 0;
  lock_acquire(&sched.lock);
  for (h = sched.hosts; h != NULL && n < 64; h = h->next) {
    add_rlx(&h->refs, 1);
    list[n++] = h;
  }
  lock_release(&sched.lock);
  for (i = 0; i < n; i++) {
    h = list[i];
    lock_acquire(&h->lock);
    name_one(h->main);
    for (g = h->all; g != NULL; g = g->hnext) name_one(g);
    lock_release(&h->lock);
    host_unref(h);
  }
}
