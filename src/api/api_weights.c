/* The files of a model's weights: which layers they are, in which order, what they say together,
 * and whose fault it is when one is missing or damaged.
 */
#include "api/api_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One file of the weights. */
typedef struct part {
    const store_layer *layer;
    const char *path;
    api_file *file; /* NULL: it cannot be read */
} part;

/* Shards in the order of their numbers; those that say none stay where the manifest has them. */
static void sort_shards(part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!parts[i].file || parts[i].file->split_count != n)
            return;
    }
    for (size_t i = 1; i < n; i++) {
        for (size_t k = i; k && parts[k].file->split_no < parts[k - 1].file->split_no; k--) {
            const part swapped = parts[k];
            parts[k] = parts[k - 1];
            parts[k - 1] = swapped;
        }
    }
}

/* What two models share only when all of their files are the same. */
static const char *make_key(arena *mem, const part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert(parts[i].layer);
    if (n == 1)
        return parts[0].layer->digest;
    char *key = arena_take(mem, n * STORE_DIGEST_BYTES);
    size_t at = 0;
    for (size_t i = 0; key && i < n; i++) {
        const size_t n_digest = strlen(parts[i].layer->digest);
        if (i)
            key[at++] = '+';
        memcpy(key + at, parts[i].layer->digest, n_digest);
        at += n_digest;
        key[at] = '\0';
    }
    return key;
}

static bool take_parts(arena *mem, api_model *m, part *parts, size_t n)
{
    m->files = arena_take_array(mem, n, sizeof *m->files);
    m->paths = arena_take_array(mem, n, sizeof *m->paths);
    m->key = make_key(mem, parts, n);
    if (!m->files || !m->paths || !m->key)
        return false;
    for (size_t i = 0; i < n; i++) {
        m->files[i] = parts[i].layer;
        m->paths[i] = parts[i].path;
        m->n_param += parts[i].file ? parts[i].file->n_param : 0;
    }
    m->n_path = n;
    m->weights = m->files[0];
    m->file = parts[0].file;
    parts[0].file = NULL;
    return true;
}

/* False: no memory. A path that is too long or a file that cannot be read is left for the one who
 * wants to run the model: listing must work. */
static bool find_parts(api *a, arena *mem, const api_model *m, part *parts)
{
    char path[4096];
    size_t n = 0;
    for (size_t i = 0; i < m->stored.n_layer; i++) {
        const store_layer *l = &m->stored.layers[i];
        if (strcmp(l->kind, "model") != 0)
            continue;
        if (store_blob_path(a->store, l->digest, path, sizeof path, NULL))
            path[0] = '\0';
        else
            (void)api_file_open(a, l->digest, path, &parts[n].file, NULL);
        parts[n].layer = l;
        parts[n].path = arena_copy(mem, path, strlen(path));
        if (!parts[n++].path)
            return false;
    }
    return true;
}

bool api_model_weights(api *a, arena *mem, api_model *m, api_problem *p)
{
    size_t n = 0;
    for (size_t i = 0; i < m->stored.n_layer; i++)
        n += strcmp(m->stored.layers[i].kind, "model") == 0;
    if (n == 0)
        return true;
    part *parts = calloc(n, sizeof *parts);
    bool fine = parts && find_parts(a, mem, m, parts);
    if (fine) {
        sort_shards(parts, n);
        fine = take_parts(mem, m, parts, n);
    }
    for (size_t i = 0; parts && i < n; i++)
        api_file_unref(parts[i].file);
    free(parts);
    if (!fine)
        return api_problem_set(p, 507, "no memory for the names of %zu files", n);
    if (m->file)
        m->caps |= m->file->caps;
    if (store_layer_of(&m->stored, "projector"))
        m->caps |= API_CAN_VISION;
    return true;
}

bool api_weights_check(api *a, const api_model *m, api_problem *p)
{
    for (size_t i = 0; i < m->n_path; i++) {
        api_file *f = NULL;
        err_info err;
        const cama_err e = api_file_open(a, m->files[i]->digest, m->paths[i], &f, &err);
        api_file_unref(f);
        if (e)
            return api_problem_file(p, m->shown, m->files[i]->digest, &err);
    }
    return true;
}

bool api_is_file_fault(cama_err e)
{
    return e == CAMA_ERR_FORMAT || e == CAMA_ERR_NOT_FOUND || e == CAMA_ERR_IO || e == CAMA_ERR_ARG;
}

bool api_problem_file(api_problem *p, const char *name, const char *digest, const err_info *err)
{
    if (!api_is_file_fault(err->code))
        return api_problem_err(p, err);
    return api_problem_set(p, 500, "file %s of '%s': %s", digest, name, err->text);
}

/* Runners differ by what was asked for, not by what came of it: the pool chooses after that. */
static const char *key_of(const api_model *m, const api_choice *c, arena *mem)
{
    if (!m->key || (!*c->engine && !*c->device))
        return m->key;
    const size_t n = strlen(m->key) + strlen(c->engine) + strlen(c->device) + 3;
    char *key = arena_take(mem, n);
    if (key)
        (void)snprintf(key, n, "%s|%s|%s", m->key, c->engine, c->device);
    return key;
}

bool api_is_key_of(const api_model *m, const char *key)
{
    const size_t n = m->key ? strlen(m->key) : 0;
    return n && strncmp(key, m->key, n) == 0 && (key[n] == '\0' || key[n] == '|');
}

void api_unload(api *a, const api_model *m, arena *mem)
{
    static const char *const engines[] = {"", "native", "mlx"};
    static const char *const devices[] = {"", "cpu", "gpu"};
    for (size_t i = 0; i < 9; i++) {
        const api_choice c = {engines[i / 3], devices[i % 3]};
        const char *key = key_of(m, &c, mem);
        if (key)
            (void)pool_unload(a->pool, key); /* not loaded: that is what was asked for */
    }
}

bool api_fill_pool_model(const api_model *m, const api_choice *choice, const char *details,
                         arena *mem, pool_model *out)
{
    *out = (pool_model){.key = key_of(m, choice, mem),
                        .name = m->shown,
                        .digest = m->stored.digest,
                        .paths = m->paths,
                        .n_path = m->n_path,
                        .engine = choice->engine,
                        .device = choice->device,
                        .details = details};
    return out->key != NULL;
}
