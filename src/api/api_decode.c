/* Request bodies as Go's encoding/json decodes them into Ollama's structs.
 *
 * A type that does not fit is remembered and decoding goes on, so that the first such error is the
 * one told; types with a decoder of their own (messages, keep_alive, think) end it at once.
 */
#include "api/api_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/duration.h"

/* What Go calls the kind of a value in its errors. */
static const char *kind_name(const json_value *v)
{
    switch (v->kind) {
    case JSON_NULL:
        return "null";
    case JSON_BOOL:
        return "bool";
    case JSON_INT:
    case JSON_FLOAT:
        return "number";
    case JSON_STRING:
        return "string";
    case JSON_ARRAY:
        return "array";
    case JSON_OBJECT:
        return "object";
    }
    return "value";
}

/* Where decoding is: the struct and the path that an error names. */
typedef struct place {
    const char *go_name; /* of the innermost struct that Go's own decoder reads */
    const char *path;    /* "messages.content" */
} place;

static cama_err mismatch(const json_value *v, const place *at, const char *type, err_info *err)
{
    return err_set(err, CAMA_ERR_FORMAT,
                   "json: cannot unmarshal %s into Go struct field %s.%s of type %s", kind_name(v),
                   at->go_name, at->path, type);
}

static bool is_null(const json_value *v)
{
    return !v || v->kind == JSON_NULL;
}

const json_value *api_member(const json_value *object, const char *key)
{
    if (!object || object->kind != JSON_OBJECT)
        return NULL;
    const size_t n = strlen(key);
    for (size_t i = object->n; i-- > 0;) {
        const json_member *m = &object->members[i];
        if (m->n_key == n && strncasecmp(m->key, key, n) == 0 && !is_null(m->value))
            return m->value;
    }
    return NULL;
}

static cama_err want_kind(const json_value *v, json_kind kind, const place *at, const char *type,
                          err_info *err)
{
    return is_null(v) || v->kind == kind ? CAMA_OK : mismatch(v, at, type, err);
}

static cama_err want_int(const json_value *v, const place *at, err_info *err)
{
    if (is_null(v) || v->kind == JSON_INT)
        return CAMA_OK;
    if (v->kind != JSON_FLOAT)
        return mismatch(v, at, "int", err);
    return err_set(err, CAMA_ERR_FORMAT,
                   "json: cannot unmarshal number %.64s into Go struct field %s.%s of type int",
                   v->text, at->go_name, at->path);
}

static cama_err want_ints(const json_value *v, const place *at, err_info *err)
{
    if (v->kind != JSON_ARRAY)
        return mismatch(v, at, "[]int", err);
    for (size_t i = 0; i < v->n; i++) {
        const cama_err e = want_int(v->items[i], at, err);
        if (e)
            return e;
    }
    return CAMA_OK;
}

static cama_err want_strmap(const json_value *v, const place *at, err_info *err)
{
    if (v->kind != JSON_OBJECT)
        return mismatch(v, at, "map[string]string", err);
    for (size_t i = 0; i < v->n; i++) {
        const cama_err e = want_kind(v->members[i].value, JSON_STRING, at, "string", err);
        if (e)
            return e;
    }
    return CAMA_OK;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Standard alphabet with padding; line ends are skipped, as Go does. */
bool api_base64_ok(const char *text, size_t n, size_t *out_bad)
{
    size_t digits = 0;
    size_t pads = 0;
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (c == '\r' || c == '\n')
            continue;
        const bool pad = c == '=' && digits % 4 + pads >= 2 && digits % 4 + pads < 4;
        if (!pad && (base64_value(c) < 0 || pads)) {
            *out_bad = i;
            return false;
        }
        if (pad)
            pads++;
        else
            digits++;
    }
    *out_bad = pads ? n : n - digits % 4; /* where Go's decoder stands then */
    return (digits + pads) % 4 == 0;
}

static cama_err want_images(const json_value *v, const place *at, err_info *err)
{
    if (is_null(v))
        return CAMA_OK;
    if (v->kind != JSON_ARRAY)
        return mismatch(v, at, "[]api.ImageData", err);
    for (size_t i = 0; i < v->n; i++) {
        const json_value *item = v->items[i];
        const cama_err e = want_kind(item, JSON_STRING, at, "api.ImageData", err);
        if (e)
            return e;
        size_t bad = 0;
        if (!is_null(item) && !api_base64_ok(item->text, item->n, &bad))
            return err_set(err, CAMA_ERR_FORMAT, "illegal base64 data at input byte %zu", bad);
    }
    return CAMA_OK;
}

static cama_err want_call(const json_value *call, const place *at, err_info *err)
{
    char path[96];
    const place inner = {at->go_name, path};
    (void)snprintf(path, sizeof path, "%s.tool_calls", at->path);
    cama_err e = want_kind(call, JSON_OBJECT, &inner, "api.ToolCall", err);
    if (e || is_null(call))
        return e;
    const json_value *function = api_member(call, "function");
    (void)snprintf(path, sizeof path, "%s.tool_calls.function", at->path);
    e = want_kind(function, JSON_OBJECT, &inner, "api.ToolCallFunction", err);
    if (e)
        return e;
    (void)snprintf(path, sizeof path, "%s.tool_calls.function.name", at->path);
    e = want_kind(api_member(function, "name"), JSON_STRING, &inner, "string", err);
    if (!e) {
        (void)snprintf(path, sizeof path, "%s.tool_calls.id", at->path);
        e = want_kind(api_member(call, "id"), JSON_STRING, &inner, "string", err);
    }
    const json_value *args = api_member(function, "arguments");
    if (!e && args &&
        args->kind != JSON_OBJECT) /* the words of the library that Ollama reads it by */
        e = err_set(err, CAMA_ERR_FORMAT,
                    "Value looks like object, but can't find closing '}' symbol");
    return e;
}

static cama_err want_message(const json_value *m, const place *at, err_info *err)
{
    static const char *const texts[] = {"role", "content", "thinking", "tool_name", "tool_call_id"};
    cama_err e = want_kind(m, JSON_OBJECT, at, "api.Alias", err);
    if (is_null(m))
        return CAMA_OK;
    char path[64];
    const place inner = {at->go_name, path};
    for (size_t i = 0; i < sizeof texts / sizeof *texts && !e; i++) {
        (void)snprintf(path, sizeof path, "%s.%s", at->path, texts[i]);
        e = want_kind(api_member(m, texts[i]), JSON_STRING, &inner, "string", err);
    }
    const json_value *calls = api_member(m, "tool_calls");
    (void)snprintf(path, sizeof path, "%s.images", at->path);
    if (!e)
        e = want_images(api_member(m, "images"), &inner, err);
    (void)snprintf(path, sizeof path, "%s.tool_calls", at->path);
    if (!e)
        e = want_kind(calls, JSON_ARRAY, &inner, "[]api.ToolCall", err);
    for (size_t i = 0; calls && i < calls->n && !e; i++)
        e = want_call(calls->items[i], at, err);
    return e;
}

static cama_err want_messages(const json_value *v, const place *at, err_info *err)
{
    if (v->kind != JSON_ARRAY)
        return mismatch(v, at, "[]api.Message", err);
    if (v->n > API_MAX_MESSAGES)
        return err_set(err, CAMA_ERR_LIMIT, "%zu messages, allowed are %d", v->n, API_MAX_MESSAGES);
    cama_err e = CAMA_OK;
    for (size_t i = 0; i < v->n && !e; i++)
        e = want_message(v->items[i], at, err);
    return e;
}

/* "type" of a property: a string or a list of them. */
static cama_err want_property(const json_value *p, const char *path, err_info *err)
{
    char full[128];
    const place outer = {"ToolFunctionParameters", path};
    const place at = {"ToolFunctionParameters", full};
    cama_err e = want_kind(p, JSON_OBJECT, &outer, "api.ToolProperty", err);
    const json_value *type = e ? NULL : api_member(p, "type");
    (void)snprintf(full, sizeof full, "%.96s.type", path);
    if (type && type->kind != JSON_STRING)
        e = want_kind(type, JSON_ARRAY, &at, "[]string", err);
    for (size_t i = 0; !e && type && type->kind == JSON_ARRAY && i < type->n; i++)
        e = want_kind(type->items[i], JSON_STRING, &at, "string", err);
    return e;
}

static cama_err want_tool(const json_value *tool, const place *at, err_info *err)
{
    cama_err e = want_kind(tool, JSON_OBJECT, at, "api.Tool", err);
    if (e || is_null(tool))
        return e;
    char path[96];
    const place in_tool = {"Tool", path};
    const place in_function = {"ToolFunction", path};
    const json_value *function = api_member(tool, "function");
    (void)snprintf(path, sizeof path, "%s.type", at->path);
    e = want_kind(api_member(tool, "type"), JSON_STRING, &in_tool, "string", err);
    (void)snprintf(path, sizeof path, "%s.function", at->path);
    if (!e)
        e = want_kind(function, JSON_OBJECT, &in_tool, "api.ToolFunction", err);
    (void)snprintf(path, sizeof path, "%s.function.name", at->path);
    if (!e)
        e = want_kind(api_member(function, "name"), JSON_STRING, &in_function, "string", err);
    (void)snprintf(path, sizeof path, "%s.function.description", at->path);
    if (!e)
        e = want_kind(api_member(function, "description"), JSON_STRING, &in_function, "string",
                      err);
    const json_value *params = api_member(function, "parameters");
    (void)snprintf(path, sizeof path, "%s.function.parameters", at->path);
    if (!e)
        e = want_kind(params, JSON_OBJECT, &in_function, "api.ToolFunctionParameters", err);
    const json_value *properties = api_member(params, "properties");
    (void)snprintf(path, sizeof path, "%s.function.parameters.properties", at->path);
    const place in_params = {"ToolFunctionParameters", path};
    if (!e)
        e = want_kind(properties, JSON_OBJECT, &in_params, "map[string]api.ToolProperty", err);
    for (size_t i = 0; properties && i < properties->n && !e; i++)
        e = want_property(properties->members[i].value, path, err);
    return e;
}

static cama_err want_tools(const json_value *v, const place *at, err_info *err)
{
    if (v->kind != JSON_ARRAY)
        return mismatch(v, at, "api.Tools", err);
    cama_err e = CAMA_OK;
    for (size_t i = 0; i < v->n && !e; i++)
        e = want_tool(v->items[i], at, err);
    return e;
}

static cama_err want_keep(const json_value *v, err_info *err)
{
    int64_t ns;
    switch (v->kind) {
    case JSON_STRING:
        return go_duration_parse(v->text, v->n, &ns, err);
    case JSON_BOOL:
        return err_set(err, CAMA_ERR_FORMAT, "Unsupported type: 'bool'");
    case JSON_ARRAY:
        return err_set(err, CAMA_ERR_FORMAT, "Unsupported type: '[]interface {}'");
    case JSON_OBJECT:
        return err_set(err, CAMA_ERR_FORMAT, "Unsupported type: 'map[string]interface {}'");
    default:
        return CAMA_OK;
    }
}

static cama_err want_think(const json_value *v, err_info *err)
{
    static const char *const levels[] = {"high", "medium", "low", "max"};
    if (v->kind == JSON_BOOL)
        return CAMA_OK;
    if (v->kind != JSON_STRING)
        return err_set(err, CAMA_ERR_FORMAT,
                       "think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", "
                       "true, or false)");
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(v->text, levels[i]) == 0)
            return CAMA_OK;
    }
    return err_set(
        err, CAMA_ERR_FORMAT,
        "invalid think value: \"%.64s\" (must be \"high\", \"medium\", \"low\", \"max\", "
        "true, or false)",
        v->text);
}

/* Whether an error of this type ends decoding at once: Go's UnmarshalJSON methods do. */
static bool ends_decoding(api_field_type t)
{
    return t == API_MESSAGES || t == API_KEEP || t == API_THINK;
}

static cama_err want_field(const json_value *v, const api_field *f, const place *at, err_info *err)
{
    switch (f->type) {
    case API_STRING:
        return want_kind(v, JSON_STRING, at, "string", err);
    case API_BOOL:
        return want_kind(v, JSON_BOOL, at, "bool", err);
    case API_INT:
        return want_int(v, at, err);
    case API_FLOAT:
        return v->kind == JSON_INT ? CAMA_OK : want_kind(v, JSON_FLOAT, at, "float64", err);
    case API_INTS:
        return want_ints(v, at, err);
    case API_MAP:
        return want_kind(v, JSON_OBJECT, at, "map[string]interface {}", err);
    case API_STRMAP:
        return want_strmap(v, at, err);
    case API_MESSAGES:
        return want_messages(v, at, err);
    case API_TOOLS:
        return want_tools(v, at, err);
    case API_IMAGES:
        return want_images(v, at, err);
    case API_KEEP:
        return want_keep(v, err);
    case API_THINK:
        return want_think(v, err);
    case API_STRUCT:
        return want_kind(v, JSON_OBJECT, at, f->go_type, err);
    case API_ANY:
        break;
    }
    return CAMA_OK;
}

static const api_field *find_field(const api_struct *s, const json_member *m)
{
    for (size_t i = 0; i < s->n_field; i++) {
        if (strlen(s->fields[i].name) == m->n_key &&
            strncasecmp(s->fields[i].name, m->key, m->n_key) == 0)
            return &s->fields[i];
    }
    return NULL;
}

cama_err api_decode(const api_struct *s, const char *body, size_t n, arena *a, api_values *out,
                    err_info *err)
{
    json_value *root = NULL;
    cama_err e = json_parse_prefix(body, n, a, &root, err);
    if (e)
        return e;
    *out = (api_values){{NULL}};
    if (root->kind == JSON_NULL)
        return CAMA_OK;
    if (root->kind != JSON_OBJECT)
        return err_set(err, CAMA_ERR_FORMAT,
                       "json: cannot unmarshal %s into Go value of type %s.%s", kind_name(root),
                       s->package, s->go_name);
    err_info first = {.code = CAMA_OK};
    for (size_t i = 0; i < root->n; i++) {
        const json_member *m = &root->members[i];
        const api_field *f = find_field(s, m);
        if (!f || m->value->kind == JSON_NULL)
            continue;
        const place at = {s->go_name, f->name};
        err_info bad;
        e = want_field(m->value, f, &at, &bad);
        if (!e)
            out->at[f - s->fields] = m->value;
        else if (ends_decoding(f->type))
            return err_set(err, e, "%s", bad.text);
        else if (!first.code)
            first = bad;
    }
    return first.code ? err_set(err, first.code, "%s", first.text) : CAMA_OK;
}

static bool is_blank(const char *body, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strchr(" \t\r\n", body[i]) || body[i] == '\0')
            return false;
    }
    return true;
}

bool api_read_body(api_call *c, const api_struct *s, bool openai, api_values *out)
{
    const api_request *r = c->request;
    err_info err = {.code = CAMA_OK};
    if (is_blank(r->body, r->n_body))
        (void)err_set(&err, CAMA_ERR_ARG, openai ? "EOF" : "missing request body");
    else if (!api_decode(s, r->body, r->n_body, &c->request_arena, out, &err))
        return true;
    buf body;
    buf_init(&body, API_MAX_REPLY);
    (void)api_error_body(openai ? API_OPENAI : 0, cama_err_status(err.code), err.text, &body);
    api_reply(c, cama_err_status(err.code), API_JSON_UTF8, &body);
    buf_done(&body);
    return false;
}

const char *api_text(const json_value *v)
{
    return v && v->kind == JSON_STRING ? v->text : "";
}

int64_t api_int(const json_value *v, int64_t fallback)
{
    return v && v->kind == JSON_INT ? v->integer : fallback;
}

bool api_bool(const json_value *v, bool fallback)
{
    return v && v->kind == JSON_BOOL ? v->boolean : fallback;
}

int64_t api_keep_ns(const json_value *v)
{
    int64_t ns = 0;
    if (!v)
        return POOL_KEEP_DEFAULT;
    if (v->kind == JSON_STRING) {
        if (go_duration_parse(v->text, v->n, &ns, NULL))
            return POOL_KEEP_DEFAULT; /* cannot be: it was read once already */
    } else if (v->number < 0) {
        return POOL_KEEP_FOREVER;
    } else {
        const double asked = v->number * 1e9;
        ns = asked < 9.2e18 ? (int64_t)asked : POOL_KEEP_FOREVER;
    }
    return ns < 0 ? POOL_KEEP_FOREVER : ns;
}
