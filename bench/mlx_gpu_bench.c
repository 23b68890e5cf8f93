/* mlx_gpu_bench.c - speed of our GPU kernels beside MLX's own quantised and dense products.
 *
 *     mlx_gpu_bench PLUGIN            the self-test, then all shapes, on the GPU that the plugin
 * has mlx_gpu_bench PLUGIN quick      one shape only mlx_gpu_bench PLUGIN selftest   none
 *     mlx_gpu_bench --print metal     every kernel text as MLX would compile it; also cuda
 *
 * A figure is the best of five runs of 48 independent products, divided by 48; they take turns
 * among copies of the weights that together are larger than any cache. GB/s counts the weights
 * alone, once, in the form that is read. Before a kernel is timed its result is compared with the
 * CPU's.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/mlx/emlx_selftest.h"
#include "quant/f16.h"

#include "kern_data.h"

#define N_CALL 48
#define N_PASS 5
#define MAX_COPY 32
#define ROTATE_BYTES ((size_t)256 << 20)
#define N_RANDOM_ROW 64 /* of weights; the others repeat them */

typedef struct bench {
    const mb_api *b;
    mb *m;
    emlx_gpu *g;
} bench;

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *take(size_t n)
{
    void *p = aligned_alloc(64, (n + 63) / 64 * 64);
    if (!p) {
        (void)fprintf(stderr, "no memory for %zu bytes\n", n);
        exit(1);
    }
    return p;
}

static bool failed(const bench *s, const char *what)
{
    const char *text = s->b->error(s->m);
    if (!text)
        return false;
    printf("%s FAILED: %.400s\n", what, text);
    s->b->clear(s->m);
    s->b->reset(s->m);
    return true;
}

/* One product of weights copy i, lazily. */
typedef mb_ref call_fn(const bench *s, const void *user, size_t i);

/* Seconds of one product; 0: it failed. */
static double seconds(const bench *s, call_fn *fn, const void *user, size_t n_copy)
{
    double best = 0;
    for (int pass = 0; pass <= N_PASS; pass++) { /* the first compiles and warms up */
        mb_ref y[N_CALL];
        const double t0 = now();
        for (size_t i = 0; i < N_CALL; i++)
            y[i] = fn(s, user, i % n_copy);
        (void)s->b->eval(s->m, y, N_CALL, true); /* 0 would be told by error */
        const double t = (now() - t0) / N_CALL;
        s->b->reset(s->m);
        if (failed(s, "  product"))
            return 0;
        if (pass && (best == 0 || t < best))
            best = t;
    }
    return best;
}

static mb_shape shape2(size_t a, size_t b)
{
    return (mb_shape){2, {(int32_t)a, (int32_t)b}};
}

static mb_ref kept(const bench *s, const void *data, mb_shape shape, mb_dtype t)
{
    const mb_ref r = s->b->keep(s->m, s->b->from_host(s->m, data, shape, t));
    (void)s->b->eval(s->m, &r, 1, true);
    return r;
}

static size_t copies(size_t n_bytes)
{
    const size_t n = ROTATE_BYTES / n_bytes + 1;
    return n < MAX_COPY ? n : MAX_COPY;
}

/* ---- our kernels ---- */

typedef struct ours {
    quant_type type;
    size_t n_row, n_in, n_out;
    mb_dtype t;
    mb_ref x;
    mb_ref w[MAX_COPY];
} ours;

static mb_ref call_ours(const bench *s, const void *user, size_t i)
{
    const ours *o = user;
    const emlx_gpu_weight w = {o->type, o->w[i], o->n_in, o->n_out};
    return emlx_gpu_linear(s->g, &w, o->x);
}

/* The largest error of the first and last columns, in units of what the sums may round. */
static double error_of(const bench *s, const ours *o, const uint8_t *blocks, const float *x)
{
    const size_t n = o->n_row * o->n_out;
    float *y = take(n * sizeof *y), *w = take(o->n_in * sizeof *w);
    const mb_ref r = s->b->cast(s->m, call_ours(s, o, 0), MB_F32);
    double worst = 0;
    if (s->b->read(s->m, r, y, n * sizeof *y))
        worst = INFINITY;
    for (size_t c = 0; c < 2 * N_RANDOM_ROW && worst < INFINITY; c++) {
        const size_t out = c < N_RANDOM_ROW ? c : o->n_out - 1 - (c - N_RANDOM_ROW);
        quant_dequant(o->type, blocks + out * quant_row_bytes(o->type, o->n_in), w, o->n_in);
        for (size_t row = 0; row < o->n_row; row++) {
            double sum = 0, all = 0;
            for (size_t k = 0; k < o->n_in; k++) {
                const float v = x[row * o->n_in + k];
                const double wx =
                    (double)w[k] * (double)(o->t == MB_F16 ? f16_to_f32(f16_from_f32(v)) : v);
                sum += wx;
                all += fabs(wx);
            }
            double tol = (double)(o->n_in / 32 + 5) * 0x1p-24 * all;
            tol += o->t == MB_F16 ? 0x1p-11 * fabs(sum) * 1.001 + 0x1p-25 : 0;
            const double e = fabs((double)y[row * o->n_out + out] - sum) / tol;
            worst = e <= worst ? worst : e; /* NaN becomes the worst and stays */
        }
    }
    s->b->reset(s->m);
    free(y);
    free(w);
    return worst;
}

/* d of real files: a value of about 1 / sqrt(n_in) stays far from what f16 can hold. */
static void tame(quant_type t, uint8_t *blocks, size_t n_block)
{
    for (size_t i = 0; i < n_block; i++) {
        uint8_t *b = blocks + i * quant_table[t].block_bytes;
        const uint16_t d = f16_from_f32(0.0004f), dmin = f16_from_f32(0.003f);
        memcpy(b + (t == QUANT_Q6_K ? 208 : 0), &d, sizeof d);
        if (t == QUANT_Q4_K)
            memcpy(b + 2, &dmin, sizeof dmin);
    }
}

static uint8_t *random_weights(quant_type t, size_t n_in, size_t n_out)
{
    const size_t row = quant_row_bytes(t, n_in);
    uint8_t *blocks = take(row * n_out);
    kern_data_blocks(t, blocks, N_RANDOM_ROW * n_in, 7);
    tame(t, blocks, N_RANDOM_ROW * n_in / quant_table[t].block_n);
    for (size_t r = N_RANDOM_ROW; r < n_out; r++)
        memcpy(blocks + r * row, blocks + r % N_RANDOM_ROW * row, row);
    return blocks;
}

static void time_ours(const bench *s, ours *o, const uint8_t *blocks, const float *x)
{
    static const uint32_t columns[] = {1, 2, 4};
    const size_t row_bytes = quant_row_bytes(o->type, o->n_in), n_bytes = row_bytes * o->n_out;
    const size_t n_copy = copies(n_bytes);
    for (size_t i = 0; i < n_copy; i++)
        o->w[i] = kept(s, blocks, shape2(o->n_out, row_bytes), MB_U8);
    size_t v = 0; /* the text that such a product takes */
    while (emlx_gpu_source_at(s->g, o->type, v)->n_row != o->n_row ||
           emlx_gpu_source_at(s->g, o->type, v)->is_f16 != (o->t == MB_F16))
        v++;
    const uint32_t usual = emlx_gpu_source_at(s->g, o->type, v)->n_out;
    for (size_t c = 0; c < 3; c++) {
        if (emlx_gpu_set_columns(s->g, o->type, v, columns[c]))
            exit(1);
        const double e = error_of(s, o, blocks, x);
        if (failed(s, "  check"))
            continue;
        const double t = seconds(s, call_ours, o, n_copy);
        printf("  ours %u columns%s %8.1f us %7.0f GB/s   error %.3f of the limit%s\n", columns[c],
               columns[c] == usual ? "*" : " ", t * 1e6, t > 0 ? (double)n_bytes / t * 1e-9 : 0.0,
               e, e <= 1 ? "" : "  WRONG");
        (void)fflush(stdout);
    }
    (void)emlx_gpu_set_columns(s->g, o->type, v, usual); /* it could be made before */
    for (size_t i = 0; i < n_copy; i++)
        s->b->drop(s->m, o->w[i]);
}

/* ---- MLX's own ---- */

typedef struct stock {
    mb_ref x;
    mb_weight w[MAX_COPY];
} stock;

static mb_ref call_stock(const bench *s, const void *user, size_t i)
{
    const stock *o = user;
    return s->b->linear(s->m, o->x, &o->w[i]);
}

/* Random rows on the device, N_RANDOM_ROW different ones. */
static mb_ref random_array(const bench *s, mb_shape shape, mb_dtype t, float scale)
{
    const size_t n_row = (size_t)shape.dim[0], n = N_RANDOM_ROW * (size_t)shape.dim[1];
    uint64_t seed = n;
    uint32_t *words = take(n * sizeof *words);
    int32_t *ids = take(n_row * sizeof *ids);
    for (size_t i = 0; i < n; i++) {
        const uint32_t r = kern_data_next(&seed) * 2654435761u;
        const float f = ((float)r * 0x1p-32f - 0.5f) * scale;
        memcpy(&words[i], t == MB_U32 ? (const void *)&r : (const void *)&f, 4);
    }
    for (size_t i = 0; i < n_row; i++)
        ids[i] = (int32_t)(i % N_RANDOM_ROW);
    const mb_ref a = s->b->from_host(s->m, words, shape2(N_RANDOM_ROW, (size_t)shape.dim[1]),
                                     t == MB_U32 ? MB_U32 : MB_F32);
    const mb_ref rows = s->b->from_host(s->m, ids, (mb_shape){1, {(int32_t)n_row}}, MB_I32);
    const mb_ref out = s->b->keep(s->m, s->b->take(s->m, s->b->cast(s->m, a, t), rows, 0));
    (void)s->b->eval(s->m, &out, 1, true); /* a failure is told when it is used */
    s->b->reset(s->m);
    free(words);
    free(ids);
    return out;
}

static void time_stock(const bench *s, const ours *o, int bits, int group)
{
    const size_t size = o->t == MB_F16 ? 2 : 4;
    const size_t n_bytes =
        bits ? o->n_out * (o->n_in * (size_t)bits / 8 + 2 * size * o->n_in / (size_t)group)
             : o->n_out * o->n_in * size;
    size_t n_copy = copies(n_bytes);
    n_copy = n_copy < 8 ? n_copy : 8;
    stock k = {.x = o->x};
    for (size_t i = 0; i < n_copy; i++) {
        mb_weight *w = &k.w[i];
        if (!bits) {
            *w = (mb_weight){.form = MB_DENSE,
                             .w = random_array(s, shape2(o->n_out, o->n_in), o->t, 0.1f)};
            continue;
        }
        const mb_shape scales = shape2(o->n_out, o->n_in / (size_t)group);
        *w = (mb_weight){MB_AFFINE,
                         bits,
                         group,
                         random_array(s, shape2(o->n_out, o->n_in * (size_t)bits / 32), MB_U32, 1),
                         random_array(s, scales, o->t, 0.01f),
                         random_array(s, scales, o->t, 0.1f)};
    }
    const double t = failed(s, "  stock weights") ? 0 : seconds(s, call_stock, &k, n_copy);
    char name[32] = "dense";
    if (bits)
        (void)snprintf(name, sizeof name, "MLX %d-bit g%d", bits, group);
    printf("  %-15s %8.1f us %7.0f GB/s\n", name, t * 1e6,
           t > 0 ? (double)n_bytes / t * 1e-9 : 0.0);
    (void)fflush(stdout);
    for (size_t i = 0; i < n_copy; i++) {
        s->b->drop(s->m, k.w[i].w);
        s->b->drop(s->m, k.w[i].scales);
        s->b->drop(s->m, k.w[i].biases);
    }
}

/* ---- what is run ---- */

static void bench_shape(const bench *s, quant_type type, size_t n_out, size_t n_in)
{
    static const size_t rows[] = {1, 4, 8};
    uint8_t *blocks = random_weights(type, n_in, n_out);
    float *x = take(8 * n_in * sizeof *x);
    kern_data_floats(x, 8 * n_in, 3);
    for (int f16 = 0; f16 < 2; f16++) {
        for (size_t i = 0; i < 3; i++) {
            ours o = {type, rows[i], n_in, n_out, f16 ? MB_F16 : MB_F32, 0, {0}};
            o.x = s->b->keep(
                s->m,
                s->b->cast(s->m, s->b->from_host(s->m, x, shape2(rows[i], n_in), MB_F32), o.t));
            printf("%s %zu x %zu, %zu rows of %s\n", quant_table[type].name, n_out, n_in, rows[i],
                   f16 ? "f16" : "f32");
            time_ours(s, &o, blocks, x);
            time_stock(s, &o, type == QUANT_Q6_K ? 6 : 4, f16 ? 64 : 32);
            time_stock(s, &o, 0, 0);
            s->b->drop(s->m, o.x);
            s->b->cache_clear(s->m);
        }
    }
    free(blocks);
    free(x);
}

static mb_ref call_negate(const bench *s, const void *user, size_t i)
{
    (void)i;
    return s->b->unary(s->m, MB_NEG, *(const mb_ref *)user);
}

static void bench_limits(const bench *s)
{
    const size_t n = (size_t)1 << 25; /* 128 MB, and as much for each of the results */
    const mb_ref zeros = s->b->zeros(s->m, shape2(1 << 14, n >> 14), MB_F32);
    const mb_ref big =
        s->b->keep(s->m, s->b->binary(s->m, MB_ADD, zeros, s->b->scalar(s->m, 0.3, MB_F32)));
    (void)s->b->eval(s->m, &big, 1, true); /* a failure shows in what follows */
    s->b->reset(s->m);
    const double t = seconds(s, call_negate, &big, 1);
    printf("negating 128 MB: %.0f GB/s read and written\n", t > 0 ? (double)n * 8 / t * 1e-9 : 0.0);
    const mb_ref small = kept(s, (const float[]){1, 2}, shape2(1, 2), MB_F32);
    s->b->reset(s->m);
    printf("a node that does nothing: %.1f us\n", seconds(s, call_negate, &small, 1) * 1e6);
    s->b->drop(s->m, big);
    s->b->drop(s->m, small);
    s->b->cache_clear(s->m);
}

static void self_test(const bench *s, const mb_info *info)
{
    static emlx_selftest t; /* large */
    const emlx_selftest_in in = {
        .b = s->b, .m = s->m, .info = info, .gpu = s->g, .f32 = true, .f16 = true};
    err_info err;
    buf text;
    buf_init(&text, 1 << 16);
    for (int i = 0; i < 2; i++) {                      /* the second time nothing is compiled */
        (void)setenv("CAMA_MLX_SELFTEST", "force", 1); /* else it would be remembered */
        if (emlx_selftest_run(&in, &t, &err) || emlx_selftest_text(&t, &text))
            printf("self-test FAILED: %s\n", err.text);
    }
    printf("self-test, compiled and again:\n%s", text.data ? text.data : "");
    (void)fflush(stdout);
    buf_done(&text);
}

static int print_texts(const char *backend)
{
    emlx_gpu *g = NULL;
    err_info err;
    if (emlx_gpu_new(NULL, NULL, backend, &g, &err)) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const bool metal = strcmp(backend, "metal") == 0;
    const char *type[2][2] = {{"float", "float"}, {"__half", "float16_t"}};
    for (size_t i = 0; i < EMLX_GPU_N_FORMAT * EMLX_GPU_N_VARIANT; i++) {
        const emlx_gpu_source *s = emlx_gpu_source_at(
            g, emlx_gpu_kernel_at(i / EMLX_GPU_N_VARIANT)->type, i % EMLX_GPU_N_VARIANT);
        const char *x = type[s->is_f16][metal];
        printf("namespace text_%zu {\n%s", i, s->header);
        printf(metal ? "[[kernel]] void %s(" : "__global__ void %s(", s->name);
        if (metal && s->n_row)
            printf("const device %s *x [[buffer(0)]], const constant int *x_shape [[buffer(1)]], ",
                   x);
        if (!metal && s->n_row)
            printf("const %s *x, const __grid_constant__ Shape x_shape, ", x);
        if (metal)
            printf("const device uint8_t *w [[buffer(2)]], const constant int *w_shape "
                   "[[buffer(3)]], device %s *y [[buffer(4)]], uint3 thread_position_in_grid "
                   "[[thread_position_in_grid]])",
                   x);
        else
            printf("const uint8_t *w, const __grid_constant__ Shape w_shape, %s *y)", x);
        printf(" {\n%s\n}\n}\n", s->body);
        for (const char *line = s->header; (line = strstr(line, "#define ")); line += 8)
            printf("#undef %.*s\n", (int)strcspn(line + 8, " (\n"), line + 8);
    }
    emlx_gpu_free(g);
    return 0;
}

static const mb_api *load(const char *path)
{
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = lib ? dlsym(lib, "mb_get") : NULL;
    mb_get_fn *get = NULL;
    memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from an object's pointer */
    if (!get)
        (void)fprintf(stderr, "%s\n", dlerror());
    return get ? get(MB_ABI) : NULL;
}

int main(int argc, char **argv)
{
    static const size_t shapes[][2] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {128256, 4096}};
    if (argc == 3 && strcmp(argv[1], "--print") == 0)
        return print_texts(argv[2]);
    if (argc < 2) {
        (void)fprintf(stderr, "mlx_gpu_bench PLUGIN [quick|selftest] | --print metal|cuda\n");
        return 2;
    }
    bench s = {.b = load(argv[1])};
    mb_opened opened = {{0}};
    s.m = s.b ? s.b->open("gpu", &opened) : NULL;
    if (!s.m) {
        (void)fprintf(stderr, "%s: %s\n", argv[1], s.b ? opened.error : "no plugin of this build");
        return 1;
    }
    mb_info info;
    s.b->info(s.m, &info);
    printf("MLX %s, %s: %s, %s\n", info.version, info.backend, info.device, info.os);
    err_info err;
    if (emlx_gpu_new(s.b, s.m, info.backend, &s.g, &err)) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    self_test(&s, &info);
    const bool all = argc == 2, quick = argc > 2 && strcmp(argv[2], "quick") == 0;
    if (all || quick)
        bench_limits(&s);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (!all && !(quick && i == 1))
            continue;
        bench_shape(&s, QUANT_Q4_K, shapes[i][0], shapes[i][1]);
        bench_shape(&s, QUANT_Q6_K, shapes[i][0], shapes[i][1]);
    }
    emlx_gpu_free(s.g);
    s.b->close(s.m);
    return 0;
}
