/*
** image.h - goroutines' states as copies of a template.  Layer 5.
**
** The plain image has what every goroutine needs.  A function that starts goroutines again and
** again gets an image of its own: the plain one, with the function loaded, its upvalues and its
** arguments in their places as far as they are the same each time.  What differs (numbers,
** strings, the objects behind handles) is filled in in each copy (start.c).
*/
#ifndef GORO_IMAGE_H
#define GORO_IMAGE_H

#include "handle.h"

#pragma GCC visibility push(hidden)

/*
** What upvalues and arguments are, as far as an image knows: its key, with the function's code.
** A handle is SLOT_HANDLE + 4 * type + view; one that stands for the same as an earlier one is
** SLOT_SAME + the place of that.
*/
enum { SLOT_VALUE, SLOT_GLOBALS, SLOT_SELF, SLOT_GORO, SLOT_HANDLE = 16,
       SLOT_SAME = SLOT_HANDLE + 4 * OBJ_NTYPES };
#define MAX_SLOTS 60                   /* upvalues and arguments */

typedef struct Slots {
  uint8_t nup, n;                      /* upvalues, all */
  uint8_t kind[MAX_SLOTS];
} Slots;

typedef struct ModFile { char *path; FileId id; } ModFile;
/* What was looked for, and found; 'file' NULL: nothing.  'path' is the heritage's, or 'own'. */
typedef struct ModSearch { char *name, *own, *file; const char *path; } ModSearch;

/* (what goroutines write that end, and those that start some, are lines of their own) */
typedef struct Image {
  _Atomic(uint32_t) refs;              /* [A] the list's, goroutines', states' that start some */
  _Alignas(64) _Atomic(uint32_t) phase;          /* [A] see image.c */
  _Atomic(uint32_t) asked;             /* [A] how often, by and by forgotten */
  _Atomic(uint64_t) started;           /* [A] goroutines from it */
  _Alignas(64) struct Image *next;     /* [L:images] */
  uint64_t hash;                       /* [I] its key ... */
  size_t len;
  char *code;                          /* a function's; or the names of modules, NULs behind */
  Slots slots;                         /* ... */
  bool modules;                        /* [I] it has modules (modimage.c): key, 'heritage' too */
  Heritage *heritage;                  /* [I] counted */
  uint32_t epoch;                      /* [I] once it is ready, as all below: goro.fresh's */
  char *reason;                        /* why it is refused, or NULL */
  ModFile *files;                      /* those read for it */
  uint32_t nfiles;
  ModSearch *searches;                 /* how they were found */
  uint32_t nsearches;
  _Atomic(int64_t) looked;             /* [A] when they were looked at */
  Arena *arena;                        /* [I] once it is ready, as all below */
  lua_State *L;
  uint32_t *pointers;                  /* offsets of words that point into the arena */
  long npointers;
  const void *function;                /* where code_of finds the function's */
  uint64_t lazy[LAZY_WORDS];           /* State.lazy */
  bool wild;                           /* State.wild */
  uint32_t nhandles;
  Handle *handles[MAX_SLOTS];          /* by their number in the keep, less 1 */
  uint8_t place[MAX_SLOTS];            /* in which slot each stands */
  _Atomic(uint32_t) slack;             /* [A] bytes that copies need beyond it */
  _Atomic(uint64_t) traced;            /* [A] trace.c's: what its function is called, in which trace */
} Image;

void image_init (void);                /* once, after stdlibs_init; GOROIMAGE=0: no images */
bool image_there (void);

/* The image for this code and these slots, a new reference; 'code' is malloc'ed and taken.  NULL:
** no memory. */
Image *image_find (char *code, size_t len, uint64_t hash, const Slots *slots);
/* Can it be used?  Counts how often it is asked for, and makes it when that seems worth it. */
bool image_ready (Image *img);
bool image_is_for (const Image *img, const Slots *slots);
void search_drop (ModSearch *q);
void image_unref_n (Image *img, uint32_t n);       /* that many references; NULL: none */
static inline void image_unref (Image *img) { image_unref_n(img, 1); }

/* For modimage.c.  The entry for these names and this heritage, a new reference, or NULL. */
Image *image_find_modules (const char *names, size_t len, Heritage *h);
typedef enum Ask { ASK_NOT, ASK_READY, ASK_MAKE, ASK_NEVER } Ask;
Ask image_ask (Image *img);            /* ASK_MAKE: the caller is to make it, and nobody else;
                                          ASK_NEVER: it is refused */
Ask image_look (const Image *img);     /* the same, without being counted: never ASK_MAKE */
/* The maker's: say why it cannot be; take it from 's', where 'L' is the main thread and nothing
** runs, unless it is refused; or let another make it. */
void image_refuse (Image *img, const char *why);
void image_settle (Image *img, State *s, lua_State *L);
void image_abandon (Image *img);
void image_forget (Image *img);        /* it is out of date: out of the list */
void image_fill_plain (lua_State *L, State *s);    /* what the plain image holds; may raise */

/* A new lua_State for 's', with lazy libraries; in s->arena.  Of s->image, or the plain one.
** NULL: no memory. */
lua_State *image_open (State *s, ArenaPool *pool);
void image_close (State *s, ArenaPool *pool);      /* s->arena is given back */
void image_learn (const State *s);     /* copies are to have as much room as this one needed */

/* A copy's handle number 'slot'. */
#define image_handle(s, slot) \
  ((Handle *)arena_moved((s)->image->arena, (s)->arena, (s)->image->handles[(slot) - 1]))

/* Where code_of finds the function of s->image; or NULL. */
const void *image_function (const State *s);

/*
** The keep: a table with weak values.  By number: 1 to MAX_SLOTS the handles of a state's image,
** then the image's function; KEEP_CODE and on, functions that started goroutines.  By address (a
** light userdata): all other handles.
*/
#define KEEP_CODE 64
void keep_table (lua_State *L, int n); /* push it; made, for 'n' numbers, if it is not there */
void keep_push (lua_State *L, int i);  /* its element; nil: it is gone.  Does not raise */
void keep_set (lua_State *L, int i);   /* the value on top, popped; may raise */

typedef struct ImageStats {
  uint32_t images, ready, refused;     /* but the plain one */
  size_t bytes;
} ImageStats;
ImageStats image_stats (void);

/* Those with modules, as a malloc'ed list of 'n', whose texts are to be freed too. */
typedef struct ModImageInfo {
  char *names, *reason;                /* "a, b"; NULL: it is not refused */
  const char *phase;
  size_t bytes;
  uint64_t started;
} ModImageInfo;
ModImageInfo *image_list_modules (int *n);

#pragma GCC visibility pop

#endif
