/*
** poison.h - free blocks that a checker sees as free.  Layer 0.
**
** What is cut from larger pieces of memory is, to AddressSanitizer and valgrind, in use as long
** as the piece is.  Where one of them looks on they are told: whoever reads or writes a block
** between hide and show is reported, be it goro, Lua or a C module.  (Lua itself built with
** AddressSanitizer, or any Lua under valgrind.)  Nothing elsewhere.
**
**   poison_hide(p, n)     nobody may touch it
**   poison_show(p, n)     handed out anew: its contents mean nothing
**   poison_peek(p, n)     what is in it counts, as if it had never been hidden
*/
#ifndef GORO_POISON_H
#define GORO_POISON_H

#if !defined(__has_feature)
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define POISON_ASAN
#include <sanitizer/asan_interface.h>
#elif defined(GORO_VALGRIND)
#include <valgrind/memcheck.h>
#endif

#pragma GCC visibility push(hidden)

#if defined(POISON_ASAN)
#define poison_hide(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define poison_show(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#define poison_peek(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#elif defined(GORO_VALGRIND)
#define poison_hide(p, n) ((void)VALGRIND_MAKE_MEM_NOACCESS(p, n))
#define poison_show(p, n) ((void)VALGRIND_MAKE_MEM_UNDEFINED(p, n))
#define poison_peek(p, n) ((void)VALGRIND_MAKE_MEM_DEFINED(p, n))
#else
#define poison_hide(p, n) ((void)0)
#define poison_show(p, n) ((void)0)
#define poison_peek(p, n) ((void)0)
#endif

#pragma GCC visibility pop

#endif
