/* arch.c - the table of architectures. A row names what differs from llama; docs/models.md says how
 * to add one. */
#include "model/model_int.h"

#include <math.h>
#include <string.h>

/* The largest Gemma of each generation scales attention by the width of the model. */
static void keys_gemma(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    const bool second = strcmp(k->m->arch->name, "gemma2") == 0;
    if (h->attn_scale == 0 && h->n_layer == (second ? 46 : 62))
        h->attn_scale = 1 / sqrt((double)h->n_embd / h->n_head);
    if (!second)
        return;
    /* What the files leave out when it has the usual value. */
    h->window = model_key_u32_or(k, "attention.sliding_window", 1, INT32_MAX, 4096);
    h->attn_softcap = model_key_f64_or(k, "attn_logit_softcapping", 0, 1e9, 50);
    h->logit_softcap = model_key_f64_or(k, "final_logit_softcapping", 0, 1e9, 30);
}

#define NEOX .rope = MODEL_ROPE_NEOX
#define QK_HEAD .qk_norm = MODEL_QK_HEAD
#define POST_NORM_FFN .ffn_norm = "post_attention_norm"
#define DELTA_NET .q_gate = true, POST_NORM_FFN, .keys = model_keys_delta, .mixer = model_pick_delta

static const model_arch archs[] = {
    {.name = "llama"}, /* and mistral, mixtral, tinyllama, smollm, yi, ... */
    {.name = "qwen2", NEOX},
    {.name = "qwen2moe", NEOX, .moe_raw = true},
    {.name = "qwen3", NEOX, QK_HEAD},
    {.name = "qwen3moe", NEOX, QK_HEAD},
    {.name = "qwen35", NEOX, QK_HEAD, DELTA_NET},
    {.name = "qwen35moe", NEOX, QK_HEAD, DELTA_NET},
    {.name = "gemma", NEOX, .act = PLAN_GELU_TANH, .embed_sqrt = true},
    {.name = "qwen3next", NEOX, QK_HEAD, DELTA_NET, .grouped_delta = true},
    {.name = "gemma2",
     NEOX,
     .post_norms = true,
     .window_every = 2,
     .act = PLAN_GELU_TANH,
     .embed_sqrt = true,
     .keys = keys_gemma},
    {.name = "gemma3",
     NEOX,
     QK_HEAD,
     .post_norms = true,
     .window_every = 6,
     .window_rope_plain = true,
     .window_rope_base = 10000,
     .act = PLAN_GELU_TANH,
     .embed_sqrt = true,
     .keys = keys_gemma},
    {.name = "deepseek2", .moe_raw = true, .keys = model_keys_mla, .mixer = model_pick_mla},
    {.name = "nomic-bert",
     NEOX,
     .norm = MODEL_LAYER_NORM,
     .keys = model_keys_bert,
     .bind = model_bind_bert,
     .record = model_record_bert},
    {.name = "bert",
     .norm = MODEL_LAYER_NORM,
     .act = PLAN_GELU_TANH,
     .nope_every = 1,
     .learned_positions = true,
     .keys = model_keys_bert,
     .bind = model_bind_bert,
     .record = model_record_bert},
    {.name = "smollm3", .nope_every = 4},
    {.name = "seed_oss", NEOX, POST_NORM_FFN},
    {.name = "internlm2"},
    {.name = "ernie4_5"},
    {.name = "granite", .logit_divide = true},
    {.name = "granitemoe", .logit_divide = true},
    {.name = "olmo2",
     NEOX,
     .placement = MODEL_POST_ONLY,
     .post_norms = true,
     .qk_norm = MODEL_QK_ROW,
     .window_every = 4,
     .window_rope_plain = true},
    {.name = "phi3", NEOX},
    {.name = "glm4", .post_norms = true},
    {.name = "glm4moe",
     NEOX,
     QK_HEAD,
     .qk_norm_optional = true,
     POST_NORM_FFN,
     .gating = PLAN_GATE_SIGMOID,
     .moe_raw = true},
    {.name = "cohere2",
     .norm = MODEL_LAYER_NORM,
     .placement = MODEL_PARALLEL,
     .window_every = 4,
     .rope_in_window = true},
    {.name = "gpt-oss",
     NEOX,
     POST_NORM_FFN,
     .sinks = true,
     .window_every = 2,
     .gating = PLAN_GATE_SOFTMAX_WEIGHT,
     .oai_glu = true},
};

#define N_ARCH (sizeof archs / sizeof *archs)

const model_arch *model_arch_find(const char *name, size_t n)
{
    for (size_t i = 0; i < N_ARCH; i++)
        if (strlen(archs[i].name) == n && memcmp(archs[i].name, name, n) == 0)
            return &archs[i];
    return NULL;
}

const char *model_arch_at(size_t i)
{
    return i < N_ARCH ? archs[i].name : NULL;
}
