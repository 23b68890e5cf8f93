/* A model from the files of a folder (config.json, tokenizer.json, safetensors): a runner makes one
 * GGUF of them, which is the model layer. Nothing of it is visible before it is whole. */
#include "api/api_create.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool/pool_import.h"

#define SAY_NS 200000000ull /* between two lines of progress */

/* The files while they are open. */
typedef struct folder {
    create *k;
    const char **names;
    int *fds;
    size_t n;
    const char *status; /* what is being done now */
    uint64_t said_ns;
} folder;

static bool open_blob(folder *f, const char *name, const char *digest_text)
{
    create *k = f->k;
    char digest[STORE_DIGEST_BYTES], path[4096];
    err_info err;
    if (digest_parse(digest_text, digest, NULL))
        return api_problem_set(&k->problem, 500, "invalid digest format");
    if (store_blob_path(k->call->api->store, digest, path, sizeof path, &err))
        return api_problem_err(&k->problem, &err);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us up */
    if (fd < 0 && errno == ENOENT)
        return api_problem_set(&k->problem, 500, "open %s: no such file or directory", path);
    if (fd < 0)
        return api_problem_set(&k->problem, 500, "open %s: %s", path, strerror(errno));
    f->names[f->n] = name;
    f->fds[f->n++] = fd;
    return true;
}

static bool open_blobs(folder *f, const json_value *files)
{
    create *k = f->k;
    if (files->n > POOL_IMPORT_MAX_FILE)
        return api_problem_set(&k->problem, 400, "%zu files, the limit is %d", files->n,
                               POOL_IMPORT_MAX_FILE);
    f->names = arena_take_array(&k->call->request_arena, files->n, sizeof *f->names);
    f->fds = arena_take_array(&k->call->request_arena, files->n, sizeof *f->fds);
    if (!f->names || !f->fds)
        return api_problem_set(&k->problem, 507, "no memory for %zu files", files->n);
    for (size_t i = 0; i < files->n; i++) {
        if (!open_blob(f, files->members[i].key, api_text(files->members[i].value)))
            return false;
    }
    return true;
}

static void on_progress(void *user, uint64_t done, uint64_t all)
{
    folder *f = user;
    const uint64_t now_ns = clock_now_ns();
    if (done < all && now_ns - f->said_ns < SAY_NS)
        return;
    f->said_ns = now_ns;
    create_say(f->k, f->status, done, all);
}

static bool goes_on(void *user)
{
    const folder *f = user;
    return !api_is_gone(f->k->call);
}

static bool on_hash(void *user, uint64_t done, uint64_t all)
{
    on_progress(user, done, all);
    return goes_on(user);
}

/* What is wrong with the files is the request's fault, as it is with a file that is no GGUF. */
static bool import_problem(create *k, const err_info *err)
{
    (void)api_problem_err(&k->problem, err);
    if (err->code == CAMA_ERR_FORMAT || err->code == CAMA_ERR_NOT_FOUND ||
        err->code == CAMA_ERR_LIMIT)
        k->problem.status = 400;
    return false;
}

/* The GGUF into a file of the store's that has no name yet; its digest when it is whole. */
static bool convert(folder *f, char digest[STORE_DIGEST_BYTES])
{
    create *k = f->k;
    blob_writer *out = NULL;
    err_info err;
    if (blob_writer_open(k->call->api->store, &out, &err))
        return api_problem_err(&k->problem, &err);
    const pool_import what = {.names = f->names,
                              .fds = f->fds,
                              .n = f->n,
                              .out_fd = blob_writer_fd(out),
                              .progress = on_progress,
                              .goes_on = goes_on,
                              .user = f};
    f->status = "converting model";
    create_say(k, f->status, 0, 0);
    cama_err e = pool_import_run(k->call->api->pool, &what, &err);
    if (e) {
        blob_writer_abort(out);
        return import_problem(k, &err);
    }
    f->status = "verifying converted model";
    e = blob_writer_adopt(out, on_hash, f, &err);
    if (e)
        blob_writer_abort(out);
    else
        e = blob_writer_commit(out, NULL, digest, &err);
    return e ? api_problem_err(&k->problem, &err) : true;
}

bool create_take_folder(create *k, const json_value *files)
{
    folder f = {.k = k};
    char digest[STORE_DIGEST_BYTES];
    const bool fine = open_blobs(&f, files) && convert(&f, digest);
    for (size_t i = 0; i < f.n; i++)
        (void)close(f.fds[i]); /* only read */
    if (!fine || !create_open_gguf(k, digest, &k->file))
        return false;
    k->n_param = k->file->n_param;
    return create_add_layer(k, "model", digest, NULL, false);
}
