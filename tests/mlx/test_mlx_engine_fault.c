/* Every allocation of ours from the plan to the end of a step on MLX is made to fail, one by one;
 * what MLX takes for itself does not. */
#include "engine_life.h"

static void sweep(engine_life *l)
{
    fault_allow_ok(true); /* a kernel that cannot be tried is not taken */
    for (int stock = 0; stock < 2; stock++) {
        l->stock = stock;
        assert_true(fault_sweep(FAULT_HEAP, engine_live, l) > 20);
        assert_true(fault_sweep(FAULT_THREAD, engine_live, l) >= 2);
    }
}

static void no_allocation_failure_leaks_or_crashes(void **state)
{
    (void)state;
    engine_life_with(&emlx_engine, sweep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_allocation_failure_leaks_or_crashes),
    };
    (void)setenv("CAMA_MLX_PLUGIN", TEST_MLX_PLUGIN, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
