/* emlx_trial.c - what is tried on the device before a model's weights go there: kernels of ours
 * against the reference, and MLX's own products in each form that would be used. */
#include "engine/mlx/emlx_trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIAL_COLS 512
#define TRIAL_OUT 64

/* ---- nodes of ours on the CPU ---- */

/* One product through a node of ours; a type and a form of activations. */
typedef struct cpu_kernel {
    const mb_api *b;
    mb *m;
    const kern_table *kern;
    kern_form form;
    const emlx_selftest_case *now;
    bool failed;
} cpu_kernel;

static void product_node(void *user, const mb_view *in, size_t n_in, const mb_view *out,
                         size_t n_out)
{
    cpu_kernel *k = user;
    const emlx_selftest_case *c = k->now;
    const kern_weight w = {.type = c->type,
                           .rows = c->blocks,
                           .row_bytes = quant_row_bytes(c->type, c->n_in),
                           .n_row = c->n_out,
                           .n_col = c->n_in};
    const size_t n_acts = emlx_up(k->kern->acts_bytes(c->n_row, c->n_in) + 64, 64);
    uint8_t *mem = aligned_alloc(64, n_acts + emlx_up(k->kern->scratch_bytes(c->n_in), 64) + 64);
    (void)n_in, (void)n_out;
    if (!mem) {
        k->failed = true;
        return;
    }
    kern_acts a = {.form = kern_form_for(c->type, c->n_in, k->form),
                   .n_row = c->n_row,
                   .n_col = c->n_in,
                   .x = in[0].data,
                   .ld = c->n_in,
                   .mem = mem};
    if (a.form == KERN_I8)
        k->kern->acts_quantize(&a, a.x, a.ld, 0, a.n_row);
    const kern_out y = {.y = out[0].data, .ld = c->n_out};
    kern_matmul(k->kern, &w, &a, 0, c->n_out, &y, mem + n_acts);
    free(mem);
}

static cama_err run_cpu(void *user, const emlx_selftest_case *c, float *y, err_info *err)
{
    cpu_kernel *k = user;
    const mb_shape shape = emlx_shape2(c->n_row, c->n_out);
    const mb_dtype type = MB_F32;
    mb_ref out = 0;
    k->now = c;
    k->failed = false;
    const mb_ref x = k->b->from_host(k->m, c->x, emlx_shape2(c->n_row, c->n_in), MB_F32);
    (void)k->b->host_kernel(k->m, product_node, k, &x, 1, &shape, &type, 1, &out); /* sticks */
    if (k->b->read(k->m, out, y, c->n_row * c->n_out * sizeof *y))
        return err_set(err, CAMA_ERR_ENGINE, "%s", k->b->error(k->m));
    return k->failed ? err_set(err, CAMA_ERR_NOMEM, "no memory for a product") : CAMA_OK;
}

/* Kernels of the wanted types; gives how many. names has room for as many. */
static size_t list_cpu(const emlx_trial *t, cpu_kernel *user, char (*names)[32],
                       emlx_selftest_kernel *out)
{
    size_t n = 0;
    for (int q = 0; q < QUANT_N_TYPE && n < EMLX_TRIAL_MAX; q++) {
        if (!t->wanted[q])
            continue;
        (void)snprintf(names[n], sizeof names[n], "cpu %.20s", quant_table[q].name);
        for (char *c = names[n]; *c; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
        out[n] = (emlx_selftest_kernel){
            .name = names[n], .type = (quant_type)q, .run = run_cpu, .user = user, .n_lane = 8};
        if (kern_form_for((quant_type)q, TRIAL_COLS, user->form) == KERN_I8)
            out[n].x_unit = 0.5 / 127;
        n++;
    }
    return n;
}

cama_err emlx_trial_run(emlx_trial *t, err_info *err)
{
    static char names[EMLX_TRIAL_MAX][32]; /* results point there; the texts are always the same */
    emlx_selftest_kernel more[EMLX_TRIAL_MAX];
    cpu_kernel cpu = {.b = t->b, .m = t->m, .kern = t->kern, .form = t->form};
    emlx_selftest_in in = {
        .b = t->b, .m = t->m, .info = &t->info, .gpu = t->gpu, .wanted = t->wanted, .f32 = true};
    if (!t->info.is_gpu) {
        in.more = more;
        in.n_more = list_cpu(t, &cpu, names, more);
    }
    return emlx_selftest_run(&in, &t->result, err);
}

/* ---- MLX's own products ---- */

/* A product of zeroes in this form with n_row rows. */
static bool one_product(emlx_trial *t, const emlx_form *f, size_t n_row)
{
    const mb_api *b = t->b;
    mb_weight w = {.form = f->form, .bits = f->bits, .group = f->group};
    const size_t bits = f->form == MB_AFFINE ? (size_t)f->bits : f->form == MB_MXFP8 ? 8 : 4;
    const size_t group = f->form == MB_AFFINE ? (size_t)f->group : f->form == MB_NVFP4 ? 16 : 32;
    w.w = b->zeros(t->m, emlx_shape2(TRIAL_OUT, TRIAL_COLS * bits / 32), MB_U32);
    w.scales = b->zeros(t->m, emlx_shape2(TRIAL_OUT, TRIAL_COLS / group), f->scale_type);
    w.biases = f->form == MB_AFFINE
                   ? b->zeros(t->m, emlx_shape2(TRIAL_OUT, TRIAL_COLS / group), f->scale_type)
                   : 0;
    const mb_ref x = b->zeros(t->m, emlx_shape2(n_row, TRIAL_COLS), MB_F32);
    const mb_ref y = b->linear(t->m, x, &w);
    const bool ok = b->eval(t->m, &y, 1, true) == 0 && !b->error(t->m);
    b->clear(t->m);
    b->reset(t->m);
    return ok;
}

bool emlx_trial_form(emlx_trial *t, const emlx_form *f)
{
    static const size_t rows[] = {1, 6, TRIAL_OUT};
    if (f->form == MB_DENSE)
        return true;
    for (size_t i = 0; i < t->n_tried; i++)
        if (t->tried[i].form == f->form && t->tried[i].bits == f->bits &&
            t->tried[i].group == f->group)
            return t->tried[i].works;
    bool works = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && works; i++)
        works = one_product(t, f, rows[i]);
    if (t->n_tried < EMLX_TRIAL_MAX)
        t->tried[t->n_tried++] = (emlx_tried){f->form, f->bits, f->group, works};
    return works;
}
