/*
** lua_net.c - goro.net: dial, listen, udp.  Layer 6.
**
** DIAL.  A name's addresses are tried one after the other, their families taking turns: the next
** one as soon as the last has failed, or after 250 ms, beside it (RFC 8305, happy eyeballs).  The
** first that answers is taken.  A Dial is owned by the call; nothing raises while there is one.
*/
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lookup.h"
#include "lua_conn.h"

#define NEXT_TRY (SECOND / 4)

enum { ADDRESS = 1, TIMEOUT = 2, UNTIL = 3 };      /* dial's stack; then the Dial */

/* ---------------------------------------------------------------- addresses */

static int bad_address (lua_State *L, const char *text, const char *why) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", text, why);
  return 2;
}

bool net_address (lua_State *L, Here h, int idx, bool passive, bool stream, Addr *a) {
  AddrText t;
  const char *why;
  size_t len;
  const char *s = lua_tolstring(L, idx, &len);
  AddrKind kind = addr_parse(s, len, passive, a, &t, &why);
  if (kind == ADDR_NAME) {
    sched_block(h.m, h.g);
    if (os_lookup(&t, passive, stream, a, 1, &why) > 0) kind = ADDR_NUMERIC;
    sched_unblock(h.m, h.g);
  }
  if (kind == ADDR_NUMERIC) return true;
  bad_address(L, s, why);
  return false;
}

/* ---------------------------------------------------------------- dial */

typedef struct Try {
  Conn *c;                             /* NULL: over */
  Sudog s;
  uint32_t edges;
} Try;

typedef struct Dial {
  Lookup *lookup;                      /* NULL: the addresses are known */
  int n;                               /* addresses */
  int begun;                           /* of these */
  int64_t last;                        /* when the latest try began */
  int error;                           /* the first one */
  bool no_memory;
  Addr addrs[LOOKUP_MAX];
  Try tries[LOOKUP_MAX];
} Dial;

static void dial_free (Dial *d) {
  int i;
  for (i = 0; i < d->begun; i++)
    if (d->tries[i].c != NULL) obj_unref(&d->tries[i].c->obj);
  if (d->lookup != NULL) lookup_unref(d->lookup);
  free(d);
}

static void failed (Dial *d, Try *t, int e) {
  if (d->error == 0) d->error = e;
  if (t->c != NULL) obj_unref(&t->c->obj);
  t->c = NULL;
}

/* Begin with the next address.  true: it is connected. */
static bool begin_try (Dial *d) {
  Addr *a = &d->addrs[d->begun];
  Try *t = &d->tries[d->begun++];
  int fd = os_socket(a->u.sa.sa_family, SOCK_STREAM), e;
  d->last = os_now();
  if (fd < 0) {
    failed(d, t, errno);
    return false;
  }
  t->c = conn_new(OBJ_CONN, fd, a->u.sa.sa_family == AF_UNIX ? CONN_SOCKET : CONN_TCP);
  if (t->c == NULL) {
    failed(d, t, ENOMEM);
    return false;
  }
  e = os_connect(fd, a);
  if (e == 0) return true;
  if (e != EINPROGRESS) failed(d, t, e);
  return false;
}

/* The one that is connected, or NULL; '*alive': there are others that may be. */
static Conn *look_at_tries (Dial *d, bool *alive) {
  int i;
  for (;;) {
    *alive = false;
    for (i = 0; i < d->begun; i++) {
      Try *t = &d->tries[i];
      int e;
      if (t->c == NULL) continue;
      t->edges = fd_edges(&t->c->fd, WAY_W);
      e = os_connected(t->c->fd.fd);
      if (e == 0) return t->c;
      if (e == EINPROGRESS) *alive = true;
      else failed(d, t, e);
    }
    if (d->begun == d->n || (*alive && os_now() - d->last < NEXT_TRY)) return NULL;
    if (begin_try(d)) return d->tries[d->begun - 1].c;
  }
}

/* Stand in the queues of all tries.  false: one has something to tell already. */
static bool enter_tries (Dial *d, G *g) {
  int i;
  FdResult r = FD_WAIT;
  park_begin(g, WAIT_DIAL);
  for (i = 0; i < d->begun && r == FD_WAIT; i++)
    if (d->tries[i].c != NULL)
      r = fd_wait_on(&d->tries[i].c->fd, WAY_W, d->tries[i].edges, g, &d->tries[i].s);
  if (r == FD_WAIT) return true;
  if (r == FD_ERROR) failed(d, &d->tries[i - 1], errno);
  for (i -= 2; i >= 0; i--)
    if (d->tries[i].c != NULL) fd_wait_off(&d->tries[i].s);
  park_abort(g);
  return false;
}

static void leave_tries (Dial *d) {
  int i;
  for (i = 0; i < d->begun; i++)
    if (d->tries[i].c != NULL) fd_wait_off(&d->tries[i].s);
}

/* The lookup is done: take over what it found. */
static bool take_lookup (Dial *d) {
  Lookup *l = d->lookup;
  if (l->n == 0) return false;
  d->n = l->n;
  memcpy(d->addrs, l->addrs, (size_t)l->n * sizeof l->addrs[0]);
  d->lookup = NULL;
  lookup_unref(l);
  return true;
}

static int push_conn (lua_State *L, Here h, Dial *d, Conn *c) {
  obj_ref(&c->obj);
  dial_free(d);
  handle_push_new(L, h.s, &c->obj);
  return 1;
}

static int dial_failed (lua_State *L, Dial *d) {
  const char *text = lua_tostring(L, ADDRESS);
  if (d->lookup != NULL) {
    const char *why = d->lookup->why;  /* static */
    dial_free(d);
    return bad_address(L, text, why);
  }
  else {
    int e = d->error;
    dial_free(d);
    return nil_errno(L, e, text);
  }
}

static int dial_k (lua_State *L, int status, lua_KContext ctx);

static int dial_go (lua_State *L, Here h, Dial *d, bool woken) {
  Limit given = arg_timeout_again(L, TIMEOUT, lua_tointeger(L, UNTIL));
  bool last = false;
  for (;;) {
    Limit lim = given;
    if (woken) {
      if (d->lookup != NULL) lookup_wait_end(d->lookup, h.g);
      else leave_tries(d);
      if (!wait_over(h)) {
        dial_free(d);
        return wait_unwind(L, h);
      }
      last = h.g->wake == WAKE_TIMEOUT && given.until != FOREVER && given.until <= os_now();
      if (h.g->wake != WAKE_READY && h.g->wake != WAKE_TIMEOUT) {
        dial_free(d);
        return nil_reason(L, h);
      }
      woken = false;
    }
    if (d->lookup != NULL) {
      if (!last && lookup_wait(d->lookup, h.g)) goto wait;
      if (!last && !take_lookup(d)) return dial_failed(L, d);
    }
    if (d->lookup == NULL) {
      bool alive;
      Conn *c = look_at_tries(d, &alive);
      if (c != NULL) return push_conn(L, h, d, c);
      if (!alive) return dial_failed(L, d);
    }
    if (last || !limit_waits(&lim)) {
      dial_free(d);
      h.g->wake = WAKE_TIMEOUT;
      return nil_reason(L, h);
    }
    if (!enter_tries(d, h.g)) continue;
    if (d->begun < d->n && d->last + NEXT_TRY < lim.until) lim.until = d->last + NEXT_TRY;
  wait:
    if (!wait_here(L, h, lim)) return wait_yield(L, h, 0, dial_k);
    woken = true;
  }
}

static int dial_k (lua_State *L, int status, lua_KContext ctx) {
  (void)status; (void)ctx;
  return dial_go(L, here(L), lua_touserdata(L, UNTIL + 1), true);
}

/*
** goro.net.dial(addr [, timeout]) -> a connection; or nil, reason[, code].  A name is looked up, and
** its IPv4 and IPv6 addresses are tried.  Go's net.Dial.
*/
static int l_dial (lua_State *L) {
  Here h = here(L);
  AddrText t;
  AddrKind kind;
  const char *s, *why;
  size_t len;
  Dial *d;
  Limit lim;
  arg_string(L, ADDRESS);
  lim = arg_timeout(L, TIMEOUT, FOREVER);
  check_panics(L, h);
  if (limit_over(h, &lim)) return nil_reason(L, h);
  lua_settop(L, TIMEOUT);
  lua_pushinteger(L, lim.until);
  s = lua_tolstring(L, ADDRESS, &len);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  d = calloc(1, sizeof *d);
  if (d == NULL) return luaL_error(L, "not enough memory");
  kind = addr_parse(s, len, false, &d->addrs[0], &t, &why);
  d->n = 1;
  if (kind == ADDR_NAME && (d->lookup = lookup_start(&t)) == NULL) {
    kind = ADDR_BAD;
    why = "not enough memory";
  }
  if (kind == ADDR_BAD) {
    free(d);
    return bad_address(L, s, why);
  }
  lua_pushlightuserdata(L, d);
  return dial_go(L, h, d, false);
}

/* ---------------------------------------------------------------- listen, udp */

static int listening (lua_State *L, Here h, const Addr *a, uint8_t type) {
  int fd = os_bind(a, type == OBJ_LISTENER ? SOCK_STREAM : SOCK_DGRAM);
  Conn *c;
  if (fd < 0) return nil_errno(L, errno, lua_tostring(L, 1));
  c = conn_new(type, fd, a->u.sa.sa_family == AF_UNIX ? CONN_SOCKET : CONN_TCP);
  if (c != NULL && a->u.sa.sa_family == AF_UNIX) {
    char text[ADDR_TEXT];
    addr_format(a, text);
    if (text[5] != '@') c->path = strdup(text + 5);
  }
  handle_push_new(L, h.s, (Obj *)c);
  return 1;
}

/* goro.net.listen(addr) -> a listener; or nil, reason[, code].  An empty host: all of this machine's
** addresses; port 0: a free one.  Go's net.Listen. */
static int l_listen (lua_State *L) {
  Here h = here(L);
  Addr a;
  arg_string(L, 1);
  check_panics(L, h);
  memset(&a, 0, sizeof a);
  if (!net_address(L, h, 1, true, true, &a)) return 2;
  return listening(L, h, &a, OBJ_LISTENER);
}

/* goro.net.udp([addr]) -> a UDP socket, bound to an address; or nil, reason[, code].  Go's
** net.ListenPacket. */
static int l_udp (lua_State *L) {
  Here h = here(L);
  Addr a;
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_pushliteral(L, ":0");
  }
  arg_string(L, 1);
  check_panics(L, h);
  memset(&a, 0, sizeof a);
  if (!net_address(L, h, 1, true, false, &a)) return 2;
  return listening(L, h, &a, OBJ_UDP);
}

const luaL_Reg net_functions[] = {
  { "dial", l_dial }, { "listen", l_listen }, { "udp", l_udp }, { NULL, NULL }
};

void push_net_module (lua_State *L) {
  lua_createtable(L, 0, 3);
  luaL_setfuncs(L, net_functions, 0);
}
