/* Every allocation from the plan to the end of a step is made to fail, one by one. */
#include "engine_life.h"

static void sweep(engine_life *l)
{
    assert_true(fault_sweep(FAULT_HEAP, engine_live, l) > 5);
    assert_true(fault_sweep(FAULT_MMAP, engine_live, l) >= 3);
    assert_true(fault_sweep(FAULT_THREAD, engine_live, l) >= 2);
}

static void no_allocation_failure_leaks_or_crashes(void **state)
{
    (void)state;
    engine_life_with(&nat_engine, sweep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_allocation_failure_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
