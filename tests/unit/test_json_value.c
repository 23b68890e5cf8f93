#include "json/json.h"
#include "test.h"

/* Parses and writes again; text of the error instead when it fails. */
static const char *round_trip(const char *text, size_t n)
{
    static char got[4096];
    arena a;
    arena_init(&a, 1 << 20);
    buf out;
    buf_init(&out, sizeof got - 1);
    json_value *v = NULL;
    err_info err = {0};
    if (json_parse(text, n, &a, &v, &err)) {
        assert_null(v);
        (void)snprintf(got, sizeof got, "%s", err.text);
    } else {
        assert_int_equal(json_write(v, &out), CAMA_OK);
        (void)snprintf(got, sizeof got, "%s", out.data);
    }
    buf_done(&out);
    arena_done(&a);
    return got;
}

static void check(const char *text, const char *want)
{
    assert_string_equal(round_trip(text, strlen(text)), want);
}

/* The same of json_parse_prefix. */
static void check_prefix(const char *text, size_t n, const char *want)
{
    char got[512];
    arena a;
    arena_init(&a, 1 << 20);
    buf out;
    buf_init(&out, sizeof got - 1);
    json_value *v = NULL;
    err_info err = {0};
    if (json_parse_prefix(text, n, &a, &v, &err)) {
        (void)snprintf(got, sizeof got, "%s", err.text);
    } else {
        assert_int_equal(json_write(v, &out), CAMA_OK);
        (void)snprintf(got, sizeof got, "%s", out.data);
    }
    buf_done(&out);
    arena_done(&a);
    assert_string_equal(got, want);
}

static void test_prefix(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{\"a\":1} tail", "{\"a\":1}"},
        {" 5x", "5"},
        {"12345678901234567890 x", "12345678901234567890"},
        {"[\"\\ud800\"]]]", "[\"\xef\xbf\xbd\"]"},
        {"truex", "true"},
        {"", "unexpected EOF"},
        {"{\"a\":", "unexpected EOF"},
        {"[1,", "unexpected EOF"},
        {"tru", "unexpected EOF"},
        {"{'a':1}", "invalid character '\\'' looking for beginning of object key string"},
        {"[1}", "invalid character '}' after array element"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_prefix(cases[i].text, strlen(cases[i].text), cases[i].want);
}

/* A body of two bytes a value must not become gigabytes. */
static void test_flood(void **state)
{
    (void)state;
    const size_t n = 2u * JSON_MAX_VALUES + 16;
    char *text = malloc(n);
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 1; i + 1 < n; i += 2) {
        text[i] = '1';
        text[i + 1] = ',';
    }
    check_prefix(text, n, "more than 4194304 values");
    const size_t n_object = 3u * JSON_MAX_VALUES / JSON_CONTAINER_VALUES + 1;
    for (size_t i = 1; i < n_object; i += 3)
        memcpy(text + i, "{},", 3);
    check_prefix(text, n_object, "more than 4194304 values");
    free(text);
}

static void test_values(void **state)
{
    (void)state;
    check("null", "null");
    check(" true ", "true");
    check("\t[1,\n2 , 3]\r\n", "[1,2,3]");
    check("{}", "{}");
    check("[]", "[]");
    check("\"\"", "\"\"");
    check("0", "0");
    check("{\"b\":1,\"a\":{\"c\":[null,false]}}", "{\"b\":1,\"a\":{\"c\":[null,false]}}");
    check("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}");
}

static void test_numbers_keep_their_text(void **state)
{
    (void)state;
    check("[1.0,1.50,1e5,1E+2,-0,-0.0,-7]", "[1.0,1.50,1e5,1E+2,-0,-0.0,-7]");
    check("[9223372036854775807,9223372036854775808,123456789012345678901234567890]",
          "[9223372036854775807,9223372036854775808,123456789012345678901234567890]");
    check("[-9223372036854775808,-9223372036854775809]",
          "[-9223372036854775808,-9223372036854775809]");
    check("1e999", "1e999");
    check("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827");
    check("1e000000000", "1e0000000000"); /* the one number whose text changes: see JSON_INT_MARK */
}

static void test_number_kinds(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1 << 20);
    json_value *v = NULL;
    const char *text = "[1, 1.0, 9223372036854775807, 9223372036854775808, -0]";
    assert_int_equal(json_parse(text, strlen(text), &a, &v, NULL), CAMA_OK);
    static const json_kind want[] = {JSON_INT, JSON_FLOAT, JSON_INT, JSON_FLOAT, JSON_INT};
    for (size_t i = 0; i < TEST_COUNT(want); i++)
        assert_int_equal(v->items[i]->kind, want[i]);
    assert_true(v->items[2]->integer == INT64_MAX);
    assert_true(v->items[3]->number == 9223372036854775808.0);
    arena_done(&a);
}

static void test_strings(void **state)
{
    (void)state;
    check("\"\\u00e9\\uD83D\\uDE00\\/\"", "\"é😀/\"");
    check("\"\\n\\t\\b\\f\\r\\\\\\\"\\u0001\"", "\"\\n\\t\\b\\f\\r\\\\\\\"\\u0001\"");
    check("\"\\ud83d x\"", "\"\xEF\xBF\xBD x\"");
    check("\"a\\u0000b\"", "\"a\\u0000b\"");
    check("\"\xFF\xC3(\"", "\"\xEF\xBF\xBD\xEF\xBF\xBD(\"");
    check("\"<&>\"", "\"<&>\"");
}

static void test_refused(void **state)
{
    (void)state;
    check("", "unexpected end of JSON input at byte 0");
    check("{\"a\"", "unexpected end of JSON input at byte 4");
    check("[1,]", "invalid character ']' looking for beginning of value at byte 3");
    check("{\"a\":1,}",
          "invalid character '}' looking for beginning of object key string at byte 7");
    check("{'a':1}",
          "invalid character '\\'' looking for beginning of object key string at byte 1");
    check("{\"a\" 1}", "invalid character '1' after object key at byte 5");
    check("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair at byte 7");
    check("[1 2]", "invalid character '2' after array element at byte 3");
    check("1 2", "invalid character '2' after top-level value at byte 2");
    check("01", "invalid character '1' after top-level value at byte 1");
    check("1.", "unexpected end of JSON input at byte 2");
    check("-x", "invalid character 'x' in numeric literal at byte 1");
    check("1.e", "invalid character 'e' after decimal point in numeric literal at byte 2");
    check("1ex", "invalid character 'x' in exponent of numeric literal at byte 2");
    check("trux", "invalid character 'x' in literal true (expecting 'e') at byte 3");
    check("NaN", "invalid character 'N' looking for beginning of value at byte 0");
    check("\"a\nb\"", "invalid character '\\n' in string literal at byte 2");
    check("\"\\x\"", "invalid character 'x' in string escape code at byte 2");
    check("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape at byte 5");
    check("{\"a\\u0000\":1}", "object key with a NUL character at byte 1");
    check("/* */ 1", "invalid character '/' looking for beginning of value at byte 0");
    assert_string_equal(round_trip("1\0", 2),
                        "invalid character '\\x00' after top-level value at byte 1");
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 2];
    memset(text, '[', JSON_MAX_DEPTH);
    memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    assert_int_equal(strlen(round_trip(text, 2 * (size_t)JSON_MAX_DEPTH)), 2 * JSON_MAX_DEPTH);
    memset(text, '[', JSON_MAX_DEPTH + 1);
    memset(text + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
    assert_string_equal(round_trip(text, 2 * (size_t)JSON_MAX_DEPTH + 2),
                        "exceeded max depth of 256 at byte 256");
}

static void test_build(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1 << 20);
    json_value *o = json_new_object(&a);
    json_value *list = json_new_array(&a);
    for (int i = 0; i < 9; i++)
        assert_true(json_append(&a, list, json_new_int(&a, i * 100)));
    assert_true(json_put(&a, o, "list", list));
    assert_true(json_put(&a, o, "f", json_new_float(&a, 1.0)));
    assert_true(json_put(&a, o, "f", json_new_float(&a, 0.1)));
    assert_true(json_put(&a, o, "s", json_new_string(&a, "a\"b", 3)));
    assert_true(json_put(&a, o, "n", json_new_null(&a)));
    assert_true(json_put(&a, o, "b", json_new_bool(&a, true)));
    assert_false(json_put(&a, o, "x", NULL));
    assert_false(json_append(&a, NULL, list));
    buf out;
    buf_init(&out, 4096);
    assert_int_equal(json_write(o, &out), CAMA_OK);
    assert_string_equal(out.data, "{\"list\":[0,100,200,300,400,500,600,700,800],\"f\":0.1,"
                                  "\"s\":\"a\\\"b\",\"n\":null,\"b\":true}");
    assert_int_equal(json_get(o, "list")->n, 9);
    assert_null(json_get(o, "absent"));
    assert_null(json_get(NULL, "absent"));
    buf_done(&out);
    arena_done(&a);
}

/* A tree from json_parse grows like a built one. */
static void test_append_to_parsed(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 1 << 20);
    json_value *v = NULL;
    assert_int_equal(json_parse("[1,2,3,4,5]", 11, &a, &v, NULL), CAMA_OK);
    for (int i = 6; i < 20; i++)
        assert_true(json_append(&a, v, json_new_int(&a, i)));
    assert_int_equal(v->n, 19);
    for (int i = 0; i < 19; i++)
        assert_int_equal(v->items[i]->integer, i + 1);
    arena_done(&a);
}

static void test_doubles(void **state)
{
    (void)state;
    static const struct {
        double d;
        const char *want;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {0.1, "0.1"},
        {1e16, "1e+16"},
        {1e15, "1000000000000000.0"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {-1.5, "-1.5"},
        {1e100, "1e+100"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {3.14159, "3.14159"},
        {100.0, "100.0"},
        {9007199254740993.0, "9007199254740992.0"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        char got[JSON_DOUBLE_BYTES];
        const size_t n = json_format_double(cases[i].d, got);
        assert_string_equal(got, cases[i].want);
        assert_int_equal(n, strlen(got));
    }
}

/* Files of models: as many values as the caller allows, and nothing behind them. */
static void test_most(void **state)
{
    (void)state;
    arena a;
    json_value *v = NULL;
    err_info err;
    arena_init(&a, 1 << 20);
    const size_t n = 2 * JSON_CONTAINER_VALUES + 3; /* of [1,[2,3]] */
    assert_int_equal(json_parse_most("[1,[2,3]] ", 10, n, &a, &v, &err), CAMA_OK);
    assert_true(v->kind == JSON_ARRAY && v->n == 2);
    assert_int_equal(json_parse_most("[1,[2,3]]", 9, n - 1, &a, &v, &err), CAMA_ERR_LIMIT);
    assert_string_equal(err.text, "more than 18 values");
    assert_int_equal(json_parse_most("[1] x", 5, n, &a, &v, &err), CAMA_ERR_FORMAT);
    arena_done(&a);
}

static void test_arena_limit(void **state)
{
    (void)state;
    arena a;
    arena_init(&a, 256);
    json_value *v = NULL;
    err_info err;
    assert_int_equal(json_parse("[1,2,3,4,5,6,7,8]", 17, &a, &v, &err), CAMA_ERR_NOMEM);
    assert_null(v);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix),       cmocka_unit_test(test_flood),
        cmocka_unit_test(test_values),       cmocka_unit_test(test_numbers_keep_their_text),
        cmocka_unit_test(test_number_kinds), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_depth),
        cmocka_unit_test(test_build),        cmocka_unit_test(test_append_to_parsed),
        cmocka_unit_test(test_doubles),      cmocka_unit_test(test_arena_limit),
        cmocka_unit_test(test_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
