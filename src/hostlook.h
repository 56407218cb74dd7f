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

void hostlook_signal (M *m);           /* in the signal handler, on the host's own thread */

#pragma GCC visibility pop

#endif
