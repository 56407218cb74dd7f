/*
** posix.c - a Lua module as C libraries are that know nothing of goro: what luaposix has of
** processes, a sleep that a signal cuts short, and ways to die.  For specs: build/tests/posix.so.
*/
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lua.h"
#include "lauxlib.h"

static int failed (lua_State *L) {
  int e = errno;
  lua_pushnil(L);
  lua_pushstring(L, strerror(e));
  lua_pushinteger(L, e);
  return 3;
}

/* fork() -> the child's number, 0 in the child */
static int l_fork (lua_State *L) {
  pid_t pid = fork();
  if (pid < 0) return failed(L);
  lua_pushinteger(L, pid);
  return 1;
}

/* exec(program, ...): comes back if that failed */
static int l_exec (lua_State *L) {
  const char *argv[20];
  int i, n = lua_gettop(L);
  for (i = 0; i < n && i < 19; i++) argv[i] = luaL_checkstring(L, i + 1);
  argv[i] = NULL;
  execvp(argv[0], (char *const *)(void *)argv);
  return failed(L);
}

/* spawn(program, ...) -> the number of a child that runs it: both in one C call */
static int l_spawn (lua_State *L) {
  pid_t pid;
  luaL_checkstring(L, 1);
  pid = fork();
  if (pid < 0) return failed(L);
  if (pid > 0) {
    lua_pushinteger(L, pid);
    return 1;
  }
  l_exec(L);
  _exit(127);
}

/* wait(pid) -> "exit" or "signal", number; blocks */
static int l_wait (lua_State *L) {
  int status;
  pid_t r, pid = (pid_t)luaL_checkinteger(L, 1);
  while ((r = waitpid(pid, &status, 0)) < 0 && errno == EINTR) continue;
  if (r < 0) return failed(L);
  lua_pushstring(L, WIFSIGNALED(status) ? "signal" : "exit");
  lua_pushinteger(L, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  return 2;
}

static int l_kill (lua_State *L) {
  lua_pushboolean(L, kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2)) == 0);
  return 1;
}

/* sleep(seconds) -> how many were left when a signal came */
static int l_sleep (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)sleep((unsigned)luaL_checkinteger(L, 1)));
  return 1;
}

static int l_abort (lua_State *L) {
  (void)L;
  abort();
}

static int l_crash (lua_State *L) {
  (void)L;
  *(volatile int *)0 = 0;
  return 0;
}

static int l_getpid (lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

int luaopen_posix (lua_State *L);

int luaopen_posix (lua_State *L) {
  static const luaL_Reg functions[] = {
    { "fork", l_fork }, { "exec", l_exec }, { "spawn", l_spawn }, { "wait", l_wait },
    { "kill", l_kill }, { "sleep", l_sleep }, { "getpid", l_getpid }, { "abort", l_abort },
    { "crash", l_crash }, { NULL, NULL }
  };
  luaL_newlib(L, functions);
  return 1;
}
