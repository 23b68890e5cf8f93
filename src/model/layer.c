/* layer.c - the tensors of a generic transformer, each found by name and checked for its shape. */
#include "model/model_int.h"

#include <string.h>

/* How many tokens the file says it has; 0: it does not. */
static uint64_t n_token_of(model_bind *b)
{
    const gguf_kv *tokens = gguf_find(b->m->file, "tokenizer.ggml.tokens");
    model_keys k = {.m = b->m, .err = b->err};
    if (tokens)
        return tokens->n;
    const uint32_t n = model_key_u32_or(&k, "vocab_size", 1, MODEL_MAX_VOCAB, 0);
    if (k.e && !b->e)
        b->e = k.e;
    return n;
}

void model_bind_embeddings(model_bind *b)
{
    static const char name[] = "token_embd.weight";
    model_desc *m = b->m;
    const gguf_tensor *t = gguf_find_tensor(m->file, name);
    const uint64_t n_row = t ? t->ne[1] : 1;
    const uint64_t n_token = n_token_of(b);
    if (n_row > MODEL_MAX_VOCAB)
        model_bind_fail(b, CAMA_ERR_LIMIT, "tensor '%s' has %llu rows, at most %u", name,
                        (unsigned long long)n_row, MODEL_MAX_VOCAB);
    else if (t && n_token != 0 && n_token != n_row)
        model_bind_fail(b, CAMA_ERR_FORMAT, "tensor '%s' has %llu rows for %llu tokens", name,
                        (unsigned long long)n_row, (unsigned long long)n_token);
    m->hp.n_vocab = (uint32_t)n_row;
    m->token_embd = model_need(b, PLAN_ROLE_EMBED, name, MODEL_SHAPE(m->hp.n_embd, m->hp.n_vocab));
}

/* A tied table is a weight of its own in the plan: it has another role there. */
static void bind_head(model_bind *b)
{
    model_desc *m = b->m;
    m->head = model_want_linear(b, PLAN_ROLE_HEAD, "output", m->hp.n_embd, m->hp.n_vocab);
    if (!m->head.w)
        m->head.w = model_need(b, PLAN_ROLE_HEAD, "token_embd.weight",
                               MODEL_SHAPE(m->hp.n_embd, m->hp.n_vocab));
}

/* One divisor for each pair, finite and not 0: angles are divided by them. */
static const float *bind_factors(model_bind *b, const char *name)
{
    const uint32_t n = b->m->hp.n_rot / 2;
    const plan_tensor *t = model_want(b, PLAN_ROLE_OTHER, name, MODEL_SHAPE(n));
    float *out = t ? model_take(b, n, sizeof *out) : NULL;
    if (!out)
        return NULL;
    memcpy(out, t->data, n * sizeof *out);
    for (uint32_t i = 0; i < n; i++)
        if (!(out[i] > 0 && out[i] < 1e38F))
            model_bind_fail(b, CAMA_ERR_FORMAT, "tensor '%s': factor %u is %g, must be above 0",
                            name, i, (double)out[i]);
    return out;
}

static void bind_rope(model_bind *b)
{
    model_desc *m = b->m;
    m->rope_freqs = bind_factors(b, "rope_freqs.weight");
    m->rope_long = bind_factors(b, "rope_factors_long.weight");
    m->rope_short = bind_factors(b, "rope_factors_short.weight");
    if (!b->e && (!m->rope_long) != (!m->rope_short))
        model_bind_fail(b, CAMA_ERR_FORMAT, "tensor 'rope_factors_%s.weight' is missing",
                        m->rope_long ? "short" : "long");
}

static void bind_dense(model_bind *b, model_layer *l)
{
    model_ffn *f = &l->ffn;
    const uint32_t n_embd = b->m->hp.n_embd;
    const bool fused = !model_has(b, "ffn_gate.weight");
    if (f->n_ff == 0)
        model_bind_fail(b, CAMA_ERR_FORMAT,
                        "key '%s.feed_forward_length' gives layer %d no columns", b->m->arch->name,
                        b->layer);
    if (!fused)
        f->gate = model_need_linear(b, PLAN_ROLE_GATE, "ffn_gate", n_embd, f->n_ff);
    f->up = model_need_linear(b, fused ? PLAN_ROLE_GATE_UP : PLAN_ROLE_UP, "ffn_up", n_embd,
                              (uint64_t)f->n_ff * (fused ? 2 : 1));
    f->down = model_need_linear(b, PLAN_ROLE_DOWN, "ffn_down", f->n_ff, n_embd);
}

static const plan_tensor *stack(model_bind *b, plan_role role, const char *name, uint64_t n_in,
                                uint64_t n_out)
{
    return model_need(b, role, name, MODEL_SHAPE(n_in, n_out, b->m->hp.n_expert));
}

static void bind_experts(model_bind *b, model_layer *l)
{
    const model_hparams *h = &b->m->hp;
    if (model_has(b, "ffn_gate.0.weight"))
        model_bind_fail(b, CAMA_ERR_UNSUPPORTED,
                        "layer %d keeps each expert in a tensor of its own, an old form of files "
                        "that cannot be run: convert the model again",
                        b->layer);
    model_ffn *f = &l->ffn;
    ops_experts *x = &f->experts;
    const uint64_t ff = h->n_ff_exp;
    f->has_experts = true;
    f->router = model_need_linear(b, PLAN_ROLE_ROUTER, "ffn_gate_inp", h->n_embd, h->n_expert);
    f->selection_bias =
        model_want(b, PLAN_ROLE_ROUTER, "exp_probs_b.bias", MODEL_SHAPE(h->n_expert));
    if (model_has(b, "ffn_gate_up_exps.weight")) {
        x->gate = stack(b, PLAN_ROLE_EXPERT_GATE, "ffn_gate_up_exps.weight", h->n_embd, 2 * ff);
    } else {
        x->gate = stack(b, PLAN_ROLE_EXPERT_GATE, "ffn_gate_exps.weight", h->n_embd, ff);
        x->up = stack(b, PLAN_ROLE_EXPERT_UP, "ffn_up_exps.weight", h->n_embd, ff);
    }
    x->down = stack(b, PLAN_ROLE_EXPERT_DOWN, "ffn_down_exps.weight", ff, h->n_embd);
    const model_shape wide = MODEL_SHAPE(ff, h->n_expert);
    x->gate_b = model_want(b, PLAN_ROLE_EXPERT_GATE, "ffn_gate_exps.bias", wide);
    x->up_b = model_want(b, PLAN_ROLE_EXPERT_UP, "ffn_up_exps.bias", wide);
    x->down_b = model_want(b, PLAN_ROLE_EXPERT_DOWN, "ffn_down_exps.bias",
                           MODEL_SHAPE(h->n_embd, h->n_expert));
}

static void bind_shared(model_bind *b, model_layer *l)
{
    const model_hparams *h = &b->m->hp;
    model_ffn *f = &l->ffn;
    if (!model_has(b, "ffn_up_shexp.weight"))
        return;
    if (h->n_ff_shared == 0)
        model_bind_fail(b, CAMA_ERR_FORMAT,
                        "layer %d has a shared expert, and the file no key "
                        "'%s.expert_shared_count'",
                        b->layer, b->m->arch->name);
    f->shared_gate =
        model_need_linear(b, PLAN_ROLE_SHARED_GATE, "ffn_gate_shexp", h->n_embd, h->n_ff_shared);
    f->shared_up =
        model_need_linear(b, PLAN_ROLE_SHARED_UP, "ffn_up_shexp", h->n_embd, h->n_ff_shared);
    f->shared_down =
        model_need_linear(b, PLAN_ROLE_SHARED_DOWN, "ffn_down_shexp", h->n_ff_shared, h->n_embd);
    f->shared_router =
        model_want_linear(b, PLAN_ROLE_SHARED_GATE, "ffn_gate_inp_shexp", h->n_embd, 1);
}

static void bind_ffn(model_bind *b, model_layer *l)
{
    if (b->m->hp.n_expert == 0 || l->i < b->m->hp.n_dense_lead) {
        bind_dense(b, l);
        return;
    }
    bind_experts(b, l);
    bind_shared(b, l);
}

static void bind_norms(model_bind *b, model_layer *l)
{
    const model_arch *a = b->m->arch;
    const model_shape row = MODEL_SHAPE(b->m->hp.n_embd);
    if (a->placement != MODEL_POST_ONLY)
        model_bind_norm(b, "attn_norm", &l->attn_norm, &l->attn_norm_b);
    if (a->placement == MODEL_PRE)
        model_bind_norm(b, a->ffn_norm ? a->ffn_norm : "ffn_norm", &l->ffn_norm, &l->ffn_norm_b);
    if (a->post_norms) {
        l->post_attn_norm = model_need(b, PLAN_ROLE_NORM, "post_attention_norm.weight", row);
        l->post_ffn_norm = model_need(b, PLAN_ROLE_NORM, "post_ffw_norm.weight", row);
    }
}

static void bind_layer(model_bind *b, model_layer *l)
{
    const model_arch *a = b->m->arch;
    b->layer = (int)l->i;
    l->mixer = a->mixer ? a->mixer(b->m, l->i) : &model_attention;
    bind_norms(b, l);
    l->mixer->bind(b, l);
    bind_ffn(b, l);
    model_skip(b, "attn_rot_embd.weight"); /* frequencies that very old files carry */
}

static void bind_generic(model_bind *b)
{
    model_desc *m = b->m;
    model_bind_embeddings(b);
    model_bind_norm(b, "output_norm", &m->output_norm, &m->output_norm_b);
    bind_head(b);
    bind_rope(b);
    for (uint32_t i = 0; !b->e && i < m->hp.n_layer; i++)
        bind_layer(b, &m->layers[i]);
}

/* A block that predicts further tokens, "blk.N." with N past the main forward's. */
static bool is_of_skipped_block(const model_desc *m, const gguf_tensor *t)
{
    static const char prefix[] = "blk.";
    const size_t n = sizeof prefix - 1;
    if (t->name.n <= n || memcmp(t->name.text, prefix, n) != 0)
        return false;
    uint32_t block = 0;
    size_t i = n;
    for (; i < t->name.n && t->name.text[i] >= '0' && t->name.text[i] <= '9'; i++)
        if (block < MODEL_MAX_LAYER * 10)
            block = block * 10 + (uint32_t)(t->name.text[i] - '0');
    return i > n && block >= m->hp.n_layer && block < m->hp.n_block;
}

/* What nobody asked for would silently be left out of the forward: the file is of a kind that the
 * row does not describe. */
static void check_all_used(model_bind *b)
{
    const gguf_file *f = b->m->file;
    for (size_t i = 0; !b->e && i < gguf_n_tensor(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        if (!b->used[i] && !is_of_skipped_block(b->m, t))
            model_bind_fail(b, CAMA_ERR_UNSUPPORTED,
                            "tensor '%.*s' is no part of '%s' as cama runs it", (int)t->name.n,
                            t->name.text, b->m->arch->name);
    }
}

/* The file may say which layers see a window alone: layer by layer, or every how many layers one
 * sees everything. */
static bool is_windowed(model_keys *k, uint32_t layer)
{
    static const char name[] = "attention.sliding_window_pattern";
    const uint32_t usual = k->m->arch->window_every;
    if (k->m->hp.window == 0 || usual == 0)
        return false;
    if (model_key_is_array(k, name))
        return model_key_u32_at(k, name, layer, 0, 1, 0) != 0;
    const uint32_t every = model_key_u32_or(k, name, 0, MODEL_MAX_LAYER, usual);
    return every == 0 || (layer + 1) % every != 0;
}

/* What may differ between layers. */
static void read_layers(model_bind *b)
{
    model_keys k = {.m = b->m, .err = b->err};
    for (uint32_t i = 0; !k.e && i < b->m->hp.n_layer; i++) {
        model_layer *l = &b->m->layers[i];
        l->i = i;
        l->windowed = is_windowed(&k, i);
        l->ffn.n_ff = model_key_u32_at(&k, "feed_forward_length", i, 0, MODEL_MAX_FF, 0);
    }
    b->e = k.e;
}

cama_err model_bind_all(model_desc *m, err_info *err)
{
    model_bind b = {.m = m, .layer = -1, .err = err};
    m->layers = model_take(&b, m->hp.n_layer, sizeof *m->layers);
    b.used = model_take(&b, gguf_n_tensor(m->file) + 1, sizeof *b.used);
    if (!b.e)
        read_layers(&b);
    if (!b.e)
        (m->arch->bind ? m->arch->bind : bind_generic)(&b);
    check_all_used(&b);
    return b.e;
}
