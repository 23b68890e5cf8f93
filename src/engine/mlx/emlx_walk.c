/* emlx_walk.c - the plan, walked once in every step: nodes become lazy arrays. */
#include "engine/mlx/emlx_int.h"

#include <string.h>

/* ---- at open ---- */

static bool same_rope(const plan_rope *a, const plan_rope *b)
{
    return a->n_rot == b->n_rot && a->mscale == b->mscale && a->neox == b->neox &&
           a->interleaved == b->interleaved &&
           !memcmp(a->sections, b->sections, sizeof a->sections) &&
           !memcmp(a->inv_freq, b->inv_freq, a->n_rot / 2 * sizeof *a->inv_freq);
}

static cama_err rope_table(engine *e, const plan_rope *p, int *out, err_info *err)
{
    size_t i = 0;
    while (i < e->n_rope && !same_rope(e->rope[i].par, p))
        i++;
    *out = (int)i;
    if (i < e->n_rope)
        return CAMA_OK;
    if (i == EMLX_MAX_ROPE)
        return err_set(err, CAMA_ERR_LIMIT, "mlx: more than %d RoPE tables", EMLX_MAX_ROPE);
    const size_t n = (size_t)e->opts.n_batch * (p->n_rot / 2);
    emlx_rope *r = &e->rope[e->n_rope++];
    r->par = p;
    r->cos = arena_take_array(&e->plan_arena, n, sizeof *r->cos);
    r->sin = arena_take_array(&e->plan_arena, n, sizeof *r->sin);
    e->has_axes = e->has_axes || p->sections[1] || p->sections[2] || p->sections[3];
    return r->cos && r->sin ? CAMA_OK
                            : err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for a RoPE table");
}

static cama_err mask_table(engine *e, const plan_attend *p, int *out, err_info *err)
{
    size_t i = 0;
    while (i < e->n_mask && (e->mask[i].kind != p->mask || e->mask[i].window != p->window))
        i++;
    *out = (int)i;
    if (i < e->n_mask)
        return CAMA_OK;
    if (i == EMLX_MAX_MASK)
        return err_set(err, CAMA_ERR_LIMIT, "mlx: more than %d masks", EMLX_MAX_MASK);
    const size_t n = e->opts.n_batch;
    emlx_mask *m = &e->mask[e->n_mask++];
    *m = (emlx_mask){.kind = p->mask, .window = p->window};
    m->lo = arena_take_array(&e->plan_arena, n, sizeof *m->lo);
    m->hi = arena_take_array(&e->plan_arena, n, sizeof *m->hi);
    m->ref = arena_take_array(&e->plan_arena, n, sizeof *m->ref);
    return m->lo && m->hi && m->ref ? CAMA_OK
                                    : err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for a mask");
}

static engine_domain domain_of(const engine *e, const plan_node *n)
{
    if (n->op == PLAN_SELECT)
        return ENGINE_OUT;
    if (n->op == PLAN_POOL)
        return ENGINE_SEQ;
    return n->in[0] >= 0 ? e->node[n->in[0]].domain : ENGINE_IN;
}

static cama_err prepare_node(engine *e, int32_t id, err_info *err)
{
    const plan_node *n = emlx_plan_node(e, id);
    emlx_node *x = &e->node[id];
    x->domain = domain_of(e, n);
    if (n->op == PLAN_ROPE)
        return rope_table(e, &n->par.rope, &x->rope, err);
    if (n->op == PLAN_ATTEND)
        return mask_table(e, &n->par.attend, &x->mask, err);
    if (n->op == PLAN_EMBED && n->par.embed.kind == PLAN_EMBED_POSITION)
        e->n_pos = n->w[0]->ne[1] < e->n_pos ? n->w[0]->ne[1] : e->n_pos;
    if (n->op == PLAN_POOL)
        e->pool_kind = n->par.pool.kind;
    if (n->op == PLAN_OUTPUT)
        e->out_node[n->par.output.kind] = n->in[0];
    return CAMA_OK;
}

static cama_err take_step_arrays(engine *e, err_info *err)
{
    arena *a = &e->plan_arena;
    const size_t n = e->opts.n_batch;
    e->step.row = arena_take_array(a, n, sizeof *e->step.row);
    e->step.index = arena_take_array(a, n, sizeof *e->step.index);
    e->step.run = arena_take_array(a, n, sizeof *e->step.run);
    e->step.out_row = arena_take_array(a, n, sizeof *e->step.out_row);
    e->step.seq_row = arena_take_array(a, n, sizeof *e->step.seq_row);
    e->row_tmp = arena_take_array(a, n, sizeof *e->row_tmp);
    e->ref_tmp = arena_take_array(a, 2 * n, sizeof *e->ref_tmp);
    e->stored = arena_take_array(a, e->plan->n_slot, sizeof *e->stored);
    /* each node has at most K and V of every run, or one state of it, to be kept */
    e->cap_effect = 2 * (e->plan->n_slot + 1) * n + 8;
    e->effect = arena_take_array(a, e->cap_effect, sizeof *e->effect);
    const bool ok = e->step.row && e->step.index && e->step.run && e->step.out_row &&
                    e->step.seq_row && e->row_tmp && e->ref_tmp && e->stored && e->effect;
    return ok ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for %zu rows", n);
}

cama_err emlx_prepare_walk(engine *e, err_info *err)
{
    e->n_pos = UINT64_MAX;
    for (int i = 0; i < 3; i++)
        e->out_node[i] = -1;
    for (size_t i = 0; i < e->plan->n_slot; i++)
        e->has_state = e->has_state || e->plan->slots[i].kind == PLAN_KV_STATE;
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const cama_err fail = prepare_node(e, (int32_t)i, err);
        if (fail)
            return fail;
    }
    return take_step_arrays(e, err);
}

/* ---- in a step ---- */

void emlx_add_effect(engine *e, mb_ref r)
{
    if (r && e->n_effect < e->cap_effect)
        e->effect[e->n_effect++] = r;
}

static void set_tables(engine *e)
{
    for (size_t i = 0; i < e->n_rope; i++) {
        emlx_rope *r = &e->rope[i];
        const size_t half = r->par->n_rot / 2;
        r->cos_ref = r->sin_ref = 0;
        for (size_t row = 0; row < e->step.n_row[ENGINE_IN]; row++)
            engine_rope_row(r->par, e->step.row[row].pos, r->cos + row * half, r->sin + row * half);
    }
    for (size_t i = 0; i < e->n_mask; i++) {
        emlx_mask *m = &e->mask[i];
        memset(m->ref, 0, e->step.n_run * sizeof *m->ref);
        for (size_t row = 0; row < e->step.n_row[ENGINE_IN]; row++) {
            int32_t seen[2];
            engine_mask_range(m->kind, m->window, e->step.index[row], e->step.row[row].visible_end,
                              seen);
            m->lo[row] = seen[0];
            m->hi[row] = seen[1];
        }
    }
}

/* The ids of the rows, those that the device chose last still being there. */
static mb_ref token_ids(engine *e)
{
    const size_t n_row = e->step.n_row[ENGINE_IN];
    size_t n_part = 0;
    size_t from = 0;
    for (size_t i = 0; i < n_row; i++)
        e->row_tmp[i] = e->step.row[i].source == ENGINE_TOKEN ? e->step.row[i].id : 0;
    for (size_t i = 0; i <= n_row; i++) {
        const bool is_prev = i < n_row && e->step.row[i].source == ENGINE_PREV && !e->kernels;
        if (i < n_row && !is_prev) {
            if (e->step.row[i].source == ENGINE_PREV)
                e->row_tmp[i] = e->step.row[i].id;
            continue;
        }
        if (i > from)
            e->ref_tmp[n_part++] =
                e->b->from_host(e->m, e->row_tmp + from, emlx_shape1(i - from), MB_I32);
        if (is_prev)
            e->ref_tmp[n_part++] = e->seq[e->step.row[i].seq].prev;
        from = i + 1;
    }
    return n_part > 1 ? e->b->concat(e->m, e->ref_tmp, n_part, 0) : e->ref_tmp[0];
}

void emlx_walk(engine *e)
{
    e->n_effect = 0;
    set_tables(e);
    memset(e->stored, 0, e->plan->n_slot * sizeof *e->stored);
    e->token_ids = e->kernels ? 0 : token_ids(e);
    for (size_t i = 0; i < e->plan->n_node; i++)
        e->node[i].value = 0;
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const int32_t id = e->plan->node_order[i];
        if (emlx_n_row(e, id) == 0)
            continue;
        if (!e->kernels || !emlx_emit_kernel(e, id))
            e->node[id].value = emlx_stock(e, id);
    }
}
