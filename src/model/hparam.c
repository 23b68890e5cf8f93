#include "model/model_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEY_BYTES 256

void model_key_fail(model_keys *k, cama_err e, const char *fmt, ...)
{
    if (k->e)
        return;
    va_list args;
    va_start(args, fmt);
    k->e = err_vset(k->err, e, fmt, args);
    va_end(args);
}

/* "llama.block_count"; architectures' names are ours, so it fits. */
static void key_of(const model_keys *k, const char *name, char out[KEY_BYTES])
{
    (void)snprintf(out, KEY_BYTES, "%s.%s", k->m->arch->name, name);
}

/* True when there is a value to use. */
static bool got(model_keys *k, cama_err e)
{
    if (e && e != CAMA_ERR_NOT_FOUND)
        k->e = e; /* its text is in place */
    return e == CAMA_OK;
}

static uint32_t within(model_keys *k, const char *key, uint64_t v, uint32_t min, uint32_t max,
                       uint32_t fallback)
{
    if (v >= min && v <= max)
        return (uint32_t)v;
    model_key_fail(k, CAMA_ERR_FORMAT, "key '%s' is %llu, must be %u to %u", key,
                   (unsigned long long)v, min, max);
    return fallback;
}

uint32_t model_key_u32_or(model_keys *k, const char *name, uint32_t min, uint32_t max,
                          uint32_t fallback)
{
    char key[KEY_BYTES];
    uint64_t v;
    key_of(k, name, key);
    if (k->e || !got(k, gguf_get_u64(k->m->file, key, &v, k->err)))
        return fallback;
    return within(k, key, v, min, max, fallback);
}

uint32_t model_key_u32(model_keys *k, const char *name, uint32_t min, uint32_t max)
{
    char key[KEY_BYTES];
    uint64_t v;
    key_of(k, name, key);
    if (k->e)
        return min;
    if (!got(k, gguf_get_u64(k->m->file, key, &v, k->err))) {
        model_key_fail(k, CAMA_ERR_FORMAT, "key '%s' is missing", key);
        return min;
    }
    return within(k, key, v, min, max, min);
}

uint32_t model_key_u32_at(model_keys *k, const char *name, uint32_t i, uint32_t min, uint32_t max,
                          uint32_t fallback)
{
    char key[KEY_BYTES];
    uint64_t v;
    key_of(k, name, key);
    if (k->e || !got(k, gguf_get_u64_at(k->m->file, key, i, &v, k->err)))
        return fallback;
    return within(k, key, v, min, max, fallback);
}

bool model_key_is_array(const model_keys *k, const char *name)
{
    char key[KEY_BYTES];
    key_of(k, name, key);
    const gguf_kv *kv = gguf_find(k->m->file, key);
    return kv && kv->type == GGUF_ARRAY;
}

double model_key_f64_or(model_keys *k, const char *name, double min, double max, double fallback)
{
    char key[KEY_BYTES];
    double v;
    key_of(k, name, key);
    if (k->e || !got(k, gguf_get_f64(k->m->file, key, &v, k->err)))
        return fallback;
    if (v >= min && v <= max)
        return v;
    model_key_fail(k, CAMA_ERR_FORMAT, "key '%s' is %g, must be %g to %g", key, v, min, max);
    return fallback;
}

bool model_key_bool_or(model_keys *k, const char *name, bool fallback)
{
    char key[KEY_BYTES];
    bool v;
    key_of(k, name, key);
    if (k->e || !got(k, gguf_get_bool(k->m->file, key, &v, k->err)))
        return fallback;
    return v;
}

/* Some writers give a list even where all layers are alike; where they differ the generic forward
 * has no word for it. */
static uint32_t same_in_all(model_keys *k, const char *name, uint32_t min, uint32_t max,
                            uint32_t fallback)
{
    const uint32_t first = model_key_u32_at(k, name, 0, min, max, fallback);
    for (uint32_t i = 1; !k->e && i < k->m->hp.n_layer; i++)
        if (model_key_u32_at(k, name, i, min, max, fallback) != first)
            model_key_fail(k, CAMA_ERR_UNSUPPORTED,
                           "key '%s.%s' differs in layers 0 and %u, which cama cannot run yet",
                           k->m->arch->name, name, i);
    return first;
}

static void read_sizes(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    /* In the file block_count includes the blocks that predict further tokens; they are no part of
     * the main forward. */
    const uint32_t n_block = model_key_u32(k, "block_count", 1, MODEL_MAX_LAYER);
    const uint32_t n_next = model_key_u32_or(k, "nextn_predict_layers", 0, n_block - 1, 0);
    h->n_block = n_block;
    h->n_layer = n_block - n_next;
    h->n_embd = model_key_u32(k, "embedding_length", 1, MODEL_MAX_EMBD);
    h->n_ctx_train = model_key_u32(k, "context_length", 1, MODEL_MAX_CTX);
}

static void read_heads(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    char key[KEY_BYTES];
    key_of(k, "attention.head_count", key);
    if (!k->e && !gguf_find(k->m->file, key))
        model_key_fail(k, CAMA_ERR_FORMAT, "key '%s' is missing", key);
    h->n_head = same_in_all(k, "attention.head_count", 1, MODEL_MAX_HEAD, 1);
    h->n_head_kv = same_in_all(k, "attention.head_count_kv", 1, MODEL_MAX_HEAD, h->n_head);
    if (h->n_head % h->n_head_kv)
        model_key_fail(k, CAMA_ERR_FORMAT,
                       "key '%s' is %u, no multiple of the %u heads of keys and values", key,
                       h->n_head, h->n_head_kv);
    const uint32_t dim = h->n_embd / h->n_head;
    h->dim_k = model_key_u32_or(k, "attention.key_length", 1, MODEL_MAX_HEAD_DIM, dim);
    h->dim_v = model_key_u32_or(k, "attention.value_length", 1, MODEL_MAX_HEAD_DIM, dim);
    if (h->dim_k == 0 || h->dim_v == 0 || h->dim_k > MODEL_MAX_HEAD_DIM ||
        h->dim_v > MODEL_MAX_HEAD_DIM)
        model_key_fail(k, CAMA_ERR_FORMAT, "%u columns in %u heads: a head must have 1 to %u",
                       h->n_embd, h->n_head, MODEL_MAX_HEAD_DIM);
    const double eps = model_key_f64_or(k, "attention.layer_norm_epsilon", 0, 1, 1e-5);
    h->eps = (float)model_key_f64_or(k, "attention.layer_norm_rms_epsilon", 0, 1, eps);
}

static model_scaling read_scaling_type(model_keys *k)
{
    char key[KEY_BYTES];
    gguf_str s;
    key_of(k, "rope.scaling.type", key);
    if (k->e || !got(k, gguf_get_str(k->m->file, key, &s, k->err)))
        return MODEL_SCALING_LINEAR;
    static const struct {
        const char *name;
        model_scaling scaling;
    } types[] = {{"none", MODEL_SCALING_NONE},
                 {"linear", MODEL_SCALING_LINEAR},
                 {"yarn", MODEL_SCALING_YARN},
                 {"longrope", MODEL_SCALING_LONGROPE}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (s.n == strlen(types[i].name) && memcmp(s.text, types[i].name, s.n) == 0)
            return types[i].scaling;
    model_key_fail(k, CAMA_ERR_UNSUPPORTED,
                   "key '%s' is '%.*s', must be none, linear, yarn or longrope", key,
                   s.n < 64 ? (int)s.n : 64, s.text);
    return MODEL_SCALING_NONE;
}

static void read_rope(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    h->n_rot = model_key_u32_or(k, "rope.dimension_count", 2, h->dim_k, h->dim_k);
    if (h->n_rot % 2)
        model_key_fail(k, CAMA_ERR_FORMAT, "key '%s.rope.dimension_count' is %u, must be even",
                       k->m->arch->name, h->n_rot);
    const double own = k->m->arch->window_rope_base;
    h->rope_base = model_key_f64_or(k, "rope.freq_base", 1, 1e12, 10000);
    h->rope_base_window =
        model_key_f64_or(k, "rope.freq_base_swa", 1, 1e12, own != 0 ? own : h->rope_base);
    h->scaling = read_scaling_type(k);
    const double old = model_key_f64_or(k, "rope.scale_linear", 0, 1e6, 0);
    const double factor = model_key_f64_or(k, "rope.scaling.factor", 0, 1e6, old);
    h->rope_factor = factor != 0 && h->scaling != MODEL_SCALING_NONE ? factor : 1;
    h->n_ctx_orig = model_key_u32_or(k, "rope.scaling.original_context_length", 1, MODEL_MAX_CTX,
                                     h->n_ctx_train);
    h->attn_factor = model_key_f64_or(k, "rope.scaling.attn_factor", 0, 1e3, 1);
    h->yarn_ext = model_key_f64_or(k, "rope.scaling.yarn_ext_factor", -1, 1e3, 1);
    h->yarn_fast = model_key_f64_or(k, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32);
    h->yarn_slow = model_key_f64_or(k, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1);
    h->yarn_log_mul = model_key_f64_or(k, "rope.scaling.yarn_log_multiplier", -1e3, 1e3, 0);
    if (h->yarn_ext < 0) /* "unset", as some writers say it */
        h->yarn_ext = 1;
}

static void read_scales(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    const double big = 1e9;
    h->window = model_key_u32_or(k, "attention.sliding_window", 0, INT32_MAX, 0);
    h->attn_scale = model_key_f64_or(k, "attention.scale", 0, big, 0);
    h->attn_softcap = model_key_f64_or(k, "attn_logit_softcapping", 0, big, 0);
    h->logit_softcap = model_key_f64_or(k, "final_logit_softcapping", 0, big, 0);
    h->embed_scale = model_key_f64_or(k, "embedding_scale", 0, big, 0);
    h->residual_scale = model_key_f64_or(k, "residual_scale", 0, big, 0);
    h->logit_scale = model_key_f64_or(k, "logit_scale", 0, big, 0);
    if (k->m->arch->embed_sqrt)
        h->embed_scale = sqrt((double)h->n_embd);
}

static plan_gate read_gating(model_keys *k)
{
    const plan_gate own = k->m->arch->gating;
    const uint32_t id = model_key_u32_or(k, "expert_gating_func", 0, 4, 0);
    if (id == 4)
        model_key_fail(k, CAMA_ERR_UNSUPPORTED, "key '%s.expert_gating_func' is 4, must be 1 to 3",
                       k->m->arch->name);
    static const plan_gate gates[] = {PLAN_GATE_SOFTMAX, PLAN_GATE_SOFTMAX, PLAN_GATE_SIGMOID,
                                      PLAN_GATE_SOFTMAX_WEIGHT};
    return id >= 1 && id <= 3 ? gates[id] : own;
}

static void read_experts(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    h->n_expert = model_key_u32_or(k, "expert_count", 0, MODEL_MAX_EXPERT, 0);
    if (h->n_expert == 0)
        return;
    h->n_expert_used = model_key_u32(k, "expert_used_count", 1, h->n_expert);
    const uint32_t n_ff = model_key_u32_at(k, "feed_forward_length", 0, 0, MODEL_MAX_FF, 0);
    h->n_ff_exp = model_key_u32_or(k, "expert_feed_forward_length", 1, MODEL_MAX_FF, n_ff);
    if (h->n_ff_exp == 0)
        model_key_fail(k, CAMA_ERR_FORMAT, "key '%s.expert_feed_forward_length' is missing",
                       k->m->arch->name);
    h->n_shared = model_key_u32_or(k, "expert_shared_count", 0, MODEL_MAX_EXPERT, 0);
    const uint64_t n_shared_ff = (uint64_t)h->n_ff_exp * h->n_shared;
    if (n_shared_ff > MODEL_MAX_FF)
        model_key_fail(k, CAMA_ERR_FORMAT, "%u shared experts of %u columns: %u at most in all",
                       h->n_shared, h->n_ff_exp, MODEL_MAX_FF);
    h->n_ff_shared = model_key_u32_or(k, "expert_shared_feed_forward_length", 0, MODEL_MAX_FF,
                                      (uint32_t)n_shared_ff);
    h->n_dense_lead = model_key_u32_or(k, "leading_dense_block_count", 0, h->n_layer, 0);
    h->n_group = model_key_u32_or(k, "expert_group_count", 0, h->n_expert, 0);
    h->n_group_used = model_key_u32_or(k, "expert_group_used_count", 0, h->n_group, 0);
    if (h->n_group <= 1 || h->n_group_used == 0)
        h->n_group = h->n_group_used = 0;
    else if (h->n_expert % h->n_group)
        model_key_fail(k, CAMA_ERR_FORMAT,
                       "key '%s.expert_group_count' is %u, which does not divide %u experts",
                       k->m->arch->name, h->n_group, h->n_expert);
    h->gating = read_gating(k);
    h->moe_normalise = model_key_bool_or(k, "expert_weights_norm", !k->m->arch->moe_raw);
    const double scale = model_key_f64_or(k, "expert_weights_scale", 0, 1e6, 1);
    h->moe_scale = scale != 0 ? scale : 1;
}

static void read_pooling(model_keys *k)
{
    static const plan_pool_kind kinds[] = {PLAN_POOL_NONE, PLAN_POOL_MEAN, PLAN_POOL_CLS,
                                           PLAN_POOL_LAST, PLAN_POOL_RANK};
    model_hparams *h = &k->m->hp;
    h->causal = model_key_bool_or(k, "attention.causal", true);
    h->pooling = kinds[model_key_u32_or(k, "pooling_type", 0, 4, 0)];
    if (h->pooling == PLAN_POOL_RANK)
        model_key_fail(k, CAMA_ERR_UNSUPPORTED,
                       "key '%s.pooling_type' is 4: rerankers cannot be run yet", k->m->arch->name);
}

cama_err model_read_hparams(model_desc *m, err_info *err)
{
    model_keys k = {.m = m, .err = err};
    read_sizes(&k);
    if (!k.e) /* what follows divides by the sizes */
        read_heads(&k);
    if (!k.e) {
        read_rope(&k);
        read_scales(&k);
        read_experts(&k);
        read_pooling(&k);
    }
    if (!k.e && m->arch->keys)
        m->arch->keys(&k);
    return k.e;
}
