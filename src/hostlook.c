/*
** hostlook.c - where a main script is that computes.  Layer 5.
**
** Nobody but its own thread may read a running lua_State.  So the host's thread gets the
** preemption signal, whose handler sets a count hook on the state's main thread, as the
** interpreter's does for Ctrl-C; at the next instruction the hook puts back what was there and
** writes down where it is.  This happens only when somebody asks for stacks: at all other times
** a host's hooks are the host's.
**
** H1  The handler sets nothing while the thread sleeps in a goro call (m->sleeps): there a changed
**     hook is a Ctrl-C (host_interrupted).
** H2  The hook is put back with signals blocked, and only if it is still ours: a Ctrl-C that comes
**     before is not lost.
** H3  Whoever asked goes on after a while; an answer that comes too late only puts the hook back.
**
** 'look' in HostState: LOOK_NONE -> ASKED (who asks) -> WRITING (the hook) -> DONE (the hook) ->
** NONE (who asked); ASKED -> NONE by who asked and gives up.
*/
#include "debug.h"
#include "hostlook.h"

enum { LOOK_NONE, LOOK_ASKED, LOOK_WRITING, LOOK_DONE };

#define PATIENCE (SECOND / 50)         /* of the other thread's CPU time */

static void look_hook (lua_State *L, lua_Debug *ar) {
  HostState *hs;
  uint32_t asked = LOOK_ASKED;
  sigset_t old;
  (void)ar;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  hs = lua_isnil(L, -1) ? NULL : ((State *)lua_touserdata(L, -1))->hs;
  lua_pop(L, 1);
  os_signals_block(&old);              /* H2 */
  if (lua_gethook(L) == look_hook) {
    if (hs != NULL) lua_sethook(L, hs->look_hook, hs->look_mask, hs->look_count);
    else lua_sethook(L, NULL, 0, 0);
  }
  os_signals_restore(&old);
  if (hs == NULL || !cas_acqrel(&hs->look, &asked, LOOK_WRITING)) return;     /* H3 */
  report_traceback(hs->look_text, L);
  if (L != hs->s.L) report_traceback(hs->look_text, hs->s.L);
  store_rel(&hs->look, LOOK_DONE);
}

void hostlook_signal (M *m) {
  State *s = m->curg != NULL ? m->curg->state : NULL;
  HostState *hs;
  lua_State *L;
  if (s == NULL || !s->is_host || m->sleeps) return;             /* H1 */
  hs = s->hs;
  L = s->L;
  if (load_acq(&hs->look) != LOOK_ASKED || lua_gethook(L) == look_hook) return;
  hs->look_hook = lua_gethook(L);
  hs->look_mask = lua_gethookmask(L);
  hs->look_count = lua_gethookcount(L);
  lua_sethook(L, look_hook, LUA_MASKCOUNT, 1);
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
