#include "store/store_refs.h"

#include <string.h>

#include "store/store_walk.h"

#define MAX_REFS_ARENA ((size_t)1 << 30) /* for a store of 100,000 models */

static void note_bad(void *user, const char *text)
{
    store_refs *r = user;
    if (r->complete)
        (void)err_set(r->why, CAMA_ERR_FORMAT, "%s", text);
    r->complete = false;
}

static cama_err add_digest(store_refs *r, const char *digest)
{
    bool found;
    char *key = digest ? arena_copy(&r->refs_arena, digest, strlen(digest)) : NULL;
    if (!digest)
        return CAMA_OK;
    return key ? strmap_add(&r->digests, key, strlen(key), 1, &found) : CAMA_ERR_NOMEM;
}

static cama_err add_all(store_refs *r, const store_model *m)
{
    cama_err e = add_digest(r, m->digest); /* a manifest in manifests-v2 is a blob itself */
    if (!e)
        e = add_digest(r, m->config.digest);
    for (size_t i = 0; i < m->n_layer && !e; i++)
        e = add_digest(r, m->layers[i].digest);
    return e;
}

static cama_err add_manifest(void *user, const model_name *name, const char *path, err_info *err)
{
    store_refs *r = user;
    err_info why = {0};
    store_model m;
    arena manifest_arena;
    arena_init(&manifest_arena, STORE_MAX_MANIFEST * 16);
    cama_err e = store_read_manifest(path, name, &manifest_arena, &m, &why);
    if (!e)
        e = add_all(r, &m);
    else if (e == CAMA_ERR_NOT_FOUND) /* removed meanwhile */
        e = CAMA_OK;
    else if (e != CAMA_ERR_NOMEM) {
        note_bad(r, why.text);
        e = CAMA_OK;
    }
    arena_done(&manifest_arena);
    return e ? err_set(err, e, "store: no memory for what the manifests name") : CAMA_OK;
}

cama_err store_refs_init(store_refs *r, const store *s, bool *out_complete, err_info *err)
{
    *r = (store_refs){.why = err, .complete = true};
    arena_init(&r->refs_arena, MAX_REFS_ARENA);
    cama_err e = strmap_init(&r->digests, 256);
    if (e)
        return err_set(err, e, "store: no memory for what the manifests name");
    const store_visit v = {
        .on_manifest = add_manifest, .on_bad = note_bad, .user = r, .hidden_too = true};
    e = store_walk(s, &v, err);
    if (e) {
        store_refs_done(r);
        return e;
    }
    *out_complete = r->complete;
    return CAMA_OK;
}

void store_refs_done(store_refs *r)
{
    strmap_done(&r->digests);
    arena_done(&r->refs_arena);
}

bool store_refs_has(const store_refs *r, const char *digest)
{
    uint32_t value;
    return strmap_get(&r->digests, digest, strlen(digest), &value);
}
