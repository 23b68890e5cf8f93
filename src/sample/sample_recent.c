#include "sample/sample_recent.h"

#include <stdlib.h>

cama_err recent_init(sample_recent *r, uint32_t n_max)
{
    *r = (sample_recent){.n_max = n_max};
    if (!n_max)
        return CAMA_OK;
    uint32_t n_slot = 2;
    while (n_slot < 2 * n_max)
        n_slot *= 2;
    r->mask = n_slot - 1;
    r->ring = calloc(n_max, sizeof *r->ring);
    r->slots = calloc(n_slot, sizeof *r->slots);
    if (r->ring && r->slots)
        return CAMA_OK;
    recent_done(r);
    return CAMA_ERR_NOMEM;
}

void recent_done(sample_recent *r)
{
    free(r->ring);
    free(r->slots);
    *r = (sample_recent){0};
}

/* Ids are small and dense: a multiplication spreads them. */
static uint32_t home_of(const sample_recent *r, int32_t id)
{
    return ((uint32_t)id * 2654435769u >> 7) & r->mask;
}

/* The slot that holds id, or the empty one where it belongs. Ends: half the slots are empty. */
static uint32_t slot_of(const sample_recent *r, int32_t id)
{
    uint32_t i = home_of(r, id);
    while (r->slots[i].count && r->slots[i].id != id)
        i = (i + 1) & r->mask;
    return i;
}

/* Empties slot i and moves back whatever a probe would no longer reach past the gap. */
static void clear_slot(sample_recent *r, uint32_t i)
{
    uint32_t next = i;
    for (;;) {
        r->slots[i].count = 0;
        uint32_t home;
        do {
            next = (next + 1) & r->mask;
            if (!r->slots[next].count)
                return;
            home = home_of(r, r->slots[next].id);
        } while (((next - home) & r->mask) < ((next - i) & r->mask));
        r->slots[i] = r->slots[next];
        i = next;
    }
}

static void forget(sample_recent *r, int32_t id)
{
    const uint32_t i = slot_of(r, id);
    if (r->slots[i].count > 1)
        r->slots[i].count--;
    else
        clear_slot(r, i);
}

void recent_push(sample_recent *r, int32_t id)
{
    if (!r->n_max)
        return;
    if (r->n == r->n_max)
        forget(r, r->ring[r->at]);
    else
        r->n++;
    r->ring[r->at] = id;
    r->at = r->at + 1 == r->n_max ? 0 : r->at + 1;
    const uint32_t i = slot_of(r, id);
    r->slots[i].id = id;
    r->slots[i].count++;
}

uint32_t recent_count(const sample_recent *r, int32_t id)
{
    if (!r->n)
        return 0;
    return r->slots[slot_of(r, id)].count;
}
