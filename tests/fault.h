/* fault.h - allocations that fail on demand, one by one.
 *
 * Name the test file test_<room>_<topic>_fault.c: it is then linked with fault.c, and the linker
 * sends malloc, calloc, realloc, posix_memalign, aligned_alloc, strdup and strndup of our own code
 * through it (-Wl,--wrap), and mmap and pthread_create too. What shared libraries (libc, PCRE2,
 * json-c) take for themselves is not counted and does not fail. Linux only; run it under ASan,
 * where a leak or a use of what was not allocated shows.
 *
 *     static cama_err load(void *arg, err_info *err)
 *     {
 *         gguf_file *f;
 *         const cama_err e = gguf_open(arg, &f, err);
 *         if (!e)
 *             gguf_close(f);
 *         return e;
 *     }
 *     assert_true(fault_sweep(FAULT_HEAP, load, TEST_DATA("tiny.gguf")) > 5);
 */
#ifndef FAULT_H
#define FAULT_H

#include "base/err.h"

#define FAULT_HEAP 0x1u   /* malloc and its family */
#define FAULT_MMAP 0x2u   /* mmap gives MAP_FAILED, errno ENOMEM */
#define FAULT_THREAD 0x4u /* pthread_create gives EAGAIN */

/* From now on the k-th event (0: the next one) of these kinds fails, on whatever thread; those
 * before and after it succeed. */
void fault_arm(unsigned kinds, size_t k);
/* Nothing fails any more. True if something did since fault_arm. */
bool fault_disarm(void);
/* Events of the armed kinds since fault_arm, the failed one among them. */
size_t fault_seen(void);

/* Calls attempt again and again, with event 0, 1, 2, ... failing, until one attempt meets no
 * failure; that one must give CAMA_OK. An attempt that met a failure must give CAMA_ERR_NOMEM (or
 * CAMA_OK, if fault_allow_ok was called: code that can do without the memory),
 * and must have freed what it took. Gives the number of events that were made to fail. Checks by
 * cmocka's asserts; a sweep past 100,000 events is a failure too. */
size_t fault_sweep(unsigned kinds, cama_err (*attempt)(void *arg, err_info *err), void *arg);
void fault_allow_ok(bool allow); /* for the sweeps that follow */

#endif
