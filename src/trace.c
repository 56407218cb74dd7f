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
**   T3  A look at the counter costs up to 28 ns, a record some 60 instructions: most switches get
**       by with one of each.  A slice begins when the one before it on this M ended, if nothing else
**       was recorded here in between, the M has kept its P, and the goroutine was readied here: so
**       it had been before, and was found at once; both are one record then (TRACE_SWITCH).  (One
**       that another thread readied may have been after that moment: an arrow would go back in time.)
**       A goroutine's name has the time of what is beside it; its first ready is its start.  And where
**       slices have been brief, many in a row (MANY, BRIEF), what happens in the next one, too, has
**       the time of what was recorded before: early by less than BRIEF, unless that one is longer.
**       Too early is harmless: who was readied has not run yet.
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
#include "hash.h"
#include "trace.h"

#define MEMORY 64                      /* MiB, unless GOROTRACEMEM says otherwise */
#define MAX_NAMES 65535                /* a record has 16 bits for them; the last one is "?" */
#define FULL (UINT32_C(1) << 31)       /* in trace_now: memory is full */
#define BRIEF 2000                     /* nanoseconds */
#define MANY 8
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
  uint32_t max_chunks;                 /* [I] once prepared */
  _Atomic(uint32_t) full;              /* [A] */
  _Atomic(uint64_t) dropped;           /* [A] by those that have no buffer */
  uint32_t last;                       /* [O: who starts] trace_now of the last one */
  int fd;
  pid_t pid;                           /* whose trace it is: a child by fork has a copy of all this */
  TraceEnds ends;
  bool prepared;                       /* the lock, the counter, atexit */
} trace;

/* ---------------------------------------------------------------- the clock */

static bool even;                      /* [I] once prepared: the processor's counter will do */
static uint64_t brief;                 /* [I] BRIEF in ticks */

static inline uint64_t ticks (void) { return os_ticks(even); }

/* How many ticks are BRIEF. */
static uint64_t calibrate (void) {
  int64_t ns = os_now(), now;
  uint64_t t = ticks();
  if (!even) return BRIEF;
  while ((now = os_now()) - ns < 10 * BRIEF) continue;
  return (ticks() - t) * BRIEF / (uint64_t)(now - ns);
}

static void read_clocks (int end) {
  trace.ends.ns[end] = os_now();
  trace.ends.ticks[end] = ticks();
}

/* ---------------------------------------------------------------- writing records */

/* Memory is full: nobody's buffer is of that number, so all come by 'enter_slow'. */
static void stop_all (void) {
  uint32_t now = load_acq(&trace_now);
  store_rlx(&trace.full, 1);
  while (now != 0 && !cas_acqrel(&trace_now, &now, now | FULL)) continue;
}

/* For the next record of 'b', in a new chunk; NULL: it is dropped. */
static TraceRec *new_chunk (TraceBuf *b) {
  TraceChunk *c = NULL;
  if (load_rlx(&trace.full) == 0 && add_rlx(&trace.nchunks, 1) < trace.max_chunks)
    c = malloc(sizeof *c);
  if (c == NULL) {
    stop_all();
    b->dropped++;
    return NULL;
  }
  os_touch(c, sizeof *c);              /* (a fault for each page would cost more) */
  c->next = NULL;
  c->n = 0;
  if (b->last != NULL) {
    b->last->n = TRACE_CHUNK;
    b->last->next = c;
  }
  else b->first = c;
  b->last = c;
  b->lim = c->r + TRACE_CHUNK;
  return b->at = c->r;
}

static inline void fill (TraceRec *r, uint64_t when, TraceKind k, uint32_t id, uint32_t host,
                         uint32_t more) {
  goro_check(r != NULL);
  r->when = when;
  r->id = id;
  r->what = (uint32_t)k | (host & 0x7ffu) << 5 | more << 16;
}

static void put_at (TraceBuf *b, uint64_t when, TraceKind k, uint32_t id, uint32_t host,
                    uint32_t more) {
  TraceRec *r = b->at;
  if (load_rlx(&trace.full) != 0) {
    b->dropped++;
    return;
  }
  if (r == b->lim && (r = new_chunk(b)) == NULL) return;
  fill(r, when, k, id, host, more);
  b->at = r + 1;
  b->when = when;
  b->ended = false;
}

static void put_g (TraceBuf *b, uint64_t when, TraceKind k, const G *g, uint32_t more) {
  put_at(b, when, k, (uint32_t)g->id, g->host->number, more);
}

static TraceBuf *new_buf (M *m) {
  TraceBuf *b = calloc(1, sizeof *b);
  if (b == NULL) {
    stop_all();
    return NULL;
  }
  b->when = ticks();
  if (m != NULL) {
    b->m = m->id;
    b->tid = m->tid;
    b->is_host = m->is_host;
  }
  return b;
}

static TraceBuf *enter_others (void) {
  lock_acquire(&trace.lock);
  if (load_acq(&trace_now) != 0 && trace.others == NULL) trace.others = new_buf(NULL);
  if (load_acq(&trace_now) != 0 && trace.others != NULL) return trace.others;
  lock_release(&trace.lock);
  return NULL;
}

static inline void leave (M *m) {
  if (m == NULL) lock_release(&trace.lock);
  else store_rel(&m->tracing, 0);
}

/* This thread's buffer if it has one and there is room; else NULL, and 'enter' tells.  T1. */
static inline TraceBuf *enter_fast (M *m) {
  TraceBuf *b = m->trace;
  store_rlx(&m->tracing, 1);
  fence_light();
  return __builtin_expect(load_acq(&trace_now) == m->trace_of && b != NULL && b->at != b->lim, 1) ?
         b : NULL;
}

/* This thread's buffer, to be left again; NULL: no trace is written (T1). */
static TraceBuf *enter (M *m) {
  uint32_t now;
  if (m == NULL) return enter_others();
  store_rlx(&m->tracing, 1);
  fence_light();
  now = load_acq(&trace_now);
  if (now != 0) {
    if (m->trace_of != (now & ~FULL)) {
      m->trace = new_buf(m);
      m->trace_of = now & ~FULL;
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
  leave(m);
  return NULL;
}

/* The time of what happens in a slice (T3). */
static inline uint64_t ticks_inside (const M *m, const TraceBuf *b) {
  return m != NULL && b->brief >= MANY && m->curg != NULL ? b->when : ticks();
}

void trace_put (TraceKind k, G *g, uint32_t more) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  put_g(b, ticks_inside(m, b), k, g, more);
  leave(m);
}

void trace_put_m (TraceKind k, uint32_t id, uint32_t more) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  put_at(b, ticks(), k, id, 0, more);
  leave(m);
}

static void begin_slow (M *m, G *g) {
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  b->began = ticks();
  put_g(b, b->began, TRACE_BEGIN, g, load_rlx(&g->parkseq));
  g->readied_by = 0;
  leave(m);
}

void trace_begin (M *m, G *g) {
  TraceBuf *b = enter_fast(m);
  TraceRec *r;
  if (b == NULL || !b->ended || !m->trace_kept || g->readied_by != m->id) {      /* T3 */
    begin_slow(m, g);
    return;
  }
  r = b->at - 1;
  b->began = r->when;
  fill(r, r->when, TRACE_SWITCH, (uint32_t)g->id, g->host->number, r->what >> 16);
  b->ended = false;
  g->readied_by = 0;
  leave(m);
}

void trace_freed (M *m, G *g, size_t bytes) {
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  bytes >>= 10;
  put_g(b, ticks(), TRACE_FREED, g, bytes < 0xffff ? (uint32_t)bytes : 0xffff);
  leave(m);
}

static void end_slow (M *m, G *g, uint32_t more) {
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  put_g(b, ticks(), TRACE_END, g, more);
  b->ended = true;
  b->brief = 0;
  leave(m);
}

void trace_end (M *m, G *g, Outcome o) {
  uint32_t more = (uint32_t)o | load_rlx(&g->parkseq) << 7;
  TraceBuf *b;
  if (o == RUN_PARKED) more |= load_rlx(&g->reason) << 2;
  else g->readied_by = 0;              /* (one that parked may have been readied already) */
  m->trace_kept = true;
  if ((b = enter_fast(m)) == NULL) {
    end_slow(m, g, more);
    return;
  }
  b->when = ticks();
  fill(b->at++, b->when, TRACE_END, (uint32_t)g->id, g->host->number, more);
  b->ended = true;
  b->brief = b->when - b->began < brief ? b->brief + 1 : 0;
  leave(m);
}

/* By an M that runs nobody: a timer was due, or a descriptor had something. */
static TraceKind ready_kind (const M *m, G *g) {
  if (m != NULL && m->curg != NULL) return TRACE_READY;
  if (g->wake == WAKE_TIMEOUT) return TRACE_READY_TIMER;
  switch (load_rlx(&g->reason)) {
    case WAIT_POLL: case WAIT_READ: case WAIT_WRITE: case WAIT_ACCEPT: case WAIT_DIAL:
      return TRACE_READY_NET;
    case WAIT_NONE: return TRACE_READY;
    default: return m != NULL && g->wake == WAKE_READY ? TRACE_READY_TIMER : TRACE_READY;
  }
}

static void ready_slow (M *m, G *g) {
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  put_g(b, ticks_inside(m, b), ready_kind(m, g), g, load_rlx(&g->parkseq));
  g->readied_by = m != NULL ? m->id : 0;
  leave(m);
}

void trace_ready (G *g) {
  M *m = sched_m();
  TraceBuf *b;
  if (load_rlx(&g->status) == G_IDLE) {            /* said by TRACE_SPAWN */
    g->readied_by = m != NULL ? m->id : 0;
    return;
  }
  if (m == NULL || m->curg == NULL || (b = enter_fast(m)) == NULL) {
    ready_slow(m, g);
    return;
  }
  if (b->brief < MANY) b->when = ticks();          /* T3 */
  fill(b->at++, b->when, TRACE_READY, (uint32_t)g->id, g->host->number, load_rlx(&g->parkseq));
  b->ended = false;
  g->readied_by = m->id;
  leave(m);
}

/* ---------------------------------------------------------------- names */

static uint32_t hash (const char *s) { return hash_bytes(HASH_FIRST, s, strlen(s)); }

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

/* A name has no time of its own (T3). */
static void put_name_at (TraceBuf *b, TraceKind k, G *g, uint32_t name) {
  put_g(b, b->when, k, g, name);
}

static void put_name (TraceKind k, G *g, const char *s) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  if (b == NULL) return;
  put_name_at(b, k, g, name_index(m, s));
  leave(m);
}

void trace_called (G *g, const char *name) { put_name(TRACE_CALLED, g, name); }

static TraceSeen *seen (TraceBuf *b, const char *src, int line) {
  if (b->seen == NULL && (b->seen = calloc(NSEEN, sizeof *b->seen)) == NULL) return NULL;
  return &b->seen[((unsigned)line + (unsigned)strlen(src) * 7u) % NSEEN];
}

/* 'key': the trace's number, and the name's. */
static inline void learn (const M *m, TraceKey *key, uint32_t name) {
  if (m != NULL && key != NULL) store_rlx(key, (uint64_t)m->trace_of << 32 | name);
}

bool trace_known (G *g, TraceKey *key) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  uint64_t k = load_rlx(key);
  bool known;
  if (b == NULL) return true;
  known = m != NULL && k >> 32 == m->trace_of;
  if (known) put_name_at(b, TRACE_NAME, g, (uint32_t)k);
  leave(m);
  return known;
}

bool trace_function (G *g, const char *src, int line, TraceKey *key) {
  M *m = sched_m();
  TraceBuf *b = enter(m);
  TraceSeen *s;
  bool known;
  if (b == NULL) return true;
  s = seen(b, src, line);
  known = s != NULL && s->line == line && strncmp(s->src, src, SRC - 1) == 0;
  if (known) {
    put_name_at(b, TRACE_NAME, g, s->name);
    learn(m, key, s->name);
  }
  leave(m);
  return known;
}

void trace_function_is (G *g, const char *src, int line, const char *name, TraceKey *key) {
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
  put_name_at(b, TRACE_NAME, g, i);
  learn(m, key, i);
  leave(m);
}

/* ---------------------------------------------------------------- from start to stop */

static void prepare (void) {           /* in the state OPENED: by one thread at a time */
  const char *s = getenv("GOROTRACEMEM");
  uint32_t mib = s != NULL ? (uint32_t)atoi(s) : 0;
  if (trace.prepared) return;
  if (mib < 1 || mib > 65536) mib = MEMORY;
  trace.max_chunks = mib * (uint32_t)((1u << 20) / sizeof(TraceChunk));
  lock_init(&trace.lock, RANK_LEAF);
  even = os_ticks_even();
  brief = calibrate();
  atexit(trace_finish);
  trace.prepared = true;
}

const char *trace_open (const char *path) {
  uint32_t s = IDLE;
  if (!cas_acqrel(&trace.state, &s, OPENED)) return "already tracing";
  trace.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (trace.fd >= 0) {
    prepare();
    trace.pid = getpid();
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
  if (++trace.last == FULL) trace.last = 1;
  store_rel(&trace_now, trace.last);
}

void trace_go (void) {
  store_rel(&sched.run, sched.hooks.run_traced);
  store_rel(&trace.state, RECORDING);
}

bool trace_close (void) {
  uint32_t s = RECORDING;
  return load_acq(&trace.state) == RECORDING && trace.pid == getpid() &&
         cas_acqrel(&trace.state, &s, ENDING);
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
  TraceBuf *b;
  int e;
  if (trace.others != NULL) {
    trace.others->next = trace.bufs;
    trace.bufs = trace.others;
  }
  if (trace.bufs != NULL) trace.bufs->dropped += load_rlx(&trace.dropped);
  for (b = trace.bufs; b != NULL; b = b->next)
    if (b->last != NULL) b->last->n = (uint32_t)(b->at - b->last->r);
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
  int i, e;
  if (trace_close()) {
    trace_stop();
    if ((e = trace_write()) != 0)
      fprintf(stderr, "goro: the trace could not be written: %s\n", strerror(e));
  }
  if (trace.pid != getpid()) return;
  for (i = 0; i < PATIENCE && load_acq(&trace.state) == ENDING; i++) doze(SECOND / 1000);
}
