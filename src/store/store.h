/* store.h - Ollama's model store: names, manifests, blobs.
 *
 *     <root>/manifests/<host>/<namespace>/<model>/<tag>     JSON: config + layers, by digest
 *     <root>/blobs/sha256-<64 hex>                          content, named by its SHA-256
 *
 * A manifest's digest is the SHA-256 of its bytes, so it is kept byte for byte. Every write goes to
 * a file of its own in the same tree, is flushed to the disk and renamed: whoever is killed at any
 * point leaves the store as before or as after, and at most such a file, which store_prune removes.
 * Nothing else of ours lies in there.
 *
 * The store may be shared with an Ollama that runs at the same time, so nothing is remembered
 * between calls but what a digest names. Threads: any; one writer at a time by a lock inside.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/arena.h"
#include "json/json.h"
#include "store/name.h"

#define STORE_DIGEST_BYTES 72 /* "sha256:" + 64 hex + NUL */

typedef struct store store; /* opaque: the struct is in store_int.h */

/* root NULL: CAMA_MODELS, else OLLAMA_MODELS, else ~/.ollama/models. Made when it is absent.
 * CAMA_ERR_IO names the path and the reason. */
cama_err store_open(const char *root, store **out, err_info *err);
void store_close(store *s);
const char *store_root(const store *s);

/* ---- digests and blobs ---- */

/* "sha256:HEX" or "sha256-HEX", either case of hex -> "sha256:hex" in lower case. CAMA_ERR_ARG. */
cama_err digest_parse(const char *text, char out[STORE_DIGEST_BYTES], err_info *err);
/* The path of a blob, there or not. CAMA_ERR_LIMIT: too long for path_bytes. */
cama_err store_blob_path(const store *s, const char *digest, char *path, size_t path_bytes,
                         err_info *err);
/* Bytes of a blob; CAMA_ERR_NOT_FOUND. */
cama_err store_blob_size(const store *s, const char *digest, uint64_t *out, err_info *err);

/* A blob being written: hashed on the way. Nothing is visible before store_blob_commit. */
typedef struct blob_writer blob_writer;
cama_err blob_writer_open(store *s, blob_writer **out, err_info *err);
cama_err blob_writer_append(blob_writer *b, const void *bytes, size_t n, err_info *err);
/* Instead of appending: another process fills the file behind the writer from its start, and then
 * what is there is read and hashed. progress as of store_blob_import. */
int blob_writer_fd(const blob_writer *b);
cama_err blob_writer_adopt(blob_writer *b,
                           bool (*progress)(void *user, uint64_t done, uint64_t all), void *user,
                           err_info *err);
/* fsync, rename, fsync of the folder. want: "sha256:.."; NULL: whatever it is. CAMA_ERR_FORMAT:
 * the digest differs (the text is Ollama's); nothing is then kept. b is freed in any case. */
cama_err blob_writer_commit(blob_writer *b, const char *want, char out_digest[STORE_DIGEST_BYTES],
                            err_info *err);
void blob_writer_abort(blob_writer *b); /* accepts NULL */

/* Copies a file into the store, or links it in place (a symbolic link named by its digest; the file
 * is hashed in any case). progress may be NULL; false from it cancels. */
cama_err store_blob_import(store *s, const char *path, bool link,
                           bool (*progress)(void *user, uint64_t done, uint64_t all), void *user,
                           char out_digest[STORE_DIGEST_BYTES], err_info *err);
/* A small blob whole (template, params, ...), at most max bytes; NUL-terminated, in the arena. */
cama_err store_blob_read(const store *s, const char *digest, size_t max, arena *a, const char **out,
                         size_t *out_n, err_info *err);
cama_err store_blob_put(store *s, const void *bytes, size_t n, char out_digest[STORE_DIGEST_BYTES],
                        err_info *err);

/* ---- manifests ---- */

typedef struct store_layer {
    const char *media_type; /* the whole string */
    const char *kind;       /* its end after "application/vnd.ollama.image.": "model", "template"..;
                               "config" for the config; "" for a foreign type */
    const char *digest;     /* "sha256:.." */
    uint64_t size;
    const char *from, *name; /* or NULL */
} store_layer;

/* A manifest and the config it names; all in the arena it was read into. */
typedef struct store_model {
    model_name name;                 /* with the case it has on disk */
    char digest[STORE_DIGEST_BYTES]; /* of the manifest: "sha256:.." (show 64 hex) */
    uint64_t size;                   /* of all layers and the config */
    int64_t modified_ns;             /* since 1970 */
    const store_layer *layers;
    size_t n_layer;
    store_layer config;
    const json_value
        *config_json; /* an object: model_format, model_family, model_type, file_type,..*/
} store_model;

/* Looked up without case. CAMA_ERR_NOT_FOUND; CAMA_ERR_FORMAT: the manifest or the config is
 * corrupt, path and place in the text; CAMA_ERR_UNSUPPORTED: a form of newer Ollamas. */
cama_err store_find(const store *s, const model_name *name, arena *a, store_model *out,
                    err_info *err);
/* The name as it would be stored: each part takes the case of an equal part of a model there is. */
cama_err store_canonical(const store *s, const model_name *name, model_name *out, err_info *err);
/* Every model, newest first (then by name). A manifest that cannot be read is skipped and told to
 * on_bad (may be NULL). */
cama_err store_list(const store *s, arena *a, store_model **out, size_t *out_n,
                    void (*on_bad)(void *user, const char *text), void *user, err_info *err);
/* First layer of a kind; NULL. */
const store_layer *store_layer_of(const store_model *m, const char *kind);

typedef struct store_layer_def {
    const char *kind; /* "model", "template", ...; with a / in it: the whole media type */
    const char *digest;
    const char *from; /* or NULL */
    const char *name; /* or NULL */
} store_layer_def;

/* Writes a config blob and a manifest over them (Go's encoding of both, so that digests equal
 * Ollama's). Every blob must be there. Layers of the replaced manifest that nobody uses any more
 * are removed unless keep_unused. */
cama_err store_write(store *s, const model_name *name, const json_value *config,
                     const store_layer_def *layers, size_t n_layer, bool keep_unused,
                     err_info *err);
cama_err store_copy(store *s, const model_name *from, const model_name *to, err_info *err);
/* The manifest, then its layers unless another manifest uses them. */
cama_err store_remove(store *s, const model_name *name, err_info *err);

/* A value as Go's encoder writes it (< > & escaped, numbers as doubles), for layers that are named
 * by digest: Ollama's params are an object with sorted keys, its messages are not sorted; both end
 * with a line feed, which the caller adds. Failures stick to out. */
cama_err store_json_write(const json_value *v, bool sort, buf *out);
cama_err store_json_write_string(const char *text, size_t n, buf *out);

typedef struct store_pruned {
    size_t n_blob;
    uint64_t bytes;
} store_pruned;
/* As Ollama at its start: blobs that no manifest names and that are older than min_age_s, invalid
 * names, temporary files of dead writers, empty folders of manifests. Does nothing and says why
 * when a manifest cannot be read. */
cama_err store_prune(store *s, int64_t min_age_s, store_pruned *out, err_info *err);

#endif
