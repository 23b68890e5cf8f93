/* sample_recent.h - how often each token came among the last n of a sequence.
 *
 * A ring of the tokens themselves, and beside it a table id -> count (open addressing, linear
 * probing, never more than half full), so that a look-up is O(1) however long the window is.
 */
#ifndef SAMPLE_RECENT_H
#define SAMPLE_RECENT_H

#include "base/err.h"

typedef struct sample_count {
    int32_t id;
    uint32_t count; /* 0: the slot is empty */
} sample_count;

typedef struct sample_recent {
    int32_t *ring; /* [n_max] */
    uint32_t n_max, n, at;
    sample_count *slots; /* [mask + 1] */
    uint32_t mask;
} sample_recent;

/* n_max 0 takes nothing and counts nothing. */
cama_err recent_init(sample_recent *r, uint32_t n_max);
void recent_done(sample_recent *r);
void recent_push(sample_recent *r, int32_t id);
uint32_t recent_count(const sample_recent *r, int32_t id);

#endif
