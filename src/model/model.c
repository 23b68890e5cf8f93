#include "model/model_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cama_err unknown_arch(gguf_str name, err_info *err)
{
    char known[ERR_TEXT_BYTES] = "";
    size_t n = 0;
    for (size_t i = 0; model_arch_at(i) && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", model_arch_at(i));
    return err_set(err, CAMA_ERR_UNSUPPORTED, "architecture '%.*s' is not one of: %s",
                   name.n < 64 ? (int)name.n : 64, name.text, known);
}

static cama_err find_arch(model_desc *m, err_info *err)
{
    gguf_str name;
    const cama_err e = gguf_get_str(m->file, "general.architecture", &name, err);
    if (e == CAMA_ERR_NOT_FOUND)
        return err_set(err, CAMA_ERR_FORMAT, "key 'general.architecture' is missing");
    if (e)
        return e;
    m->arch = model_arch_find(name.text, name.n);
    return m->arch ? CAMA_OK : unknown_arch(name, err);
}

/* Files that carry an architecture but are no model: adapters, projectors, importance matrices. */
static cama_err check_kind(const gguf_file *f, err_info *err)
{
    gguf_str kind;
    const cama_err e = gguf_get_str(f, "general.type", &kind, err);
    if (e == CAMA_ERR_NOT_FOUND || (!e && kind.n == 5 && memcmp(kind.text, "model", 5) == 0))
        return CAMA_OK;
    if (e)
        return e;
    return err_set(err, CAMA_ERR_UNSUPPORTED, "the file is a '%.*s', not a model",
                   kind.n < 64 ? (int)kind.n : 64, kind.text);
}

/* A copy of a text for display, "" where the file has none. */
static const char *text_of(model_desc *m, const char *key)
{
    gguf_str s;
    if (gguf_get_str(m->file, key, &s, NULL)) /* display only: another type is as good as none */
        return "";
    return arena_copy(&m->arena, s.text, s.n < 4096 ? s.n : 4096);
}

static void weigh_tensors(model_info *info, const gguf_file *f)
{
    uint64_t bytes[QUANT_N_TYPE] = {0};
    size_t most = 0;
    for (size_t i = 0; i < gguf_n_tensor(f); i++) {
        const gguf_tensor *t = gguf_tensor_at(f, i);
        info->n_param += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; /* gguf_open checked it */
        info->weight_bytes += t->n_bytes;
        bytes[t->type] += t->n_bytes;
        if (bytes[t->type] > bytes[most])
            most = t->type;
    }
    info->file_type = quant_table[most].name;
}

static cama_err fill_info(model_desc *m, err_info *err)
{
    const model_hparams *h = &m->hp;
    model_info *info = &m->info;
    info->arch = m->arch->name;
    info->name = text_of(m, "general.name");
    info->size_label = text_of(m, "general.size_label");
    if (!info->name || !info->size_label)
        return err_set(err, CAMA_ERR_NOMEM, "model: no memory for its name");
    weigh_tensors(info, m->file);
    info->n_layer = h->n_layer;
    info->n_embd = h->n_embd;
    info->n_head = h->n_head;
    info->n_head_kv = h->n_head_kv;
    info->n_vocab = h->n_vocab;
    info->n_ctx_train = h->n_ctx_train;
    info->n_expert = h->n_expert;
    info->n_expert_used = h->n_expert_used;
    info->causal = h->causal && m->head.w;
    info->pooling = h->pooling;
    return CAMA_OK;
}

cama_err model_open(const gguf_file *f, model_desc **out, err_info *err)
{
    model_desc *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, CAMA_ERR_NOMEM, "model: no memory to open it");
    m->file = f;
    arena_init(&m->arena, MODEL_MAX_ARENA);
    cama_err e = check_kind(f, err);
    if (!e)
        e = find_arch(m, err);
    if (!e)
        e = model_read_hparams(m, err);
    if (!e)
        e = model_bind_all(m, err);
    if (!e)
        e = fill_info(m, err);
    if (e) {
        model_close(m);
        return e;
    }
    *out = m;
    return CAMA_OK;
}

void model_close(model_desc *m)
{
    if (!m)
        return;
    arena_done(&m->arena);
    free(m);
}

const model_info *model_get_info(const model_desc *m)
{
    return &m->info;
}

const gguf_file *model_file(const model_desc *m)
{
    return m->file;
}

cama_err model_record(const model_desc *m, const model_record_opts *opts, arena *a,
                      const plan **out, err_info *err)
{
    model_rec r = {.m = m, .a = a, .n_ctx = opts->n_ctx};
    r.o = ops_open(a, m->hp.n_vocab, m->hp.n_embd, m->hp.causal);
    if (!r.o || !model_rope_init(&r, false) || !model_rope_init(&r, true))
        return err_set(err, CAMA_ERR_NOMEM, "model: no memory to record its forward");
    (m->arch->record ? m->arch->record : model_record_generic)(&r);
    return ops_finish(r.o, out, err);
}
