/*
** lua_conn.c - connections, listeners and UDP sockets for Lua.  Layer 6.
**
** Every call that may wait is an Op, done by io(): take the lock of its way, do a step, wait if the
** step says so, and again.  Meanwhile the stack is: the object, what is read or written, the
** time-out as it was given, until when (arg_span).  A time-out of the call's own stands in place of the
** object's deadline.
*/
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "lua_conn.h"

enum { WHAT = 2, TIMEOUT = 3, UNTIL = 4 };
enum { LOCK, LOCKING, WAITING };       /* where an Op goes on */

typedef struct Out {                   /* what a step leaves for what comes after the unlock */
  Taken t;
  Addr from;
  int fd;
} Out;

typedef struct Op {
  int way;
  IoResult (*step) (lua_State *L, Here h, Conn *c, bool block, Out *out);
  int (*push) (lua_State *L, Here h, Out *out);
} Op;

static int io (lua_State *L, Here h, int n, int at);

static Conn *conn_at_1 (lua_State *L) { return (Conn *)((Handle *)lua_touserdata(L, 1))->o; }

/* ---------------------------------------------------------------- steps */

static int push_block (lua_State *L) {
  Taken *t = lua_touserdata(L, 1);
  lua_pushlstring(L, t->p, t->n);
  return 1;
}

static int push_bytes (lua_State *L, Here h, Out *out) {
  int status;
  if (out->t.block == NULL) {
    lua_pushlstring(L, out->t.p, out->t.n);
    return 1;
  }
  lua_pushcfunction(L, push_block);
  lua_pushlightuserdata(L, &out->t);
  status = lua_pcall(L, 1, 1, 0);
  taken_free(&out->t, h.m);
  return status == LUA_OK ? 1 : lua_error(L);
}

static IoResult step_read (lua_State *L, Here h, Conn *c, bool block, Out *out) {
  return conn_read(c, h.m, h.g, (size_t)lua_tointeger(L, WHAT), block, &out->t);
}

static IoResult step_full (lua_State *L, Here h, Conn *c, bool block, Out *out) {
  return conn_read_full(c, h.m, h.g, (size_t)lua_tointeger(L, WHAT), block, &out->t);
}

static IoResult step_line (lua_State *L, Here h, Conn *c, bool block, Out *out) {
  (void)L;
  return conn_read_line(c, h.m, h.g, block, &out->t);
}

static IoResult step_all (lua_State *L, Here h, Conn *c, bool block, Out *out) {
  (void)L;
  return conn_read_all(c, h.m, h.g, block, &out->t);
}

static IoResult step_write (lua_State *L, Here h, Conn *c, bool block, Out *out) {
  size_t n;
  const char *p = lua_tolstring(L, WHAT, &n);
  (void)out;
  return conn_write(c, h.m, h.g, p, n, block);
}

static int push_written (lua_State *L, Here h, Out *out) {
  (void)h; (void)out;
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, WHAT));
  return 1;
}

static IoResult step_accept (lua_State *L, Here h, Conn *c, bool block, Out *out) {
  (void)L;
  return conn_accept(c, h.m, h.g, block, &out->fd);
}

static int push_accepted (lua_State *L, Here h, Out *out) {
  handle_push_new(L, h.s, (Obj *)conn_new(OBJ_CONN, out->fd, conn_at_1(L)->kind));
  return 1;
}

static IoResult step_recvfrom (lua_State *L, Here h, Conn *c, bool block, Out *out) {
  (void)L;
  return conn_recvfrom(c, h.m, h.g, block, &out->t, &out->from);
}

static int push_datagram (lua_State *L, Here h, Out *out) {
  char text[ADDR_TEXT];
  addr_format(&out->from, text);
  push_bytes(L, h, out);
  lua_pushstring(L, text);
  return 2;
}

static IoResult step_sendto (lua_State *L, Here h, Conn *c, bool block, Out *out) {
  size_t n;
  const char *p = lua_tolstring(L, WHAT, &n);
  const Addr *to = (const Addr *)lua_tostring(L, UNTIL + 1);
  (void)out;
  return conn_sendto(c, h.m, h.g, p, n, to, block);
}

enum { READ, FULL, LINE, ALL, WRITE, ACCEPT, RECVFROM, SENDTO };

static const Op ops[] = {
  { WAY_R, step_read, push_bytes }, { WAY_R, step_full, push_bytes },
  { WAY_R, step_line, push_bytes }, { WAY_R, step_all, push_bytes },
  { WAY_W, step_write, push_written }, { WAY_R, step_accept, push_accepted },
  { WAY_R, step_recvfrom, push_datagram }, { WAY_W, step_sendto, push_written }
};

/* ---------------------------------------------------------------- the driver */

static int fail (lua_State *L, Here h, IoResult r, int e) {
  if (r == IO_ERROR) return nil_errno(L, e, NULL);
  lua_pushnil(L);
  lua_pushstring(L, r == IO_EOF ? "eof" : r == IO_CLOSED ? "closed" :
                 r == IO_LONG ? "line too long" : wake_reason(h.g));
  return 2;
}

/* With the lock held: what became of it. */
static int finish (lua_State *L, Here h, Conn *c, int n, IoResult r, Out *out) {
  int e = errno, nr;
  size_t done = n == WRITE ? c->done : 0;
  mutex_unlock(&c->lock[ops[n].way], h.m);
  if (r == IO_OK) return ops[n].push(L, h, out);
  nr = fail(L, h, r, e);
  if (n == WRITE) {                    /* nil, reason, code or nil, bytes written */
    if (nr == 2) lua_pushnil(L);
    lua_pushinteger(L, (lua_Integer)done);
    nr = 4;
  }
  return nr;
}

/* How long this call may wait; *own: its context is a reference. */
static Limit limit_of (lua_State *L, Conn *c, bool *own) {
  *own = lua_isnil(L, TIMEOUT);
  return *own ? conn_deadline(c) : arg_timeout_again(L, TIMEOUT, lua_tointeger(L, UNTIL));
}

static void limit_drop (Limit *lim, bool own) {
  if (own && lim->ctx != NULL) obj_unref(&lim->ctx->obj);
}

/* Must it not wait (any more)?  Of a time-out of the call's own the timer tells. */
static bool is_over (Here h, const Limit *lim, bool own) {
  if (limit_over(h, lim)) return true;
  return lim->until == 0 || (own && lim->until != FOREVER && lim->until <= os_now());
}

/* Wait, where parking has begun: as wait_here.  A time-out runs from the first wait on. */
static bool wait_within (lua_State *L, Here h, Limit lim, bool own) {
  bool over;
  if (lim.until < 0) {
    limit_begin(&lim);
    lua_pushinteger(L, lim.until);
    lua_replace(L, UNTIL);
  }
  over = wait_here(L, h, lim);
  limit_drop(&lim, own);
  return over;
}

static int io_k (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return io(L, here(L), (int)(ctx >> 2), (int)(ctx & 3));
}

/* The wait for the lock is over.  1: it is ours; 0: go on waiting; -1: gave up. */
static int lock_woken (lua_State *L, Here h, Conn *c, Mutex *mu, LockResult r) {
  if (r == LOCK_OK) return 1;
  if (r == LOCK_AGAIN) return mutex_relock(mu, h.g) ? 1 : 0;
  if (lua_isnil(L, TIMEOUT) && h.g->wake == WAKE_TIMEOUT) {    /* the deadline may have moved */
    bool own, over;
    Limit lim = limit_of(L, c, &own);
    over = is_over(h, &lim, own);
    limit_drop(&lim, own);
    if (!over) return mutex_lock(mu, h.g) ? 1 : 0;
  }
  return -1;
}

static int io (lua_State *L, Here h, int n, int at) {
  Conn *c = conn_at_1(L);
  Mutex *mu = &c->lock[ops[n].way];
  Out out;
  for (;;) {
    bool own, over, last = false;
    int locked = 1;
    Limit lim;
    IoResult r;
    if (at == LOCK) {
      locked = mutex_try(mu, h.g);
    }
    else if (at == LOCKING) {
      LockResult lr = mutex_finish(mu, h.g);
      if (!wait_over(h)) return wait_unwind(L, h);
      locked = lock_woken(L, h, c, mu, lr);
      if (locked < 0) return fail(L, h, IO_BUSY, 0);
    }
    else {
      fd_wait_end(h.g);
      if (!wait_over(h)) {
        mutex_unlock(mu, h.m);
        return wait_unwind(L, h);
      }
      last = h.g->wake == WAKE_TIMEOUT && !lua_isnil(L, TIMEOUT);
    }
    lim = limit_of(L, c, &own);
    if (at == LOCK && !locked) {
      if (is_over(h, &lim, own)) {
        limit_drop(&lim, own);
        return fail(L, h, IO_BUSY, 0);
      }
      locked = mutex_lock(mu, h.g);
    }
    if (locked) {
      if (at != WAITING && n == WRITE) c->done = 0;          /* (under its lock) */
      over = is_over(h, &lim, own) || last;
      if (over && h.g->wake != WAKE_TIMEOUT) r = IO_BUSY;      /* its context is done */
      else r = ops[n].step(L, h, c, !over, &out);
      if (r != IO_WAIT) {
        limit_drop(&lim, own);
        return finish(L, h, c, n, r, &out);
      }
      at = WAITING;
    }
    else {
      store_rlx(&h.g->reason, ops[n].way == WAY_R ? WAIT_READ : WAIT_WRITE);
      at = LOCKING;
    }
    if (!wait_within(L, h, lim, own))
      return wait_yield(L, h, (lua_KContext)n << 2 | at, io_k);
  }
}

/* Begin: the stack is the object, what, the time-out. */
static int begin (lua_State *L, Here h, int n, Limit lim) {
  check_panics(L, h);
  lua_settop(L, TIMEOUT);
  lua_pushinteger(L, lim.until);
  return io(L, h, n, LOCK);
}

/* For those without a WHAT: the time-out stands at 2. */
static int begin_2 (lua_State *L, int n, int type) {
  Here h = here(L);
  Limit lim;
  handle_check(L, 1, type);
  lim = arg_span(L, 2, FOREVER);
  lua_settop(L, 2);
  lua_pushvalue(L, 2);                 /* WHAT is not looked at */
  return begin(L, h, n, lim);
}

/* ---------------------------------------------------------------- reading and writing */

static int closed (lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "closed");
  return 2;
}

#define MAX_READ ((lua_Integer)1 << 46)

/* c:read([max [, timeout]]) -> at least one byte, at most 'max'.  Go's Read. */
static int l_read (lua_State *L) {
  Here h = here(L);
  lua_Integer max;
  Limit lim;
  handle_check(L, 1, OBJ_CONN);
  max = arg_opt_integer(L, 2, MAX_READ);
  arg_check(L, max >= 1, 2, "at least 1 expected");
  lim = arg_span(L, 3, FOREVER);
  lua_settop(L, 3);
  lua_pushinteger(L, max < MAX_READ ? max : MAX_READ);
  lua_replace(L, WHAT);
  return begin(L, h, READ, lim);
}

/* c:read_full(n [, timeout]) -> n bytes.  What came of them if it gives up is for the next read.
** Go's io.ReadFull. */
static int l_read_full (lua_State *L) {
  Here h = here(L);
  lua_Integer n;
  Limit lim;
  handle_check(L, 1, OBJ_CONN);
  n = arg_integer(L, 2);
  arg_check(L, n >= 0, 2, "negative count");
  arg_check(L, n <= MAX_READ, 2, "too large");
  lim = arg_span(L, 3, FOREVER);
  lua_settop(L, 3);
  lua_pushinteger(L, n);
  lua_replace(L, WHAT);
  return begin(L, h, FULL, lim);
}

/* c:read_line([timeout]) -> a line without its "\n" or "\r\n"; the last one need not have any. */
static int l_read_line (lua_State *L) { return begin_2(L, LINE, OBJ_CONN); }

/* c:read_all([timeout]) -> all that comes until the end.  Go's io.ReadAll. */
static int l_read_all (lua_State *L) { return begin_2(L, ALL, OBJ_CONN); }

/* The strings and numbers of the list at 'idx' as one string in its place. */
static void concat (lua_State *L, int idx) {
  luaL_Buffer b;
  lua_Integer i, n = luaL_len(L, idx);
  luaL_buffinit(L, &b);
  for (i = 1; i <= n; i++) {
    int t = lua_geti(L, idx, i);
    if (t != LUA_TSTRING && t != LUA_TNUMBER)
      arg_error(L, idx, lua_pushfstring(L, "string expected at [%d], got %s", (int)i,
                                        lua_typename(L, t)));
    luaL_addvalue(&b);
  }
  luaL_pushresult(&b);
  lua_replace(L, idx);
}

/* c:write(s or list of strings [, timeout]) -> bytes written, all; or nil, reason, code or nil,
** bytes written.  The list goes as one. */
static int l_write (lua_State *L) {
  Here h = here(L);
  Limit lim;
  handle_check(L, 1, OBJ_CONN);
  lim = arg_span(L, 3, FOREVER);
  if (lua_type(L, 2) == LUA_TTABLE) concat(L, 2);
  else if (lua_type(L, 2) != LUA_TSTRING && lua_type(L, 2) != LUA_TNUMBER)
    arg_typeerror(L, 2, "string or list of strings");
  lua_tostring(L, 2);                  /* a number becomes a string */
  if (conn_at_1(L)->fd.fd == STDOUT_FILENO) fflush(stdout);      /* what io.write has buffered */
  return begin(L, h, WRITE, lim);
}

/* l:accept([timeout]) -> a connection.  Go's Accept. */
static int l_accept (lua_State *L) { return begin_2(L, ACCEPT, OBJ_LISTENER); }

/* u:recv([timeout]) -> data, address.  Go's ReadFrom. */
static int l_recv (lua_State *L) { return begin_2(L, RECVFROM, OBJ_UDP); }

/* u:send(data, addr [, timeout]) -> bytes.  Go's WriteTo. */
static int l_send (lua_State *L) {
  Here h = here(L);
  Addr to;
  Limit lim;
  Conn *c;
  handle_check(L, 1, OBJ_UDP);
  arg_string(L, 2);
  arg_string(L, 3);
  lim = arg_span(L, 4, FOREVER);
  check_panics(L, h);
  lua_settop(L, 4);
  memset(&to, 0, sizeof to);
  if (!net_address(L, h, 3, false, false, &to)) return 2;
  c = conn_at_1(L);
  if (!fd_enter(&c->fd)) return closed(L);
  os_fit(c->fd.fd, &to);
  fd_leave(&c->fd, h.m);
  lua_remove(L, 3);
  lua_pushinteger(L, lim.until);
  lua_pushlstring(L, (const char *)&to, sizeof to);
  return io(L, h, SENDTO, LOCK);
}

/* ---------------------------------------------------------------- the rest */

/* The object of any of the three types. */
static Conn *check_any (lua_State *L) {
  Handle *ud = handle_test(L, 1);
  if (ud == NULL || (ud->o->type != OBJ_CONN && ud->o->type != OBJ_LISTENER &&
                     ud->o->type != OBJ_UDP))
    arg_typeerror(L, 1, "connection");
  return (Conn *)ud->o;
}

/* c:close() -> true; nil, "closed" if it was.  Wakes who waits. */
static int l_close (lua_State *L) {
  Here h = here(L);
  if (!conn_close(check_any(L), h.m)) return closed(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int meta_close (lua_State *L) {
  Handle *ud = handle_test(L, 1);
  if (ud != NULL) conn_close((Conn *)ud->o, here(L).m);
  return 0;
}

/* c:deadline([timeout]): when the calls without a time-out of their own give up, those that wait
** now too; nil: never.  Go's SetDeadline. */
static int l_deadline (lua_State *L) {
  Here h = here(L);
  Conn *c = check_any(L);
  Limit lim = arg_timeout(L, 2, FOREVER);
  if (lim.until == 0) lim.until = 1;   /* long past */
  conn_set_deadline(c, h.m, lim);
  return 0;
}

static int name (lua_State *L, bool peer) {
  Here h = here(L);
  Conn *c = check_any(L);
  char text[ADDR_TEXT];
  Addr a;
  bool ok;
  int e;
  if (!fd_enter(&c->fd)) return closed(L);
  memset(&a, 0, sizeof a);
  ok = os_name(c->fd.fd, peer, &a);
  e = errno;
  fd_leave(&c->fd, h.m);
  if (!ok) return nil_errno(L, e, NULL);
  addr_format(&a, text);
  lua_pushstring(L, text);
  return 1;
}

/* c:addr(), c:peer() -> the address of this side, of the other.  Go's LocalAddr, RemoteAddr. */
static int l_addr (lua_State *L) { return name(L, false); }
static int l_peer (lua_State *L) { return name(L, true); }

/* c:fd() -> the descriptor's number, which stays the connection's. */
static int l_fd (lua_State *L) {
  Conn *c = check_any(L);
  if (fd_closed(&c->fd)) return closed(L);
  lua_pushinteger(L, c->fd.fd);
  return 1;
}

static int did (lua_State *L, Conn *c, M *m, int r) {
  int e = errno;
  fd_leave(&c->fd, m);
  if (r < 0) return nil_errno(L, e, NULL);
  lua_pushboolean(L, 1);
  return 1;
}

static Conn *check_stream (lua_State *L) { return (Conn *)handle_check(L, 1, OBJ_CONN)->o; }

/* c:close_write() -> true.  The other side reads the end.  Go's CloseWrite. */
static int l_close_write (lua_State *L) {
  Here h = here(L);
  Conn *c = check_stream(L);
  if (!fd_enter(&c->fd)) return closed(L);
  return did(L, c, h.m, os_shutdown_write(c->fd.fd));
}

/* c:no_delay(b) -> true.  TCP connections begin with it on.  Go's SetNoDelay. */
static int l_no_delay (lua_State *L) {
  Here h = here(L);
  Conn *c = check_stream(L);
  arg_type(L, 2, LUA_TBOOLEAN);
  if (!fd_enter(&c->fd)) return closed(L);
  return did(L, c, h.m, os_no_delay(c->fd.fd, lua_toboolean(L, 2)));
}

/* c:keep_alive(s) -> true.  After s seconds of silence ask whether the peer is there; 0: don't.
** Go's SetKeepAlivePeriod. */
static int l_keep_alive (lua_State *L) {
  Here h = here(L);
  Conn *c = check_stream(L);
  int64_t s = (arg_seconds(L, 2, false) + SECOND - 1) / SECOND;
  if (!fd_enter(&c->fd)) return closed(L);
  return did(L, c, h.m, os_keep_alive(c->fd.fd, s > 32767 ? 32767 : (int)s));
}

/* c:limit([n]) -> the longest line read_line takes, until now; 64 KiB unless set. */
static int l_limit (lua_State *L) {
  Conn *c = check_stream(L);
  lua_Integer old = (lua_Integer)load_rlx(&c->limit);
  if (!lua_isnoneornil(L, 2)) {
    lua_Integer n = arg_integer(L, 2);
    arg_check(L, n >= 1, 2, "at least 1 expected");
    store_rlx(&c->limit, (size_t)n);
  }
  lua_pushinteger(L, old);
  return 1;
}

static const luaL_Reg meta[] = { { "__close", meta_close }, { NULL, NULL } };

static const luaL_Reg conn_methods[] = {
  { "read", l_read }, { "read_full", l_read_full }, { "read_line", l_read_line },
  { "read_all", l_read_all }, { "write", l_write }, { "close_write", l_close_write },
  { "close", l_close }, { "deadline", l_deadline }, { "addr", l_addr }, { "peer", l_peer },
  { "no_delay", l_no_delay }, { "keep_alive", l_keep_alive }, { "limit", l_limit },
  { "fd", l_fd }, { NULL, NULL }
};

static const luaL_Reg listener_methods[] = {
  { "accept", l_accept }, { "addr", l_addr }, { "close", l_close }, { "deadline", l_deadline },
  { "fd", l_fd }, { NULL, NULL }
};

static const luaL_Reg udp_methods[] = {
  { "send", l_send }, { "recv", l_recv }, { "addr", l_addr }, { "close", l_close },
  { "deadline", l_deadline }, { "fd", l_fd }, { NULL, NULL }
};

const HandleType conn_type = { .name = "connection", .methods = conn_methods, .meta = meta };
const HandleType listener_type = { .name = "listener", .methods = listener_methods, .meta = meta };
const HandleType udp_type = { .name = "udp", .methods = udp_methods, .meta = meta };
