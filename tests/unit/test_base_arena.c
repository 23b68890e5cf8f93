#include "test.h"

#include "base/arena.h"

static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void pieces_are_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, SIZE_MAX);
    unsigned char *p[300];
    for (size_t i = 0; i < TEST_COUNT(p); i++) {
        const size_t n = i * 7; /* over 300 KB in all: several blocks, some pieces empty */
        p[i] = arena_take(&a, n);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        assert_true(all_zero(p[i], n));
        memset(p[i], (int)(i & 0xFF), n);
    }
    for (size_t i = 0; i < TEST_COUNT(p); i++)
        for (size_t k = 0; k < i * 7; k++)
            assert_int_equal(p[i][k], i & 0xFF);
    assert_ptr_not_equal(p[0], arena_take(&a, 0));
    arena_done(&a);
}

static void the_limit_holds(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 4096);
    assert_null(arena_take(&a, 5000));
    assert_non_null(arena_take(&a, 2000));
    assert_null(arena_take(&a, 2200));
    assert_non_null(arena_take(&a, 1000)); /* a refusal leaves the arena usable */
    assert_true(a.used_bytes <= 4096);
    arena_done(&a);
    assert_int_equal(a.used_bytes, 0);
    assert_non_null(arena_take(&a, 3000));
    arena_done(&a);
}

static void huge_sizes_are_refused(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, SIZE_MAX);
    assert_null(arena_take(&a, SIZE_MAX));
    assert_null(arena_take(&a, SIZE_MAX - 20));
    assert_null(arena_take_array(&a, SIZE_MAX / 8 + 1, 16));
    assert_null(arena_copy(&a, "x", SIZE_MAX));
    assert_non_null(arena_take_array(&a, 100, 16));
    arena_done(&a);
}

static void copies_end_in_nul(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, SIZE_MAX);
    assert_string_equal(arena_copy(&a, "hello, rest", 5), "hello");
    assert_string_equal(arena_copy(&a, NULL, 0), "");
    arena_done(&a);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_zeroed_and_apart),
        cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(huge_sizes_are_refused),
        cmocka_unit_test(copies_end_in_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
