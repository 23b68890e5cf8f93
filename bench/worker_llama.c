/* worker_llama.c - llama.cpp's own prebuilt library, driven through its C API.
 *
 * No header of theirs is used: the parameter structs are passed as blobs that are larger than any
 * release's, and only fields whose offsets were read off release v0.5.0 are set. The thread count
 * must be set: the library's default of 4 on 2 cores makes its spinning pool 100 times slower. */
#include "worker.h"

#include "base/clock.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct blob {
    uint8_t b[256];
} blob;

typedef struct llama_batch_view {
    int32_t n;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq;
    int32_t **seq;
    int8_t *logits;
} llama_batch_view;

typedef struct llama_worker {
    void *lib;
    void *model;
    void *ctx;
    uint32_t n_vocab;
    int n_thread;
    int (*decode)(void *ctx, llama_batch_view b);
    void (*synchronize)(void *ctx);
    void *(*get_memory)(void *ctx);
    void (*memory_clear)(void *mem, bool data);
    llama_batch_view batch;
} llama_worker;

/* The first library in dir whose name starts with `head` and contains `part`, without "common". */
static void *load_library(const char *dir, const char *head, const char *part, err_info *err)
{
    DIR *d = opendir(dir);
    char path[4096] = "";
    for (struct dirent *f; d && (f = readdir(d));)
        if (!strncmp(f->d_name, head, strlen(head)) && strstr(f->d_name, part) &&
            !strstr(f->d_name, "common"))
            (void)snprintf(path, sizeof path, "%s/%s", dir, f->d_name); /* checked by dlopen */
    if (d)
        closedir(d);
    void *lib = path[0] ? dlopen(path, RTLD_NOW | RTLD_GLOBAL) : NULL;
    if (!lib)
        (void)err_set(err, CAMA_ERR_NOT_FOUND, "llama.cpp: no usable %s*%s* in '%s': %s", head,
                      part, dir, path[0] ? dlerror() : "no such file");
    return lib;
}

static void quiet(int level, const char *text, void *user)
{
    (void)level;
    (void)text;
    (void)user;
}

/* ISO C has no conversion between object and function pointers; POSIX promises this one. */
static void *symbol(void *lib, const char *name, void *out_fn)
{
    void *p = dlsym(lib, name);
    memcpy(out_fn, &p, sizeof p);
    return p;
}

static cama_err open_context(llama_worker *w, const char *model, uint32_t n_ctx, err_info *err)
{
    blob (*model_params)(void) = NULL;
    blob (*ctx_params)(void) = NULL;
    void *(*load)(const char *, blob) = NULL;
    void *(*init)(void *, blob) = NULL;
    void *(*get_vocab)(void *) = NULL;
    int32_t (*n_tokens)(void *) = NULL;
    void (*set_threads)(void *, int32_t, int32_t) = NULL;
    llama_batch_view (*batch_init)(int32_t, int32_t, int32_t) = NULL;
    if (!symbol(w->lib, "llama_model_default_params", &model_params) ||
        !symbol(w->lib, "llama_context_default_params", &ctx_params) ||
        !symbol(w->lib, "llama_model_load_from_file", &load) ||
        !symbol(w->lib, "llama_init_from_model", &init) ||
        !symbol(w->lib, "llama_model_get_vocab", &get_vocab) ||
        !symbol(w->lib, "llama_vocab_n_tokens", &n_tokens) ||
        !symbol(w->lib, "llama_set_n_threads", &set_threads) ||
        !symbol(w->lib, "llama_batch_init", &batch_init) ||
        !symbol(w->lib, "llama_decode", &w->decode) ||
        !symbol(w->lib, "llama_synchronize", &w->synchronize) ||
        !symbol(w->lib, "llama_get_memory", &w->get_memory) ||
        !symbol(w->lib, "llama_memory_clear", &w->memory_clear))
        return err_set(err, CAMA_ERR_UNSUPPORTED, "llama.cpp: a function is missing: %s",
                       dlerror());
    w->model = load(model, model_params());
    if (!w->model)
        return err_set(err, CAMA_ERR_ENGINE, "llama.cpp: cannot load '%s'", model);
    blob p = ctx_params();
    const uint32_t head[] = {n_ctx, 512, 512, 1}; /* n_ctx, n_batch, n_ubatch, n_seq_max */
    memcpy(p.b, head, sizeof head);
    w->ctx = init(w->model, p);
    if (!w->ctx)
        return err_set(err, CAMA_ERR_ENGINE, "llama.cpp: no context of %u tokens", n_ctx);
    set_threads(w->ctx, w->n_thread, w->n_thread);
    w->n_vocab = (uint32_t)n_tokens(get_vocab(w->model));
    w->batch = batch_init(512, 0, 1);
    return CAMA_OK;
}

static void *llama_open(const bench_opts *opts, err_info *err)
{
    void (*log_set)(void (*)(int, const char *, void *), void *) = NULL;
    void (*load_backends)(const char *) = NULL;
    void (*backend_init)(void) = NULL;
    llama_worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->n_thread = opts->n_thread;
    void *ggml = NULL;
    if (load_library(opts->lib_dir, "libggml-base", ".", err))
        ggml = load_library(opts->lib_dir, "libggml.", "v0", err);
    w->lib = ggml ? load_library(opts->lib_dir, "libllama", "v0", err) : NULL;
    if (!w->lib || !symbol(w->lib, "llama_log_set", &log_set) ||
        !symbol(ggml, "ggml_backend_load_all_from_path", &load_backends) ||
        !symbol(w->lib, "llama_backend_init", &backend_init)) {
        free(w);
        return NULL;
    }
    log_set(quiet, NULL);
    load_backends(opts->lib_dir);
    backend_init();
    if (open_context(w, opts->model, opts->n_ctx, err)) {
        free(w);
        return NULL;
    }
    return w;
}

static cama_err decode_rows(llama_worker *w, uint32_t start, uint32_t n, err_info *err)
{
    w->batch.n = (int32_t)n;
    for (uint32_t i = 0; i < n; i++) {
        w->batch.token[i] = bench_token(start + i, w->n_vocab);
        w->batch.pos[i] = (int32_t)(start + i);
        w->batch.n_seq[i] = 1;
        w->batch.seq[i][0] = 0;
        w->batch.logits[i] = i + 1 == n;
    }
    const int r = w->decode(w->ctx, w->batch);
    w->synchronize(w->ctx);
    return r ? err_set(err, CAMA_ERR_ENGINE, "llama.cpp: decode returned %d", r) : CAMA_OK;
}

static cama_err llama_run(void *engine, const bench_task *t, bench_reply *out, err_info *err)
{
    llama_worker *w = engine;
    w->memory_clear(w->get_memory(w->ctx), true);
    cama_err e = CAMA_OK;
    const uint64_t t0 = clock_now_ns();
    for (uint32_t i = 0; !e && i < t->n_prefill; i += 512)
        e = decode_rows(w, i, t->n_prefill - i < 512 ? t->n_prefill - i : 512, err);
    const uint64_t t1 = clock_now_ns();
    for (uint32_t i = 0; !e && i < t->n_decode; i++)
        e = decode_rows(w, t->n_prefill + i, 1, err);
    out->prefill_s = (double)(t1 - t0) * 1e-9;
    out->decode_s = (double)(clock_now_ns() - t1) * 1e-9;
    return e;
}

static void llama_describe(void *engine, char *out, size_t n)
{
    const llama_worker *w = engine;
    (void)snprintf(out, n, "llama.cpp v0.5.0 (prebuilt), %d threads", w->n_thread);
}

const bench_engine_vt bench_llama = {
    .name = "llama.cpp", .open = llama_open, .run = llama_run, .describe = llama_describe};
