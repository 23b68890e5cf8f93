/* The same row gives the same bits on the MLX engine with nodes of ours, as it does on the native
 * one: alone, in any chunking, beside other sequences, after prefix reuse and after a rewind, on
 * any number of threads. */
#include "engine_ways.h"

static void check_caches(rig *r)
{
    for (int form = 0; form < 2; form++)
        for (size_t k = 0; k < TEST_COUNT(kv_types); k++) {
            engine_opts o = rig_opts();
            o.activations = form ? KERN_F32 : KERN_I8;
            o.k_type = o.v_type = kv_types[k];
            rig_check(r, o, RIG_SHORT, form && k ? 0 : RIG_REUSE);
        }
}

static void a_row_has_the_same_bits_everywhere(void **state)
{
    (void)state;
    static rig r;
    uint8_t *bytes;
    open_tiny(&r, &bytes);
    check_caches(&r);
    rig_close_model(&r);
    free(bytes);
}

static void in_long_contexts_too(void **state)
{
    (void)state;
    static rig r;
    uint8_t *bytes;
    open_tiny(&r, &bytes);
    check_long(&r, rig_opts());
    rig_close_model(&r);
    free(bytes);
}

static void check_usual(rig *r)
{
    rig_check(r, rig_opts(), RIG_SHORT, RIG_REUSE);
}

static void every_architecture_too(void **state)
{
    (void)state;
    assert_true(each_model(TEST_DATA("tiny"), check_usual) >= 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_has_the_same_bits_everywhere),
        cmocka_unit_test(in_long_contexts_too),
        cmocka_unit_test(every_architecture_too),
    };
    rig_engine = &emlx_engine;
    (void)setenv("CAMA_MLX_PLUGIN", TEST_MLX_PLUGIN, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
