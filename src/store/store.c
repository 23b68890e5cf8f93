#include "store/store.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_int.h"

static const char *home_folder(char *buffer, size_t n)
{
    const char *home = getenv("HOME");
    if (home && *home)
        return home;
    struct passwd pw;
    struct passwd *found = NULL;
    if (getpwuid_r(getuid(), &pw, buffer, n, &found) == 0 && found && found->pw_dir)
        return found->pw_dir;
    return NULL;
}

static cama_err too_long(err_info *err)
{
    return err_set(err, CAMA_ERR_LIMIT, "store: the path of the store has more than %d bytes",
                   STORE_MAX_ROOT - 1);
}

/* Where the models are when the caller does not say. */
static cama_err default_root(char out[STORE_MAX_ROOT], err_info *err)
{
    const char *set = getenv("CAMA_MODELS");
    if (!set || !*set)
        set = getenv("OLLAMA_MODELS");
    if (set && *set)
        return snprintf(out, STORE_MAX_ROOT, "%s", set) < STORE_MAX_ROOT ? CAMA_OK : too_long(err);
    char buffer[4096];
    const char *home = home_folder(buffer, sizeof buffer);
    if (!home)
        return err_set(err, CAMA_ERR_IO,
                       "store: no home folder: set HOME, or CAMA_MODELS to where models are");
    return snprintf(out, STORE_MAX_ROOT, "%s/.ollama/models", home) < STORE_MAX_ROOT
               ? CAMA_OK
               : too_long(err);
}

/* A later chdir must not move the store. */
static cama_err make_absolute(const char *root, char out[STORE_MAX_ROOT], err_info *err)
{
    char here[STORE_MAX_ROOT] = "";
    if (root[0] != '/' && !getcwd(here, sizeof here))
        return errno == ERANGE ? too_long(err) : store_file_error(err, "find", root);
    const int n = snprintf(out, STORE_MAX_ROOT, "%s%s%s", here, *here ? "/" : "", root);
    if (n >= STORE_MAX_ROOT)
        return too_long(err);
    for (int i = n; i > 1 && out[i - 1] == '/'; i--)
        out[i - 1] = '\0';
    return CAMA_OK;
}

static cama_err set_paths(store *s, const char *root, err_info *err)
{
    char chosen[STORE_MAX_ROOT];
    cama_err e = CAMA_OK;
    if (!root)
        e = default_root(chosen, err);
    if (!e)
        e = make_absolute(root ? root : chosen, s->root, err);
    if (e)
        return e;
    const char *base = strcmp(s->root, "/") == 0 ? "" : s->root;
    (void)snprintf(s->blobs, sizeof s->blobs, "%s/blobs", base);
    (void)snprintf(s->manifests, sizeof s->manifests, "%s/manifests", base);
    (void)snprintf(s->manifests_v2, sizeof s->manifests_v2, "%s/manifests-v2", base);
    return CAMA_OK;
}

cama_err store_open(const char *root, store **out, err_info *err)
{
    store *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, CAMA_ERR_NOMEM, "store: no memory to open '%s'", root ? root : "");
    cama_err e = set_paths(s, root, err);
    if (!e)
        e = store_file_make_folder(s->root, err);
    if (!e && pthread_mutex_init(&s->write_lock, NULL) != 0)
        e = err_set(err, CAMA_ERR_NOMEM, "store: no memory for a lock");
    if (e) {
        free(s);
        return e;
    }
    *out = s;
    return CAMA_OK;
}

void store_close(store *s)
{
    if (!s)
        return;
    (void)pthread_mutex_destroy(&s->write_lock); /* nobody holds it: nobody may use s any more */
    free(s);
}

const char *store_root(const store *s)
{
    return s->root;
}

void store_path_blob(const store *s, const char *digest, char out[STORE_PATH_BYTES])
{
    (void)snprintf(out, STORE_PATH_BYTES, "%s/sha256-%s", s->blobs, digest + strlen("sha256:"));
}

static void path_below(const char *folder, const model_name *name, char out[STORE_PATH_BYTES])
{
    (void)snprintf(out, STORE_PATH_BYTES, "%s/%s/%s/%s/%s", folder, name->host, name->space,
                   name->model, name->tag);
}

void store_path_manifest(const store *s, const model_name *name, char out[STORE_PATH_BYTES])
{
    path_below(s->manifests, name, out);
}

void store_path_manifest_v2(const store *s, const model_name *name, char out[STORE_PATH_BYTES])
{
    path_below(s->manifests_v2, name, out);
}

cama_err store_path_manifest_read(const store *s, const model_name *name,
                                  char out[STORE_PATH_BYTES], err_info *err)
{
    struct stat st;
    store_path_manifest_v2(s, name, out);
    if (lstat(out, &st) == 0)
        return CAMA_OK;
    if (errno != ENOENT && errno != ENOTDIR)
        return store_file_error(err, "stat", out);
    store_path_manifest(s, name, out);
    return CAMA_OK;
}

cama_err store_blob_path(const store *s, const char *digest, char *path, size_t path_bytes,
                         err_info *err)
{
    char clean[STORE_DIGEST_BYTES];
    char whole[STORE_PATH_BYTES];
    const cama_err e = digest_parse(digest, clean, err);
    if (e)
        return e;
    store_path_blob(s, clean, whole);
    const size_t n = strlen(whole);
    if (n >= path_bytes)
        return err_set(err, CAMA_ERR_LIMIT,
                       "store: the path of blob '%s' has %zu bytes, room for "
                       "%zu",
                       clean, n, path_bytes ? path_bytes - 1 : 0);
    memcpy(path, whole, n + 1);
    return CAMA_OK;
}

cama_err store_blob_stat(const store *s, const char *digest, uint64_t *out_size, err_info *err)
{
    char path[STORE_PATH_BYTES];
    struct stat st;
    store_path_blob(s, digest, path);
    if (stat(path, &st) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return err_set(err, CAMA_ERR_NOT_FOUND, "blob \"%s\" not found", digest);
        return store_file_error(err, "stat", path);
    }
    if (!S_ISREG(st.st_mode))
        return err_set(err, CAMA_ERR_IO, "store: '%s' is not a regular file", path);
    *out_size = (uint64_t)st.st_size;
    return CAMA_OK;
}

cama_err store_blob_size(const store *s, const char *digest, uint64_t *out, err_info *err)
{
    char clean[STORE_DIGEST_BYTES];
    const cama_err e = digest_parse(digest, clean, err);
    return e ? e : store_blob_stat(s, clean, out, err);
}
