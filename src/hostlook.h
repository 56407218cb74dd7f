/*
** hostlook.h - where a main script is that computes.  Layer 5.
*/
#ifndef GORO_HOSTLOOK_H
#define GORO_HOSTLOOK_H

#include "report.h"

#pragma GCC visibility push(hidden)

/*
** Ask the main script of 'h', which runs, for its own traceback, and wait for it: false if it is
** inside C, or in a coroutine, and does not answer.  The world stands still (so the host and its
** thread stay), no lock is held, and the caller is not that thread.
*/
bool hostlook_ask (Host *h, Text *t);

/* The script's own hook of its main thread, also while ours stands before it. */
lua_Hook hostlook_hook (const HostState *hs, int *mask, int *count);

void hostlook_end (HostState *hs);     /* the host ends: its thread's m->curg is NULL already */
void hostlook_signal (M *m);           /* in the signal handler, on the host's own thread */

#pragma GCC visibility pop

#endif
