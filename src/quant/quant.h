/* quant.h - block formats of weights: one table, and their definition in C.
 *
 * A tensor row is a run of blocks; formats.def gives for each format its GGUF id, weights per block
 * and bytes per block. quant_dequant is the definition of what a block means, written the slow
 * obvious way (reference/spec: docs/formats.md); every kernel is checked against it.
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
    const char *name;      /* "Q4_K" */
    uint32_t gguf_id;      /* ggml's number for it */
    uint32_t block_n;      /* weights a block; ne[0] of a tensor is a multiple of it */
    uint32_t block_bytes;
    bool is_float;         /* F32 F16 BF16 F64: kernels read it with f32 activations */
    bool is_weight;        /* quant_dequant knows it; integers and internal forms are data only */
} quant_info;

extern const quant_info quant_table[QUANT_N_TYPE];

/* The type with this GGUF id, or QUANT_N_TYPE. */
quant_type quant_from_gguf(uint32_t gguf_id);
/* The type of this name, ignoring case, or QUANT_N_TYPE. */
quant_type quant_from_name(const char *name);

/* Bytes of a row of n weights; n is a multiple of block_n (assert). */
size_t quant_row_bytes(quant_type t, size_t n);

/* n weights from blocks to f32; n a multiple of block_n, t with is_weight (asserts). Exact: the
 * result of the format's formula in the order and precision that libggml's own reference uses. */
void quant_dequant(quant_type t, const void *blocks, float *out, size_t n);

/* n weights (multiple of block_n) f32 -> blocks by the plain round-to-nearest reference of the format;
 * F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 only (what the KV cache and the tests need):
 * CAMA_ERR_UNSUPPORTED for others. Non-finite input gives the format's nearest finite value, not UB. */
cama_err quant_quantize(quant_type t, const float *in, void *blocks, size_t n, err_info *err);

#endif
