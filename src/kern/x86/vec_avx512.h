/* vec_avx512.h - the vocabulary of the avx512-vnni tier: 16 lanes of 32 bits.
 *
 * Arithmetic, bit operations and shifts are the compilers' own vector operators; here is only what
 * they lack. Included by *_avx512.c alone. vec_avx2.h and vec_dotprod.h say the same words.
 */
#ifndef KERN_X86_VEC_AVX512_H
#define KERN_X86_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kern/lanes/inline.h"

#define V_N 16                /* lanes */
#define V_TILE_COLS 12        /* activation rows in a tile: 24 sums in registers */
#define V_GEMV_MAX 8          /* rows up to which weights are unpacked in registers */
#define V_S8_FLIP 0x80808080u /* v_s8 of one word */
#define V_S8_APART 0          /* v_dot_s8 is v_dot, given the offset */
#define V_S8_SHIFT 7          /* log2 of what v_s8 adds to a signed weight */
#define V_PREFETCH_LEVEL 2    /* into L2: misses in L1 wait in few buffers, which reads need */

typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef float vf __attribute__((vector_size(64)));

V_INLINE vf v_set(float x)
{
    return (vf)_mm512_set1_ps(x);
}

V_INLINE vi v_set_i(int32_t x)
{
    return (vi)_mm512_set1_epi32(x);
}

V_INLINE vf v_load(const float *p)
{
    return (vf)_mm512_loadu_ps(p);
}

V_INLINE void v_store(float *p, vf x)
{
    _mm512_storeu_ps(p, (__m512)x);
}

V_INLINE vu v_load_u(const void *p)
{
    return (vu)_mm512_loadu_si512(p);
}

V_INLINE void v_store_u(void *p, vu x)
{
    _mm512_storeu_si512(p, (__m512i)x);
}

/* Lanes [l0, l1) only. */
V_INLINE __mmask16 v_lanes(size_t l0, size_t l1)
{
    return (__mmask16)((1u << l1) - (1u << l0));
}

V_INLINE vf v_load_part(const float *p, size_t l0, size_t l1)
{
    return (vf)_mm512_maskz_loadu_ps(v_lanes(l0, l1), p);
}

V_INLINE void v_store_part(float *p, vf x, size_t l0, size_t l1)
{
    _mm512_mask_storeu_ps(p, v_lanes(l0, l1), (__m512)x);
}

V_INLINE vf v_fma(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

V_INLINE vf v_float(vi x)
{
    return (vf)_mm512_cvtepi32_ps((__m512i)x);
}

V_INLINE vf v_sqrt(vf x)
{
    return (vf)_mm512_sqrt_ps((__m512)x);
}

/* The larger, and b where one is not a number. */
V_INLINE vf v_max(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}

V_INLINE vf v_min(vf a, vf b)
{
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
}

V_INLINE float v_first(vf x)
{
    return _mm512_cvtss_f32((__m512)x);
}

/* Halves of the lanes on each other: i and i + 8, then 4, 2, 1. */
V_INLINE float v_sum(vf x)
{
    const __m256 h =
        _mm256_add_ps(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1));
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}

V_INLINE float v_largest(vf x)
{
    return _mm512_reduce_max_ps((__m512)x);
}

/* V_N halves, or bfloats, of memory. */
V_INLINE vf v_load_f16(const uint16_t *p)
{
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

V_INLINE vf v_load_bf16(const uint16_t *p)
{
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16);
}

/* Signed bytes as floats. */
V_INLINE vf v_load_s8(const int8_t *p)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x));
}

V_INLINE vi v_load_u8(const uint8_t *p)
{
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* The f16 in the low half of each lane. */
V_INLINE vf v_f16(vu x)
{
    return (vf)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)x));
}

/* One 32-bit word of memory in every lane. */
V_INLINE vu v_spread(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return (vu)_mm512_set1_epi32(x);
}

/* acc + the four products of bytes in each lane: w unsigned, q signed. One instruction each, in
 * assembler because gcc 12 copies and spills the sums of a large tile when it sees intrinsics. */
V_INLINE vi v_dot(vi acc, vu w, vu q)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(q));
    return acc;
}

/* q is one word of memory for all lanes. */
V_INLINE vi v_dot_mem(vi acc, vu w, const void *q)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*(const int32_t(*)[1])q));
    return acc;
}

/* The same for weights that went through v_s8. */
V_INLINE vi v_dot_s8(vi acc, vu w, vu q)
{
    return v_dot(acc, w, q);
}

V_INLINE vi v_dot_s8_mem(vi acc, vu w, const void *q)
{
    return v_dot_mem(acc, w, q);
}

/* Signed bytes made fit for v_dot_s8. */
V_INLINE vu v_s8(vu w)
{
    return w ^ 0x80808080u;
}

/* Bytes of idx (below 16) replaced by those of the table. */
V_INLINE vu v_lookup(const int8_t table[16], vu idx)
{
    const __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (vu)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), (__m512i)idx);
}

/* Bit i of a row's qh becomes bit 4 of its column i. */
V_INLINE void v_fifth_bits(vu qh, vu w[8])
{
    const vu base = (vu)_mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0);
    V_UNROLL for (uint32_t j = 0; j < 8; j++)
    {
        const __m512i byte =
            _mm512_shuffle_epi8((__m512i)qh, (__m512i)(base + j / 2 * 0x01010101u));
        const __m512i bits = _mm512_set1_epi32(j % 2 ? (int)0x80402010 : 0x08040201);
        const __mmask64 set = _mm512_test_epi8_mask(byte, bits);
        const __m512i x = (__m512i)w[j];
        w[j] = (vu)_mm512_mask_add_epi8(x, set, x, _mm512_set1_epi8(16));
    }
}

V_INLINE __m512i v_four_rows(const uint8_t *p, size_t stride)
{
    const __m128i *r0 = (const void *)p, *r1 = (const void *)(p + 4 * stride);
    const __m128i *r2 = (const void *)(p + 8 * stride), *r3 = (const void *)(p + 12 * stride);
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128(r0));
    x = _mm512_inserti32x4(x, _mm_loadu_si128(r1), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128(r2), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128(r3), 3);
}

/* 16 bytes of each of V_N rows: out[i] has word i of row r in lane r. */
V_INLINE void v_load_rows(const uint8_t *p, size_t stride, vu out[4])
{
    const __m512i r0 = v_four_rows(p, stride), r1 = v_four_rows(p + stride, stride);
    const __m512i r2 = v_four_rows(p + 2 * stride, stride);
    const __m512i r3 = v_four_rows(p + 3 * stride, stride);
    const __m512i a = _mm512_unpacklo_epi32(r0, r1), b = _mm512_unpackhi_epi32(r0, r1);
    const __m512i c = _mm512_unpacklo_epi32(r2, r3), d = _mm512_unpackhi_epi32(r2, r3);
    out[0] = (vu)_mm512_unpacklo_epi64(a, c);
    out[1] = (vu)_mm512_unpackhi_epi64(a, c);
    out[2] = (vu)_mm512_unpacklo_epi64(b, d);
    out[3] = (vu)_mm512_unpackhi_epi64(b, d);
}

V_INLINE __m512i v_two_rows(const uint8_t *p, size_t stride)
{
    const __m256i *r0 = (const void *)p, *r1 = (const void *)(p + 4 * stride);
    const __m512i x = _mm512_castsi256_si512(_mm256_loadu_si256(r0));
    return _mm512_inserti64x4(x, _mm256_loadu_si256(r1), 1);
}

/* Rows i and i + 4 are halves of r[i]; in each quarter, words become registers. */
V_INLINE void v_turn_quarters(__m512i r[4])
{
    const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
    const __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm512_unpacklo_epi64(a, c);
    r[1] = _mm512_unpackhi_epi64(a, c);
    r[2] = _mm512_unpacklo_epi64(b, d);
    r[3] = _mm512_unpackhi_epi64(b, d);
}

/* 32 bytes of each of V_N rows: cheaper than 16 twice. */
V_INLINE void v_load_rows32(const uint8_t *p, size_t stride, vu out[8])
{
    __m512i a[4], b[4]; /* rows 0 .. 7, rows 8 .. 15 */
    V_UNROLL for (size_t i = 0; i < 4; i++)
    {
        a[i] = v_two_rows(p + i * stride, stride);
        b[i] = v_two_rows(p + (i + 8) * stride, stride);
    }
    v_turn_quarters(a);
    v_turn_quarters(b);
    V_UNROLL for (size_t i = 0; i < 4; i++)
    {
        out[i] = (vu)_mm512_shuffle_i32x4(a[i], b[i], 0x88);
        out[i + 4] = (vu)_mm512_shuffle_i32x4(a[i], b[i], 0xDD);
    }
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

/* The 16 bits at p of each row, in the low half of its lane. Inserted one by one: through an array
 * on the stack the wide load would wait until all the narrow stores have retired. */
V_INLINE vu v_load_rows_u16(const uint8_t *p, size_t s)
{
    const uint8_t *p8 = p + 8 * s;
    const __m128i lo = _mm_setr_epi16(v_word16(p), v_word16(p + s), v_word16(p + 2 * s),
                                      v_word16(p + 3 * s), v_word16(p + 4 * s), v_word16(p + 5 * s),
                                      v_word16(p + 6 * s), v_word16(p + 7 * s));
    const __m128i hi = _mm_setr_epi16(
        v_word16(p8), v_word16(p8 + s), v_word16(p8 + 2 * s), v_word16(p8 + 3 * s),
        v_word16(p8 + 4 * s), v_word16(p8 + 5 * s), v_word16(p8 + 6 * s), v_word16(p8 + 7 * s));
    return (vu)_mm512_cvtepu16_epi32(_mm256_setr_m128i(lo, hi));
}

V_INLINE __m128i v_four_words(const uint8_t *p, size_t s)
{
    return _mm_setr_epi32(v_word32(p), v_word32(p + s), v_word32(p + 2 * s), v_word32(p + 3 * s));
}

V_INLINE vu v_load_rows_u32(const uint8_t *p, size_t s)
{
    __m512i x = _mm512_castsi128_si512(v_four_words(p, s));
    x = _mm512_inserti32x4(x, v_four_words(p + 4 * s, s), 1);
    x = _mm512_inserti32x4(x, v_four_words(p + 8 * s, s), 2);
    return (vu)_mm512_inserti32x4(x, v_four_words(p + 12 * s, s), 3);
}

/* Largest magnitude of 32 values. */
V_INLINE float v_amax32(const float *x)
{
    const __m512 a = _mm512_abs_ps(_mm512_loadu_ps(x));
    return _mm512_reduce_max_ps(_mm512_max_ps(a, _mm512_abs_ps(_mm512_loadu_ps(x + 16))));
}

/* q = round(x * inv) within +-127, and the sums of each 16. */
V_INLINE void v_round32(const float *x, float inv, int8_t q[32], int32_t sum[2])
{
    const __m512i lim = _mm512_set1_epi32(127);
    for (size_t i = 0; i < 2; i++) {
        const __m512 y = _mm512_mul_ps(_mm512_loadu_ps(x + 16 * i), _mm512_set1_ps(inv));
        __m512i r = _mm512_min_epi32(_mm512_cvtps_epi32(y), lim);
        r = _mm512_max_epi32(r, _mm512_sub_epi32(_mm512_setzero_si512(), lim));
        _mm_storeu_si128((__m128i *)(void *)(q + 16 * i), _mm512_cvtepi32_epi8(r));
        sum[i] = _mm512_reduce_add_epi32(r);
    }
}

#endif
