/* The same row gives the same bits: alone, in any chunking, beside other sequences, after prefix
 * reuse and after a rewind, on any number of threads; for every tier and both activation forms,
 * every format of weights and every one of the cache. */
#include "engine_ways.h"

/* Every tier, form and cache, as far as one page. */
static void check_tiers(rig *r)
{
    uint32_t tiers[8];
    const size_t n_tier = rig_tiers(tiers);
    for (size_t t = 0; t < n_tier; t++)
        for (int form = 0; form < 2; form++)
            for (size_t k = 0; k < TEST_COUNT(kv_types); k++) {
                const bool is_usual = t + 1 == n_tier && !form && k == 0;
                engine_opts o = rig_opts();
                o.cpu = tiers[t];
                o.activations = form ? KERN_F32 : KERN_I8;
                o.k_type = o.v_type = kv_types[k];
                uint32_t parts = form && k ? 0 : RIG_REUSE; /* pages do not know the form */
                if (is_usual)
                    parts |= RIG_CROWDED;
                rig_check(r, o, RIG_SHORT, parts);
            }
}

static void check_spans(rig *r)
{
    uint32_t tiers[8];
    const size_t n_tier = rig_tiers(tiers);
    for (size_t t = 0; t < n_tier; t++)
        for (size_t k = 0; k < TEST_COUNT(kv_types); k++) {
            engine_opts o = rig_opts();
            o.cpu = tiers[t];
            o.k_type = o.v_type = kv_types[k];
            check_long(r, o);
        }
}

static void a_row_has_the_same_bits_everywhere(void **state)
{
    (void)state;
    static rig r;
    uint8_t *bytes;
    open_tiny(&r, &bytes);
    check_tiers(&r);
    rig_close_model(&r);
    free(bytes);
}

static void in_long_contexts_too(void **state)
{
    (void)state;
    static rig r;
    uint8_t *bytes;
    open_tiny(&r, &bytes);
    check_spans(&r);
    rig_close_model(&r);
    free(bytes);
}

/* One set of options: what the architecture adds is the same on every tier. */
static void check_best_tier(rig *r)
{
    rig_check(r, rig_opts(), RIG_SHORT, RIG_REUSE);
}

static void every_architecture_too(void **state)
{
    (void)state;
    assert_true(each_model(TEST_DATA("tiny"), check_best_tier) >= 40);
}

/* A format meets attention and the rest only through rows of floats: few rows suffice, more than
 * the widest tile of activations; the reference has no tiles. */
static void check_format(rig *r)
{
    uint32_t tiers[8];
    const size_t n_tier = rig_tiers(tiers);
    for (size_t t = 0; t < n_tier; t++)
        for (int form = 0; form < 2; form++) {
            engine_opts o = rig_opts();
            o.cpu = tiers[t];
            o.activations = form ? KERN_F32 : KERN_I8;
            rig_check(r, o, tiers[t] ? 26 : 10, 0);
        }
}

static void every_format_too(void **state)
{
    (void)state;
    assert_true(each_model(TEST_DATA("tiny_quant"), check_format) >= 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_has_the_same_bits_everywhere),
        cmocka_unit_test(in_long_contexts_too),
        cmocka_unit_test(every_architecture_too),
        cmocka_unit_test(every_format_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
