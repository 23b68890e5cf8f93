#include "base/pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/plat.h"

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

void *pages_reserve(size_t n, bool huge)
{
    /* NORESERVE: not counted against the system's promises until it is touched */
    void *p = mmap(NULL, n ? n : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (huge)
        plat_hint_huge(p, n);
    return p;
}

void pages_free(void *p, size_t n)
{
    if (p)
        (void)munmap(p, n ? n : 1); /* fails only for addresses that were never mapped */
}

void pages_drop(void *p, size_t n)
{
    const uintptr_t mask = page_bytes() - 1;
    const uintptr_t from = ((uintptr_t)p + mask) & ~mask;
    const uintptr_t to = ((uintptr_t)p + n) & ~mask;
    /* Mapping anew over the old pages is the one way that gives memory back on every system. */
    if (to > from)
        (void)mmap((void *)from, to - from, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

void pages_will_need(const void *p, size_t n)
{
    const uintptr_t mask = page_bytes() - 1;
    const uintptr_t from = (uintptr_t)p & ~mask;
    (void)posix_madvise((void *)from, (uintptr_t)p + n - from, POSIX_MADV_WILLNEED);
}
