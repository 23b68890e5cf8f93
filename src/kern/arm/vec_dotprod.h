/* vec_dotprod.h - the vocabulary of the neon-dotprod tier: 4 lanes of 32 bits. The words are those
 * of x86/vec_avx512.h, where they are explained. Included by *_dotprod.c alone. */
#ifndef KERN_ARM_VEC_DOTPROD_H
#define KERN_ARM_VEC_DOTPROD_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kern/lanes/inline.h"

#define V_N 4
#define V_TILE_COLS 8 /* 16 sums in registers */
#define V_GEMV_MAX 4
#define V_S8_SHIFT (-1) /* SDOT takes signed weights as they are */
#define V_S8_FLIP 0u
#define V_S8_APART 0
#define V_PREFETCH_LEVEL 2

typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));
typedef float vf __attribute__((vector_size(16)));

V_INLINE vf v_set(float x)
{
    return (vf)vdupq_n_f32(x);
}

V_INLINE vf v_load(const float *p)
{
    return (vf)vld1q_f32(p);
}

V_INLINE void v_store(float *p, vf x)
{
    vst1q_f32(p, (float32x4_t)x);
}

V_INLINE vu v_load_u(const void *p)
{
    return (vu)vld1q_u8(p);
}

V_INLINE void v_store_u(void *p, vu x)
{
    vst1q_u8(p, (uint8x16_t)x);
}

V_INLINE vf v_load_part(const float *p, size_t l0, size_t l1)
{
    float lane[V_N] = {0};
    for (size_t l = l0; l < l1; l++)
        lane[l] = p[l];
    return v_load(lane);
}

V_INLINE void v_store_part(float *p, vf x, size_t l0, size_t l1)
{
    float lane[V_N];
    v_store(lane, x);
    for (size_t l = l0; l < l1; l++)
        p[l] = lane[l];
}

V_INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

V_INLINE vf v_float(vi x)
{
    return (vf)vcvtq_f32_s32((int32x4_t)x);
}

/* b where one is not a number, as on the other tiers: FMAX would give NaN. */
V_INLINE vf v_max(vf a, vf b)
{
    return (vf)vbslq_f32(vcgtq_f32((float32x4_t)a, (float32x4_t)b), (float32x4_t)a, (float32x4_t)b);
}

V_INLINE vf v_min(vf a, vf b)
{
    return (vf)vbslq_f32(vcltq_f32((float32x4_t)a, (float32x4_t)b), (float32x4_t)a, (float32x4_t)b);
}

V_INLINE float v_first(vf x)
{
    return vgetq_lane_f32((float32x4_t)x, 0);
}

V_INLINE float v_sum(vf x)
{
    return (x[0] + x[2]) + (x[1] + x[3]);
}

V_INLINE float v_largest(vf x)
{
    return vmaxnmvq_f32((float32x4_t)x);
}

V_INLINE vf v_load_f16(const uint16_t *p)
{
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

V_INLINE vf v_load_bf16(const uint16_t *p)
{
    return (vf)vshll_n_u16(vld1_u16(p), 16);
}

V_INLINE vf v_load_s8(const int8_t *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(word)));
    return (vf)vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

V_INLINE vi v_load_u8(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    const uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(word)));
    return (vi)vmovl_u16(vget_low_u16(wide));
}

V_INLINE vf v_f16(vu x)
{
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32((uint32x4_t)x)));
}

V_INLINE vu v_spread(const void *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return (vu)vdupq_n_u32(x);
}

/* w below 64, so it is the same signed. */
V_INLINE vi v_dot(vi acc, vu w, vu q)
{
    return (vi)vdotq_s32((int32x4_t)acc, (int8x16_t)w, (int8x16_t)q);
}

V_INLINE vi v_dot_mem(vi acc, vu w, const void *q)
{
    return v_dot(acc, w, v_spread(q));
}

V_INLINE vi v_dot_s8(vi acc, vu w, vu q)
{
    return v_dot(acc, w, q);
}

V_INLINE vi v_dot_s8_mem(vi acc, vu w, const void *q)
{
    return v_dot_mem(acc, w, q);
}

V_INLINE vu v_s8(vu w)
{
    return w;
}

V_INLINE vu v_lookup(const int8_t table[16], vu idx)
{
    return (vu)vqtbl1q_s8(vld1q_s8(table), (uint8x16_t)idx);
}

V_INLINE void v_fifth_bits(vu qh, vu w[8])
{
    const vu base = {0, 0x04040404, 0x08080808, 0x0C0C0C0C};
    V_UNROLL for (uint32_t j = 0; j < 8; j++)
    {
        const vu bits = (vu){0} + (j % 2 ? 0x80402010u : 0x08040201u);
        const uint8x16_t at = (uint8x16_t)(base + j / 2 * 0x01010101u);
        const uint8x16_t on = vtstq_u8(vqtbl1q_u8((uint8x16_t)qh, at), (uint8x16_t)bits);
        w[j] |= (vu)on & 0x10101010u;
    }
}

V_INLINE void v_load_rows(const uint8_t *p, size_t stride, vu out[4])
{
    const uint32x4_t r0 = (uint32x4_t)vld1q_u8(p), r1 = (uint32x4_t)vld1q_u8(p + stride);
    const uint32x4_t r2 = (uint32x4_t)vld1q_u8(p + 2 * stride);
    const uint32x4_t r3 = (uint32x4_t)vld1q_u8(p + 3 * stride);
    const uint32x4_t a = vzip1q_u32(r0, r2), b = vzip2q_u32(r0, r2);
    const uint32x4_t c = vzip1q_u32(r1, r3), d = vzip2q_u32(r1, r3);
    out[0] = (vu)vzip1q_u32(a, c);
    out[1] = (vu)vzip2q_u32(a, c);
    out[2] = (vu)vzip1q_u32(b, d);
    out[3] = (vu)vzip2q_u32(b, d);
}

V_INLINE void v_load_rows32(const uint8_t *p, size_t stride, vu out[8])
{
    v_load_rows(p, stride, out);
    v_load_rows(p + 16, stride, out + 4);
}

V_INLINE vu v_load_rows_u16(const uint8_t *p, size_t stride)
{
    uint16_t lane[V_N];
    for (size_t r = 0; r < V_N; r++)
        memcpy(&lane[r], p + r * stride, 2);
    return (vu)vmovl_u16(vld1_u16(lane));
}

V_INLINE vu v_load_rows_u32(const uint8_t *p, size_t stride)
{
    uint32_t lane[V_N];
    for (size_t r = 0; r < V_N; r++)
        memcpy(&lane[r], p + r * stride, 4);
    return v_load_u(lane);
}

V_INLINE float v_amax32(const float *x)
{
    float32x4_t m = vdupq_n_f32(0);
    for (size_t i = 0; i < 32; i += V_N)
        m = vmaxnmq_f32(vabsq_f32(vld1q_f32(x + i)), m);
    return vmaxnmvq_f32(m);
}

V_INLINE void v_round32(const float *x, float inv, int8_t q[32], int32_t sum[2])
{
    int32x4_t s[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
    for (size_t i = 0; i < 32; i += V_N) {
        int32x4_t r = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), inv));
        r = vmaxq_s32(vminq_s32(r, vdupq_n_s32(127)), vdupq_n_s32(-127));
        for (size_t l = 0; l < V_N; l++)
            q[i + l] = (int8_t)((vi)r)[l];
        s[i / 16] = vaddq_s32(s[i / 16], r);
    }
    sum[0] = vaddvq_s32(s[0]);
    sum[1] = vaddvq_s32(s[1]);
}

#endif
