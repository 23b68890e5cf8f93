/* nat_layout.c - where each value lies in scratch.
 *
 * A value lives from the op that writes it to the last that reads it, both included: there is a
 * barrier after each op, so a place is free again for the op after. The result of a residual or of
 * an element-wise op takes over the place of an input that nobody reads any more.
 */
#include "engine/native/nat_int.h"

#include <stdlib.h>

/* Values that exist only inside an op have no place. */
static bool needs_place(const engine *e, int32_t id)
{
    const nat_op *op = &e->ops[e->node_op[id]];
    if (e->plan->nodes[id].n_col == 0)
        return false;
    if (op->run == nat_run_attend)
        return id == op->u.att->out || (id == op->u.att->q_out && op->u.att->q.n);
    if (op->run != nat_run_linears)
        return true;
    const nat_linears *l = op->u.lin;
    if (id == l->glu || (l->norm && id == l->norm_out))
        return true;
    for (size_t i = 0; i < l->n; i++)
        if (id == l->linear[i].out)
            return true;
    return false;
}

/* Input whose place node id may take over, when it dies there; -1: none. */
static int32_t heir_of(const engine *e, int32_t id)
{
    const plan_node *n = &e->plan->nodes[id];
    const nat_op *op = &e->ops[e->node_op[id]];
    if (op->run == nat_run_linears) {
        const nat_linears *l = op->u.lin;
        if (id == l->glu)
            return n->in[0];
        /* With a norm of the residual in the same op, one thread would write what another reads. */
        return l->add >= 0 && id == l->linear[0].out && l->add != l->in ? l->add : -1;
    }
    if (op->run == nat_run_mul)
        return n->w[0] || e->plan->nodes[n->in[1]].n_col == n->n_col ? n->in[0] : -1;
    const bool fits = op->run == nat_run_add || op->run == nat_run_scale ||
                      op->run == nat_run_act || op->run == nat_run_glu ||
                      op->run == nat_run_softcap || op->run == nat_run_heads ||
                      op->run == nat_run_norm;
    return fits ? n->in[0] : -1;
}

static int32_t root_of(const engine *e, int32_t id)
{
    while (e->value[id].alias >= 0)
        id = e->value[id].alias;
    return id;
}

static void set_lives(engine *e)
{
    const plan *p = e->plan;
    for (size_t i = 0; i < p->n_node; i++)
        e->value[i].first = e->value[i].last = e->node_op[i];
    for (size_t i = 0; i < p->n_node; i++)
        for (int k = 0; k < PLAN_MAX_IN; k++) {
            const int32_t in = p->nodes[i].in[k];
            if (in >= 0 && e->value[in].last < e->node_op[i])
                e->value[in].last = e->node_op[i];
        }
    for (size_t i = 0; i < 3; i++)
        if (e->out_node[i] >= 0) {
            nat_value *v = &e->value[e->out_node[i]];
            v->output = true;
            v->first = 0;
            v->last = (int32_t)e->n_op;
        }
}

static void set_aliases(engine *e)
{
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const int32_t id = e->plan->node_order[i];
        nat_value *v = &e->value[id];
        const int32_t heir = needs_place(e, id) ? heir_of(e, id) : -1;
        if (heir < 0 || v->output)
            continue;
        nat_value *root = &e->value[root_of(e, heir)];
        if (root->output || root->last != e->node_op[id] || root->domain != v->domain ||
            e->plan->nodes[heir].n_col != e->plan->nodes[id].n_col)
            continue;
        v->alias = heir;
        root->last = v->last;
    }
}

typedef struct block {
    size_t from, to;
} block;

static int by_place(const void *a, const void *b)
{
    const block *x = a;
    const block *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

static size_t value_floats(const engine *e, const nat_value *v)
{
    return (size_t)e->opts.n_batch * v->ld * (v->output ? 2 : 1);
}

/* The lowest gap among the places of values that live at the same time; busy has room for all. */
static void place(engine *e, nat_value *v, block *busy)
{
    size_t n = 0;
    for (size_t i = 0; i < e->plan->n_node; i++) {
        const nat_value *o = &e->value[i];
        if (o->placed && o->alias < 0 && o->first <= v->last && v->first <= o->last)
            busy[n++] = (block){o->offset, o->offset + value_floats(e, o)};
    }
    qsort(busy, n, sizeof *busy, by_place);
    size_t at = 0;
    for (size_t i = 0; i < n && busy[i].from < at + value_floats(e, v); i++)
        at = busy[i].to > at ? busy[i].to : at;
    v->offset = at;
    v->placed = true;
}

static void add_size(engine *e, const nat_value *v)
{
    const size_t end = v->offset + value_floats(e, v);
    const size_t n_out =
        (size_t)e->opts.n_seq + 1 < e->opts.n_batch ? (size_t)e->opts.n_seq + 1 : e->opts.n_batch;
    if (end > e->size.scratch_floats)
        e->size.scratch_floats = end;
    if (v->domain == ENGINE_IN && end > e->size.scratch_used)
        e->size.scratch_used = end;
    if (v->domain !=
        ENGINE_IN) /* a usual step has an output a sequence: few rows are ever touched */
        e->size.out_floats += n_out * v->ld * (v->output ? 2 : 1);
}

cama_err nat_layout(engine *e, err_info *err)
{
    const plan *p = e->plan;
    block *busy = malloc((p->n_node ? p->n_node : 1) * sizeof *busy);
    if (!busy)
        return err_set(err, CAMA_ERR_NOMEM, "native: no memory to lay out %zu values", p->n_node);
    set_lives(e);
    set_aliases(e);
    for (int pass = 0; pass < 2; pass++) /* outputs last: their address space is the largest */
        for (size_t i = 0; i < p->n_node; i++) {
            const int32_t id = p->node_order[i];
            nat_value *v = &e->value[id];
            v->ld = nat_up(p->nodes[id].n_col, NAT_ALIGN / sizeof(float));
            if (v->alias >= 0 || (v->domain != ENGINE_IN) != pass || !needs_place(e, id))
                continue;
            place(e, v, busy);
            add_size(e, v);
        }
    for (size_t i = 0; i < p->n_node; i++)
        if (e->value[i].alias >= 0)
            e->value[i].offset = e->value[root_of(e, (int32_t)i)].offset;
    free(busy);
    return CAMA_OK;
}
