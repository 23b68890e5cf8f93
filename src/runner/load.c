#include "runner/load.h"

#include <stdlib.h>
#include <string.h>

cama_err load_plan(const engine_vt *vt, const model_desc *m, engine_opts *o, bool is_batch_fixed,
                   engine_bytes *out, err_info *err)
{
    const model_info *info = model_get_info(m);
    const bool whole = !info->causal || info->pooling != PLAN_POOL_NONE;
    const cama_err e = vt->plan(m, o, out, err);
    if (e || !whole || is_batch_fixed || out->n_ctx <= o->n_batch)
        return e;
    o->n_batch = out->n_ctx;
    return vt->plan(m, o, out, err);
}

/* Where memory is plentiful a copy in huge pages is read faster than the mapping: the machine looks
 * up 512 times fewer translations. */
cama_err load_weights(gguf_file *f, const engine_bytes *planned, load_place place,
                      const filemap_watch *watch, bool *out_in_memory, err_info *err)
{
    const bool wanted = place == LOAD_MEMORY;
    const bool plenty = planned->available / 2 >= planned->total;
    *out_in_memory = false;
    if (err)
        err->code = CAMA_OK;
    if (!wanted && (place == LOAD_MAPPED || !plenty))
        return CAMA_OK;
    const cama_err e = gguf_load(f, watch, err);
    *out_in_memory = !e;
    return wanted ? e : CAMA_OK;
}

bool load_is_stock(void)
{
    const char *asked = getenv("CAMA_MLX_STOCK");
    return asked && !strcmp(asked, "1");
}

const char *load_pool_name(plan_pool_kind kind)
{
    static const char *const names[] = {
        [PLAN_POOL_NONE] = "none", [PLAN_POOL_MEAN] = "mean", [PLAN_POOL_CLS] = "cls",
        [PLAN_POOL_LAST] = "last", [PLAN_POOL_RANK] = "rank",
    };
    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "none";
}

static const struct {
    const char *name;
    quant_type type;
} kv_types[] = {{"f16", QUANT_F16},
                {"f32", QUANT_F32},
                {"bf16", QUANT_BF16},
                {"q8_0", QUANT_Q8_0},
                {"q4_0", QUANT_Q4_0}};

const char *load_kv_name(quant_type t)
{
    for (size_t i = 0; i < sizeof kv_types / sizeof kv_types[0]; i++) {
        if (kv_types[i].type == t)
            return kv_types[i].name;
    }
    return NULL;
}

bool load_kv_type(const char *name, quant_type *out)
{
    for (size_t i = 0; i < sizeof kv_types / sizeof kv_types[0]; i++) {
        if (!strcmp(kv_types[i].name, name)) {
            *out = kv_types[i].type;
            return true;
        }
    }
    return false;
}
