/* A job's events -> a reply, in pieces or whole, in the words of a dialect.
 *
 * The head of a streamed reply is held back until the first piece: an error before it still has a
 * status of its own, and the engine's name is known by then.
 */
#include "api/api_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

api_answer *api_answer_new(api_call *c, const api_dialect *d)
{
    api_answer *a = calloc(1, sizeof *a);
    if (!a) {
        api_fail(c, 507, "no memory for an answer");
        return NULL;
    }
    api_call_ref(c);
    a->call = c;
    a->dialect = d;
    a->strict = c->api->strict;
    buf_init(&a->text, API_MAX_REPLY);
    buf_init(&a->think, API_MAX_REPLY);
    buf_init(&a->calls, API_MAX_REPLY);
    buf_init(&a->logprobs, API_MAX_REPLY);
    buf_init(&a->warnings.list, API_MAX_LAYER);
    return a;
}

void api_answer_free(api_answer *a)
{
    if (!a)
        return;
    buf_done(&a->text);
    buf_done(&a->think);
    buf_done(&a->calls);
    buf_done(&a->logprobs);
    buf_done(&a->warnings.list);
    api_call_unref(a->call);
    free(a);
}

/* in_stream: as Ollama's stream writer does it, without a charset and in a chunk. */
static void fail_whole(api_answer *a, int status, const char *text, bool in_stream)
{
    const bool openai = a->dialect->openai;
    buf body;
    buf_init(&body, API_MAX_REPLY);
    (void)api_error_body(openai ? API_OPENAI : 0, status, text, &body); /* sticks in body */
    if (openai)
        (void)buf_putc(&body, '\n');
    if (in_stream && a->stream && !body.fail) {
        api_begin(a->call, status, API_JSON, NULL);
        api_piece(a->call, &body);
        api_end(a->call);
    } else {
        api_reply(a->call, status, openai ? API_JSON : API_JSON_UTF8, &body);
    }
    buf_done(&body);
}

void api_answer_refuse(api_answer *a, const api_problem *p, bool in_stream)
{
    fail_whole(a, p->status, p->text, in_stream);
    api_answer_free(a);
}

/* ---- errors of jobs in Ollama's words ---- */

static void word_context(const api_answer *a, const err_info *err, api_problem *p)
{
    if (a->no_shift && !a->no_truncate)
        (void)api_problem_set(p, 400,
                              "the prompt is longer than the context length currently available to "
                              "the model; shorten the prompt, adjust the context length in "
                              "settings, or use a model with a longer context length");
    else
        (void)api_problem_set(p, 400, "%s", err->text);
}

static void word_error(const api_answer *a, const err_info *err, api_problem *p)
{
    switch (err->code) {
    case CAMA_ERR_BUSY:
        (void)api_problem_set(p, 503,
                              "server busy, please try again.  maximum pending requests exceeded");
        break;
    case CAMA_ERR_CANCELED:
        (void)api_problem_set(p, 499, "request canceled");
        break;
    case CAMA_ERR_CONTEXT:
        word_context(a, err, p);
        break;
    case CAMA_ERR_TEMPLATE: /* the model's own fault, or the request's template: Ollama says 500 */
        (void)api_problem_set(p, 500, "%s", err->text);
        break;
    default:
        (void)api_problem_err(p, err);
        break;
    }
}

/* After the first byte the status is gone: one more piece says what happened. */
static void fail_late(api_answer *a, const api_problem *p)
{
    buf body;
    buf_init(&body, API_MAX_REPLY);
    if (a->dialect->openai)
        (void)buf_puts(&body, "data: ");
    (void)api_error_body(a->dialect->openai ? API_OPENAI : 0, p->status, p->text, &body);
    (void)buf_puts(&body, a->dialect->openai ? "\n\n" : "\n");
    api_piece(a->call, &body);
    api_end(a->call);
    buf_done(&body);
}

/* ---- events ---- */

void api_take_engine(api_answer *a, const json_value *ready)
{
    (void)snprintf(a->engine, sizeof a->engine, "%s", api_text(json_get(ready, "engine")));
    (void)snprintf(a->engine_version, sizeof a->engine_version, "%s",
                   api_text(json_get(ready, "engine_version")));
    (void)snprintf(a->device, sizeof a->device, "%s", api_text(json_get(ready, "device")));
    (void)snprintf(a->why, sizeof a->why, "%s", api_text(json_get(ready, "why")));
    a->is_gpu = api_bool(json_get(ready, "is_gpu"), false);
    a->exact = api_bool(json_get(ready, "exact"), false);
}

void api_put_engine(api_writer *w, const api_answer *a)
{
    if (!*a->engine)
        return;
    api_put_str(w, "engine", a->engine);
    if (*a->engine_version)
        api_put_str(w, "engine_version", a->engine_version);
    if (*a->device)
        api_put_str(w, "device", a->device);
    if (*a->engine_version) /* a runner that names its version says this, too */
        api_put_bool(w, "exact", a->exact);
}

/* What comes up the wire goes into a header: printable, and nothing that ends a quoted text. */
void api_mark_engine(const api_answer *a, char out[API_ENGINE_MARK])
{
    char version[sizeof a->engine_version];
    size_t n = 0;
    for (const char *c = a->engine_version; *c; c++) {
        if (*c >= ' ' && *c < 127 && *c != '"' && *c != '\\')
            version[n++] = *c;
    }
    version[n] = '\0';
    out[0] = '\0';
    if (!*a->engine)
        return;
    for (const char *c = a->engine; *c; c++) {
        if (*c < 'a' || *c > 'z')
            return;
    }
    (void)snprintf(out, API_ENGINE_MARK, "%s; device=%s%s%s%s", a->engine,
                   a->is_gpu ? "gpu" : "cpu", n ? "; version=\"" : "", version, n ? "\"" : "");
}

static void begin(api_answer *a)
{
    if (a->begun)
        return;
    a->begun = true;
    char engine[API_ENGINE_MARK];
    api_mark_engine(a, engine);
    const api_marks marks = {engine, a->warnings.codes};
    api_begin(a->call, 200, a->dialect->stream_type, &marks);
}

/* What was kept of a run that another engine repeats. */
static void forget_text(api_answer *a)
{
    buf_clear(&a->text);
    buf_clear(&a->think);
    buf_clear(&a->calls);
    buf_clear(&a->logprobs);
    a->called = false;
}

static void on_loaded(api_answer *a, const pool_event *e)
{
    if (a->loaded)
        forget_text(a);
    a->loaded = true;
    a->load_ns = clock_now_ns() - a->call->start_ns;
    api_take_engine(a, e->head);
}

/* Alternatives that nobody asked for are left out, as Go's omitempty does. */
static void put_logprob(api_writer *w, const json_value *one)
{
    api_open(w, NULL, '{');
    for (size_t i = 0; one->kind == JSON_OBJECT && i < one->n; i++) {
        const json_member *m = &one->members[i];
        if (strcmp(m->key, "top_logprobs") != 0 || m->value->n > 0)
            api_put_json(w, m->key, m->value);
    }
    api_close(w, '}');
}

void api_put_logprobs(api_writer *w, const char *key, const json_value *list)
{
    if (key)
        api_open(w, key, '[');
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++)
        put_logprob(w, list->items[i]);
    if (key)
        api_close(w, ']');
}

static void keep_logprobs(api_answer *a, const json_value *list)
{
    api_writer w = {.out = &a->logprobs, .comma = a->logprobs.n > 0};
    api_put_logprobs(&w, NULL, list);
}

static void keep(api_answer *a, const pool_event *e)
{
    buf *where = e->type == POOL_TEXT ? &a->text : e->type == POOL_THINK ? &a->think : &a->calls;
    const char *data = e->data;
    size_t n = e->n_data;
    if (e->type == POOL_CALLS) { /* arrays become one list */
        if (n < 2 || data[0] != '[' || data[n - 1] != ']')
            return;
        data++;
        n -= 2;
        if (where->n && n)
            (void)buf_putc(where, ',');
        a->called = a->called || n > 0;
    }
    (void)buf_append(where, data, n); /* sticks: looked at when the reply is made */
    keep_logprobs(a, json_get(e->head, "logprobs"));
}

static void on_fail(api_answer *a, const err_info *err)
{
    api_problem p;
    word_error(a, err, &p);
    if (!a->loaded && a->shown && api_is_file_fault(err->code))
        (void)api_problem_file(&p, a->shown, a->digest, err);
    if (a->begun)
        fail_late(a, &p);
    else
        fail_whole(a, p.status, p.text, a->loaded && !a->load_only);
}

/* A piece that cannot be written: an answer with a hole would look like a whole one. */
static void break_off(api_answer *a, cama_err e)
{
    err_info err;
    (void)err_set(&err, e, "a piece of the answer: %s", cama_err_text(e));
    on_fail(a, &err);
    a->over = true;
    api_cancel(a->call);
}

static void on_text(api_answer *a, const pool_event *e)
{
    if (a->render_only || !a->stream) {
        keep(a, e);
        api_owe(a->call, e->n_data, true);
        return;
    }
    buf piece;
    buf_init(&piece, API_MAX_REPLY);
    a->dialect->piece(a, e->type, e, &piece);
    a->called = a->called || e->type == POOL_CALLS;
    if (piece.fail) {
        break_off(a, piece.fail);
    } else {
        if (piece.n)
            begin(a);
        api_owe(a->call, e->n_data, piece.n == 0);
        api_piece(a->call, &piece);
    }
    buf_done(&piece);
}

static void take_stats(api_answer *a, const pool_event *e)
{
    const json_value *h = e->head;
    const char *reason = api_text(json_get(h, "reason"));
    (void)snprintf(a->reason_text, sizeof a->reason_text, "%s", *reason ? reason : "stop");
    if (!a->reason)
        a->reason = a->reason_text;
    a->n_prompt = api_int(json_get(h, "n_prompt"), 0);
    a->n_token = api_int(json_get(h, "n_token"), 0);
    a->prompt_ns = api_int(json_get(h, "prompt_ns"), 0);
    a->eval_ns = api_int(json_get(h, "eval_ns"), 0);
    a->n_cached = api_int(json_get(h, "n_cached"), 0);
    a->n_ctx = api_int(json_get(h, "n_ctx"), 0);
    a->seed = api_int(json_get(h, "seed"), 0);
    (void)snprintf(a->template_path, sizeof a->template_path, "%s",
                   api_text(json_get(h, "template")));
    a->ids = e->data;
    a->n_id = e->n_data / sizeof *a->ids;
    /* One token takes no time between tokens; a duration of 0 would be left out of the reply. */
    if (a->n_token > 0 && a->eval_ns <= 0)
        a->eval_ns = 1000;
}

static void finish(api_answer *a)
{
    buf body;
    buf_init(&body, API_MAX_REPLY);
    api_log_warnings(a->call->api, a->model, &a->warnings);
    cama_err e = a->text.fail ? a->text.fail : a->think.fail ? a->think.fail : a->calls.fail;
    if (!e)
        e = a->logprobs.fail;
    if (a->stream && !a->load_only && !a->render_only) {
        a->dialect->last(a, &body);
        if (body.fail) {
            break_off(a, body.fail);
        } else {
            begin(a);
            api_piece(a->call, &body);
            api_end(a->call);
        }
    } else if (e) {
        fail_whole(a, cama_err_status(e), "the answer is past the limit of a reply", false);
    } else {
        a->dialect->whole(a, &body);
        char engine[API_ENGINE_MARK];
        api_mark_engine(a, engine);
        const api_marks marks = {engine, a->warnings.codes};
        api_reply_from(a->call, 200, a->dialect->whole_type, &marks, &body);
    }
    buf_done(&body);
}

/* CAMA_STRICT: what would have been a warning ends the request while it still has a status. */
static bool refuse_warning(api_answer *a, const pool_event *e)
{
    if (!a->strict || a->begun)
        return false;
    fail_whole(a, 400, api_text(json_get(e->head, "text")), true);
    a->over = true;
    api_cancel(a->call);
    return true;
}

static void on_event(void *user, const pool_event *e)
{
    api_answer *a = user;
    const bool last = e->type == POOL_DONE || e->type == POOL_FAIL;
    if (!a->over) {
        switch (e->type) {
        case POOL_LOADED:
            on_loaded(a, e);
            break;
        case POOL_TEXT:
        case POOL_THINK:
        case POOL_CALLS:
            on_text(a, e);
            break;
        case POOL_WARNING:
            if (!refuse_warning(a, e))
                api_warn_json(&a->warnings, e->head);
            break;
        case POOL_DONE:
            take_stats(a, e);
            finish(a);
            break;
        case POOL_FAIL:
            on_fail(a, e->err);
            break;
        case POOL_TOKENS:
        case POOL_VECTOR:
            break;
        }
    } else {
        api_owe(a->call, e->n_data, true);
    }
    if (last)
        api_answer_free(a);
}

void api_answer_run(api_answer *a, const api_model *m, buf *head, const int32_t *ids, size_t n_id,
                    uint32_t n_ctx, int64_t keep_ns)
{
    api_problem p;
    err_info err;
    buf details;
    buf_init(&details, API_MAX_LAYER);
    api_writer w = {.out = &details};
    api_put_details(&w, NULL, m, false);
    pool_model pm;
    const bool named =
        api_fill_pool_model(m, &a->choice, details.data, &a->call->request_arena, &pm);
    a->shown = arena_copy(&a->call->request_arena, m->shown, strlen(m->shown));
    a->digest = m->weights->digest;
    const pool_job job = {.model = &pm,
                          .head = head ? head->data : NULL,
                          .n_head = head ? head->n : 0,
                          .data = ids,
                          .n_data = n_id * sizeof *ids,
                          .collects = !a->stream || a->render_only,
                          .n_ctx = n_ctx,
                          .keep_alive_ns = keep_ns,
                          .sink = {.user = a, .event = on_event}};
    api_call *c = a->call; /* the answer may be over before api_submit returns */
    api_call_ref(c);
    cama_err e = buf_error(&details, "details", &err);
    if (!e && head)
        e = buf_error(head, "a job", &err);
    if (!e && !named)
        e = err_set(&err, CAMA_ERR_NOMEM, "no memory for the name of a runner");
    if (!e)
        e = api_submit(c, &job, &err);
    if (e) {
        word_error(a, &err, &p);
        fail_whole(a, p.status, p.text, false);
        api_answer_free(a);
    }
    api_call_unref(c);
    buf_done(&details);
}

/* ---- what all last records have ---- */

static void put_positive(api_writer *w, const char *key, int64_t v)
{
    if (v > 0)
        api_put_int(w, key, v);
}

void api_put_stats(api_writer *w, const api_answer *a)
{
    put_positive(w, "total_duration", (int64_t)(clock_now_ns() - a->call->start_ns));
    put_positive(w, "load_duration", (int64_t)a->load_ns);
    put_positive(w, "prompt_eval_count", a->n_prompt);
    put_positive(w, "prompt_eval_duration", a->prompt_ns);
    put_positive(w, "eval_count", a->n_token);
    put_positive(w, "eval_duration", a->eval_ns);
}

void api_put_ours(api_writer *w, const api_answer *a)
{
    api_put_engine(w, a);
    if (a->warnings.n) {
        api_open(w, "warnings", '[');
        (void)buf_append(w->out, a->warnings.list.data, a->warnings.list.n);
        api_close(w, ']');
    }
    api_open(w, "cama", '{');
    api_put_int(w, "n_ctx", a->n_ctx);
    api_put_int(w, "cached", a->n_cached);
    api_put_int(w, "seed", a->seed);
    api_put_str(w, "template", a->template_path);
    if (*a->why)
        api_put_str(w, "why", a->why);
    api_close(w, '}');
}
