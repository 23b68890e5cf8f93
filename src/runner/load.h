/* load.h - a model made ready to compute: its tokenizer, an engine that can run it, a plan that
 * fits, and a place for its weights, in this order.
 *
 * Both who runs a model in one process (src/cama.c) and a runner load by these steps.
 */
#ifndef RUNNER_LOAD_H
#define RUNNER_LOAD_H

#include "engine/engine.h"
#include "tok/tok.h"

/* The tokenizer that a file describes. CAMA_ERR_FORMAT names the key that is wrong. */
cama_err load_vocab(const gguf_file *f, tok_vocab **out, err_info *err);

#define LOAD_BUILD_BYTES 96
#define LOAD_WHY_BYTES 512
#define LOAD_MAX_AVOID 8

/* An engine that failed on this model before. */
typedef struct load_avoid {
    const char *engine;
    const char *build; /* as load_build gives it; "": whatever it is, it is not looked at */
    const char *why;
} load_avoid;

typedef struct load_wish {
    const char *name; /* NULL, "" or "auto": the one that fits best */
    engine_device device;
    const char *why;         /* of a name that somebody chose for a reason; NULL or "": none */
    const load_avoid *avoid; /* heeded where the choice is free and something else is left */
    size_t n_avoid;
    /* Before an engine is looked at, which may open a library and be the end of this process; may
     * be NULL. */
    void (*looking)(void *user, const char *engine);
    void *user;
} load_wish;

typedef struct load_choice {
    const engine_vt *vt;
    char why[LOAD_WHY_BYTES];     /* why this engine */
    char build[LOAD_BUILD_BYTES]; /* what a failure of it is remembered by */
    char version[48];             /* of what computes */
    bool is_gpu;
    uint32_t others; /* bit i: engine_at(i) could take the model too, as far as is known */
} load_choice;

/* CAMA_ERR_ARG: it is not in this build; CAMA_ERR_UNSUPPORTED: it cannot run the model, and why. */
cama_err load_choose(const model_desc *m, const load_wish *w, load_choice *out, err_info *err);
/* The same with nothing but a name. */
cama_err load_engine(const model_desc *m, const char *name, const engine_vt **out, err_info *err);
/* "MLX 0.32.4, cama 0.1.0"; of an engine that is cama's own "cama 0.1.0". */
void load_build(const char *version, char out[LOAD_BUILD_BYTES]);

/* What o takes. What is pooled, or sees all its text at once, is computed in one step: unless
 * o->n_batch is the caller's own (is_batch_fixed) it is raised to the planned context. On failure
 * *out is as the engine left it: CAMA_ERR_NO_FIT fills it. */
cama_err load_plan(const engine_vt *vt, const model_desc *m, engine_opts *o, bool is_batch_fixed,
                   engine_bytes *out, err_info *err);

typedef enum load_place {
    LOAD_AUTO,   /* in memory where that is plentiful */
    LOAD_MAPPED, /* where the file lies */
    LOAD_MEMORY  /* or not at all */
} load_place;

/* *out_in_memory: the weights were read into this process. What was only a preference falls back to
 * the mapping: CAMA_OK, and err->code says why. watch as of gguf_load. */
cama_err load_weights(gguf_file *f, const engine_bytes *planned, load_place place,
                      const filemap_watch *watch, bool *out_in_memory, err_info *err);

/* CAMA_MLX_STOCK=1, for tests: engine_opts.stock. */
bool load_is_stock(void);

/* "none", "mean", "cls", "last", "rank". */
const char *load_pool_name(plan_pool_kind kind);
/* "f16", "f32", "bf16", "q8_0", "q4_0"; NULL: no cache has this type. */
const char *load_kv_name(quant_type t);
/* The other way. False: there is no such type. */
bool load_kv_type(const char *name, quant_type *out);

#endif
