/* ref_state.c - layers with a state of fixed size: short convolution and the gated delta net. */
#include "kern/ref/ref.h"

#include <math.h>
#include <string.h>

static void conv_step(const float *x, const float *w, size_t n, size_t n_tap, float *state,
                      float *out)
{
    const size_t n_old = n_tap - 1;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (size_t t = 0; t < n_old; t++)
            sum = fmaf(state[t * n + i], w[i * n_tap + t], sum);
        out[i] = fmaf(x[i], w[i * n_tap + n_old], sum);
    }
    if (n_old == 0)
        return;
    memmove(state, state + n, (n_old - 1) * n * sizeof *state);
    memcpy(state + (n_old - 1) * n, x, n * sizeof *state);
}

/* One token, one column j of S: the rows k of that column are all that o[j] depends on. */
static float delta_column(const kern_delta *d, size_t token, size_t j)
{
    const float *q = d->q + token * d->q_ld, *k = d->k + token * d->k_ld;
    const float decay = expf(d->g[token * d->g_ld]);
    float seen = 0, out = 0;
    for (size_t i = 0; i < d->dk; i++) {
        float *s = &d->s[i * d->dv + j];
        *s *= decay;
        seen = fmaf(*s, k[i], seen);
    }
    const float diff = d->beta[token * d->beta_ld] * (d->v[token * d->v_ld + j] - seen);
    for (size_t i = 0; i < d->dk; i++) {
        float *s = &d->s[i * d->dv + j];
        *s = fmaf(k[i], diff, *s);
        out = fmaf(*s, q[i], out);
    }
    return out;
}

void ref_delta(const kern_delta *d)
{
    for (size_t token = 0; token < d->n; token++)
        for (size_t j = 0; j < d->dv; j++)
            d->o[token * d->o_ld + j] = delta_column(d, token, j);
}

void ref_init_state(kern_table *k)
{
    k->conv_step = conv_step;
    k->delta = ref_delta;
}
