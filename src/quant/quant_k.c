/* The k-quants: super-blocks of 256 weights whose small scales are themselves quantised.
 *
 * d * scale is rounded to f32 before it meets the weight, as the definition has it: the order of
 * the products below is part of the format. */
#include "quant/quant_int.h"

#include "quant/f16.h"

void quant_deq_Q2_K(const void *block, float *out)
{
    const struct quant_Q2_K *b = block;
    const float d = f16_to_f32(b->d);
    const float dmin = f16_to_f32(b->dmin);
    for (int e = 0; e < 256; e++) {
        const int half = e / 128;
        const int r = e % 128;
        const int q = b->qs[32 * half + r % 32] >> (2 * (r / 32)) & 3;
        const float scale = d * (float)(b->scales[e / 16] & 15);
        const float min = dmin * (float)(b->scales[e / 16] >> 4);
        out[e] = scale * (float)q - min;
    }
}

/* The 16 signed scales of a Q3_K block, -32..31. */
static void scales_Q3_K(const uint8_t packed[12], int8_t out[16])
{
    for (int s = 0; s < 16; s++) {
        const int low = s < 8 ? packed[s] & 15 : packed[s - 8] >> 4;
        const int high = packed[8 + s % 4] >> (2 * (s / 4)) & 3;
        out[s] = (int8_t)((low | high << 4) - 32);
    }
}

void quant_deq_Q3_K(const void *block, float *out)
{
    const struct quant_Q3_K *b = block;
    const float d = f16_to_f32(b->d);
    int8_t scales[16];
    scales_Q3_K(b->scales, scales);
    for (int e = 0; e < 256; e++) {
        const int half = e / 128;
        const int r = e % 128;
        const int q = b->qs[32 * half + r % 32] >> (2 * (r / 32)) & 3;
        const int high = b->hmask[r % 32] >> (4 * half + r / 32) & 1;
        out[e] = d * (float)scales[e / 16] * (float)(q - (high ? 0 : 4));
    }
}

/* Scale and minimum, 0..63 each, of sub-block s (0..7) of a Q4_K or Q5_K block. */
static void scale_min_K(const uint8_t packed[12], int s, uint8_t *out_scale, uint8_t *out_min)
{
    if (s < 4) {
        *out_scale = packed[s] & 63;
        *out_min = packed[s + 4] & 63;
    } else {
        *out_scale = (uint8_t)((packed[s + 4] & 15) | packed[s - 4] >> 6 << 4);
        *out_min = (uint8_t)(packed[s + 4] >> 4 | packed[s] >> 6 << 4);
    }
}

/* Q4_K, and Q5_K with the bits of qh on top; qh may be NULL. */
static void deq_affine_k(const uint16_t d_dmin[2], const uint8_t scales[12], const uint8_t *qh,
                         const uint8_t qs[128], float *out)
{
    const float d = f16_to_f32(d_dmin[0]);
    const float dmin = f16_to_f32(d_dmin[1]);
    for (int s = 0; s < 8; s++) {
        uint8_t sc;
        uint8_t mn;
        scale_min_K(scales, s, &sc, &mn);
        const float scale = d * (float)sc;
        const float min = dmin * (float)mn;
        for (int l = 0; l < 32; l++) {
            int q = qs[32 * (s / 2) + l] >> (4 * (s % 2)) & 15;
            if (qh)
                q |= (qh[l] >> s & 1) << 4;
            out[32 * s + l] = scale * (float)q - min;
        }
    }
}

void quant_deq_Q4_K(const void *block, float *out)
{
    const struct quant_Q4_K *b = block;
    deq_affine_k((const uint16_t[2]){b->d, b->dmin}, b->scales, NULL, b->qs, out);
}

void quant_deq_Q5_K(const void *block, float *out)
{
    const struct quant_Q5_K *b = block;
    deq_affine_k((const uint16_t[2]){b->d, b->dmin}, b->scales, b->qh, b->qs, out);
}

void quant_deq_Q6_K(const void *block, float *out)
{
    const struct quant_Q6_K *b = block;
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < 256; e++) {
        const int half = e / 128;
        const int quarter = e % 128 / 32; /* its two high bits are field `quarter` of qh */
        const int l = e % 32;
        const int low = b->ql[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
        const int high = b->qh[32 * half + l] >> (2 * quarter) & 3;
        out[e] = d * (float)b->scales[e / 16] * (float)((low | high << 4) - 32);
    }
}

void quant_deq_Q8_K(const void *block, float *out)
{
    const struct quant_Q8_K *b = block;
    for (int e = 0; e < 256; e++)
        out[e] = b->d * (float)b->qs[e];
}
