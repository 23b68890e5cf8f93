/* ref_act.c - activation functions, one value at a time. */
#include "kern/ref/ref.h"

#include <math.h>

static float gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.79788456080286535588f * x * (1.0f + 0.044715f * x * x)));
}

static float act_one(kern_act_fn fn, float x)
{
    switch (fn) {
    case KERN_SILU:
        return x / (1.0f + expf(-x));
    case KERN_GELU_TANH:
        return gelu_tanh(x);
    case KERN_GELU_ERF:
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f));
    case KERN_RELU2:
        return x > 0 ? x * x : 0;
    case KERN_SIGMOID:
        return 1.0f / (1.0f + expf(-x));
    case KERN_TANH:
        return tanhf(x);
    case KERN_SOFTPLUS:
        return x > 20 ? x : log1pf(expf(x));
    }
    return x;
}

void ref_act(kern_act_fn fn, const float *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = act_one(fn, x[i]);
}

void ref_glu(kern_act_fn fn, const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = act_one(fn, gate[i]) * up[i];
}

static void softcap(const float *x, float cap, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = tanhf(x[i] / cap) * cap;
}

void ref_init_act(kern_table *k)
{
    k->act = ref_act;
    k->glu = ref_glu;
    k->softcap = softcap;
}
