/*
** platform.c - the only file that knows Linux.  Layer 0.  Another system needs its own
** version of these functions (and of netpoll), nothing else.
*/
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define GORO_REAL_OS
#include "platform.h"

int64_t os_now (void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

/* CPUs that the cgroup's quota pays for, rounded up; 0 where there is no quota. */
static int cgroup_cpus (void) {
  long quota = 0, period = 0;
  char word[32];
  FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
  if (f != NULL) {                                   /* version 2: "max 100000" */
    if (fscanf(f, "%31s %ld", word, &period) != 2 || strcmp(word, "max") == 0)
      quota = 0;
    else
      quota = atol(word);
    fclose(f);
  }
  else {                                             /* version 1 */
    f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re");
    if (f != NULL) {
      if (fscanf(f, "%ld", &quota) != 1) quota = 0;
      fclose(f);
    }
    f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re");
    if (f != NULL) {
      if (fscanf(f, "%ld", &period) != 1) period = 0;
      fclose(f);
    }
  }
  if (quota <= 0 || period <= 0) return 0;
  return (int)((quota + period - 1) / period);
}

#if defined(__x86_64__) && !defined(GORO_CHAOS)
#include <cpuid.h>

bool os_ticks_even (void) {            /* "invariant TSC" */
  unsigned a, b, c, d;
  return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & 1u << 8) != 0;
}
#elif defined(__aarch64__) && !defined(GORO_CHAOS)
bool os_ticks_even (void) { return true; }
#else
bool os_ticks_even (void) { return false; }
#endif

int os_num_cpu (void) {
  cpu_set_t set;
  int n = 1, q;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    n = CPU_COUNT(&set);
  q = cgroup_cpus();
  if (q > 0 && q < n) n = q;
  return n < 1 ? 1 : n;
}

static struct timespec *to_timespec (int64_t ns, struct timespec *ts) {
  if (ns == FOREVER) return NULL;
  if (ns < 0) ns = 0;
  ts->tv_sec = (time_t)(ns / SECOND);
  ts->tv_nsec = (long)(ns % SECOND);
  return ts;
}

void os_futex_wait (_Atomic(uint32_t) *word, uint32_t expected, int64_t ns) {
  struct timespec ts;
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, to_timespec(ns, &ts), NULL, 0);
}

void os_futex_wake (_Atomic(uint32_t) *word, int n) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

bool os_membarrier;

__attribute__((constructor)) static void membarrier_register (void) {
  os_membarrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void fence_heavy (void) {
  fence_seq();
  if (os_membarrier) syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

#if !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23
#endif

/* (An older kernel refuses: they come as they are used, then.) */
void os_touch (void *p, size_t size) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), a = (uintptr_t)p, b = (a + size) & ~(page - 1);
  a = (a + page - 1) & ~(page - 1);
  if (a < b) madvise((void *)a, b - a, MADV_POPULATE_WRITE);
}

int os_thread_start (pthread_t *t, void *(*f) (void *), void *arg) {
  sigset_t all, old;
  int e;
  sigfillset(&all);
  sigdelset(&all, OS_PREEMPT_SIGNAL);
  sigdelset(&all, SIGSEGV); sigdelset(&all, SIGBUS);   /* faults are the thread's own */
  sigdelset(&all, SIGFPE); sigdelset(&all, SIGILL);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  e = pthread_create(t, NULL, f, arg);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return e;
}

void os_thread_join (pthread_t t) { pthread_join(t, NULL); }

void os_mutex_lock (pthread_mutex_t *m) { pthread_mutex_lock(m); }

int os_thread_id (void) { return (int)syscall(SYS_gettid); }

/* What the kernel says of a thread; false: nothing. */
static bool thread_file (int id, const char *name, char *buf, size_t size) {
  char path[64];
  ssize_t n;
  int fd;
  snprintf(path, sizeof path, "/proc/self/task/%d/%s", id, name);
  fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  n = read(fd, buf, size - 1);
  close(fd);
  buf[n > 0 ? n : 0] = '\0';
  return n > 0;
}

bool os_thread_dozes (int id) {
  char buf[128];
  if (!thread_file(id, "syscall", buf, sizeof buf)) return false;
  switch (atoi(buf)) {                 /* "202 0x7f..." */
    case SYS_futex: case SYS_mmap: case SYS_munmap: case SYS_mprotect: case SYS_brk:
    case SYS_madvise: return true;
    default: return false;
  }
}

bool os_thread_sleeps (int id) {
  char buf[128], *p;
  if (!thread_file(id, "stat", buf, sizeof buf)) return true;
  p = strrchr(buf, ')');               /* "123 (name) S ..." */
  return p == NULL || p[1] == '\0' || p[2] != 'R';
}

clockid_t os_thread_clock (pthread_t t) {
  clockid_t id;
  return pthread_getcpuclockid(t, &id) == 0 ? id : (clockid_t)-1;
}

int64_t os_thread_cpu (clockid_t id) {
  struct timespec ts;
  if (id == (clockid_t)-1 || clock_gettime(id, &ts) != 0) return -1;
  return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

bool os_preempt_install (void (*handler) (int)) {
  struct sigaction sa, old;
  if (sigaction(OS_PREEMPT_SIGNAL, NULL, &old) != 0 || (old.sa_flags & SA_SIGINFO))
    return false;
  if (old.sa_handler == handler) return true;
  if (old.sa_handler != SIG_DFL) return false;
  memset(&sa, 0, sizeof sa);
  sa.sa_handler = handler;
  sa.sa_flags = SA_RESTART | SA_ONSTACK;
  sigfillset(&sa.sa_mask);
  return sigaction(OS_PREEMPT_SIGNAL, &sa, NULL) == 0;
}

void os_preempt_signal (pthread_t t) { pthread_kill(t, OS_PREEMPT_SIGNAL); }

bool os_thread_is_roomy (void) {
  pthread_attr_t a;
  sigset_t blocked;
  size_t size = 0;
  void *at;
  if (pthread_sigmask(SIG_BLOCK, NULL, &blocked) != 0 ||
      sigismember(&blocked, OS_PREEMPT_SIGNAL) || pthread_getattr_np(pthread_self(), &a) != 0)
    return false;
  if (pthread_attr_getstack(&a, &at, &size) != 0) size = 0;
  pthread_attr_destroy(&a);
  return size >= (1u << 20);
}

void os_signals_block (sigset_t *old) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, old);
}

void os_signals_restore (const sigset_t *old) { pthread_sigmask(SIG_SETMASK, old, NULL); }

void os_signals_unblock (void) {
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, NULL);
}

bool os_forked;

bool event_init (Event *e) {
  e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return e->fd >= 0;
}

void event_close (Event *e) {
  if (e->fd >= 0) close(e->fd);
  e->fd = -1;
}

void event_raise (Event *e) {
  uint64_t one = 1;
  int saved = errno;
  while (write(e->fd, &one, sizeof one) < 0 && errno == EINTR) continue;
  errno = saved;
}

bool event_wait (Event *e, bool (*interrupted) (void *), void *arg) {
  sigset_t intr, old;
  uint64_t n;
  bool raised = false, stop = false;
  sigemptyset(&intr);
  sigaddset(&intr, SIGINT);
  pthread_sigmask(SIG_BLOCK, &intr, &old);
  while (!raised && !stop) {
    if (read(e->fd, &n, sizeof n) == sizeof n)
      raised = true;
    else if (interrupted != NULL && interrupted(arg))         /* a SIGINT that came before it was blocked */
      stop = true;
    else {
      struct pollfd p = { e->fd, POLLIN, 0 };
      ppoll(&p, 1, NULL, &old);        /* SIGINT can come only here */
    }
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return raised;
}

void os_pin_library (const void *addr) {
  Dl_info info;
  if (dladdr(addr, &info) != 0 && info.dli_fname != NULL)
    os_pin_file(info.dli_fname);
}

void os_pin_file (const char *path) {
  void *h = dlopen(path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  if (h != NULL) dlclose(h);           /* the mark stays */
}

extern char **environ;

int os_shell (const char *command, int fd, bool output) {
  char *argv[] = { (char *)"sh", (char *)"-c", (char *)command, NULL };
  posix_spawn_file_actions_t fa;
  posix_spawnattr_t at;
  sigset_t none;
  pid_t pid;
  int e;
  sigemptyset(&none);
  if ((e = posix_spawnattr_init(&at)) != 0) goto fail;
  posix_spawnattr_setsigmask(&at, &none);
  posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
  if ((e = posix_spawn_file_actions_init(&fa)) == 0) {
    if (fd >= 0) e = posix_spawn_file_actions_adddup2(&fa, fd, output ? 1 : 0);
    if (e == 0) e = posix_spawn(&pid, "/bin/sh", &fa, &at, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
  }
  posix_spawnattr_destroy(&at);
  if (e == 0) return pid;
fail:
  errno = e;
  return -1;
}

int os_wait (int pid, int *status) {
  int r;
  while ((r = waitpid(pid, status, 0)) < 0 && errno == EINTR) continue;
  return r;
}

bool os_pipe (int fd[2]) { return pipe2(fd, O_CLOEXEC) == 0; }

static int64_t nanoseconds (const struct timespec *ts) {
  return (int64_t)ts->tv_sec * SECOND + ts->tv_nsec;
}

static bool id_of (const char *path, mode_t type, FileId *id) {
  struct stat st;
  if (stat(path, &st) != 0 || (st.st_mode & S_IFMT) != type) return false;
  id->dev = (uint64_t)st.st_dev;
  id->ino = (uint64_t)st.st_ino;
  id->size = (int64_t)st.st_size;
  id->mtime = nanoseconds(&st.st_mtim);
  id->ctime = nanoseconds(&st.st_ctim);
  return true;
}

bool os_file_id (const char *path, FileId *id) { return id_of(path, S_IFREG, id); }
bool os_dir_id (const char *path, FileId *id) { return id_of(path, S_IFDIR, id); }

bool file_id_equal (const FileId *a, const FileId *b) {
  return a->ino == b->ino && a->dev == b->dev && a->size == b->size && a->mtime == b->mtime &&
         a->ctime == b->ctime;
}

/*
** The kernel stamps files with the time of its last tick (10 ms at most); some file systems keep
** whole seconds, or two.
*/
bool os_file_rested (const FileId *id) {
  struct timespec ts;
  int64_t grain = id->mtime % SECOND == 0 || id->ctime % SECOND == 0 ? 3 * SECOND : SECOND / 25;
  int64_t last = id->mtime > id->ctime ? id->mtime : id->ctime;
  clock_gettime(CLOCK_REALTIME, &ts);
  return nanoseconds(&ts) - last > grain;
}

FileSeen os_file_look (const char *path) {
  if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0) return FILE_READABLE;
  return errno == ENOENT ? FILE_ABSENT : FILE_OTHER;
}

bool os_file_readable (const char *path) { return os_file_look(path) == FILE_READABLE; }

bool os_file_absent (const char *path) {
  struct stat st;
  return lstat(path, &st) != 0 && errno == ENOENT;
}

int os_ready (int fd, int modes) {
  struct pollfd p = { fd, 0, 0 };
  int r, ready = 0;
  if (modes & 1) p.events |= POLLIN | POLLRDHUP;
  if (modes & 2) p.events |= POLLOUT;
  while ((r = poll(&p, 1, 0)) < 0 && errno == EINTR) continue;
  if (r <= 0) return r;
  if (p.revents & POLLNVAL) {
    errno = EBADF;
    return -1;
  }
  if (p.revents & (POLLIN | POLLRDHUP | POLLHUP | POLLERR)) ready |= 1;
  if (p.revents & (POLLOUT | POLLHUP | POLLERR)) ready |= 2;
  return ready & modes;
}

uint64_t os_random (void) {
  uint64_t r;
  if (getrandom(&r, sizeof r, GRND_NONBLOCK) != (ssize_t)sizeof r)
    r = (uint64_t)os_now() * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)getpid();
  return r;
}
