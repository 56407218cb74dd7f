/*
** sigchan.h - signals that come as names on channels.  Layer 4.
*/
#ifndef GORO_SIGCHAN_H
#define GORO_SIGCHAN_H

#include "chan.h"

#pragma GCC visibility push(hidden)

/*
** From now on the signals of 'set' (bit n: signal n) are sent on 'c', a new channel of 'h' that
** nobody else knows yet, until it is closed or the host ends.  0 or an errno.
*/
int sigchan_open (Chan *c, Host *h, uint64_t set);
void sigchan_drop (Host *h);           /* the host ends */

#pragma GCC visibility pop

#endif
