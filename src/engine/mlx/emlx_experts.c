/* emlx_experts.c - a mixture of experts as a node of ours: row after row, expert after expert, each
 * shared by all threads. The sums are the native engine's, in its order. */
#include "engine/mlx/emlx_kern.h"

#include <stdlib.h>
#include <string.h>

/* One matrix of an expert. */
typedef struct stack {
    kern_weight w; /* of expert 0 */
    size_t step;   /* bytes from expert to expert */
    const float *bias;
    size_t bias_step;
} stack;

typedef struct mixing {
    emlx_single *s;
    const plan_moe *p;
    const float *x, *route;
    float *out;
    size_t n_row, n_in, n_ff, n_out;
    stack gate, up, down;
    float *rows; /* [n_in] scaled input, [n_ff] gate, [n_ff] up, [n_out] y */
} mixing;

static stack stack_of(const emlx_single *s, int i)
{
    const emlx_weight *w = e_weight(s, i);
    const emlx_weight *b = e_weight(s, i + 3);
    stack k = {.w = w->kern, .bias = b ? b->floats : NULL};
    k.step = k.w.n_row * k.w.row_bytes;
    k.bias_step = k.w.n_row;
    return k;
}

static void set_stacks(mixing *m)
{
    m->gate = stack_of(m->s, 0);
    m->down = stack_of(m->s, 2);
    if (!m->p->gate_up_fused) {
        m->up = stack_of(m->s, 1);
    } else {
        m->up = m->gate;
        m->gate.w.n_row /= 2;
        m->up.w.n_row /= 2;
        m->up.w.rows += m->up.w.n_row * m->up.w.row_bytes;
        m->up.bias = m->gate.bias ? m->gate.bias + m->up.w.n_row : NULL;
    }
    m->n_in = m->gate.w.n_col;
    m->n_ff = m->gate.w.n_row;
    m->n_out = m->down.w.n_row;
}

/* Thread t's rows of one expert's matrix times x; every thread makes its own int8 form of x. */
static void times(const mixing *m, const stack *k, size_t expert, const float *x, float *y,
                  const size_t cut[2], int t)
{
    engine *e = m->s->e;
    kern_weight w = k->w;
    w.rows += expert * k->step;
    kern_acts a = {.form = kern_form_for(w.type, w.n_col, e->opts.activations),
                   .n_row = 1,
                   .n_col = w.n_col,
                   .x = x,
                   .ld = w.n_col,
                   .mem = emlx_own_acts(e, t)};
    if (a.form == KERN_I8)
        e->kern.acts_quantize(&a, x, w.n_col, 0, 1);
    const kern_out out = {
        .y = y, .ld = w.n_row, .bias = k->bias ? k->bias + expert * k->bias_step : NULL};
    if (cut[0] < cut[1])
        kern_matmul(&e->kern, &w, &a, cut[0], cut[1], &out, emlx_scratch(e, t));
}

static void one_pair(const mixing *m, size_t row, size_t j, int t, int n_thread)
{
    engine *e = m->s->e;
    const float *route = m->route + row * 2 * m->p->n_used;
    const float weight = route[m->p->n_used + j];
    const size_t asked = (size_t)route[j];
    const size_t expert = asked < m->p->n_expert ? asked : 0; /* NaN logits choose anything */
    const float *x = m->x + row * m->n_in;
    float *scaled = m->rows;
    float *gate = m->rows + m->n_in;
    float *up = gate + m->n_ff;
    float *y = up + m->n_ff;
    size_t cut[2];
    if (m->p->weight_before) {
        if (t == 0)
            e->kern.scale(x, weight, m->n_in, scaled);
        workers_barrier(e->pool, t);
        x = scaled;
    }
    emlx_cut_rows(e, m->n_ff, t, n_thread, cut);
    times(m, &m->gate, expert, x, gate, cut, t);
    times(m, &m->up, expert, x, up, cut, t);
    if (cut[0] < cut[1] && m->p->oai_glu)
        engine_oai_glu(gate + cut[0], up + cut[0], cut[1] - cut[0], gate + cut[0]);
    else if (cut[0] < cut[1])
        e->kern.glu((kern_act_fn)m->p->act, gate + cut[0], up + cut[0], cut[1] - cut[0],
                    gate + cut[0]);
    workers_barrier(e->pool, t);
    emlx_cut_rows(e, m->n_out, t, n_thread, cut);
    times(m, &m->down, expert, gate, y, cut, t);
    if (cut[0] < cut[1])
        e->kern.axpy(m->p->weight_before ? 1.0f : weight, y + cut[0], cut[1] - cut[0],
                     m->out + row * m->n_out + cut[0]);
    workers_barrier(e->pool, t);
}

static void run_mixing(void *arg, int t, int n_thread)
{
    const mixing *m = arg;
    for (size_t row = 0; row < m->n_row; row++)
        for (size_t j = 0; j < m->p->n_used; j++)
            one_pair(m, row, j, t, n_thread);
}

static void experts_node(void *user, const mb_view *in, size_t n_in, const mb_view *out,
                         size_t n_out)
{
    emlx_single *s = user;
    mixing m = {.s = s,
                .p = &s->node->par.moe,
                .x = in[0].data,
                .route = in[1].data,
                .out = out[0].data,
                .n_row = (size_t)in[0].shape.dim[0],
                .rows = s->e->expert_rows};
    (void)n_in, (void)n_out;
    set_stacks(&m);
    memset(m.out, 0, m.n_row * m.n_out * sizeof *m.out);
    workers_run(s->e->pool, run_mixing, &m);
    atomic_fetch_add_explicit(&s->e->n_moved, 1, memory_order_relaxed);
}

mb_ref emlx_emit_experts(engine *e, emlx_single *s)
{
    const mb_ref in[2] = {emlx_in(e, s->id, 0), emlx_in(e, s->id, 1)};
    const mb_shape shape = emlx_shape2(emlx_n_row(e, s->id), s->node->n_col);
    const mb_dtype type = MB_F32;
    mb_ref out = 0;
    (void)e->b->host_kernel(e->m, experts_node, s, in, 2, &shape, &type, 1, &out); /* sticks */
    return out;
}
