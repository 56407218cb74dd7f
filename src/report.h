/*
** report.h - goroutines as text: stacks, deadlocks, where one was created.  Layer 5.
*/
#ifndef GORO_REPORT_H
#define GORO_REPORT_H

#include "state.h"

#pragma GCC visibility push(hidden)

/* A growing text; what finds no memory is left out.  Zeroed: empty. */
typedef struct Text { char *s; size_t len, cap; } Text;

void text_add (Text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_add_plain (Text *t, const char *s);    /* control characters as blanks */
void text_add_seconds (Text *t, int64_t ns);     /* "1.500", whatever the locale */
void text_free (Text *t);
void text_push (lua_State *L, Text *t);  /* as a string, and free it, also if that raises */

/* Traceback of a thread of another state, which nobody runs. */
void report_traceback (Text *t, lua_State *L);

/* "\ncreated by main at script.lua:12" */
void report_origin (Text *t, const State *s);

/* Of one that does not run: what it waits on; its traceback and origin. */
void report_waiting (Text *t, G *g);
void report_where (Text *t, const State *s);

/* All goroutines of a host and where they wait: a malloc'ed text, NULL without memory.  Only
** where none of them can run meanwhile: a deadlock. */
char *report_deadlock (Host *h, const char *head);

/*
** All goroutines of a host: who they are, what they do, since when, and where.  The world stands
** still, but for 'self', whose running lua_State is L (NULL: the caller is none of them).
*/
void report_stacks (Text *t, Host *h, State *self, lua_State *L);

/*
** The same by groups of those in the same state at the same place, a line each: "group", how many,
** the longest wait in seconds and whose it is, state, place, the function of the goroutine.
*/
void report_groups (Text *t, Host *h);

#pragma GCC visibility pop

#endif
