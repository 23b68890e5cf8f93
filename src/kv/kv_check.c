#include "kv/kv.h"

#include <stdlib.h>

#include "kv/kv_int.h"

/* Counts in n_ref what sequences and checkpoints name; gives false at a number out of range. */
static bool count(uint32_t *n_ref, const kv_pool *p, int32_t i)
{
    if (i < 0 || (uint32_t)i >= p->n)
        return false;
    n_ref[i]++;
    return true;
}

static cama_err compare(const kv_pool *p, const uint32_t *n_ref, const char *what, size_t g,
                        err_info *err)
{
    uint32_t n_free = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        n_free += i < p->n_open && n_ref[i] == 0;
        if (n_ref[i] && (i >= p->n_open || i >= p->n_touched))
            return err_set(err, CAMA_ERR_INTERNAL, "kv: %s %u of group %zu is used, %u are open",
                           what, i, g, p->n_open);
        if (n_ref[i] != p->n_ref[i])
            return err_set(err, CAMA_ERR_INTERNAL,
                           "kv: %s %u of group %zu has %u references, the "
                           "books say %u",
                           what, i, g, n_ref[i], p->n_ref[i]);
    }
    for (uint32_t i = 0; i < p->n_free; i++)
        if (p->n_ref[p->free[i]] != 0)
            return err_set(err, CAMA_ERR_INTERNAL, "kv: %s %d of group %zu is free and used", what,
                           p->free[i], g);
    if (n_free != p->n_free)
        return err_set(err, CAMA_ERR_INTERNAL, "kv: group %zu has %u free %ss, the books say %u", g,
                       n_free, what, p->n_free);
    return CAMA_OK;
}

static cama_err check_group(const kv_cache *kv, size_t g, err_info *err)
{
    uint32_t *n_ref = calloc(kv->page[g].n, sizeof *n_ref);
    if (!n_ref)
        return err_set(err, CAMA_ERR_NOMEM, "kv: no memory to check group %zu", g);
    cama_err e = CAMA_OK;
    for (uint32_t seq = 0; seq < kv->n_seq && !e; seq++) {
        const kv_seq *s = &kv->seq[seq];
        const int32_t *row = kv_row(kv, (int32_t)seq, g);
        if (!s->alive)
            continue;
        for (int32_t i = 0; i < kv_pages_of(s->n_token) && !e; i++)
            if (i < s->first[g] ? row[i] != -1 : !count(n_ref, &kv->page[g], row[i]))
                e = err_set(err, CAMA_ERR_INTERNAL, "kv: sequence %u, group %zu, page %d is %d",
                            seq, g, i, row[i]);
    }
    if (!e)
        e = compare(&kv->page[g], n_ref, "page", g, err);
    free(n_ref);
    return e;
}

static cama_err check_seq_states(const kv_cache *kv, uint32_t seq, uint32_t *n_ref, err_info *err)
{
    const kv_seq *s = &kv->seq[seq];
    if ((s->state < 0) != (s->n_token == 0) ||
        (s->state >= 0 && !count(n_ref, &kv->state, s->state)))
        return err_set(err, CAMA_ERR_INTERNAL, "kv: sequence %u of %d tokens has state %d", seq,
                       s->n_token, s->state);
    for (int32_t i = 0; i < s->n_check; i++)
        if (s->check[i].pos <= (i ? s->check[i - 1].pos : 0) || s->check[i].pos > s->n_token ||
            !count(n_ref, &kv->state, s->check[i].state))
            return err_set(err, CAMA_ERR_INTERNAL, "kv: checkpoint %d of sequence %u at %d: %d", i,
                           seq, s->check[i].pos, s->check[i].state);
    return CAMA_OK;
}

static cama_err check_states(const kv_cache *kv, err_info *err)
{
    uint32_t *n_ref = calloc(kv->state.n, sizeof *n_ref);
    if (!n_ref)
        return err_set(err, CAMA_ERR_NOMEM, "kv: no memory to check the states");
    cama_err e = CAMA_OK;
    for (uint32_t seq = 0; seq < kv->n_seq && !e; seq++)
        if (kv->seq[seq].alive)
            e = check_seq_states(kv, seq, n_ref, err);
    if (!e)
        e = compare(&kv->state, n_ref, "state", 0, err);
    free(n_ref);
    return e;
}

cama_err kv_check(const kv_cache *kv, err_info *err)
{
    cama_err e = CAMA_OK;
    for (size_t g = 0; g < kv->n_group && !e; g++)
        e = check_group(kv, g, err);
    if (!e && kv->state.n)
        e = check_states(kv, err);
    return e;
}
