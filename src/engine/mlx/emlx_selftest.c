#include "engine/mlx/emlx_selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/mlx/emlx_memo.h"
#include "quant/f16.h"

#define MAX_ROW 9u
#define MAX_IN 4096u
#define MAX_OUT 33u
#define ALIGN 64u

/* Rows: one, each end of a text's range, and more than any text takes (MLX's product multiplies
 * those on a GPU, so that they come last and are left out there). Widths: fewer blocks than groups
 * of lanes, a number that leaves lanes idle, many. Columns: none left over, one, three. */
static const struct {
    size_t n_row, n_in, n_out;
} shapes[] = {{1, 256, 1},  {1, 512, 3},  {1, 2304, 5},  {2, 768, 2}, {4, 256, 4},
              {4, 1280, 7}, {5, 2304, 9}, {8, 4096, 33}, {8, 256, 1}, {9, 512, 6}};

/* Memory of all products, taken once. */
typedef struct room {
    uint8_t *blocks;
    float *x, *y, *weights;
} room;

/* What is remembered. */
typedef struct memory {
    char path[4096];
    bool has_path;
    char build[96];
    buf text, lines; /* the file; what comes to it */
} memory;

typedef struct tester {
    const emlx_selftest_in *in;
    room mem;
    memory *file;
    emlx_selftest *out;
    uint64_t seed;
} tester;

static void room_done(room *r)
{
    free(r->blocks);
    free(r->x);
    free(r->y);
    free(r->weights);
}

static bool room_init(room *r)
{
    const size_t n = (size_t)MAX_OUT * MAX_IN;
    const size_t n_byte = (n * sizeof(double) + ALIGN - 1) / ALIGN * ALIGN; /* no format has more */
    *r = (room){aligned_alloc(ALIGN, n_byte), malloc(MAX_ROW * MAX_IN * sizeof(float)),
                malloc(n * sizeof(float)), malloc(n * sizeof(float))};
    return r->blocks && r->x && r->y && r->weights;
}

static uint32_t next(tester *t)
{
    t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(t->seed >> 33);
}

/* Random bytes: every code of a format comes up. A block that holds what is no number is drawn
 * again, and one whose values f16 could not hold in a sum, or are so small that an error of theirs
 * would be lost in it. */
static void draw_block(tester *t, quant_type type, uint8_t *block)
{
    float w[256];
    const quant_info *info = &quant_table[type];
    for (int attempt = 0; attempt < 10000; attempt++) {
        float most = 0;
        size_t bad;
        for (size_t i = 0; i < info->block_bytes; i++)
            block[i] = (uint8_t)(next(t) >> 7);
        if (!quant_all_finite(type, block, info->block_n, &bad))
            continue;
        quant_dequant(type, block, w, info->block_n);
        for (size_t i = 0; i < info->block_n; i++)
            most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
        if (most < 4 && most > 0x1p-5f)
            return;
    }
    memset(block, 0, info->block_bytes);
}

static void draw(tester *t, const emlx_selftest_case *c)
{
    const quant_info *info = &quant_table[c->type];
    const size_t n_block = c->n_out * (c->n_in / info->block_n);
    for (size_t i = 0; i < n_block; i++)
        draw_block(t, c->type, t->mem.blocks + i * info->block_bytes);
    quant_dequant(c->type, c->blocks, t->mem.weights, c->n_out * c->n_in);
    for (size_t i = 0; i < c->n_row * c->n_in; i++) /* what f16 holds without rounding */
        t->mem.x[i] = f16_to_f32(f16_from_f32((float)next(t) * 0x1p-30f - 1));
    for (size_t i = 0; i < c->n_row * c->n_out; i++)
        t->mem.y[i] = NAN;
}

/* One element: its error and its limit, both relative to the sum of |w x|. */
static void compare(const tester *t, const emlx_selftest_kernel *k, const emlx_selftest_case *c,
                    size_t i, double out[2])
{
    const float *w = t->mem.weights + i % c->n_out * c->n_in;
    const float *x = c->x + i / c->n_out * c->n_in;
    double sum = 0, all = 0, weight = 0, most = 0;
    for (size_t j = 0; j < c->n_in; j++) {
        const double wx = (double)w[j] * (double)x[j];
        sum += wx;
        all += fabs(wx);
        weight += fabs((double)w[j]);
        most = fabs((double)x[j]) > most ? fabs((double)x[j]) : most;
    }
    double limit = (double)(c->n_in / (k->n_lane ? k->n_lane : 32) + 5) * 0x1p-24 * all;
    limit += k->x_unit * most * weight;
    limit += k->y_unit * (fabs(sum) + limit) + (k->y_unit > 0 ? 0x1p-25 : 0);
    const double scale = all > 0 ? all : 1;
    out[0] = fabs((double)t->mem.y[i] - sum) / scale;
    out[1] = limit / scale;
}

static void check_case(const tester *t, const emlx_selftest_kernel *k, const emlx_selftest_case *c,
                       emlx_selftest_result *r)
{
    for (size_t i = 0; i < c->n_row * c->n_out; i++) {
        double e[2];
        compare(t, k, c, i, e);
        if (e[0] <= e[1]) {
            if (r->ok && e[0] * r->limit >= r->error * e[1]) { /* the nearest to its limit */
                r->error = e[0];
                r->limit = e[1];
            }
            continue;
        }
        if (r->ok || e[0] > r->error) { /* a NaN is the first, and larger ones may follow */
            r->error = e[0];
            r->limit = e[1];
            (void)snprintf(r->why, sizeof r->why,
                           "max error %.3g, limit %.3g, at row %zu of %zu, column %zu; %zu x %zu",
                           e[0], e[1], i / c->n_out, c->n_row, i % c->n_out, c->n_out, c->n_in);
        }
        r->ok = false;
    }
    r->n_case++;
}

/* ---- the GPU's kernels as tests see them ---- */

typedef struct gpu_user {
    const emlx_selftest_in *in;
    bool is_f16;
} gpu_user;

static cama_err bridge_failed(const emlx_selftest_in *in, err_info *err)
{
    const char *text = in->b->error(in->m);
    return err_set(err, CAMA_ERR_ENGINE, "%.150s", text ? text : "no reason was given");
}

static cama_err run_gpu(void *user, const emlx_selftest_case *c, float *y, err_info *err)
{
    const gpu_user *u = user;
    const mb_api *b = u->in->b;
    mb *m = u->in->m;
    const size_t row_bytes = quant_row_bytes(c->type, c->n_in);
    const mb_shape w_shape = {2, {(int32_t)c->n_out, (int32_t)row_bytes}};
    const mb_shape x_shape = {2, {(int32_t)c->n_row, (int32_t)c->n_in}};
    const emlx_gpu_weight w = {c->type, b->from_host(m, c->blocks, w_shape, MB_U8), c->n_in,
                               c->n_out};
    mb_ref x = b->from_host(m, c->x, x_shape, MB_F32);
    x = b->cast(m, x, u->is_f16 ? MB_F16 : MB_F32);
    const mb_ref out = b->cast(m, emlx_gpu_linear(u->in->gpu, &w, x), MB_F32);
    if (b->read(m, out, y, c->n_row * c->n_out * sizeof *y))
        return bridge_failed(u->in, err);
    return CAMA_OK;
}

/* Weights as floats: each must be the very one. Rows are asked for by number too, as an embedding
 * does. */
static cama_err check_rows(tester *t, const gpu_user *u, quant_type type, emlx_selftest_result *r,
                           err_info *err)
{
    enum { N_IN = 512, N_OUT = 7 };
    static const int32_t ids[] = {6, 0, 6, 3};
    const mb_api *b = t->in->b;
    mb *m = t->in->m;
    const emlx_selftest_case c = {type, t->mem.blocks, t->mem.x, 1, N_IN, N_OUT};
    draw(t, &c);
    const mb_shape shape = {2, {N_OUT, (int32_t)quant_row_bytes(type, N_IN)}};
    const emlx_gpu_weight w = {type, b->from_host(m, c.blocks, shape, MB_U8), N_IN, N_OUT};
    const mb_ref id = b->from_host(m, ids, (mb_shape){1, {4}}, MB_I32);
    const mb_dtype dtype = u->is_f16 ? MB_F16 : MB_F32;
    const mb_ref got[] = {b->cast(m, emlx_gpu_rows(t->in->gpu, &w, 0, dtype), MB_F32),
                          b->cast(m, emlx_gpu_rows(t->in->gpu, &w, id, dtype), MB_F32)};
    const mb_ref all = b->concat(m, got, 2, 0);
    if (b->read(m, all, t->mem.y, (size_t)(N_OUT + 4) * N_IN * sizeof(float)))
        return bridge_failed(t->in, err);
    for (size_t i = 0; i < (size_t)(N_OUT + 4) * N_IN; i++) {
        const size_t row = i / N_IN < N_OUT ? i / N_IN : (size_t)ids[i / N_IN - N_OUT];
        const float exact = t->mem.weights[row * N_IN + i % N_IN];
        const float want = u->is_f16 ? f16_to_f32(f16_from_f32(exact)) : exact;
        if (t->mem.y[i] == want) /* zeros of either sign are one value */
            continue;
        if (r->ok)
            (void)snprintf(r->why, sizeof r->why, "weight %zu of row %zu is %.9g, not %.9g",
                           i % N_IN, row, (double)t->mem.y[i], (double)want);
        r->ok = false;
        break;
    }
    r->n_case++;
    return CAMA_OK;
}

/* ---- one kernel ---- */

static void test_kernel(tester *t, const emlx_selftest_kernel *k, const gpu_user *gpu,
                        emlx_selftest_result *r)
{
    const uint64_t start = clock_now_ns();
    err_info err = {0};
    cama_err e = CAMA_OK;
    r->ok = true;
    r->limit = 1; /* of no product yet */
    const size_t n_shape = sizeof shapes / sizeof *shapes - (gpu ? 1 : 0);
    for (size_t i = 0; i < n_shape && !e; i++) {
        const emlx_selftest_case c = {k->type,         t->mem.blocks,  t->mem.x,
                                      shapes[i].n_row, shapes[i].n_in, shapes[i].n_out};
        draw(t, &c);
        e = k->run(k->user, &c, t->mem.y, &err);
        if (!e)
            check_case(t, k, &c, r);
        t->in->b->reset(t->in->m);
    }
    if (!e && gpu)
        e = check_rows(t, gpu, k->type, r, &err);
    if (e) {
        r->ok = false;
        r->error = INFINITY; /* it gave no value at all; not remembered, see remember */
        (void)snprintf(r->why, sizeof r->why, "%.*s", (int)sizeof r->why - 1, err.text);
    }
    t->in->b->clear(t->in->m);
    t->in->b->reset(t->in->m);
    r->ms = (double)(clock_now_ns() - start) * 1e-6;
}

/* ---- what CAMA_MLX_SELFTEST wants ---- */

/* Whether `name` is `kernel` or, with a blank after it, the beginning of it. */
static bool is_named(const char *kernel, const char *name)
{
    const size_t n = strlen(name);
    return strncmp(kernel, name, n) == 0 && (kernel[n] == 0 || kernel[n] == ' ');
}

static bool is_mode(const char *mode)
{
    const char *env = getenv("CAMA_MLX_SELFTEST");
    return env && strcmp(env, mode) == 0;
}

static bool must_fail(const char *kernel)
{
    const char *env = getenv("CAMA_MLX_SELFTEST");
    if (!env || strncmp(env, "fail:", 5) != 0)
        return false;
    return strcmp(env + 5, "all") == 0 || is_named(kernel, env + 5);
}

/* True: decided without a test. */
static bool is_decided(emlx_selftest_result *r)
{
    if (!is_mode("off") && !must_fail(r->name))
        return false;
    r->ok = false;
    (void)snprintf(r->why, sizeof r->why,
                   is_mode("off") ? "CAMA_MLX_SELFTEST=off trusts no kernel"
                                  : "CAMA_MLX_SELFTEST says so");
    return true;
}

/* ---- what is remembered ---- */

static cama_err memory_init(memory *f, const mb_info *info)
{
    f->has_path = emlx_memo_path(f->path, sizeof f->path);
    (void)snprintf(f->build, sizeof f->build, "cama %s, MLX %s", CAMA_VERSION, info->version);
    buf_init(&f->text, EMLX_MEMO_MAX_BYTES + 64);
    buf_init(&f->lines, EMLX_MEMO_MAX_BYTES);
    return f->has_path ? emlx_memo_read(f->path, &f->text) : CAMA_OK;
}

static void memory_done(memory *f)
{
    buf_done(&f->text);
    buf_done(&f->lines);
}

static emlx_memo_key key_of(const memory *f, const mb_info *info, const char *kernel, uint64_t hash)
{
    return (emlx_memo_key){kernel, f->build, info->device, info->os, hash};
}

static bool recall(const memory *f, const emlx_memo_key *key, emlx_selftest_result *r)
{
    emlx_memo_result found;
    if (is_mode("force") || !emlx_memo_find(f->text.data, f->text.n, key, &found))
        return false;
    r->ok = found.ok;
    r->remembered = true;
    r->error = found.error;
    r->limit = found.limit;
    (void)snprintf(r->why, sizeof r->why, "%s", found.why);
    return true;
}

/* Values are remembered, right and wrong ones; an error may have had a passing cause. */
static void remember(memory *f, const emlx_memo_key *key, const emlx_selftest_result *r)
{
    if (!f->has_path || (!r->ok && !(r->error < INFINITY)))
        return;
    emlx_memo_result m = {.ok = r->ok, .error = r->error, .limit = r->limit};
    (void)snprintf(m.why, sizeof m.why, "%s", r->why);
    (void)emlx_memo_line(key, &m, &f->lines); /* no memory for it: tested again next time */
}

/* ---- all of them ---- */

static cama_err add(emlx_selftest *out, emlx_selftest_result **r, const char *name, err_info *err)
{
    if (out->n == EMLX_SELFTEST_MAX)
        return err_set(err, CAMA_ERR_LIMIT, "mlx: more than %u kernels to test", EMLX_SELFTEST_MAX);
    *r = &out->result[out->n++];
    **r = (emlx_selftest_result){.ok = false};
    (void)snprintf((*r)->name, sizeof(*r)->name, "%s", name);
    return CAMA_OK;
}

static cama_err test_gpu(tester *t, quant_type type, bool is_f16, err_info *err)
{
    char name[32];
    (void)snprintf(name, sizeof name, "%s %s", emlx_gpu_kernel_for(type)->name,
                   is_f16 ? "f16" : "f32");
    emlx_selftest_result *r = NULL;
    const cama_err e = add(t->out, &r, name, err);
    if (e || is_decided(r))
        return e;
    const emlx_memo_key key =
        key_of(t->file, t->in->info, r->name, emlx_gpu_hash(t->in->gpu, type, is_f16));
    if (recall(t->file, &key, r))
        return CAMA_OK;
    gpu_user user = {t->in, is_f16};
    const emlx_selftest_kernel k = {.name = r->name,
                                    .type = type,
                                    .run = run_gpu,
                                    .user = &user,
                                    .y_unit = is_f16 ? 0x1p-11 : 0};
    test_kernel(t, &k, &user, r);
    remember(t->file, &key, r);
    return CAMA_OK;
}

static cama_err test_all(tester *t, err_info *err)
{
    const emlx_selftest_in *in = t->in;
    cama_err e = CAMA_OK;
    for (size_t i = 0; i < 2 * EMLX_GPU_N_FORMAT && in->gpu && !e; i++) {
        const quant_type type = emlx_gpu_kernel_at(i / 2)->type;
        const bool is_f16 = i % 2;
        if ((in->wanted && !in->wanted[type]) || !(is_f16 ? in->f16 : in->f32))
            continue;
        e = test_gpu(t, type, is_f16, err);
    }
    for (size_t i = 0; i < in->n_more && !e; i++) {
        emlx_selftest_result *r = NULL;
        e = add(t->out, &r, in->more[i].name, err);
        if (!e && !is_decided(r))
            test_kernel(t, &in->more[i], NULL, r);
    }
    return e;
}

cama_err emlx_selftest_run(const emlx_selftest_in *in, emlx_selftest *out, err_info *err)
{
    memory *f = calloc(1, sizeof *f);
    tester t = {.in = in, .file = f, .out = out, .seed = 0x5EED};
    out->n = 0;
    (void)snprintf(out->device, sizeof out->device, "%s", in->info->device);
    cama_err e = CAMA_ERR_NOMEM;
    if (f && room_init(&t.mem))
        e = memory_init(f, in->info);
    if (e)
        (void)err_set(err, e, "mlx: no memory for the self-tests of kernels");
    else
        e = test_all(&t, err);
    if (!e && f->lines.n > 0)
        (void)emlx_memo_write(f->path, &f->text, &f->lines, NULL); /* else tested again next time */
    if (f)
        memory_done(f);
    free(f);
    room_done(&t.mem);
    return e;
}

bool emlx_selftest_ok(const emlx_selftest *t, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (!is_named(t->result[i].name, name))
            continue;
        n++;
        if (!t->result[i].ok)
            return false;
    }
    return n > 0;
}

void emlx_selftest_note(const emlx_selftest *t, char *out, size_t n)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < t->n && at < n; i++) {
        const emlx_selftest_result *r = &t->result[i];
        if (r->ok)
            continue;
        const int len =
            snprintf(out + at, n - at, "%skernel %s failed its self-test on %s (%s): stock form",
                     at ? "; " : "", r->name, t->device, r->why);
        at += len > 0 ? (size_t)len : 0;
    }
}

cama_err emlx_selftest_text(const emlx_selftest *t, buf *out)
{
    for (size_t i = 0; i < t->n; i++) {
        const emlx_selftest_result *r = &t->result[i];
        (void)buf_printf(out, "  %-10s %s: ", r->name, t->device); /* failures stick */
        if (r->remembered)
            (void)buf_puts(out, "as remembered");
        else
            (void)buf_printf(out, "%zu products, %.0f ms", r->n_case, r->ms);
        if (r->limit > 0 && r->error < INFINITY)
            (void)buf_printf(out, ", largest error %.2g of |w x|, limit %.2g", r->error, r->limit);
        (void)buf_printf(out, "%s%s%s\n", r->ok ? ", ok" : ", FAILED", r->ok ? "" : ": ", r->why);
    }
    return out->fail;
}
