#include "gguf/gguf.h"

#include "gguf_build.h"
#include "test.h"

typedef struct fixture {
    uint8_t *bytes;
    gguf_file *f;
} fixture;

static int set_up(void **state)
{
    static fixture fx;
    gguf_build b;
    gguf_build_init(&b);
    gguf_build_raw(&b, "u8", 0, "\xC8", 1);
    gguf_build_raw(&b, "i8", 1, "\xC8", 1);
    gguf_build_raw(&b, "u16", 2, "\xFF\xFF", 2);
    gguf_build_raw(&b, "i16", 3, "\xFF\xFF", 2);
    gguf_build_u32(&b, "u32", 4000000000u);
    gguf_build_i32(&b, "i32", -5);
    gguf_build_u64(&b, "u64", UINT64_MAX);
    gguf_build_raw(&b, "i64", 11, &(int64_t){INT64_MIN}, 8);
    gguf_build_f32(&b, "f32", 1.5f);
    gguf_build_f32(&b, "whole", 4096.0f);
    gguf_build_raw(&b, "f64", 12, &(double){-2.0}, 8);
    gguf_build_raw(&b, "big", 12, &(double){0x1p64}, 8);
    gguf_build_f32(&b, "nan", NAN);
    gguf_build_f32(&b, "inf", INFINITY);
    gguf_build_f32(&b, "minus zero", -0.0f);
    gguf_build_bool(&b, "yes", true);
    gguf_build_str(&b, "str", "text");
    gguf_build_strings(&b, "strs", (const char *[]){"a", "b"}, 2);
    gguf_build_array(&b, "list", 5, 3, (int32_t[]){7, -8, 9}, 12);
    gguf_build_array(&b, "reals", 6, 2, (float[]){0.5f, NAN}, 8);
    gguf_build_array(&b, "bools", 7, 2, "\1\0", 2);
    size_t n;
    fx.bytes = gguf_build_finish(&b, &n);
    *state = &fx;
    return gguf_open_bytes(fx.bytes, n, &fx.f, NULL);
}

static int tear_down(void **state)
{
    fixture *fx = *state;
    gguf_close(fx->f);
    free(fx->bytes);
    return 0;
}

static const gguf_file *file_of(void **state)
{
    return ((fixture *)*state)->f;
}

static void test_u64(void **state)
{
    static const struct {
        const char *key;
        uint64_t want;
    } good[] = {{"u8", 200},         {"u16", 65535},  {"u32", 4000000000u},
                {"u64", UINT64_MAX}, {"whole", 4096}, {"minus zero", 0},
                {"yes", 1}};
    for (size_t i = 0; i < TEST_COUNT(good); i++) {
        uint64_t v = 1234567;
        assert_int_equal(gguf_get_u64(file_of(state), good[i].key, &v, NULL), CAMA_OK);
        assert_int_equal(v, good[i].want);
    }
    static const char *const bad[][2] = {
        {"i8", "-56 (i8)"},
        {"i16", "-1 (i16)"},
        {"i32", "-5 (i32)"},
        {"i64", "-9223372036854775808 (i64)"},
        {"f32", "1.5 (f32)"},
        {"f64", "-2 (f64)"},
        {"big", "1.84467441e+19 (f64)"},
        {"nan", "nan (f32)"},
        {"inf", "inf (f32)"},
        {"str", "a string"},
        {"strs", "an array of 2 string"},
        {"list", "an array of 3 i32"},
    };
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        uint64_t v = 77;
        err_info err = {0};
        assert_int_equal(gguf_get_u64(file_of(state), bad[i][0], &v, &err), CAMA_ERR_FORMAT);
        assert_int_equal(v, 77);
        if (!strstr(err.text, bad[i][0]) || !strstr(err.text, bad[i][1]))
            fail_msg("'%s' lacks '%s'", err.text, bad[i][1]);
    }
}

static void test_i64(void **state)
{
    static const struct {
        const char *key;
        int64_t want;
    } good[] = {{"u8", 200}, {"i8", -56},        {"i16", -1},     {"i32", -5},
                {"f64", -2}, {"i64", INT64_MIN}, {"whole", 4096}, {"yes", 1}};
    for (size_t i = 0; i < TEST_COUNT(good); i++) {
        int64_t v = 1234567;
        assert_int_equal(gguf_get_i64(file_of(state), good[i].key, &v, NULL), CAMA_OK);
        assert_int_equal(v, good[i].want);
    }
    static const char *const bad[] = {"u64", "f32", "big", "nan", "str", "list"};
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        int64_t v;
        assert_int_equal(gguf_get_i64(file_of(state), bad[i], &v, NULL), CAMA_ERR_FORMAT);
    }
}

static void test_f64(void **state)
{
    static const struct {
        const char *key;
        double want;
    } good[] = {{"f32", 1.5}, {"f64", -2.0}, {"i32", -5.0}, {"u64", 0x1p64}, {"yes", 1.0}};
    for (size_t i = 0; i < TEST_COUNT(good); i++) {
        double v = 99;
        assert_int_equal(gguf_get_f64(file_of(state), good[i].key, &v, NULL), CAMA_OK);
        assert_true(v == good[i].want);
    }
    static const char *const bad[] = {"nan", "inf", "str", "list"};
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        double v = 99;
        assert_int_equal(gguf_get_f64(file_of(state), bad[i], &v, NULL), CAMA_ERR_FORMAT);
        assert_true(v == 99);
    }
}

static void test_bool_and_str(void **state)
{
    bool yes = false;
    assert_int_equal(gguf_get_bool(file_of(state), "yes", &yes, NULL), CAMA_OK);
    assert_true(yes);
    assert_int_equal(gguf_get_bool(file_of(state), "minus zero", &yes, NULL), CAMA_OK);
    assert_false(yes);
    err_info err = {0};
    assert_int_equal(gguf_get_bool(file_of(state), "u8", &yes, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "'u8' is 200 (u8), not 0 or 1"));
    assert_int_equal(gguf_get_bool(file_of(state), "i16", &yes, &err), CAMA_ERR_FORMAT);

    gguf_str s = {0};
    assert_int_equal(gguf_get_str(file_of(state), "str", &s, NULL), CAMA_OK);
    assert_int_equal(s.n, 4);
    assert_memory_equal(s.text, "text", 4);
    assert_int_equal(gguf_get_str(file_of(state), "strs", &s, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "'strs' is of type array, not string"));
}

static void test_absent(void **state)
{
    err_info err = {.text = "untouched"};
    uint64_t u = 1;
    int64_t i = 2;
    double d = 3;
    bool b = true;
    gguf_str s = {.n = 5};
    const gguf_file *f = file_of(state);
    assert_int_equal(gguf_get_u64(f, "absent", &u, &err), CAMA_ERR_NOT_FOUND);
    assert_int_equal(gguf_get_i64(f, "absent", &i, &err), CAMA_ERR_NOT_FOUND);
    assert_int_equal(gguf_get_f64(f, "absent", &d, &err), CAMA_ERR_NOT_FOUND);
    assert_int_equal(gguf_get_bool(f, "absent", &b, &err), CAMA_ERR_NOT_FOUND);
    assert_int_equal(gguf_get_str(f, "absent", &s, &err), CAMA_ERR_NOT_FOUND);
    assert_int_equal(gguf_get_u64_at(f, "absent", 0, &u, &err), CAMA_ERR_NOT_FOUND);
    assert_int_equal(gguf_get_f64_at(f, "absent", 0, &d, &err), CAMA_ERR_NOT_FOUND);
    assert_true(u == 1 && i == 2 && d == 3 && b && s.n == 5);
    assert_string_equal(err.text, "untouched");
}

static void test_elements(void **state)
{
    const gguf_file *f = file_of(state);
    uint64_t u = 0;
    double d = 0;
    err_info err = {0};
    assert_int_equal(gguf_get_u64_at(f, "list", 2, &u, &err), CAMA_OK);
    assert_int_equal(u, 9);
    assert_int_equal(gguf_get_f64_at(f, "list", 1, &d, &err), CAMA_OK);
    assert_true(d == -8.0);
    assert_int_equal(gguf_get_u64_at(f, "bools", 0, &u, &err), CAMA_OK);
    assert_int_equal(u, 1);
    assert_int_equal(gguf_get_f64_at(f, "reals", 0, &d, &err), CAMA_OK);
    assert_true(d == 0.5);
    assert_int_equal(gguf_get_u64_at(f, "u32", 500, &u, &err), CAMA_OK); /* scalars answer always */
    assert_int_equal(u, 4000000000u);

    assert_int_equal(gguf_get_u64_at(f, "list", 1, &u, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "'list' is -8 (i32)"));
    assert_int_equal(gguf_get_f64_at(f, "reals", 1, &d, &err), CAMA_ERR_FORMAT);
    assert_int_equal(gguf_get_u64_at(f, "list", 3, &u, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "'list' has 3 elements, element 3 is wanted"));
    assert_int_equal(gguf_get_u64_at(f, "list", UINT64_MAX, &u, &err), CAMA_ERR_FORMAT);
    assert_int_equal(gguf_get_u64_at(f, "strs", 0, &u, &err), CAMA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "'strs' is an array of strings, not a number"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_u64),    cmocka_unit_test(test_i64),
        cmocka_unit_test(test_f64),    cmocka_unit_test(test_bool_and_str),
        cmocka_unit_test(test_absent), cmocka_unit_test(test_elements),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
