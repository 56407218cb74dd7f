/*
** forked.c - goro in the child of a fork.  Layer 3.
**
** fork() copies one thread, the one that calls it: a goroutine's by way of some C library, or a
** main script's.  In the child there is no worker and no sysmon, and a lock that another thread
** held at that moment is held for ever.  What is right to do there is to execute another program or
** to end.  For that:
**
**   F1  A worker has all signals blocked, and what is executed inherits that: so its child lets
**       them in.
**   F2  The thread has its P, whatever sysmon had done, and owes neither a yield nor a sample: it
**       goes on with the code that called fork, and with no other goroutine.
**   F3  What would wait or start a goroutine raises (check_panics_slow), since its host is closing.
**   F4  The end of the script, of the goroutine or of the process asks nobody and takes no lock of
**       goro's: os_forked is looked at where states, hosts and handles end.  (So nothing is done to
**       what parent and child share, either, as the epoll instance.)
**
** Where no thread had been started before there is nothing to be missed: the child may use goro as
** its parent may, and a script may become a daemon after require.
**
** posix_spawn, vfork, system and popen do not come here: they run no code of ours in the child.
*/
#include <pthread.h>
#include "netpoll.h"
#include "sched.h"

static void in_child (void) {
  M *m = sched_m();
  Host *h;
  os_forked = load_rlx(&sched.sysmon_running) != 0 || sched.nworkers > 0 || netpoll_active();
  if (m == NULL) return;
  if (!os_forked) {
    m_is_here(m);
    if (m->event_ok) event_close(&m->event);       /* the parent's as well */
    m->event_ok = event_init(&m->event);
    os_forked = !m->event_ok;
  }
  if (!os_forked) return;
  store_rlx(&m->preempt, 0);
  store_rlx(&m->due, 0);
  if (m->p == NULL) m->p = load_rlx(&sched.allp[0]);
  if (!m->owned) store_rlx(&m->p->word, P_LENT_TO(m));
  for (h = sched.hosts; h != NULL; h = h->next) store_rlx(&h->closing, 1);
  store_rlx(&sched.ensured, 0);
  if (!m->is_host) os_signals_unblock();
}

void forked_init (void) { pthread_atfork(NULL, NULL, in_child); }
