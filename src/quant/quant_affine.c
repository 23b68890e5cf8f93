/* quant_affine.c - the private formats: what folders in MLX's layout hold. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/f16.h"
#include "quant/quant_int.h"

#define ID_BASE                                                                                    \
    0xCA000u /* then bits, group / 32 and the scale's type, a hexadecimal digit each               \
              */
#define MAX_GROUP 128

static const quant_type scale_types[3] = {QUANT_F32, QUANT_F16, QUANT_BF16};

bool quant_affine_info(quant_type t, quant_affine *out)
{
    if (t < QUANT_A2G32_F32 || t > QUANT_A8G128_BF16)
        return false;
    const uint32_t id = quant_table[t].gguf_id, bits = id >> 8 & 15, group = 32 * (id >> 4 & 15);
    const quant_type scale = scale_types[id & 15];
    if (out)
        *out = (quant_affine){.bits = bits,
                              .group = group,
                              .scale = scale,
                              .scale_bytes = quant_table[scale].block_bytes,
                              .code_bytes = group * bits / 8};
    return true;
}

quant_type quant_affine_type(uint32_t bits, uint32_t group, quant_type scale)
{
    uint32_t s = 0;
    while (s < 3 && scale_types[s] != scale)
        s++;
    if (bits < 2 || bits > 8 || group % 32 || group > MAX_GROUP || s == 3)
        return QUANT_N_TYPE;
    return quant_from_gguf(ID_BASE | bits << 8 | group / 32 << 4 | s);
}

static float read_scale(const quant_affine *a, const uint8_t *p)
{
    float f;
    uint16_t h;
    if (a->scale == QUANT_F32) {
        memcpy(&f, p, sizeof f);
        return f;
    }
    memcpy(&h, p, sizeof h);
    return a->scale == QUANT_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

/* Codes whose nibbles lie as kernels like them, not as MLX packs them. */
static bool is_split(const quant_affine *a)
{
    return a->bits == 4 && a->group == 64;
}

/* Code i of a stream of codes of `bits` bits; one never spans more than two bytes. */
static uint32_t stream_code(const uint8_t *qs, uint32_t bits, size_t i)
{
    const size_t at = i * bits;
    uint32_t two = qs[at / 8];
    if (at % 8 + bits > 8)
        two |= (uint32_t)qs[at / 8 + 1] << 8;
    return two >> at % 8 & ((1u << bits) - 1);
}

/* Codes as bytes. The two forms that native engines compute in are taken apart at once. */
static void codes_of(const quant_affine *a, const uint8_t *qs, uint8_t *out)
{
    if (is_split(a)) {
        for (size_t j = 0; j < 32; j++) {
            out[j] = qs[j] & 15;
            out[32 + j] = qs[j] >> 4;
        }
    } else if (a->bits == 8) {
        memcpy(out, qs, a->group);
    } else {
        for (size_t i = 0; i < a->group; i++)
            out[i] = (uint8_t)stream_code(qs, a->bits, i);
    }
}

void quant_deq_affine(quant_type t, const void *block, float *out)
{
    quant_affine a = {0};
    uint8_t codes[MAX_GROUP];
    quant_affine_info(t, &a);
    const uint8_t *p = block;
    const float s = read_scale(&a, p), b = read_scale(&a, p + a.scale_bytes);
    codes_of(&a, p + 2 * (size_t)a.scale_bytes, codes);
    for (size_t i = 0; i < a.group; i++) {
        const float product = s * (float)codes[i];
        out[i] = product + b;
    }
}

bool quant_affine_is_finite(quant_type t, const void *block)
{
    quant_affine a = {0};
    quant_affine_info(t, &a);
    const uint8_t *p = block;
    return isfinite(read_scale(&a, p)) && isfinite(read_scale(&a, p + a.scale_bytes));
}

/* MLX has weights 2j and 2j + 1 in byte j; the block has weights j and 32 + j there. */
static void split_nibbles(const uint8_t *in, uint8_t *out)
{
    for (size_t j = 0; j < 32; j++) {
        const unsigned low = in[j / 2] >> 4 * (j % 2) & 15u;
        const unsigned high = in[16 + j / 2] >> 4 * (j % 2) & 15u;
        out[j] = (uint8_t)(low | high << 4);
    }
}

static void join_nibbles(const uint8_t *in, uint8_t *out)
{
    for (size_t j = 0; j < 16; j++) {
        out[j] = (uint8_t)((in[2 * j] & 15) | (in[2 * j + 1] & 15) << 4);
        out[16 + j] = (uint8_t)(in[2 * j] >> 4 | (in[2 * j + 1] & 0xF0));
    }
}

void quant_affine_pack(quant_type t, size_t n_block, const void *codes, const void *scales,
                       const void *biases, void *blocks)
{
    quant_affine a = {0};
    const bool known = quant_affine_info(t, &a);
    assert(known);
    (void)known; /* read by the assert only */
    uint8_t *out = blocks;
    const uint8_t *q = codes, *s = scales, *b = biases;
    for (size_t i = 0; i < n_block; i++, out += quant_table[t].block_bytes) {
        memcpy(out, s + i * a.scale_bytes, a.scale_bytes);
        memcpy(out + a.scale_bytes, b + i * a.scale_bytes, a.scale_bytes);
        if (is_split(&a))
            split_nibbles(q + i * a.code_bytes, out + 2 * a.scale_bytes);
        else
            memcpy(out + 2 * a.scale_bytes, q + i * a.code_bytes, a.code_bytes);
    }
}

void quant_affine_unpack(quant_type t, size_t n_block, const void *blocks, void *out_codes,
                         void *out_scales, void *out_biases)
{
    quant_affine a = {0};
    const bool known = quant_affine_info(t, &a);
    assert(known);
    (void)known; /* read by the assert only */
    const uint8_t *in = blocks;
    uint8_t *q = out_codes, *s = out_scales, *b = out_biases;
    for (size_t i = 0; i < n_block; i++, in += quant_table[t].block_bytes) {
        memcpy(s + i * a.scale_bytes, in, a.scale_bytes);
        memcpy(b + i * a.scale_bytes, in + a.scale_bytes, a.scale_bytes);
        if (is_split(&a))
            join_nibbles(in + 2 * a.scale_bytes, q + i * a.code_bytes);
        else
            memcpy(q + i * a.code_bytes, in + 2 * a.scale_bytes, a.code_bytes);
    }
}

/* E4M3: NaN is the largest code of either sign, and there is no infinity. */
static float e4m3(uint8_t v)
{
    const int exp = v >> 3 & 15, man = v & 7;
    if ((v & 0x7F) == 0x7F)
        return NAN;
    const float mag =
        exp ? (float)(8 + man) * ((float)(1u << exp) * 0x1p-10f) : (float)man * 0x1p-9f;
    return v & 0x80 ? -mag : mag;
}

void quant_deq_MXFP8(const void *block, float *out)
{
    const struct quant_MXFP8 *b = block;
    const float scale = ldexpf(1.0f, b->e - 127);
    for (int i = 0; i < 32; i++)
        out[i] = e4m3(b->qs[i]) * scale;
}

void quant_form_text(quant_type t, char out[QUANT_FORM_TEXT])
{
    quant_affine a;
    if (quant_affine_info(t, &a))
        (void)snprintf(out, QUANT_FORM_TEXT, "affine %u-bit in groups of %u", (unsigned)a.bits,
                       (unsigned)a.group); /* always fits */
    else
        (void)snprintf(out, QUANT_FORM_TEXT, "%s", quant_table[t].name);
}
