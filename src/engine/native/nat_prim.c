/* nat_prim.c - the primitive nodes, a share of the rows a thread. */
#include "engine/native/nat_int.h"

#include <string.h>

static const float *embed_source(const engine *e, const nat_op *op, size_t row, size_t *out_index)
{
    const engine_row *r = &e->step.row[row];
    *out_index = 0;
    if (op->node->par.embed.kind == PLAN_EMBED_TOKEN) {
        if (r->source == ENGINE_EMBED)
            return e->embeds + (size_t)r->id * e->plan->n_embd;
        *out_index = (size_t)r->id;
    } else if (op->node->par.embed.kind == PLAN_EMBED_POSITION) {
        *out_index = (size_t)r->pos[0];
    }
    return NULL;
}

void nat_run_embed(engine *e, const nat_op *op, int t)
{
    const plan_tensor *table = op->node->w[0];
    const size_t n = op->node->n_col;
    const size_t row_bytes = quant_row_bytes(table->type, n);
    size_t from, to;
    nat_share(e, e->step.n_row[ENGINE_IN], t, &from, &to);
    for (size_t r = from; r < to; r++) {
        size_t index;
        const float *given = embed_source(e, op, r, &index);
        if (given)
            memcpy(nat_row(e, op->id, r), given, n * sizeof *given);
        else
            quant_dequant(table->type, table->data + index * row_bytes, nat_row(e, op->id, r), n);
    }
}

/* Norms of a whole row; those of heads are links (nat_run_heads). */
void nat_run_norm(engine *e, const nat_op *op, int t)
{
    const plan_node *n = op->node;
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++) {
        const float *x = nat_row(e, n->in[0], r);
        float *out = nat_row(e, op->id, r);
        if (n->op == PLAN_RMS_NORM)
            e->kern.rms_norm(x, op->u.w[0], n->n_col, n->par.norm.eps, out);
        else
            e->kern.layer_norm(x, op->u.w[0], op->u.w[1], n->n_col, n->par.norm.eps, out);
    }
}

static size_t link_dim(const nat_link *l)
{
    return l->kind == NAT_LINK_ROPE ? l->node->par.rope.head_dim : nat_norm_dim(l->node);
}

void nat_apply(const engine *e, const nat_link *l, size_t row, float *x)
{
    const plan_node *n = l->node;
    if (l->kind == NAT_LINK_RMS) {
        e->kern.rms_norm(x, l->w, nat_norm_dim(n), n->par.norm.eps, x);
    } else if (l->kind == NAT_LINK_L2) {
        e->kern.l2_norm(x, nat_norm_dim(n), n->par.norm.eps, x);
    } else if (l->kind == NAT_LINK_ROPE) {
        const size_t half = n->par.rope.n_rot / 2;
        const nat_rope *rope = &e->rope[l->rope];
        e->kern.rope(x + n->par.rope.from, rope->cos + row * half, rope->sin + row * half,
                     n->par.rope.n_rot, n->par.rope.neox);
    }
}

/* A link as a primitive of its own: every head of every row. */
void nat_run_heads(engine *e, const nat_op *op, int t)
{
    const size_t dim = link_dim(&op->u.link);
    const size_t n_head = op->node->n_col / dim;
    const int32_t in = op->node->in[0];
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain] * n_head, t, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t row = i / n_head;
        float *out = nat_row(e, op->id, row) + i % n_head * dim;
        const float *x = nat_row(e, in, row) + i % n_head * dim;
        if (out != x)
            memcpy(out, x, dim * sizeof *out);
        nat_apply(e, &op->u.link, row, out);
    }
}

/* w ne [n_in, n_out, n_head]: a matrix a head. Weights are few and the heads many, so a thread
 * takes whole heads, a few rows at a time through its own activations. */
void nat_run_head_linear(engine *e, const nat_op *op, int t)
{
    const plan_tensor *w = op->node->w[0];
    const size_t n_in = w->ne[0];
    const size_t n_out = w->ne[1];
    const size_t n_row = e->step.n_row[op->domain];
    const int32_t in = op->node->in[0];
    size_t from, to;
    nat_share(e, w->ne[2], t, &from, &to);
    for (size_t h = from; h < to; h++) {
        kern_weight k = nat_weight_of(w).k;
        k.rows += h * n_out * k.row_bytes;
        k.n_row = n_out;
        for (size_t r = 0; r < n_row; r += KERN_GEMV_MAX) {
            const size_t some = n_row - r < KERN_GEMV_MAX ? n_row - r : KERN_GEMV_MAX;
            const float *x = nat_row(e, in, r) + h * n_in;
            const size_t ld = e->value[in].ld;
            kern_acts a = {.form = kern_form_for(w->type, n_in, e->opts.activations),
                           .n_row = some,
                           .n_col = n_in,
                           .x = x,
                           .ld = ld,
                           .mem = e->thread[t].acts};
            if (a.form == KERN_I8)
                e->kern.acts_quantize(&a, x, ld, 0, some);
            const kern_out out = {.y = nat_row(e, op->id, r) + h * n_out,
                                  .ld = e->value[op->id].ld};
            kern_matmul(&e->kern, &k, &a, 0, n_out, &out, e->thread[t].kern);
        }
    }
}

void nat_run_slice(engine *e, const nat_op *op, int t)
{
    const plan_node *n = op->node;
    const size_t n_head = n->par.slice.n_head;
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++)
        for (size_t h = 0; h < n_head; h++)
            memcpy(nat_row(e, op->id, r) + h * n->par.slice.n,
                   nat_row(e, n->in[0], r) + h * n->par.slice.head_dim + n->par.slice.from,
                   n->par.slice.n * sizeof(float));
}

void nat_run_join(engine *e, const nat_op *op, int t)
{
    const plan_node *n = op->node;
    const size_t n_head = n->par.slice.n_head;
    const size_t n_a = e->plan->nodes[n->in[0]].n_col / n_head;
    const size_t n_b = n->n_col / n_head - n_a;
    const size_t b_step = e->plan->nodes[n->in[1]].n_col == n_b ? 0 : n_b; /* 0: one for all */
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++)
        for (size_t h = 0; h < n_head; h++) {
            float *out = nat_row(e, op->id, r) + h * (n_a + n_b);
            memcpy(out, nat_row(e, n->in[0], r) + h * n_a, n_a * sizeof *out);
            memcpy(out + n_a, nat_row(e, n->in[1], r) + h * b_step, n_b * sizeof *out);
        }
}

void nat_run_add(engine *e, const nat_op *op, int t)
{
    const plan_node *n = op->node;
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++)
        e->kern.add(nat_row(e, n->in[0], r), n->w[0] ? op->u.w[0] : nat_row(e, n->in[1], r),
                    n->n_col, nat_row(e, op->id, r));
}

void nat_run_mul(engine *e, const nat_op *op, int t)
{
    const plan_node *n = op->node;
    const size_t n_b = n->w[0] ? n->n_col : e->plan->nodes[n->in[1]].n_col;
    const size_t n_run = n->n_col / n_b;
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++) {
        const float *a = nat_row(e, n->in[0], r);
        const float *b = n->w[0] ? op->u.w[0] : nat_row(e, n->in[1], r);
        float *out = nat_row(e, op->id, r);
        if (n_run == 1)
            e->kern.mul(a, b, n->n_col, out);
        for (size_t i = 0; i < n_b && n_run > 1; i++)
            e->kern.scale(a + i * n_run, b[i], n_run, out + i * n_run);
    }
}

void nat_run_scale(engine *e, const nat_op *op, int t)
{
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++)
        e->kern.scale(nat_row(e, op->node->in[0], r), op->node->par.scale.value, op->node->n_col,
                      nat_row(e, op->id, r));
}

void nat_run_act(engine *e, const nat_op *op, int t)
{
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++)
        e->kern.act((kern_act_fn)op->node->par.act.fn, nat_row(e, op->node->in[0], r),
                    op->node->n_col, nat_row(e, op->id, r));
}

void nat_run_glu(engine *e, const nat_op *op, int t)
{
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++)
        e->kern.glu((kern_act_fn)op->node->par.act.fn, nat_row(e, op->node->in[0], r),
                    nat_row(e, op->node->in[1], r), op->node->n_col, nat_row(e, op->id, r));
}

void nat_run_softcap(engine *e, const nat_op *op, int t)
{
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++)
        e->kern.softcap(nat_row(e, op->node->in[0], r), op->node->par.scale.value, op->node->n_col,
                        nat_row(e, op->id, r));
}

void nat_run_select(engine *e, const nat_op *op, int t)
{
    size_t from, to;
    nat_share(e, e->step.n_row[ENGINE_OUT], t, &from, &to);
    for (size_t r = from; r < to; r++)
        memcpy(nat_row(e, op->id, r), nat_row(e, op->node->in[0], e->step.out_row[r]),
               op->node->n_col * sizeof(float));
}
