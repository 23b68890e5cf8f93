/* emlx_kv.c - keys, values and states as arrays of MLX: what the stock form remembers.
 *
 * K and V of a slot are [n_kv_head, n_cap, dim] of the cache's type, a sequence's own. An update
 * gives a new array; MLX writes in place when nobody else holds the old one, which is why the
 * sequence lets go of it first.
 */
#include "engine/mlx/emlx_int.h"

static const int32_t swap3[] = {1, 0, 2};

/* A kept array takes the place of another. */
static void replace(engine *e, mb_ref *place, mb_ref r)
{
    const mb_ref kept = e->b->keep(e->m, r);
    e->b->drop(e->m, *place);
    *place = kept;
    emlx_add_effect(e, kept);
}

static mb_dtype cache_type(quant_type t)
{
    return t == QUANT_F32 ? MB_F32 : t == QUANT_BF16 ? MB_BF16 : MB_F16;
}

/* The run's rows of x [n_row, n_head * dim] into the array at its place. */
static void store_run(engine *e, mb_ref *place, mb_ref x, const engine_run *r, size_t n_head)
{
    mb_shape s;
    mb_dtype t;
    if (!x || e->b->meta(e->m, *place, &s, &t))
        return;
    const size_t dim = (size_t)s.dim[2];
    const mb_ref rows = e->b->reshape(e->m, emlx_row_range(e, x, r->row0, r->row0 + r->n),
                                      emlx_shape3(r->n, n_head, dim));
    const mb_ref part = e->b->cast(e->m, e->b->transpose(e->m, rows, swap3, 3), t);
    const int32_t from[] = {0, r->pos0, 0};
    const int32_t to[] = {s.dim[0], r->pos0 + (int32_t)r->n, s.dim[2]};
    replace(e, place, e->b->slice_update(e->m, *place, part, from, to, 3));
}

mb_ref emlx_stock_store(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const int slot = n->par.attend.slot;
    const plan_kv_slot *s = &e->plan->slots[slot];
    for (size_t i = 0; i < e->step.n_run; i++) {
        const engine_run *r = &e->step.run[i];
        emlx_seq *seq = &e->seq[r->seq];
        store_run(e, &seq->k[slot], emlx_in(e, id, 0), r, s->n_kv_head);
        if (!s->v_in_k)
            store_run(e, &seq->v[slot], emlx_in(e, id, 1), r, s->n_kv_head);
    }
    return 0;
}

/* ---- attention ---- */

/* The tokens that any row of a run sees. */
typedef struct span {
    size_t from, to;
} span;

static span span_of(const emlx_mask *m, const engine_run *r)
{
    span s = {(size_t)m->lo[r->row0], (size_t)m->hi[r->row0]};
    for (size_t i = r->row0; i < r->row0 + r->n; i++) {
        s.from = (size_t)m->lo[i] < s.from ? (size_t)m->lo[i] : s.from;
        s.to = (size_t)m->hi[i] > s.to ? (size_t)m->hi[i] : s.to;
    }
    return s;
}

/* bool [n, span]: which of the span's tokens a row sees; 0 where each sees all of them. */
static mb_ref mask_of(engine *e, emlx_mask *m, size_t i_run, span s)
{
    const engine_run *r = &e->step.run[i_run];
    if (r->n == 1)
        return 0;
    if (m->ref[i_run])
        return m->ref[i_run];
    const size_t n = s.to - s.from;
    bool *seen = e->mask_tmp; /* [n_batch][n_ctx] */
    for (size_t i = 0; i < r->n; i++)
        for (size_t t = 0; t < n; t++)
            seen[i * n + t] =
                s.from + t >= (size_t)m->lo[r->row0 + i] && s.from + t < (size_t)m->hi[r->row0 + i];
    m->ref[i_run] = e->b->from_host(e->m, seen, emlx_shape2(r->n, n), MB_BOOL);
    return m->ref[i_run];
}

/* The span's tokens of a cache array as f32 [1, n_kv_head, n, dim]. */
static mb_ref seen_of(engine *e, mb_ref cache, span s, size_t dim)
{
    mb_shape all;
    mb_dtype t;
    if (e->b->meta(e->m, cache, &all, &t))
        return 0;
    const int32_t from[] = {0, (int32_t)s.from, 0};
    const int32_t to[] = {all.dim[0], (int32_t)s.to, (int32_t)dim};
    const mb_ref part = e->b->cast(e->m, e->b->slice(e->m, cache, from, to, 3), MB_F32);
    return e->b->reshape(e->m, part, emlx_shape4(1, (size_t)all.dim[0], s.to - s.from, dim));
}

/* With a cap on the scores, which MLX's own attention does not know: q [1, n_head, n, d] as
 * [n_kv_head, group * n, d]. */
static mb_ref capped(engine *e, const plan_attend *p, const mb_ref qkv[3], mb_ref mask, size_t n)
{
    static const int32_t turn[] = {0, 2, 1};
    const mb_api *b = e->b;
    const size_t group = p->n_head / p->n_kv_head;
    mb_shape s;
    mb_dtype t;
    if (b->meta(e->m, qkv[1], &s, &t))
        return 0;
    const size_t n_seen = (size_t)s.dim[2];
    const mb_ref q = b->reshape(e->m, qkv[0], emlx_shape3(p->n_kv_head, group * n, p->dim_k));
    const mb_ref k = b->reshape(e->m, qkv[1], emlx_shape3(p->n_kv_head, n_seen, p->dim_k));
    const mb_ref v = b->reshape(e->m, qkv[2], emlx_shape3(p->n_kv_head, n_seen, p->dim_v));
    const mb_ref cap = b->scalar(e->m, (double)p->softcap, MB_F32);
    mb_ref x = b->matmul(e->m, q, b->transpose(e->m, k, turn, 3));
    x = b->binary(e->m, MB_MUL, x, b->scalar(e->m, (double)p->scale / (double)p->softcap, MB_F32));
    x = b->binary(e->m, MB_MUL, b->unary(e->m, MB_TANH, x), cap);
    if (mask) {
        x = b->reshape(e->m, x, emlx_shape4(p->n_kv_head, group, n, n_seen));
        x = b->where(e->m, mask, x, b->scalar(e->m, -1e30, MB_F32));
        x = b->reshape(e->m, x, emlx_shape3(p->n_kv_head, group * n, n_seen));
    }
    x = b->matmul(e->m, b->softmax(e->m, x, 2), v);
    return b->reshape(e->m, x, emlx_shape4(1, p->n_head, n, p->dim_v));
}

static mb_ref attend_run(engine *e, int32_t id, size_t i_run)
{
    static const int32_t back[] = {0, 2, 1, 3};
    const plan_node *n = emlx_plan_node(e, id);
    const plan_attend *p = &n->par.attend;
    const engine_run *r = &e->step.run[i_run];
    emlx_mask *m = &e->mask[e->node[id].mask];
    const emlx_seq *seq = &e->seq[r->seq];
    const span s = span_of(m, r);
    const mb_ref mask = mask_of(e, m, i_run, s);
    const bool v_in_k = e->plan->slots[p->slot].v_in_k;
    mb_ref qkv[3];
    qkv[0] = e->b->reshape(e->m, emlx_row_range(e, emlx_in(e, id, 0), r->row0, r->row0 + r->n),
                           emlx_shape4(1, r->n, p->n_head, p->dim_k));
    qkv[0] = e->b->transpose(e->m, qkv[0], back, 4);
    qkv[1] = seen_of(e, seq->k[p->slot], s, p->dim_k);
    qkv[2] = seen_of(e, v_in_k ? seq->k[p->slot] : seq->v[p->slot], s, p->dim_v);
    const mb_ref sinks = e->node[id].w[0] ? e->node[id].w[0]->array : 0;
    const mb_ref y = p->softcap > 0
                         ? capped(e, p, qkv, mask, r->n)
                         : e->b->attention(e->m, qkv[0], qkv[1], qkv[2], p->scale, mask, sinks);
    return e->b->reshape(e->m, e->b->transpose(e->m, y, back, 4), emlx_shape2(r->n, n->n_col));
}

/* Runs one after another: each has its own past. */
static mb_ref each_run(engine *e, int32_t id, mb_ref (*one)(engine *e, int32_t id, size_t i_run))
{
    for (size_t i = 0; i < e->step.n_run; i++)
        e->ref_tmp[i] = one(e, id, i);
    return e->step.n_run > 1 ? e->b->concat(e->m, e->ref_tmp, e->step.n_run, 0) : e->ref_tmp[0];
}

mb_ref emlx_stock_attend(engine *e, int32_t id)
{
    return each_run(e, id, attend_run);
}

/* ---- states ---- */

/* out[i] = sum over taps t of w[:, t] (state ++ x)[i + t]; the last inputs are the next state. */
static mb_ref conv_run(engine *e, int32_t id, size_t i_run)
{
    const plan_node *n = emlx_plan_node(e, id);
    const mb_api *b = e->b;
    const engine_run *r = &e->step.run[i_run];
    mb_ref *state = &e->seq[r->seq].k[n->par.state.slot];
    const size_t n_tap = (size_t)n->w[0]->ne[0];
    mb_ref both[2] = {b->reshape(e->m, *state, emlx_shape2(n_tap - 1, n->n_col)),
                      emlx_row_range(e, emlx_in(e, id, 0), r->row0, r->row0 + r->n)};
    const mb_ref x = n_tap > 1 ? b->concat(e->m, both, 2, 0) : both[1];
    mb_ref sum = 0;
    for (size_t t = 0; t < n_tap; t++) {
        const mb_ref tap = b->reshape(e->m, emlx_columns(e, e->node[id].w[0]->array, t, t + 1),
                                      emlx_shape1(n->n_col));
        const mb_ref term = b->binary(e->m, MB_MUL, emlx_row_range(e, x, t, t + r->n), tap);
        sum = t ? b->binary(e->m, MB_ADD, sum, term) : term;
    }
    if (n_tap > 1)
        replace(e, state, b->contiguous(e->m, emlx_row_range(e, x, r->n, r->n + n_tap - 1)));
    return e->node[id].w[1] ? b->binary(e->m, MB_ADD, sum, e->node[id].w[1]->array) : sum;
}

mb_ref emlx_stock_conv(engine *e, int32_t id)
{
    return each_run(e, id, conv_run);
}

/* q or k of a run, a head for each value head: [n, n_v_head, dk]. */
static mb_ref head_rows(engine *e, const plan_delta *d, mb_ref x, const engine_run *r)
{
    const size_t n_rep = d->n_v_head / d->n_k_head;
    const mb_ref rows = emlx_row_range(e, x, r->row0, r->row0 + r->n);
    const mb_shape one = d->tiled ? emlx_shape4(r->n, 1, d->n_k_head, d->dk)
                                  : emlx_shape4(r->n, d->n_k_head, 1, d->dk);
    const mb_shape all = d->tiled ? emlx_shape4(r->n, n_rep, d->n_k_head, d->dk)
                                  : emlx_shape4(r->n, d->n_k_head, n_rep, d->dk);
    const mb_ref heads = e->b->reshape(e->m, rows, one);
    return e->b->reshape(e->m, n_rep > 1 ? e->b->broadcast(e->m, heads, all) : heads,
                         emlx_shape3(r->n, d->n_v_head, d->dk));
}

/* What one token of a run brings, shaped to meet the state [n_v_head, dk, dv]. */
typedef struct delta_rows {
    mb_ref q, k;       /* [n, n_v_head, dk] */
    mb_ref v, g, beta; /* [n, n_v_head * dv], [n, n_v_head] */
} delta_rows;

/* The state after a token; *out: what it reads, [1, n_v_head * dv]. */
static mb_ref delta_token(engine *e, const plan_delta *d, const delta_rows *x, size_t t, mb_ref s,
                          mb_ref *out)
{
    const mb_api *b = e->b;
    const mb_shape gate = emlx_shape3(d->n_v_head, 1, 1);
    const mb_shape key = emlx_shape3(d->n_v_head, d->dk, 1);
    const mb_shape val = emlx_shape3(d->n_v_head, 1, d->dv);
    const mb_ref q = b->reshape(e->m, emlx_row_range(e, x->q, t, t + 1), key);
    const mb_ref k = b->reshape(e->m, emlx_row_range(e, x->k, t, t + 1), key);
    const mb_ref v = b->reshape(e->m, emlx_row_range(e, x->v, t, t + 1), val);
    const mb_ref g = b->reshape(e->m, emlx_row_range(e, x->g, t, t + 1), gate);
    const mb_ref beta = b->reshape(e->m, emlx_row_range(e, x->beta, t, t + 1), gate);
    s = b->binary(e->m, MB_MUL, s, b->unary(e->m, MB_EXP, g));
    const mb_ref seen = b->reduce(e->m, MB_SUM, b->binary(e->m, MB_MUL, s, k), 1, true);
    const mb_ref diff = b->binary(e->m, MB_MUL, beta, b->binary(e->m, MB_SUB, v, seen));
    s = b->binary(e->m, MB_ADD, s, b->binary(e->m, MB_MUL, k, diff));
    const mb_ref o = b->reduce(e->m, MB_SUM, b->binary(e->m, MB_MUL, s, q), 1, true);
    *out = b->reshape(e->m, o, emlx_shape2(1, d->n_v_head * d->dv));
    return s;
}

static mb_ref delta_run(engine *e, int32_t id, size_t i_run)
{
    const plan_delta *d = &emlx_plan_node(e, id)->par.delta;
    const engine_run *r = &e->step.run[i_run];
    mb_ref *state = &e->seq[r->seq].k[d->slot];
    mb_ref s = e->b->reshape(e->m, *state, emlx_shape3(d->n_v_head, d->dk, d->dv));
    delta_rows x = {.q = head_rows(e, d, emlx_in(e, id, 0), r),
                    .k = head_rows(e, d, emlx_in(e, id, 1), r)};
    x.v = emlx_row_range(e, emlx_in(e, id, 2), r->row0, r->row0 + r->n);
    x.g = emlx_row_range(e, emlx_in(e, id, 3), r->row0, r->row0 + r->n);
    x.beta = emlx_row_range(e, emlx_in(e, id, 4), r->row0, r->row0 + r->n);
    mb_ref *out = e->ref_tmp + e->opts.n_batch; /* the first half is each_run's */
    for (size_t t = 0; t < r->n; t++)
        s = delta_token(e, d, &x, t, s, &out[t]);
    replace(e, state, s);
    return r->n > 1 ? e->b->concat(e->m, out, r->n, 0) : out[0];
}

mb_ref emlx_stock_delta(engine *e, int32_t id)
{
    return each_run(e, id, delta_run);
}

/* ---- life ---- */

static mb_ref empty_cache(engine *e, size_t n_head, size_t n_token, size_t dim, quant_type t)
{
    return e->b->zeros(e->m, emlx_shape3(n_head, n_token, dim), cache_type(t));
}

/* Room for n_cap tokens in both arrays of every slot of a sequence. */
void emlx_grow_arrays(engine *e, emlx_seq *seq, int32_t n_cap)
{
    const size_t more = (size_t)(n_cap - seq->n_cap);
    for (size_t i = 0; i < e->plan->n_slot; i++) {
        const plan_kv_slot *s = &e->plan->slots[i];
        if (s->kind == PLAN_KV_STATE)
            continue;
        const mb_ref part[2] = {
            empty_cache(e, s->n_kv_head, more, s->dim_k, e->opts.k_type),
            s->v_in_k ? 0 : empty_cache(e, s->n_kv_head, more, s->dim_v, e->opts.v_type)};
        mb_ref *const place[2] = {&seq->k[i], &seq->v[i]};
        for (int j = 0; j < (s->v_in_k ? 1 : 2); j++) {
            const mb_ref both[2] = {*place[j], part[j]};
            replace(e, place[j], *place[j] ? e->b->concat(e->m, both, 2, 1) : part[j]);
        }
    }
    seq->n_cap = n_cap;
}

/* States of an empty sequence. */
void emlx_zero_states(engine *e, emlx_seq *seq)
{
    for (size_t i = 0; i < e->plan->n_slot; i++) {
        const plan_kv_slot *s = &e->plan->slots[i];
        if (s->kind == PLAN_KV_STATE && s->n_state)
            replace(e, &seq->k[i], e->b->zeros(e->m, emlx_shape1(s->n_state), MB_F32));
    }
}
