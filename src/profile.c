/*
** profile.c - where CPU time goes: sampled Lua stacks of all goroutines.  Layer 5.
**
** A thread of its own, the sampler, looks at the CPU clocks of all Ms, hz times a second.  For
** each 1/hz of a second that one has used since, it owes a sample: m->due is raised, and the
** thread gets the preemption signal, in whose handler a hook is set on the lua_State that runs
** (run.c; main scripts: hostlook.c).  The hook comes at the next safe place and takes the sample
** there: so nobody reads a lua_State but the thread that runs it, and no Lua is called from a
** signal handler.
**
** WHERE IT IS TAKEN.  At the event that comes first:
**   an instruction (or line)   the stack as it is;
**   a return                   the function that returns: of a C function, where the time went;
**   a call                     the caller: the callee has not run yet.
** A slice that ends before any of them (a goro call that waits) is sampled as it ends, by who
** resumed it, with that call innermost.  What a C function calls in turn (a comparator) is seen
** with it on the stack.  An M that runs no Lua just then (it looks for work, makes or ends a
** state) is counted as "(scheduler)".
**
** Who is not sampled now owes more next time: a sample counts for as many periods as have passed,
** so the sum is CPU time x hz whatever the sampler misses: a thread that sleeps when it looks (a
** signal would disturb a blocked C call), a finaliser, in which no hook runs, a late hook.
**
** STACKS are kept as texts, folded: outermost frame first.  A goroutine's coroutines stand above
** those that resumed them (m->resumer, costate.c).  Of a deep stack the MAX_FRAMES innermost are
** kept, as lua_getstack takes as many steps as it goes deep.
**
** PR1  m->due is added to by the sampler and taken, once, by m's own thread, which takes it
**      before it looks at 'on'.
** PR2  'life' orders start, end, drop; the table and 'serial' are changed under 'lock', a leaf,
**      under which malloc is called and nothing else.
**
** REJECTED.  Timers for each thread (SIGEV_THREAD_ID): a signal for a thread blocked in C could
** not be held back, and each new thread would have to be told.  Reading the stack in the handler:
** the interpreter may be in the middle of changing it.
*/
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "code.h"
#include "debug.h"
#include "profile.h"
#include "run.h"

#define MAX_FRAMES 128                 /* of one stack */
#define FRAME 160                      /* bytes of one, at most */
#define MAX_BYTES (64 << 20)           /* of all texts */

typedef struct Stack {
  struct Stack *next;
  uint64_t count;
  uint32_t hash, len;
  char text[];
} Stack;

typedef struct Seen { int tid; int64_t cpu; } Seen;          /* the sampler's note of an M */

static struct {
  pthread_mutex_t life;                /* PR2 */
  pthread_t thread;                    /* [L:life] */
  _Atomic(uint32_t) on;                /* [A] */
  _Atomic(uint32_t) stop;              /* [A] the sampler shall end */
  Note note;                           /* of the sampler */
  int hz;                              /* [I] while on */
  int64_t since;                       /* [I] while on */
  Seen *seen;                          /* the sampler's: by M's number */
  Lock lock;                           /* RANK_LEAF */
  int64_t serial;                      /* [L] of this profile */
  Stack **table;                       /* [L] */
  uint32_t size, n;                    /* [L] slots, a power of two; stacks */
  size_t bytes;                        /* [L] */
  _Atomic(uint64_t) lost;              /* [A] no memory for them */
  _Atomic(uint64_t) scheduler;         /* [A] nobody's Lua ran */
  _Atomic(uint64_t) counting;          /* [A] in main scripts with a count hook */
} profile = { .life = PTHREAD_MUTEX_INITIALIZER, .lock = { .rank = RANK_LEAF } };

/* ---------------------------------------------------------------- the sampler */

static void look_at (uint32_t i, Seen *seen, int64_t period) {
  MLook l;
  int64_t cpu, n;
  if (!m_look_up(i, &l) || (cpu = os_thread_cpu(l.cpuclock)) < 0) {
    seen->tid = 0;
    return;
  }
  if (seen->tid != l.tid) {            /* another thread in its place */
    seen->tid = l.tid;
    seen->cpu = cpu;
    return;
  }
  n = (cpu - seen->cpu) / period;
  if (n <= 0 || os_thread_sleeps(l.tid)) return;
  GORO_POINT();
  if (m_sample(i, l.tid, n < 10000 ? (uint32_t)n : 10000)) seen->cpu += n * period;
}

static void *sampler (void *arg) {
  int64_t period = SECOND / profile.hz, nap;
  (void)arg;
  while (load_acq(&profile.stop) == 0) {
    int64_t begin = os_now();
    uint32_t i, n = load_acq(&sched.nallm);
    for (i = 1; i < n; i++) look_at(i, &profile.seen[i], period);
    /* with very many threads less often; never in step with what it looks at */
    nap = period + 20 * (os_now() - begin);
    nap += nap / 8 - (int64_t)(goro_rand() % (uint64_t)(nap / 4 + 1));
    note_sleep(&profile.note, nap);
  }
  return NULL;
}

static void forget_stacks (void) {
  Stack **table;
  uint32_t i, size;
  lock_acquire(&profile.lock);
  table = profile.table;
  size = profile.size;
  profile.table = NULL;
  profile.size = profile.n = 0;
  profile.bytes = 0;
  profile.serial++;
  lock_release(&profile.lock);
  for (i = 0; i < size; i++)
    while (table[i] != NULL) {
      Stack *s = table[i];
      table[i] = s->next;
      free(s);
    }
  free(table);
}

int profile_start (int hz) {
  int e = sysmon_start();
  os_mutex_lock(&profile.life);
  if (e == 0 && load_rlx(&profile.on)) e = EBUSY;
  if (e == 0 && !sysmon_signals()) e = ENOSYS;
  if (e == 0 && (profile.seen = calloc(MAX_MS, sizeof *profile.seen)) == NULL) e = ENOMEM;
  if (e == 0) {
    profile.hz = hz;
    profile.since = os_now();
    store_rlx(&profile.lost, 0);
    store_rlx(&profile.scheduler, 0);
    store_rlx(&profile.counting, 0);
    store_rlx(&profile.stop, 0);
    note_clear(&profile.note);
    forget_stacks();
    store_rel(&profile.on, 1);
    e = os_thread_start(&profile.thread, sampler, NULL);
    if (e != 0) {
      store_rel(&profile.on, 0);
      free(profile.seen);
    }
  }
  pthread_mutex_unlock(&profile.life);
  return e;
}

static void end (void) {               /* 'life' is held, it is on */
  store_rel(&profile.on, 0);
  store_rel(&profile.stop, 1);
  note_wake(&profile.note);
  os_thread_join(profile.thread);
  free(profile.seen);
  m_samples_drop();
  forget_stacks();
}

bool profile_end (int64_t which) {
  bool is;
  os_mutex_lock(&profile.life);
  is = load_rlx(&profile.on) && profile.serial == which;
  if (is) end();
  pthread_mutex_unlock(&profile.life);
  return is;
}

void profile_drop (void) {
  os_mutex_lock(&profile.life);
  if (load_rlx(&profile.on)) end();
  pthread_mutex_unlock(&profile.life);
}

/* ---------------------------------------------------------------- the table of stacks */

static void grow (void) {              /* lock held; a table that cannot grow goes on */
  uint32_t size = profile.size ? 2 * profile.size : 1024, i;
  Stack **t = calloc(size, sizeof *t);
  lock_check_held(&profile.lock);
  if (t == NULL) return;
  for (i = 0; i < profile.size; i++)
    while (profile.table[i] != NULL) {
      Stack *s = profile.table[i];
      profile.table[i] = s->next;
      s->next = t[s->hash & (size - 1)];
      t[s->hash & (size - 1)] = s;
    }
  free(profile.table);
  profile.table = t;
  profile.size = size;
}

static bool add (const char *text, size_t len, uint32_t count) {
  uint32_t hash = (uint32_t)code_hash(text, len, 1);
  Stack *s = NULL;
  lock_acquire(&profile.lock);
  if (profile.n >= profile.size) grow();
  if (profile.size > 0) {
    Stack **slot = &profile.table[hash & (profile.size - 1)];
    for (s = *slot; s != NULL; s = s->next)
      if (s->hash == hash && s->len == len && memcmp(s->text, text, len) == 0) break;
    if (s == NULL && profile.bytes < MAX_BYTES && (s = malloc(sizeof *s + len)) != NULL) {
      s->hash = hash;
      s->len = (uint32_t)len;
      s->count = 0;
      memcpy(s->text, text, len);
      s->next = *slot;
      *slot = s;
      profile.n++;
      profile.bytes += sizeof *s + len;
    }
  }
  if (s != NULL) s->count += count;
  lock_release(&profile.lock);
  return s != NULL;
}

static void special (Text *t, const char *name, _Atomic(uint64_t) *count) {
  uint64_t n = load_rlx(count);
  if (n > 0) text_add(t, "%s %" PRIu64 "\n", name, n);
}

/* Room for all, found before the lock is taken; 0 if there is none. */
static size_t room (char **s) {
  size_t size;
  lock_acquire(&profile.lock);
  size = profile.bytes + (size_t)profile.n * 32 + 4096;
  lock_release(&profile.lock);
  *s = malloc(size);
  return *s != NULL ? size : 0;
}

int64_t profile_read (Text *t, int *hz, double *seconds) {
  int64_t which = -1;
  uint32_t i;
  os_mutex_lock(&profile.life);
  if (!load_rlx(&profile.on)) which = 0;
  else if ((t->cap = room(&t->s)) > 0) {
    *hz = profile.hz;
    *seconds = (double)(os_now() - profile.since) / 1e9;
    lock_acquire(&profile.lock);
    which = profile.serial;
    for (i = 0; i < profile.size; i++) {
      const Stack *s;
      for (s = profile.table[i]; s != NULL && t->cap - t->len > s->len + 32; s = s->next) {
        memcpy(t->s + t->len, s->text, s->len);
        t->len += s->len;
        t->len += (size_t)snprintf(t->s + t->len, 32, " %" PRIu64 "\n", s->count);
      }
    }
    lock_release(&profile.lock);
    special(t, "(scheduler)", &profile.scheduler);
    special(t, "(main script with a count hook)", &profile.counting);
    special(t, "(no memory for the stack)", &profile.lost);
  }
  pthread_mutex_unlock(&profile.life);
  return which;
}

/* ---------------------------------------------------------------- a sample */

typedef struct Frames {
  int n;
  uint16_t len[MAX_FRAMES];
  char text[MAX_FRAMES][FRAME];
} Frames;

/* What would end a frame or a line becomes a blank or a comma. */
static void tidy (char *s) {
  for (; *s != '\0'; s++)
    if (*s == ';') *s = ',';
    else if ((unsigned char)*s < ' ' || *s == 127) *s = ' ';
}

static void frame (Frames *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void frame (Frames *f, const char *fmt, ...) {
  va_list ap;
  int n;
  va_start(ap, fmt);
  n = vsnprintf(f->text[f->n], FRAME, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  tidy(f->text[f->n]);
  f->len[f->n++] = (uint16_t)(n < FRAME ? n : FRAME - 1);
}

/* From the innermost outwards.  C functions that nobody's Lua has called by a name, as the
** interpreter's own and goro's, are left out where nothing but such is below. */
static void frames (Frames *f, lua_State *L, int level) {
  lua_Debug ar;
  int unnamed = 0;
  for (; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sn", &ar);
    if (*ar.what == 'C' && ar.name == NULL) {
      unnamed++;
      continue;
    }
    for (; unnamed > 0 && f->n < MAX_FRAMES - 2; unnamed--) frame(f, "? [C]");
    if (f->n >= MAX_FRAMES - 2) {      /* (the last is for the goroutine's name) */
      if (f->n == MAX_FRAMES - 2) frame(f, "...");
      return;
    }
    if (*ar.what == 'C') frame(f, "%.80s [C]", ar.name);
    else if (*ar.what == 'm') frame(f, "main chunk (%s)", ar.short_src);
    else
      frame(f, "%.60s (%s:%d)", ar.name != NULL ? ar.name : "function", ar.short_src,
            ar.linedefined);
  }
}

static bool take (const M *m, const State *s, lua_State *L, int level, uint32_t count) {
  Frames *f = malloc(sizeof *f);
  const Resumer *r;
  size_t len = 0;
  char *text = NULL;
  bool ok;
  int i;
  if (f == NULL) return false;
  f->n = 0;
  frames(f, L, level);
  if (!s->is_host)
    for (r = m->resumer; r != NULL; r = r->up) frames(f, r->L, 0);
  if (s->name != NULL) frame(f, "%.100s", s->name);
  if (f->n == 0) frame(f, s->is_host ? "main script" : "(starting or ending)");
  text = malloc((size_t)f->n * (FRAME + 1));
  if (text != NULL)
    for (i = f->n - 1; i >= 0; i--) {
      memcpy(text + len, f->text[i], f->len[i]);
      len += f->len[i];
      if (i > 0) text[len++] = ';';
    }
  ok = text != NULL && add(text, len, count);
  free(text);
  free(f);
  return ok;
}

void profile_take (M *m, const State *s, lua_State *L, int level) {
  uint32_t count = xchg_acqrel(&m->due, 0);            /* PR1 */
  if (count == 0 || load_acq(&profile.on) == 0) return;
  GORO_POINT();
  if (!take(m, s, L, level, count)) add_rlx(&profile.lost, count);
}

void profile_elsewhere (M *m, bool counting) {
  uint32_t count = xchg_acqrel(&m->due, 0);
  add_rlx(counting ? &profile.counting : &profile.scheduler, count);
}
