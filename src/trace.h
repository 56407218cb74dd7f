/*
** trace.h - what the scheduler does, written down as it does it.  Layer 3.
*/
#ifndef GORO_TRACE_H
#define GORO_TRACE_H

#include "sched.h"

#pragma GCC visibility push(hidden)

/* What can be told; 'g' is whom it is about, 'more' what the line says. */
typedef enum TraceKind {
  TRACE_BEGIN,                         /* g begins to run here, or goes on: its parkseq */
  TRACE_END,                           /* and stops: Outcome + 4 * WaitReason */
  TRACE_SWITCH,                        /* the one that ran here stops (the same), and at once g, which
                                          was readied here, begins */
  TRACE_READY,                         /* g can run: its parkseq */
  TRACE_READY_TIMER, TRACE_READY_NET,  /* the same, because of these */
  TRACE_SPAWN,                         /* g was started */
  TRACE_NAME,                          /* what g runs: index of a name */
  TRACE_CALLED,                        /* what g calls itself: the same */
  TRACE_STEAL,                         /* taken from the queue of that P */
  TRACE_HANDOFF,                       /* (no g) a P was given to another thread: which P */
  TRACE_PREEMPT,                       /* g is made to give way */
  TRACE_RETAKE,                        /* (no g) M 'id' is inside C, its P was taken: which P */
  TRACE_FREED                          /* g's collector has freed more than g made: KiB */
} TraceKind;

typedef struct TraceRec {
  uint64_t when;                       /* ticks */
  uint32_t id;                         /* of the goroutine, its lower half */
  uint32_t what;                       /* 5 bits: kind, 11: host, 16: more */
} TraceRec;

/* Which trace is being written (and a bit: in vain); 0: none. */
extern _Atomic(uint32_t) trace_now;    /* [A] */
static inline bool trace_on (void) { return __builtin_expect(load_rlx(&trace_now) != 0, 0); }

/* Put down one record, if a trace is written: by the M whose thread this is, or by a thread that
** is none. */
void trace_put (TraceKind k, G *g, uint32_t more);
void trace_put_m (TraceKind k, uint32_t id, uint32_t more);    /* about an M, or nobody */
void trace_ready (G *g);               /* the caller has claimed it */
void trace_begin (M *m, G *g);         /* m: this thread's */
void trace_end (M *m, G *g, Outcome o);
void trace_freed (M *m, G *g, size_t bytes);     /* before it: by its collector */
void trace_called (G *g, const char *name);

/*
** Names of goroutines by their function, which starts at line 'line' of 'src'.  trace_function:
** false: that function has no name yet, and the caller is to find one, or NULL, for
** trace_function_is; true: done, or no trace is written.  'key' is NULL, or a word (0 at first) of
** what is there once for each function: trace_known asks it, before all this.
*/
typedef _Atomic(uint64_t) TraceKey;
bool trace_known (G *g, TraceKey *key);
bool trace_function (G *g, const char *src, int line, TraceKey *key);
void trace_function_is (G *g, const char *src, int line, const char *name, TraceKey *key);

/*
** Start one, to be written to 'path'.  NULL, or why not.  Three steps: what can fail; then, with
** the world standing still, the names of those that are there (by trace_called, trace_function)
** between trace_start and trace_go.
*/
const char *trace_open (const char *path);       /* NULL, or the reason */
void trace_start (void);
void trace_go (void);
void trace_cancel (void);              /* after trace_open */

/* End it: trace_close says whether there is one, and that it is the caller's to end; then,
** with the world standing still if it can be had, trace_stop; then trace_write, in which the
** caller has no P.  That returns 0 or an errno. */
bool trace_close (void);
void trace_stop (void);
int trace_write (void);
void trace_finish (void);              /* all three, without the world: at the end */

/* --- between trace.c and tracefile.c --- */

#define TRACE_CHUNK 4095               /* records: 64 KiB */
typedef struct TraceChunk {
  struct TraceChunk *next;
  uint32_t n, unused;
  TraceRec r[TRACE_CHUNK];
} TraceChunk;

/* What one thread writes; only that thread, while the trace is written. */
typedef struct TraceBuf {
  struct TraceBuf *next;               /* [L:trace] */
  TraceChunk *first, *last;            /* [O] */
  TraceRec *at, *lim;                  /* [O] the next record, and the end of its chunk */
  uint64_t when;                       /* [O] of the latest record */
  uint64_t began;                      /* [O] when the latest slice began, and ... */
  uint32_t brief;                      /* [O] ... how many in a row were brief */
  bool ended;                          /* [O] the latest record is a TRACE_END */
  uint32_t m;                          /* [I] its M's number; 0: threads that are no M */
  int tid;                             /* [I] */
  bool is_host;                        /* [I] */
  uint64_t dropped;                    /* [O] */
  struct TraceSeen *seen;              /* [O] functions that have names */
} TraceBuf;

typedef struct TraceEnds {             /* the figures at its start and end, the clock */
  uint64_t ticks[2];
  int64_t ns[2];
  Figures figures[2];
} TraceEnds;

/* Write 'bufs' to the open file 'fd' (which stays open); 'names' are texts.  0 or an errno. */
int tracefile_write (int fd, TraceBuf *bufs, const TraceEnds *ends, char *const *names, uint32_t nnames,
                     bool full);

#pragma GCC visibility pop

#endif
