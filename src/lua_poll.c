/*
** lua_poll.c - goro.poll.  Layer 6.
**
** For descriptors that are somebody else's: whether it is ready is asked of the OS each time, the
** wait only says that it is worth asking again.  So it does not matter what else happens to the
** descriptor meanwhile, nor who else waits for it.
*/
#include <errno.h>
#include <limits.h>
#include <string.h>
#include "fdwait.h"
#include "lua_args.h"

#define UNTIL 4                        /* stack: fd, mode, time-out, until when */

static unsigned check_mode (lua_State *L, int arg) {
  static const char *const modes[] = { "r", "w", "rw", "wr", NULL };
  static const unsigned values[] = { POLL_R, POLL_W, POLL_R | POLL_W, POLL_R | POLL_W };
  return values[arg_option(L, arg, NULL, modes)];
}

static int poll_k (lua_State *L, int status, lua_KContext ctx);

/* After a wait.  false: look once more, which is the last time if the time is over: what is ready
** beats a number that has run out. */
static bool gave_up (Here h, Limit *lim) {
  if (h.g->wake == WAKE_TIMEOUT) lim->until = 0;
  return h.g->wake != WAKE_READY && h.g->wake != WAKE_TIMEOUT;
}

static int look (lua_State *L, Here h, int fd, unsigned modes, Limit lim) {
  static const char *const names[] = { "", "r", "w", "rw" };
  PollDesc *pd = fd_poll_desc(fd);
  if (pd == NULL) return nil_errno(L, errno, NULL);
  for (;;) {
    PollEdges before = fd_poll_edges(pd);
    int ready = os_ready(fd, (int)modes);
    FdResult r;
    if (ready < 0) return nil_errno(L, errno, NULL);
    if (ready > 0) {
      lua_pushstring(L, names[ready]);
      return 1;
    }
    if (!limit_waits(&lim)) return nil_reason(L, h);
    r = fd_poll_wait(pd, modes, before, h.g);
    if (r == FD_ERROR) return nil_errno(L, errno, NULL);
    if (r == FD_READY) {
      lua_pushstring(L, names[modes]);
      return 1;
    }
    if (r == FD_WAIT) {
      if (!wait_here(L, h, lim)) return wait_yield(L, h, (lua_KContext)modes, poll_k);
      fd_wait_end(h.g);
      if (!wait_over(h)) return wait_unwind(L, h);
      if (gave_up(h, &lim)) return nil_reason(L, h);
    }
  }
}

static int poll_k (lua_State *L, int status, lua_KContext ctx) {
  Here h = here(L);
  Limit lim = arg_timeout_again(L, 3, lua_tointeger(L, UNTIL));
  (void)status;
  fd_wait_end(h.g);
  if (!wait_over(h)) return wait_unwind(L, h);
  if (gave_up(h, &lim)) return nil_reason(L, h);
  return look(L, h, (int)lua_tointeger(L, 1), (unsigned)ctx, lim);
}

/*
** goro.poll(fd, mode [, timeout]) -> "r", "w" or "rw": what of 'mode' the descriptor is ready for
** (an error or the other side's end makes it ready); or nil, reason[, code].  Files that cannot be
** waited for, such as regular ones, are always ready.
*/
static int l_poll (lua_State *L) {
  Here h = here(L);
  lua_Integer fd = arg_integer(L, 1);
  unsigned modes = check_mode(L, 2);
  Limit lim = arg_timeout(L, 3, FOREVER);
  check_panics(L, h);
  if (limit_over(h, &lim)) return nil_reason(L, h);
  if (fd < 0 || fd > INT_MAX) return nil_errno(L, EBADF, NULL);
  lua_settop(L, UNTIL - 1);
  lua_pushinteger(L, fd);
  lua_replace(L, 1);
  lua_pushinteger(L, lim.until);
  return look(L, h, (int)fd, modes, lim);
}

const luaL_Reg poll_functions[] = { { "poll", l_poll }, { NULL, NULL } };
