/* nat_lower.c - a plan becomes a list of ops.
 *
 * Walks the nodes in the plan's order and takes as many as the widest op that fits: attention with
 * what leads to it, linears with their norm and what follows, else one node as a primitive.
 */
#include "engine/native/nat_int.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static_assert((int)KERN_SOFTPLUS == (int)PLAN_SOFTPLUS && (int)KERN_TANH == (int)PLAN_TANH &&
                  (int)KERN_GELU_ERF == (int)PLAN_GELU_ERF && (int)KERN_SILU == (int)PLAN_SILU,
              "activation functions are numbered alike");

/* What the walk knows; n_use counts the readers of each node. */
typedef struct lowering {
    engine *e;
    const plan *p;
    int32_t *n_use;   /* [n_node] */
    int32_t *step_of; /* [n_node] step of each node */
    size_t place;     /* next in node_order */
    err_info *err;
} lowering;

static cama_err no_memory(err_info *err)
{
    return err_set(err, CAMA_ERR_NOMEM, "native: no memory to lower the plan");
}

/* A tensor as floats: where it lies, or a copy in the plan's arena. NULL: no memory. */
static const float *floats_of(engine *e, const plan_tensor *t)
{
    uint64_t n = t->ne[0];
    for (int i = 1; i < 4; i++)
        n *= t->ne[i] ? t->ne[i] : 1;
    if (t->type == QUANT_F32 && (uintptr_t)t->data % sizeof(float) == 0)
        return (const float *)(const void *)t->data;
    float *out = arena_take_array(&e->plan_arena, (size_t)n, sizeof *out);
    if (out)
        quant_dequant(t->type, t->data, out, (size_t)n);
    return out;
}

nat_weight nat_weight_of(const plan_tensor *t)
{
    return (nat_weight){.k = {.type = t->type,
                              .rows = t->data,
                              .row_bytes = quant_row_bytes(t->type, (size_t)t->ne[0]),
                              .n_row = (size_t)t->ne[1],
                              .n_col = (size_t)t->ne[0]},
                        .role = t->role};
}

/* Gate and up have one cut between them; see nat_cut. */
static cama_err take_cuts(lowering *l, nat_linears *op)
{
    for (size_t i = 0; i < op->n; i++) {
        const bool shares = i > 0 && op->glu >= 0;
        op->linear[i].cut = shares ? op->linear[0].cut : nat_take_cut(l->e);
        if (!op->linear[i].cut)
            return no_memory(l->err);
    }
    return CAMA_OK;
}

static const plan_node *node_at(const lowering *l, size_t place)
{
    return &l->p->nodes[l->p->node_order[place]];
}

static bool is_row_norm(const plan_node *n)
{
    if (n->op == PLAN_LAYER_NORM)
        return true;
    return n->op == PLAN_RMS_NORM && nat_norm_dim(n) == n->n_col;
}

static bool is_head_norm(const plan_node *n)
{
    return n->op == PLAN_L2_NORM || (n->op == PLAN_RMS_NORM && !is_row_norm(n));
}

static nat_op *put_op(lowering *l, nat_op_fn *run, size_t n_place)
{
    engine *e = l->e;
    nat_op *op = &e->ops[e->n_op];
    for (size_t i = 0; i < n_place; i++)
        e->node_op[l->p->node_order[l->place + i]] = (int32_t)e->n_op;
    l->place += n_place;
    op->run = run;
    op->id = l->p->node_order[l->place - 1];
    op->node = &l->p->nodes[op->id];
    op->domain = e->value[op->id].domain;
    e->n_op++;
    return op;
}

/* ---- linears ---- */

static void grow(size_t *max, size_t n)
{
    *max = *max > n ? *max : n;
}

static cama_err add_linear(lowering *l, nat_linears *op, int32_t id)
{
    engine *e = l->e;
    const plan_node *n = &l->p->nodes[id];
    nat_linear *x = &op->linear[op->n++];
    x->w = nat_weight_of(n->w[0]);
    x->out = id;
    x->form = kern_form_for(x->w.k.type, x->w.k.n_col, e->opts.activations);
    x->bias = n->w[1] ? floats_of(e, n->w[1]) : NULL;
    if (n->w[1] && !x->bias)
        return no_memory(l->err);
    if (x->form == KERN_I8) {
        op->has_i8 = true;
        grow(&e->size.max_acts_col, x->w.k.n_col);
    } else {
        op->has_f32 = true;
    }
    grow(&e->size.max_col, x->w.k.n_col);
    grow(&e->size.max_scratch, e->kern.scratch_bytes(x->w.k.n_col));
    return CAMA_OK;
}

static cama_err set_norm(lowering *l, nat_linears *op, const plan_node *norm, int32_t id)
{
    op->norm = norm;
    op->norm_out = id;
    op->norm_w = norm->w[0] ? floats_of(l->e, norm->w[0]) : NULL;
    op->norm_b = norm->w[1] && norm->op == PLAN_LAYER_NORM ? floats_of(l->e, norm->w[1]) : NULL;
    return norm->w[0] && !op->norm_w ? no_memory(l->err) : CAMA_OK;
}

/* The node after the linears joins them when it reads nothing that another op makes meanwhile. */
static size_t take_follower(lowering *l, nat_linears *op, size_t place)
{
    op->glu = op->add = -1;
    if (place >= l->p->n_node)
        return 0;
    const int32_t id = l->p->node_order[place];
    const plan_node *n = &l->p->nodes[id];
    if (n->op == PLAN_GLU && op->n == 2 && n->in[0] == op->linear[0].out &&
        n->in[1] == op->linear[1].out) {
        op->glu = id;
        return 1;
    }
    const int32_t lin = op->linear[0].out;
    if (n->op != PLAN_ADD || op->n != 1 || n->w[0] || l->n_use[lin] != 1 || n->in[0] == n->in[1] ||
        (n->in[0] != lin && n->in[1] != lin))
        return 0;
    const int32_t residual = n->in[0] == lin ? n->in[1] : n->in[0];
    if (op->norm && residual == op->norm_out)
        return 0; /* few rows: each thread has only its own copy of the norm */
    op->add = residual;
    op->linear[0].out = id;
    return 1;
}

/* *out_taken: whether nodes were taken from l->place on. */
static cama_err try_linears(lowering *l, bool *out_taken)
{
    engine *e = l->e;
    const plan_node *first = node_at(l, l->place);
    const bool has_norm = is_row_norm(first);
    size_t place = l->place + has_norm;
    const int32_t in = has_norm ? l->p->node_order[l->place] : first->in[0];
    *out_taken = place < l->p->n_node && node_at(l, place)->op == PLAN_LINEAR &&
                 node_at(l, place)->in[0] == in;
    if (!*out_taken)
        return CAMA_OK;
    nat_linears *op = arena_take(&e->plan_arena, sizeof *op);
    cama_err err = op ? CAMA_OK : no_memory(l->err);
    if (!err && has_norm)
        err = set_norm(l, op, first, in);
    for (; !err && place < l->p->n_node && op->n < NAT_MAX_LINEAR; place++) {
        if (node_at(l, place)->op != PLAN_LINEAR || node_at(l, place)->in[0] != in)
            break;
        err = add_linear(l, op, l->p->node_order[place]);
    }
    if (err)
        return err;
    op->in = has_norm ? first->in[0] : in;
    op->norm_is_read = has_norm && l->n_use[in] > (int32_t)op->n;
    op->n_col = op->linear[0].w.k.n_col;
    place += take_follower(l, op, place);
    put_op(l, nat_run_linears, place - l->place)->u.lin = op;
    return take_cuts(l, op);
}

/* ---- attention ---- */

static int rope_table(engine *e, const plan_rope *r)
{
    for (size_t i = 0; i < e->n_rope; i++) {
        const plan_rope *o = e->rope[i].par;
        if (o->n_rot == r->n_rot && o->mscale == r->mscale && o->interleaved == r->interleaved &&
            memcmp(o->sections, r->sections, sizeof r->sections) == 0 &&
            memcmp(o->inv_freq, r->inv_freq, r->n_rot / 2 * sizeof *r->inv_freq) == 0)
            return (int)i;
    }
    if (e->n_rope == NAT_MAX_ROPE)
        return -1;
    e->rope[e->n_rope].par = r;
    e->has_axes = e->has_axes || r->sections[1] || r->sections[2] || r->sections[3];
    return (int)e->n_rope++;
}

static int mask_table(engine *e, const plan_attend *a)
{
    for (size_t i = 0; i < e->n_mask; i++)
        if (e->mask[i].kind == a->mask && e->mask[i].window == a->window)
            return (int)i;
    if (e->n_mask == NAT_MAX_MASK)
        return -1;
    e->mask[e->n_mask] = (nat_mask){.kind = a->mask, .window = a->window};
    return (int)e->n_mask++;
}

static cama_err set_link(lowering *l, nat_link *out, const plan_node *n)
{
    *out = (nat_link){.node = n, .rope = -1};
    if (n->op == PLAN_ROPE) {
        out->kind = NAT_LINK_ROPE;
        out->rope = rope_table(l->e, &n->par.rope);
        if (out->rope < 0)
            return err_set(l->err, CAMA_ERR_LIMIT, "native: more than %d different RoPE tables",
                           NAT_MAX_ROPE);
        return CAMA_OK;
    }
    out->kind = n->op == PLAN_L2_NORM ? NAT_LINK_L2 : NAT_LINK_RMS;
    out->w = n->w[0] ? floats_of(l->e, n->w[0]) : NULL;
    return n->w[0] && !out->w ? no_memory(l->err) : CAMA_OK;
}

/* A link of a chain over heads of dim columns. */
static bool is_link(const plan_node *n, size_t dim)
{
    if (n->op == PLAN_ROPE)
        return n->par.rope.head_dim == dim;
    return (n->op == PLAN_L2_NORM || n->op == PLAN_RMS_NORM) && nat_norm_dim(n) == dim;
}

/* The chain that ends in node id and lies within the step; dim: columns of a head. */
static cama_err take_chain(lowering *l, int32_t id, size_t dim, int32_t step, nat_chain *out)
{
    int32_t ids[NAT_MAX_LINK];
    int n = 0;
    while (n < NAT_MAX_LINK && l->step_of[id] == step && l->n_use[id] == 1 &&
           is_link(&l->p->nodes[id], dim)) {
        ids[n++] = id;
        id = l->p->nodes[id].in[0];
    }
    out->src = id;
    out->n = n;
    for (int i = 0; i < n; i++) {
        const cama_err e = set_link(l, &out->link[i], &l->p->nodes[ids[n - 1 - i]]);
        if (e)
            return e;
    }
    return CAMA_OK;
}

static void set_place(const engine *e, int slot, nat_place *out)
{
    const plan_kv_slot *s = &e->plan->slots[slot];
    const size_t k = kern_page_bytes(e->opts.k_type, s->dim_k);
    const size_t v = s->v_in_k ? 0 : kern_page_bytes(e->opts.v_type, s->dim_v);
    *out = (nat_place){.group = (size_t)s->group,
                       .k_bytes = nat_up(k, NAT_ALIGN),
                       .n_head = s->n_kv_head,
                       .dim_k = s->dim_k,
                       .dim_v = s->dim_v,
                       .v_in_k = s->v_in_k};
    out->head_bytes = out->k_bytes + nat_up(v, NAT_ALIGN);
    out->offset = (size_t)s->index * s->n_kv_head * out->head_bytes;
}

static cama_err set_attend(lowering *l, nat_attend *a, const plan_node *n, int32_t id)
{
    engine *e = l->e;
    const plan_attend *par = &n->par.attend;
    a->par = par;
    a->out = id;
    a->q_out = n->in[0];
    a->q.src = n->in[0];
    a->mask = mask_table(e, par);
    a->sinks = n->w[0] ? floats_of(e, n->w[0]) : NULL;
    if (a->mask < 0)
        return err_set(l->err, CAMA_ERR_LIMIT, "native: more than %d different masks",
                       NAT_MAX_MASK);
    if (n->w[0] && !a->sinks)
        return no_memory(l->err);
    set_place(e, par->slot, &a->at);
    grow(&e->size.max_dim_k, par->dim_k);
    grow(&e->size.max_dim_v, par->dim_v);
    grow(&e->size.max_group, par->n_head / par->n_kv_head);
    grow(&e->size.max_scratch, e->kern.attend_scratch_bytes(par->dim_k, par->dim_v, NAT_QUERIES));
    return CAMA_OK;
}

/* A KV_STORE node: k and v as they are. */
static void set_store(lowering *l, nat_attend *a, const plan_node *n)
{
    set_place(l->e, n->par.attend.slot, &a->at);
    grow(&l->e->size.max_dim_k, a->at.dim_k);
    grow(&l->e->size.max_dim_v, a->at.dim_v);
    a->stores = true;
    a->k.src = n->in[0];
    a->v.src = a->at.v_in_k ? -1 : n->in[1];
}

/* Nodes [place, place + n) are a store and links, and the next is the attention that follows. */
static cama_err fuse_attend(lowering *l, size_t n, nat_attend *a, size_t *out_taken)
{
    const int32_t step = l->step_of[l->p->node_order[l->place]];
    const plan_node *store = NULL;
    *out_taken = 0;
    if (l->place + n >= l->p->n_node || node_at(l, l->place + n)->op != PLAN_ATTEND)
        return CAMA_OK;
    for (size_t i = 0; i < n; i++)
        if (node_at(l, l->place + i)->op == PLAN_KV_STORE)
            store = node_at(l, l->place + i);
    const plan_node *attend = node_at(l, l->place + n);
    if (store && store->par.attend.slot != attend->par.attend.slot)
        return CAMA_OK;
    cama_err e = set_attend(l, a, attend, l->p->node_order[l->place + n]);
    if (!e)
        e = take_chain(l, attend->in[0], attend->par.attend.dim_k, step, &a->q);
    if (!e && store) {
        set_store(l, a, store);
        e = take_chain(l, store->in[0], a->at.dim_k, step, &a->k);
    }
    if (!e && store && a->v.src >= 0)
        e = take_chain(l, store->in[1], a->at.dim_v, step, &a->v);
    if (!e && (size_t)(a->q.n + a->k.n + a->v.n) + (store != NULL) == n)
        *out_taken = n + 1;
    return e;
}

/* An attention without what it does. */
static nat_attend no_attend(void)
{
    return (nat_attend){.k.src = -1, .v.src = -1, .q.src = -1, .q_out = -1, .out = -1};
}

/* A store or an attention that goes alone: its links are ops of their own. */
static cama_err lone_attend(lowering *l, nat_attend *a)
{
    const plan_node *n = node_at(l, l->place);
    const bool attends = n->op == PLAN_ATTEND;
    *a = no_attend();
    const cama_err e = attends ? set_attend(l, a, n, l->p->node_order[l->place]) : CAMA_OK;
    if (e)
        return e;
    if (!attends)
        set_store(l, a, n);
    put_op(l, attends ? nat_run_attend : nat_run_store, 1)->u.att = a;
    return CAMA_OK;
}

static cama_err try_attend(lowering *l, bool *out_taken)
{
    const plan_node *first = node_at(l, l->place);
    const plan_step *s = &l->p->steps[l->step_of[l->p->node_order[l->place]]];
    const bool fits = s->kind == PLAN_STEP_ROPE_STORE && (size_t)s->first == l->place;
    const bool alone = first->op == PLAN_ATTEND || first->op == PLAN_KV_STORE;
    *out_taken = false;
    if (!fits && !alone)
        return CAMA_OK;
    nat_attend *a = arena_take(&l->e->plan_arena, sizeof *a);
    if (!a)
        return no_memory(l->err);
    *a = no_attend();
    size_t n = 0;
    const cama_err e = fits ? fuse_attend(l, (size_t)s->n, a, &n) : CAMA_OK;
    *out_taken = e || n || alone;
    if (!e && n)
        put_op(l, nat_run_attend, n)->u.att = a;
    if (e || n || !alone) /* a step that does not fit: its nodes go one by one */
        return e;
    return lone_attend(l, a);
}

/* ---- experts ---- */

static cama_err set_stack(lowering *l, nat_stack *s, const plan_tensor *w, const plan_tensor *b,
                          size_t n_row)
{
    s->w = nat_weight_of(w);
    s->step = s->w.k.n_row * s->w.k.row_bytes;
    s->bias_step = s->w.k.n_row;
    s->w.k.n_row = n_row;
    s->bias = b ? floats_of(l->e, b) : NULL;
    s->cut = nat_take_cut(l->e);
    grow(&l->e->size.max_scratch, l->e->kern.scratch_bytes(s->w.k.n_col));
    return (b && !s->bias) || !s->cut ? no_memory(l->err) : CAMA_OK;
}

static cama_err lower_experts(lowering *l)
{
    engine *e = l->e;
    const plan_node *n = node_at(l, l->place);
    const plan_moe *par = &n->par.moe;
    nat_moe *m = arena_take(&e->plan_arena, sizeof *m);
    if (!m)
        return no_memory(l->err);
    const bool fused = !n->w[1];
    m->par = par;
    m->n_in = (size_t)n->w[0]->ne[0];
    m->n_ff = (size_t)n->w[2]->ne[0];
    m->n_out = (size_t)n->w[2]->ne[1];
    cama_err err = set_stack(l, &m->gate, n->w[0], n->w[3], m->n_ff);
    if (!err)
        err = set_stack(l, &m->up, fused ? n->w[0] : n->w[1], fused ? n->w[3] : n->w[4], m->n_ff);
    if (!err)
        err = set_stack(l, &m->down, n->w[2], n->w[5], m->n_out);
    if (err)
        return err;
    if (fused) {
        m->up.w.k.rows += m->n_ff * m->up.w.k.row_bytes;
        m->up.bias = m->up.bias ? m->up.bias + m->n_ff : NULL;
    }
    m->form_in = kern_form_for(m->gate.w.k.type, m->n_in, e->opts.activations);
    if (kern_form_for(m->up.w.k.type, m->n_in, e->opts.activations) == KERN_F32)
        m->form_in = KERN_F32; /* one form for both */
    m->form_ff = kern_form_for(m->down.w.k.type, m->n_ff, e->opts.activations);
    grow(&e->size.moe_expert, par->n_expert);
    grow(&e->size.moe_used, par->n_used);
    grow(&e->size.moe_in, m->n_in);
    grow(&e->size.moe_ff, m->n_ff);
    grow(&e->size.moe_out, m->n_out);
    put_op(l, nat_run_experts, 1)->u.moe = m;
    return CAMA_OK;
}

/* ---- primitives ---- */

static nat_op_fn *const prim_fn[PLAN_N_OP] = {
    [PLAN_EMBED] = nat_run_embed,     [PLAN_RMS_NORM] = nat_run_norm,
    [PLAN_LAYER_NORM] = nat_run_norm, [PLAN_HEAD_LINEAR] = nat_run_head_linear,
    [PLAN_SLICE] = nat_run_slice,     [PLAN_JOIN] = nat_run_join,
    [PLAN_ADD] = nat_run_add,         [PLAN_MUL] = nat_run_mul,
    [PLAN_SCALE] = nat_run_scale,     [PLAN_ACT] = nat_run_act,
    [PLAN_GLU] = nat_run_glu,         [PLAN_SOFTCAP] = nat_run_softcap,
    [PLAN_ROUTE] = nat_run_route,     [PLAN_CONV] = nat_run_conv,
    [PLAN_DELTA] = nat_run_delta,     [PLAN_SELECT] = nat_run_select,
    [PLAN_POOL] = nat_run_pool,       [PLAN_OUTPUT] = nat_run_output,
};

/* Weights of a primitive as floats, where it reads them so. */
static cama_err set_floats(lowering *l, nat_op *op)
{
    const plan_node *n = op->node;
    if (n->op == PLAN_EMBED || n->op == PLAN_HEAD_LINEAR)
        return CAMA_OK;
    for (int i = 0; i < 2 && n->w[i]; i++) {
        op->u.w[i] = floats_of(l->e, n->w[i]);
        if (!op->u.w[i])
            return no_memory(l->err);
    }
    return CAMA_OK;
}

/* What the engine must know of a primitive: sizes of scratch, limits, places of outputs. */
static cama_err note_prim(lowering *l, nat_op *op)
{
    engine *e = l->e;
    const plan_node *n = op->node;
    if (n->op == PLAN_HEAD_LINEAR) {
        grow(&e->size.max_col, (size_t)n->w[0]->ne[0]);
        grow(&e->size.max_acts_col, (size_t)n->w[0]->ne[0]);
        grow(&e->size.max_scratch, e->kern.scratch_bytes((size_t)n->w[0]->ne[0]));
    } else if (n->op == PLAN_EMBED && n->par.embed.kind == PLAN_EMBED_POSITION) {
        e->n_pos = n->w[0]->ne[1] < e->n_pos ? n->w[0]->ne[1] : e->n_pos;
    } else if (n->op == PLAN_ROUTE) {
        grow(&e->size.moe_expert, n->par.moe.n_expert);
    } else if (n->op == PLAN_OUTPUT) {
        e->out_node[n->par.output.kind] = n->in[0];
    } else if (n->op == PLAN_POOL) {
        if (e->pools || op->domain != ENGINE_SEQ || n->n_col != e->plan->n_embd)
            return err_set(l->err, CAMA_ERR_UNSUPPORTED, "native: a plan pools once, over n_embd");
        op->domain = ENGINE_IN; /* it remembers rows of sequences that ask for nothing yet */
        e->pools = true;
        e->pool_kind = n->par.pool.kind;
    }
    return CAMA_OK;
}

static cama_err lower_prim(lowering *l)
{
    const plan_node *n = node_at(l, l->place);
    if (n->op == PLAN_ROPE || is_head_norm(n))
        return set_link(l, &put_op(l, nat_run_heads, 1)->u.link, n);
    if (n->op == PLAN_EXPERTS)
        return lower_experts(l);
    if (!prim_fn[n->op])
        return err_set(l->err, CAMA_ERR_UNSUPPORTED, "native: no op for node '%s' (%s)",
                       n->name ? n->name : "", plan_op_name(n->op));
    nat_op *op = put_op(l, prim_fn[n->op], 1);
    const cama_err e = note_prim(l, op);
    if (e)
        return e;
    return set_floats(l, op);
}

/* ---- the walk ---- */

static void count_uses(lowering *l)
{
    for (size_t i = 0; i < l->p->n_node; i++)
        for (int k = 0; k < PLAN_MAX_IN; k++)
            if (l->p->nodes[i].in[k] >= 0)
                l->n_use[l->p->nodes[i].in[k]]++;
    for (size_t s = 0; s < l->p->n_step; s++)
        for (int32_t i = 0; i < l->p->steps[s].n; i++)
            l->step_of[l->p->node_order[l->p->steps[s].first + i]] = (int32_t)s;
}

static void set_domains(engine *e)
{
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const plan_node *n = &e->plan->nodes[e->plan->node_order[i]];
        nat_value *v = &e->value[e->plan->node_order[i]];
        v->alias = -1;
        v->domain = n->in[0] >= 0 ? e->value[n->in[0]].domain : ENGINE_IN;
        if (n->op == PLAN_SELECT)
            v->domain = ENGINE_OUT;
        if (n->op == PLAN_POOL)
            v->domain = ENGINE_SEQ;
    }
}

/* For whose sake each op runs: the outputs' needs, walked back to what they read. */
static void set_needs(engine *e)
{
    static const uint32_t of_output[] = {[PLAN_OUT_LOGITS] = ENGINE_NEED_LOGITS,
                                         [PLAN_OUT_HIDDEN] = ENGINE_NEED_HIDDEN,
                                         [PLAN_OUT_POOLED] = ENGINE_NEED_POOLED};
    const plan *p = e->plan;
    for (size_t i = p->n_node; i-- > 0;) {
        const int32_t id = p->node_order[i];
        const plan_node *n = &p->nodes[id];
        nat_op *op = &e->ops[e->node_op[id]];
        if (n->op == PLAN_ATTEND)
            op->u.att->need = op->need; /* its store, if it has one, comes next */
        if (n->op == PLAN_OUTPUT)
            op->need |= of_output[n->par.output.kind];
        if (n->op == PLAN_KV_STORE || n->op == PLAN_CONV || n->op == PLAN_DELTA ||
            n->op == PLAN_POOL)
            op->need |= ENGINE_NEED_ALWAYS;
        for (int k = 0; k < PLAN_MAX_IN; k++)
            if (n->in[k] >= 0)
                e->ops[e->node_op[n->in[k]]].need |= op->need;
    }
}

static cama_err lower_all(lowering *l)
{
    while (l->place < l->p->n_node) {
        bool taken = false;
        cama_err e = try_attend(l, &taken);
        if (!e && !taken)
            e = try_linears(l, &taken);
        if (!e && !taken)
            e = lower_prim(l);
        if (e)
            return e;
    }
    return CAMA_OK;
}

cama_err nat_lower(engine *e, err_info *err)
{
    const size_t n = e->plan->n_node;
    lowering l = {.e = e, .p = e->plan, .err = err};
    e->ops = arena_take_array(&e->plan_arena, n, sizeof *e->ops);
    e->value = arena_take_array(&e->plan_arena, n, sizeof *e->value);
    e->node_op = arena_take_array(&e->plan_arena, n, sizeof *e->node_op);
    l.n_use = arena_take_array(&e->plan_arena, n, sizeof *l.n_use);
    l.step_of = arena_take_array(&e->plan_arena, n, sizeof *l.step_of);
    if (!e->ops || !e->value || !e->node_op || !l.n_use || !l.step_of)
        return no_memory(err);
    e->n_pos = UINT64_MAX;
    for (size_t i = 0; i < 3; i++)
        e->out_node[i] = -1;
    count_uses(&l);
    set_domains(e);
    const cama_err fail = lower_all(&l);
    if (fail)
        return fail;
    set_needs(e);
    nat_cut(e);
    return nat_layout(e, err);
}
