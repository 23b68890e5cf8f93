#include "engine/mlx/emlx_gpu.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/mlx/emlx_gpu_text.h"

#define LANES 32u          /* that run together, on either maker's GPUs */
#define GROUP_THREADS 128u /* of a group: four times 32 that know nothing of each other */
#define MAX_TEXT ((size_t)1 << 20)
#define ROWS_VARIANT 3u
#define HALF_VARIANT (EMLX_GPU_N_VARIANT / 2) /* those of f32, then those of f16 */

static const emlx_gpu_kernel kernels[EMLX_GPU_N_FORMAT] = {
    {QUANT_Q4_K, "q4_k", 16, emlx_gpu_fmt_q4_k},
    {QUANT_Q6_K, "q6_k", 4, emlx_gpu_fmt_q6_k},
};

/* Rows of x that a text is for; fewer are computed as the last one again. Beside them the columns
 * that share what was read of x: more need more registers, fewer read x more often. */
static const struct {
    uint32_t n_row, n_out;
} classes[HALF_VARIANT] = {{1, 2}, {4, 2}, {8, 4}, {0, 0}}; /* the last is the text of rows */

struct emlx_gpu {
    const mb_api *b;
    mb *m;
    const char *prelude;
    bool is_metal;
    emlx_gpu_source source[EMLX_GPU_N_FORMAT][EMLX_GPU_N_VARIANT];
};

const emlx_gpu_kernel *emlx_gpu_kernel_at(size_t i)
{
    return &kernels[i];
}

const emlx_gpu_kernel *emlx_gpu_kernel_for(quant_type t)
{
    for (size_t i = 0; i < EMLX_GPU_N_FORMAT; i++) {
        if (kernels[i].type == t)
            return &kernels[i];
    }
    return NULL;
}

static size_t index_of(quant_type t)
{
    return (size_t)(emlx_gpu_kernel_for(t) - kernels);
}

/* FNV-1a: told apart are texts of ours, not an attacker's. */
static uint64_t hash_text(uint64_t h, const char *text)
{
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001B3u;
    return h;
}

/* The header of a source in heap memory, and its name. */
static cama_err write_source(const emlx_gpu *g, const emlx_gpu_kernel *k, emlx_gpu_source *s)
{
    buf text;
    buf_init(&text, MAX_TEXT);
    const bool gemv = s->n_row > 0;
    (void)buf_printf(&text, "#define KT_F16 %d\n", s->is_f16); /* failures stick: looked at below */
    if (gemv)
        (void)buf_printf(&text, "#define KT_N_ROW %u\n#define KT_N_OUT %u\n#define KT_AHEAD 1\n",
                         s->n_row, s->n_out);
    (void)buf_puts(&text, g->prelude);
    (void)buf_puts(&text, emlx_gpu_fmt_common);
    (void)buf_puts(&text, k->text);
    (void)buf_puts(&text, gemv ? emlx_gpu_op_gemv : emlx_gpu_op_rows);
    if (text.fail) {
        buf_done(&text);
        return CAMA_ERR_NOMEM;
    }
    s->header = text.data; /* the source's from here on */
    s->body = gemv ? emlx_gpu_body_gemv : emlx_gpu_body_rows;
    const uint64_t h = hash_text(hash_text(0xCBF29CE484222325u, s->header), s->body);
    const int n = gemv ? (int)s->n_row : 0;
    (void)snprintf(s->name, sizeof s->name, "cama_%s_%s%d_%s_%016" PRIx64, k->name,
                   gemv ? "gemv" : "rows", n, s->is_f16 ? "f16" : "f32", h);
    return CAMA_OK;
}

cama_err emlx_gpu_new(const mb_api *b, mb *m, const char *backend, emlx_gpu **out, err_info *err)
{
    const bool is_metal = strcmp(backend, "metal") == 0;
    if (!is_metal && strcmp(backend, "cuda") != 0)
        return err_set(err, CAMA_ERR_UNSUPPORTED, "mlx: no kernels of ours for backend '%s'",
                       backend);
    emlx_gpu *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for kernel text");
    g->b = b;
    g->m = m;
    g->is_metal = is_metal;
    g->prelude = is_metal ? emlx_gpu_pre_metal : emlx_gpu_pre_cuda;
    for (size_t i = 0; i < EMLX_GPU_N_FORMAT; i++) {
        for (size_t v = 0; v < EMLX_GPU_N_VARIANT; v++) {
            emlx_gpu_source *s = &g->source[i][v];
            const size_t c = v % HALF_VARIANT;
            s->is_f16 = v >= HALF_VARIANT;
            s->n_row = classes[c].n_row;
            s->n_out = classes[c].n_out;
            if (write_source(g, &kernels[i], s)) {
                emlx_gpu_free(g);
                return err_set(err, CAMA_ERR_NOMEM, "mlx: no memory for the text of kernel %s",
                               kernels[i].name);
            }
        }
    }
    *out = g;
    return CAMA_OK;
}

void emlx_gpu_free(emlx_gpu *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < EMLX_GPU_N_FORMAT; i++) {
        for (size_t v = 0; v < EMLX_GPU_N_VARIANT; v++)
            free((char *)(uintptr_t)g->source[i][v].header); /* ours, const for the others */
    }
    free(g);
}

cama_err emlx_gpu_set_columns(emlx_gpu *g, quant_type t, size_t v, uint32_t n_out)
{
    emlx_gpu_source *s = &g->source[index_of(t)][v];
    emlx_gpu_source made = *s;
    made.n_out = n_out;
    const cama_err e = write_source(g, emlx_gpu_kernel_for(t), &made);
    if (e)
        return e;
    free((char *)(uintptr_t)s->header);
    *s = made;
    return CAMA_OK;
}

const emlx_gpu_source *emlx_gpu_source_at(const emlx_gpu *g, quant_type t, size_t v)
{
    return &g->source[index_of(t)][v];
}

uint64_t emlx_gpu_hash(const emlx_gpu *g, quant_type t, bool is_f16)
{
    uint64_t h = 0xCBF29CE484222325u;
    const size_t from = is_f16 ? HALF_VARIANT : 0;
    for (size_t v = from; v < from + HALF_VARIANT; v++)
        h = hash_text(h, g->source[index_of(t)][v].name); /* a hash of the text is in it */
    return h;
}

/* Runs a source over n_thread threads. in: all of its inputs. */
static mb_ref run(emlx_gpu *g, const emlx_gpu_source *s, const mb_ref *in, size_t n_thread,
                  mb_shape shape)
{
    static const char *const gemv_in[] = {"x", "w"}, *const rows_in[] = {"w"}, *const out[] = {"y"};
    const size_t n = (n_thread + GROUP_THREADS - 1) / GROUP_THREADS * GROUP_THREADS;
    const mb_gpu_kernel k = {.name = s->name,
                             .header = s->header,
                             .source = s->body,
                             .in_names = s->n_row ? gemv_in : rows_in,
                             .n_in = s->n_row ? 2 : 1,
                             .out_names = out,
                             .n_out = 1,
                             .grid = {(int32_t)n, 1, 1},
                             .group = {GROUP_THREADS, 1, 1}};
    const mb_dtype t = s->is_f16 ? MB_F16 : MB_F32;
    mb_ref y = 0;
    if (n > INT32_MAX) /* nobody has a row of 2^31 threads; the verb fails for want of an array */
        return g->b->cast(g->m, 0, t);
    (void)g->b->gpu_kernel(g->m, &k, in, &shape, &t, &y); /* 0: told in the bridge's error */
    return y;
}

mb_ref emlx_gpu_rows(emlx_gpu *g, const emlx_gpu_weight *w, mb_ref ids, mb_dtype t)
{
    const emlx_gpu_source *s =
        &g->source[index_of(w->type)][ROWS_VARIANT + (t == MB_F16 ? HALF_VARIANT : 0)];
    const mb_ref blocks = ids ? g->b->take(g->m, w->blocks, ids, 0) : w->blocks;
    mb_shape shape;
    mb_dtype u8;
    if (g->b->meta(g->m, blocks, &shape, &u8))
        return 0;
    const size_t n = (size_t)shape.dim[0];
    shape = (mb_shape){2, {(int32_t)n, (int32_t)w->n_in}};
    if (n == 0)
        return g->b->zeros(g->m, shape, t);
    const mb_ref y = run(g, s, &blocks, n * w->n_in / LANES, shape); /* 32 weights a thread */
    return g->b->cast(g->m, y, t);
}

/* Many rows: the weights as floats, once, and MLX's product. */
static mb_ref dense(emlx_gpu *g, const emlx_gpu_weight *w, mb_ref x, mb_dtype t)
{
    static const int32_t turned[] = {1, 0};
    const mb_ref floats = emlx_gpu_rows(g, w, 0, t);
    return g->b->matmul(g->m, x, g->b->transpose(g->m, floats, turned, 2));
}

static mb_ref gemv(emlx_gpu *g, const emlx_gpu_weight *w, mb_ref x, size_t n_row, bool is_f16)
{
    size_t c = 0;
    while (classes[c].n_row < n_row)
        c++;
    const emlx_gpu_source *s = &g->source[index_of(w->type)][c + (is_f16 ? HALF_VARIANT : 0)];
    const mb_ref in[] = {g->b->reshape(g->m, x, (mb_shape){2, {(int32_t)n_row, (int32_t)w->n_in}}),
                         w->blocks};
    const size_t n_group = (w->n_out + s->n_out - 1) / s->n_out;
    return run(g, s, in, n_group * LANES, (mb_shape){2, {(int32_t)n_row, (int32_t)w->n_out}});
}

mb_ref emlx_gpu_linear(emlx_gpu *g, const emlx_gpu_weight *w, mb_ref x)
{
    mb_shape shape;
    mb_dtype t;
    if (g->b->meta(g->m, x, &shape, &t))
        return 0;
    size_t n_row = 1;
    for (int32_t i = 0; i + 1 < shape.n_dim; i++)
        n_row *= (size_t)shape.dim[i];
    shape.dim[shape.n_dim - 1] = (int32_t)w->n_out;
    if (n_row == 0)
        return g->b->zeros(g->m, shape, t);
    const mb_dtype inner = t == MB_F16 ? MB_F16 : MB_F32;
    x = g->b->cast(g->m, x, inner);
    const mb_ref y =
        n_row > EMLX_GPU_MAX_ROW ? dense(g, w, x, inner) : gemv(g, w, x, n_row, inner == MB_F16);
    return g->b->cast(g->m, g->b->reshape(g->m, y, shape), t);
}
