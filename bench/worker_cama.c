/* worker_cama.c - cama through its public API, as any program would use it. */
#include "worker.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cama_worker {
    cama_model *model;
    cama_ctx *ctx;
    float *logits; /* [n_vocab] */
    int32_t *ids;
    cama_info info;
} cama_worker;

static cama_err fail(err_info *err, cama_err e, const cama_error *text)
{
    return err_set(err, e, "%s", text->text);
}

static void *open_cama(const bench_opts *opts, err_info *err)
{
    cama_error text = {0};
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    o.n_ctx = opts->n_ctx;
    o.n_batch = 512;
    o.n_thread = (uint32_t)opts->n_thread;
    cama_worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    cama_err e = cama_model_open(opts->model, &o, &w->model, &text);
    if (!e)
        e = cama_ctx_open(w->model, &w->ctx, &text);
    if (e) {
        (void)fail(err, e, &text);
        cama_model_close(w->model);
        free(w);
        return NULL;
    }
    cama_model_info(w->model, &w->info, sizeof w->info);
    w->logits = malloc(w->info.n_vocab * sizeof *w->logits);
    w->ids = malloc(opts->n_ctx * sizeof *w->ids);
    if (!w->logits || !w->ids) {
        (void)err_set(err, CAMA_ERR_NOMEM, "no memory for %u logits", w->info.n_vocab);
        return NULL; /* the worker ends: nothing outlives it */
    }
    for (uint32_t i = 0; i < opts->n_ctx; i++)
        w->ids[i] = bench_token(i, w->info.n_vocab);
    return w;
}

static cama_err run_cama(void *engine, const bench_task *t, bench_reply *out, err_info *err)
{
    cama_worker *w = engine;
    cama_error text = {0};
    uint32_t got;
    cama_err e = cama_ctx_rewind(w->ctx, 0, &got, &text);
    const uint64_t t0 = clock_now_ns();
    if (!e && t->n_prefill)
        e = cama_eval(w->ctx, w->ids, t->n_prefill, NULL, w->logits, &text);
    const uint64_t t1 = clock_now_ns();
    for (uint32_t i = 0; !e && i < t->n_decode; i++)
        e = cama_eval(w->ctx, w->ids + t->n_prefill + i, 1, NULL, w->logits, &text);
    out->prefill_s = (double)(t1 - t0) * 1e-9;
    out->decode_s = (double)(clock_now_ns() - t1) * 1e-9;
    return e ? fail(err, e, &text) : CAMA_OK;
}

static void describe_cama(void *engine, char *out, size_t n)
{
    const cama_worker *w = engine;
    (void)snprintf(out, n, "cama %s, %s, activations %s, KV %s", cama_version(), w->info.device,
                   w->info.activations, w->info.kv_type);
}

const bench_engine_vt bench_cama = {
    .name = "cama", .open = open_cama, .run = run_cama, .describe = describe_cama};
