#include "plan/plan_int.h"

#include <stdarg.h>
#include <string.h>

ops *ops_open(arena *a, size_t n_vocab, size_t n_embd, bool causal)
{
    ops *o = arena_take(a, sizeof *o);
    if (!o)
        return NULL;
    o->a = a;
    o->n_vocab = n_vocab;
    o->n_embd = n_embd;
    o->causal = causal;
    o->layer = -1;
    return o;
}

/* The first failure sticks. */
ERR_PRINTF(3, 4) static void set_fail(ops *o, cama_err e, const char *fmt, ...)
{
    if (o->err.code)
        return;
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&o->err, e, fmt, args);
    va_end(args);
    if (o->layer >= 0)
        (void)err_wrap(&o->err, e, "layer %d", o->layer);
}

size_t ops_width(const ops_val *x)
{
    return x ? x->n_col : 0;
}

void ops_layer(ops *o, int layer)
{
    if (o)
        o->layer = layer;
}

const ops_val *ops_name(ops *o, const ops_val *x, const char *name)
{
    if (o && x)
        o->nodes[x->node].name = name;
    return x;
}

static bool stopped(const ops *o)
{
    return !o || o->err.code;
}

static const ops_val *no_memory(ops *o)
{
    set_fail(o, CAMA_ERR_NOMEM, "plan: no memory for node %zu", o->n);
    return NULL;
}

/* Old arrays stay in the arena: doubling wastes at most as much as the last one takes. */
static bool grow(ops *o)
{
    if (o->n < o->cap)
        return true;
    if (o->n >= PLAN_MAX_NODE) {
        set_fail(o, CAMA_ERR_LIMIT, "plan: more than %d nodes", PLAN_MAX_NODE);
        return false;
    }
    const size_t cap = o->cap ? o->cap * 2 : 256;
    plan_node *nodes = arena_take_array(o->a, cap, sizeof *nodes);
    if (!nodes) {
        (void)no_memory(o);
        return false;
    }
    if (o->n)
        memcpy(nodes, o->nodes, o->n * sizeof *nodes);
    o->nodes = nodes;
    o->cap = cap;
    return true;
}

static plan_node node_of(plan_op op, const ops_val *a, const ops_val *b, size_t n_col)
{
    plan_node n = {.op = op, .n_col = n_col};
    for (int i = 0; i < PLAN_MAX_IN; i++)
        n.in[i] = -1;
    if (a)
        n.in[0] = a->node;
    if (b)
        n.in[1] = b->node;
    return n;
}

static const ops_val *add_node(ops *o, plan_node n)
{
    if (!grow(o))
        return NULL;
    ops_val *v = arena_take(o->a, sizeof *v);
    if (!v)
        return no_memory(o);
    n.layer = o->layer;
    v->node = (int32_t)o->n;
    v->n_col = n.n_col;
    o->nodes[o->n++] = n;
    return v;
}

/* A weight whose leading dimensions must be these; missing ones are 1. */
static bool shape_is(ops *o, const plan_tensor *w, uint64_t n0, uint64_t n1, uint64_t n2)
{
    if (w->ne[0] == n0 && w->ne[1] == n1 && w->ne[2] == n2 && w->ne[3] == 1)
        return true;
    set_fail(o, CAMA_ERR_FORMAT,
             "tensor '%s' is [%llu, %llu, %llu, %llu], must be [%llu, %llu, %llu, 1]", w->name,
             (unsigned long long)w->ne[0], (unsigned long long)w->ne[1],
             (unsigned long long)w->ne[2], (unsigned long long)w->ne[3], (unsigned long long)n0,
             (unsigned long long)n1, (unsigned long long)n2);
    return false;
}

/* Vectors that are read as floats: norms, biases, sinks. */
static bool vector_is(ops *o, const plan_tensor *w, uint64_t n)
{
    if (!shape_is(o, w, n, 1, 1))
        return false;
    if (w->type == QUANT_F32)
        return true;
    set_fail(o, CAMA_ERR_UNSUPPORTED, "tensor '%s' is %s, a vector must be F32", w->name,
             quant_table[w->type].name);
    return false;
}

static bool is_matrix_type(ops *o, const plan_tensor *w)
{
    if (quant_table[w->type].is_weight)
        return true;
    set_fail(o, CAMA_ERR_UNSUPPORTED, "tensor '%s' is %s, which no weight can be", w->name,
             quant_table[w->type].name);
    return false;
}

/* Columns of x in runs of n. */
static bool runs_of(ops *o, const ops_val *x, size_t n, const char *what)
{
    if (n && x->n_col % n == 0)
        return true;
    set_fail(o, CAMA_ERR_FORMAT, "%s: %zu columns are no multiple of %zu", what, x->n_col, n);
    return false;
}

const ops_val *ops_embed(ops *o, const plan_tensor *table, plan_embed_kind kind)
{
    if (stopped(o) || !is_matrix_type(o, table))
        return NULL;
    if (table->ne[0] != o->n_embd) {
        set_fail(o, CAMA_ERR_FORMAT, "tensor '%s' has rows of %llu, the model is %zu wide",
                 table->name, (unsigned long long)table->ne[0], o->n_embd);
        return NULL;
    }
    plan_node n = node_of(PLAN_EMBED, NULL, NULL, o->n_embd);
    n.w[0] = table;
    n.par.embed.kind = kind;
    return add_node(o, n);
}

static const ops_val *norm(ops *o, plan_op op, const ops_val *x, const plan_tensor *w,
                           const plan_tensor *b, size_t head_dim, float eps)
{
    if (stopped(o) || !x || !runs_of(o, x, head_dim, "norm") || (w && !vector_is(o, w, head_dim)) ||
        (b && !vector_is(o, b, head_dim)))
        return NULL;
    plan_node n = node_of(op, x, NULL, x->n_col);
    n.w[0] = w;
    n.w[1] = b;
    n.par.norm.head_dim = head_dim;
    n.par.norm.eps = eps;
    return add_node(o, n);
}

const ops_val *ops_rms_norm(ops *o, const ops_val *x, const plan_tensor *w, float eps)
{
    return norm(o, PLAN_RMS_NORM, x, w, NULL, ops_width(x), eps);
}

const ops_val *ops_layer_norm(ops *o, const ops_val *x, const plan_tensor *w, const plan_tensor *b,
                              float eps)
{
    return norm(o, PLAN_LAYER_NORM, x, w, b, ops_width(x), eps);
}

const ops_val *ops_head_norm(ops *o, const ops_val *x, const plan_tensor *w, size_t head_dim,
                             float eps)
{
    return norm(o, PLAN_RMS_NORM, x, w, NULL, head_dim, eps);
}

const ops_val *ops_l2_norm(ops *o, const ops_val *x, size_t head_dim, float eps)
{
    return norm(o, PLAN_L2_NORM, x, NULL, NULL, head_dim, eps);
}

const ops_val *ops_linear(ops *o, const ops_val *x, const plan_linear *l)
{
    if (stopped(o) || !x || !is_matrix_type(o, l->w) ||
        !shape_is(o, l->w, x->n_col, l->w->ne[1], 1) || (l->b && !vector_is(o, l->b, l->w->ne[1])))
        return NULL;
    plan_node n = node_of(PLAN_LINEAR, x, NULL, l->w->ne[1]);
    n.w[0] = l->w;
    n.w[1] = l->b;
    return add_node(o, n);
}

const ops_val *ops_head_linear(ops *o, const ops_val *x, const plan_tensor *w)
{
    if (stopped(o) || !x || !is_matrix_type(o, w))
        return NULL;
    const size_t n_head = w->ne[2];
    if (n_head == 0 || x->n_col % n_head || !shape_is(o, w, x->n_col / n_head, w->ne[1], n_head)) {
        set_fail(o, CAMA_ERR_FORMAT, "tensor '%s': %zu columns do not split into its %zu heads",
                 w->name, x->n_col, n_head);
        return NULL;
    }
    plan_node n = node_of(PLAN_HEAD_LINEAR, x, NULL, w->ne[1] * n_head);
    n.w[0] = w;
    return add_node(o, n);
}

const ops_val *ops_slice(ops *o, const ops_val *x, size_t n_head, size_t from, size_t n_keep)
{
    if (stopped(o) || !x || !runs_of(o, x, n_head, "slice"))
        return NULL;
    const size_t head_dim = x->n_col / n_head;
    if (n_keep == 0 || n_keep > head_dim || from > head_dim - n_keep) {
        set_fail(o, CAMA_ERR_FORMAT, "slice: columns %zu to %zu of a head of %zu", from,
                 from + n_keep, head_dim);
        return NULL;
    }
    plan_node n = node_of(PLAN_SLICE, x, NULL, n_head * n_keep);
    n.par.slice.n_head = n_head;
    n.par.slice.head_dim = head_dim;
    n.par.slice.from = from;
    n.par.slice.n = n_keep;
    return add_node(o, n);
}

static const ops_val *join(ops *o, const ops_val *a, const ops_val *b, size_t n_head, bool shared)
{
    if (stopped(o) || !a || !b || !runs_of(o, a, n_head, "join") ||
        (!shared && !runs_of(o, b, n_head, "join")))
        return NULL;
    const size_t head_a = a->n_col / n_head;
    const size_t head_b = shared ? b->n_col : b->n_col / n_head;
    plan_node n = node_of(PLAN_JOIN, a, b, n_head * (head_a + head_b));
    n.par.slice.n_head = n_head;
    n.par.slice.head_dim = head_a + head_b;
    n.par.slice.from = head_a;
    n.par.slice.n = head_b;
    return add_node(o, n);
}

const ops_val *ops_join(ops *o, const ops_val *a, const ops_val *b, size_t n_head)
{
    return join(o, a, b, n_head, false);
}

const ops_val *ops_join_shared(ops *o, const ops_val *a, const ops_val *b, size_t n_head)
{
    return join(o, a, b, n_head, true);
}

const ops_val *ops_rope(ops *o, const ops_val *x, const plan_rope *r)
{
    if (stopped(o) || !x || !runs_of(o, x, r->head_dim, "rope"))
        return NULL;
    if (r->n_rot == 0 || r->n_rot % 2 || r->from > r->head_dim ||
        r->n_rot > r->head_dim - r->from) {
        set_fail(o, CAMA_ERR_FORMAT, "rope: %zu rotated columns from %zu of a head of %zu",
                 r->n_rot, r->from, r->head_dim);
        return NULL;
    }
    plan_node n = node_of(PLAN_ROPE, x, NULL, x->n_col);
    n.par.rope = *r;
    return add_node(o, n);
}

int ops_kv_slot(ops *o, const plan_kv_slot *slot)
{
    if (stopped(o))
        return -1;
    if (o->n_slot == o->cap_slot) {
        const size_t cap = o->cap_slot ? o->cap_slot * 2 : 64;
        plan_kv_slot *slots = arena_take_array(o->a, cap, sizeof *slots);
        if (!slots) {
            (void)no_memory(o);
            return -1;
        }
        if (o->n_slot)
            memcpy(slots, o->slots, o->n_slot * sizeof *slots);
        o->slots = slots;
        o->cap_slot = cap;
    }
    o->slots[o->n_slot] = *slot;
    return (int)o->n_slot++;
}

/* The slot that a node names, if it is there and of the right kind. */
static const plan_kv_slot *slot_at(ops *o, int slot, bool state)
{
    if (slot >= 0 && (size_t)slot < o->n_slot && (o->slots[slot].kind == PLAN_KV_STATE) == state)
        return &o->slots[slot];
    set_fail(o, CAMA_ERR_INTERNAL, "plan: no %s slot %d", state ? "state" : "attention", slot);
    return NULL;
}

static bool width_is(ops *o, const ops_val *x, size_t want, const char *what)
{
    if (x->n_col == want)
        return true;
    set_fail(o, CAMA_ERR_FORMAT, "%s has %zu columns, must have %zu", what, x->n_col, want);
    return false;
}

static bool store(ops *o, const ops_val *k, const ops_val *v, const plan_attend *a)
{
    if (!width_is(o, k, a->n_kv_head * a->dim_k, "attend: K") ||
        (v && !width_is(o, v, a->n_kv_head * a->dim_v, "attend: V")))
        return false;
    plan_node n = node_of(PLAN_KV_STORE, k, v, 0);
    n.par.attend = *a;
    return add_node(o, n) != NULL;
}

const ops_val *ops_attend(ops *o, const ops_val *q, const ops_val *k, const ops_val *v,
                          const plan_attend *a, const plan_tensor *sinks)
{
    if (stopped(o) || !q)
        return NULL;
    const plan_kv_slot *s = slot_at(o, a->slot, false);
    if (!s || !width_is(o, q, a->n_head * a->dim_k, "attend: Q"))
        return NULL;
    if (a->n_kv_head == 0 || a->n_head % a->n_kv_head || s->n_kv_head != a->n_kv_head ||
        s->dim_k != a->dim_k || s->dim_v != a->dim_v || (k && !v && !s->v_in_k)) {
        set_fail(o, CAMA_ERR_FORMAT, "attend: %zu heads on %zu of %zu and %zu do not fit slot %d",
                 a->n_head, a->n_kv_head, a->dim_k, a->dim_v, a->slot);
        return NULL;
    }
    if (sinks && !vector_is(o, sinks, a->n_head))
        return NULL;
    if (k && !store(o, k, v, a))
        return NULL;
    plan_node n = node_of(PLAN_ATTEND, q, NULL, a->n_head * a->dim_v);
    n.par.attend = *a;
    n.w[0] = sinks;
    return add_node(o, n);
}

const ops_val *ops_add(ops *o, const ops_val *a, const ops_val *b)
{
    if (stopped(o) || !a || !b || !width_is(o, b, a->n_col, "add"))
        return NULL;
    return add_node(o, node_of(PLAN_ADD, a, b, a->n_col));
}

static const ops_val *with_weight(ops *o, plan_op op, const ops_val *x, const plan_tensor *w)
{
    if (stopped(o) || !x || !vector_is(o, w, x->n_col))
        return NULL;
    plan_node n = node_of(op, x, NULL, x->n_col);
    n.w[0] = w;
    return add_node(o, n);
}

const ops_val *ops_add_weight(ops *o, const ops_val *x, const plan_tensor *w)
{
    return with_weight(o, PLAN_ADD, x, w);
}

const ops_val *ops_mul_weight(ops *o, const ops_val *x, const plan_tensor *w)
{
    return with_weight(o, PLAN_MUL, x, w);
}

const ops_val *ops_mul(ops *o, const ops_val *a, const ops_val *b)
{
    if (stopped(o) || !a || !b || !runs_of(o, a, b->n_col, "mul"))
        return NULL;
    return add_node(o, node_of(PLAN_MUL, a, b, a->n_col));
}

static const ops_val *scaled(ops *o, plan_op op, const ops_val *x, float value)
{
    if (stopped(o) || !x)
        return NULL;
    plan_node n = node_of(op, x, NULL, x->n_col);
    n.par.scale.value = value;
    return add_node(o, n);
}

const ops_val *ops_scale(ops *o, const ops_val *x, float s)
{
    return scaled(o, PLAN_SCALE, x, s);
}

const ops_val *ops_softcap(ops *o, const ops_val *x, float cap)
{
    return scaled(o, PLAN_SOFTCAP, x, cap);
}

const ops_val *ops_act(ops *o, const ops_val *x, plan_act_fn fn)
{
    if (stopped(o) || !x)
        return NULL;
    plan_node n = node_of(PLAN_ACT, x, NULL, x->n_col);
    n.par.act.fn = fn;
    return add_node(o, n);
}

const ops_val *ops_glu(ops *o, const ops_val *gate, const ops_val *up, plan_act_fn fn)
{
    if (stopped(o) || !gate || !up || !width_is(o, up, gate->n_col, "glu: up"))
        return NULL;
    plan_node n = node_of(PLAN_GLU, gate, up, gate->n_col);
    n.par.act.fn = fn;
    return add_node(o, n);
}

static bool moe_fits(ops *o, const ops_val *x, const ops_experts *w, const plan_moe *m)
{
    const size_t n_ff = w->down->ne[0];
    const size_t n_gate = w->up ? n_ff : 2 * n_ff;
    if (!is_matrix_type(o, w->gate) || !is_matrix_type(o, w->down) ||
        (w->up && !is_matrix_type(o, w->up)) ||
        !shape_is(o, w->gate, x->n_col, n_gate, m->n_expert) ||
        (w->up && !shape_is(o, w->up, x->n_col, n_ff, m->n_expert)) ||
        !shape_is(o, w->down, n_ff, w->down->ne[1], m->n_expert))
        return false;
    return (!w->gate_b || shape_is(o, w->gate_b, n_gate, m->n_expert, 1)) &&
           (!w->up_b || shape_is(o, w->up_b, n_ff, m->n_expert, 1)) &&
           (!w->down_b || shape_is(o, w->down_b, w->down->ne[1], m->n_expert, 1));
}

const ops_val *ops_moe(ops *o, const ops_val *x, const ops_val *router_logits,
                       const plan_tensor *selection_bias, const ops_experts *w, const plan_moe *moe)
{
    if (stopped(o) || !x || !router_logits ||
        !width_is(o, router_logits, moe->n_expert, "moe: router logits") ||
        (selection_bias && !vector_is(o, selection_bias, moe->n_expert)) || !moe_fits(o, x, w, moe))
        return NULL;
    if (moe->n_used == 0 || moe->n_used > moe->n_expert) {
        set_fail(o, CAMA_ERR_FORMAT, "moe: %zu experts used of %zu", moe->n_used, moe->n_expert);
        return NULL;
    }
    plan_node route = node_of(PLAN_ROUTE, router_logits, NULL, 2 * moe->n_used);
    route.w[0] = selection_bias;
    route.par.moe = *moe;
    const ops_val *chosen = add_node(o, route);
    if (!chosen)
        return NULL;
    plan_node n = node_of(PLAN_EXPERTS, x, chosen, w->down->ne[1]);
    const plan_tensor *const weights[] = {w->gate, w->up, w->down, w->gate_b, w->up_b, w->down_b};
    memcpy(n.w, weights, sizeof weights);
    n.par.moe = *moe;
    return add_node(o, n);
}

const ops_val *ops_conv(ops *o, const ops_val *x, const plan_tensor *w, const plan_tensor *b,
                        int slot)
{
    if (stopped(o) || !x || !shape_is(o, w, w->ne[0], x->n_col, 1) ||
        (b && !vector_is(o, b, x->n_col)))
        return NULL;
    const plan_kv_slot *s = slot_at(o, slot, true);
    if (!s)
        return NULL;
    if (w->type != QUANT_F32 || w->ne[0] < 2 || s->n_state != (w->ne[0] - 1) * x->n_col) {
        set_fail(o, CAMA_ERR_FORMAT, "conv: '%s' with %llu taps of %s does not fit a state of %zu",
                 w->name, (unsigned long long)w->ne[0], quant_table[w->type].name, s->n_state);
        return NULL;
    }
    plan_node n = node_of(PLAN_CONV, x, NULL, x->n_col);
    n.w[0] = w;
    n.w[1] = b;
    n.par.state.slot = slot;
    return add_node(o, n);
}

const ops_val *ops_delta(ops *o, const ops_val *q, const ops_val *k, const ops_val *v,
                         const ops_val *g, const ops_val *beta, const plan_delta *d)
{
    if (stopped(o) || !q || !k || !v || !g || !beta ||
        !width_is(o, q, d->n_k_head * d->dk, "delta: q") ||
        !width_is(o, k, d->n_k_head * d->dk, "delta: k") ||
        !width_is(o, v, d->n_v_head * d->dv, "delta: v") ||
        !width_is(o, g, d->n_v_head, "delta: g") || !width_is(o, beta, d->n_v_head, "delta: beta"))
        return NULL;
    const plan_kv_slot *s = slot_at(o, d->slot, true);
    if (!s)
        return NULL;
    if (d->n_k_head == 0 || d->n_v_head % d->n_k_head ||
        s->n_state != d->n_v_head * d->dk * d->dv) {
        set_fail(o, CAMA_ERR_FORMAT, "delta: %zu value heads on %zu key heads, state of %zu",
                 d->n_v_head, d->n_k_head, s->n_state);
        return NULL;
    }
    plan_node n = node_of(PLAN_DELTA, q, k, v->n_col);
    n.in[2] = v->node;
    n.in[3] = g->node;
    n.in[4] = beta->node;
    n.par.delta = *d;
    return add_node(o, n);
}

const ops_val *ops_select(ops *o, const ops_val *x)
{
    if (stopped(o) || !x)
        return NULL;
    return add_node(o, node_of(PLAN_SELECT, x, NULL, x->n_col));
}

const ops_val *ops_pool(ops *o, const ops_val *x, plan_pool_kind kind)
{
    if (stopped(o) || !x)
        return NULL;
    plan_node n = node_of(PLAN_POOL, x, NULL, x->n_col);
    n.par.pool.kind = kind;
    return add_node(o, n);
}

void ops_output(ops *o, const ops_val *x, plan_output_kind kind)
{
    if (stopped(o) || !x)
        return;
    if (kind == PLAN_OUT_LOGITS && !width_is(o, x, o->n_vocab, "output: logits"))
        return;
    plan_node n = node_of(PLAN_OUTPUT, x, NULL, 0);
    n.par.output.kind = kind;
    (void)add_node(o, n); /* its failure sticks */
}

static bool same_shape(const plan_kv_slot *a, const plan_kv_slot *b)
{
    return a->kind == b->kind && a->n_kv_head == b->n_kv_head && a->dim_k == b->dim_k &&
           a->dim_v == b->dim_v && a->v_in_k == b->v_in_k && a->window == b->window &&
           a->n_state == b->n_state;
}

static cama_err group_slots(ops *o, plan *p)
{
    plan_kv_group *groups = arena_take_array(o->a, o->n_slot + 1, sizeof *groups);
    if (!groups)
        return err_set(&o->err, CAMA_ERR_NOMEM, "plan: no memory for %zu groups", o->n_slot);
    size_t n = 0;
    for (size_t i = 0; i < o->n_slot; i++) {
        plan_kv_slot *s = &o->slots[i];
        size_t g = 0;
        while (g < n && !same_shape(&groups[g].shape, s))
            g++;
        if (g == n)
            groups[n++] = (plan_kv_group){.shape = *s};
        s->group = (int)g;
        s->index = groups[g].n_slot++;
    }
    p->slots = o->slots;
    p->n_slot = o->n_slot;
    p->groups = groups;
    p->n_group = n;
    return CAMA_OK;
}

static bool has_output(const ops *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->nodes[i].op == PLAN_OUTPUT)
            return true;
    return false;
}

cama_err ops_finish(ops *o, const plan **out, err_info *err)
{
    if (!o)
        return err_set(err, CAMA_ERR_NOMEM, "plan: no memory for the recorder");
    ops_layer(o, -1);
    if (!o->err.code && !has_output(o))
        set_fail(o, CAMA_ERR_INTERNAL, "plan: %zu nodes and no output", o->n);
    plan *p = arena_take(o->a, sizeof *p);
    if (!p)
        return err_set(err, CAMA_ERR_NOMEM, "plan: no memory for a plan of %zu nodes", o->n);
    if (!o->err.code)
        (void)group_slots(o, p);
    if (!o->err.code)
        (void)plan_select_early(o);
    if (!o->err.code)
        (void)plan_fuse(o, p);
    if (o->err.code)
        return err_set(err, o->err.code, "%s", o->err.text);
    p->nodes = o->nodes;
    p->n_node = o->n;
    p->n_vocab = o->n_vocab;
    p->n_embd = o->n_embd;
    p->causal = o->causal;
    *out = p;
    return CAMA_OK;
}
