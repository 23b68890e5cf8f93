/* bert.c - encoders that make one vector of a text: bert and nomic-bert.
 *
 * Embeddings are a sum, normed; each block norms after adding (post-LN, as in the first
 * transformer); every row sees the whole text, and the rows are pooled.
 */
#include "model/model_int.h"

void model_keys_bert(model_keys *k)
{
    model_hparams *h = &k->m->hp;
    h->causal = model_key_bool_or(k, "attention.causal", false);
    if (h->pooling == PLAN_POOL_NONE)
        h->pooling = PLAN_POOL_MEAN; /* old files do not say; all of them mean this */
    if (h->causal || h->n_expert > 0)
        model_key_fail(k, CAMA_ERR_UNSUPPORTED,
                       "a '%s' that is causal or has experts cannot be run yet", k->m->arch->name);
}

static void bind_embeddings(model_bind *b)
{
    model_desc *m = b->m;
    const gguf_tensor *types = gguf_find_tensor(m->file, "token_types.weight");
    model_bind_embeddings(b);
    if (types)
        m->token_types = model_need(b, PLAN_ROLE_EMBED, "token_types.weight",
                                    MODEL_SHAPE(m->hp.n_embd, types->ne[1]));
    if (m->arch->learned_positions)
        m->position_embd = model_need(b, PLAN_ROLE_EMBED, "position_embd.weight",
                                      MODEL_SHAPE(m->hp.n_embd, m->hp.n_ctx_train));
    model_bind_norm(b, "token_embd_norm", &m->embd_norm, &m->embd_norm_b);
}

static void bind_layer(model_bind *b, model_layer *l)
{
    const uint32_t n_embd = b->m->hp.n_embd;
    model_ffn *f = &l->ffn;
    b->layer = (int)l->i;
    l->mixer = &model_attention;
    l->mixer->bind(b, l);
    model_bind_norm(b, "attn_output_norm", &l->attn_norm, &l->attn_norm_b);
    f->gate = model_want_linear(b, PLAN_ROLE_GATE, "ffn_gate", n_embd, f->n_ff);
    f->up = model_need_linear(b, PLAN_ROLE_UP, "ffn_up", n_embd, f->n_ff);
    f->down = model_need_linear(b, PLAN_ROLE_DOWN, "ffn_down", f->n_ff, n_embd);
    model_bind_norm(b, "layer_output_norm", &l->ffn_norm, &l->ffn_norm_b);
}

void model_bind_bert(model_bind *b)
{
    bind_embeddings(b);
    for (uint32_t i = 0; !b->e && i < b->m->hp.n_layer; i++)
        bind_layer(b, &b->m->layers[i]);
}

static const ops_val *record_ffn(model_rec *r, const model_ffn *f, const ops_val *x)
{
    const plan_act_fn act = r->m->arch->act;
    if (!f->gate.w)
        return ops_linear(r->o, ops_act(r->o, ops_linear(r->o, x, &f->up), act), &f->down);
    const ops_val *gate = ops_linear(r->o, x, &f->gate);
    const ops_val *up = ops_linear(r->o, x, &f->up);
    return ops_linear(r->o, ops_glu(r->o, gate, up, act), &f->down);
}

static const ops_val *record_embeddings(model_rec *r)
{
    const model_desc *m = r->m;
    const ops_val *x = ops_embed(r->o, m->token_embd, PLAN_EMBED_TOKEN);
    if (m->token_types) /* one text, so the type of all its tokens is 0 */
        x = ops_add(r->o, x, ops_embed(r->o, m->token_types, PLAN_EMBED_ROW0));
    if (m->position_embd)
        x = ops_add(r->o, x, ops_embed(r->o, m->position_embd, PLAN_EMBED_POSITION));
    return model_norm_of(r, x, m->embd_norm, m->embd_norm_b);
}

void model_record_bert(model_rec *r)
{
    const model_desc *m = r->m;
    const ops_val *x = record_embeddings(r);
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const model_layer *l = &m->layers[i];
        ops_layer(r->o, (int)i);
        const ops_val *a = ops_add(r->o, x, l->mixer->record(r, l, x));
        x = model_norm_of(r, a, l->attn_norm, l->attn_norm_b);
        a = ops_add(r->o, x, record_ffn(r, &l->ffn, x));
        x = ops_name(r->o, model_norm_of(r, a, l->ffn_norm, l->ffn_norm_b), "l_out");
    }
    ops_layer(r->o, -1);
    ops_output(r->o, ops_pool(r->o, x, m->hp.pooling), PLAN_OUT_POOLED);
    ops_output(r->o, ops_select(r->o, x), PLAN_OUT_HIDDEN);
}
