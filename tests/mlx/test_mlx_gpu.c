/* What emlx_gpu.h asks of the bridge, and the self-test, on a GPU that is emulated: its kernels are
 * nodes on the CPU that run the kernel text as C (tests/kern/gpu_variants.h) over the grid that was
 * asked for. Everything around them is the real library. */
#include <sys/stat.h>
#include <unistd.h>

#include "engine/mlx/emlx_gpu.h"
#include "engine/mlx/emlx_memo.h"
#include "engine/mlx/emlx_selftest.h"
#include "kern/gpu_variants.h"
#include "kern/kern_data.h"
#include "mlx_rig.h"

/* ---- the emulated GPU ---- */

typedef struct fake_call {
    const variant *v;
    bool is_rows;
    unsigned n_thread;
    int spoil; /* added to the last element, in thousandths of it */
} fake_call;

static struct {
    const mb_api *real;
    mb_api api;
    fake_call call[256]; /* read when MLX runs the node: kept longer than that */
    size_t n_call, n_kernel;
    int spoil;
    bool broken; /* the compiler refuses every text */
} fake;

/* Memory of a GPU is aligned; MLX's on a CPU is not. */
static void *aligned_copy(const void *from, size_t n)
{
    void *p = aligned_alloc(64, (n + 63) / 64 * 64);
    if (!p)
        abort();
    memcpy(p, from, n);
    return p;
}

static void run_fake(void *user, const mb_view *in, size_t n_in, const mb_view *out, size_t n_out)
{
    const fake_call *c = user;
    const mb_view *w = &in[n_in - 1];
    const size_t n = (size_t)out->shape.dim[0] * (size_t)out->shape.dim[1];
    const size_t size = c->v->is_f16 ? 2 : 4;
    const size_t w_bytes = (size_t)w->shape.dim[0] * (size_t)w->shape.dim[1];
    const size_t x_bytes =
        c->is_rows ? 0 : (size_t)in[0].shape.dim[0] * (size_t)in[0].shape.dim[1] * size;
    uint8_t *own_w = aligned_copy(w->data, w_bytes), *own_x = aligned_copy(in[0].data, x_bytes);
    gpu_arrays a = {.x = own_x, .w = own_w, .y = out->data};
    for (int i = 0; i < 2; i++) {
        a.x_shape[i] = in[0].shape.dim[i];
        a.w_shape[i] = w->shape.dim[i];
    }
    gpu.w = own_w;
    gpu.w_end = gpu.w + w_bytes;
    gpu.x = own_x;
    gpu.x_end = gpu.x + x_bytes;
    memset(out->data, 0xFF, n * size);
    gpu_run(c->is_rows ? c->v->rows : c->v->gemv, &a, c->n_thread);
    free(own_w);
    free(own_x);
    if (c->spoil && !c->v->is_f16)
        ((float *)out->data)[n - 1] *= 1 + (float)c->spoil * 1e-3f;
    assert_int_equal(n_out, 1);
}

static const variant *variant_of(const mb_gpu_kernel *k, bool *is_rows)
{
    char format[8], op[8], type[8];
    assert_int_equal(
        sscanf(k->name, "cama_%4[a-z0-9_]_%4[a-z]%*1[0-9]_%3[a-z0-9]_", format, op, type), 3);
    *is_rows = strcmp(op, "rows") == 0;
    unsigned n_row = 1, n_out = 1;
    if (!*is_rows)
        assert_int_equal(sscanf(strstr(k->header, "#define KT_N_ROW"),
                                "#define KT_N_ROW %u\n#define KT_N_OUT %u", &n_row, &n_out),
                         2);
    for (size_t i = 0; i < TEST_COUNT(variants); i++) {
        const variant *v = &variants[i];
        if (v->type == quant_from_name(format) && v->is_f16 == (strcmp(type, "f16") == 0) &&
            (*is_rows || (v->n_row == n_row && v->n_out == n_out)))
            return v;
    }
    fail_msg("no variant for %s", k->name);
    return NULL;
}

static int fake_kernel(mb *m, const mb_gpu_kernel *k, const mb_ref *in, const mb_shape *out_shapes,
                       const mb_dtype *out_types, mb_ref *outs)
{
    if (fake.broken)
        (void)fake.real->cast(m, 1u << 30, MB_F32); /* an error of the bridge's own */
    fake_call *c = &fake.call[fake.n_call++ % TEST_COUNT(fake.call)];
    c->v = variant_of(k, &c->is_rows);
    c->n_thread = (unsigned)k->grid[0];
    c->spoil = fake.spoil;
    assert_int_equal(k->grid[0] % k->group[0], 0);
    assert_int_equal(k->group[0] % 32, 0);
    assert_string_equal(k->in_names[k->n_in - 1], "w");
    fake.n_kernel++;
    return fake.real->host_kernel(m, run_fake, c, in, k->n_in, out_shapes, out_types, 1, outs);
}

typedef struct fix {
    rig r;
    emlx_gpu *g;
    mb_info info;
    char dir[64];
} fix;

static int setup(void **state)
{
    static fix f;
    void *r = NULL;
    assert_int_equal(rig_setup(&r), 0);
    f.r = *(rig *)r;
    fake.real = f.r.b;
    fake.api = *f.r.b;
    fake.api.gpu_kernel = fake_kernel;
    fake.spoil = 0;
    fake.broken = false;
    fake.n_kernel = 0;
    err_info err;
    assert_int_equal(emlx_gpu_new(&fake.api, f.r.m, "cuda", &f.g, &err), CAMA_OK);
    f.r.b->info(f.r.m, &f.info);
    (void)snprintf(f.info.device, sizeof f.info.device, "Emulated \"GPU\"");
    (void)snprintf(f.dir, sizeof f.dir, "/tmp/cama_mlx_gpu_XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    assert_int_equal(setenv("CAMA_DATA_DIR", f.dir, 1), 0);
    assert_int_equal(unsetenv("CAMA_MLX_SELFTEST"), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fix *f = *state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", f->dir, EMLX_MEMO_FILE);
    (void)chmod(f->dir, 0700); /* a test may have closed it */
    (void)unlink(path);        /* not every test writes one */
    assert_int_equal(rmdir(f->dir), 0);
    emlx_gpu_free(f->g);
    f->r.b->close(f->r.m);
    return 0;
}

/* ---- products ---- */

enum { N_IN = 768, N_OUT = 11, MAX_ROW = 12 };

typedef struct product {
    quant_type type;
    uint8_t *blocks;
    float *weights, *x;
} product;

static product product_new(quant_type type)
{
    product p = {type, aligned_alloc(64, (size_t)N_OUT * N_IN * 2), calloc(N_OUT * N_IN, 4),
                 calloc(MAX_ROW * N_IN, 4)};
    assert_true(p.blocks && p.weights && p.x);
    kern_data_blocks(type, p.blocks, N_OUT * N_IN, 5);
    for (size_t i = 0; i < N_OUT * N_IN / 256; i++) { /* sums that f16 can hold */
        const uint16_t d = f16_from_f32(0.0007f);
        uint8_t *block = p.blocks + i * quant_table[type].block_bytes;
        memcpy(block + (type == QUANT_Q6_K ? 208 : 0), &d, sizeof d);
        if (type == QUANT_Q4_K)
            memcpy(block + 2, &d, sizeof d);
    }
    quant_dequant(type, p.blocks, p.weights, N_OUT * N_IN);
    uint64_t seed = 99;
    for (size_t i = 0; i < MAX_ROW * N_IN; i++) /* bf16 and f16 hold it */
        p.x[i] = bf16_to_f32(bf16_from_f32(rig_float(&seed)));
    return p;
}

static void product_free(product *p)
{
    free(p->blocks);
    free(p->weights);
    free(p->x);
}

static emlx_gpu_weight weight_of(fix *f, const product *p)
{
    const size_t row = quant_row_bytes(p->type, N_IN);
    return (emlx_gpu_weight){
        p->type,
        f->r.b->from_host(f->r.m, p->blocks, rig_shape(2, N_OUT, (int32_t)row, 0, 0), MB_U8), N_IN,
        N_OUT};
}

static void check_product(fix *f, const product *p, size_t n_row, mb_dtype t)
{
    const mb_api *b = f->r.b;
    mb *m = f->r.m;
    float y[MAX_ROW * N_OUT];
    const int32_t n = (int32_t)n_row;
    const emlx_gpu_weight w = weight_of(f, p);
    const mb_ref x = b->cast(m, b->from_host(m, p->x, rig_shape(3, 1, n, N_IN, 0), MB_F32), t);
    const mb_ref out = emlx_gpu_linear(f->g, &w, x);
    rig_check_shape(&f->r, out, rig_shape(3, 1, n, N_OUT, 0), t);
    rig_read(b, m, b->cast(m, out, MB_F32), y, n_row * N_OUT * sizeof *y);
    b->reset(m);
    const double unit = t == MB_F32 ? 0 : t == MB_F16 ? 0x1p-11 : 0x1p-8;
    const bool is_dense = n_row > EMLX_GPU_MAX_ROW; /* MLX's product: sums in any order, and in f16
                                                       the weights and partial sums round too */
    for (size_t i = 0; i < n_row * N_OUT; i++) {
        double sum = 0, all = 0;
        for (size_t k = 0; k < N_IN; k++) {
            const double wx =
                (double)p->weights[i % N_OUT * N_IN + k] * (double)p->x[i / N_OUT * N_IN + k];
            sum += wx;
            all += fabs(wx);
        }
        const double tol = (N_IN / 32 + 5) * 0x1p-24 * all + unit * fabs(sum) * 1.01 + 0x1p-25;
        const double loose = N_IN * 0x1p-24 * all + (t == MB_F32 ? 0 : N_IN * unit * all);
        TEST_NEAR(y[i], sum, is_dense ? loose : tol, "%s type %d, %zu rows, element %zu",
                  quant_table[p->type].name, (int)t, n_row, i);
    }
}

static void test_products(void **state)
{
    fix *f = *state;
    static const size_t rows[] = {1, 2, 4, 5, 8, 9, 12};
    static const mb_dtype types[] = {MB_F32, MB_F16, MB_BF16};
    for (size_t k = 0; k < EMLX_GPU_N_FORMAT; k++) {
        product p = product_new(emlx_gpu_kernel_at(k)->type);
        for (size_t i = 0; i < TEST_COUNT(rows) * TEST_COUNT(types); i++)
            check_product(f, &p, rows[i / TEST_COUNT(types)], types[i % TEST_COUNT(types)]);
        product_free(&p);
    }
}

static void test_no_rows(void **state)
{
    fix *f = *state;
    product p = product_new(QUANT_Q4_K);
    const emlx_gpu_weight w = weight_of(f, &p);
    const mb_ref x = f->r.b->zeros(f->r.m, rig_shape(2, 0, N_IN, 0, 0), MB_F16);
    rig_check_shape(&f->r, emlx_gpu_linear(f->g, &w, x), rig_shape(2, 0, N_OUT, 0, 0), MB_F16);
    const mb_ref ids = f->r.b->zeros(f->r.m, rig_shape(1, 0, 0, 0, 0), MB_I32);
    rig_check_shape(&f->r, emlx_gpu_rows(f->g, &w, ids, MB_F32), rig_shape(2, 0, N_IN, 0, 0),
                    MB_F32);
    assert_int_equal(fake.n_kernel, 0);
    assert_int_equal(emlx_gpu_linear(f->g, &w, 0), 0);
    rig_check_failed(&f->r, "meta", "no array");
    product_free(&p);
}

/* ---- the self-test ---- */

static void selftest(fix *f, emlx_selftest *out)
{
    const emlx_selftest_in in = {
        .b = &fake.api, .m = f->r.m, .info = &f->info, .gpu = f->g, .f32 = true, .f16 = true};
    err_info err;
    fake.n_kernel = 0;
    assert_int_equal(emlx_selftest_run(&in, out, &err), CAMA_OK);
    assert_int_equal(out->n, 2 * EMLX_GPU_N_FORMAT);
    rig_good(f->r.b, f->r.m);
}

static void test_all_pass_and_are_remembered(void **state)
{
    fix *f = *state;
    emlx_selftest t, again;
    char note[256];
    selftest(f, &t);
    for (size_t i = 0; i < t.n; i++) {
        if (!t.result[i].ok)
            print_error("%s: %s\n", t.result[i].name, t.result[i].why);
        assert_true(t.result[i].ok && !t.result[i].remembered);
        assert_true(t.result[i].error > 0 && t.result[i].error <= t.result[i].limit);
    }
    assert_true(emlx_selftest_ok(&t, "q4_k") && emlx_selftest_ok(&t, "q6_k f16"));
    assert_false(emlx_selftest_ok(&t, "q4"));
    assert_false(emlx_selftest_ok(&t, "q4_0"));
    emlx_selftest_note(&t, note, sizeof note);
    assert_string_equal(note, "");
    assert_true(fake.n_kernel > 30);

    selftest(f, &again);
    assert_int_equal(fake.n_kernel, 0);
    for (size_t i = 0; i < t.n; i++)
        assert_true(again.result[i].ok && again.result[i].remembered);

    (void)snprintf(f->info.os, sizeof f->info.os, "another driver");
    selftest(f, &again);
    assert_true(fake.n_kernel > 30 && !again.result[0].remembered);
    assert_int_equal(setenv("CAMA_MLX_SELFTEST", "force", 1), 0);
    selftest(f, &again);
    assert_true(fake.n_kernel > 30);
}

static void test_a_wrong_value(void **state)
{
    fix *f = *state;
    emlx_selftest t;
    char note[512];
    fake.spoil = 1; /* a thousandth of one element; f16 is left right */
    selftest(f, &t);
    assert_false(emlx_selftest_ok(&t, "q4_k"));
    assert_false(emlx_selftest_ok(&t, "q6_k f32"));
    assert_true(emlx_selftest_ok(&t, "q6_k f16"));
    emlx_selftest_note(&t, note, sizeof note);
    assert_non_null(
        strstr(note, "kernel q4_k f32 failed its self-test on Emulated \"GPU\" (max error "));
    assert_non_null(strstr(note, "): stock form; kernel q6_k f32 failed"));
    char cut[30];
    emlx_selftest_note(&t, cut, sizeof cut);
    assert_memory_equal(cut, note, sizeof cut - 1);

    fake.spoil = 0; /* what is remembered stays: the kernel was wrong on this device */
    selftest(f, &t);
    assert_int_equal(fake.n_kernel, 0);
    assert_false(emlx_selftest_ok(&t, "q4_k f32"));
    char again[512];
    emlx_selftest_note(&t, again, sizeof again);
    assert_string_equal(again, note);
}

static void test_an_error_is_not_remembered(void **state)
{
    fix *f = *state;
    emlx_selftest t;
    buf text;
    buf_init(&text, 4096);
    fake.broken = true;
    selftest(f, &t);
    for (size_t i = 0; i < t.n; i++)
        assert_true(!t.result[i].ok && strlen(t.result[i].why) > 10);
    assert_int_equal(emlx_selftest_text(&t, &text), CAMA_OK);
    assert_non_null(strstr(text.data, "q4_k f32"));
    assert_non_null(strstr(text.data, "FAILED: "));
    fake.broken = false;
    selftest(f, &t);
    assert_true(emlx_selftest_ok(&t, "q4_k") && emlx_selftest_ok(&t, "q6_k"));
    buf_clear(&text);
    assert_int_equal(emlx_selftest_text(&t, &text), CAMA_OK);
    assert_null(strstr(text.data, "FAILED"));
    assert_non_null(strstr(text.data, "Emulated \"GPU\": 10 products, "));
    buf_done(&text);
}

static void test_what_the_variable_says(void **state)
{
    fix *f = *state;
    emlx_selftest t;
    assert_int_equal(setenv("CAMA_MLX_SELFTEST", "fail:q4_k", 1), 0);
    selftest(f, &t);
    assert_false(emlx_selftest_ok(&t, "q4_k f32"));
    assert_false(emlx_selftest_ok(&t, "q4_k f16"));
    assert_true(emlx_selftest_ok(&t, "q6_k"));
    assert_int_equal(setenv("CAMA_MLX_SELFTEST", "off", 1), 0);
    selftest(f, &t);
    assert_int_equal(fake.n_kernel, 0);
    assert_false(emlx_selftest_ok(&t, "q6_k"));
    assert_int_equal(setenv("CAMA_MLX_SELFTEST", "fail:all", 1), 0);
    selftest(f, &t);
    assert_false(emlx_selftest_ok(&t, "q6_k"));
    assert_int_equal(unsetenv("CAMA_MLX_SELFTEST"), 0);
    selftest(f, &t);
    assert_true(emlx_selftest_ok(&t, "q4_k"));
}

static void test_nowhere_to_remember(void **state)
{
    fix *f = *state;
    emlx_selftest t;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", f->dir, EMLX_MEMO_FILE);
    assert_int_equal(mkdir(path, 0700), 0); /* a folder of its name: no file can be put there */
    selftest(f, &t);
    assert_true(emlx_selftest_ok(&t, "q4_k"));
    selftest(f, &t);
    assert_true(emlx_selftest_ok(&t, "q4_k") && fake.n_kernel > 30);
    assert_int_equal(rmdir(path), 0);
}

/* Kernels of others: a CPU's. */
static cama_err run_plain(void *user, const emlx_selftest_case *c, float *y, err_info *err)
{
    const float scale = *(const float *)user;
    float *w = malloc(c->n_in * sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < c->n_out && scale != 0; i++) {
        quant_dequant(c->type, c->blocks + i * quant_row_bytes(c->type, c->n_in), w, c->n_in);
        for (size_t r = 0; r < c->n_row; r++) {
            double sum = 0;
            for (size_t k = 0; k < c->n_in; k++)
                sum += (double)w[k] * (double)c->x[r * c->n_in + k];
            y[r * c->n_out + i] = (float)sum * scale;
        }
    }
    free(w);
    return scale == -1 ? err_set(err, CAMA_ERR_ENGINE, "it does not run") : CAMA_OK;
}

static void test_kernels_of_others(void **state)
{
    fix *f = *state;
    static float right = 1, wrong = 1.01f, nothing = 0, fails = -1;
    emlx_selftest_kernel more[QUANT_N_TYPE];
    size_t n = 0;
    for (quant_type q = 0; q < QUANT_N_TYPE; q++) {
        if (quant_table[q].is_weight && quant_table[q].block_n <= 256)
            more[n++] = (emlx_selftest_kernel){quant_table[q].name, q, run_plain, &right, 0, 0, 0};
    }
    more[0].user = &wrong;
    more[1].user = &nothing;
    more[2].user = &fails;
    const emlx_selftest_in in = {
        .b = f->r.b, .m = f->r.m, .info = &f->info, .more = more, .n_more = n};
    emlx_selftest t;
    err_info err;
    assert_int_equal(emlx_selftest_run(&in, &t, &err), CAMA_OK);
    assert_int_equal(t.n, n);
    for (size_t i = 0; i < n; i++) {
        if (t.result[i].ok != (i > 2))
            print_error("%s: %s\n", t.result[i].name, t.result[i].why);
        assert_int_equal(t.result[i].ok, i > 2);
    }
    assert_non_null(strstr(t.result[1].why, "max error nan"));
    assert_string_equal(t.result[2].why, "it does not run");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_products, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_pass_and_are_remembered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_wrong_value, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_error_is_not_remembered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_variable_says, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nowhere_to_remember, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kernels_of_others, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
