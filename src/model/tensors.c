#include "model/model_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES 128

void model_bind_fail(model_bind *b, cama_err e, const char *fmt, ...)
{
    if (b->e)
        return;
    va_list args;
    va_start(args, fmt);
    b->e = err_vset(b->err, e, fmt, args);
    va_end(args);
}

void *model_take(model_bind *b, size_t n, size_t size)
{
    void *p = arena_take_array(&b->m->arena, n, size);
    if (!p)
        model_bind_fail(b, CAMA_ERR_NOMEM, "model: no memory for its tensors");
    return p;
}

static void full_name(const model_bind *b, const char *name, char out[NAME_BYTES])
{
    if (b->layer >= 0)
        (void)snprintf(out, NAME_BYTES, "blk.%d.%.100s", b->layer, name);
    else
        (void)snprintf(out, NAME_BYTES, "%s", name);
}

static const gguf_tensor *find(const model_bind *b, const char *name)
{
    const gguf_tensor *t = gguf_find_tensor(b->m->file, name);
    if (t)
        b->used[t - gguf_tensor_at(b->m->file, 0)] = true;
    return t;
}

static uint64_t size_at(const model_shape *s, int i)
{
    return i < 3 && s->n[i] ? s->n[i] : 1;
}

static bool has_shape(model_bind *b, const char *name, const gguf_tensor *t, const model_shape *s)
{
    bool same = true;
    for (int i = 0; i < 4; i++)
        same = same && t->ne[i] == size_at(s, i);
    if (!same)
        model_bind_fail(b, CAMA_ERR_FORMAT,
                        "tensor '%s' is [%llu, %llu, %llu, %llu], must be [%llu, %llu, %llu]", name,
                        (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
                        (unsigned long long)t->ne[2], (unsigned long long)t->ne[3],
                        (unsigned long long)size_at(s, 0), (unsigned long long)size_at(s, 1),
                        (unsigned long long)size_at(s, 2));
    return same;
}

static bool has_type(model_bind *b, const char *name, const gguf_tensor *t)
{
    const bool is_vector = t->ne[1] == 1 && t->ne[2] == 1 && t->ne[3] == 1;
    if (is_vector ? t->type == QUANT_F32 : quant_table[t->type].is_weight)
        return true;
    model_bind_fail(b, CAMA_ERR_UNSUPPORTED, "tensor '%s' is %s, %s", name,
                    quant_table[t->type].name,
                    is_vector ? "a vector must be F32" : "which no weight can be");
    return false;
}

/* A description of t in the model's arena. */
static const plan_tensor *describe(model_bind *b, plan_role role, const char *name,
                                   const gguf_tensor *t)
{
    plan_tensor *out = model_take(b, 1, sizeof *out);
    char *copy = out ? arena_copy(&b->m->arena, name, strlen(name)) : NULL;
    if (!copy) {
        model_bind_fail(b, CAMA_ERR_NOMEM, "model: no memory for tensor '%s'", name);
        return NULL;
    }
    *out = (plan_tensor){.name = copy,
                         .type = t->type,
                         .role = role,
                         .ne = {t->ne[0], t->ne[1], t->ne[2], t->ne[3]},
                         .data = t->data,
                         .n_bytes = t->n_bytes};
    return out;
}

const plan_tensor *model_want(model_bind *b, plan_role role, const char *name, model_shape s)
{
    char full[NAME_BYTES];
    full_name(b, name, full);
    if (b->e)
        return NULL;
    const gguf_tensor *t = find(b, full);
    if (!t || !has_shape(b, full, t, &s) || !has_type(b, full, t))
        return NULL;
    return describe(b, role, full, t);
}

const plan_tensor *model_need(model_bind *b, plan_role role, const char *name, model_shape s)
{
    const plan_tensor *t = model_want(b, role, name, s);
    if (!t && !b->e) {
        char full[NAME_BYTES];
        full_name(b, name, full);
        model_bind_fail(b, CAMA_ERR_FORMAT, "tensor '%s' is missing", full);
    }
    return t;
}

bool model_has(const model_bind *b, const char *name)
{
    char full[NAME_BYTES];
    full_name(b, name, full);
    return gguf_find_tensor(b->m->file, full) != NULL;
}

void model_skip(model_bind *b, const char *name)
{
    char full[NAME_BYTES];
    full_name(b, name, full);
    (void)find(b, full);
}

/* NVFP4 keeps a factor of the whole tensor beside it; the forward has no place for it yet. */
static void refuse_scale(model_bind *b, const char *base)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "%s.scale", base);
    if (model_has(b, name))
        model_bind_fail(b, CAMA_ERR_UNSUPPORTED,
                        "tensor '%s' of layer %d: scales beside a tensor cannot be used yet", name,
                        b->layer);
}

plan_linear model_want_linear(model_bind *b, plan_role role, const char *base, uint64_t n_in,
                              uint64_t n_out)
{
    char name[NAME_BYTES];
    plan_linear l = {0};
    (void)snprintf(name, sizeof name, "%s.weight", base);
    l.w = model_want(b, role, name, MODEL_SHAPE(n_in, n_out));
    (void)snprintf(name, sizeof name, "%s.bias", base);
    if (l.w)
        l.b = model_want(b, role, name, MODEL_SHAPE(n_out));
    if (l.w)
        refuse_scale(b, base);
    return l;
}

plan_linear model_need_linear(model_bind *b, plan_role role, const char *base, uint64_t n_in,
                              uint64_t n_out)
{
    const plan_linear l = model_want_linear(b, role, base, n_in, n_out);
    if (!l.w && !b->e) {
        char name[NAME_BYTES];
        full_name(b, base, name);
        model_bind_fail(b, CAMA_ERR_FORMAT, "tensor '%s.weight' is missing", name);
    }
    return l;
}

void model_bind_norm(model_bind *b, const char *base, const plan_tensor **out_w,
                     const plan_tensor **out_b)
{
    const model_shape row = MODEL_SHAPE(b->m->hp.n_embd);
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "%s.weight", base);
    *out_w = model_need(b, PLAN_ROLE_NORM, name, row);
    (void)snprintf(name, sizeof name, "%s.bias", base);
    *out_b = model_want(b, PLAN_ROLE_NORM, name, row);
}
