/* nat_out.c - what leaves a step: candidates, greedy choices, pooled vectors. */
#include "engine/native/nat_int.h"

#include <string.h>

static void put_candidates(engine *e, const float *logits, size_t row)
{
    const engine_batch *b = e->batch;
    engine_cand *cand = e->outs_now->cand + row * (b->n_candidate + b->n_id);
    const size_t n = engine_choose_best(logits, e->plan->n_vocab, b->n_candidate, cand);
    for (size_t j = 0; j < b->n_id; j++)
        cand[n + j] = (engine_cand){.id = b->ids[j], .logit = logits[b->ids[j]]};
    e->n_cand[row] = n;
}

/* Two pieces of work for each OUT row: its candidates and greedy choice, and the sum. */
static void output_item(engine *e, const nat_op *op, size_t row, bool sum)
{
    const uint32_t flags = e->step.row[e->step.out_row[row]].flags;
    const float *logits = nat_row(e, op->node->in[0], row);
    if (sum && (flags & ENGINE_CANDIDATES))
        e->lse[row] = e->kern.logsumexp(logits, e->plan->n_vocab);
    if (sum || !(flags & (ENGINE_LOGITS | ENGINE_CANDIDATES)))
        return;
    if (flags & ENGINE_CANDIDATES)
        put_candidates(e, logits, row);
    e->best[row] = (int32_t)e->kern.argmax(logits, e->plan->n_vocab);
}

void nat_run_output(engine *e, const nat_op *op, int t)
{
    if (op->node->par.output.kind != PLAN_OUT_LOGITS)
        return; /* handed out where it lies */
    for (size_t i = (size_t)t; i < 2 * e->step.n_row[ENGINE_OUT]; i += (size_t)e->n_thread)
        output_item(e, op, i / 2, i % 2);
}

/* Rows of one sequence into what is remembered of it, in their order: a mean over a whole prompt is
 * the same in one piece and in many. */
static void pool_run(engine *e, const nat_op *op, const engine_run *run)
{
    const size_t n = op->node->n_col;
    float *sum = e->pooled + (size_t)run->seq * n;
    for (size_t r = run->row0; r < run->row0 + run->n; r++) {
        const float *x = nat_row(e, op->node->in[0], r);
        const bool first = e->step.index[r] == 0;
        if (e->pool_kind == PLAN_POOL_MEAN && !first)
            e->kern.add(sum, x, n, sum);
        else if (e->pool_kind == PLAN_POOL_LAST || first)
            memcpy(sum, x, n * sizeof *sum);
    }
}

void nat_run_pool(engine *e, const nat_op *op, int t)
{
    const size_t n = op->node->n_col;
    for (size_t i = (size_t)t; i < e->step.n_run; i += (size_t)e->n_thread)
        pool_run(e, op, &e->step.run[i]);
    nat_meet(e, t);
    for (size_t i = (size_t)t; i < e->step.n_row[ENGINE_SEQ]; i += (size_t)e->n_thread) {
        const size_t row = e->step.seq_row[i];
        const float *sum = e->pooled + (size_t)e->step.row[row].seq * n;
        float *out = nat_row(e, op->id, i);
        memcpy(out, sum, n * sizeof *out);
        if (e->pool_kind == PLAN_POOL_MEAN)
            e->kern.scale(out, 1.0f / (float)(e->step.index[row] + 1), n, out);
    }
}
