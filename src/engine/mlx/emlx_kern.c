/* emlx_kern.c - nodes of ours on the CPU: cama's kernels on the file's blocks, as nodes of MLX.
 *
 * At open, runs of plan nodes are taken together where one node of ours does them: a norm, the
 * linears that read it, and a glu or a residual after them. In a step MLX calls the node on its own
 * thread, one at a time, and the node shares its work with the engine's threads. The engine waits
 * for a step before it touches anything, so nodes may read the step's rows where they lie.
 */
#include "engine/mlx/emlx_kern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void emlx_share(size_t n, int t, int n_thread, size_t *from, size_t *to)
{
    *from = n * (size_t)t / (size_t)n_thread;
    *to = n * ((size_t)t + 1) / (size_t)n_thread;
}

/* Rows of a matrix in whole panels. */
void emlx_cut_rows(const engine *e, size_t n_row, int t, int n_thread, size_t cut[2])
{
    const size_t step = e->kern.w_step ? e->kern.w_step : 1;
    emlx_share((n_row + step - 1) / step, t, n_thread, &cut[0], &cut[1]);
    for (int i = 0; i < 2; i++)
        cut[i] = cut[i] * step < n_row ? cut[i] * step : n_row;
}

static void moved(engine *e)
{
    atomic_fetch_add_explicit(&e->n_moved, 1, memory_order_relaxed);
}

static float *out_of(const mb_view *v)
{
    return v->data;
}

/* ---- linears ---- */

typedef struct call {
    const emlx_linears *l;
    const float *x; /* [n_row, n_col] */
    const mb_view *out;
    size_t n_row;
    kern_acts i8, f32;
} call;

/* A share of the rows: norm, then int8 form. */
static void prepare_rows(const call *c, int t, int n_thread)
{
    const emlx_linears *l = c->l;
    engine *e = l->e;
    const size_t step = e->kern.row_step ? e->kern.row_step : 1;
    const size_t n = l->n_col;
    float *norm = e->norm_rows;
    size_t from, to;
    emlx_share((c->n_row + step - 1) / step, t, n_thread, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t row1 = (i + 1) * step < c->n_row ? (i + 1) * step : c->n_row;
        for (size_t r = i * step; r < row1 && l->norm; r++) {
            const float eps = l->norm->par.norm.eps;
            if (l->norm->op == PLAN_RMS_NORM)
                e->kern.rms_norm(c->x + r * n, l->norm_w, n, eps, norm + r * n);
            else
                e->kern.layer_norm(c->x + r * n, l->norm_w, l->norm_b, n, eps, norm + r * n);
        }
        kern_acts a = c->i8;
        if (l->has_i8)
            e->kern.acts_quantize(&a, l->norm ? norm : c->x, n, i * step, row1);
    }
}

static void multiply(const call *c, int t, int n_thread)
{
    const emlx_linears *l = c->l;
    engine *e = l->e;
    for (size_t i = 0; i < l->n; i++) {
        const emlx_linear *w = &l->linear[i];
        size_t cut[2];
        emlx_cut_rows(e, w->w.n_row, t, n_thread, cut);
        const kern_out out = {.y = l->glu >= 0 ? e->inner_rows[i] : out_of(&c->out[i]),
                              .ld = w->w.n_row,
                              .bias = w->bias,
                              .add = l->add >= 0};
        kern_matmul(&e->kern, &w->w, w->form == KERN_I8 ? &c->i8 : &c->f32, cut[0], cut[1], &out,
                    emlx_scratch(e, t));
        if (l->glu < 0 || i == 0)
            continue;
        for (size_t r = 0; r < c->n_row && cut[0] < cut[1]; r++) {
            const size_t at = r * w->w.n_row + cut[0];
            e->kern.glu((kern_act_fn)e->plan->nodes[l->glu].par.act.fn, e->inner_rows[0] + at,
                        e->inner_rows[1] + at, cut[1] - cut[0], out_of(&c->out[0]) + at);
        }
    }
}

static void run_linears(void *arg, int t, int n_thread)
{
    const call *c = arg;
    if (c->l->norm || c->l->has_i8) {
        prepare_rows(c, t, n_thread);
        workers_barrier(c->l->e->pool, t);
    }
    multiply(c, t, n_thread);
}

static void linears_node(void *user, const mb_view *in, size_t n_in, const mb_view *out,
                         size_t n_out)
{
    const emlx_linears *l = user;
    engine *e = l->e;
    const size_t n_row = (size_t)in[0].shape.dim[0];
    call c = {.l = l, .x = in[0].data, .out = out, .n_row = n_row};
    c.i8 = (kern_acts){.form = KERN_I8, .n_row = n_row, .n_col = l->n_col, .mem = e->acts};
    c.f32 = (kern_acts){.form = KERN_F32,
                        .n_row = n_row,
                        .n_col = l->n_col,
                        .x = l->norm ? e->norm_rows : c.x,
                        .ld = l->n_col};
    (void)n_out;
    if (l->add >= 0 && n_in > 1)
        memcpy(out[0].data, in[1].data, n_row * l->linear[0].w.n_row * sizeof(float));
    workers_run(e->pool, run_linears, &c);
    moved(e);
}

void emlx_emit_linears(engine *e, emlx_linears *l)
{
    const size_t n_row = e->step.n_row[e->node[l->linear[0].id].domain];
    const bool is_one = l->glu >= 0 || l->add >= 0;
    const size_t n_out = is_one ? 1 : l->n;
    mb_shape shapes[EMLX_MAX_LINEAR] = {{0}};
    mb_dtype types[EMLX_MAX_LINEAR] = {MB_F32};
    mb_ref outs[EMLX_MAX_LINEAR] = {0};
    mb_ref in[2] = {e->node[l->in].value, l->add >= 0 ? e->node[l->add].value : 0};
    for (size_t i = 0; i < n_out; i++) {
        shapes[i] = emlx_shape2(n_row, l->linear[i].w.n_row);
        types[i] = MB_F32;
    }
    (void)e->b->host_kernel(e->m, linears_node, l, in, l->add >= 0 ? 2 : 1, shapes, types, n_out,
                            outs); /* a failure sticks */
    for (size_t i = 0; i < n_out; i++)
        e->node[l->linear[i].id].value = outs[i];
    if (is_one)
        e->node[l->last].value = outs[0];
}

/* ---- single nodes ---- */

/* A piece of work on rows or heads. */
typedef struct task {
    emlx_single *s;
    const mb_view *in, *out;
} task;

static const float *embed_row(const emlx_single *s, size_t row, size_t *out_index)
{
    engine *e = s->e;
    const engine_row *r = &e->step.row[row];
    *out_index = 0;
    if (s->node->par.embed.kind == PLAN_EMBED_TOKEN) {
        if (r->source == ENGINE_EMBED)
            return e->batch->embeds + (size_t)r->id * e->plan->n_embd;
        *out_index = (size_t)r->id;
    } else if (s->node->par.embed.kind == PLAN_EMBED_POSITION) {
        *out_index = (size_t)r->pos[0];
    }
    return NULL;
}

static void run_embed(void *arg, int t, int n_thread)
{
    const task *k = arg;
    const kern_weight *w = &e_weight(k->s, 0)->kern;
    const size_t n = k->s->node->n_col;
    size_t from, to;
    emlx_share(k->s->e->step.n_row[ENGINE_IN], t, n_thread, &from, &to);
    for (size_t r = from; r < to; r++) {
        size_t index;
        const float *given = embed_row(k->s, r, &index);
        float *out = out_of(k->out) + r * n;
        if (given)
            memcpy(out, given, n * sizeof *out);
        else
            quant_dequant(w->type, w->rows + index * w->row_bytes, out, n);
    }
}

static void run_rope(void *arg, int t, int n_thread)
{
    const task *k = arg;
    engine *e = k->s->e;
    const plan_rope *p = &k->s->node->par.rope;
    const emlx_rope *table = &e->rope[e->node[k->s->id].rope];
    const size_t half = p->n_rot / 2;
    const size_t n_head = k->s->node->n_col / p->head_dim;
    const float *x = k->in[0].data;
    size_t from, to;
    emlx_share((size_t)k->in[0].shape.dim[0] * n_head, t, n_thread, &from, &to);
    if (from < to)
        memcpy(out_of(k->out) + from * p->head_dim, x + from * p->head_dim,
               (to - from) * p->head_dim * sizeof *x);
    for (size_t i = from; i < to; i++) {
        const size_t row = i / n_head;
        e->kern.rope(out_of(k->out) + i * p->head_dim + p->from, table->cos + row * half,
                     table->sin + row * half, p->n_rot, p->neox);
    }
}

/* w ne [n_in, n_out, n_head]: a thread takes whole heads. */
static void run_head_linear(void *arg, int t, int n_thread)
{
    const task *k = arg;
    engine *e = k->s->e;
    const plan_tensor *w = k->s->node->w[0];
    const size_t n_row = (size_t)k->in[0].shape.dim[0];
    const size_t n_in = (size_t)w->ne[0], n_out = (size_t)w->ne[1], n_head = (size_t)w->ne[2];
    size_t from, to;
    emlx_share(n_head, t, n_thread, &from, &to);
    for (size_t h = from; h < to; h++) {
        kern_weight m = e_weight(k->s, 0)->kern;
        m.rows += h * n_out * m.row_bytes;
        for (size_t r = 0; r < n_row; r += KERN_GEMV_MAX) {
            const size_t some = n_row - r < KERN_GEMV_MAX ? n_row - r : KERN_GEMV_MAX;
            kern_acts a = {.form = kern_form_for(w->type, n_in, e->opts.activations),
                           .n_row = some,
                           .n_col = n_in,
                           .x = (const float *)k->in[0].data + (r * n_head + h) * n_in,
                           .ld = n_head * n_in,
                           .mem = emlx_own_acts(e, t)};
            if (a.form == KERN_I8)
                e->kern.acts_quantize(&a, a.x, a.ld, 0, some);
            const kern_out out = {.y = out_of(k->out) + (r * n_head + h) * n_out,
                                  .ld = n_head * n_out};
            kern_matmul(&e->kern, &m, &a, 0, n_out, &out, emlx_scratch(e, t));
        }
    }
}

/* States are written in place: a sequence is one thread's, token after token. */
static void run_conv(void *arg, int t, int n_thread)
{
    const task *k = arg;
    engine *e = k->s->e;
    const plan_node *n = k->s->node;
    const emlx_weight *bias = e_weight(k->s, 1);
    for (size_t i = (size_t)t; i < e->step.n_run; i += (size_t)n_thread) {
        const engine_run *r = &e->step.run[i];
        for (size_t row = r->row0; row < r->row0 + r->n; row++) {
            float *out = out_of(k->out) + row * n->n_col;
            e->kern.conv_step((const float *)k->in[0].data + row * n->n_col,
                              e_weight(k->s, 0)->floats, n->n_col, (size_t)n->w[0]->ne[0],
                              e->seq[r->seq].state[n->par.state.slot], out);
            if (bias)
                e->kern.add(out, bias->floats, n->n_col, out);
        }
    }
}

static void run_delta(void *arg, int t, int n_thread)
{
    const task *k = arg;
    engine *e = k->s->e;
    const plan_delta *d = &k->s->node->par.delta;
    for (size_t i = (size_t)t; i < e->step.n_run * d->n_v_head; i += (size_t)n_thread) {
        const engine_run *r = &e->step.run[i / d->n_v_head];
        const size_t h = i % d->n_v_head;
        const size_t k_head = d->tiled ? h % d->n_k_head : h / (d->n_v_head / d->n_k_head);
        const size_t ld[5] = {d->n_k_head * d->dk, d->n_k_head * d->dk, d->n_v_head * d->dv,
                              d->n_v_head, d->n_v_head};
        const float *x[5];
        for (int j = 0; j < 5; j++)
            x[j] = (const float *)k->in[j].data + r->row0 * ld[j];
        const kern_delta job = {.n = r->n,
                                .dk = d->dk,
                                .dv = d->dv,
                                .q = x[0] + k_head * d->dk,
                                .q_ld = ld[0],
                                .k = x[1] + k_head * d->dk,
                                .k_ld = ld[1],
                                .v = x[2] + h * d->dv,
                                .v_ld = ld[2],
                                .g = x[3] + h,
                                .g_ld = ld[3],
                                .beta = x[4] + h,
                                .beta_ld = ld[4],
                                .s = e->seq[r->seq].state[d->slot] + h * d->dk * d->dv,
                                .o = out_of(k->out) + r->row0 * ld[2] + h * d->dv,
                                .o_ld = ld[2]};
        e->kern.delta(&job);
    }
}

static void single_node(void *user, const mb_view *in, size_t n_in, const mb_view *out,
                        size_t n_out)
{
    emlx_single *s = user;
    task k = {s, in, out};
    (void)n_in, (void)n_out;
    workers_run(s->e->pool, s->run, &k);
    moved(s->e);
}

static mb_ref emit_single(engine *e, emlx_single *s)
{
    mb_ref in[PLAN_MAX_IN];
    size_t n_in = 0;
    while (n_in < PLAN_MAX_IN && s->node->in[n_in] >= 0) {
        in[n_in] = emlx_in(e, s->id, (int)n_in);
        n_in++;
    }
    const mb_shape shape = emlx_shape2(emlx_n_row(e, s->id), s->node->n_col);
    const mb_dtype type = MB_F32;
    mb_ref out = 0;
    (void)e->b->host_kernel(e->m, single_node, s, in, n_in, &shape, &type, 1, &out); /* sticks */
    if (s->node->op == PLAN_CONV || s->node->op == PLAN_DELTA)
        emlx_add_effect(e, out);
    return out;
}

bool emlx_emit_kernel(engine *e, int32_t id)
{
    emlx_node *n = &e->node[id];
    if (n->covered)
        return true;
    if (n->linears) {
        if (n->linears->norm_is_read)
            n->value = emlx_stock(e, id);
        emlx_emit_linears(e, n->linears);
        return true;
    }
    if (!n->single)
        return false;
    n->value = n->single->run ? emit_single(e, n->single) : n->single->emit(e, n->single);
    return true;
}

/* ---- lowering ---- */

typedef struct lowering {
    engine *e;
    int32_t *n_use; /* [n_node] readers */
    size_t place;
} lowering;

static int32_t id_at(const lowering *l, size_t place)
{
    return place < l->e->plan->n_node ? l->e->plan->node_order[place] : -1;
}

static const plan_node *node_at(const lowering *l, size_t place)
{
    const int32_t id = id_at(l, place);
    return id >= 0 ? &l->e->plan->nodes[id] : NULL;
}

static bool is_row_norm(const plan_node *n)
{
    return n->op == PLAN_LAYER_NORM ||
           (n->op == PLAN_RMS_NORM && (!n->par.norm.head_dim || n->par.norm.head_dim == n->n_col));
}

static bool reads(const plan_node *n, int32_t in)
{
    return n && n->op == PLAN_LINEAR && n->in[0] == in;
}

static void grow(size_t *max, size_t n)
{
    *max = *max > n ? *max : n;
}

static void add_linear(engine *e, emlx_linears *l, int32_t id)
{
    const emlx_node *n = &e->node[id];
    emlx_linear *x = &l->linear[l->n++];
    *x = (emlx_linear){.w = n->w[0]->kern, .id = id};
    x->bias = n->w[1] ? n->w[1]->floats : NULL;
    x->form = kern_form_for(x->w.type, x->w.n_col, e->opts.activations);
    l->has_i8 = l->has_i8 || x->form == KERN_I8;
}

/* A glu of the two linears, or the residual of one; gives how many nodes that takes. */
static size_t take_follower(const lowering *l, emlx_linears *op, size_t place)
{
    const int32_t id = id_at(l, place);
    const plan_node *n = node_at(l, place);
    const int32_t lin = op->linear[0].id;
    op->glu = op->add = -1;
    op->last = lin;
    if (!n || l->n_use[lin] != 1)
        return 0;
    if (n->op == PLAN_GLU && op->n == 2 && n->in[0] == lin && n->in[1] == op->linear[1].id &&
        l->n_use[op->linear[1].id] == 1) {
        op->glu = op->last = id;
        return 1;
    }
    if (n->op != PLAN_ADD || op->n != 1 || n->w[0] || n->in[0] == n->in[1] ||
        (n->in[0] != lin && n->in[1] != lin))
        return 0;
    const int32_t residual = n->in[0] == lin ? n->in[1] : n->in[0];
    op->add = residual;
    op->last = id;
    return 1;
}

/* Takes a norm, linears and what follows them from the place on; 0: there are none. */
static size_t try_linears(lowering *l, emlx_linears **out, err_info *err)
{
    engine *e = l->e;
    const plan_node *first = node_at(l, l->place);
    const bool has_norm = is_row_norm(first);
    size_t place = l->place + has_norm;
    const int32_t in = has_norm ? id_at(l, l->place) : first->in[0];
    if (!reads(node_at(l, place), in))
        return 0;
    emlx_linears *op = arena_take(&e->plan_arena, sizeof *op);
    *out = op;
    if (!op) {
        (void)err_set(err, CAMA_ERR_NOMEM, "mlx: no memory to lower the plan");
        return 0;
    }
    *op = (emlx_linears){.e = e, .in = has_norm ? first->in[0] : in};
    for (; op->n < EMLX_MAX_LINEAR && reads(node_at(l, place), in); place++)
        add_linear(e, op, id_at(l, place));
    if (has_norm) {
        const emlx_node *n = &e->node[in];
        op->norm = first;
        op->norm_w = n->w[0] ? n->w[0]->floats : NULL;
        op->norm_b = n->w[1] ? n->w[1]->floats : NULL;
        op->norm_is_read = l->n_use[in] > (int32_t)op->n;
    }
    op->n_col = op->linear[0].w.n_col;
    return place + take_follower(l, op, place) - l->place;
}

static workers_fn run_of(plan_op op)
{
    switch (op) {
    case PLAN_EMBED:
        return run_embed;
    case PLAN_ROPE:
        return run_rope;
    case PLAN_HEAD_LINEAR:
        return run_head_linear;
    case PLAN_CONV:
        return run_conv;
    case PLAN_DELTA:
        return run_delta;
    default:
        return NULL;
    }
}

static mb_ref (*emit_of(plan_op op))(engine *e, emlx_single *s)
{
    return op == PLAN_KV_STORE  ? emlx_emit_store
           : op == PLAN_ATTEND  ? emlx_emit_attend
           : op == PLAN_EXPERTS ? emlx_emit_experts
                                : NULL;
}

static cama_err lower_single(engine *e, int32_t id, err_info *err)
{
    const plan_node *n = emlx_plan_node(e, id);
    if (!run_of(n->op) && !emit_of(n->op))
        return CAMA_OK;
    emlx_single *s = arena_take(&e->plan_arena, sizeof *s);
    if (!s)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory to lower the plan");
    *s = (emlx_single){.e = e, .id = id, .node = n, .run = run_of(n->op), .emit = emit_of(n->op)};
    e->node[id].single = s;
    return CAMA_OK;
}

cama_err emlx_lower_kernels(engine *e, err_info *err)
{
    lowering l = {.e = e};
    l.n_use = arena_take_array(&e->plan_arena, e->plan->n_node, sizeof *l.n_use);
    if (!l.n_use)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory to lower the plan");
    for (size_t i = 0; i < e->plan->n_node * PLAN_MAX_IN; i++) {
        const int32_t in = e->plan->nodes[i / PLAN_MAX_IN].in[i % PLAN_MAX_IN];
        if (in >= 0)
            l.n_use[in]++;
    }
    while (l.place < e->plan->n_node) {
        emlx_linears *op = NULL;
        const size_t n = try_linears(&l, &op, err);
        if (!n && op == NULL && lower_single(e, id_at(&l, l.place), err))
            return CAMA_ERR_NOMEM;
        if (n) {
            e->node[id_at(&l, l.place)].linears = op;
            for (size_t i = 1; i < n; i++)
                e->node[id_at(&l, l.place + i)].covered = true;
        }
        l.place += n ? n : 1;
    }
    return CAMA_OK;
}

/* ---- memory ---- */

/* The largest of what nodes of ours need at once. */
static void measure(engine *e, size_t *out_col, size_t *out_inner, size_t *out_scratch)
{
    size_t col = 1, inner = 1, scratch = emlx_attend_scratch(e);
    for (size_t i = 0; i < e->n_weight; i++) {
        const emlx_weight *w = &e->weight[i];
        if (w->use != EMLX_MATRIX)
            continue;
        grow(&col, w->kern.n_col);
        grow(&scratch, e->kern.scratch_bytes(w->kern.n_col));
    }
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const emlx_linears *l = e->node[i].linears;
        if (l && l->glu >= 0)
            grow(&inner, l->linear[0].w.n_row);
    }
    *out_col = col;
    *out_inner = inner;
    *out_scratch = emlx_up(scratch, 64);
}

/* One row on its way through an expert. */
static size_t expert_floats(const engine *e)
{
    size_t most = 1;
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const plan_node *n = &e->plan->nodes[i];
        if (n->op == PLAN_EXPERTS)
            grow(&most, (size_t)(n->w[0]->ne[0] + 2 * n->w[0]->ne[1] + n->w[2]->ne[1]));
    }
    return most;
}

uint64_t emlx_kernel_bytes(engine *e)
{
    size_t col, inner, scratch;
    measure(e, &col, &inner, &scratch);
    const size_t n = e->opts.n_batch;
    return n * (col + 2 * inner) * sizeof(float) + e->kern.acts_bytes(n, emlx_up(col, KERN_BLOCK)) +
           (uint64_t)e->n_made * (scratch + e->kern.acts_bytes(KERN_GEMV_MAX, emlx_up(col, 32)));
}

cama_err emlx_open_kernels(engine *e, err_info *err)
{
    size_t col, inner, scratch;
    measure(e, &col, &inner, &scratch);
    const size_t n = e->opts.n_batch;
    const size_t cols = emlx_up(col, KERN_BLOCK);
    e->scratch_bytes = scratch;
    e->own_acts_bytes = emlx_up(e->kern.acts_bytes(KERN_GEMV_MAX, cols), 64);
    e->norm_rows = aligned_alloc(64, emlx_up(n * col * sizeof(float), 64));
    e->inner_rows[0] = aligned_alloc(64, emlx_up(n * inner * sizeof(float), 64));
    e->inner_rows[1] = aligned_alloc(64, emlx_up(n * inner * sizeof(float), 64));
    e->acts = aligned_alloc(64, emlx_up(e->kern.acts_bytes(n, cols) + 64, 64));
    e->scratch = aligned_alloc(64, (size_t)e->n_made * (scratch + e->own_acts_bytes) + 64);
    e->expert_rows = malloc(expert_floats(e) * sizeof(float));
    if (!e->expert_rows || !e->norm_rows || !e->inner_rows[0] || !e->inner_rows[1] || !e->acts ||
        !e->scratch)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for what %u rows of a step need",
                       e->opts.n_batch);
    return CAMA_OK;
}

void emlx_close_kernels(engine *e)
{
    free(e->expert_rows);
    free(e->norm_rows);
    free(e->inner_rows[0]);
    free(e->inner_rows[1]);
    free(e->acts);
    free(e->scratch);
}
