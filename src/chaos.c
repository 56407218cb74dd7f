/*
** chaos.c - the chaos build: one seed decides all that happens.  Layer 0.
**
** THE IDEA.  Of goro's threads one runs at a time, the one that has the *baton*.  It passes the
** baton on where it blocks (a futex, a host's event, a join) and, if the seed says so, at each
** GORO_POINT().  Who gets it is drawn from the seed among those that can run.  Time is virtual:
** it moves a little with each look at the clock and at each point, and when nobody can run it
** jumps to the next deadline.  Preemption is a count hook after a drawn number of instructions,
** and sysmon, a thread like the others, takes P's away as it is drawn.  So of a program that
** does no I/O, asks no real clock and seeds its own random numbers all threads do the same steps
** in the same order whenever the seed is the same; and a sleep of an hour takes no time.
**
** As only one thread runs, memory is sequentially consistent here: weak orders are
** ThreadSanitizer's and the models' (docs/model) business.
**
** When no thread can run and none waits for a time, a wake-up was lost: that is fatal, and
** needs no time-out to be seen.
**
** A thread that blocks in a system call of its own (io.read, os.execute) keeps the baton.  A
** program whose threads wait for each other by such means hangs here.  A second thread that opens
** a host waits for the first one to block.
**
** GOROCHAOS=seed; who fails or is killed says it.  GOROCHAOSLOG=file: each decision on a line, to
** find where two runs part.
** GOROCHAOSHASH=1: the number of decisions and their hash on stderr, at the end.
*/
#define GORO_REAL_OS
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "platform.h"

#if defined(GORO_CHAOS)
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "chaos.h"
#include "debug.h"

#define MAX_THREADS 512
#define PER_LOOK 100                   /* nanoseconds that a look at the clock takes */
#define PER_POINT 50

typedef enum TStatus { T_FREE, T_READY, T_BLOCKED, T_DEAD } TStatus;

typedef struct Thread {
  TStatus status;
  uint32_t id;
  pthread_t pthread;
  bool known;                          /* 'pthread' is set */
  const void *key;                     /* T_BLOCKED: what it waits on */
  int64_t until;                       /* T_BLOCKED: when it gives up; FOREVER: never */
  bool (*interrupted) (void *);        /* a host's thread: a signal may end its wait */
  void *arg;
  int fd;                              /* T_BLOCKED: real input on it ends the wait; -1: none */
  void *(*f) (void *);
  void *farg;
  pthread_cond_t turn;
} Thread;

/* All of this belongs to whoever has the baton; 'mu' guards the passing alone. */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static Thread threads[MAX_THREADS];
static uint32_t nthreads;
static Thread *holder;                 /* NULL: nobody (all are outside) */
static __thread Thread *self;
static uint64_t seed, rng, hash = UINT64_C(0xCBF29CE484222325), ndecisions;
static int64_t now = 1000 * SECOND;
static uint32_t switchy, slicy;        /* how often to switch, how long slices are: this seed's */
static FILE *log_file;
static bool started, want_hash;

static uint64_t next_random (void) {   /* splitmix64 */
  uint64_t z = (rng += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

static void note (const char *what, uint64_t n) {
  hash = (hash ^ (n + (uint64_t)what[0])) * UINT64_C(0x100000001B3);
  ndecisions++;
  if (log_file != NULL) fprintf(log_file, "%" PRIu64 " T%u %s %" PRIu64 "\n", ndecisions,
                                self != NULL ? self->id : 0, what, n);
}

static void at_exit (int status, void *arg) {
  (void)arg;
  if (log_file != NULL) fflush(log_file);
  if (want_hash)
    fprintf(stderr, "chaos: seed %" PRIu64 ", %" PRIu64 " decisions, hash %016" PRIx64 "\n",
            seed, ndecisions, hash);
  else if (status != 0)
    fprintf(stderr, "chaos: failed; again with GOROCHAOS=%" PRIu64 "\n", seed);
}

static char last_words[64];

static void on_death (int sig) {
  if (log_file != NULL) fflush(log_file);          /* (all others stand still) */
  if (write(STDERR_FILENO, last_words, strlen(last_words)) < 0) {}
  signal(sig, SIG_DFL);
  raise(sig);
}

/* What kills the process says the seed, too: abort() of goro_fatal, and faults. */
static void tell_when_killed (void) {
  static const int deaths[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
  struct sigaction sa, old;
  size_t i;
  snprintf(last_words, sizeof last_words, "chaos: killed; again with GOROCHAOS=%" PRIu64 "\n", seed);
  memset(&sa, 0, sizeof sa);
  sa.sa_handler = on_death;
  for (i = 0; i < sizeof deaths / sizeof *deaths; i++)
    if (sigaction(deaths[i], NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
        old.sa_handler == SIG_DFL) sigaction(deaths[i], &sa, NULL);
}

static void start (void) {
  const char *s = getenv("GOROCHAOS");
  started = true;
  seed = s != NULL && *s != '\0' ? strtoull(s, NULL, 10) : os_random() % 1000000;
  rng = seed * UINT64_C(0xD1342543DE82EF95) + 1;
  switchy = UINT32_C(1) << (1 + 2 * (next_random() % 4));      /* 2, 8, 32, 128 */
  slicy = 1 + next_random() % 12;
  s = getenv("GOROCHAOSLOG");
  if (s != NULL && *s != '\0') log_file = fopen(s, "w");
  want_hash = getenv("GOROCHAOSHASH") != NULL;
  tell_when_killed();
  on_exit(at_exit, NULL);
}

static _Noreturn void lost (void) {
  static const char *const names[] = { "free", "ready", "blocked", "dead" };
  uint32_t i;
  for (i = 0; i < nthreads; i++)
    fprintf(stderr, "  T%u %s on %p\n", i, names[threads[i].status], threads[i].key);
  goro_fatal("no thread can go on: a wake-up was lost");
}

/* ------------------------------------------------- the baton (mu is held) */

static int64_t first_deadline (void) {
  int64_t first = FOREVER;
  uint32_t i;
  for (i = 0; i < nthreads; i++)
    if (threads[i].status == T_BLOCKED && threads[i].until < first) first = threads[i].until;
  return first;
}

/* Nobody can run: time jumps to the next deadline. */
static bool wake_by_time (void) {
  int64_t first = first_deadline();
  if (first == FOREVER) return false;
  if (now < first) now = first;
  return true;
}

/* Deadlines that have passed. */
static void wake_due (void) {
  uint32_t i;
  for (i = 0; i < nthreads; i++)
    if (threads[i].status == T_BLOCKED && threads[i].until <= now) threads[i].status = T_READY;
}

/* Only a signal can still help: give it a second of real time. */
static bool wake_by_signal (void) {
  struct timespec ms = { 0, 1000000 };
  int i;
  uint32_t k;
  for (i = 0; i < 1000; i++) {
    bool any = false;
    for (k = 0; k < nthreads; k++) {
      Thread *t = &threads[k];
      if (t->status != T_BLOCKED || t->interrupted == NULL) continue;
      any = true;
      if (t->interrupted(t->arg)) {
        t->status = T_READY;
        return true;
      }
    }
    if (!any) return false;
    pthread_mutex_unlock(&mu);
    nanosleep(&ms, NULL);
    pthread_mutex_lock(&mu);
  }
  return false;
}

/* Nobody can run, but for what comes from outside: before a long jump it gets real time. */
static bool wake_by_input (bool *waits) {
  bool any = false;
  int ms = first_deadline() - now > SECOND / 200 ? 1 : 0;
  uint32_t i;
  *waits = false;
  for (i = 0; i < nthreads; i++) {
    struct pollfd p = { threads[i].fd, POLLIN, 0 };
    if (threads[i].status != T_BLOCKED || p.fd < 0) continue;
    *waits = true;
    if (poll(&p, 1, ms) <= 0) continue;
    threads[i].status = T_READY;
    any = true;
  }
  return any;
}

/* Draw who runs next. */
static Thread *draw (void) {
  for (;;) {
    uint32_t i, n = 0, k;
    wake_due();
    for (i = 0; i < nthreads; i++) n += threads[i].status == T_READY;
    if (n == 0) {
      bool waits;
      if (!wake_by_input(&waits) && !wake_by_time() && !wake_by_signal() && !waits) lost();
      continue;
    }
    k = n > 1 ? (uint32_t)(next_random() % n) : 0;
    for (i = 0; ; i++)
      if (threads[i].status == T_READY && k-- == 0) return &threads[i];
  }
}

static void pass (Thread *to) {
  note("run", to->id);
  holder = to;
  if (to != self) pthread_cond_signal(&to->turn);
}

static void wait_turn (void) {
  while (holder != self) pthread_cond_wait(&self->turn, &mu);
}

/* Give the baton to whoever is drawn; back when it is our turn again. */
static void give_way (void) {
  pthread_mutex_lock(&mu);
  pass(draw());
  wait_turn();
  pthread_mutex_unlock(&mu);
}

static Thread *thread_new (void) {
  uint32_t i;
  for (i = 0; i < nthreads && threads[i].status != T_FREE; i++) continue;
  if (i == MAX_THREADS) return NULL;
  if (i == nthreads) nthreads++;
  memset(&threads[i], 0, sizeof threads[i]);
  threads[i].id = i;
  threads[i].status = T_READY;
  threads[i].fd = -1;
  pthread_cond_init(&threads[i].turn, NULL);
  return &threads[i];
}

static pthread_key_t leave_key;
static pthread_once_t leave_once = PTHREAD_ONCE_INIT;

static void leave (void *arg) {        /* a host's thread ends */
  Thread *t = arg;
  uint32_t i;
  pthread_mutex_lock(&mu);
  t->status = T_FREE;
  holder = NULL;
  for (i = 0; i < nthreads && holder == NULL; i++)
    if (threads[i].status == T_READY || threads[i].until != FOREVER) pass(draw());
  pthread_mutex_unlock(&mu);
}

static void leave_init (void) { pthread_key_create(&leave_key, leave); }

/* This thread is one of a host and calls for the first time. */
static void join_in (void) {
  pthread_once(&leave_once, leave_init);
  pthread_mutex_lock(&mu);
  if (!started) start();
  self = thread_new();
  if (self == NULL) goro_fatal("chaos: too many threads");
  if (holder == NULL) holder = self;
  wait_turn();
  pthread_mutex_unlock(&mu);
  pthread_setspecific(leave_key, self);
}

#define here_we_are() do { if (self == NULL) join_in(); } while (0)

/* Until somebody wakes 'key', or 'ns' have passed. */
static void block (const void *key, int64_t ns) {
  self->key = key;
  self->until = ns == FOREVER || ns > FOREVER - now ? FOREVER : now + (ns > 0 ? ns : 0);
  self->status = T_BLOCKED;
  give_way();
  self->key = NULL;
}

static void wake (const void *key, int n) {
  while (n-- > 0) {
    uint32_t i, waiting = 0, k;
    for (i = 0; i < nthreads; i++)
      waiting += threads[i].status == T_BLOCKED && threads[i].key == key;
    if (waiting == 0) return;
    k = waiting > 1 ? (uint32_t)(next_random() % waiting) : 0;
    for (i = 0; ; i++)
      if (threads[i].status == T_BLOCKED && threads[i].key == key && k-- == 0) break;
    threads[i].status = T_READY;
  }
}

/* ---------------------------------------------------------------- choices */

uint64_t chaos_rand (void) {
  uint64_t r;
  here_we_are();
  r = next_random();
  note("choose", r & 0xFFFF);
  return r;
}

void chaos_point (void) {
  here_we_are();
  now += PER_POINT;
  if (log_file != NULL)                /* where: an offset from chaos_rand, for addr2line */
    fprintf(log_file, "T%u point %td\n", self->id,
            (const char *)__builtin_return_address(0) - (const char *)(uintptr_t)chaos_rand);
  if (next_random() % switchy == 0) give_way();
}

void chaos_relax (void) {
  here_we_are();
  now += PER_LOOK;
  self->key = &threads[0];             /* not drawn, unless no other can run */
  self->until = now + PER_LOOK;
  self->status = T_BLOCKED;
  give_way();
}

uint32_t chaos_slice (void) {
  uint32_t n = 0;
  here_we_are();
  if (next_random() % 4 != 0) n = 1 + (uint32_t)(next_random() % (UINT64_C(1) << slicy));
  else n = 1000 + (uint32_t)(next_random() % 9000);
  note("slice", n);
  return n;
}

/* ---------------------------------------------------------------- the system */

int64_t chaos_now (void) {
  here_we_are();
  return now += PER_LOOK;
}

void chaos_futex_wait (_Atomic(uint32_t) *word, uint32_t expected, int64_t ns) {
  here_we_are();
  if (load_seq(word) == expected) block((const void *)word, ns);
  else chaos_point();
}

void chaos_futex_wake (_Atomic(uint32_t) *word, int n) {
  here_we_are();
  wake((const void *)word, n);
}

static void *thread_main (void *arg) {
  Thread *t = arg;
  void *r;
  self = t;
  pthread_mutex_lock(&mu);
  wait_turn();
  pthread_mutex_unlock(&mu);
  r = t->f(t->farg);
  pthread_mutex_lock(&mu);
  t->status = T_DEAD;
  wake(t, 1);
  pass(draw());
  pthread_mutex_unlock(&mu);
  return r;
}

int chaos_thread_start (pthread_t *p, void *(*f) (void *), void *arg) {
  Thread *t;
  int e;
  here_we_are();
  pthread_mutex_lock(&mu);
  t = thread_new();
  pthread_mutex_unlock(&mu);
  if (t == NULL) return EAGAIN;
  t->f = f;
  t->farg = arg;
  e = os_thread_start(p, thread_main, t);
  if (e != 0) t->status = T_FREE;
  else {
    t->pthread = *p;
    t->known = true;
  }
  return e;
}

void chaos_thread_join (pthread_t p) {
  uint32_t i;
  here_we_are();
  for (i = 0; i < nthreads; i++) {
    Thread *t = &threads[i];
    if (t->status == T_FREE || !t->known || !pthread_equal(t->pthread, p)) continue;
    while (t->status != T_DEAD) block(t, FOREVER);
    t->status = T_FREE;
    break;
  }
  pthread_join(p, NULL);
}

void chaos_mutex_lock (pthread_mutex_t *m) {
  here_we_are();
  while (pthread_mutex_trylock(m) != 0) chaos_relax();
}

void chaos_poll (int fd, int64_t ns) {
  struct pollfd p = { fd, POLLIN, 0 };
  here_we_are();
  if (ns == 0 || poll(&p, 1, 0) > 0) return;
  self->fd = fd;
  block(&self->fd, ns);
  self->fd = -1;
}

void chaos_event_raise (Event *e) {
  event_raise(e);
  here_we_are();
  wake(e, 1);
}

bool chaos_event_wait (Event *e, bool (*interrupted) (void *), void *arg) {
  here_we_are();
  for (;;) {
    uint64_t n;
    if (read(e->fd, &n, sizeof n) == sizeof n) return true;
    if (interrupted != NULL && interrupted(arg)) return false;
    self->interrupted = interrupted;
    self->arg = arg;
    block(e, FOREVER);
    self->interrupted = NULL;
  }
}
#else
typedef int chaos_is_not_built;
#endif
