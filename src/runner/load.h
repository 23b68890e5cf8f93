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

/* The engine of this name, or (NULL or "") the one that fits best. CAMA_ERR_ARG: it is not in this
 * build; CAMA_ERR_UNSUPPORTED: it cannot run the model, and why. */
cama_err load_engine(const model_desc *m, const char *name, const engine_vt **out, err_info *err);

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

/* "none", "mean", "cls", "last", "rank". */
const char *load_pool_name(plan_pool_kind kind);
/* "f16", "f32", "bf16", "q8_0", "q4_0"; NULL: no cache has this type. */
const char *load_kv_name(quant_type t);
/* The other way. False: there is no such type. */
bool load_kv_type(const char *name, quant_type *out);

#endif
