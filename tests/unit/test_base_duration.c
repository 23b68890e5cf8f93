/* Go's durations: values and texts as time.ParseDuration and Duration.String give them. */
#include "test.h"

#include "base/duration.h"

static void parses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"+5s", 5000000000},
        {"5m", 300000000000},
        {"1h30m", 5400000000000},
        {"300ms", 300000000},
        {"1.5s", 1500000000},
        {".5s", 500000000},
        {"1.s", 1000000000},
        {"-1m", -60000000000},
        {"10us", 10000},
        {"10\xc2\xb5s", 10000},
        {"10\xce\xbcs", 10000},
        {"1ns", 1},
        {"39h9m14.425s", 140954425000000},
        {"9007199254740993ns", 9007199254740993},
        {"9223372036854775807ns", INT64_MAX},
        {"-9223372036854775808ns", INT64_MIN},
        {"-2562047h47m16.854775808s", INT64_MIN},
        {"0.3333333333333333333h", 1200000000000},
        {"0.100000000000000000000h", 360000000000},
        {"0.9223372036854775807m", 55340232221},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        int64_t ns = 77;
        err_info err = {0};
        if (go_duration_parse(cases[i].text, strlen(cases[i].text), &ns, &err))
            fail_msg("%s: %s", cases[i].text, err.text);
        assert_int_equal(ns, cases[i].ns);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "time: invalid duration \"\""},
        {"-", "time: invalid duration \"-\""},
        {"30", "time: missing unit in duration \"30\""},
        {"-1", "time: missing unit in duration \"-1\""},
        {"s", "time: invalid duration \"s\""},
        {".", "time: invalid duration \".\""},
        {".s", "time: invalid duration \".s\""},
        {"3 s", "time: unknown unit \" s\" in duration \"3 s\""},
        {"5d", "time: unknown unit \"d\" in duration \"5d\""},
        {"1h\"", "time: unknown unit \"h\\\"\" in duration \"1h\\\"\""},
        {"1\x01", "time: unknown unit \"\\x01\" in duration \"1\\x01\""},
        {"\xc2\xb5s", "time: invalid duration \"\\xc2\\xb5s\""},
        {"9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""},
        {"9223372036854775810ns", "time: invalid duration \"9223372036854775810ns\""},
        {"3000000h", "time: invalid duration \"3000000h\""},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        int64_t ns = 77;
        err_info err = {0};
        assert_int_equal(go_duration_parse(cases[i].text, strlen(cases[i].text), &ns, &err),
                         CAMA_ERR_ARG);
        assert_string_equal(err.text, cases[i].want);
        assert_int_equal(ns, 77);
    }
}

static void formats(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *want;
    } cases[] = {
        {0, "0s"},
        {1, "1ns"},
        {1100, "1.1\xc2\xb5s"},
        {2200000, "2.2ms"},
        {3300000000, "3.3s"},
        {300000000000, "5m0s"},
        {245001000000, "4m5.001s"},
        {18367001000000, "5h6m7.001s"},
        {480000000001, "8m0.000000001s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
        {-1500000000, "-1.5s"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        char text[DURATION_BYTES];
        assert_int_equal(go_duration_format(cases[i].ns, text), strlen(cases[i].want));
        assert_string_equal(text, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
