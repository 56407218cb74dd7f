/*
** ossignal.c - the OS's signals by name.  Layer 0.
*/
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include "ossignal.h"
#include "platform.h"

static const struct { const char *name; int sig; } signals[] = {
  { "HUP", SIGHUP }, { "INT", SIGINT }, { "QUIT", SIGQUIT }, { "ILL", SIGILL },
  { "TRAP", SIGTRAP }, { "ABRT", SIGABRT }, { "BUS", SIGBUS }, { "FPE", SIGFPE },
  { "KILL", SIGKILL }, { "USR1", SIGUSR1 }, { "SEGV", SIGSEGV }, { "USR2", SIGUSR2 },
  { "PIPE", SIGPIPE }, { "ALRM", SIGALRM }, { "TERM", SIGTERM }, { "CHLD", SIGCHLD },
  { "CONT", SIGCONT }, { "STOP", SIGSTOP }, { "TSTP", SIGTSTP }, { "TTIN", SIGTTIN },
  { "TTOU", SIGTTOU }, { "URG", SIGURG }, { "XCPU", SIGXCPU }, { "XFSZ", SIGXFSZ },
  { "VTALRM", SIGVTALRM }, { "PROF", SIGPROF }, { "WINCH", SIGWINCH }, { "SYS", SIGSYS },
#if defined(SIGIO)
  { "IO", SIGIO },
#endif
#if defined(SIGPWR)
  { "PWR", SIGPWR },
#endif
};
#define NSIGNALS (sizeof signals / sizeof signals[0])

static struct sigaction before[OS_MAX_SIGNAL + 1];

int os_signal_number (const char *name) {
  size_t i;
  if (strncmp(name, "SIG", 3) == 0) name += 3;
  for (i = 0; i < NSIGNALS; i++)
    if (strcmp(signals[i].name, name) == 0) return signals[i].sig;
  return 0;
}

const char *os_signal_name (int sig) {
  size_t i;
  for (i = 0; i < NSIGNALS; i++)
    if (signals[i].sig == sig) return signals[i].name;
  return NULL;
}

bool os_signal_can_catch (int sig) {
  switch (sig) {
    case SIGKILL: case SIGSTOP: case SIGILL: case SIGTRAP: case SIGABRT: case SIGBUS:
    case SIGFPE: case SIGSEGV: case SIGSYS: case OS_PREEMPT_SIGNAL:
      return false;
    default:
      return sig > 0 && sig <= OS_MAX_SIGNAL;
  }
}

bool os_signal_catch (int sig, void (*handler) (int)) {
  struct sigaction sa;
  memset(&sa, 0, sizeof sa);
  sa.sa_handler = handler;
  sa.sa_flags = SA_RESTART | SA_ONSTACK;
  sigfillset(&sa.sa_mask);
  return sigaction(sig, &sa, &before[sig]) == 0;
}

void os_signal_restore (int sig, void (*handler) (int)) {
  struct sigaction now;
  if (sigaction(sig, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
      now.sa_handler == handler)
    sigaction(sig, &before[sig], NULL);
}

void os_signal_admit (int sig, bool yes) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, sig);
  pthread_sigmask(yes ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}
