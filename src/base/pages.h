/* pages.h - address space in plenty, memory as it is touched.
 *
 * For buffers whose planned size is large and whose use may be small: scratch of a full batch, the
 * cache of a full context. Zeroed, page-aligned. A touch may still fail (the process is killed)
 * when the system has promised more than it has: plan what will be used before.
 */
#ifndef BASE_PAGES_H
#define BASE_PAGES_H

#include <stdbool.h>
#include <stddef.h>

/* n bytes, or NULL. huge: asks for huge pages, which are taken whole when touched. */
void *pages_reserve(size_t n, bool huge);
void pages_free(void *p, size_t n); /* accepts NULL */
/* Gives the memory back and keeps the addresses; whole pages inside [p, p + n) read as zero. */
void pages_drop(void *p, size_t n);
/* Asks the system to read the file pages behind [p, p + n) ahead; a hint, nothing fails. */
void pages_will_need(const void *p, size_t n);

#endif
