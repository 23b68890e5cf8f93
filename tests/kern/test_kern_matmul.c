/* Products of every tier against the reference, and their bits against their own. */
#include "test.h"

#include <float.h>

#include "kern/kern.h"
#include "kern/unpack.h"

#include "kern_data.h"
#include "kern_guard.h"

#define MAX_ACTS 27
#define MAX_ROWS 83

typedef struct fixture {
    const kern_table *k;
    kern_weight w;
    kern_form form;
    guard weight, x, mem, scratch;
    size_t n_x; /* rows in x */
} fixture;

static void fixture_open(fixture *f, const kern_table *k, quant_type t, size_t n_row, size_t n_col,
                         kern_form form)
{
    const size_t row_bytes = quant_row_bytes(t, n_col);
    f->k = k;
    f->form = form;
    f->weight = guard_new(n_row * row_bytes, 1);
    f->w = (kern_weight){t, f->weight.p, row_bytes, n_row, n_col};
    kern_data_blocks(t, f->weight.p, n_row * n_col, (uint32_t)(n_row * 31 + n_col));
    f->n_x = MAX_ACTS;
    f->x = guard_new(MAX_ACTS * n_col * sizeof(float), 4);
    kern_data_floats(f->x.p, MAX_ACTS * n_col, (uint32_t)n_col);
    f->mem = guard_new(form == KERN_I8 ? k->acts_bytes(MAX_ACTS, n_col) + 64 : 64, 64);
    f->scratch = guard_new(k->scratch_bytes(n_col), 64);
}

static void fixture_close(fixture *f)
{
    guard_free(&f->weight);
    guard_free(&f->x);
    guard_free(&f->mem);
    guard_free(&f->scratch);
}

/* The last n rows of x (they end at the guard page) times rows [row0, row1) into y [n][ld]. */
static void product(fixture *f, size_t n, size_t row0, size_t row1, const kern_out *out)
{
    const float *x = (const float *)f->x.p + (f->n_x - n) * f->w.n_col;
    kern_acts a = {.form = f->form, .n_row = n, .n_col = f->w.n_col, .x = x, .ld = f->w.n_col};
    guard mem = {0};
    if (f->form == KERN_I8) {
        mem = guard_new(f->k->acts_bytes(n, f->w.n_col), 64);
        memset(mem.base, 0xFF, mem.n_map - (size_t)sysconf(_SC_PAGESIZE));
        a.mem = mem.p;
        f->k->acts_quantize(&a, x, f->w.n_col, 0, n / 2);
        f->k->acts_quantize(&a, x, f->w.n_col, n / 2, n);
    }
    kern_matmul(f->k, &f->w, &a, row0, row1, out, f->scratch.p);
    if (mem.base)
        guard_free(&mem);
}

/* Sum of the magnitudes of all that a KERN_I8 or KERN_F32 product adds up. */
static double abs_dot(const fixture *f, size_t row, const float *x)
{
    const quant_info *info = &quant_table[f->w.type];
    const uint8_t *p = f->w.rows + row * f->w.row_bytes;
    const kern_unpack_info *u = &kern_unpack_table[f->w.type];
    double sum = 0;
    float amax = 0;
    for (size_t i = 0; i < f->w.n_col; i++)
        amax = fmaxf(amax, fabsf(x[i]));
    for (size_t b = 0; b < f->w.n_col; b += info->block_n, p += info->block_bytes) {
        kern_piece piece = {0};
        float flat[KERN_PIECE_MAX];
        quant_dequant(f->w.type, p, flat, info->block_n);
        if (u->unpack)
            u->unpack(p, &piece);
        for (size_t i = 0; i < info->block_n; i++) {
            const size_t g = i / KERN_GROUP;
            const double w = u->unpack
                                 ? fabs((double)piece.w[i] * piece.scale[g]) + fabsf(piece.min[g])
                                 : fabsf(flat[i]);
            sum += w * (fabsf(x[b + i]) + (f->form == KERN_I8 ? amax / 127 : 0));
        }
    }
    return sum;
}

static double tolerance(const fixture *f, size_t row, const float *x)
{
    const kern_unpack_info *u = &kern_unpack_table[f->w.type];
    const size_t n = f->form == KERN_I8 ? f->w.n_col / KERN_BLOCK * (size_t)(u->n_scale + u->n_min)
                                        : f->w.n_col / KERN_F32_LANES + 5;
    return (double)(n + 4) * FLT_EPSILON * abs_dot(f, row, x);
}

static void near_reference(const kern_table *k, quant_type t, size_t n_row, size_t n_col,
                           kern_form form)
{
    kern_table ref;
    fixture f, r;
    static float got[MAX_ACTS * MAX_ROWS], want[MAX_ACTS * MAX_ROWS];
    const size_t n = n_row > 40 ? 13 : 5;
    kern_init(&ref, 0);
    fixture_open(&f, k, t, n_row, n_col, form);
    fixture_open(&r, &ref, t, n_row, n_col, form);
    product(&f, n, 0, n_row, &(kern_out){.y = got, .ld = n_row});
    product(&r, n, 0, n_row, &(kern_out){.y = want, .ld = n_row});
    for (size_t i = 0; i < n * n_row; i++) {
        const float *x = (const float *)f.x.p + (f.n_x - n + i / n_row) * n_col;
        TEST_NEAR(got[i], want[i], tolerance(&f, i % n_row, x),
                  "%s %s row %zu of %zu, acts %zu, n=%zu", k->tier, quant_table[t].name, i % n_row,
                  n_row, i / n_row, n_col);
    }
    fixture_close(&f);
    fixture_close(&r);
}

/* Any number of activation rows, any slice: the bits of one row alone. */
static void same_bits(const kern_table *k, quant_type t, size_t n_row, size_t n_col, kern_form form)
{
    static float want[MAX_ACTS * MAX_ROWS];
    fixture f;
    fixture_open(&f, k, t, n_row, n_col, form);
    guard y = guard_new(MAX_ACTS * n_row * sizeof(float), 4);
    product(&f, MAX_ACTS, 0, n_row, &(kern_out){.y = want, .ld = n_row});
    uint64_t seed = n_row;
    for (size_t n = 1; n <= 20; n++) {
        float *got = (float *)y.p + (MAX_ACTS - n) * n_row;
        const size_t cut = kern_data_next(&seed) % (n_row + 1);
        const float *from = want + (MAX_ACTS - n) * n_row;
        memset(got, 0xFF, n * n_row * sizeof *got);
        product(&f, n, 0, cut, &(kern_out){.y = got, .ld = n_row});
        product(&f, n, cut, n_row, &(kern_out){.y = got, .ld = n_row});
        for (size_t i = 0; i < n * n_row; i++)
            if (memcmp(&got[i], &from[i], 4) != 0)
                fail_msg("%s %s: %zu acts, cut %zu of %zu, n=%zu: output %zu is %.9g, not %.9g",
                         k->tier, quant_table[t].name, n, cut, n_row, n_col, i, got[i], from[i]);
    }
    guard_free(&y);
    fixture_close(&f);
}

static void bias_and_add(const kern_table *k, quant_type t, kern_form form)
{
    enum { N_ROW = 37, N_COL = 256, N = 5 };
    float plain[N * N_ROW], y[N * N_ROW], bias[N_ROW];
    fixture f;
    fixture_open(&f, k, t, N_ROW, N_COL, form);
    kern_data_floats(bias, N_ROW, 3);
    kern_data_floats(y, N * N_ROW, 4);
    product(&f, N, 0, N_ROW, &(kern_out){.y = plain, .ld = N_ROW});
    for (size_t i = 0; i < N * N_ROW; i++) /* y = (acc + bias) + old y */
        plain[i] = (plain[i] + bias[i % N_ROW]) + y[i];
    product(&f, N, 0, 20, &(kern_out){.y = y, .ld = N_ROW, .bias = bias, .add = true});
    product(&f, N, 20, N_ROW, &(kern_out){.y = y, .ld = N_ROW, .bias = bias, .add = true});
    TEST_SAME_BITS(y, plain, N * N_ROW);
    fixture_close(&f);
}

static const size_t shapes[][2] = {
    {1, 32},   {5, 64},   {16, 96},   {17, 256},  {33, 576}, {83, 32},
    {40, 512}, {64, 160}, {48, 1024}, {19, 2048}, {9, 77},
};

typedef void check_fn(const kern_table *k, quant_type t, size_t n_row, size_t n_col,
                      kern_form form);

static void every_shape(const kern_table *k, quant_type t, kern_form form, check_fn *check)
{
    for (size_t i = 0; i < TEST_COUNT(shapes); i++)
        if (shapes[i][1] % quant_table[t].block_n == 0 &&
            kern_form_for(t, shapes[i][1], form) == form)
            check(k, t, shapes[i][0], shapes[i][1], form);
}

/* Every tier but the reference, every weight format in each form that it has. */
static void every_tier(check_fn *check, kern_form form)
{
    uint32_t tiers[8];
    const size_t n = kern_tiers(tiers);
    for (size_t i = 1; i < n; i++) {
        kern_table k;
        kern_init(&k, tiers[i]);
        for (quant_type t = 0; t < QUANT_N_TYPE; t++)
            if (quant_table[t].is_weight && kern_form_for(t, 32, form) == form)
                every_shape(&k, t, form, check);
    }
}

static void i8_near_reference(void **state)
{
    (void)state;
    every_tier(near_reference, KERN_I8);
}

static void i8_same_bits(void **state)
{
    (void)state;
    every_tier(same_bits, KERN_I8);
}

static void f32_near_reference(void **state)
{
    (void)state;
    every_tier(near_reference, KERN_F32);
}

static void f32_same_bits(void **state)
{
    (void)state;
    every_tier(same_bits, KERN_F32);
}

static void outputs_are_added(void **state)
{
    (void)state;
    uint32_t tiers[8];
    const size_t n = kern_tiers(tiers);
    for (size_t i = 0; i < n; i++) {
        kern_table k;
        kern_init(&k, tiers[i]);
        bias_and_add(&k, QUANT_Q4_K, KERN_I8);
        bias_and_add(&k, QUANT_Q2_K, KERN_I8);
        bias_and_add(&k, QUANT_F16, KERN_F32);
        bias_and_add(&k, QUANT_Q8_0, KERN_F32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(i8_near_reference),  cmocka_unit_test(i8_same_bits),
        cmocka_unit_test(f32_near_reference), cmocka_unit_test(f32_same_bits),
        cmocka_unit_test(outputs_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
