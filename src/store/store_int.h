/* store_int.h - what the files of the store share.
 *
 * Temporary files. Ollama removes from blobs/ what has no name of a blob, at its start; it cannot
 * prune at all while a file in the place of a manifest does not read as one. So ours stand
 *
 *     blobs/sha256-63616d612074656d706f726172792e2e<32 hex>   a valid name ("cama temporary.." in
 *                                                             ASCII) that no manifest refers to:
 *                                                             removed once an hour has passed since
 *                                                             the last write
 *     manifests/.cama-<32 hex>                                above the level that it looks at
 *
 * and store_prune sweeps those whose writer is gone.
 *
 * manifests-v2. Newer Ollamas keep the manifest itself as a blob and a link to it under
 * manifests-v2/<host>/<namespace>/<model>/<tag>, which hides one of the same name in manifests/.
 * We read both and write manifests/, which they read too; a hidden manifest becomes seen when the
 * other one is removed.
 */
#ifndef STORE_STORE_INT_H
#define STORE_STORE_INT_H

#include <assert.h>
#include <pthread.h>

#include "store/name_int.h"
#include "store/store.h"
#include "store/store_file.h"

#define STORE_BLOB_TEMP "sha256-63616d612074656d706f726172792e2e"
#define STORE_MANIFEST_TEMP ".cama-"

#define STORE_MAX_MANIFEST ((size_t)16 << 20) /* 60,000 layers; the largest known have 2,000 */
#define STORE_MAX_CONFIG ((size_t)4 << 20)

struct store {
    char root[STORE_MAX_ROOT];              /* absolute */
    char blobs[STORE_MAX_ROOT + 16];        /* root/blobs */
    char manifests[STORE_MAX_ROOT + 16];    /* where ours are written */
    char manifests_v2[STORE_MAX_ROOT + 16]; /* where newer Ollamas write theirs: seen first */
    pthread_mutex_t
        write_lock; /* who changes what manifests and blobs there are; guards no field */
};

static_assert(STORE_MAX_ROOT + 16 + NAME_BYTES + 8 < STORE_PATH_BYTES, "a manifest's path");
static_assert(STORE_MAX_ROOT + 16 + STORE_DIGEST_BYTES + 8 < STORE_PATH_BYTES, "a blob's path");

/* Paths that always fit. digest is "sha256:<64 hex>". */
void store_path_blob(const store *s, const char *digest, char out[STORE_PATH_BYTES]);
void store_path_manifest(const store *s, const model_name *name, char out[STORE_PATH_BYTES]);
void store_path_manifest_v2(const store *s, const model_name *name, char out[STORE_PATH_BYTES]);
/* The one of the two that counts: a manifest in manifests-v2 hides one in manifests. */
cama_err store_path_manifest_read(const store *s, const model_name *name,
                                  char out[STORE_PATH_BYTES], err_info *err);

/* CAMA_OK with *out_size; CAMA_ERR_NOT_FOUND. Without parsing the digest. */
cama_err store_blob_stat(const store *s, const char *digest, uint64_t *out_size, err_info *err);

#endif
