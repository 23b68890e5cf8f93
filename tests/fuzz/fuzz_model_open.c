/* Any GGUF file as a model: what opens can be recorded, printed and lies within the file. */
#include "model/model.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check_tensor(const plan_tensor *t, const uint8_t *data, size_t size)
{
    must(t->data >= data && t->n_bytes <= size && t->data + t->n_bytes <= data + size);
    must(t->ne[0] % quant_table[t->type].block_n == 0 && t->name[0] != '\0');
}

static void check_plan(const plan *p, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < p->n_node; i++) {
        const plan_node *n = &p->nodes[i];
        for (int k = 0; k < PLAN_MAX_IN; k++)
            must(n->in[k] < (int32_t)i);
        for (int k = 0; k < PLAN_MAX_WEIGHT; k++)
            if (n->w[k])
                check_tensor(n->w[k], data, size);
    }
    buf text;
    buf_init(&text, (size_t)64 << 20);
    must(plan_print(p, &text) == CAMA_OK);
    buf_done(&text);
}

static void record(const model_desc *m, uint32_t n_ctx, const uint8_t *data, size_t size)
{
    const model_record_opts opts = {.n_ctx = n_ctx};
    const plan *p = NULL;
    err_info err = {0};
    arena a;
    arena_init(&a, (size_t)256 << 20);
    const cama_err e = model_record(m, &opts, &a, &p, &err);
    if (e)
        must(!p && err.code == e && err.text[0]);
    else
        check_plan(p, data, size);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gguf_file *f = NULL;
    model_desc *m = NULL;
    err_info err = {0};
    if (gguf_open_bytes(data, size, &f, &err))
        return 0;
    const cama_err e = model_open(f, &m, &err);
    if (e) {
        must(!m && err.code == e && err.text[0]);
    } else {
        record(m, 64, data, size);
        record(m, 1u << 20, data, size);
    }
    model_close(m);
    gguf_close(f);
    return 0;
}
