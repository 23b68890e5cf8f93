#include "sample/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/plat.h"
#include "sample/mt19937.h"
#include "sample/sample_recent.h"
#include "sample/sample_set.h"

struct sampler {
    sample_params p; /* bias points at our copy */
    sample_bias *bias;
    uint32_t n_vocab;
    uint32_t need; /* 0: whole logits */
    uint32_t seed;
    mt19937 draw_rng, xtc_rng; /* one each, with the same seed, as in llama.cpp */
    sample_recent recent;
    sample_item *item; /* [cap] */
    float *score;      /* [cap] */
    uint32_t *index;   /* [cap] */
    size_t cap;
};

sample_params sample_params_init(void)
{
    return (sample_params){
        .repeat_last_n = 64,
        .repeat_penalty = 1.0f,
        .top_k = 40,
        .typical_p = 1.0f,
        .top_p = 0.9f,
        .xtc_threshold = 0.1f,
        .temperature = 0.8f,
        .dynatemp_exponent = 1.0f,
        .seed = -1,
    };
}

typedef struct range {
    const char *name;
    float value, min, max;
} range;

static cama_err check_params(const sample_params *p, err_info *err)
{
    const range ranges[] = {
        {"repeat_penalty", p->repeat_penalty, 1e-3f, 1e3f},
        {"frequency_penalty", p->frequency_penalty, -100, 100},
        {"presence_penalty", p->presence_penalty, -100, 100},
        {"top_n_sigma", p->top_n_sigma, -1, 1e3f},
        {"typical_p", p->typical_p, 0, 1},
        {"top_p", p->top_p, 0, 1},
        {"min_p", p->min_p, 0, 1},
        {"xtc_probability", p->xtc_probability, 0, 1},
        {"xtc_threshold", p->xtc_threshold, 0, 1},
        {"temperature", p->temperature, 0, 100},
        {"dynatemp_range", p->dynatemp_range, 0, 100},
        {"dynatemp_exponent", p->dynatemp_exponent, 0, 100},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const range *r = &ranges[i];
        if (!(r->value >= r->min && r->value <= r->max)) /* NaN too */
            return err_set(err, CAMA_ERR_ARG, "%s is %g, must be %g to %g", r->name,
                           (double)r->value, (double)r->min, (double)r->max);
    }
    if (p->repeat_last_n < -1 || p->repeat_last_n > SAMPLE_MAX_LAST_N)
        return err_set(err, CAMA_ERR_ARG, "repeat_last_n is %d, must be -1 to %d", p->repeat_last_n,
                       SAMPLE_MAX_LAST_N);
    if (p->n_bias > SAMPLE_MAX_BIAS)
        return err_set(err, CAMA_ERR_ARG, "logit_bias names %zu tokens, at most %d", p->n_bias,
                       SAMPLE_MAX_BIAS);
    return CAMA_OK;
}

static cama_err check_bias(const sample_params *p, uint32_t n_vocab, err_info *err)
{
    for (size_t i = 0; i < p->n_bias; i++) {
        const sample_bias *b = &p->bias[i];
        if (b->id < 0 || (uint32_t)b->id >= n_vocab)
            return err_set(err, CAMA_ERR_ARG, "logit_bias names token %d, the vocabulary has %u",
                           b->id, n_vocab);
        if (isnan(b->bias) || b->bias == INFINITY)
            return err_set(err, CAMA_ERR_ARG,
                           "logit_bias of token %d is %g, must be finite or "
                           "-infinity",
                           b->id, (double)b->bias);
    }
    return CAMA_OK;
}

static bool has_penalties(const sample_params *p)
{
    return p->repeat_last_n != 0 &&
           (p->repeat_penalty != 1 || p->frequency_penalty != 0 || p->presence_penalty != 0);
}

static uint32_t last_n(const sample_params *p)
{
    if (!has_penalties(p))
        return 0;
    if (p->repeat_last_n >= 0)
        return (uint32_t)p->repeat_last_n;
    return p->last_n_full < SAMPLE_MAX_LAST_N ? p->last_n_full : SAMPLE_MAX_LAST_N;
}

/* Something may rise: then it may come from anywhere in the vocabulary. */
static bool can_raise(const sample_params *p)
{
    for (size_t i = 0; i < p->n_bias; i++) {
        if (p->bias[i].bias > 0)
            return true;
    }
    return has_penalties(p) &&
           (p->repeat_penalty < 1 || p->frequency_penalty < 0 || p->presence_penalty < 0);
}

static bool greedy(const sample_params *p)
{
    return p->temperature <= 0 && p->dynatemp_range <= 0 && p->typical_p >= 1 &&
           p->xtc_probability <= 0;
}

static uint32_t count_need(const sample_params *p, uint32_t n_vocab)
{
    if (can_raise(p))
        return 0;
    const bool best_only = greedy(p);
    if (!best_only && (p->top_k <= 0 || p->top_n_sigma > 0))
        return 0;
    const uint64_t need =
        (best_only ? 1 : (uint64_t)p->top_k) + (uint64_t)last_n(p) + (uint64_t)p->n_bias;
    return need > SAMPLE_MAX_NEED || need >= n_vocab ? 0 : (uint32_t)need;
}

static uint32_t choose_seed(int64_t seed)
{
    if (seed != -1)
        return (uint32_t)(uint64_t)seed;
    uint32_t r;
    plat_random(&r, sizeof r);
    return r;
}

static bool take_memory(sampler *s)
{
    s->cap = s->need ? s->need : s->n_vocab;
    s->item = calloc(s->cap, sizeof *s->item);
    s->score = calloc(s->cap, sizeof *s->score);
    s->index = calloc(s->cap, sizeof *s->index);
    if (!s->item || !s->score || !s->index || recent_init(&s->recent, last_n(&s->p)))
        return false;
    if (!s->p.n_bias)
        return true;
    s->bias = malloc(s->p.n_bias * sizeof *s->bias);
    if (s->bias)
        memcpy(s->bias, s->p.bias, s->p.n_bias * sizeof *s->bias);
    return s->bias;
}

cama_err sample_new(const sample_params *p, uint32_t n_vocab, sampler **out, err_info *err)
{
    cama_err e = check_params(p, err);
    if (!e)
        e = check_bias(p, n_vocab, err);
    if (e)
        return e;
    if (n_vocab == 0)
        return err_set(err, CAMA_ERR_ARG, "a vocabulary of 0 tokens has nothing to choose");
    sampler *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, CAMA_ERR_NOMEM, "sample: no memory for a sampler");
    s->p = *p;
    s->n_vocab = n_vocab;
    s->need = count_need(p, n_vocab);
    if (!take_memory(s)) {
        sample_free(s);
        return err_set(err, CAMA_ERR_NOMEM, "sample: no memory for a sampler");
    }
    s->p.bias = s->bias;
    s->seed = choose_seed(p->seed);
    mt_init(&s->draw_rng, s->seed);
    mt_init(&s->xtc_rng, s->seed);
    *out = s;
    return CAMA_OK;
}

void sample_free(sampler *s)
{
    if (!s)
        return;
    recent_done(&s->recent);
    free(s->item);
    free(s->score);
    free(s->index);
    free(s->bias);
    free(s);
}

uint32_t sample_need(const sampler *s)
{
    return s->need;
}

uint32_t sample_seed(const sampler *s)
{
    return s->seed;
}

void sample_accept(sampler *s, int32_t id)
{
    if (id >= 0 && (uint32_t)id < s->n_vocab)
        recent_push(&s->recent, id);
}

/* Brings the row into the sampler's own items: those that are needed, or the vocabulary by id. */
static void load(sampler *s, const sample_row *row, sample_set *set)
{
    *set = (sample_set){.item = s->item, .score = s->score, .index = s->index};
    if (!row->cand && s->need) {
        set_take_best(set, row->logits, s->n_vocab, s->need);
        return;
    }
    const size_t n_row = row->cand ? row->n_cand : s->n_vocab;
    set->n = n_row < s->cap ? n_row : s->cap;
    set->sorted = row->cand != NULL;
    for (size_t i = 0; i < set->n; i++) {
        const int32_t id = row->cand ? row->cand[i].id : (int32_t)i;
        const float logit = row->cand ? row->cand[i].logit : row->logits[i];
        /* What is not a number is never chosen, and never spoils a sum. */
        s->item[i] = (sample_item){.id = id, .logit = isnan(logit) ? -INFINITY : logit};
    }
}

static void add_bias(const sampler *s, sample_set *set)
{
    for (size_t b = 0; b < s->p.n_bias; b++) {
        for (size_t i = 0; i < set->n; i++) {
            if (set->item[i].id == s->bias[b].id)
                set->item[i].logit += s->bias[b].bias;
        }
        set->sorted = false;
    }
}

static void penalise(const sampler *s, sample_set *set)
{
    for (size_t i = 0; i < set->n && s->recent.n; i++) {
        const uint32_t count = recent_count(&s->recent, set->item[i].id);
        if (!count)
            continue;
        float *logit = &set->item[i].logit;
        /* Dividing a negative logit would make the token likelier. */
        if (*logit <= 0)
            *logit *= s->p.repeat_penalty;
        else
            *logit /= s->p.repeat_penalty;
        *logit -= (float)count * s->p.frequency_penalty + s->p.presence_penalty;
        set->sorted = false;
    }
}

static void truncate_set(sampler *s, sample_set *set)
{
    set_top_n_sigma(set, s->p.top_n_sigma);
    if (s->p.top_k > 0)
        set_top_k(set, (size_t)s->p.top_k);
    set_typical(set, s->p.typical_p);
    set_top_p(set, s->p.top_p);
    set_min_p(set, s->p.min_p);
    if (s->p.xtc_probability > 0 && s->p.xtc_threshold <= 0.5f && set->n > 1 &&
        mt_float(&s->xtc_rng) <= s->p.xtc_probability)
        set_xtc(set, s->p.xtc_threshold);
    set_dynatemp(set, s->p.temperature, s->p.dynatemp_range, s->p.dynatemp_exponent);
}

cama_err sample_next(sampler *s, const sample_row *row, int32_t *out_id, err_info *err)
{
    sample_set set;
    load(s, row, &set);
    add_bias(s, &set);
    penalise(s, &set);
    if (!set.n || !isfinite(set.item[set_best(&set)].logit))
        return err_set(err, CAMA_ERR_ENGINE,
                       "no token can be chosen: none of %zu candidates has a finite logit", set.n);
    if (greedy(&s->p)) {
        *out_id = set.item[set_best(&set)].id;
        return CAMA_OK;
    }
    truncate_set(s, &set);
    /* One candidate needs no draw, and takes none from the sequence of the generator. */
    const size_t i = set_draw(&set, mt_double(&s->draw_rng));
    *out_id = set.item[i].id;
    return CAMA_OK;
}
