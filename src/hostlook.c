/*
** hostlook.c - where a main script is that computes.  Layer 5.
**
** Nobody but its own thread may read a running lua_State.  So the host's thread gets the
** preemption signal, whose handler sets a count hook on the state's main thread, as the
** interpreter's does for Ctrl-C; at the next instruction the hook puts back what was there and
** writes down where it is, or takes the profiler's sample; an event that the script's own hook wants
** is handed on to it.  This happens only when somebody asks for stacks, or profiles: at all other
** times a host's hooks are the host's.
**
** H1  The handler sets nothing while the thread sleeps in a goro call (m->sleeps): there a changed
**     hook is a Ctrl-C (host_interrupted).
** H2  The hook is put back with signals blocked, and only if it is still ours: a Ctrl-C that comes
**     before is not lost.
** H3  Whoever asked goes on after a while; an answer that comes too late only puts the hook back.
** H4  Setting a hook begins the count of a count hook anew: a script that has one is not sampled,
**     nor is one that another thread has entered since.
**
** 'look' in HostState: LOOK_NONE -> ASKED (who asks) -> WRITING (the hook) -> DONE (the hook) ->
** NONE (who asked); ASKED -> NONE by who asked and gives up.
*/
#include "debug.h"
#include "hostlook.h"
#include "profile.h"

enum { LOOK_NONE, LOOK_ASKED, LOOK_WRITING, LOOK_DONE };

#define PATIENCE (SECOND / 50)         /* of the other thread's CPU time */

static const int event_mask[] = {      /* by lua_Debug.event */
  LUA_MASKCALL, LUA_MASKRET, LUA_MASKLINE, LUA_MASKCOUNT, LUA_MASKCALL
};

/* With line events among the script's, ours is the one that comes first of what it asked for;
** else the next instruction's. */
static int look_ours (int mask) { return mask & LUA_MASKLINE ? 0 : LUA_MASKCOUNT; }

static void look_hook (lua_State *L, lua_Debug *ar);

/* H2.  (What is not as we set it was written by a lua_sethook that the signal had interrupted.) */
static void put_back (lua_State *L, const HostState *hs) {
  sigset_t old;
  os_signals_block(&old);
  if (lua_gethook(L) == look_hook) {
    int mask = lua_gethookmask(L);
    if (hs == NULL) lua_sethook(L, NULL, 0, 0);
    else
      lua_sethook(L, hs->look_hook, mask == hs->look_set ? hs->look_mask : mask, hs->look_count);
  }
  os_signals_restore(&old);
}

static void look_hook (lua_State *L, lua_Debug *ar) {
  HostState *hs;
  M *m = sched_m();
  uint32_t asked = LOOK_ASKED;
  int event = event_mask[ar->event];
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  hs = lua_isnil(L, -1) ? NULL : hs_of((State *)lua_touserdata(L, -1));
  lua_pop(L, 1);
  put_back(L, hs);
  if (hs == NULL) return;
  if (m != NULL && load_rlx(&m->due) != 0)
    profile_take(m, &hs->s, L, ar->event == LUA_HOOKCALL);
  if (cas_acqrel(&hs->look, &asked, LOOK_WRITING)) {             /* H3 */
    report_traceback(hs->look_text, L);
    if (L != hs->s.L) report_traceback(hs->look_text, hs->s.L);
    store_rel(&hs->look, LOOK_DONE);
  }
  if (hs->look_hook != NULL && (hs->look_mask & event & ~look_ours(hs->look_mask)))
    hs->look_hook(L, ar);
}

void hostlook_end (HostState *hs) { put_back(hs->s.L, hs); }

lua_Hook hostlook_hook (const HostState *hs, int *mask, int *count) {
  lua_State *L = hs->s.L;
  lua_Hook f;
  do {                                 /* the signal may come between */
    f = lua_gethook(L);
    *mask = lua_gethookmask(L);
    *count = lua_gethookcount(L);
  } while (f != lua_gethook(L));
  if (f == look_hook) {
    f = hs->look_hook;
    *mask = hs->look_mask;
    *count = hs->look_count;
  }
  return f;
}

void hostlook_signal (M *m) {
  State *s = m->curg != NULL ? m->curg->state : NULL;
  HostState *hs;
  lua_State *L;
  bool sample = load_rlx(&m->due) != 0, look;
  if (s == NULL || !s->is_host || m->sleeps) return;             /* H1 */
  hs = hs_of(s);
  L = s->L;
  look = load_acq(&hs->look) == LOOK_ASKED;
  if ((!look && !sample) || lua_gethook(L) == look_hook) return;
  hs->look_hook = lua_gethook(L);
  hs->look_mask = lua_gethookmask(L);
  hs->look_count = lua_gethookcount(L);
  if (sample && (load_acq(&hs->home) != m || (hs->look_mask & LUA_MASKCOUNT))) {       /* H4 */
    profile_elsewhere(m, true);
    sample = false;
    if (!look) return;
  }
  hs->look_set = hs->look_mask | look_ours(hs->look_mask);
  if (sample) hs->look_set |= LUA_MASKCALL | LUA_MASKRET;
  lua_sethook(L, look_hook, hs->look_set, look_ours(hs->look_mask) ? 1 : hs->look_count);
}

bool hostlook_ask (Host *h, Text *t) {
  HostState *hs = h->state;
  M *m = load_acq(&hs->home);
  uint32_t asked = LOOK_ASKED;
  int64_t cpu, before = -1, until = -1, ns = SECOND / 50000;
  bool signalled = false;
  int slept = 0;
  if (m == NULL || !sched.can_preempt) return false;
  hs->look_text = t;
  store_rel(&hs->look, LOOK_ASKED);
  while (load_acq(&hs->look) == LOOK_ASKED) {
    cpu = os_thread_cpu(m->cpuclock);
    if (until < 0) until = cpu + PATIENCE;
    slept = os_thread_sleeps(m->tid) ? slept + (cpu == before) : 0;
    before = cpu;
    if (cpu < 0 || cpu > until || slept > 1) {
      if (cas_acqrel(&hs->look, &asked, LOOK_NONE)) return false;
      break;
    }
    if (!signalled && slept == 0) {
      os_preempt_signal(m->thread);
      signalled = true;
    }
    doze(ns);
    if (ns < SECOND / 1000) ns *= 2;
  }
  while (load_acq(&hs->look) != LOOK_DONE) doze(ns);
  store_rel(&hs->look, LOOK_NONE);
  return true;
}
