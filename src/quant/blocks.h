/* blocks.h - what a block of each format looks like in the file: one struct a line of formats.def.
 *
 * Fields named d, dmin and m are IEEE halves (f16.h), little-endian like everything in a block. The
 * structs have no padding and ask for 2-byte alignment at most (4 for Q8_K and F32, 8 for F64 and
 * I64); the file format aligns tensors to 8, so a mapped tensor may be read through them in place.
 * How the fields make weights: docs/formats.md, and the functions quant_deq_* beside this file.
 */
#ifndef QUANT_BLOCKS_H
#define QUANT_BLOCKS_H

#include <assert.h>
#include <stdint.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks are read in place");

struct quant_F32 {
    float x;
};
struct quant_F16 {
    uint16_t x;
};
struct quant_BF16 {
    uint16_t x;
};
struct quant_F64 {
    double x;
};
struct quant_I8 {
    int8_t x;
};
struct quant_I16 {
    int16_t x;
};
struct quant_I32 {
    int32_t x;
};
struct quant_I64 {
    int64_t x;
};

/* Blocks of 32. In qs the low nibble of byte j is weight j, the high one weight j + 16. */
struct quant_Q4_0 {
    uint16_t d;
    uint8_t qs[16];
};
struct quant_Q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
};
struct quant_Q5_0 {
    uint16_t d;
    uint8_t qh[4]; /* bit j is bit 4 of weight j */
    uint8_t qs[16];
};
struct quant_Q5_1 {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
};
struct quant_Q8_0 {
    uint16_t d;
    int8_t qs[32];
};
struct quant_Q8_1 {
    uint16_t d, s; /* s: d times the sum of qs */
    int8_t qs[32];
};

/* Super-blocks of 256 with scales of their own for each 16 or 32 weights. */
struct quant_Q2_K {
    uint8_t scales[16]; /* low nibble scale, high nibble minimum, for each 16 */
    uint8_t qs[64];
    uint16_t d, dmin;
};
struct quant_Q3_K {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12]; /* 16 values of 6 bits, see quant_scales_Q3_K */
    uint16_t d;
};
struct quant_Q4_K {
    uint16_t d, dmin;
    uint8_t scales[12]; /* 8 scales and 8 minima of 6 bits, see scale_min_K in quant_k.c */
    uint8_t qs[128];
};
struct quant_Q5_K {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};
struct quant_Q6_K {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
};
struct quant_Q8_K {
    float d;
    int8_t qs[256];
    int16_t bsums[16]; /* sums of 16 qs */
};

/* Codebook formats: indices into the tables of iq_grids.h, or into quant_iq4_values. */
struct quant_IQ2_XXS {
    uint16_t d;
    uint16_t qs[32]; /* for each 32 weights: 4 index bytes, then a word of signs and scale */
};
struct quant_IQ2_XS {
    uint16_t d;
    uint16_t qs[32]; /* 9 bits of index, 7 of sign code */
    uint8_t scales[8];
};
struct quant_IQ2_S {
    uint16_t d;
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
};
struct quant_IQ3_XXS {
    uint16_t d;
    uint8_t qs[64];
    uint8_t gas[32]; /* 8 words: four sign codes of 7 bits, 4 bits of scale */
};
struct quant_IQ3_S {
    uint16_t d;
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
};
struct quant_IQ1_S {
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8];
};
struct quant_IQ1_M {
    uint8_t qs[32];
    uint8_t qh[16];
    uint8_t scales[8]; /* four words; their top nibbles together are the half d */
};
struct quant_IQ4_NL {
    uint16_t d;
    uint8_t qs[16];
};
struct quant_IQ4_XS {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
};

/* Ternary and binary. */
struct quant_TQ1_0 {
    uint8_t qs[48]; /* five base-3 digits a byte */
    uint8_t qh[4];  /* four */
    uint16_t d;
};
struct quant_TQ2_0 {
    uint8_t qs[64];
    uint16_t d;
};
struct quant_Q1_0 {
    uint16_t d;
    uint8_t qs[16];
};
struct quant_Q2_0 {
    uint16_t d;
    uint8_t qs[16];
};

/* Four-bit floats with a scale of eight bits. */
struct quant_MXFP4 {
    uint8_t e; /* power of two, biased by 127 */
    uint8_t qs[16];
};
struct quant_NVFP4 {
    uint8_t d[4]; /* unsigned E4M3, for each 16 */
    uint8_t qs[32];
};

/* Affine groups: weight i is s * (code i) + b in f32, codes unsigned. The codes are MLX's: one
 * stream of bits from the lowest bit of the first byte on. Only those of A4G64 lie as in Q4_K, as
 * kernels like it: byte j holds weight j in its low nibble and weight 32 + j in its high one. */
#define QUANT_AFFINE(name, scale, n_byte)                                                          \
    struct quant_##name {                                                                          \
        scale s, b;                                                                                \
        uint8_t qs[n_byte];                                                                        \
    };
QUANT_AFFINE(A2G32_F32, float, 8)
QUANT_AFFINE(A2G32_F16, uint16_t, 8)
QUANT_AFFINE(A2G32_BF16, uint16_t, 8)
QUANT_AFFINE(A2G64_F32, float, 16)
QUANT_AFFINE(A2G64_F16, uint16_t, 16)
QUANT_AFFINE(A2G64_BF16, uint16_t, 16)
QUANT_AFFINE(A2G128_F32, float, 32)
QUANT_AFFINE(A2G128_F16, uint16_t, 32)
QUANT_AFFINE(A2G128_BF16, uint16_t, 32)
QUANT_AFFINE(A3G32_F32, float, 12)
QUANT_AFFINE(A3G32_F16, uint16_t, 12)
QUANT_AFFINE(A3G32_BF16, uint16_t, 12)
QUANT_AFFINE(A3G64_F32, float, 24)
QUANT_AFFINE(A3G64_F16, uint16_t, 24)
QUANT_AFFINE(A3G64_BF16, uint16_t, 24)
QUANT_AFFINE(A3G128_F32, float, 48)
QUANT_AFFINE(A3G128_F16, uint16_t, 48)
QUANT_AFFINE(A3G128_BF16, uint16_t, 48)
QUANT_AFFINE(A4G32_F32, float, 16)
QUANT_AFFINE(A4G32_F16, uint16_t, 16)
QUANT_AFFINE(A4G32_BF16, uint16_t, 16)
QUANT_AFFINE(A4G64_F32, float, 32)
QUANT_AFFINE(A4G64_F16, uint16_t, 32)
QUANT_AFFINE(A4G64_BF16, uint16_t, 32)
QUANT_AFFINE(A4G128_F32, float, 64)
QUANT_AFFINE(A4G128_F16, uint16_t, 64)
QUANT_AFFINE(A4G128_BF16, uint16_t, 64)
QUANT_AFFINE(A5G32_F32, float, 20)
QUANT_AFFINE(A5G32_F16, uint16_t, 20)
QUANT_AFFINE(A5G32_BF16, uint16_t, 20)
QUANT_AFFINE(A5G64_F32, float, 40)
QUANT_AFFINE(A5G64_F16, uint16_t, 40)
QUANT_AFFINE(A5G64_BF16, uint16_t, 40)
QUANT_AFFINE(A5G128_F32, float, 80)
QUANT_AFFINE(A5G128_F16, uint16_t, 80)
QUANT_AFFINE(A5G128_BF16, uint16_t, 80)
QUANT_AFFINE(A6G32_F32, float, 24)
QUANT_AFFINE(A6G32_F16, uint16_t, 24)
QUANT_AFFINE(A6G32_BF16, uint16_t, 24)
QUANT_AFFINE(A6G64_F32, float, 48)
QUANT_AFFINE(A6G64_F16, uint16_t, 48)
QUANT_AFFINE(A6G64_BF16, uint16_t, 48)
QUANT_AFFINE(A6G128_F32, float, 96)
QUANT_AFFINE(A6G128_F16, uint16_t, 96)
QUANT_AFFINE(A6G128_BF16, uint16_t, 96)
QUANT_AFFINE(A8G32_F32, float, 32)
QUANT_AFFINE(A8G32_F16, uint16_t, 32)
QUANT_AFFINE(A8G32_BF16, uint16_t, 32)
QUANT_AFFINE(A8G64_F32, float, 64)
QUANT_AFFINE(A8G64_F16, uint16_t, 64)
QUANT_AFFINE(A8G64_BF16, uint16_t, 64)
QUANT_AFFINE(A8G128_F32, float, 128)
QUANT_AFFINE(A8G128_F16, uint16_t, 128)
QUANT_AFFINE(A8G128_BF16, uint16_t, 128)
#undef QUANT_AFFINE

struct quant_MXFP8 {
    uint8_t e;      /* power of two, biased by 127 */
    uint8_t qs[32]; /* E4M3 */
};

#define X(name, id, n, bytes)                                                                      \
    static_assert(sizeof(struct quant_##name) == (bytes), #name " block size");
#include "quant/formats.def"
#undef X

#endif
