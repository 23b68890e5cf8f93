/* kern_guard.h - memory that ends at a page nobody may touch: an over-read or over-write faults. */
#ifndef KERN_GUARD_H
#define KERN_GUARD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

typedef struct guard {
    uint8_t *base;
    size_t n_map;
    void *p; /* the n bytes, the last of them just before the guard page */
} guard;

/* align: a power of two; n is rounded up to it, so that p is aligned. */
static inline guard guard_new(size_t n, size_t align)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t size = (n + align - 1) / align * align;
    const size_t body = (size + page - 1) / page * page;
    guard g = {.n_map = body + page};
    g.base = mmap(NULL, g.n_map, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.base != MAP_FAILED);
    assert_int_equal(mprotect(g.base + body, page, PROT_NONE), 0);
    g.p = g.base + body - size;
    return g;
}

static inline void guard_free(guard *g)
{
    (void)munmap(g->base, g->n_map);
}

#endif
