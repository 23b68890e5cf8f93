/* engine_life.h - an engine from its opening to the end of a step, for sweeps of failing
 * allocations. */
#ifndef ENGINE_LIFE_H
#define ENGINE_LIFE_H

#include "test.h"

#include "engine/engine.h"
#include "fault.h"
#include "tiny_llama.h"

typedef struct engine_life {
    const engine_vt *vt;
    const model_desc *model;
    bool stock;
} engine_life;

static cama_err engine_live(void *arg, err_info *err)
{
    const engine_life *l = arg;
    engine *e = NULL;
    engine_outs outs;
    engine_ticket t;
    int32_t seq;
    const engine_row row = {.id = 1, .visible_end = 1, .flags = ENGINE_LOGITS};
    const engine_batch b = {.rows = &row, .n_row = 1};
    engine_opts o = engine_opts_init();
    o.n_ctx = 64;
    o.n_batch = 8;
    o.n_thread = 3;
    o.n_kv_max = 1024;
    o.device = ENGINE_CPU;
    o.stock = l->stock;
    cama_err fail = l->vt->open(l->model, &o, &e, err);
    if (!fail)
        fail = l->vt->grow(e, 512, err);
    if (!fail)
        l->vt->set_threads(e, 2, 0);
    if (!fail)
        fail = l->vt->seq_fork(e, -1, 0, &seq);
    if (!fail)
        fail = l->vt->submit(e, &b, &t, err);
    if (!fail)
        fail = l->vt->collect(e, t, &outs, err);
    l->vt->close(e);
    return fail;
}

/* Calls sweep with a tiny model. */
static void engine_life_with(const engine_vt *vt, void (*sweep)(engine_life *l))
{
    size_t n;
    gguf_file *f = NULL;
    model_desc *m = NULL;
    uint8_t *bytes = tiny_llama(&n);
    assert_int_equal(gguf_open_bytes(bytes, n, &f, NULL), CAMA_OK);
    assert_int_equal(model_open(f, &m, NULL), CAMA_OK);
    engine_life l = {.vt = vt, .model = m};
    sweep(&l);
    model_close(m);
    gguf_close(f);
    free(bytes);
}

#endif
