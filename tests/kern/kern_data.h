/* kern_data.h - random weights and activations for the kernel tests and the benchmark. */
#ifndef KERN_DATA_H
#define KERN_DATA_H

#include <string.h>

#include "quant/quant.h"

static inline uint32_t kern_data_next(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

/* A finite f16 with an exponent near that of real scales; now and then a tiny, zero or large one.
 */
static inline uint16_t kern_data_f16(uint64_t *s)
{
    const uint32_t r = kern_data_next(s);
    const uint32_t kind = kern_data_next(s) % 64;
    const uint32_t exp = kind == 0 ? 0 : kind == 1 ? 24 : 6 + r % 8;
    return (uint16_t)((r >> 8 & 0x8000u) | exp << 10 | (r >> 12 & 0x3FFu));
}

/* Where the f16 fields of a block are; -1 ends the list. */
static inline const int *kern_data_f16_at(quant_type t)
{
    static const int front[] = {0, -1}, pair[] = {0, 2, -1}, q2_k[] = {80, 82, -1};
    static const int q3_k[] = {108, -1}, q6_k[] = {208, -1}, tq1[] = {52, -1}, tq2[] = {64, -1};
    static const int none[] = {-1};
    switch (t) {
    case QUANT_Q4_1:
    case QUANT_Q5_1:
    case QUANT_Q4_K:
    case QUANT_Q5_K:
        return pair;
    case QUANT_Q2_K:
        return q2_k;
    case QUANT_Q3_K:
        return q3_k;
    case QUANT_Q6_K:
        return q6_k;
    case QUANT_TQ1_0:
        return tq1;
    case QUANT_TQ2_0:
        return tq2;
    case QUANT_IQ1_M:
    case QUANT_MXFP4:
    case QUANT_MXFP8:
    case QUANT_NVFP4:
        return none;
    default:
        return front;
    }
}

/* The scales of these three are not an f16 of their own: kept finite and of sane size. */
static inline void kern_data_tame(quant_type t, uint8_t *block, uint64_t *s)
{
    const uint16_t d = kern_data_f16(s);
    for (int i = 0; i < 4; i++) {
        if (t == QUANT_IQ1_M)
            block[49 + 2 * i] = (uint8_t)((block[49 + 2 * i] & 15) | (d >> 4 * i & 15) << 4);
        if (t == QUANT_NVFP4)
            block[i] &= 0x7F;
    }
    if (t == QUANT_MXFP4 || t == QUANT_MXFP8)
        block[0] = (uint8_t)(112 + block[0] % 16);
    for (int i = 1; t == QUANT_MXFP8 && i < 33; i++)
        block[i] &= 0xBF; /* below the codes of NaN */
}

/* Scale and bias of an affine block, as its type stores them. */
static inline void kern_data_affine(const quant_affine *a, uint8_t *block, uint64_t *s)
{
    for (uint32_t i = 0; i < 2; i++) {
        const float x = (float)kern_data_next(s) * 0x1p-31f * 0.05f - (i ? 0.1f : 0.02f);
        err_info err;
        (void)quant_quantize(a->scale, &x, block + i * a->scale_bytes, 1,
                             &err); /* a float format */
    }
}

static inline void kern_data_floats(float *x, size_t n, uint32_t seed)
{
    uint64_t s = seed * 977u + 5;
    for (size_t i = 0; i < n; i++) {
        const float u = (float)kern_data_next(&s) * 0x1p-31f * 2 - 1;
        x[i] = kern_data_next(&s) % 50 == 0 ? u * 8 : u;
    }
}

/* n weights (whole blocks) of any weight format. */
static inline void kern_data_blocks(quant_type t, uint8_t *out, size_t n, uint32_t seed)
{
    uint64_t s = seed * 7919u + (uint64_t)t;
    const size_t size = quant_table[t].block_bytes;
    for (size_t b = 0; b < n / quant_table[t].block_n; b++) {
        uint8_t *block = out + b * size;
        for (size_t i = 0; i < size; i++)
            block[i] = (uint8_t)(kern_data_next(&s) >> 7);
        if (t == QUANT_F32) {
            kern_data_floats((float *)(void *)block, 1, kern_data_next(&s));
            continue;
        }
        quant_affine a;
        if (quant_affine_info(t, &a)) {
            kern_data_affine(&a, block, &s);
            continue;
        }
        if (t == QUANT_F64) {
            const double x = (double)(int32_t)kern_data_next(&s) * 0x1p-31 - 0.5;
            memcpy(block, &x, sizeof x);
            continue;
        }
        if (t == QUANT_BF16) {
            block[1] = (uint8_t)((block[1] & 0x80) | 0x3E);
            continue;
        }
        for (const int *at = kern_data_f16_at(t); *at >= 0; at++) {
            const uint16_t h = kern_data_f16(&s);
            memcpy(block + *at, &h, 2);
        }
        kern_data_tame(t, block, &s);
    }
}

#endif
