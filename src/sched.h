/*
** sched.h - the scheduler's face: who runs next, and where.  Layer 3.
**
** Files behind it: proc.c (Ms find work), m.c (Ms come, sleep, go), park.c (a goroutine leaves and
** comes back), sysmon.c (P's retaken, preemption), host.c (Lua states that required goro, panics
** to the main script, the end), forked.c (in the child of a fork).
*/
#ifndef GORO_SCHED_H
#define GORO_SCHED_H

#include "g.h"

#pragma GCC visibility push(hidden)

#define MAX_PROCS 1024
#define MAX_THREADS 10000              /* workers */
#define MAX_MS (MAX_THREADS + 256)     /* and the hosts' own */
#define FAIR_TICK 61                   /* at each the global queue and all timers come first */
#define SLICE (SECOND / 100)           /* how long one may compute while others wait */
#define TURN (SECOND / 500)            /* the same for one that was preempted before, while there
                                          are others that were not; and for those */

/* What layer 5 does for the scheduler: it alone knows Lua. */
typedef enum Outcome { RUN_PARKED, RUN_YIELDED, RUN_PREEMPTED, RUN_DEAD } Outcome;
typedef struct SchedHooks {
  Outcome (*run) (M *m, G *g);         /* run one slice of g */
  void (*reap) (G *g);                 /* g has ended: free it (no P needed) */
  void (*m_start) (M *m);              /* a worker thread begins, ends */
  void (*m_end) (M *m);
  void (*m_sleep) (M *m, bool rests);  /* it is about to sleep: keep no memory of states; 'rests':
                                          it has had nothing to do for long, and keeps nothing */
  void (*preempt) (M *m);              /* in the signal handler, on m's own thread */
  size_t room;                         /* bytes behind each goroutine's G, for its g->state; or 0 */
  Outcome (*run_traced) (M *m, G *g);  /* 'run', seen by trace.c */
  bool (*tame) (M *m, G *g);           /* may g, which is the caller's, be m's guest?  NULL: no */
} SchedHooks;

typedef struct Sched {
  Lock lock;                           /* RANK_SCHED */
  SchedHooks hooks;                    /* [I] */
  Outcome (*_Atomic run) (M *m, G *g); /* [A] hooks.run, or run_traced */
  GList gq;                            /* [L] global run queue */
  _Atomic(int32_t) ngq;                /* [A] its length */
  GList bq;                            /* [L] background queue: those that were preempted */
  _Atomic(int32_t) nbq;                /* [A] its length */
  P *idlep;                            /* [L] */
  _Atomic(int32_t) nidlep;             /* [A] */
  M *idlem, *idlem_tail;               /* [L] */
  _Atomic(int32_t) nspinning;          /* [A] */
  _Atomic(M *) napper;                 /* [A] an M that naps, NULL: none (proc.c, NAPS) */
  _Atomic(int64_t) nap_until;          /* [A] until when */
  _Atomic(int32_t) nprocs;             /* [A] maxprocs: P's with a smaller id are in use */
  _Atomic(int32_t) nallp;              /* [A] P's that exist */
  _Atomic(P *) allp[MAX_PROCS];        /* [A] */
  _Atomic(M *) allm[MAX_MS];           /* [A] */
  _Atomic(uint32_t) nallm;             /* [A] slots used in allm */
  uint32_t nworkers;                   /* [L] threads of ours that live */
  uint32_t max_threads;                /* [L] */
  bool no_thread;                      /* [L] the last one wanted could not be had */
  int32_t nbusy;                       /* [L] worker Ms that are not idle or blocked */
  M *poller;                           /* [L] the idle M that sleeps until the next timer */
  _Atomic(int64_t) poll_until;         /* [A] until when it sleeps; 0: there is none */
  _Atomic(uint32_t) netpolling;        /* [A] it sleeps in netpoll */
  _Atomic(uint32_t) stopping;          /* [A] */
  _Atomic(uint32_t) ensured;           /* [A] sysmon and a worker run */
  _Atomic(uint32_t) starved;           /* [A] the last thread that was wanted could not be had: */
#define STARVED 1                      /* says so if it lasts */
#define STARVED_ASKED 2                /* goro.max_threads was called: as it was asked for */
  Host *hosts;                         /* [L] */
  _Atomic(uint32_t) nhosts;            /* [A] changed under the lock */
  /* sysmon */
  pthread_t sysmon;
  _Atomic(uint32_t) sysmon_running;    /* [A] changed under the lock */
  _Atomic(uint32_t) sysmon_waits;      /* [A] sleeps on its note: no P is in use */
  Note sysmon_note;
  int ncpu;                            /* [I] CPUs this process may use */
  _Atomic(uint32_t) signalled;         /* [A] signals came: sysmon calls 'deliver' */
  void (*deliver) (void);              /* [I] once 'signalled' is set: sigchan.c's */
  bool can_preempt;                    /* [I] our signal handler is installed */
  _Atomic(uint32_t) stop_seq;          /* [A] counts world_stops */
  _Atomic(int64_t) clock;              /* [A] os_now of sysmon's last round */
  /* figures for goro.stats: what Ms that have left counted, and who is no M */
  _Atomic(uint64_t) stats[NSTATS];
} Sched;

extern Sched sched;

/* --- the runtime's life (proc.c) --- */
bool sched_init (const SchedHooks *h); /* once; false: no memory */
void sched_stop (void);                /* no host is left: end and join the workers */
int sched_maxprocs (int n);            /* n > 0: set it.  The previous number */
uint32_t sched_max_threads (uint32_t n);         /* the same for workers, at most MAX_THREADS */

void forked_init (void);               /* (forked.c) once: what is to be done in a fork's child */

/* --- this thread (proc.c) --- */
/* This thread's M, NULL if it has none.  (initial-exec: one word of static TLS, read without a
** call; a C frame never moves to another thread.) */
extern __thread M *sched_this_m __attribute__((tls_model("initial-exec")));
static inline M *sched_m (void) { return sched_this_m; }
M *sched_adopt (void);                 /* make one for a host's thread; NULL: no memory */
void sched_leave (M *m);               /* a host's thread has no host any more */

/*
** Own a P, from a goro call.  P's are lent while Lua runs: own takes m's back, or queues for
** another if sysmon has taken it away; lend lets sysmon do so again.
*/
void sched_own (M *m, G *g);
void sched_lend (M *m);
static inline bool sched_still_lent (M *m) {
  return m->p != NULL && load_rlx(&m->p->word) == P_LENT_TO(m);
}
/* The cheap form for calls that need no P but must not outrun one's share of Ps. */
#define sched_check_p(m, g) \
  (sched_still_lent(m) ? (void)0 : (sched_own((m), (g)), sched_lend(m)))

/* Around a call that is known to block for long (others are noticed by sysmon): the P goes to
** another M at once.  Go's entersyscallblock. */
void sched_block (M *m, G *g);
void sched_unblock (M *m, G *g);       /* with a P again, lent */

/* Make goroutines runnable.  They were claimed by the caller, or are new.  From any goro call;
** no P need be owned: owned is for callers that hold one.  'next': before all that waits. */
void sched_ready (M *m, G *g, bool next);
void sched_ready_all (M *m, GList *l);
int sched_ensure (void);               /* sysmon and a worker, before goroutines, and before a main
                                          script waits for a time: 0 or an errno */
int sysmon_start (void);               /* 0 or an errno */
bool sysmon_signals (void);            /* the preemption signal is ours, also with GOROPREEMPT=0 */
void sysmon_wake (void);               /* if it sleeps until a P is in use */
void sched_timer_added (int64_t when); /* somebody must wake up for it in time */
void sched_netpoll_started (void);     /* from now on the poller shall sleep in netpoll */

/*
** The world stands still (world.c) from world_stop to world_start: goroutines that are PARKED
** or RUNNABLE stay so as far as running goes, and their states may be read.  'self': the
** caller's M, whose P is lent, or NULL.  false: host 'h' ends, nothing was stopped.  The caller must
** not raise, wait or ready anybody meanwhile; afterwards it may be without a P (sched_check_p).
*/
bool world_stop (M *self, Host *h);
void world_start (void);
static inline bool world_stands (void) { return load_rlx(&sched.nprocs) == 0; }
int world_procs (void);                /* maxprocs, also while it stands still */
void world_hold (void);                /* between these nobody stops it */
void world_release (void);

/* --- figures (stats.c) --- */
static inline void stat_add (M *m, Stat s, uint64_t n) {
  if (m != NULL) store_rlx(&m->stats[s], load_rlx(&m->stats[s]) + n);
  else add_rlx(&sched.stats[s], n);
}
typedef struct Figures {
  uint64_t n[NSTATS];
  int64_t live;                        /* goroutines, main scripts counted */
  int32_t procs, idle_procs, spinning;
  int32_t runnable, global;            /* all; of these in the global queue */
  int32_t workers, parked_workers;     /* threads of ours; of these idle or blocked */
} Figures;
void sched_figures (Figures *f);       /* takes sched.lock */
int sched_queued (int i);              /* how many wait in the queue of P 'i' */

/* --- inside layer 3 --- */
bool m_take_back (M *m);               /* its lent P; false: sysmon has taken it */
M *m_new (bool is_host);               /* NULL: no memory, or too many threads */
void m_free (M *m);
void m_is_here (M *m);                 /* its thread is the caller's */
void m_forget (M *m);                  /* sched.lock held */
void m_wake (M *m);                    /* wherever it sleeps */
_Noreturn void m_sleep_for_ever (M *m);
void idlem_remove (M *m);              /* sched.lock held */
bool worker_sleep (M *m, GList *ready);          /* without a P; false: the runtime stops */
void sched_guest (M *m, G *g);         /* one slice of g on a host's thread, which owns a P */
bool expire_all (M *m);                /* ready what due timers wake; true: there was some */
void p_expire (M *m);                  /* the same for those of its P's shard */
void runq_add (P *pp, G *g, bool next);
void gq_add (G *g);
void gq_add_all (GList *l, int n);
void bq_add (P *pp, G *g);             /* preempted on pp, NULL: its M had lost its P */
/* Does anybody stand in a queue of all? */
static inline bool gq_any (void) { return load_seq(&sched.ngq) != 0 || load_seq(&sched.nbq) != 0; }
bool p_acquire_idle (M *m);            /* sched.lock not held */
void p_set (M *m, P *pp);
P *p_release (M *m);
void p_retire (P *pp);                 /* owned by nobody's M; its number is too high */
void p_to_idle (P *pp);                /* sched.lock held */
P *p_pop_idle (void);                  /* sched.lock held; NULL: none */
void p_revive (void);                  /* sched.lock held: those that retired come back */
void handoff_p (P *pp);
void wake_p (void);
void nap_timer_added (int64_t when);
void start_m (P *pp, bool spinning);
/* What others need of an M's thread, copied under the lock: a host's M may be forgotten and used
** anew.  A host's thread that runs a guest is none ('is_host') meanwhile.  false: there is none, or
** it has not begun. */
typedef struct MLook { M *m; bool is_host, guest; int tid; clockid_t cpuclock; } MLook;
bool m_look_up (uint32_t id, MLook *l);
void m_signal (uint32_t id, const M *m);         /* the preemption signal, if 'm' is still M 'id' */
/* (profile.c) M 'id', if it still is thread 'tid', owes 'n' samples more: it is told by the
** preemption signal.  All samples that are owed are forgotten. */
bool m_sample (uint32_t id, int tid, uint32_t n);
void m_samples_drop (void);
void m_wait (M *m, Outcome o);         /* blocks m until it is given a P; accounted idle */
void m_give (M *m, P *pp);             /* sched.lock not held: give a waiting M this P */
void check_dead_locked (GList *dead);
void g_spare_drop (M *m);              /* (host.c) */

#pragma GCC visibility pop

#endif
