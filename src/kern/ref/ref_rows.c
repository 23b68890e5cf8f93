/* ref_rows.c - operations on one row of floats. Sums over a row are made in double: the tiers'
 * partial sums are then measured against something better than themselves. */
#include "kern/ref/ref.h"

#include <math.h>

static void rms_norm(const float *x, const float *w, size_t n, float eps, float *out)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    const float scale = 1.0f / sqrtf((float)(sum / (double)n) + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

static void layer_norm(const float *x, const float *w, const float *b, size_t n, float eps,
                       float *out)
{
    double sum = 0, sum2 = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    const float mean = (float)(sum / (double)n);
    for (size_t i = 0; i < n; i++)
        sum2 += (double)(x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / sqrtf((float)(sum2 / (double)n) + eps);
    for (size_t i = 0; i < n; i++) {
        const float y = (x[i] - mean) * scale * (w ? w[i] : 1.0f);
        out[i] = b ? y + b[i] : y;
    }
}

static void l2_norm(const float *x, size_t n, float eps, float *out)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    const float scale = 1.0f / fmaxf(sqrtf((float)sum), eps);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * scale;
}

static void add(const float *a, const float *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

static void mul(const float *a, const float *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] * b[i];
}

static void scale(const float *x, float s, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * s;
}

static void axpy(float s, const float *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(s, x[i], y[i]);
}

static void rope(float *x, const float *cos, const float *sin, size_t n_rot, bool neox)
{
    const size_t half = n_rot / 2;
    for (size_t i = 0; i < half; i++) {
        float *a = neox ? &x[i] : &x[2 * i];
        float *b = neox ? &x[i + half] : &x[2 * i + 1];
        const float p = *a, q = *b;
        *a = p * cos[i] - q * sin[i];
        *b = p * sin[i] + q * cos[i];
    }
}

static size_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static float logsumexp(const float *x, size_t n)
{
    const float max = x[argmax(x, n)];
    if (isinf(max))
        return max;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    return max + (float)log(sum);
}

void ref_init_rows(kern_table *k)
{
    k->rms_norm = rms_norm;
    k->layer_norm = layer_norm;
    k->l2_norm = l2_norm;
    k->add = add;
    k->mul = mul;
    k->scale = scale;
    k->axpy = axpy;
    k->rope = rope;
    k->argmax = argmax;
    k->logsumexp = logsumexp;
}
