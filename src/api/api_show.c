/* POST /api/show: what is known of a model: its layers as a Modelfile, its file's metadata. */
#include "api/api_int.h"

#include <stdlib.h>
#include <string.h>

#include "gguf/gguf.h"
#include "store/modelfile.h"

enum { MODEL, NAME, SYSTEM, TEMPLATE, VERBOSE, OPTIONS };
static const api_field fields[] = {
    [MODEL] = {"model", API_STRING, NULL},   [NAME] = {"name", API_STRING, NULL},
    [SYSTEM] = {"system", API_STRING, NULL}, [TEMPLATE] = {"template", API_STRING, NULL},
    [VERBOSE] = {"verbose", API_BOOL, NULL}, [OPTIONS] = {"options", API_MAP, NULL}};
const api_struct api_show_request = {"api", "ShowRequest", fields, sizeof fields / sizeof *fields};

typedef struct show {
    api_call *call;
    api_model model;
    const char *system; /* of the request, else of the model; NULL: none */
    const json_value *options;
    bool verbose;
} show;

/* ---- Modelfile and parameters ---- */

static void put_command(buf *out, const char *name, const char *key, const char *value)
{
    const modelfile_command c = {.name = name, .key = key, .value = value};
    (void)modelfile_write_command(&c, out); /* sticks in out */
}

/* "2048", "0.5", "<x>": whole numbers stay whole, so that the text can be read back. */
static void put_scalar(buf *out, const json_value *v)
{
    char text[API_NUMBER_BYTES];
    if (v->kind == JSON_STRING)
        (void)buf_append(out, v->text, v->n);
    else if (v->kind == JSON_FLOAT)
        (void)buf_append(out, text, api_format_f64(v->number, text));
    else
        (void)json_write(v, out);
}

static void put_parameter(buf *out, arena *mem, const char *key, const json_value *v)
{
    buf value;
    buf_init(&value, API_MAX_LAYER);
    const size_t n = v->kind == JSON_ARRAY ? v->n : 1;
    for (size_t i = 0; i < n; i++) {
        buf_clear(&value);
        put_scalar(&value, v->kind == JSON_ARRAY ? v->items[i] : v);
        const char *text = arena_copy(mem, value.data ? value.data : "", value.n);
        if (text)
            put_command(out, "parameter", key, text);
    }
    buf_done(&value);
}

/* "stop                           \"<x>\"", a line each. */
static void put_parameter_line(buf *out, const char *key, const json_value *v)
{
    const size_t n = v->kind == JSON_ARRAY ? v->n : 1;
    for (size_t i = 0; i < n; i++) {
        const json_value *item = v->kind == JSON_ARRAY ? v->items[i] : v;
        if (out->n)
            (void)buf_putc(out, '\n');
        (void)buf_printf(out, "%-30s ", key);
        if (item->kind == JSON_STRING)
            api_quote(out, item->text, item->n);
        else
            put_scalar(out, item);
    }
}

static int by_key(const void *a, const void *b)
{
    const json_member *const *x = a;
    const json_member *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

/* Members of an object by key; NULL when there are none (or no memory). */
static const json_member **sorted(arena *mem, const json_value *object)
{
    if (!object || object->n == 0)
        return NULL;
    const json_member **order = arena_take_array(mem, object->n, sizeof *order);
    for (size_t i = 0; order && i < object->n; i++)
        order[i] = &object->members[i];
    if (order)
        qsort(order, object->n, sizeof *order, by_key);
    return order;
}

static void put_layer_texts(show *s, const char *kind, const char *command, buf *out)
{
    arena *mem = &s->call->request_arena;
    for (size_t i = 0; i < s->model.stored.n_layer; i++) {
        const store_layer *l = &s->model.stored.layers[i];
        const char *text;
        size_t n;
        if (strcmp(l->kind, kind) == 0 &&
            store_blob_read(s->call->api->store, l->digest, API_MAX_LAYER, mem, &text, &n, NULL) ==
                CAMA_OK)
            put_command(out, command, "", text);
    }
}

static void put_layer_paths(show *s, const char *kind, const char *command, bool skip_first,
                            buf *out)
{
    bool skip = skip_first;
    for (size_t i = 0; i < s->model.stored.n_layer; i++) {
        const store_layer *l = &s->model.stored.layers[i];
        char path[4096];
        if (strcmp(l->kind, kind) != 0)
            continue;
        if (!skip &&
            store_blob_path(s->call->api->store, l->digest, path, sizeof path, NULL) == CAMA_OK)
            (void)buf_printf(out, "%s %s\n", command, path);
        skip = false;
    }
}

static void put_parameters(show *s, const json_value *object, buf *out)
{
    arena *mem = &s->call->request_arena;
    const json_member **order = sorted(mem, object);
    for (size_t i = 0; order && i < object->n; i++)
        put_parameter(out, mem, order[i]->key, order[i]->value);
}

static void put_messages(const api_model *m, buf *out)
{
    for (size_t i = 0; m->messages && i < m->messages->n; i++) {
        const json_value *v = m->messages->items[i];
        put_command(out, "message", api_text(json_get(v, "role")),
                    api_text(json_get(v, "content")));
    }
}

static void make_modelfile(show *s, buf *out)
{
    const api_model *m = &s->model;
    (void)buf_printf(
        out,
        "# Modelfile generated by \"ollama show\"\n# To build a new Modelfile based on "
        "this, replace FROM with:\n# FROM %s\n\nFROM %s\n",
        m->shown, m->n_path ? m->paths[0] : "");
    put_layer_paths(s, "model", "FROM", true, out);
    put_layer_paths(s, "projector", "FROM", false, out);
    put_layer_paths(s, "adapter", "ADAPTER", false, out);
    put_layer_paths(s, "draft", "DRAFT", false, out);
    put_command(out, "template", "", m->template_text ? m->template_text : "{{ .Prompt }}");
    if (s->system)
        put_command(out, "system", "", s->system);
    if (*api_config_str(m, "renderer"))
        put_command(out, "renderer", "", api_config_str(m, "renderer"));
    if (*api_config_str(m, "parser"))
        put_command(out, "parser", "", api_config_str(m, "parser"));
    if (*api_config_str(m, "requires"))
        put_command(out, "requires", "", api_config_str(m, "requires"));
    put_parameters(s, m->params, out);
    put_parameters(s, s->options, out);
    put_layer_texts(s, "license", "license", out);
    put_messages(m, out);
}

/* ---- the file ---- */

static double number_at(const gguf_kv *kv, gguf_type type, uint64_t i)
{
    const uint8_t *at = kv->data + i * gguf_type_bytes(type);
    float f32;
    double f64;
    if (type == GGUF_F32) {
        memcpy(&f32, at, sizeof f32);
        return (double)f32;
    }
    memcpy(&f64, at, sizeof f64);
    return f64;
}

static int64_t integer_at(const gguf_kv *kv, gguf_type type, uint64_t i)
{
    const size_t n = gguf_type_bytes(type);
    const uint8_t *at = kv->data + i * n;
    uint64_t v = 0;
    for (size_t k = 0; k < n; k++)
        v |= (uint64_t)at[k] << (8 * k);
    const bool minus = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32;
    if (minus && n && (v >> (8 * n - 1)) & 1)
        v |= UINT64_MAX << (8 * n);
    return (int64_t)v;
}

static void put_meta_value(api_writer *w, const char *key, const gguf_kv *kv, gguf_type type,
                           uint64_t i)
{
    switch (type) {
    case GGUF_STRING:
        api_put_text(w, key, kv->strings[i].text, kv->strings[i].n);
        break;
    case GGUF_BOOL:
        api_put_bool(w, key, kv->data[i] != 0);
        break;
    case GGUF_F32:
        api_put_f32(w, key, (float)number_at(kv, type, i));
        break;
    case GGUF_F64:
        api_put_f64(w, key, number_at(kv, type, i));
        break;
    default:
        api_put_int(w, key, integer_at(kv, type, i));
        break;
    }
}

static int by_name(const void *a, const void *b)
{
    const gguf_kv *x = *(const gguf_kv *const *)a;
    const gguf_kv *y = *(const gguf_kv *const *)b;
    const size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
    const int c = memcmp(x->key.text, y->key.text, n);
    return c ? c : (x->key.n > y->key.n) - (x->key.n < y->key.n);
}

static bool is_key(const gguf_kv *kv, const char *key)
{
    return kv->key.n == strlen(key) && memcmp(kv->key.text, key, kv->key.n) == 0;
}

/* Coding assistants that find models by their basename ask for this. */
static bool wants_name(const api_call *c)
{
    static const char agent[] = "GitHubCopilotChat/";
    const char *got = c->request->user_agent;
    return got && strncmp(got, agent, sizeof agent - 1) == 0;
}

static void put_kv(api_writer *w, show *s, const gguf_kv *kv)
{
    const char *key = arena_copy(&s->call->request_arena, kv->key.text, kv->key.n);
    if (!key)
        return;
    if (is_key(kv, "general.basename") && wants_name(s->call)) {
        api_put_str(w, key, s->model.typed);
    } else if (kv->type != GGUF_ARRAY) {
        put_meta_value(w, key, kv, kv->type, 0);
    } else if (!s->verbose || kv->elem == GGUF_ARRAY) {
        api_put_null(w, key);
    } else {
        api_open(w, key, '[');
        for (uint64_t i = 0; i < kv->n; i++)
            put_meta_value(w, NULL, kv, kv->elem, i);
        api_close(w, ']');
    }
}

static void put_model_info(api_writer *w, show *s, const gguf_file *g)
{
    api_open(w, "model_info", '{');
    const size_t n = g ? gguf_n_kv(g) : 0;
    const gguf_kv **order = arena_take_array(&s->call->request_arena, n, sizeof *order);
    for (size_t i = 0; order && i < n; i++)
        order[i] = gguf_kv_at(g, i);
    if (order && n)
        qsort(order, n, sizeof *order, by_name);
    const char *const count = "general.parameter_count";
    bool counted = false;
    for (size_t i = 0; order && i < n; i++) {
        if (!counted &&
            memcmp(order[i]->key.text, count,
                   order[i]->key.n < strlen(count) ? order[i]->key.n : strlen(count)) > 0) {
            api_put_int(w, count, (int64_t)s->model.n_param);
            counted = true;
        }
        if (!is_key(order[i], "general.name") && !is_key(order[i], "tokenizer.chat_template") &&
            !is_key(order[i], count))
            put_kv(w, s, order[i]);
    }
    if (g && !counted)
        api_put_int(w, count, (int64_t)s->model.n_param);
    api_close(w, '}');
}

static void put_tensors_of(api_writer *w, const gguf_file *g)
{
    for (size_t i = 0; i < gguf_n_tensor(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        api_open(w, NULL, '{');
        api_put_text(w, "name", t->name.text, t->name.n);
        api_put_str(w, "type", quant_table[t->type].name);
        api_open(w, "shape", '[');
        for (int k = 0; k < t->n_dims; k++)
            api_put_int(w, NULL, (int64_t)t->ne[k]);
        api_close(w, ']');
        api_close(w, '}');
    }
}

/* Those of the other shards too, as far as they can be read. */
static void put_tensors(api_writer *w, const api_model *m, const gguf_file *first)
{
    api_open(w, "tensors", '[');
    put_tensors_of(w, first);
    for (size_t i = 1; i < m->n_path; i++) {
        gguf_file *g = NULL;
        if (gguf_open_head(m->paths[i], &g, NULL) == CAMA_OK)
            put_tensors_of(w, g);
        gguf_close(g);
    }
    api_close(w, ']');
}

/* ---- the reply ---- */

static void put_license(api_writer *w, show *s)
{
    buf all;
    buf_init(&all, API_MAX_REPLY);
    arena *mem = &s->call->request_arena;
    for (size_t i = 0; i < s->model.stored.n_layer; i++) {
        const store_layer *l = &s->model.stored.layers[i];
        const char *text;
        size_t n;
        if (strcmp(l->kind, "license") != 0 ||
            store_blob_read(s->call->api->store, l->digest, API_MAX_LAYER, mem, &text, &n, NULL))
            continue;
        if (all.n)
            (void)buf_putc(&all, '\n');
        (void)buf_append(&all, text, n);
    }
    if (all.n)
        api_put_text(w, "license", all.data, all.n);
    buf_done(&all);
}

static void put_texts(api_writer *w, show *s)
{
    const api_model *m = &s->model;
    buf text;
    buf_init(&text, API_MAX_REPLY);
    put_license(w, s);
    make_modelfile(s, &text);
    api_put_text(w, "modelfile", text.data, text.n);
    buf_clear(&text);
    const json_member **order = sorted(&s->call->request_arena, m->params);
    for (size_t i = 0; order && i < m->params->n; i++)
        put_parameter_line(&text, order[i]->key, order[i]->value);
    if (text.n)
        api_put_text(w, "parameters", text.data, text.n);
    if (m->template_text)
        api_put_text(w, "template", m->template_text, m->n_template);
    else if (m->file && m->file->jinja)
        api_put_text(w, "template", m->file->jinja, m->file->n_jinja);
    else
        api_put_str(w, "template", "{{ .Prompt }}");
    if (s->system && *s->system)
        api_put_str(w, "system", s->system);
    buf_done(&text);
}

/* ---- engine and weights ---- */

typedef struct type_sum {
    uint64_t n, bytes;
} type_sum;

static void sum_types(const gguf_file *g, type_sum sums[QUANT_N_TYPE])
{
    for (size_t i = 0; i < gguf_n_tensor(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        sums[t->type].n++;
        sums[t->type].bytes += t->n_bytes;
    }
}

/* What the file has of each type, largest part first: as long as no engine says what it makes of
 * it. */
static void put_types(api_writer *w, const api_model *m, const gguf_file *first)
{
    type_sum sums[QUANT_N_TYPE] = {{0}};
    sum_types(first, sums);
    for (size_t i = 1; i < m->n_path; i++) {
        gguf_file *g = NULL;
        if (gguf_open_head(m->paths[i], &g, NULL) == CAMA_OK)
            sum_types(g, sums);
        gguf_close(g);
    }
    api_open(w, "types", '[');
    for (;;) {
        size_t best = 0;
        for (size_t t = 1; t < QUANT_N_TYPE; t++) {
            if (sums[t].bytes > sums[best].bytes)
                best = t;
        }
        if (!sums[best].n)
            break;
        api_open(w, NULL, '{');
        api_put_str(w, "type", quant_table[best].name);
        api_put_int(w, "n", (int64_t)sums[best].n);
        api_put_int(w, "bytes", (int64_t)sums[best].bytes);
        api_close(w, '}');
        sums[best] = (type_sum){0};
    }
    api_close(w, ']');
}

/* On what it is to run, as PARAMETERs and the server's own choice have it. A word that is none is
 * shown as it is: the first request will be told. */
static void put_choice(api_writer *w, const show *s)
{
    const api *a = s->call->api;
    const char *const names[] = {"engine", "device"};
    const char *const otherwise[] = {a->engine, a->device};
    for (size_t i = 0; i < 2; i++) {
        const char *text = api_text(json_get(s->model.params, names[i]));
        if (!*text && otherwise[i])
            text = otherwise[i];
        api_put_str(w, names[i], *text ? text : "auto");
    }
}

/* How it runs at this moment, when it does: another tag on the same file may have loaded it. */
static void put_loaded(api_writer *w, show *s)
{
    arena *mem = &s->call->request_arena;
    json_value *runners = NULL;
    buf list;
    buf_init(&list, API_MAX_REPLY);
    if (s->model.weights && !pool_list(s->call->api->pool, &list, NULL) &&
        !json_parse(list.data ? list.data : "", list.n, mem, &runners, NULL) &&
        runners->kind == JSON_ARRAY) {
        for (size_t i = 0; i < runners->n; i++) {
            const json_value *r = runners->items[i];
            if (!api_is_key_of(&s->model, api_text(json_get(r, "key"))))
                continue;
            api_put_runner_engine(w, r);
            if (json_get(r, "forms"))
                api_put_json(w, "forms", json_get(r, "forms"));
            api_put_json(w, "memory", json_get(r, "bytes"));
            break;
        }
    }
    buf_done(&list);
}

static void put_reply(api_writer *w, show *s, const gguf_file *g)
{
    const api_model *m = &s->model;
    const char *remote = api_config_str(m, "remote_host");
    api_open(w, NULL, '{');
    put_texts(w, s);
    api_put_details(w, "details", m, false);
    if (m->messages && m->messages->n) {
        api_open(w, "messages", '[');
        for (size_t i = 0; i < m->messages->n; i++)
            api_put_json(w, NULL, m->messages->items[i]);
        api_close(w, ']');
    }
    if (*remote) {
        api_put_str(w, "remote_model", api_config_str(m, "remote_model"));
        api_put_str(w, "remote_host", remote);
    }
    put_model_info(w, s, g);
    if (g)
        put_tensors(w, m, g);
    if (!*remote)
        api_put_capabilities(w, m);
    api_put_time(w, "modified_at", m->stored.modified_ns, true);
    if (*api_config_str(m, "requires"))
        api_put_str(w, "requires", api_config_str(m, "requires"));
    put_loaded(w, s);
    if (m->file) {
        api_open(w, "cama", '{');
        api_put_str(w, "template", m->go_template ? "go" : m->file->jinja ? "jinja" : "chatml");
        put_choice(w, s);
        if (g)
            put_types(w, m, g);
        api_close(w, '}');
    }
    api_close(w, '}');
}

void api_show(api_call *c)
{
    api_values v;
    if (!api_read_body(c, &api_show_request, false, &v))
        return;
    const char *typed = v.at[MODEL] ? api_text(v.at[MODEL]) : api_text(v.at[NAME]);
    show s = {.call = c, .verbose = api_bool(v.at[VERBOSE], false), .options = v.at[OPTIONS]};
    api_problem p;
    if (!*typed) {
        api_fail(c, 400, "model is required");
        return;
    }
    if (!api_model_open(c->api, typed, API_MISSING_TAG, &c->request_arena, &s.model, &p)) {
        api_fail(c, p.status, "%s", p.text);
        return;
    }
    s.system = v.at[SYSTEM] && *api_text(v.at[SYSTEM]) ? api_text(v.at[SYSTEM]) : s.model.system;
    gguf_file *g = NULL;
    if (s.model.file)
        (void)gguf_open_head(s.model.paths[0], &g,
                             NULL); /* it was read a moment ago; else its part is empty */
    buf body;
    buf_init(&body, API_MAX_REPLY);
    api_writer w = {.out = &body};
    put_reply(&w, &s, g);
    api_reply(c, 200, API_JSON_UTF8, &body);
    buf_done(&body);
    gguf_close(g);
    api_model_close(&s.model);
}
