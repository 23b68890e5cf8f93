/* sample_set.h - the candidates on their way through the chain, and the stages that cut them.
 *
 * Every stage is a function of the set and its parameters. The order of float additions is part of
 * what a stage promises, because the last bit of a sum may decide a token: the candidates' own
 * order, sorted or by id, as llama.cpp has it at that point of the chain.
 */
#ifndef SAMPLE_SET_H
#define SAMPLE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sample_item {
    int32_t id;
    float logit;
    float p; /* valid after a softmax */
} sample_item;

typedef struct sample_set {
    sample_item *item;
    size_t n;
    bool sorted;  /* best first; ties: lower id first */
    float *score; /* scratch of set_typical, as long as item */
    uint32_t *index;
} sample_set;

/* Keeps the k best of logits [n_vocab], sorted, in item [k]. */
void set_take_best(sample_set *s, const float *logits, size_t n_vocab, size_t k);
/* The index of the best item. */
size_t set_best(const sample_set *s);

void set_top_n_sigma(sample_set *s, float n_sigma);
void set_top_k(sample_set *s, size_t k);
void set_typical(sample_set *s, float p);
void set_top_p(sample_set *s, float p);
void set_min_p(sample_set *s, float p);
/* The caller has drawn already: this is what happens when the draw says so. */
void set_xtc(sample_set *s, float threshold);
/* Logits divided by t, or by what entropy makes of t +- range; t <= 0: only the best is left. */
void set_dynatemp(sample_set *s, float t, float range, float exponent);
/* The index chosen by u in [0, 1). */
size_t set_draw(sample_set *s, double u);

#endif
