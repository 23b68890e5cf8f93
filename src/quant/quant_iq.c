/* The IQ formats: weights by way of codebooks.
 *
 * IQ1 to IQ3 store, for each 8 or 4 weights, the index of an entry of small values, and beside it
 * their signs; IQ4 stores nibbles that look up one table of 16 unevenly spaced values. */
#include "quant/quant_int.h"

#include <string.h>

#include "quant/f16.h"
#include "quant/iq_grids.h"

static const uint8_t iq2_values[3] = {8, 25, 43};
static const int8_t iq1_values[3] = {-1, 0, 1};
static const uint8_t iq3_xxs_values[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const uint8_t iq3_s_values[8] = {1, 3, 5, 7, 9, 11, 13, 15};
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

#define IQ1_DELTA 0.125f

static uint32_t load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Eight weights of an IQ2 entry. */
static void put_iq2(uint16_t entry, uint8_t signs, float scale, float *out)
{
    for (int k = 0; k < 8; k++) {
        const float v = scale * (float)iq2_values[entry >> (2 * k) & 3];
        out[k] = signs >> k & 1 ? -v : v;
    }
}

/* Four weights of an IQ3 entry; the low four bits of signs are theirs. */
static void put_iq3(uint16_t entry, const uint8_t values[8], int signs, float scale, float *out)
{
    for (int k = 0; k < 4; k++) {
        const float v = scale * (float)values[entry >> (3 * k) & 7];
        out[k] = signs >> k & 1 ? -v : v;
    }
}

static void put_iq1(uint16_t entry, float delta, float scale, float *out)
{
    for (int k = 0; k < 8; k++)
        out[k] = scale * ((float)iq1_values[entry >> (2 * k) & 3] + delta);
}

void quant_deq_IQ2_XXS(const void *block, float *out)
{
    const struct quant_IQ2_XXS *b = block;
    const float d = f16_to_f32(b->d);
    for (int s = 0; s < 8; s++) {
        const uint16_t *group = b->qs + 4 * s;
        const uint32_t word = load_u32(group + 2);
        const float scale = d * (0.5f + (float)(word >> 28)) * 0.25f;
        for (int l = 0; l < 4; l++) {
            const int index = group[l / 2] >> (8 * (l % 2)) & 255;
            put_iq2(quant_grid_iq2_xxs[index], quant_iq_signs(word >> (7 * l) & 127), scale,
                    out + 32 * s + 8 * l);
        }
    }
}

void quant_deq_IQ2_XS(const void *block, float *out)
{
    const struct quant_IQ2_XS *b = block;
    const float d = f16_to_f32(b->d);
    for (int g = 0; g < 32; g++) { /* a group of 8 weights; a scale nibble serves two groups */
        const int nibble = b->scales[g / 4] >> (4 * (g / 2 % 2)) & 15;
        const float scale = d * (0.5f + (float)nibble) * 0.25f;
        put_iq2(quant_grid_iq2_xs[b->qs[g] & 511], quant_iq_signs(b->qs[g] >> 9), scale,
                out + 8 * g);
    }
}

void quant_deq_IQ2_S(const void *block, float *out)
{
    const struct quant_IQ2_S *b = block;
    const float d = f16_to_f32(b->d);
    for (int g = 0; g < 32; g++) {
        const int nibble = b->scales[g / 4] >> (4 * (g / 2 % 2)) & 15;
        const float scale = d * (0.5f + (float)nibble) * 0.25f;
        const int index = b->qs[g] | (b->qh[g / 4] >> (2 * (g % 4)) & 3) << 8;
        put_iq2(quant_grid_iq2_s[index], b->signs[g], scale, out + 8 * g);
    }
}

void quant_deq_IQ3_XXS(const void *block, float *out)
{
    const struct quant_IQ3_XXS *b = block;
    const float d = f16_to_f32(b->d);
    for (int g = 0; g < 32; g++) {
        const uint32_t word = load_u32(b->gas + 4 * (g / 4));
        const float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
        const int signs = quant_iq_signs(word >> (7 * (g % 4)) & 127);
        for (int t = 0; t < 2; t++)
            put_iq3(quant_grid_iq3_xxs[b->qs[2 * g + t]], iq3_xxs_values, signs >> (4 * t), scale,
                    out + 8 * g + 4 * t);
    }
}

void quant_deq_IQ3_S(const void *block, float *out)
{
    const struct quant_IQ3_S *b = block;
    const float d = f16_to_f32(b->d);
    for (int g = 0; g < 32; g++) {
        const int s = g / 4;
        const int nibble = b->scales[s / 2] >> (4 * (s % 2)) & 15;
        const float scale = d * (float)(1 + 2 * nibble);
        for (int t = 0; t < 2; t++) {
            const int high = b->qh[s] >> (2 * (g % 4) + t) & 1;
            put_iq3(quant_grid_iq3_s[b->qs[2 * g + t] | high << 8], iq3_s_values,
                    b->signs[g] >> (4 * t), scale, out + 8 * g + 4 * t);
        }
    }
}

void quant_deq_IQ1_S(const void *block, float *out)
{
    const struct quant_IQ1_S *b = block;
    const float d = f16_to_f32(b->d);
    for (int g = 0; g < 32; g++) {
        const int qh = b->qh[g / 4];
        const float scale = d * (float)(2 * (qh >> 12 & 7) + 1);
        const int index = b->qs[g] | (qh >> (3 * (g % 4)) & 7) << 8;
        put_iq1(quant_grid_iq1_s[index], qh & 0x8000 ? -IQ1_DELTA : IQ1_DELTA, scale, out + 8 * g);
    }
}

void quant_deq_IQ1_M(const void *block, float *out)
{
    const struct quant_IQ1_M *b = block;
    uint16_t words[4];
    memcpy(words, b->scales, sizeof words);
    const uint16_t d_bits = (uint16_t)(words[0] >> 12 | (words[1] >> 8 & 0x00F0) |
                                       (words[2] >> 4 & 0x0F00) | (words[3] & 0xF000));
    const float d = f16_to_f32(d_bits);
    for (int g = 0; g < 32; g++) {
        const int s = g / 2; /* 16 weights have a scale: four of 3 bits in each word */
        const float scale = d * (float)(2 * (words[s / 4] >> (3 * (s % 4)) & 7) + 1);
        const int high = b->qh[g / 2] >> (4 * (g % 2)) & 15;
        put_iq1(quant_grid_iq1_s[b->qs[g] | (high & 7) << 8], high & 8 ? -IQ1_DELTA : IQ1_DELTA,
                scale, out + 8 * g);
    }
}

/* 32 weights of 16 bytes, low nibbles first. */
static void put_iq4(const uint8_t qs[16], float scale, float *out)
{
    for (int j = 0; j < 16; j++) {
        out[j] = scale * (float)iq4_values[qs[j] & 15];
        out[j + 16] = scale * (float)iq4_values[qs[j] >> 4];
    }
}

void quant_deq_IQ4_NL(const void *block, float *out)
{
    const struct quant_IQ4_NL *b = block;
    put_iq4(b->qs, f16_to_f32(b->d), out);
}

void quant_deq_IQ4_XS(const void *block, float *out)
{
    const struct quant_IQ4_XS *b = block;
    const float d = f16_to_f32(b->d);
    for (int s = 0; s < 8; s++) {
        const int low = b->scales_l[s / 2] >> (4 * (s % 2)) & 15;
        const int high = b->scales_h >> (2 * s) & 3;
        put_iq4(b->qs + 16 * s, d * (float)((low | high << 4) - 32), out + 32 * s);
    }
}
