#include "engine/engine.h"

#include <string.h>

static const engine_vt *const engines[] = {&nat_engine, &emlx_engine};

engine_opts engine_opts_init(void)
{
    return (engine_opts){.n_seq = 1,
                         .k_type = QUANT_F16,
                         .v_type = QUANT_F16,
                         .activations = KERN_I8,
                         .cpu = UINT32_MAX};
}

const engine_vt *engine_at(size_t i)
{
    return i < sizeof engines / sizeof *engines ? engines[i] : NULL;
}

/* A tensor that an earlier place of the plan names too: a tied head, a shared table. */
static bool is_told(const plan *p, size_t i_node, size_t i_w)
{
    const plan_tensor *t = p->nodes[i_node].w[i_w];
    for (size_t i = 0; i <= i_node; i++) {
        const size_t n = i == i_node ? i_w : PLAN_MAX_WEIGHT;
        for (size_t j = 0; j < n; j++) {
            if (p->nodes[i].w[j] && p->nodes[i].w[j]->data == t->data)
                return true;
        }
    }
    return false;
}

/* The entry of the same role, type and form, or a new one; NULL: there is no room for that. */
static engine_form *entry_for(engine_form *out, size_t max, size_t *n, const engine_form *f)
{
    for (size_t i = 0; i < *n && i < max; i++) {
        if (out[i].role == f->role && out[i].type == f->type && out[i].exact == f->exact &&
            !strcmp(out[i].form, f->form))
            return &out[i];
    }
    if ((*n)++ >= max)
        return NULL;
    engine_form *e = &out[*n - 1];
    *e = *f;
    e->n_tensor = 0;
    e->n_bytes = 0;
    return e;
}

size_t engine_list_forms(const plan *p, engine_form_fn *fn, const void *user, engine_form *out,
                         size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_node; i++) {
        for (size_t j = 0; j < PLAN_MAX_WEIGHT; j++) {
            const plan_tensor *t = p->nodes[i].w[j];
            if (!t || is_told(p, i, j))
                continue;
            engine_form f = {.role = t->role, .type = t->type};
            fn(user, t, &f);
            engine_form *e = entry_for(out, max, &n, &f);
            if (!e)
                continue;
            e->n_tensor++;
            e->n_bytes += f.n_bytes;
        }
    }
    return n;
}
