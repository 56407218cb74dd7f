/*
** report.c - goroutines as text.  Layer 5.
**
** Tracebacks of other goroutines are read by lua_getstack and lua_getinfo, which push nothing,
** allocate nothing and raise nothing: so they may be called for a state that is not ours, as
** long as nobody runs it (world.c), also under the host's lock, which keeps goroutines in its
** list.  luaL_traceback would push onto that state's stack.
*/
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "chan.h"
#include "debug.h"
#include "hostlook.h"
#include "report.h"

void text_add (Text *t, const char *fmt, ...) {
  va_list ap;
  int n;
  va_start(ap, fmt);
  n = vsnprintf(t->s != NULL ? t->s + t->len : NULL, t->cap - t->len, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  if (t->len + (size_t)n >= t->cap) {
    size_t cap = 2 * (t->len + (size_t)n) + 256;
    char *s = realloc(t->s, cap);
    if (s == NULL) {
      if (t->s != NULL) t->s[t->len] = '\0';
      return;
    }
    t->s = s;
    t->cap = cap;
    va_start(ap, fmt);
    n = vsnprintf(t->s + t->len, t->cap - t->len, fmt, ap);
    va_end(ap);
  }
  t->len += (size_t)n;
}

void text_add_plain (Text *t, const char *s) {
  size_t i = t->len;
  text_add(t, "%s", s);
  for (; i < t->len; i++)
    if ((unsigned char)t->s[i] < ' ' || t->s[i] == 127) t->s[i] = ' ';
}

void text_add_seconds (Text *t, int64_t ns) {
  if (ns < 0) ns = 0;
  text_add(t, "%" PRId64 ".%03d", ns / SECOND, (int)(ns % SECOND / (SECOND / 1000)));
}

void text_free (Text *t) {
  free(t->s);
  memset(t, 0, sizeof *t);
}

static int push (lua_State *L) {
  const Text *t = lua_touserdata(L, 1);
  lua_pushlstring(L, t->s != NULL ? t->s : "", t->len);
  return 1;
}

void text_push (lua_State *L, Text *t) {
  int status;
  lua_pushcfunction(L, push);
  lua_pushlightuserdata(L, t);
  status = lua_pcall(L, 1, 1, 0);
  text_free(t);
  if (status != LUA_OK) lua_error(L);
}

/* ---------------------------------------------------------------- tracebacks */

#define FIRST 10                       /* levels shown, as luaL_traceback does */
#define LAST 11

static void one_level (Text *t, lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "Slnt", ar);
  if (ar->what[0] == 'C' && ar->name == NULL) return;            /* ours */
  text_add(t, "\n\t%s:", ar->short_src);
  if (ar->currentline > 0) text_add(t, "%d:", ar->currentline);
  if (ar->name != NULL)
    text_add(t, " in %s '%s'", *ar->namewhat ? ar->namewhat : "function", ar->name);
  else if (*ar->what == 'm') text_add(t, " in main chunk");
  else if (*ar->what != 'C')
    text_add(t, " in function <%s:%d>", ar->short_src, ar->linedefined);
  if (ar->istailcall) text_add(t, "\n\t(...tail calls...)");
}

void report_traceback (Text *t, lua_State *L) {
  lua_Debug ar;
  int level, n = stack_depth(L);
  for (level = 0; level < n && lua_getstack(L, level, &ar); level++) {
    if (level == FIRST && n > FIRST + LAST) {
      text_add(t, "\n\t...\t(skipping %d levels)", n - FIRST - LAST);
      level = n - LAST - 1;
      continue;
    }
    one_level(t, L, &ar);
  }
}

void report_origin (Text *t, const State *s) {
  if (s->is_host) return;
  if (s->creator == 1) text_add(t, "\ncreated by main");
  else text_add(t, "\ncreated by goroutine %" PRIu64, s->creator);
  if (s->origin != NULL && s->origin->src[0] != '\0')
    text_add(t, " at %s:%d", s->origin->src, s->origin->line);
}

/* Of a goroutine that does not run. */
static void traceback (Text *t, const State *s) {
  lua_State *L = s->is_host && hs_of(s)->waits_in != NULL ? hs_of(s)->waits_in : s->cur;
  if (L != NULL) report_traceback(t, L);
  if (s->L != NULL && s->L != L) report_traceback(t, s->L);
}

void report_where (Text *t, const State *s) {
  traceback(t, s);
  report_origin(t, s);
}

/* ---------------------------------------------------------------- one goroutine */

#define WORTH_TELLING (SECOND / 10)

static void how_long (Text *t, int64_t since, int64_t now) {
  double s = (double)(now - since) / 1e9;
  if (since > 0 && now - since >= WORTH_TELLING) text_add(t, s < 10 ? ", %.1f s" : ", %.0f s", s);
}

static void head (Text *t, const G *g) {
  const State *s = g->state;
  text_add(t, "%sgoroutine %" PRIu64, t->len > 0 ? "\n\n" : "", g->id);
  if (s != NULL && s->name != NULL) text_add(t, " \"%s\"", s->name);
  text_add(t, " [");
}

void report_waiting (Text *t, G *g) {
  uint32_t reason = load_rlx(&g->reason);
  text_add(t, "%s", wait_reason(g));
  if (reason == WAIT_RECV || reason == WAIT_SEND) {
    const Chan *c = g->own.queue;      /* g holds it */
    if (c->name != NULL) text_add(t, " \"%s\"", c->name);
  }
}

static void deadlocked (Text *t, G *g) {
  const State *s = g->state;
  head(t, g);
  report_waiting(t, g);
  text_add(t, "]:");
  if (s == NULL) return;
  traceback(t, s);
  report_origin(t, s);
}

#define REPORT_MAX 100                 /* goroutines shown in full */

char *report_deadlock (Host *h, const char *first) {
  Text t = { NULL, 0, 0 };
  int n = 0;
  G *g;
  text_add(&t, "%s", first);
  lock_acquire(&h->lock);
  deadlocked(&t, h->main);
  for (g = h->all; g != NULL; g = g->hnext)
    if (n++ < REPORT_MAX) deadlocked(&t, g);
  lock_release(&h->lock);
  if (n > REPORT_MAX) text_add(&t, "\n\n... and %d more", n - REPORT_MAX);
  return t.s;
}

static void running (Text *t, const char *what, G *g, int64_t now) {
  text_add(t, "%s", what);
  how_long(t, load_rlx(&g->since), now);
  text_add(t, "]:");
}

/* One that runs and cannot be made to yield: a main script may be computing. */
static bool in_c (const State *s) {
  M *m = s->is_host ? load_acq(&hs_of(s)->home) : NULL;
  return !s->is_host || (m != NULL && os_thread_sleeps(m->tid));
}

static void stack_of (Text *t, G *g, State *self, lua_State *L, int64_t now) {
  const State *s = g->state;
  head(t, g);
  if (s != NULL && s == self) {
    running(t, "running", g, 0);
    report_traceback(t, L);
    if (s->L != L) report_traceback(t, s->L);
  }
  else switch (load_acq(&g->status)) { /* acquire: what it did before it stopped */
    case G_PARKED:
      report_waiting(t, g);
      how_long(t, load_rlx(&g->since), now);
      text_add(t, "]:");
      if (s != NULL) traceback(t, s);
      break;
    case G_RUNNABLE:
      if (s != NULL && s->stop_seq == load_rlx(&sched.stop_seq)) running(t, "running", g, now);
      else text_add(t, "runnable]:");
      if (s != NULL) traceback(t, s);
      break;
    case G_RUNNING:                    /* it did not answer */
      running(t, s != NULL && in_c(s) ? "in C" : "running", g, now);
      break;
    case G_IDLE: text_add(t, "starting]:"); break;
    case G_DEAD: text_add(t, "ending]:"); break;
    default: text_add(t, "running]:"); break;
  }
  if (s != NULL) report_origin(t, s);
}

void report_stacks (Text *t, Host *h, State *self, lua_State *L) {
  int64_t now = os_now();
  Text main = { NULL, 0, 0 };
  G *g, *last = NULL;
  if (h->state != NULL && h->main->state != self && load_acq(&h->main->status) == G_RUNNING)
    hostlook_ask(h, &main);
  lock_acquire(&h->lock);
  stack_of(t, h->main, self, L, now);
  if (main.s != NULL) text_add(t, "%s", main.s);
  text_free(&main);
  for (g = h->all; g != NULL; g = g->hnext) last = g;
  for (g = last; g != NULL; g = g->hprev)          /* in the order they were made */
    stack_of(t, g, self, L, now);
  lock_release(&h->lock);
}

/* ---------------------------------------------------------------- groups */

typedef struct Member { char *key; uint64_t id; int64_t waits; } Member;

static void place (Text *t, const lua_Debug *ar, int line) {
  text_add_plain(t, ar->short_src);
  text_add(t, ":%d", line);
}

/* State, tab, place, tab, function. */
static char *key_of (G *g, int64_t *waits) {
  const State *s = g->state;
  bool parked = load_acq(&g->status) == G_PARKED, still = parked;
  int64_t since = load_rlx(&g->since);
  lua_Debug ar;
  lua_State *L = NULL;
  Text t = { NULL, 0, 0 };
  int level;
  *waits = 0;
  if (parked) text_add(&t, "%s", wait_reason(g));
  else if (load_acq(&g->status) == G_RUNNABLE) {
    still = true;
    text_add(&t, s != NULL && s->stop_seq == load_rlx(&sched.stop_seq) ? "running" : "runnable");
  }
  else text_add(&t, s != NULL && in_c(s) ? "in C" : "running");
  if (since > 0 && load_acq(&g->status) != G_RUNNABLE)
    *waits = os_now() - since;
  if (still && s != NULL) L = s->is_host && hs_of(s)->waits_in ? hs_of(s)->waits_in : s->cur;
  text_add(&t, "\t");
  for (level = 0; L != NULL && lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0) continue;
    place(&t, &ar, ar.currentline);
    break;
  }
  text_add(&t, "\t");
  if (s == NULL || s->is_host) text_add(&t, "main");
  else if (still && s->L != NULL && stack_body(s->L, &ar)) place(&t, &ar, ar.linedefined);
  return t.s;
}

static int by_key (const void *a, const void *b) {
  return strcmp(((const Member *)a)->key, ((const Member *)b)->key);
}

void report_groups (Text *t, Host *h) {
  size_t n = 0, cap = (size_t)load_acq(&h->ng) + 16, i, k;
  Member *list = calloc(cap, sizeof *list);
  G *g;
  if (list == NULL) return;
  lock_acquire(&h->lock);
  for (g = h->main; g != NULL && n < cap; g = g == h->main ? h->all : g->hnext) {
    list[n].id = g->id;
    list[n].key = key_of(g, &list[n].waits);
    if (list[n].key != NULL) n++;
  }
  lock_release(&h->lock);
  qsort(list, n, sizeof *list, by_key);
  for (i = 0; i < n; i = k) {
    size_t longest = i;
    for (k = i; k < n && strcmp(list[k].key, list[i].key) == 0; k++)
      if (list[k].waits > list[longest].waits) longest = k;
    text_add(t, "group\t%zu\t", k - i);
    text_add_seconds(t, list[longest].waits);
    text_add(t, "\t%" PRIu64 "\t%s\n", list[longest].id, list[i].key);
  }
  for (i = 0; i < n; i++) free(list[i].key);
  free(list);
}
