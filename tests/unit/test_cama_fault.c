/* Memory that runs out anywhere between opening a model and its answer: a typed error, no leak. */
#include "test.h"

#include "cama.h"
#include "fault.h"

static bool on_text(void *user, const char *text, size_t n)
{
    (void)user;
    (void)text;
    (void)n;
    return true;
}

static cama_err answer(cama_model *m, cama_error *err)
{
    static const int32_t ids[] = {1, 5, 9, 2, 6};
    static const char *const stop[] = {"END"};
    static const cama_bias bias = {3, -1};
    cama_gen_opts o;
    cama_gen_opts_init(&o, sizeof o);
    o.ids = ids;
    o.n_id = 5;
    o.n_predict = 4;
    o.seed = 1;
    o.stop = stop;
    o.n_stop = 1;
    o.bias = &bias;
    o.n_bias = 1;
    o.repeat_penalty = 1.1f;
    o.on_text = on_text;
    o.ignore_eog = true;
    cama_gen_result r;
    cama_gen_result_init(&r, sizeof r);
    const cama_err e = cama_generate(m, &o, &r, err);
    if (!e)
        assert_int_equal(r.n_token, 4);
    return e;
}

static cama_err evaluate(cama_model *m, cama_error *err)
{
    static const int32_t ids[] = {3, 1, 4};
    static float logits[4096];
    cama_ctx *c = NULL;
    cama_ctx *fork = NULL;
    cama_err e = cama_ctx_open(m, &c, err);
    if (!e)
        e = cama_eval(c, ids, 3, NULL, logits, err);
    if (!e)
        e = cama_ctx_fork(c, 2, &fork, err);
    cama_ctx_close(fork);
    cama_ctx_close(c);
    return e;
}

static cama_err describe(cama_model *m, cama_error *err)
{
    char *text = NULL;
    cama_err e = cama_model_json(m, CAMA_JSON_TENSORS, &text, err);
    cama_free(text);
    text = NULL;
    if (!e)
        e = cama_model_plan(m, &text, err);
    cama_free(text);
    return e;
}

static cama_err whole_life(void *arg, err_info *err)
{
    cama_model_opts o;
    cama_model_opts_init(&o, sizeof o);
    o.n_ctx = 32;
    o.n_thread = 2;
    o.weights = CAMA_WEIGHTS_MAPPED;
    cama_model *m = NULL;
    cama_err e = cama_model_open(arg, &o, &m, err);
    if (!e) {
        cama_info info;
        cama_model_info(m, &info, sizeof info);
        assert_true(info.n_vocab <= 4096);
        e = answer(m, err);
    }
    if (!e)
        e = evaluate(m, err);
    if (!e)
        e = describe(m, err);
    cama_model_close(m);
    return e;
}

static void test_heap(void **state)
{
    (void)state;
    static char path[] = TEST_DATA("tiny/llama.gguf");
    fault_allow_ok(true); /* a prefix that cannot be remembered is forgotten */
    const size_t n = fault_sweep(FAULT_HEAP, whole_life, path);
    print_message("%zu allocations were made to fail\n", n);
    assert_true(n > 60);
}

static void test_threads_and_maps(void **state)
{
    (void)state;
    static char path[] = TEST_DATA("tiny/llama.gguf");
    fault_allow_ok(true);
    assert_true(fault_sweep(FAULT_THREAD, whole_life, path) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap),
        cmocka_unit_test(test_threads_and_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
