/*
** lua_timer.c - timers, tickers and after_func for Lua.  Layer 6.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "alarm.h"
#include "lua_args.h"
#include "lua_go.h"

typedef enum Kind { A_TIMER, A_TICKER, A_FUNC } Kind;

/* What a script holds as a timer. */
typedef struct Alarm {
  ClockRef r;
  Kind kind;                           /* [I] */
  Later later;                         /* FUNC */
  GoKit kit;                           /* [I] FUNC: what it starts */
  HostState *hs;                       /* [I] FUNC: later.host's, which holds a reference */
} Alarm;

static void alarm_destroy (Obj *o) {
  Alarm *a = (Alarm *)o;
  if (a->r.clock != NULL) obj_unref(&a->r.clock->c.obj);
  if (a->kind == A_FUNC) {
    go_kit_free(&a->kit);
    host_unref(a->later.host);
  }
  free(a);
}

static Alarm *push_new (lua_State *L, Here h, Kind kind) {
  Alarm *a = calloc(1, sizeof *a);
  if (a != NULL) {
    store_rlx(&a->r.obj.refs, 1);
    a->r.obj.type = OBJ_TIMER;
    a->r.obj.destroy = alarm_destroy;
    a->kind = A_TIMER;                 /* (until it is more) */
  }
  handle_push_new(L, h.s, (Obj *)a);   /* NULL: it raises */
  goro_check(a != NULL);
  a->kind = kind;
  return a;
}

static int push_clock (lua_State *L, int64_t ns, Kind kind) {
  Here h = here(L);
  Alarm *a = push_new(L, h, kind);
  a->r.clock = clock_new(h.m, h.g->host, from_now(ns), kind == A_TICKER ? ns : 0);
  return a->r.clock != NULL ? 1 : luaL_error(L, "not enough memory");
}

/* goro.timer(s) -> t: the time comes on t.c after s seconds.  Go's time.NewTimer. */
static int l_timer (lua_State *L) { return push_clock(L, arg_seconds(L, 1, true), A_TIMER); }

static int64_t arg_interval (lua_State *L, int arg) {
  int64_t ns = arg_seconds(L, arg, true);
  arg_check(L, lua_tonumber(L, arg) > 0, arg, "interval must be more than 0");
  return ns < 1 ? 1 : ns > FOREVER / 4 ? FOREVER / 4 : ns;
}

/* goro.ticker(s) -> t: the time comes on t.c every s seconds; who is slow misses ticks.  Go's
** time.NewTicker. */
static int l_ticker (lua_State *L) { return push_clock(L, arg_interval(L, 1), A_TICKER); }

/* ---------------------------------------------------------------- after_func */

static void start (Later *l, M *m) {
  Alarm *a = (Alarm *)l->obj;
  Here h = { m, NULL, NULL };
  State *s;
  if (host_closing(l->host)) return;
  s = go_from_kit(&a->kit, a->hs);
  if (s != NULL) run_start(h, s);
  else if (!host_closing(l->host))
    fputs("goro: not enough memory for the goroutine of an after_func\n", stderr);
}

/*
** goro.after_func(s, f, ...) -> t: after s seconds f(...) runs in a new goroutine, unless t was
** stopped.  f and its arguments are copied now.  Go's time.AfterFunc.
*/
static int l_after_func (lua_State *L) {
  Here h = here(L);
  int64_t ns = arg_seconds(L, 1, true);
  GoKit kit;
  Alarm *a;
  arg_type(L, 2, LUA_TFUNCTION);
  a = push_new(L, h, A_TIMER);
  lua_insert(L, 1);
  go_kit(L, h, 3, &kit);               /* may raise, and run the script's code */
  h = here(L);
  a->kit = kit;
  a->hs = hs_of(h.s);
  later_init(&a->later, &a->r.obj, h.g->host, start);
  add_rlx(&h.g->host->refs, 1);
  a->kind = A_FUNC;
  if (later_reset(&a->later, h.m, from_now(ns)) == ALARM_NOMEM)
    return luaL_error(L, "not enough memory");
  lua_settop(L, 1);
  return 1;
}

/* ---------------------------------------------------------------- methods */

static Alarm *check_timer (lua_State *L) {
  return (Alarm *)handle_check(L, 1, OBJ_TIMER)->o;
}

/* t:stop() -> true if it was still to fire: no value that it sent is received after this. */
static int l_stop (lua_State *L) {
  Alarm *a = check_timer(L);
  AlarmResult r = a->kind == A_FUNC ? later_stop(&a->later) : clock_stop(a->r.clock);
  lua_pushboolean(L, r == ALARM_STOPPED);
  return 1;
}

/* t:reset(s) -> the same, and sets it: to fire after s seconds, or every s seconds. */
static int l_reset (lua_State *L) {
  Here h = here(L);
  Alarm *a = check_timer(L);
  bool ticks = a->kind == A_TICKER;
  int64_t ns = ticks ? arg_interval(L, 2) : arg_seconds(L, 2, true), when = from_now(ns);
  AlarmResult r = a->kind == A_FUNC ? later_reset(&a->later, h.m, when) :
                  clock_reset(a->r.clock, h.m, when, ticks ? ns : 0);
  if (r == ALARM_NOMEM) return luaL_error(L, "not enough memory");
  lua_pushboolean(L, r == ALARM_STOPPED);
  return 1;
}

/* t.c: the channel, which only receives; an after_func has none. */
static int l_index (lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "c") == 0) {
    Alarm *a = check_timer(L);
    if (a->r.clock == NULL) lua_pushnil(L);
    else handle_push(L, here(L).s, &a->r.clock->c.obj, VIEW_RECV);
    return 1;
  }
  lua_settop(L, 2);
  lua_gettable(L, lua_upvalueindex(1));
  return 1;
}

static int l_tostring (lua_State *L) {
  Alarm *a = check_timer(L);
  lua_pushfstring(L, "%s: %p", a->kind == A_TICKER ? "ticker" : "timer", (void *)a);
  return 1;
}

static const luaL_Reg methods[] = { { "stop", l_stop }, { "reset", l_reset }, { NULL, NULL } };

static const luaL_Reg meta[] = {
  { "__close", l_stop }, { "__tostring", l_tostring }, { NULL, NULL }
};

const HandleType timer_type = { "timer", methods, meta, NULL, l_index };

const luaL_Reg timer_functions[] = {
  { "timer", l_timer }, { "ticker", l_ticker }, { "after_func", l_after_func }, { NULL, NULL }
};
