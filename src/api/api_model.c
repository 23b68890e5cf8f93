/* A name in a request -> manifest, layers, file, and what the model can do. */
#include "api/api_int.h"

#include <stdio.h>
#include <string.h>

#include "chat/gotmpl.h"

bool api_problem_set(api_problem *p, int status, const char *fmt, ...)
{
    err_info text;
    va_list args;
    va_start(args, fmt);
    (void)err_vset(&text, CAMA_ERR_ARG, fmt, args);
    va_end(args);
    p->status = status;
    memcpy(p->text, text.text, sizeof p->text);
    return false;
}

bool api_problem_err(api_problem *p, const err_info *err)
{
    return api_problem_set(p, cama_err_status(err->code), "%s", err->text);
}

static bool cut_suffix(char *text, const char *suffix)
{
    const size_t n = strlen(text);
    const size_t n_suffix = strlen(suffix);
    if (n < n_suffix || strcmp(text + n - n_suffix, suffix) != 0)
        return false;
    text[n - n_suffix] = '\0';
    return true;
}

bool api_name_parse(const char *text, model_name *out, bool *out_cloud, api_problem *p)
{
    char base[NAME_BYTES + 64];
    const size_t n = strlen(text);
    if (n >= sizeof base)
        return api_problem_set(p, 400, "invalid model name");
    memcpy(base, text, n + 1);
    const bool local = cut_suffix(base, ":local");
    *out_cloud = cut_suffix(base, ":cloud") || cut_suffix(base, "-cloud");
    if (*out_cloud && (local || cut_suffix(base, ":local")))
        return api_problem_set(p, 400, "use either :local or :cloud, not both: \"%s\"", text);
    if (name_parse(base, out, NULL))
        return api_problem_set(p, 400, "invalid model name");
    return true;
}

const char *api_config_str(const api_model *m, const char *key)
{
    return api_text(json_get(m->stored.config_json, key));
}

static uint32_t config_caps(const api_model *m)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } names[] = {{"completion", API_CAN_COMPLETE}, {"embedding", API_CAN_EMBED},
                 {"vision", API_CAN_VISION},       {"audio", API_CAN_AUDIO},
                 {"tools", API_CAN_TOOLS},         {"insert", API_CAN_INSERT},
                 {"thinking", API_CAN_THINK}};
    const json_value *list = json_get(m->stored.config_json, "capabilities");
    uint32_t caps = 0;
    for (size_t i = 0; list && list->kind == JSON_ARRAY && i < list->n; i++) {
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            if (strcmp(api_text(list->items[i]), names[k].name) == 0)
                caps |= names[k].bit;
        }
    }
    return caps;
}

void api_put_capabilities(api_writer *w, const api_model *m)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } names[] = {{"completion", API_CAN_COMPLETE}, {"embedding", API_CAN_EMBED},
                 {"vision", API_CAN_VISION},       {"audio", API_CAN_AUDIO},
                 {"tools", API_CAN_TOOLS},         {"insert", API_CAN_INSERT},
                 {"thinking", API_CAN_THINK}};
    if (!m->caps)
        return;
    api_open(w, "capabilities", '[');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (m->caps & names[i].bit)
            api_put_str(w, NULL, names[i].name);
    }
    api_close(w, ']');
}

static uint32_t go_caps(const char *source, size_t n)
{
    gotmpl *t = NULL;
    if (gotmpl_open(source, n, &t, NULL))
        return 0; /* whoever renders it gets the error */
    uint32_t caps = 0;
    if (gotmpl_uses(t, "tools"))
        caps |= API_CAN_TOOLS;
    if (gotmpl_uses(t, "suffix"))
        caps |= API_CAN_INSERT;
    if (gotmpl_uses(t, "thinking"))
        caps |= API_CAN_THINK;
    gotmpl_close(t);
    return caps;
}

/* The TEMPLATE layer runs unless the file's own template can strictly more (Ollama's rule). */
static void choose_template(api_model *m)
{
    const uint32_t both = API_CAN_TOOLS | API_CAN_THINK;
    const uint32_t jinja = m->file ? m->file->jinja_caps & both : 0;
    m->go_template = m->template_text != NULL;
    if (!m->go_template) {
        m->caps |= jinja;
        return;
    }
    const uint32_t go = go_caps(m->template_text, m->n_template);
    m->go_template = !((jinja & go) == (go & both) && jinja != (go & both));
    m->caps |= m->go_template ? go : (go | jinja);
}

/* NULL: no such layer. */
static bool read_layer(api *a, arena *mem, const api_model *m, const char *kind, const char **text,
                       size_t *n, api_problem *p)
{
    err_info err;
    const store_layer *l = store_layer_of(&m->stored, kind);
    *text = NULL;
    *n = 0;
    if (!l)
        return true;
    if (store_blob_read(a->store, l->digest, API_MAX_LAYER, mem, text, n, &err))
        return api_problem_err(p, &err);
    return true;
}

static bool read_json_layer(api *a, arena *mem, const api_model *m, const char *kind,
                            const json_value **out, api_problem *p)
{
    const char *text;
    size_t n;
    json_value *v = NULL;
    err_info err;
    if (!read_layer(a, mem, m, kind, &text, &n, p))
        return false;
    if (text && json_parse(text, n, mem, &v, &err))
        return api_problem_set(p, 500, "layer '%s' of '%s': %s", kind, m->shown, err.text);
    *out = v;
    return true;
}

/* null is as good as no layer. */
static bool is_or_null(const json_value **v, json_kind kind)
{
    if (*v && (*v)->kind == JSON_NULL)
        *v = NULL;
    return !*v || (*v)->kind == kind;
}

bool api_model_layers(api *a, arena *mem, api_model *m, api_problem *p)
{
    size_t n = 0;
    if (!read_layer(a, mem, m, "template", &m->template_text, &m->n_template, p))
        return false;
    if (!m->template_text && !read_layer(a, mem, m, "prompt", &m->template_text, &m->n_template, p))
        return false;
    if (!read_layer(a, mem, m, "system", &m->system, &n, p) ||
        !read_json_layer(a, mem, m, "params", &m->params, p) ||
        !read_json_layer(a, mem, m, "messages", &m->messages, p))
        return false;
    if (!is_or_null(&m->params, JSON_OBJECT))
        return api_problem_set(p, 500, "layer 'params' of '%s' is no object", m->shown);
    if (!is_or_null(&m->messages, JSON_ARRAY))
        return api_problem_set(p, 500, "layer 'messages' of '%s' is no list", m->shown);
    choose_template(m);
    return true;
}

bool api_model_of(api *a, const store_model *stored, arena *mem, api_model *out, api_problem *p)
{
    *out = (api_model){.stored = *stored, .name = stored->name};
    name_format(&out->name, out->shown);
    name_format_full(&out->name, out->full);
    out->caps |= config_caps(out);
    if (!api_model_weights(a, mem, out, p) || !api_model_layers(a, mem, out, p)) {
        api_model_close(out);
        return false;
    }
    return true;
}

static bool missing_model(const char *typed, const model_name *name, api_missing missing,
                          api_problem *p)
{
    char shown[NAME_BYTES];
    name_format(name, shown);
    if (missing == API_MISSING_PULL)
        return api_problem_set(p, 404, "model \"%s\" not found, try pulling it first", typed);
    return api_problem_set(p, 404, "model '%s' not found",
                           missing == API_MISSING_TAG ? shown : typed);
}

bool api_model_open(api *a, const char *typed, api_missing missing, arena *mem, api_model *out,
                    api_problem *p)
{
    model_name name;
    bool cloud = false;
    store_model stored;
    err_info err;
    *out = (api_model){.typed = typed};
    if (!*typed)
        return api_problem_set(p, 404, "model '' not found");
    if (!api_name_parse(typed, &name, &cloud, p))
        return false;
    if (cloud)
        return api_problem_set(p, 403, "ollama cloud is disabled: remote model %s unavailable",
                               missing == API_MISSING_TAG ? "details are" : "is");
    const cama_err e = store_find(a->store, &name, mem, &stored, &err);
    if (e == CAMA_ERR_NOT_FOUND)
        return missing_model(typed, &name, missing, p);
    if (e) {
        (void)api_problem_err(p, &err);
        p->status =
            e == CAMA_ERR_FORMAT ? 500 : p->status; /* the store is corrupt, not the request */
        return false;
    }
    if (!api_model_of(a, &stored, mem, out, p))
        return false;
    out->typed = typed;
    return true;
}

void api_model_close(api_model *m)
{
    api_file_unref(m->file);
    m->file = NULL;
}

void api_put_details(api_writer *w, const char *key, const api_model *m, bool sizes)
{
    const json_value *families = json_get(m->stored.config_json, "model_families");
    api_open(w, key, '{');
    api_put_str(w, "parent_model", m->weights && m->weights->from ? m->weights->from : "");
    api_put_str(w, "format", api_config_str(m, "model_format"));
    api_put_str(w, "family", api_config_str(m, "model_family"));
    api_put_json(w, "families", families);
    api_put_str(w, "parameter_size", api_config_str(m, "model_type"));
    api_put_str(w, "quantization_level", api_config_str(m, "file_type"));
    int64_t n_ctx = api_int(json_get(m->stored.config_json, "context_length"), 0);
    int64_t n_embd = api_int(json_get(m->stored.config_json, "embedding_length"), 0);
    if (n_ctx == 0 && m->file)
        n_ctx = (int64_t)m->file->n_ctx_train;
    if (n_embd == 0 && m->file)
        n_embd = (int64_t)m->file->n_embd;
    if (sizes && n_ctx)
        api_put_int(w, "context_length", n_ctx);
    if (sizes && n_embd)
        api_put_int(w, "embedding_length", n_embd);
    api_close(w, '}');
}
