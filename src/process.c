/*
** process.c - child processes.  Layer 0.
**
** posix_spawn starts the child without copying this process, and tells at once whether the program
** could be executed.  Every descriptor of ours is close-on-exec.
*/
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "process.h"

char **os_environ (void) { return environ; }

static int add_actions (posix_spawn_file_actions_t *fa, const int fds[3], const char *dir) {
  int i, e = 0;
  for (i = 0; i < 3 && e == 0; i++)    /* (of a number to itself: not close-on-exec any more) */
    e = posix_spawn_file_actions_adddup2(fa, fds[i], i);
  if (e == 0 && dir != NULL) e = posix_spawn_file_actions_addchdir_np(fa, dir);
  return e;
}

int os_spawn (char *const argv[], const int fds[3], const char *dir, char *const env[]) {
  posix_spawn_file_actions_t fa;
  posix_spawnattr_t at;
  sigset_t set;
  pid_t pid = -1;
  int e;
  if ((e = posix_spawnattr_init(&at)) != 0) goto fail;
  sigemptyset(&set);
  posix_spawnattr_setsigmask(&at, &set);
  sigaddset(&set, SIGPIPE);
  posix_spawnattr_setsigdefault(&at, &set);
  posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  if ((e = posix_spawn_file_actions_init(&fa)) == 0) {
    e = add_actions(&fa, fds, dir);
    if (e == 0) e = posix_spawnp(&pid, argv[0], &fa, &at, argv, env != NULL ? env : os_environ());
    posix_spawn_file_actions_destroy(&fa);
  }
  posix_spawnattr_destroy(&at);
  if (e == 0) return pid;
fail:
  errno = e;
  return -1;
}

int os_process_fd (int pid) {
#if defined(SYS_pidfd_open)
  const char *off = getenv("GOROPIDFD");           /* 0: as where the kernel has none */
  if (off == NULL || strcmp(off, "0") != 0)
    return (int)syscall(SYS_pidfd_open, pid, 0);     /* close-on-exec by itself */
#else
  (void)pid;
#endif
  errno = ENOSYS;
  return -1;
}

int os_reap (int pid, bool block, int *status) {
  int r;
  while ((r = waitpid(pid, status, block ? 0 : WNOHANG)) < 0 && errno == EINTR) continue;
  return r < 0 ? -1 : r > 0;
}

int os_await_end (int pid) {
  siginfo_t info;
  int r;
  while ((r = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT)) < 0 && errno == EINTR) continue;
  return r;
}

int os_high_fd (int fd) {
  int high = fd, e;
  if (fd >= 0 && fd <= 2) {
    high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    e = errno;
    close(fd);
    errno = e;
  }
  return high;
}
