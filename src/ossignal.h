/*
** ossignal.h - the OS's signals by name.  Layer 0.
*/
#ifndef GORO_OSSIGNAL_H
#define GORO_OSSIGNAL_H

#include <stdbool.h>

#pragma GCC visibility push(hidden)

#define OS_MAX_SIGNAL 64

int os_signal_number (const char *name);         /* of "INT" or "SIGINT"; 0: unknown */
const char *os_signal_name (int sig);            /* "INT"; NULL: it has none */
bool os_signal_can_catch (int sig);    /* not what means a fault, nor what goro itself uses */

/* Let 'handler' have a signal, and remember who had it; give it back, unless somebody else has
** set another meanwhile. */
bool os_signal_catch (int sig, void (*handler) (int));
void os_signal_restore (int sig, void (*handler) (int));
void os_signal_admit (int sig, bool yes);        /* does this thread let it in? */

#pragma GCC visibility pop

#endif
