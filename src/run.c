/*
** run.c - running goroutines' Lua: slices, waits, panics.  Layer 5.
**
** A slice is one lua_resume of the goroutine's main thread; the M gives an idle lua_State of its
** own as 'from' (without one 5.4.0 to 5.4.2 leave almost no C stack).  What runs there is a
** trampoline, body(), which calls the goroutine's function protected: so pending <close>
** variables are closed, and an error is caught with its traceback, before lua_resume returns.
**
** WHO YIELDS.  A goroutine blocks by yielding when all between the blocking call and the worker
** can yield: the running lua_State is the innermost coroutine that we resumed (s->cur; another
** one was resumed by a C library, whose lua_resume we know nothing of) and every resume on the
** way was made where a yield could pass (s->chain).  Else the thread blocks (park_here).
** s->yielding tells costate.c and the worker such a yield from one of the script's own.
**
** PREEMPTION.  The signal handler sets a count hook on the lua_State that runs; the hook puts
** back what was there (the script's hook, to which it hands on what events it asked for) and
** yields, or gives the P away where it cannot.  It is set on one lua_State at a time (M.hooked):
** when the goroutine goes on in another, costate.c has it moved, and at the slice's end it is
** taken off.  A new coroutine that inherited it gets the script's own instead.
** The same hook takes the profiler's samples (m->due, profile.c): then it is set for calls and
** returns, too, and the first event of all is the one.
** On a host's thread the signal is for a guest, if one runs (guest.c), and else hostlook.c's.
*/
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "debug.h"
#include "hostlook.h"
#include "marshal.h"
#include "modimage.h"
#include "profile.h"
#include "report.h"
#include "run.h"
#include "start.h"
#include "tame.h"
#include "trace.h"

/* ---------------------------------------------------------------- preemption */

static int die (lua_State *L, State *s);

static void preempt_hook (lua_State *L, lua_Debug *ar);

static bool preempt_asked (M *m) { return load_rlx(&m->preempt) == load_rlx(&m->tick); }

#define saved_hook(m) ((lua_Hook)(m)->saved_hook)

/*
** If 'L' has inherited the hook it gets the script's.  A coroutine that a C library made while the
** hook was set may be found later, in a slice, and on an M, that knows nothing of what the hook had
** replaced then: it gets what it would inherit now.  (The signal may come at any moment: whether it
** has is looked at last.)
*/
void preempt_inherited (M *m, const State *s, lua_State *L) {
  lua_State *from = s->cur != L ? s->cur : s->L;
  lua_Hook f;
  int mask, count;
  if (lua_gethook(L) != preempt_hook) return;
  f = lua_gethook(from);
  mask = lua_gethookmask(from);
  count = lua_gethookcount(from);
  if (m->hooked != NULL) lua_sethook(L, saved_hook(m), m->saved_mask, m->saved_count);
  else if (f != preempt_hook) lua_sethook(L, f, mask, count);
  else lua_sethook(L, NULL, 0, 0);
}

/* Set the hook on 'L', which runs: in the signal handler, or with signals off (nopreempt). */
static void hook_on (M *m, State *s, lua_State *L) {
  preempt_inherited(m, s, L);          /* (or it would hand on events to itself, for ever) */
  m->saved_hook = (void (*) (void))lua_gethook(L);
  m->saved_mask = lua_gethookmask(L);
  m->saved_count = lua_gethookcount(L);
  m->hooked = L;
  m->hook_skip = (m->saved_mask & LUA_MASKCALL) != 0;
  /* The script's own events must not be lost meanwhile; with line events among them those are
     ours too, for the one at the instruction where a count event yields would be. */
  m->set_mask = m->saved_mask;
  m->set_count = m->saved_count;
  if (!(m->saved_mask & LUA_MASKLINE)) {
    m->set_mask |= LUA_MASKCOUNT;
    m->set_count = 1;
  }
  if (load_rlx(&m->due) != 0) m->set_mask |= LUA_MASKCALL | LUA_MASKRET;
  lua_sethook(L, preempt_hook, m->set_mask, m->set_count);
}

/* Put the script's hook back, if ours is still there.  (What is not as we set it was written by a
** lua_sethook of the script's that the signal had interrupted.)  The handler does nothing until all
** of it is back: it would take our own hook for the script's, which then handed on events to itself,
** for ever. */
static void hook_off (M *m) {
  lua_State *L = m->hooked;
  if (L != NULL && lua_gethook(L) == preempt_hook) {
    int mask = lua_gethookmask(L), count = lua_gethookcount(L);
    lua_sethook(L, saved_hook(m), mask == m->set_mask ? m->saved_mask : mask,
                count == m->set_count ? m->saved_count : count);
  }
  m->hooked = NULL;
}

/* (What is asked for while the hook is taken off has found it there, and must not be lost.) */
void preempt_moves (State *s, lua_State *L) {
  M *m = sched_m();
  s->nopreempt = true;
  hook_off(m);
  if (L != NULL && (preempt_asked(m) || load_rlx(&m->due) != 0)) hook_on(m, s, L);
  s->nopreempt = false;
}

void preempt_guest (M *m, State *s) {
  s->nopreempt = true;
  store_rlx(&m->preempt, load_rlx(&m->tick));
  if (m->hooked == NULL && m->curl != NULL) hook_on(m, s, m->curl);
  s->nopreempt = false;
}

static void give_way (lua_State *L, M *m, State *s) {
  if (!preempt_asked(m)) return;       /* of an earlier slice */
  store_rlx(&m->preempt, 0);
  if (world_stands()) s->stop_seq = load_rlx(&sched.stop_seq);
  if (host_closing(s->g->host)) {
    die(L, s);
    return;
  }
  stat_add(m, STAT_PREEMPTIONS, 1);
  if (trace_on()) trace_put(TRACE_PREEMPT, s->g, 0);
  if (can_yield(s, L)) {
    s->yielding = Y_PREEMPT;
    lua_yield(L, 0);
  }
  else {
    uint32_t n;
    sched_own(m, s->g);
    yield_here(m, s->g, true);
    sched_lend(m);
    if ((n = goro_slice()) > 0) run_slice(m, s, L, n);
  }
}

static const int event_mask[] = {      /* by lua_Debug.event */
  LUA_MASKCALL, LUA_MASKRET, LUA_MASKLINE, LUA_MASKCOUNT, LUA_MASKCALL
};

static void preempt_hook (lua_State *L, lua_Debug *ar) {
  M *m = sched_m();
  State *s = m != NULL && m->curg != NULL ? m->curg->state : NULL;
  int mask = event_mask[ar->event], ours;
  if (s == NULL) {
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  if (L != m->hooked) {                /* a C library's coroutine, which inherited it */
    preempt_inherited(m, s, L);
    return;
  }
  if (load_rlx(&m->due) != 0) profile_take(m, s, L, ar->event == LUA_HOOKCALL);
  ours = m->saved_mask & LUA_MASKLINE ? LUA_MASKLINE : LUA_MASKCOUNT;
  if (mask == LUA_MASKCALL) m->hook_skip = true;
  if ((m->saved_mask & mask) && !(mask == LUA_MASKCOUNT && ours == LUA_MASKCOUNT)) {
    saved_hook(m)(L, ar);
    if (lua_gethook(L) != preempt_hook) return;      /* it set another */
  }
  if (!preempt_asked(m)) {             /* a sample was all (or more was asked for meanwhile) */
    preempt_moves(s, L);
    return;
  }
  if (mask != ours) return;
  if (m->hook_skip) {                  /* a function that yields at its very first instruction */
    m->hook_skip = false;              /* would be called once more, for a call hook */
    return;
  }
  hook_off(m);
  give_way(L, m, s);
}

/* In the signal handler, on m's own thread: nothing but this. */
static void preempt (M *m) {
  lua_State *L = m->curl;
  State *s;
  if (m->is_host && L == NULL) {
    hostlook_signal(m);
    return;
  }
  if (L == NULL || m->curg == NULL) {
    if (load_rlx(&m->due) != 0) profile_elsewhere(m, false);
    return;
  }
  s = m->curg->state;
  if (load_rlx(&m->guests) == GUESTS_OVER) store_rlx(&m->preempt, load_rlx(&m->tick));
  if (s == NULL || s->nopreempt || m->hooked != NULL) return;
  hook_on(m, s, L);
}

/* The chaos build's preemption: after that many instructions of 'L'. */
void run_slice (M *m, State *s, lua_State *L, uint32_t n) {
  if (s->nopreempt || s->is_host) return;
  if (m->hooked == NULL) {
    if (lua_gethook(L) != NULL) return;            /* not where the script has one */
    hook_on(m, s, L);
  }
  else if (m->hooked != L || m->saved_hook != NULL) return;
  store_rlx(&m->preempt, load_rlx(&m->tick));
  m->set_mask = LUA_MASKCOUNT;
  m->set_count = (int)n;
  lua_sethook(L, preempt_hook, m->set_mask, m->set_count);
}

/* ---------------------------------------------------------------- waits */

/* The main script, while a goroutine's os.exit ends the process: not another step. */
static void stand_still (Here h) {
  _Atomic(uint32_t) never;
  store_rlx(&never, 0);
  while (load_rlx(&h.g->host->exiting)) os_futex_wait(&never, 0, FOREVER);
}

/* End this goroutine: its host does.  Yields to the worker, which closes the state; where that
** cannot be, an error unwinds. */
static int die (lua_State *L, State *s) {
  if (s->is_host) stand_still(here(L));
  if (can_yield(s, L)) {
    s->yielding = Y_DIE;
    return lua_yield(L, 0);
  }
  return luaL_error(L, "goroutine ended: its main script has");
}

bool host_interrupted (void *arg) {
  HostState *hs = hs_of((State *)arg);
  int mask, count;
  lua_Hook f = hostlook_hook(hs, &mask, &count);
  if (mask == 0) return false;
  if (f != hs->hook0 || mask != hs->mask0) return true;
  /* the interpreter's handler may have come just before we looked first: its hook is for every
     event, at the next instruction */
  return (mask & (LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT)) ==
         (LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT) && count == 1;
}

bool wait_here (lua_State *L, Here h, Limit lim) {
  State *s = h.s;
  G *g = h.g;
  Wake now = WAKE_READY;
  if (lim.until != FOREVER) {
    if (wait_arm(h.m, g, lim.until)) s->armed = true;
    else now = WAKE_NOMEM;             /* (the time is not over: "timeout" would be untrue) */
  }
  if (lim.ctx != NULL && now == WAKE_READY) now = context_enter(lim.ctx, g);
  if (s->is_host) {
    HostState *hs = hs_of(s);
    int count;
    hs->hook0 = hostlook_hook(hs, &hs->mask0, &count);
    hs->waits_in = L;
    fence_seq();                       /* our claim = 1 before this; run_panic does the reverse */
    if (load_seq(&hs->npanics) != 0) now = WAKE_PANIC;
    /* what only time or a descriptor can end needs others that look at them */
    else if (now == WAKE_READY && !load_acq(&sched.ensured) &&
             load_seq(&g->host->ntimers) != 0 && (hs->no_thread = sched_ensure()) != 0)
      now = WAKE_NOTHREAD;
  }
  if (host_closing(g->host)) now = WAKE_KILL;
  if (now != WAKE_READY && wait_claim(g, now)) {
    store_rlx(&g->reason, WAIT_NONE);
    store_rel(&g->status, G_RUNNING);  /* nobody else can wake it: it need not park */
    return true;
  }
  if (can_yield(s, L)) return false;
  park_here(h.m, g);
  if (h.m->owned) sched_lend(h.m);
  return true;
}

int wait_yield (lua_State *L, Here h, lua_KContext ctx, lua_KFunction k) {
  h.s->yielding = Y_PARK;
  return lua_yieldk(L, 0, ctx, k);
}

int wait_k (lua_State *L, Here h, Limit lim, lua_KContext ctx, lua_KFunction k) {
  if (wait_here(L, h, lim)) return k(L, LUA_YIELD, ctx);
  return wait_yield(L, h, ctx, k);
}

bool wait_over (Here h) {
  if (h.g->wake != WAKE_DEADLOCK && h.g->wake != WAKE_THREADS)
    /* (those reports say what was waited for) */
    store_rlx(&h.g->reason, WAIT_NONE);
  if (h.s->armed) {
    wait_disarm(h.g);
    h.s->armed = false;
  }
  context_leave(h.g);
  return wait_returns(h.g);
}

static void raise_panic (lua_State *L, HostState *hs) {
  Panic *p;
  Value v;
  bool lost = false;
  lock_acquire(&hs->host->lock);
  p = hs->panics;
  if (p != NULL) {
    hs->panics = p->next;
    if (p->next == NULL) hs->panics_end = &hs->panics;
  }
  else if ((lost = hs->nlost > 0)) hs->nlost--;
  if (p != NULL || lost) sub_seq(&hs->npanics, 1);
  lock_release(&hs->host->lock);
  if (lost) luaL_error(L, "a goroutine panicked, and there was not enough memory to say how");
  if (p == NULL) return;
  v = p->v;
  free(p);
  value_to_lua(L, &hs->s, &v);
  lua_error(L);
}

int wait_unwind (lua_State *L, Here h) {
  HostState *hs = hs_of(h.s);
  switch (h.g->wake) {
    case WAKE_INTERRUPT:
      if (L == h.s->L) return 0;       /* the hook raises as soon as we return */
      return luaL_error(L, "interrupted!");
    case WAKE_PANIC:
      raise_panic(L, hs);
      return luaL_error(L, "a goroutine panicked");
    case WAKE_DEADLOCK: case WAKE_THREADS: {
      const char *head = h.g->wake == WAKE_DEADLOCK ? "all goroutines are asleep - deadlock!" :
        "all threads are blocked, and no more can be had (goro.max_threads)";
      char *text = report_deadlock(h.g->host, head);
      free(hs->deadlock);
      hs->deadlock = text;             /* freed later: the next call may raise */
      store_rlx(&h.g->reason, WAIT_NONE);
      return luaL_error(L, "%s", text ? text : head);
    }
    case WAKE_NOTHREAD:
      return luaL_error(L, "cannot start a thread: %s", strerror(hs->no_thread));
    case WAKE_NOMEM:
      return luaL_error(L, "not enough memory");
    default:
      return die(L, h.s);
  }
}

void check_panics_slow (lua_State *L, Here h) {
  if (os_forked) luaL_error(L, "goro: the child of a fork can only execute a program, or end");
  if (h.s->is_host) stand_still(h);
  if (host_closing(h.g->host) && !h.s->is_host) {
    if (!can_yield(h.s, L)) die(L, h.s);
    return;                            /* it will die in its wait, or by the hook */
  }
  if (h.s->is_host && load_rlx(&hs_of(h.s)->npanics) != 0) raise_panic(L, hs_of(h.s));
}

static int yielded (lua_State *L, int status, lua_KContext n) {
  (void)L; (void)status;
  return (int)n;
}

int yield_k (lua_State *L, Here h, int n) {
  if (can_yield(h.s, L)) {
    h.s->yielding = Y_YIELD;
    return lua_yieldk(L, 0, n, yielded);
  }
  sched_own(h.m, h.g);
  yield_here(h.m, h.g, false);
  sched_lend(h.m);
  return n;
}

/* ---------------------------------------------------------------- panics */

void run_tell_main (Host *h, Value *v) {
  HostState *hs = h->state;
  Panic *p = NULL;
  bool wake = false;
  if (v != NULL && (p = malloc(sizeof *p)) != NULL) {
    p->next = NULL;
    p->v = *v;
    *v = NIL_VALUE;
  }
  lock_acquire(&h->lock);
  if (!host_closing(h)) {
    if (p == NULL) hs->nlost++;
    else {
      *hs->panics_end = p;
      hs->panics_end = &p->next;
      p = NULL;
    }
    add_seq(&hs->npanics, 1);
    fence_seq();
    wake = wait_claim(h->main, WAKE_PANIC);
  }
  lock_release(&h->lock);
  if (wake) sched_ready(sched_m(), h->main, false);
  if (p != NULL) {                     /* nobody is told any more */
    value_drop(&p->v);
    free(p);
  }
}

void run_panic (State *s, const char *text, const char *traceback, Value *v) {
  HostState *hs = hs_of(s);
  Host *h = s->g->host;
  Text line = { NULL, 0, 0 };
  uint32_t policy;
  lock_acquire(&h->lock);
  if (host_closing(h)) {               /* main has ended: nobody is told */
    lock_release(&h->lock);
    if (v != NULL) value_drop(v);
    return;
  }
  policy = load_rlx(&hs->on_panic);
  lock_release(&h->lock);
  text_add(&line, "%s", text);
  if (line.s == NULL) fprintf(stderr, "%s", text);
  if (traceback != NULL && *traceback) text_add(&line, "\n%s", traceback);
  report_origin(&line, s);
  text_add(&line, "\n");
  if (line.s != NULL) fwrite(line.s, 1, line.len, stderr);
  fflush(stderr);
  text_free(&line);
  if (policy == ON_PANIC_EXIT) run_exit(s, 2);
  if (policy == ON_PANIC_RAISE) run_tell_main(h, v);
  if (v != NULL) value_drop(v);
}

static const char *nil_global_hint (const char *msg, char *buf, size_t size) {
  static const char *const heads[] = { "a nil value (global '", "global '" };
  const char *p = NULL, *q;
  int i;
  for (i = 0; i < 2 && p == NULL; i++)
    if ((p = strstr(msg, heads[i])) != NULL) p += strlen(heads[i]);
  /* (5.4.3 says "global 'f' is not callable (a nil value)") */
  if (p == NULL || (i == 2 && strstr(p, "(a nil value)") == NULL)) return NULL;
  q = strchr(p, '\'');
  if (q == NULL || q - p > 100) return NULL;
  snprintf(buf, size, "(goroutines have their own globals: pass '%.*s' as an argument, "
           "or make it local)", (int)(q - p), p);
  return buf;
}

static int tostring_protected (lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

static int pack_results (lua_State *L) {           /* Value *, results ... */
  Value *v = lua_touserdata(L, 1);
  v->u.m = msg_from_lua(L, here(L).s, 2, lua_gettop(L) - 1);
  v->tag = V_MSG;
  return 0;
}

static size_t say (char *buf, size_t size, size_t at, const char *fmt, ...)
  __attribute__((format(printf, 4, 5)));

static size_t say (char *buf, size_t size, size_t at, const char *fmt, ...) {
  va_list ap;
  int n;
  if (at >= size) return at;
  va_start(ap, fmt);
  n = vsnprintf(buf + at, size - at, fmt, ap);
  va_end(ap);
  if (n < 0) return at;
  at += (size_t)n;
  return at < size ? at : size - 1;
}

/* "goroutine 18 panicked: msg" */
static void say_failure (char *buf, size_t size, State *s, const char *verb, const char *msg) {
  char hint[256];
  size_t at = say(buf, size, 0, "goroutine %" PRIu64, s->g->id);
  if (s->name != NULL) at = say(buf, size, at, " \"%s\"", s->name);
  at = say(buf, size, at, " %s: %s", verb, msg);
  if (nil_global_hint(msg, hint, sizeof hint) != NULL) say(buf, size, at, " %s", hint);
}

/* The traceback of its error, with where it was started; malloc'ed, or NULL. */
static char *whole_traceback (State *s) {
  Text t = { NULL, 0, 0 };
  if (rare(s)->traceback != NULL) text_add(&t, "%s", rare(s)->traceback);
  report_origin(&t, s);
  if (t.s != NULL && *t.s == '\n') memmove(t.s, t.s + 1, t.len);
  return t.s;
}

/* The goroutine has ended with the error '*v' (taken over; NULL: there was no memory for it).
** 'plain': 'msg' is all there is to it. */
static void fail (State *s, const char *msg, Value *v, bool plain) {
  Ending *e = s->ending;
  char few[200], *text, *tb = rare(s)->traceback;
  Value own = NIL_VALUE;
  size_t size = strlen(msg) + (s->name ? strlen(s->name) : 0) + 400;
  if ((text = malloc(size)) == NULL) size = sizeof few;
  s->ending = NULL;
  say_failure(text != NULL ? text : few, size, s, e != NULL ? "failed" : "panicked", msg);
  if (e != NULL && v != NULL)
    e->done(e, sched_m(), result_new(false, v, whole_traceback(s), text));
  else if (e != NULL) {
    free(text);
    e->done(e, sched_m(), NULL);
  }
  else {
    if (plain && text != NULL) {
      Msg *m = msg_new_string(text, strlen(text));
      if (m != NULL) {                 /* (else the message alone) */
        if (v != NULL) value_drop(v);
        else v = &own;
        v->tag = V_STR;
        v->u.m = m;
      }
    }
    run_panic(s, text != NULL ? text : few, tb, v);
    free(text);
  }
}

static void fail_text (State *s, const char *msg) {            /* without the help of Lua */
  Value v = NIL_VALUE;
  v.u.m = msg_new_string(msg, strlen(msg));
  if (v.u.m != NULL) v.tag = V_STR;
  fail(s, msg, v.u.m != NULL ? &v : NULL, true);
}

/* The error on top of 's' state's stack has ended it. */
static void failed (lua_State *L, State *s) {
  Value v = NIL_VALUE;
  const char *msg;
  int top = lua_gettop(L);
  bool plain = lua_type(L, top) == LUA_TSTRING;
  bool sent = value_from_error(L, s, top, &v);
  if (plain) msg = lua_tostring(L, top);
  else {
    lua_pushcfunction(L, tostring_protected);
    lua_pushvalue(L, top);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK || (msg = lua_tostring(L, -1)) == NULL)
      msg = "(an error that cannot be shown)";
  }
  fail(s, msg, sent ? &v : NULL, plain);
}

/* ---------------------------------------------------------------- the body */

/* Message handler: keeps the traceback aside, so that the error value stays what it is. */
int run_handler (lua_State *L) {
  Rare *r = rare_write(here(L).s);
  const char *tb;
  if (r != NULL) {
    free(r->traceback);
    r->traceback = NULL;
  }
  luaL_traceback(L, L, NULL, 1);
  tb = lua_tostring(L, -1);
  if (tb != NULL && r != NULL) r->traceback = strdup(tb);
  lua_settop(L, 1);
  return 1;
}

/*
** Before its function: goro.init's, those that were there when this goroutine was started; then
** its function and arguments are decoded, or (in an image: they are on the stack) completed.
** Returns them.
*/
static int prepare_k (lua_State *L, int status, lua_KContext ctx) {
  InitFn *f = (InitFn *)ctx;
  State *s = here(L).s;
  Msg *m;
  (void)status;
  if (f != NULL && s->ninits > 0) {
    s->ninits--;
    msg_to_lua_shared(L, s, f->f);
    f = load_acq(&f->next);
    lua_callk(L, 0, 0, (lua_KContext)f, prepare_k);
    return prepare_k(L, LUA_OK, (lua_KContext)f);
  }
  if (s->asleep) modimage_wake(L, s);
  if (s->imaged) {
    start_fill(L, s, s->start.image, 1);
    start_free(s->start.image);
    s->start.image = NULL;
  }
  else {
    int n;
    m = s->start.msg;
    if (msg_is_shared(m)) {            /* an after_func's, which may start another */
      n = msg_to_lua_shared(L, s, m);
      s->start.msg = NULL;
      msg_free(m);
    }
    else {
      s->start.msg = NULL;
      n = msg_to_lua(L, s, m);
    }
    check_start(L, -n);
  }
  return lua_gettop(L);
}

static int prepare (lua_State *L) {
  State *s = here(L).s;
  return prepare_k(L, LUA_OK, (lua_KContext)load_acq(&hs_of(s)->inits));
}

/* The goroutine has ended, and is all there is of this process (forked.c). */
static _Noreturn void forked_end (lua_State *L, State *s, int status) {
  bool ok = status == LUA_OK || status == LUA_YIELD;
  const char *msg = ok ? NULL : lua_tostring(L, -1);
  if (!ok)
    fprintf(stderr, "goroutine %" PRIu64 " panicked in the child of a fork: %s\n", s->g->id,
            msg != NULL ? msg : "(an error that is no string)");
  exit(ok ? EXIT_SUCCESS : EXIT_FAILURE);
}

static int body_k (lua_State *L, int status, lua_KContext ctx);

/* The same on a worker, where what it reports may take long. */
static int left_k (lua_State *L, int status, lua_KContext failure) {
  (void)status;
  return body_k(L, (int)failure, 0);
}

static int body_k (lua_State *L, int status, lua_KContext ctx) {
  State *s = here(L).s;
  (void)ctx;
  if (os_forked) forked_end(L, s, status);
  if (status != LUA_OK && status != LUA_YIELD && tame_guest(s, L))
    return tame_leave(L, s, status, left_k);
  s->ended = true;
  check_end(L);
  if (status != LUA_OK && status != LUA_YIELD) {
    if (host_closing(s->g->host)) return 0;
    failed(L, s);
  }
  else if (s->ending != NULL) {
    Ending *e = s->ending;
    Value v = NIL_VALUE;
    int n = lua_gettop(L) - 1;
    if (e->wants == ENDS_STRICT && n > 1 && !lua_toboolean(L, 2) && !lua_isnil(L, 3)) {
      lua_settop(L, 3);                /* the reason is the error */
      failed(L, s);
      return 0;
    }
    if (n > 0 && e->wants == ENDS_RESULTS) {       /* the results, as one message */
      lua_pushcfunction(L, pack_results);
      lua_insert(L, 2);
      lua_pushlightuserdata(L, &v);
      lua_insert(L, 3);
      if (lua_pcall(L, n + 1, 0, 0) != LUA_OK) {
        failed(L, s);
        return 0;
      }
    }
    s->ending = NULL;
    e->done(e, sched_m(), result_new(true, &v, NULL, NULL));
  }
  return 0;
}

/* The handler, the function and its arguments are there: call it. */
static int call (lua_State *L) {
  int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, body_k);
  return body_k(L, status, 0);
}

static int prepared_k (lua_State *L, int status, lua_KContext ctx) {
  if (status != LUA_OK && status != LUA_YIELD) return body_k(L, status, ctx);
  return call(L);
}

/* What a goroutine's main thread runs: after the handler, if its image has them, its function
** and arguments. */
int run_body (lua_State *L) {
  State *s = here(L).s;
  int status;
  if (lua_gettop(L) == 0) lua_pushcfunction(L, run_handler);
  if (s->start.any == NULL) return call(L);        /* nothing to prepare */
  lua_pushcfunction(L, prepare);
  lua_insert(L, 2);
  status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, prepared_k);
  return prepared_k(L, status, 0);
}

/* ---------------------------------------------------------------- slices */

static Outcome end (State *s, M *m) {
  if (os_forked) exit(EXIT_FAILURE);   /* an error that came past body_k */
  m->curl = NULL;
  if (s->ending != NULL) {             /* it was killed */
    Ending *e = s->ending;
    s->ending = NULL;
    e->drop(e, m);
  }
  state_close(s);
  return RUN_DEAD;
}

/* Make its state, ready to be resumed; how many arguments that takes.  -1: no memory. */
static int open (State *s) {
  Start *st = s->imaged ? s->start.image : NULL;
  if (!state_open(s)) return -1;
  if (st == NULL) {
    lua_pushcfunction(s->L, rare(s)->making != NULL ? modimage_load : run_body);
    return 0;
  }
  start_bind(s, st);
  if (!st->strings && s->ninits == 0) {            /* nothing that could raise */
    start_fill(s->L, s, st, 3);
    start_free(st);
    s->start.image = NULL;
  }
  return lua_gettop(s->L) - 1;
}

static Outcome run (M *m, G *g) {
  State *s = g->state;
  uint32_t slice;
  bool fresh = s->L == NULL;
  int status, n, nargs = 0;
  if (host_closing(g->host) &&
      (fresh || s->yielding == Y_YIELD || s->yielding == Y_PREEMPT)) {
    value_drop(&g->own.elem);          /* (tame_leave_with's) */
    return end(s, m);
  }
  if (fresh) {
    nargs = open(s);
    if (nargs < 0) {
      fail_text(s, "not enough memory to start a goroutine");
      return RUN_DEAD;
    }
  }
resume:
  s->yielding = Y_NONE;
  m->curl = s->cur;
  if (m->is_host && load_acq(&m->guests) == GUESTS_OVER) preempt_guest(m, s);
  if ((slice = goro_slice()) > 0) run_slice(m, s, s->cur, slice);
  status = lua_resume(s->L, m->from, nargs, &n);
  m->curl = NULL;
  if (m->hooked != NULL) {
    if (load_rlx(&m->due) != 0) profile_take(m, s, s->cur, 0);
    preempt_moves(s, NULL);
  }
  if (status == LUA_YIELD) {
    if (fresh && s->lazy_libs && !s->is_maker) image_learn(s); /* thousands may start like this */
    switch (s->yielding) {
      case Y_PARK: return RUN_PARKED;
      case Y_YIELD: return RUN_YIELDED;
      case Y_PREEMPT: return RUN_PREEMPTED;
      case Y_DIE: return end(s, m);
      default:                         /* a C library yielded at the goroutine's top level */
        fail_text(s, "attempt to yield from outside a coroutine");
        break;
    }
  }
  else if (status == LUA_OK && s->loading) {       /* its modules are there: now its function */
    modimage_take(s);
    lua_pushcfunction(s->L, run_body);
    nargs = 0;
    goto resume;
  }
  else if (status != LUA_OK && !host_closing(g->host)) failed(s->L, s);
  return end(s, m);
}

#define FREED 4096                     /* less may be a buffer or a table that was let go */

/* What its collector has left, in bytes; 0: not known. */
static size_t memory (const State *s) { return s->arena != NULL ? arena_used(s->arena) : 0; }

/* A slice while a trace is written. */
static Outcome run_traced (M *m, G *g) {
  State *s = g->state;
  uint32_t trace = load_rlx(&trace_now);
  size_t before = memory(s), after;
  Outcome o;
  trace_begin(m, g);
  o = run(m, g);
  if (load_rlx(&trace_now) != trace) return o;     /* another began in between */
  if (o != RUN_DEAD && (after = memory(s)) + FREED <= before) trace_freed(m, g, before - after);
  trace_end(m, g, o);
  return o;
}

static void reap (G *g) { state_free(g->state); }

static void m_start (M *m) {
  m->from = luaL_newstate();
  m->pool = calloc(1, sizeof(ArenaPool));
}

static void m_sleep (M *m, bool rests) {
  (void)rests;
  if (m->pool != NULL) arena_pool_drop(m->pool);
}

static void m_end (M *m) {
  m_sleep(m, true);
  free(m->pool);
  m->pool = NULL;
  if (m->from != NULL) lua_close(m->from);
  m->from = NULL;
}

void run_exit (State *s, int status) {
  M *m = sched_m();
  m->curl = NULL;
  store_seq(&s->g->host->exiting, 1);
  if (!os_forked) host_halt(s->g->host, m, s->g);
  exit(status);
}

const SchedHooks run_hooks = { run, reap, m_start, m_end, m_sleep, preempt, sizeof(State),
                                run_traced, tame };

void run_start (Here h, State *s) {
  stat_add(h.m, STAT_SPAWNED, 1);
  if (trace_on()) trace_put(TRACE_SPAWN, s->g, 0);
  sched_ready(h.m, s->g, false);
}
