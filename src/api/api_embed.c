/* POST /api/embed and the older /api/embeddings: vectors of texts. */
#include "api/api_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { MODEL, INPUT, TRUNCATE, DIMENSIONS, KEEP_ALIVE, OPTIONS };
static const api_field fields[] = {
    [MODEL] = {"model", API_STRING, NULL},         [INPUT] = {"input", API_ANY, NULL},
    [TRUNCATE] = {"truncate", API_BOOL, NULL},     [DIMENSIONS] = {"dimensions", API_INT, NULL},
    [KEEP_ALIVE] = {"keep_alive", API_KEEP, NULL}, [OPTIONS] = {"options", API_MAP, NULL}};
const api_struct api_embed_request = {"api", "EmbedRequest", fields,
                                      sizeof fields / sizeof *fields};

enum { OLD_MODEL, OLD_PROMPT, OLD_KEEP_ALIVE, OLD_OPTIONS };
static const api_field old_fields[] = {[OLD_MODEL] = {"model", API_STRING, NULL},
                                       [OLD_PROMPT] = {"prompt", API_STRING, NULL},
                                       [OLD_KEEP_ALIVE] = {"keep_alive", API_KEEP, NULL},
                                       [OLD_OPTIONS] = {"options", API_MAP, NULL}};
const api_struct api_embeddings_request = {"api", "EmbeddingRequest", old_fields,
                                           sizeof old_fields / sizeof *old_fields};

#define MAX_INPUTS 65536
#define MAX_VECTOR_BYTES ((size_t)1 << 30)

/* An embedding on its way. The vectors come in any order, each whole. */
typedef struct embed {
    api_call *call; /* holds a reference */
    const char *model;
    bool old; /* /api/embeddings */
    const json_value *inputs;
    size_t n_input;
    float **vectors; /* [n_input], each n_float[i] long */
    size_t *n_float;
    size_t n_bytes;
    int64_t n_token;
    bool loaded;
    const char *shown, *digest; /* of the model, as in api_answer */
    uint64_t load_ns;
    cama_err failed;
    api_answer *notes; /* engine and warnings, as other answers have them */
} embed;

static void embed_free(embed *e)
{
    for (size_t i = 0; e->vectors && i < e->n_input; i++)
        free(e->vectors[i]);
    free(e->vectors);
    free(e->n_float);
    api_answer_free(e->notes);
    api_call_unref(e->call);
    free(e);
}

static void take_vector(embed *e, const pool_event *ev)
{
    const int64_t i = api_int(json_get(ev->head, "index"), -1);
    if (e->failed || i < 0 || (uint64_t)i >= e->n_input || e->vectors[i])
        return;
    if (ev->n_data > MAX_VECTOR_BYTES - e->n_bytes) {
        e->failed = CAMA_ERR_LIMIT;
        return;
    }
    e->vectors[i] = malloc(ev->n_data ? ev->n_data : 1);
    if (!e->vectors[i]) {
        e->failed = CAMA_ERR_NOMEM;
        return;
    }
    memcpy(e->vectors[i], ev->data, ev->n_data);
    e->n_float[i] = ev->n_data / sizeof(float);
    e->n_bytes += ev->n_data;
    e->n_token += api_int(json_get(ev->head, "n_token"), 0);
}

static void put_vector(api_writer *w, const char *key, const embed *e, size_t i)
{
    api_open(w, key, '[');
    for (size_t k = 0; i < e->n_input && k < e->n_float[i]; k++) {
        if (e->old) /* the older endpoint's type is float64 */
            api_put_f64(w, NULL, (double)e->vectors[i][k]);
        else
            api_put_f32(w, NULL, e->vectors[i][k]);
    }
    api_close(w, ']');
}

static void put_reply(api_writer *w, const embed *e, bool loaded)
{
    api_open(w, NULL, '{');
    if (e->old) {
        put_vector(w, "embedding", e, 0);
        api_close(w, '}');
        return;
    }
    api_put_str(w, "model", e->model);
    api_open(w, "embeddings", '[');
    for (size_t i = 0; i < e->n_input; i++)
        put_vector(w, NULL, e, i);
    api_close(w, ']');
    if (loaded) {
        api_put_int(w, "total_duration", (int64_t)(clock_now_ns() - e->call->start_ns));
        if (e->load_ns)
            api_put_int(w, "load_duration", (int64_t)e->load_ns);
        if (e->n_token)
            api_put_int(w, "prompt_eval_count", e->n_token);
        api_put_engine(w, e->notes);
        if (e->notes->warnings.n) {
            api_open(w, "warnings", '[');
            (void)buf_append(w->out, e->notes->warnings.list.data, e->notes->warnings.list.n);
            api_close(w, ']');
        }
    }
    api_close(w, '}');
}

static void reply(embed *e, bool loaded)
{
    buf body;
    buf_init(&body, API_MAX_REPLY);
    api_writer w = {.out = &body};
    for (size_t i = 0; i < e->n_input && loaded; i++) {
        if (!e->vectors[i] && !e->failed)
            e->failed = CAMA_ERR_RUNNER; /* it said it was done, and was not */
    }
    put_reply(&w, e, loaded);
    if (e->failed) {
        api_fail(e->call, cama_err_status(e->failed), "embedding: %s", cama_err_text(e->failed));
    } else {
        char engine[API_ENGINE_MARK];
        api_mark_engine(e->notes, engine);
        const api_marks marks = {engine, e->notes->warnings.codes};
        api_log_warnings(e->call->api, e->model, &e->notes->warnings);
        api_reply_from(e->call, 200, API_JSON_UTF8, &marks, &body);
    }
    buf_done(&body);
}

static void fail_file(embed *e, const err_info *err)
{
    api_problem p;
    (void)api_problem_file(&p, e->shown, e->digest, err);
    api_fail(e->call, p.status, "%s", p.text);
}

static void fail(embed *e, const err_info *err)
{
    if (err->code == CAMA_ERR_CONTEXT)
        api_fail(e->call, 400, "the input length exceeds the context length");
    else if (err->code == CAMA_ERR_BUSY)
        api_fail(e->call, 503, "server busy, please try again.  maximum pending requests exceeded");
    else if (err->code == CAMA_ERR_CANCELED)
        api_fail(e->call, 499, "request canceled");
    else if (!e->loaded && e->shown && api_is_file_fault(err->code))
        fail_file(e, err);
    else
        api_fail(e->call, cama_err_status(err->code), "%s", err->text);
}

/* Of a run that another engine repeats: vectors of two engines are not mixed. */
static void forget_vectors(embed *e)
{
    for (size_t i = 0; i < e->n_input; i++) {
        free(e->vectors[i]);
        e->vectors[i] = NULL;
    }
    e->n_bytes = 0;
    e->n_token = 0;
}

static void on_event(void *user, const pool_event *ev)
{
    embed *e = user;
    switch (ev->type) {
    case POOL_LOADED:
        if (e->loaded)
            forget_vectors(e);
        e->loaded = true;
        e->load_ns = clock_now_ns() - e->call->start_ns;
        api_take_engine(e->notes, ev->head);
        break;
    case POOL_VECTOR:
        take_vector(e, ev);
        api_owe(e->call, ev->n_data, true);
        break;
    case POOL_WARNING:
        api_warn_json(&e->notes->warnings, ev->head);
        break;
    case POOL_DONE:
        if (e->n_token == 0)
            e->n_token = api_int(json_get(ev->head, "n_prompt"), 0);
        reply(e, e->n_input > 0);
        embed_free(e);
        break;
    case POOL_FAIL:
        fail(e, ev->err);
        embed_free(e);
        break;
    default:
        break;
    }
}

/* ---- the request ---- */

typedef struct embed_request {
    const char *model;
    const json_value *input; /* a string, an array of strings, or NULL */
    const json_value *options, *keep_alive;
    bool truncate, old;
    int64_t dimensions;
} embed_request;

static bool check_input(const json_value *input)
{
    if (!input || input->kind == JSON_STRING)
        return true;
    if (input->kind != JSON_ARRAY || input->n > MAX_INPUTS)
        return false;
    for (size_t i = 0; i < input->n; i++) {
        if (input->items[i]->kind != JSON_STRING)
            return false;
    }
    return true;
}

static void put_inputs(api_writer *w, const json_value *input)
{
    api_open(w, "inputs", '[');
    if (input && input->kind == JSON_STRING)
        api_put_text(w, NULL, input->text, input->n);
    for (size_t i = 0; input && input->kind == JSON_ARRAY && i < input->n; i++)
        api_put_text(w, NULL, input->items[i]->text, input->items[i]->n);
    api_close(w, ']');
}

static embed *embed_new(api_call *c, const embed_request *q)
{
    static const api_dialect none = {.whole_type = API_JSON_UTF8};
    embed *e = calloc(1, sizeof *e);
    if (!e) {
        api_fail(c, 507, "no memory for vectors");
        return NULL;
    }
    e->model = q->model;
    e->old = q->old;
    const json_value *in = q->input;
    e->n_input = !in ? 0 : in->kind == JSON_ARRAY ? in->n : in->n > 0;
    e->vectors = calloc(e->n_input + 1, sizeof *e->vectors);
    e->n_float = calloc(e->n_input + 1, sizeof *e->n_float);
    api_call_ref(c);
    e->call = c;
    e->notes = e->vectors && e->n_float ? api_answer_new(c, &none) : NULL;
    if (!e->vectors || !e->n_float || !e->notes) {
        if (!e->vectors || !e->n_float)
            api_fail(c, 507, "no memory for %zu vectors", e->n_input);
        embed_free(e);
        return NULL;
    }
    return e;
}

/* Takes e. */
static void submit(embed *e, const embed_request *q, const api_model *m, buf *head, uint32_t n_ctx)
{
    err_info err;
    buf details;
    buf_init(&details, API_MAX_LAYER);
    api_writer w = {.out = &details};
    api_put_details(&w, NULL, m, false);
    pool_model pm;
    arena *mem = &e->call->request_arena;
    const bool named = api_fill_pool_model(m, &e->notes->choice, details.data, mem, &pm);
    e->shown = arena_copy(mem, m->shown, strlen(m->shown));
    e->digest = m->weights->digest;
    const bool load_only = e->n_input == 0;
    const pool_job job = {.model = &pm,
                          .head = load_only ? NULL : head->data,
                          .n_head = load_only ? 0 : head->n,
                          .collects = true,
                          .n_ctx = n_ctx,
                          .keep_alive_ns = api_keep_ns(q->keep_alive),
                          .sink = {.user = e, .event = on_event}};
    cama_err bad = buf_error(head, "a job", &err);
    if (!bad)
        bad = buf_error(&details, "details", &err);
    if (!bad && !named)
        bad = err_set(&err, CAMA_ERR_NOMEM, "no memory for the name of a runner");
    if (!bad)
        bad = api_submit(e->call, &job, &err);
    if (bad) {
        fail(e, &err);
        embed_free(e);
    }
    buf_done(&details);
}

static void run(api_call *c, const embed_request *q, const api_model *m)
{
    embed *e = embed_new(c, q);
    if (!e)
        return;
    api_problem p;
    buf head;
    buf_init(&head, API_MAX_JOB);
    api_writer w = {.out = &head};
    api_options o = {.request = q->options, .model = m};
    const bool fine = api_begin_head(&w, e->notes, "embed", &o, &p);
    if (!fine) {
        api_fail(c, p.status, "%s", p.text);
        embed_free(e);
    } else if (e->n_input && !(m->file && (m->file->caps & API_CAN_EMBED))) {
        api_fail(c, q->old ? 500 : 501, "this model does not support embeddings");
        embed_free(e);
    } else {
        put_inputs(&w, q->input);
        api_put_bool(&w, "truncate", q->truncate);
        if (q->dimensions > 0)
            api_put_int(&w, "dimensions", q->dimensions);
        api_put_bool(&w, "normalize", true);
        api_close(&w, '}');
        submit(e, q, m, &head, o.n_ctx);
    }
    buf_done(&head);
}

static void find_and_run(api_call *c, const embed_request *q)
{
    api_model m = {0};
    api_problem p;
    if (!api_runnable(c, q->model, API_MISSING_PULL, &m, &p)) {
        api_fail(c, p.status, "%s", p.text);
        return;
    }
    api_call_ref(c); /* the answer may be over, and its reference gone, while this returns */
    run(c, q, &m);
    api_call_unref(c);
    api_model_close(&m);
}

void api_embed(api_call *c)
{
    api_values v;
    if (!api_read_body(c, &api_embed_request, false, &v))
        return;
    const embed_request q = {.model = api_text(v.at[MODEL]),
                             .input = v.at[INPUT],
                             .options = v.at[OPTIONS],
                             .keep_alive = v.at[KEEP_ALIVE],
                             .truncate = api_bool(v.at[TRUNCATE], true),
                             .dimensions = api_int(v.at[DIMENSIONS], 0)};
    if (!check_input(q.input))
        api_fail(c, 400, "invalid input type");
    else
        find_and_run(c, &q);
}

void api_embeddings(api_call *c)
{
    api_values v;
    if (!api_read_body(c, &api_embeddings_request, false, &v))
        return;
    const embed_request q = {.model = api_text(v.at[OLD_MODEL]),
                             .input = v.at[OLD_PROMPT],
                             .options = v.at[OLD_OPTIONS],
                             .keep_alive = v.at[OLD_KEEP_ALIVE],
                             .truncate = true,
                             .old = true};
    if (!*q.model)
        api_fail(c, 400, "model is required");
    else
        find_and_run(c, &q);
}
