/* nat_batch.c - a batch turned into the arrays of a step, its tokens into room in the KV. */
#include "engine/native/nat_int.h"

#include <string.h>

static void set_mask(const engine *e, const nat_mask *m, size_t i)
{
    int32_t seen[2];
    engine_mask_range(m->kind, m->window, e->step.index[i], e->step.row[i].visible_end, seen);
    m->lo[i] = seen[0];
    m->hi[i] = seen[1];
}

static void copy_pages(engine *e, const kv_copy *copies, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t g = 0; g < e->plan->n_group; g++) {
            const nat_kv_group *mem = &e->group[g];
            if (mem->books != copies[i].group)
                continue;
            uint8_t *to = mem->mem + (size_t)copies[i].to * mem->page_bytes;
            if (copies[i].from < 0)
                memset(to, 0, mem->page_bytes);
            else
                memcpy(to, mem->mem + (size_t)copies[i].from * mem->page_bytes, mem->page_bytes);
        }
}

static int32_t len_of(const void *user, int32_t seq)
{
    const kv_cache *kv = user;
    return kv_alive(kv, seq) ? kv_len(kv, seq) : -1;
}

static cama_err take_rows(engine *e, const engine_batch *b, err_info *err)
{
    engine_limits l = {.n_ctx = e->opts.n_ctx,
                       .n_batch = e->opts.n_batch,
                       .n_vocab = e->plan->n_vocab,
                       .n_pos = e->n_pos,
                       .has_axes = e->has_axes,
                       .len = len_of,
                       .user = e->kv,
                       .prev = e->prev};
    for (size_t i = 0; i < 3; i++)
        l.gives[i] = e->out_node[i] >= 0;
    return engine_take_rows(&l, b, &e->step, err);
}

cama_err nat_begin(engine *e, const engine_batch *b, err_info *err)
{
    cama_err fail = take_rows(e, b, err);
    if (fail)
        return fail;
    const size_t n_cand = e->step.n_row[ENGINE_OUT] * ((size_t)b->n_candidate + b->n_id);
    if (n_cand > e->max_cand)
        return err_set(err, CAMA_ERR_LIMIT, "%zu candidates in one step, limit %zu", n_cand,
                       e->max_cand);
    for (size_t i = 0; i < e->step.n_run; i++)
        e->kv_need[i] = (kv_need){.seq = e->step.run[i].seq, .n_new = (int32_t)e->step.run[i].n};
    const kv_copy *copies;
    size_t n_copy;
    fail = kv_extend(e->kv, e->kv_need, e->step.n_run, &copies, &n_copy, err);
    if (fail)
        return fail;
    copy_pages(e, copies, n_copy);
    for (size_t i = 0; i < b->n_row; i++)
        for (size_t m = 0; m < e->n_mask; m++)
            set_mask(e, &e->mask[m], i);
    return CAMA_OK;
}

static void rope_row(const engine *e, const nat_rope *rope, size_t row)
{
    const size_t half = rope->par->n_rot / 2;
    engine_rope_row(rope->par, e->step.row[row].pos, rope->cos + row * half,
                    rope->sin + row * half);
}

void nat_rope_tables(engine *e, int t)
{
    size_t from, to;
    nat_share(e, e->step.n_row[ENGINE_IN], t, &from, &to);
    for (size_t i = 0; i < e->n_rope; i++)
        for (size_t r = from; r < to; r++)
            rope_row(e, &e->rope[i], r);
}
