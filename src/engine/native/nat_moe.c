/* nat_moe.c - a mixture of experts: rows are put in order of their experts, each expert computes
 * its rows together, and each row adds up its experts in the order in which it chose them.
 *
 *     pairs (row, j)  ->  slots, an expert's side by side  ->  gate, up, glu, down  ->  sums
 *
 * One path for one row and for many: which rows share an expert's call shows in no bit.
 */
#include "engine/native/nat_int.h"

#include <string.h>

/* The rows of one pass. */
typedef struct pass {
    const nat_moe *m;
    int32_t x, route; /* nodes */
    size_t row0, n_row;
} pass;

static size_t expert_of(const engine *e, const pass *p, size_t row, size_t j)
{
    const size_t id = (size_t)nat_row(e, p->route, p->row0 + row)[j];
    return id < p->m->par->n_expert ? id : 0; /* NaN logits choose anything */
}

/* Counting sort of the pairs, and where each expert's activations lie. One thread. */
static void sort_pairs(engine *e, const pass *p)
{
    nat_moe_mem *mem = &e->moe;
    const size_t n_used = p->m->par->n_used;
    const size_t n_expert = p->m->par->n_expert;
    memset(mem->first, 0, (n_expert + 1) * sizeof *mem->first);
    for (size_t i = 0; i < p->n_row * n_used; i++)
        mem->first[expert_of(e, p, i / n_used, i % n_used) + 1]++;
    for (size_t x = 0; x < n_expert; x++)
        mem->first[x + 1] += mem->first[x];
    for (size_t i = 0; i < p->n_row * n_used; i++) {
        /* first[x] walks to the start of x + 1 and is put back below */
        const int32_t slot = mem->first[expert_of(e, p, i / n_used, i % n_used)]++;
        mem->slot_of[i] = slot;
        mem->pair_at[slot] = (int32_t)i;
    }
    memmove(mem->first + 1, mem->first, n_expert * sizeof *mem->first);
    mem->first[0] = 0;
    size_t at = 0;
    size_t at_ff = 0;
    for (size_t x = 0; x < n_expert; x++) {
        const size_t n = (size_t)(mem->first[x + 1] - mem->first[x]);
        mem->acts_at[x] = at;
        mem->acts_ff_at[x] = at_ff;
        if (n && p->m->form_in == KERN_I8)
            at += nat_up(e->kern.acts_bytes(n, p->m->n_in), NAT_ALIGN);
        if (n && p->m->form_ff == KERN_I8)
            at_ff += nat_up(e->kern.acts_bytes(n, p->m->n_ff), NAT_ALIGN);
    }
}

static size_t n_slot(const engine *e, size_t expert)
{
    return (size_t)(e->moe.first[expert + 1] - e->moe.first[expert]);
}

static kern_acts acts_in(const engine *e, const nat_moe *m, size_t expert)
{
    return (kern_acts){.form = m->form_in,
                       .n_row = n_slot(e, expert),
                       .n_col = m->n_in,
                       .x = e->moe.x + (size_t)e->moe.first[expert] * m->n_in,
                       .ld = m->n_in,
                       .mem = e->moe.acts + e->moe.acts_at[expert]};
}

static kern_acts acts_ff(const engine *e, const nat_moe *m, size_t expert)
{
    return (kern_acts){.form = m->form_ff,
                       .n_row = n_slot(e, expert),
                       .n_col = m->n_ff,
                       .x = e->moe.gate + (size_t)e->moe.first[expert] * m->n_ff,
                       .ld = m->n_ff,
                       .mem = e->moe.acts_ff + e->moe.acts_ff_at[expert]};
}

static void gather(engine *e, const pass *p, size_t expert)
{
    const nat_moe *m = p->m;
    const size_t n_used = m->par->n_used;
    for (size_t s = (size_t)e->moe.first[expert]; s < (size_t)e->moe.first[expert + 1]; s++) {
        const size_t pair = (size_t)e->moe.pair_at[s];
        const size_t row = p->row0 + pair / n_used;
        float *x = e->moe.x + s * m->n_in;
        if (m->par->weight_before)
            e->kern.scale(nat_row(e, p->x, row), nat_row(e, p->route, row)[n_used + pair % n_used],
                          m->n_in, x);
        else
            memcpy(x, nat_row(e, p->x, row), m->n_in * sizeof *x);
    }
    kern_acts a = acts_in(e, m, expert);
    if (a.form == KERN_I8)
        e->kern.acts_quantize(&a, a.x, a.ld, 0, a.n_row);
}

/* Thread t's rows of the expert's matrix, for all its slots. */
static void expert_matmul(engine *e, const nat_stack *s, size_t expert, const kern_acts *a,
                          float *y, int t)
{
    kern_weight k = s->w.k;
    k.rows += expert * s->step;
    const kern_out out = {
        .y = y, .ld = k.n_row, .bias = s->bias ? s->bias + expert * s->bias_step : NULL};
    kern_matmul(&e->kern, &k, a, s->cut[t], s->cut[t + 1], &out, e->thread[t].kern);
}

/* Thread t's slice of the expert's inner columns, for all its slots. */
static void inner(engine *e, const nat_moe *m, size_t expert, int t)
{
    const size_t from = m->gate.cut[t];
    const size_t to = m->gate.cut[t + 1];
    const size_t slot0 = (size_t)e->moe.first[expert];
    const kern_acts a = acts_in(e, m, expert);
    float *gate = e->moe.gate + slot0 * m->n_ff;
    float *up = e->moe.up + slot0 * m->n_ff;
    expert_matmul(e, &m->gate, expert, &a, gate, t);
    expert_matmul(e, &m->up, expert, &a, up, t);
    for (size_t s = 0; s < a.n_row && from < to; s++) {
        float *g = gate + s * m->n_ff + from;
        const float *u = up + s * m->n_ff + from;
        if (m->par->oai_glu)
            engine_oai_glu(g, u, to - from, g);
        else
            e->kern.glu((kern_act_fn)m->par->act, g, u, to - from, g);
    }
}

static void outer(engine *e, const nat_moe *m, size_t expert, int t)
{
    const kern_acts a = acts_ff(e, m, expert);
    float *y = e->moe.y + (size_t)e->moe.first[expert] * m->n_out;
    expert_matmul(e, &m->down, expert, &a, y, t);
}

static void add_up(engine *e, const pass *p, int32_t out_node, size_t row)
{
    const nat_moe *m = p->m;
    const size_t n_used = m->par->n_used;
    const float *weights = nat_row(e, p->route, p->row0 + row) + n_used;
    float *out = nat_row(e, out_node, p->row0 + row);
    memset(out, 0, m->n_out * sizeof *out);
    for (size_t j = 0; j < n_used; j++) {
        const float *y = e->moe.y + (size_t)e->moe.slot_of[row * n_used + j] * m->n_out;
        e->kern.axpy(m->par->weight_before ? 1.0f : weights[j], y, m->n_out, out);
    }
}

static void run_pass(engine *e, const pass *p, int32_t out_node, int t)
{
    const nat_moe *m = p->m;
    const size_t n_expert = m->par->n_expert;
    const size_t n_thread = (size_t)e->n_thread;
    size_t from, to;
    if (t == 0)
        sort_pairs(e, p);
    nat_meet(e, t);
    for (size_t x = 0, turn = 0; x < n_expert; x++)
        if (n_slot(e, x) && turn++ % n_thread == (size_t)t)
            gather(e, p, x);
    nat_meet(e, t);
    for (size_t x = 0; x < n_expert; x++)
        if (n_slot(e, x))
            inner(e, m, x, t);
    nat_meet(e, t);
    for (size_t x = 0, turn = 0; x < n_expert && m->form_ff == KERN_I8; x++)
        if (n_slot(e, x) && turn++ % n_thread == (size_t)t) {
            kern_acts a = acts_ff(e, m, x);
            e->kern.acts_quantize(&a, a.x, a.ld, 0, a.n_row);
        }
    nat_meet(e, t);
    for (size_t x = 0; x < n_expert; x++)
        if (n_slot(e, x))
            outer(e, m, x, t);
    nat_meet(e, t);
    nat_share(e, p->n_row, t, &from, &to);
    for (size_t r = from; r < to; r++)
        add_up(e, p, out_node, r);
}

void nat_run_experts(engine *e, const nat_op *op, int t)
{
    const size_t n_row = e->step.n_row[op->domain];
    pass p = {.m = op->u.moe, .x = op->node->in[0], .route = op->node->in[1]};
    for (p.row0 = 0; p.row0 < n_row; p.row0 += NAT_MOE_ROWS) {
        p.n_row = n_row - p.row0 < NAT_MOE_ROWS ? n_row - p.row0 : NAT_MOE_ROWS;
        if (p.row0)
            nat_meet(e, t); /* the sums of the pass before have been read */
        run_pass(e, &p, op->id, t);
    }
}
