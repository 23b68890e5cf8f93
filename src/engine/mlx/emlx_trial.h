/* emlx_trial.h - what is tried on a device before weights go there, and what came of it.
 *
 * Kernels of ours prove themselves against the reference (emlx_selftest.h). MLX's own products are
 * only made to run, in each form that a model would use: on one GPU or another some combination of
 * bits and groups is refused (8 bits in groups of 128 by MLX 0.32.4 on an H100), and a model must
 * not find that out in its first prompt. What does not work is dequantised.
 */
#ifndef ENGINE_MLX_EMLX_TRIAL_H
#define ENGINE_MLX_EMLX_TRIAL_H

#include "engine/mlx/emlx_int.h"
#include "engine/mlx/emlx_selftest.h"

#define EMLX_TRIAL_MAX 96

typedef struct emlx_tried {
    mb_form form;
    int32_t bits, group;
    bool works;
} emlx_tried;

struct emlx_trial {
    const mb_api *b;
    mb *m;
    mb_info info;
    const kern_table *kern; /* of the CPU */
    kern_form form;         /* of activations there */
    emlx_gpu *gpu;          /* NULL: the device is a CPU */
    bool wanted[QUANT_N_TYPE];
    emlx_selftest result;
    emlx_tried tried[EMLX_TRIAL_MAX];
    size_t n_tried;
};

/* Kernels of the wanted types; the result is in t. Errors as of emlx_selftest_run. */
cama_err emlx_trial_run(emlx_trial *t, err_info *err);
/* Whether MLX's product in this form runs on the device; each is tried once. */
bool emlx_trial_form(emlx_trial *t, const emlx_form *f);

#endif
