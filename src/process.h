/*
** process.h - child processes.  Layer 0.
*/
#ifndef GORO_PROCESS_H
#define GORO_PROCESS_H

#include <stdbool.h>

#pragma GCC visibility push(hidden)

/*
** Start argv[0], looked for in PATH, with fds[i] (all above 2, or i itself) as its descriptors 0
** to 2 and nothing else of ours, no signal blocked, SIGPIPE as it is by default; in 'dir' and with
** 'env' unless NULL.  Its process id, or -1 and errno, also where the program cannot be executed.
*/
int os_spawn (char *const argv[], const int fds[3], const char *dir, char *const env[]);
char **os_environ (void);

int os_process_fd (int pid);           /* readable when it has ended; -1 and errno */
/* Take note of a child's end.  1: it had ended; 0: it runs; -1 and errno.  'block': wait for it. */
int os_reap (int pid, bool block, int *status);
int os_await_end (int pid);            /* block until it has ended; it is still to be reaped */
int os_high_fd (int fd);               /* 'fd', or a duplicate above 2 in its place; -1 and errno */

#pragma GCC visibility pop

#endif
