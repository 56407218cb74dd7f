/*
** tsanjmp.c - preloaded under ThreadSanitizer, whose library knows longjmp but neither _longjmp
** nor __longjmp_chk, which is what Lua jumps by: every yield and error would leave the frames it
** jumps over on the sanitizer's shadow stack, until that is full and the program is killed.
*/
#include <dlfcn.h>
#include <stdlib.h>

void _longjmp (void *env, int value);
void __longjmp_chk (void *env, int value);

static void (*known)(void *, int);

__attribute__((constructor)) static void find (void) {
  known = (void (*)(void *, int))dlsym(RTLD_DEFAULT, "longjmp");
}

void _longjmp (void *env, int value) {
  known(env, value);
  abort();
}

void __longjmp_chk (void *env, int value) {
  known(env, value);
  abort();
}
