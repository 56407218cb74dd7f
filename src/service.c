/*
** service.c - the thread that tells about the program from outside of it.  Layer 5.
**
** It dumps all stacks when a signal comes, prints the scheduler's figures at intervals, and answers
** goro-top on a socket: also when every other thread is stuck.  It is no M and has no P; it is
** started by the first of these wishes, sleeps in poll, and is never joined: what it uses stays as
** long as the process.  A signal's handler only raises an event.
**
** It stops the world to look (world.c).  Hosts whose end has begun are left alone: with the world
** standing still none begins to end, so the others stay whole.
**
** ANSWERS are lines of fields between tabs, written at once; the client's request is a line, too.
** A client that does not read is given up after a second.
*/
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE                    /* accept4 */
#endif
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "debug.h"
#include "leaks.h"
#include "ossignal.h"
#include "report.h"
#include "run.h"
#include "service.h"

#define MAX_HOSTS 64

static struct {
  pthread_mutex_t lock;                           /* starting it, the socket */
  bool started;                        /* [L] */
  pthread_t thread;
  Event event;                         /* something is to be done */
  _Atomic(uint32_t) dumps;             /* [A] asked for */
  _Atomic(int64_t) interval;           /* [A] of schedtrace; 0: none */
  _Atomic(int32_t) sock;               /* [A] listening, or -1 */
  char *path;                          /* [L] of the socket */
  pid_t pid;                           /* [L] whose it is: not a fork's child */
  Host *host;                          /* [L] whose main script has a limit, a reference; or NULL */
  char *text;                          /* [L] what it shall raise */
  _Atomic(int64_t) limit;              /* [A] when; FOREVER: none.  Changed under the lock */
  _Atomic(int64_t) sleeps_until;       /* [A] the thread, or FOREVER; 0: it is awake */
} service = { .lock = PTHREAD_MUTEX_INITIALIZER, .event = { -1 }, .sock = -1,
            .limit = FOREVER };

/* ---------------------------------------------------------------- the world, from outside */

static void write_all (int fd, const char *s, size_t n) {
  while (n > 0) {
    ssize_t k = fd == STDERR_FILENO ? write(fd, s, n) : send(fd, s, n, MSG_NOSIGNAL);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return;
    s += k;
    n -= (size_t)k;
  }
}

/* Those that live, each with a reference. */
static int hosts (Host **list) {
  Host *h;
  int n = 0;
  lock_acquire(&sched.lock);
  for (h = sched.hosts; h != NULL && n < MAX_HOSTS; h = h->next)
    if (!host_closing(h)) {
      add_rlx(&h->refs, 1);
      list[n++] = h;
    }
  lock_release(&sched.lock);
  return n;
}

static void stacks (Text *t) {
  Host *list[MAX_HOSTS];
  int i, n;
  world_stop(NULL, NULL);
  n = hosts(list);
  for (i = 0; i < n; i++) {
    if (i > 0) text_add(t, "\n\n--- another Lua state");
    report_stacks(t, list[i], NULL, NULL);
  }
  world_start();
  for (i = 0; i < n; i++) host_unref(list[i]);
  text_add(t, "\n");
}

static void dump (void) {
  Text t = { NULL, 0, 0 };
  stacks(&t);
  if (t.s != NULL) write_all(STDERR_FILENO, t.s, t.len);
  text_free(&t);
}

/* As Go's GODEBUG=schedtrace. */
static void schedtrace (int64_t since) {
  Text t = { NULL, 0, 0 };
  Figures f;
  int i;
  sched_figures(&f);
  text_add(&t, "SCHED %" PRId64 "ms: gomaxprocs=%d idleprocs=%d threads=%d spinningthreads=%d "
           "idlethreads=%d goroutines=%" PRId64 " runqueue=%d [", (os_now() - since) / 1000000,
           f.procs, f.idle_procs, f.workers, f.spinning, f.parked_workers, f.live, f.global);
  for (i = 0; i < f.procs; i++) text_add(&t, "%s%d", i > 0 ? " " : "", sched_queued(i));
  text_add(&t, "]\n");
  if (t.s != NULL) write_all(STDERR_FILENO, t.s, t.len);
  text_free(&t);
}

/* ---------------------------------------------------------------- answers */

static void tell_figures (Text *t) {
  static const char *const names[] = {
#define X(name, text) text,
    STATS(X)
#undef X
  };
  Figures f;
  int i;
  sched_figures(&f);
  for (i = 0; i < NSTATS; i++) text_add(t, "stat\t%s\t%" PRIu64 "\n", names[i], f.n[i]);
  text_add(t, "stat\tlive\t%" PRId64 "\nstat\trunnable\t%d\nstat\tmaxprocs\t%d\n"
           "stat\tidle_procs\t%d\nstat\tworkers\t%d\nstat\tparked_workers\t%d\n"
           "stat\tspinning_workers\t%d\n", f.live, f.runnable, f.procs, f.idle_procs, f.workers,
           f.parked_workers, f.spinning);
  text_add(t, "stat\ttime\t");
  text_add_seconds(t, os_now());
  text_add(t, "\nstat\tpid\t%d\n", (int)getpid());
}

static void top (Text *t) {
  Host *list[MAX_HOSTS];
  int i, n;
  tell_figures(t);
  world_stop(NULL, NULL);
  n = hosts(list);
  for (i = 0; i < n; i++) report_groups(t, list[i]);
  world_start();
  for (i = 0; i < n; i++) host_unref(list[i]);
}

static void leaks (Text *t) {
  Host *list[MAX_HOSTS];
  Search *x[MAX_HOSTS];
  Leaks out[MAX_HOSTS];
  size_t k;
  int i, n;
  world_stop(NULL, NULL);
  n = hosts(list);
  for (i = 0; i < n; i++) x[i] = leaks_find(list[i], &out[i]);
  world_start();
  for (i = 0; i < n; i++) {
    if (x[i] != NULL) leaks_let_go(x[i]);
    for (k = 0; k < out[i].n; k++) {
      const Leak *l = &out[i].list[k];
      const char *where = l->traceback.s != NULL ? l->traceback.s + 2 : "";      /* "\n\t" */
      if (strncmp(where, "[C]", 3) == 0 && strstr(where, "\n\t") != NULL)
        where = strstr(where, "\n\t") + 2;
      text_add(t, "leak\t%" PRIu64 "\t", l->id);
      text_add_plain(t, l->name != NULL ? l->name : "");
      text_add(t, "\t");
      text_add_plain(t, l->waiting.s != NULL ? l->waiting.s : "");
      text_add(t, "\t%.*s\n", (int)strcspn(where, "\n"), where);
    }
    leaks_free(&out[i]);
    host_unref(list[i]);
  }
}

static void answer (int fd) {
  struct timeval second = { 1, 0 };
  char what[32];
  size_t n = 0;
  Text t = { NULL, 0, 0 };
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
  while (n < sizeof what - 1 && (n == 0 || what[n - 1] != '\n')) {
    ssize_t k = recv(fd, what + n, sizeof what - 1 - n, 0);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) break;
    n += (size_t)k;
  }
  what[n] = '\0';
  what[strcspn(what, "\r\n")] = '\0';
  if (strcmp(what, "top") == 0) top(&t);
  else if (strcmp(what, "leaks") == 0) leaks(&t);
  else if (strcmp(what, "stacks") == 0) stacks(&t);
  else text_add(&t, "error\tunknown request\n");
  if (t.s != NULL) write_all(fd, t.s, t.len);
  text_free(&t);
  close(fd);
}

/* ---------------------------------------------------------------- a limit */

static void limit_passed (int64_t now) {
  Text t = { NULL, 0, 0 };
  Value v = NIL_VALUE;
  Host *h = NULL;
  char *text = NULL;
  os_mutex_lock(&service.lock);
  if (load_rlx(&service.limit) <= now) {
    h = service.host;
    text = service.text;
    service.host = NULL;
    service.text = NULL;
    store_rlx(&service.limit, FOREVER);
  }
  pthread_mutex_unlock(&service.lock);
  if (h == NULL) return;
  text_add(&t, "%s\n\n", text);
  stacks(&t);
  v.u.m = t.s != NULL ? msg_new_string(t.s, t.len) : NULL;
  if (v.u.m != NULL) v.tag = V_STR;
  if (!host_closing(h)) run_tell_main(h, v.u.m != NULL ? &v : NULL);
  value_drop(&v);
  text_free(&t);
  free(text);
  host_unref(h);
}

/* ---------------------------------------------------------------- the thread */

static void *service_main (void *arg) {
  int64_t begin = os_now(), next = 0;
  uint32_t done = 0;
  (void)arg;
  for (;;) {
    int64_t every = load_rlx(&service.interval), now = os_now(), until = FOREVER;
    struct pollfd p[2] = { { service.event.fd, POLLIN, 0 },
                           { load_acq(&service.sock), POLLIN, 0 } };
    int wait = -1;
    if (every > 0) {
      if (next == 0) next = now + every;
      if (now >= next) {
        schedtrace(begin);
        next += every * ((now - next) / every + 1);
      }
      until = next;
    }
    store_seq(&service.sleeps_until, until);
    if (load_seq(&service.limit) < until) {
      until = load_seq(&service.limit);
      store_seq(&service.sleeps_until, until);
    }
    if (until != FOREVER) wait = until > now ? (int)((until - now + 999999) / 1000000) : 0;
    if (poll(p, 2, wait) < 0) continue;
    store_seq(&service.sleeps_until, 0);
    if (load_seq(&service.limit) <= os_now()) limit_passed(os_now());
    if (p[0].revents & POLLIN) {
      uint64_t n;
      while (read(service.event.fd, &n, sizeof n) < 0 && errno == EINTR) continue;
    }
    if (load_acq(&service.dumps) != done) {
      done = load_acq(&service.dumps);
      dump();
    }
    if (p[1].revents & POLLIN) {
      int fd = -1;
      os_mutex_lock(&service.lock);    /* (it may have been closed: see service_serve) */
      if (load_rlx(&service.sock) == p[1].fd) fd = accept4(p[1].fd, NULL, NULL, SOCK_CLOEXEC);
      pthread_mutex_unlock(&service.lock);
      if (fd >= 0) answer(fd);
    }
  }
  return NULL;
}

static int start (void) {
  int e = 0;
  os_mutex_lock(&service.lock);
  if (!service.started) {
    if (service.event.fd < 0 && !event_init(&service.event)) e = errno;
    else e = os_thread_start(&service.thread, service_main, NULL);
    service.started = e == 0;
  }
  pthread_mutex_unlock(&service.lock);
  return e;
}

/* ---------------------------------------------------------------- wishes */

static void on_signal (int sig) {
  (void)sig;
  add_acqrel(&service.dumps, 1);
  event_raise(&service.event);
}

int service_dump_on (int sig) {
  int e = start();
  return e != 0 || os_signal_catch(sig, on_signal) ? e : errno;
}

int service_schedtrace (int64_t ns) {
  int e;
  store_rlx(&service.interval, ns);
  e = start();
  if (e == 0) event_raise(&service.event);
  return e;
}

int service_limit (Host *h, int64_t ns, const char *text) {
  char *copy = text != NULL ? strdup(text) : NULL, *old_text;
  int64_t when = copy != NULL ? os_now() + ns : FOREVER;
  Host *old;
  int e = text != NULL ? start() : 0;
  if (e != 0 || (text != NULL && copy == NULL)) {
    free(copy);
    return e != 0 ? e : ENOMEM;
  }
  if (copy != NULL) add_rlx(&h->refs, 1);
  os_mutex_lock(&service.lock);
  old = service.host;
  old_text = service.text;
  service.host = copy != NULL ? h : NULL;
  service.text = copy;
  store_seq(&service.limit, when);
  pthread_mutex_unlock(&service.lock);
  free(old_text);
  if (old != NULL) host_unref(old);
  if (when < load_seq(&service.sleeps_until)) event_raise(&service.event);   /* else it looks in time */
  return 0;
}

static int address (struct sockaddr_un *a, const char *path) {
  memset(a, 0, sizeof *a);
  a->sun_family = AF_UNIX;
  if (strlen(path) >= sizeof a->sun_path) return ENAMETOOLONG;
  strcpy(a->sun_path, path);
  return 0;
}

/* A socket that nobody listens on any more may be taken over. */
static bool is_stale (const struct sockaddr_un *a) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 &&
               errno == ECONNREFUSED;
  if (fd >= 0) close(fd);
  return stale;
}

static void unlink_at_exit (void) {
  if (service.path != NULL && service.pid == getpid()) unlink(service.path);
}

static int listen_at (const char *path, int *fd) {
  struct sockaddr_un a;
  int e = address(&a, path);
  if (e != 0) return e;
  *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (*fd < 0) return errno;
  if (bind(*fd, (struct sockaddr *)&a, sizeof a) != 0 &&
      (errno != EADDRINUSE || !is_stale(&a) || unlink(path) != 0 ||
       bind(*fd, (struct sockaddr *)&a, sizeof a) != 0)) {
    e = errno == 0 || errno == ECONNREFUSED ? EADDRINUSE : errno;
    close(*fd);
    return e;
  }
  if (listen(*fd, 8) == 0) return 0;
  e = errno;
  close(*fd);
  return e;
}

int service_serve (const char *path) {
  static bool registered;
  char *copy = NULL, *old;
  int fd = -1, e, before;
  if (path != NULL) {
    copy = strdup(path);
    if (copy == NULL) return ENOMEM;
    e = start();
    if (e == 0) e = listen_at(path, &fd);
    if (e != 0) {
      free(copy);
      return e;
    }
  }
  os_mutex_lock(&service.lock);
  before = load_rlx(&service.sock);
  store_rel(&service.sock, fd);
  old = service.path;
  service.path = copy;
  service.pid = getpid();
  if (!registered && copy != NULL) registered = atexit(unlink_at_exit) == 0;
  if (before >= 0) close(before);      /* (the thread accepts under the lock) */
  pthread_mutex_unlock(&service.lock);
  if (old != NULL && (path == NULL || strcmp(old, path) != 0)) unlink(old);
  free(old);
  event_raise(&service.event);
  return 0;
}

char *service_ask (const char *path, const char *what, size_t *len) {
  struct sockaddr_un a;
  size_t cap = 65536;
  char *s = NULL;
  int fd, e = address(&a, path);
  if (e != 0) {
    errno = e;
    return NULL;
  }
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return NULL;
  *len = 0;
  if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0 || (s = malloc(cap)) == NULL) goto fail;
  write_all(fd, what, strlen(what));
  write_all(fd, "\n", 1);
  for (;;) {
    ssize_t k = recv(fd, s + *len, cap - *len, 0);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) goto fail;
    if (k == 0) break;
    *len += (size_t)k;
    if (*len == cap) {
      char *p = realloc(s, cap *= 2);
      if (p == NULL) goto fail;
      s = p;
    }
  }
  close(fd);
  return s;
fail:
  e = errno;
  close(fd);
  free(s);
  errno = e;
  return NULL;
}
