#include "test.h"

#include "base/pages.h"
#include "base/plat.h"

static void far_more_can_be_reserved_than_is_touched(void **state)
{
    (void)state;
    const size_t n = (size_t)1 << 32; /* qemu-user itself keeps some bytes for every page */
    const uint64_t before = plat_memory_resident();
    uint8_t *p = pages_reserve(n, false);
    assert_non_null(p);
    assert_int_equal(p[0], 0);
    p[n - 1] = 7;
    assert_int_equal(p[n - 1], 7);
    assert_int_equal(p[n / 2], 0);
    if (before)
        assert_true(plat_memory_resident() < before + (64u << 20));
    pages_free(p, n);
}

static void what_is_dropped_reads_as_zero(void **state)
{
    (void)state;
    const size_t n = (size_t)1 << 20;
    uint8_t *p = pages_reserve(n, true);
    assert_non_null(p);
    memset(p, 1, n);
    pages_drop(p + 100, n - 200); /* the pages at both ends are not whole */
    assert_int_equal(p[99], 1);
    assert_int_equal(p[100], 1);
    assert_int_equal(p[n / 2], 0);
    assert_int_equal(p[n - 1], 1);
    p[n / 2] = 3;
    assert_int_equal(p[n / 2], 3);
    pages_drop(p + 10, 20); /* no whole page: nothing happens */
    assert_int_equal(p[15], 1);
    pages_free(p, n);
}

static void nothing_is_a_size_too(void **state)
{
    (void)state;
    void *p = pages_reserve(0, false);
    assert_non_null(p);
    pages_will_need(p, 0);
    pages_free(p, 0);
    pages_free(NULL, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_more_can_be_reserved_than_is_touched),
        cmocka_unit_test(what_is_dropped_reads_as_zero),
        cmocka_unit_test(nothing_is_a_size_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
