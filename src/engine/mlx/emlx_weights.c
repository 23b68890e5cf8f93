/* emlx_weights.c - the plan's tensors: named once, counted, and brought into the form in which they
 * are used. */
#include "engine/mlx/emlx_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/mlx/emlx_trial.h"

/* What a node does with its i-th tensor. */
static emlx_use use_of(const engine *e, const plan_node *n, size_t i)
{
    if (n->op == PLAN_EMBED || n->op == PLAN_LINEAR)
        return i == 0 ? EMLX_MATRIX : EMLX_FLOATS;
    if (n->op == PLAN_EXPERTS)
        return i < 3 ? EMLX_MATRIX : EMLX_FLOATS;
    if (n->op == PLAN_HEAD_LINEAR) /* MLX has no product of a matrix a head on its block forms */
        return e->kernels ? EMLX_MATRIX : EMLX_FLOATS;
    return EMLX_FLOATS;
}

static uint64_t n_weight_of(const plan_tensor *t)
{
    uint64_t n = t->ne[0];
    for (int i = 1; i < 4; i++)
        n *= t->ne[i] ? t->ne[i] : 1;
    return n;
}

static emlx_weight *find(const engine *e, const plan_tensor *t, emlx_use use)
{
    for (size_t i = 0; i < e->n_weight; i++)
        if (e->weight[i].t->data == t->data && e->weight[i].use == use)
            return &e->weight[i];
    return NULL;
}

static cama_err name_weight(engine *e, emlx_weight *w, err_info *err)
{
    const plan_tensor *t = w->t;
    const uint64_t n_row = n_weight_of(t) / t->ne[0];
    w->n_bytes = n_weight_of(t) * sizeof(float);
    if (w->use == EMLX_FLOATS)
        return CAMA_OK;
    w->kern = (kern_weight){.type = t->type,
                            .rows = t->data,
                            .row_bytes = quant_row_bytes(t->type, (size_t)t->ne[0]),
                            .n_row = (size_t)t->ne[1],
                            .n_col = (size_t)t->ne[0]};
    w->n_bytes = t->n_bytes;
    if (e->kernels)
        return CAMA_OK;
    const cama_err fail = emlx_form_of(t->type, t->ne[0], false, &w->form);
    if (fail)
        return err_set(err, fail, "mlx: tensor '%s' of type %s has no form", t->name,
                       quant_table[t->type].name);
    w->is_stock = true;
    w->n_bytes = emlx_form_bytes(&w->form, n_row, t->ne[0]);
    return CAMA_OK;
}

cama_err emlx_name_weights(engine *e, err_info *err)
{
    const size_t most = e->plan->n_node * PLAN_MAX_WEIGHT;
    size_t n = 0;
    for (size_t i = 0; i < most; i++)
        n += e->plan->nodes[i / PLAN_MAX_WEIGHT].w[i % PLAN_MAX_WEIGHT] != NULL;
    e->weight = arena_take_array(&e->plan_arena, n + 1, sizeof *e->weight);
    if (!e->weight)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for the books of %zu weights", n);
    for (size_t i = 0; i < most; i++) {
        const plan_node *node = &e->plan->nodes[i / PLAN_MAX_WEIGHT];
        const plan_tensor *t = node->w[i % PLAN_MAX_WEIGHT];
        if (!t)
            continue;
        const emlx_use use = use_of(e, node, i % PLAN_MAX_WEIGHT);
        emlx_weight *w = find(e, t, use);
        if (!w) {
            w = &e->weight[e->n_weight++];
            *w = (emlx_weight){.t = t, .use = use};
            const cama_err fail = name_weight(e, w, err);
            if (fail)
                return fail;
        }
        e->node[i / PLAN_MAX_WEIGHT].w[i % PLAN_MAX_WEIGHT] = w;
    }
    return CAMA_OK;
}

uint64_t emlx_weight_bytes(const engine *e)
{
    uint64_t n = 0;
    for (size_t i = 0; i < e->n_weight; i++)
        n += e->weight[i].n_bytes;
    return n;
}

/* ---- forms that the device decides ---- */

/* Linears and tables of rows only: a stack of experts has no kernel of ours yet. */
static bool may_be_raw(const engine *e, const emlx_weight *w)
{
    if (!e->gpu || w->use != EMLX_MATRIX || w->t->ne[2] > 1 || !emlx_gpu_kernel_for(w->t->type))
        return false;
    for (size_t i = 0; i < e->plan->n_node; i++)
        if (e->plan->nodes[i].op == PLAN_EXPERTS)
            for (int j = 0; j < 3; j++)
                if (e->node[i].w[j] == w)
                    return false;
    return w->t->ne[0] % 256 == 0;
}

static void choose_form(engine *e, emlx_weight *w)
{
    char name[32];
    const emlx_gpu_kernel *k = may_be_raw(e, w) ? emlx_gpu_kernel_for(w->t->type) : NULL;
    (void)snprintf(name, sizeof name, "%s f32", k ? k->name : "");
    if (k && emlx_selftest_ok(&e->trial->result, name)) {
        w->is_raw = true;
        w->is_stock = false;
        w->n_bytes = w->t->n_bytes;
        return;
    }
    if (!w->is_stock || emlx_trial_form(e->trial, &w->form))
        return;
    w->form = (emlx_form){.type = w->t->type,
                          .form = MB_DENSE,
                          .w_type = MB_F32,
                          .scale_type = MB_U8,
                          .is_dequantized = true};
    w->n_bytes = emlx_form_bytes(&w->form, n_weight_of(w->t) / w->t->ne[0], w->t->ne[0]);
    if (!e->note[0])
        (void)snprintf(e->note, sizeof e->note,
                       "MLX's product for %s does not run on %.100s: dequantised",
                       quant_table[w->t->type].name, e->info.device);
}

/* Tries kernels for the types that the model has. Without a GPU a kernel that fails takes all to
 * the stock form: what ours compute together they compute alike. */
cama_err emlx_try_device(engine *e, err_info *err)
{
    emlx_trial *t = calloc(1, sizeof *t);
    e->trial = t;
    if (!t)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for what is tried");
    t->b = e->b;
    t->m = e->m;
    t->info = e->info;
    t->kern = &e->kern;
    t->form = e->opts.activations;
    if (e->info.is_gpu && !e->opts.stock &&
        emlx_gpu_new(e->b, e->m, e->info.backend, &e->gpu, NULL))
        e->gpu = NULL; /* no texts for this kind of device: stock */
    t->gpu = e->gpu;
    for (size_t i = 0; i < e->n_weight; i++)
        if (e->weight[i].use == EMLX_MATRIX && (e->kernels || may_be_raw(e, &e->weight[i])))
            t->wanted[e->weight[i].t->type] = true;
    if (!e->kernels && !e->gpu && !e->info.is_gpu)
        return CAMA_OK;
    const cama_err fail = emlx_trial_run(t, err);
    if (fail)
        return fail;
    emlx_selftest_note(&t->result, e->note, sizeof e->note);
    return CAMA_OK;
}

void emlx_choose_forms(engine *e)
{
    for (size_t i = 0; i < e->n_weight && e->info.is_gpu; i++)
        if (e->weight[i].use == EMLX_MATRIX)
            choose_form(e, &e->weight[i]);
}

/* ---- taking ---- */

static cama_err no_memory(const plan_tensor *t, err_info *err)
{
    return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for tensor '%s'", t->name);
}

/* f32, with the dimensions of ne reversed: the last is contiguous. */
static cama_err take_floats(engine *e, emlx_weight *w, err_info *err)
{
    const plan_tensor *t = w->t;
    const size_t n = (size_t)n_weight_of(t);
    const bool lies_well = t->type == QUANT_F32 && (uintptr_t)t->data % sizeof(float) == 0;
    float *copy = lies_well ? NULL : malloc(n * sizeof *copy);
    if (!lies_well && !copy)
        return no_memory(t, err);
    if (copy)
        quant_dequant(t->type, t->data, copy, n);
    w->owned = copy;
    w->floats = copy ? copy : (const float *)(const void *)t->data;
    mb_shape s = {.n_dim = 0};
    for (int i = 3; i >= 0; i--)
        if (i == 0 || t->ne[i] > 1)
            s.dim[s.n_dim++] = (int32_t)t->ne[i];
    w->array = e->b->keep(e->m, e->b->from_host(e->m, w->floats, s, MB_F32));
    return CAMA_OK;
}

/* The file's blocks, for a kernel of ours. */
static void take_raw(engine *e, emlx_weight *w)
{
    const plan_tensor *t = w->t;
    const size_t row_bytes = quant_row_bytes(t->type, (size_t)t->ne[0]);
    const mb_shape s = emlx_shape2((size_t)t->ne[1], row_bytes);
    w->gpu =
        (emlx_gpu_weight){.type = t->type, .n_in = (size_t)t->ne[0], .n_out = (size_t)t->ne[1]};
    w->gpu.blocks = e->b->keep(e->m, e->b->from_host(e->m, t->data, s, MB_U8));
    (void)e->b->eval(e->m, &w->gpu.blocks, 1, true); /* told at the end */
}

typedef struct packing {
    const emlx_form *form;
    const emlx_rows *rows;
    emlx_packed *out;
} packing;

static void pack_share(void *arg, int t, int n_thread)
{
    const packing *p = arg;
    const uint64_t n = p->rows->n_row;
    emlx_pack_rows(p->form, p->rows, n * (uint64_t)t / (uint64_t)n_thread,
                   n * ((uint64_t)t + 1) / (uint64_t)n_thread, p->out);
}

/* [n_row, n], or [n_expert, n_row, n] of a stack. */
static mb_ref upload(engine *e, const plan_tensor *t, const void *data, uint64_t n, mb_dtype type)
{
    const mb_shape s = t->ne[2] > 1
                           ? emlx_shape3((size_t)t->ne[2], (size_t)t->ne[1], (size_t)n)
                           : emlx_shape2((size_t)t->ne[1] ? (size_t)t->ne[1] : 1, (size_t)n);
    return data ? e->b->keep(e->m, e->b->from_host(e->m, data, s, type)) : 0;
}

static cama_err take_stock(engine *e, emlx_weight *w, err_info *err)
{
    const plan_tensor *t = w->t;
    const emlx_rows rows = {.data = t->data,
                            .row_bytes = quant_row_bytes(t->type, (size_t)t->ne[0]),
                            .n_row = n_weight_of(t) / t->ne[0],
                            .n_col = t->ne[0]};
    emlx_packed p = {0};
    w->stock = (mb_weight){.form = w->form.form, .bits = w->form.bits, .group = w->form.group};
    if (w->form.is_as_stored) {
        w->stock.w = upload(e, t, t->data, t->ne[0], w->form.w_type);
        return CAMA_OK;
    }
    const cama_err fail = emlx_packed_init(&w->form, &rows, &p, err);
    if (fail)
        return fail;
    packing job = {&w->form, &rows, &p};
    workers_run(e->pool, pack_share, &job);
    emlx_packed_finish(&w->form, &p);
    w->stock.w = upload(e, t, p.w, p.n_word, p.w_type);
    w->stock.scales = upload(e, t, p.scales, p.n_scale, p.scale_type);
    w->stock.biases = upload(e, t, p.biases, p.n_scale, p.scale_type);
    const mb_ref all[] = {w->stock.w, w->stock.scales, w->stock.biases};
    size_t n = 0;
    while (n < 3 && all[n])
        n++;
    (void)e->b->eval(e->m, all, n, true); /* told at the end */
    emlx_packed_done(&p);
    return CAMA_OK;
}

cama_err emlx_take_weights(engine *e, err_info *err)
{
    for (size_t i = 0; i < e->n_weight; i++) {
        emlx_weight *w = &e->weight[i];
        cama_err fail = CAMA_OK;
        if (w->use == EMLX_FLOATS)
            fail = take_floats(e, w, err);
        else if (w->is_raw)
            take_raw(e, w);
        else if (w->is_stock)
            fail = take_stock(e, w, err);
        e->b->reset(e->m);
        if (!fail && e->b->error(e->m))
            fail = err_set(err, CAMA_ERR_ENGINE, "mlx: tensor '%s': %s", w->t->name,
                           e->b->error(e->m));
        if (fail)
            return fail;
    }
    return CAMA_OK;
}

mb_ref emlx_times(engine *e, const emlx_weight *w, mb_ref x)
{
    return w->is_raw ? emlx_gpu_linear(e->gpu, &w->gpu, x) : e->b->linear(e->m, x, &w->stock);
}

mb_ref emlx_table_rows(engine *e, const emlx_weight *w, mb_ref ids)
{
    return w->is_raw ? emlx_gpu_rows(e->gpu, &w->gpu, ids, MB_F32)
                     : e->b->rows(e->m, &w->stock, ids, MB_F32);
}

void emlx_drop_weights(engine *e)
{
    emlx_gpu_free(e->gpu);
    free(e->trial);
    for (size_t i = 0; i < e->n_weight; i++)
        free(e->weight[i].owned);
}

/* ---- forms ---- */

static void form_of(const void *user, const plan_tensor *t, engine_form *out)
{
    const engine *e = user;
    const emlx_weight *w = find(e, t, EMLX_MATRIX);
    const emlx_weight *f = find(e, t, EMLX_FLOATS);
    out->exact = true;
    out->form = "f32";
    out->n_bytes = (w ? w->n_bytes : 0) + (f ? f->n_bytes : 0);
    if (w && w->is_raw)
        out->form = "file blocks, kernel of ours";
    else if (w && w->is_stock)
        out->form = w->text;
    else if (w)
        out->form = "file blocks";
}

size_t emlx_list_forms(const engine *e, engine_form *out, size_t max)
{
    for (size_t i = 0; i < e->n_weight; i++)
        if (e->weight[i].is_stock)
            emlx_form_text(&e->weight[i].form, e->weight[i].text);
    return engine_list_forms(e->plan, form_of, e, out, max);
}
