/* strmap.h - byte strings to a 32-bit value: names of tensors, texts of tokens.
 *
 * Open addressing over a keyed hash, so that a hostile file cannot choose its collisions. Keys are
 * not copied: they must outlive the map. Not thread-safe while written; reads may run in parallel.
 */
#ifndef BASE_STRMAP_H
#define BASE_STRMAP_H

#include "base/err.h"

typedef struct strmap_slot strmap_slot;

typedef struct strmap {
    strmap_slot *slots;
    size_t n_slot; /* a power of two, or 0 */
    size_t n;
    uint64_t key[2];
} strmap;

/* Room for n_hint keys before the first growth; CAMA_ERR_NOMEM leaves an empty, usable map. */
cama_err strmap_init(strmap *m, size_t n_hint);
void strmap_done(strmap *m);

/* *out_found (not NULL) is false when key is new and now holds value, and true when it was there
 * already: the map is then unchanged. CAMA_ERR_NOMEM leaves both as they were.
 * Amortised O(n_key). */
cama_err strmap_add(strmap *m, const char *key, size_t n_key, uint32_t value, bool *out_found);
/* The same, but a key that is there takes the new value (the last one wins). */
cama_err strmap_set(strmap *m, const char *key, size_t n_key, uint32_t value);
bool strmap_get(const strmap *m, const char *key, size_t n_key, uint32_t *out_value);

#endif
