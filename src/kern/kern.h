/* kern.h - compute: one table of functions, plain C first, overwritten tier by tier.
 *
 * kern_init(cpu) fills every slot with the reference (kern/ref), then lets each tier that `cpu`
 * allows replace what it does better. cpu = 0 is the reference. The table is passed, not global.
 * A kernel works for one thread on a slice the caller chose; it allocates nothing and keeps
 * nothing.
 *
 * Weights lie in the file's own layout behind kern_weight. Activations come in one of two forms:
 *   KERN_F32  rows of floats;
 *   KERN_I8   int8 with a scale for each 32 (value = d * q), made once and read by every format.
 *
 * Batch invariance. An output y[row of activations][row of weights] has the same bits whatever else
 * shares the call, in gemv and in gemm, for any slice. So within a tier each output is ONE float
 * accumulator that takes its terms in this order, block b of 32 columns after block b-1:
 *   I8, one scale a block:      acc = fma((float)isum(b), ws(b) * d(b), acc)
 *   I8, a scale for each 16:    acc = fma((float)isum(b, 0), ws(b, 0) * d(b), acc), then (b, 1)
 *   I8, formats with a minimum: after that, acc = fma(wm(b), ds(b), acc); one for each 16 (Q2_K):
 *                               acc = fma(wm(b, 0), ds(b, 0), acc), then (b, 1)
 * isum is the exact integer sum of w * q, w the signed integer weight (formats that store it with
 * an offset subtract offset * sum(q), also exact); ws, wm are the float scale and minimum of the
 * block as the format computes them (wm with its sign: added), ds = d * (float)sum(q). KERN_F32
 * outputs have a fixed number of partial sums (column mod KERN_F32_LANES), added in a fixed tree at
 * the end. Then y = acc (+ bias) (+ old y).
 */
#ifndef KERN_KERN_H
#define KERN_KERN_H

#include "quant/quant.h"

/* CPU feature tiers, bits of kern_table.cpu. A tier names all it needs, not single features. */
#define KERN_CPU_AVX2 0x1u     /* AVX2, FMA, F16C */
#define KERN_CPU_AVX512 0x2u   /* F, BW, DQ, VL, VNNI; implies AVX2 */
#define KERN_CPU_DOTPROD 0x10u /* Armv8.2 dotprod + fp16 */

#define KERN_BLOCK 32     /* columns under one activation scale */
#define KERN_F32_LANES 16 /* partial sums of a KERN_F32 output */
#define KERN_GEMV_MAX 3   /* up to so many activation rows go to gemv, from the file's bytes */
#define KERN_PAGE 64      /* tokens in a KV page */

/* A slice of a weight matrix: n_row rows (outputs) of n_col weights, contiguous in the file. */
typedef struct kern_weight {
    quant_type type;
    const uint8_t *rows; /* row r at rows + r * row_bytes */
    size_t row_bytes;
    size_t n_row;
    size_t n_col;
} kern_weight;

typedef enum kern_form { KERN_F32, KERN_I8 } kern_form;

/* n_row rows of activations of n_col columns. In KERN_I8 the memory is laid out as the tier likes;
 * only its own kernels look inside. Rows are quantised in steps of row_step by any thread. */
typedef struct kern_acts {
    kern_form form;
    size_t n_row;
    size_t n_col;
    const float *x; /* KERN_F32: row r at x + r * ld */
    size_t ld;
    void *mem; /* KERN_I8: acts_bytes(...) bytes, 64-byte aligned */
} kern_acts;

/* Where outputs go: y[a_row * ld + w_row]. */
typedef struct kern_out {
    float *y;
    size_t ld;
    const float *bias; /* [n_row of the weight], or NULL */
    bool add;          /* y += instead of y = */
} kern_out;

/* rows [row0, row1) of w times every row of a; scratch: scratch_bytes, the thread's own,
 * 64-aligned. */
typedef void kern_matmul_fn(const kern_weight *w, const kern_acts *a, size_t row0, size_t row1,
                            const kern_out *out, void *scratch);

/* One key/value head of one span of pages against n_row * n_group queries (GQA group: they share
 * the head). K pages hold [dim_k][KERN_PAGE] (token innermost: scores of 64 tokens are lanes, and
 * no sum goes sideways), V pages [KERN_PAGE][dim_v]; quantised K: for each 32 dims, f16 d[64] then
 * the integers [32][64] (Q4_0: [16][64], low nibble dim i, high nibble dim i + 16); quantised V:
 * rows of GGUF blocks. Pages are walked in order; within a page tokens in order, with an online
 * softmax: per page m' = max(m, max of page), l and o rescaled by exp(m - m') once a page. */
typedef struct kern_attend {
    quant_type k_type, v_type; /* F32 F16 BF16 Q8_0 Q4_0 */
    size_t dim_k, dim_v;
    bool v_in_k; /* MLA: V is the first dim_v dims of K; v_page is not read */
    size_t n_row, n_group;
    const float *q; /* q[r * q_ld + g * dim_k + i] */
    size_t q_ld;
    const void *const *k_page; /* this head's part of page page0 + i */
    const void *const *v_page;
    size_t page0, n_page;
    const int32_t *lo, *hi; /* [n_row]: row r sees tokens lo <= t < hi (indices in the sequence) */
    float scale;
    float softcap; /* 0: none */
    float *m, *l;  /* [n_row * n_group] out: maximum (-INFINITY: nothing seen) and sum */
    float *o;      /* o[(r * n_group + g) * dim_v + i] out: not divided by l yet */
    void *scratch; /* attend_scratch_bytes */
} kern_attend;

typedef enum kern_act_fn {
    KERN_SILU,
    KERN_GELU_TANH,
    KERN_GELU_ERF,
    KERN_RELU2,
    KERN_SIGMOID,
    KERN_TANH,
    KERN_SOFTPLUS
} kern_act_fn;

/* Gated delta net, one head, n tokens in order (formats.md 4.1): S [dk][dv] is read and written.
 * k, q are already normalised and scaled; o [n][dv]. Strides in floats between tokens. */
typedef struct kern_delta {
    size_t n, dk, dv;
    const float *q, *k, *v;
    size_t q_ld, k_ld, v_ld;
    const float *g, *beta; /* one value a token: log decay, write strength */
    size_t g_ld, beta_ld;
    float *s;
    float *o;
    size_t o_ld;
} kern_delta;

typedef struct kern_table {
    uint32_t cpu;     /* tiers that were allowed and found */
    const char *tier; /* "reference", "avx2", "avx512-vnni", "neon-dotprod" */
    size_t row_step;  /* activation rows one acts_quantize call should cover a multiple of */
    size_t w_step;    /* weight rows a gemm slice should start at a multiple of (panel height) */

    /* KERN_I8 activations. n_col is a multiple of KERN_BLOCK. */
    size_t (*acts_bytes)(size_t n_row, size_t n_col);
    void (*acts_quantize)(kern_acts *a, const float *x, size_t ld, size_t row0, size_t row1);

    /* y for KERN_I8 activations (float formats: slots hold a kernel that refuses by assert; ask
     * kern_form_for) and for KERN_F32 ones, every format. gemv: a->n_row <= KERN_GEMV_MAX. */
    kern_matmul_fn *gemv[QUANT_N_TYPE];
    kern_matmul_fn *gemm[QUANT_N_TYPE];
    kern_matmul_fn *gemv_f32[QUANT_N_TYPE];
    kern_matmul_fn *gemm_f32[QUANT_N_TYPE];
    size_t (*scratch_bytes)(size_t n_col);

    /* One row of n floats each; out may be x. w NULL: no weight. */
    void (*rms_norm)(const float *x, const float *w, size_t n, float eps, float *out);
    void (*layer_norm)(const float *x, const float *w, const float *b, size_t n, float eps,
                       float *out);
    void (*l2_norm)(const float *x, size_t n, float eps, float *out); /* x / max(|x|, eps) */
    void (*add)(const float *a, const float *b, size_t n, float *out);
    void (*mul)(const float *a, const float *b, size_t n, float *out);
    void (*scale)(const float *x, float s, size_t n, float *out);
    void (*axpy)(float s, const float *x, size_t n, float *y); /* y = fma(s, x, y) */
    void (*act)(kern_act_fn fn, const float *x, size_t n, float *out);
    void (*glu)(kern_act_fn fn, const float *gate, const float *up, size_t n,
                float *out);                                          /* act(gate) * up */
    void (*softcap)(const float *x, float cap, size_t n, float *out); /* tanh(x / cap) * cap */
    /* One head: n_rot / 2 pairs turned by cos, sin [n_rot / 2]; neox: pairs (i, i + n_rot/2),
     * else (2i, 2i + 1). In place on x; dims past n_rot are left alone. */
    void (*rope)(float *x, const float *cos, const float *sin, size_t n_rot, bool neox);

    /* KV. One token of one head into its page: x [dim] -> token t of the K page, of the V page. */
    void (*store_k)(quant_type t, void *page, size_t token, const float *x, size_t dim);
    void (*store_v)(quant_type t, void *page, size_t token, const float *x, size_t dim);
    void (*attend)(const kern_attend *a);
    size_t (*attend_scratch_bytes)(size_t dim_k, size_t dim_v, size_t n_query);
    /* Merges n_span results (each [dim_v] o, m, l) in order, adds the sink logit (NULL: none) to
     * the denominator, divides, writes out [dim_v]. Nothing seen at all: zeros. */
    void (*attend_merge)(const float *const *o, const float *m, const float *l, size_t n_span,
                         const float *sink, size_t dim_v, float *out);

    /* Causal depthwise convolution of one token: state [n_tap - 1][n] holds the inputs before it,
     * oldest first, and is shifted; w [n][n_tap] (tap n_tap - 1 is the current token); out [n]. */
    void (*conv_step)(const float *x, const float *w, size_t n, size_t n_tap, float *state,
                      float *out);
    void (*delta)(const kern_delta *d);

    /* Largest value's index (the first of equals) and log(sum(exp(x))). n >= 1. */
    size_t (*argmax)(const float *x, size_t n);
    float (*logsumexp)(const float *x, size_t n);
} kern_table;

/* What this machine has, as KERN_CPU_ bits. */
uint32_t kern_cpu_detect(void);
/* Fills k for the tiers in cpu (bits the machine lacks must not be given). */
void kern_init(kern_table *k, uint32_t cpu);
/* Every tier this machine can run, for tests: masks into out (0 = reference first); gives how many.
 */
size_t kern_tiers(uint32_t out[8]);

/* Float formats and n_col that is no multiple of KERN_BLOCK need KERN_F32 activations. */
kern_form kern_form_for(quant_type t, size_t n_col, kern_form wanted);

/* Whether weights may come in this format at all: it has a KERN_I8 form or is a float's. The
 * KERN_F32 slots compute any format, but those that have no other are not offered to people. */
bool kern_takes(quant_type t);

/* Chooses gemv or gemm and the form's slot. */
void kern_matmul(const kern_table *k, const kern_weight *w, const kern_acts *a, size_t row0,
                 size_t row1, const kern_out *out, void *scratch);

/* Bytes that one head takes in one page, K or V, for a KV type; dim a multiple of 32 for Q8_0,
 * Q4_0. */
size_t kern_page_bytes(quant_type t, size_t dim);

#endif
