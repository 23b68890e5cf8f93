/* vec_avx2.h - the vocabulary of the avx2 tier: 8 lanes of 32 bits. The words are those of
 * vec_avx512.h, where they are explained. Included by *_avx2.c alone. */
#ifndef KERN_X86_VEC_AVX2_H
#define KERN_X86_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kern/lanes/inline.h"

#define V_N 8
#define V_TILE_COLS 4 /* 8 sums; a product needs three registers more */
#define V_GEMV_MAX 3
#define V_S8_SHIFT (-1) /* signed weights stay signed: v_dot_s8 is a product of its own */
#define V_S8_FLIP 0u
#define V_S8_APART 1
#define V_PREFETCH_LEVEL 2

typedef int32_t vi __attribute__((vector_size(32)));
typedef uint32_t vu __attribute__((vector_size(32)));
typedef float vf __attribute__((vector_size(32)));

V_INLINE vf v_set(float x)
{
    return (vf)_mm256_set1_ps(x);
}

V_INLINE vf v_load(const float *p)
{
    return (vf)_mm256_loadu_ps(p);
}

V_INLINE void v_store(float *p, vf x)
{
    _mm256_storeu_ps(p, (__m256)x);
}

V_INLINE vu v_load_u(const void *p)
{
    return (vu)_mm256_loadu_si256((const __m256i *)p);
}

V_INLINE void v_store_u(void *p, vu x)
{
    _mm256_storeu_si256((__m256i *)p, (__m256i)x);
}

V_INLINE __m256i v_lanes(size_t l0, size_t l1)
{
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return (__m256i)((lane >= (int32_t)l0) & (lane < (int32_t)l1));
}

V_INLINE vf v_load_part(const float *p, size_t l0, size_t l1)
{
    return (vf)_mm256_maskload_ps(p, v_lanes(l0, l1));
}

V_INLINE void v_store_part(float *p, vf x, size_t l0, size_t l1)
{
    _mm256_maskstore_ps(p, v_lanes(l0, l1), (__m256)x);
}

V_INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

V_INLINE vf v_float(vi x)
{
    return (vf)_mm256_cvtepi32_ps((__m256i)x);
}

V_INLINE vf v_max(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}

V_INLINE vf v_min(vf a, vf b)
{
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
}

V_INLINE float v_first(vf x)
{
    return _mm256_cvtss_f32((__m256)x);
}

V_INLINE float v_sum(vf x)
{
    const __m256 y = (__m256)x;
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}

V_INLINE float v_largest(vf x)
{
    const __m256 y = (__m256)x;
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}

V_INLINE vf v_load_f16(const uint16_t *p)
{
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

V_INLINE vf v_load_bf16(const uint16_t *p)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16);
}

V_INLINE vf v_load_s8(const int8_t *p)
{
    const __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x));
}

V_INLINE vi v_load_u8(const uint8_t *p)
{
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

V_INLINE vf v_f16(vu x)
{
    const __m256i low = (__m256i)(x & 0xFFFFu);
    const __m128i h =
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    return (vf)_mm256_cvtph_ps(h);
}

V_INLINE vu v_spread(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return (vu)_mm256_set1_epi32(x);
}

/* w below 64: pairs of products stay within 16 bits (2 * 63 * 127), so nothing saturates. */
V_INLINE vi v_dot(vi acc, vu w, vu q)
{
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)w, (__m256i)q);
    return acc + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

V_INLINE vi v_dot_mem(vi acc, vu w, const void *q)
{
    return v_dot(acc, w, v_spread(q));
}

/* |w| times q with the sign of w: 2 * 128 * 127 is still within 16 bits. */
V_INLINE vi v_dot_s8(vi acc, vu w, vu q)
{
    const __m256i size = _mm256_abs_epi8((__m256i)w);
    const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8((__m256i)q, (__m256i)w));
    return acc + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

V_INLINE vi v_dot_s8_mem(vi acc, vu w, const void *q)
{
    return v_dot_s8(acc, w, v_spread(q));
}

V_INLINE vu v_s8(vu w)
{
    return w;
}

V_INLINE vu v_lookup(const int8_t table[16], vu idx)
{
    const __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (vu)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), (__m256i)idx);
}

V_INLINE void v_fifth_bits(vu qh, vu w[8])
{
    const vu base = {0, 0x04040404, 0x08080808, 0x0C0C0C0C, 0, 0x04040404, 0x08080808, 0x0C0C0C0C};
    V_UNROLL for (uint32_t j = 0; j < 8; j++)
    {
        const vu bits = (vu){0} + (j % 2 ? 0x80402010u : 0x08040201u);
        const __m256i byte =
            _mm256_shuffle_epi8((__m256i)qh, (__m256i)(base + j / 2 * 0x01010101u));
        const __m256i on = _mm256_cmpeq_epi8((__m256i)((vu)byte & bits), (__m256i)bits);
        w[j] |= (vu)on & 0x10101010u;
    }
}

V_INLINE __m256i v_two_rows(const uint8_t *p, size_t stride)
{
    const __m128i *r0 = (const void *)p, *r1 = (const void *)(p + 4 * stride);
    const __m256i x = _mm256_castsi128_si256(_mm_loadu_si128(r0));
    return _mm256_inserti128_si256(x, _mm_loadu_si128(r1), 1);
}

V_INLINE void v_load_rows(const uint8_t *p, size_t stride, vu out[4])
{
    const __m256i r0 = v_two_rows(p, stride), r1 = v_two_rows(p + stride, stride);
    const __m256i r2 = v_two_rows(p + 2 * stride, stride), r3 = v_two_rows(p + 3 * stride, stride);
    const __m256i a = _mm256_unpacklo_epi32(r0, r1), b = _mm256_unpackhi_epi32(r0, r1);
    const __m256i c = _mm256_unpacklo_epi32(r2, r3), d = _mm256_unpackhi_epi32(r2, r3);
    out[0] = (vu)_mm256_unpacklo_epi64(a, c);
    out[1] = (vu)_mm256_unpackhi_epi64(a, c);
    out[2] = (vu)_mm256_unpacklo_epi64(b, d);
    out[3] = (vu)_mm256_unpackhi_epi64(b, d);
}

V_INLINE void v_load_rows32(const uint8_t *p, size_t stride, vu out[8])
{
    v_load_rows(p, stride, out);
    v_load_rows(p + 16, stride, out + 4);
}

V_INLINE int16_t v_word16(const uint8_t *p)
{
    int16_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

V_INLINE int32_t v_word32(const uint8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

V_INLINE vu v_load_rows_u16(const uint8_t *p, size_t s)
{
    return (vu)_mm256_cvtepu16_epi32(_mm_setr_epi16(
        v_word16(p), v_word16(p + s), v_word16(p + 2 * s), v_word16(p + 3 * s), v_word16(p + 4 * s),
        v_word16(p + 5 * s), v_word16(p + 6 * s), v_word16(p + 7 * s)));
}

V_INLINE vu v_load_rows_u32(const uint8_t *p, size_t s)
{
    return (vu)_mm256_setr_epi32(v_word32(p), v_word32(p + s), v_word32(p + 2 * s),
                                 v_word32(p + 3 * s), v_word32(p + 4 * s), v_word32(p + 5 * s),
                                 v_word32(p + 6 * s), v_word32(p + 7 * s));
}

V_INLINE float v_amax32(const float *x)
{
    vf m = {0};
    for (size_t i = 0; i < 32; i += V_N)
        m = v_max((vf)((vi)v_load(x + i) & 0x7FFFFFFF), m);
    return v_largest(m);
}

V_INLINE void v_round32(const float *x, float inv, int8_t q[32], int32_t sum[2])
{
    vi s[2] = {{0}, {0}};
    for (size_t i = 0; i < 32; i += V_N) {
        const __m256 y = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(inv));
        __m256i r = _mm256_min_epi32(_mm256_cvtps_epi32(y), _mm256_set1_epi32(127));
        r = _mm256_max_epi32(r, _mm256_set1_epi32(-127));
        const __m128i half =
            _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
        _mm_storel_epi64((__m128i *)(void *)(q + i), _mm_packs_epi16(half, half));
        s[i / 16] += (vi)r;
    }
    for (size_t h = 0; h < 2; h++) {
        sum[h] = 0;
        for (size_t l = 0; l < V_N; l++)
            sum[h] += s[h][l];
    }
}

#endif
