/*
** leaks.c - goroutines that nobody can ever wake.  Layer 5.
**
** Who can wake a goroutine that waits on an object must hold that object, or get it from somebody.
** So the question is of reachability, between goroutines and objects:
**
**   a goroutine that goes on reaches what its state's handles refer to (those alive after a
**     collection), the values that it sends while it waits, and what its end completes (a task);
**   an object that is reached reaches what is in it (buffered messages, a Map's values, a
**     task's result, a context's parent, and its children, which it cancels), and all goroutines
**     that wait on it: they can be woken, and go on.
**
** What is reached from the beginning is found by counting: objects are counted (Obj.refs), and
** an object with more references than those that we can see (in parked states, in the objects and
** waits found from there) is held by somebody whom we cannot look into, and is taken for reached:
** a goroutine that runs, a main script that computes, one inside C, a message being decoded, a
** timer, another host.  So what we do not understand makes us miss a leak, and never invent one.
** Goroutines that wait for something else than an object (sleep, a time-out, a descriptor) go on.
** What is left in the end is leaked: each of them waits on objects that nobody reaches.
**
** GATES.  Some waits are ended by certain goroutines only, whoever else holds the object: a task's
** by its goroutine, an errgroup's by all of its, a Once's by the one that runs it, a Map key's by
** the one that updates it.  Where such a goroutine is parked the object is a gate: what waits
** there goes on when all those that hold it shut go on.  (A Map's keys, and the place in an
** errgroup that `go` waits for, are items without an object.)
**
** GARBAGE.  A handle that a parked state dropped still counts until its collector has run.  So
** each gets an emergency collection, the only one that runs no finaliser: an allocation is made
** to fail.  lua_load is what allocates in a protected call of its own, so that the error ends
** there, whatever the lua_State is doing.  Afterwards the weak cache of handles tells which of them
** are alive; dead ones are accounted for, and reach nothing.
**
** THOSE THAT RUN ON meanwhile (world.c's W2) may change what we look at.  They hold references
** that we cannot see, are blocked in their next call that copies or receives anything, and so
** get hold of one object more at most: a second search, after the first, sees that reference.
** Only what both find is reported, and only if its wait is still unclaimed.
**
** REFERENCES OF OURS.  Each object found is held until the end, and let go when the world goes on
** again: an object may be destroyed by that.
*/
#include <stdlib.h>
#include <string.h>
#include "alarm.h"
#include "context.h"
#include "debug.h"
#include "errgroup.h"
#include "handle.h"
#include "leaks.h"
#include "smap.h"
#include "sync.h"
#include "task.h"
#include "waitgroup.h"

typedef struct Edge { uint32_t to; int32_t next; } Edge;

typedef struct Node {                  /* a parked goroutine */
  G *g;
  int32_t out;                         /* edges to items */
  int32_t frees;                       /* edges to items: those who wait there, when it goes on */
  bool candidate;                      /* only an object can wake it */
  bool placed;                         /* we know on which */
  bool live, before;                   /* 'before': leaked in the first search */
} Node;

typedef struct Item {                  /* an object */
  Obj *o;                              /* a reference, or NULL */
  uint32_t counted;                    /* references that we can see */
  uint32_t shut;                       /* a gate: how many must go on before it opens */
  int32_t out;                         /* edges to items */
  int32_t waits;                       /* edges to nodes: who waits on it */
  int32_t enders;                      /* edges to nodes: whose end completes it */
  int32_t room;                        /* an errgroup: the item on which `go` waits; or -1 */
  bool gate;
  bool live;
} Item;

struct Search {
  Node *nodes;
  uint32_t nnodes, capnodes;
  Item *items;
  uint32_t nitems, capitems;
  Edge *edges;
  uint32_t nedges, capedges;
  uint32_t *table;                     /* items by address: number + 1, 0: free */
  uint32_t size;                       /* a power of two */
  uint32_t *todo;                      /* of the propagation: items, nitems + nodes */
  uint32_t ntodo;
  bool failed;                         /* no memory */
};

/* ---------------------------------------------------------------- tables */

static bool grow (Search *x, void *list, uint32_t n, uint32_t *cap, size_t size) {
  void *p, **l = list;
  uint32_t more = *cap == 0 ? 256 : *cap * 2;
  if (n < *cap) return true;
  p = realloc(*l, more * size);
  if (p == NULL) {
    x->failed = true;
    return false;
  }
  *l = p;
  *cap = more;
  return true;
}

static void edge (Search *x, int32_t *list, uint32_t to) {
  goro_check(list != NULL);
  if (!grow(x, &x->edges, x->nedges, &x->capedges, sizeof *x->edges)) return;
  x->edges[x->nedges].to = to;
  x->edges[x->nedges].next = *list;
  *list = (int32_t)x->nedges++;
}

static uint32_t *slot_of (Search *x, const Obj *o) {
  uint32_t i = (uint32_t)(((uintptr_t)o >> 4) * 2654435761u) & (x->size - 1);
  while (x->table[i] != 0 && x->items[x->table[i] - 1].o != o) i = (i + 1) & (x->size - 1);
  return &x->table[i];
}

static bool rehash (Search *x) {
  uint32_t i, size = x->size == 0 ? 1024 : x->size * 2;
  uint32_t *table = calloc(size, sizeof *table);
  if (table == NULL) {
    x->failed = true;
    return false;
  }
  free(x->table);
  x->table = table;
  x->size = size;
  for (i = 0; i < x->nitems; i++)
    if (x->items[i].o != NULL) *slot_of(x, x->items[i].o) = i + 1;
  return true;
}

static void item_clear (Item *it) {
  Obj *o = it->o;
  memset(it, 0, sizeof *it);
  it->o = o;
  it->out = it->waits = it->enders = it->room = -1;
}

/* A new item without an object; -1: no memory. */
static int64_t item_new (Search *x) {
  if (!grow(x, &x->items, x->nitems, &x->capitems, sizeof *x->items)) return -1;
  x->items[x->nitems].o = NULL;
  item_clear(&x->items[x->nitems]);
  return x->nitems++;
}

/* The number of 'o', which is held by the caller or whose lock is; -1: no memory. */
static int64_t item_of (Search *x, Obj *o) {
  uint32_t *s;
  int64_t i;
  if (2 * x->nitems >= x->size && !rehash(x)) return -1;
  s = slot_of(x, o);
  if (*s != 0) return *s - 1;
  i = item_new(x);
  if (i < 0) return i;
  x->items[i].o = obj_ref(o);
  *s = (uint32_t)i + 1;
  return i;
}

/* Where an edge starts: a node, or an item (which may move while we add others). */
typedef struct From { Search *x; int64_t node, item; } From;

static int32_t *out_of (From f) {
  return f.node >= 0 ? &f.x->nodes[f.node].out : &f.x->items[f.item].out;
}

/* 'f' reaches 'o'; 'counted': by a reference. */
static void reach (From f, Obj *o, bool counted) {
  int64_t i = o->type < OBJ_NTYPES ? item_of(f.x, o) : -1;
  if (i < 0) return;
  if (counted) f.x->items[i].counted++;
  edge(f.x, out_of(f), (uint32_t)i);
}

static void reach_value (void *from, const Value *v) {
  From f = *(From *)from;
  uint32_t i;
  if (v->tag == V_OBJ) reach(f, v->u.o, true);
  else if (v->tag >= V_STR && !msg_is_shared(v->u.m))
    for (i = 0; i < v->u.m->nobjs; i++) reach(f, v->u.m->objs[i], true);
}

static void reach_result (From f, Result *r) {
  if (r != NULL && load_acq(&r->refs) == 1) reach_value(&f, &r->v);
}

static void waits_on (Search *x, uint32_t node, int64_t item) {
  if (item < 0) return;
  edge(x, &x->items[item].waits, node);
  x->nodes[node].placed = true;
}

/* The node of 'g', which is alive; -1: it is not parked, or another host's. */
static int64_t node_of (Search *x, G *g) {
  State *s = g->state;
  bool parked = s != NULL && s->node < x->nnodes && x->nodes[s->node].g == g;
  return parked ? (int64_t)s->node : -1;
}

/* Who waits on 'item' waits for this parked goroutine, and nobody else helps. */
static void shut (Search *x, int64_t item, uint32_t node) {
  if (item < 0) return;
  x->items[item].gate = true;
  x->items[item].shut++;
  edge(x, &x->nodes[node].frees, (uint32_t)item);
}

/* ---------------------------------------------------------------- what is in an object */

static void in_chan (From f, Chan *c) {
  Context *ctx = context_of_done(c);
  int64_t i, n;
  lock_acquire(&c->lock);
  n = load_rlx(&c->count);
  if (c->timed) f.x->items[f.item].live = true;
  for (i = 0; i < n; i++) reach_value(&f, &c->buf[(c->first + i) % c->cap]);
  lock_release(&c->lock);
  if (ctx != NULL) reach(f, &ctx->obj, true);
}

static void in_related (void *from, Obj *o) {    /* with a reference, ours */
  From f = *(From *)from;
  reach(f, o, false);
  if (f.x->failed || o->type >= OBJ_NTYPES) return;              /* (rather than destroy it here) */
  sub_acqrel(&o->refs, 1);             /* the item's is another one */
}

static void in_context (From f, Context *c) {
  if (c->parent != NULL) reach(f, &c->parent->obj, true);
  reach_value(&f, &c->key);
  reach_value(&f, &c->value);
  if (context_err(c) != CTX_OK) {
    if (c->core == c) reach_value(&f, &c->cause);
  }
  else {
    context_each_below(c, in_related, &f);
    if (c->deadline != FOREVER) f.x->items[f.item].live = true;  /* its timer */
  }
}

static void in_task (From f, Task *t) {
  Result *r = load_acq(&t->result);
  int32_t e = f.x->items[f.item].enders;
  Chan *done;
  reach_result(f, r);
  lock_acquire(&t->lock);
  done = t->done;
  lock_release(&t->lock);
  if (done != NULL) reach(f, &done->obj, true);
  if (r != NULL || e < 0 || f.x->failed) return;
  shut(f.x, f.item, f.x->edges[e].to);
  if (done != NULL) shut(f.x, item_of(f.x, &done->obj), f.x->edges[e].to);
}

static void in_errgroup (From f, ErrGroup *eg) {
  Search *x = f.x;
  int32_t room = x->items[f.item].room, e;
  int64_t n;
  reach(f, &eg->ctx->obj, true);
  lock_acquire(&eg->lock);
  n = eg->n;
  reach_result(f, eg->failure);
  lock_release(&eg->lock);
  if (n == 0 && room >= 0) edge(x, out_of(f), (uint32_t)room);   /* limit may be raised */
  for (e = x->items[f.item].enders; e >= 0 && !x->failed; e = x->edges[e].next, n--) {
    uint32_t node = x->edges[e].to;
    shut(x, f.item, node);
    if (room >= 0) edge(x, &x->nodes[node].frees, (uint32_t)room);
  }
  if (n > 0 && room >= 0) x->items[room].live = true;            /* one of them runs */
}

static void in_waitgroup (From f, WaitGroup *w) {
  lock_acquire(&w->lock);
  reach_result(f, w->failure);
  lock_release(&w->lock);
}

static void in_once (From f, Once *o) {
  int64_t node = -1;
  if (load_acq(&o->state) >= ONCE_DONE) reach_value(&f, &o->v);
  lock_acquire(&o->lock);
  if (o->runner != NULL) node = node_of(f.x, o->runner);
  lock_release(&o->lock);
  if (node >= 0) shut(f.x, f.item, (uint32_t)node);
}

static void in_owned (Search *x, G *owner, const WaitQ *q) {
  int64_t node = node_of(x, owner), item = item_new(x);
  const Sudog *s;
  if (item < 0) return;
  if (node >= 0) shut(x, item, (uint32_t)node);
  else x->items[item].live = true;
  for (s = q->head; s != NULL; s = s->next)
    if ((node = node_of(x, s->g)) >= 0) waits_on(x, (uint32_t)node, item);
}

static void in_key (void *from, const Value *v, G *owner, const WaitQ *waiters) {
  reach_value(from, v);
  if (owner != NULL && waiters->head != NULL) in_owned(((From *)from)->x, owner, waiters);
}

static void in_item (Search *x, uint32_t i) {
  From f = { x, -1, i };
  Obj *o = x->items[i].o;
  if (o == NULL) return;
  switch (o->type) {
    case OBJ_CHAN: in_chan(f, (Chan *)o); break;
    case OBJ_CONTEXT: in_context(f, (Context *)o); break;
    case OBJ_TASK: in_task(f, (Task *)o); break;
    case OBJ_WAITGROUP: in_waitgroup(f, (WaitGroup *)o); break;
    case OBJ_ONCE: in_once(f, (Once *)o); break;
    case OBJ_TIMER:
      if (((ClockRef *)o)->clock != NULL) reach(f, &((ClockRef *)o)->clock->c.obj, true);
      break;
    case OBJ_COND: reach(f, &((Cond *)o)->mutex->obj, true); break;
    case OBJ_ERRGROUP: in_errgroup(f, (ErrGroup *)o); break;
    case OBJ_MAP: smap_each((SMap *)o, in_key, &f); break;
    default: break;                    /* what it holds is taken for reached */
  }
}

/* ---------------------------------------------------------------- parked goroutines */

typedef struct Refusal { lua_Alloc f; void *ud; } Refusal;

static void *refuse (void *ud, void *p, size_t osize, size_t nsize) {
  Refusal *r = ud;
  if (nsize > 0 && (p == NULL || nsize > osize)) return NULL;
  return r->f(r->ud, p, osize, nsize);
}

static const char *no_text (lua_State *L, void *ud, size_t *size) {
  (void)L; (void)ud;
  *size = 0;
  return NULL;
}

/* A collection without finalisers, see above. */
static void collect (lua_State *L) {
  Refusal r;
  r.f = lua_getallocf(L, &r.ud);
  lua_setallocf(L, refuse, &r);
  lua_load(L, no_text, NULL, "=", NULL);
  lua_setallocf(L, r.f, r.ud);
  lua_pop(L, 1);                       /* the message */
}

static bool waits_for_objects (const G *g, const State *s) {
  if (s->armed) return false;          /* a time-out */
  switch (load_rlx(&g->reason)) {
    case WAIT_RECV: case WAIT_SEND: case WAIT_SELECT: case WAIT_SELECT_NOTHING:
    case WAIT_WAITGROUP: case WAIT_TASK: case WAIT_MUTEX: case WAIT_RLOCK: case WAIT_WLOCK:
    case WAIT_COND: case WAIT_SEMAPHORE: case WAIT_ONCE: case WAIT_MAP:
    case WAIT_ERRGROUP: case WAIT_ERRGROUP_GO:
      return true;
    default:                           /* sleep, what will be added */
      return false;
  }
}

/* A goroutine that only objects can wake: on which of them does it wait? */
static void place (Search *x, uint32_t n) {
  G *g = x->nodes[n].g;
  uint32_t reason = load_rlx(&g->reason);
  int64_t i;
  int32_t k;
  if (g->limit != NULL) waits_on(x, n, item_of(x, &g->limit->obj));
  switch (reason) {
    case WAIT_SELECT_NOTHING:
      x->nodes[n].placed = true;       /* (on none) */
      /* fall through */
    case WAIT_SELECT:
      for (k = 0; g->many != NULL && k < g->many->n; k++)
        if (g->many->at[k].queue != NULL) waits_on(x, n, item_of(x, g->many->at[k].queue));
      break;
    case WAIT_MAP:                     /* see in_owned */
      break;
    case WAIT_ERRGROUP_GO:
      i = item_of(x, g->own.queue);
      if (i >= 0 && x->items[i].room < 0) {
        int64_t room = item_new(x);
        x->items[i].room = (int32_t)room;
      }
      if (i >= 0) waits_on(x, n, x->items[i].room);
      break;
    default:
      waits_on(x, n, item_of(x, g->own.queue));
  }
}

static void look_at (Search *x, uint32_t n, bool first) {
  From f = { x, n, -1 };
  G *g = x->nodes[n].g;
  State *s = g->state;
  lua_State *L = s->is_host && hs_of(s)->waits_in != NULL ? hs_of(s)->waits_in : s->L;
  uint32_t reason = load_rlx(&g->reason);
  Handle *h;
  int32_t i;
  if (first) collect(L);
  for (h = handle_next(s, NULL); h != NULL; h = handle_next(s, h)) {
    int64_t k = item_of(x, h->o);
    if (k >= 0) x->items[k].counted += 1u + h->spare;          /* NOLINT: item_of has made items */
    if (handle_alive(L, h)) reach(f, h->o, false);
  }
  if (s->ending != NULL) {
    int64_t k = item_of(x, s->ending->obj);
    reach(f, s->ending->obj, true);
    if (k >= 0) edge(x, &x->items[k].enders, n);
  }
  if (g->limit != NULL) reach(f, &g->limit->obj, true);
  if (reason == WAIT_SELECT || reason == WAIT_SELECT_NOTHING)
    for (i = 0; g->many != NULL && i < g->many->n; i++) reach_value(&f, &g->many->at[i].elem);
  else if (x->nodes[n].candidate) reach_value(&f, &g->own.elem);
  if (x->nodes[n].candidate) place(x, n);
}

static void add_node (Search *x, G *g) {
  State *s = g->state;
  Node *n;
  if (s == NULL || s->L == NULL || load_acq(&g->status) != G_PARKED) return;
  if (!grow(x, &x->nodes, x->nnodes, &x->capnodes, sizeof *x->nodes)) return;
  s->node = x->nnodes;
  n = &x->nodes[x->nnodes++];
  memset(n, 0, sizeof *n);
  n->g = g;
}

static void find_nodes (Search *x, Host *h) {
  G *g;
  lock_acquire(&h->lock);
  add_node(x, h->main);
  for (g = h->all; g != NULL; g = g->hnext) add_node(x, g);
  lock_release(&h->lock);              /* they stay: what ends must run */
}

/* ---------------------------------------------------------------- the search */

static void revive (Search *x, uint32_t item) {
  if (x->items[item].live) return;
  x->items[item].live = true;
  x->todo[x->ntodo++] = item;
}

static void revive_all (Search *x, int32_t list) {
  for (; list >= 0; list = x->edges[list].next) revive(x, x->edges[list].to);
}

static void revive_node (Search *x, uint32_t n) {
  if (x->nodes[n].live) return;
  x->nodes[n].live = true;
  x->todo[x->ntodo++] = x->nitems + n;
}

static void wake (Search *x, uint32_t item) {
  int32_t e;
  for (e = x->items[item].waits; e >= 0; e = x->edges[e].next) revive_node(x, x->edges[e].to);
}

static void from_node (Search *x, uint32_t n) {
  int32_t e;
  revive_all(x, x->nodes[n].out);
  for (e = x->nodes[n].frees; e >= 0; e = x->edges[e].next) {
    uint32_t i = x->edges[e].to;
    if (!x->items[i].gate) revive(x, i);
    else if (--x->items[i].shut == 0) wake(x, i);
  }
}

static void from_item (Search *x, uint32_t i) {
  revive_all(x, x->items[i].out);
  if (!x->items[i].gate) wake(x, i);
}

static void propagate (Search *x) {
  uint32_t i;
  x->ntodo = 0;
  x->todo = malloc((x->nitems + x->nnodes + 1) * sizeof *x->todo);
  if (x->todo == NULL) {
    x->failed = true;
    return;
  }
  for (i = 0; i < x->nitems; i++) {
    Item *it = &x->items[i];           /* one reference is ours */
    bool reached = it->live || (it->o != NULL && load_acq(&it->o->refs) - 1 > it->counted);
    it->live = false;
    if (reached) revive(x, i);
  }
  for (i = 0; i < x->nnodes; i++)
    if (!x->nodes[i].candidate || !x->nodes[i].placed) revive_node(x, i);
  while (x->ntodo > 0) {
    i = x->todo[--x->ntodo];
    if (i < x->nitems) from_item(x, i);
    else from_node(x, i - x->nitems);
  }
  free(x->todo);
  x->todo = NULL;
}

/* One search.  How many are leaked. */
static uint32_t search (Search *x, bool first) {
  uint32_t i, n = 0;
  for (i = 0; i < x->nitems; i++) item_clear(&x->items[i]);      /* (a second one keeps them) */
  x->nedges = 0;
  for (i = 0; i < x->nnodes; i++) {
    Node *k = &x->nodes[i];
    State *s = k->g->state;
    k->before = !k->live;
    k->live = k->placed = false;
    k->out = k->frees = -1;
    k->candidate = !s->is_host && waits_for_objects(k->g, s);
    look_at(x, i, first);
  }
  for (i = 0; i < x->nitems && !x->failed; i++) in_item(x, i);   /* finds more of them */
  if (x->failed) return 0;
  propagate(x);
  for (i = 0; i < x->nnodes; i++) n += !x->nodes[i].live;
  return n;
}

static void tell (Leak *l, G *g) {
  State *s = g->state;
  l->id = g->id;
  lock_acquire(&g->host->lock);
  if (s->name != NULL) l->name = strdup(s->name);
  lock_release(&g->host->lock);
  report_waiting(&l->waiting, g);
  report_where(&l->traceback, s);
}

Search *leaks_find (Host *h, Leaks *out) {
  Search *x = calloc(1, sizeof *x);
  uint32_t i, n;
  memset(out, 0, sizeof *out);
  if (x == NULL) return NULL;
  find_nodes(x, h);
  n = search(x, true);
  if (n > 0 && !x->failed) n = search(x, false);
  if (n > 0 && !x->failed) {
    out->list = calloc(n, sizeof *out->list);
    if (out->list == NULL) x->failed = true;
    else
      for (i = x->nnodes; i-- > 0; ) { /* in the order they were made */
        Node *k = &x->nodes[i];
        if (!k->live && k->before && load_acq(&k->g->claim) == 1)
          tell(&out->list[out->n++], k->g);
      }
  }
  return x;
}

bool leaks_let_go (Search *x) {
  bool ok = !x->failed;
  uint32_t i;
  for (i = 0; i < x->nitems; i++)
    if (x->items[i].o != NULL) obj_unref(x->items[i].o);
  free(x->nodes);
  free(x->items);
  free(x->edges);
  free(x->table);
  free(x);
  return ok;
}

void leaks_free (Leaks *out) {
  size_t i;
  for (i = 0; i < out->n; i++) {
    free(out->list[i].name);
    text_free(&out->list[i].waiting);
    text_free(&out->list[i].traceback);
  }
  free(out->list);
}
