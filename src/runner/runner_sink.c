/* What the scheduler tells of an answer becomes frames. Engine thread; nothing here waits. */
#include "runner/runner_int.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is impossible has no logarithm, and JSON no infinity: the lowest float, as in llama.cpp. */
static void put_logprob(float logprob, buf *out)
{
    char text[JSON_DOUBLE_BYTES];
    const double d = isfinite(logprob) ? (double)logprob : -(double)FLT_MAX;
    const size_t n = json_format_double(d, text);
    (void)buf_append(out, text, n); /* its failure sticks */
}

static void put_alt(const stream_alt *a, buf *out)
{
    (void)buf_puts(out, "{\"token\":"); /* failures stick */
    (void)json_write_string(a->text, a->n_text, out);
    (void)buf_puts(out, ",\"logprob\":");
    put_logprob(a->logprob, out);
    (void)buf_puts(out, ",\"bytes\":[");
    for (size_t i = 0; i < a->n_text; i++)
        (void)buf_printf(out, i ? ",%u" : "%u", (unsigned char)a->text[i]);
    (void)buf_putc(out, ']');
}

static void put_probs(const stream_prob *probs, size_t n, buf *out)
{
    for (size_t i = 0; i < n; i++) {
        (void)buf_puts(out, out->n ? "," : "");
        put_alt(&probs[i].token, out);
        (void)buf_puts(out, ",\"top_logprobs\":[");
        for (size_t k = 0; k < probs[i].n_top; k++) {
            (void)buf_puts(out, k ? "," : "");
            put_alt(&probs[i].top[k], out);
            (void)buf_putc(out, '}');
        }
        (void)buf_puts(out, "]}");
    }
}

/* What breaks an answer is told at its end, which the scheduler is asked for by STREAM_CLOSE. */
static void break_off(runner_job *j, const err_info *err)
{
    if (!j->broken.code)
        j->broken = *err;
}

/* One frame; the probabilities that wait go with it. */
static void send_piece(runner_job *j, wire_type t, const char *text, size_t n)
{
    wire_out f = {.type = t, .job = j->id, .data = text, .n_data = n};
    err_info err;
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_UP);
    if (j->probs.n)
        (void)buf_printf(&head, "{\"logprobs\":[%s]}", j->probs.data); /* its failure sticks */
    if (buf_error(&j->probs, "probabilities", &err) || buf_error(&head, "probabilities", &err)) {
        break_off(j, &err);
        buf_done(&head);
        return;
    }
    buf_clear(&j->probs);
    f.head = head.data;
    f.n_head = head.n;
    runner_send(j->r, &f);
    buf_done(&head);
    (void)atomic_fetch_sub_explicit(&j->credit, (int_fast64_t)n, memory_order_relaxed);
}

void runner_answer_event(void *job, answer_kind kind, const char *text, size_t n)
{
    runner_job *j = job;
    if (kind == ANSWER_CALLS) {
        const wire_out f = {.type = WIRE_CALLS, .job = j->id, .data = text, .n_data = n};
        runner_send(j->r, &f);
    } else if (n) {
        send_piece(j, kind == ANSWER_THINK ? WIRE_THINK : WIRE_TEXT, text, n);
    }
}

static bool has_credit(runner_job *j)
{
    return atomic_load_explicit(&j->credit, memory_order_relaxed) > 0;
}

static stream_flow on_text(void *user, const char *text, size_t n, const stream_prob *probs,
                           size_t n_prob)
{
    runner_job *j = ((runner_part *)user)->job;
    err_info err;
    if (job_is_canceled(j))
        return STREAM_CLOSE;
    put_probs(probs, n_prob, &j->probs);
    if (j->want_context && j->has_stop)
        (void)buf_append(&j->said, text, n); /* its failure is seen at the end */
    if (!j->answer)
        send_piece(j, WIRE_TEXT, text, n);
    else if (answer_feed(j->answer, text, n, &err))
        break_off(j, &err);
    if (j->broken.code)
        return STREAM_CLOSE;
    return has_credit(j) ? STREAM_GO : STREAM_PAUSE;
}

static bool on_ready(void *user)
{
    runner_job *j = ((runner_part *)user)->job;
    return has_credit(j) || job_is_canceled(j);
}

static cama_err add_ids(tok_ids *to, const int32_t *ids, size_t n)
{
    if (n > to->max_n - to->n)
        return CAMA_ERR_LIMIT;
    if (to->n + n > to->cap) {
        int32_t *grown = realloc(to->id, (to->n + n) * sizeof *grown);
        if (!grown)
            return CAMA_ERR_NOMEM;
        to->id = grown;
        to->cap = to->n + n;
    }
    memcpy(to->id + to->n, ids, n * sizeof *ids);
    to->n += n;
    return CAMA_OK;
}

/* Prompt and answer as Ollama hands them out: the prompt before it was cut, no token that ended the
 * answer, and no text of a stop string. */
static cama_err make_context(runner_job *j, const stream_end *end, tok_ids *out, err_info *err)
{
    const size_t n_prompt = end->n_prompt;
    size_t n_said = end->n_id - n_prompt;
    if (n_said && end->reason == STREAM_STOP && tok_is_eog(j->r->vocab, end->ids[end->n_id - 1]))
        n_said--;
    cama_err e =
        j->uncut.n ? add_ids(out, j->uncut.id, j->uncut.n) : add_ids(out, end->ids, n_prompt);
    const tok_flags flags = {.parse_special = true};
    if (!e && end->stop_index >= 0)
        return tok_encode(j->r->vocab, j->said.n ? j->said.data : "", j->said.n, flags, out, err);
    if (!e)
        e = add_ids(out, end->ids + n_prompt, n_said);
    return e ? err_set(err, e, "runner: no room for %zu ids of the context", end->n_id) : CAMA_OK;
}

static void put_done(const runner_job *j, const stream_end *end, buf *out)
{
    static const char *const reasons[] = {
        [STREAM_STOP] = "stop",
        [STREAM_LENGTH] = "length",
        [STREAM_CANCELED] = "canceled",
    };
    (void)buf_printf(out, /* failures stick */
                     "{\"reason\":\"%s\",\"stop_index\":%d,\"context_full\":%s,\"n_prompt\":%u,"
                     "\"n_cached\":%u,\"n_token\":%u,\"seed\":%u,\"n_ctx\":%u,\"shifts\":%u",
                     reasons[end->reason], end->stop_index, end->context_full ? "true" : "false",
                     end->n_prompt, end->n_cached, end->n_token, end->seed, j->num_ctx,
                     end->n_shift);
    (void)buf_printf(out,
                     ",\"prep_ns\":%llu,\"queue_ns\":%llu,\"prompt_ns\":%llu,\"eval_ns\":%llu,"
                     "\"template\":\"%s\"}",
                     (unsigned long long)(j->submit_ns - j->arrival_ns),
                     (unsigned long long)end->queue_ns, (unsigned long long)end->prompt_ns,
                     (unsigned long long)end->eval_ns, j->path);
}

static void send_done(runner_job *j, const stream_end *end)
{
    tok_ids context;
    tok_ids_init(&context, WIRE_MAX_DATA_UP / sizeof *context.id);
    buf head;
    buf_init(&head, WIRE_MAX_HEAD_UP);
    put_done(j, end, &head);
    err_info err;
    if (j->want_context &&
        (buf_error(&j->said, "the answer", &err) || make_context(j, end, &context, &err)))
        break_off(j, &err);
    if (buf_error(&head, "DONE", &err))
        break_off(j, &err);
    const wire_out f = {.type = WIRE_DONE,
                        .job = j->id,
                        .head = head.data,
                        .n_head = head.n,
                        .data = context.id,
                        .n_data = context.n * sizeof *context.id};
    if (!j->broken.code)
        runner_send(j->r, &f);
    buf_done(&head);
    tok_ids_done(&context);
}

static void on_done(void *user, const stream_end *end)
{
    runner_job *j = ((runner_part *)user)->job;
    err_info err;
    if (j->answer && end->reason != STREAM_CANCELED && answer_end(j->answer, &err))
        break_off(j, &err);
    if (j->probs.n && end->reason != STREAM_CANCELED)
        send_piece(j, WIRE_TEXT, "", 0);
    if (end->n_shift) {
        char figures[48];
        (void)snprintf(figures, sizeof figures, ",\"n\":%u,\"n_dropped\":%u", end->n_shift,
                       end->n_dropped);
        runner_warn(j, "context_shifted", figures,
                    "the context of %u tokens was full %u times: %u older tokens were dropped to "
                    "go on",
                    j->n_ctx, end->n_shift, end->n_dropped);
    }
    if (!j->broken.code)
        send_done(j, end);
    if (j->broken.code)
        runner_fail(j, &j->broken, "");
    runner_job_over(j);
    runner_job_unref(j);
}

static void on_fail(void *user, const err_info *err)
{
    runner_job *j = ((runner_part *)user)->job;
    runner_fail(j, err, "");
    runner_job_unref(j);
}

stream_sink runner_text_sink(runner_part *p)
{
    return (stream_sink){
        .user = p, .text = on_text, .ready = on_ready, .done = on_done, .fail = on_fail};
}
