/* rows.c - what both engines do with a batch before they compute it, and with logits after. */
#include "engine/rows.h"

#include <math.h>

/* ---- checking ---- */

static cama_err bad_row(err_info *err, size_t i, const char *what, long long value, long long limit)
{
    return err_set(err, CAMA_ERR_ARG, "row %zu: %s %lld, limit %lld", i, what, value, limit);
}

static cama_err check_flags(const engine_limits *l, const engine_batch *b, size_t i, err_info *err)
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
        if ((flags & kinds[k].flag) && !l->gives[kinds[k].kind])
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
static cama_err check_source(const engine_limits *l, const engine_batch *b, size_t i,
                             int32_t *out_id, err_info *err)
{
    const engine_row *r = &b->rows[i];
    *out_id = r->id;
    if (r->source == ENGINE_PREV) {
        *out_id = l->prev[r->seq];
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
    if (r->id < 0 || (size_t)r->id >= l->n_vocab)
        return bad_row(err, i, "token", r->id, (long long)l->n_vocab);
    return CAMA_OK;
}

/* Positions: index is the row's place in its sequence, len what the sequence will have. */
static cama_err check_place(const engine_limits *l, const engine_row *r, size_t i, int32_t index,
                            int32_t len, err_info *err)
{
    for (int k = 0; k < 4; k++)
        if (r->pos[k] < 0 || (uint32_t)r->pos[k] >= l->n_ctx)
            return bad_row(err, i, "position", r->pos[k], l->n_ctx);
    if ((uint64_t)r->pos[0] >= l->n_pos)
        return err_set(err, CAMA_ERR_CONTEXT, "row %zu: position %d, the model was made for %llu",
                       i, r->pos[0], (unsigned long long)l->n_pos);
    if (r->pos[0] != index && !l->has_axes)
        return err_set(err, CAMA_ERR_ARG, "row %zu: position %d, the sequence has %d tokens", i,
                       r->pos[0], index);
    if (r->visible_end <= index || r->visible_end > len)
        return err_set(err, CAMA_ERR_ARG,
                       "row %zu: sees tokens before %d; must be after its own, %d, and within %d",
                       i, r->visible_end, index, len);
    return CAMA_OK;
}

static cama_err check_lists(const engine_limits *l, const engine_batch *b, err_info *err)
{
    if (b->n_row < 1 || b->n_row > l->n_batch)
        return err_set(err, CAMA_ERR_ARG, "a batch of %zu rows, allowed are 1 to %u", b->n_row,
                       l->n_batch);
    if (b->n_candidate > l->n_vocab)
        return err_set(err, CAMA_ERR_ARG, "%u candidates, the vocabulary has %zu", b->n_candidate,
                       l->n_vocab);
    for (size_t i = 0; i < b->n_id; i++)
        if (b->ids[i] < 0 || (size_t)b->ids[i] >= l->n_vocab)
            return err_set(err, CAMA_ERR_ARG, "listed id %d, the vocabulary has %zu", b->ids[i],
                           l->n_vocab);
    return CAMA_OK;
}

/* ---- the step's arrays ---- */

/* One row, checked and taken in; run is the one that it continues. */
static cama_err take_row(const engine_limits *l, const engine_batch *b, size_t i, engine_step *s,
                         err_info *err)
{
    const engine_row *r = &b->rows[i];
    const engine_run *run = &s->run[s->n_run];
    const int32_t index = run->pos0 + (int32_t)(i - run->row0);
    int32_t id;
    if (r->adapter != 0)
        return err_set(err, CAMA_ERR_UNSUPPORTED, "row %zu: adapter set %d, none is loaded", i,
                       r->adapter);
    cama_err fail = check_flags(l, b, i, err);
    if (!fail)
        fail = check_source(l, b, i, &id, err);
    if (!fail)
        fail = check_place(l, r, i, index, run->pos0 + (int32_t)run->n, err);
    if (fail)
        return fail;
    s->row[i] = *r;
    s->row[i].id = id;
    s->index[i] = index;
    if (r->flags & (ENGINE_LOGITS | ENGINE_CANDIDATES | ENGINE_HIDDEN))
        s->out_row[s->n_row[ENGINE_OUT]++] = i;
    if (r->flags & ENGINE_POOLED)
        s->seq_row[s->n_row[ENGINE_SEQ]++] = i;
    s->wanted |= r->flags & (ENGINE_LOGITS | ENGINE_CANDIDATES) ? ENGINE_NEED_LOGITS : 0;
    s->wanted |= r->flags & ENGINE_HIDDEN ? ENGINE_NEED_HIDDEN : 0;
    s->wanted |= r->flags & ENGINE_POOLED ? ENGINE_NEED_POOLED : 0;
    return CAMA_OK;
}

static cama_err take_run(const engine_limits *l, const engine_batch *b, size_t row0, engine_step *s,
                         err_info *err)
{
    engine_run *run = &s->run[s->n_run];
    const int32_t seq = b->rows[row0].seq;
    const int32_t len = l->len(l->user, seq);
    if (len < 0)
        return err_set(err, CAMA_ERR_ARG, "row %zu: no sequence %d", row0, seq);
    *run = (engine_run){.seq = seq, .row0 = row0, .pos0 = len};
    while (row0 + run->n < b->n_row && b->rows[row0 + run->n].seq == seq)
        run->n++;
    if ((uint64_t)run->pos0 + run->n > l->n_ctx)
        return err_set(err, CAMA_ERR_CONTEXT,
                       "sequence %d would have %llu tokens, the context has room for %u", seq,
                       (unsigned long long)run->pos0 + run->n, l->n_ctx);
    for (size_t i = row0; i < row0 + run->n; i++) {
        const cama_err fail = take_row(l, b, i, s, err);
        if (fail)
            return fail;
    }
    s->n_run++;
    return CAMA_OK;
}

cama_err engine_take_rows(const engine_limits *l, const engine_batch *b, engine_step *out,
                          err_info *err)
{
    const cama_err fail = check_lists(l, b, err);
    if (fail)
        return fail;
    out->n_run = 0;
    out->wanted = ENGINE_NEED_ALWAYS;
    out->n_row[ENGINE_OUT] = out->n_row[ENGINE_SEQ] = 0;
    out->n_row[ENGINE_IN] = b->n_row;
    for (size_t row = 0; row < b->n_row;) {
        const cama_err wrong = take_run(l, b, row, out, err);
        if (wrong)
            return wrong;
        row += out->run[out->n_run - 1].n;
    }
    return CAMA_OK;
}

void engine_mask_range(plan_mask kind, size_t window, int32_t index, int32_t visible_end,
                       int32_t out[2])
{
    const int32_t n = (int32_t)window;
    int32_t lo = 0;
    int32_t hi = visible_end;
    if (kind == PLAN_WINDOW)
        lo = index - n + 1;
    if (kind == PLAN_CHUNK)
        lo = index / n * n;
    if (kind == PLAN_WINDOW_SYM) {
        lo = index - n / 2;
        hi = index + n / 2 + 1 < hi ? index + n / 2 + 1 : hi;
    }
    out[0] = lo > 0 ? lo : 0;
    out[1] = hi;
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

void engine_rope_row(const plan_rope *p, const int32_t pos[4], float *cos_out, float *sin_out)
{
    for (size_t i = 0; i < p->n_rot / 2; i++) {
        const double angle = pos[axis_of(p, i)] * p->inv_freq[i];
        cos_out[i] = (float)cos(angle) * p->mscale;
        sin_out[i] = (float)sin(angle) * p->mscale;
    }
}

/* ---- candidates ---- */

/* a is a worse candidate than b. */
static bool is_worse(engine_cand a, engine_cand b)
{
    return a.logit < b.logit || (a.logit == b.logit && a.id > b.id);
}

/* Heap with the worst at the root; place i may break the order downwards. */
static void sift_down(engine_cand *heap, size_t n, size_t i)
{
    const engine_cand x = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && is_worse(heap[child + 1], heap[child]))
            child++;
        if (!is_worse(heap[child], x))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = x;
}

/* Few logits beat the worst of those that are kept. */
size_t engine_choose_best(const float *x, size_t n, size_t k, engine_cand *heap)
{
    size_t n_kept = 0;
    size_t i = 0;
    for (; i < n && n_kept < k; i++)
        if (!isnan(x[i]))
            heap[n_kept++] = (engine_cand){.id = (int32_t)i, .logit = x[i]};
    for (size_t p = n_kept / 2; p-- > 0;)
        sift_down(heap, n_kept, p);
    for (; i < n && k; i++)
        if (x[i] > heap[0].logit) { /* an equal one has the higher id */
            heap[0] = (engine_cand){.id = (int32_t)i, .logit = x[i]};
            sift_down(heap, n_kept, 0);
        }
    for (size_t left = n_kept; left > 1; left--) {
        const engine_cand worst = heap[0];
        heap[0] = heap[left - 1];
        sift_down(heap, left - 1, 0);
        heap[left - 1] = worst;
    }
    return n_kept;
}

/* ---- what else both compute or ask alike ---- */

void engine_oai_glu(const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const float g = fminf(gate[i], 7.0f);
        const float u = fmaxf(-7.0f, fminf(up[i], 7.0f));
        out[i] = g / (1.0f + expf(-1.702f * g)) * (u + 1.0f);
    }
}

int engine_set_workers(workers *w, int n_made, uint32_t n_thread, uint64_t spin_ns)
{
    const uint64_t spin_us = spin_ns / 1000 + (spin_ns % 1000 != 0);
    const uint32_t most = 1000000;
    const int n = n_thread && n_thread < (uint32_t)n_made ? (int)n_thread : n_made;
    workers_set(w, n,
                spin_ns == ENGINE_SPIN_DEFAULT ? WORKERS_SPIN_US
                : spin_us < most               ? (uint32_t)spin_us
                                               : most);
    return n;
}
