/* The sampler's own promises: ranges, need, ties, windows, and logits that leave no choice. */
#include "test.h"

#include "sample/mt19937.h"
#include "sample/sample.h"
#include "sample/sample_recent.h"

static void test_generator(void **state)
{
    (void)state;
    mt19937 m;
    mt_init(&m, 5489);
    assert_int_equal(mt_next(&m), 3499211612u);
    for (int i = 2; i < 10000; i++)
        mt_next(&m);
    assert_int_equal(mt_next(&m), 4123659995u); /* the C++ standard's own check of mt19937 */
    for (int i = 0; i < 1000; i++) {
        const double d = mt_double(&m);
        const float f = mt_float(&m);
        assert_true(d >= 0 && d < 1 && f >= 0 && f < 1);
    }
}

static void test_recent_equals_a_recount(void **state)
{
    (void)state;
    enum { WINDOW = 37, STEPS = 20000 };
    static int32_t all[STEPS];
    sample_recent r;
    assert_int_equal(recent_init(&r, WINDOW), CAMA_OK);
    mt19937 m;
    mt_init(&m, 3);
    for (int i = 0; i < STEPS; i++) {
        all[i] = (int32_t)(mt_next(&m) % 50);
        recent_push(&r, all[i]);
        const int32_t id = (int32_t)(mt_next(&m) % 50);
        uint32_t want = 0;
        for (int k = i; k >= 0 && k > i - WINDOW; k--)
            want += all[k] == id;
        assert_int_equal(recent_count(&r, id), want);
    }
    recent_done(&r);
}

static int32_t choose(const sample_params *p, const float *logits, uint32_t n)
{
    err_info err = {0};
    sampler *s;
    int32_t id = -1;
    assert_int_equal(sample_new(p, n, &s, &err), CAMA_OK);
    assert_int_equal(sample_next(s, &(sample_row){.logits = logits}, &id, &err), CAMA_OK);
    sample_free(s);
    return id;
}

static void test_ties_go_to_the_lower_id(void **state)
{
    (void)state;
    const float logits[] = {1, 5, 2, 5, 5, 0};
    sample_params p = sample_params_init();
    p.temperature = 0;
    assert_int_equal(choose(&p, logits, 6), 1);
    p = sample_params_init();
    p.top_k = 1;
    assert_int_equal(choose(&p, logits, 6), 1);
}

static void test_bias(void **state)
{
    (void)state;
    const float logits[] = {1, 5, 2, 4};
    const sample_bias ban = {1, -INFINITY};
    const sample_bias raise = {0, 100};
    sample_params p = sample_params_init();
    p.temperature = 0;
    p.bias = &ban;
    p.n_bias = 1;
    assert_int_equal(choose(&p, logits, 4), 3);
    p.bias = &raise;
    assert_int_equal(choose(&p, logits, 4), 0);
}

static uint32_t need_of(const sample_params *p, uint32_t n_vocab)
{
    sampler *s;
    assert_int_equal(sample_new(p, n_vocab, &s, NULL), CAMA_OK);
    const uint32_t need = sample_need(s);
    sample_free(s);
    return need;
}

static void test_need(void **state)
{
    (void)state;
    sample_params p = sample_params_init();
    assert_int_equal(need_of(&p, 1000), 40);
    p.repeat_penalty = 1.1f;
    assert_int_equal(need_of(&p, 1000), 40 + 64);
    assert_int_equal(need_of(&p, 100), 0); /* a vocabulary no larger than that */
    p.repeat_penalty = 0.9f;               /* raises: anything may win */
    assert_int_equal(need_of(&p, 1000), 0);
    p = sample_params_init();
    p.top_k = 0;
    assert_int_equal(need_of(&p, 1000), 0);
    p.temperature = 0;
    assert_int_equal(need_of(&p, 1000), 1);
}

static void test_bad_parameters_are_named(void **state)
{
    (void)state;
    err_info err;
    sampler *s = NULL;
    sample_params p = sample_params_init();
    p.top_p = 1.5f;
    assert_int_equal(sample_new(&p, 10, &s, &err), CAMA_ERR_ARG);
    assert_string_equal(err.text, "top_p is 1.5, must be 0 to 1");
    p = sample_params_init();
    p.temperature = NAN;
    assert_int_equal(sample_new(&p, 10, &s, &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "temperature"));
    p = sample_params_init();
    p.repeat_last_n = -2;
    assert_int_equal(sample_new(&p, 10, &s, &err), CAMA_ERR_ARG);
    const sample_bias b = {10, 1};
    p = sample_params_init();
    p.bias = &b;
    p.n_bias = 1;
    assert_int_equal(sample_new(&p, 10, &s, &err), CAMA_ERR_ARG);
    assert_non_null(strstr(err.text, "token 10"));
    assert_null(s);
}

static void test_nothing_to_choose_is_an_error(void **state)
{
    (void)state;
    const float broken[][3] = {
        {NAN, NAN, NAN}, {-INFINITY, -INFINITY, -INFINITY}, {0, INFINITY, 1}};
    const float some[] = {NAN, 1, -INFINITY};
    const sample_params p = sample_params_init();
    for (size_t i = 0; i < TEST_COUNT(broken); i++) {
        sampler *s;
        int32_t id = 77;
        assert_int_equal(sample_new(&p, 3, &s, NULL), CAMA_OK);
        assert_int_equal(sample_next(s, &(sample_row){.logits = broken[i]}, &id, NULL),
                         CAMA_ERR_ENGINE);
        assert_int_equal(id, 77);
        sample_free(s);
    }
    sample_params greedy = sample_params_init();
    greedy.temperature = 0;
    assert_int_equal(choose(&greedy, some, 3), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator),
        cmocka_unit_test(test_recent_equals_a_recount),
        cmocka_unit_test(test_ties_go_to_the_lower_id),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_need),
        cmocka_unit_test(test_bad_parameters_are_named),
        cmocka_unit_test(test_nothing_to_choose_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
