/* POST /api/chat: answer a conversation; and the chat that all dialects end in. */
#include "api/api_int.h"

#include <string.h>
#include <strings.h>

enum {
    MODEL,
    MESSAGES,
    TOOLS,
    STREAM,
    FORMAT,
    KEEP_ALIVE,
    OPTIONS,
    THINK,
    TRUNCATE,
    SHIFT,
    LOGPROBS,
    TOP_LOGPROBS,
    DEBUG_RENDER
};
static const api_field fields[] = {[MODEL] = {"model", API_STRING, NULL},
                                   [MESSAGES] = {"messages", API_MESSAGES, NULL},
                                   [TOOLS] = {"tools", API_TOOLS, NULL},
                                   [STREAM] = {"stream", API_BOOL, NULL},
                                   [FORMAT] = {"format", API_ANY, NULL},
                                   [KEEP_ALIVE] = {"keep_alive", API_KEEP, NULL},
                                   [OPTIONS] = {"options", API_MAP, NULL},
                                   [THINK] = {"think", API_THINK, NULL},
                                   [TRUNCATE] = {"truncate", API_BOOL, NULL},
                                   [SHIFT] = {"shift", API_BOOL, NULL},
                                   [LOGPROBS] = {"logprobs", API_BOOL, NULL},
                                   [TOP_LOGPROBS] = {"top_logprobs", API_INT, NULL},
                                   [DEBUG_RENDER] = {"_debug_render_only", API_BOOL, NULL}};
const api_struct api_chat_request_fields = {"api", "ChatRequest", fields,
                                            sizeof fields / sizeof *fields};

/* ---- the reply ---- */

static void open_record(api_writer *w, const api_answer *a)
{
    api_open(w, NULL, '{');
    api_put_str(w, "model", a->model);
    api_put_time(w, "created_at", api_now_ns(), false);
}

static void put_calls(api_answer *a, api_writer *w, const char *json, size_t n)
{
    json_value *calls = NULL;
    if (json_parse(json, n, &a->call->request_arena, &calls, NULL) == CAMA_OK)
        api_put_json(w, "tool_calls", calls);
}

static void put_piece(api_answer *a, pool_event_type type, const pool_event *e, buf *out)
{
    const json_value *logprobs = json_get(e->head, "logprobs");
    api_writer w = {.out = out};
    if (e->n_data == 0 && !logprobs)
        return;
    open_record(&w, a);
    api_open(&w, "message", '{');
    api_put_str(&w, "role", "assistant");
    api_put_text(&w, "content", e->data, type == POOL_TEXT ? e->n_data : 0);
    if (type == POOL_THINK)
        api_put_text(&w, "thinking", e->data, e->n_data);
    if (type == POOL_CALLS)
        put_calls(a, &w, e->data, e->n_data);
    api_close(&w, '}');
    api_put_bool(&w, "done", false);
    if (logprobs)
        api_put_logprobs(&w, "logprobs", logprobs);
    api_close(&w, '}');
    (void)buf_putc(out, '\n');
}

static void put_last(api_answer *a, buf *out)
{
    api_writer w = {.out = out};
    open_record(&w, a);
    api_open(&w, "message", '{');
    api_put_str(&w, "role", "assistant");
    api_put_str(&w, "content", "");
    api_close(&w, '}');
    api_put_bool(&w, "done", true);
    api_put_str(&w, "done_reason", a->reason);
    api_put_stats(&w, a);
    api_put_ours(&w, a);
    api_close(&w, '}');
    (void)buf_putc(out, '\n');
}

static void put_answer(api_answer *a, api_writer *w)
{
    api_open(w, "message", '{');
    api_put_str(w, "role", "assistant");
    api_put_text(w, "content", a->text.data, a->text.n);
    if (a->think.n)
        api_put_text(w, "thinking", a->think.data, a->think.n);
    if (a->calls.n) {
        buf list;
        buf_init(&list, API_MAX_REPLY);
        (void)buf_printf(&list, "[%s]", a->calls.data);
        put_calls(a, w, list.data ? list.data : "", list.n);
        buf_done(&list);
    }
    api_close(w, '}');
    api_put_bool(w, "done", true);
    api_put_str(w, "done_reason", a->reason);
    api_put_stats(w, a);
    if (a->logprobs.n) {
        api_open(w, "logprobs", '[');
        (void)buf_append(w->out, a->logprobs.data, a->logprobs.n);
        api_close(w, ']');
    }
    api_put_ours(w, a);
}

static void put_empty(api_writer *w, const char *role, const char *reason)
{
    api_open(w, "message", '{');
    api_put_str(w, "role", role);
    api_put_str(w, "content", "");
    api_close(w, '}');
    api_put_bool(w, "done", reason != NULL);
    if (reason)
        api_put_str(w, "done_reason", reason);
}

static void put_whole(api_answer *a, buf *out)
{
    api_writer w = {.out = out};
    open_record(&w, a);
    if (a->load_only) {
        put_empty(&w, "assistant", "load");
    } else if (a->render_only) {
        put_empty(&w, "", NULL);
        api_open(&w, "_debug_info", '{');
        api_put_text(&w, "rendered_template", a->text.data, a->text.n);
        api_close(&w, '}');
    } else {
        put_answer(a, &w);
    }
    api_close(&w, '}');
}

static const api_dialect chat_dialect = {.stream_type = API_NDJSON,
                                         .whole_type = API_JSON_UTF8,
                                         .piece = put_piece,
                                         .last = put_last,
                                         .whole = put_whole};

static void reply_unload(api_answer *a, const api_model *m)
{
    buf body;
    buf_init(&body, API_MAX_REPLY);
    api_writer w = {.out = &body};
    api_unload(a->call->api, m, &a->call->request_arena);
    open_record(&w, a);
    put_empty(&w, "assistant", "unload");
    api_close(&w, '}');
    api_reply(a->call, 200, API_JSON_UTF8, &body);
    buf_done(&body);
    api_answer_free(a);
}

/* ---- the job, for every dialect ---- */

static void put_messages(api_writer *w, const api_chat_request *q, const api_model *m)
{
    const json_value *first = api_member(q->messages->items[0], "role");
    api_open(w, "messages", '[');
    if (strcasecmp(api_text(first), "system") != 0 && m->system && *m->system)
        api_put_said(w, "system", NULL, m->system);
    for (size_t i = 0; m->messages && i < m->messages->n; i++)
        api_put_message(w, m->messages->items[i]);
    for (size_t i = 0; i < q->messages->n; i++)
        api_put_message(w, q->messages->items[i]);
    api_close(w, ']');
}

static void put_rest(api_writer *w, const api_chat_request *q, const api_answer *a,
                     const api_model *m)
{
    api_put_tools(w, "tools", q->tools);
    if ((m->caps & API_CAN_THINK) && q->think)
        api_put_json(w, "think", q->think);
    else if (m->caps & API_CAN_THINK)
        api_put_bool(w, "think", true);
    api_put_bool(w, "truncate", !a->no_truncate);
    api_put_bool(w, "shift", !a->no_shift);
    if (q->logprobs) {
        api_put_bool(w, "logprobs", true);
        api_put_int(w, "top_logprobs", api_int(q->top_logprobs, 0));
    }
    if (a->render_only)
        api_put_bool(w, "render_only", true);
    api_close(w, '}');
}

static bool check_request(const api_chat_request *q, const api_model *m, api_problem *p)
{
    uint32_t want = API_CAN_COMPLETE;
    if (q->tools && q->tools->n)
        want |= API_CAN_TOOLS;
    return api_check_caps(m, API_CAN_COMPLETE, "chat", p) && api_check_think(m, q->think, p) &&
           api_check_caps(m, want, "chat", p);
}

/* Takes the answer. */
static void run_on(api_answer *a, const api_chat_request *q, const api_model *m)
{
    api_problem p;
    buf head;
    buf_init(&head, API_MAX_JOB);
    api_writer w = {.out = &head};
    api_options o = {.request = q->options, .model = m};
    const int64_t keep_ns = api_keep_ns(q->keep_alive);
    if (!check_request(q, m, &p) || !api_begin_head(&w, a, "chat", &o, &p)) {
        api_answer_refuse(a, &p, false);
    } else if (a->load_only) {
        api_answer_run(a, m, NULL, NULL, 0, o.n_ctx, keep_ns);
    } else if (!api_check_format(q->format, &p)) {
        api_answer_refuse(a, &p, true);
    } else if (api_has_images(q->messages)) {
        (void)api_problem_set(&p, 400, "%s", api_no_images);
        api_answer_refuse(a, &p, true);
    } else {
        put_messages(&w, q, m);
        put_rest(&w, q, a, m);
        api_answer_run(a, m, &head, NULL, 0, o.n_ctx, keep_ns);
    }
    buf_done(&head);
}

void api_chat_run(api_answer *a, const api_chat_request *q)
{
    api_model m = {0};
    api_problem p;
    if (!api_check_logprobs(q->top_logprobs, &p)) {
        api_answer_refuse(a, &p, false);
        return;
    }
    if (!*q->model) {
        (void)api_problem_set(&p, 400, "model is required");
        api_answer_refuse(a, &p, false);
        return;
    }
    if (!api_runnable(a->call, q->model, API_MISSING_PLAIN, &m, &p)) {
        api_answer_refuse(a, &p, false);
        return;
    }
    a->model = q->model;
    a->load_only = !q->messages || q->messages->n == 0;
    a->render_only = q->debug_render;
    a->no_truncate = !q->truncate || a->strict;
    a->no_shift = !q->shift || a->strict;
    if (a->load_only && api_keep_ns(q->keep_alive) == 0)
        reply_unload(a, &m);
    else
        run_on(a, q, &m);
    api_model_close(&m);
}

void api_chat(api_call *c)
{
    api_values v;
    if (!api_read_body(c, &api_chat_request_fields, false, &v))
        return;
    api_answer *a = api_answer_new(c, &chat_dialect);
    if (!a)
        return;
    a->stream = api_bool(v.at[STREAM], true);
    const api_chat_request q = {.model = api_text(v.at[MODEL]),
                                .messages = v.at[MESSAGES],
                                .tools = v.at[TOOLS],
                                .options = v.at[OPTIONS],
                                .format = v.at[FORMAT],
                                .think = v.at[THINK],
                                .keep_alive = v.at[KEEP_ALIVE],
                                .top_logprobs = v.at[TOP_LOGPROBS],
                                .logprobs = api_bool(v.at[LOGPROBS], false),
                                .truncate = api_bool(v.at[TRUNCATE], true),
                                .shift = api_bool(v.at[SHIFT], true),
                                .debug_render = api_bool(v.at[DEBUG_RENDER], false)};
    api_chat_run(a, &q);
}
