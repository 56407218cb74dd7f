/*
** tracefile.c - a trace's records as a file in the Trace Event Format.  Layer 3.
**
** What chrome://tracing and Perfetto read: {"traceEvents":[...]}.  A track ("thread") for each
** thread; a slice ("X", which has its length in it, so none is left open) from where a
** goroutine began to run to where it stopped; an arrow ("s" to "f") from inside the slice that
** readied a goroutine to the one in which it went on; instants ("i"); counters ("C").
**
** The records of all threads are read in the order of their times, so that what is known of each
** goroutine (who readied it) is known when it begins to run.  A ready belongs to the begin that
** follows it with the same count of waits, and only after a slice that ended waiting: a goroutine
** that is woken before it has gone to sleep may go on without a begin.
**
** What is open at the end is closed there.
*/
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "park.h"
#include "trace.h"

#define COUNTERS (SECOND / 20000)      /* at most so often */

typedef struct Who {                   /* a goroutine */
  uint64_t key;                        /* host and id; 0: an empty slot */
  uint32_t name, called;               /* index + 1; 0: none */
  uint32_t from;                       /* the track that readied it */
  uint64_t readied;                    /* when */
  uint16_t seq;                        /* its parkseq then */
  bool pending;                        /* readied, and has not gone on */
  bool arrow;                          /* out of a slice */
  bool waited;                         /* its last slice ended waiting, or there was none */
} Who;

typedef struct Track {
  TraceBuf *b;
  TraceChunk *c;
  uint32_t at;                         /* the next record in 'c' */
  uint64_t when;                       /* of the last record */
  bool open;                           /* a goroutine runs */
  Who *who;
  uint64_t began;
  bool arrow;
  uint32_t from;
  uint64_t readied;
} Track;

typedef struct File {
  int fd, error;
  size_t n;
  char buf[1 << 16];
  const TraceEnds *ends;
  double rate;                         /* nanoseconds a tick */
  char *const *names;
  uint32_t nnames;
  Track *tracks;
  uint32_t ntracks;
  Who *who;                            /* a hash */
  uint64_t cap, nwho;
  uint64_t arrows;
  int64_t live, runnable;
  int64_t told_live, told_runnable;
  uint64_t told;                       /* nanoseconds */
  uint64_t last;                       /* the latest record, ticks */
} File;

/* ---------------------------------------------------------------- text */

static void flush (File *f) {
  size_t at = 0;
  while (at < f->n && f->error == 0) {
    ssize_t k = write(f->fd, f->buf + at, f->n - at);
    if (k >= 0) at += (size_t)k;
    else if (errno != EINTR) f->error = errno;
  }
  f->n = 0;
}

static void bytes (File *f, const char *s, size_t n) {         /* (all are short) */
  if (f->n + n > sizeof f->buf) flush(f);
  memcpy(f->buf + f->n, s, n);
  f->n += n;
}

#define str(f, s) bytes((f), (s), strlen(s))       /* (of a constant: no call) */

static void num (File *f, uint64_t v) {
  char t[24], *p = t + sizeof t;
  do *--p = (char)('0' + v % 10);
  while ((v /= 10) != 0);
  bytes(f, p, (size_t)(t + sizeof t - p));
}

/* Microseconds with fractions. */
static void micro (File *f, uint64_t ns) {
  char t[4] = { '.', (char)('0' + ns / 100 % 10), (char)('0' + ns / 10 % 10), (char)('0' + ns % 10) };
  num(f, ns / 1000);
  bytes(f, t, sizeof t);
}

/* The length of the UTF-8 character at 's'; 0: it is none. */
static size_t utf8 (const unsigned char *s) {
  size_t n, i;
  if (*s < 0x80) return 1;
  n = *s >= 0xc2 && *s < 0xe0 ? 2 : (*s & 0xf0) == 0xe0 ? 3 : *s >= 0xf0 && *s < 0xf5 ? 4 : 0;
  for (i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  return n;
}

static void quoted (File *f, const char *name) {
  const unsigned char *s = (const unsigned char *)name;
  char t[8];
  str(f, "\"");
  while (*s != '\0') {
    size_t n = utf8(s), k = n > 0 ? n : 1;
    if (n == 0) snprintf(t, sizeof t, "?");
    else if (*s < 0x20 || *s == '"' || *s == '\\') snprintf(t, sizeof t, "\\u%04x", *s);
    else {
      memcpy(t, s, n);
      t[n] = '\0';
    }
    str(f, t);
    s += k;
  }
  str(f, "\"");
}

/* ---------------------------------------------------------------- goroutines */

static uint64_t slot (const Who *t, uint64_t cap, uint64_t key) {
  uint64_t i = (key * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (cap - 1);
  while (t[i].key != 0 && t[i].key != key) i = (i + 1) & (cap - 1);
  return i;
}

static bool grow (File *f) {
  uint64_t cap = f->cap == 0 ? 1024 : 2 * f->cap, i;
  Who *t = calloc(cap, sizeof *t);
  if (t == NULL) return false;
  for (i = 0; i < f->cap; i++)
    if (f->who[i].key != 0) t[slot(t, cap, f->who[i].key)] = f->who[i];
  free(f->who);
  f->who = t;
  f->cap = cap;
  return true;
}

static TraceKind kind (const TraceRec *r) { return (TraceKind)(r->what & 31u); }
static uint32_t more (const TraceRec *r) { return r->what >> 16; }

static uint64_t key_of (const TraceRec *r) {
  return ((uint64_t)(r->what >> 5 & 0x7ffu) + 1) << 32 | r->id;
}

static bool is_about_g (const TraceRec *r) {
  return kind(r) != TRACE_RETAKE && kind(r) != TRACE_HANDOFF;
}

static Who *who (File *f, const TraceRec *r) {     /* all are there since 'collect' */
  return &f->who[slot(f->who, f->cap, key_of(r))];
}

/* All goroutines, and their names; no pointer into the table before this. */
static bool collect (File *f) {
  uint32_t t, i;
  TraceChunk *c;
  for (t = 0; t < f->ntracks; t++)
    for (c = f->tracks[t].b->first; c != NULL; c = c->next)
      for (i = 0; i < c->n; i++) {
        const TraceRec *r = &c->r[i];
        Who *w;
        if (r->when > f->last) f->last = r->when;
        if (!is_about_g(r)) continue;
        if (2 * f->nwho >= f->cap && !grow(f)) return false;
        w = who(f, r);
        if (w->key == 0) {
          w->key = key_of(r);
          w->waited = true;
          f->nwho++;
        }
        if (kind(r) == TRACE_NAME && more(r) < f->nnames) w->name = more(r) + 1u;
        if (kind(r) == TRACE_CALLED && more(r) < f->nnames) w->called = more(r) + 1u;
      }
  return true;
}

static void name_of (File *f, const Who *w) {
  uint32_t n = w->called != 0 ? w->called : w->name;
  if (n != 0) quoted(f, f->names[n - 1]);
  else {
    str(f, "\"goroutine ");
    num(f, w->key & 0xffffffffu);
    str(f, "\"");
  }
}

static void which (File *f, const Who *w) {
  str(f, "\"g\":");
  num(f, w->key & 0xffffffffu);
  str(f, ",\"host\":");
  num(f, (w->key >> 32) - 1);
}

/* ---------------------------------------------------------------- events */

static uint64_t ns_of (const File *f, uint64_t when) {
  uint64_t from = f->ends->ticks[0];
  return when <= from ? 0 : (uint64_t)((double)(when - from) * f->rate);
}

static void event (File *f, const char *ph, uint32_t track, uint64_t ns) {
  str(f, ",\n{\"ph\":\"");
  str(f, ph);
  str(f, "\",\"cat\":\"goro\",\"pid\":1,\"tid\":");
  num(f, track + 1);
  str(f, ",\"ts\":");
  micro(f, ns);
}

static void instant (File *f, uint32_t track, uint64_t when, const char *name) {
  event(f, "i", track, ns_of(f, when));
  str(f, ",\"s\":\"t\",\"name\":\"");
  str(f, name);
  str(f, "\",\"args\":{");
}

static void arrow (File *f, const Track *t) {
  uint32_t self = (uint32_t)(t - f->tracks);
  f->arrows++;
  event(f, "s", t->from, t->readied);
  str(f, ",\"name\":\"ready\",\"id\":");
  num(f, f->arrows);
  str(f, "}");
  event(f, "f", self, ns_of(f, t->began));
  str(f, ",\"bp\":\"e\",\"name\":\"ready\",\"id\":");
  num(f, f->arrows);
  str(f, "}");
}

static void close_slice (File *f, Track *t, uint64_t when, const char *how) {
  uint64_t from = ns_of(f, t->began), to = ns_of(f, when);
  event(f, "X", (uint32_t)(t - f->tracks), from);
  str(f, ",\"dur\":");
  micro(f, to > from ? to - from : 0);
  str(f, ",\"name\":");
  name_of(f, t->who);
  str(f, ",\"args\":{");
  which(f, t->who);
  str(f, ",\"end\":\"");
  str(f, how);
  str(f, "\"}}");
  if (t->arrow) arrow(f, t);
  t->open = false;
}

static void counter (File *f, uint64_t ns, const char *name, int64_t v) {
  event(f, "C", 0, ns);
  str(f, ",\"name\":\"");
  str(f, name);
  str(f, "\",\"args\":{\"n\":");
  num(f, v > 0 ? (uint64_t)v : 0);
  str(f, "}}");
}

static void counters (File *f, uint64_t ns, bool first) {
  if (!first && ns - f->told < COUNTERS) return;
  if (first || f->live != f->told_live) counter(f, ns, "goroutines", f->live);
  if (first || f->runnable != f->told_runnable) counter(f, ns, "runnable", f->runnable);
  f->told = ns;
  f->told_live = f->live;
  f->told_runnable = f->runnable;
}

/* ---------------------------------------------------------------- one record */

static void begin (File *f, Track *t, const TraceRec *r) {
  Who *w = who(f, r);
  bool woken = w->pending && w->waited && (kind(r) == TRACE_SWITCH || w->seq == more(r));
  if (t->open) close_slice(f, t, r->when, "?");    /* (cannot be) */
  t->open = true;
  t->who = w;
  t->began = r->when;
  t->arrow = woken && w->arrow;
  t->from = w->from;
  t->readied = w->readied;
  if (woken) w->pending = false;
  w->waited = false;
  f->runnable--;
}

static void end (File *f, Track *t, const TraceRec *r, Who *w) {
  static const char *const how[] = { "wait", "yield", "preempted", "end" };
  uint32_t o = more(r) & 3u;
  if (w->pending && (w->seq ^ more(r) >> 7) & 0x1ffu) {
    w->pending = false;                /* it has gone on without a begin */
    f->runnable--;
  }
  w->waited = o == RUN_PARKED;
  if (o == RUN_DEAD) f->live--;
  if (o == RUN_YIELDED || o == RUN_PREEMPTED) f->runnable++;
  if (t->open && t->who == w)
    close_slice(f, t, r->when, o == RUN_PARKED ? wait_reason_text(more(r) >> 2 & 31u) : how[o]);
}

static void ready (File *f, Track *t, const TraceRec *r) {
  Who *w = who(f, r);
  uint64_t ns = ns_of(f, r->when);
  w->pending = true;
  w->arrow = t->open;
  w->from = (uint32_t)(t - f->tracks);
  w->seq = (uint16_t)more(r);
  if (t->open && ns <= ns_of(f, t->began)) ns = ns_of(f, t->began) + 1;        /* inside it */
  w->readied = ns;
  f->runnable++;
  if (t->open || kind(r) == TRACE_SPAWN) return;
  instant(f, w->from, r->when, kind(r) == TRACE_READY_NET ? "netpoll" :
                               kind(r) == TRACE_READY_TIMER ? "timer" : "wake");
  which(f, w);
  str(f, "}}");
}

static void about_g (File *f, Track *t, const TraceRec *r, const char *name, const char *what) {
  instant(f, (uint32_t)(t - f->tracks), r->when, name);
  which(f, who(f, r));
  if (what != NULL) {
    str(f, ",\"");
    str(f, what);
    str(f, "\":");
    num(f, more(r));
  }
  str(f, "}}");
}

/* The track of an M; 'else_': if it has none. */
static uint32_t track_of (const File *f, uint32_t m, uint64_t when, uint32_t else_) {
  uint32_t i;
  for (i = 0; i < f->ntracks; i++)
    if (f->tracks[i].b->m == m && f->tracks[i].when <= when && f->tracks[i].when != 0) return i;
  return else_;
}

static void one (File *f, Track *t, const TraceRec *r) {
  uint32_t self = (uint32_t)(t - f->tracks);
  switch (kind(r)) {
    case TRACE_BEGIN: begin(f, t, r); break;
    case TRACE_END: end(f, t, r, who(f, r)); break;
    case TRACE_SWITCH:
      if (t->open) end(f, t, r, t->who);
      begin(f, t, r);
      break;
    case TRACE_READY: case TRACE_READY_TIMER: case TRACE_READY_NET: ready(f, t, r); break;
    case TRACE_SPAWN:
      f->live++;
      about_g(f, t, r, "go", NULL);
      ready(f, t, r);
      break;
    case TRACE_STEAL: about_g(f, t, r, "steal", "p"); break;
    case TRACE_PREEMPT: about_g(f, t, r, "preempt", NULL); break;
    case TRACE_FREED: about_g(f, t, r, "gc", "kib"); break;
    case TRACE_HANDOFF:
      instant(f, self, r->when, "hand-off");
      str(f, "\"p\":");
      num(f, more(r));
      str(f, "}}");
      break;
    case TRACE_RETAKE:
      instant(f, track_of(f, r->id, r->when, self), r->when, "in C");
      str(f, "\"p\":");
      num(f, more(r));
      str(f, "}}");
      break;
    case TRACE_NAME: case TRACE_CALLED: break;
  }
  t->when = r->when;
}

/* ---------------------------------------------------------------- in order */

static const TraceRec *next (Track *t) {
  while (t->c != NULL && t->at >= t->c->n) {
    t->c = t->c->next;
    t->at = 0;
  }
  return t->c != NULL ? &t->c->r[t->at] : NULL;
}

/* The track with the earliest record; '*until': how far it may go before another is earlier. */
static Track *earliest (File *f, uint64_t *until) {
  Track *best = NULL;
  uint64_t when = UINT64_MAX;
  uint32_t i;
  *until = UINT64_MAX;
  for (i = 0; i < f->ntracks; i++) {
    const TraceRec *r = next(&f->tracks[i]);
    if (r == NULL) continue;
    if (best == NULL || r->when < when) {
      if (best != NULL) *until = when;
      best = &f->tracks[i];
      when = r->when;
    }
    else if (r->when < *until) *until = r->when;
  }
  return best;
}

static void events (File *f) {
  const TraceRec *r;
  uint64_t until;
  Track *t;
  counters(f, 0, true);
  while (f->error == 0 && (t = earliest(f, &until)) != NULL)
    while ((r = next(t)) != NULL && r->when <= until) {
      t->at++;
      one(f, t, r);
      counters(f, ns_of(f, r->when), false);
    }
}

/* ---------------------------------------------------------------- the file */

static void track_name (File *f, uint32_t i) {
  const TraceBuf *b = f->tracks[i].b;
  str(f, ",\n{\"ph\":\"M\",\"cat\":\"__metadata\",\"ts\":0,\"pid\":1,\"tid\":");
  num(f, i + 1);
  str(f, ",\"name\":\"thread_name\",\"args\":{\"name\":\"");
  if (b->m == 0) str(f, "others");
  else {
    str(f, b->is_host ? "main " : "worker ");
    num(f, b->m);
    str(f, " (thread ");
    num(f, (uint64_t)b->tid);
    str(f, ")");
  }
  str(f, "\"}},\n{\"ph\":\"M\",\"cat\":\"__metadata\",\"ts\":0,\"pid\":1,\"tid\":");
  num(f, i + 1);
  str(f, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":");
  num(f, b->m == 0 ? 1000000 : b->m);
  str(f, "}}");
}

static void head (File *f) {
  uint32_t i;
  str(f, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
         "{\"ph\":\"M\",\"cat\":\"__metadata\",\"ts\":0,\"pid\":1,\"tid\":1,"
         "\"name\":\"process_name\",\"args\":{\"name\":\"goro\"}}");
  for (i = 0; i < f->ntracks; i++) track_name(f, i);
}

/* Where the viewer shows that the rest is missing. */
static void say_full (File *f, uint64_t dropped) {
  event(f, "i", 0, ns_of(f, f->last));
  str(f, ",\"s\":\"g\",\"name\":\"memory is full: nothing more is recorded\",\"args\":{\"dropped\":");
  num(f, dropped);
  str(f, "}}");
}

/* What goro.stats has counted meanwhile. */
static void tail (File *f, bool full) {
  static const char *const names[] = {
#define X(name, text) text,
    STATS(X)
#undef X
  };
  uint64_t dropped = 0;
  uint32_t i;
  for (i = 0; i < f->ntracks; i++) dropped += f->tracks[i].b->dropped;
  if (full) say_full(f, dropped);
  str(f, "\n],\"otherData\":{\"full\":");
  str(f, full ? "true" : "false");
  str(f, ",\"dropped\":");
  num(f, dropped);
  for (i = 0; i < NSTATS; i++) {
    str(f, ",\"");
    str(f, names[i]);
    str(f, "\":");
    num(f, f->ends->figures[1].n[i] - f->ends->figures[0].n[i]);
  }
  str(f, "}}\n");
}

static void prepare (File *f, TraceBuf *bufs, const TraceEnds *ends) {
  const Figures *now = &ends->figures[0];
  uint64_t ticks = ends->ticks[1] - ends->ticks[0];
  TraceBuf *b;
  f->rate = ticks > 0 ? (double)(ends->ns[1] - ends->ns[0]) / (double)ticks : 1;
  f->live = now->live;
  f->runnable = now->runnable;
  for (b = bufs; b != NULL; b = b->next) {
    f->tracks[f->ntracks].b = b;
    f->tracks[f->ntracks++].c = b->first;
  }
}

int tracefile_write (int fd, TraceBuf *bufs, const TraceEnds *ends, char *const *names, uint32_t nnames,
                     bool full) {
  File *f = calloc(1, sizeof *f);
  TraceBuf *b;
  uint32_t n = 1, i;
  int e = ENOMEM;
  for (b = bufs; b != NULL; b = b->next) n++;
  if (f != NULL && (f->tracks = calloc(n, sizeof *f->tracks)) != NULL) {
    f->fd = fd;
    f->ends = ends;
    f->names = names;
    f->nnames = nnames;
    prepare(f, bufs, ends);
    if (collect(f)) {
      head(f);
      events(f);
      for (i = 0; i < f->ntracks; i++)
        if (f->tracks[i].open) close_slice(f, &f->tracks[i], full ? f->last : ends->ticks[1], "?");
      tail(f, full);
      flush(f);
      e = f->error;
    }
    free(f->who);
    free(f->tracks);
  }
  free(f);
  return e;
}
