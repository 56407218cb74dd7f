/*
** sock.h - sockets, pipes and files as the OS has them; addresses as text.  Layer 0.
**
** Nothing here waits (but os_open and os_lookup, which say so).  Results as system calls have them:
** -1 and errno.  No call raises SIGPIPE, and none changes what others see of a descriptor.
*/
#ifndef GORO_SOCK_H
#define GORO_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#pragma GCC visibility push(hidden)

typedef struct Addr {
  socklen_t len;
  union { struct sockaddr sa; struct sockaddr_storage ss; } u;
} Addr;

#define ADDR_TEXT 128                  /* the longest text of one: "unix:" and a path of 107 */

/* What a text says.  ADDR_NAME: a host's or service's name is to be looked up. */
typedef enum AddrKind { ADDR_BAD, ADDR_NUMERIC, ADDR_NAME } AddrKind;

typedef struct AddrText {
  char host[256];                      /* "": any, or this machine */
  char port[64];
} AddrText;

/* "host:port", ":port", "[::1]:port", "unix:/path".  '*why' says what is bad.  An empty host:
** 'passive' makes it all of this machine's addresses (IPv6's any, which takes in IPv4's), else the
** loopback. */
AddrKind addr_parse (const char *s, size_t len, bool passive, Addr *a, AddrText *t,
                     const char **why);
void addr_format (const Addr *a, char text[ADDR_TEXT]);

/* Look a name up: blocks, perhaps for seconds.  At most 'max' addresses, their families taking
** turns.  How many; 0: '*why' is a text. */
int os_lookup (const AddrText *t, bool passive, bool stream, Addr *a, int max, const char **why);

int os_socket (int family, int type);  /* close-on-exec, non-blocking */
/* A socket bound to 'a', listening if it is of a stream: non-blocking.  IPv6's any takes in IPv4. */
int os_bind (const Addr *a, int type);
/* The address as a socket of fd's family wants it: IPv4's for one of IPv6. */
void os_fit (int fd, Addr *a);
int os_connect (int fd, const Addr *a);          /* 0; EINPROGRESS: wait until it can be written */
int os_connected (int fd);             /* 0: it is; EINPROGRESS: not yet; an errno */
int os_accept (int fd);                /* close-on-exec; with the listener's options */
bool os_name (int fd, bool peer, Addr *a);

/* For streams: no delay, and keep-alive after this many seconds (0: off). */
int os_no_delay (int fd, bool on);
int os_keep_alive (int fd, int seconds);
int os_shutdown_write (int fd);

int os_file (const char *path, int flags, int mode);  /* open, close-on-exec; may block */
int os_set_nonblocking (int fd);
typedef enum FdKind { FD_IS_SOCKET, FD_IS_STREAM, FD_IS_FILE, FD_IS_BAD } FdKind;
FdKind os_kind (int fd);               /* a stream: pipe, terminal ...; a file is always ready */

ssize_t os_recv (int fd, void *p, size_t n);     /* of a socket; without blocking */
ssize_t os_send (int fd, const struct iovec *v, int n);
ssize_t os_recvfrom (int fd, void *p, size_t n, Addr *from);
ssize_t os_sendto (int fd, const void *p, size_t n, const Addr *to);   /* NULL: where it is connected to */
ssize_t os_read (int fd, void *p, size_t n);     /* of anything; blocks where the file does */
ssize_t os_write (int fd, const struct iovec *v, int n);

#pragma GCC visibility pop

#endif
