/* mlx_probe.c - two questions about MLX on which the shape of the second engine rests.
 *
 * (a) Can a node of ours write into an array that MLX holds, without a copy? Its input is const by
 *     convention only; the node writes through it and gives a small array whose only use is that
 *     later nodes depend on it. Compared with slice_update, MLX's own way to store a row.
 * (b) What does a step cost the host, at 6 nodes a layer and at 15? Recording, and all until the
 *     result is there, with nodes that compute next to nothing.
 *
 *     mlx_probe PLUGIN [cpu|gpu]            exit status 1 where (a) is answered with no
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/mlx/mb.h"

enum {
    N_WRITE = 1000,
    N_ROW = 4096, /* of the buffer: 16 MiB */
    N_COL = 1024,
    N_LAYER = 30,
    N_STEP = 200,
    WIDTH = 576
};

typedef struct probe {
    const mb_api *b;
    mb *m;
    mb_info info;
    void *seen_at; /* where the buffer was at the last write on a CPU */
    size_t n_moved;
} probe;

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void stop(const char *what, const char *why)
{
    fprintf(stderr, "mlx_probe: %s: %s\n", what, why);
    exit(2);
}

static void must(const probe *p, const char *what)
{
    if (p->b->error(p->m))
        stop(what, p->b->error(p->m));
}

static void open_probe(probe *p, const char *path, const char *device)
{
    void *image = dlopen(path, RTLD_NOW | RTLD_LOCAL),
         *symbol = image ? dlsym(image, "mb_get") : NULL;
    mb_get_fn *get = NULL;
    mb_opened why;
    if (!symbol)
        stop(path, dlerror());
    memcpy(&get, &symbol, sizeof get);
    p->b = get(MB_ABI);
    if (!p->b)
        stop(path, "of another build");
    p->m = p->b->open(device, &why);
    if (!p->m)
        stop(device, why.error);
    p->b->info(p->m, &p->info);
}

/* ---- (a) ---- */

/* in: buffer, row number, value, mark of the write before; out: mark. */
static void write_row(void *user, const mb_view *in, size_t n_in, const mb_view *out, size_t n_out)
{
    probe *p = user;
    float *buffer = in[0].data, *mark = out[0].data;
    const int32_t row = *(const int32_t *)in[1].data;
    const float value = *(const float *)in[2].data;
    (void)n_in;
    (void)n_out;
    p->n_moved += p->seen_at != NULL && p->seen_at != (void *)buffer;
    p->seen_at = buffer;
    for (size_t i = 0; i < N_COL; i++)
        buffer[(size_t)row * N_COL + i] = value;
    *mark = 1;
}

static const char cuda_write[] =
    "int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "const_cast<float *>(buffer)[row[0] * 1024 + i] = value[0] * before[0];\n"
    "if (i == 0) mark[0] = 1;\n";
static const char metal_write[] =
    "uint i = thread_position_in_grid.x;\n"
    "((device float *)buffer)[row[0] * 1024 + i] = value[0] * before[0];\n"
    "if (i == 0) mark[0] = 1;\n";

static mb_ref write_node(probe *p, const mb_ref in[4])
{
    static const char *const ins[] = {"buffer", "row", "value", "before"}, *const outs[] = {"mark"};
    const mb_shape one = {1, {1}};
    const mb_dtype f32 = MB_F32;
    const mb_gpu_kernel k = {.name = "probe_write",
                             .source =
                                 strcmp(p->info.backend, "metal") == 0 ? metal_write : cuda_write,
                             .in_names = ins,
                             .n_in = 4,
                             .out_names = outs,
                             .n_out = 1,
                             .grid = {N_COL, 1, 1},
                             .group = {256, 1, 1}};
    mb_ref mark = 0;
    if (p->info.is_gpu)
        p->b->gpu_kernel(p->m, &k, in, &one, &f32, &mark);
    else
        p->b->host_kernel(p->m, write_row, p, in, 4, &one, &f32, 1, &mark);
    return mark;
}

/* Sum of the buffer, worked out after `mark`. */
static double sum_after(probe *p, mb_ref buffer, mb_ref mark)
{
    const mb_api *b = p->b;
    float sum = 0;
    const mb_ref after = b->binary(p->m, MB_MUL, buffer, mark);
    const mb_ref rows = b->reduce(p->m, MB_SUM, after, 1, false);
    b->read(p->m, b->reduce(p->m, MB_SUM, rows, 0, false), &sum, sizeof sum);
    must(p, "sum");
    return (double)sum;
}

static mb_ref new_buffer(probe *p)
{
    const mb_ref buffer =
        p->b->keep(p->m, p->b->zeros(p->m, (mb_shape){2, {N_ROW, N_COL}}, MB_F32));
    p->b->eval(p->m, &buffer, 1, true);
    p->b->reset(p->m);
    return buffer;
}

static bool probe_writes(probe *p)
{
    const mb_api *b = p->b;
    const mb_ref buffer = new_buffer(p);
    const mb_shape one = {1, {1}};
    const float ones = 1;
    mb_memory before, after;
    b->memory(p->m, &before);
    mb_ref mark = b->from_host(p->m, &ones, one, MB_F32);
    const mb_ref value = mark;
    const double t0 = now_us();
    for (int32_t i = 0; i < N_WRITE; i++) {
        const mb_ref row = b->from_host(p->m, &i, one, MB_I32);
        mark = write_node(p, (mb_ref[]){buffer, row, value, mark});
        b->eval(p->m, &mark, 1, false);
    }
    b->eval(p->m, &mark, 1, true);
    const double each = (now_us() - t0) / N_WRITE;
    b->memory(p->m, &after);
    const double sum = sum_after(p, buffer, mark);
    const bool is_good = sum == (double)N_WRITE * N_COL && p->n_moved == 0;
    printf("(a) in-place writes on %s: %s: %.0f of %d rows of 4 KiB arrived in an array of 16 MiB, "
           "%.1f us each",
           p->info.backend, is_good ? "yes" : "NO", sum / N_COL, N_WRITE, each);
    if (!p->info.is_gpu)
        printf(", the array moved %zu times", p->n_moved);
    printf(", memory grew by %.1f MiB\n", ((double)after.active - (double)before.active) / 1048576);
    b->reset(p->m);
    b->drop(p->m, buffer);
    return is_good;
}

/* is_held: another reference to the buffer is alive, as a step that is still under way has one. */
static void probe_slice_update(probe *p, bool is_held)
{
    const mb_api *b = p->b;
    enum { N = 100 };
    mb_ref buffer = new_buffer(p);
    const mb_ref row = b->keep(p->m, b->zeros(p->m, (mb_shape){2, {1, N_COL}}, MB_F32));
    const double t0 = now_us();
    for (int32_t i = 0; i < N; i++) {
        const int32_t from[] = {i, 0}, to[] = {i + 1, N_COL};
        const mb_ref next = b->keep(p->m, b->slice_update(p->m, buffer, row, from, to, 2));
        b->reset(p->m);
        if (!is_held)
            b->drop(p->m, buffer);
        b->eval(p->m, &next, 1, true);
        if (is_held)
            b->drop(p->m, buffer);
        buffer = next;
    }
    must(p, "slice_update");
    printf("(a) slice_update of such a row on %s, the old array %s: %.1f us each\n",
           p->info.backend, is_held ? "held elsewhere" : "given up first", (now_us() - t0) / N);
    b->drop(p->m, buffer);
    b->drop(p->m, row);
}

/* ---- (b) ---- */

/* in: x, weight; out: x. Touches one number: what remains is the cost of being a node. */
static void light(void *user, const mb_view *in, size_t n_in, const mb_view *out, size_t n_out)
{
    (void)user;
    (void)n_in;
    (void)n_out;
    *(float *)out[0].data = *(const float *)in[0].data;
}

static mb_ref light_node(probe *p, mb_ref x, mb_ref w, bool is_stock)
{
    static const char *const ins[] = {"x", "w"}, *const outs[] = {"y"};
    const mb_shape shape = {2, {1, WIDTH}};
    const mb_dtype f32 = MB_F32;
    const mb_gpu_kernel k = {.name = "probe_light",
                             .source = "y[0] = x[0];",
                             .in_names = ins,
                             .n_in = 2,
                             .out_names = outs,
                             .n_out = 1,
                             .grid = {32, 1, 1},
                             .group = {32, 1, 1}};
    const mb_ref in[] = {x, w};
    mb_ref y = 0;
    if (is_stock)
        return p->b->binary(p->m, MB_ADD, x, w);
    if (p->info.is_gpu)
        p->b->gpu_kernel(p->m, &k, in, &shape, &f32, &y);
    else
        p->b->host_kernel(p->m, light, NULL, in, 2, &shape, &f32, 1, &y);
    return y;
}

static int by_size(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static void probe_steps(probe *p, int n_node, bool is_stock)
{
    static double build[N_STEP], all[N_STEP];
    const mb_api *b = p->b;
    float out[WIDTH];
    const mb_ref w = b->keep(p->m, b->zeros(p->m, (mb_shape){2, {1, WIDTH}}, MB_F32));
    mb_ref x = b->keep(p->m, b->zeros(p->m, (mb_shape){2, {1, WIDTH}}, MB_F32));
    for (int s = 0; s < N_STEP; s++) {
        const double t0 = now_us();
        mb_ref y = x;
        for (int i = 0; i < N_LAYER * n_node; i++)
            y = light_node(p, y, w, is_stock);
        build[s] = now_us() - t0;
        b->read(p->m, y, out, sizeof out);
        all[s] = now_us() - t0;
        b->reset(p->m);
    }
    must(p, "step");
    qsort(build, N_STEP, sizeof *build, by_size);
    qsort(all, N_STEP, sizeof *all, by_size);
    printf("(b) a step on %s of %d layers of %2d %s nodes: %.3f ms to record, %.3f ms in all; "
           "%.2f us a node (medians of %d)\n",
           p->info.backend, N_LAYER, n_node, is_stock ? "stock" : "own", build[N_STEP / 2] / 1000,
           all[N_STEP / 2] / 1000, all[N_STEP / 2] / (N_LAYER * n_node), N_STEP);
    b->drop(p->m, w);
    b->drop(p->m, x);
}

int main(int argc, char **argv)
{
    probe p = {.b = NULL};
    if (argc < 2) {
        fprintf(stderr, "usage: mlx_probe PLUGIN [cpu|gpu]\n");
        return 2;
    }
    open_probe(&p, argv[1], argc > 2 ? argv[2] : "cpu");
    printf("MLX %s, %s, %s\n", p.info.version, p.info.device, p.info.os);
    const bool is_good = probe_writes(&p);
    probe_slice_update(&p, false);
    probe_slice_update(&p, true);
    for (int stock = 0; stock < 2; stock++) {
        probe_steps(&p, 6, stock);
        probe_steps(&p, 15, stock);
    }
    p.b->close(p.m);
    return is_good ? 0 : 1;
}
