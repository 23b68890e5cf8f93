/* forward.c - the generic transformer, recorded. */
#include "model/model_int.h"

const ops_val *model_norm_of(model_rec *r, const ops_val *x, const plan_tensor *w,
                             const plan_tensor *b)
{
    if (r->m->arch->norm == MODEL_LAYER_NORM)
        return ops_layer_norm(r->o, x, w, b, r->m->hp.eps);
    return ops_rms_norm(r->o, x, w, r->m->hp.eps);
}

static const ops_val *scaled(model_rec *r, const ops_val *x, double scale)
{
    return scale != 0 && scale != 1 ? ops_scale(r->o, x, (float)scale) : x;
}

static const ops_val *record_glu(model_rec *r, const ops_val *h, const plan_linear *gate,
                                 const plan_linear *up, const plan_linear *down, size_t n_ff)
{
    const plan_act_fn act = r->m->arch->act;
    const ops_val *g;
    const ops_val *u;
    if (gate->w) {
        g = ops_linear(r->o, h, gate);
        u = ops_linear(r->o, h, up);
    } else {
        const ops_val *both = ops_linear(r->o, h, up);
        g = ops_slice(r->o, both, 1, 0, n_ff);
        u = ops_slice(r->o, both, 1, n_ff, n_ff);
    }
    return ops_linear(r->o, ops_glu(r->o, g, u, act), down);
}

static const ops_val *record_experts(model_rec *r, const model_ffn *f, const ops_val *h)
{
    const model_hparams *hp = &r->m->hp;
    const plan_moe moe = {.n_expert = hp->n_expert,
                          .n_used = hp->n_expert_used,
                          .n_group = hp->n_group,
                          .n_group_used = hp->n_group_used,
                          .gating = hp->gating,
                          .normalise = hp->moe_normalise && hp->gating != PLAN_GATE_SOFTMAX_WEIGHT,
                          .scale = (float)hp->moe_scale,
                          .act = r->m->arch->act,
                          .oai_glu = r->m->arch->oai_glu,
                          .gate_up_fused = !f->experts.up};
    const ops_val *logits = ops_linear(r->o, h, &f->router);
    const ops_val *x = ops_moe(r->o, h, logits, f->selection_bias, &f->experts, &moe);
    if (!f->shared_down.w)
        return x;
    const ops_val *s =
        record_glu(r, h, &f->shared_gate, &f->shared_up, &f->shared_down, hp->n_ff_shared);
    if (f->shared_router.w)
        s = ops_mul(r->o, s, ops_act(r->o, ops_linear(r->o, h, &f->shared_router), PLAN_SIGMOID));
    return ops_add(r->o, x, s);
}

static const ops_val *record_ffn(model_rec *r, const model_layer *l, const ops_val *h)
{
    const model_ffn *f = &l->ffn;
    if (f->has_experts)
        return record_experts(r, f, h);
    return record_glu(r, h, &f->gate, &f->up, &f->down, f->n_ff);
}

/* A branch on its way into the residual stream. */
static const ops_val *merge(model_rec *r, const ops_val *x, const ops_val *branch,
                            const plan_tensor *post_norm)
{
    if (post_norm)
        branch = model_norm_of(r, branch, post_norm, NULL);
    return ops_add(r->o, x, scaled(r, branch, r->m->hp.residual_scale));
}

static const ops_val *record_layer(model_rec *r, const model_layer *l, const ops_val *x)
{
    const model_placement place = r->m->arch->placement;
    ops_layer(r->o, (int)l->i);
    const ops_val *h =
        place == MODEL_POST_ONLY ? x : model_norm_of(r, x, l->attn_norm, l->attn_norm_b);
    const ops_val *a = l->mixer->record(r, l, ops_name(r->o, h, "attn_norm"));
    if (place == MODEL_PARALLEL) {
        a = ops_add(r->o, a, record_ffn(r, l, h));
        return merge(r, x, a, NULL);
    }
    x = merge(r, x, a, l->post_attn_norm);
    h = place == MODEL_POST_ONLY ? x : model_norm_of(r, x, l->ffn_norm, l->ffn_norm_b);
    x = merge(r, x, record_ffn(r, l, h), l->post_ffn_norm);
    return ops_name(r->o, x, "l_out");
}

void model_record_generic(model_rec *r)
{
    const model_desc *m = r->m;
    const ops_val *x = ops_embed(r->o, m->token_embd, PLAN_EMBED_TOKEN);
    x = scaled(r, x, m->hp.embed_scale);
    for (uint32_t i = 0; i < m->hp.n_layer; i++)
        x = record_layer(r, &m->layers[i], x);
    ops_layer(r->o, -1);
    /* A mean needs every row; a generating model's rows without an output end here. */
    const bool pools = m->hp.pooling != PLAN_POOL_NONE;
    if (!pools)
        x = ops_select(r->o, x);
    x = ops_name(r->o, model_norm_of(r, x, m->output_norm, m->output_norm_b), "result_norm");
    if (pools) {
        ops_output(r->o, ops_pool(r->o, x, m->hp.pooling), PLAN_OUT_POOLED);
        x = ops_select(r->o, x);
    }
    ops_output(r->o, x, PLAN_OUT_HIDDEN);
    x = ops_linear(r->o, x, &m->head);
    if (m->hp.logit_scale != 0)
        x = scaled(r, x, m->arch->logit_divide ? 1 / m->hp.logit_scale : m->hp.logit_scale);
    if (m->hp.logit_softcap != 0)
        x = ops_softcap(r->o, x, (float)m->hp.logit_softcap);
    ops_output(r->o, ops_name(r->o, x, "result_output"), PLAN_OUT_LOGITS);
}
