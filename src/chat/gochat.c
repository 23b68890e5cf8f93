/* A conversation through a Go template, as Ollama prepares it. */
#include "chat/gotmpl_int.h"

#include <stdio.h>
#include <string.h>

/* ---- the types that a template sees ---- */

static const gtype image_type = {.kind = G_SLICE, .name = "api.ImageData", .elem = &gotmpl_uint8};
static const gtype images_type = {.kind = G_SLICE, .name = "[]api.ImageData", .elem = &image_type};
static const gtype strings_type = {.kind = G_SLICE, .name = "[]string", .elem = &gotmpl_string};

static const gtype args_type = {
    .kind = G_MAP, .name = "template.templateArgs", .stringer = GS_JSON};

static const gfield call_function_fields[] = {
    {"Index", "index", false, &gotmpl_int},
    {"Name", "name", false, &gotmpl_string},
    {"Arguments", "arguments", false, &args_type},
};
static const gtype call_function_type = {.kind = G_STRUCT,
                                         .name = "template.templateToolCallFunction",
                                         .fields = call_function_fields,
                                         .n_field = 3};
static const gfield call_fields[] = {
    {"ID", "id", true, &gotmpl_string},
    {"Function", "function", false, &call_function_type},
};
static const gtype call_type = {
    .kind = G_STRUCT, .name = "template.templateToolCall", .fields = call_fields, .n_field = 2};
static const gtype calls_type = {
    .kind = G_SLICE, .name = "[]template.templateToolCall", .elem = &call_type};

enum { M_ROLE, M_CONTENT, M_THINKING, M_IMAGES, M_CALLS, M_TOOL_NAME, M_CALL_ID, N_MESSAGE };
static const gfield message_fields[N_MESSAGE] = {
    {"Role", "role", false, &gotmpl_string},
    {"Content", "content", false, &gotmpl_string},
    {"Thinking", "thinking", true, &gotmpl_string},
    {"Images", "images", true, &images_type},
    {"ToolCalls", "tool_calls", true, &calls_type},
    {"ToolName", "tool_name", true, &gotmpl_string},
    {"ToolCallID", "tool_call_id", true, &gotmpl_string},
};
static const gtype message_type = {.kind = G_STRUCT,
                                   .name = "template.templateMessage",
                                   .fields = message_fields,
                                   .n_field = N_MESSAGE};
static const gtype message_ptr_type = {
    .kind = G_PTR, .name = "*template.templateMessage", .elem = &message_type};
static const gtype messages_type = {
    .kind = G_SLICE, .name = "[]*template.templateMessage", .elem = &message_ptr_type};

static const gtype property_type_type = {.kind = G_SLICE,
                                         .name = "api.PropertyType",
                                         .elem = &gotmpl_string,
                                         .stringer = GS_PROPERTY_TYPE,
                                         .json_unwrap = true};
static const gtype properties_list_type = {
    .kind = G_SLICE, .name = "[]api.ToolProperty", .elem = &gochat_property_type};
static const gtype inner_properties_type = {.kind = G_MAP,
                                            .name = "*api.ToolPropertiesMap",
                                            .elem = &gochat_property_type,
                                            .stringer = GS_JSON,
                                            .in_order = true};
enum { P_ANY_OF, P_TYPE, P_ITEMS, P_DESCRIPTION, P_ENUM, P_PROPERTIES, P_REQUIRED, N_PROPERTY };
static const gfield property_fields[N_PROPERTY] = {
    {"AnyOf", "anyOf", true, &properties_list_type},
    {"Type", "type", true, &property_type_type},
    {"Items", "items", true, NULL},
    {"Description", "description", true, &gotmpl_string},
    {"Enum", "enum", true, &gotmpl_any_slice},
    {"Properties", "properties", true, &inner_properties_type},
    {"Required", "required", true, &strings_type},
};
const gtype gochat_property_type = {.kind = G_STRUCT,
                                    .name = "api.ToolProperty",
                                    .fields = property_fields,
                                    .n_field = N_PROPERTY,
                                    .script_type = true};
static const gtype properties_type = {.kind = G_MAP,
                                      .name = "template.templateProperties",
                                      .elem = &gochat_property_type,
                                      .stringer = GS_JSON};

enum { A_TYPE, A_DEFS, A_ITEMS, A_REQUIRED, A_PROPERTIES, N_PARAMETERS };
static const gfield parameters_fields[N_PARAMETERS] = {
    {"Type", "type", false, &gotmpl_string},
    {"Defs", "$defs", true, NULL},
    {"Items", "items", true, NULL},
    {"Required", "required", true, &strings_type},
    {"Properties", "properties", false, &properties_type},
};
static const gtype parameters_type = {.kind = G_STRUCT,
                                      .name = "template.templateToolFunctionParameters",
                                      .fields = parameters_fields,
                                      .n_field = N_PARAMETERS,
                                      .stringer = GS_JSON};
static const gfield tool_function_fields[] = {
    {"Name", "name", false, &gotmpl_string},
    {"Description", "description", false, &gotmpl_string},
    {"Parameters", "parameters", false, &parameters_type},
};
static const gtype tool_function_type = {.kind = G_STRUCT,
                                         .name = "template.templateToolFunction",
                                         .fields = tool_function_fields,
                                         .n_field = 3,
                                         .stringer = GS_JSON};
static const gfield tool_fields[] = {
    {"Type", "type", false, &gotmpl_string},
    {"Items", "items", true, NULL},
    {"Function", "function", false, &tool_function_type},
};
static const gtype tool_type = {.kind = G_STRUCT,
                                .name = "template.templateTool",
                                .fields = tool_fields,
                                .n_field = 3,
                                .stringer = GS_JSON};
static const gtype tools_type = {
    .kind = G_SLICE, .name = "template.templateTools", .elem = &tool_type, .stringer = GS_JSON};

/* ---- JSON -> those types ---- */

typedef struct gbuild {
    arena mem;
    bool ok; /* false: out of memory */
} gbuild;

static cama_err data_error(const gbuild *b, err_info *err)
{
    if (b->mem.used_bytes >= b->mem.max_bytes / 2)
        return err_set(err, CAMA_ERR_LIMIT, "template: its data takes more than %zu bytes",
                       b->mem.max_bytes);
    return err_set(err, CAMA_ERR_NOMEM, "template: no memory for its data");
}

static void *take(gbuild *b, size_t n, size_t size)
{
    void *p = arena_take_array(&b->mem, n, size);
    b->ok = b->ok && p;
    return p;
}

static gstr text_of(const json_value *object, const char *key)
{
    const json_value *v = json_get(object, key);
    return v && v->kind == JSON_STRING ? (gstr){v->text, v->n} : GSTR("");
}

static gval any_of(gbuild *b, const json_value *v)
{
    return v ? gval_of_json(&b->mem, v, &b->ok) : gval_zero(NULL);
}

static gval struct_of(const gtype *type, const gval *fields)
{
    return (gval){.type = type, .u.fields = fields};
}

static gval list_of(const gtype *type, const gval *items, size_t n)
{
    gval v = {.type = type};
    v.u.l.items = items;
    v.u.l.n = n;
    v.u.l.cap = n;
    return v;
}

static gval strings_of(gbuild *b, const gtype *type, const json_value *v)
{
    const bool one = v && v->kind == JSON_STRING && type == &property_type_type;
    if (!v || (v->kind != JSON_ARRAY && !one))
        return gval_zero(type);
    const size_t n = one ? 1 : v->n;
    gval *items = take(b, n, sizeof *items);
    for (size_t i = 0; items && i < n; i++) {
        const json_value *e = one ? v : v->items[i];
        items[i] = gval_string(e->kind == JSON_STRING ? (gstr){e->text, e->n} : GSTR(""));
    }
    return list_of(type, items, items ? n : 0);
}

static gval map_of_any(gbuild *b, const gtype *type, const json_value *v)
{
    gval map = v && v->kind == JSON_OBJECT ? gval_of_json(&b->mem, v, &b->ok) : gval_zero(type);
    map.type = type;
    return map;
}

static gval property_of(gbuild *b, const json_value *v);

static gval properties_of(gbuild *b, const gtype *type, const json_value *v)
{
    if (!v || v->kind != JSON_OBJECT)
        return gval_zero(type);
    gentry *entries = take(b, v->n, sizeof *entries);
    for (size_t i = 0; entries && i < v->n; i++) {
        entries[i].key = (gstr){v->members[i].key, v->members[i].n_key};
        entries[i].value = property_of(b, v->members[i].value);
    }
    if (entries && !type->in_order)
        gval_sort(entries, v->n);
    gval map = {.type = type};
    map.u.m.entries = entries;
    map.u.m.n = entries ? v->n : 0;
    return map;
}

static gval choices_of(gbuild *b, const json_value *v)
{
    if (!v || v->kind != JSON_ARRAY)
        return gval_zero(&properties_list_type);
    gval *items = take(b, v->n, sizeof *items);
    for (size_t i = 0; items && i < v->n; i++)
        items[i] = property_of(b, v->items[i]);
    return list_of(&properties_list_type, items, items ? v->n : 0);
}

/* The depth is that of the JSON, which its reader bounds. */
static gval property_of(gbuild *b, const json_value *v)
{
    const json_value *list = json_get(v, "enum");
    gval *f = take(b, N_PROPERTY, sizeof *f);
    if (!f)
        return gval_none();
    f[P_ANY_OF] = choices_of(b, json_get(v, "anyOf"));
    f[P_TYPE] = strings_of(b, &property_type_type, json_get(v, "type"));
    f[P_ITEMS] = any_of(b, json_get(v, "items"));
    f[P_DESCRIPTION] = gval_string(text_of(v, "description"));
    f[P_ENUM] = list && list->kind == JSON_ARRAY ? gval_of_json(&b->mem, list, &b->ok)
                                                 : gval_zero(&gotmpl_any_slice);
    f[P_PROPERTIES] = properties_of(b, &inner_properties_type, json_get(v, "properties"));
    f[P_REQUIRED] = strings_of(b, &strings_type, json_get(v, "required"));
    return struct_of(&gochat_property_type, f);
}

static gval parameters_of(gbuild *b, const json_value *v)
{
    gval *f = take(b, N_PARAMETERS, sizeof *f);
    if (!f)
        return gval_none();
    f[A_TYPE] = gval_string(text_of(v, "type"));
    f[A_DEFS] = any_of(b, json_get(v, "$defs"));
    f[A_ITEMS] = any_of(b, json_get(v, "items"));
    f[A_REQUIRED] = strings_of(b, &strings_type, json_get(v, "required"));
    f[A_PROPERTIES] = properties_of(b, &properties_type, json_get(v, "properties"));
    return struct_of(&parameters_type, f);
}

static gval tool_of(gbuild *b, const json_value *v)
{
    const json_value *function = json_get(v, "function");
    gval *f = take(b, 3, sizeof *f);
    gval *g = take(b, 3, sizeof *g);
    if (!f || !g)
        return gval_none();
    g[0] = gval_string(text_of(function, "name"));
    g[1] = gval_string(text_of(function, "description"));
    g[2] = parameters_of(b, json_get(function, "parameters"));
    f[0] = gval_string(text_of(v, "type"));
    f[1] = any_of(b, json_get(v, "items"));
    f[2] = struct_of(&tool_function_type, g);
    return struct_of(&tool_type, f);
}

static gval tools_of(gbuild *b, const json_value *v)
{
    if (!v || v->kind != JSON_ARRAY)
        return gval_zero(&tools_type);
    gval *items = take(b, v->n, sizeof *items);
    for (size_t i = 0; items && i < v->n; i++)
        items[i] = tool_of(b, v->items[i]);
    return list_of(&tools_type, items, items ? v->n : 0);
}

static gval call_of(gbuild *b, const json_value *v)
{
    const json_value *function = json_get(v, "function");
    const json_value *index = json_get(function, "index");
    gval *f = take(b, 2, sizeof *f);
    gval *g = take(b, 3, sizeof *g);
    if (!f || !g)
        return gval_none();
    g[0] = gval_int(index && index->kind == JSON_INT ? index->integer : 0);
    g[1] = gval_string(text_of(function, "name"));
    g[2] = map_of_any(b, &args_type, json_get(function, "arguments"));
    f[0] = gval_string(text_of(v, "id"));
    f[1] = struct_of(&call_function_type, g);
    return struct_of(&call_type, f);
}

static gval calls_of(gbuild *b, const json_value *v)
{
    if (!v || v->kind != JSON_ARRAY || v->n == 0)
        return gval_zero(&calls_type);
    gval *items = take(b, v->n, sizeof *items);
    for (size_t i = 0; items && i < v->n; i++)
        items[i] = call_of(b, v->items[i]);
    return list_of(&calls_type, items, items ? v->n : 0);
}

/* ---- images: [img-0], in the place of an [img] or in front ---- */

#define MAX_IMAGES 4096

static size_t count_images(const json_value *message)
{
    const json_value *v = json_get(message, "images");
    size_t n = 0;
    if (v && v->kind == JSON_ARRAY)
        n = v->n;
    else if (v && v->kind == JSON_INT && v->integer > 0)
        n = (size_t)v->integer;
    return n < MAX_IMAGES ? n : MAX_IMAGES;
}

static const char *find_mark(gstr s)
{
    for (size_t i = 0; i + 5 <= s.n; i++)
        if (memcmp(s.p + i, "[img]", 5) == 0)
            return s.p + i;
    return NULL;
}

static gstr mark_images(gbuild *b, gstr content, size_t n, size_t *next)
{
    buf text;
    buf prefix;
    buf_init(&text, TMPL_MAX_BYTES);
    buf_init(&prefix, TMPL_MAX_BYTES);
    gstr rest = content;
    for (size_t i = 0; i < n; i++) {
        const char *mark = find_mark(rest);
        const size_t before = mark ? (size_t)(mark - rest.p) : 0;
        if (mark) {
            (void)buf_append(&text, rest.p, before); /* looked at below, as all of these */
            rest = (gstr){mark + 5, rest.n - before - 5};
        }
        (void)buf_printf(mark ? &text : &prefix, "[img-%zu]", (*next)++);
    }
    (void)buf_append(&text, rest.p, rest.n);
    (void)buf_append(&prefix, text.data ? text.data : "", text.n);
    const char *copy = text.fail || prefix.fail
                           ? NULL
                           : arena_copy(&b->mem, prefix.data ? prefix.data : "", prefix.n);
    const gstr out = {copy, copy ? prefix.n : 0};
    b->ok = b->ok && copy;
    buf_done(&text);
    buf_done(&prefix);
    return out;
}

static gval images_of(gbuild *b, size_t n)
{
    if (n == 0)
        return gval_zero(&images_type);
    gval *items = take(b, n, sizeof *items);
    for (size_t i = 0; items && i < n; i++)
        items[i] = list_of(&image_type, NULL, 0);
    return list_of(&images_type, items, items ? n : 0);
}

/* ---- messages ---- */

/* Contents with a blank line between them: of the messages of one run, or of one role. */
typedef struct gjoin {
    const gval *const *of; /* fields of messages */
    size_t n;
    gstr role; /* p NULL: any */
} gjoin;

/* Measured first and written once, for a run may be long. */
static gstr join(gbuild *b, gjoin j)
{
    size_t n = 0;
    size_t n_part = 0;
    gstr last = GSTR("");
    for (size_t i = 0; i < j.n; i++) {
        if (j.role.p && !gstr_same(j.of[i][M_ROLE].u.s, j.role))
            continue;
        last = j.of[i][M_CONTENT].u.s;
        n += last.n + (n_part++ ? 2 : 0);
    }
    if (n_part < 2)
        return last;
    char *text = take(b, n + 1, 1);
    size_t at = 0;
    for (size_t i = 0; i < j.n && text; i++) {
        const gstr part = j.of[i][M_CONTENT].u.s;
        if (j.role.p && !gstr_same(j.of[i][M_ROLE].u.s, j.role))
            continue;
        memcpy(text + at, part.p, part.n);
        at += part.n;
        if (at < n) {
            memcpy(text + at, "\n\n", 2);
            at += 2;
        }
    }
    return text ? (gstr){text, n} : GSTR("");
}

typedef struct gmessages {
    gval *of; /* structs */
    size_t n;
    gstr system; /* of all system messages */
} gmessages;

static void message_of(gbuild *b, const json_value *v, gval *f, size_t *next_image)
{
    const size_t n_image = count_images(v);
    f[M_ROLE] = gval_string(text_of(v, "role"));
    f[M_CONTENT] = gval_string(text_of(v, "content"));
    if (n_image)
        f[M_CONTENT] = gval_string(mark_images(b, f[M_CONTENT].u.s, n_image, next_image));
    f[M_THINKING] = gval_string(text_of(v, "thinking"));
    f[M_IMAGES] = images_of(b, n_image);
    f[M_CALLS] = calls_of(b, json_get(v, "tool_calls"));
    f[M_TOOL_NAME] = gval_string(text_of(v, "tool_name"));
    f[M_CALL_ID] = gval_string(text_of(v, "tool_call_id"));
}

/* How many messages from i on become one: those of one role, but for results of tools. */
static size_t run_length(const gval *const *of, size_t n, size_t i)
{
    const gstr role = of[i][M_ROLE].u.s;
    size_t end = i + 1;
    while (end < n && !gstr_is(role, "tool") && gstr_same(of[end][M_ROLE].u.s, role))
        end++;
    return end - i;
}

static gmessages collate(gbuild *b, const json_value *v)
{
    gmessages m = {.system = GSTR("")};
    size_t next_image = 0;
    const size_t n = v && v->kind == JSON_ARRAY ? v->n : 0;
    const gval **of = take(b, n, sizeof *of);
    m.of = take(b, n, sizeof *m.of);
    for (size_t i = 0; i < n && b->ok; i++) {
        gval *f = take(b, N_MESSAGE, sizeof *f);
        if (f)
            message_of(b, v->items[i], f, &next_image);
        of[i] = f;
    }
    if (!b->ok)
        return m;
    m.system = join(b, (gjoin){of, n, GSTR("system")});
    for (size_t i = 0; i < n;) {
        const size_t n_run = run_length(of, n, i);
        gval *f = take(b, N_MESSAGE, sizeof *f);
        if (!f)
            return m;
        memcpy(f, of[i], N_MESSAGE * sizeof *f); /* the first one's, but for the text */
        f[M_CONTENT] = gval_string(join(b, (gjoin){of + i, n_run, {NULL, 0}}));
        m.of[m.n++] = struct_of(&message_type, f);
        i += n_run;
    }
    return m;
}

/* ---- renders ---- */

typedef struct gdata {
    gentry entries[8];
    size_t n;
} gdata;

static void put(gdata *d, const char *key, gval v)
{
    d->entries[d->n++] = (gentry){{key, strlen(key)}, v};
}

static gstr given(const char *text)
{
    return text ? (gstr){text, strlen(text)} : GSTR("");
}

static cama_err run(const gotmpl *t, const gochat_request *q, const gnode *root, gdata *d, buf *out,
                    err_info *err)
{
    put(d, "Think", gval_bool(q->think == 1));
    put(d, "ThinkLevel", gval_string(given(q->think_level)));
    put(d, "IsThinkSet", gval_bool(q->think >= 0));
    gval_sort(d->entries, d->n);
    gexec_opts o = {.root = root, .now_s = q->now_s, .limits = q->limits};
    o.data.type = &gotmpl_any_map;
    o.data.u.m.entries = d->entries;
    o.data.u.m.n = d->n;
    return gotmpl_exec(t, &o, out, err);
}

static cama_err render_suffix(const gotmpl *t, const gochat_request *q, buf *out, err_info *err)
{
    gdata d = {.n = 0};
    put(&d, "Prompt", gval_string(given(q->prompt)));
    put(&d, "Suffix", gval_string(given(q->suffix)));
    put(&d, "Response", gval_string(GSTR("")));
    return run(t, q, t->root, &d, out, err);
}

static cama_err render_messages(const gotmpl *t, const gochat_request *q, gbuild *b,
                                const gmessages *m, buf *out, err_info *err)
{
    gdata d = {.n = 0};
    gval *refs = take(b, m->n, sizeof *refs);
    for (size_t i = 0; refs && i < m->n; i++)
        refs[i] = (gval){.type = &message_ptr_type, .u.ref = &m->of[i]};
    put(&d, "System", gval_string(m->system));
    put(&d, "Messages", list_of(&messages_type, refs, m->n));
    put(&d, "Tools", tools_of(b, q->tools));
    put(&d, "Response", gval_string(GSTR("")));
    return b->ok ? run(t, q, t->root, &d, out, err) : data_error(b, err);
}

/* A template for one turn: system, prompt and response, each turn anew. */
typedef struct gturn {
    gstr system;
    gstr prompt;
    gstr response;
} gturn;

static cama_err render_turn(const gotmpl *t, const gochat_request *q, bool last, gturn *turn,
                            buf *out, err_info *err)
{
    gdata d = {.n = 0};
    put(&d, "System", gval_string(turn->system));
    put(&d, "Prompt", gval_string(turn->prompt));
    put(&d, "Response", gval_string(turn->response));
    const cama_err e = run(t, q, last ? t->root_cut : t->root, &d, out, err);
    if (!e && t->add_response)
        (void)buf_append(out, turn->response.p, turn->response.n); /* the caller looks at out */
    *turn = (gturn){{"", 0}, {"", 0}, {"", 0}};
    return e;
}

static cama_err render_turns(const gotmpl *t, const gochat_request *q, const gmessages *m, buf *out,
                             err_info *err)
{
    gturn turn = {{"", 0}, {"", 0}, {"", 0}};
    cama_err e = CAMA_OK;
    for (size_t i = 0; i < m->n && !e; i++) {
        const gstr role = m->of[i].u.fields[M_ROLE].u.s;
        const gstr content = m->of[i].u.fields[M_CONTENT].u.s;
        if (gstr_is(role, "system")) {
            if (turn.prompt.n || turn.response.n)
                e = render_turn(t, q, false, &turn, out, err);
            turn.system = content;
        } else if (gstr_is(role, "user")) {
            if (turn.response.n)
                e = render_turn(t, q, false, &turn, out, err);
            turn.prompt = content;
        } else if (gstr_is(role, "assistant")) {
            turn.response = content;
        }
    }
    return e ? e : render_turn(t, q, true, &turn, out, err);
}

cama_err gochat_render(const gotmpl *t, const gochat_request *q, buf *out, err_info *err)
{
    buf text;
    gbuild b = {.ok = true};
    buf_init(&text, out->max_bytes > out->n ? out->max_bytes - out->n : 0);
    arena_init(&b.mem, TMPL_MAX_BYTES);
    cama_err e;
    if (q->suffix) {
        e = render_suffix(t, q, &text, err);
    } else {
        const gmessages m = collate(&b, q->messages);
        if (!b.ok)
            e = data_error(&b, err);
        else if (t->root_cut)
            e = render_turns(t, q, &m, &text, err);
        else
            e = render_messages(t, q, &b, &m, &text, err);
    }
    if (!e)
        e = buf_error(&text, "the prompt", err);
    if (!e && text.n)
        (void)buf_append(out, text.data, text.n); /* looked at below */
    if (!e)
        e = buf_error(out, "the prompt", err);
    buf_done(&text);
    arena_done(&b.mem);
    return e;
}
