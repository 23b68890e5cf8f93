/* Manifests written, copied and removed, and the blobs that nobody needs any more after it. */
#include "store/store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_manifest.h"
#include "store/store_refs.h"
#include "store/store_walk.h"

#define MAX_ARENA ((size_t)256 << 20) /* the manifests of one change */

/* ---- what a change leaves unused ---- */

/* The manifest that a change replaces or removes. One that is not there or cannot be read
 * (*out_known is false) has no blobs that we know of: prune finds them. */
static cama_err read_old(const store *s, const model_name *name, arena *a, store_model *out,
                         bool *out_known, err_info *err)
{
    err_info why = {0};
    char path[STORE_PATH_BYTES];
    cama_err e = store_path_manifest_read(s, name, path, &why);
    if (!e)
        e = store_read_manifest(path, name, a, out, &why);
    *out_known = e == CAMA_OK;
    return e == CAMA_ERR_NOMEM ? err_set(err, e, "%s", why.text) : CAMA_OK;
}

static cama_err remove_if_unused(store *s, const store_refs *refs, const char *digest,
                                 err_info *err)
{
    char path[STORE_PATH_BYTES];
    if (!digest || store_refs_has(refs, digest))
        return CAMA_OK;
    store_path_blob(s, digest, path);
    return store_file_remove(path, err);
}

/* After the manifest has gone or changed. Where another manifest cannot be read nothing is removed:
 * it may be the one that needs the blob. The first failure is given, the rest is removed all the
 * same. */
static cama_err remove_unused(store *s, const store_model *old, err_info *err)
{
    store_refs refs;
    bool complete;
    cama_err first = store_refs_init(&refs, s, &complete, err);
    if (first)
        return first;
    if (complete) {
        first = remove_if_unused(s, &refs, old->digest, err); /* in manifests-v2 it is a blob */
        cama_err e = remove_if_unused(s, &refs, old->config.digest, first ? NULL : err);
        first = first ? first : e;
        for (size_t i = 0; i < old->n_layer; i++) {
            e = remove_if_unused(s, &refs, old->layers[i].digest, first ? NULL : err);
            first = first ? first : e;
        }
    }
    store_refs_done(&refs);
    return first;
}

/* ---- writing ---- */

static cama_err write_manifest(store *s, const model_name *name, const char *text, size_t n,
                               err_info *err)
{
    char path[STORE_PATH_BYTES];
    char hiding[STORE_PATH_BYTES];
    store_temp t;
    store_path_manifest(s, name, path);
    store_path_manifest_v2(s, name, hiding);
    cama_err e = store_temp_open(s->manifests, STORE_MANIFEST_TEMP, &t, err);
    if (e)
        return e;
    e = store_temp_write(&t, text, n, err);
    if (e)
        store_temp_drop(&t);
    else
        e = store_temp_commit(&t, path, err);
    return e ? e : store_file_remove(hiding, err); /* now the new one is seen */
}

typedef struct write_job {
    store *s;
    const model_name *name;
    const store_layer_def *defs;
    size_t n_layer;
    bool keep_unused;
    store_layer config;
    char config_digest[STORE_DIGEST_BYTES];
    store_layer *layers;
    arena job_arena;
} write_job;

static cama_err put_config(write_job *j, const json_value *config, err_info *err)
{
    buf b;
    buf_init(&b, STORE_MAX_CONFIG);
    cama_err e = store_config_encode(config, &b, err);
    if (!e)
        e = store_blob_put(j->s, b.data, b.n, j->config_digest, err);
    j->config =
        (store_layer){.media_type = STORE_MEDIA_CONFIG, .digest = j->config_digest, .size = b.n};
    buf_done(&b);
    return e;
}

static cama_err fill_layer(write_job *j, const store_layer_def *def, store_layer *out,
                           err_info *err)
{
    char digest[STORE_DIGEST_BYTES];
    const cama_err e = digest_parse(def->digest, digest, err);
    if (e)
        return e;
    const size_t n = strlen(def->kind);
    const bool whole = strchr(def->kind, '/') != NULL; /* a media type of its own */
    const size_t n_prefix = whole ? 0 : strlen(STORE_MEDIA_PREFIX);
    char *media_type = arena_take(&j->job_arena, n_prefix + n + 1);
    out->digest = arena_copy(&j->job_arena, digest, strlen(digest));
    if (!media_type || !out->digest)
        return err_set(err, CAMA_ERR_NOMEM, "store: no memory for %zu layers", j->n_layer);
    memcpy(media_type, STORE_MEDIA_PREFIX, n_prefix);
    memcpy(media_type + n_prefix, def->kind, n + 1);
    out->media_type = media_type;
    out->kind = def->kind;
    out->from = def->from;
    out->name = def->name;
    return CAMA_OK;
}

static cama_err fill_layers(write_job *j, err_info *err)
{
    if (j->n_layer > STORE_MAX_LAYERS)
        return err_set(err, CAMA_ERR_LIMIT, "store: a model of %zu layers, allowed are %d",
                       j->n_layer, STORE_MAX_LAYERS);
    j->layers = arena_take_array(&j->job_arena, j->n_layer, sizeof *j->layers);
    if (!j->layers)
        return err_set(err, CAMA_ERR_NOMEM, "store: no memory for %zu layers", j->n_layer);
    cama_err e = CAMA_OK;
    for (size_t i = 0; i < j->n_layer && !e; i++)
        e = fill_layer(j, &j->defs[i], &j->layers[i], err);
    return e;
}

/* A blob that nobody names yet may be old: as young as if just written, no program that starts now
 * prunes it before the manifest is there. Of a link the link alone is touched. */
static cama_err check_blob(const store *s, const char *digest, uint64_t *out_size, err_info *err)
{
    char path[STORE_PATH_BYTES];
    store_path_blob(s, digest, path);
    (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW); /* another's file: it stays old */
    return store_blob_stat(s, digest, out_size, err);
}

/* Under the lock, so that nobody here removes a blob between this look and the manifest. */
static cama_err check_blobs(write_job *j, err_info *err)
{
    uint64_t config_size;
    cama_err e = check_blob(j->s, j->config.digest, &config_size, err);
    for (size_t i = 0; i < j->n_layer && !e; i++)
        e = check_blob(j->s, j->layers[i].digest, &j->layers[i].size, err);
    return e;
}

static cama_err write_locked(write_job *j, err_info *err)
{
    model_name name;
    store_model old;
    buf b;
    cama_err e = check_blobs(j, err);
    if (!e)
        e = store_canonical(j->s, j->name, &name, err);
    bool replaces = false;
    if (!e && !j->keep_unused)
        e = read_old(j->s, &name, &j->job_arena, &old, &replaces, err);
    if (e)
        return e;
    buf_init(&b, STORE_MAX_MANIFEST);
    e = store_manifest_encode(&j->config, j->layers, j->n_layer, &b, err);
    if (!e)
        e = write_manifest(j->s, &name, b.data, b.n, err);
    buf_done(&b);
    if (!e && replaces)
        (void)remove_unused(j->s, &old, NULL); /* the model is written; prune finds what is left */
    return e;
}

cama_err store_write(store *s, const model_name *name, const json_value *config,
                     const store_layer_def *layers, size_t n_layer, bool keep_unused, err_info *err)
{
    write_job j = {
        .s = s, .name = name, .defs = layers, .n_layer = n_layer, .keep_unused = keep_unused};
    arena_init(&j.job_arena, MAX_ARENA);
    cama_err e = fill_layers(&j, err);
    if (!e)
        e = put_config(&j, config, err);
    if (!e) {
        (void)pthread_mutex_lock(&s->write_lock);
        e = write_locked(&j, err);
        (void)pthread_mutex_unlock(&s->write_lock);
    }
    arena_done(&j.job_arena);
    return e;
}

/* ---- copying ---- */

static cama_err copy_locked(store *s, const model_name *from, const model_name *to, arena *a,
                            err_info *err)
{
    model_name source;
    model_name target;
    store_model m;
    store_model old;
    bool replaces = false;
    char path[STORE_PATH_BYTES];
    store_text got = {0};
    cama_err e = store_lookup(s, from, &source, err);
    if (!e)
        e = store_canonical(s, to, &target, err);
    if (e || name_compare(&source, &target) == 0)
        return e;
    e = store_path_manifest_read(s, &source, path, err);
    if (!e)
        e = store_read_manifest(path, &source, a, &m, err);
    if (!e)
        e = store_file_read(path, STORE_MAX_MANIFEST, a, &got, err);
    if (!e)
        e = read_old(s, &target, a, &old, &replaces, err);
    if (!e)
        e = write_manifest(s, &target, got.text, got.n, err);
    if (!e && replaces)
        (void)remove_unused(s, &old, NULL); /* the copy is written; prune finds what is left */
    return e;
}

cama_err store_copy(store *s, const model_name *from, const model_name *to, err_info *err)
{
    arena copy_arena;
    arena_init(&copy_arena, MAX_ARENA);
    (void)pthread_mutex_lock(&s->write_lock);
    const cama_err e = copy_locked(s, from, to, &copy_arena, err);
    (void)pthread_mutex_unlock(&s->write_lock);
    arena_done(&copy_arena);
    return e;
}

/* ---- removing ---- */

/* The folders above a manifest, as far as they are empty now, but not top. */
static void remove_folders_above(const char *top, char *path)
{
    const size_t n_top = strlen(top);
    for (;;) {
        char *slash = strrchr(path, '/');
        *slash = '\0';
        if (strlen(path) <= n_top || rmdir(path) != 0)
            return; /* most often: not empty */
    }
}

static cama_err remove_manifest(const char *top, char *path, err_info *err)
{
    const cama_err e = store_file_remove(path, err);
    if (!e)
        remove_folders_above(top, path);
    return e;
}

static cama_err remove_locked(store *s, const model_name *name, arena *a, err_info *err)
{
    model_name found;
    store_model old;
    char path[STORE_PATH_BYTES];
    cama_err e = store_lookup(s, name, &found, err);
    bool known = false;
    if (!e)
        e = read_old(s, &found, a, &old, &known, err);
    if (e)
        return e;
    /* first the one that may be hidden, so that it is never seen */
    store_path_manifest(s, &found, path);
    e = remove_manifest(s->manifests, path, err);
    store_path_manifest_v2(s, &found, path);
    if (!e)
        e = remove_manifest(s->manifests_v2, path, err);
    if (e)
        return e;
    if (known)
        e = remove_unused(s, &old, err);
    return e ? err_wrap(err, e, "the model is removed, its blobs are not") : CAMA_OK;
}

cama_err store_remove(store *s, const model_name *name, err_info *err)
{
    arena remove_arena;
    arena_init(&remove_arena, MAX_ARENA);
    (void)pthread_mutex_lock(&s->write_lock);
    const cama_err e = remove_locked(s, name, &remove_arena, err);
    (void)pthread_mutex_unlock(&s->write_lock);
    arena_done(&remove_arena);
    return e;
}
