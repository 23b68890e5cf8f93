/* The config blob of a model that is being created. */
#include "api/api_create.h"

#include <stdio.h>
#include <string.h>

#include "chat/gotmpl.h"

/* One field of the config: from `info`, else from what is known, else from the base. */
typedef struct config_row {
    const char *key;
    const char *info; /* its name in the request's info; NULL: none */
    json_kind kind;
    bool always; /* written even when it is empty */
} config_row;

static const config_row rows[] = {{"model_format", NULL, JSON_STRING, true},
                                  {"model_family", "model_family", JSON_STRING, true},
                                  {"model_families", NULL, JSON_ARRAY, true},
                                  {"model_type", "parameter_size", JSON_STRING, true},
                                  {"file_type", "quantization_level", JSON_STRING, true},
                                  {"renderer", NULL, JSON_STRING, false},
                                  {"parser", NULL, JSON_STRING, false},
                                  {"requires", NULL, JSON_STRING, false},
                                  {"remote_host", NULL, JSON_STRING, false},
                                  {"remote_model", NULL, JSON_STRING, false},
                                  {"capabilities", "capabilities", JSON_ARRAY, false},
                                  {"context_length", "context_length", JSON_INT, false},
                                  {"embedding_length", "embedding_length", JSON_INT, false},
                                  {"base_name", "base_name", JSON_STRING, false},
                                  {"draft", NULL, JSON_OBJECT, false}};

static json_value *text_value(arena *mem, const char *text)
{
    return json_new_string(mem, text, strlen(text));
}

/* What the file says; NULL: nothing. */
static const json_value *known(create *k, const char *key)
{
    arena *mem = &k->call->request_arena;
    char size[32];
    if (!k->file)
        return NULL;
    if (strcmp(key, "model_format") == 0)
        return text_value(mem, "gguf");
    if (strcmp(key, "model_family") == 0)
        return text_value(mem, k->file->arch);
    if (strcmp(key, "model_families") == 0) {
        json_value *list = json_new_array(mem);
        (void)json_append(mem, list, text_value(mem, k->file->arch)); /* NULL shows later */
        return list;
    }
    if (strcmp(key, "model_type") == 0) {
        api_size_name(k->n_param, size);
        return text_value(mem, size);
    }
    if (strcmp(key, "file_type") == 0)
        return text_value(mem, api_file_type_name(k->file->file_type));
    return NULL;
}

static const json_value *said(create *k, const create_config *c, const char *key)
{
    arena *mem = &k->call->request_arena;
    const char *text = strcmp(key, "renderer") == 0 ? c->renderer
                       : strcmp(key, "parser") == 0 ? c->parser
                                                    : strcmp(key, "requires") == 0
                           ? c->
                                 requires
                           : "";
    return *text ? text_value(mem, text) : NULL;
}

static const char *kind_words(json_kind kind)
{
    return kind == JSON_ARRAY ? "an array of strings" : kind == JSON_INT ? "a number" : "a string";
}

/* The value of a row in *out, NULL when there is none. */
static bool find_value(create *k, const create_config *c, const config_row *row,
                       const json_value **out)
{
    const json_value *v = row->info ? json_get(c->info, row->info) : NULL;
    if (v && v->kind != row->kind && v->kind != JSON_NULL &&
        !(row->kind == JSON_INT && v->kind == JSON_FLOAT))
        return api_problem_set(&k->problem, 400, "info field \"%s\" must be %s", row->info,
                               kind_words(row->kind));
    if (v && v->kind == JSON_FLOAT)
        v = json_new_int(&k->call->request_arena, (int64_t)v->number);
    if (!v || v->kind == JSON_NULL)
        v = said(k, c, row->key);
    if (!v)
        v = json_get(k->base, row->key);
    if (!v || v->kind == JSON_NULL)
        v = known(k, row->key);
    *out = v;
    return true;
}

const json_value *create_make_config(create *k, const create_config *c)
{
    arena *mem = &k->call->request_arena;
    json_value *config = json_new_object(mem);
    bool fine = config != NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && fine; i++) {
        const json_value *v = NULL;
        if (!find_value(k, c, &rows[i], &v))
            return NULL;
        if (!v && rows[i].always)
            v = rows[i].kind == JSON_ARRAY ? json_new_null(mem) : text_value(mem, "");
        else if (!v)
            continue;
        fine = v && json_put(mem, config, rows[i].key,
                             (json_value *)(uintptr_t)v); /* shared: nobody changes it */
    }
    if (fine)
        return config;
    (void)api_problem_set(&k->problem, 507, "no memory for the config");
    return NULL;
}

bool create_is_gguf(const char *path)
{
    char magic[4] = {0};
    FILE *f = fopen(path, "rb");
    const bool is = f && fread(magic, 1, sizeof magic, f) == sizeof magic &&
                    memcmp(magic, "GGUF", sizeof magic) == 0;
    if (f)
        (void)fclose(f); /* only read */
    return is;
}

cama_err create_check_template(const char *text, size_t n, err_info *err)
{
    gotmpl *t = NULL;
    const cama_err e = gotmpl_open(text, n, &t, err);
    gotmpl_close(t);
    return e;
}
