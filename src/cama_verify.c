/* cama_verify.c - the public API: two engines on one model, compared token by token.
 *
 *     prompt   [t t t t t]            all its logits, in chunks, by both
 *     answer             [a b c d]    each is the leader's greedy choice, and fed to both
 *     alone              [a b c x]    each engine by its own choices, as users run it
 *
 * Logits of a position are compared while both are at hand, so that memory is that of one chunk.
 * The first engine leads: the other one reads what it chose, so that a difference stays where it
 * arose instead of growing with every token behind it.
 */
#include "cama_verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define DEFAULT_TOKENS 256
#define MAX_TOKENS 65536
#define MAX_PROMPT 65536               /* tokens */
#define CHUNK_BYTES ((size_t)32 << 20) /* of logits of one engine */
#define CHUNK_MOST 128

static const char default_prompt[] =
    "The camel and the llama are cousins. Both carry loads over ground where wheels are of no "
    "use, both need little water, and both say no when they are asked for too much. In 1846 a "
    "caravan of 120 animals crossed the plateau in 19 days; each one carried 45 kg of salt, and "
    "the price at the coast was (as the ledger has it) 3.75 a measure. What follows is the "
    "account of the man who walked in front:\n\n";

static const char *const default_texts[] = {
    "A short one.",
    "The camel and the llama are cousins: both carry loads over ground where wheels are of no use.",
    default_prompt,
};

/* ---- options ---- */

void cama_verify_opts_init(cama_verify_opts *o, size_t bytes)
{
    const cama_verify_opts all = {.bytes = bytes,
                                  .engines = {"native", "mlx"},
                                  .activations = CAMA_ACTIVATIONS_F32,
                                  .cpu_tiers = {UINT32_MAX, UINT32_MAX},
                                  .n_token = DEFAULT_TOKENS,
                                  .max_diff = -1,
                                  .max_kl = -1,
                                  .min_agree = -1};
    cama_copy_sized(o, bytes, &all, sizeof all);
}

/* With f32 activations only the order of additions differs; int8 rounds every activation, and one
 * that lies between two steps may go either way. docs/engines.md says what was measured. */
static void fill_limits(cama_verify_opts *o)
{
    const bool f32 = o->activations == CAMA_ACTIVATIONS_F32;
    if (!(o->max_diff >= 0))
        o->max_diff = f32 ? 1e-3 : 0.1;
    if (!(o->max_kl >= 0))
        o->max_kl = f32 ? 1e-4 : 0.1;
    if (!(o->min_agree >= 0))
        o->min_agree = f32 ? 1 : 0.9;
}

static cama_err read_opts(const cama_verify_opts *in, cama_verify_opts *out, cama_error *err)
{
    cama_verify_opts_init(out, sizeof *out);
    if (in && in->bytes < sizeof in->bytes)
        return err_set(err, CAMA_ERR_ARG, "cama_verify_opts has %zu bytes: use its init function",
                       in->bytes);
    if (in)
        cama_copy_sized(out, sizeof *out, in, in->bytes);
    if (!out->n_token || out->n_token > MAX_TOKENS)
        return err_set(err, CAMA_ERR_ARG, "%u tokens to compare, must be 1 to %d", out->n_token,
                       MAX_TOKENS);
    fill_limits(out);
    return CAMA_OK;
}

static cama_err step(const verify *v, const char *what, size_t done, size_t all)
{
    if (!v->o.on_step || v->o.on_step(v->o.user, what, (uint32_t)done, (uint32_t)all))
        return CAMA_OK;
    return err_set(v->err, CAMA_ERR_CANCELED, "canceled");
}

/* ---- numbers ---- */

static size_t best_of(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

static double log_sum_exp(const float *logits, size_t n)
{
    const size_t best = best_of(logits, n);
    const double most = (double)logits[best];
    double sum = 1; /* the best one's own part */
    for (size_t i = 0; i < n; i++) {
        if (i != best)
            sum += exp((double)logits[i] - most);
    }
    return most + log(sum);
}

/* Of the second from the first, in nats. Never below 0 but for rounding. */
static double divergence_of(const float *a, const float *b, size_t n)
{
    const double lse_a = log_sum_exp(a, n);
    const double lse_b = log_sum_exp(b, n);
    double kl = 0;
    for (size_t i = 0; i < n; i++) {
        const double log_p = (double)a[i] - lse_a;
        const double p = exp(log_p);
        if (p > 0)
            kl += p * (log_p - ((double)b[i] - lse_b));
    }
    return kl > 0 ? kl : 0;
}

static double most_of(double a, double b)
{
    return a > b ? a : b;
}

static void compare_row(tally *t, const float *a, const float *b, size_t n)
{
    double max_abs = 0;
    double largest = 0;
    size_t n_odd = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) {
            n_odd += !(isinf(a[i]) && isinf(b[i]) && signbit(a[i]) == signbit(b[i]));
            continue;
        }
        const double diff = fabs((double)a[i] - (double)b[i]);
        t->sum_abs += diff;
        max_abs = most_of(max_abs, diff);
        largest = most_of(largest, fabs((double)a[i]));
    }
    const double kl = n_odd ? 0 : divergence_of(a, b, n);
    t->n_position++;
    t->n_logit += n;
    t->n_odd += n_odd;
    t->max_abs = most_of(t->max_abs, max_abs);
    t->largest = most_of(t->largest, largest);
    if (max_abs > 0)
        t->max_diff = most_of(t->max_diff, largest > 0 ? max_abs / largest : max_abs);
    t->max_kl = most_of(t->max_kl, kl);
    t->sum_kl += kl;
}

/* ---- opening ---- */

static cama_err open_one(verify *v, const char *path, int i, uint32_t n_ctx)
{
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    const bool f32 = v->o.activations == CAMA_ACTIVATIONS_F32;
    o.engine = v->o.engines[i];
    o.device = i ? v->o.device : CAMA_DEVICE_ANY;
    o.n_ctx = n_ctx;
    o.n_thread = v->o.n_thread;
    o.kv_type = f32 ? CAMA_KV_F32 : CAMA_KV_F16;
    o.activations = v->o.activations;
    o.weights = CAMA_WEIGHTS_MAPPED; /* both read one copy */
    o.cpu_tiers = v->o.cpu_tiers[i];
    o.max_bytes = v->o.max_bytes / 2;
    o.on_warning = v->o.on_warning;
    o.user = v->o.user;
    const cama_err e = cama_model_open(path, &o, &v->m[i], v->err);
    return e ? err_wrap(v->err, e, "engine '%s'", o.engine ? o.engine : "auto") : CAMA_OK;
}

static cama_err tokens_of(const cama_model *m, const char *text, int32_t **out, size_t *out_n,
                          cama_error *err)
{
    const cama_err e =
        cama_tokenize(m, text, strlen(text),
                      CAMA_TOKENIZE_ADD_SPECIAL | CAMA_TOKENIZE_PARSE_SPECIAL, out, out_n, err);
    if (e)
        return e;
    if (*out_n && *out_n <= MAX_PROMPT)
        return CAMA_OK;
    const size_t n = *out_n;
    cama_free(*out);
    *out = NULL;
    return err_set(err, CAMA_ERR_ARG, "the prompt has %zu tokens, must be 1 to %d", n, MAX_PROMPT);
}

/* A file without a tokenizer, as tests write them, gets ids from all over its vocabulary. */
static cama_err ids_of_prompt(verify *v, const cama_model *file, int32_t **out, size_t *out_n)
{
    enum { N_ID = 48, STRIDE = 7919 };
    cama_err e = CAMA_ERR_UNSUPPORTED;
    if (file->vocab)
        e = tokens_of(file, v->o.prompt ? v->o.prompt : default_prompt, out, out_n, v->err);
    if (e != CAMA_ERR_UNSUPPORTED || v->o.prompt || !file->desc)
        return e;
    const uint64_t n_vocab = model_get_info(file->desc)->n_vocab;
    *out = calloc(N_ID, sizeof **out);
    if (!*out)
        return err_set(v->err, CAMA_ERR_NOMEM, "verify: no memory for %d tokens", N_ID);
    for (uint64_t i = 0; i < N_ID; i++)
        (*out)[i] = (int32_t)((i + 1) * STRIDE % (n_vocab ? n_vocab : 1));
    *out_n = N_ID;
    return CAMA_OK;
}

/* The prompt's tokens, room for the answer, and a context that holds both: as the model was
 * trained, and no longer. */
static cama_err take_prompt(verify *v, const cama_model *file, uint32_t *out_n_ctx)
{
    cama_info info;
    int32_t *ids = NULL;
    size_t n = 0;
    cama_model_info(file, &info, sizeof info);
    const cama_err e = ids_of_prompt(v, file, &ids, &n);
    if (e)
        return e;
    const size_t most = info.n_ctx_train ? info.n_ctx_train : n + v->o.n_token;
    if (!v->o.prompt && n > most / 2)
        n = most / 2 ? most / 2 : 1; /* ours: cut as the model needs it */
    if (n >= most) {
        cama_free(ids);
        return err_set(v->err, CAMA_ERR_CONTEXT,
                       "the prompt has %zu tokens, the model was trained for %zu", n, most);
    }
    v->n_prompt = n;
    v->n_answer = v->o.n_token < most - n ? v->o.n_token : most - n;
    v->ids = calloc(n + v->n_answer, sizeof *v->ids);
    if (v->ids)
        memcpy(v->ids, ids, n * sizeof *ids);
    cama_free(ids);
    *out_n_ctx = (uint32_t)(n + v->n_answer);
    return v->ids ? CAMA_OK
                  : err_set(v->err, CAMA_ERR_NOMEM, "verify: no memory for %zu tokens", n);
}

static cama_err take_logits(verify *v)
{
    cama_info info;
    cama_model_info(v->m[0], &info, sizeof info);
    v->n_vocab = info.n_vocab;
    v->n_chunk = CHUNK_BYTES / (v->n_vocab * sizeof(float));
    v->n_chunk = v->n_chunk < 1 ? 1 : v->n_chunk > CHUNK_MOST ? CHUNK_MOST : v->n_chunk;
    for (int i = 0; i < 2; i++) {
        v->logits[i] = calloc(v->n_chunk * v->n_vocab, sizeof *v->logits[i]);
        if (!v->logits[i])
            return err_set(v->err, CAMA_ERR_NOMEM, "verify: no memory for the logits of %zu tokens",
                           v->n_chunk);
    }
    return CAMA_OK;
}

/* ---- answers ---- */

/* All logits of n tokens behind what the context has, by both. */
static cama_err eval_both(verify *v, const int32_t *ids, size_t n)
{
    uint8_t want[CHUNK_MOST];
    memset(want, 1, sizeof want);
    for (int i = 0; i < 2; i++) {
        const uint64_t start_ns = clock_now_ns();
        const cama_err e = cama_eval(v->ctx[i], ids, n, want, v->logits[i], v->err);
        if (e)
            return err_wrap(v->err, e, "engine '%s'", v->m[i]->vt->name);
        v->spent_ns[i] += clock_now_ns() - start_ns;
    }
    for (size_t r = 0; r < n; r++)
        compare_row(&v->t, v->logits[0] + r * v->n_vocab, v->logits[1] + r * v->n_vocab,
                    v->n_vocab);
    return CAMA_OK;
}

/* The greedy choices of both by the logits of row r, for token `at` of the answer. */
static void choose(verify *v, size_t r, size_t at)
{
    const float *row[2] = {v->logits[0] + r * v->n_vocab, v->logits[1] + r * v->n_vocab};
    const size_t id[2] = {best_of(row[0], v->n_vocab), best_of(row[1], v->n_vocab)};
    v->ids[v->n_prompt + at] = (int32_t)id[0];
    v->t.n_agree += id[0] == id[1];
    if (id[0] == id[1] || v->t.first.found)
        return;
    v->t.first = (divergence){.found = true, .at = at, .id = {(int32_t)id[0], (int32_t)id[1]}};
    for (int e = 0; e < 2; e++) {
        for (int c = 0; c < 2; c++)
            v->t.first.logit[e][c] = row[e][id[c]];
    }
}

static cama_err compare_logits(verify *v)
{
    cama_err e = CAMA_OK;
    size_t n_row = 0;
    for (size_t at = 0; !e && at < v->n_prompt; at += n_row) {
        n_row = v->n_prompt - at < v->n_chunk ? v->n_prompt - at : v->n_chunk;
        e = step(v, "prompt", at, v->n_prompt);
        if (!e)
            e = eval_both(v, v->ids + at, n_row);
    }
    if (!e)
        e = step(v, "prompt", v->n_prompt, v->n_prompt);
    for (size_t i = 0; !e && i < v->n_answer; i++) {
        choose(v, i ? 0 : n_row - 1, i);
        e = step(v, "answer", i + 1, v->n_answer);
        if (!e && i + 1 < v->n_answer)
            e = eval_both(v, v->ids + v->n_prompt + i, 1);
    }
    return e;
}

/* ---- each engine by itself ---- */

/* One step as the scheduler makes it: the best candidate of the last row. */
static cama_err step_alone(const cama_ctx *c, const int32_t *ids, size_t n, size_t at, int32_t *out,
                           cama_error *err)
{
    cama_model *m = c->m;
    engine_row rows[CHUNK_MOST];
    for (size_t i = 0; i < n; i++) {
        const int32_t pos = (int32_t)(at + i);
        rows[i] = (engine_row){.seq = c->seq,
                               .source = ENGINE_TOKEN,
                               .id = ids[i],
                               .pos = {pos, pos, pos, pos},
                               .visible_end = pos + 1,
                               .flags = out && i + 1 == n ? ENGINE_CANDIDATES : 0};
    }
    const engine_batch batch = {.rows = rows, .n_row = n, .n_candidate = 1};
    engine_ticket ticket;
    engine_outs outs;
    cama_err e = m->vt->submit(m->engine, &batch, &ticket, err);
    if (!e)
        e = m->vt->collect(m->engine, ticket, &outs, err);
    if (e || !out)
        return e;
    if (outs.n != 1 || outs.out[0].n_cand < 1)
        return err_set(err, CAMA_ERR_ENGINE, "engine '%s' gave no candidate", m->vt->name);
    *out = outs.out[0].cand[0].id;
    return CAMA_OK;
}

/* Whatever the first step does, the prompt goes in as one: as a server reads it. */
static cama_err run_alone(verify *v, int i, int32_t *out)
{
    cama_ctx *c = NULL;
    cama_err e = cama_ctx_open(v->m[i], &c, v->err);
    for (size_t at = 0; !e && at < v->n_prompt; at += CHUNK_MOST) {
        const size_t left = v->n_prompt - at;
        e = step_alone(c, v->ids + at, left < CHUNK_MOST ? left : CHUNK_MOST, at,
                       left <= CHUNK_MOST ? &out[0] : NULL, v->err);
    }
    for (size_t k = 1; !e && k < v->n_answer; k++) {
        e = step(v, i ? "second alone" : "first alone", k + 1, v->n_answer);
        if (!e)
            e = step_alone(c, &out[k - 1], 1, v->n_prompt + k - 1, &out[k], v->err);
    }
    cama_ctx_close(c);
    return e;
}

static cama_err compare_alone(verify *v)
{
    int32_t *out = calloc(2 * v->n_answer, sizeof *out);
    if (!out)
        return err_set(v->err, CAMA_ERR_NOMEM, "verify: no memory for %zu tokens", v->n_answer);
    cama_err e = run_alone(v, 0, out);
    if (!e)
        e = run_alone(v, 1, out + v->n_answer);
    while (!e && v->n_alone < v->n_answer && out[v->n_alone] == out[v->n_answer + v->n_alone])
        v->n_alone++;
    v->is_alone = !e;
    free(out);
    return e;
}

static cama_err compare_answers(verify *v)
{
    cama_err e = take_logits(v);
    for (int i = 0; !e && i < 2; i++)
        e = cama_ctx_open(v->m[i], &v->ctx[i], v->err);
    if (!e)
        e = compare_logits(v);
    for (int i = 0; i < 2; i++) { /* their room is for what comes now */
        cama_ctx_close(v->ctx[i]);
        v->ctx[i] = NULL;
    }
    return e ? e : compare_alone(v);
}

/* ---- vectors ---- */

static cama_err embed_both(verify *v, const char *text, float *vectors, size_t n_embd)
{
    int32_t *ids = NULL;
    size_t n = 0;
    cama_err e = tokens_of(v->m[0], text, &ids, &n, v->err);
    if (!e && !v->o.prompt && n > v->m[0]->eo.n_ctx)
        n = v->m[0]->eo.n_ctx;
    for (int i = 0; !e && i < 2; i++) {
        const uint64_t start_ns = clock_now_ns();
        e = cama_embed(v->m[i], ids, n, vectors + (size_t)i * n_embd, v->err);
        if (e)
            (void)err_wrap(v->err, e, "engine '%s'", v->m[i]->vt->name);
        v->spent_ns[i] += clock_now_ns() - start_ns;
    }
    cama_free(ids);
    return e;
}

/* Both have length 1. */
static void compare_vectors(verify *v, const float *a, const float *b, size_t n)
{
    double dot = 0;
    for (size_t i = 0; i < n; i++) {
        const double diff = fabs((double)a[i] - (double)b[i]);
        v->t.n_odd += !isfinite(diff);
        v->max_vector = most_of(v->max_vector, diff);
        dot += (double)a[i] * (double)b[i];
    }
    v->min_cosine = !v->n_text || dot < v->min_cosine ? dot : v->min_cosine;
    v->n_text++;
}

static cama_err compare_embeddings(verify *v)
{
    cama_info info;
    cama_model_info(v->m[0], &info, sizeof info);
    float *vectors = calloc((size_t)2 * info.n_embd, sizeof *vectors);
    if (!vectors)
        return err_set(v->err, CAMA_ERR_NOMEM, "verify: no memory for vectors");
    const size_t n = v->o.prompt ? 1 : sizeof default_texts / sizeof *default_texts;
    cama_err e = CAMA_OK;
    for (size_t i = 0; !e && i < n; i++) {
        e = step(v, "texts", i + 1, n);
        if (!e)
            e = embed_both(v, v->o.prompt ? v->o.prompt : default_texts[i], vectors, info.n_embd);
        if (!e)
            compare_vectors(v, vectors, vectors + info.n_embd, info.n_embd);
    }
    free(vectors);
    return e;
}

static cama_err prepare(verify *v, const char *path, uint32_t *out_n_ctx)
{
    cama_model_opts o;
    cama_model *file = NULL;
    cama_info info;
    cama_model_opts_init(&o, sizeof o);
    o.mode = CAMA_OPEN_FILE;
    cama_err e = cama_model_open(path, &o, &file, v->err);
    if (e)
        return e;
    cama_model_info(file, &info, sizeof info);
    v->embeds = strcmp(info.pooling, "none") != 0 || (file->desc && !info.can_generate);
    *out_n_ctx = 0;
    if (!v->embeds)
        e = take_prompt(v, file, out_n_ctx);
    cama_model_close(file);
    return e;
}

static void done(verify *v)
{
    for (int i = 0; i < 2; i++) {
        cama_ctx_close(v->ctx[i]);
        cama_model_close(v->m[i]);
        free(v->logits[i]);
    }
    free(v->ids);
}

cama_err cama_verify(const char *path, const cama_verify_opts *opts, bool *out_equal,
                     char **out_report, cama_error *err)
{
    cama_error own = {.code = CAMA_OK};
    verify v = {.err = &own};
    uint32_t n_ctx = 0;
    cama_err e = read_opts(opts, &v.o, &own);
    if (!e)
        e = prepare(&v, path, &n_ctx);
    for (int i = 0; !e && i < 2; i++)
        e = open_one(&v, path, i, n_ctx);
    if (!e)
        e = v.embeds ? compare_embeddings(&v) : compare_answers(&v);
    if (!e)
        e = verify_report(&v, out_report);
    if (!e)
        *out_equal = !verify_what_differs(&v);
    done(&v);
    if (e && err)
        *err = own;
    return e;
}
