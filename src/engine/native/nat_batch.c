/* nat_batch.c - a batch checked against every rule, then turned into the arrays of a step. */
#include "engine/native/nat_int.h"

#include <math.h>
#include <string.h>

/* ---- checking ---- */

static cama_err bad_row(err_info *err, size_t i, const char *what, long long value, long long limit)
{
    return err_set(err, CAMA_ERR_ARG, "row %zu: %s %lld, limit %lld", i, what, value, limit);
}

static cama_err check_flags(const engine *e, const engine_batch *b, size_t i, err_info *err)
{
    static const struct {
        uint32_t flag;
        plan_output_kind kind;
        const char *name;
    } kinds[] = {{ENGINE_LOGITS, PLAN_OUT_LOGITS, "logits"},
                 {ENGINE_CANDIDATES, PLAN_OUT_LOGITS, "candidates"},
                 {ENGINE_HIDDEN, PLAN_OUT_HIDDEN, "hidden state"},
                 {ENGINE_POOLED, PLAN_OUT_POOLED, "pooled vector"}};
    const uint32_t flags = b->rows[i].flags;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if ((flags & kinds[k].flag) && e->out_node[kinds[k].kind] < 0)
            return err_set(err, CAMA_ERR_UNSUPPORTED, "row %zu: this model gives no %s", i,
                           kinds[k].name);
    if (flags & ~(ENGINE_LOGITS | ENGINE_CANDIDATES | ENGINE_HIDDEN | ENGINE_POOLED))
        return bad_row(err, i, "unknown output flags", flags, 15);
    if ((flags & ENGINE_POOLED) && i + 1 < b->n_row && b->rows[i + 1].seq == b->rows[i].seq)
        return bad_row(err, i, "a pooled vector is asked for before the last row of sequence",
                       b->rows[i].seq, b->rows[i].seq);
    return CAMA_OK;
}

/* What the row brings in; *out_id: the token, or the embedding row. */
static cama_err check_source(const engine *e, const engine_batch *b, size_t i, int32_t *out_id,
                             err_info *err)
{
    const engine_row *r = &b->rows[i];
    *out_id = r->id;
    if (r->source == ENGINE_PREV) {
        *out_id = e->prev[r->seq];
        if (*out_id < 0 || (i && b->rows[i - 1].seq == r->seq))
            return bad_row(err, i, "there is no previous choice for sequence", r->seq, r->seq);
        return CAMA_OK;
    }
    if (r->source == ENGINE_EMBED) {
        if (r->id < 0 || (size_t)r->id >= b->n_embed || !b->embeds)
            return bad_row(err, i, "embedding", r->id, (long long)b->n_embed);
        return CAMA_OK;
    }
    if (r->source != ENGINE_TOKEN)
        return bad_row(err, i, "unknown source", (long long)r->source, ENGINE_EMBED);
    if (r->id < 0 || (size_t)r->id >= e->plan->n_vocab)
        return bad_row(err, i, "token", r->id, (long long)e->plan->n_vocab);
    return CAMA_OK;
}

/* Positions: index is the row's place in its sequence, len what the sequence will have. */
static cama_err check_place(const engine *e, const engine_row *r, size_t i, int32_t index,
                            int32_t len, err_info *err)
{
    for (int k = 0; k < 4; k++)
        if (r->pos[k] < 0 || (uint32_t)r->pos[k] >= e->opts.n_ctx)
            return bad_row(err, i, "position", r->pos[k], e->opts.n_ctx);
    if ((uint64_t)r->pos[0] >= e->n_pos)
        return err_set(err, CAMA_ERR_CONTEXT, "row %zu: position %d, the model was made for %llu",
                       i, r->pos[0], (unsigned long long)e->n_pos);
    if (r->pos[0] != index && !e->has_axes)
        return err_set(err, CAMA_ERR_ARG, "row %zu: position %d, the sequence has %d tokens", i,
                       r->pos[0], index);
    if (r->visible_end <= index || r->visible_end > len)
        return err_set(err, CAMA_ERR_ARG,
                       "row %zu: sees tokens before %d; must be after its own, %d, and within %d",
                       i, r->visible_end, index, len);
    return CAMA_OK;
}

static cama_err check_lists(const engine *e, const engine_batch *b, err_info *err)
{
    if (b->n_row < 1 || b->n_row > e->opts.n_batch)
        return err_set(err, CAMA_ERR_ARG, "a batch of %zu rows, allowed are 1 to %u", b->n_row,
                       e->opts.n_batch);
    if (b->n_candidate > e->plan->n_vocab)
        return err_set(err, CAMA_ERR_ARG, "%u candidates, the vocabulary has %zu", b->n_candidate,
                       e->plan->n_vocab);
    for (size_t i = 0; i < b->n_id; i++)
        if (b->ids[i] < 0 || (size_t)b->ids[i] >= e->plan->n_vocab)
            return err_set(err, CAMA_ERR_ARG, "listed id %d, the vocabulary has %zu", b->ids[i],
                           e->plan->n_vocab);
    return CAMA_OK;
}

/* ---- the step's arrays ---- */

/* One row, checked and taken in; run is the one that it continues. */
static cama_err take_row(engine *e, const engine_batch *b, size_t i, const nat_seq_run *run,
                         err_info *err)
{
    const engine_row *r = &b->rows[i];
    const int32_t index = run->pos0 + (int32_t)(i - run->row0);
    int32_t id;
    if (r->adapter != 0)
        return err_set(err, CAMA_ERR_UNSUPPORTED, "row %zu: adapter set %d, none is loaded", i,
                       r->adapter);
    cama_err fail = check_flags(e, b, i, err);
    if (!fail)
        fail = check_source(e, b, i, &id, err);
    if (!fail)
        fail = check_place(e, r, i, index, run->pos0 + (int32_t)run->n, err);
    if (fail)
        return fail;
    e->row[i] = *r;
    e->row[i].id = id;
    e->index[i] = index;
    if (r->flags & (ENGINE_LOGITS | ENGINE_CANDIDATES | ENGINE_HIDDEN))
        e->out_row[e->n_row[NAT_OUT]++] = i;
    if (r->flags & ENGINE_POOLED)
        e->seq_row[e->n_row[NAT_SEQ]++] = i;
    e->wanted |= r->flags & (ENGINE_LOGITS | ENGINE_CANDIDATES) ? NAT_NEED_LOGITS : 0;
    e->wanted |= r->flags & ENGINE_HIDDEN ? NAT_NEED_HIDDEN : 0;
    e->wanted |= r->flags & ENGINE_POOLED ? NAT_NEED_POOLED : 0;
    return CAMA_OK;
}

static cama_err take_run(engine *e, const engine_batch *b, size_t row0, err_info *err)
{
    nat_seq_run *run = &e->run[e->n_run];
    const int32_t seq = b->rows[row0].seq;
    if (!kv_alive(e->kv, seq))
        return err_set(err, CAMA_ERR_ARG, "row %zu: no sequence %d", row0, seq);
    *run = (nat_seq_run){.seq = seq, .row0 = row0, .pos0 = kv_len(e->kv, seq)};
    while (row0 + run->n < b->n_row && b->rows[row0 + run->n].seq == seq)
        run->n++;
    if ((uint64_t)run->pos0 + run->n > e->opts.n_ctx)
        return err_set(err, CAMA_ERR_CONTEXT,
                       "sequence %d would have %llu tokens, the context has room for %u", seq,
                       (unsigned long long)run->pos0 + run->n, e->opts.n_ctx);
    for (size_t i = row0; i < row0 + run->n; i++) {
        const cama_err fail = take_row(e, b, i, run, err);
        if (fail)
            return fail;
    }
    e->kv_need[e->n_run++] = (kv_need){.seq = seq, .n_new = (int32_t)run->n};
    return CAMA_OK;
}

static void set_mask(const engine *e, const nat_mask *m, size_t i)
{
    const int32_t index = e->index[i];
    const int32_t window = (int32_t)m->window;
    int32_t lo = 0;
    int32_t hi = e->row[i].visible_end;
    if (m->kind == PLAN_WINDOW)
        lo = index - window + 1;
    if (m->kind == PLAN_CHUNK)
        lo = index / window * window;
    if (m->kind == PLAN_WINDOW_SYM) {
        lo = index - window / 2;
        hi = index + window / 2 + 1 < hi ? index + window / 2 + 1 : hi;
    }
    m->lo[i] = lo > 0 ? lo : 0;
    m->hi[i] = hi;
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

cama_err nat_begin(engine *e, const engine_batch *b, err_info *err)
{
    cama_err fail = check_lists(e, b, err);
    if (fail)
        return fail;
    e->n_run = 0;
    e->wanted = NAT_NEED_ALWAYS;
    e->n_row[NAT_OUT] = e->n_row[NAT_SEQ] = 0;
    e->n_row[NAT_IN] = b->n_row;
    for (size_t row = 0; row < b->n_row;) {
        fail = take_run(e, b, row, err);
        if (fail)
            return fail;
        row += e->run[e->n_run - 1].n;
    }
    const size_t n_cand = e->n_row[NAT_OUT] * ((size_t)b->n_candidate + b->n_id);
    if (n_cand > e->max_cand)
        return err_set(err, CAMA_ERR_LIMIT, "%zu candidates in one step, limit %zu", n_cand,
                       e->max_cand);
    const kv_copy *copies;
    size_t n_copy;
    fail = kv_extend(e->kv, e->kv_need, e->n_run, &copies, &n_copy, err);
    if (fail)
        return fail;
    copy_pages(e, copies, n_copy);
    for (size_t i = 0; i < b->n_row; i++)
        for (size_t m = 0; m < e->n_mask; m++)
            set_mask(e, &e->mask[m], i);
    return CAMA_OK;
}

/* ---- RoPE ---- */

/* The position axis of pair i (M-RoPE: blocks of pairs; IM-RoPE: t, h, w in turn). */
static int axis_of(const plan_rope *p, size_t pair)
{
    const int32_t *s = p->sections;
    const int32_t total = s[0] + s[1] + s[2] + s[3];
    if (total <= 0)
        return 0;
    const int32_t i = (int32_t)(pair % (size_t)total);
    if (p->interleaved) {
        for (int axis = 1; axis < 3; axis++)
            if (i % 3 == axis && i < 3 * s[axis])
                return axis;
        return i % 3 == 0 && i < 3 * s[0] ? 0 : 3;
    }
    int axis = 0;
    for (int32_t end = s[0]; i >= end; end += s[axis])
        axis++;
    return axis;
}

static void rope_row(const engine *e, const nat_rope *rope, size_t row)
{
    const plan_rope *p = rope->par;
    const size_t half = p->n_rot / 2;
    for (size_t i = 0; i < half; i++) {
        const double angle = e->row[row].pos[axis_of(p, i)] * p->inv_freq[i];
        rope->cos[row * half + i] = (float)cos(angle) * p->mscale;
        rope->sin[row * half + i] = (float)sin(angle) * p->mscale;
    }
}

void nat_rope_tables(engine *e, int t)
{
    size_t from, to;
    nat_share(e, e->n_row[NAT_IN], t, &from, &to);
    for (size_t i = 0; i < e->n_rope; i++)
        for (size_t r = from; r < to; r++)
            rope_row(e, &e->rope[i], r);
}
