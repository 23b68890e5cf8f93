#include "test.h"

#include <math.h>

#include "bench/bench_stats.h"

static void medians(void **state)
{
    (void)state;
    double odd[] = {3, 1, 2};
    double even[] = {4, 1, 3, 2};
    TEST_NEAR(bench_median(odd, 3), 2, 0, "odd");
    TEST_NEAR(bench_median(even, 4), 2.5, 0, "even");
}

/* Five pairs: the extremes, 1 - 2/32. */
static void five_pairs_give_their_extremes(void **state)
{
    (void)state;
    const double a[] = {11, 12, 13, 10.5, 12};
    const double b[] = {10, 10, 10, 10, 10};
    bench_ratio r;
    assert_int_equal(bench_compare(a, b, 5, &r, NULL), CAMA_OK);
    TEST_NEAR(r.median, 1.2, 1e-12, "median");
    TEST_NEAR(r.low, 1.05, 1e-12, "low");
    TEST_NEAR(r.high, 1.3, 1e-12, "high");
    TEST_NEAR(r.confidence, 0.9375, 1e-12, "confidence");
    assert_int_equal(bench_judge(&r), BENCH_FASTER);
}

/* Binomial(20, 1/2): P(< 6) = 0.0207, P(< 7) = 0.0577: rank 6 of 20 at 95.9 %. */
static void twenty_pairs_drop_outliers(void **state)
{
    (void)state;
    double a[20];
    double b[20];
    for (int i = 0; i < 20; i++) {
        a[i] = i == 0 ? 1000 : 1 + 0.01 * i;
        b[i] = 1;
    }
    bench_ratio r;
    assert_int_equal(bench_compare(a, b, 20, &r, NULL), CAMA_OK);
    TEST_NEAR(r.confidence, 0.9586, 1e-4, "confidence");
    TEST_NEAR(r.low, 1.06, 1e-12, "sixth smallest");
    TEST_NEAR(r.high, 1.15, 1e-12, "sixth largest");
}

/* Differences may be negative; the interval is made of them, sorted. */
static void differences_have_an_interval(void **state)
{
    (void)state;
    double v[] = {0.3, -0.1, 0.2, 0.1, 0.0};
    bench_ratio r;
    assert_int_equal(bench_interval(v, 5, &r, NULL), CAMA_OK);
    TEST_NEAR(r.median, 0.1, 1e-12, "median");
    TEST_NEAR(r.low, -0.1, 1e-12, "low");
    TEST_NEAR(r.high, 0.3, 1e-12, "high");
    double bad[] = {1, (double)INFINITY};
    assert_int_equal(bench_interval(bad, 2, &r, NULL), CAMA_ERR_ARG);
    assert_int_equal(bench_interval(bad, 0, &r, NULL), CAMA_ERR_ARG);
}

static void too_few_pairs_claim_nothing(void **state)
{
    (void)state;
    const double a[] = {2, 2, 2, 2};
    const double b[] = {1, 1, 1, 1};
    bench_ratio r;
    assert_int_equal(bench_compare(a, b, 4, &r, NULL), CAMA_OK);
    assert_int_equal(bench_judge(&r), BENCH_NO_DIFFERENCE);
    assert_string_equal(bench_verdict_text(bench_judge(&r)), "no difference beyond noise");
}

static void bad_rates_are_refused(void **state)
{
    (void)state;
    const double a[] = {1, 0};
    const double b[] = {1, 1};
    bench_ratio r = {.n = 7};
    err_info err = {0};
    assert_int_equal(bench_compare(a, b, 2, &r, &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "pair 1 is 0"));
    assert_int_equal(bench_compare(a, b, 0, &r, &err), CAMA_ERR_ARG);
    assert_int_equal(r.n, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(medians),
        cmocka_unit_test(five_pairs_give_their_extremes),
        cmocka_unit_test(twenty_pairs_drop_outliers),
        cmocka_unit_test(differences_have_an_interval),
        cmocka_unit_test(too_few_pairs_claim_nothing),
        cmocka_unit_test(bad_rates_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
