#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define ARENA_GAP 16
#define ARENA_POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define ARENA_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define ARENA_GAP 0
#define ARENA_POISON(p, n) ((void)0)
#define ARENA_UNPOISON(p, n) ((void)0)
#endif

#define ARENA_ALIGN 16
#define ARENA_BLOCK_BYTES 65536

struct arena_block {
    arena_block *next;
    size_t size; /* of data */
    size_t used;
    size_t pad; /* keeps data aligned to ARENA_ALIGN */
    unsigned char data[];
};

void arena_init(arena *a, size_t max_bytes)
{
    *a = (arena){.max_bytes = max_bytes};
}

void arena_done(arena *a)
{
    arena_block *b = a->head;
    while (b) {
        arena_block *next = b->next;
        ARENA_UNPOISON(b->data, b->size);
        free(b);
        b = next;
    }
    a->head = NULL;
    a->used_bytes = 0;
}

void arena_reset(arena *a)
{
    arena_block *b = a->head;
    if (!b || b->size > ARENA_BLOCK_BYTES) { /* a large block would stay for good */
        arena_done(a);
        return;
    }
    a->head = b->next;
    arena_done(a);
    ARENA_UNPOISON(b->data, b->size);
    memset(b->data, 0, b->used);
    ARENA_POISON(b->data, b->size);
    b->next = NULL;
    b->used = 0;
    a->head = b;
}

static arena_block *add_block(arena *a, size_t need)
{
    const size_t size = need > ARENA_BLOCK_BYTES ? need : ARENA_BLOCK_BYTES;
    size_t total;
    if (ckd_add(&total, size, sizeof(arena_block)))
        return NULL;
    arena_block *b = calloc(1, total);
    if (!b)
        return NULL;
    b->size = size;
    b->next = a->head;
    a->head = b;
    ARENA_POISON(b->data, b->size);
    return b;
}

void *arena_take(arena *a, size_t n)
{
    size_t need;
    if (ckd_add(&need, n ? n : 1, ARENA_ALIGN - 1 + ARENA_GAP))
        return NULL;
    need &= ~(size_t)(ARENA_ALIGN - 1);
    if (need > a->max_bytes - a->used_bytes)
        return NULL;
    arena_block *b = a->head;
    if (!b || b->size - b->used < need) {
        b = add_block(a, need);
        if (!b)
            return NULL;
    }
    void *p = b->data + b->used;
    ARENA_UNPOISON(p, n);
    b->used += need;
    a->used_bytes += need;
    return p;
}

void *arena_take_array(arena *a, size_t n, size_t size)
{
    size_t total;
    return ckd_mul(&total, n, size) ? NULL : arena_take(a, total);
}

char *arena_copy(arena *a, const char *bytes, size_t n)
{
    size_t total;
    if (ckd_add(&total, n, 1))
        return NULL;
    char *p = arena_take(a, total);
    if (p && n)
        memcpy(p, bytes, n);
    return p;
}
