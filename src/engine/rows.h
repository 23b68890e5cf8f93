/* rows.h - a batch, checked against every rule of the contract and turned into the arrays of a
 * step.
 *
 * Both engines take their batches through here: what is refused, and in which words, is one thing.
 * Nothing changes before a whole batch has been found right. Engine thread only.
 */
#ifndef ENGINE_ROWS_H
#define ENGINE_ROWS_H

#include "base/workers.h"
#include "engine/engine.h"

/* Which rows a value has: all of the batch, those that asked for an output, one a sequence. */
typedef enum engine_domain { ENGINE_IN, ENGINE_OUT, ENGINE_SEQ, ENGINE_N_DOMAIN } engine_domain;

/* For whose sake something is computed. */
#define ENGINE_NEED_LOGITS 0x1u
#define ENGINE_NEED_HIDDEN 0x2u
#define ENGINE_NEED_POOLED 0x4u
#define ENGINE_NEED_ALWAYS 0x8u /* leaves something in the KV */

/* A run of rows of one sequence. */
typedef struct engine_run {
    int32_t seq;
    size_t row0, n;
    int32_t pos0; /* place of its first row in the sequence */
} engine_run;

/* What rows are checked against. */
typedef struct engine_limits {
    uint32_t n_ctx, n_batch;
    size_t n_vocab;
    uint64_t n_pos; /* rows of the smallest table of positions */
    bool has_axes;  /* positions have several components (M-RoPE), and are not places */
    bool gives[3];  /* by plan_output_kind */
    /* of a sequence: its tokens, -1: there is none; any number may be asked for */
    int32_t (*len)(const void *user, int32_t seq);
    const void *user;
    const int32_t *prev; /* [seq] greedy choice of its last output, -1: none */
} engine_limits;

/* The arrays have room for n_batch entries each; they are the engine's. */
typedef struct engine_step {
    engine_row *row; /* PREV: id is what prev says */
    int32_t *index;  /* place in the sequence */
    engine_run *run;
    size_t n_run;
    size_t *out_row; /* row of each OUT row */
    size_t *seq_row; /* row of each SEQ row */
    size_t n_row[ENGINE_N_DOMAIN];
    uint32_t wanted; /* ENGINE_NEED_ bits */
} engine_step;

/* Errors as of engine_vt.submit. */
cama_err engine_take_rows(const engine_limits *l, const engine_batch *b, engine_step *out,
                          err_info *err);

/* The tokens [*lo, *hi) of its sequence that a row at `index` sees, visible_end being the row's. */
void engine_mask_range(plan_mask kind, size_t window, int32_t index, int32_t visible_end,
                       int32_t out[2]);

/* cos and sin [n_rot / 2] of the angles of one row, times mscale. */
void engine_rope_row(const plan_rope *p, const int32_t pos[4], float *cos_out, float *sin_out);

/* The k best of x [n], best first (ties: lower id; NaN is none); gives how many there are.
 * O(n + k log k) mostly. */
size_t engine_choose_best(const float *x, size_t n, size_t k, engine_cand *heap);

/* The glu of gpt-oss: both sides clamped, the gate's sigmoid steeper, one added to up. out may be
 * gate. */
void engine_oai_glu(const float *gate, const float *up, size_t n, float *out);

/* What vt.set_threads asks of n_made threads: gives how many take part from now on. */
int engine_set_workers(workers *w, int n_made, uint32_t n_thread, uint64_t spin_ns);

#endif
