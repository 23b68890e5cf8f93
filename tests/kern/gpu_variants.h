/* gpu_variants.h - every kernel text of emlx_gpu.h, and some with other numbers of columns, as C
 * functions of one thread. */
#ifndef GPU_VARIANTS_H
#define GPU_VARIANTS_H

#include "gpu_host.h"

#include "quant/quant.h"

#define GPU_TAG q4_k_1_2_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q4_k.inc"
#define KT_N_ROW 1
#define KT_N_OUT 2
#define KT_F16 0
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q4_k_1_2_f16
#define GPU_FORMAT "engine/mlx/gpu/fmt_q4_k.inc"
#define KT_N_ROW 1
#define KT_N_OUT 2
#define KT_F16 1
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q4_k_4_2_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q4_k.inc"
#define KT_N_ROW 4
#define KT_N_OUT 2
#define KT_F16 0
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q4_k_4_2_f16
#define GPU_FORMAT "engine/mlx/gpu/fmt_q4_k.inc"
#define KT_N_ROW 4
#define KT_N_OUT 2
#define KT_F16 1
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q4_k_8_4_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q4_k.inc"
#define KT_N_ROW 8
#define KT_N_OUT 4
#define KT_F16 0
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q4_k_8_4_f16
#define GPU_FORMAT "engine/mlx/gpu/fmt_q4_k.inc"
#define KT_N_ROW 8
#define KT_N_OUT 4
#define KT_F16 1
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q4_k_1_1_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q4_k.inc"
#define KT_N_ROW 1
#define KT_N_OUT 1
#define KT_F16 0
#define KT_AHEAD 0
#include "gpu_variant.inc"

#define GPU_TAG q4_k_2_4_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q4_k.inc"
#define KT_N_ROW 2
#define KT_N_OUT 4
#define KT_F16 0
#define KT_AHEAD 0
#include "gpu_variant.inc"

#define GPU_TAG q6_k_1_2_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q6_k.inc"
#define KT_N_ROW 1
#define KT_N_OUT 2
#define KT_F16 0
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q6_k_1_2_f16
#define GPU_FORMAT "engine/mlx/gpu/fmt_q6_k.inc"
#define KT_N_ROW 1
#define KT_N_OUT 2
#define KT_F16 1
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q6_k_4_2_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q6_k.inc"
#define KT_N_ROW 4
#define KT_N_OUT 2
#define KT_F16 0
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q6_k_4_2_f16
#define GPU_FORMAT "engine/mlx/gpu/fmt_q6_k.inc"
#define KT_N_ROW 4
#define KT_N_OUT 2
#define KT_F16 1
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q6_k_8_4_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q6_k.inc"
#define KT_N_ROW 8
#define KT_N_OUT 4
#define KT_F16 0
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q6_k_8_4_f16
#define GPU_FORMAT "engine/mlx/gpu/fmt_q6_k.inc"
#define KT_N_ROW 8
#define KT_N_OUT 4
#define KT_F16 1
#define KT_AHEAD 1
#include "gpu_variant.inc"

#define GPU_TAG q6_k_1_1_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q6_k.inc"
#define KT_N_ROW 1
#define KT_N_OUT 1
#define KT_F16 0
#define KT_AHEAD 0
#include "gpu_variant.inc"

#define GPU_TAG q6_k_2_4_f32
#define GPU_FORMAT "engine/mlx/gpu/fmt_q6_k.inc"
#define KT_N_ROW 2
#define KT_N_OUT 4
#define KT_F16 0
#define KT_AHEAD 0
#include "gpu_variant.inc"

typedef struct variant {
    quant_type type;
    unsigned n_row, n_out;
    bool is_f16;
    gpu_fn *gemv, *rows;
} variant;

static const variant variants[] = {
    {QUANT_Q4_K, 1, 2, false, gemv_q4_k_1_2_f32, rows_q4_k_1_2_f32},
    {QUANT_Q4_K, 1, 2, true, gemv_q4_k_1_2_f16, rows_q4_k_1_2_f16},
    {QUANT_Q4_K, 4, 2, false, gemv_q4_k_4_2_f32, rows_q4_k_4_2_f32},
    {QUANT_Q4_K, 4, 2, true, gemv_q4_k_4_2_f16, rows_q4_k_4_2_f16},
    {QUANT_Q4_K, 8, 4, false, gemv_q4_k_8_4_f32, rows_q4_k_8_4_f32},
    {QUANT_Q4_K, 8, 4, true, gemv_q4_k_8_4_f16, rows_q4_k_8_4_f16},
    {QUANT_Q4_K, 1, 1, false, gemv_q4_k_1_1_f32, rows_q4_k_1_1_f32},
    {QUANT_Q4_K, 2, 4, false, gemv_q4_k_2_4_f32, rows_q4_k_2_4_f32},
    {QUANT_Q6_K, 1, 2, false, gemv_q6_k_1_2_f32, rows_q6_k_1_2_f32},
    {QUANT_Q6_K, 1, 2, true, gemv_q6_k_1_2_f16, rows_q6_k_1_2_f16},
    {QUANT_Q6_K, 4, 2, false, gemv_q6_k_4_2_f32, rows_q6_k_4_2_f32},
    {QUANT_Q6_K, 4, 2, true, gemv_q6_k_4_2_f16, rows_q6_k_4_2_f16},
    {QUANT_Q6_K, 8, 4, false, gemv_q6_k_8_4_f32, rows_q6_k_8_4_f32},
    {QUANT_Q6_K, 8, 4, true, gemv_q6_k_8_4_f16, rows_q6_k_8_4_f16},
    {QUANT_Q6_K, 1, 1, false, gemv_q6_k_1_1_f32, rows_q6_k_1_1_f32},
    {QUANT_Q6_K, 2, 4, false, gemv_q6_k_2_4_f32, rows_q6_k_2_4_f32},
};

#endif
