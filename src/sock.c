/*
** sock.c - sockets, pipes and files as the OS has them; addresses as text.  Layer 0.
*/
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "sock.h"

/* ---------------------------------------------------------------- addresses */

#define UNIX "unix:"

static AddrKind parse_unix (const char *path, size_t len, Addr *a, const char **why) {
  struct sockaddr_un *un = (struct sockaddr_un *)&a->u;
  if (len == 0 || memchr(path, '\0', len) != NULL) {
    *why = "path expected after 'unix:'";
    return ADDR_BAD;
  }
  if (len >= sizeof un->sun_path) {
    *why = "path too long";
    return ADDR_BAD;
  }
  memset(un, 0, sizeof *un);
  un->sun_family = AF_UNIX;
  memcpy(un->sun_path, path, len);
  if (path[0] == '@') {                /* Linux's abstract names, as Go writes them */
    un->sun_path[0] = '\0';
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
  }
  else a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
  return ADDR_NUMERIC;
}

/* "host:port" to its two parts. */
static bool split (const char *s, size_t len, AddrText *t, const char **why) {
  const char *colon = memrchr(s, ':', len), *host = s, *end = colon;
  if (colon == NULL) *why = "missing port";
  else if (memchr(s, '\0', len) != NULL) *why = "zero byte";
  else if (s[0] == '[') {
    host = s + 1;
    end = memchr(s, ']', len);
    if (end == NULL || end + 1 != colon) *why = "']:' expected";
  }
  else if (memchr(s, ':', (size_t)(colon - s)) != NULL)
    *why = "too many colons (an IPv6 address stands in [])";
  if (*why != NULL) return false;
  if ((size_t)(end - host) >= sizeof t->host ||
      (size_t)(s + len - colon - 1) >= sizeof t->port) {
    *why = "name too long";
    return false;
  }
  memcpy(t->host, host, (size_t)(end - host));
  t->host[end - host] = '\0';
  memcpy(t->port, colon + 1, (size_t)(s + len - colon - 1));
  t->port[s + len - colon - 1] = '\0';
  return true;
}

static bool have_ipv6 (void) {
  static int known;                    /* (written with the same value by whoever comes first) */
  int k = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (k == 0) {
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno != EAFNOSUPPORT) return true;          /* (nothing is known yet) */
    k = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 ? 1 : -1;
    if (fd >= 0) close(fd);
    __atomic_store_n(&known, k, __ATOMIC_RELAXED);
  }
  return k > 0;
}

static void set_in4 (Addr *a, struct in_addr ip, int port) {
  struct sockaddr_in *in = (struct sockaddr_in *)&a->u;
  memset(in, 0, sizeof *in);
  in->sin_family = AF_INET;
  in->sin_port = htons((uint16_t)port);
  in->sin_addr = ip;
  a->len = sizeof *in;
}

static void set_in6 (Addr *a, struct in6_addr ip, int port, unsigned scope) {
  struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a->u;
  memset(in, 0, sizeof *in);
  in->sin6_family = AF_INET6;
  in->sin6_port = htons((uint16_t)port);
  in->sin6_addr = ip;
  in->sin6_scope_id = scope;
  a->len = sizeof *in;
}

static bool numeric_host (const char *host, bool passive, int port, Addr *a) {
  struct in_addr in4;
  struct in6_addr in6;
  char name[256], *zone;
  unsigned scope = 0;
  if (host[0] == '\0') {
    if (passive && have_ipv6()) set_in6(a, in6addr_any, port, 0);
    else {
      in4.s_addr = htonl(passive ? INADDR_ANY : INADDR_LOOPBACK);
      set_in4(a, in4, port);
    }
    return true;
  }
  if (inet_pton(AF_INET, host, &in4) == 1) {
    set_in4(a, in4, port);
    return true;
  }
  strcpy(name, host);
  if ((zone = strchr(name, '%')) != NULL) {
    *zone++ = '\0';
    scope = if_nametoindex(zone);
    if (scope == 0) scope = (unsigned)atoi(zone);
  }
  if (inet_pton(AF_INET6, name, &in6) != 1) return false;
  set_in6(a, in6, port, scope);
  return true;
}

AddrKind addr_parse (const char *s, size_t len, bool passive, Addr *a, AddrText *t,
                     const char **why) {
  char *end;
  long port;
  *why = NULL;
  if (len >= sizeof UNIX - 1 && memcmp(s, UNIX, sizeof UNIX - 1) == 0)
    return parse_unix(s + sizeof UNIX - 1, len - (sizeof UNIX - 1), a, why);
  if (!split(s, len, t, why)) return ADDR_BAD;
  if (t->port[0] == '\0') {
    *why = "missing port";
    return ADDR_BAD;
  }
  port = strtol(t->port, &end, 10);
  if (*end != '\0' || t->port[0] < '0' || t->port[0] > '9') return ADDR_NAME;
  if (port > 65535) {
    *why = "invalid port";
    return ADDR_BAD;
  }
  return numeric_host(t->host, passive, (int)port, a) ? ADDR_NUMERIC : ADDR_NAME;
}

static void format_in6 (const struct sockaddr_in6 *in, char *text) {
  char ip[INET6_ADDRSTRLEN];
  unsigned port = ntohs(in->sin6_port);
  if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) {
    inet_ntop(AF_INET, &in->sin6_addr.s6_addr[12], ip, sizeof ip);
    snprintf(text, ADDR_TEXT, "%s:%u", ip, port);
    return;
  }
  inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof ip);
  if (in->sin6_scope_id != 0)
    snprintf(text, ADDR_TEXT, "[%s%%%u]:%u", ip, in->sin6_scope_id, port);
  else snprintf(text, ADDR_TEXT, "[%s]:%u", ip, port);
}

void addr_format (const Addr *a, char text[ADDR_TEXT]) {
  char ip[INET6_ADDRSTRLEN];
  switch (a->u.sa.sa_family) {
    case AF_INET: {
      const struct sockaddr_in *in = (const struct sockaddr_in *)&a->u;
      inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
      snprintf(text, ADDR_TEXT, "%s:%u", ip, ntohs(in->sin_port));
      break;
    }
    case AF_INET6:
      format_in6((const struct sockaddr_in6 *)&a->u, text);
      break;
    case AF_UNIX: {
      const struct sockaddr_un *un = (const struct sockaddr_un *)&a->u;
      size_t n = a->len - offsetof(struct sockaddr_un, sun_path);
      if (a->len <= offsetof(struct sockaddr_un, sun_path)) n = 0;
      if (n > 0 && un->sun_path[0] == '\0')
        snprintf(text, ADDR_TEXT, UNIX "@%.*s", (int)n - 1, un->sun_path + 1);
      else snprintf(text, ADDR_TEXT, UNIX "%.*s", (int)strnlen(un->sun_path, n), un->sun_path);
      break;
    }
    default:
      strcpy(text, "?");
  }
}

/* ---------------------------------------------------------------- names */

static void copy_in_turns (struct addrinfo *list, Addr *a, int max, int *n) {
  struct addrinfo *one = list, *other = list;
  int first = list->ai_family;
  while (*n < max && (one != NULL || other != NULL)) {
    while (one != NULL && one->ai_family != first) one = one->ai_next;
    while (other != NULL && other->ai_family == first) other = other->ai_next;
    if (one != NULL && *n < max) {
      memcpy(&a[*n].u, one->ai_addr, one->ai_addrlen);
      a[(*n)++].len = one->ai_addrlen;
      one = one->ai_next;
    }
    if (other != NULL && *n < max) {
      memcpy(&a[*n].u, other->ai_addr, other->ai_addrlen);
      a[(*n)++].len = other->ai_addrlen;
      other = other->ai_next;
    }
  }
}

int os_lookup (const AddrText *t, bool passive, bool stream, Addr *a, int max,
               const char **why) {
  struct addrinfo hints, *list = NULL;
  int e, n = 0;
  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = stream ? SOCK_STREAM : SOCK_DGRAM;
  hints.ai_flags = passive ? AI_PASSIVE : AI_ADDRCONFIG;
  e = getaddrinfo(t->host[0] != '\0' ? t->host : NULL, t->port, &hints, &list);
  if (e == 0 && list != NULL) copy_in_turns(list, a, max, &n);
  if (list != NULL) freeaddrinfo(list);
  if (n == 0) *why = e == EAI_SYSTEM ? "name look-up failed" : gai_strerror(e);
  return n;
}

/* ---------------------------------------------------------------- sockets */

int os_socket (int family, int type) {
  return socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void set (int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

int os_bind (const Addr *a, int type) {
  int family = a->u.sa.sa_family, fd = os_socket(family, type), e;
  if (fd < 0) return -1;
  if (family == AF_INET6) {
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&a->u;
    set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !IN6_IS_ADDR_UNSPECIFIED(&in->sin6_addr));
  }
  if (type == SOCK_STREAM && family != AF_UNIX) {
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);          /* what is accepted inherits it */
  }
  if (bind(fd, &a->u.sa, a->len) == 0 && (type != SOCK_STREAM || listen(fd, SOMAXCONN) == 0))
    return fd;
  e = errno;
  close(fd);
  errno = e;
  return -1;
}

bool os_name (int fd, bool peer, Addr *a) {
  a->len = sizeof a->u;
  return (peer ? getpeername(fd, &a->u.sa, &a->len) : getsockname(fd, &a->u.sa, &a->len)) == 0;
}

void os_fit (int fd, Addr *a) {
  struct sockaddr_in in;
  struct in6_addr ip = IN6ADDR_ANY_INIT;
  Addr own;
  if (a->u.sa.sa_family != AF_INET || !os_name(fd, false, &own) ||
      own.u.sa.sa_family != AF_INET6) return;
  memcpy(&in, &a->u, sizeof in);
  ip.s6_addr[10] = ip.s6_addr[11] = 0xff;
  memcpy(&ip.s6_addr[12], &in.sin_addr, 4);
  set_in6(a, ip, ntohs(in.sin_port), 0);
}

int os_connect (int fd, const Addr *a) {
  if (a->u.sa.sa_family != AF_UNIX) set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (connect(fd, &a->u.sa, a->len) == 0) return 0;
  return errno == EINTR ? EINPROGRESS : errno;
}

int os_connected (int fd) {
  struct pollfd p = { fd, POLLOUT, 0 };
  int e = 0;
  socklen_t len = sizeof e;
  if (poll(&p, 1, 0) <= 0) return EINPROGRESS;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) != 0) return errno;
  return e;
}

int os_accept (int fd) {
  int n;
  do n = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  while (n < 0 && (errno == EINTR || errno == ECONNABORTED));
  return n;
}

int os_no_delay (int fd, bool on) {
  int v = on;
  return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, sizeof v);
}

int os_keep_alive (int fd, int seconds) {
  int on = seconds > 0;
  if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) != 0) return -1;
  if (!on) return 0;
  if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds) != 0) return -1;
  return setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
}

int os_shutdown_write (int fd) { return shutdown(fd, SHUT_WR); }

/* ---------------------------------------------------------------- transfer */

int os_file (const char *path, int flags, int mode) {
  int fd;
  do fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

int os_set_nonblocking (int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

FdKind os_kind (int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) return FD_IS_BAD;
  if (S_ISSOCK(st.st_mode)) return FD_IS_SOCKET;
  if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode)) return FD_IS_FILE;
  return FD_IS_STREAM;
}

#define AGAIN(r, call) do { (r) = (call); } while ((r) < 0 && errno == EINTR)

ssize_t os_recv (int fd, void *p, size_t n) {
  ssize_t r;
  AGAIN(r, recv(fd, p, n, MSG_DONTWAIT));
  return r;
}

ssize_t os_send (int fd, const struct iovec *v, int n) {
  struct msghdr h;
  ssize_t r;
  if (n == 1) {
    AGAIN(r, send(fd, v->iov_base, v->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL));
    return r;
  }
  memset(&h, 0, sizeof h);
  h.msg_iov = (struct iovec *)v;
  h.msg_iovlen = (size_t)n;
  AGAIN(r, sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL));
  return r;
}

ssize_t os_recvfrom (int fd, void *p, size_t n, Addr *from) {
  ssize_t r;
  from->len = sizeof from->u;
  AGAIN(r, recvfrom(fd, p, n, MSG_DONTWAIT | MSG_TRUNC, &from->u.sa, &from->len));
  return r;
}

ssize_t os_sendto (int fd, const void *p, size_t n, const Addr *to) {
  ssize_t r;
  AGAIN(r, sendto(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL, to != NULL ? &to->u.sa : NULL,
                  to != NULL ? to->len : 0));
  return r;
}

ssize_t os_read (int fd, void *p, size_t n) {
  ssize_t r;
  AGAIN(r, read(fd, p, n));
  return r;
}

/*
** A pipe without a reader raises SIGPIPE in the writing thread.  It is blocked meanwhile, and taken
** off again if it is our write that raised it.
*/
ssize_t os_write (int fd, const struct iovec *v, int n) {
  static const struct timespec now = { 0, 0 };
  sigset_t pipe, before, pending;
  ssize_t r;
  bool was;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  sigpending(&pending);
  was = sigismember(&pending, SIGPIPE) == 1;
  AGAIN(r, writev(fd, v, n));
  if (r < 0 && errno == EPIPE && !was) {
    while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR) continue;
    errno = EPIPE;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return r;
}
