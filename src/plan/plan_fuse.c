#include "plan/plan_int.h"

#include <string.h>

/* The passes below put nodes into groups; what none of them takes is a group of its own. Then the
 * groups are laid in an order in which each reads only what came before. */
typedef struct fuser {
    const plan_node *nodes;
    int32_t n;
    int32_t *n_use;       /* [n] how many inputs read the value */
    int32_t *first_use;   /* [n] the first node that reads it, -1 */
    int32_t *group;       /* [n] leader of the node's group, -1: none yet */
    int32_t *next;        /* [n] the next node of the group, in execution order, -1 */
    plan_step_kind *kind; /* [n] of the group that the node leads */
} fuser;

static void count_uses(fuser *f)
{
    for (int32_t i = 0; i < f->n; i++) {
        f->first_use[i] = f->group[i] = f->next[i] = -1;
        for (int k = 0; k < PLAN_MAX_IN; k++) {
            const int32_t in = f->nodes[i].in[k];
            if (in < 0)
                continue;
            if (f->n_use[in]++ == 0)
                f->first_use[in] = i;
        }
    }
}

/* The only reader of a value, or -1. */
static int32_t sole_user(const fuser *f, int32_t i)
{
    return f->n_use[i] == 1 ? f->first_use[i] : -1;
}

static bool is_free(const fuser *f, int32_t i)
{
    return i >= 0 && f->group[i] < 0;
}

static void make_group(fuser *f, plan_step_kind kind, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        f->group[ids[i]] = ids[0];
        f->next[ids[i]] = i + 1 < n ? ids[i + 1] : -1;
    }
    f->kind[ids[0]] = kind;
}

static bool is_whole_row_norm(const plan_node *n)
{
    return (n->op == PLAN_RMS_NORM || n->op == PLAN_LAYER_NORM) && n->par.norm.head_dim == n->n_col;
}

/* Final norm, head, what is done to the logits, output (and the select right before it). */
static void fuse_head(fuser *f)
{
    enum { MAX_HEAD = 16 };
    for (int32_t i = 0; i < f->n; i++) {
        if (f->nodes[i].op != PLAN_OUTPUT)
            continue;
        int32_t back[MAX_HEAD];
        size_t n = 0;
        bool has_linear = false;
        back[n++] = i;
        for (int32_t k = f->nodes[i].in[0]; n < MAX_HEAD && is_free(f, k) && f->n_use[k] == 1;
             k = f->nodes[k].in[0]) {
            const plan_op op = f->nodes[k].op;
            const bool tail = !has_linear && (op == PLAN_SCALE || op == PLAN_SOFTCAP);
            const bool linear = !has_linear && op == PLAN_LINEAR;
            const bool norm = has_linear && is_whole_row_norm(&f->nodes[k]);
            const bool select = has_linear && op == PLAN_SELECT;
            if (!tail && !linear && !norm && !select)
                break;
            has_linear |= linear;
            back[n++] = k;
            if (select)
                break;
        }
        int32_t ids[MAX_HEAD];
        for (size_t k = 0; k < n; k++)
            ids[k] = back[n - 1 - k];
        if (has_linear)
            make_group(f, PLAN_STEP_HEAD, ids, n);
    }
}

/* Head norms and RoPE that lie between a projection and what reads its value, last first. */
static size_t chain_before(const fuser *f, int32_t id, size_t dim, int32_t *ids, size_t max)
{
    size_t n = 0;
    while (n < max && is_free(f, id) && f->n_use[id] == 1) {
        const plan_node *x = &f->nodes[id];
        const bool rope = x->op == PLAN_ROPE && x->par.rope.head_dim == dim;
        const bool norm = (x->op == PLAN_RMS_NORM || x->op == PLAN_L2_NORM) &&
                          x->par.norm.head_dim == dim && dim < x->n_col;
        if (!rope && !norm)
            break;
        ids[n++] = id;
        id = x->in[0];
    }
    return n;
}

static void append_reversed(int32_t *to, size_t *n, const int32_t *ids, size_t n_id)
{
    while (n_id)
        to[(*n)++] = ids[--n_id];
}

/* What is done to q, k and v before the store, and the store. */
static void fuse_rope_store(fuser *f)
{
    enum { MAX_CHAIN = 8 };
    for (int32_t i = 0; i < f->n; i++) {
        const plan_node *s = &f->nodes[i];
        if (s->op != PLAN_KV_STORE || i + 1 >= f->n || f->nodes[i + 1].op != PLAN_ATTEND)
            continue; /* the recorder writes the attend right behind its store */
        int32_t chain[MAX_CHAIN];
        int32_t ids[3 * MAX_CHAIN + 1];
        size_t n = 0;
        size_t got = chain_before(f, f->nodes[i + 1].in[0], s->par.attend.dim_k, chain, MAX_CHAIN);
        append_reversed(ids, &n, chain, got);
        got = chain_before(f, s->in[0], s->par.attend.dim_k, chain, MAX_CHAIN);
        append_reversed(ids, &n, chain, got);
        if (s->in[1] >= 0) {
            got = chain_before(f, s->in[1], s->par.attend.dim_v, chain, MAX_CHAIN);
            append_reversed(ids, &n, chain, got);
        }
        ids[n++] = i;
        make_group(f, PLAN_STEP_ROPE_STORE, ids, n);
    }
}

static void fuse_attend(fuser *f)
{
    for (int32_t i = 0; i < f->n; i++)
        if (f->nodes[i].op == PLAN_ATTEND)
            make_group(f, PLAN_STEP_ATTEND, &i, 1);
}

/* norm, gate, up, glu: when nothing else reads the norm, the gate or the up. */
static void fuse_norm_glu(fuser *f)
{
    for (int32_t i = 0; i < f->n; i++) {
        const plan_node *g = &f->nodes[i];
        if (g->op != PLAN_GLU)
            continue;
        const int32_t gate = g->in[0];
        const int32_t up = g->in[1];
        if (f->nodes[gate].op != PLAN_LINEAR || f->nodes[up].op != PLAN_LINEAR || gate == up ||
            sole_user(f, gate) != i || sole_user(f, up) != i || !is_free(f, gate) ||
            !is_free(f, up))
            continue;
        const int32_t norm = f->nodes[gate].in[0];
        if (f->nodes[up].in[0] != norm || !is_free(f, norm) || f->n_use[norm] != 2 ||
            !is_whole_row_norm(&f->nodes[norm]))
            continue;
        const int32_t ids[] = {norm, gate, up, i};
        make_group(f, PLAN_STEP_NORM_GLU, ids, 4);
    }
}

/* A linear whose value is only added to something. */
static void fuse_linear_add(fuser *f)
{
    for (int32_t i = 0; i < f->n; i++) {
        if (f->nodes[i].op != PLAN_LINEAR || !is_free(f, i))
            continue;
        const int32_t add = sole_user(f, i);
        if (!is_free(f, add) || f->nodes[add].op != PLAN_ADD || f->nodes[add].w[0])
            continue;
        const int32_t ids[] = {i, add};
        make_group(f, PLAN_STEP_LINEAR_ADD, ids, 2);
    }
}

/* A norm and every linear that reads it and is still free. */
static void fuse_norm_linear(fuser *f)
{
    enum { MAX_LINEAR = 15 };
    for (int32_t i = 0; i < f->n; i++) {
        if (!is_free(f, i) || !is_whole_row_norm(&f->nodes[i]))
            continue;
        int32_t ids[1 + MAX_LINEAR] = {i};
        size_t n = 1;
        for (int32_t k = i + 1; k < f->n && n <= MAX_LINEAR; k++)
            if (f->nodes[k].op == PLAN_LINEAR && f->nodes[k].in[0] == i && is_free(f, k))
                ids[n++] = k;
        if (n > 1)
            make_group(f, PLAN_STEP_NORM_LINEAR, ids, n);
    }
}

static void fuse_rest(fuser *f)
{
    for (int32_t i = 0; i < f->n; i++)
        if (f->group[i] < 0)
            make_group(f, PLAN_STEP_PRIM, &i, 1);
}

/* A group may run when what its nodes read from outside is there. An attend reads its slot too:
 * every store to it that was recorded before must have run. */
static bool is_ready(const fuser *f, int32_t leader, const bool *done)
{
    for (int32_t i = leader; i >= 0; i = f->next[i]) {
        const plan_node *n = &f->nodes[i];
        for (int k = 0; k < PLAN_MAX_IN; k++)
            if (n->in[k] >= 0 && f->group[n->in[k]] != leader && !done[n->in[k]])
                return false;
        if (n->op != PLAN_ATTEND)
            continue;
        for (int32_t s = i - 1; s >= 0; s--)
            if (f->nodes[s].op == PLAN_KV_STORE &&
                f->nodes[s].par.attend.slot == n->par.attend.slot && !done[s])
                return false;
    }
    return true;
}

/* List scheduling in recorded order: the first group that is ready runs next. */
static bool lay_order(const fuser *f, plan *p, int32_t *order, plan_step *steps, bool *done)
{
    int32_t place = 0;
    int32_t low = 0; /* everything before it is done */
    while (place < f->n) {
        int32_t leader = -1;
        while (low < f->n && done[low])
            low++;
        for (int32_t i = low; i < f->n && leader < 0; i++)
            if (!done[i] && f->group[i] == i && is_ready(f, i, done))
                leader = i;
        if (leader < 0)
            return false;
        plan_step *s = &steps[p->n_step++];
        *s = (plan_step){.kind = f->kind[leader], .first = place};
        for (int32_t i = leader; i >= 0; i = f->next[i]) {
            order[place++] = i;
            done[i] = true;
            s->n++;
        }
    }
    return true;
}

cama_err plan_fuse(ops *o, plan *p)
{
    const size_t n = o->n;
    fuser f = {.nodes = o->nodes, .n = (int32_t)n};
    f.n_use = arena_take_array(o->a, n, sizeof *f.n_use);
    f.first_use = arena_take_array(o->a, n, sizeof *f.first_use);
    f.group = arena_take_array(o->a, n, sizeof *f.group);
    f.next = arena_take_array(o->a, n, sizeof *f.next);
    f.kind = arena_take_array(o->a, n, sizeof *f.kind);
    int32_t *order = arena_take_array(o->a, n, sizeof *order);
    plan_step *steps = arena_take_array(o->a, n, sizeof *steps);
    bool *done = arena_take_array(o->a, n, sizeof *done);
    err_info *err = &o->err;
    if (!f.n_use || !f.first_use || !f.group || !f.next || !f.kind || !order || !steps || !done)
        return err_set(err, CAMA_ERR_NOMEM, "plan: no memory to fuse %zu nodes", n);
    count_uses(&f);
    fuse_head(&f);
    fuse_rope_store(&f);
    fuse_attend(&f);
    fuse_norm_glu(&f);
    fuse_linear_add(&f);
    fuse_norm_linear(&f);
    fuse_rest(&f);
    if (!lay_order(&f, p, order, steps, done))
        return err_set(err, CAMA_ERR_INTERNAL, "plan: %zu nodes read each other in a circle", n);
    p->node_order = order;
    p->steps = steps;
    return CAMA_OK;
}
