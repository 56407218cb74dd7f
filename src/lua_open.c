/*
** lua_open.c - goro.open, and standard input, output and error as connections.  Layer 6.
**
** What we open ourselves is ours alone: pipes and terminals are made non-blocking.  The three
** standard ones belong to whoever started us as well, and stay as they are (conn.c).  Each is one
** object for the whole process, made when it is first asked for.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "lua_conn.h"

/* io.open's modes. */
static int flags_of (const char *mode) {
  int flags;
  switch (*mode++) {
    case 'r': flags = O_RDONLY; break;
    case 'w': flags = O_WRONLY | O_CREAT | O_TRUNC; break;
    case 'a': flags = O_WRONLY | O_CREAT | O_APPEND; break;
    default: return -1;
  }
  if (*mode == '+') {
    mode++;
    flags = (flags & ~(O_RDONLY | O_WRONLY)) | O_RDWR;
  }
  if (*mode == 'b') mode++;
  return *mode == '\0' ? flags : -1;
}

static ConnKind kind_of (int fd, bool ours) {
  switch (os_kind(fd)) {
    case FD_IS_SOCKET: return CONN_SOCKET;
    case FD_IS_STREAM:
      return ours && os_set_nonblocking(fd) == 0 ? CONN_STREAM : CONN_SHARED;
    default: return CONN_FILE;
  }
}

/*
** goro.open(path [, mode = "r"]) -> a connection; or nil, reason, code.  A pipe, a terminal, a file;
** modes as io.open's.  To open a named pipe waits for its other side, as ever, and blocks a thread
** meanwhile, not the others.  Go's os.OpenFile.
*/
static int l_open (lua_State *L) {
  Here h = here(L);
  const char *path = arg_string(L, 1), *mode = lua_isnoneornil(L, 2) ? "r" : arg_string(L, 2);
  int flags = flags_of(mode), fd;
  arg_check(L, flags >= 0, 2, "invalid mode");
  check_panics(L, h);
  lua_settop(L, 2);
  sched_block(h.m, h.g);
  fd = os_file(path, flags, 0666);
  sched_unblock(h.m, h.g);
  if (fd < 0) return nil_errno(L, errno, path);
  handle_push_new(L, h.s, (Obj *)conn_new(OBJ_CONN, fd, kind_of(fd, true)));
  return 1;
}

static _Atomic(Conn *) standard[3];    /* [A] kept for ever */

static Conn *standard_conn (int fd) {
  Conn *c = load_acq(&standard[fd]), *none = NULL, *made;
  if (c != NULL) return c;
  made = conn_over(OBJ_CONN, fd, kind_of(fd, false));
  if (made == NULL) return NULL;
  if (cas_acqrel(&standard[fd], &none, made)) return made;
  free(made);                          /* somebody was quicker; not closed */
  return none;
}

bool push_standard (lua_State *L, const char *name) {
  static const char *const names[] = { "stdin", "stdout", "stderr" };
  int i;
  for (i = 0; i < 3; i++)
    if (strcmp(name, names[i]) == 0) {
      Conn *c = standard_conn(i);
      if (c == NULL) luaL_error(L, "not enough memory");
      handle_push(L, here(L).s, &c->obj, VIEW_BOTH);
      return true;
    }
  return false;
}

const luaL_Reg open_functions[] = { { "open", l_open }, { NULL, NULL } };
