/* Every allocation of ours from the plan to the end of a step on MLX is made to fail, one by one;
 * what MLX takes for itself does not. */
#include "test.h"

#include "engine/engine.h"
#include "fault.h"
#include "tiny_llama.h"

typedef struct way {
    const model_desc *model;
    bool stock;
} way;

static cama_err run(void *arg, err_info *err)
{
    engine *e = NULL;
    engine_outs outs;
    engine_ticket t;
    int32_t seq;
    const engine_row row = {.id = 1, .visible_end = 1, .flags = ENGINE_LOGITS};
    const engine_batch b = {.rows = &row, .n_row = 1};
    engine_opts o = engine_opts_init();
    o.n_ctx = 64;
    o.n_batch = 8;
    o.n_thread = 3;
    o.n_kv_max = 1024;
    o.device = ENGINE_CPU;
    o.stock = ((way *)arg)->stock;
    cama_err fail = emlx_engine.open(((way *)arg)->model, &o, &e, err);
    if (!fail)
        fail = emlx_engine.grow(e, 512, err);
    if (!fail)
        emlx_engine.set_threads(e, 2, 0);
    if (!fail)
        fail = emlx_engine.seq_fork(e, -1, 0, &seq);
    if (!fail)
        fail = emlx_engine.submit(e, &b, &t, err);
    if (!fail)
        fail = emlx_engine.collect(e, t, &outs, err);
    emlx_engine.close(e);
    return fail;
}

static void no_allocation_failure_leaks_or_crashes(void **state)
{
    (void)state;
    size_t n;
    gguf_file *f = NULL;
    model_desc *m = NULL;
    uint8_t *bytes = tiny_llama(&n);
    assert_int_equal(gguf_open_bytes(bytes, n, &f, NULL), CAMA_OK);
    assert_int_equal(model_open(f, &m, NULL), CAMA_OK);
    fault_allow_ok(true); /* a kernel that cannot be tried is not taken */
    for (int stock = 0; stock < 2; stock++) {
        way w = {m, stock};
        assert_true(fault_sweep(FAULT_HEAP, run, &w) > 20);
        assert_true(fault_sweep(FAULT_THREAD, run, &w) >= 2);
    }
    model_close(m);
    gguf_close(f);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_allocation_failure_leaks_or_crashes),
    };
    (void)setenv("CAMA_MLX_PLUGIN", TEST_MLX_PLUGIN, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
