/* plat.h - the few things that differ between operating systems, one file for each:
 * plat_linux.c, plat_darwin.c. No other file of the tree calls what only one system has. */
#ifndef BASE_PLAT_H
#define BASE_PLAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n bytes from the system's generator. Aborts the process if the system has none to give: keys
 * that could be guessed are worse than no start. */
void plat_random(void *out, size_t n);

/* Threads that can really run at once: the affinity mask, cut by the cgroup's CPU quota (rounded
 * up). At least 1. */
int plat_n_cpu(void);

/* Bytes that can be taken without swapping: free memory plus reclaimable cache, cut by the
 * cgroup's limit. 0 when the system does not say. */
uint64_t plat_memory_available(void);
uint64_t plat_memory_total(void);
/* Resident bytes of this process now, and at its highest; 0 when unknown. */
uint64_t plat_memory_resident(void);
uint64_t plat_memory_peak(void);

/* Gives memory that was freed back to the system where the allocator would keep it. */
void plat_trim_memory(void);
/* Asks for huge pages behind anonymous memory; a hint, nothing fails. */
void plat_hint_huge(void *p, size_t n);
/* Binds the calling thread to the index-th CPU of the process's mask; a hint, nothing fails. */
void plat_pin_thread(int index);
/* Whether the cores have the byte products and half floats of Armv8.2; false on other machines. */
bool plat_has_dotprod(void);
/* ---- for spawn.c, in a child between fork and exec: no memory, no locks ---- */

/* Closes all descriptors from first to last, whether they are open or not. */
void plat_close_range(int first, int last);
/* Killed when the thread that made this process ends; a hint that not every system takes. */
void plat_die_with_parent(void);

/* Path of this program's file; false: it cannot be found or does not fit. */
bool plat_own_path(char *out, size_t n);
/* "AMD EPYC ..." into out, always terminated. */
void plat_cpu_name(char *out, size_t n);

#endif
