#include "kern/unpack.h"

#include <math.h>
#include <string.h>

#include "quant/f16.h"

static uint16_t read_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t read_u32(const uint8_t *p)
{
    return read_u16(p) | (uint32_t)read_u16(p + 2) << 16;
}

static float read_f16(const uint8_t *p)
{
    return f16_to_f32(read_u16(p));
}

/* Groups [g0, g1) share a scale and a minimum. */
static void set_groups(kern_piece *out, size_t g0, size_t g1, float scale, float min)
{
    for (size_t g = g0; g < g1; g++) {
        out->scale[g] = scale;
        out->min[g] = min;
    }
}

/* 16 bytes: low nibbles are weights 0..15, high nibbles 16..31. */
static void nibbles(const uint8_t *qs, int offset, int8_t *w)
{
    for (size_t j = 0; j < 16; j++) {
        w[j] = (int8_t)((qs[j] & 15) - offset);
        w[j + 16] = (int8_t)((qs[j] >> 4) - offset);
    }
}

static void nibble_codes(const uint8_t *qs, const int8_t code[16], int8_t *w)
{
    for (size_t j = 0; j < 16; j++) {
        w[j] = code[qs[j] & 15];
        w[j + 16] = code[qs[j] >> 4];
    }
}

static void unpack_Q4_0(const uint8_t *b, kern_piece *out)
{
    nibbles(b + 2, 8, out->w);
    set_groups(out, 0, 2, read_f16(b), 0);
}

static void unpack_Q4_1(const uint8_t *b, kern_piece *out)
{
    nibbles(b + 4, 0, out->w);
    set_groups(out, 0, 2, read_f16(b), read_f16(b + 2));
}

/* The fifth bits of 32 weights are the bits of qh in order. */
static void add_fifth_bits(const uint8_t *qh, int8_t *w)
{
    const uint32_t bits = read_u32(qh);
    for (size_t j = 0; j < 32; j++)
        w[j] = (int8_t)(w[j] + (int)(bits >> j & 1) * 16);
}

static void unpack_Q5_0(const uint8_t *b, kern_piece *out)
{
    nibbles(b + 6, 16, out->w);
    add_fifth_bits(b + 2, out->w);
    set_groups(out, 0, 2, read_f16(b), 0);
}

static void unpack_Q5_1(const uint8_t *b, kern_piece *out)
{
    nibbles(b + 8, 0, out->w);
    add_fifth_bits(b + 4, out->w);
    set_groups(out, 0, 2, read_f16(b), read_f16(b + 2));
}

static void unpack_Q8_0(const uint8_t *b, kern_piece *out)
{
    memcpy(out->w, b + 2, 32);
    set_groups(out, 0, 2, read_f16(b), 0);
}

/* Two bits of weight e of a Q2_K or Q3_K block. */
static int two_bits(const uint8_t *qs, size_t e)
{
    const size_t half = e / 128, r = e % 128;
    return qs[32 * half + r % 32] >> 2 * (r / 32) & 3;
}

static void unpack_Q2_K(const uint8_t *b, kern_piece *out)
{
    const float d = read_f16(b + 80), dmin = read_f16(b + 82);
    for (size_t e = 0; e < 256; e++)
        out->w[e] = (int8_t)two_bits(b + 16, e);
    for (size_t s = 0; s < 16; s++) {
        out->scale[s] = d * (float)(b[s] & 15);
        out->min[s] = -(dmin * (float)(b[s] >> 4));
    }
}

static void unpack_Q3_K(const uint8_t *b, kern_piece *out)
{
    const uint8_t *hmask = b, *qs = b + 32, *sc = b + 96;
    const float d = read_f16(b + 108);
    for (size_t e = 0; e < 256; e++) {
        const int high = hmask[e % 32] >> (e / 32) & 1;
        out->w[e] = (int8_t)(two_bits(qs, e) - (high ? 0 : 4));
    }
    for (size_t s = 0; s < 16; s++) {
        const int low = s < 8 ? sc[s] & 15 : sc[s - 8] >> 4;
        const int high = sc[8 + s % 4] >> 2 * (s / 4) & 3;
        set_groups(out, s, s + 1, d * (float)((low | high << 4) - 32), 0);
    }
}

/* Scales and minima of Q4_K and Q5_K: 8 of 6 bits each in 12 bytes. */
static void k_scales(const uint8_t *b, kern_piece *out)
{
    const float d = read_f16(b), dmin = read_f16(b + 2);
    const uint8_t *q = b + 4;
    for (size_t s = 0; s < 8; s++) {
        const int sc = s < 4 ? q[s] & 63 : (q[s + 4] & 15) | (q[s - 4] >> 6) << 4;
        const int mn = s < 4 ? q[s + 4] & 63 : (q[s + 4] >> 4) | (q[s] >> 6) << 4;
        set_groups(out, 2 * s, 2 * s + 2, d * (float)sc, -(dmin * (float)mn));
    }
}

static void k_nibbles(const uint8_t *qs, int8_t *w)
{
    for (size_t e = 0; e < 256; e++) {
        const uint8_t byte = qs[32 * (e / 64) + e % 32];
        w[e] = (int8_t)(e % 64 < 32 ? byte & 15 : byte >> 4);
    }
}

static void unpack_Q4_K(const uint8_t *b, kern_piece *out)
{
    k_scales(b, out);
    k_nibbles(b + 16, out->w);
}

static void unpack_Q5_K(const uint8_t *b, kern_piece *out)
{
    k_scales(b, out);
    k_nibbles(b + 48, out->w);
    for (size_t e = 0; e < 256; e++)
        out->w[e] = (int8_t)(out->w[e] + (b[16 + e % 32] >> (e / 32) & 1) * 16);
}

static void unpack_Q6_K(const uint8_t *b, kern_piece *out)
{
    const float d = read_f16(b + 208);
    for (size_t e = 0; e < 256; e++) {
        const size_t half = e / 128, field = e % 128 / 32, l = e % 32;
        const uint8_t low = b[64 * half + 32 * (field & 1) + l];
        const uint8_t high = b[128 + 32 * half + l];
        const int q = (field < 2 ? low & 15 : low >> 4) | (high >> 2 * field & 3) << 4;
        out->w[e] = (int8_t)(q - 32);
    }
    for (size_t s = 0; s < 16; s++)
        set_groups(out, s, s + 1, d * (float)(int8_t)b[192 + s], 0);
}

static const int8_t iq4_codes[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t fp4_codes[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void unpack_IQ4_NL(const uint8_t *b, kern_piece *out)
{
    nibble_codes(b + 2, iq4_codes, out->w);
    set_groups(out, 0, 2, read_f16(b), 0);
}

static void unpack_IQ4_XS(const uint8_t *b, kern_piece *out)
{
    const float d = read_f16(b);
    const unsigned high = read_u16(b + 2);
    for (size_t s = 0; s < 8; s++) {
        const int low = b[4 + s / 2] >> 4 * (s % 2) & 15;
        const int ls = low | (int)(high >> 2 * s & 3) << 4;
        nibble_codes(b + 8 + 16 * s, iq4_codes, out->w + 32 * s);
        set_groups(out, 2 * s, 2 * s + 2, d * (float)(ls - 32), 0);
    }
}

/* The codes are twice the values, so the scale is half of 2^(e - 127). */
static void unpack_MXFP4(const uint8_t *b, kern_piece *out)
{
    nibble_codes(b + 1, fp4_codes, out->w);
    set_groups(out, 0, 2, ldexpf(1.0f, b[0] - 128), 0);
}

static float ue4m3_half(uint8_t v)
{
    const int exp = v >> 3 & 15, man = v & 7;
    if (v == 0 || v == 0x7F)
        return 0;
    return exp ? ldexpf(1.0f + (float)man / 8, exp - 8) : ldexpf((float)man, -10);
}

static void unpack_NVFP4(const uint8_t *b, kern_piece *out)
{
    for (size_t s = 0; s < 4; s++) {
        for (size_t j = 0; j < 8; j++) {
            const uint8_t byte = b[4 + 8 * s + j];
            out->w[16 * s + j] = fp4_codes[byte & 15];
            out->w[16 * s + j + 8] = fp4_codes[byte >> 4];
        }
        set_groups(out, s, s + 1, ue4m3_half(b[s]), 0);
    }
}

static void unpack_Q1_0(const uint8_t *b, kern_piece *out)
{
    for (size_t e = 0; e < 128; e++)
        out->w[e] = b[2 + e / 8] >> (e % 8) & 1 ? 1 : -1;
    set_groups(out, 0, 8, read_f16(b), 0);
}

static void unpack_Q2_0(const uint8_t *b, kern_piece *out)
{
    for (size_t e = 0; e < 64; e++)
        out->w[e] = (int8_t)((b[2 + e / 4] >> 2 * (e % 4) & 3) - 1);
    set_groups(out, 0, 4, read_f16(b), 0);
}

static void unpack_TQ2_0(const uint8_t *b, kern_piece *out)
{
    for (size_t e = 0; e < 256; e++)
        out->w[e] = (int8_t)(two_bits(b, e) - 1);
    set_groups(out, 0, 16, read_f16(b + 64), 0);
}

/* Trit n of a byte: multiplied by 3^n it is the byte's leading base-3 digit. */
static int8_t trit(uint8_t byte, size_t n)
{
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    const uint8_t v = (uint8_t)(byte * pow3[n]);
    return (int8_t)((v * 3 >> 8) - 1);
}

static void unpack_TQ1_0(const uint8_t *b, kern_piece *out)
{
    for (size_t e = 0; e < 160; e++)
        out->w[e] = trit(b[e % 32], e / 32);
    for (size_t e = 0; e < 80; e++)
        out->w[160 + e] = trit(b[32 + e % 16], e / 16);
    for (size_t e = 0; e < 16; e++)
        out->w[240 + e] = trit(b[48 + e % 4], e / 4);
    set_groups(out, 0, 16, read_f16(b + 52), 0);
}

/* Codebook formats. Their definition is quant_dequant and its tables: a copy of the block whose d
 * is 1 dequantises to small exact numbers, and those over the group's unit scale are the integers.
 */
static void codebook_weights(quant_type t, const uint8_t *unit, const float unit_scale[16],
                             kern_piece *out)
{
    float x[KERN_PIECE_MAX];
    quant_dequant(t, unit, x, KERN_PIECE_MAX);
    for (size_t e = 0; e < KERN_PIECE_MAX; e++)
        out->w[e] = (int8_t)lrintf(x[e] / unit_scale[e / KERN_GROUP]);
}

/* d is the f16 in front; unit_scale is what one integer step is worth when d is 1. */
static void codebook_block(quant_type t, const uint8_t *b, const float unit_scale[16],
                           kern_piece *out)
{
    uint8_t unit[128];
    const size_t n = quant_table[t].block_bytes;
    memcpy(unit, b, n);
    unit[0] = 0x00;
    unit[1] = 0x3C;
    codebook_weights(t, unit, unit_scale, out);
    const float d = read_f16(b);
    for (size_t g = 0; g < 16; g++)
        set_groups(out, g, g + 1, d * unit_scale[g], 0);
}

/* Sub-block scales in the top four bits of a u32, 8 bytes or 4 bytes apart. */
static void top_nibble_scales(const uint8_t *p, size_t step, float factor, float unit[16])
{
    for (size_t s = 0; s < 8; s++)
        unit[2 * s] = unit[2 * s + 1] = (0.5f + (float)(read_u32(p + step * s) >> 28)) * factor;
}

static void unpack_IQ2_XXS(const uint8_t *b, kern_piece *out)
{
    float unit[16];
    top_nibble_scales(b + 6, 8, 0.25f, unit);
    codebook_block(QUANT_IQ2_XXS, b, unit, out);
}

static void unpack_IQ3_XXS(const uint8_t *b, kern_piece *out)
{
    float unit[16];
    top_nibble_scales(b + 66, 4, 0.5f, unit);
    codebook_block(QUANT_IQ3_XXS, b, unit, out);
}

static void nibble_scales(const uint8_t *p, float unit[16])
{
    for (size_t g = 0; g < 16; g++)
        unit[g] = (0.5f + (float)(p[g / 2] >> 4 * (g % 2) & 15)) * 0.25f;
}

static void unpack_IQ2_XS(const uint8_t *b, kern_piece *out)
{
    float unit[16];
    nibble_scales(b + 66, unit);
    codebook_block(QUANT_IQ2_XS, b, unit, out);
}

static void unpack_IQ2_S(const uint8_t *b, kern_piece *out)
{
    float unit[16];
    nibble_scales(b + 74, unit);
    codebook_block(QUANT_IQ2_S, b, unit, out);
}

static void unpack_IQ3_S(const uint8_t *b, kern_piece *out)
{
    float unit[16];
    for (size_t s = 0; s < 8; s++)
        unit[2 * s] = unit[2 * s + 1] = (float)(1 + 2 * (b[106 + s / 2] >> 4 * (s % 2) & 15));
    codebook_block(QUANT_IQ3_S, b, unit, out);
}

/* Values are -1, 0 or 1 plus or minus an eighth: in eighths they are integers. */
static void unpack_IQ1_S(const uint8_t *b, kern_piece *out)
{
    float unit[16];
    for (size_t s = 0; s < 8; s++) {
        const int sc = read_u16(b + 34 + 2 * s) >> 12 & 7;
        unit[2 * s] = unit[2 * s + 1] = (float)(2 * sc + 1) * 0.125f;
    }
    codebook_block(QUANT_IQ1_S, b, unit, out);
}

/* d is spread over the top nibbles of the four scale words; 0x3C00 is an f16 1. */
static void unpack_IQ1_M(const uint8_t *b, kern_piece *out)
{
    static const uint8_t unit_nibble[4] = {0x0, 0x0, 0xC, 0x3};
    uint8_t unit_block[56];
    float unit[16];
    unsigned d_bits = 0;
    memcpy(unit_block, b, sizeof unit_block);
    for (size_t i = 0; i < 4; i++) {
        const unsigned word = read_u16(b + 48 + 2 * i);
        d_bits |= word >> 12 << 4 * i;
        unit_block[49 + 2 * i] = (uint8_t)((b[49 + 2 * i] & 15) | unit_nibble[i] << 4);
        for (size_t g = 0; g < 4; g++)
            unit[4 * i + g] = (float)(2 * (word >> 3 * g & 7) + 1) * 0.125f;
    }
    codebook_weights(QUANT_IQ1_M, unit_block, unit, out);
    const float d = f16_to_f32((uint16_t)d_bits);
    for (size_t g = 0; g < 16; g++)
        set_groups(out, g, g + 1, d * unit[g], 0);
}

/* Scale and bias of an affine block, in front of its codes. */
static void affine_scales(const uint8_t *b, quant_type scale, float *out_s, float *out_b)
{
    const bool half = scale == QUANT_F16;
    if (scale == QUANT_F32) {
        memcpy(out_s, b, 4);
        memcpy(out_b, b + 4, 4);
        return;
    }
    *out_s = half ? read_f16(b) : bf16_to_f32(read_u16(b));
    *out_b = half ? read_f16(b + 2) : bf16_to_f32(read_u16(b + 2));
}

static void affine4(const uint8_t *b, quant_type scale, kern_piece *out)
{
    const uint8_t *qs = b + 2 * quant_table[scale].block_bytes;
    float s, bias;
    affine_scales(b, scale, &s, &bias);
    for (size_t j = 0; j < 32; j++) {
        out->w[j] = (int8_t)(qs[j] & 15);
        out->w[j + 32] = (int8_t)(qs[j] >> 4);
    }
    set_groups(out, 0, 4, s, bias);
}

/* Signed weights are the codes less 128; the bias takes that up, rounded once. */
static void affine8(const uint8_t *b, quant_type scale, kern_piece *out)
{
    const uint8_t *qs = b + 2 * quant_table[scale].block_bytes;
    float s, bias;
    affine_scales(b, scale, &s, &bias);
    for (size_t j = 0; j < 64; j++)
        out->w[j] = (int8_t)(qs[j] - 128);
    set_groups(out, 0, 4, s, fmaf(128.0f, s, bias));
}

static void unpack_A4G64_F32(const uint8_t *b, kern_piece *out)
{
    affine4(b, QUANT_F32, out);
}

static void unpack_A4G64_F16(const uint8_t *b, kern_piece *out)
{
    affine4(b, QUANT_F16, out);
}

static void unpack_A4G64_BF16(const uint8_t *b, kern_piece *out)
{
    affine4(b, QUANT_BF16, out);
}

static void unpack_A8G64_F32(const uint8_t *b, kern_piece *out)
{
    affine8(b, QUANT_F32, out);
}

static void unpack_A8G64_F16(const uint8_t *b, kern_piece *out)
{
    affine8(b, QUANT_F16, out);
}

static void unpack_A8G64_BF16(const uint8_t *b, kern_piece *out)
{
    affine8(b, QUANT_BF16, out);
}

const kern_unpack_info kern_unpack_table[QUANT_N_TYPE] = {
    [QUANT_Q4_0] = {unpack_Q4_0, 1, 0, false},
    [QUANT_Q4_1] = {unpack_Q4_1, 1, 1, false},
    [QUANT_Q5_0] = {unpack_Q5_0, 1, 0, false},
    [QUANT_Q5_1] = {unpack_Q5_1, 1, 1, false},
    [QUANT_Q8_0] = {unpack_Q8_0, 1, 0, false},
    [QUANT_Q2_K] = {unpack_Q2_K, 2, 2, false},
    [QUANT_Q3_K] = {unpack_Q3_K, 2, 0, false},
    [QUANT_Q4_K] = {unpack_Q4_K, 1, 1, false},
    [QUANT_Q5_K] = {unpack_Q5_K, 1, 1, false},
    [QUANT_Q6_K] = {unpack_Q6_K, 2, 0, false},
    [QUANT_IQ4_NL] = {unpack_IQ4_NL, 1, 0, false},
    [QUANT_IQ4_XS] = {unpack_IQ4_XS, 1, 0, false},
    [QUANT_IQ2_XXS] = {unpack_IQ2_XXS, 1, 0, false},
    [QUANT_IQ2_XS] = {unpack_IQ2_XS, 2, 0, false},
    [QUANT_IQ2_S] = {unpack_IQ2_S, 2, 0, false},
    [QUANT_IQ3_XXS] = {unpack_IQ3_XXS, 1, 0, false},
    [QUANT_IQ3_S] = {unpack_IQ3_S, 1, 0, false},
    [QUANT_IQ1_S] = {unpack_IQ1_S, 1, 0, false},
    [QUANT_IQ1_M] = {unpack_IQ1_M, 2, 0, false},
    [QUANT_TQ1_0] = {unpack_TQ1_0, 1, 0, false},
    [QUANT_TQ2_0] = {unpack_TQ2_0, 1, 0, false},
    [QUANT_MXFP4] = {unpack_MXFP4, 1, 0, false},
    [QUANT_NVFP4] = {unpack_NVFP4, 2, 0, false},
    [QUANT_Q1_0] = {unpack_Q1_0, 1, 0, false},
    [QUANT_Q2_0] = {unpack_Q2_0, 1, 0, false},
    [QUANT_A4G64_F32] = {unpack_A4G64_F32, 1, 1, false},
    [QUANT_A4G64_F16] = {unpack_A4G64_F16, 1, 1, false},
    [QUANT_A4G64_BF16] = {unpack_A4G64_BF16, 1, 1, false},
    [QUANT_A8G64_F32] = {unpack_A8G64_F32, 1, 1, true},
    [QUANT_A8G64_F16] = {unpack_A8G64_F16, 1, 1, true},
    [QUANT_A8G64_BF16] = {unpack_A8G64_BF16, 1, 1, true},
};
