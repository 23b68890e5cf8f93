/* nat_mem.c - what a model takes, in figures before and in memory after. */
#include "engine/native/nat_int.h"

#include <string.h>

#include "base/pages.h"
#include "base/plat.h"

#define MAX_CHECKPOINT 4 /* of the states of one sequence */
#define KEEP_TOKENS 128  /* behind a window: so far back a rewind is whole */

/* Hands out pieces of one block; with base NULL it only counts. */
typedef struct carver {
    uint8_t *base;
    size_t used;
} carver;

static void *carve(carver *c, size_t n, size_t size)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += nat_up(n * size, NAT_ALIGN);
    return p;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void carve_thread(engine *e, carver *c, nat_thread *t)
{
    const nat_sizes *s = &e->size;
    const size_t dim = max_size(s->max_dim_k, s->max_dim_v);
    const size_t part = max_size(NAT_PART_FLOATS, e->n_span_max * s->max_dim_v);
    t->rows = carve(c, max_size(KERN_GEMV_MAX * s->max_col, 2 * s->moe_expert), sizeof(float));
    t->acts = carve(c, s->max_acts_col ? e->kern.acts_bytes(KERN_GEMV_MAX, s->max_acts_col) : 0, 1);
    t->kern = carve(c, s->max_scratch, 1);
    t->query = carve(c, NAT_QUERIES * s->max_dim_k, sizeof(float));
    t->head = carve(c, dim, sizeof(float));
    t->part = carve(c, s->max_dim_v ? part + 2 * NAT_QUERIES * e->n_span_max : 0, sizeof(float));
    t->part_o = carve(c, e->n_span_max, sizeof *t->part_o);
    t->part_m = carve(c, e->n_span_max, sizeof(float));
    t->part_l = carve(c, e->n_span_max, sizeof(float));
}

/* Activations of slots: each expert's own, so up to a step of padding an expert. */
static size_t moe_acts_bytes(const engine *e, size_t n_slot, size_t n_col)
{
    const size_t step = e->kern.row_step ? e->kern.row_step : 1;
    const size_t n_expert = e->size.moe_expert < n_slot ? e->size.moe_expert : n_slot;
    const size_t cols = nat_up(n_col, KERN_BLOCK);
    return e->kern.acts_bytes(nat_up(n_slot, step) + n_expert * step, cols) +
           n_expert * (NAT_ALIGN + e->kern.acts_bytes(step, cols));
}

static void carve_moe(engine *e, carver *c)
{
    const nat_sizes *s = &e->size;
    const size_t n_row = e->opts.n_batch < NAT_MOE_ROWS ? e->opts.n_batch : NAT_MOE_ROWS;
    const size_t n_slot = n_row * s->moe_used;
    if (s->moe_used == 0)
        return;
    e->moe.first = carve(c, s->moe_expert + 2, sizeof(int32_t));
    e->moe.slot_of = carve(c, n_slot, sizeof(int32_t));
    e->moe.pair_at = carve(c, n_slot, sizeof(int32_t));
    e->moe.acts_at = carve(c, s->moe_expert, sizeof(size_t));
    e->moe.acts_ff_at = carve(c, s->moe_expert, sizeof(size_t));
    e->moe.x = carve(c, n_slot * s->moe_in, sizeof(float));
    e->moe.gate = carve(c, n_slot * s->moe_ff, sizeof(float));
    e->moe.up = carve(c, n_slot * s->moe_ff, sizeof(float));
    e->moe.y = carve(c, n_slot * s->moe_out, sizeof(float));
    e->moe.acts = carve(c, moe_acts_bytes(e, n_slot, s->moe_in), 1);
    e->moe.acts_ff = carve(c, moe_acts_bytes(e, n_slot, s->moe_ff), 1);
}

static void carve_step(engine *e, carver *c)
{
    const size_t n = e->opts.n_batch;
    e->row = carve(c, n, sizeof *e->row);
    e->index = carve(c, n, sizeof *e->index);
    e->run = carve(c, n, sizeof *e->run);
    e->kv_need = carve(c, n, sizeof *e->kv_need);
    e->out_row = carve(c, n, sizeof *e->out_row);
    e->seq_row = carve(c, n, sizeof *e->seq_row);
    e->best = carve(c, n, sizeof *e->best);
    e->lse = carve(c, n, sizeof *e->lse);
    e->n_cand = carve(c, n, sizeof *e->n_cand);
    e->prev = carve(c, e->n_seq_max, sizeof *e->prev);
    for (size_t i = 0; i < e->n_rope; i++) {
        e->rope[i].cos = carve(c, n * e->rope[i].par->n_rot / 2, sizeof(float));
        e->rope[i].sin = carve(c, n * e->rope[i].par->n_rot / 2, sizeof(float));
    }
    for (size_t i = 0; i < e->n_mask; i++) {
        e->mask[i].lo = carve(c, n, sizeof(int32_t));
        e->mask[i].hi = carve(c, n, sizeof(int32_t));
    }
    for (int i = 0; i < 2; i++) {
        e->outputs[i].out = carve(c, n, sizeof *e->outputs[i].out);
        e->outputs[i].cand = carve(c, e->max_cand, sizeof *e->outputs[i].cand);
        e->val[i] = carve(c, e->plan->n_node, sizeof *e->val[i]);
    }
}

static size_t carve_all(engine *e, uint8_t *base)
{
    carver c = {.base = base};
    carve_step(e, &c);
    e->thread = carve(&c, (size_t)e->n_thread, sizeof *e->thread);
    nat_thread only_counted;
    for (int t = 0; t < e->n_thread; t++)
        carve_thread(e, &c, base ? &e->thread[t] : &only_counted);
    e->acts = carve(
        &c, e->size.max_acts_col ? e->kern.acts_bytes(e->opts.n_batch, e->size.max_acts_col) : 0,
        1);
    e->part_floats = e->size.max_dim_v && e->n_thread > 1 ? 4u * NAT_PART_FLOATS : 0;
    e->part = carve(&c, e->part_floats, sizeof *e->part);
    if (e->pools)
        e->pooled = carve(&c, (size_t)e->n_seq_max * e->plan->n_embd, sizeof *e->pooled);
    carve_moe(e, &c);
    return c.used;
}

/* ---- figures ---- */

static size_t page_bytes(const engine *e, const plan_kv_group *g)
{
    const plan_kv_slot *s = &g->shape;
    if (s->kind == PLAN_KV_STATE)
        return nat_up(s->n_state * sizeof(float) * (size_t)g->n_slot, NAT_ALIGN);
    const size_t k = nat_up(kern_page_bytes(e->opts.k_type, s->dim_k), NAT_ALIGN);
    const size_t v = s->v_in_k ? 0 : nat_up(kern_page_bytes(e->opts.v_type, s->dim_v), NAT_ALIGN);
    return (size_t)g->n_slot * s->n_kv_head * (k + v);
}

static kv_group_opts group_opts(const engine *e, const plan_kv_group *g, uint32_t n_ctx)
{
    kv_group_opts o = {0};
    if (g->shape.kind == PLAN_KV_WINDOW) {
        o.window = (uint32_t)g->shape.window;
        o.keep = KEEP_TOKENS;
    }
    const uint64_t n = (uint64_t)kv_pages_for(&o, n_ctx, e->opts.n_batch) * e->opts.n_seq;
    o.n_page = (uint32_t)(n < KV_MAX_PAGE ? n : KV_MAX_PAGE);
    return o;
}

static uint64_t kv_bytes(const engine *e, uint32_t n_ctx)
{
    uint64_t n = 0;
    for (size_t i = 0; i < e->plan->n_group; i++) {
        const plan_kv_group *g = &e->plan->groups[i];
        const uint64_t count =
            g->shape.kind == PLAN_KV_STATE ? e->n_state : group_opts(e, g, n_ctx).n_page;
        n += count * page_bytes(e, g);
    }
    return n;
}

static uint32_t largest_fit(const engine *e, uint64_t room)
{
    uint32_t lo = 0;
    uint32_t hi = e->opts.n_ctx;
    while (lo < hi) { /* bytes grow with the context */
        const uint32_t mid = lo + (hi - lo + 1) / 2;
        if (kv_bytes(e, mid) <= room)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

cama_err nat_plan_bytes(engine *e, engine_bytes *out, err_info *err)
{
    e->n_span_max = ((size_t)e->opts.n_ctx - 1) / (NAT_SPAN_PAGES * KV_PAGE_TOKENS) + 1;
    e->fixed_bytes = carve_all(e, NULL);
    const uint64_t available = e->opts.max_bytes ? e->opts.max_bytes : plat_memory_available();
    engine_bytes b = {.weights = model_get_info(e->model)->weight_bytes,
                      .kv = kv_bytes(e, e->opts.n_ctx),
                      .available = available ? available : UINT64_MAX,
                      .n_ctx = e->opts.n_ctx};
    b.scratch =
        e->fixed_bytes + (e->size.scratch_used + e->size.out_floats) * (uint64_t)sizeof(float);
    b.total = b.weights + b.kv + b.scratch;
    const uint64_t rest = b.weights + b.scratch;
    b.n_ctx_fits = b.available > rest ? largest_fit(e, b.available - rest) : 0;
    *out = b;
    e->bytes = b;
    if (b.total <= b.available)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_NO_FIT,
                   "the model needs %.1f MB (weights %.1f, KV of %u sequences of %u tokens %.1f, "
                   "scratch %.1f), %.1f MB are available; the largest context that fits is %u",
                   (double)b.total / 1e6, (double)b.weights / 1e6, e->opts.n_seq, b.n_ctx,
                   (double)b.kv / 1e6, (double)b.scratch / 1e6, (double)b.available / 1e6,
                   b.n_ctx_fits);
}

/* ---- memory ---- */

static cama_err open_books(engine *e, err_info *err)
{
    kv_group_opts groups[KV_MAX_GROUP];
    kv_opts o = {.n_seq = e->n_seq_max, .n_ctx = e->opts.n_ctx, .groups = groups};
    for (size_t i = 0; i < e->plan->n_group; i++) {
        const plan_kv_group *g = &e->plan->groups[i];
        nat_kv_group *mem = &e->group[i];
        mem->page_bytes = page_bytes(e, g);
        mem->books = -1;
        if (g->shape.kind == PLAN_KV_STATE) {
            o.n_state = (uint32_t)e->n_state;
            o.n_check = MAX_CHECKPOINT;
            mem->n_bytes = e->n_state * mem->page_bytes;
            continue;
        }
        mem->books = (int)o.n_group;
        groups[o.n_group] = group_opts(e, g, e->opts.n_ctx);
        mem->n_bytes = (size_t)groups[o.n_group].n_page * mem->page_bytes;
        o.n_group++;
    }
    return kv_open(&o, &e->kv, err);
}

static void set_values(engine *e)
{
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const nat_value *v = &e->value[i];
        const bool has = v->placed || v->alias >= 0;
        e->val[0][i] = has ? e->scratch + v->offset : NULL;
        e->val[1][i] = e->val[0][i];
        if (v->output)
            e->val[1][i] += (size_t)e->opts.n_batch * v->ld;
    }
}

cama_err nat_take_memory(engine *e, err_info *err)
{
    e->fixed = pages_reserve(e->fixed_bytes, false);
    e->scratch = pages_reserve(e->size.scratch_floats * sizeof(float), false);
    if (!e->fixed || !e->scratch)
        return err_set(err, CAMA_ERR_NOMEM, "native: no address space for %zu bytes of scratch",
                       e->fixed_bytes + e->size.scratch_floats * sizeof(float));
    (void)carve_all(e, e->fixed);
    set_values(e);
    for (uint32_t i = 0; i < e->n_seq_max; i++)
        e->prev[i] = -1;
    const cama_err fail = open_books(e, err);
    if (fail)
        return fail;
    for (size_t i = 0; i < e->plan->n_group; i++) {
        e->group[i].mem = pages_reserve(e->group[i].n_bytes, true);
        if (!e->group[i].mem)
            return err_set(err, CAMA_ERR_NOMEM, "native: no address space for %zu bytes of KV",
                           e->group[i].n_bytes);
    }
    return CAMA_OK;
}

void nat_drop_memory(engine *e)
{
    for (size_t i = 0; e->group && i < e->plan->n_group; i++)
        pages_free(e->group[i].mem, e->group[i].n_bytes);
    kv_close(e->kv);
    pages_free(e->scratch, e->size.scratch_floats * sizeof(float));
    pages_free(e->fixed, e->fixed_bytes);
}
