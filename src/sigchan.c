/*
** sigchan.c - signals that come as names on channels.  Layer 4.
**
** The handler, which may run on any thread and between any two instructions, sets a flag and
** wakes sysmon; sysmon sends.  sysmon lets these signals in itself, too: a host may have blocked
** them on its own threads.  Sending never waits: where a channel is full the signal is lost, as in
** Go, and a signal that comes again before it was sent is sent once, as the OS itself does it.
**
** A channel that is open can always get something, so a host with a goroutine that waits for one
** is not dead: it counts as one of a timer does.  What had a signal before has it again when its last channel is closed, unless
** somebody else has taken it meanwhile.
*/
#include <errno.h>
#include <stdlib.h>
#include "debug.h"
#include "ossignal.h"
#include "sigchan.h"

typedef struct SigChan {
  struct SigChan *next;
  Chan *c;                             /* a reference */
  Host *host;
  uint64_t set;
} SigChan;

static Lock lock = { .rank = RANK_OBJECT };
static SigChan *all;                   /* [L] */
static int count[OS_MAX_SIGNAL + 1];   /* [L] channels that want it */
static uint64_t caught;                /* [L] bits: ours now */
static _Atomic(uint32_t) pending[OS_MAX_SIGNAL + 1];         /* [A] it came */
static __thread uint64_t admitted;     /* sysmon's: bits that its thread lets in */

#define BIT(sig) (UINT64_C(1) << ((sig) - 1))

static void handler (int sig) {
  int saved = errno;
  store_seq(&pending[sig], 1);
  store_seq(&sched.signalled, 1);
  note_wake(&sched.sysmon_note);
  errno = saved;
}

/* lock held: what is wanted is caught, the rest is given back.  false: errno. */
static bool settle (void) {
  int sig;
  bool ok = true;
  for (sig = 1; sig <= OS_MAX_SIGNAL; sig++) {
    if (count[sig] > 0 && !(caught & BIT(sig))) {
      if (os_signal_catch(sig, handler)) caught |= BIT(sig);
      else ok = false;
    }
    else if (count[sig] == 0 && (caught & BIT(sig))) {
      os_signal_restore(sig, handler);
      caught &= ~BIT(sig);
    }
  }
  if (sched.deliver != NULL) store_seq(&sched.signalled, 1);  /* sysmon: what to let in? */
  return ok;
}

static void add (SigChan *s, int n) {  /* lock held */
  int sig;
  for (sig = 1; sig <= OS_MAX_SIGNAL; sig++)
    if (s->set & BIT(sig)) count[sig] += n;
}

static void release (SigChan *s) {     /* out of the list; lock not held */
  chan_set_timed(s->c, false);
  obj_unref(&s->c->obj);
  free(s);
}

/* Take out those of a channel, or of a host. */
static void take_out (const Chan *c, const Host *h) {
  SigChan *s, **at, *gone = NULL;
  lock_acquire(&lock);
  for (at = &all; (s = *at) != NULL;) {
    if (s->c != c && s->host != h) {
      at = &s->next;
      continue;
    }
    *at = s->next;
    s->next = gone;
    gone = s;
    add(s, -1);
  }
  settle();
  lock_release(&lock);
  while ((s = gone) != NULL) {
    gone = s->next;
    release(s);
  }
}

static void closed (Chan *c) { take_out(c, NULL); }

void sigchan_drop (Host *h) { take_out(NULL, h); }

static void send_one (Chan *c, const Value *name, GList *ready) {      /* lock held */
  Value v = value_share(name);
  ChanResult r;
  lock_acquire(&c->lock);
  r = chan_try_locked(c, true, &v, ready);
  lock_release(&c->lock);
  if (r != CHAN_OK) value_drop(&v);
}

/* In sysmon, when 'signalled' was set. */
static void deliver (void) {
  GList ready = { NULL, NULL };
  Value name = NIL_VALUE;
  SigChan *s;
  int sig;
  lock_acquire(&lock);
  for (sig = 1; sig <= OS_MAX_SIGNAL; sig++) {
    if ((caught ^ admitted) & BIT(sig)) {
      os_signal_admit(sig, (caught & BIT(sig)) != 0);
      admitted ^= BIT(sig);
    }
    if (load_acq(&pending[sig]) == 0) continue;
    name.u.m = msg_new_string(os_signal_name(sig), strlen(os_signal_name(sig)));
    if (name.u.m == NULL) {            /* later, then: it is not lost */
      store_seq(&sched.signalled, 1);
      note_wake(&sched.sysmon_note);
      continue;
    }
    name.tag = V_STR;
    store_seq(&pending[sig], 0);
    for (s = all; s != NULL; s = s->next)
      if (s->set & BIT(sig)) send_one(s->c, &name, &ready);
    value_drop(&name);
  }
  lock_release(&lock);
  sched_ready_all(NULL, &ready);
}

int sigchan_open (Chan *c, Host *h, uint64_t set) {
  SigChan *s = malloc(sizeof *s);
  bool ok;
  if (s == NULL) return ENOMEM;
  sysmon_start();
  s->c = c;
  s->host = h;
  s->set = set;
  c->on_close = closed;
  c->host = h;
  chan_set_timed(c, true);
  obj_ref(&c->obj);
  lock_acquire(&lock);
  if (sched.deliver == NULL) sched.deliver = deliver;
  s->next = all;
  all = s;
  add(s, 1);
  ok = settle();
  lock_release(&lock);
  note_wake(&sched.sysmon_note);
  if (!ok) {
    int e = errno;
    take_out(c, NULL);
    return e;
  }
  return 0;
}
