/* rope.c - every scaling of rotary embeddings, folded into one frequency for each pair. */
#include "model/model_int.h"

#include <math.h>
#include <string.h>

static const double two_pi = 6.283185307179586476925286766559;

static double clamp(double x, double min, double max)
{
    return x < min ? min : x > max ? max : x;
}

/* The pair that turns `turns` times within the context the model was first trained on (YaRN,
 * section 3.2: the wavelength of dimension d, solved for d). */
static double yarn_dim(const model_hparams *h, double base, double turns)
{
    return h->n_rot * log(h->n_ctx_orig / (turns * two_pi)) / (2 * log(base));
}

/* What share of pair i keeps its frequency: 1 for those that turn fast, 0 for the slow ones. */
static double yarn_kept(const model_hparams *h, double base, size_t i)
{
    const double low = fmax(0, floor(yarn_dim(h, base, h->yarn_fast)));
    const double high = fmin((double)h->n_rot - 1, ceil(yarn_dim(h, base, h->yarn_slow)));
    const double ramp = 1 - clamp(((double)i - low) / fmax(0.001, high - low), 0, 1);
    return ramp * h->yarn_ext;
}

static const float *factors_of(const model_rec *r)
{
    const model_desc *m = r->m;
    if (m->rope_freqs)
        return m->rope_freqs;
    /* The files' rule is for the whole context, not for a position, and counts in steps. */
    const uint64_t n_ctx =
        ((uint64_t)r->n_ctx + MODEL_CTX_STEP - 1) / MODEL_CTX_STEP * MODEL_CTX_STEP;
    return n_ctx > m->hp.n_ctx_orig ? m->rope_long : m->rope_short;
}

/* cos and sin grow with the stretch, so that attention stays as sharp as it was trained. With a
 * log multiplier (DeepSeek) the scale of attention does it instead. */
static float magnitude(const model_hparams *h)
{
    double scale = h->attn_factor;
    if (h->scaling == MODEL_SCALING_YARN && h->yarn_ext != 0 && h->yarn_log_mul == 0 &&
        h->rope_factor > 1)
        scale *= 1 + 0.1 * log(h->rope_factor);
    return (float)scale;
}

static void fill(const model_rec *r, double base, bool plain, double *out)
{
    const model_hparams *h = &r->m->hp;
    const float *factors = factors_of(r);
    for (size_t i = 0; i < h->n_rot / 2; i++) {
        double freq = pow(base, -2.0 * (double)i / h->n_rot);
        if (factors)
            freq /= (double)factors[i];
        const double kept = !plain && h->scaling == MODEL_SCALING_YARN ? yarn_kept(h, base, i) : 0;
        out[i] = plain ? freq : freq / h->rope_factor * (1 - kept) + freq * kept;
    }
}

bool model_rope_init(model_rec *r, bool windowed)
{
    const model_hparams *h = &r->m->hp;
    const bool plain = windowed && r->m->arch->window_rope_plain;
    double *freq = arena_take_array(r->a, h->n_rot / 2, sizeof *freq);
    if (!freq)
        return false;
    fill(r, windowed ? h->rope_base_window : h->rope_base, plain, freq);
    plan_rope *rope = &r->rope[windowed];
    *rope = (plan_rope){.n_rot = h->n_rot,
                        .neox = r->m->arch->rope == MODEL_ROPE_NEOX,
                        .inv_freq = freq,
                        .mscale = plain ? 1.0F : magnitude(h),
                        .interleaved = h->sections[0] > 0};
    memcpy(rope->sections, h->sections, sizeof rope->sections);
    return true;
}

const ops_val *model_rope(model_rec *r, const ops_val *x, bool windowed, size_t head_dim,
                          size_t from)
{
    plan_rope rope = r->rope[windowed];
    rope.head_dim = head_dim;
    rope.from = from;
    return ops_rope(r->o, x, &rope);
}
