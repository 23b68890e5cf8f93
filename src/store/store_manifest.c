#include "store/store_manifest.h"

#include <stdio.h>
#include <string.h>

#include "base/ckd.h"

#define MEDIA_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"

/* ---- reading ---- */

/* NULL with CAMA_OK: absent or null. */
static cama_err text_of(const json_value *object, const char *key, const char *place,
                        const char **out, err_info *err)
{
    const json_value *v = json_get(object, key);
    *out = NULL;
    if (!v || v->kind == JSON_NULL)
        return CAMA_OK;
    if (v->kind != JSON_STRING)
        return err_set(err, CAMA_ERR_FORMAT, "%s.%s is no string", place, key);
    *out = v->text;
    return CAMA_OK;
}

static cama_err size_of(const json_value *object, const char *place, uint64_t *out, err_info *err)
{
    const json_value *v = json_get(object, "size");
    *out = 0;
    if (!v || v->kind == JSON_NULL)
        return CAMA_OK;
    if (v->kind != JSON_INT || v->integer < 0)
        return err_set(err, CAMA_ERR_FORMAT, "%s.size is no count of bytes", place);
    *out = (uint64_t)v->integer;
    return CAMA_OK;
}

static const char *kind_of(const char *media_type)
{
    const size_t n = strlen(STORE_MEDIA_PREFIX);
    if (strncmp(media_type, STORE_MEDIA_PREFIX, n) == 0)
        return media_type + n;
    return strcmp(media_type, STORE_MEDIA_CONFIG) == 0 ? "config" : "";
}

static cama_err set_digest(const char *text, const char *place, arena *a, store_layer *out,
                           err_info *err)
{
    char digest[STORE_DIGEST_BYTES];
    if (!text || digest_parse(text, digest, NULL))
        return err_set(err, CAMA_ERR_FORMAT, "%s.digest '%.80s' is no SHA-256", place,
                       text ? text : "");
    out->digest = arena_copy(a, digest, strlen(digest));
    return out->digest ? CAMA_OK : err_set(err, CAMA_ERR_NOMEM, "no memory for %s", place);
}

static cama_err parse_layer(const json_value *v, const char *place, arena *a, store_layer *out,
                            err_info *err)
{
    store_layer l = {.media_type = "", .kind = ""};
    const char *digest = NULL;
    const char *media_type = NULL;
    if (v->kind != JSON_OBJECT)
        return err_set(err, CAMA_ERR_FORMAT, "%s is no object", place);
    cama_err e = text_of(v, "mediaType", place, &media_type, err);
    if (!e)
        e = text_of(v, "digest", place, &digest, err);
    if (!e)
        e = text_of(v, "from", place, &l.from, err);
    if (!e)
        e = text_of(v, "name", place, &l.name, err);
    if (!e)
        e = size_of(v, place, &l.size, err);
    if (!e)
        e = set_digest(digest, place, a, &l, err);
    if (e)
        return e;
    if (media_type) {
        l.media_type = media_type;
        l.kind = kind_of(media_type);
    }
    *out = l;
    return CAMA_OK;
}

static cama_err add_size(store_model *m, uint64_t size, err_info *err)
{
    if (ckd_add(&m->size, m->size, size) || m->size > INT64_MAX)
        return err_set(err, CAMA_ERR_FORMAT, "the sizes of the layers add up past 2^63");
    return CAMA_OK;
}

static cama_err parse_layers(const json_value *v, arena *a, store_model *m, err_info *err)
{
    if (!v || v->kind == JSON_NULL || (v->kind == JSON_ARRAY && v->n == 0))
        return CAMA_OK;
    if (v->kind != JSON_ARRAY)
        return err_set(err, CAMA_ERR_FORMAT, "layers is no array");
    if (v->n > STORE_MAX_LAYERS)
        return err_set(err, CAMA_ERR_FORMAT, "there are %zu layers, allowed are %d", v->n,
                       STORE_MAX_LAYERS);
    store_layer *layers = arena_take_array(a, v->n, sizeof *layers);
    if (!layers)
        return err_set(err, CAMA_ERR_NOMEM, "no memory for %zu layers", v->n);
    for (size_t i = 0; i < v->n; i++) {
        char place[32];
        (void)snprintf(place, sizeof place, "layers[%zu]", i);
        cama_err e = parse_layer(v->items[i], place, a, &layers[i], err);
        if (!e)
            e = add_size(m, layers[i].size, err);
        if (e)
            return e;
    }
    m->layers = layers;
    m->n_layer = v->n;
    return CAMA_OK;
}

/* Ollama reads a manifest whose config has an empty digest as one without a config. */
static cama_err parse_config_entry(const json_value *v, arena *a, store_model *m, err_info *err)
{
    const json_value *digest = json_get(v, "digest");
    if (!v || v->kind == JSON_NULL ||
        (v->kind == JSON_OBJECT &&
         (!digest || digest->kind == JSON_NULL || (digest->kind == JSON_STRING && digest->n == 0))))
        return CAMA_OK;
    const cama_err e = parse_layer(v, "config", a, &m->config, err);
    if (e)
        return e;
    m->config.kind = "config";
    return add_size(m, m->config.size, err);
}

cama_err store_manifest_parse(const char *text, size_t n, arena *a, store_model *out, err_info *err)
{
    json_value *root;
    cama_err e = json_parse(text, n, a, &root, err);
    if (e)
        return e;
    if (root->kind != JSON_OBJECT)
        return err_set(err, CAMA_ERR_FORMAT, "the manifest is no JSON object");
    if (json_get(root, "manifests")) /* of newer Ollamas, for several engines */
        return err_set(err, CAMA_ERR_UNSUPPORTED,
                       "a list of manifests, which this version of cama cannot read");
    store_model m = *out;
    m.layers = NULL;
    m.n_layer = 0;
    m.size = 0;
    m.config = (store_layer){.media_type = "", .kind = "config"};
    e = parse_config_entry(json_get(root, "config"), a, &m, err);
    if (!e)
        e = parse_layers(json_get(root, "layers"), a, &m, err);
    if (!e)
        *out = m;
    return e;
}

const store_layer *store_layer_of(const store_model *m, const char *kind)
{
    for (size_t i = 0; i < m->n_layer; i++)
        if (strcmp(m->layers[i].kind, kind) == 0)
            return &m->layers[i];
    return NULL;
}

/* ---- the fields of a config ---- */

/* Ollama's ConfigV2, in its order: the digest of the config hangs on it. `always` fields are
 * written when they are empty too. */
static const struct config_field {
    const char *key;
    json_kind kind;
    bool always;
    const char *fixed; /* the same in every config, or NULL */
} config_fields[] = {
    {"model_format", JSON_STRING, true, NULL},   {"model_family", JSON_STRING, true, NULL},
    {"model_families", JSON_ARRAY, true, NULL},  {"model_type", JSON_STRING, true, NULL},
    {"file_type", JSON_STRING, true, NULL},      {"renderer", JSON_STRING, false, NULL},
    {"parser", JSON_STRING, false, NULL},        {"requires", JSON_STRING, false, NULL},
    {"remote_host", JSON_STRING, false, NULL},   {"remote_model", JSON_STRING, false, NULL},
    {"capabilities", JSON_ARRAY, false, NULL},   {"context_length", JSON_INT, false, NULL},
    {"embedding_length", JSON_INT, false, NULL}, {"base_name", JSON_STRING, false, NULL},
    {"draft", JSON_OBJECT, false, NULL},         {"architecture", JSON_STRING, true, "amd64"},
    {"os", JSON_STRING, true, "linux"},
};

#define N_CONFIG_FIELD (sizeof config_fields / sizeof config_fields[0])

static const char *kind_name(json_kind kind)
{
    switch (kind) {
    case JSON_STRING:
        return "string";
    case JSON_INT:
        return "whole number";
    case JSON_ARRAY:
        return "list of strings";
    default:
        return "object";
    }
}

static bool has_kind(const json_value *v, json_kind kind)
{
    if (!v || v->kind == JSON_NULL)
        return true;
    if (v->kind != kind)
        return false;
    for (size_t i = 0; kind == JSON_ARRAY && i < v->n; i++)
        if (v->items[i]->kind != JSON_STRING)
            return false;
    return true;
}

static cama_err check_fields(const json_value *config, cama_err code, err_info *err)
{
    for (size_t i = 0; i < N_CONFIG_FIELD; i++) {
        const struct config_field *f = &config_fields[i];
        if (!has_kind(json_get(config, f->key), f->kind))
            return err_set(err, code, "%s is no %s", f->key, kind_name(f->kind));
    }
    return CAMA_OK;
}

cama_err store_config_parse(const char *text, size_t n, arena *a, const json_value **out,
                            err_info *err)
{
    json_value *root;
    cama_err e = json_parse(text, n, a, &root, err);
    if (e)
        return e;
    if (root->kind != JSON_OBJECT)
        return err_set(err, CAMA_ERR_FORMAT, "the config is no JSON object");
    e = check_fields(root, CAMA_ERR_FORMAT, err);
    if (!e)
        *out = root;
    return e;
}

/* ---- writing ---- */

static bool is_empty(const json_value *v)
{
    if (!v || v->kind == JSON_NULL)
        return true;
    if (v->kind == JSON_INT)
        return v->integer == 0;
    return v->kind != JSON_OBJECT && v->n == 0;
}

static void put_field(const struct config_field *f, const json_value *v, buf *out)
{
    if (f->fixed)
        (void)buf_printf(out, "\"%s\":\"%s\",", f->key, f->fixed);
    else if (!is_empty(v) || (v && v->kind == JSON_ARRAY && f->always)) {
        (void)buf_printf(out, "\"%s\":", f->key);
        (void)store_json_write(v, false, out); /* failures of buf stick: looked at in the end */
        (void)buf_putc(out, ',');
    } else if (f->always)
        (void)buf_printf(out, "\"%s\":%s,", f->key, f->kind == JSON_STRING ? "\"\"" : "null");
}

cama_err store_config_encode(const json_value *config, buf *out, err_info *err)
{
    if (!config || config->kind != JSON_OBJECT)
        return err_set(err, CAMA_ERR_ARG, "the config of a model is no JSON object");
    const cama_err e = check_fields(config, CAMA_ERR_ARG, err);
    if (e)
        return e;
    (void)buf_putc(out, '{');
    for (size_t i = 0; i < N_CONFIG_FIELD; i++)
        put_field(&config_fields[i], json_get(config, config_fields[i].key), out);
    if (!buf_error(out, "the config of a model", err))
        out->n--; /* the last comma */
    (void)buf_puts(out, "}\n");
    return buf_error(out, "the config of a model", err);
}

static void put_text(const char *key, const char *text, buf *out)
{
    (void)buf_printf(out, "\"%s\":", key);
    (void)store_json_write_string(text, strlen(text), out);
}

static void put_layer(const store_layer *l, buf *out)
{
    (void)buf_putc(out, '{');
    put_text("mediaType", l->media_type, out);
    (void)buf_printf(out, ",\"digest\":\"%s\",\"size\":%llu", l->digest,
                     (unsigned long long)l->size);
    if (l->from && *l->from) {
        (void)buf_putc(out, ',');
        put_text("from", l->from, out);
    }
    if (l->name && *l->name) {
        (void)buf_putc(out, ',');
        put_text("name", l->name, out);
    }
    (void)buf_putc(out, '}');
}

cama_err store_manifest_encode(const store_layer *config, const store_layer *layers, size_t n_layer,
                               buf *out, err_info *err)
{
    (void)buf_puts(out, "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_MANIFEST "\",\"config\":");
    put_layer(config, out);
    (void)buf_puts(out, ",\"layers\":");
    if (n_layer == 0)
        (void)buf_puts(out, "null");
    for (size_t i = 0; i < n_layer; i++) {
        (void)buf_putc(out, i ? ',' : '[');
        put_layer(&layers[i], out);
    }
    (void)buf_puts(out, n_layer ? "]}\n" : "}\n");
    return buf_error(out, "a manifest", err);
}
