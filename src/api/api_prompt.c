/* What generate, chat and v1 share: checks, and the parts of a job's head. */
#include "api/api_int.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char api_no_images[] = "image input is not supported by this version of cama";

bool api_check_logprobs(const json_value *top, api_problem *p)
{
    const int64_t n = api_int(top, 0);
    if (n < 0 || n > 20)
        return api_problem_set(p, 400, "top_logprobs must be between 0 and 20");
    return true;
}

bool api_check_format(const json_value *format, api_problem *p)
{
    if (!format || (format->kind == JSON_STRING && format->n == 0))
        return true;
    if (format->kind == JSON_OBJECT ||
        (format->kind == JSON_STRING && strcmp(format->text, "json") == 0))
        return api_problem_set(p, 501, "format is not supported by this version of cama");
    buf text;
    buf quoted;
    buf_init(&text, ERR_TEXT_BYTES / 2);
    buf_init(&quoted, ERR_TEXT_BYTES);
    (void)json_write(format, &text); /* too long: it is then left out of the message */
    api_quote(&quoted, text.data ? text.data : "", text.n);
    (void)api_problem_set(p, 500,
                          "invalid format: %s; expected \"json\" or a valid JSON Schema object",
                          quoted.data ? quoted.data : "\"\"");
    buf_done(&text);
    buf_done(&quoted);
    return false;
}

/* Ollama's built-in renderers, none of which is built here: the model's template runs instead. */
static bool knows_renderer(const char *name)
{
    static const char *const names[] = {"qwen3-coder",
                                        "qwen3-vl-instruct",
                                        "qwen3-vl-thinking",
                                        "qwen3.5",
                                        "qwen3.8",
                                        "ornith",
                                        "cogito",
                                        "deepseek3.1",
                                        "olmo3",
                                        "olmo3.1",
                                        "olmo3-think",
                                        "olmo3-32b-think",
                                        "nemotron-3-nano",
                                        "nemotron-3.5-nano",
                                        "gemma4",
                                        "gemma4-small",
                                        "gemma4-large",
                                        "functiongemma",
                                        "glm-4.7",
                                        "glm-ocr",
                                        "lfm2",
                                        "lfm2-thinking",
                                        "laguna",
                                        "poolside-v1",
                                        "cohere",
                                        "glimmer"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

static bool check_kind(api_call *c, const api_model *m, api_problem *p)
{
    const char *format = api_config_str(m, "model_format");
    const char *renderer = api_config_str(m, "renderer");
    if (*api_config_str(m, "remote_host"))
        return api_problem_set(p, 403, "ollama cloud is disabled: remote model is unavailable");
    if (strcmp(format, "safetensors") == 0 || !m->weights)
        return api_problem_set(p, 501,
                               "\"%s\" is stored as safetensors, which this version of cama cannot "
                               "run",
                               m->shown);
    if (store_layer_of(&m->stored, "adapter"))
        return api_problem_set(
            p, 501, "\"%s\" has an adapter, which this version of cama cannot apply", m->shown);
    if (*renderer && !knows_renderer(renderer))
        return api_problem_set(p, 500, "unknown renderer \"%s\"", renderer);
    return m->file && m->n_path == 1 ? true : api_weights_check(c->api, m, p);
}

bool api_runnable(api_call *c, const char *typed, api_missing missing, api_model *out,
                  api_problem *p)
{
    if (!api_model_open(c->api, typed, missing, &c->request_arena, out, p))
        return false;
    if (check_kind(c, out, p))
        return true;
    api_model_close(out);
    return false;
}

bool api_check_caps(const api_model *m, uint32_t want, const char *what, api_problem *p)
{
    const uint32_t lacks = want & ~m->caps;
    if (lacks & API_CAN_COMPLETE)
        return api_problem_set(p, 400, "\"%s\" does not support %s", m->typed, what);
    if (lacks & API_CAN_TOOLS)
        return api_problem_set(p, 400, "%s does not support tools", m->full);
    if (lacks & API_CAN_INSERT)
        return api_problem_set(p, 400, "%s does not support insert", m->full);
    return true;
}

bool api_check_think(const api_model *m, const json_value *think, api_problem *p)
{
    const bool wants = think && (think->kind == JSON_STRING || think->boolean);
    if (wants && !(m->caps & API_CAN_THINK))
        return api_problem_set(p, 400, "\"%s\" does not support thinking", m->typed);
    return true;
}

bool api_has_images(const json_value *messages)
{
    for (size_t i = 0; messages && i < messages->n; i++) {
        const json_value *images = api_member(messages->items[i], "images");
        if (images && images->kind == JSON_ARRAY && images->n)
            return true;
    }
    return false;
}

/* ---- messages and tools in the shape that templates know ---- */

void api_put_said(api_writer *w, const char *role, const json_value *text, const char *otherwise)
{
    api_open(w, NULL, '{');
    api_put_str(w, "role", role);
    if (text)
        api_put_text(w, "content", text->text, text->n);
    else
        api_put_str(w, "content", otherwise);
    api_close(w, '}');
}

static void put_if(api_writer *w, const json_value *object, const char *key)
{
    const json_value *v = api_member(object, key);
    if (v && v->kind == JSON_STRING && v->n)
        api_put_text(w, key, v->text, v->n);
}

static void put_call(api_writer *w, const json_value *call)
{
    const json_value *function = api_member(call, "function");
    const json_value *args = api_member(function, "arguments");
    api_open(w, NULL, '{');
    put_if(w, call, "id");
    api_open(w, "function", '{');
    api_put_int(w, "index", api_int(api_member(function, "index"), 0));
    api_put_str(w, "name", api_text(api_member(function, "name")));
    if (args) {
        api_put_json(w, "arguments", args);
    } else {
        api_open(w, "arguments", '{');
        api_close(w, '}');
    }
    api_close(w, '}');
    api_close(w, '}');
}

void api_put_message(api_writer *w, const json_value *message)
{
    const json_value *role = api_member(message, "role");
    const json_value *content = api_member(message, "content");
    const json_value *calls = api_member(message, "tool_calls");
    char lower[64];
    size_t n = role && role->kind == JSON_STRING ? role->n : 0;
    n = n < sizeof lower ? n : sizeof lower - 1;
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)role->text[i]);
    api_open(w, NULL, '{');
    api_put_text(w, "role", lower, n);
    if (content && content->kind == JSON_STRING)
        api_put_text(w, "content", content->text, content->n);
    else
        api_put_str(w, "content", "");
    put_if(w, message, "thinking");
    if (calls && calls->n) {
        api_open(w, "tool_calls", '[');
        for (size_t i = 0; i < calls->n; i++)
            put_call(w, calls->items[i]);
        api_close(w, ']');
    }
    put_if(w, message, "tool_name");
    put_if(w, message, "tool_call_id");
    api_close(w, '}');
}

static bool is_listed(const char *const *names, const char *key)
{
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(names[i], key) == 0)
            return true;
    }
    return false;
}

/* The keys that Ollama knows, in its order, as models of its templates saw them in training; then
 * the rest of the schema, which it drops and we keep: a model cannot follow what it is not told. */
static void put_ordered(api_writer *w, const json_value *object, const char *const *order)
{
    for (size_t i = 0; order[i]; i++) {
        const json_value *v = api_member(object, order[i]);
        if (v)
            api_put_json(w, order[i], v);
    }
    for (size_t i = 0; object && object->kind == JSON_OBJECT && i < object->n; i++) {
        const json_member *m = &object->members[i];
        if (!is_listed(order, m->key))
            api_put_json(w, m->key, m->value);
    }
}

static void put_parameters(api_writer *w, const json_value *params)
{
    static const char *const before[] = {"type", "$defs", "items", "required", NULL};
    static const char *const all[] = {"type", "$defs", "items", "required", "properties", NULL};
    static const char *const property[] = {"anyOf", "type",       "items",    "description",
                                           "enum",  "properties", "required", NULL};
    const json_value *properties = api_member(params, "properties");
    api_open(w, "parameters", '{');
    for (size_t i = 0; before[i]; i++) {
        const json_value *v = api_member(params, before[i]);
        if (v)
            api_put_json(w, before[i], v);
    }
    api_open(w, "properties", '{');
    for (size_t i = 0; properties && properties->kind == JSON_OBJECT && i < properties->n; i++) {
        const json_member *m = &properties->members[i];
        api_open(w, m->key, '{');
        put_ordered(w, m->value, property);
        api_close(w, '}');
    }
    api_close(w, '}');
    for (size_t i = 0; params && i < params->n; i++) {
        if (!is_listed(all, params->members[i].key))
            api_put_json(w, params->members[i].key, params->members[i].value);
    }
    api_close(w, '}');
}

void api_put_tools(api_writer *w, const char *key, const json_value *tools)
{
    static const char *const known[] = {"name", "description", "parameters", NULL};
    if (!tools || tools->n == 0)
        return;
    api_open(w, key, '[');
    for (size_t i = 0; i < tools->n; i++) {
        const json_value *f = api_member(tools->items[i], "function");
        api_open(w, NULL, '{');
        api_put_str(w, "type", api_text(api_member(tools->items[i], "type")));
        api_open(w, "function", '{');
        api_put_str(w, "name", api_text(api_member(f, "name")));
        api_put_str(w, "description", api_text(api_member(f, "description")));
        put_parameters(w, api_member(f, "parameters"));
        for (size_t k = 0; f && f->kind == JSON_OBJECT && k < f->n; k++) {
            if (!is_listed(known, f->members[k].key))
                api_put_json(w, f->members[k].key, f->members[k].value);
        }
        api_close(w, '}');
        api_close(w, '}');
    }
    api_close(w, ']');
}

bool api_begin_head(api_writer *w, api_answer *a, const char *kind, api_options *o, api_problem *p)
{
    const api_model *m = o->model;
    err_info err;
    o->n_ctx_default = a->call->api->n_ctx ? a->call->api->n_ctx : 4096;
    o->choice = (api_choice){a->call->api->engine, a->call->api->device};
    api_open(w, NULL, '{');
    api_put_str(w, "kind", kind);
    api_put_str(w, "model", m->shown);
    if (m->go_template)
        api_put_text(w, "template", m->template_text, m->n_template);
    const cama_err e = api_put_options(w, o, &a->warnings, &err);
    if (e) /* a type that is wrong is 500 in Ollama's words; an engine that there is not is ours */
        return api_problem_set(p, e == CAMA_ERR_UNSUPPORTED ? 400 : 500, "%s", err.text);
    a->choice = o->choice;
    if (*api_config_str(m, "renderer"))
        api_warn(&a->warnings, "renderer_missing",
                 "the built-in renderer \"%s\" is not there: the model's own template was used",
                 api_config_str(m, "renderer"));
    if (a->strict && a->warnings.n)
        return api_problem_set(p, 400, "%s", a->warnings.first);
    if (store_layer_of(&m->stored,
                       "projector")) /* text alone loses nothing: no matter for strict */
        api_warn(&a->warnings, "projector_ignored",
                 "the projector of \"%s\" is not loaded: this version of cama takes no images",
                 m->shown);
    api_debug(a->call->api, "job of %s: %s, template %s", m->shown, kind,
              a->raw                      ? "none"
              : m->go_template            ? "go"
              : m->file && m->file->jinja ? "jinja"
                                          : "chatml");
    return true;
}
