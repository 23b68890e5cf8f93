/* store_rig.h - a store in a folder of its own, and what stands in it. */
#ifndef STORE_RIG_H
#define STORE_RIG_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"
#include "store/store_hash.h"
#include "store/store_int.h"
#include "test.h"

typedef struct store_rig {
    char root[64];
    store *s;
    arena rig_arena;
} store_rig;

static inline void rig_open_in(store_rig *r, const char *folder)
{
    err_info err = {0};
    (void)snprintf(r->root, sizeof r->root, "%s/cama-store-XXXXXX", folder);
    assert_non_null(mkdtemp(r->root));
    arena_init(&r->rig_arena, (size_t)1 << 28);
    if (store_open(r->root, &r->s, &err))
        fail_msg("%s", err.text);
}

static inline void rig_open(store_rig *r)
{
    rig_open_in(r, "/tmp");
}

static inline void rig_remove_tree(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char below[STORE_PATH_BYTES];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        assert_true(snprintf(below, sizeof below, "%s/%s", path, e->d_name) < (int)sizeof below);
        assert_int_equal(lstat(below, &st), 0);
        if (S_ISDIR(st.st_mode))
            rig_remove_tree(below);
        else
            assert_int_equal(unlink(below), 0);
    }
    closedir(d);
    assert_int_equal(rmdir(path), 0);
}

static inline void rig_close(store_rig *r)
{
    store_close(r->s);
    arena_done(&r->rig_arena);
    rig_remove_tree(r->root);
}

static inline const char *rig_path(const store_rig *r, const char *below)
{
    static char path[4][STORE_PATH_BYTES];
    static unsigned next;
    char *out = path[next++ % 4];
    assert_true(snprintf(out, STORE_PATH_BYTES, "%s/%s", r->root, below) < STORE_PATH_BYTES);
    return out;
}

static inline void rig_write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* The file at path gets a time that lies that many seconds back. */
static inline void rig_make_old(const char *path, long seconds)
{
    struct timespec t[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static inline bool rig_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static inline model_name rig_name(const char *text)
{
    model_name n;
    err_info err = {0};
    if (name_parse(text, &n, &err))
        fail_msg("%s", err.text);
    return n;
}

/* A blob of this text; its digest lives as long as the rig. */
static inline const char *rig_blob(store_rig *r, const char *text)
{
    char *digest = arena_take(&r->rig_arena, STORE_DIGEST_BYTES);
    err_info err = {0};
    assert_non_null(digest);
    if (store_blob_put(r->s, text, strlen(text), digest, &err))
        fail_msg("%s", err.text);
    return digest;
}

static inline bool rig_has_blob(const store_rig *r, const char *digest)
{
    uint64_t n;
    return store_blob_size(r->s, digest, &n, NULL) == CAMA_OK;
}

static inline const json_value *rig_config(store_rig *r, const char *family)
{
    json_value *config = json_new_object(&r->rig_arena);
    assert_true(json_put(&r->rig_arena, config, "model_family",
                         json_new_string(&r->rig_arena, family, strlen(family))));
    return config;
}

/* A model of one or two layers (second may be NULL). */
static inline cama_err rig_try_write(store_rig *r, const char *name, const char *first,
                                     const char *second, err_info *err)
{
    const model_name n = rig_name(name);
    const store_layer_def layers[] = {{"model", first, NULL, NULL},
                                      {"template", second, NULL, NULL}};
    return store_write(r->s, &n, rig_config(r, "llama"), layers, second ? 2 : 1, false, err);
}

static inline void rig_write(store_rig *r, const char *name, const char *first, const char *second)
{
    err_info err = {0};
    if (rig_try_write(r, name, first, second, &err))
        fail_msg("%s", err.text);
}

/* Entries of a folder that begin with prefix. */
static inline size_t rig_count(const char *folder, const char *prefix)
{
    DIR *d = opendir(folder);
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '\0' && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
             strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    if (d)
        closedir(d);
    return n;
}

static inline size_t rig_count_temps(const store_rig *r)
{
    return rig_count(rig_path(r, "blobs"), STORE_BLOB_TEMP) +
           rig_count(rig_path(r, "manifests"), STORE_MANIFEST_TEMP);
}

static inline size_t rig_count_blobs(const store_rig *r)
{
    return rig_count(rig_path(r, "blobs"), "") - rig_count(rig_path(r, "blobs"), STORE_BLOB_TEMP);
}

#endif
