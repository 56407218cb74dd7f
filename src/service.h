/*
** service.h - the thread that tells about the program from outside of it.  Layer 5.
*/
#ifndef GORO_SERVICE_H
#define GORO_SERVICE_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

struct Host;

/* Each starts the thread, if need be.  0 or an errno. */
int service_dump_on (int signal);      /* all stacks to stderr when it comes */
int service_schedtrace (int64_t ns);   /* a line of figures that often */
int service_serve (const char *path);  /* answer on this Unix socket; NULL: no more */

/* In 'ns' from now have the main script of 'h' raise 'text' with all stacks; the latest wish is
** the one that counts.  NULL: none. */
int service_limit (struct Host *h, int64_t ns, const char *text);

/*
** Ask the one who serves at 'path' for 'what' ("top", "leaks", "stacks"): a malloc'ed text, or
** NULL and errno.  Blocks this thread.
*/
char *service_ask (const char *path, const char *what, size_t *len);

#pragma GCC visibility pop

#endif
