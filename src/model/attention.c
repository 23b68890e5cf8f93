/* attention.c - multi-head attention as nearly all architectures have it: projections apart or in
 * one tensor, biases and norms of Q and K where the file has them, RoPE, windows, sinks, a gate. */
#include "model/model_int.h"

#include <math.h>

static void bind_qkv(model_bind *b, model_layer *l)
{
    const model_hparams *h = &b->m->hp;
    const uint64_t n_q = (uint64_t)h->n_head * h->dim_k;
    const uint64_t n_k = (uint64_t)h->n_head_kv * h->dim_k;
    const uint64_t n_v = (uint64_t)h->n_head_kv * h->dim_v;
    if (model_has(b, "attn_qkv.weight")) {
        l->qkv = model_need_linear(b, PLAN_ROLE_QKV, "attn_qkv", h->n_embd, n_q + n_k + n_v);
        return;
    }
    const uint64_t n_gate = b->m->arch->q_gate ? n_q : 0;
    l->q = model_need_linear(b, PLAN_ROLE_Q, "attn_q", h->n_embd, n_q + n_gate);
    l->k = model_need_linear(b, PLAN_ROLE_K, "attn_k", h->n_embd, n_k);
    l->v = model_need_linear(b, PLAN_ROLE_V, "attn_v", h->n_embd, n_v);
}

static void bind_qk_norm(model_bind *b, model_layer *l)
{
    const model_hparams *h = &b->m->hp;
    const model_arch *a = b->m->arch;
    if (a->qk_norm == MODEL_QK_NONE || (a->qk_norm_optional && !model_has(b, "attn_q_norm.weight")))
        return;
    const bool row = a->qk_norm == MODEL_QK_ROW;
    const uint64_t n_q = (uint64_t)h->dim_k * (row ? h->n_head : 1);
    const uint64_t n_k = (uint64_t)h->dim_k * (row ? h->n_head_kv : 1);
    l->q_norm = model_need(b, PLAN_ROLE_NORM, "attn_q_norm.weight", MODEL_SHAPE(n_q));
    l->k_norm = model_need(b, PLAN_ROLE_NORM, "attn_k_norm.weight", MODEL_SHAPE(n_k));
}

static void bind_attention(model_bind *b, model_layer *l)
{
    const model_hparams *h = &b->m->hp;
    bind_qkv(b, l);
    bind_qk_norm(b, l);
    if (b->m->arch->sinks)
        l->sinks = model_need(b, PLAN_ROLE_OTHER, "attn_sinks.weight", MODEL_SHAPE(h->n_head));
    l->o =
        model_need_linear(b, PLAN_ROLE_O, "attn_output", (uint64_t)h->n_head * h->dim_v, h->n_embd);
}

/* The three projections; *gate is the gate of attention's output, or NULL. */
typedef struct projected {
    const ops_val *q, *k, *v, *gate;
} projected;

static projected project_fused(model_rec *r, const model_layer *l, const ops_val *h)
{
    const model_hparams *hp = &r->m->hp;
    const size_t n_q = (size_t)hp->n_head * hp->dim_k;
    const size_t n_k = (size_t)hp->n_head_kv * hp->dim_k;
    const size_t n_v = (size_t)hp->n_head_kv * hp->dim_v;
    const ops_val *x = ops_linear(r->o, h, &l->qkv);
    return (projected){.q = ops_slice(r->o, x, 1, 0, n_q),
                       .k = ops_slice(r->o, x, 1, n_q, n_k),
                       .v = ops_slice(r->o, x, 1, n_q + n_k, n_v)};
}

static projected project(model_rec *r, const model_layer *l, const ops_val *h)
{
    if (l->qkv.w)
        return project_fused(r, l, h);
    const model_hparams *hp = &r->m->hp;
    projected p = {.q = ops_linear(r->o, h, &l->q)};
    p.k = ops_linear(r->o, h, &l->k);
    p.v = ops_linear(r->o, h, &l->v);
    if (r->m->arch->q_gate) {
        p.gate = ops_slice(r->o, p.q, hp->n_head, hp->dim_k, hp->dim_k);
        p.q = ops_slice(r->o, p.q, hp->n_head, 0, hp->dim_k);
    }
    return p;
}

static const ops_val *qk_norm(model_rec *r, const ops_val *x, const plan_tensor *w)
{
    if (!w)
        return x;
    const bool row = r->m->arch->qk_norm == MODEL_QK_ROW;
    return ops_head_norm(r->o, x, w, row ? ops_width(x) : r->m->hp.dim_k, r->m->hp.eps);
}

static bool has_rope(const model_rec *r, const model_layer *l)
{
    const model_arch *a = r->m->arch;
    if (a->rope_in_window && !l->windowed)
        return false;
    return a->nope_every == 0 || (l->i + 1) % a->nope_every != 0;
}

static plan_attend attend_of(model_rec *r, const model_layer *l)
{
    const model_hparams *hp = &r->m->hp;
    const plan_mask open_mask = hp->causal ? PLAN_CAUSAL : PLAN_FULL;
    const double scale = hp->attn_scale != 0 ? hp->attn_scale : 1 / sqrt(hp->dim_k);
    plan_attend a = {.n_head = hp->n_head,
                     .n_kv_head = hp->n_head_kv,
                     .dim_k = hp->dim_k,
                     .dim_v = hp->dim_v,
                     .scale = (float)scale,
                     .softcap = (float)hp->attn_softcap,
                     .mask = l->windowed ? PLAN_WINDOW : open_mask,
                     .window = l->windowed ? hp->window : 0};
    const plan_kv_slot slot = {.kind = l->windowed ? PLAN_KV_WINDOW : PLAN_KV_FULL,
                               .n_kv_head = a.n_kv_head,
                               .dim_k = a.dim_k,
                               .dim_v = a.dim_v,
                               .window = a.window};
    a.slot = ops_kv_slot(r->o, &slot);
    return a;
}

static const ops_val *record_attention(model_rec *r, const model_layer *l, const ops_val *h)
{
    projected p = project(r, l, h);
    p.q = qk_norm(r, p.q, l->q_norm);
    p.k = qk_norm(r, p.k, l->k_norm);
    if (has_rope(r, l)) {
        p.q = model_rope(r, p.q, l->windowed, r->m->hp.dim_k, 0);
        p.k = model_rope(r, p.k, l->windowed, r->m->hp.dim_k, 0);
    }
    const plan_attend a = attend_of(r, l);
    const ops_val *x = ops_attend(r->o, ops_name(r->o, p.q, "Qcur"), ops_name(r->o, p.k, "Kcur"),
                                  ops_name(r->o, p.v, "Vcur"), &a, l->sinks);
    x = ops_name(r->o, x, "kqv_out");
    if (p.gate)
        x = ops_mul(r->o, x, ops_act(r->o, p.gate, PLAN_SIGMOID));
    return ops_linear(r->o, x, &l->o);
}

const model_mixer model_attention = {bind_attention, record_attention};
