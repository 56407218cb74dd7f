/*
** nodlclose.c - preloaded under sanitizers and valgrind.  Libraries stay mapped, so that a
** report written when the program ends can still name the functions in them; and programs
** that this one starts are not preloaded (shells crash under ThreadSanitizer's library).
*/
#include <stdlib.h>

int dlclose (void *handle);

int dlclose (void *handle) {
  (void)handle;
  return 0;
}

__attribute__((constructor)) static void forget_preload (void) {
  unsetenv("LD_PRELOAD");
}
