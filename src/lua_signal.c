/*
** lua_signal.c - goro.signal.  Layer 6.
*/
#include <string.h>
#include "lua_args.h"
#include "ossignal.h"
#include "sigchan.h"

#define SIGNAL_BUFFER 16               /* names a channel keeps for a slow receiver */

static int check_signal (lua_State *L, int arg) {
  const char *name = arg_string(L, arg);
  int sig = os_signal_number(name);
  arg_check(L, sig != 0, arg, "unknown signal");
  arg_check(L, os_signal_can_catch(sig), arg, "this signal cannot be caught");
  return sig;
}

/*
** goro.signal(name, ...) -> a channel that gets the names of these signals ("INT", "TERM" ...)
** when they come, until it is closed; 16 are kept, what comes when it is full is lost.  While any
** channel wants a signal it does nothing else: "INT" does not interrupt the main script.  Go's
** signal.Notify; close is signal.Stop.
*/
static int l_signal (lua_State *L) {
  Here h = here(L);
  uint64_t set = 0;
  int i, e, n = lua_gettop(L);
  Chan *c;
  if (n == 0) arg_string(L, 1);
  for (i = 1; i <= n; i++) set |= UINT64_C(1) << (check_signal(L, i) - 1);
  c = chan_new(SIGNAL_BUFFER, 0, "signal");
  handle_push_new(L, h.s, (Obj *)c);
  e = sigchan_open(c, h.g->host, set);
  if (e != 0) return luaL_error(L, "cannot catch a signal: %s", strerror(e));
  return 1;
}

const luaL_Reg signal_functions[] = { { "signal", l_signal }, { NULL, NULL } };
