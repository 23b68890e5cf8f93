#include "quant/quant.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "quant/f16.h"
#include "quant/quant_int.h"

/* What formats.def cannot say: which formats are plain floats, and which hold no weights (integers
 * are data, Q8_1 and Q8_K carry activations). */
#define IS_FLOAT(t) ((t) == QUANT_F32 || (t) == QUANT_F16 || (t) == QUANT_BF16 || (t) == QUANT_F64)
#define IS_WEIGHT(t)                                                                               \
    ((t) != QUANT_I8 && (t) != QUANT_I16 && (t) != QUANT_I32 && (t) != QUANT_I64 &&                \
     (t) != QUANT_Q8_1 && (t) != QUANT_Q8_K)

const quant_info quant_table[QUANT_N_TYPE] = {
#define X(name_, id_, n_, bytes_)                                                                  \
    [QUANT_##name_] = {.name = #name_,                                                             \
                       .gguf_id = (id_),                                                           \
                       .block_n = (n_),                                                            \
                       .block_bytes = (bytes_),                                                    \
                       .is_float = IS_FLOAT(QUANT_##name_),                                        \
                       .is_weight = IS_WEIGHT(QUANT_##name_)},
#include "quant/formats.def"
#undef X
};

void quant_deq_F32(const void *block, float *out)
{
    memcpy(out, block, 4);
}

void quant_deq_F16(const void *block, float *out)
{
    *out = f16_to_f32(((const struct quant_F16 *)block)->x);
}

void quant_deq_BF16(const void *block, float *out)
{
    *out = bf16_to_f32(((const struct quant_BF16 *)block)->x);
}

void quant_deq_F64(const void *block, float *out)
{
    *out = (float)((const struct quant_F64 *)block)->x;
}

/* NULL: integers and affine formats. */
static quant_deq_fn *const deq_table[QUANT_N_TYPE] = {
    [QUANT_F32] = quant_deq_F32,         [QUANT_F16] = quant_deq_F16,
    [QUANT_BF16] = quant_deq_BF16,       [QUANT_F64] = quant_deq_F64,
    [QUANT_Q4_0] = quant_deq_Q4_0,       [QUANT_Q4_1] = quant_deq_Q4_1,
    [QUANT_Q5_0] = quant_deq_Q5_0,       [QUANT_Q5_1] = quant_deq_Q5_1,
    [QUANT_Q8_0] = quant_deq_Q8_0,       [QUANT_Q8_1] = quant_deq_Q8_1,
    [QUANT_Q2_K] = quant_deq_Q2_K,       [QUANT_Q3_K] = quant_deq_Q3_K,
    [QUANT_Q4_K] = quant_deq_Q4_K,       [QUANT_Q5_K] = quant_deq_Q5_K,
    [QUANT_Q6_K] = quant_deq_Q6_K,       [QUANT_Q8_K] = quant_deq_Q8_K,
    [QUANT_IQ2_XXS] = quant_deq_IQ2_XXS, [QUANT_IQ2_XS] = quant_deq_IQ2_XS,
    [QUANT_IQ2_S] = quant_deq_IQ2_S,     [QUANT_IQ3_XXS] = quant_deq_IQ3_XXS,
    [QUANT_IQ3_S] = quant_deq_IQ3_S,     [QUANT_IQ1_S] = quant_deq_IQ1_S,
    [QUANT_IQ1_M] = quant_deq_IQ1_M,     [QUANT_IQ4_NL] = quant_deq_IQ4_NL,
    [QUANT_IQ4_XS] = quant_deq_IQ4_XS,   [QUANT_TQ1_0] = quant_deq_TQ1_0,
    [QUANT_TQ2_0] = quant_deq_TQ2_0,     [QUANT_Q1_0] = quant_deq_Q1_0,
    [QUANT_Q2_0] = quant_deq_Q2_0,       [QUANT_MXFP4] = quant_deq_MXFP4,
    [QUANT_NVFP4] = quant_deq_NVFP4,     [QUANT_MXFP8] = quant_deq_MXFP8,
};

/* The affine formats share one decoder. False: integers, which have no weights. */
static bool has_floats(quant_type t)
{
    return deq_table[t] || quant_affine_info(t, NULL);
}

static void dequant_block(quant_type t, const void *block, float *out)
{
    if (deq_table[t])
        deq_table[t](block, out);
    else
        quant_deq_affine(t, block, out);
}

static quant_enc_fn *const enc_table[QUANT_N_TYPE] = {
    [QUANT_Q4_0] = quant_enc_Q4_0, [QUANT_Q4_1] = quant_enc_Q4_1, [QUANT_Q5_0] = quant_enc_Q5_0,
    [QUANT_Q5_1] = quant_enc_Q5_1, [QUANT_Q8_0] = quant_enc_Q8_0,
};

quant_type quant_from_gguf(uint32_t gguf_id)
{
    int t = 0;
    while (t < QUANT_N_TYPE && quant_table[t].gguf_id != gguf_id)
        t++;
    return (quant_type)t;
}

quant_type quant_from_name(const char *name)
{
    int t = 0;
    while (t < QUANT_N_TYPE && strcasecmp(quant_table[t].name, name) != 0)
        t++;
    return (quant_type)t;
}

const char *quant_gone_name(uint32_t gguf_id)
{
    static const struct {
        uint32_t id;
        const char *name;
    } gone[] = {{4, "Q4_2"},      {5, "Q4_3"},        {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},
                {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (gone[i].id == gguf_id)
            return gone[i].name;
    return NULL;
}

size_t quant_row_bytes(quant_type t, size_t n)
{
    assert(n % quant_table[t].block_n == 0);
    return n / quant_table[t].block_n * quant_table[t].block_bytes;
}

void quant_dequant(quant_type t, const void *blocks, float *out, size_t n)
{
    const quant_info *info = &quant_table[t];
    assert(n % info->block_n == 0 && has_floats(t));
    const uint8_t *block = blocks;
    for (size_t i = 0; i < n; i += info->block_n, block += info->block_bytes)
        dequant_block(t, block, out + i);
}

bool quant_all_finite(quant_type t, const void *blocks, size_t n, size_t *out_bad)
{
    const quant_info *info = &quant_table[t];
    assert(n % info->block_n == 0);
    if (!has_floats(t))
        return true;
    float x[256];
    const uint8_t *block = blocks;
    for (size_t i = 0; i < n; i += info->block_n, block += info->block_bytes) {
        dequant_block(t, block, x);
        /* the exponent byte 255 means NaN, which our decoder, like ggml's, reads as 2^128 */
        bool fine = (t != QUANT_MXFP4 && t != QUANT_MXFP8) || block[0] != 255;
        fine = fine && (!quant_affine_info(t, NULL) || quant_affine_is_finite(t, block));
        for (uint32_t j = 0; j < info->block_n; j++)
            fine = fine && isfinite(x[j]);
        if (!fine) {
            *out_bad = i;
            return false;
        }
    }
    return true;
}

/* The float formats have codes for what is not finite, and keep it. */
static void quantize_float(quant_type t, const float *in, void *out, size_t n)
{
    uint16_t *half = out;
    if (t == QUANT_F32)
        memcpy(out, in, n * sizeof *in);
    else
        for (size_t i = 0; i < n; i++)
            half[i] = t == QUANT_F16 ? f16_from_f32(in[i]) : bf16_from_f32(in[i]);
}

cama_err quant_quantize(quant_type t, const float *in, void *blocks, size_t n, err_info *err)
{
    const quant_info *info = &quant_table[t];
    assert(n % info->block_n == 0);
    if (t == QUANT_F32 || t == QUANT_F16 || t == QUANT_BF16) {
        quantize_float(t, in, blocks, n);
        return CAMA_OK;
    }
    if (!enc_table[t])
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "quant: cannot make %s; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 can "
                       "be made",
                       info->name);
    uint8_t *block = blocks;
    for (size_t i = 0; i < n; i += info->block_n, block += info->block_bytes)
        enc_table[t](in + i, block);
    return CAMA_OK;
}
