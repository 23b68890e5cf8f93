/* POST /v1/chat/completions: OpenAI's chat in front of ours.
 *
 * The request is brought into Ollama's shape in the request's arena; what OpenAI's clients may send
 * and nothing here looks at becomes a warning.
 */
#include "api/api_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/plat.h"

enum {
    MODEL,
    MESSAGES,
    STREAM,
    STREAM_OPTIONS,
    MAX_TOKENS,
    MAX_COMPLETION_TOKENS,
    SEED,
    STOP,
    TEMPERATURE,
    FREQUENCY,
    PRESENCE,
    TOP_P,
    RESPONSE_FORMAT,
    TOOLS,
    REASONING,
    REASONING_EFFORT,
    LOGPROBS,
    TOP_LOGPROBS,
    N_CHOICES,
    TOOL_CHOICE,
    LOGIT_BIAS
};
static const api_field fields[] = {
    [MODEL] = {"model", API_STRING, NULL},
    [MESSAGES] = {"messages", API_ANY, NULL},
    [STREAM] = {"stream", API_BOOL, NULL},
    [STREAM_OPTIONS] = {"stream_options", API_STRUCT, "openai.StreamOptions"},
    [MAX_TOKENS] = {"max_tokens", API_INT, NULL},
    [MAX_COMPLETION_TOKENS] = {"max_completion_tokens", API_ANY, NULL},
    [SEED] = {"seed", API_INT, NULL},
    [STOP] = {"stop", API_ANY, NULL},
    [TEMPERATURE] = {"temperature", API_FLOAT, NULL},
    [FREQUENCY] = {"frequency_penalty", API_FLOAT, NULL},
    [PRESENCE] = {"presence_penalty", API_FLOAT, NULL},
    [TOP_P] = {"top_p", API_FLOAT, NULL},
    [RESPONSE_FORMAT] = {"response_format", API_STRUCT, "openai.ResponseFormat"},
    [TOOLS] = {"tools", API_TOOLS, NULL},
    [REASONING] = {"reasoning", API_STRUCT, "openai.Reasoning"},
    [REASONING_EFFORT] = {"reasoning_effort", API_STRING, NULL},
    [LOGPROBS] = {"logprobs", API_BOOL, NULL},
    [TOP_LOGPROBS] = {"top_logprobs", API_INT, NULL},
    [N_CHOICES] = {"n", API_ANY, NULL},
    [TOOL_CHOICE] = {"tool_choice", API_ANY, NULL},
    [LOGIT_BIAS] = {"logit_bias", API_ANY, NULL}};
const api_struct api_v1_chat_request = {"openai", "ChatCompletionRequest", fields,
                                        sizeof fields / sizeof *fields};

/* ---- the reply ---- */

static void open_chunk(api_writer *w, const api_answer *a, const char *object)
{
    api_open(w, NULL, '{');
    api_put_str(w, "id", a->id);
    api_put_str(w, "object", object);
    api_put_int(w, "created", a->created_s);
    api_put_str(w, "model", a->model);
    api_put_str(w, "system_fingerprint", "fp_ollama");
}

static void put_call(api_writer *w, const json_value *call)
{
    const json_value *f = json_get(call, "function");
    const json_value *args = json_get(f, "arguments");
    buf text;
    buf_init(&text, API_MAX_REPLY);
    api_writer inner = {.out = &text};
    if (args)
        api_put_json(&inner, NULL, args);
    else
        (void)buf_puts(&text, "{}");
    api_open(w, NULL, '{');
    api_put_str(w, "id", api_text(json_get(call, "id")));
    api_put_int(w, "index", api_int(json_get(f, "index"), 0));
    api_put_str(w, "type", "function");
    api_open(w, "function", '{');
    api_put_str(w, "name", api_text(json_get(f, "name")));
    api_put_text(w, "arguments", text.data, text.n);
    api_close(w, '}');
    api_close(w, '}');
    if (text.fail)
        w->out->fail = text.fail;
    buf_done(&text);
}

static void put_calls(api_answer *a, api_writer *w, const char *json, size_t n)
{
    json_value *calls = NULL;
    if (json_parse(json, n, &a->call->request_arena, &calls, NULL) || calls->kind != JSON_ARRAY)
        return;
    api_open(w, "tool_calls", '[');
    for (size_t i = 0; i < calls->n; i++)
        put_call(w, calls->items[i]);
    api_close(w, ']');
}

static void put_piece(api_answer *a, pool_event_type type, const pool_event *e, buf *out)
{
    const json_value *logprobs = json_get(e->head, "logprobs");
    api_writer w = {.out = out};
    if (e->n_data == 0 && !logprobs)
        return;
    (void)buf_puts(out, "data: ");
    open_chunk(&w, a, "chat.completion.chunk");
    api_open(&w, "choices", '[');
    api_open(&w, NULL, '{');
    api_put_int(&w, "index", 0);
    api_open(&w, "delta", '{');
    if (!a->role_sent)
        api_put_str(&w, "role", "assistant");
    a->role_sent = true;
    api_put_text(&w, "content", e->data, type == POOL_TEXT ? e->n_data : 0);
    if (type == POOL_THINK)
        api_put_text(&w, "reasoning", e->data, e->n_data);
    if (type == POOL_CALLS)
        put_calls(a, &w, e->data, e->n_data);
    api_close(&w, '}');
    api_put_null(&w, "finish_reason");
    if (logprobs) {
        api_open(&w, "logprobs", '{');
        api_put_logprobs(&w, "content", logprobs);
        api_close(&w, '}');
    }
    api_close(&w, '}');
    api_close(&w, ']');
    api_close(&w, '}');
    (void)buf_puts(out, "\n\n");
}

static const char *finish_reason(const api_answer *a)
{
    const bool stopped = strcmp(a->reason, "length") != 0;
    return stopped && a->called ? "tool_calls" : stopped ? "stop" : "length";
}

static void put_usage(api_writer *w, const api_answer *a)
{
    api_open(w, "usage", '{');
    api_put_int(w, "prompt_tokens", a->n_prompt);
    api_put_int(w, "completion_tokens", a->n_token);
    api_put_int(w, "total_tokens", a->n_prompt + a->n_token);
    api_close(w, '}');
}

/* The finish chunk, the usage and the end arrive together, as in Ollama. */
static void put_last(api_answer *a, buf *out)
{
    api_writer w = {.out = out};
    (void)buf_puts(out, "data: ");
    open_chunk(&w, a, "chat.completion.chunk");
    api_open(&w, "choices", '[');
    api_open(&w, NULL, '{');
    api_put_int(&w, "index", 0);
    api_open(&w, "delta", '{');
    api_close(&w, '}');
    api_put_str(&w, "finish_reason", finish_reason(a));
    api_close(&w, '}');
    api_close(&w, ']');
    api_put_ours(&w, a);
    api_close(&w, '}');
    (void)buf_puts(out, "\n\n");
    if (a->include_usage) {
        api_writer u = {.out = out};
        (void)buf_puts(out, "data: ");
        open_chunk(&u, a, "chat.completion.chunk");
        api_open(&u, "choices", '[');
        api_close(&u, ']');
        put_usage(&u, a);
        api_close(&u, '}');
        (void)buf_puts(out, "\n\n");
    }
    (void)buf_puts(out, "data: [DONE]\n\n");
}

static void put_message(api_answer *a, api_writer *w)
{
    api_open(w, "message", '{');
    api_put_str(w, "role", "assistant");
    api_put_text(w, "content", a->text.data, a->text.n);
    if (a->think.n)
        api_put_text(w, "reasoning", a->think.data, a->think.n);
    if (a->calls.n) {
        buf list;
        buf_init(&list, API_MAX_REPLY);
        (void)buf_printf(&list, "[%s]", a->calls.data);
        put_calls(a, w, list.data ? list.data : "", list.n);
        buf_done(&list);
    }
    api_close(w, '}');
}

static void put_whole(api_answer *a, buf *out)
{
    api_writer w = {.out = out};
    open_chunk(&w, a, "chat.completion");
    api_open(&w, "choices", '[');
    api_open(&w, NULL, '{');
    api_put_int(&w, "index", 0);
    put_message(a, &w);
    api_put_str(&w, "finish_reason", finish_reason(a));
    if (a->logprobs.n) {
        api_open(&w, "logprobs", '{');
        api_open(&w, "content", '[');
        (void)buf_append(out, a->logprobs.data, a->logprobs.n);
        api_close(&w, ']');
        api_close(&w, '}');
    }
    api_close(&w, '}');
    api_close(&w, ']');
    put_usage(&w, a);
    api_put_ours(&w, a);
    api_close(&w, '}');
    (void)buf_putc(out, '\n');
}

static const api_dialect v1_chat_dialect = {.stream_type = API_SSE,
                                            .whole_type = API_JSON,
                                            .openai = true,
                                            .piece = put_piece,
                                            .last = put_last,
                                            .whole = put_whole};

/* ---- the request in Ollama's shape ---- */

typedef struct reader {
    arena *mem;
    json_value *messages;
    api_problem *p;
} reader;

static json_value *copy_text(arena *mem, const json_value *v)
{
    return v ? json_new_string(mem, v->text, v->n) : NULL;
}

/* One native message, of one part or of a whole text. */
static json_value *add_message(reader *r, const json_value *role, const json_value *text)
{
    if (r->messages->n >= API_MAX_MESSAGES) {
        (void)api_problem_set(r->p, 400, "more than %d messages", API_MAX_MESSAGES);
        return NULL;
    }
    json_value *m = json_new_object(r->mem);
    const bool fine = m &&
                      json_put(r->mem, m, "role",
                               role ? copy_text(r->mem, role) : json_new_string(r->mem, "", 0)) &&
                      json_put(r->mem, m, "content",
                               text ? copy_text(r->mem, text) : json_new_string(r->mem, "", 0)) &&
                      json_append(r->mem, r->messages, m);
    if (!fine)
        (void)api_problem_set(r->p, 507, "no memory for the messages");
    return fine ? m : NULL;
}

static bool add_image(reader *r, const json_value *role, const json_value *part)
{
    static const char *const types[] = {"data:image/jpeg;base64,", "data:image/jpg;base64,",
                                        "data:image/png;base64,", "data:image/webp;base64,",
                                        "data:;base64,"};
    const json_value *image = api_member(part, "image_url");
    const char *url =
        image && image->kind == JSON_STRING ? image->text : api_text(api_member(image, "url"));
    if (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0)
        return api_problem_set(r->p, 400,
                               "image URLs are not currently supported, please use base64 encoded "
                               "data instead");
    const char *data = NULL;
    for (size_t i = 0; i < sizeof types / sizeof *types && !data; i++) {
        if (strncmp(url, types[i], strlen(types[i])) == 0)
            data = url + strlen(types[i]);
    }
    size_t bad = 0;
    if (!data || !api_base64_ok(data, strlen(data), &bad))
        return api_problem_set(r->p, 400, "invalid image input");
    json_value *m = add_message(r, role, NULL);
    json_value *list = json_new_array(r->mem);
    return m && list && json_append(r->mem, list, json_new_string(r->mem, data, strlen(data))) &&
           json_put(r->mem, m, "images", list);
}

static bool add_part(reader *r, const json_value *role, const json_value *part)
{
    const char *type = api_text(api_member(part, "type"));
    const json_value *text = api_member(part, "text");
    if (strcmp(type, "text") == 0 && text && text->kind == JSON_STRING)
        return add_message(r, role, text) != NULL;
    if (strcmp(type, "image_url") == 0)
        return add_image(r, role, part);
    return api_problem_set(r->p, 400, "invalid message format");
}

static bool add_content(reader *r, const json_value *message, bool calls)
{
    const json_value *role = api_member(message, "role");
    const json_value *content = api_member(message, "content");
    if (role && role->kind != JSON_STRING)
        return api_problem_set(r->p, 400,
                               "json: cannot unmarshal %s into Go struct field "
                               "ChatCompletionRequest.messages.role of type string",
                               role->kind == JSON_OBJECT  ? "object"
                               : role->kind == JSON_ARRAY ? "array"
                               : role->kind == JSON_BOOL  ? "bool"
                                                          : "number");
    if (!content && calls)
        return add_message(r, role, NULL) != NULL;
    if (content && content->kind == JSON_STRING)
        return add_message(r, role, content) != NULL;
    if (content && content->kind == JSON_ARRAY) {
        for (size_t i = 0; i < content->n; i++) {
            if (!add_part(r, role, content->items[i]))
                return false;
        }
        return content->n > 0 || add_message(r, role, NULL);
    }
    return api_problem_set(r->p, 400, "invalid message content type: %s",
                           !content                       ? "<nil>"
                           : content->kind == JSON_OBJECT ? "map[string]interface {}"
                           : content->kind == JSON_BOOL   ? "bool"
                                                          : "float64");
}

static json_value *read_call(reader *r, const json_value *call, size_t index)
{
    const json_value *f = api_member(call, "function");
    const json_value *args = api_member(f, "arguments");
    const json_value *id = api_member(call, "id");
    const json_value *name = api_member(f, "name");
    json_value *parsed = NULL;
    const char *text = api_text(args);
    if (json_parse(*text ? text : "{}", *text ? args->n : 2, r->mem, &parsed, NULL) ||
        parsed->kind != JSON_OBJECT) {
        (void)api_problem_set(r->p, 400, "invalid tool call arguments");
        return NULL;
    }
    json_value *function = json_new_object(r->mem);
    json_value *out = json_new_object(r->mem);
    const char *called = api_text(name);
    if (json_put(r->mem, function, "index", json_new_int(r->mem, (int64_t)index)) &&
        json_put(r->mem, function, "name", json_new_string(r->mem, called, strlen(called))) &&
        json_put(r->mem, function, "arguments", parsed) &&
        json_put(r->mem, out, "id", json_new_string(r->mem, api_text(id), strlen(api_text(id)))) &&
        json_put(r->mem, out, "function", function))
        return out;
    (void)api_problem_set(r->p, 507, "no memory for the messages");
    return NULL;
}

static bool add_calls(reader *r, const json_value *calls, json_value *to)
{
    json_value *list = json_new_array(r->mem);
    for (size_t i = 0; i < calls->n; i++) {
        json_value *call = read_call(r, calls->items[i], i);
        if (!call || !json_append(r->mem, list, call))
            return false;
    }
    return json_put(r->mem, to, "tool_calls", list);
}

/* The name of the function that an earlier call of this id asked for. */
static const json_value *called_name(const json_value *messages, const char *id)
{
    for (size_t i = messages->n; i-- > 0;) {
        const json_value *calls = json_get(messages->items[i], "tool_calls");
        for (size_t k = 0; calls && k < calls->n; k++) {
            if (strcmp(api_text(json_get(calls->items[k], "id")), id) == 0)
                return json_get(json_get(calls->items[k], "function"), "name");
        }
    }
    return NULL;
}

/* What belongs to the whole message goes to the last native one made of it (also where the content
 * came in parts: Ollama loses it then). */
static bool add_rest(reader *r, const json_value *message, json_value *to)
{
    const json_value *id = api_member(message, "tool_call_id");
    const json_value *name = api_member(message, "name");
    const json_value *reasoning = api_member(message, "reasoning");
    if (reasoning && reasoning->kind == JSON_STRING &&
        !json_put(r->mem, to, "thinking", copy_text(r->mem, reasoning)))
        return false;
    if (!id || id->kind != JSON_STRING)
        return true;
    if (!name || name->kind != JSON_STRING)
        name = called_name(r->messages, id->text);
    return json_put(r->mem, to, "tool_call_id", copy_text(r->mem, id)) &&
           (!name || json_put(r->mem, to, "tool_name", copy_text(r->mem, name)));
}

static bool read_messages(reader *r, const json_value *list)
{
    if (list->kind != JSON_ARRAY)
        return api_problem_set(r->p, 400,
                               "json: cannot unmarshal %s into Go struct field "
                               "ChatCompletionRequest.messages of type []openai.Message",
                               list->kind == JSON_STRING   ? "string"
                               : list->kind == JSON_OBJECT ? "object"
                               : list->kind == JSON_BOOL   ? "bool"
                                                           : "number");
    r->messages = json_new_array(r->mem);
    for (size_t i = 0; i < list->n; i++) {
        const json_value *m = list->items[i];
        const json_value *calls = api_member(m, "tool_calls");
        const bool has_calls = calls && calls->kind == JSON_ARRAY && calls->n;
        if (!add_content(r, m, has_calls))
            return false;
        json_value *last = r->messages->items[r->messages->n - 1];
        r->p->status = 0;
        if ((has_calls && !add_calls(r, calls, last)) || !add_rest(r, m, last))
            return r->p->status ? false : api_problem_set(r->p, 507, "no memory for the messages");
    }
    return true;
}

static bool put_option(arena *mem, json_value *o, const char *name, const json_value *v,
                       double otherwise)
{
    if (v)
        return json_put(mem, o, name, (json_value *)(uintptr_t)v); /* shared: nobody changes it */
    return otherwise < 0 || json_put(mem, o, name, json_new_float(mem, otherwise));
}

static json_value *read_stop(arena *mem, const json_value *stop)
{
    json_value *list = json_new_array(mem);
    if (stop->kind == JSON_STRING)
        (void)json_append(mem, list, json_new_string(mem, stop->text, stop->n));
    for (size_t i = 0; stop->kind == JSON_ARRAY && i < stop->n; i++) {
        if (stop->items[i]->kind == JSON_STRING)
            (void)json_append(mem, list,
                              json_new_string(mem, stop->items[i]->text, stop->items[i]->n));
    }
    return list;
}

static json_value *read_options(arena *mem, const api_values *v)
{
    json_value *o = json_new_object(mem);
    const json_value *most = v->at[MAX_TOKENS];
    const json_value *newer = v->at[MAX_COMPLETION_TOKENS];
    if (newer && newer->kind == JSON_INT)
        most = newer; /* Ollama ignores it; OpenAI's clients send nothing else any more */
    bool fine = o != NULL;
    if (fine && v->at[STOP])
        fine = json_put(mem, o, "stop", read_stop(mem, v->at[STOP]));
    fine = fine && put_option(mem, o, "num_predict", most, -1) &&
           put_option(mem, o, "seed", v->at[SEED], -1) &&
           put_option(mem, o, "temperature", v->at[TEMPERATURE], 1) &&
           put_option(mem, o, "frequency_penalty", v->at[FREQUENCY], -1) &&
           put_option(mem, o, "presence_penalty", v->at[PRESENCE], -1) &&
           put_option(mem, o, "top_p", v->at[TOP_P], 1);
    return fine ? o : NULL;
}

static const json_value *read_format(const json_value *format, arena *mem)
{
    const char *type = api_text(api_member(format, "type"));
    if (strcmp(type, "json_object") == 0)
        return json_new_string(mem, "json", 4);
    if (strcmp(type, "json_schema") == 0)
        return api_member(api_member(format, "json_schema"), "schema");
    return NULL;
}

static bool read_think(const api_values *v, arena *mem, const json_value **out, api_problem *p)
{
    static const char *const levels[][2] = {
        {"minimal", "low"}, {"low", "low"},   {"medium", "medium"}, {"high", "high"},
        {"xhigh", "max"},   {"ultra", "max"}, {"max", "max"}};
    const json_value *nested = api_member(v->at[REASONING], "effort");
    const char *effort = nested ? api_text(nested) : api_text(v->at[REASONING_EFFORT]);
    *out = NULL;
    if (!*effort)
        return true;
    if (strcmp(effort, "none") == 0) {
        *out = json_new_bool(mem, false);
        return true;
    }
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(effort, levels[i][0]) == 0) {
            *out = json_new_string(mem, levels[i][1], strlen(levels[i][1]));
            return true;
        }
    }
    return api_problem_set(p, 400,
                           "invalid reasoning value: \"%s\" (must be \"minimal\", \"low\", "
                           "\"medium\", \"high\", \"xhigh\", \"ultra\", \"max\", or \"none\")",
                           effort);
}

static void warn_ignored(api_answer *a, const api_values *v)
{
    if (v->at[N_CHOICES] && api_int(v->at[N_CHOICES], 1) != 1)
        api_warn(&a->warnings, "field_ignored", "n: one choice is given");
    if (v->at[TOOL_CHOICE] && strcmp(api_text(v->at[TOOL_CHOICE]), "auto") != 0)
        api_warn(&a->warnings, "field_ignored", "tool_choice has no effect");
    if (v->at[LOGIT_BIAS] && v->at[LOGIT_BIAS]->n)
        api_warn(&a->warnings, "field_ignored", "logit_bias has no effect");
}

/* Enough bits that two answers never share an id. */
static void name_answer(api_answer *a)
{
    uint64_t bits[2];
    plat_random(bits, sizeof bits);
    (void)snprintf(a->id, sizeof a->id, "chatcmpl-%016" PRIx64 "%08" PRIx32, bits[0],
                   (uint32_t)bits[1]);
    a->created_s = (int64_t)time(NULL);
}

/* Errors of the middleware in front of the chat: with a charset and without a line's end. */
static void refuse(api_call *c, const api_problem *p)
{
    buf body;
    buf_init(&body, API_MAX_REPLY);
    (void)api_error_body(API_OPENAI, p->status, p->text, &body); /* sticks in body */
    api_reply(c, p->status, API_JSON_UTF8, &body);
    buf_done(&body);
}

void api_v1_chat(api_call *c)
{
    api_values v;
    api_problem p = {.status = 0};
    arena *mem = &c->request_arena;
    reader r = {.mem = mem, .p = &p};
    api_chat_request q = {.truncate = true, .shift = true};
    if (!api_read_body(c, &api_v1_chat_request, true, &v))
        return;
    const json_value *list = v.at[MESSAGES];
    bool fine = true;
    if (!list || (list->kind == JSON_ARRAY && list->n == 0))
        fine = api_problem_set(&p, 400, "[] is too short - 'messages'");
    else
        fine = read_messages(&r, list) && read_think(&v, mem, &q.think, &p);
    q.options = fine ? read_options(mem, &v) : NULL;
    if (fine && !q.options)
        fine = api_problem_set(&p, 507, "no memory for the options");
    if (!fine) {
        refuse(c, &p);
        return;
    }
    q.model = api_text(v.at[MODEL]);
    q.messages = r.messages;
    q.tools = v.at[TOOLS];
    q.format = read_format(v.at[RESPONSE_FORMAT], mem);
    q.logprobs = api_bool(v.at[LOGPROBS], false);
    q.top_logprobs = v.at[TOP_LOGPROBS];
    api_answer *a = api_answer_new(c, &v1_chat_dialect);
    if (!a)
        return;
    a->stream = api_bool(v.at[STREAM], false);
    a->include_usage = api_bool(api_member(v.at[STREAM_OPTIONS], "include_usage"), false);
    name_answer(a);
    warn_ignored(a, &v);
    api_chat_run(a, &q);
}
