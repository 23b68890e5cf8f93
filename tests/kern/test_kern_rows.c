/* Row operations of every tier against the reference; rows end at a guard page. */
#include "test.h"

#include <float.h>

#include "kern/kern.h"

#include "kern_data.h"
#include "kern_guard.h"

#define MAX_N 2051

static const size_t lengths[] = {1, 7, 16, 31, 64, 100, 576, 1030, MAX_N};

typedef struct rows {
    size_t n;
    guard a, b, c, out;
    float *x, *w, *v, *y;
} rows;

static void rows_open(rows *r, size_t n, float size)
{
    r->n = n;
    r->a = guard_new(n * sizeof(float), 4);
    r->b = guard_new(n * sizeof(float), 4);
    r->c = guard_new(n * sizeof(float), 4);
    r->out = guard_new(n * sizeof(float), 4);
    r->x = r->a.p;
    r->w = r->b.p;
    r->v = r->c.p;
    r->y = r->out.p;
    kern_data_floats(r->x, n, 1);
    kern_data_floats(r->w, n, 2);
    kern_data_floats(r->v, n, 3);
    for (size_t i = 0; i < n; i++)
        r->x[i] *= size;
}

static void rows_close(rows *r)
{
    guard_free(&r->a);
    guard_free(&r->b);
    guard_free(&r->c);
    guard_free(&r->out);
}

typedef void op(const kern_table *k, rows *r);

static void op_rms_norm(const kern_table *k, rows *r)
{
    k->rms_norm(r->x, r->w, r->n, 1e-5f, r->y);
}

static void op_rms_norm_bare(const kern_table *k, rows *r)
{
    k->rms_norm(r->x, NULL, r->n, 1e-5f, r->y);
}

static void op_layer_norm(const kern_table *k, rows *r)
{
    k->layer_norm(r->x, r->w, r->v, r->n, 1e-5f, r->y);
}

static void op_l2_norm(const kern_table *k, rows *r)
{
    k->l2_norm(r->x, r->n, 1e-6f, r->y);
}

static void op_add(const kern_table *k, rows *r)
{
    k->add(r->x, r->w, r->n, r->y);
}

static void op_mul(const kern_table *k, rows *r)
{
    k->mul(r->x, r->w, r->n, r->y);
}

static void op_scale(const kern_table *k, rows *r)
{
    k->scale(r->x, 0.37f, r->n, r->y);
}

static void op_axpy(const kern_table *k, rows *r)
{
    memcpy(r->y, r->w, r->n * sizeof(float));
    k->axpy(0.37f, r->x, r->n, r->y);
}

static void op_softcap(const kern_table *k, rows *r)
{
    k->softcap(r->x, 3.0f, r->n, r->y);
}

static void op_rope_neox(const kern_table *k, rows *r)
{
    memcpy(r->y, r->x, r->n * sizeof(float));
    k->rope(r->y, r->w, r->v, r->n / 2 * 2, true);
}

static void op_rope_norm(const kern_table *k, rows *r)
{
    memcpy(r->y, r->x, r->n * sizeof(float));
    k->rope(r->y, r->w, r->v, r->n / 2 * 2, false);
}

/* ulps: the roundings of one output, each relative to what is named in `scale`. */
static const struct {
    const char *name;
    op *fn;
    double ulps;
} ops[] = {
    {"rms_norm", op_rms_norm, 8},
    {"rms_norm bare", op_rms_norm_bare, 8},
    {"layer_norm", op_layer_norm, 16},
    {"l2_norm", op_l2_norm, 8},
    {"add", op_add, 1},
    {"mul", op_mul, 1},
    {"scale", op_scale, 1},
    {"axpy", op_axpy, 1},
    {"softcap", op_softcap, 8},
    {"rope neox", op_rope_neox, 3},
    {"rope norm", op_rope_norm, 3},
};

/* Runs check for every tier but the reference. */
static void every_tier(void (*check)(const kern_table *k, const kern_table *ref))
{
    uint32_t tiers[8];
    kern_table ref;
    const size_t n = kern_tiers(tiers);
    kern_init(&ref, 0);
    for (size_t i = 1; i < n; i++) {
        kern_table k;
        kern_init(&k, tiers[i]);
        check(&k, &ref);
    }
}

/* Partial sums: with n / (lanes * 4) additions in each, and a tree. */
static double sum_ulps(size_t n)
{
    return (double)n / 16 + 8;
}

static void check_ops(const kern_table *k, const kern_table *ref)
{
    for (size_t o = 0; o < TEST_COUNT(ops); o++)
        for (size_t l = 0; l < TEST_COUNT(lengths); l++) {
            rows got, want;
            rows_open(&got, lengths[l], 3);
            rows_open(&want, lengths[l], 3);
            ops[o].fn(k, &got);
            ops[o].fn(ref, &want);
            for (size_t i = 0; i < lengths[l]; i++)
                TEST_NEAR(got.y[i], want.y[i],
                          (ops[o].ulps + sum_ulps(lengths[l])) * FLT_EPSILON *
                              (fabs(want.y[i]) + fabs(got.x[i]) + 1),
                          "%s %s n=%zu at %zu", k->tier, ops[o].name, lengths[l], i);
            rows_close(&got);
            rows_close(&want);
        }
}

static void check_act(const kern_table *k, const kern_table *ref)
{
    static const kern_act_fn fns[] = {KERN_SILU,    KERN_GELU_TANH, KERN_GELU_ERF, KERN_RELU2,
                                      KERN_SIGMOID, KERN_TANH,      KERN_SOFTPLUS};
    for (size_t f = 0; f < TEST_COUNT(fns); f++)
        for (int step = -3200; step <= 3200; step++) {
            const float x[3] = {(float)step / 32, (float)step * 1e-5f, (float)step * 1e-9f};
            float got[3], want[3], up[3] = {1, 2, 3}, both[3];
            k->act(fns[f], x, 3, got);
            k->glu(fns[f], x, up, 3, both);
            ref->act(fns[f], x, 3, want);
            for (size_t i = 0; i < 3; i++) {
                /* the reference's own 1 + tanh rounds at 1, times x */
                const double from_one = fns[f] == KERN_GELU_TANH ? fabs(x[i]) : 0;
                TEST_NEAR(got[i], want[i], 6 * FLT_EPSILON * (fabs(want[i]) + from_one) + 1e-44,
                          "%s act %d of %.9g", k->tier, (int)fns[f], x[i]);
                assert_true(both[i] == got[i] * up[i]);
            }
        }
}

static void check_extremes(const kern_table *k, const kern_table *ref)
{
    static const float x[] = {-INFINITY, -1e30f, -200, -104, -88, 88, 89, 200, 1e30f, INFINITY};
    float got[TEST_COUNT(x)], want[TEST_COUNT(x)];
    static const kern_act_fn fns[] = {KERN_SIGMOID, KERN_TANH};
    for (size_t f = 0; f < TEST_COUNT(fns); f++) {
        k->act(fns[f], x, TEST_COUNT(x), got);
        ref->act(fns[f], x, TEST_COUNT(x), want);
        for (size_t i = 0; i < TEST_COUNT(x); i++)
            TEST_NEAR(got[i], want[i], 1e-37 + 4 * FLT_EPSILON * fabsf(want[i]), "%s act %d of %g",
                      k->tier, (int)fns[f], x[i]);
    }
    const float nan = NAN;
    k->act(KERN_SILU, &nan, 1, got);
    assert_true(isnan(got[0]));
}

static void check_argmax(const kern_table *k, const kern_table *ref)
{
    for (size_t l = 0; l < TEST_COUNT(lengths); l++) {
        rows r;
        rows_open(&r, lengths[l], 3);
        assert_int_equal(k->argmax(r.x, r.n), ref->argmax(r.x, r.n));
        TEST_NEAR(k->logsumexp(r.x, r.n), ref->logsumexp(r.x, r.n), 100 * FLT_EPSILON,
                  "%s logsumexp n=%zu", k->tier, r.n);
        r.x[r.n / 2] = r.x[r.n - 1] = 1000;
        assert_int_equal(k->argmax(r.x, r.n), r.n / 2); /* the first of equals */
        for (size_t i = 0; i < r.n; i++)
            r.x[i] = -INFINITY;
        assert_true(k->logsumexp(r.x, r.n) == -INFINITY);
        assert_int_equal(k->argmax(r.x, r.n), 0);
        rows_close(&r);
    }
}

static void check_delta(const kern_table *k, const kern_table *ref)
{
    static const size_t dims[][2] = {{16, 16}, {32, 64}, {24, 80}, {8, 5}};
    for (size_t i = 0; i < TEST_COUNT(dims); i++) {
        enum { N = 4 };
        const size_t dk = dims[i][0], dv = dims[i][1];
        float q[N * 32], key[N * 32], v[N * 80], beta[N];
        float g[N] = {-0.5f, -0.01f, -3, -0.2f};
        float s[2][32 * 80], o[2][N * 80];
        kern_data_floats(q, N * dk, 1);
        kern_data_floats(key, N * dk, 2);
        kern_data_floats(v, N * dv, 3);
        kern_data_floats(beta, N, 4);
        kern_data_floats(s[0], dk * dv, 5);
        memcpy(s[1], s[0], sizeof s[0]);
        for (int t = 0; t < 2; t++)
            (t ? ref : k)
                ->delta(
                    &(kern_delta){N, dk, dv, q, key, v, dk, dk, dv, g, beta, 1, 1, s[t], o[t], dv});
        for (size_t j = 0; j < N * dv; j++)
            TEST_NEAR(o[0][j], o[1][j], 1e-4 * (fabsf(o[1][j]) + 1), "%s delta %zu", k->tier, j);
        for (size_t j = 0; j < dk * dv; j++)
            TEST_NEAR(s[0][j], s[1][j], 1e-4 * (fabsf(s[1][j]) + 1), "%s state %zu", k->tier, j);
    }
}

static void conv_of_a_sequence(void **state)
{
    (void)state;
    enum { N = 5, TAPS = 4, STEPS = 7 };
    float x[STEPS][N], w[N][TAPS], old[(TAPS - 1) * N] = {0}, out[N];
    kern_table k;
    kern_init(&k, kern_cpu_detect());
    kern_data_floats(&x[0][0], STEPS * N, 1);
    kern_data_floats(&w[0][0], N * TAPS, 2);
    for (int t = 0; t < STEPS; t++) {
        k.conv_step(x[t], &w[0][0], N, TAPS, old, out);
        for (int i = 0; i < N; i++) {
            double want = 0;
            for (int tap = 0; tap < TAPS; tap++)
                if (t - (TAPS - 1) + tap >= 0)
                    want += (double)x[t - (TAPS - 1) + tap][i] * w[i][tap];
            TEST_NEAR(out[i], want, 40 * FLT_EPSILON * 64, "conv step %d channel %d", t, i);
        }
    }
}

static void row_operations(void **state)
{
    (void)state;
    every_tier(check_ops);
}

static void activations(void **state)
{
    (void)state;
    every_tier(check_act);
    every_tier(check_extremes);
}

static void largest_and_sum(void **state)
{
    (void)state;
    every_tier(check_argmax);
}

static void delta_net(void **state)
{
    (void)state;
    every_tier(check_delta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_operations),     cmocka_unit_test(activations),
        cmocka_unit_test(largest_and_sum),    cmocka_unit_test(delta_net),
        cmocka_unit_test(conv_of_a_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
