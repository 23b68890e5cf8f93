/* nat_cut.c - which rows of a matrix are which thread's.
 *
 * Cut when the plan is lowered, and again when threads come or go: the same rows go to the same
 * thread from step to step, and a row's bits do not depend on whose it is.
 */
#include "engine/native/nat_int.h"

#include <math.h>

static size_t row_step(const engine *e)
{
    return e->kern.w_step ? e->kern.w_step : 1;
}

/* n_row equal rows, evenly; thread t begins at cut[t]. */
static void cut_rows(const engine *e, size_t n_row, uint32_t *cut)
{
    const size_t n = (size_t)e->n_thread;
    const size_t step = row_step(e);
    for (size_t t = 1; t < n; t++) {
        const size_t at = (n_row * t / n + step / 2) / step * step;
        cut[t] = (uint32_t)(at < n_row ? at : n_row);
    }
    cut[0] = 0;
    cut[n] = (uint32_t)n_row;
}

/* The bytes of several linears, evenly: thread 0 may have all of q and some of k. */
static void cut_bytes(const engine *e, const nat_linears *l)
{
    const size_t n = (size_t)e->n_thread;
    const size_t step = row_step(e);
    double total = 0;
    double before = 0;
    for (size_t i = 0; i < l->n; i++)
        total += (double)l->linear[i].w.k.n_row * (double)l->linear[i].w.k.row_bytes;
    for (size_t i = 0; i < l->n; i++) {
        const kern_weight *k = &l->linear[i].w.k;
        uint32_t *cut = l->linear[i].cut;
        for (size_t t = 1; t < n; t++) {
            const double row = (total * (double)t / (double)n - before) / (double)k->row_bytes;
            const double at = fmin(fmax(row, 0), (double)k->n_row);
            const size_t up = ((size_t)at + step / 2) / step * step;
            cut[t] = (uint32_t)(up < k->n_row ? up : k->n_row);
        }
        cut[0] = 0;
        cut[n] = (uint32_t)k->n_row;
        before += (double)k->n_row * (double)k->row_bytes;
    }
}

void nat_cut(engine *e)
{
    for (size_t i = 0; i < e->n_op; i++) {
        const nat_op *op = &e->ops[i];
        if (op->run == nat_run_linears && op->u.lin->glu >= 0) {
            /* Gate and up share a cut, so that a thread's glu reads what the thread itself wrote.
             */
            cut_rows(e, op->u.lin->linear[0].w.k.n_row, op->u.lin->linear[0].cut);
        } else if (op->run == nat_run_linears) {
            cut_bytes(e, op->u.lin);
        } else if (op->run == nat_run_experts) {
            const nat_moe *m = op->u.moe;
            cut_rows(e, m->gate.w.k.n_row, m->gate.cut);
            cut_rows(e, m->up.w.k.n_row, m->up.cut);
            cut_rows(e, m->down.w.k.n_row, m->down.cut);
        }
    }
}

uint32_t *nat_take_cut(engine *e)
{
    return arena_take_array(&e->plan_arena, (size_t)e->n_made + 1, sizeof(uint32_t));
}
