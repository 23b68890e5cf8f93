/* nat_route.c - which experts a row goes to, and with what weights (formats.md 4.1). */
#include "engine/native/nat_int.h"

#include <math.h>
#include <string.h>

#define MIN_SUM 6.103515625e-5f /* the smallest normal half, as peers clamp the sum of weights */

static void softmax(const float *x, size_t n, float *out)
{
    float max = x[0];
    float sum = 0;
    for (size_t i = 1; i < n; i++)
        max = fmaxf(max, x[i]);
    for (size_t i = 0; i < n; i++)
        sum += out[i] = expf(x[i] - max);
    for (size_t i = 0; i < n; i++)
        out[i] /= sum;
}

/* Sum of the two best of a group. */
static float group_score(const float *x, size_t n)
{
    float a = -INFINITY;
    float b = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (x[i] > a) {
            b = a;
            a = x[i];
        } else if (x[i] > b) {
            b = x[i];
        }
    }
    return n > 1 ? a + b : a;
}

/* Takes the experts of all but the best groups out of the choice. */
static void limit_groups(const plan_moe *m, float *choice)
{
    const size_t n_in = m->n_expert / m->n_group;
    for (size_t dropped = 0; dropped + m->n_group_used < m->n_group; dropped++) {
        size_t worst = 0;
        float worst_score = INFINITY;
        for (size_t g = 0; g < m->n_group; g++) {
            const float *x = choice + g * n_in;
            const float score = x[0] == -INFINITY ? INFINITY : group_score(x, n_in);
            if (score <= worst_score) { /* of equals the later group goes */
                worst = g;
                worst_score = score;
            }
        }
        for (size_t i = 0; i < n_in; i++)
            choice[worst * n_in + i] = -INFINITY;
    }
}

/* The n_used largest, best first; of equals the lower id. */
static void choose(const plan_moe *m, float *choice, float *out_ids)
{
    for (size_t j = 0; j < m->n_used; j++) {
        size_t best = 0;
        for (size_t i = 1; i < m->n_expert; i++)
            if (choice[i] > choice[best])
                best = i;
        out_ids[j] = (float)best;
        choice[best] = -INFINITY;
    }
}

static void finish_weights(const plan_moe *m, float *weights)
{
    if (m->gating == PLAN_GATE_SOFTMAX_WEIGHT)
        softmax(weights, m->n_used, weights);
    if (m->normalise) {
        float sum = 0;
        for (size_t j = 0; j < m->n_used; j++)
            sum += weights[j];
        sum = fmaxf(sum, MIN_SUM);
        for (size_t j = 0; j < m->n_used; j++)
            weights[j] /= sum;
    }
    for (size_t j = 0; j < m->n_used; j++)
        weights[j] *= m->scale;
}

static void route_row(const plan_moe *m, const float *logits, const float *bias, float *out,
                      float *tmp)
{
    float *probs = tmp;
    float *choice = tmp + m->n_expert;
    if (m->gating == PLAN_GATE_SOFTMAX)
        softmax(logits, m->n_expert, probs);
    else if (m->gating == PLAN_GATE_SIGMOID)
        for (size_t i = 0; i < m->n_expert; i++)
            probs[i] = 1.0f / (1.0f + expf(-logits[i]));
    else
        memcpy(probs, logits, m->n_expert * sizeof *probs);
    for (size_t i = 0; i < m->n_expert; i++)
        choice[i] = probs[i] + (bias ? bias[i] : 0);
    if (m->n_group > 1)
        limit_groups(m, choice);
    choose(m, choice, out);
    for (size_t j = 0; j < m->n_used; j++)
        out[m->n_used + j] = probs[(size_t)out[j]];
    finish_weights(m, out + m->n_used);
}

void nat_run_route(engine *e, const nat_op *op, int t)
{
    size_t from, to;
    nat_share(e, e->step.n_row[op->domain], t, &from, &to);
    for (size_t r = from; r < to; r++)
        route_row(&op->node->par.moe, nat_row(e, op->node->in[0], r), op->u.w[0],
                  nat_row(e, op->id, r), e->thread[t].rows);
}
