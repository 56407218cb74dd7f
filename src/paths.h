/*
** paths.h - where the files of modules were found.  Layer 2.
**
** What package.searchpath does, for the default separators, and remembered.  Nothing here knows Lua.
*/
#ifndef GORO_PATHS_H
#define GORO_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define PATHS_MAX_FILE 1024            /* a file's name, with its NUL */
#define PATHS_MAX_TRIED 4096

typedef enum Found {
  PATH_FOUND,
  PATH_NONE,                           /* there is no such file */
  PATH_STRANGE                         /* it is for Lua's own: too long, a fork's child */
} Found;

/*
** The first file of 'path' for the module 'name' that can be read, into 'file'; those before it,
** or all, as package.searchpath tells of them, into 'tried': 'ltried' bytes, no NUL.  What is
** remembered still holds; but whether a file found can be read is not looked at again unless
** 'readable'.
*/
Found path_search (const char *name, const char *path, bool readable, char *file, char *tried,
                   size_t *ltried);

typedef struct PathStats { uint64_t searches, hits; } PathStats;
PathStats path_stats (void);           /* all, and those that were remembered */

#pragma GCC visibility pop

#endif
