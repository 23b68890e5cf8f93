/* emlx_gpu.h - our kernels for a GPU: products with weights that lie there as in their file.
 *
 * A kernel is text (gpu/) that the GPU's driver compiles when it is first used: one body for Metal
 * and CUDA, put together of a format's part and an operation's. It reads the file's blocks and
 * computes with the values that quant_dequant gives, bit for bit; sums are f32.
 *
 *     gemv   y = x W^T for 1 to EMLX_GPU_MAX_ROW rows of x: what a step of decoding asks for
 *     rows   weights as floats: rows of an embedding, or all of them for a dense product
 *
 * The same row of x gives the same bits alone and among others, up to EMLX_GPU_MAX_ROW; more rows
 * are multiplied by MLX's dense product.
 * A text is compiled when the first value is asked for that needs it, in about a second; MLX keeps
 * the result on disk on CUDA.
 * Lazy, like the bridge: each function adds nodes to the graph, failures stick in it and give 0.
 * Which formats may be used is for the self-test to say (emlx_selftest.h); who holds weights in
 * another form never comes here. Thread: the one that opened the bridge.
 */
#ifndef ENGINE_MLX_EMLX_GPU_H
#define ENGINE_MLX_EMLX_GPU_H

#include "engine/mlx/mb.h"
#include "quant/quant.h"

#define EMLX_GPU_MAX_ROW 8u
#define EMLX_GPU_N_FORMAT 2u
/* Texts of a format: gemv for 1, 4, 8 rows and rows; in f32, then in f16. */
#define EMLX_GPU_N_VARIANT 8u
#define EMLX_GPU_NAME_BYTES 64

/* What there is of a format, whatever the backend. */
typedef struct emlx_gpu_kernel {
    quant_type type;
    const char *name; /* "q4_k" */
    uint32_t align;   /* of the blocks' first byte on the device; rows follow without gaps */
    const char *text; /* the format's part */
} emlx_gpu_kernel;

/* One text as MLX is to compile it; its name holds a hash of it, since MLX keeps what it compiled
 * under the name alone. */
typedef struct emlx_gpu_source {
    char name[EMLX_GPU_NAME_BYTES];
    const char *header, *body;
    uint32_t n_row, n_out; /* gemv: rows of x and columns of y of 32 lanes; else 0 */
    bool is_f16;           /* activations and results; else f32 */
} emlx_gpu_source;

typedef struct emlx_gpu emlx_gpu; /* opaque: the struct is in emlx_gpu.c */

/* NULL: there is none for this format. */
const emlx_gpu_kernel *emlx_gpu_kernel_for(quant_type t);
/* i < EMLX_GPU_N_FORMAT. */
const emlx_gpu_kernel *emlx_gpu_kernel_at(size_t i);

/* All texts for "metal" or "cuda" (another word: CAMA_ERR_UNSUPPORTED), 160 KB. b and m may be NULL
 * for who only reads the texts; they are the caller's and must outlive it. */
cama_err emlx_gpu_new(const mb_api *b, mb *m, const char *backend, emlx_gpu **out, err_info *err);
void emlx_gpu_free(emlx_gpu *g); /* accepts NULL */

/* Variant v < EMLX_GPU_N_VARIANT of a format; it lives as long as g. */
const emlx_gpu_source *emlx_gpu_source_at(const emlx_gpu *g, quant_type t, size_t v);
/* Over all texts of a format for one type of x: another text is another kernel. */
uint64_t emlx_gpu_hash(const emlx_gpu *g, quant_type t, bool is_f16);

/* Weights as they lie on the device. */
typedef struct emlx_gpu_weight {
    quant_type type; /* one that emlx_gpu_kernel_for has */
    mb_ref blocks;   /* u8 [n_out, quant_row_bytes(type, n_in)], contiguous */
    size_t n_in;     /* a multiple of 256 */
    size_t n_out;
} emlx_gpu_weight;

/* x [.., n_in] -> [.., n_out], of x's type: F32 and F16 are read as they are, others through f32.
 */
mb_ref emlx_gpu_linear(emlx_gpu *g, const emlx_gpu_weight *w, mb_ref x);
/* Rows ids [n] (i32 or u32; 0: all) -> [n, n_in] of type t: F32, F16, others through f32. f16
 * rounds once, to the nearest. */
mb_ref emlx_gpu_rows(emlx_gpu *g, const emlx_gpu_weight *w, mb_ref ids, mb_dtype t);

/* For who measures: columns of y that 32 lanes of variant v make (1, 2 or 4) instead of the usual.
 * CAMA_ERR_NOMEM. */
cama_err emlx_gpu_set_columns(emlx_gpu *g, quant_type t, size_t v, uint32_t n_out);

#endif
