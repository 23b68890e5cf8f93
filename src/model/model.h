/* model.h - a model: hyper-parameters, tensors by name, and its forward on plan/ops.h.
 *
 * Most architectures are a row of the descriptor table (arch.c); what takes attention's place and
 * a forward that is shaped otherwise have files of their own. model_open checks every
 * hyper-parameter against its limit and every tensor against the shape its architecture expects, so
 * that an engine may trust the plan; a tensor that the forward has no place for is refused.
 * Immutable after open; any thread.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "gguf/gguf.h"
#include "plan/plan.h"

typedef struct model_desc model_desc; /* opaque outside src/model */

/* What everyone asks. */
typedef struct model_info {
    const char *arch; /* "llama" */
    const char *name; /* general.name, or "" */
    const char *size_label;
    const char *file_type; /* the weights' most common type by bytes: "Q4_K" */
    uint64_t n_param;
    uint64_t weight_bytes; /* tensors' bytes */
    uint32_t n_layer, n_embd, n_head, n_head_kv, n_vocab, n_ctx_train, n_expert, n_expert_used;
    bool causal; /* can generate */
    plan_pool_kind pooling;
} model_info;

/* CAMA_ERR_UNSUPPORTED: unknown architecture (the known ones are listed in the text), or a tensor,
 * type or value that cama has no forward for; CAMA_ERR_FORMAT: key or tensor missing, out of range,
 * or of another shape; CAMA_ERR_LIMIT: too many rows of embeddings; CAMA_ERR_NOMEM.
 * f stays the caller's and must outlive the model. */
cama_err model_open(const gguf_file *f, model_desc **out, err_info *err);
void model_close(model_desc *m); /* accepts NULL */

const model_info *model_get_info(const model_desc *m);
const gguf_file *model_file(const model_desc *m);

/* Choices that change the recorded forward. */
typedef struct model_record_opts {
    uint32_t n_ctx; /* tokens of one sequence: chooses long or short RoPE factors */
} model_record_opts;

/* Records the forward and runs the fusion passes. The plan lives in a. */
cama_err model_record(const model_desc *m, const model_record_opts *opts, arena *a,
                      const plan **out, err_info *err);

/* Names of the architectures that model_open takes; NULL past the end. */
const char *model_arch_at(size_t i);

#endif
