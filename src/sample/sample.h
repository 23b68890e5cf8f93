/* sample.h - which token comes next: candidates in, one id out.
 *
 * The chain is llama.cpp's, in its order, and equal to it bit for bit for a seed:
 *
 *     bias -> penalties -> top_n_sigma -> top_k -> typical_p -> top_p -> min_p -> xtc
 *          -> temperature -> draw
 *
 * A stage that is off costs nothing. Most chains look at a few dozen candidates only, so an engine
 * need not hand out (or even finish) a whole vocabulary of logits: sample_need says how many of
 * the best suffice. Penalties only ever lower a logit when they are set as usual, so top_k of what
 * is left after them are among the best top_k + (tokens that a penalty may lower).
 *
 * Life: sample_new ... sample_free; sample_accept for every token of the sequence, prompt included,
 * sample_next for every token to be born. Everything is taken in sample_new. One thread.
 * Sources: "typical": Meister et al. 2022, arXiv 2202.00666; "min_p": arXiv 2407.01082;
 * "top_n_sigma": arXiv 2411.07641.
 */
#ifndef SAMPLE_SAMPLE_H
#define SAMPLE_SAMPLE_H

#include "base/err.h"

#define SAMPLE_MAX_LAST_N (1 << 20)
#define SAMPLE_MAX_BIAS 4096
/* Above this share of the vocabulary, whole logits are cheaper than a selection. */
#define SAMPLE_MAX_NEED 4096

typedef struct sample_bias {
    int32_t id;
    float bias; /* -INFINITY bans the token */
} sample_bias;

/* Each is in llama.cpp's meaning; the ranges are what sample_new accepts. */
typedef struct sample_params {
    int32_t repeat_last_n;   /* -1 (as many as last_n_full) .. SAMPLE_MAX_LAST_N; 0: no penalties */
    uint32_t last_n_full;    /* what -1 stands for: the context's length */
    float repeat_penalty;    /* > 0; 1: off */
    float frequency_penalty; /* -2 .. 2 and beyond; 0: off */
    float presence_penalty;
    float top_n_sigma;     /* <= 0: off */
    int32_t top_k;         /* <= 0: off */
    float typical_p;       /* 0 .. 1; 1: off */
    float top_p;           /* 0 .. 1; 1: off */
    float min_p;           /* 0 .. 1; 0: off */
    float xtc_probability; /* 0: off */
    float xtc_threshold;   /* > 0.5: off */
    float temperature;     /* <= 0: the best candidate; no draw decides */
    float dynatemp_range;  /* 0: off */
    float dynatemp_exponent;
    int64_t seed;            /* -1: from the system; else the low 32 bits */
    const sample_bias *bias; /* copied by sample_new */
    size_t n_bias;
} sample_params;

/* Ollama's defaults; everything it does not know is off. */
sample_params sample_params_init(void);

typedef struct sample_cand {
    int32_t id;
    float logit;
} sample_cand;

/* What an engine gives for a row: the n_cand best, best first, or all logits [n_vocab]. */
typedef struct sample_row {
    const sample_cand *cand;
    size_t n_cand;
    const float *logits; /* used when cand is NULL */
} sample_row;

typedef struct sampler sampler; /* opaque: the struct is in sample.c */

/* CAMA_ERR_ARG names a parameter, its value and its limit; CAMA_ERR_NOMEM. */
cama_err sample_new(const sample_params *p, uint32_t n_vocab, sampler **out, err_info *err);
void sample_free(sampler *s);

/* Candidates that a row must hold for the choice to be the one of the whole vocabulary; 0: only
 * whole logits will do. Constant over the sampler's life. */
uint32_t sample_need(const sampler *s);
uint32_t sample_seed(const sampler *s); /* that is in use, also when it was random */

/* The token joins the window of the penalties. Out of the vocabulary: ignored. */
void sample_accept(sampler *s, int32_t id);

/* Chooses; does not accept. CAMA_ERR_ENGINE when no candidate has a finite logit. */
cama_err sample_next(sampler *s, const sample_row *row, int32_t *out_id, err_info *err);

#endif
