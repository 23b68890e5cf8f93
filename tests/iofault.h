/* iofault.h - file operations that fail on demand, one by one, or at which the process ends.
 *
 * Name the test file test_<room>_<topic>_iofault.c: it is then linked with iofault.c, and the
 * linker sends what our own code calls to read, write and arrange files through it (-Wl,--wrap).
 * Linux only. One thread at a time.
 *
 * It also watches the order: a file must be flushed before it is renamed, and its folder after.
 */
#ifndef IOFAULT_H
#define IOFAULT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum iofault_mode {
    IOFAULT_ONCE,   /* the k-th operation fails, the others succeed */
    IOFAULT_ONWARD, /* it and all that write behind it fail: the disk is full */
    IOFAULT_EXIT    /* the process ends in its middle: a write is half done, all else not at all */
} iofault_mode;

#define IOFAULT_STATUS 77 /* the exit status of IOFAULT_EXIT */

/* The k-th operation from now on (0: the next one) fails with this errno. */
void iofault_arm(iofault_mode mode, size_t k, int error);
/* Nothing fails any more. True if the k-th operation came. */
bool iofault_disarm(void);
/* From now on the file system shares blocks (FICLONE succeeds; by copying), or does not. */
void iofault_can_clone(bool can);
/* Renames of a file with unflushed bytes since iofault_arm. */
size_t iofault_unflushed(void);
/* Whether the last rename or mkdir was not followed by a flush of a folder. */
bool iofault_folder_unflushed(void);

#endif
