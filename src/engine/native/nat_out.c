/* nat_out.c - what leaves a step: candidates, greedy choices, pooled vectors. */
#include "engine/native/nat_int.h"

#include <math.h>
#include <string.h>

/* a is a worse candidate than b. */
static bool is_worse(engine_cand a, engine_cand b)
{
    return a.logit < b.logit || (a.logit == b.logit && a.id > b.id);
}

/* Heap with the worst at the root; place i may break the order downwards. */
static void sift_down(engine_cand *heap, size_t n, size_t i)
{
    const engine_cand x = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && is_worse(heap[child + 1], heap[child]))
            child++;
        if (!is_worse(heap[child], x))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = x;
}

/* The k best of x, best first; gives how many there are (NaN is none). O(n + k log k) mostly: few
 * logits beat the worst of those that are kept. */
static size_t choose_best(const float *x, size_t n, size_t k, engine_cand *heap)
{
    size_t n_kept = 0;
    size_t i = 0;
    for (; i < n && n_kept < k; i++)
        if (!isnan(x[i]))
            heap[n_kept++] = (engine_cand){.id = (int32_t)i, .logit = x[i]};
    for (size_t p = n_kept / 2; p-- > 0;)
        sift_down(heap, n_kept, p);
    for (; i < n && k; i++)
        if (x[i] > heap[0].logit) { /* an equal one has the higher id */
            heap[0] = (engine_cand){.id = (int32_t)i, .logit = x[i]};
            sift_down(heap, n_kept, 0);
        }
    for (size_t left = n_kept; left > 1; left--) {
        const engine_cand worst = heap[0];
        heap[0] = heap[left - 1];
        sift_down(heap, left - 1, 0);
        heap[left - 1] = worst;
    }
    return n_kept;
}

static void put_candidates(engine *e, const float *logits, size_t row)
{
    const engine_batch *b = e->batch;
    engine_cand *cand = e->outs_now->cand + row * (b->n_candidate + b->n_id);
    const size_t n = choose_best(logits, e->plan->n_vocab, b->n_candidate, cand);
    for (size_t j = 0; j < b->n_id; j++)
        cand[n + j] = (engine_cand){.id = b->ids[j], .logit = logits[b->ids[j]]};
    e->n_cand[row] = n;
}

/* Two pieces of work for each OUT row: its candidates and greedy choice, and the sum. */
static void output_item(engine *e, const nat_op *op, size_t row, bool sum)
{
    const uint32_t flags = e->row[e->out_row[row]].flags;
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
    for (size_t i = (size_t)t; i < 2 * e->n_row[NAT_OUT]; i += (size_t)e->n_thread)
        output_item(e, op, i / 2, i % 2);
}

/* Rows of one sequence into what is remembered of it, in their order: a mean over a whole prompt is
 * the same in one piece and in many. */
static void pool_run(engine *e, const nat_op *op, const nat_seq_run *run)
{
    const size_t n = op->node->n_col;
    float *sum = e->pooled + (size_t)run->seq * n;
    for (size_t r = run->row0; r < run->row0 + run->n; r++) {
        const float *x = nat_row(e, op->node->in[0], r);
        const bool first = e->index[r] == 0;
        if (e->pool_kind == PLAN_POOL_MEAN && !first)
            e->kern.add(sum, x, n, sum);
        else if (e->pool_kind == PLAN_POOL_LAST || first)
            memcpy(sum, x, n * sizeof *sum);
    }
}

void nat_run_pool(engine *e, const nat_op *op, int t)
{
    const size_t n = op->node->n_col;
    for (size_t i = (size_t)t; i < e->n_run; i += (size_t)e->n_thread)
        pool_run(e, op, &e->run[i]);
    nat_meet(e, t);
    for (size_t i = (size_t)t; i < e->n_row[NAT_SEQ]; i += (size_t)e->n_thread) {
        const size_t row = e->seq_row[i];
        const float *sum = e->pooled + (size_t)e->row[row].seq * n;
        float *out = nat_row(e, op->id, i);
        memcpy(out, sum, n * sizeof *out);
        if (e->pool_kind == PLAN_POOL_MEAN)
            e->kern.scale(out, 1.0f / (float)(e->index[row] + 1), n, out);
    }
}
