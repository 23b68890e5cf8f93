/* POST /api/generate: continue a prompt. */
#include "api/api_int.h"

#include <stdlib.h>
#include <string.h>

#include "chat/gotmpl.h"

enum {
    MODEL,
    PROMPT,
    SUFFIX,
    SYSTEM,
    TEMPLATE,
    CONTEXT,
    STREAM,
    RAW,
    FORMAT,
    KEEP_ALIVE,
    IMAGES,
    OPTIONS,
    THINK,
    TRUNCATE,
    SHIFT,
    LOGPROBS,
    TOP_LOGPROBS,
    DEBUG_RENDER
};
static const api_field fields[] = {[MODEL] = {"model", API_STRING, NULL},
                                   [PROMPT] = {"prompt", API_STRING, NULL},
                                   [SUFFIX] = {"suffix", API_STRING, NULL},
                                   [SYSTEM] = {"system", API_STRING, NULL},
                                   [TEMPLATE] = {"template", API_STRING, NULL},
                                   [CONTEXT] = {"context", API_INTS, NULL},
                                   [STREAM] = {"stream", API_BOOL, NULL},
                                   [RAW] = {"raw", API_BOOL, NULL},
                                   [FORMAT] = {"format", API_ANY, NULL},
                                   [KEEP_ALIVE] = {"keep_alive", API_KEEP, NULL},
                                   [IMAGES] = {"images", API_IMAGES, NULL},
                                   [OPTIONS] = {"options", API_MAP, NULL},
                                   [THINK] = {"think", API_THINK, NULL},
                                   [TRUNCATE] = {"truncate", API_BOOL, NULL},
                                   [SHIFT] = {"shift", API_BOOL, NULL},
                                   [LOGPROBS] = {"logprobs", API_BOOL, NULL},
                                   [TOP_LOGPROBS] = {"top_logprobs", API_INT, NULL},
                                   [DEBUG_RENDER] = {"_debug_render_only", API_BOOL, NULL}};
const api_struct api_generate_request = {"api", "GenerateRequest", fields,
                                         sizeof fields / sizeof *fields};

/* ---- the reply ---- */

static void open_record(api_writer *w, const api_answer *a)
{
    api_open(w, NULL, '{');
    api_put_str(w, "model", a->model);
    api_put_time(w, "created_at", api_now_ns(), false);
}

static void put_piece(api_answer *a, pool_event_type type, const pool_event *e, buf *out)
{
    const json_value *logprobs = json_get(e->head, "logprobs");
    api_writer w = {.out = out};
    if (e->n_data == 0 && !logprobs)
        return;
    open_record(&w, a);
    api_put_text(&w, "response", e->data, type == POOL_TEXT ? e->n_data : 0);
    if (type == POOL_THINK)
        api_put_text(&w, "thinking", e->data, e->n_data);
    api_put_bool(&w, "done", false);
    if (logprobs)
        api_put_logprobs(&w, "logprobs", logprobs);
    api_close(&w, '}');
    (void)buf_putc(out, '\n');
}

static void put_end(api_writer *w, const api_answer *a)
{
    api_put_bool(w, "done", true);
    api_put_str(w, "done_reason", a->reason);
    if (!a->raw && a->n_id) {
        api_open(w, "context", '[');
        for (size_t i = 0; i < a->n_id; i++)
            api_put_int(w, NULL, a->ids[i]);
        api_close(w, ']');
    }
    api_put_stats(w, a);
}

static void put_last(api_answer *a, buf *out)
{
    api_writer w = {.out = out};
    open_record(&w, a);
    api_put_str(&w, "response", "");
    put_end(&w, a);
    api_put_ours(&w, a);
    api_close(&w, '}');
    (void)buf_putc(out, '\n');
}

static void put_whole(api_answer *a, buf *out)
{
    api_writer w = {.out = out};
    open_record(&w, a);
    if (a->render_only || a->load_only) {
        api_put_str(&w, "response", "");
        api_put_bool(&w, "done", a->load_only);
        if (a->load_only)
            api_put_str(&w, "done_reason", "load");
    } else {
        api_put_text(&w, "response", a->text.data, a->text.n);
        if (a->think.n)
            api_put_text(&w, "thinking", a->think.data, a->think.n);
        put_end(&w, a);
    }
    if (a->render_only) {
        api_open(&w, "_debug_info", '{');
        api_put_text(&w, "rendered_template", a->text.data, a->text.n);
        api_close(&w, '}');
    }
    if (a->logprobs.n && !a->render_only) {
        api_open(&w, "logprobs", '[');
        (void)buf_append(out, a->logprobs.data, a->logprobs.n);
        api_close(&w, ']');
    }
    if (!a->render_only && !a->load_only)
        api_put_ours(&w, a);
    api_close(&w, '}');
}

static const api_dialect generate_dialect = {.stream_type = API_NDJSON,
                                             .whole_type = API_JSON_UTF8,
                                             .piece = put_piece,
                                             .last = put_last,
                                             .whole = put_whole};

static void reply_unload(api_call *c, const api_model *m)
{
    buf body;
    buf_init(&body, API_MAX_REPLY);
    api_writer w = {.out = &body};
    api_unload(c->api, m, &c->request_arena);
    api_open(&w, NULL, '{');
    api_put_str(&w, "model", m->typed);
    api_put_time(&w, "created_at", api_now_ns(), false);
    api_put_str(&w, "response", "");
    api_put_bool(&w, "done", true);
    api_put_str(&w, "done_reason", "unload");
    api_close(&w, '}');
    api_reply(c, 200, API_JSON_UTF8, &body);
    buf_done(&body);
}

/* ---- the request ---- */

static bool check_template(api_model *m, const json_value *text, api_problem *p)
{
    gotmpl *t = NULL;
    err_info err;
    if (!text || text->n == 0)
        return true;
    if (gotmpl_open(text->text, text->n, &t, &err))
        return api_problem_set(p, 500, "%s", err.text);
    gotmpl_close(t);
    m->template_text = text->text;
    m->n_template = text->n;
    m->go_template = true;
    return true;
}

static bool check_request(const api_values *v, api_model *m, api_problem *p)
{
    const bool raw = api_bool(v->at[RAW], false);
    uint32_t want = API_CAN_COMPLETE;
    if (raw && (*api_text(v->at[TEMPLATE]) || *api_text(v->at[SYSTEM]) ||
                (v->at[CONTEXT] && v->at[CONTEXT]->n)))
        return api_problem_set(p, 400, "raw mode does not support template, system, or context");
    if (*api_text(v->at[SUFFIX]))
        want |= API_CAN_INSERT;
    return api_check_caps(m, API_CAN_COMPLETE, "generate", p) &&
           api_check_think(m, v->at[THINK], p) && api_check_caps(m, want, "generate", p) &&
           check_template(m, v->at[TEMPLATE], p);
}

static void put_messages(api_writer *w, const api_values *v, const api_model *m)
{
    const json_value *system = v->at[SYSTEM];
    api_open(w, "messages", '[');
    if ((system && system->n) || (m->system && *m->system))
        api_put_said(w, "system", system && system->n ? system : NULL, m->system);
    for (size_t i = 0; !v->at[CONTEXT] && m->messages && i < m->messages->n; i++)
        api_put_message(w, m->messages->items[i]);
    api_put_said(w, "user", v->at[PROMPT], "");
    api_close(w, ']');
}

static void put_prompt(api_writer *w, const api_values *v, const api_model *m)
{
    const json_value *prompt = v->at[PROMPT];
    const bool raw = api_bool(v->at[RAW], false);
    const bool suffix = *api_text(v->at[SUFFIX]) != '\0';
    if (raw)
        api_put_bool(w, "raw", true);
    if (raw || suffix)
        api_put_text(w, "prompt", prompt->text, prompt->n);
    if (suffix && !raw)
        api_put_text(w, "suffix", v->at[SUFFIX]->text, v->at[SUFFIX]->n);
    if (!raw && !suffix)
        put_messages(w, v, m);
}

/* think as the request has it; a model that can think does so unless it is told not to. */
static void put_think(api_writer *w, const json_value *think, const api_model *m)
{
    if (!(m->caps & API_CAN_THINK))
        return;
    if (think)
        api_put_json(w, "think", think);
    else
        api_put_bool(w, "think", true);
}

static void put_rest(api_writer *w, const api_values *v, const api_answer *a)
{
    api_put_bool(w, "truncate", !a->no_truncate);
    api_put_bool(w, "shift", !a->no_shift);
    if (api_bool(v->at[LOGPROBS], false)) {
        api_put_bool(w, "logprobs", true);
        api_put_int(w, "top_logprobs", api_int(v->at[TOP_LOGPROBS], 0));
    }
    if (!a->raw)
        api_put_bool(w, "want_context", true);
    if (a->render_only)
        api_put_bool(w, "render_only", true);
    if (v->at[CONTEXT] && v->at[CONTEXT]->n)
        api_put_int(w, "n_context", (int64_t)v->at[CONTEXT]->n);
    api_close(w, '}');
}

static const int32_t *context_ids(api_answer *a, const json_value *context, size_t *out_n)
{
    *out_n = context ? context->n : 0;
    int32_t *ids = arena_take_array(&a->call->request_arena, *out_n, sizeof *ids);
    for (size_t i = 0; ids && i < *out_n; i++) {
        const int64_t id = context->items[i]->integer;
        /* Past any vocabulary either way: the runner says so with the vocabulary's size. */
        ids[i] = id < 0 || id > INT32_MAX ? INT32_MAX : (int32_t)id;
    }
    return ids;
}

/* Takes the answer. */
static void run(api_answer *a, const api_values *v, const api_model *m)
{
    api_problem p;
    buf head;
    buf_init(&head, API_MAX_JOB);
    api_writer w = {.out = &head};
    api_options o = {.request = v->at[OPTIONS], .model = m};
    const bool loads = !a->load_only;
    const bool begun = api_begin_head(&w, a, "generate", &o, &p);
    if (!begun) {
        api_answer_refuse(a, &p, false);
    } else if (loads && !api_check_format(v->at[FORMAT], &p)) {
        api_answer_refuse(a, &p, true);
    } else if (loads && v->at[IMAGES] && v->at[IMAGES]->n) {
        (void)api_problem_set(&p, 400, "%s", api_no_images);
        api_answer_refuse(a, &p, true);
    } else if (!loads) {
        api_answer_run(a, m, NULL, NULL, 0, o.n_ctx, api_keep_ns(v->at[KEEP_ALIVE]));
    } else {
        size_t n_id = 0;
        put_prompt(&w, v, m);
        if (!a->raw)
            put_think(&w, v->at[THINK], m);
        put_rest(&w, v, a);
        const int32_t *ids = context_ids(a, v->at[CONTEXT], &n_id);
        if (!ids)
            head.fail = CAMA_ERR_NOMEM;
        api_answer_run(a, m, &head, ids, n_id, o.n_ctx, api_keep_ns(v->at[KEEP_ALIVE]));
    }
    buf_done(&head);
}

void api_generate(api_call *c)
{
    api_values v;
    api_model m = {0};
    api_problem p;
    if (!api_read_body(c, &api_generate_request, false, &v))
        return;
    const bool empty = *api_text(v.at[PROMPT]) == '\0' && (!v.at[PROMPT] || v.at[PROMPT]->n == 0);
    if (!api_check_logprobs(v.at[TOP_LOGPROBS], &p) ||
        !api_runnable(c, api_text(v.at[MODEL]), API_MISSING_PLAIN, &m, &p)) {
        api_fail(c, p.status, "%s", p.text);
        return;
    }
    if (empty && api_keep_ns(v.at[KEEP_ALIVE]) == 0) {
        reply_unload(c, &m);
    } else if (!check_request(&v, &m, &p)) {
        api_fail(c, p.status, "%s", p.text);
    } else {
        api_answer *a = api_answer_new(c, &generate_dialect);
        if (a) {
            a->model = m.typed;
            a->stream = api_bool(v.at[STREAM], true);
            a->load_only = empty;
            a->raw = api_bool(v.at[RAW], false);
            a->render_only = api_bool(v.at[DEBUG_RENDER], false);
            a->no_truncate = !api_bool(v.at[TRUNCATE], true) || a->strict;
            a->no_shift = !api_bool(v.at[SHIFT], true) || a->strict;
            run(a, &v, &m);
        }
    }
    api_model_close(&m);
}
