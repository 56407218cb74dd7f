/*
** handle.h - shared objects behind userdata.  Layer 5.
**
** A handle is a full userdata that holds one reference to an Obj.  Within a state an object (and
** each of a channel's views) has one handle, found by address in a weak table, and so has an
** object's function, which is a C function with the handle as its upvalue.  Metatables, and
** the methods in them, are made when they are first needed.  A state's handles are in a list, so that
** a goroutine's can be dropped without a collection.
**
** An image may hold handles that are bound to their objects in each copy (handle_blank, ..._bind).
** They cannot be in the weak table, whose keys are the objects' addresses: they are looked at
** first, and found through the state's keep (image.h).  Nor are they in the list, since their places
** are known: State.bound tells which of them live.
*/
#ifndef GORO_HANDLE_H
#define GORO_HANDLE_H

#include "state.h"

#pragma GCC visibility push(hidden)

typedef struct Handle {
  uintptr_t magic;                     /* [I] tells it from others' userdata (handle.c) */
  Obj *o;                              /* NULL: collected */
  uint32_t held;                       /* how often this state's goroutine holds it, where its
                                          bindings count that */
  uint8_t view;                        /* [I] */
  uint8_t slot;                        /* [I] in an image: its place in the keep; 0: it is a Listed */
  uint16_t spare;                      /* references to 'o' more than one: lend() */
} Handle;

typedef struct Listed {                /* in State.handles */
  Handle h;
  struct Listed *next, **link;         /* 'link': what points to it; NULL: not in it (any more) */
} Listed;

typedef struct HandleType {
  const char *name;                    /* in errors and tostring */
  const luaL_Reg *methods;
  const luaL_Reg *meta;                /* further metamethods, or NULL */
  lua_CFunction call;                  /* VIEW_CALL: a function with the handle as upvalue */
  lua_CFunction index;                 /* __index, if there is more than methods: these are its
                                          upvalue */
} HandleType;

/* Filled by layer 6 before the first state: the types, and how many user values their handles
** have. */
extern const HandleType *handle_types[OBJ_NTYPES];
extern uint8_t handle_slots[OBJ_NTYPES];

void handle_prepare (lua_State *L);    /* a template: what most goroutines need */
/* A template: push a handle of 'type' that is to be bound, number 'slot' of the keep; with the
** methods whose names 'code' mentions. */
Handle *handle_blank (lua_State *L, State *s, int type, int view, int slot, const char *code,
                      size_t len);
/* A copy: 'h' shall stand for 'o', a reference that it takes over. */
void handle_bind (State *s, Handle *h, Obj *o);
int handle_index (lua_State *L);       /* __index of a methods table: C function */
bool handle_alive (lua_State *L, const Handle *h);   /* right after a collection; pushes two values */
Handle *handle_next (const State *s, const Handle *h);     /* all of a state's: NULL begins and ends */
void handle_disown_all (State *s);     /* of a host that ends */
void handle_release_all (State *s);              /* a state that is dropped as it is */
/*
** A handle is told by its size, one of two, and by a word in it that no other userdata has: its own
** address and that of this library, mixed.  (A look at the metatable would take six calls of Lua's.)
*/
#define HANDLE_MAGIC(h) ((uintptr_t)(h) ^ (uintptr_t)&handle_types)
static inline Handle *handle_any (lua_State *L, int idx) {       /* collected ones too */
  Handle *h = lua_touserdata(L, idx);
  size_t size = h != NULL ? lua_rawlen(L, idx) : 0;          /* (0 of a light userdata) */
  return (size == sizeof(Handle) || size == sizeof(Listed)) && h->magic == HANDLE_MAGIC(h) ? h : NULL;
}
/* NULL: not one of ours. */
static inline Handle *handle_test (lua_State *L, int idx) {
  Handle *h = handle_any(L, idx);
  return h != NULL && h->o != NULL ? h : NULL;
}
Handle *handle_of_function (lua_State *L, int idx);  /* if it is an object's: VIEW_CALL; or NULL */
/* A handle that was finalised, and is still seen as a key of a weak table? */
bool handle_is_dead (lua_State *L, int idx);
/* The object at argument 'arg'; raises if it is not of that type. */
void handle_fail (lua_State *L, int arg, int type);
static inline Handle *handle_check (lua_State *L, int arg, int type) {
  Handle *h = handle_test(L, arg);
  if (h == NULL || h->o->type != type) handle_fail(L, arg, type);
  return h;
}
void handle_push (lua_State *L, State *s, Obj *o, int view);   /* takes a reference of its own */
/* The same with a reference that it takes over, also when it raises; NULL: not enough memory. */
void handle_push_taken (lua_State *L, State *s, Obj *o, int view);
static inline void handle_push_new (lua_State *L, State *s, Obj *o) {
  handle_push_taken(L, s, o, VIEW_BOTH);
}

#pragma GCC visibility pop

#endif
