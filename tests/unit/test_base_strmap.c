#include "test.h"

#include "base/strmap.h"

static void add_set_get(void **state)
{
    (void)state;
    strmap m;
    bool found = true;
    uint32_t v = 7;
    assert_int_equal(strmap_init(&m, 0), CAMA_OK);
    assert_false(strmap_get(&m, "a", 1, &v));
    assert_int_equal(v, 7);
    assert_int_equal(strmap_add(&m, "a", 1, 10, &found), CAMA_OK);
    assert_false(found);
    assert_int_equal(strmap_add(&m, "a", 1, 11, &found), CAMA_OK);
    assert_true(found);
    assert_true(strmap_get(&m, "a", 1, &v));
    assert_int_equal(v, 10);
    assert_int_equal(strmap_set(&m, "a", 1, 12), CAMA_OK);
    assert_true(strmap_get(&m, "a", 1, &v));
    assert_int_equal(v, 12);
    assert_int_equal(m.n, 1);
    strmap_done(&m);
    assert_false(strmap_get(&m, "a", 1, &v));
    strmap_done(&m);
}

/* Lengths count, not NULs; the empty key is a key. */
static void keys_are_bytes(void **state)
{
    (void)state;
    static const char bytes[] = "a\0b\0c";
    strmap m;
    uint32_t v;
    assert_int_equal(strmap_init(&m, 3), CAMA_OK);
    for (uint32_t n = 0; n <= 5; n++)
        assert_int_equal(strmap_set(&m, bytes, n, n), CAMA_OK);
    assert_int_equal(m.n, 6);
    for (uint32_t n = 0; n <= 5; n++) {
        assert_true(strmap_get(&m, bytes, n, &v));
        assert_int_equal(v, n);
    }
    assert_false(strmap_get(&m, bytes + 1, 1, &v));
    strmap_done(&m);
}

static void many_keys_of_every_length(void **state)
{
    (void)state;
    enum { N = 50000 };
    char *text = malloc((size_t)N * 16);
    strmap m;
    bool found;
    uint32_t v;
    assert_non_null(text);
    assert_int_equal(strmap_init(&m, 10), CAMA_OK);
    for (uint32_t i = 0; i < N; i++) {
        char *key = text + (size_t)i * 16;
        (void)snprintf(key, 16, "%.*s%u", (int)(i % 9), "kkkkkkkkk", i);
        assert_int_equal(strmap_add(&m, key, strlen(key), i, &found), CAMA_OK);
        assert_false(found);
    }
    assert_int_equal(m.n, N);
    for (uint32_t i = 0; i < N; i++) {
        char copy[16];
        memcpy(copy, text + (size_t)i * 16, 16);
        assert_true(strmap_get(&m, copy, strlen(copy), &v));
        assert_int_equal(v, i);
        copy[0] = '!';
        assert_false(strmap_get(&m, copy, strlen(copy), &v));
    }
    strmap_done(&m);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_set_get),
        cmocka_unit_test(keys_are_bytes),
        cmocka_unit_test(many_keys_of_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
