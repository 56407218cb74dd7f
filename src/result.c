/*
** result.c - how a goroutine ended.  Layer 2.
*/
#include <stdio.h>
#include <stdlib.h>
#include "result.h"

Result *result_new (bool ok, Value *v, char *traceback, char *text) {
  Result *r = malloc(sizeof *r);
  if (r == NULL) {
    value_drop(v);
    free(traceback);
    free(text);
    return NULL;
  }
  store_rlx(&r->refs, 1);
  store_rlx(&r->seen, 0);
  r->ok = ok;
  r->v = *v;
  *v = NIL_VALUE;
  r->traceback = traceback;
  r->text = text;
  return r;
}

static char no_memory_text[] = "a goroutine ended, but there was no memory for how";
static Result no_memory = { .refs = 1, .text = no_memory_text };   /* that one is nobody's */

Result *result_no_memory (void) { return result_ref(&no_memory); }
bool result_is_no_memory (const Result *r) { return r == &no_memory; }

void result_report (Result *r) {
  char *line;
  size_t size;
  if (r->ok || load_rlx(&r->seen) || r->text == NULL) return;
  store_rlx(&r->seen, 1);
  size = strlen(r->text) + (r->traceback ? strlen(r->traceback) : 0) + 8;
  line = malloc(size);
  if (line == NULL) return;
  snprintf(line, size, "%s\n%s%s", r->text, r->traceback ? r->traceback : "",
           r->traceback ? "\n" : "");
  fputs(line, stderr);                 /* one write */
  fflush(stderr);
  free(line);
}

void result_unref (Result *r) {
  if (sub_acqrel(&r->refs, 1) != 1) return;
  result_report(r);
  value_drop(&r->v);
  free(r->traceback);
  free(r->text);
  free(r);
}
