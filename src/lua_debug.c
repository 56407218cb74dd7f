/*
** lua_debug.c - goro.debug: stacks on a signal, figures, what goro-top sees.  Layer 6.
*/
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lua_args.h"
#include "service.h"
#include "ossignal.h"

/*
** goro.debug.dump_on(signal) -> true; or nil, reason, code.  From then on all stacks are printed on
** stderr when this process gets the signal ("QUIT", "SIGQUIT", ...), also while the main script
** computes or is inside C.  The program goes on.  GOROTRACEBACK=1: SIGQUIT.
*/
static int l_dump_on (lua_State *L) {
  int sig = os_signal_number(arg_string(L, 1)), e;
  arg_check(L, sig > 0, 1, "unknown signal");
  arg_check(L, os_signal_can_catch(sig), 1, "this signal cannot be caught");
  here(L);
  e = service_dump_on(sig);
  if (e != 0) return nil_errno(L, e, NULL);
  lua_pushboolean(L, 1);
  return 1;
}

/*
** goro.debug.serve(path) -> true; or nil, reason, code.  goro-top can look at this process through
** that Unix socket, which is removed at its end.  nil: no more.
*/
static int l_serve (lua_State *L) {
  const char *path = lua_isnoneornil(L, 1) ? NULL : arg_string(L, 1);
  int e;
  here(L);
  e = service_serve(path);
  if (e != 0) return nil_errno(L, e, NULL);
  lua_pushboolean(L, 1);
  return 1;
}

/*
** goro.debug.limit(seconds, text) -> true; or nil, reason, code.  If it is not called again in that
** time, the main script raises 'text' with all stacks, as it raises a panic.  limit(): no more.
** No timer is set: a deadlock stays one.
*/
static int l_limit (lua_State *L) {
  Here h = here(L);
  int64_t ns = lua_isnoneornil(L, 1) ? 0 : arg_seconds(L, 1, false);
  const char *text = lua_isnoneornil(L, 1) ? NULL : arg_string(L, 2);
  int e = service_limit(h.g->host, ns, text);
  if (e != 0) return nil_errno(L, e, NULL);
  lua_pushboolean(L, 1);
  return 1;
}

typedef struct Answer { char *s; size_t len; } Answer;

static int push_answer (lua_State *L) {
  const Answer *a = lua_touserdata(L, 1);
  lua_pushlstring(L, a->s, a->len);
  return 1;
}

/*
** goro.debug.fetch(path, what) -> text; or nil, reason, code.  For goro-top: asks the process that
** serves at 'path' for "top", "leaks" or "stacks".  Blocks this thread.
*/
static int l_fetch (lua_State *L) {
  const char *path = arg_string(L, 1), *what = arg_string(L, 2);
  Answer a;
  int status;
  a.s = service_ask(path, what, &a.len);
  if (a.s == NULL) return nil_errno(L, errno, NULL);
  lua_pushcfunction(L, push_answer);
  lua_pushlightuserdata(L, &a);
  status = lua_pcall(L, 1, 1, 0);
  free(a.s);
  return status == LUA_OK ? 1 : lua_error(L);
}

const luaL_Reg debug_functions[] = {
  { "dump_on", l_dump_on }, { "serve", l_serve }, { "fetch", l_fetch }, { "limit", l_limit }, { NULL, NULL }
};

void push_debug_module (lua_State *L) { luaL_newlib(L, debug_functions); }

/* GOROTRACEBACK=1; GORODEBUG=schedtrace=1000 (milliseconds). */
void debug_init (void) {
  const char *s = getenv("GOROTRACEBACK"), *d = getenv("GORODEBUG");
  if (s != NULL && *s != '\0' && strcmp(s, "0") != 0) service_dump_on(os_signal_number("QUIT"));
  if (d != NULL && (d = strstr(d, "schedtrace=")) != NULL) {
    long ms = strtol(d + strlen("schedtrace="), NULL, 10);
    if (ms > 0) service_schedtrace(ms * INT64_C(1000000));
  }
}
