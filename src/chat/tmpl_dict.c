/* Python's dict: insertion order, keys that can be hashed, equal numbers are one key. */
#include "chat/tmpl_int.h"

#include <math.h>
#include <string.h>

#define LINEAR_MAX 8 /* entries that are searched without an index */

static uint64_t mix(uint64_t h)
{
    uint64_t x = h;
    x ^= x >> 33;
    x *= 0xFF51AFD7ED558CCDu;
    x ^= x >> 33;
    return x;
}

static uint64_t hash_bytes(const char *p, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001B3u;
    return mix(h);
}

static uint64_t hash_double(double f)
{
    if (f == floor(f) && f >= -9.2e18 && f <= 9.2e18)
        return mix((uint64_t)(int64_t)f); /* equal to an int: hashed as one */
    uint64_t bits;
    memcpy(&bits, &f, sizeof bits);
    return mix(bits);
}

static uint64_t hash_value(trun *r, tval v)
{
    uint64_t h = v.kind;
    switch (v.kind) {
    case V_BOOL:
        return mix((uint64_t)v.u.b);
    case V_INT:
        return mix((uint64_t)v.u.i);
    case V_FLOAT:
        return hash_double(v.u.f);
    case V_STR:
    case V_BIG:
        return hash_bytes(v.u.s->p, v.u.s->n);
    case V_TUPLE:
        if (!tmpl_enter(r))
            return 0;
        for (size_t i = 0; i < v.u.list->n; i++)
            h = mix(h * 31 + hash_value(r, v.u.list->items[i]));
        tmpl_leave(r);
        return h;
    case V_LIST:
    case V_DICT:
    case V_VIEW:
        (void)tmpl_fail(r, "unhashable type: '%s'", tmpl_type(v)); /* sticks in r */
        return 0;
    default:
        return mix(h);
    }
}

tdict *tmpl_dict_new(trun *r)
{
    return tmpl_take(r, sizeof(tdict));
}

static void index_add(tdict *d, uint64_t hash, size_t entry)
{
    size_t i = hash & (d->n_index - 1);
    while (d->index[i])
        i = (i + 1) & (d->n_index - 1);
    d->index[i] = (uint32_t)entry + 1;
}

static bool build_index(trun *r, tdict *d, size_t n_index)
{
    uint32_t *index = tmpl_take_array(r, n_index, sizeof *index);
    if (!index)
        return false;
    d->index = index;
    d->n_index = n_index;
    for (size_t i = 0; i < d->n; i++)
        index_add(d, d->entries[i].hash, i);
    return true;
}

static bool matches(trun *r, const tentry *e, tval key, uint64_t hash)
{
    if (e->hash != hash)
        return false;
    if (e->key.kind == V_STR && key.kind == V_STR)
        return e->key.u.s->n == key.u.s->n && memcmp(e->key.u.s->p, key.u.s->p, key.u.s->n) == 0;
    return tmpl_equal(r, e->key, key);
}

static tentry *find(trun *r, const tdict *d, tval key, uint64_t hash)
{
    if (r->fail)
        return NULL;
    if (!d->n_index) {
        for (size_t i = 0; i < d->n; i++) {
            if (matches(r, &d->entries[i], key, hash))
                return &d->entries[i];
        }
        return NULL;
    }
    for (size_t i = hash & (d->n_index - 1); d->index[i]; i = (i + 1) & (d->n_index - 1)) {
        tentry *e = &d->entries[d->index[i] - 1];
        if (!tmpl_step(r, 1))
            return NULL;
        if (matches(r, e, key, hash))
            return e;
    }
    return NULL;
}

static bool make_room(trun *r, tdict *d)
{
    if (d->n == d->cap) {
        const size_t cap = d->cap ? 2 * d->cap : 4;
        tentry *more = tmpl_take_array(r, cap, sizeof *more);
        if (!more)
            return false;
        if (d->n)
            memcpy(more, d->entries, d->n * sizeof *more);
        d->entries = more;
        d->cap = cap;
    }
    if (d->n >= LINEAR_MAX && 2 * (d->n + 1) > d->n_index)
        return build_index(r, d, d->n_index ? 2 * d->n_index : 4 * LINEAR_MAX);
    return true;
}

bool tmpl_dict_put(trun *r, tdict *d, tval key, tval value)
{
    if (!d || r->fail)
        return false;
    const uint64_t hash = hash_value(r, key);
    tentry *e = find(r, d, key, hash);
    if (r->fail)
        return false;
    if (e) {
        e->value = value;
        return true;
    }
    if (!make_room(r, d))
        return false;
    d->entries[d->n] = (tentry){key, value, hash};
    if (d->n_index)
        index_add(d, hash, d->n);
    d->n++;
    return true;
}

bool tmpl_dict_get(trun *r, const tdict *d, tval key, tval *out)
{
    const tentry *e = find(r, d, key, hash_value(r, key));
    if (e)
        *out = e->value;
    return e != NULL;
}

bool tmpl_dict_get_text(trun *r, const tdict *d, const tstr *key, tval *out)
{
    return tmpl_dict_get(r, d, tmpl_str_val(key), out);
}

bool tmpl_dict_remove(trun *r, tdict *d, tval key, tval *out)
{
    tentry *e = find(r, d, key, hash_value(r, key));
    if (!e || !tmpl_step(r, d->n / 16))
        return false;
    *out = e->value;
    const size_t i = (size_t)(e - d->entries);
    memmove(e, e + 1, (d->n - i - 1) * sizeof *e);
    d->n--;
    if (!d->n_index)
        return true;
    memset(d->index, 0, d->n_index * sizeof *d->index); /* every later entry has moved */
    for (size_t k = 0; k < d->n; k++)
        index_add(d, d->entries[k].hash, k);
    return true;
}
