/* emlx_selftest.h - kernels of ours prove on the device that they are right before they are used.
 *
 * A compiler that runs on the user's machine makes machine code of our text, and nobody has seen
 * that GPU, that driver and that text together. So each kernel multiplies random blocks, in shapes
 * with every edge that it has, and the result is compared with quant_dequant and sums in double. A
 * wrong value, an error or text that does not compile means that the format's stock form is taken.
 *
 *     emlx_selftest_run(&in, &tests, &err)      once after the bridge was opened
 *     emlx_selftest_ok(&tests, "q4_k f16")      whether weights may stay as they are in the file
 *     emlx_selftest_note(&tests, note, n)       for engine_stat.note; "": all passed
 *     emlx_selftest_text(&tests, out)           a report of lines
 *
 * The limit is derived: a kernel adds n_in / 32 products to a sum in turn and five sums to that,
 * and each addition rounds by 2^-24 of at most the sum of all |w x|. What a kernel rounds beside
 * that it declares. Results of the GPU's kernels are remembered (emlx_memo.h): the first load on a
 * machine takes as long as the compiler needs, a second a text; later ones read a file.
 *
 * CAMA_MLX_SELFTEST, for tests: fail:NAME makes that kernel fail ("q4_k" for its types both,
 * "all"), off trusts no kernel, force runs what is remembered again. Thread: the bridge's.
 */
#ifndef ENGINE_MLX_EMLX_SELFTEST_H
#define ENGINE_MLX_EMLX_SELFTEST_H

#include "base/buf.h"
#include "engine/mlx/emlx_gpu.h"

#define EMLX_SELFTEST_MAX 128u
#define EMLX_SELFTEST_MAX_WHY 200

/* One product: y [n_row, n_out] = x [n_row, n_in] W^T. */
typedef struct emlx_selftest_case {
    quant_type type;
    const uint8_t *blocks; /* [n_out, quant_row_bytes(type, n_in)], aligned to 64, nothing behind it
                              may be read */
    const float *x;
    size_t n_row, n_in, n_out;
} emlx_selftest_case;

/* Computes y, which was filled with NaN; any error is a failure of the kernel. */
typedef cama_err emlx_selftest_fn(void *user, const emlx_selftest_case *c, float *y, err_info *err);

/* A kernel to be tested beside those of emlx_gpu.h: on a CPU, the nodes of ours that run kern's
 * kernels; never remembered. */
typedef struct emlx_selftest_kernel {
    const char *name; /* "cpu q4_k"; at most 31 characters; lives as long as the results */
    quant_type type;
    emlx_selftest_fn *run;
    void *user;
    size_t n_lane; /* sums that run side by side: each adds n_in / n_lane products; 0: 32 */
    double x_unit; /* x is rounded by at most that times the largest |x| of its row; 0: not */
    double y_unit; /* y is, by that times |y| */
} emlx_selftest_kernel;

typedef struct emlx_selftest_in {
    const mb_api *b;
    mb *m;
    const mb_info *info;
    emlx_gpu *gpu;      /* NULL: no GPU */
    const bool *wanted; /* [QUANT_N_TYPE] of the GPU's kernels; NULL: all */
    bool f32, f16;      /* of x, for the GPU's kernels */
    const emlx_selftest_kernel *more;
    size_t n_more;
} emlx_selftest_in;

typedef struct emlx_selftest_result {
    char name[32]; /* "q4_k f16" */
    bool ok;
    bool remembered;
    size_t n_case;
    double error,
        limit; /* the worst, relative to the sum of |w x|, and what that product may have */
    char why[EMLX_SELFTEST_MAX_WHY]; /* not ok: "max error 0.3 at row 5 of 8, 8 x 4096 x 33" */
    double ms;                       /* compiling included */
} emlx_selftest_result;

typedef struct emlx_selftest {
    char device[128];
    emlx_selftest_result result[EMLX_SELFTEST_MAX];
    size_t n;
} emlx_selftest;

/* CAMA_OK also when kernels failed; CAMA_ERR_NOMEM, CAMA_ERR_LIMIT (too many of them). Clears the
 * bridge's error and its temporaries. */
cama_err emlx_selftest_run(const emlx_selftest_in *in, emlx_selftest *out, err_info *err);
/* Whether it was tested and passed; with "q4_k", all of its types that were tested. */
bool emlx_selftest_ok(const emlx_selftest *t, const char *name);
/* "kernel q4_k f16 failed its self-test on NVIDIA H100 (...): stock form", several with "; "
 * between, cut at n. */
void emlx_selftest_note(const emlx_selftest *t, char *out, size_t n);
/* A line for each: kernel, device, products, largest error, limit, ok or FAILED, milliseconds. */
cama_err emlx_selftest_text(const emlx_selftest *t, buf *out);

#endif
