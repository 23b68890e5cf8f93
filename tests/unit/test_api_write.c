/* Numbers, strings and times as Go's encoding/json writes them. */
#include "test.h"

#include "api/api_int.h"

static void check_f64(double v, const char *want)
{
    char got[API_NUMBER_BYTES];
    assert_int_equal(api_format_f64(v, got), strlen(want));
    assert_string_equal(got, want);
}

static void check_f32(float v, const char *want)
{
    char got[API_NUMBER_BYTES];
    (void)api_format_f32(v, got);
    assert_string_equal(got, want);
}

static void test_numbers(void **state)
{
    (void)state;
    check_f64(0, "0");
    check_f64(-0.0, "-0");
    check_f64(1, "1");
    check_f64(-2.5, "-2.5");
    check_f64(100000, "100000");
    check_f64(1e20, "100000000000000000000");
    check_f64(1e21, "1e+21");
    check_f64(1.5e300, "1.5e+300");
    check_f64(0.000001, "0.000001");
    check_f64(0.0000001, "1e-7");
    check_f64(1.25e-9, "1.25e-9");
    check_f64(1e-10, "1e-10");
    check_f64(-0.061088111251592636, "-0.061088111251592636");
    check_f64(5e-324, "5e-324");
    check_f64(1.7976931348623157e308, "1.7976931348623157e+308");
    check_f32(0.1f, "0.1");
    check_f32(-0.012757877f, "-0.012757877");
    check_f32(1e-5f, "0.00001");
    check_f32(16777216.0f, "16777216");
    check_f32(3.4028235e38f, "3.4028235e+38");
}

static void check_text(const char *text, size_t n, const char *want)
{
    buf out;
    buf_init(&out, 1 << 16);
    api_writer w = {.out = &out};
    api_put_text(&w, NULL, text, n);
    assert_string_equal(out.data, want);
    buf_done(&out);
}

static void test_strings(void **state)
{
    (void)state;
    check_text("", 0, "\"\"");
    check_text("a<b>&\"\\", 7, "\"a\\u003cb\\u003e\\u0026\\\"\\\\\"");
    check_text("\n\t\r\b\f\v\x01\x7f", 8, "\"\\n\\t\\r\\b\\f\\u000b\\u0001\x7f\"");
    check_text("a\0b", 3, "\"a\\u0000b\"");
    check_text("\xe2\x80\xa8\xe2\x80\xa9", 6, "\"\\u2028\\u2029\"");
    check_text("\xff"
               "a\xc3",
               3, "\"\\ufffda\\ufffd\"");
    check_text("\xef\xbf\xbd\xf0\x9f\x99\x82", 7, "\"\xef\xbf\xbd\xf0\x9f\x99\x82\"");
}

static void test_values(void **state)
{
    (void)state;
    static const char text[] = "{\"b\":[1,2.50,null,true],\"a\":{\"z\":\"<\",\"y\":1e2}}";
    arena a;
    buf out;
    json_value *v = NULL;
    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 16);
    assert_int_equal(json_parse(text, sizeof text - 1, &a, &v, NULL), CAMA_OK);
    api_writer w = {.out = &out};
    api_open(&w, NULL, '[');
    api_put_json(&w, NULL, v);
    api_put_sorted(&w, NULL, v);
    api_put_json(&w, NULL, NULL);
    api_close(&w, ']');
    assert_string_equal(out.data,
                        "[{\"b\":[1,2.5,null,true],\"a\":{\"z\":\"\\u003c\",\"y\":100}},"
                        "{\"a\":{\"y\":100,\"z\":\"\\u003c\"},\"b\":[1,2.5,null,true]},null]");
    buf_done(&out);
    arena_done(&a);
}

static void check_time(int64_t ns, bool local, const char *want)
{
    buf out;
    buf_init(&out, 256);
    api_writer w = {.out = &out};
    api_put_time(&w, NULL, ns, local);
    assert_string_equal(out.data, want);
    buf_done(&out);
}

static void check_date(api_date date, const char *want)
{
    buf out;
    buf_init(&out, 256);
    api_writer w = {.out = &out};
    api_put_date(&w, NULL, date, false);
    assert_string_equal(out.data, want);
    buf_done(&out);
}

static void test_times(void **state)
{
    (void)state;
    check_time(0, false, "\"1970-01-01T00:00:00Z\"");
    check_time(1795486577499765021, false, "\"2026-11-24T02:16:17.499765021Z\"");
    check_time(1795486577499760000, false, "\"2026-11-24T02:16:17.49976Z\"");
    check_time(-1, false, "\"1969-12-31T23:59:59.999999999Z\"");
    check_time(INT64_MAX, false, "\"2262-04-11T23:47:16.854775807Z\"");
    check_date((api_date){11018858613, 921672749}, "\"2319-03-06T02:03:33.921672749Z\"");
    check_date((api_date){11018858613, 0}, "\"2319-03-06T02:03:33Z\"");
    assert_int_equal(setenv("TZ", "Asia/Tokyo", 1), 0);
    tzset();
    check_time(1795486577500000000, true, "\"2026-11-24T11:16:17.5+09:00\"");
    assert_int_equal(setenv("TZ", "XXX3:30", 1), 0); /* POSIX: west of Greenwich */
    tzset();
    check_time(1795486577000000000, true, "\"2026-11-23T22:46:17-03:30\"");
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
    check_time(1795486577000000000, true, "\"2026-11-24T02:16:17Z\"");
}

static void test_sizes(void **state)
{
    (void)state;
    char got[32];
    static const struct {
        uint64_t n;
        const char *want;
    } cases[] = {{0, "0"},           {999, "999"},           {1500, "2K"},
                 {1000000, "1M"},    {134515008, "134.52M"}, {8030261248, "8.0B"},
                 {7000000000, "7B"}, {1500000000000, "1.5T"}};
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        api_size_name(cases[i].n, got);
        assert_string_equal(got, cases[i].want);
    }
    assert_string_equal(api_file_type_name(15), "Q4_K_M");
    assert_string_equal(api_file_type_name(4), "unknown");
    assert_string_equal(api_file_type_name(-1), "unknown");
    assert_string_equal(api_file_type_name(1000), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_values),  cmocka_unit_test(test_times),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
