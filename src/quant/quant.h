/* quant.h - block formats of weights: one table, and their definition in C.
 *
 * A tensor row is a run of blocks; formats.def gives for each format its GGUF id, weights per block
 * and bytes per block; blocks.h has the structs. quant_dequant is the definition of what a block
 * means, written the slow obvious way (reference/spec: docs/formats.md); every kernel is checked
 * against it.
 */
#ifndef QUANT_QUANT_H
#define QUANT_QUANT_H

#include "base/err.h"

/* QUANT_F32, QUANT_Q4_K, ...: our own dense numbering, in the order of formats.def. */
typedef enum quant_type {
#define X(name, id, n, bytes) QUANT_##name,
#include "quant/formats.def"
#undef X
    QUANT_N_TYPE
} quant_type;

typedef struct quant_info {
    const char *name; /* "Q4_K" */
    uint32_t gguf_id; /* ggml's number for it */
    uint32_t block_n; /* weights a block; ne[0] of a tensor is a multiple of it */
    uint32_t block_bytes;
    bool is_float;  /* F32 F16 BF16 F64: kernels read it with f32 activations */
    bool is_weight; /* weights may come in it; integers and Q8_1, Q8_K are data only */
} quant_info;

extern const quant_info quant_table[QUANT_N_TYPE];

/* The type with this GGUF id, or QUANT_N_TYPE. */
quant_type quant_from_gguf(uint32_t gguf_id);
/* The type of this name, ignoring case, or QUANT_N_TYPE. */
quant_type quant_from_name(const char *name);

/* The name of a format that GGUF once had under this id and gave up, or NULL. */
const char *quant_gone_name(uint32_t gguf_id);

/* Bytes of a row of n weights; n is a multiple of block_n (assert). */
size_t quant_row_bytes(quant_type t, size_t n);

/* n weights from blocks to f32; n a multiple of block_n, t no integer (asserts). Exact: the result
 * of the format's formula in the order and precision that libggml's own reference uses. blocks is
 * aligned as blocks.h says. */
void quant_dequant(quant_type t, const void *blocks, float *out, size_t n);

/* Whether n weights (multiple of block_n) are all finite, scales of unused codes included. When
 * not, *out_bad is the first weight of the first bad block. Integers are finite. */
bool quant_all_finite(quant_type t, const void *blocks, size_t n, size_t *out_bad);

/* n weights (multiple of block_n) f32 -> blocks by the plain round-to-nearest reference of the
 * format; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 only (what the KV cache and the tests need):
 * CAMA_ERR_UNSUPPORTED for others. What is not finite is kept by F32, F16 and BF16; elsewhere NaN
 * counts as 0, and values past what the largest half as scale can reach become that. */
cama_err quant_quantize(quant_type t, const float *in, void *blocks, size_t n, err_info *err);

/* ---- the affine formats: groups with a scale and a bias, as MLX has them ----
 *
 * weight = scale * code + bias, in f32, the product rounded before the sum (it is exact where
 * scales are halves); codes are unsigned. A block is one group. MLX keeps the three parts of a
 * tensor apart: words of packed codes, scales, biases; the functions below go between the two, and
 * change no value. */
typedef struct quant_affine {
    uint32_t bits;        /* 2 3 4 5 6 8 */
    uint32_t group;       /* 32 64 128: weights a block */
    quant_type scale;     /* QUANT_F32, F16 or BF16: how scale and bias are stored */
    uint32_t scale_bytes; /* 4 or 2; the bias takes as many */
    uint32_t code_bytes;  /* group * bits / 8, in MLX's tensor and in the block */
} quant_affine;

/* False, and *out untouched: t is none of them. out may be NULL. */
bool quant_affine_info(quant_type t, quant_affine *out);
/* QUANT_N_TYPE: there is no such form. */
quant_type quant_affine_type(uint32_t bits, uint32_t group, quant_type scale);

/* n_block blocks from MLX's parts and back; scales and biases [n_block] of the scale's type, codes
 * [n_block * code_bytes], none of them aligned. */
void quant_affine_pack(quant_type t, size_t n_block, const void *codes, const void *scales,
                       const void *biases, void *blocks);
void quant_affine_unpack(quant_type t, size_t n_block, const void *blocks, void *out_codes,
                         void *out_scales, void *out_biases);

#define QUANT_FORM_TEXT 64
/* What people call the format, into out: "affine 4-bit in groups of 64", else its name. */
void quant_form_text(quant_type t, char out[QUANT_FORM_TEXT]);

#endif
