/* cama_verify.h - two engines being compared: what cama_verify.c counts and cama_verify_report.c
 * judges and tells. */
#ifndef CAMA_VERIFY_H
#define CAMA_VERIFY_H

#include "cama_int.h"

/* The first position where the greedy choices differ. */
typedef struct divergence {
    bool found;
    size_t at; /* tokens of the answer before it */
    int32_t id[2];
    float logit[2][2]; /* [of engine][for whose choice] */
} divergence;

typedef struct tally {
    size_t n_position, n_logit, n_odd; /* odd: a NaN or an infinity in one of the two only */
    double max_abs, sum_abs;
    double max_diff, largest; /* max_diff: in parts of the largest logit of its row */
    double max_kl, sum_kl;
    size_t n_agree;
    divergence first;
} tally;

typedef struct verify {
    cama_verify_opts o;
    cama_model *m[2];
    cama_ctx *ctx[2];
    float *logits[2]; /* [n_chunk][n_vocab] */
    size_t n_chunk, n_vocab;
    int32_t *ids; /* the prompt, then what the leader chose */
    size_t n_prompt, n_answer;
    size_t n_alone; /* tokens that are equal when each engine goes by itself */
    bool is_alone;  /* that was compared */
    tally t;
    /* Of vectors. */
    bool embeds;
    size_t n_text;
    double min_cosine, max_vector;
    uint64_t spent_ns[2];
    cama_error *err;
} verify;

/* What is past its limit; NULL: nothing is. */
const char *verify_what_differs(const verify *v);
/* The report as the caller's JSON text. */
cama_err verify_report(const verify *v, char **out_report);

#endif
