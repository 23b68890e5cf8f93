/* arena.h - memory with one lifetime: taken piece by piece, dropped at once.
 *
 * Name an arena by its lifetime (model_arena, request_arena). Pieces are 16-byte aligned, zeroed,
 * and never move. Under AddressSanitizer a poisoned gap lies between pieces. Not thread-safe.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

typedef struct arena_block arena_block;

typedef struct arena {
    arena_block *head; /* newest block */
    size_t used_bytes; /* sum of what was asked for, rounded to alignment */
    size_t max_bytes;  /* limit for used_bytes */
} arena;

/* In the caller's storage; takes nothing yet. max_bytes bounds the arena's life. */
void arena_init(arena *a, size_t max_bytes);
void arena_done(arena *a); /* frees all; the arena may be used again with the same limit */
/* As arena_done, but keeps one block for what comes next: for an arena that is filled and dropped
 * again and again. */
void arena_reset(arena *a);

/* n zeroed bytes, or NULL: out of memory, or past the limit. n = 0 gives a unique pointer. */
void *arena_take(arena *a, size_t n);
/* n * size with the product checked. */
void *arena_take_array(arena *a, size_t n, size_t size);
/* A copy of n bytes plus a terminating NUL. */
char *arena_copy(arena *a, const char *bytes, size_t n);

#endif
