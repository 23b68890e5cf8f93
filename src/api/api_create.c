/* POST /api/create: a model from a GGUF or a folder's files in the store, or from another model,
 * and changed layers.
 *
 * A GGUF is kept byte for byte under the digest it was sent with, and no template is guessed for
 * one that brings its own.
 */
#include "api/api_create.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/archs.h"

enum {
    MODEL,
    NAME,
    STREAM,
    QUANTIZE,
    QUANTIZATION,
    FROM,
    FILES,
    ADAPTERS,
    DRAFT_FILES,
    DRAFT_QUANTIZE,
    TEMPLATE,
    LICENSE,
    SYSTEM,
    PARAMETERS,
    MESSAGES,
    RENDERER,
    PARSER,
    REQUIRES,
    INFO
};
static const api_field fields[] = {[MODEL] = {"model", API_STRING, NULL},
                                   [NAME] = {"name", API_STRING, NULL},
                                   [STREAM] = {"stream", API_BOOL, NULL},
                                   [QUANTIZE] = {"quantize", API_STRING, NULL},
                                   [QUANTIZATION] = {"quantization", API_STRING, NULL},
                                   [FROM] = {"from", API_STRING, NULL},
                                   [FILES] = {"files", API_STRMAP, NULL},
                                   [ADAPTERS] = {"adapters", API_STRMAP, NULL},
                                   [DRAFT_FILES] = {"draft_files", API_STRMAP, NULL},
                                   [DRAFT_QUANTIZE] = {"draft_quantize", API_STRING, NULL},
                                   [TEMPLATE] = {"template", API_STRING, NULL},
                                   [LICENSE] = {"license", API_ANY, NULL},
                                   [SYSTEM] = {"system", API_STRING, NULL},
                                   [PARAMETERS] = {"parameters", API_MAP, NULL},
                                   [MESSAGES] = {"messages", API_MESSAGES, NULL},
                                   [RENDERER] = {"renderer", API_STRING, NULL},
                                   [PARSER] = {"parser", API_STRING, NULL},
                                   [REQUIRES] = {"requires", API_STRING, NULL},
                                   [INFO] = {"info", API_MAP, NULL}};
const api_struct api_create_request = {"api", "CreateRequest", fields,
                                       sizeof fields / sizeof *fields};

/* ---- progress ---- */

void create_say(create *k, const char *status, uint64_t done, uint64_t all)
{
    if (!k->stream)
        return;
    buf line;
    buf_init(&line, 4096);
    api_writer w = {.out = &line};
    api_open(&w, NULL, '{');
    api_put_str(&w, "status", status);
    if (all) {
        api_put_int(&w, "total", (int64_t)all);
        api_put_int(&w, "completed", (int64_t)done);
    }
    api_close(&w, '}');
    (void)buf_putc(&line, '\n');
    if (!k->begun)
        api_begin(k->call, 200, API_NDJSON, NULL);
    k->begun = true;
    api_piece(k->call, &line);
    buf_done(&line);
}

static void say(create *k, const char *fmt, ...) ERR_PRINTF(2, 3);
static void say(create *k, const char *fmt, ...)
{
    err_info text;
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&text, CAMA_ERR_ARG, fmt, args); /* gives the code back */
    va_end(args);
    create_say(k, text.text, 0, 0);
}

static void finish(create *k, bool fine, const api_problem *p)
{
    buf body;
    buf_init(&body, API_MAX_REPLY);
    api_writer w = {.out = &body};
    api_open(&w, NULL, '{');
    api_put_str(&w, fine ? "status" : "error", fine ? "success" : p->text);
    if (fine && k->warnings.n) {
        api_open(&w, "warnings", '[');
        (void)buf_append(&body, k->warnings.list.data, k->warnings.list.n);
        api_close(&w, ']');
    }
    api_close(&w, '}');
    if (!k->stream) {
        api_reply(k->call, fine ? 200 : p->status, API_JSON, &body);
    } else {
        if (!k->begun)
            api_begin(k->call, fine ? 200 : p->status, fine ? API_NDJSON : API_JSON, NULL);
        if (fine || k->begun)
            (void)buf_putc(&body, '\n'); /* an error alone is no line of a stream */
        api_piece(k->call, &body);
        api_end(k->call);
    }
    buf_done(&body);
}

/* ---- layers ---- */

bool create_add_layer(create *k, const char *kind, const char *digest, const char *from,
                      bool existing)
{
    if (k->n_layer == CREATE_MAX_LAYERS)
        return api_problem_set(&k->problem, 400, "more than %d layers", CREATE_MAX_LAYERS);
    create_layer *l = &k->layers[k->n_layer++];
    *l = (create_layer){.from = from, .existing = existing};
    (void)snprintf(l->kind, sizeof l->kind, "%s", kind);
    (void)snprintf(l->digest, sizeof l->digest, "%s", digest);
    return true;
}

static void drop_layers(create *k, const char *kind)
{
    size_t n = 0;
    for (size_t i = 0; i < k->n_layer; i++) {
        if (strcmp(k->layers[i].kind, kind) != 0)
            k->layers[n++] = k->layers[i];
    }
    k->n_layer = n;
}

static bool put_layer(create *k, const char *kind, const char *text, size_t n)
{
    char digest[STORE_DIGEST_BYTES];
    uint64_t size = 0;
    err_info err;
    cama_err e = store_hash_bytes(text, n, digest, &err);
    const bool existing =
        !e && store_blob_size(k->call->api->store, digest, &size, NULL) == CAMA_OK;
    if (!e && !existing)
        e = store_blob_put(k->call->api->store, text, n, digest, &err);
    return e ? api_problem_err(&k->problem, &err)
             : create_add_layer(k, kind, digest, NULL, existing);
}

/* ---- where the weights come from ---- */

static bool is_relative(const char *path)
{
    if (!*path || *path == '/')
        return false;
    for (const char *p = path; p;) {
        const char *end = strchr(p, '/');
        const size_t n = end ? (size_t)(end - p) : strlen(p);
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return n == 1 && strcmp(path, ".") == 0;
        p = end ? end + 1 : NULL;
    }
    return true;
}

static bool has_end(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

bool create_open_gguf(create *k, const char *digest, api_file **out)
{
    char path[4096];
    uint64_t size = 0;
    err_info err;
    if (store_blob_path(k->call->api->store, digest, path, sizeof path, &err))
        return api_problem_err(&k->problem, &err);
    if (store_blob_size(k->call->api->store, digest, &size, NULL))
        return api_problem_set(&k->problem, 500, "open %s: no such file or directory", path);
    const cama_err e = api_file_open(k->call->api, digest, path, out, &err);
    if (e == CAMA_ERR_FORMAT && size < 4)
        return api_problem_set(&k->problem, 400, "supplied file was not in GGUF format");
    if (e == CAMA_ERR_FORMAT && !create_is_gguf(path))
        return api_problem_set(&k->problem, 400, "supplied file was not in GGUF format");
    return e ? api_problem_err(&k->problem, &err) : true;
}

static bool take_files(create *k, const json_value *files)
{
    bool gguf = files->n > 0;
    bool tensors = false;
    bool other = false;
    for (size_t i = 0; i < files->n; i++) {
        const char *name = files->members[i].key;
        gguf = gguf && has_end(name, ".gguf");
        tensors = tensors || has_end(name, ".safetensors");
        other = other || has_end(name, ".gguf");
    }
    if (tensors && !other)
        return create_take_folder(k, files);
    if (!gguf)
        return api_problem_set(&k->problem, 400, "unknown type");
    say(k, "parsing GGUF");
    return create_take_ggufs(k, files);
}

static bool take_stub(create *k, const char *from)
{
    arena *mem = &k->call->request_arena;
    const char *end = strrchr(from, has_end(from, "-cloud") ? '-' : ':');
    const size_t n = end ? (size_t)(end - from) : strlen(from);
    static const char host[] = "https://ollama.com:443";
    json_value *stub = json_new_object(mem);
    k->base = stub;
    return (json_put(mem, stub, "remote_host", json_new_string(mem, host, sizeof host - 1)) &&
            json_put(mem, stub, "remote_model", json_new_string(mem, from, n))) ||
           api_problem_set(&k->problem, 507, "no memory for the config");
}

/* A file of the weights of the model that this one is made from. */
static bool take_weights(create *k, const char *digest, const char *from)
{
    api_file *file = NULL;
    if (!create_open_gguf(k, digest, &file) || !file) {
        if (k->problem.status == 400) { /* the store's fault, not the request's */
            const api_problem why = k->problem;
            return api_problem_set(&k->problem, 500, "file %s of '%s': %s", digest, from, why.text);
        }
        return false;
    }
    k->n_param += file->n_param;
    if (k->file)
        api_file_unref(file);
    else
        k->file = file;
    return true;
}

static bool take_model(create *k, const char *from)
{
    model_name name;
    bool cloud = false;
    store_model *base = arena_take(&k->call->request_arena, sizeof *base);
    char *shown = arena_take(&k->call->request_arena, NAME_BYTES);
    err_info err;
    if (!base || !shown)
        return api_problem_set(&k->problem, 507, "no memory for a manifest");
    if (!api_name_parse(from, &name, &cloud, &k->problem))
        return false;
    if (cloud)
        return take_stub(k, from);
    const cama_err e = store_find(k->call->api->store, &name, &k->call->request_arena, base, &err);
    if (e == CAMA_ERR_NOT_FOUND)
        return api_problem_set(&k->problem, 404,
                               "model '%s' not found (pulling is not supported by this version of "
                               "cama)",
                               from);
    if (e) {
        (void)api_problem_err(&k->problem, &err);
        k->problem.status = 500;
        return false;
    }
    name_format(&base->name, shown);
    k->base = base->config_json;
    for (size_t i = 0; i < base->n_layer; i++) {
        const store_layer *l = &base->layers[i];
        if (l->name || !*l->kind)
            return api_problem_set(&k->problem, 501,
                                   "'%s' has layers of type '%s', which this version of cama "
                                   "cannot copy",
                                   from, l->media_type);
        if (!create_add_layer(k, l->kind, l->digest, shown, true))
            return false;
        if (strcmp(l->kind, "model") == 0 && !take_weights(k, l->digest, shown))
            return false;
    }
    return true;
}

/* Nothing is quantized here yet; what Ollama would refuse is refused in its words. */
static bool check_quantize(create *k, const char *type)
{
    static const char *const targets[] = {"F32", "F16", "Q4_K_S", "Q4_K_M", "Q8_0", "Q4_K", "BF16"};
    char want[32] = "";
    if (!*type)
        return true;
    for (size_t i = 0; i < sizeof want - 1 && type[i]; i++)
        want[i] = (char)toupper((unsigned char)type[i]);
    bool known = false;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        known = known || strcmp(targets[i], want) == 0;
    const int have = k->file ? k->file->file_type : -1;
    if (!known)
        return api_problem_set(&k->problem, 500,
                               "unsupported quantization type %s - supported types are F32, F16, "
                               "Q4_K_S, Q4_K_M, Q8_0",
                               want);
    if (strcmp(api_file_type_name(have), want) == 0)
        return true;
    if (have != 0 && have != 1 && have != 32)
        return api_problem_set(&k->problem, 500,
                               "quantization is only supported for F16, BF16 and F32 models");
    return api_problem_set(&k->problem, 501, "quantizing is not supported by this version of cama");
}

/* ---- what the request changes ---- */

static bool take_license(create *k, const json_value *license)
{
    bool fine = true;
    if (license && license->kind == JSON_STRING && license->n)
        fine = put_layer(k, "license", license->text, license->n);
    for (size_t i = 0; license && license->kind == JSON_ARRAY && i < license->n && fine; i++) {
        if (license->items[i]->kind == JSON_STRING)
            fine = put_layer(k, "license", license->items[i]->text, license->items[i]->n);
    }
    return fine;
}

/* Those of the base stay unless the request has the same name. */
static bool take_parameters(create *k, const json_value *params)
{
    arena *mem = &k->call->request_arena;
    json_value *all = json_new_object(mem);
    const char *text = NULL;
    size_t n = 0;
    json_value *old = NULL;
    bool fine = all != NULL;
    if (!params || params->n == 0)
        return true;
    api_warn_strangers(&k->warnings, params, "PARAMETER");
    for (size_t i = 0; i < k->n_layer; i++) {
        if (strcmp(k->layers[i].kind, "params") == 0 &&
            store_blob_read(k->call->api->store, k->layers[i].digest, API_MAX_LAYER, mem, &text, &n,
                            NULL) == CAMA_OK &&
            json_parse(text, n, mem, &old, NULL))
            old = NULL; /* a broken layer is replaced */
    }
    for (size_t i = 0; old && old->kind == JSON_OBJECT && i < old->n; i++) {
        if (!json_get(params, old->members[i].key))
            fine = fine && json_put(mem, all, old->members[i].key, old->members[i].value);
    }
    for (size_t i = 0; i < params->n; i++)
        fine = fine && json_put(mem, all, params->members[i].key, params->members[i].value);
    buf body;
    buf_init(&body, API_MAX_LAYER);
    api_writer w = {.out = &body};
    api_put_sorted(&w, NULL, all);
    (void)buf_putc(&body, '\n');
    if (!fine || body.fail)
        fine = api_problem_set(&k->problem, 400, "the parameters are past the limit of %zu bytes",
                               API_MAX_LAYER);
    drop_layers(k, "params");
    fine = fine && put_layer(k, "params", body.data, body.n);
    buf_done(&body);
    return fine;
}

static bool take_messages(create *k, const json_value *messages)
{
    buf body;
    if (!messages || messages->n == 0)
        return true;
    buf_init(&body, API_MAX_LAYER);
    api_writer w = {.out = &body};
    api_open(&w, NULL, '[');
    for (size_t i = 0; i < messages->n; i++)
        api_put_message(&w, messages->items[i]);
    api_close(&w, ']');
    (void)buf_putc(&body, '\n');
    drop_layers(k, "messages");
    const bool fine =
        body.fail ? api_problem_set(&k->problem, 400,
                                    "the messages are past the limit of %zu bytes", API_MAX_LAYER)
                  : put_layer(k, "messages", body.data, body.n);
    buf_done(&body);
    return fine;
}

static bool take_template(create *k, const json_value *text)
{
    err_info err;
    if (!text || text->n == 0)
        return true;
    if (create_check_template(text->text, text->n, &err))
        return api_problem_set(&k->problem, 400, "template error: %s", err.text);
    drop_layers(k, "template");
    return put_layer(k, "template", text->text, text->n);
}

static bool take_changes(create *k, const api_values *v)
{
    if (!take_template(k, v->at[TEMPLATE]))
        return false;
    if (v->at[SYSTEM] && v->at[SYSTEM]->n) {
        drop_layers(k, "system");
        if (!put_layer(k, "system", v->at[SYSTEM]->text, v->at[SYSTEM]->n))
            return false;
    }
    return take_license(k, v->at[LICENSE]) && take_parameters(k, v->at[PARAMETERS]) &&
           take_messages(k, v->at[MESSAGES]);
}

static bool write_model(create *k, const model_name *name, const json_value *config)
{
    store_layer_def defs[CREATE_MAX_LAYERS];
    err_info err;
    for (size_t i = 0; i < k->n_layer; i++) {
        const create_layer *l = &k->layers[i];
        say(k, "%s %s", l->existing ? "using existing layer" : "creating new layer", l->digest);
        defs[i] = (store_layer_def){.kind = l->kind, .digest = l->digest, .from = l->from};
    }
    say(k, "writing manifest");
    if (store_write(k->call->api->store, name, config, defs, k->n_layer, false, &err)) {
        (void)api_problem_err(&k->problem, &err);
        k->problem.status = err.code == CAMA_ERR_FORMAT ? 500 : k->problem.status;
        return false;
    }
    return true;
}

static bool make(create *k, const api_values *v, const model_name *name)
{
    const char *from = api_text(v->at[FROM]);
    const char *quantize =
        v->at[QUANTIZE] ? api_text(v->at[QUANTIZE]) : api_text(v->at[QUANTIZATION]);
    if (*from ? !take_model(k, from)
        : v->at[FILES]
            ? !take_files(k, v->at[FILES])
            : !api_problem_set(&k->problem, 400, "neither 'from' or 'files' was specified"))
        return false;
    if (v->at[ADAPTERS] && v->at[ADAPTERS]->n)
        return api_problem_set(&k->problem, 501,
                               "adapters are not supported by this version of cama");
    if (v->at[DRAFT_FILES] && v->at[DRAFT_FILES]->n)
        return api_problem_set(&k->problem, 501,
                               "draft models are not supported by this version of cama");
    const create_config c = {.renderer = api_text(v->at[RENDERER]),
                             .parser = api_text(v->at[PARSER]),
                             .requires = api_text(v->at[REQUIRES]),
                             .info = v->at[INFO]};
    const json_value *config = create_make_config(k, &c);
    if (k->file && !wire_has_arch(k->file->arch))
        api_warn(&k->warnings, "architecture_unknown",
                 "this version of cama cannot run the architecture '%s': the model is kept, and "
                 "shown, and can be used by a program that knows it",
                 k->file->arch);
    return config && check_quantize(k, quantize) && take_changes(k, v) &&
           write_model(k, name, config);
}

/* What is wrong before anything is begun. */
static bool check_request(const api_values *v, model_name *name, api_problem *p)
{
    const json_value *files = v->at[FILES];
    const char *typed = *api_text(v->at[MODEL]) ? api_text(v->at[MODEL]) : api_text(v->at[NAME]);
    for (size_t i = 0; files && i < files->n; i++) {
        if (!is_relative(files->members[i].key))
            return api_problem_set(p, 400, "file path must be relative");
        if (!*api_text(files->members[i].value))
            return api_problem_set(p, 400, "invalid digest format");
    }
    if (!*typed || name_parse(typed, name, NULL))
        return api_problem_set(p, 400, "invalid model name");
    if (*api_text(v->at[DRAFT_QUANTIZE]) && !v->at[DRAFT_FILES])
        return api_problem_set(p, 400, "--draft-quantize requires a DRAFT model");
    return true;
}

void api_create(api_call *c)
{
    api_values v;
    api_problem p;
    model_name typed;
    model_name name;
    if (!api_read_body(c, &api_create_request, false, &v))
        return;
    if (!check_request(&v, &typed, &p)) {
        api_fail(c, p.status, "%s", p.text);
        return;
    }
    create *k = calloc(1, sizeof *k);
    if (!k) {
        api_fail(c, 507, "no memory to create a model");
        return;
    }
    k->call = c;
    buf_init(&k->warnings.list, API_MAX_LAYER);
    k->stream = api_bool(v.at[STREAM], true);
    err_info err;
    if (store_canonical(c->api->store, &typed, &name, &err))
        finish(k, api_problem_err(&k->problem, &err), &k->problem);
    else
        finish(k, make(k, &v, &name), &k->problem);
    api_file_unref(k->file);
    buf_done(&k->warnings.list);
    free(k);
}
