/*
** sleep.h - timers that send on channels.  Layer 4.
*/
#ifndef GORO_SLEEP_H
#define GORO_SLEEP_H

#include "chan.h"

#pragma GCC visibility push(hidden)

/* At 'when' send the time, in seconds, on 'c'.  false: no memory. */
bool after_start (M *m, Host *h, Chan *c, int64_t when);

#pragma GCC visibility pop

#endif
