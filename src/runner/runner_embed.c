/* Inputs to vectors, text to ids and back. */
#include "runner/runner_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static cama_err inputs_of(const runner_prep *p, const json_value **out, err_info *err)
{
    const json_value *list = json_get(p->head, "inputs");
    if (!list || list->kind != JSON_ARRAY)
        return err_set(err, CAMA_ERR_ARG, "a job without a list of inputs");
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i]->kind != JSON_STRING)
            return err_set(err, CAMA_ERR_ARG, "input %zu is no text", i);
    }
    *out = list;
    return CAMA_OK;
}

/* ---- tokens ---- */

cama_err runner_tokenize(runner_prep *p, err_info *err)
{
    const json_value *inputs;
    cama_err e = inputs_of(p, &inputs, err);
    const tok_flags flags = {.add_special = prep_bool(p, "add_special", false),
                             .parse_special = prep_bool(p, "parse_special", true)};
    for (size_t i = 0; !e && i < inputs->n; i++) {
        p->ids.n = 0;
        e = tok_encode(p->r->vocab, inputs->items[i]->text, inputs->items[i]->n, flags, &p->ids,
                       err);
        char head[40];
        const int n = snprintf(head, sizeof head, "{\"index\":%zu}", i);
        const wire_out f = {.type = WIRE_TOKENS,
                            .job = p->j->id,
                            .head = head,
                            .n_head = (size_t)n,
                            .data = p->ids.id,
                            .n_data = p->ids.n * sizeof *p->ids.id};
        if (!e && f.n_data > WIRE_MAX_DATA_UP)
            e = err_set(err, CAMA_ERR_LIMIT, "input %zu has %zu tokens, more than a frame holds", i,
                        p->ids.n);
        if (!e && job_is_canceled(p->j))
            e = err_set(err, CAMA_ERR_CANCELED, "canceled");
        if (!e)
            runner_send(p->r, &f);
    }
    if (!e)
        runner_done_early(p->j, "stop", "");
    return e;
}

cama_err runner_detokenize(runner_prep *p, err_info *err)
{
    const int32_t *ids = p->j->data;
    const size_t n = p->j->n_data / sizeof *ids;
    tok_stream s;
    tok_stream_init(&s, p->r->vocab, prep_bool(p, "special", true), false);
    cama_err e = CAMA_OK;
    for (size_t i = 0; !e && i < n; i++)
        e = tok_stream_push(&s, ids[i], &p->text, err);
    if (!e)
        e = tok_stream_end(&s, &p->text, err);
    if (e)
        return e;
    runner_send_text(p->j, p->text.n ? p->text.data : "", p->text.n);
    runner_done_early(p->j, "stop", "");
    return CAMA_OK;
}

/* ---- vectors ---- */

static bool all_finite(const float *v, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++)
        finite = finite && isfinite(v[i]);
    return finite;
}

static void normalise(float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    const double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (size_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] * scale);
}

static uint32_t n_token_of(const runner_inputs *in, uint32_t index)
{
    return in->end[index] - (index ? in->end[index - 1] : 0);
}

/* The first failure counts. The preparer may meet one while the engine computes. */
static void break_off(runner_job *j, const err_info *err)
{
    runner_lock(j->r);
    if (!atomic_load_explicit(&j->inputs.failed, memory_order_relaxed))
        j->broken = *err;
    atomic_store_explicit(&j->inputs.failed, true, memory_order_relaxed);
    runner_unlock(j->r);
}

static bool goes_on(runner_job *j)
{
    return !atomic_load_explicit(&j->inputs.failed, memory_order_relaxed) && !job_is_canceled(j);
}

static void on_vector(void *user, const float *v, size_t n)
{
    const runner_part *part = user;
    runner_job *j = part->job;
    const runner_inputs *in = &j->inputs;
    err_info err;
    const size_t n_dim =
        in->dimensions > 0 && (size_t)in->dimensions < n ? (size_t)in->dimensions : n;
    float *out = malloc(n_dim * sizeof *out);
    if (!out) {
        (void)err_set(&err, CAMA_ERR_NOMEM, "runner: no memory for a vector");
        break_off(j, &err);
        return;
    }
    memcpy(out, v, n_dim * sizeof *out);
    if (!all_finite(out, n_dim)) {
        (void)err_set(&err, CAMA_ERR_ENGINE, "embedding contains NaN or Inf values");
        break_off(j, &err);
    }
    if (in->normalize)
        normalise(out, n_dim);
    char head[64];
    const int n_head = snprintf(head, sizeof head, "{\"index\":%u,\"n_token\":%u}", part->index,
                                n_token_of(in, part->index));
    const wire_out f = {.type = WIRE_VECTOR,
                        .job = j->id,
                        .head = head,
                        .n_head = (size_t)n_head,
                        .data = out,
                        .n_data = n_dim * sizeof *out};
    if (goes_on(j))
        runner_send(j->r, &f);
    free(out);
}

static void all_done(runner_job *j)
{
    const runner_inputs *in = &j->inputs;
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_UP);
    (void)buf_printf(&head, /* failures stick */
                     "{\"reason\":\"%s\",\"stop_index\":-1,\"n_prompt\":%u,\"n_cached\":0,"
                     "\"n_token\":0,\"n_ctx\":%u,\"prep_ns\":%llu,\"queue_ns\":0,"
                     "\"prompt_ns\":%llu,\"eval_ns\":0}",
                     job_is_canceled(j) ? "canceled" : "stop", in->n_prompt, j->num_ctx,
                     (unsigned long long)(j->submit_ns - j->arrival_ns),
                     (unsigned long long)(clock_now_ns() - j->submit_ns));
    runner_send_head(j->r, WIRE_DONE, j->id, &head);
    runner_job_over(j);
}

/* One of those who keep the job open lets go; the last one ends it. */
static void let_go(runner_job *j)
{
    /* acquire and release: whoever ends the job sees what the others wrote */
    if (atomic_fetch_sub_explicit(&j->inputs.n_open, 1, memory_order_acq_rel) != 1)
        return;
    if (atomic_load_explicit(&j->inputs.failed, memory_order_relaxed))
        runner_fail(j, &j->broken, "");
    else
        all_done(j);
    runner_job_unref(j);
}

/* The next input as this part of the job. False: there is none, or it failed. */
static bool submit_next(runner_job *j, runner_part *part)
{
    runner_inputs *in = &j->inputs;
    const uint32_t i = atomic_fetch_add_explicit(&in->next, 1, memory_order_relaxed);
    if (i >= in->n)
        return false;
    part->index = i;
    sched_job_def d = {
        .kind = SCHED_EMBED,
        .ids = in->ids.id + (in->end[i] - n_token_of(in, i)),
        .n_id = n_token_of(in, i),
        .sample = sample_params_init(),
        .n_ctx = j->n_ctx,
        .n_thread = in->n_thread,
        .sink = in->sink,
    };
    d.sink.user = part;
    (void)atomic_fetch_add_explicit(&in->n_open, 1, memory_order_relaxed);
    sched_job_id id;
    err_info err;
    if (sched_submit(j->r->sched, &d, &id, &err)) {
        break_off(j, &err);
        let_go(j); /* never the last: who submits keeps the job open too */
        return false;
    }
    runner_part_set(part, id);
    return true;
}

/* Its place is the next input's. */
static void part_over(runner_part *part)
{
    runner_job *j = part->job;
    if (goes_on(j))
        (void)submit_next(j, part);
    let_go(j);
}

static void on_done(void *user, const stream_end *end)
{
    runner_part *part = user;
    if (end->reason != STREAM_CANCELED)
        part->job->inputs.n_prompt += end->n_prompt;
    part_over(part);
}

static void on_fail(void *user, const err_info *err)
{
    runner_part *part = user;
    break_off(part->job, err);
    part_over(part);
}

static stream_flow no_text(void *user, const char *text, size_t n, const stream_prob *probs,
                           size_t n_prob)
{
    (void)user, (void)text, (void)n, (void)probs, (void)n_prob; /* an embedding has none */
    return STREAM_GO;
}

/* ---- inputs ---- */

/* Tokens that Ollama leaves room for when it cuts: BOS and EOS, unless the file says that they are
 * not added. */
static uint32_t n_reserved(const runner *r)
{
    const tok_special *t = tok_specials(r->vocab);
    bool bos = true;
    bool eos = true;
    (void)gguf_get_bool(r->file, "tokenizer.ggml.add_bos_token", &bos, NULL); /* absent: true */
    (void)gguf_get_bool(r->file, "tokenizer.ggml.add_eos_token", &eos, NULL);
    return (uint32_t)(t->bos >= 0 && bos) + (uint32_t)(t->eos >= 0 && eos);
}

/* The end is cut off, but what the vocabulary puts behind every text stays. */
static void cut_end(const runner *r, tok_ids *ids, size_t begin, size_t limit)
{
    const tok_special *t = tok_specials(r->vocab);
    const bool keeps_last = (t->add_eos || t->add_sep) && limit > 1;
    if (keeps_last)
        ids->id[begin + limit - 1] = ids->id[ids->n - 1];
    ids->n = begin + limit;
}

static cama_err fit_input(runner_prep *p, uint32_t i, size_t begin, char figures[96], err_info *err)
{
    tok_ids *ids = &p->j->inputs.ids;
    const size_t n = ids->n - begin;
    const uint32_t most = p->n_limit;
    const uint32_t reserved = n_reserved(p->r);
    const size_t kept = most > reserved + 1 ? most - reserved : most;
    if (n <= most)
        return n ? CAMA_OK : err_set(err, CAMA_ERR_ARG, "input %u has no tokens", i);
    if (!prep_bool(p, "truncate", true)) {
        (void)snprintf(figures, 96, ",\"n_prompt\":%zu,\"n_ctx\":%u", n, most);
        return err_set(err, CAMA_ERR_CONTEXT,
                       "the input length exceeds the context length: input %u has %zu tokens, the "
                       "context holds %u",
                       i, n, most);
    }
    cut_end(p->r, ids, begin, kept);
    char cut[96];
    (void)snprintf(cut, sizeof cut, ",\"index\":%u,\"n_token\":%zu,\"n_kept\":%zu", i, n, kept);
    runner_warn(p->j, "input_cut", cut,
                "input %u has %zu tokens, the context %u: the first %zu were kept", i, n, most,
                kept);
    return CAMA_OK;
}

static cama_err read_inputs(runner_prep *p, const json_value *list, char figures[96], err_info *err)
{
    runner_inputs *in = &p->j->inputs;
    const tok_flags flags = {.add_special = true, .parse_special = true};
    in->end = calloc(list->n ? list->n : 1, sizeof *in->end);
    if (!in->end || list->n > UINT32_MAX)
        return err_set(err, CAMA_ERR_NOMEM, "runner: no memory for %zu inputs", list->n);
    for (size_t i = 0; i < list->n; i++) {
        const size_t begin = in->ids.n;
        cama_err e =
            tok_encode(p->r->vocab, list->items[i]->text, list->items[i]->n, flags, &in->ids, err);
        if (!e)
            e = fit_input(p, (uint32_t)i, begin, figures, err);
        if (!e && job_is_canceled(p->j))
            e = err_set(err, CAMA_ERR_CANCELED, "canceled");
        if (e)
            return e;
        in->end[i] = (uint32_t)in->ids.n;
    }
    in->n = (uint32_t)list->n;
    return CAMA_OK;
}

cama_err runner_embed(runner_prep *p, char figures[96], err_info *err)
{
    runner_job *j = p->j;
    runner_inputs *in = &j->inputs;
    const json_value *list;
    cama_err e = inputs_of(p, &list, err);
    if (!e)
        e = prep_context(p, err);
    if (!e && p->r->is_whole && p->n_limit > p->r->eo.n_batch)
        p->n_limit = p->r->eo.n_batch;
    if (!e)
        e = read_inputs(p, list, figures, err);
    if (e)
        return e;
    in->dimensions = (int32_t)prep_head_int(p, "dimensions");
    in->normalize = prep_bool(p, "normalize", true);
    in->n_thread = prep_threads(p);
    in->sink =
        (stream_sink){.text = no_text, .vector = on_vector, .done = on_done, .fail = on_fail};
    j->submit_ns = clock_now_ns();
    atomic_store_explicit(&in->n_open, 1, memory_order_relaxed); /* this thread's */
    runner_job_ref(j);                                           /* until the last lets go */
    for (int i = 0; i < RUNNER_TOGETHER && goes_on(j); i++) {
        if (!submit_next(j, &j->parts[i]))
            break;
    }
    let_go(j);
    return CAMA_OK;
}
