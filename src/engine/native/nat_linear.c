/* nat_linear.c - linears, with the norm before and the glu or residual after them. */
#include "engine/native/nat_int.h"

#include <string.h>

static void norm_row(const engine *e, const nat_linears *l, const float *x, float *out)
{
    const float eps = l->norm->par.norm.eps;
    if (l->norm->op == PLAN_RMS_NORM)
        e->kern.rms_norm(x, l->norm_w, l->n_col, eps, out);
    else
        e->kern.layer_norm(x, l->norm_w, l->norm_b, l->n_col, eps, out);
}

/* Activations of the op in both forms that its linears may ask for. */
typedef struct acts_pair {
    kern_acts f32, i8;
} acts_pair;

static void set_pair(const nat_linears *l, size_t n_row, const float *x, size_t ld, void *mem,
                     acts_pair *out)
{
    out->f32 = (kern_acts){.form = KERN_F32, .n_row = n_row, .n_col = l->n_col, .x = x, .ld = ld};
    out->i8 = (kern_acts){.form = KERN_I8, .n_row = n_row, .n_col = l->n_col, .mem = mem};
}

/* Few rows: norm and quantising cost less than a barrier, so each thread does them for itself. */
static void own_acts(engine *e, const nat_op *op, int t, acts_pair *out)
{
    const nat_linears *l = op->u.lin;
    const nat_thread *own = &e->thread[t];
    const size_t n_row = e->step.n_row[op->domain];
    const float *x = e->at[l->in];
    size_t ld = e->value[l->in].ld;
    if (l->norm) {
        const bool shared = l->norm_is_read && t == 0; /* the others' copies are the same bits */
        const size_t norm_ld = shared ? e->value[l->norm_out].ld : e->size.max_col;
        float *norm = shared ? e->at[l->norm_out] : own->rows;
        for (size_t r = 0; r < n_row; r++)
            norm_row(e, l, x + r * ld, norm + r * norm_ld);
        x = norm;
        ld = norm_ld;
    }
    set_pair(l, n_row, x, ld, own->acts, out);
    if (l->has_i8)
        e->kern.acts_quantize(&out->i8, x, ld, 0, n_row);
}

/* Many rows: each thread prepares its share, in the steps that the kernels like, for all. */
static void shared_acts(engine *e, const nat_op *op, int t, acts_pair *out)
{
    const nat_linears *l = op->u.lin;
    const size_t n_row = e->step.n_row[op->domain];
    const size_t step = e->kern.row_step ? e->kern.row_step : 1;
    const int32_t src = l->norm ? l->norm_out : l->in;
    size_t from, to;
    set_pair(l, n_row, e->at[src], e->value[src].ld, e->acts, out);
    nat_share(e, (n_row + step - 1) / step, t, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t row0 = i * step;
        const size_t row1 = row0 + step < n_row ? row0 + step : n_row;
        for (size_t r = row0; r < row1 && l->norm; r++)
            norm_row(e, l, nat_row(e, l->in, r), nat_row(e, l->norm_out, r));
        if (l->has_i8)
            e->kern.acts_quantize(&out->i8, e->at[src], e->value[src].ld, row0, row1);
    }
    nat_meet(e, t);
}

/* The slice of columns [c0, c1) of the residual, where the sum does not take its place. */
static void copy_residual(engine *e, const nat_linears *l, size_t n_row, size_t c0, size_t c1)
{
    const int32_t out = l->linear[0].out;
    if (l->add < 0 || e->at[out] == e->at[l->add])
        return;
    for (size_t r = 0; r < n_row; r++)
        memcpy(nat_row(e, out, r) + c0, nat_row(e, l->add, r) + c0, (c1 - c0) * sizeof(float));
}

void nat_run_linears(engine *e, const nat_op *op, int t)
{
    const nat_linears *l = op->u.lin;
    const size_t n_row = e->step.n_row[op->domain];
    acts_pair acts;
    if (n_row <= KERN_GEMV_MAX)
        own_acts(e, op, t, &acts);
    else
        shared_acts(e, op, t, &acts);
    for (size_t i = 0; i < l->n; i++) {
        const nat_linear *w = &l->linear[i];
        const kern_out out = {
            .y = e->at[w->out], .ld = e->value[w->out].ld, .bias = w->bias, .add = l->add >= 0};
        copy_residual(e, l, n_row, w->cut[t], w->cut[t + 1]);
        kern_matmul(&e->kern, &w->w.k, w->form == KERN_I8 ? &acts.i8 : &acts.f32, w->cut[t],
                    w->cut[t + 1], &out, e->thread[t].kern);
    }
    if (l->glu < 0)
        return;
    const size_t c0 = l->linear[0].cut[t];
    const size_t n = l->linear[0].cut[t + 1] - c0;
    const int32_t gate = e->plan->nodes[l->glu].in[0];
    const int32_t up = e->plan->nodes[l->glu].in[1];
    for (size_t r = 0; r < n_row && n; r++)
        e->kern.glu((kern_act_fn)op->node->par.act.fn, nat_row(e, gate, r) + c0,
                    nat_row(e, up, r) + c0, n, nat_row(e, l->glu, r) + c0);
}
