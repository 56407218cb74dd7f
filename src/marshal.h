/*
** marshal.h - Lua values to Values and Msgs, and back.  Layer 5.
**
** THE FORM of an encoded message, a byte code:
**
**   value    := NIL | FALSE | TRUE | INT8 b | INT i64 | FLT f64 | STR n bytes | LUD p | CFN p
**             | OBJ u32 view | GLOBALS | REF u32 | TABLE body | FUNC code body | LATER_TABLE sizes
**             | LATER_FUNC code | CLASS u32 | MODREF u32 path | MAKE value
**   sizes    := u32 array, u32 hash            how large to make it
**   TABLE    := u8 flags sizes, 'array' values, 'hash' pairs of values, [metatable]
**   FUNC     := u32 length, bytes, u8 nup, then nup of: value | UPREF u32 function, u8 upvalue
**   message  := u32 nshared, u32 n, n values, then the bodies of the LATER ones as they were met
**   fields   := FIELDS u32 n, n pairs          first value of a class's body, see classes.h
**
** Tables, functions and made objects are numbered as they are met; REF names one met before.
** Those below a certain depth, and keys that are tables, are put off (LATER), so that neither
** side recurses.  nshared: how many numbers there are, 0 if none is referred to.  n of a STR is a
** variable-length number, 7 bits a byte.
**
** MAKE: the function that is called for an object (__goro), complete: what was put off in it
** comes before what follows it.
** CLASS: a reference (Msg.objs) to a version of a class, in a class's body one of its deps.
** MODREF: 0, or 1 + the reference to the sender's Heritage; u8 n, n scalars (see modref.h).
*/
#ifndef GORO_MARSHAL_H
#define GORO_MARSHAL_H

#include "handle.h"

#pragma GCC visibility push(hidden)

enum {
  T_NIL, T_FALSE, T_TRUE, T_INT8, T_INT, T_FLT, T_STR, T_LUD, T_CFN, T_OBJ, T_GLOBALS, T_REF,
  T_TABLE, T_FUNC, T_LATER_TABLE, T_LATER_FUNC, T_CLASS, T_MODREF, T_MAKE, T_UPREF, T_FIELDS
};

#define DEPTH 100                      /* nesting before values are put off */
#define MAKE_DEPTH 100                 /* objects with __goro in what their __goro returned */
#define TABLE_HAS_META 1

/*
** Encode the value at 'idx' into '*v', the caller's to give away.  Raises, with nothing held, if
** it cannot cross or memory runs out.
*/
void value_from_lua (lua_State *L, State *s, int idx, Value *v);

/* Encode the 'n' values from 'idx' on as one message.  Raises like value_from_lua. */
Msg *msg_from_lua (lua_State *L, State *s, int idx, int n);

/* The same into 'm', protected: a status of lua_pcall's; an error is on top.  (encode.c) */
int msg_encode (lua_State *L, State *s, Msg *m, int idx, int n);

/* Push '*v' and release it, also when this raises. */
void value_to_lua (lua_State *L, State *s, Value *v);

/* Push the values of 'm' and free it, also when this raises.  Returns how many. */
int msg_to_lua (lua_State *L, State *s, Msg *m);
/* The same for a message that others use too: it stays. */
int msg_to_lua_shared (lua_State *L, State *s, const Msg *m);

/* Like value_from_lua for an error value: what cannot cross becomes its tostring.  false: no
** memory for that either ('*v' is nil). */
bool value_from_error (lua_State *L, State *s, int idx, Value *v);

/* The library of a C function that crosses stays mapped when the sender's state is closed. */
void marshal_pin (lua_CFunction f);
/* Is the table on top an environment that only stands before the globals? */
bool marshal_is_shadow (lua_State *L);

/* Push '*v', which stays as it is (several read it). */
void value_to_lua_shared (lua_State *L, State *s, const Value *v);

#pragma GCC visibility pop

#endif
