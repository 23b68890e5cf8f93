/* cama_run.c - the public API: sequences computed, texts embedded, answers generated. */
#include "cama_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json/json.h"

#define N_CACHED 16 /* finished sequences that a model keeps for prompts that begin alike */

cama_err cama_need_engine(const cama_model *m, cama_error *err)
{
    if (m->engine)
        return CAMA_OK;
    return err_set(err, CAMA_ERR_ARG, "the model was opened without an engine: it cannot compute");
}

cama_err cama_need_sched(cama_model *m, cama_error *err)
{
    const cama_err e = cama_need_engine(m, err);
    if (e || m->sched)
        return e;
    const model_info *info = model_get_info(m->desc);
    const sched_opts so = {
        .vt = m->vt,
        .engine = m->engine,
        .vocab = m->vocab,
        .n_vocab = info->n_vocab,
        .n_embd = info->n_embd,
        .n_ctx = m->eo.n_ctx,
        .n_batch = m->eo.n_batch,
        .n_queue = SCHED_MAX_QUEUE,
        .n_cached = N_CACHED,
        .causal = info->causal,
        .pooled = info->pooling != PLAN_POOL_NONE,
        .ahead = m->stat.is_ahead,
    };
    return sched_open(&so, &m->sched, err);
}

/* ---- sequences ---- */

/* What answers left behind makes room for the caller's own sequences. */
static bool make_room(cama_model *m, cama_err e)
{
    return e == CAMA_ERR_LIMIT && m->sched && sched_evict(m->sched);
}

static cama_err open_ctx(cama_model *m, int32_t from, uint32_t n_keep, cama_ctx **out,
                         cama_error *err)
{
    cama_err e = cama_need_engine(m, err);
    if (e)
        return e;
    cama_ctx *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, CAMA_ERR_NOMEM, "cama: no memory for a context");
    c->m = m;
    do {
        e = m->vt->seq_fork(m->engine, from, (int32_t)n_keep, &c->seq);
    } while (make_room(m, e));
    if (e) {
        free(c);
        return err_set(err, e, "the engine has no room for another sequence: %s", cama_err_text(e));
    }
    c->n_token = n_keep;
    *out = c;
    return CAMA_OK;
}

cama_err cama_ctx_open(cama_model *m, cama_ctx **out, cama_error *err)
{
    return open_ctx(m, -1, 0, out, err);
}

void cama_ctx_close(cama_ctx *c)
{
    if (!c)
        return;
    c->m->vt->seq_free(c->m->engine, c->seq);
    free(c);
}

cama_err cama_ctx_fork(cama_ctx *c, uint32_t n_keep, cama_ctx **out, cama_error *err)
{
    if (n_keep > c->n_token)
        return err_set(err, CAMA_ERR_ARG, "a fork of %u tokens from a context of %u", n_keep,
                       c->n_token);
    cama_ctx *fork;
    cama_err e = open_ctx(c->m, c->seq, n_keep, &fork, err);
    /* Where the state cannot be had at n_keep, the fork has fewer tokens: the engine says so. */
    uint32_t got;
    if (!e && n_keep) {
        e = cama_ctx_rewind(fork, n_keep, &got, err);
        if (e)
            cama_ctx_close(fork);
    }
    if (!e)
        *out = fork;
    return e;
}

uint32_t cama_ctx_n_token(const cama_ctx *c)
{
    return c->n_token;
}

cama_err cama_ctx_rewind(cama_ctx *c, uint32_t want, uint32_t *out_got, cama_error *err)
{
    if (want > c->n_token)
        return err_set(err, CAMA_ERR_ARG, "a rewind to %u tokens in a context of %u", want,
                       c->n_token);
    int32_t got;
    const cama_err e = c->m->vt->seq_rewind(c->m->engine, c->seq, (int32_t)want, &got);
    if (e)
        return err_set(err, e, "rewind to %u tokens: %s", want, cama_err_text(e));
    c->n_token = (uint32_t)got;
    *out_got = c->n_token;
    return CAMA_OK;
}

/* ---- evaluation ---- */

static cama_err check_ids(const cama_model *m, const int32_t *ids, size_t n, cama_error *err)
{
    const uint32_t n_vocab = model_get_info(m->desc)->n_vocab;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= n_vocab)
            return err_set(err, CAMA_ERR_ARG, "token %zu is %d, the vocabulary has %u", i, ids[i],
                           n_vocab);
    }
    return CAMA_OK;
}

static void fill_rows(const cama_ctx *c, const int32_t *ids, size_t n, const uint8_t *want,
                      engine_row *rows)
{
    const bool causal = model_get_info(c->m->desc)->causal;
    for (size_t i = 0; i < n; i++) {
        const int32_t pos = (int32_t)(c->n_token + i);
        rows[i] = (engine_row){
            .seq = c->seq,
            .source = ENGINE_TOKEN,
            .id = ids[i],
            .pos = {pos, pos, pos, pos},
            .visible_end = causal ? pos + 1 : (int32_t)(c->n_token + n),
            .flags = want[i] ? ENGINE_LOGITS : 0,
        };
    }
}

/* One step; *out_logits moves behind what was written. */
static cama_err eval_step(cama_ctx *c, const engine_row *rows, size_t n, float **out_logits,
                          cama_error *err)
{
    cama_model *m = c->m;
    const size_t n_vocab = model_get_info(m->desc)->n_vocab;
    const engine_batch batch = {.rows = rows, .n_row = n};
    engine_ticket ticket;
    engine_outs outs;
    cama_err e;
    do {
        e = m->vt->submit(m->engine, &batch, &ticket, err);
    } while (make_room(m, e));
    if (!e)
        e = m->vt->collect(m->engine, ticket, &outs, err);
    if (e)
        return e;
    c->n_token += (uint32_t)n;
    for (size_t i = 0; i < outs.n; i++) {
        memcpy(*out_logits, outs.out[i].logits, n_vocab * sizeof **out_logits);
        *out_logits += n_vocab;
    }
    return CAMA_OK;
}

cama_err cama_eval(cama_ctx *c, const int32_t *ids, size_t n, const uint8_t *want,
                   float *out_logits, cama_error *err)
{
    const size_t n_batch = c->m->eo.n_batch;
    cama_err e = check_ids(c->m, ids, n, err);
    if (e)
        return e;
    if (n > c->m->eo.n_ctx - c->n_token)
        return err_set(err, CAMA_ERR_CONTEXT, "%zu more tokens behind %u, the context holds %u", n,
                       c->n_token, c->m->eo.n_ctx);
    engine_row *rows = calloc(n_batch, sizeof *rows);
    uint8_t *last = calloc(n ? n : 1, 1); /* which rows, when the caller does not say */
    if (!rows || !last)
        e = err_set(err, CAMA_ERR_NOMEM, "cama: no memory for %zu rows", n);
    if (!e && n && out_logits)
        last[n - 1] = 1;
    if (!want || !out_logits)
        want = last;
    for (size_t at = 0; !e && at < n;) {
        const size_t n_step = n - at < n_batch ? n - at : n_batch;
        fill_rows(c, ids + at, n_step, want + at, rows);
        e = eval_step(c, rows, n_step, &out_logits, err);
        at += n_step;
    }
    free(rows);
    free(last);
    return e;
}

/* ---- answers ---- */

void cama_gen_opts_init(cama_gen_opts *o, size_t bytes)
{
    const sample_params p = sample_params_init();
    const cama_gen_opts all = {
        .bytes = bytes,
        .repeat_last_n = p.repeat_last_n,
        .repeat_penalty = p.repeat_penalty,
        .top_k = p.top_k,
        .typical_p = p.typical_p,
        .top_p = p.top_p,
        .temperature = p.temperature,
        .seed = -1,
        .n_predict = -1,
    };
    cama_copy_sized(o, bytes, &all, sizeof all);
}

cama_err cama_read_gen_opts(const cama_gen_opts *o, cama_gen_opts *out, cama_error *err)
{
    cama_gen_opts_init(out, sizeof *out);
    if (o->bytes < sizeof o->bytes)
        return err_set(err, CAMA_ERR_ARG, "cama_gen_opts has %zu bytes: use its init function",
                       o->bytes);
    cama_copy_sized(out, sizeof *out, o, o->bytes);
    return CAMA_OK;
}

void cama_gen_result_init(cama_gen_result *r, size_t bytes)
{
    const cama_gen_result all = {.bytes = bytes, .stop_index = -1};
    cama_copy_sized(r, bytes, &all, sizeof all);
}

/* One of the answers under way: what its sink is told ends up here. */
typedef struct answer {
    cama_gen_opts o;
    cama_gen_result r;
    cama_error err;
    sched_job_id job;
    bool over;
    float *vector; /* an embedding's place, or NULL */
} answer;

static stream_flow on_text(void *user, const char *text, size_t n, const stream_prob *probs,
                           size_t n_prob)
{
    (void)probs, (void)n_prob; /* not asked for */
    const answer *a = user;
    return !a->o.on_text || a->o.on_text(a->o.user, text, n) ? STREAM_GO : STREAM_CLOSE;
}

static void on_vector(void *user, const float *v, size_t n)
{
    const answer *a = user;
    memcpy(a->vector, v, n * sizeof *v);
}

static void on_done(void *user, const stream_end *end)
{
    answer *a = user;
    static const cama_finish finish[] = {
        [STREAM_STOP] = CAMA_FINISH_STOP,
        [STREAM_LENGTH] = CAMA_FINISH_LENGTH,
        [STREAM_CANCELED] = CAMA_FINISH_CANCELED,
    };
    a->over = true;
    a->r.finish = finish[end->reason];
    a->r.context_full = end->context_full;
    a->r.stop_index = end->stop_index;
    a->r.n_prompt = end->n_prompt;
    a->r.n_cached = end->n_cached;
    a->r.n_token = end->n_token;
    a->r.seed = end->seed;
    a->r.prompt_ns = end->prompt_ns;
    a->r.eval_ns = end->eval_ns;
}

static void on_fail(void *user, const err_info *err)
{
    answer *a = user;
    a->over = true;
    a->err = *err;
    a->r.finish = CAMA_FINISH_ERROR;
}

static void fill_job(answer *a, const int32_t *ids, size_t n_id, sched_job_def *d)
{
    const cama_gen_opts *o = &a->o;
    *d = (sched_job_def){
        .ids = ids,
        .n_id = n_id,
        .sample = sample_params_init(),
        .n_predict = o->n_predict,
        .stop = o->stop,
        .n_stop = o->n_stop,
        .ignore_eog = o->ignore_eog,
        .special = o->special,
        .sink = {.user = a, .text = on_text, .vector = on_vector, .done = on_done, .fail = on_fail},
    };
    d->sample.repeat_last_n = o->repeat_last_n;
    d->sample.repeat_penalty = o->repeat_penalty;
    d->sample.frequency_penalty = o->frequency_penalty;
    d->sample.presence_penalty = o->presence_penalty;
    d->sample.top_k = o->top_k;
    d->sample.typical_p = o->typical_p;
    d->sample.top_p = o->top_p;
    d->sample.min_p = o->min_p;
    d->sample.temperature = o->temperature;
    d->sample.seed = o->seed;
}

/* The public bias is the sampler's by another name; a copy keeps the rooms apart. */
static cama_err copy_bias(const cama_gen_opts *o, sample_bias **out, cama_error *err)
{
    if (o->n_bias > SAMPLE_MAX_BIAS)
        return err_set(err, CAMA_ERR_LIMIT, "%zu tokens with a bias, at most %d", o->n_bias,
                       SAMPLE_MAX_BIAS);
    if (!o->n_bias)
        return CAMA_OK;
    *out = calloc(o->n_bias, sizeof **out);
    if (!*out)
        return err_set(err, CAMA_ERR_NOMEM, "cama: no memory for biases");
    for (size_t i = 0; i < o->n_bias; i++)
        (*out)[i] = (sample_bias){o->bias[i].id, o->bias[i].bias};
    return CAMA_OK;
}

static cama_err submit(cama_model *m, answer *a, cama_error *err)
{
    tok_ids ids;
    tok_ids_init(&ids, CAMA_MAX_OUTPUT / sizeof *ids.id);
    sample_bias *bias = NULL;
    cama_err e = CAMA_OK;
    if (!a->o.ids || a->o.prompt || a->o.messages)
        e = cama_prompt_ids(m, &a->o, &ids, err);
    if (!e)
        e = copy_bias(&a->o, &bias, err);
    if (!e) {
        sched_job_def d;
        fill_job(a, a->o.ids ? a->o.ids : ids.id, a->o.ids ? a->o.n_id : ids.n, &d);
        d.sample.bias = bias;
        d.sample.n_bias = a->o.n_bias;
        e = sched_submit(m->sched, &d, &a->job, err);
    }
    tok_ids_done(&ids);
    free(bias);
    return e;
}

/* Turns the loop until all are over. */
static void run(cama_model *m, answer *answers, size_t n)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            answer *a = &answers[i];
            more = more || !a->over;
            if (!a->over && a->o.on_poll && !a->o.on_poll(a->o.user))
                sched_cancel(m->sched, a->job);
        }
        if (more)
            (void)sched_tick(m->sched); /* no sink of ours pauses: there is always more to do */
    }
}

static cama_err init_answer(answer *a, const cama_gen_opts *o, cama_error *err)
{
    cama_gen_result_init(&a->r, sizeof a->r);
    return cama_read_gen_opts(o, &a->o, err);
}

static void give_result(const answer *a, cama_gen_result *out)
{
    const size_t bytes = out->bytes;
    cama_copy_sized(out, bytes, &a->r, sizeof a->r);
    out->bytes = bytes;
}

cama_err cama_generate_many(cama_model *m, const cama_gen_opts *const *opts, size_t n,
                            cama_gen_result *const *results, cama_error *errors)
{
    cama_error first = {.code = CAMA_OK};
    const cama_err e = cama_need_sched(m, &first);
    answer *answers = e ? NULL : calloc(n ? n : 1, sizeof *answers);
    if (!e && !answers)
        (void)err_set(&first, CAMA_ERR_NOMEM, "cama: no memory for %zu answers", n);
    for (size_t i = 0; i < n && !answers && errors; i++)
        errors[i] = first;
    if (!answers)
        return first.code;
    for (size_t i = 0; i < n; i++) {
        answer *a = &answers[i];
        if (init_answer(a, opts[i], &a->err) || submit(m, a, &a->err)) {
            a->over = true;
            a->r.finish = CAMA_FINISH_ERROR;
        }
    }
    run(m, answers, n);
    for (size_t i = 0; i < n; i++) {
        if (answers[i].err.code && !first.code)
            first = answers[i].err;
        if (errors)
            errors[i] = answers[i].err;
        if (results && results[i])
            give_result(&answers[i], results[i]);
    }
    free(answers);
    return first.code;
}

cama_err cama_generate(cama_model *m, const cama_gen_opts *opts, cama_gen_result *result,
                       cama_error *err)
{
    cama_error own = {.code = CAMA_OK};
    const cama_err e = cama_generate_many(m, &opts, 1, result ? &result : NULL, &own);
    if (e && err)
        *err = own;
    return e;
}

/* ---- embedding ---- */

static void normalise(float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    const double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (size_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] * scale);
}

cama_err cama_embed(cama_model *m, const int32_t *ids, size_t n, float *out, cama_error *err)
{
    cama_err e = cama_need_sched(m, err);
    if (e)
        return e;
    const uint32_t n_embd = model_get_info(m->desc)->n_embd;
    float *v = calloc(n_embd, sizeof *v); /* out changes only on success */
    if (!v)
        return err_set(err, CAMA_ERR_NOMEM, "cama: no memory for a vector");
    answer a = {.vector = v};
    cama_gen_opts_init(&a.o, sizeof a.o);
    sched_job_def d;
    fill_job(&a, ids, n, &d);
    d.kind = SCHED_EMBED;
    e = sched_submit(m->sched, &d, &a.job, err);
    if (!e) {
        run(m, &a, 1);
        e = a.err.code;
        if (e && err)
            *err = a.err;
    }
    if (!e) {
        normalise(v, n_embd);
        memcpy(out, v, n_embd * sizeof *out);
    }
    free(v);
    return e;
}

/* ---- one question ---- */

static bool collect_text(void *user, const char *text, size_t n)
{
    return buf_append(user, text, n) == CAMA_OK;
}

static cama_err one_message(const char *question, buf *out, cama_error *err)
{
    (void)buf_puts(out, "[{\"role\":\"user\",\"content\":");
    (void)json_write_string(question, strlen(question), out);
    (void)buf_puts(out, "}]");
    return buf_error(out, "the question", err);
}

cama_err cama_ask(cama_model *m, const char *question, char **out_answer, cama_error *err)
{
    buf messages;
    buf answer_text;
    buf_init(&messages, CAMA_MAX_OUTPUT);
    buf_init(&answer_text, CAMA_MAX_OUTPUT);
    cama_gen_opts o;
    cama_gen_opts_init(&o, sizeof o);
    o.on_text = collect_text;
    o.user = &answer_text;
    cama_info info;
    cama_model_info(m, &info, sizeof info);
    cama_err e = one_message(question, &messages, err);
    o.messages = info.has_template ? messages.data : NULL;
    o.prompt = info.has_template ? NULL : question;
    if (!info.has_template)
        cama_warn(m, "the file has no chat template: the text is continued as it is");
    if (!e)
        e = cama_generate(m, &o, NULL, err);
    if (!e)
        e = buf_error(&answer_text, "the answer", err);
    buf_done(&messages);
    if (e) {
        buf_done(&answer_text);
        return e;
    }
    return cama_hand_out(&answer_text, out_answer, NULL, "the answer", err);
}
