/* qwen35.c - the gated delta net of Qwen 3.5: a recurrence that takes attention's place in most
 * layers ("Gated Delta Networks", arXiv 2412.06464; the state S is dk x dv for each value head).
 *
 *     S = exp(g) S;  S += k (beta (v - k S));  o = q S
 */
#include "model/model_int.h"

#include <math.h>

#define MAX_INNER (1u << 16)
#define MAX_TAP 64

typedef struct delta_weights {
    plan_linear qkv, gate, out;
    plan_linear alpha, beta; /* or both in one, for each key head [beta | alpha] */
    plan_linear beta_alpha;
    const plan_tensor *conv, *dt_bias, *a, *norm;
} delta_weights;

static size_t conv_width(const model_hparams *h)
{
    return 2 * (size_t)h->n_k_head * h->n_state + h->n_inner;
}

/* Pairs of columns for each axis of a position; text has the same position on all of them. */
static void read_sections(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t n = model_key_u32_at(k, "rope.dimension_sections", i, 0, h->n_rot / 2, 0);
        h->sections[i] = (int32_t)n;
        sum += n;
    }
    if (sum != 0 && sum != h->n_rot / 2)
        model_key_fail(k, CAMA_ERR_FORMAT,
                       "key '%s.rope.dimension_sections' has %u pairs in all, must be %u",
                       k->m->arch->name, sum, h->n_rot / 2);
}

void model_keys_delta(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    h->full_every = model_key_u32_or(k, "full_attention_interval", 1, MODEL_MAX_LAYER, 4);
    h->n_conv = model_key_u32(k, "ssm.conv_kernel", 2, MAX_TAP);
    h->n_state = model_key_u32(k, "ssm.state_size", 1, MODEL_MAX_HEAD_DIM);
    h->n_v_head = model_key_u32(k, "ssm.time_step_rank", 1, MODEL_MAX_HEAD);
    h->n_k_head = model_key_u32(k, "ssm.group_count", 1, MODEL_MAX_HEAD);
    h->n_inner = model_key_u32(k, "ssm.inner_size", 1, MAX_INNER);
    if (h->n_v_head % h->n_k_head || h->n_inner % h->n_v_head ||
        h->n_inner / h->n_v_head > MODEL_MAX_HEAD_DIM)
        model_key_fail(k, CAMA_ERR_FORMAT,
                       "key '%s.ssm.inner_size' is %u: %u value heads on %u key heads do not fit",
                       k->m->arch->name, h->n_inner, h->n_v_head, h->n_k_head);
    read_sections(k);
}

static void bind_parameters(model_bind *b, delta_weights *w)
{
    const model_hparams *h = &b->m->hp;
    const uint64_t n = h->n_v_head;
    if (b->m->arch->grouped_delta) {
        w->beta_alpha = model_need_linear(b, PLAN_ROLE_SSM_PARAM, "ssm_ba", h->n_embd, 2 * n);
        return;
    }
    w->alpha = model_need_linear(b, PLAN_ROLE_SSM_PARAM, "ssm_alpha", h->n_embd, n);
    w->beta = model_need_linear(b, PLAN_ROLE_SSM_PARAM, "ssm_beta", h->n_embd, n);
}

static void bind_delta(model_bind *b, model_layer *l)
{
    const model_hparams *h = &b->m->hp;
    delta_weights *w = model_take(b, 1, sizeof *w);
    if (!w)
        return;
    const size_t n_conv = conv_width(h);
    w->qkv = model_need_linear(b, PLAN_ROLE_SSM_IN, "attn_qkv", h->n_embd, n_conv);
    w->gate = model_need_linear(b, PLAN_ROLE_SSM_GATE, "attn_gate", h->n_embd, h->n_inner);
    bind_parameters(b, w);
    w->out = model_need_linear(b, PLAN_ROLE_SSM_OUT, "ssm_out", h->n_inner, h->n_embd);
    w->conv = model_need(b, PLAN_ROLE_CONV, "ssm_conv1d.weight", MODEL_SHAPE(h->n_conv, n_conv));
    w->dt_bias = model_need(b, PLAN_ROLE_SSM_PARAM, "ssm_dt.bias", MODEL_SHAPE(h->n_v_head));
    w->a = model_need(b, PLAN_ROLE_SSM_PARAM, "ssm_a", MODEL_SHAPE(h->n_v_head));
    w->norm =
        model_need(b, PLAN_ROLE_NORM, "ssm_norm.weight", MODEL_SHAPE(h->n_inner / h->n_v_head));
    l->own = w;
}

static int state_slot(model_rec *r, size_t n)
{
    const plan_kv_slot slot = {.kind = PLAN_KV_STATE, .n_state = n};
    return ops_kv_slot(r->o, &slot);
}

/* The rows after the short convolution: [q | k | v]. */
static const ops_val *mixed_rows(model_rec *r, const delta_weights *w, const ops_val *h)
{
    const model_hparams *hp = &r->m->hp;
    const int slot = state_slot(r, (hp->n_conv - 1) * conv_width(hp));
    const ops_val *x = ops_conv(r->o, ops_linear(r->o, h, &w->qkv), w->conv, NULL, slot);
    return ops_act(r->o, x, PLAN_SILU);
}

static void record_parameters(model_rec *r, const delta_weights *w, const ops_val *h,
                              const ops_val **out_beta, const ops_val **out_alpha)
{
    if (!w->beta_alpha.w) {
        *out_beta = ops_linear(r->o, h, &w->beta);
        *out_alpha = ops_linear(r->o, h, &w->alpha);
        return;
    }
    const size_t n_group = r->m->hp.n_k_head;
    const size_t n = r->m->hp.n_v_head / n_group;
    const ops_val *both = ops_linear(r->o, h, &w->beta_alpha);
    *out_beta = ops_slice(r->o, both, n_group, 0, n);
    *out_alpha = ops_slice(r->o, both, n_group, n, n);
}

static const ops_val *record_delta(model_rec *r, const model_layer *l, const ops_val *h)
{
    const model_hparams *hp = &r->m->hp;
    const delta_weights *w = l->own;
    ops *o = r->o;
    const size_t n_k = (size_t)hp->n_k_head * hp->n_state;
    const size_t dv = hp->n_inner / hp->n_v_head;
    const ops_val *x = mixed_rows(r, w, h);
    const ops_val *q = ops_l2_norm(o, ops_slice(o, x, 1, 0, n_k), hp->n_state, hp->eps);
    const ops_val *k = ops_l2_norm(o, ops_slice(o, x, 1, n_k, n_k), hp->n_state, hp->eps);
    const ops_val *v = ops_slice(o, x, 1, 2 * n_k, hp->n_inner);
    q = ops_scale(o, q, (float)(1 / sqrt(hp->n_state)));
    const ops_val *beta;
    const ops_val *alpha;
    record_parameters(r, w, h, &beta, &alpha);
    const ops_val *g = ops_act(o, ops_add_weight(o, alpha, w->dt_bias), PLAN_SOFTPLUS);
    g = ops_mul_weight(o, g, w->a); /* the file has -exp(A) */
    beta = ops_act(o, beta, PLAN_SIGMOID);
    const plan_delta d = {.slot = state_slot(r, hp->n_v_head * hp->n_state * dv),
                          .n_k_head = hp->n_k_head,
                          .n_v_head = hp->n_v_head,
                          .dk = hp->n_state,
                          .dv = dv,
                          .tiled = !r->m->arch->grouped_delta};
    x = ops_head_norm(o, ops_delta(o, q, k, v, g, beta, &d), w->norm, dv, hp->eps);
    x = ops_glu(o, ops_linear(o, h, &w->gate), x, PLAN_SILU);
    return ops_linear(o, x, &w->out);
}

static const model_mixer delta_net = {bind_delta, record_delta};

const model_mixer *model_pick_delta(const model_desc *m, uint32_t layer)
{
    return (layer + 1) % m->hp.full_every == 0 ? &model_attention : &delta_net;
}
