/* The table of architectures, and where each tensor of a folder goes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import/import_int.h"

/* ---- metadata of single architectures ---- */

static void put_f32(importer *m, const char *name, const char *from, double fallback)
{
    char key[IMPORT_KEY_BYTES];
    const double v = import_f64(m, m->config, from, fallback);
    if (v != 0)
        gguf_put_f32(&m->w, import_key(m, name, key), (float)v);
}

static void put_window(importer *m)
{
    char key[IMPORT_KEY_BYTES];
    const uint64_t n = import_u64(m, m->config, "sliding_window", INT32_MAX, 4096);
    gguf_put_u32(&m->w, import_key(m, "attention.sliding_window", key), (uint32_t)n);
}

/* Scores are divided by the root of this; the forward takes the head's width for it. */
static void put_scale(importer *m)
{
    char key[IMPORT_KEY_BYTES];
    const double head = (double)m->dims[IMPORT_HEAD];
    const double scalar = import_f64(m, m->config, "query_pre_attn_scalar", head);
    if (!(scalar > 0))
        (void)import_fail(m, CAMA_ERR_FORMAT, "config.json: query_pre_attn_scalar is %g", scalar);
    else if (scalar != head)
        gguf_put_f32(&m->w, import_key(m, "attention.scale", key), (float)(1 / sqrt(scalar)));
}

static void keys_gemma2(importer *m)
{
    put_window(m);
    put_scale(m);
    put_f32(m, "attn_logit_softcapping", "attn_logit_softcapping", 50);
    put_f32(m, "final_logit_softcapping", "final_logit_softcapping", 30);
}

/* Every sixth layer sees all tokens; the forward has no word for another order. */
static void keys_gemma3(importer *m)
{
    char key[IMPORT_KEY_BYTES];
    const json_value *types = json_get(m->config, "layer_types");
    bool usual = import_u64(m, m->config, "sliding_window_pattern", 1000, 6) == 6;
    for (size_t i = 0; types && types->kind == JSON_ARRAY && i < types->n; i++) {
        const json_value *v = types->items[i];
        const char *want = i % 6 == 5 ? "full_attention" : "sliding_attention";
        usual = usual && v->kind == JSON_STRING && !strcmp(v->text, want);
    }
    if (!usual)
        (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                          "config.json: every sixth layer must see all tokens, and no other");
    put_window(m);
    put_scale(m);
    gguf_put_f32(&m->w, import_key(m, "rope.freq_base_swa", key),
                 (float)import_f64(m, m->config, "rope_local_base_freq", 10000));
}

/* ---- the table ---- */

static const import_moe moe_qwen = {.router = "mlp.gate",
                                    .stacked = "mlp.switch_mlp.",
                                    .each = "mlp.experts.",
                                    .each_end = {".gate_proj", ".up_proj", ".down_proj"}};
static const import_moe moe_mixtral = {.router = "block_sparse_moe.gate",
                                       .stacked = "block_sparse_moe.switch_mlp.",
                                       .each = "block_sparse_moe.experts.",
                                       .each_end = {".w1", ".w3", ".w2"}};

#define GEMMA .norm_plus_1 = true
static const import_arch archs[] = {
    {.hf = "LlamaForCausalLM", .gguf = "llama", .turns_qk = true},
    {.hf = "MistralForCausalLM", .gguf = "llama", .turns_qk = true},
    {.hf = "MixtralForCausalLM", .gguf = "llama", .turns_qk = true, .moe = &moe_mixtral},
    {.hf = "Qwen2ForCausalLM", .gguf = "qwen2"},
    {.hf = "Qwen3ForCausalLM", .gguf = "qwen3", .qk_norm = true},
    {.hf = "Qwen3MoeForCausalLM", .gguf = "qwen3moe", .qk_norm = true, .moe = &moe_qwen},
    {.hf = "GemmaForCausalLM", .gguf = "gemma", GEMMA},
    {.hf = "Gemma2ForCausalLM", .gguf = "gemma2", GEMMA, .post_norms = true, .keys = keys_gemma2},
    {.hf = "Gemma3ForCausalLM",
     .gguf = "gemma3",
     GEMMA,
     .post_norms = true,
     .qk_norm = true,
     .keys = keys_gemma3},
};
#define N_ARCH (sizeof archs / sizeof *archs)

const import_arch *import_arch_find(importer *m, const char *hf)
{
    char known[400] = "";
    for (size_t i = 0; i < N_ARCH; i++) {
        if (!strcmp(archs[i].hf, hf))
            return &archs[i];
        const size_t n = strlen(known);
        (void)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", archs[i].hf);
    }
    (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                      "the architecture '%.80s' cannot be imported; these can: %s", hf, known);
    return NULL;
}

/* ---- tensors ---- */

/* What a tensor is there for, beside its place. */
enum { MAY_LACK = 1, NORM = 2, TURNS_Q = 4, TURNS_K = 8 };

typedef struct tensor_row {
    const char *hf, *gguf; /* within a layer, or whole */
    import_dim n_in, n_out;
    int flags;
} tensor_row;

static const tensor_row layer_rows[] = {
    {"input_layernorm", "attn_norm", IMPORT_EMBD, IMPORT_ONE, NORM},
    {"self_attn.q_proj", "attn_q", IMPORT_EMBD, IMPORT_Q, TURNS_Q},
    {"self_attn.k_proj", "attn_k", IMPORT_EMBD, IMPORT_KV, TURNS_K},
    {"self_attn.v_proj", "attn_v", IMPORT_EMBD, IMPORT_KV, 0},
    {"self_attn.o_proj", "attn_output", IMPORT_Q, IMPORT_EMBD, 0},
};

static const tensor_row mlp_rows[] = {
    {"mlp.gate_proj", "ffn_gate", IMPORT_EMBD, IMPORT_FF, 0},
    {"mlp.up_proj", "ffn_up", IMPORT_EMBD, IMPORT_FF, 0},
    {"mlp.down_proj", "ffn_down", IMPORT_FF, IMPORT_EMBD, 0},
};

static const tensor_row plain_norms[] = {
    {"post_attention_layernorm", "ffn_norm", IMPORT_EMBD, IMPORT_ONE, NORM},
};

static const tensor_row post_norms[] = {
    {"post_attention_layernorm", "post_attention_norm", IMPORT_EMBD, IMPORT_ONE, NORM},
    {"pre_feedforward_layernorm", "ffn_norm", IMPORT_EMBD, IMPORT_ONE, NORM},
    {"post_feedforward_layernorm", "post_ffw_norm", IMPORT_EMBD, IMPORT_ONE, NORM},
};

static const tensor_row qk_norms[] = {
    {"self_attn.q_norm", "attn_q_norm", IMPORT_HEAD, IMPORT_ONE, NORM},
    {"self_attn.k_norm", "attn_k_norm", IMPORT_HEAD, IMPORT_ONE, NORM},
};

/* Room for one more; NULL is a failure that stuck. */
static import_tensor *add(importer *m, const char *name)
{
    if (m->n_tensor == m->cap) {
        const size_t cap = m->cap ? 2 * m->cap : 256;
        import_tensor *more = realloc(m->tensors, cap * sizeof *more);
        if (!more) {
            (void)import_fail(m, CAMA_ERR_NOMEM, "no memory for %zu tensors", cap);
            return NULL;
        }
        m->tensors = more;
        m->cap = cap;
    }
    import_tensor *t = &m->tensors[m->n_tensor++];
    *t = (import_tensor){.n_dims = 1, .n_out = 1};
    (void)snprintf(t->name, sizeof t->name, "%s", name); /* ours: it fits */
    return t;
}

void import_add_made(importer *m, const char *name, const float *values, size_t n)
{
    import_tensor *t = add(m, name);
    if (!t)
        return;
    t->type = QUANT_F32;
    t->form = IMPORT_MADE;
    t->n_in = n;
    t->made = values;
}

/* The matrix or norm of a row, and its bias where there is one. */
static void add_row(importer *m, const char *hf_prefix, const char *gguf_prefix,
                    const tensor_row *row)
{
    char base[SAFET_MAX_NAME_BYTES], name[GGUF_MAX_NAME_BYTES + 1];
    (void)snprintf(base, sizeof base, "%s%s", hf_prefix, row->hf);
    if (row->flags & MAY_LACK && !import_has(m, base, ".weight"))
        return;
    const uint32_t n_turn = !m->arch->turns_qk     ? 0
                            : row->flags & TURNS_Q ? m->n_head
                            : row->flags & TURNS_K ? m->n_head_kv
                                                   : 0;
    const bool vector = row->n_out == IMPORT_ONE;
    for (int bias = 0; bias < 2; bias++) {
        const char *suffix = bias ? ".bias" : ".weight";
        if (bias && (vector || !import_has(m, base, suffix)))
            return;
        (void)snprintf(name, sizeof name, "%s%s%s", gguf_prefix, row->gguf, suffix);
        import_tensor *t = add(m, name);
        if (!t)
            return;
        t->n_in = m->dims[bias ? row->n_out : row->n_in];
        t->n_out = bias ? 1 : m->dims[row->n_out];
        t->n_dims = vector || bias ? 1 : 2;
        t->n_turn = n_turn;
        t->plus = row->flags & NORM && m->arch->norm_plus_1 ? 1.0f : 0.0f;
        if (!import_find_weight(m, base, suffix, t))
            return;
    }
}

/* The router, and each projection of all experts as one tensor. */
static void add_moe(importer *m, const char *hf, const char *gguf)
{
    static const char *const names[] = {"gate", "up", "down"};
    const import_moe *moe = m->arch->moe;
    const tensor_row router = {moe->router, "ffn_gate_inp", IMPORT_EMBD, IMPORT_EXPERTS, 0};
    add_row(m, hf, gguf, &router);
    for (size_t i = 0; i < 3 && !m->err.code; i++) {
        char stacked[128], each[128], name[GGUF_MAX_NAME_BYTES + 1];
        const bool down = i == 2;
        (void)snprintf(stacked, sizeof stacked, "%s%s%s_proj", hf, moe->stacked, names[i]);
        (void)snprintf(each, sizeof each, "%s%s", hf, moe->each);
        (void)snprintf(name, sizeof name, "%sffn_%s_exps.weight", gguf, names[i]);
        import_tensor *t = add(m, name);
        if (!t)
            return;
        t->n_dims = 3;
        t->n_in = m->dims[down ? IMPORT_FF_EXPERT : IMPORT_EMBD];
        t->n_out = m->dims[down ? IMPORT_EMBD : IMPORT_FF_EXPERT];
        t->n_expert = m->dims[IMPORT_EXPERTS];
        if (import_has(m, stacked, ".weight"))
            (void)import_find_weight(m, stacked, ".weight", t);
        else
            (void)import_find_experts(m, each, moe->each_end[i], t);
    }
}

static void add_layer(importer *m, uint32_t layer)
{
    const struct {
        const tensor_row *rows;
        size_t n;
    } parts[] = {
        {layer_rows, sizeof layer_rows / sizeof *layer_rows},
        {mlp_rows, m->arch->moe ? 0 : sizeof mlp_rows / sizeof *mlp_rows},
        {m->arch->post_norms ? post_norms : plain_norms,
         m->arch->post_norms ? sizeof post_norms / sizeof *post_norms : 1},
        {qk_norms, m->arch->qk_norm ? sizeof qk_norms / sizeof *qk_norms : 0},
    };
    char hf[64], gguf[32];
    (void)snprintf(hf, sizeof hf, "model.layers.%u.", layer);
    (void)snprintf(gguf, sizeof gguf, "blk.%u.", layer);
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        for (size_t i = 0; i < parts[p].n && !m->err.code; i++)
            add_row(m, hf, gguf, &parts[p].rows[i]);
    }
    if (m->arch->moe && !m->err.code)
        add_moe(m, hf, gguf);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && !strcmp(text + n - n_end, end);
}

/* Tables that old writers stored beside the weights and that follow from config.json, and a head
 * that is the table of embeddings once more. */
static bool may_be_left(const importer *m, const char *name)
{
    return ends_with(name, ".rotary_emb.inv_freq") || (m->is_tied && !strncmp(name, "lm_head.", 8));
}

static void refuse_strangers(importer *m)
{
    for (size_t i = 0; i < safet_n_tensor(m->weights); i++) {
        const safet_tensor *t = safet_tensor_at(m->weights, i);
        if (!m->used[i] && !may_be_left(m, t->name)) {
            (void)import_fail(m, CAMA_ERR_UNSUPPORTED,
                              "tensor '%.80s' has no place in a model of %s", t->name, m->arch->hf);
            return;
        }
    }
}

void import_tensors(importer *m)
{
    static const tensor_row embed = {"model.embed_tokens", "token_embd", IMPORT_EMBD, IMPORT_VOCAB,
                                     0};
    static const tensor_row norm = {"model.norm", "output_norm", IMPORT_EMBD, IMPORT_ONE, NORM};
    static const tensor_row head = {"lm_head", "output", IMPORT_EMBD, IMPORT_VOCAB, MAY_LACK};
    add_row(m, "", "", &embed);
    for (uint32_t i = 0; i < m->n_layer && !m->err.code; i++)
        add_layer(m, i);
    if (!m->err.code)
        add_row(m, "", "", &norm);
    if (!m->err.code && !m->is_tied)
        add_row(m, "", "", &head);
    if (!m->err.code)
        refuse_strangers(m);
}
