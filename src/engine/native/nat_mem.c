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
    e->step.row = carve(c, n, sizeof *e->step.row);
    e->step.index = carve(c, n, sizeof *e->step.index);
    e->step.run = carve(c, n, sizeof *e->step.run);
    e->kv_need = carve(c, n, sizeof *e->kv_need);
    e->step.out_row = carve(c, n, sizeof *e->step.out_row);
    e->step.seq_row = carve(c, n, sizeof *e->step.seq_row);
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
    e->thread = carve(&c, (size_t)e->n_made, sizeof *e->thread);
    nat_thread only_counted;
    for (int t = 0; t < e->n_made; t++)
        carve_thread(e, &c, base ? &e->thread[t] : &only_counted);
    e->acts = carve(
        &c, e->size.max_acts_col ? e->kern.acts_bytes(e->opts.n_batch, e->size.max_acts_col) : 0,
        1);
    e->part_floats = e->size.max_dim_v && e->n_made > 1 ? 4u * NAT_PART_FLOATS : 0;
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

/* The shape of a budget: tokens of one sequence, and of all together. */
typedef struct budget {
    uint32_t n_ctx;
    uint64_t n_kv;
} budget;

static budget budget_of(const engine *e)
{
    return (budget){.n_ctx = e->opts.n_ctx, .n_kv = e->opts.n_kv};
}

/* Whole pages for each of n_seq sequences. */
static budget full(const engine *e, uint32_t n_ctx)
{
    return (budget){.n_ctx = n_ctx,
                    .n_kv = (uint64_t)e->opts.n_seq * nat_up(n_ctx, KV_PAGE_TOKENS)};
}

/* All tokens, and for each sequence at full length a page that is being copied; or, where that is
 * less, as many windows as there can be sequences. Shorter sequences, of which there may be more,
 * waste more on pages that are not full: then fewer tokens find room. */
static kv_group_opts group_opts(const engine *e, const plan_kv_group *g, budget b)
{
    kv_group_opts o = {0};
    if (g->shape.kind == PLAN_KV_WINDOW) {
        o.window = (uint32_t)g->shape.window;
        o.keep = KEEP_TOKENS;
    }
    const uint64_t n_ctx = nat_up(b.n_ctx, KV_PAGE_TOKENS);
    const uint64_t n_full = n_ctx ? (b.n_kv + n_ctx - 1) / n_ctx : 0;
    const uint64_t n_seq = n_full > e->opts.n_seq ? n_full : e->opts.n_seq;
    const uint64_t windows = n_seq * kv_pages_for(&o, b.n_ctx, e->opts.n_batch);
    const uint64_t tokens = (b.n_kv + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS + n_full;
    const uint64_t n = windows < tokens ? windows : tokens;
    o.n_page = (uint32_t)(n < KV_MAX_PAGE ? n : KV_MAX_PAGE);
    return o;
}

static uint64_t kv_bytes(const engine *e, budget b)
{
    uint64_t n = 0;
    for (size_t i = 0; i < e->plan->n_group; i++) {
        const plan_kv_group *g = &e->plan->groups[i];
        const uint64_t count =
            g->shape.kind == PLAN_KV_STATE ? e->n_state : group_opts(e, g, b).n_page;
        n += count * page_bytes(e, g);
    }
    return n;
}

/* The largest context of n_seq sequences whose KV fits into room. */
static uint32_t largest_ctx(const engine *e, uint64_t room)
{
    uint32_t lo = 0;
    uint32_t hi = e->opts.n_ctx;
    while (lo < hi) { /* bytes grow with the context */
        const uint32_t mid = lo + (hi - lo + 1) / 2;
        if (kv_bytes(e, full(e, mid)) <= room)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

/* The most tokens of all sequences, up to n_kv, that fit into room. */
static uint64_t largest_kv(const engine *e, uint64_t n_kv, uint64_t room)
{
    uint64_t lo = 0;
    uint64_t hi = n_kv;
    while (lo < hi) { /* bytes grow with the budget */
        const uint64_t mid = lo + (hi - lo + 1) / 2;
        if (kv_bytes(e, (budget){e->opts.n_ctx, mid}) <= room)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

/* What would fit, when the caller asked for full contexts and when for a number of tokens. */
static void put_fits(const engine *e, engine_bytes *b, uint64_t room)
{
    const budget asked = budget_of(e);
    if (asked.n_kv == full(e, asked.n_ctx).n_kv) {
        b->n_ctx_fits = largest_ctx(e, room);
        b->n_kv_fits = (uint64_t)e->opts.n_seq * b->n_ctx_fits;
        return;
    }
    b->n_kv_fits = largest_kv(e, asked.n_kv, room);
    const uint64_t each = b->n_kv_fits / e->opts.n_seq;
    b->n_ctx_fits = each < asked.n_ctx ? (uint32_t)each : asked.n_ctx;
}

static uint64_t available_or_all(uint64_t bytes)
{
    return bytes ? bytes : UINT64_MAX;
}

cama_err nat_plan_bytes(engine *e, engine_bytes *out, err_info *err)
{
    e->n_span_max = ((size_t)e->opts.n_ctx - 1) / (NAT_SPAN_PAGES * KV_PAGE_TOKENS) + 1;
    e->fixed_bytes = carve_all(e, NULL);
    const uint64_t available = e->opts.max_bytes ? e->opts.max_bytes : plat_memory_available();
    engine_bytes b = {.weights = model_get_info(e->model)->weight_bytes,
                      .kv = kv_bytes(e, budget_of(e)),
                      .available = available_or_all(available),
                      .n_ctx = e->opts.n_ctx,
                      .n_kv = e->opts.n_kv};
    b.scratch =
        e->fixed_bytes + (e->size.scratch_used + e->size.out_floats) * (uint64_t)sizeof(float);
    b.total = b.weights + b.kv + b.scratch;
    const uint64_t rest = b.weights + b.scratch;
    if (b.available > rest)
        put_fits(e, &b, b.available - rest);
    *out = b;
    e->bytes = b;
    if (b.total <= b.available)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_NO_FIT,
                   "the model needs %.1f MB (weights %.1f, KV of %llu tokens in %u sequences %.1f, "
                   "scratch %.1f), %.1f MB are available; the largest context that fits is %u",
                   (double)b.total / 1e6, (double)b.weights / 1e6, (unsigned long long)b.n_kv,
                   e->opts.n_seq, (double)b.kv / 1e6, (double)b.scratch / 1e6,
                   (double)b.available / 1e6, b.n_ctx_fits);
}

/* ---- memory ---- */

static cama_err open_books(engine *e, err_info *err)
{
    kv_group_opts groups[KV_MAX_GROUP];
    kv_opts o = {.n_seq = e->n_seq_max, .n_ctx = e->opts.n_ctx, .groups = groups};
    const budget later = {.n_ctx = e->opts.n_ctx, .n_kv = e->opts.n_kv_max};
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
        groups[o.n_group] = group_opts(e, g, later);
        groups[o.n_group].n_open = group_opts(e, g, budget_of(e)).n_page;
        mem->n_token_seq =
            kv_pages_for(&groups[o.n_group], e->opts.n_ctx, e->opts.n_batch) * KV_PAGE_TOKENS;
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

/* ---- growing ---- */

/* Of the KV, what is in use or was once: memory that is taken already. */
static uint64_t touched_bytes(const engine *e)
{
    uint64_t n = 0;
    for (size_t i = 0; i < e->plan->n_group; i++) {
        const nat_kv_group *g = &e->group[i];
        const uint64_t count = g->books < 0 ? 0 : kv_n_touched_page(e->kv, (size_t)g->books);
        n += count * g->page_bytes;
    }
    return n;
}

/* Bytes that the KV may come to: by what the machine has free now, and by the caller's limit. */
static uint64_t kv_room(const engine *e)
{
    const uint64_t others = e->bytes.weights + e->bytes.scratch;
    uint64_t now = available_or_all(plat_memory_available());
    /* Mapped weights lie in memory that counts as available, but are needed at every token. */
    const uint64_t mapped = gguf_in_memory(model_file(e->model)) ? 0 : e->bytes.weights;
    now = now > mapped ? now - mapped : 0;
    now = now < UINT64_MAX - touched_bytes(e) ? now + touched_bytes(e) : UINT64_MAX;
    if (!e->opts.max_bytes)
        return now;
    const uint64_t own = e->opts.max_bytes > others ? e->opts.max_bytes - others : 0;
    return own < now ? own : now;
}

cama_err nat_raise_kv(engine *e, uint64_t n_kv, err_info *err)
{
    const budget b = {.n_ctx = e->opts.n_ctx, .n_kv = n_kv};
    const uint64_t bytes = kv_bytes(e, b);
    const uint64_t room = kv_room(e);
    if (bytes > room)
        return err_set(err, CAMA_ERR_NO_FIT,
                       "KV of %llu tokens needs %.1f MB, there is room for %.1f MB; the most that "
                       "fits is %llu tokens, now it is %llu",
                       (unsigned long long)n_kv, (double)bytes / 1e6, (double)room / 1e6,
                       (unsigned long long)largest_kv(e, n_kv, room),
                       (unsigned long long)e->opts.n_kv);
    for (size_t i = 0; i < e->plan->n_group; i++) {
        if (e->group[i].books < 0)
            continue;
        const uint32_t n_page = group_opts(e, &e->plan->groups[i], b).n_page;
        const cama_err fail = kv_raise(e->kv, (size_t)e->group[i].books, n_page, err);
        if (fail)
            return fail; /* cannot be: as many were reserved for n_kv_max */
    }
    e->opts.n_kv = n_kv;
    e->bytes.total += bytes - e->bytes.kv;
    e->bytes.kv = bytes;
    e->bytes.n_kv = n_kv;
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
