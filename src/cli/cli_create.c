/* `cama create`: a Modelfile read here, its files brought to the server, the rest is the server's.
 */
#include "cli/cli_create.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli_progress.h"
#include "cli/cli_server.h"
#include "store/modelfile.h"
#include "store/store.h"
#include "store/store_hash.h"

#define NO_FILES "no Modelfile or safetensors files found"
#define MAX_ARENA ((size_t)256 << 20)
#define CHUNK_BYTES ((size_t)1 << 20)

typedef struct work {
    const cli_args *args;
    cli_server *server;
    cli_progress progress;
    arena arena;
    cama_error err;
    char status[256]; /* the server's last */
} work;

/* ---- the Modelfile ---- */

static cama_err read_file(FILE *f, const char *path, buf *out, cama_error *err)
{
    char chunk[65536];
    size_t n;
    do {
        n = fread(chunk, 1, sizeof chunk, f);
        if (buf_append(out, chunk, n))
            return buf_error(out, path, err);
    } while (n == sizeof chunk);
    return ferror(f) ? err_set(err, CAMA_ERR_IO, "cannot read '%s': %s", path, strerror(errno))
                     : CAMA_OK;
}

/* Without a Modelfile that was asked for by name, the folder itself is the model. */
static cama_err read_modelfile(const cli_args *args, const char **out_path, buf *out,
                               cama_error *err)
{
    *out_path = args->file ? args->file : "Modelfile";
    if (!strcmp(*out_path, "-"))
        return read_file(stdin, "standard input", out, err);
    FILE *f = fopen(*out_path, "re");
    if (!f && errno == ENOENT && !args->file) {
        (void)buf_puts(out, "FROM .\n"); /* sticky */
        return buf_error(out, "the Modelfile", err);
    }
    if (!f && errno == ENOENT)
        return err_set(err, CAMA_ERR_NOT_FOUND, NO_FILES);
    if (!f)
        return err_set(err, CAMA_ERR_IO, "cannot read '%s': %s", *out_path, strerror(errno));
    const cama_err e = read_file(f, *out_path, out, err);
    (void)fclose(f); /* it was only read */
    return e;
}

static const char *folder_of(const char *path, arena *a)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return ".";
    return arena_copy(a, path, slash > path ? (size_t)(slash - path) : 1);
}

/* ---- files to blobs ---- */

static bool on_share(void *user, uint64_t done, uint64_t all)
{
    work *w = user;
    progress_share(&w->progress, done, all);
    return !cli_interrupted();
}

static cama_err hash_file(work *w, create_file *f, FILE *in, uint64_t n_all)
{
    store_hash h;
    cama_err e = store_hash_init(&h, &w->err);
    char *chunk = e ? NULL : arena_take(&w->arena, CHUNK_BYTES);
    if (!e && !chunk)
        e = err_set(&w->err, CAMA_ERR_NOMEM, "no memory to read '%s'", f->path);
    uint64_t n_done = 0;
    size_t n = CHUNK_BYTES;
    while (!e && n == CHUNK_BYTES) {
        n = fread(chunk, 1, CHUNK_BYTES, in);
        e = store_hash_add(&h, chunk, n, &w->err);
        n_done += n;
        if (!e && !on_share(w, n_done, n_all))
            e = err_set(&w->err, CAMA_ERR_CANCELED, "interrupted");
    }
    if (!e && ferror(in))
        e = err_set(&w->err, CAMA_ERR_IO, "cannot read '%s': %s", f->path, strerror(errno));
    if (!e)
        e = store_hash_end(&h, f->digest, &w->err);
    store_hash_done(&h);
    return e;
}

static cama_err find_digest(work *w, create_file *f)
{
    struct stat info;
    FILE *in = fopen(f->path, "rbe");
    if (!in || fstat(fileno(in), &info)) {
        const cama_err e =
            err_set(&w->err, CAMA_ERR_IO, "cannot read '%s': %s", f->path, strerror(errno));
        if (in)
            (void)fclose(in);
        return e;
    }
    const cama_err e = hash_file(w, f, in, (uint64_t)info.st_size);
    (void)fclose(in);
    return e;
}

/* Puts a link into the store that this machine has by the environment. Only when the server then
 * has the blob is it the server's store; else the file must be sent. */
static cama_err link_file(work *w, const create_file *f, bool *out_there)
{
    store *s;
    char path[4096];
    char digest[STORE_DIGEST_BYTES];
    if (!realpath(f->path, path))
        return err_set(&w->err, CAMA_ERR_IO, "cannot find '%s': %s", f->path, strerror(errno));
    if (store_open(NULL, &s, NULL))
        return CAMA_OK; /* no store here */
    const cama_err e = store_blob_import(s, path, true, NULL, NULL, digest, &w->err);
    store_close(s);
    if (e)
        return CAMA_OK; /* a store that is not ours to write */
    return server_has_blob(w->server, f->digest, out_there, &w->err);
}

static cama_err bring_file(work *w, create_file *f)
{
    char text[256];
    bool there = false;
    (void)snprintf(text, sizeof text, "reading %s", f->name);
    progress_step(&w->progress, text);
    cama_err e = find_digest(w, f);
    if (e)
        return e;
    w->progress.text[0] = '\0'; /* the digest is told next, in the same line */
    (void)snprintf(text, sizeof text, "copying file %s", f->digest);
    progress_step(&w->progress, text);
    e = server_has_blob(w->server, f->digest, &there, &w->err);
    if (!e && !there && w->args->link) {
        e = link_file(w, f, &there);
        if (!e && there)
            (void)snprintf(w->progress.text, sizeof w->progress.text, "linking file %s", f->digest);
        else if (!e)
            cli_warning(NULL, "the server's store is not the one of this user: the file is copied");
    }
    if (!e && !there)
        e = server_put_blob(w->server, f->digest, f->path, on_share, w, &w->err);
    if (!e)
        progress_share(&w->progress, 1, 1);
    return e;
}

/* ---- the server's part ---- */

static bool on_status(void *user, const json_value *v)
{
    work *w = user;
    const char *status = json_text(v, "status");
    const int64_t all = json_whole(v, "total");
    if (strncmp(status, w->status, sizeof w->status - 1) != 0) {
        (void)snprintf(w->status, sizeof w->status, "%s", status);
        progress_step(&w->progress, status);
    }
    if (all > 0)
        progress_share(&w->progress, (uint64_t)json_whole(v, "completed"), (uint64_t)all);
    const json_value *warnings = json_get(v, "warnings");
    for (size_t i = 0; warnings && warnings->kind == JSON_ARRAY && i < warnings->n; i++)
        cli_warning(NULL, json_text(warnings->items[i], "text"));
    return true;
}

static cama_err ask_server(work *w, const create_plan *plan)
{
    buf body;
    buf_init(&body, (size_t)64 << 20);
    cama_err e = create_plan_body(plan, w->args->pos[0], w->args->quantize, &body, &w->err);
    const server_call c = {.method = "POST",
                           .path = "/api/create",
                           .body = body.data,
                           .line = on_status,
                           .user = w,
                           .interruptible = true};
    if (!e)
        e = server_send(w->server, &c, NULL, NULL, NULL, &w->err);
    buf_done(&body);
    return e;
}

static cama_err create(work *w)
{
    model_name name;
    buf text;
    const char *path;
    modelfile parsed;
    create_plan plan = {0};
    if (name_parse(w->args->pos[0], &name, NULL))
        return err_set(&w->err, CAMA_ERR_ARG, "invalid model name: %s", w->args->pos[0]);
    buf_init(&text, MODELFILE_MAX_BYTES);
    const cama_err read = read_modelfile(w->args, &path, &text, &w->err);
    cama_err e =
        read ? CAMA_OK
             : modelfile_parse(text.data ? text.data : "", text.n, &w->arena, &parsed, &w->err);
    if (!e) { /* Ollama's order: mistakes of grammar come before, all others after this line */
        progress_step(&w->progress, "gathering model components");
        e = read;
    }
    const char *folder = e ? NULL : folder_of(path, &w->arena);
    if (!e && !folder)
        e = err_set(&w->err, CAMA_ERR_NOMEM, "no memory for '%s'", path);
    if (!e)
        e = create_plan_make(text.data, text.n, folder, &w->arena, &plan, &w->err);
    for (size_t i = 0; !e && i < plan.n_file; i++)
        e = bring_file(w, &plan.files[i]);
    if (!e)
        e = ask_server(w, &plan);
    create_plan_done(&plan);
    buf_done(&text);
    return e;
}

int cli_create(cli_args *args)
{
    work w = {.args = args};
    arena_init(&w.arena, MAX_ARENA);
    progress_init(&w.progress);
    cama_err e = args->embed ? server_open_or_embed(args, &w.server, &w.err)
                             : server_open(&w.server, &w.err);
    cli_catch_interrupt(true);
    if (!e)
        e = create(&w);
    cli_release_interrupt();
    progress_end(&w.progress);
    int status = CLI_OK;
    if (e == CAMA_ERR_CANCELED)
        status = CLI_INTERRUPTED;
    else if (e)
        status = server_fail(&w.err);
    server_close(w.server);
    arena_done(&w.arena);
    return status;
}
