/* gemv.inc.h - GEMV_N rows of activations, weights straight from the file's bytes: a block of V_N
 * rows is unpacked in registers, used and forgotten. */

#define GEMV_NAME_(a, n) a##_##n
#define GEMV_NAME2(a, n) GEMV_NAME_(a, n)
#define GEMV(a) GEMV_NAME2(a, GEMV_N)

typedef struct GEMV(gemv_ctx) {
    const uint8_t *a; /* the block of activations that meets the next block of weights */
    const uint8_t *ahead;
    vf acc[GEMV_N];
} GEMV(gemv_ctx);

/* Words j0 .. j1 of the block times column c; two chains, for the instruction's latency. */
V_INLINE vi GEMV(gemv_dot)(const vu *w, const uint8_t *a, size_t j0, size_t j1, size_t c, bool s8,
                           vi init)
{
    vi s[2] = {init, {0}};
    V_UNROLL for (size_t j = j0; j < j1; j++)
    {
        const uint8_t *q = a + 4 * (j * GEMV_N + c);
        s[j % 2] = s8 ? v_dot_s8_mem(s[j % 2], w[j], q) : v_dot_mem(s[j % 2], w[j], q);
    }
    return s[0] + s[1];
}

V_INLINE void GEMV(gemv_emit)(GEMV(gemv_ctx) * ctx, const lane_block *b, lane_traits t)
{
    const uint8_t *d = ctx->a + 32 * GEMV_N, *ds = d + 4 * GEMV_N, *minus = ds + 4 * GEMV_N;
    V_UNROLL for (size_t c = 0; c < GEMV_N; c++)
    {
        const vf dc = (vf)v_spread(d + 4 * c);
        vf acc = ctx->acc[c];
        const vi m0 = (vi)v_spread(minus + 4 * c), m1 = (vi)v_spread(minus + 4 * (GEMV_N + c));
        const uint32_t shift = t.shift >= 0 ? (uint32_t)t.shift : 0;
        const bool offset = t.shift >= 0;
        if (t.n_scale == 1) {
            const vi init = offset ? (m0 + m1) << shift : (vi){0};
            const vi s = GEMV(gemv_dot)(b->w, ctx->a, 0, 8, c, t.s8, init);
            acc = v_fma(v_float(s), b->scale[0] * dc, acc);
        } else {
            const vi s0 =
                GEMV(gemv_dot)(b->w, ctx->a, 0, 4, c, t.s8, offset ? m0 << shift : (vi){0});
            const vi s1 =
                GEMV(gemv_dot)(b->w, ctx->a, 4, 8, c, t.s8, offset ? m1 << shift : (vi){0});
            acc = v_fma(v_float(s0), b->scale[0] * dc, acc);
            acc = v_fma(v_float(s1), b->scale[1] * dc, acc);
        }
        if (t.n_min)
            acc = v_fma(b->min[0], (vf)v_spread(ds + 4 * c), acc);
        ctx->acc[c] = acc;
    }
    ctx->a += ACTS_BLOCK_BYTES(GEMV_N);
    ctx->ahead = rows_prefetch(ctx->ahead, t);
}

#define STEP(f) GEMV(gemv_step_##f)
#define STEP_CTX GEMV(gemv_ctx)
#define EMIT GEMV(gemv_emit)
#include "kern/lanes/formats.inc.h"

#define FORMAT_BODY "kern/lanes/gemv_format.inc.h"
#include "kern/lanes/each_format.inc.h"

static gemv_fn *const GEMV(gemv)[QUANT_N_TYPE] = {
    [QUANT_Q4_0] = GEMV(gemv_Q4_0),
    [QUANT_Q4_1] = GEMV(gemv_Q4_1),
    [QUANT_Q5_0] = GEMV(gemv_Q5_0),
    [QUANT_Q5_1] = GEMV(gemv_Q5_1),
    [QUANT_Q8_0] = GEMV(gemv_Q8_0),
    [QUANT_IQ4_NL] = GEMV(gemv_IQ4_NL),
    [QUANT_Q4_K] = GEMV(gemv_Q4_K),
    [QUANT_Q5_K] = GEMV(gemv_Q5_K),
    [QUANT_Q6_K] = GEMV(gemv_Q6_K),
    [QUANT_A4G64_F32] = GEMV(gemv_A4G64_F32),
    [QUANT_A4G64_F16] = GEMV(gemv_A4G64_F16),
    [QUANT_A4G64_BF16] = GEMV(gemv_A4G64_BF16),
    [QUANT_A8G64_F32] = GEMV(gemv_A8G64_F32),
    [QUANT_A8G64_F16] = GEMV(gemv_A8G64_F16),
    [QUANT_A8G64_BF16] = GEMV(gemv_A8G64_BF16),
};

#undef STEP
#undef STEP_CTX
#undef EMIT
#undef GEMV
#undef GEMV_NAME2
#undef GEMV_NAME_
#undef GEMV_N
