/* Weights of one and two bits, ternary digits, and four-bit floats. */
#include "quant/quant_int.h"

#include <string.h>

#include "quant/f16.h"

/* Digit n of a byte that holds five base-3 digits as the fraction digits / 243, scaled to 256 and
 * rounded up: multiplying by 3^n drops the digits before it, and the next one is the carry. */
static int trit(uint8_t byte, int n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    const uint8_t rest = (uint8_t)(byte * power[n]);
    return rest * 3 >> 8;
}

void quant_deq_TQ1_0(const void *block, float *out)
{
    const struct quant_TQ1_0 *b = block;
    const float d = f16_to_f32(b->d);
    for (int n = 0; n < 5; n++) {
        for (int i = 0; i < 32; i++)
            out[32 * n + i] = (float)(trit(b->qs[i], n) - 1) * d;
        for (int i = 0; i < 16; i++)
            out[160 + 16 * n + i] = (float)(trit(b->qs[32 + i], n) - 1) * d;
    }
    for (int n = 0; n < 4; n++)
        for (int i = 0; i < 4; i++)
            out[240 + 4 * n + i] = (float)(trit(b->qh[i], n) - 1) * d;
}

void quant_deq_TQ2_0(const void *block, float *out)
{
    const struct quant_TQ2_0 *b = block;
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < 256; e++) {
        const int q = b->qs[32 * (e / 128) + e % 32] >> (2 * (e % 128 / 32)) & 3;
        out[e] = (float)(q - 1) * d;
    }
}

void quant_deq_Q1_0(const void *block, float *out)
{
    const struct quant_Q1_0 *b = block;
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < 128; e++)
        out[e] = b->qs[e / 8] >> (e % 8) & 1 ? d : -d;
}

void quant_deq_Q2_0(const void *block, float *out)
{
    const struct quant_Q2_0 *b = block;
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < 64; e++)
        out[e] = (float)((b->qs[e / 4] >> (2 * (e % 4)) & 3) - 1) * d;
}

/* E2M1 twofold, so that the values are whole; the scales below are halved in return. Code 8 is a
 * minus zero that ggml keeps as plain 0, and so do we. */
static const int8_t fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128); subnormal for e of 0 and 1, and thus made from bits. */
static float half_e8m0(uint8_t e)
{
    const uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

/* Half of an unsigned E4M3 (the sign bit is not looked at); what would be NaN is 0. */
static float half_ue4m3(uint8_t v)
{
    if (v == 0x7F)
        return 0.0f;
    const int exp = v >> 3 & 15;
    const int man = v & 7;
    if (exp == 0)
        return (float)man * 0x1p-10f;
    return (float)(8 + man) * ((float)(1u << exp) * 0x1p-11f);
}

void quant_deq_MXFP4(const void *block, float *out)
{
    const struct quant_MXFP4 *b = block;
    const float scale = half_e8m0(b->e);
    for (int j = 0; j < 16; j++) {
        out[j] = (float)fp4_values[b->qs[j] & 15] * scale;
        out[j + 16] = (float)fp4_values[b->qs[j] >> 4] * scale;
    }
}

void quant_deq_NVFP4(const void *block, float *out)
{
    const struct quant_NVFP4 *b = block;
    for (int s = 0; s < 4; s++) {
        const float scale = half_ue4m3(b->d[s]);
        for (int j = 0; j < 8; j++) {
            const uint8_t byte = b->qs[8 * s + j];
            out[16 * s + j] = (float)fp4_values[byte & 15] * scale;
            out[16 * s + j + 8] = (float)fp4_values[byte >> 4] * scale;
        }
    }
}
