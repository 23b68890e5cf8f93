/* store_walk.h - the folder of manifests, one by one.
 *
 * What begins with a dot is nobody's model: our temporary files, a file manager's notes. Whatever
 * else stands where a manifest would and cannot be one is told to on_bad.
 */
#ifndef STORE_STORE_WALK_H
#define STORE_STORE_WALK_H

#include "store/store_int.h"

typedef struct store_visit {
    const model_name *only; /* but for case; NULL: every name */
    /* A failure ends the walk. */
    cama_err (*on_manifest)(void *user, const model_name *name, const char *path, err_info *err);
    /* A folder that cannot be read, a name that is none. NULL: such a folder ends the walk. */
    void (*on_bad)(void *user, const char *text);
    void *user;
    bool hidden_too; /* also manifests that one in manifests-v2 hides */
} store_visit;

/* In no order. Files that others make or remove meanwhile may be met or not. */
cama_err store_walk(const store *s, const store_visit *v, err_info *err);

/* The name on disk that is equal but for case, the one in the same case before others.
 * CAMA_ERR_NOT_FOUND. */
cama_err store_lookup(const store *s, const model_name *name, model_name *out, err_info *err);

/* The manifest and its config. CAMA_ERR_NOT_FOUND: no manifest; CAMA_ERR_FORMAT. */
cama_err store_read_model(const store *s, const model_name *name, arena *a, store_model *out,
                          err_info *err);
/* The manifest at path alone: config_json is NULL. */
cama_err store_read_manifest(const char *path, const model_name *name, arena *a, store_model *out,
                             err_info *err);

#endif
