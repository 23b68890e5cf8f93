/* Allocations of the kernels' text and of their self-tests are made to fail, one by one. */
#include <unistd.h>

#include "test.h"

#include "engine/mlx/emlx_memo.h"
#include "engine/mlx/emlx_selftest.h"
#include "fault.h"

static cama_err open_texts(void *arg, err_info *err)
{
    (void)arg;
    emlx_gpu *g = NULL;
    cama_err e = emlx_gpu_new(NULL, NULL, "metal", &g, err);
    if (!e)
        e = emlx_gpu_set_columns(g, QUANT_Q6_K, 0, 4);
    emlx_gpu_free(g);
    return e;
}

/* What the self-test asks of a bridge beside products. */
static void nothing(mb *m)
{
    (void)m;
}

static cama_err run_nothing(void *user, const emlx_selftest_case *c, float *y, err_info *err)
{
    (void)user, (void)c, (void)y;
    return err_set(err, CAMA_ERR_ENGINE, "it computes nothing");
}

static cama_err test_kernel(void *arg, err_info *err)
{
    (void)arg;
    const mb_api b = {.reset = nothing, .clear = nothing};
    const mb_info info = {.device = "none"};
    const emlx_selftest_kernel k = {.name = "k", .type = QUANT_Q8_0, .run = run_nothing};
    const emlx_selftest_in in = {.b = &b, .info = &info, .more = &k, .n_more = 1};
    emlx_selftest t;
    const cama_err e = emlx_selftest_run(&in, &t, err);
    if (e)
        return e;
    assert_false(emlx_selftest_ok(&t, "k"));
    buf text;
    buf_init(&text, 1000);
    const cama_err e_text = emlx_selftest_text(&t, &text);
    buf_done(&text);
    return e_text;
}

static void texts_come_whole_or_not(void **state)
{
    (void)state;
    assert_true(fault_sweep(FAULT_HEAP, open_texts, NULL) > 10);
}

static void tests_run_or_say_so(void **state)
{
    (void)state;
    char dir[] = "/tmp/cama_gpu_fault_XXXXXX", path[256];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(setenv("CAMA_DATA_DIR", dir, 1), 0);
    assert_true(emlx_memo_path(path, sizeof path));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs("{}\n", f) >= 0 && fclose(f) == 0);
    assert_true(fault_sweep(FAULT_HEAP, test_kernel, NULL) > 5);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_whole_or_not),
        cmocka_unit_test(tests_run_or_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
