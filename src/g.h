/*
** g.h - the structures of the scheduler.  Layer 2.
**
** G  a goroutine.           M  an OS thread.           P  a licence to run Lua, maxprocs of them.
** Sudog  a G standing in one wait queue (a G in a select stands in several).
** Host   a Lua state that required goro: goroutines belong to the host whose script started
**        them, directly or not.
**
** Field marks: [I] constant after creation; [O] the owner only (the goroutine itself, or the M
** that runs it, or the waker that claimed it); [A] atomic; [L:x] under x's lock.
*/
#ifndef GORO_G_H
#define GORO_G_H

#include <stddef.h>
#include "depot.h"
#include "lock.h"
#include "msg.h"
#include "timers.h"

#pragma GCC visibility push(hidden)

typedef struct G G;
typedef struct M M;
typedef struct P P;
typedef struct Host Host;
typedef struct Sudog Sudog;

/*
** A goroutine's status.  See park.c for who may change it, and how.
*/
typedef enum GStatus {
  G_IDLE,                              /* being made; known to its maker only */
  G_RUNNABLE,                          /* in exactly one run queue (invariant P1) */
  G_RUNNING,                           /* on an M */
  G_PARKING,                           /* has decided to wait, is still on its M's stack */
  G_NOTIFIED,                          /* PARKING, and the wake-up came already */
  G_PARKED,                            /* off every stack, in wait queues */
  G_DEAD
} GStatus;

/* Why a goroutine waits: shown by stacks and deadlock reports. */
#define WAIT_REASONS(X) \
  X(WAIT_NONE, "running") \
  X(WAIT_RECV, "chan receive") \
  X(WAIT_SEND, "chan send") \
  X(WAIT_SELECT, "select") \
  X(WAIT_SELECT_NOTHING, "select (no cases)") \
  X(WAIT_WAITGROUP, "WaitGroup wait") \
  X(WAIT_SLEEP, "sleep") \
  X(WAIT_TASK, "task wait") \
  X(WAIT_MUTEX, "Mutex lock") \
  X(WAIT_RLOCK, "RWMutex rlock") \
  X(WAIT_WLOCK, "RWMutex lock") \
  X(WAIT_COND, "Cond wait") \
  X(WAIT_SEMAPHORE, "Semaphore acquire") \
  X(WAIT_ONCE, "Once run") \
  X(WAIT_MAP, "Map update") \
  X(WAIT_POLL, "poll") \
  X(WAIT_ERRGROUP, "errgroup wait") \
  X(WAIT_ERRGROUP_GO, "errgroup go") \
  X(WAIT_READ, "read") \
  X(WAIT_WRITE, "write") \
  X(WAIT_ACCEPT, "accept") \
  X(WAIT_DIAL, "dial") \
  X(WAIT_LOOKUP, "name look-up")
#define X(name, text) name,
typedef enum WaitReason { WAIT_REASONS(X) NWAITREASONS } WaitReason;
#undef X

/* What ended a wait.  Written by whoever claimed the wait, read by the goroutine after it. */
typedef enum Wake {
  WAKE_READY,                          /* what it waited for: g->fired says which case */
  WAKE_TIMEOUT,
  WAKE_CANCELED, WAKE_DEADLINE,        /* the context that was its time-out is done */
  WAKE_INTERRUPT,                      /* host only: a signal handler wants the script */
  WAKE_PANIC,                          /* host only: a goroutine panicked */
  WAKE_DEADLOCK,                       /* host only: nobody is left to wake it */
  WAKE_THREADS,                        /* host only: no thread is left to run who could */
  WAKE_NOTHREAD,                       /* host only: it could not begin, no thread would end it */
  WAKE_NOMEM,                          /* it could not begin: no memory for its timer */
  WAKE_KILL                            /* the host ends */
} Wake;

struct Sudog {
  Sudog *next, *prev;                  /* [L:queue] */
  G *g;                                /* [I] while enqueued */
  Value elem;                          /* the value to send, or the one received; belongs to
                                          the queue's lock while enqueued, then to g */
  void *queue;                         /* [O] the object waited on (select: Chan) */
  int32_t index;                       /* [O] select: the case's index */
  bool send;                           /* [O] in a channel's queue of senders */
  bool ok;                             /* woken by a value, not by a close */
  bool enqueued;                       /* [L:queue] */
};

typedef struct WaitQ { Sudog *head, *tail; } WaitQ;         /* waitq.h */

/* Those of a select: kept by its G for the next. */
typedef struct Sudogs { int32_t n, cap; Sudog at[]; } Sudogs;

struct G {
  G *link;                             /* [O] next in a run queue or a GList */
  _Atomic(uint32_t) status;            /* [A] GStatus */
  _Atomic(uint32_t) claim;             /* [A] 1: waits, and whoever makes it 0 may wake it */
  _Atomic(uint32_t) parkseq;           /* [A] counts its waits */
  _Atomic(uint16_t) reason;            /* [A] WaitReason, for reports only */
  uint8_t wake;                        /* [O] Wake: the claimer's, then the goroutine's */
  uint32_t readied_by;                 /* [O] trace.c's: the M that readied it last, 0: none */
  uint32_t slow;                       /* [O] its parkseq when it was too slow for a guest */
  _Atomic(int64_t) since;              /* [A] when it began to wait, by sched.clock */
  _Atomic(M *) bound;                  /* [A] the only M that can run it (its C stack is there);
                                          written before a wait can be found, read after */
  Sudog *fired;                        /* [O] which Sudog ended the wait */
  Sudog own;                           /* [O] for waits on one thing */
  Sudogs *many;                        /* [O] for select, or NULL */
  Timer timer;                         /* of its sleep or time-out */
  struct Context *limit;               /* [O] the context it waits under, a reference, or NULL */
  G *lnext, **llink;                   /* [L:context] in that one's list; llink NULL: not in it */
  uint64_t id;                         /* [I] in its host */
  Host *host;                          /* [I] holds a reference */
  G *hnext, *hprev;                    /* [L:host] all goroutines of the host */
  void *state;                         /* [O] layer 5's: the Lua state and what belongs to it */
};

typedef struct GList { G *head, *tail; } GList;

static inline void glist_add (GList *l, G *g) {
  g->link = NULL;
  if (l->tail != NULL) l->tail->link = g;
  else l->head = g;
  l->tail = g;
}
static inline G *glist_pop (GList *l) {
  G *g = l->head;
  if (g != NULL) {
    l->head = g->link;
    if (l->head == NULL) l->tail = NULL;
    g->link = NULL;
  }
  return g;
}

/* What is counted, and its name in goro.stats. */
#define STATS(X) \
  X(STAT_SPAWNED, "spawned") \
  X(STAT_SWITCHES, "switches") \
  X(STAT_STEALS, "steals") \
  X(STAT_HANDOFFS, "handoffs") \
  X(STAT_PREEMPTIONS, "preemptions") \
  X(STAT_MESSAGES, "messages") \
  X(STAT_BYTES, "bytes_marshalled")
#define X(name, text) name,
typedef enum Stat { STATS(X) NSTATS } Stat;
#undef X

#define RUNQ_SIZE 256u                 /* a power of two */
#define RUNNEXT_MAX 64u                /* after so many of runnext in a row comes one of the ring */

/*
** A P's word: who has it.  P_IDLE in the idle list; P_OWNED an M works in the scheduler or in a
** goro call; P_LENT + M's number: that M runs Lua or C, and sysmon may take the P away by CAS.
*/
enum { P_IDLE = 0, P_OWNED = 1, P_DEAD = 2, P_LENT = 3 };
#define P_LENT_TO(m) ((uint32_t)(m)->id << 2 | P_LENT)

struct P {
  int32_t id;                          /* [I] */
  _Atomic(uint32_t) word;              /* [A] see above */
  P *link;                             /* [L:sched] idle list */
  _Atomic(uint32_t) schedtick;         /* [A] by the owner, read by sysmon */
  _Atomic(uint32_t) bg;                /* [A] the same: it runs one from the background queue */
  uint32_t nexts;                      /* [O] how often running runnext went before the ring */
  int64_t turn;                        /* [O] when the background last had its turn */
  _Atomic(uint32_t) head;              /* [A] thieves and owner take here (runq.c) */
  _Atomic(uint32_t) tail;              /* [A] owner adds here */
  _Atomic(G *) runnext;                /* [A] readied by the goroutine that runs: next */
  _Atomic(G *) runq[RUNQ_SIZE];        /* [A] */
  /* sysmon's notes */
  uint32_t seen_tick;
  uint32_t seen_word;
  int64_t seen_when;
  int64_t seen_cpu;
  int64_t slice_cpu;
  int64_t still_since;
  bool signalled;
};

/* Of a host's thread: may it run guests while its main script waits?  (guest.c, GU2) */
enum { GUESTS_NONE, GUESTS_MAY, GUESTS_OVER };

struct M {
  uint32_t id;                         /* [I] index into sched.allm */
  bool is_host;                        /* [I] a thread goro did not start */
  bool spinning;                       /* [O] looks for work; counted in sched.nspinning */
  bool idle;                           /* [L:sched] in the idle list */
  P *p;                                /* [O] the P it has, or had when it lent it */
  bool owned;                          /* [O] p is owned now, not lent */
  P *nextp;                            /* [L:sched] P handed over, taken after note */
  bool waiting;                        /* [L:sched] in m_wait, with nothing left to do before */
  G *curg;                             /* [O] */
  _Atomic(Host *) curhost;             /* [A] curg's, for host_end */
  _Atomic(uint32_t) tick;              /* [A] slices run */
  _Atomic(uint32_t) preempt;           /* [A] tick of the slice to be preempted */
  _Atomic(uint32_t) due;               /* [A] samples to be taken of what it runs (profile.c) */
  _Atomic(uint32_t) cpu_known;         /* [A] cpuclock is set */
  _Atomic(uint32_t) in_lock;           /* [A] it sleeps for a Lock */
  clockid_t cpuclock;
  pthread_t thread;                    /* [I] before the first P */
  int tid;                             /* [I] its number for the OS */
  _Atomic(uint32_t) retaken;           /* [A] sysmon's: tick of the slice whose P it took */
  int64_t retaken_cpu;                 /* sysmon's: CPU time used then */
  _Atomic(int64_t) retaken_since;      /* [A] when that slice was first seen */
  _Atomic(uint32_t) stops;             /* [A] it waits in world_stop for another one's end */
  bool asked;                          /* world_stop's, with what follows: */
  uint32_t stop_tick;                  /* the slice that was asked to yield */
  int64_t stop_cpu, stop_seen;         /* CPU time then; when it was last seen asleep, or -1 */
  _Atomic(uint64_t) stats[NSTATS];     /* [A] only its own thread adds */
  Note note;
  _Atomic(uint32_t) nap;               /* [A] it naps while this is 0 (proc.c, NAPS) */
  int32_t naps;                        /* [O] how many in a row */
  P *seen_p;                           /* [O] whose runnext it saw, when, and at which tick */
  uint32_t seen_tick;
  int64_t seen_when;
  int32_t spin;                        /* [O] how long to look before sleeping, nanoseconds */
  Event event;                         /* hosts wait on this one */
  bool event_ok;
  bool (*interrupted) (void *);        /* hosts: does a signal handler want the script? */
  void *interrupted_arg;
  M *next, *prev;                      /* [L:sched] idle list */
  _Atomic(uint32_t) orphan;            /* [A] left behind in C when the runtime ended */
  _Atomic(uint32_t) exited;
  uint32_t nhosts;                     /* [L:sched] host threads: hosts opened on it */
  void *iobuf;                         /* [O] conn.c's: a spare buffer */
  void *from;                          /* layer 5's: an idle lua_State, for C stack depth */
  Stock spare;                         /* [O] blocks of goroutines that ended here */
  void *pool;                          /* [O] layer 5's: memory of states that have ended */
  volatile bool sleeps;                /* [O] hosts: in host_sleep; for the signal handler */
  int8_t takes_guests;                 /* [O] hosts: 1 it can, -1 it cannot, 0 not known yet */
  _Atomic(uint32_t) guests;            /* [A] hosts: GUESTS_ */
  void *volatile curl;                 /* layer 5's: the lua_State that runs, for the signal */
  /* layer 5's, of the slice that runs: its preemption hook (run.c), and coroutines */
  void *volatile hooked;               /* [O] the lua_State where the hook is set, or NULL */
  void (*saved_hook) (void);           /* [O] what it replaced there: a lua_Hook, with ... */
  int saved_mask, saved_count;         /* [O] */
  int set_mask, set_count;             /* [O] what ours was set with */
  bool hook_skip;                      /* [O] not at the next of its events */
  const struct Resumer *resumer;       /* [O] while a coroutine runs; NULL: none does */
  struct TraceBuf *trace;              /* [O] trace.c's: its records, ... */
  uint32_t trace_of;                   /* [O] of which trace */
  _Atomic(uint32_t) tracing;           /* [A] it is about to write one */
  bool trace_kept;                     /* [O] it has kept its P since the slice that ended last */
};

/* What each call reads and what each goroutine's start and end write are lines of their own: a Host
** is allocated at a multiple of 64. */
struct Host {
  G *main;                             /* [I] goroutine 1 */
  uint32_t number;                     /* [I] tells it from others, in traces */
  _Atomic(uint32_t) closing;           /* [A] 1: goroutines are being ended; 2: the rest is left */
  _Atomic(uint32_t) exiting;           /* [A] a goroutine called os.exit: the main script stands */
  _Atomic(int64_t) ntimers;            /* [A] timers that could wake one of its goroutines, and
                                          goroutines that wait for a descriptor */
  Note ended;                          /* woken when ng reaches 0 while closing */
  Host *next;                          /* [L:sched] all hosts */
  void *state;                         /* layer 5's */
  void (*drop) (Host *h);              /* [I] layer 5's: frees it, with the last reference */
  _Alignas(64) Lock lock;              /* RANK_HOST */
  _Atomic(uint32_t) refs;              /* [A] its goroutines and its state */
  G *all;                              /* [L] goroutines but main */
  _Atomic(int64_t) ng;                 /* [A] how many of them */
  _Atomic(uint64_t) lastid;            /* [A] */
};

#pragma GCC visibility pop

#endif
