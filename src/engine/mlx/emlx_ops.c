/* emlx_ops.c - primitive nodes as operations of MLX. Every value is f32 [n_row, n_col]. */
#include "engine/mlx/emlx_int.h"

#include <math.h>

/* ---- shapes ---- */

/* [from, to) of dimension `axis`, -1: the last; all of it is x itself. */
static mb_ref part_of(engine *e, mb_ref x, int axis, const size_t range[2])
{
    mb_shape s;
    mb_dtype t;
    if (!x || e->b->meta(e->m, x, &s, &t))
        return 0;
    int32_t from[MB_MAX_DIM] = {0};
    int32_t to[MB_MAX_DIM];
    const int at = axis < 0 ? s.n_dim - 1 : axis;
    for (int i = 0; i < s.n_dim; i++)
        to[i] = s.dim[i];
    if (range[0] == 0 && (size_t)s.dim[at] == range[1])
        return x;
    from[at] = (int32_t)range[0];
    to[at] = (int32_t)range[1];
    return e->b->slice(e->m, x, from, to, (size_t)s.n_dim);
}

mb_ref emlx_columns(engine *e, mb_ref x, size_t from, size_t to)
{
    return part_of(e, x, -1, (const size_t[]){from, to});
}

mb_ref emlx_row_range(engine *e, mb_ref x, size_t from, size_t to)
{
    return part_of(e, x, 0, (const size_t[]){from, to});
}

static mb_ref flat(engine *e, mb_ref x, int32_t id)
{
    return e->b->reshape(e->m, x, emlx_shape2(emlx_n_row(e, id), emlx_plan_node(e, id)->n_col));
}

/* ---- tables ---- */

/* Rows of embeddings that came with the batch take the place of what their ids stand for. */
static mb_ref given_rows(engine *e, mb_ref x, size_t n_col)
{
    const size_t n_row = e->step.n_row[ENGINE_IN];
    const int32_t to_col = (int32_t)n_col;
    for (size_t i = 0; i < n_row; i++) {
        const engine_row *r = &e->step.row[i];
        if (r->source != ENGINE_EMBED)
            continue;
        const int32_t from[] = {(int32_t)i, 0};
        const int32_t to[] = {(int32_t)i + 1, to_col};
        const mb_ref row = e->b->from_host(e->m, e->batch->embeds + (size_t)r->id * n_col,
                                           emlx_shape2(1, n_col), MB_F32);
        x = e->b->slice_update(e->m, x, row, from, to, 2);
    }
    return x;
}

/* The row of the table that each row of the batch reads. */
static mb_ref embed(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const size_t n_row = e->step.n_row[ENGINE_IN];
    const emlx_weight *w = e->node[id].w[0];
    if (n->par.embed.kind == PLAN_EMBED_TOKEN)
        return given_rows(e, emlx_table_rows(e, w, e->token_ids), n->n_col);
    const bool is_position = n->par.embed.kind == PLAN_EMBED_POSITION;
    for (size_t i = 0; i < n_row; i++)
        e->row_tmp[i] = is_position ? e->step.row[i].pos[0] : 0;
    return emlx_table_rows(e, w, e->b->from_host(e->m, e->row_tmp, emlx_shape1(n_row), MB_I32));
}

/* ---- norms ---- */

/* Heads as rows: a norm of head_dim columns. */
static mb_ref as_heads(engine *e, int32_t id, size_t dim)
{
    const plan_node *n = emlx_plan_node(e, id);
    return e->b->reshape(e->m, emlx_in(e, id, 0),
                         emlx_shape2(emlx_n_row(e, id) * (n->n_col / dim), dim));
}

static size_t norm_dim(const plan_node *n)
{
    return n->par.norm.head_dim ? n->par.norm.head_dim : n->n_col;
}

static mb_ref array_of(const engine *e, int32_t id, int i)
{
    return e->node[id].w[i] ? e->node[id].w[i]->array : 0;
}

static mb_ref rms_norm(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const mb_ref x = as_heads(e, id, norm_dim(n));
    return flat(e, e->b->rms_norm(e->m, x, array_of(e, id, 0), n->par.norm.eps), id);
}

static mb_ref layer_norm(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    return e->b->layer_norm(e->m, emlx_in(e, id, 0), array_of(e, id, 0), array_of(e, id, 1),
                            n->par.norm.eps);
}

/* x / max(|x|, eps) */
static mb_ref l2_norm(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const mb_ref x = as_heads(e, id, norm_dim(n));
    const mb_ref sum = e->b->reduce(e->m, MB_SUM, e->b->unary(e->m, MB_SQUARE, x), -1, true);
    const mb_ref len = e->b->binary(e->m, MB_MAX, e->b->unary(e->m, MB_SQRT, sum),
                                    emlx_number(e, (double)n->par.norm.eps));
    return flat(e, e->b->binary(e->m, MB_DIV, x, len), id);
}

/* ---- linears ---- */

static mb_ref linear(engine *e, int32_t id)
{
    const mb_ref y = emlx_times(e, e->node[id].w[0], emlx_in(e, id, 0));
    const mb_ref bias = array_of(e, id, 1);
    return bias ? e->b->binary(e->m, MB_ADD, y, bias) : y;
}

/* w ne [n_in, n_out, n_head]: a matrix a head. */
static mb_ref head_linear(engine *e, int32_t id)
{
    static const int32_t swap[] = {1, 0, 2};
    static const int32_t turn[] = {0, 2, 1};
    const plan_tensor *w = emlx_plan_node(e, id)->w[0];
    const size_t n_row = emlx_n_row(e, id);
    const mb_ref x = e->b->reshape(e->m, emlx_in(e, id, 0),
                                   emlx_shape3(n_row, (size_t)w->ne[2], (size_t)w->ne[0]));
    const mb_ref xt = e->b->transpose(e->m, x, swap, 3); /* [n_head, n_row, n_in] */
    const mb_ref wt = e->b->transpose(e->m, e->node[id].w[0]->array, turn, 3);
    return flat(e, e->b->transpose(e->m, e->b->matmul(e->m, xt, wt), swap, 3), id);
}

/* ---- RoPE ---- */

/* cos or sin of this step as [n_row, 1, n_rot / 2]. */
static void rope_refs(engine *e, emlx_rope *r)
{
    const size_t n_row = e->step.n_row[ENGINE_IN];
    const mb_shape s = emlx_shape3(n_row, 1, r->par->n_rot / 2);
    if (r->cos_ref)
        return;
    r->cos_ref = e->b->from_host(e->m, r->cos, s, MB_F32);
    r->sin_ref = e->b->from_host(e->m, r->sin, s, MB_F32);
}

/* a cos - b sin, b cos + a sin */
static void turn_pairs(engine *e, const emlx_rope *r, mb_ref a, mb_ref b, mb_ref out[2])
{
    const mb_api *x = e->b;
    out[0] = x->binary(e->m, MB_SUB, x->binary(e->m, MB_MUL, a, r->cos_ref),
                       x->binary(e->m, MB_MUL, b, r->sin_ref));
    out[1] = x->binary(e->m, MB_ADD, x->binary(e->m, MB_MUL, b, r->cos_ref),
                       x->binary(e->m, MB_MUL, a, r->sin_ref));
}

/* The rotated columns of all heads: x [n_row, n_head, n_rot]. */
static mb_ref turned(engine *e, const emlx_rope *r, mb_ref x, size_t n_row, size_t n_head)
{
    const size_t half = r->par->n_rot / 2;
    mb_ref pair[2];
    if (r->par->neox) {
        turn_pairs(e, r, emlx_columns(e, x, 0, half), emlx_columns(e, x, half, 2 * half), pair);
        return e->b->concat(e->m, pair, 2, 2);
    }
    const mb_shape three = emlx_shape3(n_row, n_head, half);
    const mb_ref pairs = e->b->reshape(e->m, x, emlx_shape4(n_row, n_head, half, 2));
    turn_pairs(e, r, e->b->reshape(e->m, emlx_columns(e, pairs, 0, 1), three),
               e->b->reshape(e->m, emlx_columns(e, pairs, 1, 2), three), pair);
    const mb_shape four = emlx_shape4(n_row, n_head, half, 1);
    for (int i = 0; i < 2; i++)
        pair[i] = e->b->reshape(e->m, pair[i], four);
    return e->b->reshape(e->m, e->b->concat(e->m, pair, 2, 3),
                         emlx_shape3(n_row, n_head, 2 * half));
}

static mb_ref rope(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const plan_rope *p = &n->par.rope;
    emlx_rope *r = &e->rope[e->node[id].rope];
    const size_t n_row = emlx_n_row(e, id);
    const size_t n_head = n->n_col / p->head_dim;
    rope_refs(e, r);
    const mb_ref x =
        e->b->reshape(e->m, emlx_in(e, id, 0), emlx_shape3(n_row, n_head, p->head_dim));
    mb_ref part[3];
    size_t n_part = 0;
    if (p->from)
        part[n_part++] = emlx_columns(e, x, 0, p->from);
    part[n_part++] = turned(e, r, emlx_columns(e, x, p->from, p->from + p->n_rot), n_row, n_head);
    if (p->from + p->n_rot < p->head_dim)
        part[n_part++] = emlx_columns(e, x, p->from + p->n_rot, p->head_dim);
    return flat(e, n_part > 1 ? e->b->concat(e->m, part, n_part, 2) : part[0], id);
}

/* ---- columns ---- */

static mb_ref slice(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const mb_ref x =
        e->b->reshape(e->m, emlx_in(e, id, 0),
                      emlx_shape3(emlx_n_row(e, id), n->par.slice.n_head, n->par.slice.head_dim));
    return flat(e, emlx_columns(e, x, n->par.slice.from, n->par.slice.from + n->par.slice.n), id);
}

static mb_ref join(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const size_t n_head = n->par.slice.n_head;
    const size_t n_row = emlx_n_row(e, id);
    const size_t n_a = e->plan->nodes[n->in[0]].n_col / n_head;
    const size_t n_b = n->n_col / n_head - n_a;
    const bool is_one = e->plan->nodes[n->in[1]].n_col == n_b; /* one for all heads */
    const mb_shape all = emlx_shape3(n_row, n_head, n_b);
    mb_ref part[2] = {e->b->reshape(e->m, emlx_in(e, id, 0), emlx_shape3(n_row, n_head, n_a)), 0};
    part[1] = e->b->reshape(e->m, emlx_in(e, id, 1), is_one ? emlx_shape3(n_row, 1, n_b) : all);
    if (is_one && n_head > 1)
        part[1] = e->b->broadcast(e->m, part[1], all);
    return flat(e, e->b->concat(e->m, part, 2, 2), id);
}

/* ---- arithmetic ---- */

static mb_ref mul(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    if (n->w[0])
        return e->b->binary(e->m, MB_MUL, emlx_in(e, id, 0), array_of(e, id, 0));
    const size_t n_row = emlx_n_row(e, id);
    const size_t n_b = e->plan->nodes[n->in[1]].n_col;
    const size_t n_run = n->n_col / n_b;
    if (n_run == 1)
        return e->b->binary(e->m, MB_MUL, emlx_in(e, id, 0), emlx_in(e, id, 1));
    const mb_ref a = e->b->reshape(e->m, emlx_in(e, id, 0), emlx_shape3(n_row, n_b, n_run));
    const mb_ref b = e->b->reshape(e->m, emlx_in(e, id, 1), emlx_shape3(n_row, n_b, 1));
    return flat(e, e->b->binary(e->m, MB_MUL, a, b), id);
}

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static mb_ref gelu_tanh(engine *e, mb_ref x)
{
    const mb_api *b = e->b;
    const mb_ref x2 = b->unary(e->m, MB_SQUARE, x);
    const mb_ref in = b->binary(e->m, MB_ADD, b->binary(e->m, MB_MUL, x2, emlx_number(e, 0.044715)),
                                emlx_number(e, 1));
    const mb_ref arg = b->binary(e->m, MB_MUL, b->binary(e->m, MB_MUL, x, in),
                                 emlx_number(e, 0.79788456080286535588));
    const mb_ref one = b->binary(e->m, MB_ADD, b->unary(e->m, MB_TANH, arg), emlx_number(e, 1));
    return b->binary(e->m, MB_MUL, b->binary(e->m, MB_MUL, x, emlx_number(e, 0.5)), one);
}

static mb_ref gelu_erf(engine *e, mb_ref x)
{
    const mb_api *b = e->b;
    const mb_ref arg = b->binary(e->m, MB_MUL, x, emlx_number(e, 0.70710678118654752440));
    const mb_ref one = b->binary(e->m, MB_ADD, b->unary(e->m, MB_ERF, arg), emlx_number(e, 1));
    return b->binary(e->m, MB_MUL, b->binary(e->m, MB_MUL, x, emlx_number(e, 0.5)), one);
}

/* max(x, 0) + log1p(exp(-|x|)): no overflow on either side. */
static mb_ref softplus(engine *e, mb_ref x)
{
    const mb_api *b = e->b;
    const mb_ref small = b->unary(e->m, MB_NEG, b->unary(e->m, MB_ABS, x));
    const mb_ref log = b->unary(e->m, MB_LOG1P, b->unary(e->m, MB_EXP, small));
    return b->binary(e->m, MB_ADD, b->binary(e->m, MB_MAX, x, emlx_number(e, 0)), log);
}

mb_ref emlx_act(engine *e, plan_act_fn fn, mb_ref x)
{
    switch (fn) {
    case PLAN_SILU:
        return e->b->binary(e->m, MB_MUL, x, e->b->unary(e->m, MB_SIGMOID, x));
    case PLAN_GELU_TANH:
        return gelu_tanh(e, x);
    case PLAN_GELU_ERF:
        return gelu_erf(e, x);
    case PLAN_RELU2:
        return e->b->unary(e->m, MB_SQUARE, e->b->binary(e->m, MB_MAX, x, emlx_number(e, 0)));
    case PLAN_SIGMOID:
        return e->b->unary(e->m, MB_SIGMOID, x);
    case PLAN_TANH:
        return e->b->unary(e->m, MB_TANH, x);
    case PLAN_SOFTPLUS:
        return softplus(e, x);
    }
    return 0;
}

static mb_ref softcap(engine *e, int32_t id)
{
    const mb_ref cap = emlx_number(e, (double)emlx_plan_node(e, id)->par.scale.value);
    const mb_ref x = e->b->binary(e->m, MB_DIV, emlx_in(e, id, 0), cap);
    return e->b->binary(e->m, MB_MUL, e->b->unary(e->m, MB_TANH, x), cap);
}

/* ---- rows ---- */

static mb_ref ids_of(engine *e, const size_t *rows, size_t n)
{
    int32_t *at = e->row_tmp;
    for (size_t i = 0; i < n; i++)
        at[i] = (int32_t)rows[i];
    return e->b->from_host(e->m, at, emlx_shape1(n), MB_I32);
}

static mb_ref select_rows(engine *e, int32_t id)
{
    const size_t n = e->step.n_row[ENGINE_OUT];
    if (n == e->step.n_row[ENGINE_IN])
        return emlx_in(e, id, 0); /* all of them, and they ascend */
    return e->b->take(e->m, emlx_in(e, id, 0), ids_of(e, e->step.out_row, n), 0);
}

/* A text that is pooled comes in one batch, so a sequence's rows are all there. */
static mb_ref pool_run(engine *e, int32_t id, size_t row)
{
    const mb_ref x = emlx_in(e, id, 0);
    for (size_t i = 0; i < e->step.n_run; i++) {
        const engine_run *r = &e->step.run[i];
        if (row < r->row0 || row >= r->row0 + r->n)
            continue;
        if (e->pool_kind == PLAN_POOL_LAST)
            return emlx_row_range(e, x, r->row0 + r->n - 1, r->row0 + r->n);
        if (e->pool_kind == PLAN_POOL_MEAN)
            return e->b->reduce(e->m, MB_MEAN, emlx_row_range(e, x, r->row0, r->row0 + r->n), 0,
                                true);
        return emlx_row_range(e, x, r->row0, r->row0 + 1);
    }
    return 0;
}

static mb_ref pool(engine *e, int32_t id)
{
    const size_t n = e->step.n_row[ENGINE_SEQ];
    for (size_t i = 0; i < n; i++)
        e->ref_tmp[i] = pool_run(e, id, e->step.seq_row[i]);
    return n > 1 ? e->b->concat(e->m, e->ref_tmp, n, 0) : e->ref_tmp[0];
}

mb_ref emlx_stock(engine *e, int32_t id)
{
    const plan_node *n = emlx_plan_node(e, id);
    const mb_ref x = n->in[0] >= 0 ? emlx_in(e, id, 0) : 0;
    switch (n->op) {
    case PLAN_EMBED:
        return embed(e, id);
    case PLAN_RMS_NORM:
        return rms_norm(e, id);
    case PLAN_LAYER_NORM:
        return layer_norm(e, id);
    case PLAN_L2_NORM:
        return l2_norm(e, id);
    case PLAN_LINEAR:
        return linear(e, id);
    case PLAN_HEAD_LINEAR:
        return head_linear(e, id);
    case PLAN_SLICE:
        return slice(e, id);
    case PLAN_JOIN:
        return join(e, id);
    case PLAN_ROPE:
        return rope(e, id);
    case PLAN_KV_STORE:
        return emlx_stock_store(e, id);
    case PLAN_ATTEND:
        return emlx_stock_attend(e, id);
    case PLAN_ADD:
        return e->b->binary(e->m, MB_ADD, x, n->w[0] ? array_of(e, id, 0) : emlx_in(e, id, 1));
    case PLAN_MUL:
        return mul(e, id);
    case PLAN_SCALE:
        return e->b->binary(e->m, MB_MUL, x, emlx_number(e, (double)n->par.scale.value));
    case PLAN_ACT:
        return emlx_act(e, n->par.act.fn, x);
    case PLAN_GLU:
        return e->b->binary(e->m, MB_MUL, emlx_act(e, n->par.act.fn, x), emlx_in(e, id, 1));
    case PLAN_SOFTCAP:
        return softcap(e, id);
    case PLAN_ROUTE:
        return emlx_stock_route(e, id);
    case PLAN_EXPERTS:
        return emlx_stock_experts(e, id);
    case PLAN_CONV:
        return emlx_stock_conv(e, id);
    case PLAN_DELTA:
        return emlx_stock_delta(e, id);
    case PLAN_SELECT:
        return select_rows(e, id);
    case PLAN_POOL:
        return pool(e, id);
    case PLAN_OUTPUT:
        return x;
    case PLAN_N_OP:
        break;
    }
    return 0;
}
