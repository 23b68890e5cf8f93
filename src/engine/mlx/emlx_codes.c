#include "engine/mlx/emlx_codes.h"

#include <string.h>

#include "quant/f16.h"

typedef void code_fn(const emlx_recipe *r, const uint8_t *block, emlx_coded *out);

struct emlx_recipe {
    quant_type type;
    int32_t bits, group;
    bool is_half;
    int add, div; /* code = (w + add) / div of the unpacked integers w, without a remainder */
    code_fn *code;
};

/* weight = scale * w + min = (scale * div) * code + (min - scale * add). Either min or add is 0; a
 * scale has at most 17 bits and add 8, so that every product is exact in f32, and the sum that MLX
 * makes is rounded once, where quant_dequant rounds. */
static void code_plain(const emlx_recipe *r, const uint8_t *block, emlx_coded *out)
{
    kern_piece p;
    kern_unpack_table[r->type].unpack(block, &p);
    const size_t n = quant_table[r->type].block_n, group = (size_t)r->group;
    for (size_t i = 0; i < n; i++)
        out->code[i] = (uint8_t)((p.w[i] + r->add) / r->div);
    for (size_t g = 0; g < n / group; g++) {
        const float scale = p.scale[g * group / KERN_GROUP], min = p.min[g * group / KERN_GROUP];
        out->scale[g] = scale * (float)r->div;
        out->bias[g] = r->add ? -(scale * (float)r->add) : min;
    }
}

/* Sixteen scales of their own in a block of 256: times their small integers they are integers of 8
 * bits under one scale. In a copy of the block whose d is 1 the unpacked scales are those
 * integers over `unit`. Gives the products, w[i] of piece i. */
static void small_products(quant_type t, const uint8_t *unit_block, float unit, int16_t *out)
{
    kern_piece p;
    kern_unpack_table[t].unpack(unit_block, &p);
    for (size_t i = 0; i < KERN_PIECE_MAX; i++)
        out[i] = (int16_t)(p.w[i] * (int)(p.scale[i / KERN_GROUP] / unit));
}

static void set_both(emlx_coded *out, float scale, float bias)
{
    for (size_t g = 0; g < 2; g++) { /* groups of 128 */
        out->scale[g] = scale;
        out->bias[g] = bias;
    }
}

/* Products of -124 to 128: counted down from 128 they are codes of 8 bits. */
static void code_Q3_K(const emlx_recipe *r, const uint8_t *block, emlx_coded *out)
{
    uint8_t unit[110];
    int16_t v[KERN_PIECE_MAX];
    uint16_t d_bits;
    memcpy(unit, block, sizeof unit);
    memcpy(&d_bits, block + 108, sizeof d_bits);
    unit[108] = 0x00;
    unit[109] = 0x3C; /* a half of 1 */
    small_products(r->type, unit, 1.0f, v);
    for (size_t i = 0; i < KERN_PIECE_MAX; i++)
        out->code[i] = (uint8_t)(128 - v[i]);
    const float d = f16_to_f32(d_bits);
    set_both(out, -d, 128.0f * d);
}

/* Odd products of -135 to 135 in eighths of d, whose half is spread over the top nibbles of four
 * words. */
static void code_IQ1_M(const emlx_recipe *r, const uint8_t *block, emlx_coded *out)
{
    static const uint8_t one[4] = {0x00, 0x00, 0xC0, 0x30};
    uint8_t unit[56];
    int16_t v[KERN_PIECE_MAX];
    unsigned d_bits = 0;
    memcpy(unit, block, sizeof unit);
    for (size_t i = 0; i < 4; i++) {
        uint8_t *top = unit + 49 + 2 * i;
        d_bits |= (unsigned)(*top >> 4) << 4 * i;
        *top = (uint8_t)((*top & 15) | one[i]);
    }
    small_products(r->type, unit, 0.125f, v);
    for (size_t i = 0; i < KERN_PIECE_MAX; i++)
        out->code[i] = (uint8_t)((v[i] + 135) / 2);
    const float d = f16_to_f32((uint16_t)d_bits);
    set_both(out, 0.25f * d, -16.875f * d);
}

/* -1, 0 or 1, and an eighth more or less throughout a group; unpacked in eighths. */
static void code_IQ1_S(const emlx_recipe *r, const uint8_t *block, emlx_coded *out)
{
    kern_piece p;
    kern_unpack_table[r->type].unpack(block, &p);
    for (size_t g = 0; g < 8; g++) {
        const int8_t *w = p.w + 32 * g;
        const int delta = (w[0] & 7) == 1 ? 1 : -1;
        for (size_t i = 0; i < 32; i++)
            out->code[32 * g + i] = (uint8_t)((w[i] - delta) / 8 + 1);
        out->scale[g] = 8.0f * p.scale[2 * g];
        out->bias[g] = (float)(delta - 8) * p.scale[2 * g];
    }
}

static const emlx_recipe recipes[] = {
    {QUANT_Q4_0, 4, 32, true, 8, 1, code_plain},
    {QUANT_Q4_1, 4, 32, true, 0, 1, code_plain},
    {QUANT_Q5_0, 5, 32, true, 16, 1, code_plain},
    {QUANT_Q5_1, 5, 32, true, 0, 1, code_plain},
    {QUANT_Q8_0, 8, 32, true, 128, 1, code_plain},
    {QUANT_Q3_K, 8, 128, true, 0, 1, code_Q3_K},
    {QUANT_Q4_K, 4, 32, false, 0, 1, code_plain},
    {QUANT_Q5_K, 5, 32, false, 0, 1, code_plain},
    {QUANT_IQ4_NL, 8, 32, true, 128, 1, code_plain},
    {QUANT_IQ4_XS, 8, 32, false, 128, 1, code_plain},
    {QUANT_IQ3_S, 4, 32, false, 15, 2, code_plain},
    {QUANT_IQ3_XXS, 6, 32, false, 62, 2, code_plain}, /* even values of -62 to 62 */
    {QUANT_IQ2_XXS, 8, 32, false, 43, 1, code_plain},
    {QUANT_IQ1_S, 2, 32, false, 0, 1, code_IQ1_S},
    {QUANT_IQ1_M, 8, 128, false, 0, 1, code_IQ1_M},
    {QUANT_TQ1_0, 2, 128, true, 1, 1, code_plain},
    {QUANT_TQ2_0, 2, 128, true, 1, 1, code_plain},
    {QUANT_Q1_0, 2, 128, true, 1, 2, code_plain},
    {QUANT_Q2_0, 2, 64, true, 1, 1, code_plain},
};

const emlx_recipe *emlx_recipe_of(quant_type t)
{
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        if (recipes[i].type == t)
            return &recipes[i];
    }
    return NULL;
}

int32_t emlx_recipe_bits(const emlx_recipe *r)
{
    return r->bits;
}

int32_t emlx_recipe_group(const emlx_recipe *r)
{
    return r->group;
}

bool emlx_recipe_is_half(const emlx_recipe *r)
{
    return r->is_half;
}

void emlx_code_block(const emlx_recipe *r, const uint8_t *block, emlx_coded *out)
{
    r->code(r, block, out);
}

void emlx_pack_codes(const uint8_t *code, size_t n, int32_t bits, uint8_t *out)
{
    if (bits == 8) {
        memcpy(out, code, n);
        return;
    }
    uint32_t held = 0; /* bits that do not fill a byte yet */
    int32_t n_held = 0;
    for (size_t i = 0; i < n; i++) {
        held |= (uint32_t)code[i] << n_held;
        n_held += bits;
        for (; n_held >= 8; n_held -= 8, held >>= 8)
            *out++ = (uint8_t)held;
    }
}
