/* deepseek2.c - multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).
 *
 * Keys and values of all heads come from one latent row c. Files that split the matrix from c to
 * the heads allow the absorbed form: q goes through k_b, attention runs over [c | k_rope] itself,
 * which is all that is cached, and v_b makes the heads' values of what comes out. Older files have
 * the matrix whole; there keys and values are computed and cached head by head.
 */
#include "model/model_int.h"

#include <math.h>

typedef struct mla_weights {
    plan_linear q, q_a, q_b, kv_a, kv_b, o;
    const plan_tensor *q_a_norm, *kv_a_norm, *k_b, *v_b;
} mla_weights;

/* Columns of a head that RoPE leaves alone. */
static uint32_t nope(const model_hparams *h)
{
    return h->mla_dim_k - h->n_rot;
}

/* The keys of the two forms say different things: key_length is what is cached. */
static void check_sizes(model_keys *k, bool absorbed)
{
    const model_hparams *h = &k->m->hp;
    const char *arch = k->m->arch->name;
    if (h->mla_dim_k <= h->n_rot)
        model_key_fail(k, CAMA_ERR_FORMAT, "key '%s.rope.dimension_count' is %u, a head has %u",
                       arch, h->n_rot, h->mla_dim_k);
    if (absorbed &&
        (h->n_head_kv != 1 || h->dim_k != h->kv_lora + h->n_rot || h->dim_v != h->kv_lora))
        model_key_fail(k, CAMA_ERR_FORMAT,
                       "key '%s.attention.key_length' is %u and value_length %u on %u heads: must "
                       "be %u and %u on 1",
                       arch, h->dim_k, h->dim_v, h->n_head_kv, h->kv_lora + h->n_rot, h->kv_lora);
    if (!absorbed && h->n_head_kv != h->n_head)
        model_key_fail(k, CAMA_ERR_FORMAT, "key '%s.attention.head_count_kv' is %u, must be %u",
                       arch, h->n_head_kv, h->n_head);
}

void model_keys_mla(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    h->q_lora = model_key_u32_or(k, "attention.q_lora_rank", 0, MODEL_MAX_FF, 0);
    h->kv_lora = model_key_u32(k, "attention.kv_lora_rank", 1, MODEL_MAX_HEAD_DIM);
    h->mla_dim_k = model_key_u32_or(k, "attention.key_length_mla", 1, MODEL_MAX_HEAD_DIM, h->dim_k);
    h->mla_dim_v =
        model_key_u32_or(k, "attention.value_length_mla", 1, MODEL_MAX_HEAD_DIM, h->dim_v);
    if (!k->e)
        check_sizes(k, gguf_find_tensor(k->m->file, "blk.0.attn_kv_b.weight") == NULL);
}

static void bind_latent(model_bind *b, mla_weights *w)
{
    const model_hparams *h = &b->m->hp;
    const uint64_t n_head = h->n_head;
    if (model_has(b, "attn_kv_b.weight")) {
        w->kv_b = model_need_linear(b, PLAN_ROLE_K_B, "attn_kv_b", h->kv_lora,
                                    n_head * (nope(h) + h->mla_dim_v));
        return;
    }
    w->k_b =
        model_need(b, PLAN_ROLE_K_B, "attn_k_b.weight", MODEL_SHAPE(nope(h), h->kv_lora, n_head));
    w->v_b = model_need(b, PLAN_ROLE_V_B, "attn_v_b.weight",
                        MODEL_SHAPE(h->kv_lora, h->mla_dim_v, n_head));
}

static void bind_mla(model_bind *b, model_layer *l)
{
    const model_hparams *h = &b->m->hp;
    const uint64_t n_q = (uint64_t)h->n_head * h->mla_dim_k;
    mla_weights *w = model_take(b, 1, sizeof *w);
    if (!w)
        return;
    if (h->q_lora > 0) {
        w->q_a = model_need_linear(b, PLAN_ROLE_Q_A, "attn_q_a", h->n_embd, h->q_lora);
        w->q_a_norm = model_need(b, PLAN_ROLE_NORM, "attn_q_a_norm.weight", MODEL_SHAPE(h->q_lora));
        w->q_b = model_need_linear(b, PLAN_ROLE_Q_B, "attn_q_b", h->q_lora, n_q);
    } else {
        w->q = model_need_linear(b, PLAN_ROLE_Q, "attn_q", h->n_embd, n_q);
    }
    w->kv_a = model_need_linear(b, PLAN_ROLE_KV_A, "attn_kv_a_mqa", h->n_embd,
                                (uint64_t)h->kv_lora + h->n_rot);
    w->kv_a_norm = model_need(b, PLAN_ROLE_NORM, "attn_kv_a_norm.weight", MODEL_SHAPE(h->kv_lora));
    bind_latent(b, w);
    w->o = model_need_linear(b, PLAN_ROLE_O, "attn_output", (uint64_t)h->n_head * h->mla_dim_v,
                             h->n_embd);
    l->own = w;
}

/* Where YaRN stretches the context, attention is sharpened by the square of its magnitude. */
static float mla_scale(const model_hparams *h)
{
    double m = h->attn_factor;
    if (h->scaling == MODEL_SCALING_YARN)
        m *= 1 + (h->yarn_log_mul != 0 ? h->yarn_log_mul : 0.1) * log(h->rope_factor);
    return (float)(m * m / sqrt(h->mla_dim_k));
}

static const ops_val *attend(model_rec *r, const ops_val *q, const ops_val *k, const ops_val *v,
                             size_t dim_k, size_t dim_v)
{
    const size_t n_kv_head = ops_width(k) / dim_k;
    const plan_kv_slot slot = {
        .kind = PLAN_KV_FULL, .n_kv_head = n_kv_head, .dim_k = dim_k, .dim_v = dim_v, .v_in_k = !v};
    const plan_attend a = {.slot = ops_kv_slot(r->o, &slot),
                           .n_head = r->m->hp.n_head,
                           .n_kv_head = n_kv_head,
                           .dim_k = dim_k,
                           .dim_v = dim_v,
                           .scale = mla_scale(&r->m->hp),
                           .mask = PLAN_CAUSAL};
    return ops_attend(r->o, q, k, v, &a, NULL);
}

static const ops_val *project_q(model_rec *r, const mla_weights *w, const ops_val *h)
{
    if (w->q.w)
        return ops_linear(r->o, h, &w->q);
    const ops_val *x = ops_linear(r->o, h, &w->q_a);
    return ops_linear(r->o, ops_rms_norm(r->o, x, w->q_a_norm, r->m->hp.eps), &w->q_b);
}

static const ops_val *record_mla(model_rec *r, const model_layer *l, const ops_val *h)
{
    const model_hparams *hp = &r->m->hp;
    const mla_weights *w = l->own;
    ops *o = r->o;
    const size_t n_head = hp->n_head;
    const ops_val *q = project_q(r, w, h);
    const ops_val *q_rope = ops_slice(o, q, n_head, nope(hp), hp->n_rot);
    q = ops_slice(o, q, n_head, 0, nope(hp));
    const ops_val *kv = ops_linear(o, h, &w->kv_a);
    const ops_val *k_rope = ops_slice(o, kv, 1, hp->kv_lora, hp->n_rot);
    const ops_val *c = ops_rms_norm(o, ops_slice(o, kv, 1, 0, hp->kv_lora), w->kv_a_norm, hp->eps);
    q_rope = model_rope(r, q_rope, false, hp->n_rot, 0);
    k_rope = model_rope(r, k_rope, false, hp->n_rot, 0);
    if (w->kv_b.w) {
        const ops_val *heads = ops_linear(o, c, &w->kv_b);
        const ops_val *k = ops_slice(o, heads, n_head, 0, nope(hp));
        const ops_val *v = ops_slice(o, heads, n_head, nope(hp), hp->mla_dim_v);
        k = ops_join_shared(o, k, k_rope, n_head);
        const ops_val *x =
            attend(r, ops_join(o, q, q_rope, n_head), k, v, hp->mla_dim_k, hp->mla_dim_v);
        return ops_linear(o, x, &w->o);
    }
    q = ops_join(o, ops_head_linear(o, q, w->k_b), q_rope, n_head);
    const ops_val *x = attend(r, q, ops_join(o, c, k_rope, 1), NULL, hp->dim_k, hp->dim_v);
    return ops_linear(o, ops_head_linear(o, x, w->v_b), &w->o);
}

static const model_mixer mla = {bind_mla, record_mla};

const model_mixer *model_pick_mla(const model_desc *m, uint32_t layer)
{
    (void)m;
    (void)layer; /* the layers differ in their FFN alone */
    return &mla;
}
