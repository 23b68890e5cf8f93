/* model_int.h - what the files of this room share: the descriptor of an architecture, what was read
 * of a file, and the three stages of its life.
 *
 *     keys    metadata -> model_hparams, each value within its limit      hparam.c
 *     bind    tensors by name -> model_layer, each of the expected shape  tensors.c, layer.c
 *     record  model_layer -> nodes of a plan                              forward.c, rope.c
 *
 * An architecture is a row of the table in arch.c. What attention is replaced by (MLA, a delta net)
 * is a model_mixer in a file of its own; only a forward that is shaped otherwise (bert.c) has its
 * own `record`.
 */
#ifndef MODEL_MODEL_INT_H
#define MODEL_MODEL_INT_H

#include "base/arena.h"
#include "model/model.h"
#include "plan/ops.h"

#define MODEL_MAX_LAYER 512u
#define MODEL_MAX_EXPERT 512u
#define MODEL_MAX_HEAD 4096u
#define MODEL_MAX_HEAD_DIM 1024u
#define MODEL_MAX_EMBD (1u << 20)
#define MODEL_MAX_FF (1u << 24)
#define MODEL_MAX_VOCAB (1u << 24)
#define MODEL_MAX_CTX (1u << 30)
#define MODEL_MAX_ARENA ((size_t)256 << 20)
#define MODEL_CTX_STEP 256u /* contexts are compared with a limit of the file rounded up to it */

typedef enum model_norm { MODEL_RMS, MODEL_LAYER_NORM } model_norm;
typedef enum model_placement {
    MODEL_PRE,       /* x += f(norm x), twice; norms after f where the file has them */
    MODEL_POST_ONLY, /* x += norm f(x) */
    MODEL_PARALLEL   /* x += attention(h) + ffn(h), h = norm x */
} model_placement;
typedef enum model_qk_norm {
    MODEL_QK_NONE,
    MODEL_QK_HEAD, /* RMS over each head */
    MODEL_QK_ROW   /* RMS over all heads at once */
} model_qk_norm;
typedef enum model_rope_style { MODEL_ROPE_NORM, MODEL_ROPE_NEOX } model_rope_style;

typedef struct model_keys model_keys;
typedef struct model_bind model_bind;
typedef struct model_rec model_rec;
typedef struct model_layer model_layer;

/* What mixes the rows of a sequence in a layer. */
typedef struct model_mixer {
    void (*bind)(model_bind *b, model_layer *l);
    const ops_val *(*record)(model_rec *r, const model_layer *l, const ops_val *h);
} model_mixer;

extern const model_mixer model_attention; /* attention.c: what most layers have */

/* One architecture. Zero is the common case of every field: a row names what differs from llama. */
typedef struct model_arch {
    const char *name;
    model_norm norm;
    model_placement placement;
    const char *ffn_norm; /* name of the norm before the FFN; NULL: "ffn_norm" */
    bool post_norms;      /* post_attention_norm and post_ffw_norm, required */
    model_qk_norm qk_norm;
    bool qk_norm_optional;
    bool q_gate; /* attn_q holds [q | gate] a head; attention's output is times sigmoid(gate) */
    bool sinks;
    model_rope_style rope;
    uint32_t nope_every;     /* layers (i + 1) % n == 0 have no RoPE; 0: none */
    bool rope_in_window;     /* RoPE in windowed layers alone */
    bool learned_positions;  /* position_embd, and no RoPE (nope_every 1) */
    uint32_t window_every;   /* layers (i + 1) % n == 0 see everything, others the window; 0: all */
    bool window_rope_plain;  /* windowed layers: RoPE without the file's scaling */
    double window_rope_base; /* theirs, unless the file says; 0: that of all layers */
    plan_act_fn act;         /* of the gated FFN */
    bool grouped_delta;      /* neighbouring value heads of a delta net share a key head */
    bool embed_sqrt;         /* embeddings times sqrt(n_embd) */
    bool logit_divide;       /* logits are divided by logit_scale, not multiplied */
    plan_gate gating;        /* unless the file says */
    bool moe_raw;            /* the weights of the chosen are not normalised unless the file says */
    bool oai_glu;
    /* NULL in most rows: */
    void (*keys)(model_keys *k);                                      /* more keys */
    const model_mixer *(*mixer)(const model_desc *m, uint32_t layer); /* not attention */
    void (*bind)(model_bind *b);  /* replaces the generic binding of all tensors */
    void (*record)(model_rec *r); /* replaces the generic forward */
} model_arch;

const model_arch *model_arch_find(const char *name, size_t n); /* NULL: unknown */

typedef enum model_scaling {
    MODEL_SCALING_NONE,
    MODEL_SCALING_LINEAR,
    MODEL_SCALING_YARN,
    MODEL_SCALING_LONGROPE
} model_scaling;

typedef struct model_hparams {
    uint32_t n_block; /* of the file; n_layer of them are the main forward */
    uint32_t n_layer, n_embd, n_vocab, n_ctx_train;
    uint32_t n_head, n_head_kv, dim_k, dim_v;
    float eps;
    /* RoPE */
    uint32_t n_rot;
    double rope_base, rope_base_window;
    model_scaling scaling;
    double rope_factor; /* angles are divided by it; 1: not scaled */
    uint32_t n_ctx_orig;
    double attn_factor, yarn_ext, yarn_fast, yarn_slow, yarn_log_mul;
    int32_t sections[4]; /* pairs for each axis of positions (IM-RoPE); all 0: one axis */
    /* attention */
    uint32_t window; /* 0: none */
    double attn_scale, attn_softcap;
    /* scales; 0: none */
    double embed_scale, residual_scale, logit_scale, logit_softcap;
    /* experts; n_expert 0: none */
    uint32_t n_expert, n_expert_used, n_ff_exp, n_shared, n_ff_shared;
    uint32_t n_group, n_group_used, n_dense_lead;
    plan_gate gating;
    bool moe_normalise;
    double moe_scale;
    /* MLA */
    uint32_t q_lora, kv_lora, mla_dim_k, mla_dim_v;
    /* delta net */
    uint32_t n_conv, n_state, n_inner, n_v_head, n_k_head, full_every;
    bool causal;
    plan_pool_kind pooling;
} model_hparams;

typedef struct model_ffn {
    uint32_t n_ff;
    plan_linear gate, up, down; /* gate.w NULL: up holds [gate; up] */
    bool has_experts;
    plan_linear router;
    const plan_tensor *selection_bias;
    ops_experts experts;
    plan_linear shared_gate, shared_up, shared_down; /* w NULL: no shared expert */
    plan_linear shared_router;                       /* w NULL: always on */
} model_ffn;

struct model_layer {
    uint32_t i;
    bool windowed;
    const model_mixer *mixer;
    const plan_tensor *attn_norm, *attn_norm_b, *post_attn_norm;
    const plan_tensor *ffn_norm, *ffn_norm_b, *post_ffn_norm;
    plan_linear q, k, v, qkv, o; /* qkv.w NULL: apart */
    const plan_tensor *q_norm, *k_norm, *sinks;
    model_ffn ffn;
    const void *own; /* what another mixer bound */
};

struct model_desc {
    const gguf_file *file;
    arena arena;
    const model_arch *arch;
    model_info info;
    model_hparams hp;
    model_layer *layers; /* [n_layer] */
    const plan_tensor *token_embd, *output_norm, *output_norm_b;
    const plan_tensor *token_types, *position_embd, *embd_norm, *embd_norm_b;
    plan_linear head;
    const float *rope_freqs, *rope_long, *rope_short; /* [n_rot / 2] divisors, or NULL */
};

/* ---- keys: "<arch>.<name>". The first failure sticks; later calls give the default. ---- */
struct model_keys {
    model_desc *m;
    cama_err e;
    err_info *err;
};

/* Required. Fails outside min..max. */
uint32_t model_key_u32(model_keys *k, const char *name, uint32_t min, uint32_t max);
/* Absent: fallback, which is not checked. */
uint32_t model_key_u32_or(model_keys *k, const char *name, uint32_t min, uint32_t max,
                          uint32_t fallback);
/* Entry i of a key that may be one number or an array with at least n_layer of them. */
uint32_t model_key_u32_at(model_keys *k, const char *name, uint32_t i, uint32_t min, uint32_t max,
                          uint32_t fallback);
bool model_key_is_array(const model_keys *k, const char *name);
double model_key_f64_or(model_keys *k, const char *name, double min, double max, double fallback);
bool model_key_bool_or(model_keys *k, const char *name, bool fallback);
void model_key_fail(model_keys *k, cama_err e, const char *fmt, ...) ERR_PRINTF(3, 4);
/* Everything that more than one architecture reads. */
cama_err model_read_hparams(model_desc *m, err_info *err);

/* ---- bind: tensors by name. The first failure sticks. ---- */
struct model_bind {
    model_desc *m;
    int layer;  /* names get "blk.N." before them; -1: none */
    bool *used; /* [gguf_n_tensor] */
    cama_err e;
    err_info *err;
};

typedef struct model_shape {
    uint64_t n[3]; /* 0 at the end: 1 */
} model_shape;
#define MODEL_SHAPE(...) ((model_shape){{__VA_ARGS__}})

/* "<name>" with the layer's prefix, in the model's arena. A vector must be F32, others a weight
 * format. NULL after a failure. */
const plan_tensor *model_need(model_bind *b, plan_role role, const char *name, model_shape s);
/* NULL when the file has none. */
const plan_tensor *model_want(model_bind *b, plan_role role, const char *name, model_shape s);
bool model_has(const model_bind *b, const char *name);
/* "<base>.weight" and, if there, "<base>.bias". */
plan_linear model_need_linear(model_bind *b, plan_role role, const char *base, uint64_t n_in,
                              uint64_t n_out);
plan_linear model_want_linear(model_bind *b, plan_role role, const char *base, uint64_t n_in,
                              uint64_t n_out);
/* "<base>.weight" [n_embd] and, if there, "<base>.bias": a norm of whole rows. */
void model_bind_norm(model_bind *b, const char *base, const plan_tensor **out_w,
                     const plan_tensor **out_b);
/* A tensor that takes part in nothing: named as used. */
void model_skip(model_bind *b, const char *name);
void model_bind_fail(model_bind *b, cama_err e, const char *fmt, ...) ERR_PRINTF(3, 4);
void *model_take(model_bind *b, size_t n, size_t size); /* of the model's arena; NULL: failed */
/* Finds every tensor; a tensor that nothing asked for is CAMA_ERR_UNSUPPORTED. */
cama_err model_bind_all(model_desc *m, err_info *err);
void model_bind_embeddings(model_bind *b); /* token_embd, with its number of rows */

/* ---- record ---- */
struct model_rec {
    const model_desc *m;
    ops *o;
    arena *a; /* the plan's */
    uint32_t n_ctx;
    plan_rope rope[2]; /* of layers that see everything, of windowed ones */
};

/* Fills rope[windowed]; false: no memory. */
bool model_rope_init(model_rec *r, bool windowed);
/* n_rot columns of each head of x, the first of them `from`. */
const ops_val *model_rope(model_rec *r, const ops_val *x, bool windowed, size_t head_dim,
                          size_t from);
const ops_val *model_norm_of(model_rec *r, const ops_val *x, const plan_tensor *w,
                             const plan_tensor *b);
void model_record_generic(model_rec *r);
/* Final outputs of normed rows: logits where there is a head, hidden rows, the pooled row. */
void model_record_outputs(model_rec *r, const ops_val *x);

/* ---- hooks of rows ---- */
void model_keys_mla(model_keys *k); /* deepseek2.c */
const model_mixer *model_pick_mla(const model_desc *m, uint32_t layer);
void model_keys_delta(model_keys *k); /* qwen35.c */
const model_mixer *model_pick_delta(const model_desc *m, uint32_t layer);
void model_keys_bert(model_keys *k); /* bert.c */
void model_bind_bert(model_bind *b);
void model_record_bert(model_rec *r);

#endif
