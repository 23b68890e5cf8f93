/* nat_state.c - layers with a state of fixed size: a sequence is one thread's, token after token.
 */
#include "engine/native/nat_int.h"

/* The slot's part of the sequence's current state. */
static float *state_of(const engine *e, int slot, const engine_run *run)
{
    const plan_kv_slot *s = &e->plan->slots[slot];
    const nat_kv_group *g = &e->group[s->group];
    float *state = (float *)(void *)(g->mem + (size_t)kv_state(e->kv, run->seq) * g->page_bytes);
    return state + (size_t)s->index * s->n_state;
}

void nat_run_conv(engine *e, const nat_op *op, int t)
{
    const plan_node *n = op->node;
    const size_t n_tap = n->w[0]->ne[0];
    for (size_t i = (size_t)t; i < e->step.n_run; i += (size_t)e->n_thread) {
        const engine_run *run = &e->step.run[i];
        float *state = state_of(e, n->par.state.slot, run);
        for (size_t r = run->row0; r < run->row0 + run->n; r++) {
            float *out = nat_row(e, op->id, r);
            e->kern.conv_step(nat_row(e, n->in[0], r), op->u.w[0], n->n_col, n_tap, state, out);
            if (op->u.w[1])
                e->kern.add(out, op->u.w[1], n->n_col, out);
        }
    }
}

void nat_run_delta(engine *e, const nat_op *op, int t)
{
    const plan_node *n = op->node;
    const plan_delta *d = &n->par.delta;
    const size_t n_item = e->step.n_run * d->n_v_head;
    for (size_t i = (size_t)t; i < n_item; i += (size_t)e->n_thread) {
        const engine_run *run = &e->step.run[i / d->n_v_head];
        const size_t h = i % d->n_v_head;
        const size_t k_head = d->tiled ? h % d->n_k_head : h / (d->n_v_head / d->n_k_head);
        const size_t row = run->row0;
        const kern_delta job = {.n = run->n,
                                .dk = d->dk,
                                .dv = d->dv,
                                .q = nat_row(e, n->in[0], row) + k_head * d->dk,
                                .q_ld = e->value[n->in[0]].ld,
                                .k = nat_row(e, n->in[1], row) + k_head * d->dk,
                                .k_ld = e->value[n->in[1]].ld,
                                .v = nat_row(e, n->in[2], row) + h * d->dv,
                                .v_ld = e->value[n->in[2]].ld,
                                .g = nat_row(e, n->in[3], row) + h,
                                .g_ld = e->value[n->in[3]].ld,
                                .beta = nat_row(e, n->in[4], row) + h,
                                .beta_ld = e->value[n->in[4]].ld,
                                .s = state_of(e, d->slot, run) + h * d->dk * d->dv,
                                .o = nat_row(e, op->id, row) + h * d->dv,
                                .o_ld = e->value[op->id].ld};
        e->kern.delta(&job);
    }
}
