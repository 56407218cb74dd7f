/*
** trace.c - an execution trace, while it is recorded.  Layer 3.  (tracefile.c: what is made of it.)
**
** Each thread that is an M writes records of 16 bytes into chunks of its own, without a lock;
** threads that are none share one buffer, under one.  Nothing is written to the file before the end.
** A time is the processor's counter where that one runs evenly, and becomes nanoseconds by where it
** stood against the clock at the two ends.  All chunks together are bounded: what comes after is
** counted and dropped, so that a trace is whole up to some moment.
**
**   T1  Who records sets m->tracing, then (light fence) reads trace_now; 0: it leaves.  Who ends a
**       trace sets trace_now to 0, then (heavy fence) waits until no M has 'tracing' set.  After
**       that nobody touches a buffer, and it may be read and freed: trace_now is a number that no
**       two traces share, so an M that comes later knows that its buffer is an old one's.
**   T2  While nothing is recorded a switch pays for one look at trace_now, in ready_one.  Slices are
**       seen by another function in the place of hooks.run (sched.run).  A trace begins and
**       ends while the world stands still: so slices are seen whole, but for those of threads that
**       are inside C meanwhile, or of main scripts that compute; those are seen from their next one.
**
** REJECTED.  One ring for all, with an atomic index: its line would go from CPU to CPU at each event.
** A thread that writes the file meanwhile: it would take a CPU from what is looked at.  Records
** of the newest instead of the first when memory ends: each M's would begin at another moment.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "debug.h"
#include "trace.h"
#if defined(__x86_64__) && !defined(GORO_CHAOS)
#include <cpuid.h>
#include <x86intrin.h>
#define HAS_TSC 1
#else
#define HAS_TSC 0
#endif

#define MAX_CHUNKS 1024                /* 64 MiB */
#define MAX_NAMES 65535                /* a record has 16 bits for them; the last one is "?" */
#define NSEEN 64                       /* functions each M knows the names of */
#define SRC 64

_Static_assert(sizeof(TraceRec) == 16, "records of 16 bytes");
_Static_assert(NWAITREASONS <= 32, "trace_end has five bits for them");

typedef struct TraceSeen { int line; uint32_t name; char src[SRC]; } TraceSeen;

enum { IDLE, OPENED, RECORDING, ENDING };

_Atomic(uint32_t) trace_now;

static struct {
  _Atomic(uint32_t) state;             /* [A] IDLE ...: who moves it may do the next step */
  Lock lock;                           /* RANK_LEAF */
  TraceBuf *bufs;                      /* [L] */
  TraceBuf *others;                    /* [L] of threads that are no M */
  char **names;                        /* [L] */
  uint32_t nnames, capnames;           /* [L] */
  uint32_t *index;                     /* [L] hash of names: index + 1 */
  uint32_t capindex;                   /* [L] a power of two */
  _Atomic(uint32_t) nchunks;           /* [A] */
  _Atomic(uint32_t) full;              /* [A] */
  _Atomic(uint64_t) dropped;           /* [A] by those that have no buffer */
  uint32_t last;                       /* [O: who starts] trace_now of the last one */
  int fd;
  TraceEnds ends;
  bool prepared;                       /* the lock, the counter, atexit */
} trace;

/* ---------------------------------------------------------------- the clock */

static bool even;                      /* [I] once prepared: the processor's counter will do */

static bool counter_is_even (void) {
#if HAS_TSC
  unsigned a, b, c, d;
  return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & 1u << 8) != 0;
#else
  return false;
#endif
}

static inline uint64_t ticks (void) {
#if HAS_TSC
  if (even) return __rdtsc();
#endif
  return (uint64_t)os_now();
}

static void read_clocks (int end) {
  trace.ends.ns[end] = os_now();
  trace.ends.ticks[end] = ticks();
}

/* ---------------------------------------------------------------- writing records */

static TraceChunk *new_chunk (TraceBuf *b) {
  TraceChunk *c = NULL;
  if (load_rlx(&trace.full) == 0 && add_rlx(&trace.nchunks, 1) < MAX_CHUNKS)
    c = malloc(sizeof *c);
  if (c == NULL) {
    store_rlx(&trace.full, 1);
    return NULL;
  }
  c->next = NULL;
  c->n = 0;
  if (b->last != NULL) b->last->next = c;
  else b->first = c;
  return b->last = c;
}

static void put (TraceBuf *b, TraceKind k, uint32_t id, uint32_t host, uint32_t more) {
  TraceChunk *c = b->last;
  TraceRec *r;
  if (__builtin_expect(load_rlx(&trace.full) != 0, 0) ||
      ((c == NULL || c->n == TRACE_CHUNK) && (c = new_chunk(b)) == NULL)) {
    b->dropped++;
    return;
  }
  r = &c->r[c->n++];
  r->when = ticks();
  r->id = id;
  r->kind = (unsigned)k & 31u;
  r->host = host & 0x7ffu;
  r->more = more & 0xffffu;
}

static TraceBuf *new_buf (M *m) {
  TraceBuf *b = calloc(1, sizeof *b);
  if (b == NULL) {
    store_rlx(&trace.full, 1);
    return NULL;
  }
  if (m != NULL) {
    b->m = m->id;
    b->tid = m->tid;
    b->is_host = m->is_host;
  }
  return b;
}

/* This thread's buffer, to be left again; NULL: no trace is written (T1). */
static TraceBuf *enter (M *m) {
  uint32_t now;
  if (m == NULL) {
    lock_acquire(&trace.lock);
    if (load_acq(&trace_now) != 0 && trace.others == NULL) trace.others = new_buf(NULL);
    if (load_acq(&trace_now) != 0 && trace.others != NULL) return trace.others;
    lock_release(&trace.lock);
    return NULL;
  }
  store_rlx(&m->tracing, 1);
  fence_light();
  now = load_acq(&trace_now);
  if (now != 0) {
    if (m->trace_of != now) {
      m->trace = new_buf(m);
      m->trace_of = now;
      if (m->trace != NULL) {
        lock_acquire(&trace.lock);
        m->trace->next = trace.bufs;
        trace.bufs = m->trace;
        lock_release(&trace.lock);
      }
    }
    if (m->trace != NULL) return m->trace;
    add_rlx(&trace.dropped, 1);
  }
  store_rel(&m->tracing, 0);
  return NULL;
}

static void leave (M *m) {
  if (m == NULL) lock_release(&trace.lock);
  else store_rel(&m->tracing, 0);
}

void trace_put (TraceKind k, G *g, uint32_t more) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  put(b, k, (uint32_t)g->id, g->host->number, more);
  leave(m);
}

void trace_put_m (TraceKind k, uint32_t id, uint32_t more) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  put(b, k, id, 0, more);
  leave(m);
}

void trace_begin (G *g) { trace_put(TRACE_BEGIN, g, load_rlx(&g->parkseq)); }

void trace_end (G *g, Outcome o) {
  uint32_t reason = o == RUN_PARKED ? load_rlx(&g->reason) : 0;
  trace_put(TRACE_END, g, (uint32_t)o | reason << 2 | load_rlx(&g->parkseq) << 7);
}

/* By an M that runs nobody: a timer was due, or a descriptor had something. */
void trace_ready (G *g) {
  M *m = sched_m();
  TraceKind k = TRACE_READY;
  if (m == NULL || m->curg == NULL) {
    switch (load_rlx(&g->reason)) {
      case WAIT_POLL: case WAIT_READ: case WAIT_WRITE: case WAIT_ACCEPT: case WAIT_DIAL:
        k = TRACE_READY_NET;
        break;
      case WAIT_NONE: break;
      default: if (m != NULL && g->wake == WAKE_READY) k = TRACE_READY_TIMER;
    }
    if (g->wake == WAKE_TIMEOUT) k = TRACE_READY_TIMER;
  }
  trace_put(k, g, load_rlx(&g->parkseq));
}

/* ---------------------------------------------------------------- names */

static uint32_t hash (const char *s) {
  uint32_t h = 2166136261u;
  while (*s != '\0') h = (h ^ (unsigned char)*s++) * 16777619u;
  return h;
}

static bool grow_names (void) {        /* trace.lock held */
  uint32_t cap = trace.capnames == 0 ? 64 : 2 * trace.capnames, size = 2 * cap, i, k;
  char **names = realloc(trace.names, cap * sizeof *names);
  uint32_t *index;
  if (names == NULL) return false;
  trace.names = names;
  if ((index = calloc(size, sizeof *index)) == NULL) return false;
  for (i = 0; i < trace.nnames; i++) {
    for (k = hash(names[i]) & (size - 1); index[k] != 0; k = (k + 1) & (size - 1)) continue;
    index[k] = i + 1;
  }
  free(trace.index);
  trace.index = index;
  trace.capindex = size;
  trace.capnames = cap;
  return true;
}

/* MAX_NAMES: there are too many, or there is no memory.  trace.lock held. */
static uint32_t name_locked (const char *s) {
  uint32_t k;
  if (trace.nnames == trace.capnames && !grow_names()) return MAX_NAMES;
  for (k = hash(s) & (trace.capindex - 1); trace.index[k] != 0; k = (k + 1) & (trace.capindex - 1))
    if (strcmp(trace.names[trace.index[k] - 1], s) == 0) return trace.index[k] - 1;
  if (trace.nnames == MAX_NAMES || (trace.names[trace.nnames] = strdup(s)) == NULL)
    return MAX_NAMES;
  trace.index[k] = ++trace.nnames;
  return trace.nnames - 1;
}

static uint32_t name_index (M *m, const char *s) {
  uint32_t i;
  if (m != NULL) lock_acquire(&trace.lock);        /* else it is held */
  i = name_locked(s);
  if (m != NULL) lock_release(&trace.lock);
  return i;
}

static void put_name (TraceKind k, G *g, const char *s) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  put(b, k, (uint32_t)g->id, g->host->number, name_index(m, s));
  leave(m);
}

void trace_called (G *g, const char *name) { put_name(TRACE_CALLED, g, name); }

static TraceSeen *seen (TraceBuf *b, const char *src, int line) {
  if (b->seen == NULL && (b->seen = calloc(NSEEN, sizeof *b->seen)) == NULL) return NULL;
  return &b->seen[((unsigned)line + (unsigned)strlen(src) * 7u) % NSEEN];
}

bool trace_function (G *g, const char *src, int line) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  TraceSeen *s;
  bool known;
  if (b == NULL) return true;
  s = seen(b, src, line);
  known = s != NULL && s->line == line && strncmp(s->src, src, SRC - 1) == 0;
  if (known) put(b, TRACE_NAME, (uint32_t)g->id, g->host->number, s->name);
  leave(m);
  return known;
}

void trace_function_is (G *g, const char *src, int line, const char *name) {
  char text[256];
  M *m = sched_m();
  TraceBuf *b = enter(m);
  TraceSeen *s;
  uint32_t i;
  if (b == NULL) return;
  if (line > 0) snprintf(text, sizeof text, "%s%s%s:%d", name ? name : "", name ? " " : "", src, line);
  else snprintf(text, sizeof text, "%s", name != NULL ? name : src);
  i = name_index(m, text);
  if (line > 0 && (s = seen(b, src, line)) != NULL) {
    s->line = line;
    s->name = i;
    snprintf(s->src, SRC, "%s", src);
  }
  put(b, TRACE_NAME, (uint32_t)g->id, g->host->number, i);
  leave(m);
}

/* ---------------------------------------------------------------- from start to stop */

static void prepare (void) {           /* in the state OPENED: by one thread at a time */
  if (trace.prepared) return;
  lock_init(&trace.lock, RANK_LEAF);
  even = counter_is_even();
  atexit(trace_finish);
  trace.prepared = true;
}

const char *trace_open (const char *path) {
  uint32_t s = IDLE;
  if (!cas_acqrel(&trace.state, &s, OPENED)) return "already tracing";
  trace.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (trace.fd >= 0) {
    prepare();
    return NULL;
  }
  s = (uint32_t)errno;
  store_rel(&trace.state, IDLE);
  return strerror((int)s);
}

void trace_cancel (void) {
  close(trace.fd);
  store_rel(&trace.state, IDLE);
}

void trace_start (void) {
  trace.bufs = trace.others = NULL;
  trace.nnames = 0;
  store_rlx(&trace.nchunks, 0);
  store_rlx(&trace.full, 0);
  store_rlx(&trace.dropped, 0);
  sched_figures(&trace.ends.figures[0]);
  read_clocks(0);
  if (++trace.last == 0) trace.last = 1;
  store_rel(&trace_now, trace.last);
}

void trace_go (void) {
  store_rel(&sched.run, sched.hooks.run_traced);
  store_rel(&trace.state, RECORDING);
}

bool trace_close (void) {
  uint32_t s = RECORDING;
  return cas_acqrel(&trace.state, &s, ENDING);
}

void trace_stop (void) {
  uint32_t i;
  store_rel(&sched.run, sched.hooks.run);
  store_seq(&trace_now, 0);
  fence_heavy();
  GORO_POINT();
  for (i = 1; i < load_acq(&sched.nallm); i++) {
    M *m = load_acq(&sched.allm[i]);   /* (Ms are reused, never freed) */
    while (m != NULL && load_acq(&m->tracing) != 0) doze(SECOND / 50000);
  }
  lock_acquire(&trace.lock);           /* nor anybody else */
  lock_release(&trace.lock);
  read_clocks(1);
  sched_figures(&trace.ends.figures[1]);
}

static void free_bufs (void) {
  TraceBuf *b;
  while ((b = trace.bufs) != NULL) {
    TraceChunk *c;
    trace.bufs = b->next;
    while ((c = b->first) != NULL) {
      b->first = c->next;
      free(c);
    }
    free(b->seen);
    free(b);
  }
  trace.others = NULL;
}

static void free_names (void) {
  uint32_t i;
  for (i = 0; i < trace.nnames; i++) free(trace.names[i]);
  free(trace.names);
  free(trace.index);
  trace.names = NULL;
  trace.index = NULL;
  trace.nnames = trace.capnames = trace.capindex = 0;
}

int trace_write (void) {
  int e;
  if (trace.others != NULL) {
    trace.others->next = trace.bufs;
    trace.bufs = trace.others;
  }
  if (trace.bufs != NULL) trace.bufs->dropped += load_rlx(&trace.dropped);
  e = tracefile_write(trace.fd, trace.bufs, &trace.ends, trace.names, trace.nnames,
                      load_rlx(&trace.full) != 0);
  if (close(trace.fd) != 0 && e == 0) e = errno;
  free_bufs();
  free_names();
  store_rel(&trace.state, IDLE);
  return e;
}

#define PATIENCE 5000                  /* milliseconds, for one that writes its file just now */

void trace_finish (void) {
  int i;
  if (trace_close()) {
    trace_stop();
    trace_write();
  }
  for (i = 0; i < PATIENCE && load_acq(&trace.state) == ENDING; i++) doze(SECOND / 1000);
}
