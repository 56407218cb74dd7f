/*
** state.h - a Lua state under goro: one for each goroutine, and the hosts'.  Layer 5.
*/
#ifndef GORO_STATE_H
#define GORO_STATE_H

#include "lua.h"
#include "lauxlib.h"
#include "arena.h"
#include "debug.h"
#include "host.h"
#include "modref.h"
#include "result.h"

#pragma GCC visibility push(hidden)

/* Why a goroutine's Lua yields to its worker (0: a yield of the script's own). */
enum { Y_NONE, Y_PARK, Y_YIELD, Y_PREEMPT, Y_DIE };

/*
** What a new goroutine's state takes over from the state that started it; also what helps a
** receiver to require a sender's module.  Shared, counted, constant after creation.
*/
typedef struct Heritage {
  Obj o;                               /* held by states, and messages that refer to modules */
  char *path, *cpath;                  /* package.path, package.cpath */
  size_t lpath, lcpath;
  Msg *package;                        /* { preload, searchers }; NULL: the stock ones */
  Msg *arg;                            /* NULL: none */
} Heritage;

/* Where a goroutine was started; shared by all that were started there. */
typedef struct Origin {
  _Atomic(uint32_t) refs;
  _Atomic(uint32_t) rich;              /* [A] one of them opened a plain library (image.c) */
  int line;
  char src[LUA_IDSIZE];                /* "" if unknown */
} Origin;

/* Lazy tables (lazy.c). */
enum { LAZY_G, LAZY_LOADED, LAZY_GORO, NLAZY };
#define LAZY_WORDS 3                   /* of 64 bits: each entry of each of them has one */

/* What waits for a goroutine's end: a task, a WaitGroup's go, an errgroup's ... */
typedef struct Ending {
  void (*done) (struct Ending *e, M *m, Result *r);          /* takes r; NULL: no memory */
  void (*drop) (struct Ending *e, M *m);           /* it will never end (its host does) */
  Obj *obj;                            /* [I] that task, WaitGroup ...: a reference */
  uint8_t wants;                       /* ENDS_ */
} Ending;

enum {
  ENDS_RESULTS,                        /* the results, or the error */
  ENDS_ERROR,                          /* the error; results don't matter */
  ENDS_STRICT                          /* also nil or false with a value behind is an error */
};

/* M.resumer: who resumed the coroutine that runs; on the C stack of that resume (costate.c). */
typedef struct Resumer { lua_State *L; const struct Resumer *up; } Resumer;

/*
** What few goroutines need, in a block of its own: there may be a million that do not.  Made when
** something is first written (rare_write); read through rare(), which has all zero where there is
** none.
*/
typedef struct Rare {
  size_t limit;                        /* [I] bytes it may use; 0: any */
  Origin *latest;                      /* [O] where it started the last goroutine */
  char *traceback;                     /* [O] of the error being handled */
  ModRef modref;                       /* [O] */
  struct Image *making;                /* [O] counted; the image it is to make, or NULL */
  struct Classes *classes;             /* [O] NULL: no class has crossed here */
  struct ModNames *mods;               /* [O] modimage.c's, or NULL */
  struct CodeSlot *code_slots;         /* [O] functions that started goroutines (start.c) */
} Rare;

typedef struct State {
  G *g;                                /* [I] */
  lua_State *L;                        /* [O] its main thread; NULL: not opened yet */
  const void *registry;                /* [I] tells its lua_States from others' */
  lua_State *cur;                      /* [O] innermost coroutine that we resumed */
  bool chain;                          /* [O] all from 'cur' to the worker can yield */
  bool is_host;                        /* [I] */
  bool ended;                          /* [O] its Lua function has returned or failed */
  uint8_t yielding;                    /* [O] Y_ */
  volatile bool nopreempt;             /* [O] the hook must not be touched just now */
  bool armed;                          /* [O] g->timer is set */
  bool inheriting;                     /* [O] its heritage is being made */
  bool lazy_libs;                      /* [I] its libraries are lazy */
  bool loading;                        /* [O] it loads the modules of 'making' */
  bool is_maker;                       /* [O] its arena is the large one of a maker */
  bool asleep;                         /* [O] modimage_wake is to be called */
  bool spawned;                        /* [O] it has started a goroutine */
  bool must_close;                     /* [O] something in it has a finaliser */
  bool wild;                           /* [O] it holds what no guest may (tame.c) */
  bool imaged;                         /* [I] it starts by start.image */
  bool rich;                           /* [I] once open: a copy of the rich image */
  uint16_t spare_image;                /* [O] references more than one, for goroutines that it */
  uint16_t spare_heritage;             /* starts: to 'image', 'heritage', 'rare->latest' (lend) */
  uint16_t spare_origin;
  uint32_t ninits;                     /* [O] goro.inits still to be run before its function */
  uint32_t locked;                     /* [O] goro.lock_thread, how often: it never yields */
  uint32_t stop_seq;                   /* [O] the world_stop that made it yield */
  uint32_t node;                       /* leaks.c's, while the world stands still */
  uint32_t nuserdata, nhandles;        /* [O] full userdata made in it, and ours among them */
  union {                              /* [O] what it starts with; all NULL once it has */
    void *any;
    Msg *msg;                          /* the function and its arguments; or, 'imaged': */
    struct Start *image;               /* its image has the function, this is what it lacks */
  } start;
  Arena *arena;                        /* [O] goroutines only */
  Heritage *heritage;                  /* [O] counted reference; of hosts: the cached one */
  Ending *ending;                      /* [O] or NULL: an error is a panic */
  char *name;                          /* [L:host] goro.name */
  Origin *origin;                      /* [I] where it was started */
  uint64_t creator;                    /* [I] who started it: a goroutine's id */
  Rare *rare;                          /* [O] or NULL */
  struct Image *image;                 /* [O] goroutines: counted; what it is a copy of, or NULL */
  struct Listed *handles;              /* [O] all but those in the image (handle.h) */
  uint64_t bound;                      /* [O] which of the handles in the image are there */
  uint64_t lazy[LAZY_WORDS];           /* [O] names that were put into lazy tables */
} State;

/* Host.state: what a host's Lua state needs beyond a goroutine's. */
typedef struct Panic {
  struct Panic *next;
  Value v;                             /* what main raises */
} Panic;

enum { ON_PANIC_RAISE, ON_PANIC_REPORT, ON_PANIC_EXIT };

typedef struct InitFn {
  _Atomic(struct InitFn *) next;       /* [A] the list only grows */
  Msg *f;                              /* [I] */
} InitFn;

typedef struct HostState {
  State s;
  Host *host;
  _Atomic(uint32_t) on_panic;
  Panic *panics, **panics_end;         /* [L:host] not yet raised */
  uint32_t nlost;                      /* [L:host] those there was no memory for */
  _Atomic(uint32_t) npanics;           /* [A] both together */
  _Atomic(InitFn *) inits;             /* [A] goro.init, in order; live as long as the host */
  _Atomic(InitFn *) *inits_end;        /* [L:host] */
  lua_State *waits_in;                 /* [O] which of its coroutines waits, or did last */
  _Atomic(M *) home;                   /* [A] its thread's M, since it called goro last */
  /* hostlook.c's */
  _Atomic(uint32_t) look;              /* [A] is somebody asking where it is? */
  struct Text *look_text;              /* where to write it; published by 'look' */
  lua_Hook look_hook;                  /* [O] what its hook replaced */
  int look_mask, look_count;
  int look_set;                        /* [O] the mask that its own was set with */
  lua_Hook hook0;                      /* [O] the hook when a wait began */
  int mask0;
  char *deadlock;                      /* [O] the report being raised */
  int no_thread;                       /* [O] the errno of WAKE_NOTHREAD */
  _Atomic(uint32_t) ninits;            /* [A] */
} HostState;

_Noreturn void stack_full (lua_State *L);

/* Of a thread that nobody runs: how many levels it has; its outermost Lua function, with its "S". */
int stack_depth (lua_State *L);
bool stack_body (lua_State *L, lua_Debug *ar);

static inline HostState *hs_of (const State *s) { return s->g->host->state; }

extern const Rare rare_none;           /* all zero */
static inline const Rare *rare (const State *s) { return s->rare != NULL ? s->rare : &rare_none; }
Rare *rare_write (State *s);           /* NULL: no memory */

/* Who runs this C function: one look-up for all bindings. */
typedef struct Here { M *m; G *g; State *s; } Here;

extern const char state_key;           /* registry[&state_key] = light userdata State */
Here here_slow (lua_State *L);
static inline Here here (lua_State *L) {
  Here h;
  GORO_CALL();
  h.m = sched_m();
  if (h.m != NULL && (h.g = h.m->curg) != NULL) {
    h.s = h.g->state;
    if (h.s->cur == L || h.s->registry == lua_topointer(L, LUA_REGISTRYINDEX)) return h;
  }
  return here_slow(L);
}

/* A goroutine's state. */
State *state_new (HostState *hs);      /* with its G; NULL: no memory, or the host ends */
bool state_open (State *s);            /* make the lua_State; false: no memory */
void state_close (State *s);           /* runs what is left: __close, __gc */
void state_free (State *s);            /* closed; with its G */

/* A host's. */
HostState *hoststate_open (lua_State *L);        /* NULL: no memory */
void hoststate_close (HostState *hs);  /* ends its goroutines; the State stays until freed */

/* Let a state know its State: registry[&state_key].  May raise. */
void state_register (lua_State *L, State *s);

/* For images: the allocator of goroutines' states (ud: the State), and what each needs. */
void *state_allocate (void *ud, void *p, size_t osize, size_t nsize);
void state_prepare (lua_State *L);

Heritage *heritage_of (lua_State *L, State *s);  /* s->heritage, up to date; may raise */
#define heritage_unref(h) ((h) != NULL ? obj_unref(&(h)->o) : (void)0)
/* A reference to s->heritage for a goroutine that 's' starts. */
static inline Heritage *heritage_lend (State *s) {
  lend(&s->heritage->o.refs, &s->spare_heritage);
  return s->heritage;
}
void heritage_package (lua_State *L, State *s);  /* in a goroutine: to 'package'; may raise */
void heritage_arg (lua_State *L, State *s);      /* push its 'arg', or nil; may raise */

/* Where the running function of 'L' starts a goroutine; a new reference, NULL: no memory. */
Origin *origin_here (lua_State *L, State *s);
void origin_unref_n (Origin *o, uint32_t n);       /* that many references; NULL: none */
#define origin_unref(o) origin_unref_n((o), 1)

/* Room for 'n' more values on L's stack.  Raises what is in the way: luaL_checkstack says "stack
** overflow" when there is no memory, too. */
static inline void stack_room (lua_State *L, int n) {
  if (!lua_checkstack(L, n)) stack_full(L);
}

extern _Atomic(uint64_t) memory_limit; /* bytes for each goroutine started after; 0: none */

#pragma GCC visibility pop

#endif
