#include "base/strmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "base/plat.h"

struct strmap_slot {
    const char *key; /* NULL: free */
    uint32_t n_key;
    uint32_t value;
    uint64_t hash;
};

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012): short keys, and not predictable from outside. */
static uint64_t hash_bytes(const uint64_t key[2], const char *bytes, size_t n)
{
    uint64_t v0 = key[0] ^ 0x736f6d6570736575u;
    uint64_t v1 = key[1] ^ 0x646f72616e646f6du;
    uint64_t v2 = key[0] ^ 0x6c7967656e657261u;
    uint64_t v3 = key[1] ^ 0x7465646279746573u;
    const size_t n_word = n / 8;

    for (size_t i = 0; i <= n_word + 3; i++) {
        uint64_t m = 0;
        if (i < n_word) {
            memcpy(&m, bytes + 8 * i, 8);
        } else if (i == n_word) {
            if (n % 8)
                memcpy(&m, bytes + 8 * i, n % 8);
            m |= (uint64_t)n << 56;
        } else if (i == n_word + 1) {
            v2 ^= 0xFF; /* finalisation: this round and the two that follow */
        }
        v3 ^= m;
        v0 += v1;
        v1 = rotl(v1, 13) ^ v0;
        v0 = rotl(v0, 32);
        v2 += v3;
        v3 = rotl(v3, 16) ^ v2;
        v0 += v3;
        v3 = rotl(v3, 21) ^ v0;
        v2 += v1;
        v1 = rotl(v1, 17) ^ v2;
        v2 = rotl(v2, 32);
        v0 ^= m;
    }
    return v0 ^ v1 ^ v2 ^ v3;
}

static strmap_slot *find_slot(strmap_slot *slots, size_t n_slot, const char *key, size_t n_key,
                              uint64_t hash)
{
    const size_t mask = n_slot - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        strmap_slot *s = &slots[i];
        if (!s->key || (s->hash == hash && s->n_key == n_key && !memcmp(s->key, key, n_key)))
            return s;
    }
}

static cama_err grow(strmap *m, size_t n_want)
{
    size_t n_slot = 16;
    while (n_slot / 4 * 3 < n_want)
        if (ckd_mul(&n_slot, n_slot, (size_t)2))
            return CAMA_ERR_NOMEM;
    strmap_slot *slots = calloc(n_slot, sizeof *slots);
    if (!slots)
        return CAMA_ERR_NOMEM;
    for (size_t i = 0; i < m->n_slot; i++) {
        const strmap_slot *s = &m->slots[i];
        if (s->key)
            *find_slot(slots, n_slot, s->key, s->n_key, s->hash) = *s;
    }
    free(m->slots);
    m->slots = slots;
    m->n_slot = n_slot;
    return CAMA_OK;
}

cama_err strmap_init(strmap *m, size_t n_hint)
{
    *m = (strmap){0};
    plat_random(m->key, sizeof m->key);
    return n_hint ? grow(m, n_hint) : CAMA_OK;
}

void strmap_done(strmap *m)
{
    free(m->slots);
    *m = (strmap){0};
}

static cama_err slot_for(strmap *m, const char *key, size_t n_key, strmap_slot **out)
{
    if (n_key > UINT32_MAX)
        return CAMA_ERR_LIMIT;
    if (m->n + 1 > m->n_slot / 4 * 3) {
        const cama_err e = grow(m, (m->n + 1) * 2);
        if (e)
            return e;
    }
    const uint64_t hash = hash_bytes(m->key, key, n_key);
    strmap_slot *s = find_slot(m->slots, m->n_slot, key, n_key, hash);
    s->hash = hash; /* a free slot keeps key NULL until the caller fills it */
    *out = s;
    return CAMA_OK;
}

static void fill_slot(strmap *m, strmap_slot *s, const char *key, size_t n_key, uint32_t value)
{
    s->key = key;
    s->n_key = (uint32_t)n_key;
    s->value = value;
    m->n++;
}

cama_err strmap_add(strmap *m, const char *key, size_t n_key, uint32_t value, bool *out_found)
{
    strmap_slot *s;
    const cama_err e = slot_for(m, key, n_key, &s);
    if (e)
        return e;
    *out_found = s->key != NULL;
    if (!s->key)
        fill_slot(m, s, key, n_key, value);
    return CAMA_OK;
}

cama_err strmap_set(strmap *m, const char *key, size_t n_key, uint32_t value)
{
    strmap_slot *s;
    const cama_err e = slot_for(m, key, n_key, &s);
    if (e)
        return e;
    if (s->key)
        s->value = value;
    else
        fill_slot(m, s, key, n_key, value);
    return CAMA_OK;
}

bool strmap_get(const strmap *m, const char *key, size_t n_key, uint32_t *out_value)
{
    if (m->n_slot == 0 || n_key > UINT32_MAX)
        return false;
    const uint64_t hash = hash_bytes(m->key, key, n_key);
    const strmap_slot *s = find_slot(m->slots, m->n_slot, key, n_key, hash);
    if (!s->key)
        return false;
    *out_value = s->value;
    return true;
}
