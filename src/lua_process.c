/*
** lua_process.c - what lua/goro/command.lua, and in part socket.lua, are made of.  Layer 6.
**
** Descriptors are numbers here; those modules see to it that each is closed.
*/
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "lua_conn.h"
#include "ossignal.h"
#include "process.h"

static int push_conn (lua_State *L) {
  Conn **c = lua_touserdata(L, 1);
  Obj *o = &(*c)->obj;
  *c = NULL;                           /* it is taken over, also by one that raises */
  handle_push_new(L, here(L).s, o);
  return 1;
}

/* pipe(ours) -> our end, a connection, and the number of the other; 'ours' is "r" or "w". */
static int l_pipe (lua_State *L) {
  bool reads = *luaL_checkstring(L, 1) == 'r';
  int fd[2], mine, other;
  Conn *c;
  if (!os_pipe(fd)) return nil_errno(L, errno, NULL);
  mine = fd[reads ? 0 : 1];
  other = os_high_fd(fd[reads ? 1 : 0]);
  if (other < 0 || os_set_nonblocking(mine) != 0 ||
      (c = conn_over(OBJ_CONN, mine, CONN_STREAM)) == NULL) {
    int e = errno;
    if (other >= 0) close(other);
    close(mine);
    return nil_errno(L, e, NULL);
  }
  lua_pushcfunction(L, push_conn);
  lua_pushlightuserdata(L, &c);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    if (c != NULL) obj_unref(&c->obj);
    close(other);
    return lua_error(L);
  }
  lua_pushinteger(L, other);
  return 2;
}

/* open(path, mode) -> a number; mode "r" or "w". */
static int l_open (lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  bool reads = *luaL_checkstring(L, 2) == 'r';
  Here h = here(L);
  int fd, e;
  sched_block(h.m, h.g);               /* a named pipe waits for its other side */
  fd = os_file(path, reads ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (fd >= 0) fd = os_high_fd(fd);
  e = errno;
  sched_unblock(h.m, h.g);
  if (fd < 0) return nil_errno(L, e, path);
  lua_pushinteger(L, fd);
  return 1;
}

/* copy(fd or file) -> a duplicate's number. */
static int l_copy (lua_State *L) {
  int fd;
  if (lua_isinteger(L, 1)) fd = (int)lua_tointeger(L, 1);
  else {
    luaL_Stream *f = luaL_testudata(L, 1, LUA_FILEHANDLE);
    if (f == NULL || f->closef == NULL) {
      lua_pushnil(L);
      lua_pushliteral(L, "closed");
      return 2;
    }
    fflush(f->f);
    fd = fileno(f->f);
  }
  fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (fd < 0) return nil_errno(L, errno, NULL);
  lua_pushinteger(L, fd);
  return 1;
}

static int l_close (lua_State *L) {
  int i;
  for (i = 1; i <= lua_gettop(L); i++)
    if (lua_isinteger(L, i)) close((int)lua_tointeger(L, i));
  return 0;
}

/* The list of strings at 'idx' as a vector: a userdata that is left on the stack. */
static char **vector (lua_State *L, int idx) {
  lua_Integer i, n = luaL_len(L, idx);
  char **v = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *v, 0);
  here(L).s->nhandles++;               /* ours, and not finalised */
  for (i = 0; i < n; i++) {
    lua_geti(L, idx, i + 1);
    v[i] = (char *)(uintptr_t)luaL_checkstring(L, -1);         /* the list keeps it */
    lua_pop(L, 1);
  }
  v[n] = NULL;
  return v;
}

/* environ() -> the environment, a list. */
static int l_environ (lua_State *L) {
  char **vars = os_environ();
  int i;
  lua_newtable(L);
  for (i = 0; vars != NULL && vars[i] != NULL; i++) {
    lua_pushstring(L, vars[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* spawn(argv, fd0, fd1, fd2, dir, env) -> process id, and a descriptor that tells its end or false;
** or nil, message, code. */
static int l_spawn (lua_State *L) {
  int fds[3], i, pid, fd;
  const char *dir = luaL_optstring(L, 5, NULL);
  char **argv, **env = NULL;
  lua_settop(L, 6);
  for (i = 0; i < 3; i++) fds[i] = (int)luaL_checkinteger(L, 2 + i);
  argv = vector(L, 1);
  if (!lua_isnil(L, 6)) env = vector(L, 6);
  pid = os_spawn(argv, fds, dir, env);
  if (pid < 0) return nil_errno(L, errno, argv[0]);
  fd = os_process_fd(pid);
  lua_pushinteger(L, pid);
  if (fd >= 0) lua_pushinteger(L, fd);
  else lua_pushboolean(L, 0);
  return 2;
}

/* await(pid): a thread waits for its end; where there is no descriptor that tells it. */
static int l_await (lua_State *L) {
  Here h = here(L);
  int pid = (int)luaL_checkinteger(L, 1);
  sched_block(h.m, h.g);
  os_await_end(pid);
  sched_unblock(h.m, h.g);
  return 0;
}

/* reap(pid) -> "exit" or "signal", number, of one that has ended. */
static int l_reap (lua_State *L) {
  int status = 0;
  if (os_reap((int)luaL_checkinteger(L, 1), true, &status) < 0) return nil_errno(L, errno, NULL);
  lua_pushstring(L, WIFSIGNALED(status) ? "signal" : "exit");
  lua_pushinteger(L, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  return 2;
}

/* signal(name or number) -> number, or nil. */
static int l_signal (lua_State *L) {
  int sig = lua_isinteger(L, 1) ? (int)lua_tointeger(L, 1)
                                : os_signal_number(luaL_checkstring(L, 1));
  if (sig < 1 || sig > OS_MAX_SIGNAL) return 0;
  lua_pushinteger(L, sig);
  return 1;
}

static int l_kill (lua_State *L) {
  if (kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2)) != 0)
    return nil_errno(L, errno, NULL);
  lua_pushboolean(L, 1);
  return 1;
}

/* lookup(host) -> its addresses, a list; or nil, message. */
static int l_lookup (lua_State *L) {
  Here h = here(L);
  AddrText t = { "", "" };
  Addr found[16];
  char text[ADDR_TEXT];
  const char *why = NULL, *host = luaL_checkstring(L, 1);
  int i, n = 0;
  if (strlen(host) < sizeof t.host) {
    memcpy(t.host, host, strlen(host) + 1);
    memcpy(t.port, "0", 2);
    sched_block(h.m, h.g);
    n = os_lookup(&t, false, true, found, 16, &why);
    sched_unblock(h.m, h.g);
  }
  if (n <= 0) return nil_text(L, why != NULL ? why : "name too long");
  lua_createtable(L, n, 0);
  for (i = 0; i < n; i++) {            /* "127.0.0.1:0", "[::1]:0" */
    addr_format(&found[i], text);
    text[strlen(text) - 2] = '\0';
    if (text[0] == '[') {
      text[strlen(text) - 1] = '\0';
      lua_pushstring(L, text + 1);
    }
    else lua_pushstring(L, text);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* hostname() -> this machine's name. */
static int l_hostname (lua_State *L) {
  char name[256];
  if (gethostname(name, sizeof name) != 0) return nil_errno(L, errno, NULL);
  name[sizeof name - 1] = '\0';
  lua_pushstring(L, name);
  return 1;
}

/* time() -> seconds since 1970, with their parts. */
static int l_time (lua_State *L) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  lua_pushnumber(L, (lua_Number)ts.tv_sec + (lua_Number)ts.tv_nsec / 1e9);
  return 1;
}

static const luaL_Reg functions[] = {
  { "pipe", l_pipe }, { "open", l_open }, { "copy", l_copy }, { "close", l_close },
  { "environ", l_environ }, { "spawn", l_spawn }, { "await", l_await },
  { "reap", l_reap }, { "signal", l_signal },
  { "kill", l_kill }, { "lookup", l_lookup }, { "hostname", l_hostname }, { "time", l_time },
  { NULL, NULL }
};

void push_process_module (lua_State *L) { luaL_newlib(L, functions); }
