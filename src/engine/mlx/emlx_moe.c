/* emlx_moe.c - a mixture of experts as operations of MLX (plan.h: plan_moe). */
#include "engine/mlx/emlx_int.h"

/* ---- routing ---- */

static mb_ref probabilities(engine *e, const plan_moe *p, mb_ref logits)
{
    if (p->gating == PLAN_GATE_SOFTMAX)
        return e->b->softmax(e->m, logits, 1);
    if (p->gating == PLAN_GATE_SIGMOID)
        return e->b->unary(e->m, MB_SIGMOID, logits);
    return logits;
}

/* The ids of the n best columns, best first; of equals the lower id. [n_row, n] */
static mb_ref best(engine *e, mb_ref x, size_t n)
{
    const mb_ref order = e->b->argsort(e->m, e->b->unary(e->m, MB_NEG, x), 1);
    return emlx_columns(e, order, 0, n);
}

/* Experts of all but the best groups are out of the choice. A group's score is the sum of its two
 * best; of equals the later group goes. */
static mb_ref limit_groups(engine *e, const plan_moe *p, mb_ref choice, size_t n_row)
{
    const mb_api *b = e->b;
    const size_t n_in = p->n_expert / p->n_group;
    const mb_ref groups = b->reshape(e->m, choice, emlx_shape2(n_row * p->n_group, n_in));
    const mb_ref top = b->take_along(e->m, groups, best(e, groups, n_in > 1 ? 2 : 1), 1);
    const mb_ref score =
        b->reshape(e->m, b->reduce(e->m, MB_SUM, top, 1, false), emlx_shape2(n_row, p->n_group));
    const mb_ref rank = b->argsort(e->m, b->argsort(e->m, b->unary(e->m, MB_NEG, score), 1), 1);
    const mb_ref limit = b->scalar(e->m, (double)p->n_group_used, MB_I32);
    const mb_ref stays = b->binary(e->m, MB_LESS, b->cast(e->m, rank, MB_I32), limit);
    const mb_ref each = b->reshape(e->m, stays, emlx_shape3(n_row, p->n_group, 1));
    const mb_ref x = b->reshape(e->m, choice, emlx_shape3(n_row, p->n_group, n_in));
    return b->reshape(e->m, b->where(e->m, each, x, emlx_number(e, -1e30)),
                      emlx_shape2(n_row, p->n_expert));
}

static mb_ref finish_weights(engine *e, const plan_moe *p, mb_ref w)
{
    const double min_sum = 6.103515625e-5; /* the smallest normal half, as peers clamp the sum */
    if (p->gating == PLAN_GATE_SOFTMAX_WEIGHT)
        w = e->b->softmax(e->m, w, 1);
    if (p->normalise) {
        const mb_ref sum = e->b->binary(e->m, MB_MAX, e->b->reduce(e->m, MB_SUM, w, 1, true),
                                        emlx_number(e, min_sum));
        w = e->b->binary(e->m, MB_DIV, w, sum);
    }
    return p->scale == 1 ? w : e->b->binary(e->m, MB_MUL, w, emlx_number(e, (double)p->scale));
}

/* n_used ids, then as many weights, all floats. */
mb_ref emlx_stock_route(engine *e, int32_t id)
{
    const plan_moe *p = &emlx_plan_node(e, id)->par.moe;
    const emlx_weight *bias = e->node[id].w[0];
    const mb_ref probs = probabilities(e, p, emlx_in(e, id, 0));
    mb_ref choice = bias ? e->b->binary(e->m, MB_ADD, probs, bias->array) : probs;
    if (p->n_group > 1)
        choice = limit_groups(e, p, choice, emlx_n_row(e, id));
    const mb_ref ids = best(e, choice, p->n_used);
    mb_ref both[2] = {e->b->cast(e->m, ids, MB_F32), 0};
    both[1] = finish_weights(e, p, e->b->take_along(e->m, probs, ids, 1));
    return e->b->concat(e->m, both, 2, 1);
}

/* ---- experts ---- */

typedef struct chosen {
    mb_ref ids; /* i32 [n_row, n_used] */
    size_t n_row, n_used;
} chosen;

/* The experts' rows of a bias [n_expert, n] for the ids: [n_row, n_used, 1, n] */
static mb_ref add_bias(engine *e, const chosen *c, mb_ref y, const emlx_weight *bias)
{
    if (!bias)
        return y;
    const size_t n = (size_t)bias->t->ne[0];
    const mb_ref flat = e->b->reshape(e->m, c->ids, emlx_shape1(c->n_row * c->n_used));
    const mb_ref rows = e->b->take(e->m, bias->array, flat, 0);
    return e->b->binary(e->m, MB_ADD, y,
                        e->b->reshape(e->m, rows, emlx_shape4(c->n_row, c->n_used, 1, n)));
}

/* gpt-oss: both sides clamped, the gate's sigmoid steeper, one added to up. */
static mb_ref oai_glu(engine *e, mb_ref gate, mb_ref up)
{
    const mb_api *b = e->b;
    const mb_ref g = b->binary(e->m, MB_MIN, gate, emlx_number(e, 7));
    const mb_ref u =
        b->binary(e->m, MB_MAX, b->binary(e->m, MB_MIN, up, emlx_number(e, 7)), emlx_number(e, -7));
    const mb_ref s = b->unary(e->m, MB_SIGMOID, b->binary(e->m, MB_MUL, g, emlx_number(e, 1.702)));
    return b->binary(e->m, MB_MUL, b->binary(e->m, MB_MUL, g, s),
                     b->binary(e->m, MB_ADD, u, emlx_number(e, 1)));
}

/* Gate and up of x, from two stacks or from one that holds both. */
static mb_ref inner(engine *e, int32_t id, const chosen *c, mb_ref x)
{
    const plan_moe *p = &emlx_plan_node(e, id)->par.moe;
    emlx_weight *const *w = e->node[id].w;
    mb_ref gate = e->b->linear_experts(e->m, x, &w[0]->stock, c->ids);
    gate = add_bias(e, c, gate, w[3]);
    mb_ref up;
    if (p->gate_up_fused) {
        const size_t n_ff = (size_t)w[0]->t->ne[1] / 2;
        up = emlx_columns(e, gate, n_ff, 2 * n_ff);
        gate = emlx_columns(e, gate, 0, n_ff);
    } else {
        up = add_bias(e, c, e->b->linear_experts(e->m, x, &w[1]->stock, c->ids), w[4]);
    }
    return p->oai_glu ? oai_glu(e, gate, up)
                      : e->b->binary(e->m, MB_MUL, emlx_act(e, p->act, gate), up);
}

mb_ref emlx_stock_experts(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const plan_moe *p = &n->par.moe;
    const mb_api *b = e->b;
    const mb_ref route = emlx_in(e, id, 1);
    const chosen c = {
        .ids = b->cast(e->m, emlx_columns(e, route, 0, p->n_used), MB_I32),
        .n_row = emlx_n_row(e, id),
        .n_used = p->n_used,
    };
    const size_t n_in = e->plan->nodes[n->in[0]].n_col;
    const mb_ref weights = b->reshape(e->m, emlx_columns(e, route, p->n_used, 2 * p->n_used),
                                      emlx_shape4(c.n_row, c.n_used, 1, 1));
    mb_ref x = b->reshape(e->m, emlx_in(e, id, 0), emlx_shape4(c.n_row, 1, 1, n_in));
    if (p->weight_before)
        x = b->binary(e->m, MB_MUL, x, weights); /* [n_row, n_used, 1, n_in] */
    mb_ref y = b->linear_experts(e->m, inner(e, id, &c, x), &e->node[id].w[2]->stock, c.ids);
    y = add_bias(e, &c, y, e->node[id].w[5]);
    if (!p->weight_before)
        y = b->binary(e->m, MB_MUL, y, weights);
    return b->reshape(e->m, b->reduce(e->m, MB_SUM, y, 1, false), emlx_shape2(c.n_row, n->n_col));
}
