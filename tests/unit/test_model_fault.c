/* Opening and recording with each allocation failing in turn: CAMA_ERR_NOMEM, nothing kept. */
#include "model/model.h"

#include "fault.h"
#include "test.h"

static cama_err open_and_record(void *arg, err_info *err)
{
    const model_record_opts opts = {.n_ctx = 64};
    model_desc *m;
    const plan *p;
    arena a;
    cama_err e = model_open(arg, &m, err);
    if (e)
        return e;
    arena_init(&a, (size_t)64 << 20);
    e = model_record(m, &opts, &a, &p, err);
    arena_done(&a);
    model_close(m);
    return e;
}

static void sweep(const char *name)
{
    char path[512];
    err_info err = {0};
    gguf_file *f;
    (void)snprintf(path, sizeof path, "%s/tiny/%s.gguf", TEST_DATA_DIR, name);
    if (gguf_open(path, &f, &err))
        fail_msg("%s", err.text);
    assert_true(fault_sweep(FAULT_HEAP, open_and_record, f) >= 3);
    gguf_close(f);
}

static void test_sweep(void **state)
{
    (void)state;
    static const char *const names[] = {"llama-long", "gemma3", "qwen35moe", "deepseek2",
                                        "nomic-bert"};
    for (size_t i = 0; i < TEST_COUNT(names); i++)
        sweep(names[i]);
}

/* An arena that ends at every place in turn: allocations from an arena are fewer than pieces of it,
 * so the sweep above does not reach them all. */
static void test_record_into_small_arenas(void **state)
{
    (void)state;
    const model_record_opts opts = {.n_ctx = 64};
    gguf_file *f = NULL;
    model_desc *m = NULL;
    assert_int_equal(gguf_open(TEST_DATA("tiny/qwen35moe.gguf"), &f, NULL), CAMA_OK);
    assert_int_equal(model_open(f, &m, NULL), CAMA_OK);
    cama_err e = CAMA_ERR_NOMEM;
    for (size_t max = 0; e; max += 64) {
        const plan *p = NULL;
        err_info err = {0};
        arena a;
        arena_init(&a, max);
        e = model_record(m, &opts, &a, &p, &err);
        if (e) {
            assert_int_equal(e, CAMA_ERR_NOMEM);
            assert_int_equal(err.code, e);
            assert_null(p);
        }
        arena_done(&a);
    }
    model_close(m);
    gguf_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_record_into_small_arenas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
